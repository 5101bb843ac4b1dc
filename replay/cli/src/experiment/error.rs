//! What can be wrong with an experiment file, and go wrong when it is run.

use interloom_backends::{ForwardError, ModelError};
use interloom_engine::{AtFault, Code, ScheduleError};
use interloom_journal::{JournalError, Reason};
use interloom_models::LanguageModelError;
use interloom_models::files::FileError;
use interloom_program::ProgramError;

use super::source::Spot;
use super::table::nearest;

/// How much of a name is shown that nothing has, in characters: it may be anything.
const NAME_SHOWN_MAX: usize = 64;

/// What is wrong with an experiment, or went wrong when it was run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExperimentError {
    /// The file cannot be read, or is no text.
    ///
    /// Code `E110`, explained in `docs/errors/E110.md`.
    #[error("cannot read the experiment {file}: {reason}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why, and what to do.
        reason: Reason,
    },
    /// The file is not TOML.
    ///
    /// Code `E111`, explained in `docs/errors/E111.md`.
    #[error("{at}: not TOML: {reason}")]
    NotToml {
        /// Where.
        at: Spot,
        /// What the TOML parser says.
        reason: String,
    },
    /// A key that a table does not have.
    ///
    /// Code `E112`, explained in `docs/errors/E112.md`.
    #[error("{at}: {table} has no key `{key}`; nearest: {}", quoted(.nearest))]
    UnknownKey {
        /// Where.
        at: Spot,
        /// The table.
        table: &'static str,
        /// The key.
        key: String,
        /// The keys most like it.
        nearest: Vec<String>,
    },
    /// A key whose value is missing or of the wrong kind.
    ///
    /// Code `E113`, explained in `docs/errors/E113.md`.
    #[error("{at}: `{key}` must be {expected}, found {found}")]
    Value {
        /// Where.
        at: Spot,
        /// The key.
        key: String,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A program that is none.
    ///
    /// Code `E114`, explained in `docs/errors/E114.md`.
    #[error("{at}: expected {expected}, found {found}")]
    Syntax {
        /// Where.
        at: Spot,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A name of something that the file does not have.
    ///
    /// Code `E115`, explained in `docs/errors/E115.md`.
    #[error("{at}: there is no {kind} `{name}`; {}", nearest_or_none(.kind, .nearest))]
    UnknownName {
        /// Where.
        at: Spot,
        /// What the name is of.
        kind: &'static str,
        /// The name.
        name: String,
        /// The names most like it.
        nearest: Vec<String>,
    },
    /// Two parts of the file that do not go together.
    ///
    /// Code `E116`, explained in `docs/errors/E116.md`.
    #[error("{at}: {what}; {instead}")]
    Conflict {
        /// Where.
        at: Spot,
        /// Which.
        what: String,
        /// What to do.
        instead: String,
    },
    /// A tensor that cannot be read from its file.
    ///
    /// Code `E117`, explained in `docs/errors/E117.md`.
    #[error("{at}: cannot take the tensor `{tensor}`: {reason}")]
    Tensor {
        /// Where in the experiment file.
        at: Spot,
        /// The tensor, as the file names it.
        tensor: String,
        /// Why, and what to do.
        reason: Reason,
    },
    /// An input that the model does not take.
    ///
    /// Code `E118`, explained in `docs/errors/E118.md`.
    #[error("{at}: the model does not take this: {reason}")]
    Input {
        /// Where.
        at: Spot,
        /// Why, and what to do.
        reason: String,
    },
    /// A program does not fit its model.
    #[error(transparent)]
    Program(Box<ProgramError>),
    /// What an experiment file names cannot be used.
    #[error("{at}: {error}")]
    Named {
        /// Where it is named.
        at: Spot,
        /// What is wrong with it.
        error: Box<Self>,
    },
    /// A journal was recorded by an experiment that is not one of a file.
    ///
    /// Code `E090`, explained in `docs/errors/E090.md`.
    #[error(
        "the journal was recorded by experiment `{name}`, which this program does not have (it has those of experiment \
         files); replay it with the program that recorded it, through `Session::verify`"
    )]
    UnknownExperiment {
        /// The experiment's name.
        name: String,
    },
    /// An argument of an experiment is missing or of another type.
    ///
    /// Code `E091`, explained in `docs/errors/E091.md`.
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
    ///
    /// Code `E092`, explained in `docs/errors/E092.md`.
    #[error(
        "the prompts must have equally many tokens to be patched position by position: {clean}, {corrupt}; reword one of them"
    )]
    UnequalPrompts {
        /// The clean prompt, how many tokens it has, and which.
        clean: String,
        /// The same of the corrupt one.
        corrupt: String,
    },
    /// The answers do not distinguish the two prompts of a comparison.
    ///
    /// Code `E093`, explained in `docs/errors/E093.md`.
    #[error(
        "the clean and the corrupt prompt have the same logit difference ({difference:+.4}), so that there is nothing to \
         restore; choose prompts or answers that differ"
    )]
    NothingToRestore {
        /// The logit difference of both.
        difference: f64,
    },
    /// A file cannot be written.
    ///
    /// Code `E094`, explained in `docs/errors/E094.md`.
    #[error("cannot write {path}: {reason}; choose another place")]
    Output {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A model cannot be used, a run failed, or a journal cannot be written or read.
    #[error(transparent)]
    Session(#[from] interloom::Error),
}

impl ExperimentError {
    /// Says where in an experiment file that is named which is wrong.
    pub(super) fn at(at: Spot, error: Self) -> Self {
        let error = Box::new(error);
        Self::Named { at, error }
    }

    /// Says that there is nothing of a name, and which of the `names` are most like it.
    pub(super) fn unknown<'n>(
        at: Spot,
        kind: &'static str,
        name: &str,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Self {
        Self::UnknownName {
            at,
            kind,
            name: name.chars().take(NAME_SHOWN_MAX).collect(),
            nearest: nearest(name, names),
        }
    }

    /// Returns who is at fault: the party that the code names; but the environment where the system
    /// refused to read or write a file, and the caller where a name is not that of a file.
    pub fn at_fault(&self) -> AtFault {
        match self {
            Self::Session(error) => error.at_fault(),
            Self::Named { error, .. } => error.at_fault(),
            Self::Unreadable { reason, .. } | Self::Tensor { reason, .. } => {
                if reason.is_refusal() {
                    AtFault::Environment
                } else {
                    AtFault::Misuse
                }
            }
            _ => {
                let code = self.code();
                let mut known = interloom_engine::codes().chain(CODES);
                let known = known.find(|known| known.code == code);
                known.map_or(AtFault::Misuse, |known| known.at_fault)
            }
        }
    }

    /// Returns the error's stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "E110",
            Self::NotToml { .. } => "E111",
            Self::UnknownKey { .. } => "E112",
            Self::Value { .. } => "E113",
            Self::Syntax { .. } => "E114",
            Self::UnknownName { .. } => "E115",
            Self::Conflict { .. } => "E116",
            Self::Tensor { .. } => "E117",
            Self::Input { .. } => "E118",
            Self::Program(error) => error.code(),
            Self::Named { error, .. } => error.code(),
            Self::UnknownExperiment { .. } => "E090",
            Self::Argument { .. } => "E091",
            Self::UnequalPrompts { .. } => "E092",
            Self::NothingToRestore { .. } => "E093",
            Self::Output { .. } => "E094",
            Self::Session(error) => error.code(),
        }
    }
}

