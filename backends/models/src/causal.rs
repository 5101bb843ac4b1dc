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

    /// Returns the model as one whose tokens have types, if they have.
    fn typed(&self) -> Option<&dyn TypedTokens> {
        None
    }

    /// Returns the model as one that takes images in place of tokens, if it does.
    fn images(&self) -> Option<&dyn Images> {
        None
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

/// A model whose tokens have types, as the two texts of a pair have in BERT.
pub trait TypedTokens {
    /// Returns how many types there are.
    fn types(&self) -> usize;

    /// Computes logits as [`forward`](CausalLm::forward) does, of tokens with their types, padded
    /// or not.
    fn forward_typed(
        &self,
        tokens: Tensor<2, Int>,
        types: Tensor<2, Int>,
        padding: Option<&Padding>,
    ) -> Tensor<3>;
}

/// A model that takes images: a row is one of them, its positions are those in which the model
/// divides it, and its logits are of classes.
pub trait Images {
    /// Returns the channels, the height and the width of an image.
    fn size(&self) -> [usize; 3];

    /// Returns what a class is called, if it has a name.
    fn label(&self, class: u32) -> Option<&str>;

    /// Computes `[batch, 1, class]` logits of `[batch, channel, height, width]` pixels.
    fn forward_images(&self, pixels: Tensor<4>) -> Tensor<3>;
}
