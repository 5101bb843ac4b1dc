//! Errors of interventions that learn.

use std::io;
use std::path::Path;

use interloom_engine::{AtFault, Code};

use crate::journal::is_refusal;

/// An intervention cannot be made, saved or loaded.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InterventionError {
    /// A file cannot be read or written, is cut or damaged, or is none of an intervention.
    ///
    /// Code `E083`, explained in `docs/errors/E083.md`.
    #[error("{file} cannot be used as the file of an intervention: {reason}")]
    File {
        /// The file.
        file: String,
        /// What is wrong, and what to do.
        reason: String,
        /// Whether the system refused to read or write it.
        refused: bool,
    },
    /// An intervention does not have what must hold of its kind: a parameter is missing, one too
    /// many, of another shape or type, or breaks a law such as orthogonality.
    ///
    /// Code `E084`, explained in `docs/errors/E084.md`.
    #[error("{of}: {place} has to be {expected}, found {found}; {advice}")]
    Contents {
        /// The file, or the kind of an intervention that is made from tensors.
        of: String,
        /// Which parameter or size.
        place: String,
        /// What must hold.
        expected: String,
        /// What there is.
        found: String,
        /// What to do.
        advice: &'static str,
    },
    /// The configuration of a sparse autoencoder has a setting that is not known or not supported.
    ///
    /// Code `E085`, explained in `docs/errors/E085.md`.
    #[error("{file}: setting `{setting}` is {found}, expected {expected}; {advice}")]
    Setting {
        /// The file.
        file: String,
        /// The setting's name.
        setting: String,
        /// What it is.
        found: String,
        /// What is supported.
        expected: String,
        /// What to do.
        advice: &'static str,
    },
}

impl InterventionError {
    /// Returns the error's stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "E083",
            Self::Contents { .. } => "E084",
            Self::Setting { .. } => "E085",
        }
    }

    /// Returns who is at fault: the environment where the system refused to read or write a file.
    pub const fn at_fault(&self) -> AtFault {
        match self {
            Self::File { refused: true, .. } => AtFault::Environment,
            _ => AtFault::Misuse,
        }
    }

    pub(super) fn unread(path: &Path, error: &io::Error) -> Self {
        Self::File {
            file: path.display().to_string(),
            reason: format!("it cannot be read: {error}; check the path"),
            refused: is_refusal(error.kind()),
        }
    }

    pub(super) fn unwritten(path: &Path, error: &io::Error) -> Self {
        Self::File {
            file: path.display().to_string(),
            reason: format!("it cannot be written: {error}; choose another place"),
            refused: true,
        }
    }

    pub(super) fn damaged(file: &str, reason: impl Into<String>) -> Self {
        Self::File {
            file: file.to_owned(),
            reason: reason.into(),
            refused: false,
        }
    }

    pub(super) fn contents(
        of: &str,
        place: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Contents {
            of: of.to_owned(),
            place: place.into(),
            expected: expected.into(),
            found: found.into(),
            advice: "save the intervention again, or load the file as what it is",
        }
    }
}

pub(crate) const CODES: &[Code] = &[
    Code::new(
        "E083",
        "a file is not one of an intervention",
        AtFault::Misuse,
    ),
    Code::new(
        "E084",
        "an intervention does not hold what its kind must",
        AtFault::Misuse,
    ),
    Code::new(
        "E085",
        "a sparse autoencoder has a setting that is not supported",
        AtFault::Misuse,
    ),
];
