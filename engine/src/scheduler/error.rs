//! Why a schedule cannot be read, or does not belong to a run.

use super::Change;
use crate::code::{AtFault, Code};

/// What is wrong with a schedule.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The text is none that a scheduler prints.
    #[error(
        "the schedule cannot be read at byte {at}: expected {expected}, found {found}; copy the whole text"
    )]
    Text {
        /// The byte, from 0.
        at: usize,
        /// What should stand there.
        expected: &'static str,
        /// What does.
        found: String,
    },
    /// The text was changed since it was printed.
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
    /// The schedule was made for another programme.
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

/// What `interloom explain` says about schedules.
pub(crate) const CODES: &[Code] = &[
    Code::new(
        "E120",
        "a schedule cannot be read",
        AtFault::Misuse,
        "A schedule is `in-order`, `shuffle:SEED`, `pct:DEPTH:LENGTH:SEED`, or a recorded one: `ilsched1:` with the \
         programme's digest, the choices and a checksum. The message names the first byte that does not fit. A text that \
         was cut or wrapped when it was copied is the usual cause.",
    ),
    Code::new(
        "E121",
        "a schedule is damaged",
        AtFault::Misuse,
        "A recorded schedule ends with the CRC-32 of all that stands before it, and the two do not agree: a character was \
         changed, or some are missing. Nothing was run. Copy the text again from where it was printed.",
    ),
    Code::new(
        "E122",
        "a schedule belongs to another programme",
        AtFault::Misuse,
        "A recorded schedule carries a short digest of each part of the run that it was made in: the model's sites, the \
         mediators' names, their rows, the barriers, the steps and the granularity. The message names those that are \
         different in this run, with what it has, so that the choices would mean something else. Nothing was started. Make \
         these parts as they were, or run the exploration again.",
    ),
    Code::new(
        "E123",
        "a choice of a schedule does not fit",
        AtFault::Mediator,
        "Each choice of a recorded schedule is one among so many mediators that wait for the site at hand. In this run \
         another number of them waits there: a mediator's own code, or a value that it depends on, has changed since the \
         schedule was recorded. The message names the choice and the site.",
    ),
    Code::new(
        "E124",
        "a schedule is too short for the run",
        AtFault::Mediator,
        "The run came to more choices between mediators than the recorded schedule has: a mediator asks for more than when \
         it was recorded. Nothing is chosen by default, because the run would not be the one that was meant.",
    ),
    Code::new(
        "E125",
        "a schedule is too long for the run",
        AtFault::Mediator,
        "The run ended and left choices of the recorded schedule over: mediators ask for less than when it was recorded, or \
         a failure cut the run short.",
    ),
    Code::new(
        "E126",
        "a run is not deterministic",
        AtFault::Mediator,
        "An exploration makes one run many times with different orders of the mediators, and relies on equal choices making \
         equal runs. This one did something else with the same choices: it depends on a clock, a random source, a hash \
         order, or on state that an earlier run left behind. Make everything anew in the closure.",
    ),
    Code::new(
        "E127",
        "a run did not take its scheduler",
        AtFault::Misuse,
        "The closure that makes the runs of an exploration is handed an attempt, and has to call `attach` with the setup of \
         its run, once, before the run starts. Otherwise every run would be in the same order, and the verdict worthless.",
    ),
];
