//! A language model with its tokenizer: what an experiment on text needs.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::Llama;
use super::attention::KvCache;
use super::load::{load, positions};
use crate::bind::{Bound, Sites};
use crate::error::ModelError;
use crate::files::{Download, FileError, LlamaConfig, ModelFiles, ModelSource, Tokenizer};
use crate::hooked::Hooked;

/// A Llama model, its tokenizer and its configuration.
///
/// ```no_run
/// use interloom_backends::{Run, models::llama::LanguageModel, parse_device};
///
/// let lm = LanguageModel::load("smollm2-135m", &parse_device("cpu")?)?;
/// let prompt = lm.encode("The capital of France is")?;
///
/// let mut run = Run::new("quieter", lm.sites());
/// run.mediator("halve", |cx| async move {
///     let mlp = cx.output("layers.20.mlp").await?;
///     cx.set_output("layers.20.mlp", mlp * 0.5).await
/// });
/// let logits = run.execute(|| lm.logits(&[&prompt]))?.output;
/// # let _ = logits;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LanguageModel {
    name: String,
    model: Bound<Hooked<Llama>>,
    tokenizer: Tokenizer,
    config: LlamaConfig,
    device: Device,
}

impl std::fmt::Debug for LanguageModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, config, .. } = self;
        let mut debug = f.debug_struct("LanguageModel");
        debug
            .field("name", name)
            .field("config", config)
            .finish_non_exhaustive()
    }
}

/// A language model that cannot be loaded or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LanguageModelError {
    /// Its files.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its input.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl LanguageModelError {
    /// Returns the error's stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::File(error) => error.code(),
            Self::Model(error) => error.code(),
        }
    }
}

impl LanguageModel {
    /// Loads a model: a path to a GGUF file or to a Hugging Face folder, `smollm2-135m`, or `hf:ORG/NAME`.
    ///
    /// # Errors
    ///
    /// [`LanguageModelError::File`] if there is no such model, or its files are damaged or not supported.
    pub fn load(spec: &str, device: &Device) -> Result<Self, LanguageModelError> {
        Self::load_with(spec, device, &mut |_| {})
    }

    /// Loads a model as [`load`](Self::load) does, and reports on downloads.
    ///
    /// # Errors
    ///
    /// As for [`load`](Self::load).
    pub fn load_with(
        spec: &str,
        device: &Device,
        progress: &mut dyn FnMut(Download<'_>),
    ) -> Result<Self, LanguageModelError> {
        let source = ModelSource::resolve_with(spec, progress)?;
        Self::from_source(&source, spec, device)
    }

    /// Loads a model from a source that has been looked up.
    ///
    /// # Errors
    ///
    /// [`LanguageModelError::File`] if the files are damaged or not supported.
    pub fn from_source(
        source: &ModelSource,
        name: &str,
        device: &Device,
    ) -> Result<Self, LanguageModelError> {
        let ModelFiles {
            config,
            weights,
            tokenizer,
        } = source.open()?;
        Ok(Self {
            name: name.to_owned(),
            model: load(&config, weights, device)?,
            tokenizer,
            config,
            device: device.clone(),
        })
    }

    /// Returns the name by which the model was loaded.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the model.
    pub const fn model(&self) -> &Bound<Hooked<Llama>> {
        &self.model
    }

    /// Returns the model's sites.
    pub const fn sites(&self) -> &Sites {
        self.model.sites()
    }

    /// Returns the model's tokenizer.
    pub const fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Returns the model's sizes.
    pub const fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Returns the device that the model runs on.
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// Returns the tokens of `text`, after one that marks its beginning if the model's files ask for that.
    ///
    /// The [tokenizer](Self::tokenizer)'s own `encode` and `single` add none.
    ///
    /// # Errors
    ///
    /// [`ModelError::Input`] if there are none, or more than the model has positions; [`FileError`] if the tokenizer fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, LanguageModelError> {
        let tokens = self.tokenizer.encode_prompt(text)?;
        self.check(&[&tokens], 0)?;
        Ok(tokens)
    }

