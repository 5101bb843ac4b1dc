//! Why a mediator's request was refused, or why the mediator failed.

use crate::code::{AtFault, Code};
use crate::program::ProgramFault;
use crate::value::Misfit;

/// How many names a message lists.
const NAMES_MAX: usize = 8;

/// The reason for a refused request or a failed mediator.
///
/// A refusal is delivered to the mediator, which may catch it and go on. A fault that leaves the mediator is an
/// EXCEPTION and fails the run. It is a pointer wide, because every answer to a request has room for one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(Box<FaultKind>);

impl Fault {
    /// Makes the mediator's own error from anything that can be shown.
    pub fn raise(reason: impl std::fmt::Display) -> Self {
        FaultKind::Raised(reason.to_string()).into()
    }

    /// Makes the fault that a record has, so that a mediator can be told of it again.
    ///
    /// Its particulars are gone but for its code and its message.
    pub fn recorded(code: &str, message: impl Into<String>) -> Self {
        let known = crate::error::codes().find(|known| known.code == code);
        FaultKind::Recorded {
            code: known.map_or("E018", |known| known.code),
            message: message.into(),
        }
        .into()
    }

    /// Returns whether the run declares no further step for a loop without an upper bound.
    pub(crate) fn is_beyond_steps(&self) -> bool {
        self.code() == "E014"
    }

    /// Returns what was asked for if the model finished without passing it.
    pub(crate) fn not_provided(&self) -> Option<&str> {
        match self.kind() {
            FaultKind::NotProvided { asked, .. } => Some(asked),
            FaultKind::Recorded {
                code: "E003",
                message,
            } => Some(message),
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

/// What happened that made a [`Fault`], with its particulars.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultKind {
    /// The model has no such site.
    #[error("the model has no site `{asked}`; {}", nearest_sites(.nearest))]
    UnknownSite {
        /// The name as it was asked for.
        asked: String,
        /// The names most like it.
        nearest: Vec<String>,
    },
    /// The site was passed before it was asked for.
    #[error(
        "`{asked}` was already passed when it was asked for{}; ask for it before you ask for a later site, or keep \
         the value when it passes",
        at_hand(.at)
    )]
    OutOfOrder {
        /// The site that was asked for.
        asked: String,
        /// The site at hand, if the model was at one.
        at: Option<String>,
    },
    /// The model finished without passing the site.
    #[error("{} `{asked}`{}; {}", not_passed(.stopped_by), stopped(.stopped_by), passed_sites(.hint))]
    NotProvided {
        /// The site that was asked for.
        asked: String,
        /// The mediator that stopped the run, and the site at which it did; no site if the model had not started.
        stopped_by: Option<(String, Option<String>)>,
        /// What the model did pass: the iterations of this point, or the nearest sites.
        hint: Vec<String>,
    },
    /// A replacement does not have the kind and shape of the rows that it replaces.
    #[error(
        "the replacement for `{site}` does not fit: {misfit}; a swap keeps kind and shape, a mediator that owns the \
         whole batch may ask for a reshaping swap"
    )]
    Misfit {
        /// The site.
        site: String,
        /// Both shapes.
        misfit: Misfit,
    },
    /// A skip was asked for at something that is not a module's input.
    #[error("`{site}` cannot be skipped; a module is skipped at its input, such as `{example}`")]
    NotSkippable {
        /// The site.
        site: String,
        /// A site that can be skipped.
        example: String,
    },
    /// A reshaping swap by a mediator that shares the batch.
    #[error(
        "the swap at `{site}` may not change the shape: this mediator owns {rows} of {batch} rows of the batch; keep \
         the shape, or run the intervention alone"
    )]
    NotOwner {
        /// The site.
        site: String,
        /// The mediator's rows.
        rows: u32,
        /// The batch.
        batch: u32,
    },
    /// A value is not of the type that the mediator takes it for.
    #[error("the value is not what was asked for: {0}; check the site's kind and rank")]
    Type(Misfit),
    /// An async mediator awaited something that is not Interloom's.
    #[error(
        "the mediator awaits a future that is not Interloom's; only the requests of its own context may be awaited, \
         for nothing else could be replayed; do the waiting before the run, and hand in the result"
    )]
    ForeignAwait,
    /// A mediator made a second request before the first was answered.
    #[error(
        "the mediator made a second request while one was outstanding; await each request before the next"
    )]
    SecondRequest,
    /// A mediator's context was used after its run, or while another mediator ran.
    #[error(
        "the context's own mediator does not run now; a context makes requests only while it does, and the body of a \
         loop has a context of its own"
    )]
    Closed,
    /// A mediator panicked.
    #[error("the mediator panicked: {0}")]
    Panicked(String),
    /// A mediator asked for one site without end.
    #[error(
        "the mediator made {limit} requests without leaving one site; it would never let the model go on"
    )]
    Restless {
        /// The limit.
        limit: u32,
    },
    /// A fault of an earlier run, of which a record has no more than this.
    #[error("{message}")]
    Recorded {
        /// Its code.
        code: &'static str,
        /// Its message.
        message: String,
    },
    /// The mediator's own error.
    #[error("{0}")]
    Raised(String),
    /// A loop without an upper bound would go beyond the steps that the run declares.
    #[error(
        "iteration {iteration} is beyond the {steps} steps that the run declares, at which a loop without an upper \
         bound ends"
    )]
    BeyondSteps {
        /// The iteration that was asked for.
        iteration: u32,
        /// The run's number of steps.
        steps: u32,
    },
    /// The run declares no such barrier.
    #[error("the run has no barrier `{asked}`; {}", nearest_barriers(.nearest))]
    UnknownBarrier {
        /// The name as it was asked for.
        asked: String,
        /// The names most like it.
        nearest: Vec<String>,
    },
    /// The blackboard has no such name yet.
    #[error("nothing is on the blackboard by the name `{asked}` yet; {}", names_there(.there))]
    NotShared {
        /// The name that was asked for.
        asked: String,
        /// The names that there are, in alphabetical order.
        there: Vec<String>,
    },
    /// A cache was declared when the model had passed some of its modules.
    #[error(
        "the cache comes too late for {}, which the model has passed; declare it before the mediator's first request",
        and_more(.passed)
    )]
    LateCache {
        /// The points, such as `layers.3.output`.
        passed: Vec<String>,
    },
    /// A mediator that is a program cannot go on.
    #[error("{0}")]
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
            Self::Recorded { code, .. } => code,
            Self::Program(_) => "E103",
        }
    }
}

