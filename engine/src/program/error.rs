//! Why a program cannot be run, or cannot go on.

use super::check::{BODIES_MAX, DEPTH_MAX, SIZE_MAX};
use super::expr::Span;
use super::step::{Program, Step};
use crate::code::{AtFault, Code};
use crate::value::Misfit;

/// What is wrong with a program, found before it is run.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// The model has no such site.
    #[error("{at}: the model has no site `{name}`; {}", or_nearest("it has no sites at all", .nearest))]
    UnknownSite {
        /// Where in the program.
        at: Place,
        /// The site as it is written.
        name: String,
        /// The names most like it.
        nearest: Vec<String>,
    },
    /// No step before this one gives the variable a value, on whichever path.
    #[error(
        "{at}: `{name}` has no value here, whichever way the program comes; {}",
        or_nearest("no step before this one gives anything a value", .nearest)
    )]
    UnsetVariable {
        /// Where in the program.
        at: Place,
        /// The variable, or the name of an error that is caught.
        name: String,
        /// The names most like it that may have a value.
        nearest: Vec<String>,
    },
    /// The run has no such barrier.
    #[error(
        "{at}: the run has no barrier `{name}`; {}",
        or_nearest("it has none at all", .nearest)
    )]
    UnknownBarrier {
        /// Where in the program.
        at: Place,
        /// The barrier's name.
        name: String,
        /// The names most like it.
        nearest: Vec<String>,
    },
    /// The machine is not given such a value.
    #[error(
        "{at}: the program is given no value `{name}`; {}",
        or_nearest("it is given none at all", .nearest)
    )]
    UnknownGiven {
        /// Where in the program.
        at: Place,
        /// The value's name.
        name: String,
        /// The names most like it.
        nearest: Vec<String>,
    },
    /// Steps or expressions stand too deep inside one another.
    #[error(
        "{at}: the program goes too deep here; at most {BODIES_MAX} bodies stand inside one another, and at most \
         {DEPTH_MAX} expressions; give an inner value a name with `let`"
    )]
    TooDeep {
        /// Where in the program.
        at: Place,
    },
    /// There are too many steps and expressions.
    #[error(
        "{at}: the program is too large; it may have {SIZE_MAX} steps and expressions together"
    )]
    TooLarge {
        /// Where the limit was reached.
        at: Place,
    },
    /// A step that fails whichever way the run goes.
    #[error("{at}: {fault}")]
    Impossible {
        /// Where in the program.
        at: Place,
        /// Why.
        fault: Box<ProgramFault>,
    },
    /// A write of another shape than the site has.
    #[error(
        "{at}: the replacement for `{site}` is {found}, but the site has {expected} for this mediator; a swap keeps \
         structure and shape, a mediator that owns the whole batch may ask for a reshaping write"
    )]
    Shape {
        /// Where in the program.
        at: Place,
        /// The site as it is written.
        site: String,
        /// What the mediator's rows there are, such as `a tensor [1, 7, 64]`.
        expected: String,
        /// What the replacement is.
        found: String,
    },
    /// A request for a site that the model has passed by then.
    #[error(
        "{at}: `{asked}` is asked for after `{reached}` ({since}), but the model passes it before; ask for it first, and \
         keep the value if it is needed later"
    )]
    Order {
        /// Where in the program.
        at: Place,
        /// The site that is asked for too late.
        asked: String,
        /// A later site, which the program has asked for before.
        reached: String,
        /// Where it has.
        since: Box<Place>,
    },
    /// The model has no such module.
    #[error("{at}: the model has no module `{name}` to call; {}", or_nearest("it has none at all", .nearest))]
    UnknownModule {
        /// Where in the program.
        at: Place,
        /// The path as it is written.
        name: String,
        /// The paths most like it.
        nearest: Vec<String>,
    },
}

impl ProgramError {
    /// Returns the error's stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownSite { .. } => "E104",
            Self::UnsetVariable { .. } => "E105",
            Self::UnknownBarrier { .. } => "E106",
            Self::UnknownGiven { .. } => "E107",
            Self::TooDeep { .. } => "E100",
            Self::TooLarge { .. } => "E101",
            Self::UnknownModule { .. } => "E102",
            Self::Impossible { .. } => "E108",
            Self::Shape { .. } => "E109",
            Self::Order { .. } => "E119",
        }
    }
}

/// Where in a program something stands: in its file, or if nobody said, among its steps.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// The program's file.
    pub file: Option<Box<str>>,
    /// The step's line in it.
    pub line: Option<u32>,
    /// The number of the step, from 1, counted through all bodies as they are written.
    pub step: u32,
    /// The mediator whose program it is, where that has a name.
    pub mediator: Option<Box<str>>,
}

/// Where a check of a program is: it comes to the steps as they are written.
pub(super) struct Cursor<'p> {
    file: Option<&'p str>,
    line: Option<u32>,
    step: u32,
    mediator: Option<&'p str>,
}

impl<'p> Cursor<'p> {
    /// Begins before the first step of the program of a mediator.
    pub(super) fn of(program: &'p Program, mediator: Option<&'p str>) -> Self {
        Self {
            file: program.file.as_deref(),
            line: None,
            step: 0,
            mediator,
        }
    }

    /// Goes on to the next step.
    pub(super) const fn enter(&mut self, step: &Step) {
        self.step += 1;
        self.line = step.line;
    }

    pub(super) fn place(&self) -> Place {
        Place {
            file: self.file.map(Box::from),
            line: self.line,
            step: self.step,
            mediator: self.mediator.map(Box::from),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line}"),
            (None, Some(line)) => write!(f, "line {line}"),
            (Some(file), None) => write!(f, "{file}, step {}", self.step),
            (None, None) => write!(f, "step {}", self.step),
        }?;
        match &self.mediator {
            Some(mediator) => write!(f, ", mediator `{mediator}`"),
            None => Ok(()),
        }
    }
}

