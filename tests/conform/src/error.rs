//! What keeps scenarios from being compared.

use std::path::Path;

/// A folder of scenarios that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConformError {
    /// A file cannot be read, or is not what it should be.
    #[error(
        "cannot use {path}: {reason}; a folder of scenarios has scenarios/, models/ and inputs.safetensors"
    )]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A model's weights are not there, or have another shape.
    #[error(
        "the model `{model}` needs the weight `{weight}` {shape}, found {found}; use the files that were recorded with the scenarios"
    )]
    Weight {
        /// The model.
        model: String,
        /// The weight.
        weight: String,
        /// Its shape, or how many dimensions it has.
        shape: String,
        /// What there is.
        found: String,
    },
    /// There is no scenario.
    #[error("{path} has no scenario; name a folder with scenarios/ID/scenario.json in it")]
    Empty {
        /// The folder.
        path: String,
    },
}

impl ConformError {
    pub(super) fn file(path: &Path, reason: impl ToString) -> Self {
        Self::File {
            path: path.display().to_string(),
            reason: reason.to_string(),
        }
    }
}
