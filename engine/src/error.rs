//! Why a run failed.

use crate::audit::Refusal;
use crate::code::{AtFault, Code};
use crate::event::{Event, Origin};
use crate::fault::{self, Fault};
use crate::program;
use crate::scheduler::{self, ScheduleError};
use crate::value::Misfit;

/// The reason why a run failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// One or more mediators failed.
    #[error("{}", failures(.0))]
    Mediators(Vec<Failure>),
    /// Some invokes skip a module and others do not.
    #[error(
        "`{site}` is skipped by {} but not by {}{}; invokes that share a batch skip a module together or not at all",
        askers(.skipping),
        names(.others),
        pending(.waiting)
    )]
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
    #[error("the replacements of {} for the skipped `{site}` cannot be joined: {misfit}; let them differ in rows only", askers(.skipping))]
    SkipMisfit {
        /// The module's input.
        site: String,
        /// Who skips.
        skipping: Vec<Asker>,
        /// Both shapes.
        misfit: Misfit,
    },
    /// A mediator asked for something and was served nothing.
    #[error(
        "{}; ask for what the model passes, or declare the intervention optional if that is meant",
        never_fired(.0)
    )]
    NeverFired(Vec<Silent>),
    /// Two mediators have one name.
    #[error(
        "two mediators of the run are named `{0}`; reports and journals tell them apart by name, so choose another"
    )]
    DuplicateName(String),
    /// The batch has too many rows.
    #[error("the invokes of the run have more than 2^32 rows together; split the batch")]
    BatchTooLarge,
    /// The model finished while mediators waited at barriers.
    #[error("{}", unmet(.0))]
    BarrierUnmet(Vec<Meeting>),
    /// Mediators wait for one another at several barriers, so that none of them can open.
    #[error("{}", circle(.0))]
    Circle(Vec<Meeting>),
    /// Two barriers have one name.
    #[error("barrier `{0}` is declared twice; a barrier can be used again, and is declared once")]
    DuplicateBarrier(String),
    /// A cache of the run lists a module that the model does not have.
    #[error("a cache of the run lists `{asked}`, which the model does not have; nearest: {}", names(.nearest))]
    UnknownCached {
        /// The point as it follows from the list.
        asked: String,
        /// The names most like it.
        nearest: Vec<String>,
    },
    /// The run is not the one that its schedule was made in.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
}

/// A mediator with a request that the run fails for, though not the mediator alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asker {
    /// The mediator's name.
    pub mediator: String,
    /// The site at which it made the request; `None` before the model started and after it had finished.
    pub at: Option<String>,
    /// Where in the user's source the request stands.
    pub origin: Origin,
}

/// A mediator whose request for a site is open.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pending {
    /// The mediator's name.
    pub mediator: String,
    /// What it asks for.
    pub event: Event,
    /// The site.
    pub site: String,
    /// Where in the user's source the request stands.
    pub origin: Origin,
}

/// A mediator that asked for something and was served nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Silent {
    /// The mediator's name.
    pub mediator: String,
    /// Its first request.
    pub request: Refusal,
}

/// A barrier that has not opened.
#[derive(Clone, Debug, Eq, PartialEq)]
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
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// The mediator's name.
    pub mediator: String,
    /// The site that the model was passing.
    pub at: Option<String>,
    /// Where in the user's source its last request stands.
    pub origin: Origin,
    /// Why.
    pub fault: Fault,
}

impl RunError {
    /// Returns the error without the places of requests in the user's source: a line that has moved is no other error.
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
            Self::Schedule(error) => error.code(),
        }
    }
}

/// What `interloom explain` says about failed runs.
pub(crate) const CODES: &[Code] = &[
    Code::new(
        "E020",
        "a module is skipped by some invokes only",
        AtFault::Mediator,
        "A module is computed for the whole batch or not at all. Every invoke that has rows must skip the same module in \
         the same iteration; an invoke without rows neither has to skip nor may skip alone. The message names both sides.",
    ),
    Code::new(
        "E021",
        "the replacements of a skip cannot be joined",
        AtFault::Mediator,
        "Each invoke gave its own rows of the module's output, and these are joined along dimension 0 in batch order. They \
         differ in kind or in another dimension.",
    ),
    Code::new(
        "E022",
        "an intervention never fired",
        AtFault::Mediator,
        "A mediator asked for something and nothing was served, so that the run's result does not show what the \
         intervention does. Its audit line says what was refused. Declare it optional if it need not fire.",
    ),
    Code::new(
        "E023",
        "two mediators have one name",
        AtFault::Misuse,
        "Mediators are named in reports, audits and journals. Give each mediator of a run a name of its own.",
    ),
    Code::new(
        "E024",
        "the batch has too many rows",
        AtFault::Misuse,
        "Rows are counted in 32 bits. Split the batch into several runs of one session.",
    ),
    Code::new(
        "E025",
        "a barrier never opened",
        AtFault::Mediator,
        "Mediators waited at a barrier when the model had finished, and fewer came than it is for. The message says for \
         each such barrier who waits and who is missing. Declare it for as many as arrive in each round, or find out why the \
         missing ones do not come.",
    ),
    Code::new(
        "E026",
        "mediators wait for one another in a circle",
        AtFault::Mediator,
        "Each of these mediators waits at a barrier for another one that waits at another barrier, so that none can ever \
         open. The message names the barriers and who waits where. Let the mediators arrive at their barriers in one order.",
    ),
    Code::new(
        "E027",
        "two barriers have one name",
        AtFault::Misuse,
        "A barrier is declared once in a run, with the number of its participants. It opens again for each round, so that a \
         second one of the same name is not needed.",
    ),
    Code::new(
        "E028",
        "a cache lists a module that the model does not have",
        AtFault::Misuse,
        "A cache of the run names its modules by path, as sites do, and the model has no such module, or not that side of \
         it. The message names the nearest ones; nothing has been started.",
    ),
];

/// Every code of the engine, in order.
pub fn codes() -> impl Iterator<Item = &'static Code> {
    let catalogues = [fault::CODES, CODES, program::CODES, scheduler::CODES];
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
            code,
            origin,
        } = request;
        let end = match code {
            Some(code) => format!("was refused with {code}"),
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