impl From<ProgramError> for ExperimentError {
    fn from(error: ProgramError) -> Self {
        Self::Program(Box::new(error))
    }
}

impl From<ForwardError> for ExperimentError {
    fn from(error: ForwardError) -> Self {
        Self::Session(error.into())
    }
}

impl From<ModelError> for ExperimentError {
    fn from(error: ModelError) -> Self {
        Self::Session(error.into())
    }
}

impl From<FileError> for ExperimentError {
    fn from(error: FileError) -> Self {
        Self::Session(error.into())
    }
}

impl From<LanguageModelError> for ExperimentError {
    fn from(error: LanguageModelError) -> Self {
        Self::Session(error.into())
    }
}

impl From<JournalError> for ExperimentError {
    fn from(error: JournalError) -> Self {
        Self::Session(error.into())
    }
}

impl From<ScheduleError> for ExperimentError {
    fn from(error: ScheduleError) -> Self {
        Self::Session(error.into())
    }
}

/// The codes of experiments.
pub(crate) const CODES: &[Code] = &[
    Code::new("E090", "unknown experiment", AtFault::Misuse),
    Code::new(
        "E091",
        "an argument of the experiment is missing",
        AtFault::Journal,
    ),
    Code::new(
        "E092",
        "the prompts have different token counts",
        AtFault::Misuse,
    ),
    Code::new("E093", "there is nothing to restore", AtFault::Misuse),
    Code::new("E094", "a file cannot be written", AtFault::Environment),
    Code::new("E110", "an experiment file cannot be read", AtFault::Misuse),
    Code::new("E111", "an experiment file is not TOML", AtFault::Misuse),
    Code::new(
        "E112",
        "an experiment file has an unknown key",
        AtFault::Misuse,
    ),
    Code::new(
        "E113",
        "a value in an experiment file is missing or of the wrong kind",
        AtFault::Misuse,
    ),
    Code::new(
        "E114",
        "a program in an experiment file cannot be read",
        AtFault::Misuse,
    ),
    Code::new(
        "E115",
        "an experiment file names something that it does not have",
        AtFault::Misuse,
    ),
    Code::new(
        "E116",
        "parts of an experiment file do not go together",
        AtFault::Misuse,
    ),
    Code::new(
        "E117",
        "a tensor of an experiment cannot be read",
        AtFault::Misuse,
    ),
    Code::new(
        "E118",
        "the model of an experiment does not take an input",
        AtFault::Misuse,
    ),
];

fn quoted(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

fn nearest_or_none(kind: &str, names: &[String]) -> String {
    match names {
        [] => format!("the file has no {kind} at all"),
        names => format!("nearest: {}", quoted(names)),
    }
}
