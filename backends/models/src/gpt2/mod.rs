//! Language models of the GPT-2 architecture, written out so that everything inside is a site.
//!
//! Pre-norm blocks of attention and a feed-forward layer, with learned positions (Radford et al.
//! 2019). The paths of a block `layers.N` are those of [`llama`](crate::llama) without its rotary
//! points and its gate:
//!
//! | point | shape | TransformerLens |
//! |---|---|---|
//! | `input`, `resid_mid.output`, `output` | `[batch, position, width]` | `hook_resid_pre`, `hook_resid_mid`, `hook_resid_post` |
//! | `ln1.scale.output`, `ln2.scale.output` | `[batch, position, 1]` | `ln1.hook_scale`, `ln2.hook_scale` |
//! | `ln1.normalized.output`, `ln2.normalized.output` (before gain and bias) | `[batch, position, width]` | `ln1.hook_normalized`, `ln2.hook_normalized` |
//! | `ln1.output`, `ln2.output` (after them) | `[batch, position, width]` | |
//! | `attn.q.output`, `attn.k.output`, `attn.v.output` | `[batch, position, head, head width]` | `attn.hook_q`, `attn.hook_k`, `attn.hook_v` |
//! | `attn.scores.output`, `attn.pattern.output` | `[batch, head, query, key]` | `attn.hook_attn_scores`, `attn.hook_pattern` |
//! | `attn.z.output` | `[batch, position, head, head width]` | `attn.hook_z` |
//! | `attn.output`, `mlp.output` | `[batch, position, width]` | `hook_attn_out`, `hook_mlp_out` |
//! | `mlp.pre.output`, `mlp.post.output` | `[batch, position, hidden width]` | `mlp.hook_pre`, `mlp.hook_post` |
//!
//! Beside them there are `embed` and `pos_embed`, whose input is `[1, position]` positions, `norm`
//! (with the names of `ln_final` for its taps) and `unembed`; the model's own `input` is `[batch,
//! position]` tokens and its own `output` `[batch, position, token]` logits.

mod call;
mod config;
mod lm;
mod load;
mod norm;

use burn::module::Module;
use burn::nn::{Embedding, Linear};
use burn::tensor::{Int, Tensor, activation};
use interloom_backends::{Forward, Hooked, Tap};

pub use crate::attention::KvCache;
use crate::attention::scores;
pub use crate::projection::Projection;
pub use config::{Activation, Gpt2Config};
pub use lm::{ARCHITECTURE, Gpt2Lm};
pub use load::load;
pub use norm::Gpt2Norm;

/// A language model: `[batch, position]` tokens to `[batch, position, token]` logits.
#[derive(Module, Debug)]
pub struct Gpt2 {
    /// The embedding of tokens.
    pub embed: Hooked<Embedding>,
    /// The embedding of positions.
    pub pos_embed: Hooked<Embedding>,
    /// The blocks.
    pub layers: Vec<Hooked<Gpt2Block>>,
    /// The norm in front of the output layer.
    pub norm: Hooked<Gpt2Norm>,
    /// The output layer.
    pub unembed: Hooked<Projection>,
}

/// One block: attention, then a feed-forward layer, each added to the residual stream.
#[derive(Module, Debug)]
pub struct Gpt2Block {
    /// The norm in front of the attention.
    pub ln1: Hooked<Gpt2Norm>,
    /// The attention.
    pub attn: Hooked<Gpt2Attention>,
    /// The residual stream between the two.
    pub resid_mid: Tap,
    /// The norm in front of the feed-forward layer.
    pub ln2: Hooked<Gpt2Norm>,
    /// The feed-forward layer.
    pub mlp: Hooked<Gpt2Mlp>,
}

/// Causal attention, whose queries, keys and values one linear layer computes.
#[derive(Module, Debug)]
pub struct Gpt2Attention {
    query_key_value: Linear,
    output: Linear,
    q: Tap,
    k: Tap,
    v: Tap,
    scores: Tap,
    pattern: Tap,
    z: Tap,
    heads: usize,
    score_divisor: f64,
}

