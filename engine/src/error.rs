//! Why a run failed.

use crate::code::{AtFault, Code};
use crate::event::Origin;
use crate::fault::{self, Fault};
use crate::program;
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
        "`{site}` is skipped by {} but not by {}; invokes that share a batch skip a module together or not at all",
        names(.skipping),
        names(.others)
    )]
    PartialSkip {
        /// The module's input.
        site: String,
        /// Who skips.
        skipping: Vec<String>,
        /// Who does not.
        others: Vec<String>,
    },
    /// The replacements of several invokes cannot be joined to one output.
    #[error("the replacements of {} for the skipped `{site}` cannot be joined: {misfit}", names(.skipping))]
    SkipMisfit {
        /// The module's input.
        site: String,
        /// Who skips.
        skipping: Vec<String>,
        /// Both shapes.
        misfit: Misfit,
    },
    /// A mediator asked for something and was served nothing.
    #[error(
        "{} never fired: no request was served; declare the intervention optional if that is meant",
        names(.0)
    )]
    NeverFired(Vec<String>),
    /// Two mediators have one name.
    #[error(
        "two mediators of the run are named `{0}`; reports and journals tell them apart by name, so choose another"
    )]
    DuplicateName(String),
    /// The batch has too many rows.
    #[error("the invokes of the run have more than 2^32 rows together; split the batch")]
    BatchTooLarge,
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
];

/// Every code of the engine, in order.
pub fn codes() -> impl Iterator<Item = &'static Code> {
    fault::CODES.iter().chain(CODES).chain(program::CODES)
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
    match origin {
        Origin::Unknown => format!("mediator `{mediator}` failed{at}: {fault}"),
        origin => format!("mediator `{mediator}` failed{at} ({origin}): {fault}"),
    }
}

fn names(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
