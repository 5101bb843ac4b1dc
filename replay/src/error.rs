//! Errors of sessions.

use std::path::PathBuf;

use interloom_backends::{ForwardError, ModelError};
use interloom_engine::{AtFault, Code};
#[cfg(feature = "models")]
use interloom_models::{LanguageModelError, SamplingError, files::FileError};

use crate::divergence::Divergence;
use crate::interventions::InterventionError;
use crate::journal::JournalError;
#[cfg(feature = "models")]
use crate::journal::is_refusal;
use crate::journal::training::{StepLine, StepPhase};
use crate::session::Conclusion;

/// An error of a model, its runs or their journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A run failed.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// A model cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A model's files cannot be used.
    #[cfg(feature = "models")]
    #[error(transparent)]
    File(Box<FileError>),
    /// Tokens cannot be drawn so.
    #[cfg(feature = "models")]
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// An intervention cannot be made, saved or loaded.
    #[error(transparent)]
    Intervention(Box<InterventionError>),
    /// A journal cannot be written or read.
    #[error(transparent)]
    Journal(Box<JournalError>),
    /// A journal that is to be replayed has not kept a tensor.
    ///
    /// Code `E095`, explained in `docs/errors/E095.md`.
    #[error(
        "{journal} has only the digest of a tensor of exchange {exchange}, so that it cannot be given again; record with the \
         policy `full`, or replay with model and mediators live (`verify`)"
    )]
    NotKept {
        /// The journal.
        journal: String,
        /// The exchange.
        exchange: u64,
    },
    /// A journal that is to serve a run does not say what the model of that passed.
    ///
    /// Code `E098`, explained in `docs/errors/E098.md`.
    #[error(
        "{journal} has no visits in run `{run}`, so that it cannot stand in for the model; it was recorded without watching \
         the model; record it again with Interloom, or read its exchanges (`interloom show`)"
    )]
    Unwatched {
        /// The journal.
        journal: String,
        /// The run.
        run: String,
    },
    /// The runs of a session were not those of the journal that they were compared with.
    ///
    /// Code `E080`, explained in `docs/errors/E080.md`.
    #[error("{}", diverged(.0))]
    Diverged(Box<Conclusion>),
    /// The live mediators diverge from a journal before the exchange at which they are to continue.
    ///
    /// Code `E097`, explained in `docs/errors/E097.md`.
    #[error(
        "the mediators part from the journal before exchange {exchange}, at which the fork is; fork earlier\n{divergence}"
    )]
    ForkParted {
        /// The exchange.
        exchange: u64,
        /// Where they diverge.
        divergence: Box<Divergence>,
    },
    /// A session would promise equal bits where equal inputs need not give them.
    ///
    /// Code `E082`, explained in `docs/errors/E082.md`.
    #[error(
        "{place} has the arithmetic `{arithmetic}`, and what is recorded or replayed bit for bit needs `exact`; use burn without \
         its default features, or accept this with `SessionBuilder::accept_inexact`"
    )]
    Inexact {
        /// This build, or a journal.
        place: String,
        /// Its arithmetic, as the head of a journal names it.
        arithmetic: String,
    },
    /// A checkpoint of a training run is not whole, or not of what is trained.
    ///
    /// Code `E079`, explained in `docs/errors/E079.md`.
    #[error(
        "{} cannot be used: {problem}; {advice}",
        checkpoint.display()
    )]
    Checkpoint {
        /// Its folder.
        checkpoint: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// A training run cannot go on with other settings than it was begun with.
    ///
    /// Code `E087`, explained in `docs/errors/E087.md`.
    #[error(
        "{} is of another training run than this one: {}; go on with what it was begun with, or begin one in another folder",
        folder.display(),
        differences.join("; ")
    )]
    OtherTraining {
        /// Its folder.
        folder: PathBuf,
        /// In what they differ.
        differences: Vec<String>,
    },
    /// A step that was made again is not the recorded one.
    ///
    /// Code `E088`, explained in `docs/errors/E088.md`.
    #[error("{}", parted(*step, *phase, names, lines, divergence.as_deref()))]
    StepParted {
        /// The step.
        step: u64,
        /// The first phase of it that differs.
        phase: StepPhase,
        /// What of the phase differs, by name, where the recording keeps names.
        names: Vec<String>,
        /// The line of the recording, and that of now.
        lines: Box<(StepLine, StepLine)>,
        /// The first exchange that differs, where the exchanges do and their journal is there.
        divergence: Option<Box<Divergence>>,
    },
    /// The state of a training run was changed between two steps.
    ///
    /// Code `E076`, explained in `docs/errors/E076.md`.
    #[error(
        "the state before step {step} is not the one that the step before left{}; change it within a step, so that checkpoints and \
         steps that are made again have the change",
        listed(names)
    )]
    StateChanged {
        /// The later step.
        step: u64,
        /// What was changed, by name.
        names: Vec<String>,
    },
    /// A training run is over before its end.
    ///
    /// Code `E077`, explained in `docs/errors/E077.md`.
    #[error("the training run is over before its end: {0}")]
    CutShort(String),
    /// A step cannot be made as it was asked for.
    ///
    /// Code `E089`, explained in `docs/errors/E089.md`.
    #[error("{0}")]
    Training(String),
    /// The training of burn's `Learner` cannot be recorded as it is set up.
    ///
    /// Code `E128`, explained in `docs/errors/E128.md`.
    #[cfg(feature = "train")]
    #[error("the training of this `Learner` cannot be recorded and resumed to the bit: {0}")]
    LearnerRefused(#[from] crate::training::learner::LearnerRefusal),
    /// A model that is trained with burn's `Learner` does not make its passes as steps.
    ///
    /// Code `E129`, explained in `docs/errors/E129.md`.
    #[cfg(feature = "train")]
    #[error(
        "`TrainStep::step` of `{model}` makes {calls} of `learner::step`, expected one for each batch, which gives the step its \
         loss and its mediators; make the forward pass in `learner::step(self, mediators, || (loss, output))`"
    )]
    LearnerStep {
        /// The model's type.
        model: &'static str,
        /// How many calls it makes, in words.
        calls: &'static str,
    },
    /// Burn has no collective operations for the devices that are to train replicas.
    ///
    /// Code `E131`, explained in `docs/errors/E131.md`.
    #[cfg(feature = "train")]
    #[error(
        "burn 0.22.1 cannot train replicas on `{device}`: expected several GPUs, each once, for it adds gradients up with \
         the collective operations of CUDA, and panics where there are none; train with `ExecutionStrategy::single`, or record \
         one process a rank and reduce the gradients between them"
    )]
    NoCollectives {
        /// The device.
        device: String,
    },
    /// A run has no mediator of the name that was asked for.
    ///
    /// Code `E144`, explained in `docs/errors/E144.md`.
    #[error(
        "run `{run}` has no mediator `{asked}`, {}; give the name of one that it has, or add one of that name",
        quoted(has)
    )]
    UnknownMediator {
        /// The run.
        run: String,
        /// The name.
        asked: String,
        /// The mediators that the run has, in definition order.
        has: Vec<String>,
    },
    /// A run that is served from a journal failed when it was recorded.
    ///
    /// Code `E096`, explained in `docs/errors/E096.md`.
    #[error("run `{run}` failed when it was recorded, and so it does now: {message} ({code})")]
    RecordedFailure {
        /// The run.
        run: String,
        /// The code of its error.
        code: String,
        /// The error.
        message: String,
    },
}

