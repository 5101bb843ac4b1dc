//! Why a mediator's request was refused, or why the mediator failed.

mod program;

use serde::{Deserialize, Serialize};

pub(crate) use self::program::CODES as PROGRAM_CODES;
pub use self::program::ProgramFault;
use crate::code::{AtFault, Code};
use crate::tree::{NoLeaf, Tree};
use crate::value::Misfit;

/// How many names a message lists.
const NAMES_MAX: usize = 8;

/// The reason for a refused request or a failed mediator.
///
/// A refusal is delivered to the mediator, which may catch it and continue. A fault that leaves the
/// mediator is an EXCEPTION and fails the run. It is a pointer wide, because every answer to a
/// request has room for one.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize, thiserror::Error)]
#[serde(transparent)]
#[error("{0}")]
pub struct Fault(Box<FaultKind>);

impl Fault {
    /// Makes the mediator's own error from anything that can be shown.
    pub fn raise(reason: impl std::fmt::Display) -> Self {
        FaultKind::Raised(reason.to_string()).into()
    }

    /// Returns whether the run declares no further step for a loop without an upper bound.
    pub fn is_beyond_steps(&self) -> bool {
        matches!(self.kind(), FaultKind::BeyondSteps { .. })
    }

    /// Returns what was asked for if the model finished without passing it.
    pub(crate) fn not_provided(&self) -> Option<&str> {
        match self.kind() {
            FaultKind::NotProvided { asked, .. } => Some(asked),
            _ => None,
        }
    }

    /// Returns what happened.
    pub fn kind(&self) -> &FaultKind {
        &self.0
    }

    /// Returns what happened, by value.
    pub fn into_kind(self) -> FaultKind {
        *self.0
    }

    /// Returns the fault's stable code.
    pub fn code(&self) -> &'static str {
        self.0.code()
    }
}

impl From<FaultKind> for Fault {
    fn from(kind: FaultKind) -> Self {
        Self(Box::new(kind))
    }
}

impl From<ProgramFault> for Fault {
    fn from(fault: ProgramFault) -> Self {
        FaultKind::Program(fault).into()
    }
}

impl From<Misfit> for Fault {
    fn from(misfit: Misfit) -> Self {
        FaultKind::Type(misfit).into()
    }
}