/// Why a program could not go on; like every fault, a `try` may catch it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
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
        place: &'static str,
        /// What it takes.
        expected: &'static str,
        /// What it was given.
        found: &'static str,
    },
    /// A value that cannot do what the expression asks of it.
    #[error("{place} is not possible: {misfit}")]
    Misfit {
        /// The expression.
        place: &'static str,
        /// What it takes, and what it was given.
        misfit: Misfit,
    },
    /// A span that does not lie in its dimension.
    #[error("the span `{span}` does not lie in dimension {dimension} of {shape:?}")]
    Span {
        /// The span.
        span: Span,
        /// The dimension.
        dimension: usize,
        /// The tensor's shape.
        shape: Vec<u64>,
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
        /// The last passing of its point.
        last: Option<String>,
    },
    /// A cache of modules that were passed before.
    #[error(
        "the cache comes too late for {passed}, which the model has passed by then, for `{reached}` has been asked for before \
         ({since}); declare it before the first request"
    )]
    LateCache {
        /// The points.
        passed: String,
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
    /// A replacement with which the model cannot go on.
    #[error(
        "skipping `{site}` with {found} in place of {expected} is not possible, because the model cannot go on: {reason}; put \
         out what the module does"
    )]
    Skip {
        /// The module's input.
        site: String,
        /// What the module puts out, for this mediator.
        expected: String,
        /// What the replacement is.
        found: String,
        /// Why the model cannot go on.
        reason: String,
    },
    /// A skip by some of the invokes that share a batch.
    #[error(
        "`{site}` is skipped here, but never by {others}; invokes that share a batch skip a module together or not at all"
    )]
    PartialSkip {
        /// The module's input.
        site: String,
        /// Those who do not skip it.
        others: String,
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

/// What `interloom explain` says about programs.
pub(crate) const CODES: &[Code] = &[
    Code::new(
        "E100",
        "a program goes too deep",
        AtFault::Misuse,
        "Steps stand inside one another in `try`, `if` and loops, expressions inside other expressions. Both are limited, so \
         that every program that is accepted can be written to JSON and read again. Name inner values with `let`.",
    ),
    Code::new(
        "E101",
        "a program is too large",
        AtFault::Misuse,
        "The number of steps and expressions of one program is limited. Split it into several mediators, or write the \
         intervention as an async closure.",
    ),
    Code::new(
        "E102",
        "a program calls a module that the model does not have",
        AtFault::Misuse,
        "A program may call a module on a value, outside the module's place in the model. The message names the nearest \
         paths; a path is the chain of field names that leads to a module.",
    ),
    Code::new(
        "E103",
        "a program cannot go on",
        AtFault::Mediator,
        "A step or expression of a program cannot do what it says: a variable has no value on the path that was taken, \
         shapes do not go together, a span lies outside its tensor, or a list stands where a tensor is needed. The message \
         says which. A `try` around the step catches this as it catches a refused request.",
    ),
    Code::new(
        "E104",
        "a program names a site that the model does not have",
        AtFault::Misuse,
        "A program is checked against the model's sites before the run. The message names the step and the nearest sites. \
         `interloom sites --model MODEL` lists all of them.",
    ),
    Code::new(
        "E105",
        "a program uses a variable before it has a value",
        AtFault::Misuse,
        "No step that can come before this one gives the variable a value, or catches an error under that name. A variable \
         that has a value on some paths only passes this check; if the other path is taken, the program fails with E103.",
    ),
    Code::new(
        "E106",
        "a program waits at a barrier that the run does not have",
        AtFault::Misuse,
        "A barrier is declared for a run, with the number of its participants, before the run starts. Declare this one, or \
         correct the name.",
    ),
    Code::new(
        "E107",
        "a program needs a value that it is not given",
        AtFault::Misuse,
        "A program takes tensors from outside by name. Give the machine a value of this name, or correct the name.",
    ),
    Code::new(
        "E108",
        "a program has a step that cannot work",
        AtFault::Misuse,
        "Whichever way the run goes, it fails here at the latest: a number or a list stands where a value is needed, shapes \
         do not go together, a span lies outside its tensor, a module is called on what it does not take, or one is skipped \
         with what the model cannot go on with, a site is never passed, a cache comes after what it collects, or not all invokes skip a module. It was found from the shapes that the model's sites had in a pass without \
         mediators. A step inside a `try` is let through, for that would catch it; of one that a branch, a loop or a stop may \
         leave out there is a warning only.",
    ),
    Code::new(
        "E109",
        "a program writes another shape than the site has",
        AtFault::Misuse,
        "A swap keeps structure and shape of the mediator's rows: a tuple does not go where a tensor is, nor a tensor of \
         another shape. The message has both, as they follow from a pass without mediators. Slice or patch the value, or ask for a reshaping write if the mediator owns the whole batch and the model \
         can take the other shape.",
    ),
    Code::new(
        "E119",
        "a program asks for sites in another order than the model passes them",
        AtFault::Misuse,
        "The model passes its sites in one order, and a value that was passed is gone. When the later of the two sites has been \
         served, the earlier one would be refused with E002, so that the run would fail. Ask for the earlier one first, and keep \
         its value in a variable. A `try` around the request lets it through, for that would catch the refusal.",
    ),
];

fn instead(last: &Option<String>) -> String {
    match last {
        Some(last) => format!(", and `{last}` is the last of its passings; ask for that"),
        None => "; check that the module is called".to_owned(),
    }
}

fn or_nearest(none: &str, names: &[String]) -> String {
    if names.is_empty() {
        return none.to_owned();
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("nearest: {}", quoted.join(", "))
}
