//! Loading: from weights by name to a model.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::nn::Embedding;
use burn::tensor::{Device, Tensor};
use interloom_backends::Hooked;

use super::attention::{CausalAttention, Projections};
use super::block::{Block, BlockNorms};
use super::config::{
    BlockConfig, DecoderConfig, EmbeddingNorm, ExpertsConfig, Gain, HeadNormConfig, NormConfig,
    Norms, Together,
};
use super::mlp::{Experts, FeedForward, GatedMlp, PlainMlp, SharedExpert};
use super::names::{Fused, MlpNames, Names, QkvNames};
use super::norm::{HeadNorm, Norm};
use super::rotary::Rotary;
use super::transform::OutputTransform;
use super::{DecoderModel, TokenEmbedding};
use crate::files::{FileError, RawTensor, Weights};
use crate::loader::Loader;
use crate::projection::{Finish, Projection};

/// Takes every weight of a model.
///
/// # Errors
///
/// E041, and E043 to E046: what can be wrong with the weights.
pub(crate) fn load(
    config: &DecoderConfig,
    names: &Names,
    weights: Weights,
    device: &Device,
) -> Result<DecoderModel, FileError> {
    let has_stem = |stem: &&&str| {
        weights
            .shape(&format!("{stem}{}.weight", names.embed))
            .is_some()
    };
    let stem = names.stems.iter().find(has_stem).unwrap_or(&names.stems[0]);
    let mut building = Building {
        config,
        names,
        stem,
        loader: Loader::new(weights, device),
    };
    let model = building.model()?;
    let mut weights = building.loader.weights;
    for layer in 0..config.blocks.len() {
        for name in names.left {
            weights.leave(&format!("{stem}{}.{layer}.{name}", names.blocks));
        }
    }
    for name in names.left_whole {
        weights.leave(name);
    }
    weights.finish()?;
    Ok(model)
}

/// Takes the weights of blocks, and gives back what takes the others.
pub(crate) fn load_blocks<'d>(
    config: &DecoderConfig,
    names: &Names,
    stem: &str,
    loader: Loader<'d>,
) -> Result<(Vec<Hooked<Block>>, Loader<'d>), FileError> {
    let mut building = Building {
        config,
        names,
        stem,
        loader,
    };
    let blocks = building.blocks()?;
    Ok((blocks, building.loader))
}

struct Building<'a, 'd> {
    config: &'a DecoderConfig,
    names: &'a Names,
    /// What is in front of every name but that of the output layer.
    stem: &'a str,
    loader: Loader<'d>,
}

impl Building<'_, '_> {
    fn model(&mut self) -> Result<DecoderModel, FileError> {
        let (config, names) = (self.config, self.names);
        let top = |stem: &str, name: &str| format!("{stem}{name}");
        let stem = self.stem;
        let (width, narrow) = (config.width, config.embedding_width);
        let shape = [config.vocabulary, narrow];
        let embedding = format!("{stem}{}.weight", names.embed);
        let embedding = self.loader.parameter(&embedding, shape)?;
        let has_projection = width != narrow || config.projects_sum;
        let project = |this: &mut Self, name: &str, inputs, outputs| {
            let of = has_projection.then(|| Linear::new(inputs, outputs, config.projects_sum));
            of.map(|of| this.linear(&top(stem, name), of)).transpose()
        };
        let project_in = project(self, names.project_in, narrow, width)?;
        let added = if config.projects_sum { narrow } else { width };
        let table = |this: &mut Self, name: &str, rows: Option<usize>| {
            let name = format!("{stem}{name}.weight");
            let weight = rows.map(|rows| this.loader.parameter(&name, [rows, added]));
            let table = |weight| Hooked::from(Embedding { weight });
            weight.transpose().map(|weight| weight.map(table))
        };
        let type_embed = table(self, names.type_embed, config.token_types)?;
        let is_normalized = config.embedding_norm != EmbeddingNorm::None;
        let embed_norm = self.norm_if(is_normalized, &top(stem, names.embed_norm), added)?;
        let rows = (config.learned_positions).map(|learned| config.positions + learned.offset);
        let pos_embed = table(self, names.pos_embed, rows)?;
        let layers = self.blocks()?;
        let norm = self.norm_if(config.has_final_norm, &top(stem, names.norm), width)?;
        let project_out = match config.output.transform {
            Some(_) => None,
            None => project(self, names.project_out, width, narrow)?,
        };
        let transform = match config.output.transform {
            Some(activation) => {
                let [dense, norm] = names.transform;
                let dense = self.linear(dense, Linear::new(width, narrow, true))?;
                let norm = self.norm(norm, narrow)?;
                Some(OutputTransform::new(dense, norm, activation))
            }
            None => None,
        };
        let unembed = self.output_layer(&embedding, shape)?;
        let (longest, device) = (config.longest(), self.loader.device());
        let rotary = config
            .rotary
            .iter()
            .map(|rotary| Rotary::new(rotary, longest, device));
        Ok(DecoderModel {
            embed: TokenEmbedding::new(embedding, config.embedding_multiplier).into(),
            project_in: project_in.map(Into::into),
            type_embed,
            embed_norm: embed_norm.map(Into::into),
            pos_embed,
            layers,
            norm: norm.map(Into::into),
            project_out: project_out.map(Into::into),
            transform: transform.map(Into::into),
            unembed: unembed.into(),
            rotary: rotary.collect(),
            position_offset: config.learned_positions.map_or(0, |learned| learned.offset),
            embedding_norm: config.embedding_norm,
            projects_sum: config.projects_sum,
        })
    }

