//! Burn for Interloom: erased tensors, hooked modules and runs.
//!
//! - [`Hooked`] and [`Tap`] give a burn module sites; [`Sites::bind`] gives the sites their paths.
//! - [`operations`] and [`Operations`] give the calls inside a forward function sites.
//! - [`layers`] has what the layers of `burn::nn` need to be hooked, and [`Forward`] is for your
//!   own.
//! - [`Run`] interleaves mediators with a forward pass.
//! - [`Value`] is what passes a site, and [`Erase`] what a type needs to pass one.
//!
//! This is the only crate that names `burn::backend`. Burn is pinned to one minor version, because
//! [`AnyTensor`] reaches into its dispatch layer.
#![deny(unsafe_code)] // Allowed in `parallel/matrix.rs`, which says why.
#![warn(clippy::exit, clippy::print_stderr, clippy::print_stdout)]

mod active;
mod arithmetic;
mod bind;
mod bound;
mod caught;
mod compute;
mod device;
mod edit;
mod erase;
mod error;
mod forward;
mod functions;
mod gradient;
mod hooked;
pub mod layers;
mod operand;
mod operation;
mod outlook;
pub mod parallel;
mod parameters;
mod run;
mod shared;
mod tensor;
mod value;

// The public interface.
pub use active::{backward, declare_padding, is_running};
pub use arithmetic::{BuildArithmetic, arithmetic, arithmetic_of};
pub use bind::Sites;
pub use bound::Bound;
pub use caught::panics_are_caught;
pub use device::{describe_device, device_name, parse_device};
pub use edit::Edit;
pub use erase::Erase;
pub use error::{BackwardFailure, CallFailure, ForwardError, ModelError, Unreached};
pub use forward::Forward;
pub use functions::Functions;
pub use gradient::callable;
pub use hooked::{Hooked, Tap};
/// Gives the calls in the forward function of an `impl` block sites: see [`Operations`].
pub use interloom_macros::operations;
pub use operation::Operations;
pub use parameters::{Parameters, parameters, visit_parameters};
pub use run::{MediatorHandle, Ran, RecordedPass, Run, RunOutput};
pub use shared::{Passage, PassedCall, Passing, PrefixCache, ReuseStats, Standing};
pub use tensor::{AnyTensor, ElementKind, Kind, RANK_MAX, dtype_name};
pub use value::Value;

/// Iterates over every error code of this room, in order.
pub fn codes() -> impl Iterator<Item = &'static interloom_engine::Code> {
    error::CODES.iter()
}
