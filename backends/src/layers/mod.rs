//! The layers of `burn::nn`, so that each can be [`Hooked`](crate::Hooked).
//!
//! A layer that takes one tensor takes it here, too. One that takes several arguments takes a tuple
//! of them, in burn's order:
//!
//! ```
//! # use burn::{nn::{Lstm, LstmConfig}, prelude::*};
//! # use interloom_backends::Hooked;
//! # let device = Device::flex();
//! let lstm = Hooked::from(LstmConfig::new(2, 3, true).init(&device));
//! let (outputs, state) = lstm.forward((Tensor::<3>::ones([1, 4, 2], &device), None));
//! # assert_eq!((outputs.dims(), state.cell.dims()), ([1, 4, 3], [1, 3]));
//! ```
//!
//! Attention and transformers take an input whose fields burn keeps to itself, so that no site
//! could show them. [`MhaInput`], [`TransformerEncoderInput`] and [`TransformerDecoderInput`] are
//! the same with fields that can be seen, and pass a site as a map: `input.get("query")`. States of
//! recurrent layers pass as maps, too.
//!
//! A cache that a call of attention reads and writes is no part of its input site: see
//! `Hooked::<MultiHeadAttention>::forward_cache` and its like.

mod attention;
mod losses;
mod named;
mod recurrent;
mod tensors;
mod transformer;

pub use self::attention::MhaInput;
pub use self::transformer::{TransformerDecoderInput, TransformerEncoderInput};