    /// Makes the output layer, `[token, width]`, which is the embedding of a tied model.
    ///
    /// Some files of tied models hold the output layer as well; transformers does not look at it
    /// either.
    fn output_layer(
        &mut self,
        embedding: &Param<Tensor<2>>,
        shape: [usize; 2],
    ) -> Result<Projection, FileError> {
        let output = self.config.output;
        let name = format!("{}.weight", self.names.unembed);
        let weight = if !output.is_tied {
            self.loader.parameter(&name, shape)?
        } else {
            if self.loader.weights.shape(&name).is_some() {
                self.loader.weights.take(&name, &shape)?;
            }
            embedding.clone()
        };
        // A layer that is not the embedding has a bias of its own as well, and what tied models
        // have is not looked at.
        let own = format!("{}.bias", self.names.unembed);
        let has_own = !output.is_tied && self.loader.weights.shape(&own).is_some();
        let bias = if has_own {
            &own
        } else {
            self.names.unembed_bias
        };
        let bias = match output.has_bias {
            true => Some(self.loader.parameter(bias, [shape[0]])?),
            false => None,
        };
        let finish = Finish {
            clip: None,
            multiplier: output.multiplier,
            cap: output.cap,
        };
        Ok(Projection::new(weight, bias, finish))
    }

    fn blocks(&mut self) -> Result<Vec<Hooked<Block>>, FileError> {
        let blocks = &self.config.blocks;
        let front = format!("{}{}", self.stem, self.names.blocks);
        let Some(shared) = self.config.shared else {
            let block = |layer| {
                self.block(&format!("{front}.{layer}."), layer)
                    .map(Into::into)
            };
            return (0..blocks.len()).map(block).collect();
        };
        // What is shared is one block at several places, with one set of parameters.
        let mut made: BTreeMap<(usize, usize), Block> = BTreeMap::new();
        let block = |layer| {
            let place @ (group, inner) = shared.of(layer);
            let block = match made.get(&place) {
                Some(block) => block.clone(),
                None => {
                    let between = self.names.inner_blocks;
                    let block =
                        self.block(&format!("{front}.{group}.{between}.{inner}."), layer)?;
                    made.insert(place, block.clone());
                    block
                }
            };
            Ok(block.into())
        };
        (0..blocks.len()).map(block).collect()
    }

    /// Takes the block whose names begin with `prefix`.
    fn block(&mut self, prefix: &str, layer: usize) -> Result<Block, FileError> {
        let (config, names) = (self.config, self.names);
        let block = config.blocks[layer];
        let wiring = config.wiring;
        let name = |name: &str| format!("{prefix}{name}");
        let has_front = wiring.norms != Norms::Behind;
        let has_back = matches!(wiring.norms, Norms::Behind | Norms::Around);
        let has_second = !(wiring.is_parallel && wiring.shares_norm);
        let ln1 = self.norm_if(has_front, &name(names.ln1), config.width)?;
        let attn = self.attention(prefix, block, layer)?;
        let ln1_post = self.norm_if(has_back, &name(names.ln1_post), config.width)?;
        let ln2 = self.norm_if(has_front && has_second, &name(names.ln2), config.width)?;
        let mlp = self.mlp(prefix, block)?;
        let ln2_post = self.norm_if(has_back, &name(names.ln2_post), config.width)?;
        let norms = BlockNorms {
            ln1,
            ln1_post,
            ln2,
            ln2_post,
        };
        Ok(Block::new(attn, mlp, norms, wiring))
    }

