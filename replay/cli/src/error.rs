//! What can go wrong with a command.

use interloom::Error;
use interloom_backends::{ForwardError, ModelError};
use interloom_engine::{AtFault, Code};
use interloom_journal::JournalError;
use interloom_models::LanguageModelError;
use interloom_models::files::FileError;

use crate::experiment::{self, ExperimentError};

/// Anything that can go wrong with a command.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// A model, its runs or their journal.
    #[error(transparent)]
    Session(#[from] Error),
    /// An experiment cannot be used.
    #[error(transparent)]
    Experiment(Box<ExperimentError>),
    /// Another build of the program cannot be asked for its replay.
    ///
    /// Code `E099`, explained in `docs/errors/E099.md`.
    #[error("cannot compare with {program}: {reason}")]
    OtherProgram {
        /// The program.
        program: String,
        /// Why, and what to do.
        reason: String,
    },
    /// A part of the program that is left out by default was not asked for when it was built.
    ///
    /// Code `E140`, explained in `docs/errors/E140.md`.
    #[error(
        "expected {what}; found a program that was built without the feature `{feature}`: build it again with it, \
         `cargo run --release --features {feature} -- ...` in the source, or `cargo install interloom-cli --features {feature}`"
    )]
    NotBuiltIn {
        /// The part.
        what: &'static str,
        /// The feature of the crate `interloom-cli` that builds it in.
        feature: &'static str,
    },
}

impl CliError {
    /// Returns the error's stable code, which `interloom explain` knows.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Session(error) => error.code(),
            Self::Experiment(error) => error.code(),
            Self::OtherProgram { .. } => "E099",
            Self::NotBuiltIn { .. } => "E140",
        }
    }

    /// Returns who is at fault: the party that the code names; but the environment where the system
    /// refused to read or write a file, and the caller where a name is not that of a file.
    pub fn at_fault(&self) -> AtFault {
        match self {
            Self::Session(error) => error.at_fault(),
            Self::Experiment(error) => error.at_fault(),
            Self::OtherProgram { .. } | Self::NotBuiltIn { .. } => {
                let code = self.code();
                let known = codes().into_iter().find(|known| known.code == code);
                known.map_or(AtFault::Misuse, |known| known.at_fault)
            }
        }
    }
}

impl From<ExperimentError> for CliError {
    fn from(error: ExperimentError) -> Self {
        match error {
            ExperimentError::Session(error) => Self::Session(error),
            error => Self::Experiment(Box::new(error)),
        }
    }
}

impl From<ForwardError> for CliError {
    fn from(error: ForwardError) -> Self {
        Self::Session(error.into())
    }
}

impl From<ModelError> for CliError {
    fn from(error: ModelError) -> Self {
        Self::Session(error.into())
    }
}

impl From<FileError> for CliError {
    fn from(error: FileError) -> Self {
        Self::Session(error.into())
    }
}

impl From<LanguageModelError> for CliError {
    fn from(error: LanguageModelError) -> Self {
        Self::Session(error.into())
    }
}

impl From<JournalError> for CliError {
    fn from(error: JournalError) -> Self {
        Self::Session(error.into())
    }
}

/// Returns what every code means, in order.
pub fn codes() -> Vec<&'static Code> {
    let mut codes = interloom::codes();
    codes.extend(experiment::CODES);
    codes.extend(CODES);
    codes.sort_by_key(|code| code.code);
    codes
}

const CODES: &[Code] = &[
    Code::new(
        "E099",
        "another build cannot be asked for its replay",
        AtFault::Misuse,
    ),
    Code::new(
        "E140",
        "a part of the program was not built in",
        AtFault::Misuse,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_built_in_is_named_with_its_command() {
        let error = CliError::NotBuiltIn {
            what: "a screen",
            feature: "tui",
        };
        assert_eq!((error.code(), error.at_fault()), ("E140", AtFault::Misuse));
        let text = error.to_string();
        assert!(
            text.contains("cargo run --release --features tui"),
            "{text}"
        );
    }
}
