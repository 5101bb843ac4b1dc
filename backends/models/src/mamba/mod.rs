//! Mamba (Gu and Dao 2023): a causal language model whose blocks are selective state spaces, with
//! everything inside as a site.
//!
//! | point | shape | what it is |
//! |---|---|---|
//! | `layers.N.input`, `layers.N.output` | `[batch, position, width]` | the residual stream (`blocks.N.hook_resid_pre`, `blocks.N.hook_resid_post`) |
//! | `layers.N.norm`, with `scale` and `normalized` | | the norm in front of the mixer |
//! | `mixer.ssm_input.output`, `mixer.gate.output` | `[batch, position, inner]` | the two halves of what is projected in |
//! | `mixer.conv.output` | `[batch, position, inner]` | after the convolution and its nonlinearity |
//! | `mixer.delta.output` | `[batch, position, inner]` | the length of each step, after the softplus |
//! | `mixer.b.output`, `mixer.c.output` | `[batch, position, state]` | what goes into the state, and what is read of it |
//! | `mixer.states.output` | `[batch, position, inner, state]` | the state after each position; an edit changes what is read of it, and no later state |
//! | `mixer.y.output` | `[batch, position, inner]` | what is read of the state, with the skip, before the gate |
//! | `mixer.output` | `[batch, position, width]` | what is added to the stream |
//!
//! Beside them there are `embed`, `norm` and `unembed`. A generation keeps the last inputs of the
//! convolutions and the last states, and calls the model once for each new token.
//!
//! Weights are those of the file. transformers 5.24 divides `out_proj.weight` by the square root of
//! the number of blocks each time that it reads a model whose configuration has
//! `rescale_prenorm_residual`, which is about weights that are drawn.

mod config;
mod lm;
mod mixer;

use burn::module::Module;
use burn::tensor::{Int, Tensor};
use interloom_backends::Hooked;

use crate::decoder::{Norm, Projection, TokenEmbedding};

pub use config::MambaConfig;
pub use lm::MambaLm;
pub use mixer::{MambaMixer, MixerState};

/// A language model: `[batch, position]` tokens to `[batch, position, token]` logits.
#[derive(Module, Debug)]
pub struct MambaModel {
    embed: Hooked<TokenEmbedding>,
    layers: Vec<Hooked<MambaBlock>>,
    norm: Hooked<Norm>,
    unembed: Hooked<Projection>,
}

/// One block: a mixer, whose output is added to the residual stream.
#[derive(Module, Debug)]
pub struct MambaBlock {
    norm: Hooked<Norm>,
    mixer: Hooked<MambaMixer>,
}

impl MambaModel {
    /// Computes logits for `tokens`, which continue those that `states` have seen: one for each
    /// block, of the same batch.
    pub fn forward_from(&self, tokens: Tensor<2, Int>, states: &mut [MixerState]) -> Tensor<3> {
        let mut residual = self.embed.forward(tokens);
        for (layer, state) in self.layers.iter().zip(states) {
            residual = layer.call(residual, |block, x| block.forward(x, state));
        }
        self.unembed.forward(self.norm.forward(residual))
    }
}

impl MambaBlock {
    fn forward(&self, residual: Tensor<3>, state: &mut MixerState) -> Tensor<3> {
        let normalized = self.norm.forward(residual.clone());
        let mixed = self
            .mixer
            .call(normalized, |mixer, x| mixer.forward(x, state));
        residual + mixed
    }
}
