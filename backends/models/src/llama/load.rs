//! Loading: from weights by name to a bound model.

use burn::nn::Embedding;
use burn::tensor::Device;
use interloom_backends::{Bound, Hooked, Operations, Tap};

use super::attention::{LlamaAttention, Rotary};
use super::norm::Norm;
use super::{Block, Llama, LlamaConfig, Mlp, aliases};
use crate::files::{FileError, Weights};
use crate::loader::Loader;
use crate::projection::Projection;

/// The most positions for which rotary tables are made; longer prompts are refused.
const POSITIONS_MAX: usize = 8192;

/// Returns how many positions a model of `config` can take.
pub(super) fn positions(config: &LlamaConfig) -> usize {
    config.max_positions.min(POSITIONS_MAX)
}

/// Takes every weight of a model, and binds it.
pub(super) fn load(
    config: &LlamaConfig,
    weights: Weights,
    device: &Device,
) -> Result<Bound<Hooked<Llama>>, FileError> {
    let mut building = Building {
        config,
        loader: Loader::new(weights, device),
        device,
    };
    let model = building.llama()?;
    building.loader.weights.finish()?;
    let bound = Bound::new(Hooked::from(model))
        .and_then(|model| model.with_aliases(aliases(config.layers)));
    Ok(bound.expect("the model's own paths are distinct, and its aliases name them"))
}

struct Building<'a> {
    config: &'a LlamaConfig,
    loader: Loader<'a>,
    device: &'a Device,
}

impl Building<'_> {
    fn llama(&mut self) -> Result<Llama, FileError> {
        let config = self.config;
        let (tokens, width) = (config.vocab_size, config.hidden_size);
        let embedding = self
            .loader
            .parameter("model.embed_tokens.weight", [tokens, width])?;
        let layers = (0..config.layers).map(|layer| self.block(layer).map(Hooked::from));
        let layers = layers.collect::<Result<_, _>>()?;
        let norm = self.norm("model.norm")?;
        let unembedding =
            self.loader
                .output_layer(&embedding, [tokens, width], config.tie_embeddings)?;
        Ok(Llama {
            embed: Embedding { weight: embedding }.into(),
            layers,
            norm: norm.into(),
            unembed: Projection::new(unembedding, None).into(),
            rotary: Rotary::new(config, positions(config), self.device),
        })
    }

    fn block(&mut self, layer: usize) -> Result<Block, FileError> {
        let prefix = format!("model.layers.{layer}");
        Ok(Block {
            ln1: self.norm(&format!("{prefix}.input_layernorm"))?.into(),
            attn: self.attention(&format!("{prefix}.self_attn"))?.into(),
            resid_mid: Tap::new(),
            ln2: self
                .norm(&format!("{prefix}.post_attention_layernorm"))?
                .into(),
            mlp: self.mlp(&format!("{prefix}.mlp"))?.into(),
        })
    }

    fn attention(&mut self, prefix: &str) -> Result<LlamaAttention, FileError> {
        let config = self.config;
        let width = config.hidden_size;
        let queries = config.heads * config.head_dim;
        let keys = config.kv_heads * config.head_dim;
        let bias = config.attention_bias;
        let projections = [
            self.projection(&format!("{prefix}.q_proj"), width, queries, bias)?,
            self.projection(&format!("{prefix}.k_proj"), width, keys, bias)?,
            self.projection(&format!("{prefix}.v_proj"), width, keys, bias)?,
            self.projection(&format!("{prefix}.o_proj"), queries, width, bias)?,
        ];
        Ok(LlamaAttention::new(projections, config))
    }

    fn mlp(&mut self, prefix: &str) -> Result<Mlp, FileError> {
        let (width, hidden) = (self.config.hidden_size, self.config.intermediate_size);
        Ok(Mlp {
            gate: self.projection(&format!("{prefix}.gate_proj"), width, hidden, false)?,
            up: self.projection(&format!("{prefix}.up_proj"), width, hidden, false)?,
            down: self.projection(&format!("{prefix}.down_proj"), hidden, width, false)?,
            pre: Tap::new(),
            pre_linear: Tap::new(),
            post: Tap::new(),
            source: Operations::new(Mlp::OPERATIONS),
        })
    }

    fn projection(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
        bias: bool,
    ) -> Result<Projection, FileError> {
        let weight = self
            .loader
            .parameter(&format!("{name}.weight"), [outputs, inputs])?;
        let bias = match bias {
            true => Some(self.loader.parameter(&format!("{name}.bias"), [outputs])?),
            false => None,
        };
        Ok(Projection::new(weight, bias))
    }

    fn norm(&mut self, name: &str) -> Result<Norm, FileError> {
        let gain = self
            .loader
            .parameter(&format!("{name}.weight"), [self.config.hidden_size])?;
        Ok(Norm::new(gain, self.config.norm_eps))
    }
}
