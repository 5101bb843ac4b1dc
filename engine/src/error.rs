//! Why a run failed.

use serde::{Deserialize, Serialize};

use crate::audit::Refusal;
use crate::code::{AtFault, Code};
use crate::event::{Event, Origin};
use crate::fault::{self, Fault};
use crate::scheduler::{self, ScheduleError};
use crate::value::Misfit;

/// The reason why a run failed.
///
/// It serialises as its code and its particulars by name; lines of source are left out, so that
/// moved code is no other outcome.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// One or more mediators failed.
    #[error("{}", failures(.0))]
    #[serde(rename = "mediators")]
    Mediators(Vec<Failure>),
    /// Some invokes skip a module and others do not.
    ///
    /// Code `E020`, explained in `docs/errors/E020.md`.
    #[error(
        "`{site}` is skipped by {} but not by {}{}; invokes that share a batch skip a module together or not at all, or one \
         without rows skips it for all of them",
        askers(.skipping),
        names(.others),
        pending(.waiting)
    )]
    #[serde(rename = "E020")]
    PartialSkip {
        /// The module's input.
        site: String,
        /// Who skips.
        skipping: Vec<Asker>,
        /// Who does not.
        others: Vec<String>,
        /// What those ask for instead, as far as they still ask for something.
        waiting: Vec<Pending>,
    },
    /// The replacements of several invokes cannot be joined to one output.
    ///
    /// Code `E021`, explained in `docs/errors/E021.md`.
    #[error("the replacements of {} for the skipped `{site}` cannot be joined: {misfit}; let them differ in rows only", askers(.skipping))]
    #[serde(rename = "E021")]
    SkipMisfit {
        /// The module's input.
        site: String,
        /// Who skips.
        skipping: Vec<Asker>,
        /// Both shapes.
        misfit: Misfit,
    },
    /// A mediator asked for something and was served nothing.
    ///
    /// Code `E022`, explained in `docs/errors/E022.md`.
    #[error(
        "{}; ask for what the model passes, or declare the intervention optional if that is meant",
        never_fired(.0)
    )]
    #[serde(rename = "E022")]
    NeverFired(Vec<Silent>),
    /// Two mediators have one name.
    ///
    /// Code `E023`, explained in `docs/errors/E023.md`.
    #[error(
        "two mediators of the run are named `{0}`; reports and journals tell them apart by name, so choose another"
    )]
    #[serde(rename = "E023")]
    DuplicateName(String),
    /// The batch has too many rows.
    ///
    /// Code `E024`, explained in `docs/errors/E024.md`.
    #[error("the invokes of the run have more than 2^32 rows together; split the batch")]
    #[serde(rename = "E024")]
    BatchTooLarge,
    /// The model finished while mediators waited at barriers.
    ///
    /// Code `E025`, explained in `docs/errors/E025.md`.
    #[error("{}", unmet(.0))]
    #[serde(rename = "E025")]
    BarrierUnmet(Vec<Meeting>),
    /// Mediators wait for one another at several barriers, so that none of them can open.
    ///
    /// Code `E026`, explained in `docs/errors/E026.md`.
    #[error("{}", circle(.0))]
    #[serde(rename = "E026")]
    Circle(Vec<Meeting>),
    /// Two barriers have one name.
    ///
    /// Code `E027`, explained in `docs/errors/E027.md`.
    #[error("barrier `{0}` is declared twice; a barrier can be used again, and is declared once")]
    #[serde(rename = "E027")]
    DuplicateBarrier(String),
    /// A cache of the run lists a module that the model does not have.
    ///
    /// Code `E028`, explained in `docs/errors/E028.md`.
    #[error("a cache of the run lists `{asked}`, which the model does not have; nearest: {}", names(.nearest))]
    #[serde(rename = "E028")]
    UnknownCached {
        /// The point as it follows from the list.
        asked: String,
        /// The names most like it.
        nearest: Vec<String>,
    },
    /// The run declares a gradient of what the model does not have.
    ///
    /// Code `E057`, explained in `docs/errors/E057.md`.
    #[error(
        "the run declares the gradient of `{asked}`, which the model does not have; nearest: {}",
        names(.nearest)
    )]
    #[serde(rename = "E057")]
    UnknownGradient {
        /// The name as it is declared.
        asked: String,
        /// The names most like it.
        nearest: Vec<String>,
    },
    /// The run is not the one that its schedule was made in.
    #[error(transparent)]
    #[serde(rename = "schedule")]
    Schedule(#[from] ScheduleError),
}

