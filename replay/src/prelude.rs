//! The names that an experiment needs, in one line: `use interloom::prelude::*;`.

pub use burn::tensor::{Device, Int, Tensor};
pub use interloom_backends::{
    Bound, Erase, Forward, Hooked, Operations, Run, RunOutput, Sites, Tap, Value, operations,
    parse_device,
};
pub use interloom_engine::{CacheSpec, Cached, Cx, Fault, Invoke, Iterations, Mediator, Saved};
#[cfg(feature = "models")]
pub use interloom_models::{LanguageModel, induction::Induction};

pub use crate::{Conclusion, Error, Experiment, Policy, Session};