/// The kind of a [`Fault`], with its particulars.
///
/// It serialises as its code and its particulars by name, so that a journal has what happened and
/// every reader makes a sentence of it: `{"E002": {"asked": "embed.output.i0", "at":
/// "head.input.i0"}}`.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize, thiserror::Error)]
#[non_exhaustive]
pub enum FaultKind {
    /// The model has no such site.
    ///
    /// Code `E001`, explained in `docs/errors/E001.md`.
    #[error("the model has no site `{asked}`; {}", nearest_sites(.nearest))]
    #[serde(rename = "E001")]
    UnknownSite {
        /// The name as it was asked for.
        asked: String,
        /// The names most like it.
        nearest: Vec<String>,
    },
    /// The site was passed before it was asked for.
    ///
    /// Code `E002`, explained in `docs/errors/E002.md`.
    #[error(
        "`{asked}` was already passed when it was asked for{}; ask for it before you ask for a later site, or keep \
         the value when it passes",
        at_hand(.at)
    )]
    #[serde(rename = "E002")]
    OutOfOrder {
        /// The site that was asked for.
        asked: String,
        /// The site at hand, if the model was at one.
        at: Option<String>,
    },
    /// The model finished without passing the site.
    ///
    /// Code `E003`, explained in `docs/errors/E003.md`.
    #[error("{} `{asked}`{}; {}", not_passed(.stopped_by), stopped(.stopped_by), passed_sites(.hint))]
    #[serde(rename = "E003")]
    NotProvided {
        /// The site that was asked for.
        asked: String,
        /// The mediator that stopped the run, and the site at which it did; no site if the model
        /// had not started.
        stopped_by: Option<(String, Option<String>)>,
        /// What the model did pass: the iterations of this point, or the nearest sites.
        hint: Vec<String>,
    },
    /// A replacement does not have the kind and shape of the rows that it replaces.
    ///
    /// Code `E004`, explained in `docs/errors/E004.md`.
    #[error(
        "the replacement for `{site}` does not fit: {misfit}; a swap keeps kind and shape, a mediator that owns the \
         whole batch may ask for a reshaping swap"
    )]
    #[serde(rename = "E004")]
    Misfit {
        /// The site.
        site: String,
        /// Both shapes.
        misfit: Misfit,
    },
    /// A skip was asked for at something that is not a module's input.
    ///
    /// Code `E005`, explained in `docs/errors/E005.md`.
    #[error("`{site}` cannot be skipped; a module is skipped at its input, such as `{example}`")]
    #[serde(rename = "E005")]
    NotSkippable {
        /// The site.
        site: String,
        /// A site that can be skipped.
        example: String,
    },
    /// A swap of the shape, or of a function, by a mediator that shares the batch.
    ///
    /// Code `E006`, explained in `docs/errors/E006.md`.
    #[error(
        "the swap at `{site}` concerns the whole batch, of which this mediator owns {rows} of {batch} rows; keep the \
         shape, or the function, or run the intervention alone"
    )]
    #[serde(rename = "E006")]
    NotOwner {
        /// The site.
        site: String,
        /// The mediator's rows.
        rows: u32,
        /// The batch.
        batch: u32,
    },
    /// A value is not of the type that the mediator takes it for.
    ///
    /// Code `E007`, explained in `docs/errors/E007.md`.
    #[error("the value is not what was asked for: {0}; check the site's kind and rank")]
    #[serde(rename = "E007")]
    Type(Misfit),
    /// An async mediator awaited something that is not Interloom's.
    ///
    /// Code `E008`, explained in `docs/errors/E008.md`.
    #[error(
        "the mediator awaits a future that is not Interloom's; only the requests of its own context may be awaited, \
         for nothing else could be replayed; do the waiting before the run, and hand in the result"
    )]
    #[serde(rename = "E008")]
    ForeignAwait,
    /// A mediator made a second request before the first was answered.
    ///
    /// Code `E009`, explained in `docs/errors/E009.md`.
    #[error(
        "the mediator made a second request while one was outstanding; await each request before the next"
    )]
    #[serde(rename = "E009")]
    SecondRequest,
    /// A mediator's context was used after its run, or while another mediator ran.
    ///
    /// Code `E010`, explained in `docs/errors/E010.md`.
    #[error(
        "the context's own mediator does not run now; a context makes requests only while it does, and the body of a \
         loop has a context of its own"
    )]
    #[serde(rename = "E010")]
    Closed,
    /// A mediator panicked.
    ///
    /// Code `E011`, explained in `docs/errors/E011.md`.
    #[error("the mediator panicked: {0}")]
    #[serde(rename = "E011")]
    Panicked(String),
    /// A mediator asked for one site without end.
    ///
    /// Code `E012`, explained in `docs/errors/E012.md`.
    #[error(
        "the mediator made {limit} requests without leaving one site; it would never let the model go on"
    )]
    #[serde(rename = "E012")]
    Restless {
        /// The limit.
        limit: u32,
    },
    /// A fault in a record of a later version of Interloom, which this version does not know.
    ///
    /// Code `E018`, explained in `docs/errors/E018.md`.
    #[error(
        "fault {code}, which this version does not know, with {particulars}; replay it with the version that recorded it"
    )]
    #[serde(skip)]
    Unknown {
        /// Its code in the record.
        code: String,
        /// Its particulars.
        particulars: Tree<NoLeaf>,
    },
    /// The mediator's own error.
    ///
    /// Code `E013`, explained in `docs/errors/E013.md`.
    #[error("{0}")]
    #[serde(rename = "E013")]
    Raised(String),
    /// A loop without an upper bound would go beyond the steps that the run declares.
    ///
    /// Code `E014`, explained in `docs/errors/E014.md`.
    #[error(
        "iteration {iteration} is beyond the {steps} steps that the run declares, at which a loop without an upper \
         bound ends"
    )]
    #[serde(rename = "E014")]
    BeyondSteps {
        /// The iteration that was asked for.
        iteration: u32,
        /// The run's number of steps.
        steps: u32,
    },
    /// The run declares no such barrier.
    ///
    /// Code `E015`, explained in `docs/errors/E015.md`.
    #[error("the run has no barrier `{asked}`; {}", nearest_barriers(.nearest))]
    #[serde(rename = "E015")]
    UnknownBarrier {
        /// The name as it was asked for.
        asked: String,
        /// The names most like it.
        nearest: Vec<String>,
    },
    /// The blackboard has no such name yet.
    ///
    /// Code `E016`, explained in `docs/errors/E016.md`.
    #[error("nothing is on the blackboard by the name `{asked}` yet; {}", names_there(.there))]
    #[serde(rename = "E016")]
    NotShared {
        /// The name that was asked for.
        asked: String,
        /// The names that there are, in alphabetical order.
        there: Vec<String>,
    },
    /// A cache was declared when the model had passed some of its modules.
    ///
    /// Code `E017`, explained in `docs/errors/E017.md`.
    #[error(
        "the cache comes too late for {}, which the model has passed; declare it before the mediator's first request",
        and_more(.passed)
    )]
    #[serde(rename = "E017")]
    LateCache {
        /// The points, such as `layers.3.output`.
        passed: Vec<String>,
    },
    /// The gradient that was asked for does not come.
    ///
    /// Code `E054`, explained in `docs/errors/E054.md`.
    #[error("there is no gradient `{asked}`: {why}")]
    #[serde(rename = "E054")]
    NoGradient {
        /// The site that was asked for.
        asked: String,
        /// Why.
        why: NoGradient,
    },
    /// What a mediator wants to differentiate is no loss.
    ///
    /// Code `E055`, explained in `docs/errors/E055.md`.
    #[error(
        "the loss for the backward pass at `{at}` cannot be differentiated: {misfit}; reduce it to one float element, \
         by a sum or a mean"
    )]
    #[serde(rename = "E055")]
    Loss {
        /// The site at hand.
        at: String,
        /// What was expected and found.
        misfit: Misfit,
    },
    /// A backward pass was asked for where none can begin.
    ///
    /// Code `E056`, explained in `docs/errors/E056.md`.
    #[error("no backward pass can begin {}; ask for it at a site of the forward pass", place(.at))]
    #[serde(rename = "E056")]
    NoBackward {
        /// The gradient's site at hand; `None` before the model started and after it finished.
        at: Option<String>,
    },
    /// A parameter was asked for as if it passed like a value.
    ///
    /// Code `E075`, explained in `docs/errors/E075.md`.
    #[error(
        "`{asked}` is a parameter, which passes no site: there is only its gradient, `{gradient}`, at the end of a \
         backward pass; read its value from the model"
    )]
    #[serde(rename = "E075")]
    NoValue {
        /// The name as it was asked for.
        asked: String,
        /// The gradient's.
        gradient: String,
    },
    /// A mediator that is a program cannot continue.
    ///
    /// Code `E103`, explained in `docs/errors/E103.md`.
    #[error("{0}")]
    #[serde(rename = "E103")]
    Program(#[from] ProgramFault),
}

