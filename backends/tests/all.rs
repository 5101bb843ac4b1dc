//! The burn layer from outside: values, hooked modules, runs, and the models that come with the crate.
//!
//! One binary, because linking burn is slow.

#[path = "all/calls.rs"]
mod calls;
#[path = "all/edits.rs"]
mod edits;
#[path = "all/failures.rs"]
mod failures;
#[path = "all/hooks.rs"]
mod hooks;
#[path = "all/induction.rs"]
mod induction;
#[path = "all/llama.rs"]
mod llama;
#[path = "all/llama_files.rs"]
mod llama_files;
#[path = "all/llama_reference.rs"]
mod llama_reference;
#[path = "all/naive.rs"]
mod naive;
#[path = "all/operands.rs"]
mod operands;
#[path = "all/outlook.rs"]
mod outlook;
#[path = "all/paths.rs"]
mod paths;
#[path = "all/runs.rs"]
mod runs;
#[path = "all/sharing.rs"]
mod sharing;
#[path = "all/smollm2.rs"]
mod smollm2;
#[path = "all/support.rs"]
mod support;
#[path = "all/values.rs"]
mod values;
