//! Why a mediator that is a program cannot continue.
//!
//! Plain data, so that reading a fault needs no machine that could make it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::and_more;
use crate::code::{AtFault, Code};
use crate::value::Misfit;

/// Why a program could not continue; like every fault, a `try` may catch it.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ProgramFault {
    /// The variable has no value on the path that was taken.
    #[error("`{0}` has no value yet; give it one on every path that leads here")]
    Unset(String),
    /// The machine was not given this value.
    #[error("the machine was given no value `{0}`; give it one before the run")]
    NotGiven(String),
    /// The machine was given no modules.
    #[error(
        "module `{0}` cannot be called, because the machine was given no modules; give it some before the run"
    )]
    NoModules(String),
    /// A number, value or list where another of these is needed.
    #[error("{place} takes {expected}, not {found}")]
    Kind {
        /// The step or expression.
        place: Cow<'static, str>,
        /// What it takes.
        expected: Cow<'static, str>,
        /// What it was given.
        found: Cow<'static, str>,
    },
    /// A value that cannot do what the expression asks of it.
    #[error("{place} is not possible: {misfit}")]
    Misfit {
        /// The expression.
        place: Cow<'static, str>,
        /// What it takes, and what it was given.
        misfit: Misfit,
    },
    /// A span that does not lie in its dimension.
    #[error("the span `{}` does not lie in dimension {dimension} of {shape:?}", span(*start, *end))]
    Span {
        /// The first place; none is the first of all, and a negative one counts from the end.
        start: Option<i64>,
        /// The place after the last; none is the end.
        end: Option<i64>,
        /// The dimension.
        dimension: usize,
        /// The tensor's shape.
        shape: Vec<u64>,
    },
    /// A span that does not lie in the own positions of a row that is padded.
    #[error(
        "the span `{}` does not lie in the {length} tokens of row {row}; rows of a batch that differ in length count positions in \
         their own tokens",
        span(*start, *end)
    )]
    OwnSpan {
        /// The first place; none is the first of all, and a negative one counts from the end.
        start: Option<i64>,
        /// The place after the last; none is the end.
        end: Option<i64>,
        /// The row.
        row: u64,
        /// How many positions it has of its own.
        length: u64,
    },
    /// An expression that would mix padding with the tokens of rows that differ in length.
    #[error(
        "{place} is not possible over the positions of rows that differ in length, of which some are padding; take positions that \
         all rows have, such as `[.., -1]`, or give each prompt an invoke of its own"
    )]
    Ragged {
        /// The expression.
        place: Cow<'static, str>,
    },
    /// A list without the item that is asked for.
    #[error("the list has no item {item}, its length is {length}")]
    NoItem {
        /// What was asked for.
        item: String,
        /// How long the list is.
        length: usize,
    },
    /// A request for a site that the run never passes.
    #[error("the model never passes `{site}` in this run{}", instead(.last))]
    NeverPassed {
        /// The site.
        site: String,
        /// The last visit of its point.
        last: Option<String>,
    },
    /// A cache of modules that were passed before.
    #[error(
        "the cache comes too late for {}, which the model has passed by then, for `{reached}` has been asked for before \
         ({since}); declare it before the first request",
        and_more(.passed)
    )]
    LateCache {
        /// The points, such as `layers.3.output`.
        passed: Vec<String>,
        /// A later site, which the program has asked for before.
        reached: String,
        /// Where it has.
        since: String,
    },
    /// A skip of what is no module's input.
    #[error("`{0}` cannot be skipped; a module is skipped at its input")]
    Unskippable(String),
    /// A module called on what it does not take.
    #[error("{reason}; give it what it takes, or call another module")]
    Call {
        /// What it takes, and what it was given.
        reason: String,
    },
    /// A replacement with which the model cannot continue.
    #[error(
        "skipping `{site}` with {found} in place of {expected} is not possible, because the model cannot go on: {reason}; put \
         out what the module does"
    )]
    Skip {
        /// The module's input.
        site: String,
        /// What the module returns, for this mediator.
        expected: String,
        /// What the replacement is.
        found: String,
        /// Why the model cannot continue.
        reason: String,
    },
    /// A skip by some of the invokes that share a batch.
    #[error(
        "`{site}` is skipped here, but never by {others}; invokes that share a batch skip a module together or not at all, or one \
         without rows skips it for all of them"
    )]
    PartialSkip {
        /// The module's input.
        site: String,
        /// Those who do not skip it.
        others: String,
    },
    /// A backward pass where none can begin.
    #[error("no backward pass can begin {}; ask for it at a site of the forward pass", super::place(.at))]
    NoBackward {
        /// The gradient's site at hand; `None` before the model has started.
        at: Option<String>,
    },
    /// A tuple, list or map of too many parts.
    #[error(
        "the tuple, list or map would have more than {limit} tensors in it; save them one by one"
    )]
    TooManyLeaves {
        /// The limit.
        limit: usize,
    },
}

/// The codes of programs that cannot continue.
pub(crate) const CODES: &[Code] = &[Code::new(
    "E103",
    "a program cannot go on",
    AtFault::Mediator,
)];

fn span(start: Option<i64>, end: Option<i64>) -> String {
    let text = |place: Option<i64>| place.map_or(String::new(), |place| place.to_string());
    format!("{}..{}", text(start), text(end))
}

fn instead(last: &Option<String>) -> String {
    match last {
        Some(last) => format!(", and `{last}` is the last of its passings; ask for that"),
        None => "; check that the module is called".to_owned(),
    }
}
