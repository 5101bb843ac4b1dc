//! The architecture as a family of language models.

use burn::tensor::{Device, Int, Tensor, TensorData};
use interloom_backends::{Bound, Hooked, Parameters, Sites, visit_parameters};

use super::load::load;
use super::{Gpt2, Gpt2Config, KvCache, aliases};
use crate::architecture::Architecture;
use crate::causal::{CausalLm, Decoder};
use crate::files::{FileError, ModelFiles, Weights};

/// The architecture's place in the [table](crate::ARCHITECTURES).
pub const ARCHITECTURE: Architecture = Architecture {
    model_types: &["gpt2"],
    gguf: None,
    load: |files, device| Ok(Box::new(Gpt2Lm::load(files, device)?)),
};

/// A GPT-2 model that is bound to its sites, with its configuration.
#[derive(Debug)]
pub struct Gpt2Lm {
    model: Bound<Hooked<Gpt2>>,
    config: Gpt2Config,
}

impl Gpt2Lm {
    /// Reads the configuration, and takes every weight.
    ///
    /// # Errors
    ///
    /// E042 to E046: what can be wrong with the configuration or the weights; E043 for a GGUF file.
    pub fn load(files: ModelFiles, device: &Device) -> Result<Self, FileError> {
        let folder = match files {
            ModelFiles::Folder(folder) => folder,
            ModelFiles::Gguf(gguf) => {
                let advice = "use the folder of the model with its safetensors files";
                return Err(FileError::unsupported(
                    gguf.name(),
                    "its format",
                    "a Hugging Face folder",
                    "a GGUF file",
                    advice,
                ));
            }
        };
        let config = Gpt2Config::from_json(&folder.config, &folder.config_file())?;
        let weights = Weights::from_safetensors(folder.weights);
        let model = Hooked::from(load(&config, weights, device)?);
        let bound = Bound::new(model).and_then(|model| model.with_aliases(aliases(config.layers)));
        Ok(Self {
            model: bound.expect("the model's own paths are distinct, and its aliases name them"),
            config,
        })
    }

    /// Returns the model.
    pub const fn model(&self) -> &Bound<Hooked<Gpt2>> {
        &self.model
    }

    /// Returns the model's sizes.
    pub const fn config(&self) -> &Gpt2Config {
        &self.config
    }
}

impl CausalLm for Gpt2Lm {
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
        self.config.positions
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
            let cached = |model: &Gpt2, tokens| model.forward_cached(tokens, &mut cache);
            self.model.call(tokens, cached)
        })
    }
}
