//! Models for Interloom: language models with their files, and a trained induction transformer.
//!
//! - [`LanguageModel`] is a model of any family with its name and its tokenizer; it checks what the
//!   model is given.
//! - [`CausalLm`] is what a family has to do, [`ARCHITECTURES`] the table of those that are loaded
//!   from files.
//! - [`llama`] and [`gpt2`] compute models of these architectures, with everything inside as a
//!   site.
//! - [`induction`] is the smallest model with a real circuit; its trained weights are part of the
//!   crate.
//! - [`files`] finds and reads weights, configuration and tokenizer, and takes every byte for
//!   untrusted.
#![forbid(unsafe_code)]
#![warn(clippy::exit, clippy::print_stderr, clippy::print_stdout)]

mod architecture;
mod attention;
mod call;
mod causal;
mod config;
pub mod files;
pub mod gpt2;
pub mod induction;
mod language;
pub mod llama;
mod loader;
mod projection;

// The public interface.
pub use architecture::{ARCHITECTURES, Architecture, ModelLoader};
pub use causal::{CausalLm, Decoder};
pub use config::{MAX_HEADS, MAX_LAYERS, MAX_POSITIONS, MAX_WIDTH};
pub use language::{INDUCTION, LanguageModel, LanguageModelError, TokenBatch};

/// Iterates over every error code of this room, in order.
pub fn codes() -> impl Iterator<Item = &'static interloom_engine::Code> {
    files::CODES.iter()
}

/// Returns names with the points that they name: of the whole model, and of each of its blocks
/// `layers.N`, where names begin with `blocks.N.`.
fn aliases(
    whole: &[(&str, &str)],
    in_block: &[(&str, &str)],
    layers: usize,
) -> Vec<(String, String)> {
    let owned = |&(alias, point): &(&str, &str)| (alias.to_owned(), point.to_owned());
    let blocks = (0..layers).flat_map(|layer| {
        let numbered = move |&(alias, point): &(&str, &str)| {
            (
                format!("blocks.{layer}.{alias}"),
                format!("layers.{layer}.{point}"),
            )
        };
        in_block.iter().map(numbered)
    });
    whole.iter().map(owned).chain(blocks).collect()
}
