//! The burn layer from outside: values, hooked modules and runs.
//!
//! One binary, because linking burn is slow.

#[path = "all/edits.rs"]
mod edits;
#[path = "all/exactness.rs"]
mod exactness;
#[path = "all/failures.rs"]
mod failures;
#[path = "all/gradients.rs"]
mod gradients;
#[path = "all/hooks.rs"]
mod hooks;
#[path = "all/layers.rs"]
mod layers;
#[path = "all/must_fail.rs"]
mod must_fail;
#[path = "all/naive.rs"]
mod naive;
#[path = "all/operands.rs"]
mod operands;
#[path = "all/operations.rs"]
mod operations;
#[path = "all/outlook.rs"]
mod outlook;
#[path = "all/parallel.rs"]
mod parallel;
#[path = "all/parameters.rs"]
mod parameters;
#[path = "all/paths.rs"]
mod paths;
#[path = "all/runs.rs"]
mod runs;
#[path = "all/sharing.rs"]
mod sharing;
#[path = "all/silent.rs"]
mod silent;
#[path = "all/support.rs"]
mod support;
#[path = "all/traits.rs"]
mod traits;
#[path = "all/unreached.rs"]
mod unreached;
#[path = "all/values.rs"]
mod values;
