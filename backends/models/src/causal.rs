//! The interface of a family of language models.

use burn::tensor::{Int, Tensor, TensorData};
use interloom_backends::{Parameters, Sites, Value};
use interloom_engine::{Padding, PaddingSide};
use interloom_program::Modules;

/// Computes the logits of the tokens that follow those of the calls before.
pub type Decoder<'m> = Box<dyn FnMut(Tensor<2, Int>) -> Tensor<3> + 'm>;

/// A language model whose modules are sites: tokens to logits, and modules by path.
///
/// What it is given is checked by [`LanguageModel`](crate::LanguageModel), which has a model of any
/// family, with its name and its tokenizer: tokens are below [`vocabulary`](Self::vocabulary), and
/// sequences have 1 to [`positions`](Self::positions) of them.
pub trait CausalLm: Modules<Value> + Send + Sync {
    /// Returns the model's sites.
    fn sites(&self) -> &Sites;

    /// Returns the model's float parameters, for a run that shows their gradients.
    fn parameters(&self) -> Parameters;

    /// Calls `visit` with the path and the data of every parameter, in the order of the module
    /// tree.
    ///
    /// One parameter at a time is in memory.
    fn visit_parameters(&self, visit: &mut dyn FnMut(&str, TensorData));

    /// Returns how many tokens the model knows.
    fn vocabulary(&self) -> usize;

    /// Returns how many tokens a sequence of the model may have;
    /// [`LanguageModel`](crate::LanguageModel) has a [limit](crate::POSITIONS_LIMIT) of its own as
    /// well.
    fn positions(&self) -> usize;

    /// Returns the tokens that end a text.
    fn end_tokens(&self) -> &[u32] {
        &[]
    }

    /// Returns whether the model continues texts; one that fills in masked tokens sees all
    /// positions, and does not.
    fn continues(&self) -> bool {
        true
    }

    /// Computes `[batch, position, token]` logits of `[batch, position]` tokens, in one pass over
    /// the sites.
    fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3>;

    /// Starts a generation for sequences of up to `positions` tokens each.
    ///
    /// Each call of the decoder is one iteration of the sites. It takes the `[batch, position]`
    /// tokens that follow those of the calls before, and its last position has the logits of
    /// the next tokens.
    fn decoder(&self, positions: usize) -> Decoder<'_>;

    /// Returns on which side prompts of different length are padded; nothing if a batch has to be
    /// of prompts of one length, as by default.
    ///
    /// A model that says one implements [`padded_decoder`](Self::padded_decoder), and its
    /// [`sites`](Self::sites) declare which dimensions are positions.
    fn padding_side(&self) -> Option<PaddingSide> {
        None
    }

    /// Starts a generation as [`decoder`](Self::decoder) does, for prompts of different length: the
    /// first call takes them padded to one length, with any token as padding.
    ///
    /// A row's own logits are those that it has alone, as far as the arithmetic allows.
    fn padded_decoder(&self, positions: usize, padding: Option<&Padding>) -> Decoder<'_> {
        debug_assert!(padding.is_none(), "the model does not take padding");
        self.decoder(positions)
    }
}
