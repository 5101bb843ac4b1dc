//! Burn for Interloom: erased tensors, hooked modules, runs, and models with their files.
//!
//! - [`Hooked`] and [`Tap`] give a burn module sites; [`Bound`] gives the sites their paths.
//! - [`Run`] interleaves mediators with a forward pass.
//! - [`Value`] is what passes a site, and [`Erase`] what a type needs to pass one.
//! - [`models`] holds a trained two-layer induction transformer, and language models of the Llama architecture with
//!   their files.
//!
//! This is the only room that names `burn::backend`.
#![forbid(unsafe_code)]
#![warn(clippy::exit, clippy::print_stderr, clippy::print_stdout)]

mod active;
mod bind;
mod caught;
mod compute;
mod device;
mod edit;
mod erase;
mod error;
pub mod files;
mod hooked;
pub mod models;
mod operand;
mod outlook;
mod parameters;
mod run;
mod shared;
mod tensor;
mod value;

// The public interface.
pub use bind::{Bound, Sites};
pub use caught::panics_are_caught;
pub use device::{describe_device, described_device, parse_device};
pub use edit::Edit;
pub use erase::Erase;
pub use error::{ForwardError, ModelError};
pub use hooked::{Forward, Hooked, Tap};
pub use parameters::{parameters, visit_parameters};
pub use run::{Ran, Run};
pub use shared::{Effort, Passage, PassedCall, Passing, Shared, Standing};
pub use tensor::{AnyTensor, ElementKind, Kind, RANK_MAX, dtype_name};
pub use value::Value;

/// Iterates over every error code of this room, in order.
pub fn codes() -> impl Iterator<Item = &'static interloom_engine::Code> {
    error::CODES.iter().chain(files::CODES)
}
