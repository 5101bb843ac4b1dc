//! Why a schedule cannot be read, or does not belong to a run.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::Change;
use crate::code::{AtFault, Code};

/// An error of a schedule.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ScheduleError {
    /// The text is none that a scheduler prints.
    ///
    /// Code `E120`, explained in `docs/errors/E120.md`.
    #[error(
        "the schedule cannot be read at byte {at}: expected {expected}, found {found}; copy the whole text"
    )]
    Text {
        /// The byte, from 0.
        at: usize,
        /// What should stand there.
        expected: Cow<'static, str>,
        /// What does.
        found: String,
    },
    /// The text was changed since it was printed.
    ///
    /// Code `E121`, explained in `docs/errors/E121.md`.
    #[error(
        "the schedule is damaged: its checksum says {stated:08x}, but the {length} bytes before it have {computed:08x}; \
         copy the whole text again"
    )]
    Checksum {
        /// The checksum in the text.
        stated: u32,
        /// The checksum of the text.
        computed: u32,
        /// How many bytes the checksum is of.
        length: usize,
    },
    /// The schedule was made for another run.
    ///
    /// Code `E122`, explained in `docs/errors/E122.md`.
    #[error(
        "the schedule was made for another programme; what differs: {}; make the run as it was then, or explore it again \
         for a schedule that fits",
        joined(changes)
    )]
    Programme {
        /// What differs: one or more.
        changes: Vec<Change>,
    },
    /// Another number of mediators was ready than when the schedule was made.
    ///
    /// Code `E123`, explained in `docs/errors/E123.md`.
    #[error(
        "choice {choice} of the schedule wants {wanted} mediators ready, but {ready} are, at `{site}`; the mediators ask \
         for other sites than when it was made, so record it again"
    )]
    Ready {
        /// The choice, from 1.
        choice: u64,
        /// How many were ready when the schedule was made.
        wanted: u32,
        /// How many are.
        ready: u32,
        /// Where; the interleaver fills it in.
        site: String,
    },
    /// The run needs more choices than the schedule has.
    ///
    /// Code `E124`, explained in `docs/errors/E124.md`.
    #[error(
        "the schedule has {choices} choices and the run asks for one more, with {ready} mediators ready at `{site}`; the \
         run is longer than when it was made, so record it again"
    )]
    TooShort {
        /// How many the schedule has.
        choices: u64,
        /// How many mediators are ready.
        ready: u32,
        /// Where; the interleaver fills it in.
        site: String,
    },
    /// The run ended with choices left.
    ///
    /// Code `E125`, explained in `docs/errors/E125.md`.
    #[error(
        "the run ended after {used} of the schedule's {choices} choices; it is shorter than when the schedule was made, \
         so record it again"
    )]
    TooLong {
        /// How many were used.
        used: u64,
        /// How many the schedule has.
        choices: u64,
    },
    /// A run that was made again with equal choices was another.
    ///
    /// Code `E126`, explained in `docs/errors/E126.md`.
    #[error(
        "the run is not deterministic: made again with the same choices, turn {turn} was {then} before and is {now} now; \
         make everything that it depends on anew for each run"
    )]
    Unsteady {
        /// The turn, from 1.
        turn: u64,
        /// Whose it could be before, and where.
        then: String,
        /// Whose it can be now, and where.
        now: String,
    },
    /// What was to be explored never took its scheduler.
    ///
    /// Code `E127`, explained in `docs/errors/E127.md`.
    #[error(
        "the run was made without the scheduler that it was given; call `attach` on the setup of each run"
    )]
    NotAttached,
}

impl ScheduleError {
    /// Names the site at hand, which a scheduler knows by its number only.
    pub(crate) fn at(mut self, name: String) -> Self {
        if let Self::Ready { site, .. } | Self::TooShort { site, .. } = &mut self {
            *site = name;
        }
        self
    }

    /// Returns the error's stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Text { .. } => "E120",
            Self::Checksum { .. } => "E121",
            Self::Programme { .. } => "E122",
            Self::Ready { .. } => "E123",
            Self::TooShort { .. } => "E124",
            Self::TooLong { .. } => "E125",
            Self::Unsteady { .. } => "E126",
            Self::NotAttached => "E127",
        }
    }
}

fn joined(changes: &[Change]) -> String {
    let changes: Vec<String> = changes.iter().map(Change::to_string).collect();
    changes.join(", ")
}

/// The codes of schedules.
pub(crate) const CODES: &[Code] = &[
    Code::new("E120", "a schedule cannot be read", AtFault::Misuse),
    Code::new("E121", "a schedule is damaged", AtFault::Misuse),
    Code::new(
        "E122",
        "a schedule belongs to another programme",
        AtFault::Misuse,
    ),
    Code::new(
        "E123",
        "a choice of a schedule does not fit",
        AtFault::Mediator,
    ),
    Code::new(
        "E124",
        "a schedule is too short for the run",
        AtFault::Mediator,
    ),
    Code::new(
        "E125",
        "a schedule is too long for the run",
        AtFault::Mediator,
    ),
    Code::new("E126", "a run is not deterministic", AtFault::Mediator),
    Code::new("E127", "a run did not take its scheduler", AtFault::Misuse),
];
