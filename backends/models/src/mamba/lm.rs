//! A Mamba model as a language model: from its files, with its sites and its configuration.

use burn::tensor::{Device, Int, Tensor, TensorData};
use interloom_backends::{
    Bound, Erase, Hooked, Parameters, Sites, Value, callable, visit_parameters,
};
use interloom_engine::{Fault, Padding, PaddingSide, PositionLayout};
use interloom_program::Modules;

use super::mixer::{MambaMixer, MixerState, Parts};
use super::{MambaBlock, MambaConfig, MambaModel};
use crate::call::{Callable, Sizes, in_layer, not_callable, padding, stream, tokens};
use crate::causal::{CausalLm, Decoder};
use crate::config::MAX_POSITIONS;
use crate::decoder::{Gain, Norm, NormConfig, Statistic, TokenEmbedding, is_padding};
use crate::files::{FileError, GgufLayout, ModelFiles, Weights};
use crate::loader::Loader;
use crate::projection::{Finish, Projection};

/// A Mamba model that is bound to its sites, with its configuration.
#[derive(Debug)]
pub struct MambaLm {
    model: Bound<Hooked<MambaModel>>,
    config: MambaConfig,
}

impl MambaLm {
    /// Reads the configuration, and takes every weight.
    ///
    /// # Errors
    ///
    /// E042 to E046: what can be wrong with the configuration or the weights.
    pub fn load(files: ModelFiles, device: &Device) -> Result<Self, FileError> {
        let (config, weights) = match files {
            ModelFiles::Folder(folder) => {
                let config = MambaConfig::from_json(&folder.config, &folder.config_file())?;
                (config, Weights::from_safetensors(folder.weights))
            }
            ModelFiles::Gguf(gguf) => {
                let config = MambaConfig::from_gguf(&gguf)?;
                (config, Weights::from_gguf(gguf, hub_name))
            }
        };
        let model = load(&config, weights, device)?;
        let bound = Bound::new(Hooked::from(model))
            .and_then(|model| model.with_aliases(aliases(config.layers)))
            .map(|model| model.with_positions(|_| PositionLayout::new([vec![1]])));
        Ok(Self {
            model: bound.expect("the model's own paths are distinct, and its aliases name them"),
            config,
        })
    }

    /// Returns the model.
    pub const fn model(&self) -> &Bound<Hooked<MambaModel>> {
        &self.model
    }

    /// Returns the model's sizes.
    pub const fn config(&self) -> &MambaConfig {
        &self.config
    }

    /// Returns what is kept before the first positions, some of which may be padding.
    fn states(&self, padding: Option<&Padding>) -> Vec<MixerState> {
        let state = padding.map_or_else(MixerState::default, |padding| {
            let device = self.model.inner().embed.inner().device();
            MixerState::padded(is_padding(padding, padding.length() as usize, &device))
        });
        vec![state; self.config.layers]
    }
}

impl CausalLm for MambaLm {
    fn sites(&self) -> &Sites {
        self.model.sites()
    }

    fn parameters(&self) -> Parameters {
        Parameters::of(self.model.inner())
    }

    fn visit_parameters(&self, visit: &mut dyn FnMut(&str, TensorData)) {
        visit_parameters(self.model.inner(), visit);
    }

    fn vocabulary(&self) -> usize {
        self.config.vocabulary
    }

    fn positions(&self) -> usize {
        MAX_POSITIONS
    }

    fn end_tokens(&self) -> &[u32] {
        &self.config.eos_ids
    }

    fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        self.decoder(tokens.dims()[1])(tokens)
    }

    fn decoder(&self, positions: usize) -> Decoder<'_> {
        self.padded_decoder(positions, None)
    }

    fn padding_side(&self) -> Option<PaddingSide> {
        Some(PaddingSide::Left)
    }

    fn padded_decoder(&self, _: usize, padding: Option<&Padding>) -> Decoder<'_> {
        let mut states = self.states(padding);
        Box::new(move |tokens| {
            let from = |model: &MambaModel, tokens| model.forward_from(tokens, &mut states);
            self.model.call(tokens, from)
        })
    }
}