    fn attention(
        &mut self,
        prefix: &str,
        block: BlockConfig,
        layer: usize,
    ) -> Result<CausalAttention, FileError> {
        let (config, names) = (&self.config.attention, self.names);
        let width = self.config.width;
        let queries = config.heads * config.head_width;
        let keys = config.kv_heads * config.head_width;
        let finish = Finish {
            clip: config.clip,
            ..Finish::default()
        };
        let parts = [queries, keys, keys].map(|outputs| Linear {
            finish,
            ..Linear::new(width, outputs, config.has_bias)
        });
        let [query, key, value] = match names.qkv {
            QkvNames::Split([q, k, v]) => {
                let [of_q, of_k, of_v] = parts;
                [
                    self.inner(&format!("{prefix}{q}"), of_q)?,
                    self.inner(&format!("{prefix}{k}"), of_k)?,
                    self.inner(&format!("{prefix}{v}"), of_v)?,
                ]
            }
            QkvNames::Fused(name, order) => {
                let group = config.heads / config.kv_heads;
                let pieces = match order {
                    Fused::Whole => vec![(0, queries), (1, keys), (2, keys)],
                    Fused::Grouped => {
                        let head = config.head_width;
                        let of_group = [(0, group * head), (1, head), (2, head)];
                        of_group.repeat(config.kv_heads)
                    }
                };
                self.fused(&format!("{prefix}{name}"), parts, &pieces)?
            }
        };
        let output = Linear::new(queries, width, config.has_output_bias);
        let output = self.inner(&format!("{prefix}{}", names.output), output)?;
        let q_norm = self.head_norm(&format!("{prefix}{}", names.q_norm), config.heads)?;
        let k_norm = self.head_norm(&format!("{prefix}{}", names.k_norm), config.kv_heads)?;
        let projections = Projections {
            query,
            key,
            value,
            output,
        };
        Ok(CausalAttention::new(
            projections,
            [q_norm, k_norm],
            config,
            block,
            layer,
        ))
    }

    fn mlp(&mut self, prefix: &str, block: BlockConfig) -> Result<FeedForward, FileError> {
        if let Some(experts) = self.config.experts.filter(|_| block.has_experts) {
            return self.experts(prefix, experts).map(FeedForward::Experts);
        }
        let (config, width) = (self.config.mlp, self.config.width);
        let (hidden, bias) = (config.hidden, config.has_bias);
        let up = Linear::new(width, hidden, bias);
        let down = Linear::new(hidden, width, bias);
        Ok(match self.names.mlp {
            MlpNames::Gated(names) => {
                let names = names.map(|name| format!("{prefix}{name}"));
                FeedForward::Gated(self.gated(&names, hidden, bias)?)
            }
            MlpNames::FusedGate([gate_up, name]) => {
                let pieces = [(0, hidden), (1, hidden)];
                let [gate, up] = self.fused(&format!("{prefix}{gate_up}"), [up; 2], &pieces)?;
                let down = self.inner(&format!("{prefix}{name}"), down)?;
                FeedForward::Gated(GatedMlp::new([gate, up, down], config.activation))
            }
            MlpNames::Plain([up_name, down_name]) => {
                let up = self.inner(&format!("{prefix}{up_name}"), up)?;
                let down = self.inner(&format!("{prefix}{down_name}"), down)?;
                FeedForward::Plain(PlainMlp::new([up, down], config.activation))
            }
        })
    }

    fn gated(
        &mut self,
        names: &[String; 3],
        hidden: usize,
        bias: bool,
    ) -> Result<GatedMlp, FileError> {
        let width = self.config.width;
        let [gate, up, down] = names;
        let gate = self.inner(gate, Linear::new(width, hidden, bias))?;
        let up = self.inner(up, Linear::new(width, hidden, bias))?;
        let down = self.inner(down, Linear::new(hidden, width, bias))?;
        Ok(GatedMlp::new([gate, up, down], self.config.mlp.activation))
    }