/// A mediator with a request that the run fails for, though not the mediator alone.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Asker {
    /// The mediator's name.
    pub mediator: String,
    /// The site at which it made the request; `None` before the model started and after it had
    /// finished.
    pub at: Option<String>,
    /// Where in the user's source the request stands.
    #[serde(skip)]
    pub origin: Origin,
}

/// A mediator whose request for a site is open.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Pending {
    /// The mediator's name.
    pub mediator: String,
    /// What it asks for.
    pub event: Event,
    /// The site.
    pub site: String,
    /// Where in the user's source the request stands.
    #[serde(skip)]
    pub origin: Origin,
}

/// A mediator that asked for something and was served nothing.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Silent {
    /// The mediator's name.
    pub mediator: String,
    /// Its first request.
    pub request: Refusal,
}

/// A barrier that has not opened.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Meeting {
    /// The barrier's name.
    pub barrier: String,
    /// How many it is for.
    pub participants: u32,
    /// Who waits there, in definition order.
    pub waiting: Vec<Asker>,
    /// The run's other mediators, who could have come.
    pub missing: Vec<String>,
}

/// A mediator that failed.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Failure {
    /// The mediator's name.
    pub mediator: String,
    /// The site that the model was passing.
    pub at: Option<String>,
    /// Where in the user's source its last request stands.
    #[serde(skip)]
    pub origin: Origin,
    /// Why.
    pub fault: Fault,
}

impl RunError {
    /// Returns the error without the places of requests in the user's source: a line that has moved
    /// is no other error.
    ///
    /// What a mediator asks for that did not skip is left out, too: older records do not have it.
    pub fn without_origins(&self) -> Self {
        let mut error = self.clone();
        if let Self::PartialSkip { waiting, .. } = &mut error {
            waiting.clear();
        }
        let origins: Vec<&mut Origin> = match &mut error {
            Self::Mediators(failures) => failures
                .iter_mut()
                .map(|failure| &mut failure.origin)
                .collect(),
            Self::PartialSkip { skipping, .. } | Self::SkipMisfit { skipping, .. } => {
                skipping.iter_mut().map(|asker| &mut asker.origin).collect()
            }
            Self::NeverFired(silent) => {
                let silent = silent.iter_mut();
                silent.map(|silent| &mut silent.request.origin).collect()
            }
            Self::BarrierUnmet(meetings) | Self::Circle(meetings) => {
                let waiting = meetings.iter_mut().flat_map(|meeting| &mut meeting.waiting);
                waiting.map(|asker| &mut asker.origin).collect()
            }
            _ => Vec::new(),
        };
        for origin in origins {
            *origin = Origin::Unknown;
        }
        error
    }

    /// Returns the error's stable code; for failed mediators that of the first fault.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Mediators(failures) => {
                failures.first().map_or("E013", |first| first.fault.code())
            }
            Self::PartialSkip { .. } => "E020",
            Self::SkipMisfit { .. } => "E021",
            Self::NeverFired(_) => "E022",
            Self::DuplicateName(_) => "E023",
            Self::BatchTooLarge => "E024",
            Self::BarrierUnmet(_) => "E025",
            Self::Circle(_) => "E026",
            Self::DuplicateBarrier(_) => "E027",
            Self::UnknownCached { .. } => "E028",
            Self::UnknownGradient { .. } => "E057",
            Self::Schedule(error) => error.code(),
        }
    }
}

/// The codes of failed runs.
pub(crate) const CODES: &[Code] = &[
    Code::new(
        "E020",
        "a module is skipped by some invokes only",
        AtFault::Mediator,
    ),
    Code::new(
        "E021",
        "the replacements of a skip cannot be joined",
        AtFault::Mediator,
    ),
    Code::new("E022", "an intervention never fired", AtFault::Mediator),
    Code::new("E023", "two mediators have one name", AtFault::Misuse),
    Code::new("E024", "the batch has too many rows", AtFault::Misuse),
    Code::new("E025", "a barrier never opened", AtFault::Mediator),
    Code::new(
        "E026",
        "mediators wait for one another in a circle",
        AtFault::Mediator,
    ),
    Code::new("E027", "two barriers have one name", AtFault::Misuse),
    Code::new(
        "E028",
        "a cache lists a module that the model does not have",
        AtFault::Misuse,
    ),
];

