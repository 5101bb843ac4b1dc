//! The burn layer from outside: values, hooked modules, runs, and the models that come with the crate.
//!
//! One binary, because linking burn is slow.

#[path = "all/hooks.rs"]
mod hooks;
#[path = "all/paths.rs"]
mod paths;
#[path = "all/runs.rs"]
mod runs;
#[path = "all/support.rs"]
mod support;
#[path = "all/values.rs"]
mod values;