/// Returns what the hub calls a tensor of a GGUF file; an unknown name stays, and is left over.
fn hub_name(stored: &str) -> (String, GgufLayout) {
    let as_is = |name: String| (name, GgufLayout::AsIs);
    let in_block = |rest: &str| {
        let (block, rest) = rest.split_once('.')?;
        let front = format!("backbone.layers.{block}");
        let (part, ending) = rest.split_once('.').unwrap_or((rest, ""));
        let module = match (part, ending) {
            ("ssm_a", "") => {
                return Some((format!("{front}.mixer.A_log"), GgufLayout::MinusExponential));
            }
            ("ssm_d", "") => return Some(as_is(format!("{front}.mixer.D"))),
            ("attn_norm", "weight") => "norm",
            ("ssm_in", _) => "mixer.in_proj",
            ("ssm_conv1d", _) => "mixer.conv1d",
            ("ssm_x", _) => "mixer.x_proj",
            ("ssm_dt", _) => "mixer.dt_proj",
            ("ssm_out", _) => "mixer.out_proj",
            _ => return None,
        };
        Some(as_is(format!("{front}.{module}.{ending}")))
    };
    let top = match stored {
        "token_embd.weight" => Some("backbone.embeddings.weight"),
        "output_norm.weight" => Some("backbone.norm_f.weight"),
        "output.weight" => Some("lm_head.weight"),
        _ => None,
    };
    let block = stored.strip_prefix("blk.").and_then(in_block);
    let name = top.map(|top| as_is(top.to_owned())).or(block);
    name.unwrap_or_else(|| as_is(stored.to_owned()))
}

/// Takes every weight, under the names of the hub.
fn load(config: &MambaConfig, weights: Weights, device: &Device) -> Result<MambaModel, FileError> {
    let has = |name: &str| weights.shape(name).is_some();
    let stem = if has("embeddings.weight") || has("embedding.weight") {
        ""
    } else {
        "backbone."
    };
    // The first files have another name for it.
    let old = format!("{stem}embedding.weight");
    let embedding = if has(&old) {
        old
    } else {
        format!("{stem}embeddings.weight")
    };
    let mut loader = Loader::new(weights, device);
    let shape = [config.vocabulary, config.width];
    let embedding = loader.parameter(&embedding, shape)?;
    let norm = |loader: &mut Loader<'_>, name: &str| {
        let gain = loader.parameter(&format!("{name}.weight"), [config.width])?;
        let kind = NormConfig {
            statistic: Statistic::MeanSquare,
            epsilon: config.norm_epsilon,
            gain: Gain::Parameter,
            has_bias: false,
        };
        Ok::<_, FileError>(Norm::new(Some(gain), None, kind))
    };
    let mut layers = Vec::with_capacity(config.layers);
    for layer in 0..config.layers {
        let prefix = format!("{stem}layers.{layer}");
        let norm = norm(&mut loader, &format!("{prefix}.norm"))?;
        let mixer = mixer(&mut loader, &format!("{prefix}.mixer"), config)?;
        let block = MambaBlock {
            norm: norm.into(),
            mixer: mixer.into(),
        };
        layers.push(block.into());
    }
    let norm = norm(&mut loader, &format!("{stem}norm_f"))?;
    let unembedding = match config.is_tied {
        false => loader.parameter("lm_head.weight", shape)?,
        true => {
            loader.weights.leave("lm_head.weight");
            embedding.clone()
        }
    };
    loader.weights.finish()?;
    Ok(MambaModel {
        embed: TokenEmbedding::new(embedding, None).into(),
        layers,
        norm: norm.into(),
        unembed: Projection::new(unembedding, None, Finish::default()).into(),
    })
}

