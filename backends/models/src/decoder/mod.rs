//! The decoder: causal language models of every family, described by configuration, and written out
//! so that everything inside is a site.
//!
//! Blocks of attention and a feed-forward layer, each added to a residual stream. The paths of a
//! block `layers.N`, with the TransformerLens names of its points behind `blocks.N.`; a model has
//! those of them that it computes:
//!
//! | point | shape | TransformerLens |
//! |---|---|---|
//! | `input`, `resid_mid.output`, `output` | `[batch, position, width]` | `hook_resid_pre`, `hook_resid_mid`, `hook_resid_post`; in BERT, whose norms are on the stream, the latter two name `ln1.input` and `ln2.input`, and `output` is `hook_normalized_resid_post` |
//! | `ln1.scale.output`, `ln2.scale.output` | `[batch, position, 1]` | `ln1.hook_scale`, `ln2.hook_scale` |
//! | `ln1.normalized.output`, `ln2.normalized.output` (before gain and bias) | `[batch, position, width]` | `ln1.hook_normalized`, `ln2.hook_normalized` |
//! | `ln1.output`, `ln2.output` (after them) | `[batch, position, width]` | |
//! | `ln1_post`, `ln2_post` (norms of what a layer adds to the stream) | as `ln1` | `ln1_post.hook_scale` and so on |
//! | `attn.q.output` | `[batch, position, head, head width]` | `attn.hook_q` |
//! | `attn.k.output`, `attn.v.output` | `[batch, position, kv head, head width]` | `attn.hook_k`, `attn.hook_v` |
//! | `attn.q_norm`, `attn.k_norm` (norms of queries and keys) | as `q` and `k` | |
//! | `attn.rot_q.output`, `attn.rot_k.output` | as `q` and `k` | `attn.hook_rot_q`, `attn.hook_rot_k` |
//! | `attn.scores.output` (not masked yet), `attn.pattern.output` | `[batch, head, query, key]` | `attn.hook_attn_scores`, `attn.hook_pattern` |
//! | `attn.z.output` | `[batch, position, head, head width]` | `attn.hook_z` |
//! | `attn.result.output` (what each head adds to the stream; computed if somebody waits there) | `[batch, position, head, width]` | `attn.hook_result` |
//! | `attn.output`, `mlp.output` (with a norm behind them, that of `ln1_post`, `ln2_post`) | `[batch, position, width]` | `hook_attn_out`, `hook_mlp_out` |
//! | `mlp.pre.output`, `mlp.pre_linear.output` (of a gated layer), `mlp.post.output` | `[batch, position, hidden width]` | `mlp.hook_pre`, `mlp.hook_pre_linear`, `mlp.hook_post` |
//! | `mlp.router.output` (logits), `mlp.weights.output` (0 for experts that are not taken) | `[batch, position, expert]` | |
//! | `mlp.experts.E` and `mlp.shared.expert`, with the points of `mlp`; `mlp.shared.gate` | | of an expert's `pre`, `pre_linear` and `post`: `mlp.experts.E.hook_gate`, `hook_pre`, `hook_post` |
//!
//! Beside them there are `embed` (multiplied, where a model does that), `project_in`, `type_embed`,
//! `embed_norm`, `pos_embed` (whose input is `[1, position]` rows of its table), `norm` (with the
//! names of `ln_final` for its taps), `project_out`, `transform` and `unembed`; the model's own
//! `input` is `[batch, position]` tokens and its own `output` `[batch, position, token]` logits.
//!
//! The calls inside of `attn` and `mlp` are sites below `attn.source` and `mlp.source`, such as
//! `attn.source.softmax_0`, `attn.source.rotate_0` (of the queries) and `mlp.source.silu_0`. Scores
//! are masked behind `attn.scores`, by the operation `attn.source.mask_fill_0`.
//!
//! With a [`KvCache`] the model is called once for the prompt and once for each new token, and the
//! sites count these calls as iterations.

mod activation;
mod aliases;
mod attention;
mod block;
mod cache;
mod call;
mod config;
mod heads;
mod lm;
mod load;
mod mlp;
mod names;
mod norm;
mod place;
mod rotary;
mod rotation;
#[cfg(test)]
mod samples;
mod scores;
mod transform;

use burn::module::{Module, Param};
use burn::nn::Embedding;
use burn::tensor::{Device, Int, Tensor, module};
use interloom_backends::{Forward, Hooked};
use interloom_engine::Padding;

pub use activation::Activation;
pub use attention::CausalAttention;
pub use block::{Block, Positions};
pub use cache::KvCache;
pub(crate) use cache::{cleared, is_padding};
pub use config::{
    Alibi, AttentionConfig, BlockConfig, DecoderConfig, EmbeddingNorm, ExpertsConfig, Gain,
    HeadNormConfig, LearnedPositions, MlpConfig, NormConfig, Norms, OutputConfig, SharedBlocks,
    Statistic, Together, Wiring,
};
pub use lm::DecoderLm;
#[cfg(test)]
pub(crate) use lm::open;
pub(crate) use load::{load, load_blocks};
pub use mlp::{Experts, FeedForward, GatedMlp, PlainMlp};
pub(crate) use names::{Fused, LLAMA_NAMES, MlpNames, Names, QkvNames};
pub use norm::{HeadNorm, Norm};
pub(crate) use place::Place;
pub use rotary::{Layout, Rotary, RotaryConfig, Scaling};
pub(crate) use scores::with_padding;
pub use transform::OutputTransform;

pub use crate::projection::Projection;

