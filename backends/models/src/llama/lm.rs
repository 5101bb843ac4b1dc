//! The architecture as a family of language models.

use burn::tensor::{Device, Int, Tensor, TensorData};
use interloom_backends::{Bound, Hooked, Parameters, Sites, visit_parameters};

use super::load::{load, positions};
use super::names::hugging_face_name;
use super::{Llama, LlamaConfig};
use crate::architecture::Architecture;
use crate::attention::KvCache;
use crate::causal::{CausalLm, Decoder};
use crate::files::{FileError, ModelFiles, Weights};

/// The architecture's place in the [table](crate::ARCHITECTURES).
pub const ARCHITECTURE: Architecture = Architecture {
    model_types: &["llama", "mistral"],
    gguf: Some("llama"),
    load: |files, device| Ok(Box::new(LlamaLm::load(files, device)?)),
};

/// A Llama model that is bound to its sites, with its configuration.
#[derive(Debug)]
pub struct LlamaLm {
    model: Bound<Hooked<Llama>>,
    config: LlamaConfig,
}

impl LlamaLm {
    /// Reads the configuration, and takes every weight.
    ///
    /// # Errors
    ///
    /// E042 to E046: what can be wrong with the configuration or the weights.
    pub fn load(files: ModelFiles, device: &Device) -> Result<Self, FileError> {
        let (config, weights) = open(files)?;
        Ok(Self {
            model: load(&config, weights, device)?,
            config,
        })
    }

    /// Returns the model.
    pub const fn model(&self) -> &Bound<Hooked<Llama>> {
        &self.model
    }

    /// Returns the model's sizes.
    pub const fn config(&self) -> &LlamaConfig {
        &self.config
    }
}

impl CausalLm for LlamaLm {
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
        self.config.vocab_size
    }

    fn positions(&self) -> usize {
        positions(&self.config)
    }

    fn end_tokens(&self) -> &[u32] {
        &self.config.eos_ids
    }

    fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        self.decoder(tokens.dims()[1])(tokens)
    }

    fn decoder(&self, positions: usize) -> Decoder<'_> {
        let mut cache = KvCache::new(self.config.layers, positions);
        Box::new(move |tokens| {
            let cached = |model: &Llama, tokens| model.forward_cached(tokens, &mut cache);
            self.model.call(tokens, cached)
        })
    }
}

/// Reads the configuration, and gives the weights the names that Hugging Face gives them.
pub(crate) fn open(files: ModelFiles) -> Result<(LlamaConfig, Weights), FileError> {
    match files {
        ModelFiles::Gguf(gguf) => {
            let config = LlamaConfig::from_gguf(&gguf)?;
            let weights = Weights::from_gguf(gguf, |stored| hugging_face_name(stored, &config));
            Ok((config, weights))
        }
        ModelFiles::Folder(folder) => {
            let config = LlamaConfig::from_json(&folder.config, &folder.config_file())?;
            Ok((config, Weights::from_safetensors(folder.weights)))
        }
    }
}
