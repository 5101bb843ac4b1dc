//! The files of language models: weights, configuration and tokenizer, as plain data.
//!
//! [`ModelSource`] finds a model from what a user typed, and [`ModelFiles`] are its files, opened:
//! an [architecture](crate::Architecture) makes a configuration and [`Weights`] of them, under the
//! names that Hugging Face gives these, whichever of the two formats ([`gguf`], [`safetensors`])
//! they are stored in. Nothing in here knows a tensor library: a tensor is a shape and its `f32`
//! values, a [`RawTensor`].
//!
//! Every file is taken for untrusted. Lengths are compared with the size of the file before
//! anything is allocated, and a cut or altered file ends in a [`FileError`] with a stable code.
//!
//! ```no_run
//! # fn main() -> Result<(), interloom_models::files::FileError> {
//! use interloom_models::files::{ModelFiles, ModelSource};
//!
//! let files = ModelSource::resolve("smollm2-135m")?.open()?;
//! assert_eq!(files.architecture()?, "llama");
//! let tokens = files.tokenizer()?.encode("The capital of France is")?;
//! let ModelFiles::Gguf(gguf) = files else { return Ok(()) };
//! let embedding = gguf.load("token_embd.weight")?;
//! assert!(tokens.iter().all(|&token| (token as usize) < embedding.shape[0]));
//! # Ok(())
//! # }
//! ```

mod begin;
pub mod chat;
mod codes;
pub mod error;
pub mod gguf;
#[cfg(feature = "hub")]
mod hub;
mod input;
mod python;
pub mod safetensors;
mod settings;
mod similar;
pub mod source;
mod splitting;
mod stray;
#[cfg(test)]
pub(crate) mod test_files;
pub mod tokenizer;
pub mod weights;

pub use chat::{ChatMap, ChatMessage, ChatTemplate, ChatValue};
pub(crate) use codes::CODES;
pub use error::FileError;
pub use gguf::Gguf;
pub use safetensors::Safetensors;
pub use source::{Download, ModelFiles, ModelFolder, ModelSource};
pub use tokenizer::Tokenizer;
pub use weights::{GgufLayout, RawTensor, Weights};
