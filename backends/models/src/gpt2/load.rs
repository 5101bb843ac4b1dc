//! From weights by name to a model.

use burn::nn::{Embedding, Linear};
use burn::tensor::Device;
use interloom_backends::Tap;

use super::norm::Gpt2Norm;
use super::{Gpt2, Gpt2Attention, Gpt2Block, Gpt2Config, Gpt2Mlp};
use crate::files::{FileError, Weights};
use crate::loader::Loader;
use crate::projection::Projection;

/// Takes every weight of a model, under the names of the hub, with or without `transformer.` in
/// front.
///
/// The causal masks that old files carry along are left.
///
/// # Errors
///
/// E041, and E043 to E046: what can be wrong with the weights.
pub fn load(config: &Gpt2Config, weights: Weights, device: &Device) -> Result<Gpt2, FileError> {
    let is_bare = weights.shape("wte.weight").is_some();
    let stem = if is_bare { "" } else { "transformer." };
    let mut building = Building {
        config,
        stem,
        loader: Loader::new(weights, device),
    };
    let model = building.gpt2()?;
    let mut weights = building.loader.weights;
    for layer in 0..config.layers {
        weights.leave(&format!("{stem}h.{layer}.attn.bias"));
        weights.leave(&format!("{stem}h.{layer}.attn.masked_bias"));
    }
    weights.finish()?;
    Ok(model)
}

struct Building<'a> {
    config: &'a Gpt2Config,
    /// What is in front of every name but that of the output layer.
    stem: &'static str,
    loader: Loader<'a>,
}

impl Building<'_> {
    fn gpt2(&mut self) -> Result<Gpt2, FileError> {
        let (config, stem) = (self.config, self.stem);
        let shape = [config.vocabulary, config.width];
        let embedding = self.loader.parameter(&format!("{stem}wte.weight"), shape)?;
        let positions = [config.positions, config.width];
        let positions = self
            .loader
            .parameter(&format!("{stem}wpe.weight"), positions)?;
        let layers = (0..config.layers).map(|layer| self.block(layer).map(Into::into));
        let layers = layers.collect::<Result<_, _>>()?;
        let norm = self.norm(&format!("{stem}ln_f"))?;
        let tied = config.tie_embeddings;
        let unembedding = self.loader.output_layer(&embedding, shape, tied)?;
        Ok(Gpt2 {
            embed: Embedding { weight: embedding }.into(),
            pos_embed: Embedding { weight: positions }.into(),
            layers,
            norm: norm.into(),
            unembed: Projection::new(unembedding, None).into(),
        })
    }

    fn block(&mut self, layer: usize) -> Result<Gpt2Block, FileError> {
        let (width, hidden) = (self.config.width, self.config.hidden_width);
        let prefix = format!("{}h.{layer}", self.stem);
        let ln1 = self.norm(&format!("{prefix}.ln_1"))?;
        let attn = Gpt2Attention {
            query_key_value: self.linear(&format!("{prefix}.attn.c_attn"), width, 3 * width)?,
            output: self.linear(&format!("{prefix}.attn.c_proj"), width, width)?,
            q: Tap::new(),
            k: Tap::new(),
            v: Tap::new(),
            scores: Tap::new(),
            pattern: Tap::new(),
            z: Tap::new(),
            heads: self.config.heads,
            score_divisor: self.config.score_divisor(layer),
        };
        let ln2 = self.norm(&format!("{prefix}.ln_2"))?;
        let mlp = Gpt2Mlp {
            up: self.linear(&format!("{prefix}.mlp.c_fc"), width, hidden)?,
            down: self.linear(&format!("{prefix}.mlp.c_proj"), hidden, width)?,
            pre: Tap::new(),
            post: Tap::new(),
            activation: self.config.activation,
        };
        Ok(Gpt2Block {
            ln1: ln1.into(),
            attn: attn.into(),
            resid_mid: Tap::new(),
            ln2: ln2.into(),
            mlp: mlp.into(),
        })
    }

    /// Takes a linear layer, whose weight lies as `[in, out]` on the hub, as in burn.
    fn linear(&mut self, name: &str, inputs: usize, outputs: usize) -> Result<Linear, FileError> {
        let weight = format!("{name}.weight");
        let weight = self.loader.parameter(&weight, [inputs, outputs])?;
        let bias = self.loader.parameter(&format!("{name}.bias"), [outputs])?;
        Ok(Linear {
            weight,
            bias: Some(bias),
        })
    }

    fn norm(&mut self, name: &str) -> Result<Gpt2Norm, FileError> {
        let width = [self.config.width];
        let gain = self.loader.parameter(&format!("{name}.weight"), width)?;
        let bias = self.loader.parameter(&format!("{name}.bias"), width)?;
        Ok(Gpt2Norm::new(gain, bias, self.config.norm_eps))
    }
}
