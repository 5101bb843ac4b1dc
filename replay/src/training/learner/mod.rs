//! Burn's `Learner`, recorded: with the feature `train`.
//!
//! A hooked model is a plain [`Module`](burn::module::Module) to burn's training loop. Three things
//! make it a training run of Interloom:
//!
//! - [`step`] in the model's `TrainStep::step` runs the forward and the backward pass with its
//!   mediators;
//! - an [`OrderedLoader`] delivers the data, in an order that is a function of seed, epoch and
//!   position;
//! - a [`Recorder`] is the strategy that burn trains with. It opens the
//!   [`Training`](super::Training) in any of its ways (record, resume, verify, trace, fork), and
//!   makes the loop that burn makes on a single device, step by step.
//!
//! Progress, metrics, burn's own checkpoints, early stopping and interruption go on working. What
//! they cannot do is refused, with the reason ([`LearnerRefusal`]).
//!
//! The guide [`burns_learner`](crate::guide::burns_learner) has a worked example, and
//! `examples/learner.rs` is a whole program.

mod loader;
mod ranks;
mod refusal;
mod state;
mod step;
mod strategy;

pub use loader::OrderedLoader;
pub use ranks::replicas;
pub use refusal::LearnerRefusal;
pub use state::LearnerState;
pub use step::step;
pub use strategy::Recorder;