/// A causal language model: `[batch, position]` tokens to `[batch, position, token]` logits.
#[derive(Module, Debug)]
pub struct DecoderModel {
    /// The embedding of tokens.
    pub embed: Hooked<TokenEmbedding>,
    /// From the width of the embedding to that of the stream, if they differ.
    pub project_in: Option<Hooked<Projection>>,
    /// The embedding of types of tokens.
    pub type_embed: Option<Hooked<Embedding>>,
    /// The norm of embedded tokens, or of the sum of all embeddings.
    pub embed_norm: Option<Hooked<Norm>>,
    /// The embedding of positions.
    pub pos_embed: Option<Hooked<Embedding>>,
    /// The blocks.
    pub layers: Vec<Hooked<Block>>,
    /// The norm in front of the output layer.
    pub norm: Option<Hooked<Norm>>,
    /// From the width of the stream to that of the embedding, if they differ.
    pub project_out: Option<Hooked<Projection>>,
    /// The layer in front of the output layer of models that fill in what is masked.
    pub transform: Option<Hooked<OutputTransform>>,
    /// The output layer.
    pub unembed: Hooked<Projection>,
    rotary: Vec<Rotary>,
    /// How many rows of the table of positions come before that of the first.
    position_offset: usize,
    #[module(skip)]
    embedding_norm: EmbeddingNorm,
    projects_sum: bool,
}

/// The embedding of tokens.
#[derive(Module, Debug)]
pub struct TokenEmbedding {
    weight: Param<Tensor<2>>,
    #[module(skip)]
    multiplier: Option<f64>,
}

impl TokenEmbedding {
    pub(crate) const fn new(weight: Param<Tensor<2>>, multiplier: Option<f64>) -> Self {
        Self { weight, multiplier }
    }

    pub(crate) fn device(&self) -> Device {
        self.weight.device()
    }
}

impl Forward<Tensor<2, Int>> for TokenEmbedding {
    type Output = Tensor<3>;

    fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let embedded = module::embedding(self.weight.val(), tokens);
        match self.multiplier {
            Some(multiplier) => embedded * multiplier,
            None => embedded,
        }
    }
}

impl DecoderModel {
    /// Computes logits for `tokens`, which continue what `cache` holds.
    ///
    /// # Panics
    ///
    /// Panics if the tokens do not fit into the cache, or the batch is another than the cache's.
    /// [`LanguageModel`](crate::LanguageModel) checks that.
    pub fn forward_cached(&self, tokens: Tensor<2, Int>, cache: &mut KvCache) -> Tensor<3> {
        self.forward_typed(tokens, None, cache)
    }

    /// Computes logits as [`forward_cached`](Self::forward_cached) does, for tokens of these types;
    /// of the first, if none are given.
    ///
    /// # Panics
    ///
    /// As for `forward_cached`, and if there are other types than the model knows.
    pub fn forward_typed(
        &self,
        tokens: Tensor<2, Int>,
        types: Option<Tensor<2, Int>>,
        cache: &mut KvCache,
    ) -> Tensor<3> {
        let [batch, length] = tokens.dims();
        let device = tokens.device();
        let place = Place::new(cache.padding(), batch, cache.len(), length);
        let positions = self.positions(&place, &device);
        let mut residual = self.embedded(tokens, types, &place);
        for (index, layer) in self.layers.iter().enumerate() {
            residual = layer.call(residual, |block, residual| {
                block.forward(residual, &positions, cache, index)
            });
        }
        cache.advance(length);
        let residual = match &self.norm {
            Some(norm) => norm.forward(residual),
            None => residual,
        };
        let residual = match &self.project_out {
            Some(project) => project.forward(residual),
            None => residual,
        };
        let residual = match &self.transform {
            Some(transform) => transform.forward(residual),
            None => residual,
        };
        self.unembed.forward(residual)
    }

    /// Returns how many blocks the model has.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Returns whether the model has no blocks.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// Returns what blocks need to know of the positions at hand.
    fn positions(&self, place: &Place<'_>, device: &Device) -> Positions {
        let angles = self.rotary.iter().map(|rotary| rotary.at(place));
        let attentions = self.layers.iter().map(|layer| layer.inner().attn.inner());
        Positions::new(angles.collect(), attentions, place, device)
    }

    /// Returns what enters the first block: embedded tokens at their place.
    fn embedded(
        &self,
        tokens: Tensor<2, Int>,
        types: Option<Tensor<2, Int>>,
        place: &Place<'_>,
    ) -> Tensor<3> {
        let device = tokens.device();
        let types = types.unwrap_or_else(|| tokens.zeros_like());
        let project = |x: Tensor<3>, is_here: bool| match &self.project_in {
            Some(project) if is_here => project.forward(x),
            _ => x,
        };
        let normalize = |x: Tensor<3>, place| match &self.embed_norm {
            Some(norm) if self.embedding_norm == place => norm.forward(x),
            _ => x,
        };
        let embedded = project(self.embed.forward(tokens), !self.projects_sum);
        let embedded = normalize(embedded, EmbeddingNorm::Tokens);
        let embedded = match &self.type_embed {
            Some(table) => embedded + table.forward(types),
            None => embedded,
        };
        let embedded = match &self.pos_embed {
            Some(table) => {
                let rows = place.numbers(&device) + self.position_offset as i64;
                embedded + table.forward(rows)
            }
            None => embedded,
        };
        project(normalize(embedded, EmbeddingNorm::Sum), self.projects_sum)
    }

    /// Returns whether keys of sequences of `before` positions, of which some are padding, are
    /// those of sequences of `after`.
    fn keeps_keys(&self, padding: Option<&Padding>, before: usize, after: usize) -> bool {
        let mut pads = padding
            .map_or(vec![0], |padding| padding.pads().collect())
            .into_iter();
        pads.all(|pad| {
            let own = |length: usize| length.saturating_sub(pad as usize);
            let mut rotary = self.rotary.iter();
            rotary.all(|rotary| rotary.is_alike(own(before), own(after)))
        })
    }
}