/// The codes of what is about gradients.
const GRADIENT_CODES: &[Code] = &[
    Code::new("E054", "a gradient does not come", AtFault::Mediator),
    Code::new("E055", "a loss cannot be differentiated", AtFault::Mediator),
    Code::new("E056", "no backward pass can begin here", AtFault::Mediator),
    Code::new(
        "E057",
        "a gradient is declared of what the model does not have",
        AtFault::Misuse,
    ),
    Code::new("E075", "a parameter passes no site", AtFault::Misuse),
];

/// Iterates over every code of the engine, in order.
pub fn codes() -> impl Iterator<Item = &'static Code> {
    let catalogues = [
        fault::CODES,
        CODES,
        GRADIENT_CODES,
        fault::PROGRAM_CODES,
        scheduler::CODES,
    ];
    catalogues.into_iter().flatten()
}

fn failures(failures: &[Failure]) -> String {
    let lines: Vec<String> = failures.iter().map(failure).collect();
    lines.join("\n")
}

fn failure(failure: &Failure) -> String {
    let Failure {
        mediator,
        at,
        origin,
        fault,
    } = failure;
    let at = match at {
        Some(at) => format!(" at `{at}`"),
        None => String::new(),
    };
    let line = line_of(origin);
    format!("mediator `{mediator}` failed{at}{line}: {fault}")
}

fn unmet(meetings: &[Meeting]) -> String {
    let lines: Vec<String> = meetings.iter().map(unmet_barrier).collect();
    lines.join("\n")
}

fn unmet_barrier(meeting: &Meeting) -> String {
    let Meeting {
        barrier,
        participants,
        waiting,
        missing,
    } = meeting;
    let came = format!("{} came: {}", waiting.len(), arrivals(waiting));
    let needed = (*participants as usize).saturating_sub(waiting.len());
    let others = match missing.len() {
        others if others < needed => {
            format!("the run has only {} mediators", waiting.len() + others)
        }
        others if others == needed => format!("missing: {}", names(missing)),
        _ => format!("missing: {needed} of {}", names(missing)),
    };
    format!(
        "the model finished with barrier `{barrier}` closed: it is for {participants}, {came}; {others}; let as many \
         arrive as it is for, or declare it for fewer"
    )
}

fn circle(meetings: &[Meeting]) -> String {
    let place = |meeting: &Meeting| {
        let Meeting {
            barrier,
            participants,
            waiting,
            ..
        } = meeting;
        format!(
            "at `{barrier}`, which is for {participants}, {}",
            arrivals(waiting)
        )
    };
    let places: Vec<String> = meetings.iter().map(place).collect();
    format!(
        "mediators wait for one another in a circle: {}; arrive at barriers in one order",
        places.join("; ")
    )
}

/// Names those who asked for something at a site that the message names, with their lines.
fn askers(askers: &[Asker]) -> String {
    let asker = |asker: &Asker| format!("`{}`{}", asker.mediator, line_of(&asker.origin));
    let askers: Vec<String> = askers.iter().map(asker).collect();
    askers.join(", ")
}

/// Says what those ask for who do not skip.
fn pending(waiting: &[Pending]) -> String {
    let one = |pending: &Pending| {
        let Pending {
            mediator,
            event,
            site,
            origin,
        } = pending;
        let line = line_of(origin);
        format!("; `{mediator}` waits for {event} `{site}`{line}")
    };
    waiting.iter().map(one).collect()
}

/// Names those who were served nothing, with what they asked for first.
fn never_fired(silent: &[Silent]) -> String {
    let one = |Silent { mediator, request }: &Silent| {
        let Refusal {
            event,
            site,
            fault,
            origin,
        } = request;
        let end = match fault {
            Some(fault) => format!("was refused with {}", fault.code()),
            None => "was still open when the run ended".to_owned(),
        };
        let line = line_of(origin);
        format!("`{mediator}` never fired: its first request, {event} `{site}`{line}, {end}")
    };
    silent.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Names those who came to a barrier, with the sites and lines from which they did.
fn arrivals(askers: &[Asker]) -> String {
    let arrival = |asker: &Asker| {
        let from = match &asker.at {
            Some(at) => format!(" from `{at}`"),
            None => String::new(),
        };
        format!("`{}`{from}{}", asker.mediator, line_of(&asker.origin))
    };
    let arrivals: Vec<String> = askers.iter().map(arrival).collect();
    arrivals.join(", ")
}

fn line_of(origin: &Origin) -> String {
    match origin {
        Origin::Unknown => String::new(),
        origin => format!(" ({origin})"),
    }
}

fn names(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
