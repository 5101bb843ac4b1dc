//! Errors of a model's files, each with a code that stays the same.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A fault in a model's files, or in finding them.
///
/// The message says what was expected, what was found and where, and then what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// E040: there is no such file, folder, key or model.
    ///
    /// Code `E040`, explained in `docs/errors/E040.md`.
    #[error("expected {expected}, found {found}; {advice}")]
    NotFound {
        /// What was looked for, and where.
        expected: String,
        /// What was there instead.
        found: String,
        /// What to do.
        advice: String,
    },

    /// E041: the file is there and the operating system does not let it be read.
    ///
    /// Code `E041`, explained in `docs/errors/E041.md`.
    #[error(
        "expected to read {}, found: {source}; check its permissions and that it is a plain file",
        path.display()
    )]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },

    /// E042: the file breaks its own format.
    ///
    /// Code `E042`, explained in `docs/errors/E042.md`.
    #[error(
        "expected {expected}, found {found} (at {place} of {file}); \
         the file is cut, damaged or miswritten: fetch it again or convert it anew"
    )]
    Malformed {
        /// The file's name.
        file: String,
        /// The byte, field or line at which the fault shows.
        place: String,
        /// What the format asks for there.
        expected: String,
        /// What is there.
        found: String,
    },

    /// E043: the file is sound, but its version, architecture or number format is not supported.
    ///
    /// Code `E043`, explained in `docs/errors/E043.md`.
    #[error("expected {expected}, found {found} (at {place} of {file}); {advice}")]
    Unsupported {
        /// The file's name.
        file: String,
        /// The tensor, key or byte that says so.
        place: String,
        /// What is supported.
        expected: String,
        /// What the file holds.
        found: String,
        /// What to do.
        advice: String,
    },

    /// E044: a tensor that the model needs is not in the file, or was taken before.
    ///
    /// Code `E044`, explained in `docs/errors/E044.md`.
    #[error("expected a tensor `{name}` in {file}, found {found}; {advice}")]
    TensorMissing {
        /// The file's name.
        file: String,
        /// The name that was asked for.
        name: String,
        /// Why it cannot be had.
        found: String,
        /// What to do; names the tensor with the most similar name.
        advice: String,
    },

    /// E045: a tensor has another shape than the configuration asks for.
    ///
    /// Code `E045`, explained in `docs/errors/E045.md`.
    #[error(
        "expected shape {expected:?} for tensor `{name}`, found {found:?} in {file}; \
         the weights and the configuration are of different models: fetch both again"
    )]
    TensorShape {
        /// The file's name.
        file: String,
        /// The tensor's name.
        name: String,
        /// The shape that the configuration asks for, outermost first.
        expected: Vec<usize>,
        /// The shape in the file, outermost first.
        found: Vec<usize>,
    },

    /// E046: the file holds tensors that the model does not use.
    ///
    /// Code `E046`, explained in `docs/errors/E046.md`.
    #[error(
        "expected every tensor of {file} to be part of the model, found {} more: {}; \
         the model would compute something else without them: use a plain model of its architecture",
        names.len(), list(names)
    )]
    UnexpectedTensors {
        /// The file's name.
        file: String,
        /// The names of the tensors that are left over, sorted.
        names: Vec<String>,
    },

    /// E047: the tokenizer cannot be built, or cannot represent what it was given.
    ///
    /// Code `E047`, explained in `docs/errors/E047.md`.
    #[error("expected {expected}, found {found} (in {file}); {advice}")]
    Tokenizer {
        /// The file the tokenizer comes from.
        file: String,
        /// What is needed.
        expected: String,
        /// What was found.
        found: String,
        /// What to do.
        advice: String,
    },

    /// E048: the Hugging Face hub cannot be reached, refused, or is not built in.
    ///
    /// Code `E048`, explained in `docs/errors/E048.md`.
    #[error("expected {expected}, found {found}; {advice}")]
    Hub {
        /// What was asked of the hub.
        expected: String,
        /// What it answered, or why it was not asked.
        found: String,
        /// What to do.
        advice: String,
    },

    /// E049: a file whose content is known has another length.
    ///
    /// Code `E049`, explained in `docs/errors/E049.md`.
    #[error("expected {} to be {expected} bytes long, found {found}; {advice}", path.display())]
    WrongLength {
        /// The file.
        path: PathBuf,
        /// The length it must have, in bytes.
        expected: u64,
        /// The length it has, in bytes.
        found: u64,
        /// What to do.
        advice: String,
    },

    /// E050: a text that must be exactly one token is none or several.
    ///
    /// Code `E050`, explained in `docs/errors/E050.md`.
    #[error(
        "expected {text:?} to be one token, found {}: {pieces:?} (with the tokenizer of {file}); \
         choose a text that is one token: most words need a space in front",
        pieces.len()
    )]
    NotOneToken {
        /// The file the tokenizer comes from.
        file: String,
        /// The text.
        text: String,
        /// How the tokenizer splits it.
        pieces: Vec<String>,
    },

    /// E145: a file of a model holds something else than its name says.
    ///
    /// Code `E145`, explained in `docs/errors/E145.md`.
    #[error("expected {expected}, found {found}; {advice}")]
    Stray {
        /// What its name says, and where it is.
        expected: String,
        /// What it is.
        found: String,
        /// What to do.
        advice: String,
    },
}

