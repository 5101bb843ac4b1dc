//! What an experiment needs, in one line: `use interloom::prelude::*;`.

pub use burn::tensor::{Device, Int, Tensor};
pub use interloom_backends::models::induction::Induction;
pub use interloom_backends::models::llama::LanguageModel;
pub use interloom_backends::{Bound, Erase, Forward, Hooked, Run, Tap, Value, parse_device};
pub use interloom_engine::{CacheSpec, Cached, Cx, Fault, Invoke, Iterations, Mediator, Saved};

pub use crate::environment;
pub use crate::journal::{Experiment, Policy};
pub use crate::{Conclusion, Error, Mode, Session};
