//! What can go wrong, room by room.

use interloom_backends::files::FileError;
use interloom_backends::models::llama::LanguageModelError;
use interloom_backends::{ForwardError, ModelError};
use interloom_engine::program::ProgramError;
use interloom_engine::{AtFault, Code};

use crate::conform::ConformError;
use crate::experiment::{ExperimentError, Spot};
use crate::journal::JournalError;
use crate::reason::{Reason, is_refusal};

/// Anything that can go wrong with an experiment.
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
    #[error(transparent)]
    File(Box<FileError>),
    /// A journal cannot be written or read.
    #[error(transparent)]
    Journal(Box<JournalError>),
    /// Scenarios cannot be read.
    #[error(transparent)]
    Conform(#[from] crate::conform::ConformError),
    /// An experiment file cannot be used.
    #[error(transparent)]
    Experiment(Box<ExperimentError>),
    /// A program does not fit its model.
    #[error(transparent)]
    Program(Box<ProgramError>),
    /// What an experiment file names cannot be used.
    #[error("{at}: {error}")]
    Named {
        /// Where it is named.
        at: Spot,
        /// What is wrong with it.
        error: Box<Error>,
    },
    /// An experiment whose order of mediators cannot be chosen.
    #[error(
        "the runs of experiment `{experiment}` are always in definition order; schedules are for experiment files"
    )]
    NotScheduled {
        /// The experiment.
        experiment: &'static str,
    },
    /// Another build of the program cannot be asked for its replay.
    #[error("cannot compare with {program}: {reason}")]
    OtherProgram {
        /// The program.
        program: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A journal was recorded by an experiment that this program does not have.
    #[error(
        "the journal was recorded by experiment `{name}`, which this program does not have (it has {known}); replay it \
         with the program that recorded it, through `Session::open(Mode::Verify(path), head)`"
    )]
    UnknownExperiment {
        /// The experiment's name.
        name: String,
        /// The experiments that this program has.
        known: String,
    },
    /// An argument of an experiment is missing or of another type.
    #[error(
        "experiment `{experiment}` needs the argument `{argument}` ({expected}), found {found}"
    )]
    Argument {
        /// The experiment.
        experiment: &'static str,
        /// The argument.
        argument: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The two prompts of a comparison have different lengths.
    #[error(
        "the prompts must have equally many tokens to be patched position by position: {clean}, {corrupt}; reword one of them"
    )]
    UnequalPrompts {
        /// The clean prompt, how many tokens it has, and which.
        clean: String,
        /// The same of the corrupt one.
        corrupt: String,
    },
    /// The two prompts of a comparison cannot be told apart by the answers.
    #[error(
        "the clean and the corrupt prompt have the same logit difference ({difference:+.4}), so that there is nothing to \
         restore; choose prompts or answers that differ"
    )]
    NothingToRestore {
        /// The logit difference of both.
        difference: f64,
    },
    /// A journal that is to be replayed has not kept a tensor.
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
    /// A journal that is to drive a model does not say what a swap was refused for.
    #[error(
        "{journal} does not say what the value was that exchange {exchange} was refused, so that the model cannot be asked to \
         refuse it again: {message:?} is no message of this version; replay with model and mediators live (`verify`)"
    )]
    NoStandIn {
        /// The journal.
        journal: String,
        /// The exchange.
        exchange: u64,
        /// What the mediator was told.
        message: String,
    },
    /// The live mediators part from a journal before the exchange at which they are to go on.
    #[error(
        "the mediators part from the journal before exchange {exchange}, at which the fork is; fork earlier\n{divergence}"
    )]
    ForkParted {
        /// The exchange.
        exchange: u64,
        /// Where they part.
        divergence: Box<crate::divergence::Divergence>,
    },
    /// A run that is served from a journal failed when it was recorded.
    #[error("run `{run}` failed when it was recorded, and so it does now: {message} ({code})")]
    RecordedFailure {
        /// The run.
        run: String,
        /// The code of its error.
        code: String,
        /// The error.
        message: String,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {reason}; choose another place")]
    Output {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// Returns the error's stable code, which `interloom explain` knows.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Forward(error) => error.code(),
            Self::Model(error) => error.code(),
            Self::File(error) => error.code(),
            Self::Journal(error) => error.code(),
            Self::Conform(error) => error.code(),
            Self::Experiment(error) => error.code(),
            Self::Program(error) => error.code(),
            Self::UnknownExperiment { .. } => "E090",
            Self::Argument { .. } => "E091",
            Self::UnequalPrompts { .. } => "E092",
            Self::NothingToRestore { .. } => "E093",
            Self::Output { .. } => "E094",
            Self::NotKept { .. } | Self::NoStandIn { .. } => "E095",
            Self::RecordedFailure { .. } => "E096",
            Self::ForkParted { .. } => "E097",
            Self::NotScheduled { .. } => "E098",
            Self::OtherProgram { .. } => "E099",
            Self::Named { error, .. } => error.code(),
        }
    }

    /// Returns who is at fault: whoever its code says, but where a file cannot be used either nobody let it be read, which is
    /// the environment's fault, or a name is not of what it should be, which is the caller's.
    pub fn at_fault(&self) -> AtFault {
        let is_refusal = match self {
            Self::Named { error, .. } => return error.at_fault(),
            Self::File(error) => match &**error {
                FileError::Unreadable { source, .. } => Some(is_refusal(source.kind())),
                _ => None,
            },
            Self::Journal(error) => error.is_refusal(),
            Self::Experiment(error) => error.reason().map(Reason::is_refusal),
            Self::Conform(ConformError::File { reason, .. }) => Some(reason.is_refusal()),
            _ => None,
        };
        let of_code = || {
            let code = self.code();
            let known = codes().into_iter().find(|known| known.code == code);
            known.map_or(AtFault::Misuse, |known| known.at_fault)
        };
        match is_refusal {
            Some(true) => AtFault::Environment,
            Some(false) => AtFault::Misuse,
            None => of_code(),
        }
    }

    /// Says where in an experiment file that is named which is wrong.
    pub(crate) fn at(at: Spot, error: Self) -> Self {
        let error = Box::new(error);
        Self::Named { at, error }
    }
}