/// The feed-forward layer: `down(activation(up(x)))`.
#[derive(Module, Debug)]
pub struct Gpt2Mlp {
    up: Linear,
    down: Linear,
    pre: Tap,
    post: Tap,
    #[module(skip)]
    activation: Activation,
}

impl Gpt2 {
    /// Computes logits for `tokens`, which continue what `cache` holds.
    ///
    /// # Panics
    ///
    /// Panics if the tokens do not fit into the cache, or the batch is another than the cache's.
    /// [`LanguageModel`](crate::LanguageModel) checks that.
    pub fn forward_cached(&self, tokens: Tensor<2, Int>, cache: &mut KvCache) -> Tensor<3> {
        let length = tokens.dims()[1];
        let positions = positions(cache.len(), &tokens);
        let mut residual =
            self.embed.forward(tokens) + self.pos_embed.forward(positions.unsqueeze::<2>());
        for (index, layer) in self.layers.iter().enumerate() {
            residual = layer.call(residual, |block, x| block.forward(x, cache, index));
        }
        cache.advance(length);
        self.unembed.forward(self.norm.forward(residual))
    }
}

/// Returns the positions of tokens after `before` others.
fn positions(before: usize, tokens: &Tensor<2, Int>) -> Tensor<1, Int> {
    let after = before + tokens.dims()[1];
    Tensor::arange(before as i64..after as i64, &tokens.device())
}

impl Gpt2Block {
    fn forward(&self, residual: Tensor<3>, cache: &mut KvCache, index: usize) -> Tensor<3> {
        let normalized = self.ln1.forward(residual.clone());
        let attend = |attn: &Gpt2Attention, x| attn.forward(x, cache, index).0;
        let residual = self
            .resid_mid
            .pass(self.attn.call(normalized, attend) + residual);
        self.mlp.forward(self.ln2.forward(residual.clone())) + residual
    }
}

impl Gpt2Attention {
    /// Computes the output of block number `layer`'s attention, `[batch, position, width]`, and its
    /// `[batch, head, query, key]` pattern.
    pub fn forward(
        &self,
        x: Tensor<3>,
        cache: &mut KvCache,
        layer: usize,
    ) -> (Tensor<3>, Tensor<4>) {
        let [batch, length, width] = x.dims();
        let all = self.query_key_value.forward(x);
        let part = |tap: &Tap, part: usize| {
            let part = all.clone().narrow(2, part * width, width);
            let heads = part.reshape([batch, length, self.heads, width / self.heads]);
            tap.pass(heads).swap_dims(1, 2)
        };
        let (q, k, v) = (part(&self.q, 0), part(&self.k, 1), part(&self.v, 2));
        let (k, v) = cache.extend(layer, k, v);
        let scores = self.scores.pass(scores(q, k, self.score_divisor));
        let pattern = self.pattern.pass(activation::softmax(scores, 3));
        let z = self.z.pass(pattern.clone().matmul(v).swap_dims(1, 2));
        let output = self.output.forward(z.reshape([batch, length, width]));
        (output, pattern)
    }
}

impl Forward<Tensor<3>> for Gpt2Mlp {
    type Output = Tensor<3>;

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let pre = self.pre.pass(self.up.forward(x));
        let post = self.post.pass(self.activation.of(pre));
        self.down.forward(post)
    }
}

/// Returns the TransformerLens names of a model with `layers` blocks, with the points that they
/// name.
fn aliases(layers: usize) -> Vec<(String, String)> {
    const IN_BLOCK: [(&str, &str); 17] = [
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
        ("attn.hook_attn_scores", "attn.scores.output"),
        ("attn.hook_pattern", "attn.pattern.output"),
        ("attn.hook_z", "attn.z.output"),
        ("mlp.hook_pre", "mlp.pre.output"),
        ("mlp.hook_post", "mlp.post.output"),
    ];
    const WHOLE: [(&str, &str); 4] = [
        ("hook_embed", "embed.output"),
        ("hook_pos_embed", "pos_embed.output"),
        ("ln_final.hook_scale", "norm.scale.output"),
        ("ln_final.hook_normalized", "norm.normalized.output"),
    ];
    crate::aliases(&WHOLE, &IN_BLOCK, layers)
}
