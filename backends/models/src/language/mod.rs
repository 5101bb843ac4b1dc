//! A language model with its tokenizer: what an experiment on text needs.

mod batch;

use burn::tensor::{Device, TensorData};
use interloom_backends::{ModelError, Parameters, Sites, Tap, Value};
use interloom_engine::Fault;
use interloom_program::Modules;

pub use self::batch::{Pixels, TokenBatch};
use crate::architecture::Architecture;
use crate::causal::CausalLm;
use crate::files::{
    ChatMessage, ChatTemplate, ChatValue, Download, FileError, ModelFiles, ModelSource, Tokenizer,
};
use crate::induction::InductionLm;

/// The path whose output is, in each step of a generation, the tokens with which the rows go on and
/// the probability with which each was drawn: `([batch], [batch])`.
///
/// What a mediator puts there is what the rows go on with.
pub const DRAWS: &str = "sample";

/// How many positions sequences may have at most, if no other limit is
/// [set](LanguageModel::limit_positions).
///
/// It is no property of any model. Attention computes a number for each pair of positions, and
/// sites hold all of them: with 8,192 positions and 32 heads these are 8 GiB in each block.
pub const POSITIONS_LIMIT: usize = 8192;

/// The name of the model whose weights are part of this crate.
pub const INDUCTION: &str = "induction";

/// A language model of any family, with its name, its device and its tokenizer.
///
/// Prompts are checked when they are made: what computes with them cannot fail.
///
/// ```no_run
/// use interloom_backends::{Run, parse_device};
/// use interloom_models::LanguageModel;
///
/// let lm = LanguageModel::load("smollm2-135m", &parse_device("cpu")?)?;
/// let prompt = lm.prompt("The capital of France is")?;
///
/// let mut run = Run::new("quieter", lm.sites());
/// run.mediator("halve", |cx| async move {
///     let mlp = cx.output("layers.20.mlp").await?;
///     cx.set_output("layers.20.mlp", mlp * 0.5).await
/// });
/// let logits = run.execute(|| prompt.logits())?.output;
/// # let _ = logits;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LanguageModel {
    name: String,
    model: Box<dyn CausalLm>,
    /// Those of the model, and that of the draws.
    sites: Sites,
    /// Where the tokens of a generation pass, if the model continues texts.
    draws: Option<Tap>,
    /// None if tokens are written as their numbers.
    tokenizer: Option<Tokenizer>,
    /// The tokens that end a text.
    end_tokens: Vec<u32>,
    /// The number formats of the weights in its files, if they are others than F32.
    number_formats: Vec<String>,
    /// What makes texts of chats.
    chat: Option<ChatTemplate>,
    /// How many positions sequences may have, whatever the model could take.
    limit: usize,
    device: Device,
}

