//! Loading: from weights by name to a bound model.

use burn::module::{Param, ParamId};
use burn::nn::Embedding;
use burn::tensor::{Device, Tensor, TensorData};
use interloom_backends::{Bound, Hooked, Tap};

use super::attention::{LlamaAttention, Rotary};
use super::norm::Norm;
use super::projection::Projection;
use super::{Block, Llama, LlamaConfig, Mlp, aliases};
use crate::files::{FileError, Weights};

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
    let mut loader = Loader {
        config,
        weights,
        device,
        next: 1,
    };
    let model = loader.llama()?;
    loader.weights.finish()?;
    let bound = Bound::new(Hooked::from(model))
        .and_then(|model| model.with_aliases(aliases(config.layers)));
    Ok(bound.expect("the model's own paths are distinct, and its aliases name them"))
}

struct Loader<'a> {
    config: &'a LlamaConfig,
    weights: Weights,
    device: &'a Device,
    /// Parameters are numbered in order; burn's own numbers are drawn at random.
    next: u64,
}

impl Loader<'_> {
    fn llama(&mut self) -> Result<Llama, FileError> {
        let config = self.config;
        let (tokens, width) = (config.vocab_size, config.hidden_size);
        let embedding = self.parameter("model.embed_tokens.weight", [tokens, width])?;
        let layers = (0..config.layers).map(|layer| self.block(layer).map(Hooked::from));
        let layers = layers.collect::<Result<_, _>>()?;
        let norm = self.norm("model.norm")?;
        let unembedding = match config.tie_embeddings {
            true => {
                self.drop_copy_of_embedding([tokens, width])?;
                embedding.clone()
            }
            false => self.parameter("lm_head.weight", [tokens, width])?,
        };
        Ok(Llama {
            embed: Embedding { weight: embedding }.into(),
            layers,
            norm: norm.into(),
            unembed: Projection::new(unembedding, None).into(),
            rotary: Rotary::new(config, positions(config), self.device),
        })
    }

    /// Some files of tied models hold the output layer as well; transformers does not look at it
    /// either.
    fn drop_copy_of_embedding(&mut self, shape: [usize; 2]) -> Result<(), FileError> {
        const NAME: &str = "lm_head.weight";
        match self.weights.shape(NAME) {
            Some(_) => self.weights.take(NAME, &shape).map(drop),
            None => Ok(()),
        }
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
        })
    }

    fn projection(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
        bias: bool,
    ) -> Result<Projection, FileError> {
        let weight = self.parameter(&format!("{name}.weight"), [outputs, inputs])?;
        let bias = match bias {
            true => Some(self.parameter(&format!("{name}.bias"), [outputs])?),
            false => None,
        };
        Ok(Projection::new(weight, bias))
    }

    fn norm(&mut self, name: &str) -> Result<Norm, FileError> {
        let gain = self.parameter(&format!("{name}.weight"), [self.config.hidden_size])?;
        Ok(Norm::new(gain, self.config.norm_eps))
    }

    fn parameter<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
    ) -> Result<Param<Tensor<D>>, FileError> {
        let raw = self.weights.take(name, &shape)?;
        let data = TensorData::new(raw.data, shape);
        Ok(self.number(Tensor::from_data(data, self.device)))
    }

    fn number<const D: usize>(&mut self, tensor: Tensor<D>) -> Param<Tensor<D>> {
        // Unlike `Param::initialized`, this makes a parameter that has a gradient when the model is
        // trained.
        let mut param = Param::from_tensor(tensor);
        param.id = ParamId::from(self.next);
        self.next += 1;
        param
    }
}
