//! Interloom opens up a neural network while it runs, and proves bit for bit what happened.
//!
//! Every exchange between a model and the mediators that intervene in it is written to a
//! [`journal`]; a replay is compared with the journal exchange by exchange, and the first
//! [`divergence`] is reported with both sides.

#![forbid(unsafe_code)]

pub mod divergence;
pub mod journal;