fn parted(
    step: u64,
    phase: StepPhase,
    names: &[String],
    lines: &(StepLine, StepLine),
    divergence: Option<&Divergence>,
) -> String {
    let mut text = format!("step {step} is not the recorded one; it parts in: {phase}");
    text.push_str(&listed(names));
    let (recorded, live) = lines;
    match phase {
        StepPhase::Loss => {
            text.push_str(&format!("; {} recorded, {} now", recorded.loss, live.loss));
        }
        StepPhase::Seed => {
            text.push_str(&format!("; {} recorded, {} now", recorded.seed, live.seed));
        }
        StepPhase::Schedule => {
            text.push_str(&format!(
                "; rate {} recorded, {} now",
                recorded.rate, live.rate
            ));
        }
        _ => {}
    }
    match divergence {
        Some(divergence) => text.push_str(&format!("\n{divergence}")),
        None => text.push_str("; trace the step in both runs to find the element"),
    }
    text
}

fn quoted(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.join(", ") {
        none if none.is_empty() => "none at all".to_owned(),
        names => format!("only {names}"),
    }
}

/// Returns some names in brackets, and how many more there are.
fn listed(names: &[String]) -> String {
    let shown = names.iter().take(NAMES_MAX).map(|name| format!("`{name}`"));
    let shown = shown.collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => String::new(),
        count if count > NAMES_MAX => format!(" ({shown}, and {} more)", count - NAMES_MAX),
        _ => format!(" ({shown})"),
    }
}

/// How many names a message lists.
const NAMES_MAX: usize = 3;

fn diverged(conclusion: &Conclusion) -> String {
    match conclusion {
        Conclusion::Verified {
            divergence: Some(divergence),
            ..
        } => divergence.to_string(),
        Conclusion::Verified {
            environment: Some(environment),
            ..
        } => format!("equal exchanges of another environment prove nothing\n{environment}"),
        _ => "nothing was compared".to_owned(),
    }
}

