//! Interloom opens up a neural network while it runs, and proves bit for bit what happened.
//!
//! Every exchange between a model and the mediators that intervene in it is written to a
//! [`journal`]; a replay is compared with the journal exchange by exchange, and the first
//! [`divergence`] is reported with both sides.
//!
//! - [`prelude`] has what an experiment needs: models, runs, mediators, sessions.
//! - [`Session`] records an experiment, or verifies a recording of it.
//! - [`company`] checks whether an invoke's values depend on who shares its batch.
//! - [`conform`] compares the interleaver with what a reference was recorded doing.
//! - [`experiment`] reads experiment files, which people write by hand.
//! - [`explore`] tells whether the order of the mediators makes a difference.
//! - `proptest`, with the feature of that name, has strategies for property tests of interventions.
//! - [`experiments`] are those that the program `interloom` can make again from a journal alone.

#![forbid(unsafe_code)]
#![warn(clippy::exit, clippy::print_stderr, clippy::print_stdout)]

#[doc(hidden)]
#[expect(
    clippy::disallowed_macros,
    clippy::exit,
    reason = "the command line prints, and ends its process where nobody reads"
)]
pub mod cli;
pub mod company;
pub mod conform;
pub mod divergence;
pub mod environment;
mod error;
pub mod experiment;
pub mod experiments;
pub mod explore;
pub mod journal;
pub mod prelude;
#[cfg(feature = "proptest")]
pub mod proptest;
mod reason;
mod session;
#[cfg(test)]
mod stack;

// The public interface.
pub use error::{Error, codes};
pub use reason::Reason;
pub use session::{Conclusion, Mode, Proof, Session};
