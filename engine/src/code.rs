//! Stable error codes, and what they mean.

/// What a stable error code means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Code {
    /// The code, such as `E002`.
    pub code: &'static str,
    /// What happened, in a few words.
    pub title: &'static str,
    /// Who has to change something.
    pub at_fault: AtFault,
    /// What it means and what to do.
    pub explanation: &'static str,
}

impl Code {
    /// Makes an entry of a room's catalogue.
    pub const fn new(
        code: &'static str,
        title: &'static str,
        at_fault: AtFault,
        explanation: &'static str,
    ) -> Self {
        Self {
            code,
            title,
            at_fault,
            explanation,
        }
    }
}

/// Who is at fault when an error occurs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum AtFault {
    /// The caller of the library or of the program.
    Misuse,
    /// The model or its files.
    Model,
    /// A user's intervention.
    Mediator,
    /// The journal's file.
    Journal,
    /// The machine: files, devices, network.
    Environment,
}

impl AtFault {
    /// Returns the word that reports use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Misuse => "misuse",
            Self::Model => "model",
            Self::Mediator => "mediator",
            Self::Journal => "journal",
            Self::Environment => "environment",
        }
    }
}