impl FaultKind {
    /// Returns the stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownSite { .. } => "E001",
            Self::OutOfOrder { .. } => "E002",
            Self::NotProvided { .. } => "E003",
            Self::Misfit { .. } => "E004",
            Self::NotSkippable { .. } => "E005",
            Self::NotOwner { .. } => "E006",
            Self::Type(_) => "E007",
            Self::ForeignAwait => "E008",
            Self::SecondRequest => "E009",
            Self::Closed => "E010",
            Self::Panicked(_) => "E011",
            Self::Restless { .. } => "E012",
            Self::Raised(_) => "E013",
            Self::BeyondSteps { .. } => "E014",
            Self::UnknownBarrier { .. } => "E015",
            Self::NotShared { .. } => "E016",
            Self::LateCache { .. } => "E017",
            Self::Unknown { .. } => "E018",
            Self::NoGradient { .. } => "E054",
            Self::Loss { .. } => "E055",
            Self::NoBackward { .. } => "E056",
            Self::NoValue { .. } => "E075",
            Self::Program(_) => "E103",
        }
    }
}

/// The codes of the faults of mediators.
pub(crate) const CODES: &[Code] = &[
    Code::new("E001", "the model has no such site", AtFault::Misuse),
    Code::new("E002", "the site was already passed", AtFault::Mediator),
    Code::new(
        "E003",
        "the model finished without passing the site",
        AtFault::Mediator,
    ),
    Code::new("E004", "a replacement does not fit", AtFault::Mediator),
    Code::new("E005", "this site cannot be skipped", AtFault::Mediator),
    Code::new(
        "E006",
        "a reshaping swap needs the whole batch",
        AtFault::Mediator,
    ),
    Code::new(
        "E007",
        "a value is not of the type that was asked for",
        AtFault::Mediator,
    ),
    Code::new("E008", "a foreign future was awaited", AtFault::Mediator),
    Code::new("E009", "two requests at once", AtFault::Mediator),
    Code::new(
        "E010",
        "the context's mediator does not run",
        AtFault::Mediator,
    ),
    Code::new("E011", "a mediator panicked", AtFault::Mediator),
    Code::new("E012", "a mediator never leaves a site", AtFault::Mediator),
    Code::new(
        "E013",
        "a mediator failed with an error of its own",
        AtFault::Mediator,
    ),
    Code::new(
        "E014",
        "an iteration is beyond the run's steps",
        AtFault::Misuse,
    ),
    Code::new("E015", "the run has no such barrier", AtFault::Misuse),
    Code::new(
        "E016",
        "nothing is on the blackboard by that name",
        AtFault::Mediator,
    ),
    Code::new("E017", "a cache comes too late", AtFault::Mediator),
    Code::new(
        "E018",
        "a fault that this version does not know",
        AtFault::Mediator,
    ),
];

