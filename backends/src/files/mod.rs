//! The files of language models: weights, configuration and tokenizer, as plain data.
//!
//! [`ModelSource`] finds a model from what a user typed and opens its three parts: a
//! [`LlamaConfig`], a [`Tokenizer`], and [`Weights`] under the names that Hugging Face gives
//! them, whichever of the two formats ([`gguf`], [`safetensors`]) they are stored in. Nothing in
//! here knows a tensor library: a tensor is a shape and its `f32` values, a [`RawTensor`].
//!
//! Every file is taken for untrusted. Lengths are compared with the size of the file before
//! anything is allocated, and a cut or altered file ends in a [`FileError`] with a stable code.
//!
//! ```no_run
//! # fn main() -> Result<(), interloom_backends::files::FileError> {
//! use interloom_backends::files::ModelSource;
//!
//! let mut model = ModelSource::resolve("smollm2-135m")?.open()?;
//! let shape = [model.config.vocab_size, model.config.hidden_size];
//! let embedding = model.weights.take("model.embed_tokens.weight", &shape)?;
//! assert_eq!(embedding.data.len(), shape[0] * shape[1]);
//! # Ok(())
//! # }
//! ```

mod begin;
mod codes;
pub mod config;
pub mod error;
pub mod gguf;
#[cfg(feature = "hub")]
mod hub;
mod input;
pub mod safetensors;
mod similar;
pub mod source;
#[cfg(test)]
mod test_files;
pub mod tokenizer;
pub mod weights;

pub(crate) use codes::CODES;
pub use config::LlamaConfig;
pub use error::FileError;
pub use gguf::Gguf;
pub use safetensors::Safetensors;
pub use source::{Download, ModelFiles, ModelSource};
pub use tokenizer::Tokenizer;
pub use weights::{RawTensor, Weights};
