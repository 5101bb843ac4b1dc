//! The models that an experiment file can be about.

use std::rc::Rc;

use burn::tensor::{Device, Tensor, TensorData};
use interloom::environment;
use interloom_backends::{ModelError, Parameters, Sites, Value, parse_device};
use interloom_engine::{Fault, Padding, PaddingSide};
use interloom_journal::{Head, ModelIdentity, Tokens};
use interloom_models::files::{Download, FileError, Tokenizer};
use interloom_models::{LanguageModel, LanguageModelError, POSITIONS_LIMIT, Pixels, TokenBatch};
use interloom_program::{Action, Modules};

use super::error::ExperimentError;
use super::plan::{Chat, RunPlan, SamplingPlan};
use super::rows::RowRef;
use super::source::Spot;

/// What helps where a model is not here.
const NAME_MODEL: &str = "name the model with `--model`";

/// A model, shared with the programs that call its modules.
#[derive(Clone)]
pub(super) enum Subject {
    Language(Rc<LanguageModel>),
    /// One that is not here, for runs that a journal serves.
    Absent(Rc<Absent>),
}

/// What a journal's head has of a model.
pub(super) struct Absent {
    sites: Sites,
    tokens: Tokens,
    device: Device,
    identity: Option<ModelIdentity>,
    number_formats: Vec<String>,
}

/// Why a prompt has no tokens.
pub(super) enum NotEncoded {
    /// The model does not take it.
    Input(String),
    /// The tokenizer does not.
    Tokenizer(FileError),
}

impl NotEncoded {
    /// Says where the prompt stands.
    pub(super) fn at(self, at: Spot) -> ExperimentError {
        match self {
            Self::Input(reason) => ExperimentError::Input { at, reason },
            Self::Tokenizer(error) => ExperimentError::at(at, error.into()),
        }
    }
}

impl From<LanguageModelError> for NotEncoded {
    fn from(error: LanguageModelError) -> Self {
        match error {
            LanguageModelError::File(error) => Self::Tokenizer(error),
            other => Self::Input(reason(other)),
        }
    }
}

/// Returns the device of this name; it keeps a graph of what is computed if one of the runs has a
/// program that asks for a backward pass.
pub(super) fn device_for(name: &str, runs: &[RunPlan]) -> Result<Device, ModelError> {
    let device = parse_device(name)?;
    let invokes = runs.iter().flat_map(|run| &run.invokes);
    let mut actions = invokes.flat_map(|invoke| invoke.program.actions());
    if actions.any(|action| matches!(action, Action::Backward { .. })) {
        Ok(device.autodiff())
    } else {
        Ok(device)
    }
}

