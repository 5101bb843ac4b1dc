//! The models that an experiment file can be about.

use std::rc::Rc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use interloom::environment;
use interloom_backends::{
    Bound, Hooked, ModelError, Parameters, Sites, Value, parse_device, visit_parameters,
};
use interloom_engine::Fault;
use interloom_journal::{Head, ModelIdentity, Tokens};
use interloom_models::files::{Download, FileError, Tokenizer};
use interloom_models::induction::{Induction, POSITIONS, VOCABULARY};
use interloom_models::{LanguageModel, LanguageModelError, TokenBatch};
use interloom_program::{Action, Modules};

use super::error::ExperimentError;
use super::plan::{Chat, RunPlan};
use super::source::Spot;

/// The name of the model that is part of the program.
pub(super) const INDUCTION: &str = "induction";

/// What helps where a model is not here.
const NAME_MODEL: &str = "name the model with `--model`";

/// A model, shared with the programs that call its modules.
#[derive(Clone)]
pub(super) enum Subject {
    Induction(Rc<Bound<Hooked<Induction>>>, Device),
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
            other => Self::Input(other.to_string()),
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
        progress: &mut dyn FnMut(Download<'_>),
    ) -> Result<Self, ExperimentError> {
        if spec == INDUCTION {
            let model = Rc::new(Induction::trained(device));
            return Ok(Self::Induction(model, device.clone()));
        }
        let model = LanguageModel::load_with(spec, device, progress)?;
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
            Self::Induction(..) | Self::Language(_) => None,
        }
    }

    pub(super) fn sites(&self) -> &Sites {
        match self {
            Self::Absent(absent) => &absent.sites,
            Self::Induction(model, _) => model.sites(),
            Self::Language(model) => model.sites(),
        }
    }

    /// Returns the model's tokenizer, if it is here and has one.
    pub(super) fn tokenizer(&self) -> Option<&Tokenizer> {
        match self {
            Self::Language(model) => model.tokenizer(),
            Self::Absent(_) | Self::Induction(..) => None,
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
            Self::Induction(model, _) => Parameters::from(&**model),
            Self::Language(model) => model.parameters(),
        }
    }

    pub(super) fn device(&self) -> &Device {
        match self {
            Self::Absent(absent) => &absent.device,
            Self::Induction(_, device) => device,
            Self::Language(model) => model.device(),
        }
    }

    /// Returns the tokens of a prompt, or why there are none.
    pub(super) fn encode(&self, prompt: &str) -> Result<Vec<u32>, NotEncoded> {
        match self {
            Self::Induction(..) => {
                let reason = "the induction model has no tokenizer; give it `tokens`";
                Err(NotEncoded::Input(reason.to_owned()))
            }
            Self::Language(model) => Ok(model.encode(prompt)?),
            Self::Absent(_) => {
                let reason = format!("the journal has no tokens of it; {NAME_MODEL}");
                Err(NotEncoded::Input(reason))
            }
        }
    }

    /// Returns a chat as text, or why there is none.
    pub(super) fn chat(&self, chat: &Chat) -> Result<String, NotEncoded> {
        match self {
            Self::Language(model) => Ok(model.chat(&chat.messages, chat.opens_answer)?),
            Self::Induction(..) => {
                let reason = "the induction model takes no text; give it `tokens`";
                Err(NotEncoded::Input(reason.to_owned()))
            }
            Self::Absent(_) => {
                let reason = format!("the journal has no tokens of it; {NAME_MODEL}");
                Err(NotEncoded::Input(reason))
            }
        }
    }

    /// Returns the tokens of a text that is all that the model is to see, or why there are none.
    pub(super) fn encode_whole(&self, text: &str) -> Result<Vec<u32>, NotEncoded> {
        match self {
            Self::Language(model) => Ok(model.encode_whole(text)?),
            Self::Induction(..) | Self::Absent(_) => self.encode(text),
        }
    }

    /// Returns the token that a text is, or why it is none.
    pub(super) fn single(&self, text: &str) -> Result<u32, String> {
        match self {
            Self::Induction(..) => {
                let token = text.parse().ok().filter(|&token| token < VOCABULARY as u32);
                token.ok_or_else(|| {
                    format!(
                        "{text:?} is no token of the induction model; they are 0 to {}",
                        VOCABULARY - 1
                    )
                })
            }
            Self::Language(model) => model.token(text).map_err(|error| error.to_string()),
            Self::Absent(_) => Err(format!("the journal has no tokenizer; {NAME_MODEL}")),
        }
    }

    /// Checks that rows can be a batch, with room for so many new tokens.
    pub(super) fn check(&self, rows: &[&[u32]], new: usize) -> Result<(), String> {
        match self {
            Self::Language(model) => {
                let batch = model.batch(rows).and_then(|batch| batch.with_room(new));
                batch.map(drop).map_err(|error| error.to_string())
            }
            Self::Induction(..) => check_induction(rows, new),
            // They were when they were recorded.
            Self::Absent(_) => Ok(()),
        }
    }

    /// Computes `[batch, position, token]` logits of rows that pass the check.
    pub(super) fn logits(&self, rows: &[&[u32]]) -> Tensor<3> {
        match self {
            Self::Language(model) => batch(model, rows).logits(),
            Self::Induction(model, device) => model.forward(tokens(rows, device)),
            Self::Absent(_) => unreachable!("a run that is served calls no model"),
        }
    }

    /// Continues a row that passes the check, greedily.
    ///
    /// The induction model keeps nothing of earlier tokens: every step is a pass over the whole
    /// sequence.
    pub(super) fn generate(&self, row: &[u32], new: u32) -> Vec<u32> {
        match self {
            Self::Language(model) => batch(model, &[row]).generate(new as usize).concat(),
            Self::Induction(model, device) => {
                let mut all = row.to_vec();
                for _ in 0..new {
                    let logits = model.forward(tokens(&[&all], device));
                    all.push(largest(logits));
                }
                all.split_off(row.len())
            }
            Self::Absent(_) => unreachable!("a run that is served calls no model"),
        }
    }

    /// Returns how a token reads.
    pub(super) fn token_text(&self, token: u32) -> String {
        match self {
            Self::Induction(..) | Self::Absent(_) => token.to_string(),
            Self::Language(model) => model.token_text(token),
        }
    }

    /// Returns how tokens read one after another.
    pub(super) fn text(&self, tokens: &[u32]) -> String {
        match self {
            Self::Induction(..) | Self::Absent(_) => {
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

    fn visit_parameters(&self, visit: &mut dyn FnMut(&str, TensorData)) {
        match self.subject {
            Subject::Induction(model, _) => visit_parameters(&***model, visit),
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
            Self::Induction(model, _) => {
                let model: &Induction = model.inner();
                Modules::call(model, path, input)
            }
            Self::Language(model) => Modules::call(&**model, path, input),
            Self::Absent(_) => Err(Fault::raise(format!(
                "the module `{path}` cannot be called, because the model is not here; {NAME_MODEL}"
            ))),
        }
    }

    fn shape(&self, path: &str, input: &[u64]) -> Option<Result<Vec<u64>, Fault>> {
        match self {
            Self::Induction(model, _) => {
                let model: &Induction = model.inner();
                Modules::<Value>::shape(model, path, input)
            }
            Self::Language(model) => Modules::<Value>::shape(&**model, path, input),
            Self::Absent(_) => None,
        }
    }
}

fn batch<'m>(model: &'m LanguageModel, rows: &[&[u32]]) -> TokenBatch<'m> {
    model.batch(rows).expect("the rows pass the check")
}

