//! Attention, with and without a cache.

use burn::nn::attention::{
    CrossAttention, CrossAttentionCache, MhaCache, MhaInput as BurnInput, MhaOutput,
    MultiHeadAttention,
};
use burn::tensor::{Bool, Tensor};

use super::named::erase_as_map;
use crate::forward::Forward;
use crate::hooked::Hooked;

/// The input of multi-head attention: burn's own, with fields that a site can show.
///
/// ```
/// # use burn::{nn::attention::MultiHeadAttentionConfig, prelude::*};
/// use interloom_backends::{Hooked, layers::MhaInput};
///
/// # let device = Device::flex();
/// let attention = Hooked::from(MultiHeadAttentionConfig::new(4, 2).init(&device));
/// let x = Tensor::<3>::ones([1, 3, 4], &device);
/// let output = attention.forward(MhaInput::self_attn(x));
/// # assert_eq!(output.context.dims(), [1, 3, 4]);
/// ```
#[derive(Clone, Debug)]
pub struct MhaInput {
    /// Queries, `[batch, seq_1, d_model]`.
    pub query: Tensor<3>,
    /// Keys, `[batch, seq_2, d_model]`.
    pub key: Tensor<3>,
    /// Values, `[batch, seq_2, d_model]`.
    pub value: Tensor<3>,
    /// Which keys are padding, `[batch, seq_2]`.
    pub mask_pad: Option<Tensor<2, Bool>>,
    /// Which keys a query must not see, `[batch, seq_1, seq_2]`.
    pub mask_attn: Option<Tensor<3, Bool>>,
}

impl MhaInput {
    /// Returns the input in which `x` attends to itself.
    pub fn self_attn(x: Tensor<3>) -> Self {
        Self::new(x.clone(), x.clone(), x)
    }

    /// Returns an input without masks.
    pub const fn new(query: Tensor<3>, key: Tensor<3>, value: Tensor<3>) -> Self {
        Self {
            query,
            key,
            value,
            mask_pad: None,
            mask_attn: None,
        }
    }

    /// Sets the padding mask.
    pub fn mask_pad(mut self, mask: Tensor<2, Bool>) -> Self {
        self.mask_pad = Some(mask);
        self
    }

    /// Sets the attention mask.
    pub fn mask_attn(mut self, mask: Tensor<3, Bool>) -> Self {
        self.mask_attn = Some(mask);
        self
    }
}

impl From<MhaInput> for BurnInput {
    fn from(input: MhaInput) -> Self {
        let mut burn = Self::new(input.query, input.key, input.value);
        if let Some(mask) = input.mask_pad {
            burn = burn.mask_pad(mask);
        }
        if let Some(mask) = input.mask_attn {
            burn = burn.mask_attn(mask);
        }
        burn
    }
}

erase_as_map!([] MhaInput { query, key, value, mask_pad, mask_attn });
erase_as_map!([] MhaOutput { weights, context });

impl Forward<MhaInput> for MultiHeadAttention {
    type Output = MhaOutput;

    fn forward(&self, input: MhaInput) -> MhaOutput {
        Self::forward(self, input.into())
    }
}

/// The arguments of cross attention: the query, the context, and which of the context is padding.
type CrossInput = (Tensor<3>, Tensor<3>, Option<Tensor<2, Bool>>);

impl Forward<CrossInput> for CrossAttention {
    type Output = Tensor<3>;

    fn forward(&self, (query, context, mask): CrossInput) -> Tensor<3> {
        Self::forward(self, query, context, mask)
    }
}

impl Hooked<MultiHeadAttention> {
    /// Computes attention with a cache, which is no part of the input site.
    pub fn forward_cache(&self, input: MhaInput, cache: &mut MhaCache) -> MhaOutput {
        self.call(input, |layer, input: MhaInput| {
            layer.forward_cache(input.into(), cache)
        })
    }
}

impl Hooked<CrossAttention> {
    /// Computes attention with a cache, which is no part of the input site.
    pub fn forward_cache(&self, input: CrossInput, cache: &mut CrossAttentionCache) -> Tensor<3> {
        self.call(input, |layer, (query, context, mask): CrossInput| {
            layer.forward_cache(query, context, mask, cache)
        })
    }
}
