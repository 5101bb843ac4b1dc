//! Why a file cannot be used, and whether that is the machine's fault.

use std::fmt;
use std::io;

/// Why a file cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reason {
    text: String,
    kind: Option<io::ErrorKind>,
}

impl Reason {
    /// Returns whether the operating system did not let it be read; not that nothing is there, or
    /// something else.
    pub fn is_refusal(&self) -> bool {
        self.kind.is_some_and(is_refusal)
    }

    /// Adds what to do.
    #[must_use]
    pub fn with(mut self, advice: &str) -> Self {
        self.text.push_str("; ");
        self.text.push_str(advice);
        self
    }
}

/// Returns whether an error of this kind is the machine's, and not that a name is of nothing, or of
/// something else than a file.
pub const fn is_refusal(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, IsADirectory, NotADirectory, NotFound};

    !matches!(
        kind,
        NotFound | IsADirectory | NotADirectory | InvalidInput | InvalidData
    )
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self { text, kind: None }
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        Self {
            text: error.to_string(),
            kind: Some(error.kind()),
        }
    }
}
