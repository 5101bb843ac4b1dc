//! What can be wrong with an experiment file.

use interloom_engine::{AtFault, Code};

use super::source::Spot;
use super::table::nearest;
use crate::reason::Reason;

/// How much of a name is shown that nothing has, in characters: it may be anything.
const NAME_SHOWN_MAX: usize = 64;

/// What is wrong with an experiment file, found before anything is run.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ExperimentError {
    /// The file cannot be read, or is no text.
    #[error("cannot read the experiment {file}: {reason}")]
    Unreadable {
        /// The file.
        file: String,
        /// Why, and what to do.
        reason: Reason,
    },
    /// The file is not TOML.
    #[error("{at}: not TOML: {reason}")]
    NotToml {
        /// Where.
        at: Spot,
        /// What the TOML parser says.
        reason: String,
    },
    /// A key that a table does not have.
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
    #[error("{at}: the model does not take this: {reason}")]
    Input {
        /// Where.
        at: Spot,
        /// Why, and what to do.
        reason: String,
    },
}

impl ExperimentError {
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

    /// Returns why a file cannot be used, if that is what it is.
    pub(crate) const fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Unreadable { reason, .. } | Self::Tensor { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// Returns the error's stable code.
    pub const fn code(&self) -> &'static str {
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
        }
    }
}

/// What `interloom explain` says about experiment files.
pub(crate) const CODES: &[Code] = &[
    Code::new(
        "E110",
        "an experiment file cannot be read",
        AtFault::Misuse,
        "An experiment file is a text in UTF-8 of at most one mebibyte. The file is not there, is a folder, or is something \
         else.",
    ),
    Code::new(
        "E111",
        "an experiment file is not TOML",
        AtFault::Misuse,
        "Experiment files are TOML 1.0. The message says in which line and column it stops being that. A program is a text \
         of several lines: put three single quotes before and after it.",
    ),
    Code::new(
        "E112",
        "an experiment file has an unknown key",
        AtFault::Misuse,
        "A key that nobody reads would be a part of the experiment that silently does nothing. The message names the nearest \
         keys of that table; docs/EXPERIMENTS.md has all of them.",
    ),
    Code::new(
        "E113",
        "a value in an experiment file is missing or of the wrong kind",
        AtFault::Misuse,
        "The message says where, what is expected and what was found. docs/EXPERIMENTS.md says what every key takes.",
    ),
    Code::new(
        "E114",
        "a program in an experiment file cannot be read",
        AtFault::Misuse,
        "The message says at which line and column the text is no step of the language any more, what could stand there, and \
         what does. docs/EXPERIMENTS.md has the grammar.",
    ),
    Code::new(
        "E115",
        "an experiment file names something that it does not have",
        AtFault::Misuse,
        "An invoke takes an input of the file by its name. The message names the nearest.",
    ),
    Code::new(
        "E116",
        "parts of an experiment file do not go together",
        AtFault::Misuse,
        "Two things have one name, two keys exclude each other, or a run has nothing to run on. The message says which, and \
         what to do.",
    ),
    Code::new(
        "E117",
        "a tensor of an experiment cannot be read",
        AtFault::Misuse,
        "A tensor is written `FILE#NAME`: a safetensors file, looked for beside the experiment file, and the name of a tensor \
         in it. Given values are floating point, tokens are integers of one or two dimensions.",
    ),
    Code::new(
        "E118",
        "the model of an experiment does not take an input",
        AtFault::Misuse,
        "The prompts of one batch have different token counts, there are more tokens than the model has positions, a token is \
         outside of its vocabulary, or the model has no tokenizer for a prompt.",
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