    fn experts(&mut self, prefix: &str, config: ExpertsConfig) -> Result<Experts, FileError> {
        let (names, width) = (self.names, self.config.width);
        let router = Linear::new(width, config.count, false);
        let router = self.linear(&format!("{prefix}{}", names.router), router)?;
        let expert = |number: usize| {
            let expert = names.expert;
            let names = expert.map(|name| format!("{prefix}{}.{number}.{name}", names.experts));
            self.gated(&names, config.hidden, false)
        };
        let experts = (0..config.count).map(expert).collect::<Result<_, _>>()?;
        let shared = match config.shared {
            Some(hidden) => {
                let gate = format!("{prefix}{}", names.shared_gate);
                let gate = self.linear(&gate, Linear::new(width, 1, false))?;
                let names = names.shared.map(|name| format!("{prefix}{name}"));
                let expert = self.gated(&names, hidden, false)?;
                Some(SharedExpert {
                    gate: gate.into(),
                    expert: expert.into(),
                })
            }
            None => None,
        };
        Ok(Experts::new(router, experts, shared, config))
    }

    /// Takes a linear layer of a block.
    fn inner(&mut self, name: &str, linear: Linear) -> Result<Projection, FileError> {
        if !self.names.is_transposed {
            return self.linear(name, linear);
        }
        let [outputs, inputs] = linear.shape;
        let raw = self
            .loader
            .weights
            .take(&format!("{name}.weight"), &[inputs, outputs])?;
        let weight = self.loader.numbered(transposed(raw).data, linear.shape);
        let bias = self.bias(name, outputs, linear.has_bias)?;
        Ok(Projection::new(weight, bias, linear.finish))
    }

    fn linear(&mut self, name: &str, linear: Linear) -> Result<Projection, FileError> {
        let weight = self
            .loader
            .parameter(&format!("{name}.weight"), linear.shape)?;
        let bias = self.bias(name, linear.shape[0], linear.has_bias)?;
        Ok(Projection::new(weight, bias, linear.finish))
    }

    fn bias(
        &mut self,
        name: &str,
        outputs: usize,
        has_bias: bool,
    ) -> Result<Option<Param<Tensor<1>>>, FileError> {
        let name = has_bias.then(|| format!("{name}.bias"));
        name.map(|name| self.loader.parameter(&name, [outputs]))
            .transpose()
    }

    /// Takes several linear layers that are stored as one: `pieces` are the layer and the number of
    /// rows of each piece, in the order in which they are stored.
    fn fused<const N: usize>(
        &mut self,
        name: &str,
        layers: [Linear; N],
        pieces: &[(usize, usize)],
    ) -> Result<[Projection; N], FileError> {
        let rows: usize = pieces.iter().map(|(_, rows)| rows).sum();
        let inputs = layers[0].shape[1];
        let weight_name = format!("{name}.weight");
        let weight = match self.names.is_transposed {
            true => transposed(self.loader.weights.take(&weight_name, &[inputs, rows])?),
            false => self.loader.weights.take(&weight_name, &[rows, inputs])?,
        };
        let weights = torn::<N>(&weight, pieces);
        let biases = match layers[0].has_bias {
            true => {
                let bias = self.loader.weights.take(&format!("{name}.bias"), &[rows])?;
                torn::<N>(&bias, pieces).map(Some)
            }
            false => [const { None }; N],
        };
        let mut whole = layers.into_iter().zip(weights).zip(biases);
        Ok(std::array::from_fn(|_| {
            let ((layer, weight), bias) = whole.next().expect("there are as many");
            let weight = self.loader.numbered(weight, layer.shape);
            let bias = bias.map(|bias| self.loader.numbered(bias, [layer.shape[0]]));
            Projection::new(weight, bias, layer.finish)
        }))
    }

    fn norm_if(
        &mut self,
        is_there: bool,
        name: &str,
        width: usize,
    ) -> Result<Option<Norm>, FileError> {
        let name = is_there.then_some(name);
        name.map(|name| self.norm(name, width)).transpose()
    }

    fn norm(&mut self, name: &str, width: usize) -> Result<Norm, FileError> {
        let config = self.config.norm;
        // Files from TensorFlow call them so.
        let is_old = self
            .loader
            .weights
            .shape(&format!("{name}.gamma"))
            .is_some();
        let [gain, bias] = if is_old {
            ["gamma", "beta"]
        } else {
            ["weight", "bias"]
        };
        let mut take = |is_there: bool, ending: &str| {
            let name = is_there.then(|| format!("{name}.{ending}"));
            name.map(|name| self.loader.parameter(&name, [width]))
                .transpose()
        };
        let gain = take(config.gain != Gain::None, gain)?;
        let bias = take(config.has_bias, bias)?;
        Ok(Norm::new(gain, bias, config))
    }

