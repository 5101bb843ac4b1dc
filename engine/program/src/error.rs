//! Why a program cannot be run, or cannot continue.

use interloom_engine::{AtFault, Code, ProgramFault};

use crate::check::{BODIES_MAX, DEPTH_MAX, SIZE_MAX};
use crate::step::{Program, ProgramStep};

/// An error of a program, found before it is run.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// The model has no such site.
    ///
    /// Code `E104`, explained in `docs/errors/E104.md`.
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
    ///
    /// Code `E105`, explained in `docs/errors/E105.md`.
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
    ///
    /// Code `E106`, explained in `docs/errors/E106.md`.
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
    ///
    /// Code `E107`, explained in `docs/errors/E107.md`.
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
    ///
    /// Code `E100`, explained in `docs/errors/E100.md`.
    #[error(
        "{at}: the program goes too deep here; at most {BODIES_MAX} bodies stand inside one another, and at most \
         {DEPTH_MAX} expressions; give an inner value a name with `let`"
    )]
    TooDeep {
        /// Where in the program.
        at: Place,
    },
    /// There are too many steps and expressions.
    ///
    /// Code `E101`, explained in `docs/errors/E101.md`.
    #[error(
        "{at}: the program is too large; it may have {SIZE_MAX} steps and expressions together"
    )]
    TooLarge {
        /// Where the limit was reached.
        at: Place,
    },
    /// A step that fails whichever way the run goes.
    ///
    /// Code `E108`, explained in `docs/errors/E108.md`.
    #[error("{at}: {fault}")]
    Impossible {
        /// Where in the program.
        at: Place,
        /// Why.
        fault: Box<ProgramFault>,
    },
    /// A write of another shape than the site has.
    ///
    /// Code `E109`, explained in `docs/errors/E109.md`.
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
    ///
    /// Code `E119`, explained in `docs/errors/E119.md`.
    #[error(
        "{at}: `{asked}` is asked for after {reached} ({since}), but the model passes it before; ask for it first, and \
         keep the value if it is needed later"
    )]
    Order {
        /// Where in the program.
        at: Place,
        /// The site that is asked for too late.
        asked: String,
        /// What the program has asked for before, in words: a later site, or all of one in a loop.
        reached: String,
        /// Where it has.
        since: Box<Place>,
    },
    /// The model has no such module, and the run is supplied with none of the name.
    ///
    /// Code `E102`, explained in `docs/errors/E102.md`.
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

/// A place in a program: a line of its file or, if that is not known, the number of a step.
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
pub(crate) struct Cursor<'p> {
    file: Option<&'p str>,
    line: Option<u32>,
    step: u32,
    mediator: Option<&'p str>,
}

impl<'p> Cursor<'p> {
    /// Begins before the first step of the program of a mediator.
    pub(crate) fn of(program: &'p Program, mediator: Option<&'p str>) -> Self {
        Self {
            file: program.file.as_deref(),
            line: None,
            step: 0,
            mediator,
        }
    }

    /// Goes on to the next step.
    pub(crate) const fn enter(&mut self, step: &ProgramStep) {
        self.step += 1;
        self.line = step.line;
    }

    pub(crate) fn place(&self) -> Place {
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

/// The codes of programs that are refused before a run.
pub(crate) const CODES: &[Code] = &[
    Code::new("E100", "a program goes too deep", AtFault::Misuse),
    Code::new("E101", "a program is too large", AtFault::Misuse),
    Code::new(
        "E102",
        "a program calls a module that the model does not have",
        AtFault::Misuse,
    ),
    Code::new(
        "E104",
        "a program names a site that the model does not have",
        AtFault::Misuse,
    ),
    Code::new(
        "E105",
        "a program uses a variable before it has a value",
        AtFault::Misuse,
    ),
    Code::new(
        "E106",
        "a program waits at a barrier that the run does not have",
        AtFault::Misuse,
    ),
    Code::new(
        "E107",
        "a program needs a value that it is not given",
        AtFault::Misuse,
    ),
    Code::new(
        "E108",
        "a program has a step that cannot work",
        AtFault::Misuse,
    ),
    Code::new(
        "E109",
        "a program writes another shape than the site has",
        AtFault::Misuse,
    ),
    Code::new(
        "E119",
        "a program asks for sites in another order than the model passes them",
        AtFault::Misuse,
    ),
];

fn or_nearest(none: &str, names: &[String]) -> String {
    if names.is_empty() {
        return none.to_owned();
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("nearest: {}", quoted.join(", "))
}