impl FileError {
    /// Returns the fault's code, `E040` to `E050` or `E145`, which stays the same from version to
    /// version.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "E040",
            Self::Unreadable { .. } => "E041",
            Self::Malformed { .. } => "E042",
            Self::Unsupported { .. } => "E043",
            Self::TensorMissing { .. } => "E044",
            Self::TensorShape { .. } => "E045",
            Self::UnexpectedTensors { .. } => "E046",
            Self::Tokenizer { .. } => "E047",
            Self::Hub { .. } => "E048",
            Self::WrongLength { .. } => "E049",
            Self::NotOneToken { .. } => "E050",
            Self::Stray { .. } => "E145",
        }
    }

    pub(crate) fn malformed(
        file: &str,
        place: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Malformed {
            file: file.to_owned(),
            place: place.into(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    pub(crate) fn unsupported(
        file: &str,
        place: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::Unsupported {
            file: file.to_owned(),
            place: place.into(),
            expected: expected.into(),
            found: found.into(),
            advice: advice.into(),
        }
    }

    /// The fault of an operation on `path`: E040 if nothing is there, else E041.
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::NotFound {
            return Self::NotFound {
                expected: format!("a file at {}", path.display()),
                found: "nothing there".to_owned(),
                advice: "check the path".to_owned(),
            };
        }
        Self::Unreadable {
            path: path.to_owned(),
            source,
        }
    }
}

/// The most names that a message lists.
const LISTED_NAMES: usize = 5;

fn list(names: &[String]) -> String {
    let mut text = String::new();
    for (index, name) in names.iter().take(LISTED_NAMES).enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}`{name}`");
    }
    if names.len() > LISTED_NAMES {
        let _ = write!(text, " and {} more", names.len() - LISTED_NAMES);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_of_tensors_are_cut() {
        let names = (0..8).map(|i| format!("t{i}")).collect();
        let error = FileError::UnexpectedTensors {
            file: "m.gguf".to_owned(),
            names,
        };
        assert_eq!(error.code(), "E046");
        insta::assert_snapshot!(error, @"expected every tensor of m.gguf to be part of the model, found 8 more: `t0`, `t1`, `t2`, `t3`, `t4` and 3 more; the model would compute something else without them: use a plain model of its architecture");
    }

    #[test]
    fn io_faults_tell_missing_from_unreadable() {
        let path = Path::new("weights/m.gguf");
        let missing = FileError::io(path, std::io::ErrorKind::NotFound.into());
        insta::assert_snapshot!(missing, @"expected a file at weights/m.gguf, found nothing there; check the path");
        let denied = FileError::io(path, std::io::ErrorKind::PermissionDenied.into());
        insta::assert_snapshot!(denied, @"expected to read weights/m.gguf, found: permission denied; check its permissions and that it is a plain file");
        assert_eq!((missing.code(), denied.code()), ("E040", "E041"));
    }
}