fn mixer(
    loader: &mut Loader<'_>,
    prefix: &str,
    config: &MambaConfig,
) -> Result<MambaMixer, FileError> {
    let (width, inner, state) = (config.width, config.inner, config.state);
    let linear = |loader: &mut Loader<'_>, name: &str, shape: [usize; 2], has_bias: bool| {
        let weight = loader.parameter(&format!("{prefix}.{name}.weight"), shape)?;
        let bias = match has_bias {
            true => Some(loader.parameter(&format!("{prefix}.{name}.bias"), [shape[0]])?),
            false => None,
        };
        Ok::<_, FileError>(Projection::new(weight, bias, Finish::default()))
    };
    let has_bias = config.has_bias;
    let project_in = linear(loader, "in_proj", [2 * inner, width], has_bias)?;
    let conv = format!("{prefix}.conv1d.weight");
    let conv = loader.weights.take(&conv, &[inner, 1, config.kernel])?;
    let conv_weight = loader.numbered(conv.data, [inner, config.kernel]);
    let conv_bias = match config.has_conv_bias {
        true => Some(loader.parameter(&format!("{prefix}.conv1d.bias"), [inner])?),
        false => None,
    };
    let selected = config.rank + 2 * state;
    let parts = Parts {
        project_in,
        conv_weight,
        conv_bias,
        project_x: linear(loader, "x_proj", [selected, inner], false)?,
        project_delta: linear(loader, "dt_proj", [inner, config.rank], true)?,
        a_log: loader.parameter(&format!("{prefix}.A_log"), [inner, state])?,
        skip: loader.parameter(&format!("{prefix}.D"), [inner])?,
        project_out: linear(loader, "out_proj", [width, inner], has_bias)?,
    };
    Ok(MambaMixer::new(parts, config))
}

fn aliases(layers: usize) -> Vec<(String, String)> {
    let of_block = |layer: usize| {
        let names = [("hook_resid_pre", "input"), ("hook_resid_post", "output")];
        names.map(|(alias, point)| {
            (
                format!("blocks.{layer}.{alias}"),
                format!("layers.{layer}.{point}"),
            )
        })
    };
    let whole = [("hook_embed".to_owned(), "embed.output".to_owned())];
    whole
        .into_iter()
        .chain((0..layers).flat_map(of_block))
        .collect()
}

/// The model itself, `embed`, `norm`, `unembed`, `layers.N`, and in a layer `norm` and `mixer`.
///
/// A layer takes its value for a whole sequence, which begins at position 0. Called by a mediator,
/// modules pass no site of the run.
impl Modules<Value> for MambaLm {
    fn call(&self, path: &str, input: Value) -> Result<Value, Fault> {
        let config = &self.config;
        let as_tokens = |input| tokens(path, input, config.vocabulary, MAX_POSITIONS);
        let as_stream = |input| stream(path, input, config.width, MAX_POSITIONS);
        let model = callable(self.model.inner());
        let padding = padding(&input);
        let mut states = self.states(padding.as_ref());
        let output = match (path, in_layer(path, config.layers)) {
            ("", _) => model.forward_from(as_tokens(input)?, &mut states),
            ("embed", _) => model.embed.forward(as_tokens(input)?),
            ("norm", _) => model.norm.forward(as_stream(input)?),
            ("unembed", _) => model.unembed.forward(as_stream(input)?),
            (_, Some((layer, part))) => {
                let block = model.layers[layer].inner();
                match part {
                    "" => block.forward(as_stream(input)?, &mut states[layer]),
                    "norm" => block.norm.forward(as_stream(input)?),
                    "mixer" => block
                        .mixer
                        .inner()
                        .forward(as_stream(input)?, &mut states[layer]),
                    _ => return Err(unknown(path)),
                }
            }
            _ => return Err(unknown(path)),
        };
        Ok(output.erase())
    }

    fn shape(&self, path: &str, input: &[u64]) -> Option<Result<Vec<u64>, Fault>> {
        let (tokens, logits) = match (path, in_layer(path, self.config.layers)) {
            ("", _) => (true, true),
            ("embed", _) => (true, false),
            ("unembed", _) => (false, true),
            ("norm", _) | (_, Some((_, "" | "norm" | "mixer"))) => (false, false),
            _ => return Some(Err(unknown(path))),
        };
        let sizes = Sizes {
            width: self.config.width,
            made: self.config.width,
            vocabulary: self.config.vocabulary,
            positions: MAX_POSITIONS,
        };
        Some(Callable { tokens, logits }.shape(path, input, sizes))
    }
}

fn unknown(path: &str) -> Fault {
    not_callable(
        path,
        "`embed`, `layers.N`, its `norm` and `mixer`, `norm` and `unembed`",
    )
}
