//! Models for Interloom: language models with their files, and a trained induction transformer.
//!
//! - [`LanguageModel`] is a model of any family with its name and its tokenizer; it checks what the
//!   model is given.
//! - [`CausalLm`] is what a family has to do, [`ARCHITECTURES`] the table of those that are loaded
//!   from files.
//! - [`decoder`] computes models of all these families, with everything inside as a site.
//! - [`mamba`] and [`vit`] compute the models of these names.
//! - [`induction`] is the smallest model with a real circuit; its trained weights are part of the
//!   crate.
//! - [`files`] finds and reads weights, configuration and tokenizer, and takes every byte for
//!   untrusted.
#![forbid(unsafe_code)]
#![warn(clippy::exit, clippy::print_stderr, clippy::print_stdout)]

mod architecture;
mod call;
mod causal;
mod config;
pub mod decoder;
mod families;
pub mod files;
pub mod induction;
mod language;
mod loader;
pub mod mamba;
mod projection;
mod sampling;
pub mod vit;

// The public interface.
pub use architecture::Architecture;
pub use causal::{CausalLm, Decoder, Images, TypedTokens};
pub use config::{MAX_EXPERTS, MAX_HEADS, MAX_LAYERS, MAX_POSITIONS, MAX_WIDTH};
pub use families::ARCHITECTURES;
pub use language::{
    DRAWS, INDUCTION, LanguageModel, LanguageModelError, POSITIONS_LIMIT, Pixels, TokenBatch,
};
pub use sampling::{Draw, SAMPLER, Sampling, SamplingError, record_draws};

/// Iterates over every error code of this room, in order.
pub fn codes() -> impl Iterator<Item = &'static interloom_engine::Code> {
    files::CODES.iter().chain(sampling::CODES)
}