impl From<FileError> for Error {
    fn from(error: FileError) -> Self {
        Self::File(Box::new(error))
    }
}

impl From<ExperimentError> for Error {
    fn from(error: ExperimentError) -> Self {
        Self::Experiment(Box::new(error))
    }
}

impl From<ProgramError> for Error {
    fn from(error: ProgramError) -> Self {
        Self::Program(Box::new(error))
    }
}

impl From<LanguageModelError> for Error {
    fn from(error: LanguageModelError) -> Self {
        match error {
            LanguageModelError::File(error) => error.into(),
            LanguageModelError::Model(error) => Self::Model(error),
            other => unreachable!("{other}"),
        }
    }
}

/// Returns what every code means, in order.
pub fn codes() -> Vec<&'static Code> {
    let mut codes: Vec<&Code> = interloom_engine::codes()
        .chain(interloom_backends::codes())
        .collect();
    codes.extend(crate::journal::CODES);
    codes.extend(crate::conform::CODES);
    codes.extend(CODES);
    codes.extend(crate::experiment::CODES);
    codes.sort_by_key(|code| code.code);
    codes
}

const CODES: &[Code] = &[
    Code::new(
        "E080",
        "the replay diverged",
        AtFault::Mediator,
        "An exchange of this run is not the recorded one. The report names the exchange, its mediator and its site, what \
         was recorded and what came, and what is known of the cause: `class: value` with equal inputs means that the \
         mediator's own arithmetic differs, `class: schedule` that another mediator or site came next, `class: \
         environment` that the model, an input, a seed or the experiment is another one.",
    ),
    Code::new(
        "E081",
        "the environment differs from the recording",
        AtFault::Environment,
        "The head of the journal says what it was recorded with: build, device, vector instructions, seeds, model, inputs. \
         Something of that is different now. Another device or build may still give equal exchanges, and whether it did is \
         said beside; another model or input is another experiment. Parameters that changed are named.",
    ),
    Code::new(
        "E090",
        "unknown experiment",
        AtFault::Misuse,
        "A journal says which experiment it records, so that it can be made again. This program does not have that \
         experiment. Journals of your own experiments are replayed by your own program: run the same code with \
         `Mode::Verify` instead of `Mode::Record`.",
    ),
    Code::new(
        "E091",
        "an argument of the experiment is missing",
        AtFault::Journal,
        "The journal names an experiment that this program has, without an argument that it needs. It was recorded by \
         another version.",
    ),
    Code::new(
        "E092",
        "the prompts have different token counts",
        AtFault::Misuse,
        "Causal tracing copies the residual stream of the clean prompt into the corrupt one, position by position, so that \
         both must have equally many tokens. The message shows how each prompt is split.",
    ),
    Code::new(
        "E093",
        "there is nothing to restore",
        AtFault::Misuse,
        "The restored share is the distance from the corrupt to the clean logit difference that patching covers. Both \
         prompts give the same difference, so that the share is not defined.",
    ),
    Code::new(
        "E094",
        "a file cannot be written",
        AtFault::Environment,
        "A result could not be written where it was asked for. The folder does not exist, is not writable, or the disk is full.",
    ),
    Code::new(
        "E095",
        "a journal has not kept what is to be replayed",
        AtFault::Journal,
        "To serve values from a journal, or to drive a model with what its mediators swapped in, the journal needs the bytes of \
         these tensors; with the policy `digest` it has their digests only. Record again with the policy `full` (`--full`), or \
         replay with `--mode verify`, which needs digests only. A swap that was refused because its value did not fit is not kept \
         at all: what it was is read from the refusal's message, as this version words it.",
    ),
    Code::new(
        "E096",
        "a recorded run failed",
        AtFault::Mediator,
        "The run that is served from the journal failed when it was recorded. Its mediators have made the same requests again, \
         as far as they came; `interloom show` has the exchanges.",
    ),
    Code::new(
        "E097",
        "a fork parts from its journal too early",
        AtFault::Mediator,
        "A fork goes along a journal up to an exchange, so that its mediators must ask for the same until then. The report says \
         at which exchange they ask for something else; fork there, or earlier.",
    ),
    Code::new(
        "E098",
        "an experiment has no order to choose",
        AtFault::Misuse,
        "A schedule says in which order the mediators of a run have their turns. The experiments that are part of the program \
         have one mediator in each run; those of experiment files can have several.",
    ),
    Code::new(
        "E099",
        "another build cannot be asked for its replay",
        AtFault::Misuse,
        "`interloom bisect --with PROGRAM` starts another build of `interloom`, has it make the runs of the journal again, and \
         reads its report. The program is not there, cannot be started, is no such build, or could not replay the journal; the \
         message says what it said.",
    ),
];