fn check_induction(rows: &[&[u32]], new: usize) -> Result<(), String> {
    let lengths: Vec<usize> = rows.iter().map(|row| row.len()).collect();
    let Some(&length) = lengths.first().filter(|_| !lengths.contains(&0)) else {
        return Err(format!(
            "rows of {lengths:?} tokens, at least 1 in each is expected; give them some"
        ));
    };
    if lengths.iter().any(|&other| other != length) {
        return Err(format!(
            "the rows of a batch have {lengths:?} tokens; run them one by one, or make them equally long"
        ));
    }
    if length.saturating_add(new) > POSITIONS {
        return Err(format!(
            "{length} tokens and {new} new ones, but the model has {POSITIONS} positions; shorten the row"
        ));
    }
    let mut tokens = rows.iter().flat_map(|row| row.iter());
    match tokens.find(|&&token| token >= VOCABULARY as u32) {
        Some(token) => Err(format!(
            "token {token}, but the model knows {VOCABULARY} tokens; they are 0 to {}",
            VOCABULARY - 1
        )),
        None => Ok(()),
    }
}

fn tokens(rows: &[&[u32]], device: &Device) -> Tensor<2, Int> {
    let shape = [rows.len(), rows[0].len()];
    let tokens: Vec<i32> = rows
        .concat()
        .into_iter()
        .map(|token| token as i32)
        .collect();
    Tensor::from_data(TensorData::new(tokens, shape), device)
}

/// Returns the most likely token at the last position of the first row; the lowest of equals.
fn largest(logits: Tensor<3>) -> u32 {
    let [_, positions, tokens] = logits.dims();
    let row = logits
        .slice([0..1, positions - 1..positions, 0..tokens])
        .into_data();
    let row: Vec<f32> = row.iter::<f32>().collect();
    let better = |best: usize, index: usize| if row[index] > row[best] { index } else { best };
    (1..row.len()).fold(0, better) as u32
}