    /// Checks that prompts can be a batch, with room for `new` more tokens.
    ///
    /// # Errors
    ///
    /// [`ModelError::Input`] if there is no prompt, one is empty, they differ in length, do not fit into the model's
    /// positions, or have a token that the model does not know.
    pub fn check(&self, prompts: &[&[u32]], new: usize) -> Result<(), ModelError> {
        let input = |what: String, instead: &str| {
            let instead = instead.to_owned();
            Err(ModelError::Input { what, instead })
        };
        let lengths: Vec<usize> = prompts.iter().map(|prompt| prompt.len()).collect();
        let length = lengths.first().copied().unwrap_or(0);
        let missing = match lengths[..] {
            [] => Some("no prompt, at least one is expected".to_owned()),
            [0] => Some("a prompt of 0 tokens, at least 1 is expected".to_owned()),
            _ if lengths.contains(&0) => Some(format!(
                "prompts of {lengths:?} tokens, at least 1 in each is expected"
            )),
            _ => None,
        };
        if let Some(what) = missing {
            return input(what, "give it some text");
        }
        if lengths.iter().any(|&other| other != length) {
            let what = format!("the prompts of a batch have {lengths:?} tokens");
            return input(what, "run them one by one, or make them equally long");
        }
        let room = positions(&self.config);
        if length.saturating_add(new) > room {
            let what =
                format!("{length} tokens and {new} new ones, but the model has {room} positions");
            return input(what, "shorten the prompt");
        }
        let tokens = prompts.iter().flat_map(|prompt| prompt.iter());
        match tokens
            .copied()
            .find(|&token| token as usize >= self.config.vocab_size)
        {
            Some(token) => {
                let what = format!(
                    "token {token}, but the model knows {} tokens",
                    self.config.vocab_size
                );
                input(what, "use the model's own tokenizer")
            }
            None => Ok(()),
        }
    }

    /// Computes `[batch, position, token]` logits for prompts of equal length.
    ///
    /// # Panics
    ///
    /// Panics if the prompts do not pass [`check`](Self::check).
    pub fn logits(&self, prompts: &[&[u32]]) -> Tensor<3> {
        let length = self.checked(prompts, 0);
        let mut cache = KvCache::new(&self.config, prompts.len(), length, &self.device);
        self.forward(self.tokens(prompts), &mut cache)
    }

    /// Continues a prompt greedily by up to `new` tokens, and returns them; it stops after an end-of-text token.
    ///
    /// The prompt is iteration 0 of every site, each further token one more.
    ///
    /// # Panics
    ///
    /// Panics if the prompt does not pass [`check`](Self::check) with `new`.
    pub fn generate(&self, prompt: &[u32], new: usize) -> Vec<u32> {
        let length = self.checked(&[prompt], new);
        let mut cache = KvCache::new(&self.config, 1, length + new, &self.device);
        let mut generated: Vec<u32> = Vec::with_capacity(new);
        while generated.len() < new {
            let last = generated.last().copied();
            let step = last.as_slice();
            let tokens = if generated.is_empty() { prompt } else { step };
            let token = largest(self.forward(self.tokens(&[tokens]), &mut cache));
            generated.push(token);
            if self.config.eos_ids.contains(&token) {
                break;
            }
        }
        generated
    }

    fn forward(&self, tokens: Tensor<2, Int>, cache: &mut KvCache) -> Tensor<3> {
        self.model
            .call(tokens, |model, tokens| model.forward_cached(tokens, cache))
    }

    fn checked(&self, prompts: &[&[u32]], new: usize) -> usize {
        if let Err(error) = self.check(prompts, new) {
            panic!("{error}");
        }
        prompts[0].len()
    }

    fn tokens(&self, prompts: &[&[u32]]) -> Tensor<2, Int> {
        let shape = [prompts.len(), prompts[0].len()];
        let tokens: Vec<i32> = prompts
            .concat()
            .into_iter()
            .map(|token| token as i32)
            .collect();
        Tensor::from_data(TensorData::new(tokens, shape), &self.device)
    }
}

/// Returns the most likely token at the last position of the first sequence; the lowest of equals.
fn largest(logits: Tensor<3>) -> u32 {
    let [_, positions, tokens] = logits.dims();
    let row = logits
        .slice([0..1, positions - 1..positions, 0..tokens])
        .into_data();
    let row: Vec<f32> = row.convert::<f32>().try_into_vec().expect("just converted");
    let better = |best: usize, index: usize| if row[index] > row[best] { index } else { best };
    (1..row.len()).fold(0, better) as u32
}
