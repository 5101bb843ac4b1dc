//! Interloom opens up a neural network while it runs, and proves bit for bit what happened.
//!
//! Every exchange between a model and the mediators that intervene in it is written to a
//! [`journal`]; a replay is compared with the journal exchange by exchange, and the first
//! [`divergence`] is reported with both sides.
//!
//! - [`guide`] has four essays with worked examples, from a burn model to a journal; begin there.
//! - [`prelude`] has what an experiment needs: models, runs, mediators, sessions.
//! - [`Session`] records an experiment, or verifies a recording of it.
//! - [`batch_invariance`] checks whether an invoke's values depend on the invokes of its batch.
//! - [`interventions`] have parameters of their own, which burn's optimizers train.
//! - [`explore`] tells whether the order of the mediators makes a difference.
//! - `models`, with the feature of that name, has language models with their files and tokenizers.
//! - [`training`] records training runs, those of burn's `Learner` with the feature `train`.
//! - `proptest`, with the feature of that name, has strategies for property tests of interventions.
//!
//! Experiment files and the program `interloom` are in the crate `interloom-cli`.

#![forbid(unsafe_code)]
#![warn(clippy::exit, clippy::print_stderr, clippy::print_stdout)]

pub mod batch_invariance;
pub mod environment;
mod error;
pub mod explore;
pub mod guide;
pub mod interventions;
#[cfg(feature = "train")]
mod one_thread;
pub mod prelude;
#[cfg(feature = "proptest")]
pub mod proptest;
mod session;
#[cfg(test)]
mod stack;
pub mod training;

// The public interface.
pub use error::{Error, codes};
/// The journal of a run, and what compares two of them.
pub use interloom_journal as journal;
pub use interloom_journal::divergence;
pub use session::{Conclusion, Mode, Proof, Session, SessionBuilder, Subject};

// What these signatures name.
pub use interloom_backends::{self as backends, Hooked, Run, Sites, backward};
pub use interloom_engine as engine;
pub use interloom_journal::{Experiment, Policy};
/// Language models with their files and tokenizers; with the feature `models`.
#[cfg(feature = "models")]
pub use interloom_models as models;
pub use interloom_program as program;
