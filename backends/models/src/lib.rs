//! Models for Interloom: language models with their files, and a trained induction transformer.
//!
//! - [`LanguageModel`] is a model of any family with its name and its tokenizer; it checks what the
//!   model is given.
//! - [`CausalLm`] is what a family has to do, [`ARCHITECTURES`] the table of those that are loaded
//!   from files.
//! - [`llama`] computes models of the Llama architecture, with everything inside as a site.
//! - [`induction`] is the smallest model with a real circuit; its trained weights are part of the
//!   crate.
//! - [`files`] finds and reads weights, configuration and tokenizer, and takes every byte for
//!   untrusted.
#![forbid(unsafe_code)]
#![warn(clippy::exit, clippy::print_stderr, clippy::print_stdout)]

mod architecture;
mod call;
mod causal;
pub mod files;
pub mod induction;
mod language;
pub mod llama;

// The public interface.
pub use architecture::{ARCHITECTURES, Architecture, ModelLoader};
pub use causal::{CausalLm, Decoder};
pub use language::{INDUCTION, LanguageModel, LanguageModelError, TokenBatch};

/// Iterates over every error code of this room, in order.
pub fn codes() -> impl Iterator<Item = &'static interloom_engine::Code> {
    files::CODES.iter()
}