impl Subject {
    pub(super) fn load(
        spec: &str,
        device: &Device,
        positions: Option<u32>,
        progress: &mut dyn FnMut(Download<'_>),
    ) -> Result<Self, ExperimentError> {
        let model = LanguageModel::load_with(spec, device, progress)?;
        let limit = positions.map_or(POSITIONS_LIMIT, |limit| limit as usize);
        let model = model.limit_positions(limit);
        Ok(Self::Language(Rc::new(model)))
    }

    /// Returns the model as a journal's head knows it; nothing if that does not have its sites.
    pub(super) fn absent(head: &Head) -> Result<Option<Self>, ExperimentError> {
        let sites = environment::sites_of(head);
        let Some(sites) = sites else {
            return Ok(None);
        };
        Ok(Some(Self::Absent(Rc::new(Absent {
            sites,
            tokens: head.tokens.clone(),
            // Nothing is computed but what the programs compute with recorded values.
            device: parse_device("cpu")?,
            identity: head.model.clone(),
            number_formats: head.number_formats.clone(),
        }))))
    }

    /// Returns whether the model can be called.
    pub(super) const fn is_here(&self) -> bool {
        !matches!(self, Self::Absent(_))
    }

    /// Returns the rows of tokens that a journal's head has under this name, if the model is not
    /// here.
    pub(super) fn recorded_rows(&self, name: &str) -> Option<Vec<Vec<u32>>> {
        match self {
            Self::Absent(absent) => absent.tokens.get(name).cloned(),
            Self::Language(_) => None,
        }
    }

    pub(super) fn sites(&self) -> &Sites {
        match self {
            Self::Absent(absent) => &absent.sites,
            Self::Language(model) => model.sites(),
        }
    }

    /// Returns the model's tokenizer, if it is here and has one.
    pub(super) fn tokenizer(&self) -> Option<&Tokenizer> {
        match self {
            Self::Language(model) => model.tokenizer(),
            Self::Absent(_) => None,
        }
    }

    /// Returns what is done otherwise than the model's files say, with the reason.
    pub(super) fn notes(&self) -> &[String] {
        self.tokenizer().map_or(&[], Tokenizer::notes)
    }

    /// Returns the model's parameters, for a run that shows their gradients; none if it is not
    /// here.
    pub(super) fn parameters(&self) -> Parameters {
        match self {
            Self::Absent(_) => Parameters::default(),
            Self::Language(model) => model.parameters(),
        }
    }

    pub(super) fn device(&self) -> &Device {
        match self {
            Self::Absent(absent) => &absent.device,
            Self::Language(model) => model.device(),
        }
    }

    /// Returns the tokens of a prompt, or why there are none.
    pub(super) fn encode(&self, prompt: &str) -> Result<Vec<u32>, NotEncoded> {
        match self {
            Self::Language(model) => Ok(model.encode(prompt)?),
            Self::Absent(_) => Err(no_tokens()),
        }
    }

    /// Returns the tokens of two texts and their types, or why there are none.
    pub(super) fn encode_pair(
        &self,
        [first, second]: &[String; 2],
    ) -> Result<(Vec<u32>, Vec<u32>), NotEncoded> {
        match self {
            Self::Language(model) => Ok(model.encode_pair(first, second)?),
            Self::Absent(_) => Err(no_tokens()),
        }
    }

    /// Returns the size of the images that the model takes, or why it takes none.
    pub(super) fn image(&self) -> Result<[usize; 3], NotEncoded> {
        match self {
            Self::Absent(_) => Err(no_tokens()),
            Self::Language(model) => match model.model().images() {
                Some(images) => Ok(images.size()),
                None => {
                    let name = model.name();
                    let reason =
                        format!("images, but the model `{name}` takes tokens; give it some text");
                    Err(NotEncoded::Input(reason))
                }
            },
        }
    }

    /// Returns how many positions the model has.
    pub(super) fn positions(&self) -> u32 {
        match self {
            Self::Language(model) => model.model().positions() as u32,
            Self::Absent(_) => 0,
        }
    }

    /// Returns a chat as text, or why there is none.
    pub(super) fn chat(&self, chat: &Chat) -> Result<String, NotEncoded> {
        match self {
            Self::Language(model) => {
                Ok(model.chat(&chat.messages, chat.opens_answer, &chat.with)?)
            }
            Self::Absent(_) => Err(no_tokens()),
        }
    }

    /// Returns the tokens of a text that is all that the model is to see, or why there are none.
    pub(super) fn encode_whole(&self, text: &str) -> Result<Vec<u32>, NotEncoded> {
        match self {
            Self::Language(model) => Ok(model.encode_whole(text)?),
            Self::Absent(_) => self.encode(text),
        }
    }

    /// Returns the token that a text is, or why it is none.
    pub(super) fn single(&self, text: &str) -> Result<u32, String> {
        match self {
            Self::Language(model) => model.token(text).map_err(reason),
            Self::Absent(_) => Err(format!("the journal has no tokenizer; {NAME_MODEL}")),
        }
    }

    /// Checks that rows can be a batch, with room for so many new tokens.
    pub(super) fn check(&self, rows: &[RowRef<'_>], new: usize) -> Result<(), String> {
        match self {
            Self::Language(model) => {
                let batch = try_batch(model, rows).and_then(|batch| batch.with_room(new));
                batch.map(drop).map_err(|error| reason(error.into()))
            }
            // They were when they were recorded.
            Self::Absent(_) => Ok(()),
        }
    }

    /// Computes `[batch, position, token]` logits of rows that pass the check.
    pub(super) fn logits(&self, rows: &[RowRef<'_>]) -> Tensor<3> {
        match self {
            Self::Language(model) => batch(model, rows).logits(),
            Self::Absent(_) => unreachable!("a run that is served calls no model"),
        }
    }

    /// Continues rows that pass the check, greedily or by draws, with how many rows equal to each
    /// one are before it.
    pub(super) fn generate(
        &self,
        rows: &[RowRef<'_>],
        new: u32,
        drawn: Option<(SamplingPlan, Vec<u64>)>,
    ) -> Vec<Vec<u32>> {
        match self {
            Self::Language(model) => match drawn {
                None => batch(model, rows).generate(new as usize),
                Some((plan, copies)) => {
                    let sampling = plan.sampling().expect("it was checked when it was read");
                    let batch = batch(model, rows).copies(copies);
                    let batch = batch.expect("each row has its number");
                    batch.sample(new as usize, &sampling)
                }
            },
            Self::Absent(_) => unreachable!("a run that is served calls no model"),
        }
    }

    /// Returns how rows that pass the check are padded, if they differ in length.
    pub(super) fn padding(&self, rows: &[RowRef<'_>]) -> Option<Padding> {
        match self {
            Self::Language(model) => batch(model, rows).padding().cloned(),
            // The journal that stands in for the model says it.
            Self::Absent(_) => None,
        }
    }

    /// Returns where the own positions of each row begin in the batch of rows that pass the check.
    pub(super) fn starts(&self, rows: &[RowRef<'_>]) -> Vec<usize> {
        match self.padding(rows) {
            Some(padding) => (0..rows.len())
                .map(|row| padding.own(row).start as usize)
                .collect(),
            None => vec![0; rows.len()],
        }
    }

    /// Returns where the own positions of each row end in the batch of rows that pass the check;
    /// nothing if it is where the batch does.
    pub(super) fn ends(&self, rows: &[RowRef<'_>]) -> Vec<Option<usize>> {
        let padding = self.padding(rows);
        let padding = padding.filter(|padding| padding.side() == PaddingSide::Right);
        let end = |row| Some(padding.as_ref()?.own(row).end as usize);
        (0..rows.len()).map(end).collect()
    }

    /// Returns how a token reads.
    pub(super) fn token_text(&self, token: u32) -> String {
        match self {
            Self::Absent(_) => token.to_string(),
            Self::Language(model) => model.token_text(token),
        }
    }

    /// Returns how tokens read one after another.
    pub(super) fn text(&self, tokens: &[u32]) -> String {
        match self {
            Self::Absent(_) => {
                let texts: Vec<String> = tokens.iter().map(u32::to_string).collect();
                texts.join(" ")
            }
            Self::Language(model) => model.text(tokens),
        }
    }
}

/// A model by the name that its experiment has for it.
pub(super) struct NamedSubject<'a> {
    pub(super) name: &'a str,
    pub(super) subject: &'a Subject,
}

impl interloom::Subject for NamedSubject<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn sites(&self) -> &Sites {
        self.subject.sites()
    }

    fn device(&self) -> Device {
        self.subject.device().clone()
    }

    fn number_formats(&self) -> Vec<String> {
        match self.subject {
            Subject::Language(model) => model.number_formats().to_vec(),
            Subject::Absent(absent) => absent.number_formats.clone(),
        }
    }

    fn visit_parameters(&self, visit: &mut dyn FnMut(&str, TensorData)) {
        match self.subject {
            Subject::Language(model) => model.visit_parameters(visit),
            Subject::Absent(_) => {}
        }
    }

    fn identity(&self) -> Option<ModelIdentity> {
        if let Subject::Absent(absent) = self.subject {
            return absent.identity.clone();
        }
        let visit_all = |visit: &mut dyn FnMut(&str, TensorData)| self.visit_parameters(visit);
        Some(environment::identity_of(self.name, visit_all))
    }
}

impl Modules<Value> for Subject {
    fn call(&self, path: &str, input: Value) -> Result<Value, Fault> {
        match self {
            Self::Language(model) => Modules::call(&**model, path, input),
            Self::Absent(_) => Err(Fault::raise(format!(
                "the module `{path}` cannot be called, because the model is not here; {NAME_MODEL}"
            ))),
        }
    }

    fn shape(&self, path: &str, input: &[u64]) -> Option<Result<Vec<u64>, Fault>> {
        match self {
            Self::Language(model) => Modules::<Value>::shape(&**model, path, input),
            Self::Absent(_) => None,
        }
    }
}

fn batch<'m>(model: &'m LanguageModel, rows: &[RowRef<'_>]) -> TokenBatch<'m> {
    try_batch(model, rows).expect("the rows pass the check")
}

/// Makes a batch of rows: of images, or of tokens, those without types being of the first one.
fn try_batch<'m>(
    model: &'m LanguageModel,
    rows: &[RowRef<'_>],
) -> Result<TokenBatch<'m>, ModelError> {
    let images: Option<Vec<Pixels>> = rows.iter().map(|row| row.image.cloned()).collect();
    if let Some(images) = images {
        return model.images(&images);
    }
    let tokens: Vec<&[u32]> = rows.iter().map(|row| row.tokens).collect();
    let batch = model.batch(&tokens)?;
    if rows.iter().all(|row| row.types.is_none()) {
        return Ok(batch);
    }
    let first = vec![0; rows.iter().map(|row| row.len()).max().unwrap_or(0)];
    let types = |row: &RowRef<'_>| match row.types {
        Some(types) => types.to_vec(),
        None => first[..row.len()].to_vec(),
    };
    let types: Vec<Vec<u32>> = rows.iter().map(types).collect();
    let types: Vec<&[u32]> = types.iter().map(Vec::as_slice).collect();
    batch.with_types(&types)
}

fn no_tokens() -> NotEncoded {
    NotEncoded::Input(format!("the journal has no tokens of it; {NAME_MODEL}"))
}

/// Returns why a model does not take an input, to stand behind words that say that it does not.
fn reason(error: LanguageModelError) -> String {
    match error {
        LanguageModelError::Model(ModelError::Input { what, instead }) => {
            format!("{what}; {instead}")
        }
        error => error.to_string(),
    }
}
