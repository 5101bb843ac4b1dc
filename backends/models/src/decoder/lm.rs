//! A decoder as a language model: bound to its sites, with its configuration.

use burn::tensor::{Device, Int, Tensor, TensorData};
use interloom_backends::{Bound, Hooked, Parameters, Sites, visit_parameters};
use interloom_engine::{Padding, PaddingSide, PositionLayout};

use super::aliases::aliases;
use super::{DecoderConfig, DecoderModel, KvCache, Names};
use crate::architecture::Architecture;
use crate::causal::{CausalLm, Decoder, TypedTokens};
use crate::families::Family;
use crate::files::{FileError, Gguf, ModelFiles, Weights};

/// A decoder that is bound to its sites, with its configuration.
#[derive(Debug)]
pub struct DecoderLm {
    model: Bound<Hooked<DecoderModel>>,
    config: DecoderConfig,
}

impl DecoderConfig {
    /// Reads the text of a `config.json` of any family; `file` is what messages call it.
    ///
    /// # Errors
    ///
    /// E042 if it is not valid or its sizes do not fit together, E043 if it is of another
    /// architecture or asks for something that is not computed.
    pub fn from_json(text: &str, file: &str) -> Result<Self, FileError> {
        Architecture::of_json(text, file)?
            .decoder(file)?
            .read(text, file)
    }

    /// Reads the metadata of a GGUF file of any family that is read from such files.
    ///
    /// # Errors
    ///
    /// E042 if a key is missing or its value does not fit, E043 if the architecture is another one
    /// or something is asked for that is not computed.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, FileError> {
        Architecture::of_gguf(gguf)?
            .decoder(gguf.name())?
            .read_gguf(gguf)
    }
}

impl DecoderModel {
    /// Makes a model of the text of a `config.json`, which messages call `file`, and its weights
    /// under the names of the hub. It is not bound.
    ///
    /// # Errors
    ///
    /// E042 to E046: what can be wrong with the configuration or the weights.
    pub fn load(
        text: &str,
        file: &str,
        weights: Weights,
        device: &Device,
    ) -> Result<Self, FileError> {
        let family = Architecture::of_json(text, file)?.decoder(file)?;
        let config = family.read(text, file)?;
        super::load(&config, &family.names(&config), weights, device)
    }
}

impl DecoderLm {
    /// Reads the configuration, and takes every weight.
    ///
    /// # Errors
    ///
    /// E042 to E046: what can be wrong with the configuration or the weights.
    pub fn load(files: ModelFiles, device: &Device) -> Result<Self, FileError> {
        let family = Architecture::of(&files)?.decoder(&files.name())?;
        let (config, names, weights) = open(family, files)?;
        let model = super::load(&config, &names, weights, device)?;
        let bound = Bound::new(Hooked::from(model)).and_then(|model| {
            let experts = config.experts.map_or(0, |experts| experts.count);
            let aliases = aliases(
                model.sites(),
                config.blocks.len(),
                experts,
                config.wiring.norms,
            );
            let model = model.with_aliases(aliases)?;
            Ok(model.with_positions(positions))
        });
        Ok(Self {
            model: bound.expect("the model's own paths are distinct, and its aliases name them"),
            config,
        })
    }

    /// Returns the model.
    pub const fn model(&self) -> &Bound<Hooked<DecoderModel>> {
        &self.model
    }

    /// Returns what the model computes.
    pub const fn config(&self) -> &DecoderConfig {
        &self.config
    }
}

