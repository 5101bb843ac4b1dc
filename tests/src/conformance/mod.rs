//! The recorded scenarios of a reference interleaver, translated to programs and run.
//!
//! `tests/conformance/README.md` says what a scenario is. [`Scenario`] reads one, [`translate`] makes programs of it, and
//! [`run`] runs these on naive models of `f64`, which need no tensor library.

mod models;
mod run;
mod scenario;
mod translate;
mod tree;

pub use models::{Model, Tensors, load};
pub use run::{Served, Trace, run};
pub use scenario::Scenario;
pub use translate::{Block, Plan, translate};
pub use tree::Tree;