impl Error {
    /// Returns the error's stable code, which `interloom explain` knows.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Forward(error) => error.code(),
            Self::Model(error) => error.code(),
            #[cfg(feature = "models")]
            Self::File(error) => error.code(),
            Self::Intervention(error) => error.code(),
            Self::Journal(error) => error.code(),
            Self::Diverged(_) => Divergence::CODE,
            Self::StateChanged { .. } => "E076",
            Self::CutShort(_) => "E077",
            Self::Checkpoint { .. } => "E079",
            #[cfg(feature = "models")]
            Self::Sampling(error) => error.code(),
            Self::Inexact { .. } => "E082",
            Self::OtherTraining { .. } => "E087",
            Self::StepParted { .. } => "E088",
            Self::Training(_) => "E089",
            #[cfg(feature = "train")]
            Self::LearnerRefused(_) => "E128",
            #[cfg(feature = "train")]
            Self::LearnerStep { .. } => "E129",
            #[cfg(feature = "train")]
            Self::NoCollectives { .. } => "E131",
            Self::NotKept { .. } => "E095",
            Self::RecordedFailure { .. } => "E096",
            Self::ForkParted { .. } => "E097",
            Self::Unwatched { .. } => "E098",
            Self::UnknownMediator { .. } => "E144",
        }
    }

    /// Returns who is at fault: the party that the code names; but the environment where the system
    /// refused to read or write a file, and the caller where a name is not that of a file.
    pub fn at_fault(&self) -> AtFault {
        match self {
            Self::Intervention(error) => error.at_fault(),
            Self::Journal(error) => error.at_fault(),
            #[cfg(feature = "models")]
            Self::File(error) => match &**error {
                FileError::Unreadable { source, .. } if is_refusal(source.kind()) => {
                    AtFault::Environment
                }
                FileError::Unreadable { .. } => AtFault::Misuse,
                _ => self.at_fault_by_code(),
            },
            _ => self.at_fault_by_code(),
        }
    }

    fn at_fault_by_code(&self) -> AtFault {
        let code = self.code();
        let known = codes().into_iter().find(|known| known.code == code);
        known.map_or(AtFault::Misuse, |known| known.at_fault)
    }
}

#[cfg(feature = "models")]
impl From<FileError> for Error {
    fn from(error: FileError) -> Self {
        Self::File(Box::new(error))
    }
}

impl From<InterventionError> for Error {
    fn from(error: InterventionError) -> Self {
        Self::Intervention(Box::new(error))
    }
}

impl From<JournalError> for Error {
    fn from(error: JournalError) -> Self {
        Self::Journal(Box::new(error))
    }
}

#[cfg(feature = "models")]
impl From<LanguageModelError> for Error {
    fn from(error: LanguageModelError) -> Self {
        match error {
            LanguageModelError::File(error) => error.into(),
            LanguageModelError::Model(error) => Self::Model(error),
            other => unreachable!("{other}"),
        }
    }
}

/// Returns what every code of this room, and of those that it builds on, means, in order.
pub fn codes() -> Vec<&'static Code> {
    let codes = interloom_engine::codes()
        .chain(interloom_backends::codes())
        .chain(interloom_journal::codes())
        .chain(interloom_program::codes())
        .chain(crate::interventions::CODES)
        .chain(CODES);
    #[cfg(feature = "models")]
    let codes = codes.chain(interloom_models::codes());
    let mut codes: Vec<&Code> = codes.collect();
    codes.sort_by_key(|code| code.code);
    codes
}

const CODES: &[Code] = &[
    Code::new(
        "E076",
        "the state was changed between two steps",
        AtFault::Misuse,
    ),
    Code::new(
        "E077",
        "a training run is over before its end",
        AtFault::Misuse,
    ),
    Code::new("E079", "a checkpoint cannot be used", AtFault::Journal),
    Code::new("E082", "arithmetic that is not exact", AtFault::Environment),
    Code::new("E087", "another training run", AtFault::Misuse),
    Code::new(
        "E088",
        "a step is not the recorded one",
        AtFault::Environment,
    ),
    Code::new("E089", "a step cannot be made", AtFault::Misuse),
    Code::new(
        "E095",
        "a journal has not kept what is to be replayed",
        AtFault::Journal,
    ),
    Code::new("E096", "a recorded run failed", AtFault::Mediator),
    Code::new(
        "E097",
        "a fork parts from its journal too early",
        AtFault::Mediator,
    ),
    Code::new(
        "E098",
        "a journal does not say what a model passed",
        AtFault::Journal,
    ),
    // Known to every build, for a journal or a log may name them.
    Code::new(
        "E128",
        "the training of a Learner cannot be recorded",
        AtFault::Misuse,
    ),
    Code::new(
        "E129",
        "a model of a Learner does not make its passes as steps",
        AtFault::Misuse,
    ),
    Code::new(
        "E131",
        "devices that cannot train replicas",
        AtFault::Environment,
    ),
    Code::new("E144", "a run has no such mediator", AtFault::Misuse),
];