/// What `interloom explain` says about the faults of mediators.
pub(crate) const CODES: &[Code] = &[
    Code {
        code: "E001",
        title: "the model has no such site",
        at_fault: AtFault::Misuse,
        explanation: "A mediator asked for a site that the model does not have. The message names the nearest sites. \
             A path is the chain of field names that leads to a module (`layers.3.attn`), followed by a port (`input`, \
             `output`). `interloom sites --model MODEL` lists all of them, with their TransformerLens names.",
    },
    Code {
        code: "E002",
        title: "the site was already passed",
        at_fault: AtFault::Mediator,
        explanation: "Values can be read and replaced only while the model passes them, and the model passes each site \
             once an iteration. The mediator asked for a site after the model had gone on. Ask for sites in the order in \
             which the model passes them, or keep an earlier value in a variable. The fault is delivered to the mediator, \
             which may catch it and go on.",
    },
    Code {
        code: "E003",
        title: "the model finished without passing the site",
        at_fault: AtFault::Mediator,
        explanation: "A mediator still waited for a site when the model had finished. The module was not called in this \
             run, or not so often, or it lies inside a module that was skipped, or another mediator stopped the run before \
             it. The message names who stopped, or which iterations there were.",
    },
    Code {
        code: "E004",
        title: "a replacement does not fit",
        at_fault: AtFault::Mediator,
        explanation: "A swap must have the kind (float, int, bool) and the shape of the rows that it replaces. Both are \
             in the message. A mediator that owns the whole batch can change the shape with a reshaping swap \
             (`cx.reshape`); what the model makes of it is then its own affair.",
    },
    Code {
        code: "E005",
        title: "this site cannot be skipped",
        at_fault: AtFault::Mediator,
        explanation: "A skip says: do not compute this module, use this value as its output. It is asked for at the \
             module's input. Taps inside a module and operations have no computation of their own to skip; swap them instead.",
    },
    Code {
        code: "E006",
        title: "a reshaping swap needs the whole batch",
        at_fault: AtFault::Mediator,
        explanation: "Another invoke has rows in this batch, so that the shape of its rows cannot change under it. Run the \
             intervention alone, or keep the shape.",
    },
    Code {
        code: "E007",
        title: "a value is not of the type that was asked for",
        at_fault: AtFault::Mediator,
        explanation: "A mediator took a value for a tensor of another kind or rank than it has, or for a tensor where it is \
             a tuple. Kind and rank are checked whenever an erased value becomes a typed one.",
    },
    Code {
        code: "E008",
        title: "a foreign future was awaited",
        at_fault: AtFault::Mediator,
        explanation: "An async mediator awaited a timer, a channel, a task or another future that the interleaver knows \
             nothing of. What such a future returns, and when, could not be replayed; so it fails at once instead of hanging. \
             Do the waiting before the run, and hand the result to the mediator.",
    },
    Code {
        code: "E009",
        title: "two requests at once",
        at_fault: AtFault::Mediator,
        explanation: "A mediator has at most one outstanding request. Await each request before making the next; two \
             independent wishes are two mediators.",
    },
    Code {
        code: "E010",
        title: "the context's mediator does not run",
        at_fault: AtFault::Mediator,
        explanation: "A context was kept beyond its mediator, or used while another mediator ran: in the body of a loop, say, \
             which has a context of its own. Values may be kept; contexts may not.",
    },
    Code {
        code: "E011",
        title: "a mediator panicked",
        at_fault: AtFault::Mediator,
        explanation: "The user's code panicked. The panic is caught at the mediator, which fails with the panic's message; \
             the model can be run again at once.",
    },
    Code {
        code: "E012",
        title: "a mediator never leaves a site",
        at_fault: AtFault::Mediator,
        explanation: "A mediator made a very large number of requests at one site, or after the model had finished, most \
             likely in an endless loop. It is failed so that the run ends.",
    },
    Code {
        code: "E013",
        title: "a mediator failed with an error of its own",
        at_fault: AtFault::Mediator,
        explanation: "The user's code returned an error, whose text is the message. The report names the mediator, the site \
             at which it stood and the line of its last request.",
    },
    Code {
        code: "E014",
        title: "an iteration is beyond the run's steps",
        at_fault: AtFault::Misuse,
        explanation: "The run declares how many steps it has, and a loop without an upper bound (`3..`, or all) ends with the \
             last of them. This loop begins after it, and runs nothing. `for_each` takes it as the loop's end; a hand-written \
             machine is told.",
    },
    Code {
        code: "E015",
        title: "the run has no such barrier",
        at_fault: AtFault::Misuse,
        explanation: "A barrier is declared on the run, with the number of its participants, before a mediator can arrive at \
             it: how many have to come cannot be known otherwise. The message names the nearest ones.",
    },
    Code {
        code: "E016",
        title: "nothing is on the blackboard by that name",
        at_fault: AtFault::Mediator,
        explanation: "Mediators share named values through the run's blackboard, and a name can be read once somebody has put \
             a value there. Mediators run in definition order at each site; let the reader wait for a later site than the \
             writer, or meet at a barrier first. The message names what is there.",
    },
    Code {
        code: "E017",
        title: "a cache comes too late",
        at_fault: AtFault::Mediator,
        explanation: "A cache collects from its declaration on, and the model had already passed the modules that the message \
             names. Declare it before the mediator's first request, or on the run itself.",
    },
    Code {
        code: "E018",
        title: "a fault that this version does not know",
        at_fault: AtFault::Mediator,
        explanation: "A journal was replayed whose mediators were refused something for a reason that a later version of \
             Interloom has, and this one has not. The message is that of the recording. Replay it with that version.",
    },
];

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

pub(crate) fn and_more(names: &[String]) -> String {
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