/// Why a gradient does not come.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize, thiserror::Error)]
#[serde(rename_all = "lowercase")]
pub enum NoGradient {
    /// The run does not declare that it may be asked for, so that its value has no hook.
    #[error(
        "it is not declared, and the value passes without a hook for it; declare it before the run, as in \
         `run.mediator(..).gradients([\"layers.0\"])`"
    )]
    Undeclared,
    /// The run had no backward pass.
    #[error(
        "the run had no backward pass; ask for one with `cx.backward(loss)`, in a program `backward LOSS`, or call `backward` inside of the run"
    )]
    NoPass,
    /// No loss depends on its value.
    #[error(
        "no backward pass reached it, because the loss does not depend on its value or that has no graph; check the loss, \
         and that the model is on an autodiff device"
    )]
    Unreached,
}

fn place(at: &Option<String>) -> String {
    match at {
        Some(at) => format!("at `{at}`, within another one"),
        None => "before the model has started or after it has finished".to_owned(),
    }
}

fn nearest_sites(names: &[String]) -> String {
    match names {
        [] => "it has no sites at all, was it bound?".to_owned(),
        names => format!("nearest: {}", quoted(names)),
    }
}

fn nearest_barriers(names: &[String]) -> String {
    match names {
        [] => "it declares none at all".to_owned(),
        names => format!("nearest: {}", quoted(names)),
    }
}

fn names_there(names: &[String]) -> String {
    match names {
        [] => "there is nothing at all".to_owned(),
        names => format!("there is {}", and_more(names)),
    }
}

fn and_more(names: &[String]) -> String {
    let (named, rest) = names.split_at(names.len().min(NAMES_MAX));
    match rest.len() {
        0 => quoted(named),
        more => format!("{} and {more} more", quoted(named)),
    }
}

fn passed_sites(names: &[String]) -> String {
    match names {
        [] => "check that the module is called in this run".to_owned(),
        names => format!(
            "passed in this run: {}; ask for a site that the model passes, or catch the refusal",
            quoted(names)
        ),
    }
}

fn at_hand(at: &Option<String>) -> String {
    match at {
        Some(at) => format!(", with the model at `{at}`"),
        None => String::new(),
    }
}

fn not_passed(stopped_by: &Option<(String, Option<String>)>) -> &'static str {
    match stopped_by {
        Some(_) => "the run ended without passing",
        None => "the model finished without passing",
    }
}

fn stopped(by: &Option<(String, Option<String>)>) -> String {
    match by {
        Some((name, Some(site))) => format!(", for mediator `{name}` stopped it at `{site}`"),
        Some((name, None)) => {
            format!(", for mediator `{name}` stopped it before the model started")
        }
        None => String::new(),
    }
}

fn quoted(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
