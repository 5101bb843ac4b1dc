//! What keeps scenarios from being compared.

use std::path::Path;

use interloom_engine::{AtFault, Code};

use crate::reason::Reason;

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
        reason: Reason,
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
    pub(super) fn file(path: &Path, reason: impl Into<Reason>) -> Self {
        Self::File {
            path: path.display().to_string(),
            reason: reason.into(),
        }
    }

    /// Returns the error's stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "E130",
            Self::Weight { .. } => "E131",
            Self::Empty { .. } => "E132",
        }
    }
}

/// What `interloom explain` says about scenarios.
pub(crate) const CODES: &[Code] = &[
    Code::new(
        "E130",
        "a file of scenarios cannot be read",
        AtFault::Misuse,
        "A folder of recorded scenarios has scenarios/ID/scenario.json with the programme, expected.VERSION.json and \
         log.VERSION.jsonl with what the reference did, models/NAME.safetensors and inputs.safetensors. The message names the \
         file and what is wrong with it.",
    ),
    Code::new(
        "E131",
        "a model of the scenarios lacks a weight",
        AtFault::Model,
        "The models of the scenarios are known by name (stack4, recur5, tup3, tup3_0d, gpt2t) and take their weights from \
         models/NAME.safetensors, in PyTorch's layout. One is missing there or has another shape.",
    ),
    Code::new(
        "E132",
        "a folder without scenarios",
        AtFault::Misuse,
        "The folder has no scenarios/ID/scenario.json. Name the folder that has scenarios/, models/ and inputs.safetensors in \
         it.",
    ),
];