impl std::fmt::Debug for LanguageModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LanguageModel")
            .field("name", &self.name)
            .field("vocabulary", &self.model.vocabulary())
            .field("positions", &self.model.positions())
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
    /// Loads a model: `induction`, a path to a GGUF file or to a Hugging Face folder,
    /// `smollm2-135m`, or `hf:ORG/NAME`.
    ///
    /// # Errors
    ///
    /// [`LanguageModelError::File`] if there is no such model, or its files are damaged or not
    /// supported.
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
        if spec == INDUCTION {
            return Ok(Self::new(spec, InductionLm::trained(device), device));
        }
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
        Ok(Self::from_files(source.open()?, name, device)?)
    }

    fn from_files(files: ModelFiles, name: &str, device: &Device) -> Result<Self, FileError> {
        Architecture::of(&files)?;
        let file = files.name();
        let tokenizer = if files.takes_images() {
            None
        } else {
            Some(files.tokenizer()?)
        };
        let end_tokens = files.end_tokens()?;
        let number_formats = files.number_formats();
        let chat = files.chat_template()?;
        let model = Architecture::load(files, device)?;
        // What was added to a vocabulary need not be known to the model, until a prompt has it.
        let most = model.vocabulary();
        let last = tokenizer.as_ref().and_then(Tokenizer::last_of_vocabulary);
        if let (Some(tokenizer), Some(last)) = (&tokenizer, last)
            && !is_below(last, most)
        {
            return Err(FileError::Tokenizer {
                file,
                expected: format!("a vocabulary of the model's {most} tokens, from 0 on"),
                found: format!("token {last}, {:?}", tokenizer.token_text(last)),
                advice: "use the tokenizer that belongs to the model".to_owned(),
            });
        }
        Ok(Self {
            end_tokens: end_tokens.unwrap_or_else(|| model.end_tokens().to_vec()),
            chat,
            tokenizer,
            number_formats,
            ..Self::of(name.to_owned(), model, device)
        })
    }

    /// Makes a language model of one's own, whose tokens are written as their numbers.
    pub fn new(name: impl Into<String>, model: impl CausalLm + 'static, device: &Device) -> Self {
        Self::of(name.into(), Box::new(model), device)
    }

    fn of(name: String, model: Box<dyn CausalLm>, device: &Device) -> Self {
        let own = || model.sites().clone();
        let with_draws = match model.continues() {
            true => own().with_tap(DRAWS).ok(),
            false => None,
        };
        let (sites, draws) = match with_draws {
            Some((sites, draws)) => (sites, Some(draws)),
            // The model has a module of that name itself.
            None => (own(), None),
        };
        Self {
            name,
            end_tokens: model.end_tokens().to_vec(),
            chat: None,
            model,
            sites,
            draws,
            tokenizer: None,
            number_formats: Vec::new(),
            limit: POSITIONS_LIMIT,
            device: device.clone(),
        }
    }

    /// Sets how many positions sequences may have, in place of [`POSITIONS_LIMIT`]; the model's own
    /// number holds as well.
    pub const fn limit_positions(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Returns how many positions sequences may have: as many as the model, and the limit, allow.
    pub fn positions(&self) -> usize {
        self.model.positions().min(self.limit)
    }

    /// Returns the name by which the model was loaded.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the model, without name and tokenizer.
    pub fn model(&self) -> &dyn CausalLm {
        &*self.model
    }

    /// Returns the model's sites, and [that of the draws](DRAWS).
    pub const fn sites(&self) -> &Sites {
        &self.sites
    }

    /// Returns the device that the model runs on.
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// Returns the model's tokenizer, if it has one.
    pub const fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// Returns the tokens that end a generation: those of a folder's `generation_config.json`, if
    /// it has one, else those of the model's configuration.
    pub fn end_tokens(&self) -> &[u32] {
        &self.end_tokens
    }

    /// Returns the number formats of the weights in the model's files, that of the most values
    /// first; none if they are F32. Whatever they are, weights are F32 when they are computed with,
    /// and digests are of these.
    pub fn number_formats(&self) -> &[String] {
        &self.number_formats
    }

    /// Returns the model's float parameters, for a run that shows their gradients.
    pub fn parameters(&self) -> Parameters {
        self.model.parameters()
    }

    /// Calls `visit` with the path and the data of every parameter: what the identity of the model
    /// is made of.
    pub fn visit_parameters(&self, visit: &mut dyn FnMut(&str, TensorData)) {
        self.model.visit_parameters(visit);
    }

    /// Returns the tokens of `text`, after one that marks its beginning if the model's files ask
    /// for that.
    ///
    /// # Errors
    ///
    /// [`ModelError::Input`] if there are none, more than the model has positions, or no tokenizer;
    /// [`FileError`] if the tokenizer fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, LanguageModelError> {
        self.encode_with(text, Tokenizer::encode_prompt)
    }

    fn encode_with(
        &self,
        text: &str,
        encode: impl FnOnce(&Tokenizer, &str) -> Result<Vec<u32>, FileError>,
    ) -> Result<Vec<u32>, LanguageModelError> {
        let Some(tokenizer) = &self.tokenizer else {
            let (has, instead) = match self.model.images() {
                Some(_) => ("takes images", "give it pixels"),
                None => ("has no tokenizer", "give it tokens"),
            };
            let what = format!("a text, but the model `{}` {has}", self.name);
            return Err(input(what, instead).into());
        };
        let tokens = encode(tokenizer, text)?;
        self.batch(&[&tokens])?;
        Ok(tokens)
    }

    /// Returns the tokens of two texts as the model was trained to see a pair, and their types.
    ///
    /// # Errors
    ///
    /// As for [`encode`](Self::encode), and if the model's tokens have no types.
    pub fn encode_pair(
        &self,
        first: &str,
        second: &str,
    ) -> Result<(Vec<u32>, Vec<u32>), LanguageModelError> {
        let mut types = Vec::new();
        let tokens = self.encode_with(first, |tokenizer, first| {
            let (tokens, of_tokens) = tokenizer.encode_pair(first, second)?;
            types = of_tokens;
            Ok(tokens)
        })?;
        self.batch(&[&tokens])?.with_types(&[&types])?;
        Ok((tokens, types))
    }

    /// Returns a chat as text, with the beginning of the model's answer behind it if `opens_answer`
    /// says so; `with` is what else the template sees, such as `tools`.
    ///
    /// # Errors
    ///
    /// E146 if the model has no template for chats, E147 if it cannot be used.
    pub fn chat(
        &self,
        messages: &[ChatMessage],
        opens_answer: bool,
        with: &[(String, ChatValue)],
    ) -> Result<String, LanguageModelError> {
        let none = || FileError::NoChat {
            file: self.name.clone(),
        };
        let template = self.chat.as_ref().ok_or_else(none)?;
        Ok(template.render(messages, opens_answer, with)?)
    }

    /// Returns the tokens of a text that has everything in it that the model is to see: none comes
    /// in front or behind, as for [`chat`](Self::chat).
    ///
    /// # Errors
    ///
    /// As for [`encode`](Self::encode).
    pub fn encode_whole(&self, text: &str) -> Result<Vec<u32>, LanguageModelError> {
        self.encode_with(text, Tokenizer::encode)
    }

    /// Returns the one token that `text` is, without one that marks a beginning.
    ///
    /// # Errors
    ///
    /// E050 if it is none or several; [`ModelError::Input`] if the model has no tokenizer, and
    /// `text` is no number of a token.
    pub fn token(&self, text: &str) -> Result<u32, LanguageModelError> {
        if let Some(tokenizer) = &self.tokenizer {
            return Ok(tokenizer.single(text)?);
        }
        let known = self.model.vocabulary();
        let labelled = self
            .model
            .images()
            .and_then(|images| (0..known as u32).find(|&class| images.label(class) == Some(text)));
        let token = labelled.or_else(|| text.parse().ok());
        let token = token.filter(|&token| is_below(token, known));
        token.ok_or_else(|| {
            let what = format!("{text:?}, which is no token of the model `{}`", self.name);
            input(what, &format!("they are 0 to {}", known.saturating_sub(1))).into()
        })
    }

    /// Returns how a token reads.
    pub fn token_text(&self, token: u32) -> String {
        let images = self.model.images();
        match (
            &self.tokenizer,
            images.and_then(|images| images.label(token)),
        ) {
            (Some(tokenizer), _) => tokenizer.token_text(token),
            (None, Some(label)) => label.to_owned(),
            (None, None) => token.to_string(),
        }
    }

    /// Returns how tokens read one after another.
    pub fn text(&self, tokens: &[u32]) -> String {
        let texts = || tokens.iter().map(|&token| self.token_text(token));
        match &self.tokenizer {
            Some(tokenizer) => {
                let text = tokenizer.decode(tokens);
                text.unwrap_or_else(|_| texts().collect())
            }
            None => texts().collect::<Vec<_>>().join(" "),
        }
    }
}

impl Modules<Value> for LanguageModel {
    fn call(&self, path: &str, input: Value) -> Result<Value, Fault> {
        self.model.call(path, input)
    }

    fn shape(&self, path: &str, input: &[u64]) -> Option<Result<Vec<u64>, Fault>> {
        self.model.shape(path, input)
    }
}

fn is_below(token: u32, known: usize) -> bool {
    usize::try_from(token).is_ok_and(|token| token < known)
}

fn input(what: String, instead: &str) -> ModelError {
    let instead = instead.to_owned();
    ModelError::Input { what, instead }
}
