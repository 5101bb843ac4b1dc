//! Stable error codes.
//!
//! What a code means and what to do is in `docs/errors/CODE.md` of the repository, which
//! `interloom explain CODE` prints.

/// Entry of a catalogue of stable error codes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Code {
    /// The code, such as `E002`.
    pub code: &'static str,
    /// What happened, in a few words.
    pub title: &'static str,
    /// Who has to change something.
    pub at_fault: AtFault,
}

impl Code {
    /// Makes an entry of a room's catalogue.
    pub const fn new(code: &'static str, title: &'static str, at_fault: AtFault) -> Self {
        Self {
            code,
            title,
            at_fault,
        }
    }
}

/// The party that is at fault when an error occurs.
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
