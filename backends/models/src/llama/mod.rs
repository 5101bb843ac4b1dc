//! Language models of the Llama architecture, written out so that everything inside is a site.
//!
//! Pre-norm blocks of attention with grouped heads and rotary positions, and a gated feed-forward
//! layer (Touvron et al. 2023). The paths of a block `layers.N`, with the TransformerLens names of
//! its points behind `blocks.N.`:
//!
//! | point | shape | TransformerLens |
//! |---|---|---|
//! | `input`, `resid_mid.output`, `output` | `[batch, position, width]` | `hook_resid_pre`, `hook_resid_mid`, `hook_resid_post` |
//! | `ln1.scale.output`, `ln2.scale.output` | `[batch, position, 1]` | `ln1.hook_scale`, `ln2.hook_scale` |
//! | `ln1.normalized.output`, `ln2.normalized.output` (before the gain) | `[batch, position, width]` | `ln1.hook_normalized`, `ln2.hook_normalized` |
//! | `ln1.output`, `ln2.output` (after the gain) | `[batch, position, width]` | |
//! | `attn.q.output` | `[batch, position, head, head width]` | `attn.hook_q` |
//! | `attn.k.output`, `attn.v.output` | `[batch, position, kv head, head width]` | `attn.hook_k`, `attn.hook_v` |
//! | `attn.rot_q.output`, `attn.rot_k.output` | as `q` and `k` | `attn.hook_rot_q`, `attn.hook_rot_k` |
//! | `attn.scores.output`, `attn.pattern.output` | `[batch, head, query, key]` | `attn.hook_attn_scores`, `attn.hook_pattern` |
//! | `attn.z.output` | `[batch, position, head, head width]` | `attn.hook_z` |
//! | `attn.output`, `mlp.output` | `[batch, position, width]` | `hook_attn_out`, `hook_mlp_out` |
//! | `mlp.pre.output`, `mlp.pre_linear.output`, `mlp.post.output` | `[batch, position, hidden width]` | `mlp.hook_pre`, `mlp.hook_pre_linear`, `mlp.hook_post` |
//!
//! Beside them there are `embed`, `norm` (with the names of `ln_final` for its taps) and `unembed`;
//! the model's own `input` is `[batch, position]` tokens and its own `output` `[batch, position,
//! token]` logits.
//!
//! The calls inside of `attn` and `mlp` are sites below `attn.source` and `mlp.source`, such as
//! `attn.source.softmax_0`, `attn.source.rotate_0` (of the queries) and `mlp.source.silu_0`.
//!
//! With a [`KvCache`] the model is called once for the prompt and once for each new token, and the
//! sites count these calls as iterations.

mod attention;
mod call;
mod config;
mod lm;
mod load;
mod names;
mod norm;

use burn::module::Module;
use burn::nn::Embedding;
use burn::tensor::{Int, Tensor, activation};
use interloom_backends::{Forward, Hooked, Operations, Tap, operations};

pub use attention::{LlamaAttention, Rotary};
pub use config::LlamaConfig;
pub use lm::{ARCHITECTURE, LlamaLm};
pub use norm::Norm;

pub use crate::attention::KvCache;
pub use crate::projection::Projection;

#[cfg(test)]
pub(crate) use lm::open;

/// A language model: `[batch, position]` tokens to `[batch, position, token]` logits.
#[derive(Module, Debug)]
pub struct Llama {
    embed: Hooked<Embedding>,
    layers: Vec<Hooked<Block>>,
    norm: Hooked<Norm>,
    unembed: Hooked<Projection>,
    rotary: Rotary,
}

/// One block: attention, then a gated feed-forward layer, each added to the residual stream.
#[derive(Module, Debug)]
pub struct Block {
    ln1: Hooked<Norm>,
    attn: Hooked<LlamaAttention>,
    resid_mid: Tap,
    ln2: Hooked<Norm>,
    mlp: Hooked<Mlp>,
}

/// The gated feed-forward layer: `down(silu(gate(x)) * up(x))`.
#[derive(Module, Debug)]
pub struct Mlp {
    gate: Projection,
    up: Projection,
    down: Projection,
    pre: Tap,
    pre_linear: Tap,
    post: Tap,
    source: Operations,
}

impl Llama {
    /// Computes logits for `tokens`, which continue what `cache` holds.
    ///
    /// # Panics
    ///
    /// Panics if the tokens do not fit into the cache, or the batch is another than the cache's.
    /// [`LanguageModel`](crate::LanguageModel) checks that.
    pub fn forward_cached(&self, tokens: Tensor<2, Int>, cache: &mut KvCache) -> Tensor<3> {
        let angles = self.rotary.at(cache.len(), tokens.dims()[1]);
        let mut residual = self.embed.forward(tokens);
        for (index, layer) in self.layers.iter().enumerate() {
            residual = layer.call(residual, |block, residual| {
                block.forward(residual, &angles, cache, index)
            });
        }
        cache.advance(angles.positions());
        self.unembed.forward(self.norm.forward(residual))
    }

    /// Returns how many blocks the model has.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Returns whether the model has no blocks.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

impl Block {
    fn forward(
        &self,
        residual: Tensor<3>,
        angles: &attention::Angles,
        cache: &mut KvCache,
        index: usize,
    ) -> Tensor<3> {
        let normalized = self.ln1.forward(residual.clone());
        let attended = self
            .attn
            .call(normalized, |attn, x| attn.forward(x, angles, cache, index));
        let residual = self.resid_mid.pass(residual + attended);
        residual.clone() + self.mlp.forward(self.ln2.forward(residual))
    }
}

#[operations]
impl Forward<Tensor<3>> for Mlp {
    type Output = Tensor<3>;

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let gate = self.pre.pass(self.gate.forward(x.clone()));
        let up = self.pre_linear.pass(self.up.forward(x));
        let post = self.post.pass(activation::silu(gate) * up);
        self.down.forward(post)
    }
}

/// Returns the TransformerLens names of a model with `layers` blocks, with the points that they
/// name.
fn aliases(layers: usize) -> Vec<(String, String)> {
    const IN_BLOCK: [(&str, &str); 20] = [
        ("hook_resid_pre", "input"),
        ("hook_resid_mid", "resid_mid.output"),
        ("hook_resid_post", "output"),
        ("hook_attn_out", "attn.output"),
        ("hook_mlp_out", "mlp.output"),
        ("ln1.hook_scale", "ln1.scale.output"),
        ("ln1.hook_normalized", "ln1.normalized.output"),
        ("ln2.hook_scale", "ln2.scale.output"),
        ("ln2.hook_normalized", "ln2.normalized.output"),
        ("attn.hook_q", "attn.q.output"),
        ("attn.hook_k", "attn.k.output"),
        ("attn.hook_v", "attn.v.output"),
        ("attn.hook_rot_q", "attn.rot_q.output"),
        ("attn.hook_rot_k", "attn.rot_k.output"),
        ("attn.hook_attn_scores", "attn.scores.output"),
        ("attn.hook_pattern", "attn.pattern.output"),
        ("attn.hook_z", "attn.z.output"),
        ("mlp.hook_pre", "mlp.pre.output"),
        ("mlp.hook_pre_linear", "mlp.pre_linear.output"),
        ("mlp.hook_post", "mlp.post.output"),
    ];
    const WHOLE: [(&str, &str); 3] = [
        ("hook_embed", "embed.output"),
        ("ln_final.hook_scale", "norm.scale.output"),
        ("ln_final.hook_normalized", "norm.normalized.output"),
    ];
    crate::aliases(&WHOLE, &IN_BLOCK, layers)
}
