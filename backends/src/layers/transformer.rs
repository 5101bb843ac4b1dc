//! Transformers, with and without a cache.

use burn::nn::transformer::{
    TransformerDecoder, TransformerDecoderAutoregressiveCache,
    TransformerDecoderInput as BurnDecoderInput, TransformerDecoderLayer, TransformerEncoder,
    TransformerEncoderAutoregressiveCache, TransformerEncoderInput as BurnEncoderInput,
    TransformerEncoderLayer, TransformerEncoderLayerAutoregressiveCache,
};
use burn::tensor::{Bool, Tensor};

use super::named::erase_as_map;
use crate::forward::Forward;
use crate::hooked::Hooked;

/// The input of a transformer encoder: burn's own, with fields that a site can show.
#[derive(Clone, Debug)]
pub struct TransformerEncoderInput {
    /// The sequence, `[batch, seq, d_model]`.
    pub tensor: Tensor<3>,
    /// Which positions are padding, `[batch, seq]`.
    pub mask_pad: Option<Tensor<2, Bool>>,
    /// Which positions another must not see, `[batch, seq, seq]`.
    pub mask_attn: Option<Tensor<3, Bool>>,
}

impl TransformerEncoderInput {
    /// Returns an input without masks.
    pub const fn new(tensor: Tensor<3>) -> Self {
        Self {
            tensor,
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

impl From<TransformerEncoderInput> for BurnEncoderInput {
    fn from(input: TransformerEncoderInput) -> Self {
        let mut burn = Self::new(input.tensor);
        if let Some(mask) = input.mask_pad {
            burn = burn.mask_pad(mask);
        }
        if let Some(mask) = input.mask_attn {
            burn = burn.mask_attn(mask);
        }
        burn
    }
}

erase_as_map!([] TransformerEncoderInput { tensor, mask_pad, mask_attn });

/// The input of a transformer decoder and of its layers: burn's own, with fields that a site can
/// show.
#[derive(Clone, Debug)]
pub struct TransformerDecoderInput {
    /// The sequence that is decoded, `[batch, seq_1, d_model]`.
    pub target: Tensor<3>,
    /// Which positions of it are padding, `[batch, seq_1]`.
    pub target_mask_pad: Option<Tensor<2, Bool>>,
    /// Which positions of it another must not see, `[batch, seq_1, seq_1]`.
    pub target_mask_attn: Option<Tensor<3, Bool>>,
    /// What it attends to, `[batch, seq_2, d_model]`.
    pub memory: Tensor<3>,
    /// Which positions of that are padding, `[batch, seq_2]`.
    pub memory_mask_pad: Option<Tensor<2, Bool>>,
    /// Which positions of that one of the target must not see, `[batch, seq_1, seq_2]`.
    pub memory_mask_attn: Option<Tensor<3, Bool>>,
}

impl TransformerDecoderInput {
    /// Returns an input without masks.
    pub const fn new(target: Tensor<3>, memory: Tensor<3>) -> Self {
        Self {
            target,
            target_mask_pad: None,
            target_mask_attn: None,
            memory,
            memory_mask_pad: None,
            memory_mask_attn: None,
        }
    }

    /// Sets the target's padding mask.
    pub fn target_mask_pad(mut self, mask: Tensor<2, Bool>) -> Self {
        self.target_mask_pad = Some(mask);
        self
    }

    /// Sets the target's attention mask.
    pub fn target_mask_attn(mut self, mask: Tensor<3, Bool>) -> Self {
        self.target_mask_attn = Some(mask);
        self
    }

    /// Sets the memory's padding mask.
    pub fn memory_mask_pad(mut self, mask: Tensor<2, Bool>) -> Self {
        self.memory_mask_pad = Some(mask);
        self
    }

    /// Sets the memory's attention mask.
    pub fn memory_mask_attn(mut self, mask: Tensor<3, Bool>) -> Self {
        self.memory_mask_attn = Some(mask);
        self
    }
}

impl From<TransformerDecoderInput> for BurnDecoderInput {
    fn from(input: TransformerDecoderInput) -> Self {
        let mut burn = Self::new(input.target, input.memory);
        if let Some(mask) = input.target_mask_pad {
            burn = burn.target_mask_pad(mask);
        }
        if let Some(mask) = input.target_mask_attn {
            burn = burn.target_mask_attn(mask);
        }
        if let Some(mask) = input.memory_mask_pad {
            burn = burn.memory_mask_pad(mask);
        }
        if let Some(mask) = input.memory_mask_attn {
            burn = burn.memory_mask_attn(mask);
        }
        burn
    }
}

erase_as_map!([] TransformerDecoderInput {
    target, target_mask_pad, target_mask_attn, memory, memory_mask_pad, memory_mask_attn,
});

impl Forward<TransformerEncoderInput> for TransformerEncoder {
    type Output = Tensor<3>;

    fn forward(&self, input: TransformerEncoderInput) -> Tensor<3> {
        Self::forward(self, input.into())
    }
}

/// The arguments of an encoder's layer: the sequence, its padding mask, its attention mask.
type EncoderLayerInput = (Tensor<3>, Option<Tensor<2, Bool>>, Option<Tensor<3, Bool>>);

impl Forward<EncoderLayerInput> for TransformerEncoderLayer {
    type Output = Tensor<3>;

    fn forward(&self, (input, mask_pad, mask_attn): EncoderLayerInput) -> Tensor<3> {
        Self::forward(self, input, mask_pad, mask_attn)
    }
}

impl Forward<TransformerDecoderInput> for TransformerDecoder {
    type Output = Tensor<3>;

    fn forward(&self, input: TransformerDecoderInput) -> Tensor<3> {
        Self::forward(self, input.into())
    }
}

/// What comes out is what went in with another target, as of burn's own layer.
impl Forward<TransformerDecoderInput> for TransformerDecoderLayer {
    type Output = TransformerDecoderInput;

    fn forward(&self, input: TransformerDecoderInput) -> TransformerDecoderInput {
        // The layer's own result does not show its target; that of a decoder of this one layer is
        // its target. A clone of a layer shares its tensors.
        let alone = TransformerDecoder {
            layers: vec![self.clone()],
            d_model: self.self_attn.d_model,
            d_ff: self.pwff.linear_inner.weight.lazy_shape()[1],
            n_heads: self.self_attn.n_heads,
            n_layers: 1,
            dropout: self.dropout.prob,
            norm_first: self.norm_first,
            quiet_softmax: self.self_attn.quiet_softmax,
        };
        let target = TransformerDecoder::forward(&alone, input.clone().into());
        TransformerDecoderInput { target, ..input }
    }
}

impl Hooked<TransformerEncoder> {
    /// Encodes one position more with a cache, which is no part of the input site.
    pub fn forward_autoregressive_inference(
        &self,
        input: TransformerEncoderInput,
        cache: &mut TransformerEncoderAutoregressiveCache,
    ) -> Tensor<3> {
        self.call(input, |layer, input: TransformerEncoderInput| {
            layer.forward_autoregressive_inference(input.into(), cache)
        })
    }
}

impl Hooked<TransformerEncoderLayer> {
    /// Encodes one position more with a cache, which is no part of the input site.
    pub fn forward_autoregressive_inference(
        &self,
        input: EncoderLayerInput,
        cache: &mut TransformerEncoderLayerAutoregressiveCache,
    ) -> Tensor<3> {
        self.call(
            input,
            |layer, (input, mask_pad, mask_attn): EncoderLayerInput| {
                layer.forward_autoregressive_inference(input, mask_pad, mask_attn, cache)
            },
        )
    }
}

impl Hooked<TransformerDecoder> {
    /// Decodes one position more with a cache, which is no part of the input site.
    pub fn forward_autoregressive_inference(
        &self,
        input: TransformerDecoderInput,
        cache: &mut TransformerDecoderAutoregressiveCache,
    ) -> Tensor<3> {
        self.call(input, |layer, input: TransformerDecoderInput| {
            layer.forward_autoregressive_inference(input.into(), cache)
        })
    }
}