impl CausalLm for DecoderLm {
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
        self.config.longest()
    }

    fn end_tokens(&self) -> &[u32] {
        &self.config.eos_ids
    }

    fn continues(&self) -> bool {
        !self.config.blocks.iter().any(|block| block.sees_all)
    }

    fn typed(&self) -> Option<&dyn TypedTokens> {
        self.config
            .token_types
            .is_some()
            .then_some(self as &dyn TypedTokens)
    }

    fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        self.decoder(tokens.dims()[1])(tokens)
    }

    fn decoder(&self, positions: usize) -> Decoder<'_> {
        self.padded_decoder(positions, None)
    }

    fn padding_side(&self) -> Option<PaddingSide> {
        Some(match self.continues() {
            true => PaddingSide::Left,
            false => PaddingSide::Right,
        })
    }

    /// Keys of rotary positions whose frequencies depend on the length of the sequence are computed
    /// anew, with all tokens so far, where that changes: what is generated is what would be without
    /// a cache.
    fn padded_decoder(&self, positions: usize, padding: Option<&Padding>) -> Decoder<'_> {
        let layers = self.config.blocks.len();
        let padding = padding.cloned();
        let mut cache = KvCache::padded(layers, positions, padding.clone());
        let mut all: Option<Tensor<2, Int>> = None;
        let model = self.model.inner();
        let can_change = !model.keeps_keys(None, 1, positions);
        Box::new(move |tokens| {
            let mut tokens = tokens;
            if can_change {
                let (before, new) = (cache.len(), tokens.dims()[1]);
                let joined = match all.take() {
                    Some(all) => Tensor::cat(vec![all, tokens.clone()], 1),
                    None => tokens.clone(),
                };
                if before > 0 && !model.keeps_keys(padding.as_ref(), before, before + new) {
                    cache.clear();
                    tokens = joined.clone();
                }
                all = Some(joined);
            }
            let cached = |model: &DecoderModel, tokens| model.forward_cached(tokens, &mut cache);
            self.model.call(tokens, cached)
        })
    }
}

impl TypedTokens for DecoderLm {
    fn types(&self) -> usize {
        self.config.token_types.unwrap_or(1)
    }

    fn forward_typed(
        &self,
        tokens: Tensor<2, Int>,
        types: Tensor<2, Int>,
        padding: Option<&Padding>,
    ) -> Tensor<3> {
        let layers = self.config.blocks.len();
        let mut cache = KvCache::padded(layers, tokens.dims()[1], padding.cloned());
        self.model.call(tokens, |model, tokens| {
            model.forward_typed(tokens, Some(types), &mut cache)
        })
    }
}

/// Returns which dimensions of the tensors at a point are positions of a sequence.
fn positions(point: &str) -> PositionLayout {
    // The last two words are the port and what has it.
    let mut words = point.rsplit('.').skip(1);
    let name = words.next().unwrap_or("");
    let is_operation = words.next() == Some("source") && point.contains(".attn.");
    let is_output = point.ends_with(".output");
    let dimensions = match (is_operation, name) {
        (_, "scores" | "pattern") => vec![vec![2, 3]],
        (true, "mask_fill_0" | "softmax_0") => vec![vec![2, 3]],
        (true, "scores_0") if is_output => vec![vec![2, 3]],
        // Of the pattern and the values it mixes: queries and keys, and keys.
        (true, "matmul_0") if !is_output => vec![vec![2, 3], vec![2]],
        (true, "scores_0" | "matmul_0" | "share_0" | "share_1" | "extend_0") => vec![vec![2]],
        (true, "swap_dims_0" | "swap_dims_1" | "swap_dims_2") if is_output => vec![vec![2]],
        (true, "swap_dims_3") if !is_output => vec![vec![2]],
        _ => vec![vec![1]],
    };
    PositionLayout::new(dimensions)
}

/// Reads the configuration, and gives the weights the names that Hugging Face gives them.
pub(crate) fn open(
    family: &Family,
    files: ModelFiles,
) -> Result<(DecoderConfig, Names, Weights), FileError> {
    match files {
        ModelFiles::Gguf(gguf) => family.open_gguf(gguf),
        ModelFiles::Folder(folder) => {
            let config = family.read(&folder.config, &folder.config_file())?;
            let names = family.names(&config);
            Ok((config, names, Weights::from_safetensors(folder.weights)))
        }
    }
}