    /// Takes the norm of `heads` heads of queries or keys, if there is one.
    fn head_norm(&mut self, name: &str, heads: usize) -> Result<Option<HeadNorm>, FileError> {
        let Some(HeadNormConfig { norm, over }) = self.config.attention.head_norm else {
            return Ok(None);
        };
        let width = self.config.attention.head_width;
        let gain = |this: &mut Self, ending: &str| {
            let one = |this: &mut Self, name: &str, shape: &[usize]| {
                Ok::<_, FileError>(
                    this.loader
                        .weights
                        .take(&format!("{name}.{ending}"), shape)?
                        .data,
                )
            };
            // StableLM has a tensor for each head, Cohere one for all.
            let first = format!("{name}.norms.0.{ending}");
            let is_stack = this.loader.weights.shape(&first).is_some();
            let (values, shape) = match over {
                Together::Head => (one(this, name, &[width])?, [1, width]),
                Together::All => (one(this, name, &[heads * width])?, [1, heads * width]),
                Together::OwnHead if is_stack => {
                    let rows =
                        (0..heads).map(|head| one(this, &format!("{name}.norms.{head}"), &[width]));
                    (
                        rows.collect::<Result<Vec<_>, _>>()?.concat(),
                        [heads, width],
                    )
                }
                Together::OwnHead => (one(this, name, &[heads, width])?, [heads, width]),
            };
            Ok::<_, FileError>(this.loader.numbered(values, shape))
        };
        let together = if over == Together::All { heads } else { 1 };
        let NormConfig {
            gain: kind,
            has_bias,
            ..
        } = norm;
        let weight = (kind != Gain::None)
            .then(|| gain(self, "weight"))
            .transpose()?;
        let bias = has_bias.then(|| gain(self, "bias")).transpose()?;
        Ok(Some(HeadNorm::new(weight, bias, norm, together)))
    }
}

/// A linear layer that is to be taken.
#[derive(Clone, Copy)]
struct Linear {
    /// `[out, in]`.
    shape: [usize; 2],
    has_bias: bool,
    finish: Finish,
}

impl Linear {
    fn new(inputs: usize, outputs: usize, has_bias: bool) -> Self {
        Self {
            shape: [outputs, inputs],
            has_bias,
            finish: Finish::default(),
        }
    }
}

/// Distributes the rows of a tensor to `N` others.
fn torn<const N: usize>(tensor: &RawTensor, pieces: &[(usize, usize)]) -> [Vec<f32>; N] {
    let rows = tensor.shape.first().copied().unwrap_or(0);
    let width = tensor.data.len().checked_div(rows).unwrap_or(0);
    let mut parts = [const { Vec::new() }; N];
    let mut start = 0;
    for &(part, rows) in pieces {
        let end = start + rows * width;
        parts[part].extend_from_slice(&tensor.data[start..end]);
        start = end;
    }
    parts
}

/// Makes `[out, in]` of `[in, out]`.
fn transposed(tensor: RawTensor) -> RawTensor {
    let &[rows, columns] = tensor.shape.as_slice() else {
        return tensor;
    };
    let at = |index: usize| tensor.data[index % rows * columns + index / rows];
    RawTensor {
        data: (0..rows * columns).map(at).collect(),
        shape: vec![columns, rows],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(shape: &[usize]) -> RawTensor {
        RawTensor {
            shape: shape.to_vec(),
            data: (0..shape.iter().product())
                .map(|x: usize| x as f32)
                .collect(),
        }
    }

    #[test]
    fn rows_of_groups_are_told_apart() {
        // Two groups of two queries, a key and a value, of heads of width 1.
        let pieces = [(0, 2), (1, 1), (2, 1)].repeat(2);
        let [q, k, v] = torn::<3>(&counted(&[8]), &pieces);
        assert_eq!(
            (q, k, v),
            (vec![0.0, 1.0, 4.0, 5.0], vec![2.0, 6.0], vec![3.0, 7.0])
        );
        let [q, k] = torn::<2>(&counted(&[3, 2]), &[(0, 2), (1, 1)]);
        assert_eq!((q, k), (vec![0.0, 1.0, 2.0, 3.0], vec![4.0, 5.0]));
    }

    #[test]
    fn a_transposed_weight_is_turned() {
        let turned = transposed(counted(&[2, 3]));
        assert_eq!(turned.shape, [3, 2]);
        assert_eq!(turned.data, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    }
}
