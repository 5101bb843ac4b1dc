//! Errors of models and runs.

use serde::Serialize;

use interloom_engine::{Asker, AtFault, Audit, Code, Fault, Misfit, Origin, RunError};

/// A model that cannot be bound or used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Two hooked modules have one path.
    ///
    /// Code `E030`, explained in `docs/errors/E030.md`.
    #[error("two hooked modules have the path `{path}`; wrap a module in `Hooked` once only")]
    SharedPath {
        /// The path.
        path: String,
    },
    /// Nothing in the model is hooked.
    ///
    /// Code `E031`, explained in `docs/errors/E031.md`.
    #[error("the model has no sites; wrap the modules that you want to reach in `Hooked`")]
    NoSites,
    /// A point that the model does not have.
    ///
    /// Code `E032`, explained in `docs/errors/E032.md`.
    #[error("the model has no point `{asked}`; nearest: {}", .nearest.join(", "))]
    UnknownPoint {
        /// The name as it was given.
        asked: String,
        /// The names most like it.
        nearest: Vec<String>,
    },
    /// The input of a model does not fit its configuration.
    ///
    /// Code `E033`, explained in `docs/errors/E033.md`.
    #[error("the input does not fit the model: {what}; {instead}")]
    Input {
        /// What was found.
        what: String,
        /// What to do.
        instead: String,
    },
    /// More tokens than are taken of a model that could take them.
    ///
    /// Code `E139`, explained in `docs/errors/E139.md`.
    #[error(
        "{tokens} tokens, and Interloom's own limit is {limit}, although the model has {positions} positions; shorten the prompt, or \
         set another limit: `positions = {tokens}` in an experiment file, `LanguageModel::limit_positions`"
    )]
    Limit {
        /// The tokens of the prompt, with those to be generated.
        tokens: usize,
        /// The limit.
        limit: usize,
        /// How many the model could take.
        positions: usize,
    },
    /// A device that this build or machine does not have.
    ///
    /// Code `E034`, explained in `docs/errors/E034.md`.
    #[error("no device `{asked}`: {reason}")]
    Device {
        /// The device as it was asked for.
        asked: String,
        /// Why there is none, and what to do.
        reason: String,
    },
}

impl ModelError {
    /// Returns the error's stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::SharedPath { .. } => "E030",
            Self::NoSites => "E031",
            Self::UnknownPoint { .. } => "E032",
            Self::Input { .. } => "E033",
            Self::Limit { .. } => "E139",
            Self::Device { .. } => "E034",
        }
    }
}

/// A run of a model that failed.
///
/// It serialises as its code and its particulars by name; lines of source and audits are left out.
#[derive(Clone, Debug, Serialize, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// The run failed.
    #[error("{error}")]
    #[serde(rename = "run")]
    Run {
        /// Why.
        error: Box<RunError>,
        /// What each mediator asked for and got.
        #[serde(skip)]
        audit: Audit,
    },
    /// The model finished without passing a single site of the run.
    #[error("the run passed no site: {why}{}", because(.error))]
    #[serde(rename = "unreached")]
    Unreached {
        /// Which hooks were called instead.
        why: Unreached,
        /// How the run failed for it; nothing if it has only caches, which would be empty.
        error: Option<Box<RunError>>,
        /// What each mediator asked for and got.
        #[serde(skip)]
        audit: Audit,
    },
    /// A value that a mediator put in cannot be used by the model.
    ///
    /// Code `E035`, explained in `docs/errors/E035.md`.
    #[error("the model cannot go on at `{site}` with what {} put there: {misfit}{}", whoever(.by), as_before(.by))]
    #[serde(rename = "E035")]
    Unusable {
        /// The point.
        site: String,
        /// Both types.
        misfit: Misfit,
        /// Who put it there: the last mediator that changed what passes in a way that shapes may
        /// change; nothing in a record.
        #[serde(skip)]
        by: Option<Box<Asker>>,
    },
    /// The rows of the invokes are not those of the model's input.
    ///
    /// Code `E029`, explained in `docs/errors/E029.md`.
    #[error(
        "the invokes have {declared} rows together, and no tensor of the model's input, {input}, has as many; give each \
         invoke as many rows as it has in the batch, or declare which tensors carry rows (`Sites::with_rows`)"
    )]
    #[serde(rename = "E029")]
    Rows {
        /// The rows of the invokes.
        declared: u32,
        /// The model's input: its types and shapes.
        input: String,
    },
    /// The model itself panicked.
    ///
    /// Code `E036`, explained in `docs/errors/E036.md`.
    #[error(
        "the model panicked{}: {message}{}{}",
        at_site(.after),
        emptiness(.empty_input),
        suspect(.changed)
    )]
    #[serde(rename = "E036")]
    ModelPanicked {
        /// The panic's message.
        message: String,
        /// The last site that a mediator was served at.
        after: Option<String>,
        /// The model's input, its types and shapes, if a tensor of it has no elements.
        empty_input: Option<String>,
        /// Who last changed what passes in a way that shapes may change, or else what passes at
        /// all; nothing in a record.
        #[serde(skip)]
        changed: Option<Box<Asker>>,
    },
    /// The output of a run was asked for, and it has none.
    ///
    /// Code `E019`, explained in `docs/errors/E019.md`.
    #[error(
        "the run has no output: {because}; look at `Ran::output`, which says so without an error"
    )]
    #[serde(rename = "E019")]
    NoOutput {
        /// Why.
        because: String,
    },
    /// The program is built so that it cannot unwind.
    ///
    /// Code `E037`, explained in `docs/errors/E037.md`.
    #[error(
        "runs need unwinding, and this program is built with `panic = \"abort\"`; remove that from its profile"
    )]
    #[serde(rename = "E037")]
    PanicAbort,
    /// A backward pass within the run failed.
    ///
    /// Code `E058`, explained in `docs/errors/E058.md`.
    #[error("the backward pass{} failed: {why}", at_site(.after))]
    #[serde(rename = "E058")]
    Backward {
        /// The last site that was passed before.
        after: Option<String>,
        /// Why.
        why: BackwardFailure,
    },
    /// An operation cannot call what a mediator has put at its `fn`.
    ///
    /// Code `E059`, explained in `docs/errors/E059.md`.
    #[error("the operation at `{site}` cannot call `{function}`, which {} put there: {why}", whoever(.by))]
    #[serde(rename = "E059")]
    Call {
        /// The point.
        site: String,
        /// The name that was put there.
        function: String,
        /// Why not.
        why: CallFailure,
        /// Who put it there; nothing in a record.
        #[serde(skip)]
        by: Option<Box<Asker>>,
    },
    /// The run disappeared from its thread.
    ///
    /// Code `E038`, explained in `docs/errors/E038.md`.
    #[error(
        "the model moved its run to another place, or panicked inside the interleaver; run it on one thread"
    )]
    #[serde(rename = "E038")]
    Lost,
    /// The rows of the batch are padded otherwise than the run was told.
    ///
    /// Code `E138`, explained in `docs/errors/E138.md`.
    #[error(
        "the run was told of a batch of {declared}, and its model is called with one of {found}; make a run of its own for each \
         batch, and tell it of that (`run.padding(batch.padding())`) or of none"
    )]
    #[serde(rename = "E138")]
    Padding {
        /// The rows that the run knows.
        declared: String,
        /// Those that the model is called with.
        found: String,
    },
    /// A batch cannot be padded as is said.
    ///
    /// Code `E142`, explained in `docs/errors/E142.md`.
    #[error(
        "expected a batch of {}, found {}; give a run the padding of its own batch (`run.padding(batch.padding())`), and its \
         mediators the rows of that batch", .0.expected, .0.found
    )]
    #[serde(rename = "E142")]
    Unpaddable(Misfit),
    /// A run that shares with the one before it was not like that one.
    ///
    /// Code `E039`, explained in `docs/errors/E039.md`.
    #[error(
        "the mediators that are there for `{site}` are not those of the run before, although the orders were the same up to it; \
         mediators that take anything from outside of their run cannot be explored"
    )]
    #[serde(rename = "E039")]
    Unsteady {
        /// The point.
        site: String,
    },
}

/// Why an operation cannot call a function.
#[derive(Clone, Debug, Serialize, thiserror::Error)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum CallFailure {
    /// The run has no function of the name.
    #[error(
        "the run has no function of this name; nearest: {}; give it the function (`Run::function`), whose name alone a          journal has, or the model's modules (`Run::modules`)",
        .nearest.join(", ")
    )]
    Unknown {
        /// The names most like it.
        nearest: Vec<String>,
    },
    /// The function failed.
    #[error("it failed: {fault}")]
    Failed {
        /// With what.
        fault: Fault,
    },
}

/// Why a model has passed no site of a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Unreached {
    /// The model that was called is not bound.
    ///
    /// Code `E051`, explained in `docs/errors/E051.md`.
    #[error(
        "the hooks that were called in it ({calls}) are of a model that is not bound; bind the model \
         that you call (`Sites::bind(&model)`), and make the run of these sites"
    )]
    Unbound {
        /// How many calls of its hooked modules and taps there were.
        calls: u64,
    },
    /// The model that was called is bound, and these are not its sites.
    ///
    /// Code `E052`, explained in `docs/errors/E052.md`.
    #[error(
        "the hooks that were called in it ({calls}) are of another binding than its sites: of another \
         model, or of this one before it was bound again; make the run of the sites of the model that \
         you call, and bind a model once"
    )]
    Elsewhere {
        /// How many calls of its hooked modules and taps there were.
        calls: u64,
    },
    /// No hook was called on the thread of the run.
    ///
    /// Code `E053`, explained in `docs/errors/E053.md`.
    #[error(
        "no hook was called on its thread; call the model inside of the run, on the same thread, and \
         its modules through their hooks"
    )]
    Nowhere,
}

/// Why a backward pass failed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "lowercase")]
pub enum BackwardFailure {
    /// The loss belongs to no graph.
    #[error(
        "the loss belongs to no graph; put the model on an autodiff device (`device.autodiff()`), and compute the loss \
         from what it passes, without detaching it"
    )]
    NoGraph,
    /// Burn's `backward` was called where the run does not see it begin.
    #[error(
        "`loss.backward()` was called in a run that hooks gradients; call `interloom::backward(&loss)` in its place, \
         which does the same and lets the run see the pass begin and end"
    )]
    Unseen,
    /// A backward pass was asked for within another one.
    #[error("it was asked for within another one; let that one end first")]
    Nested,
    /// A journal stands in for mediators that replaced a value, and the graph ends there.
    #[error(
        "{} not the recorded one: mediator `{mediator}` replaced `{site}` before the pass, and the journal has the replacement \
         without the graph that it was computed in, so that no gradient flows through it; whether the model differs as well \
         cannot be told. Verify or serve the journal, which have the mediators live, or let a mediator ask for the pass \
         (`cx.backward`), which a drive takes from the journal",
        missed(.gradient)
    )]
    Severed {
        /// The first gradient that is another, or does not come.
        gradient: Option<String>,
        /// The last value that was replaced before the pass.
        site: String,
        /// Who replaced it.
        mediator: String,
    },
    /// A mediator may ask for the gradient of a parameter, which the run was not shown.
    #[error(
        "the gradient of the parameter `{0}` may be asked for, and the run does not know the parameter; show it the model \
         that is differentiated (`run.parameters(&model)`)"
    )]
    Parameter(String),
    /// Burn panicked, as it does when a graph is used up.
    #[error(
        "burn panicked: {0}; a graph is differentiated once, so add losses of one forward pass up before, or compute \
         the forward pass again"
    )]
    Burn(String),
}

impl Unreached {
    /// Returns the stable code of a run that passed no site for this reason.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unbound { .. } => "E051",
            Self::Elsewhere { .. } => "E052",
            Self::Nowhere => "E053",
        }
    }
}

impl From<RunError> for ForwardError {
    /// A run that could not even start.
    fn from(error: RunError) -> Self {
        Self::Run {
            error: Box::new(error),
            audit: Audit::default(),
        }
    }
}

impl ForwardError {
    /// Returns the error as records have it, without the places of requests in the user's source: a
    /// line that has moved is no other error.
    pub fn without_origins(&self) -> Self {
        let mut error = self.clone();
        // Of a run, a record has the faults that its mediators were given.
        if let Self::Unreached {
            error: Some(run),
            audit,
            ..
        } = error
        {
            error = Self::Run { error: run, audit };
        }
        match &mut error {
            Self::Run { error, .. } => **error = error.without_origins(),
            Self::Unusable { by: asker, .. }
            | Self::Call { by: asker, .. }
            | Self::ModelPanicked { changed: asker, .. } => {
                *asker = None;
            }
            _ => {}
        }
        error
    }

    /// Returns the error's stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Run { error, .. } => error.code(),
            Self::Unreached { why, .. } => why.code(),
            Self::Rows { .. } => "E029",
            Self::Unusable { .. } => "E035",
            Self::ModelPanicked { .. } => "E036",
            Self::PanicAbort => "E037",
            Self::Backward { .. } => "E058",
            Self::Call { .. } => "E059",
            Self::Lost => "E038",
            Self::Unsteady { .. } => "E039",
            Self::Padding { .. } => "E138",
            Self::Unpaddable(_) => "E142",
            Self::NoOutput { .. } => "E019",
        }
    }
}

/// The codes of models and their runs.
pub(crate) const CODES: &[Code] = &[
    Code::new("E019", "a run has no output", AtFault::Misuse),
    Code::new(
        "E029",
        "the rows of the invokes are not those of the batch",
        AtFault::Misuse,
    ),
    Code::new("E030", "two hooked modules have one path", AtFault::Misuse),
    Code::new("E031", "the model has no sites", AtFault::Misuse),
    Code::new("E032", "no such point", AtFault::Misuse),
    Code::new("E033", "the input does not fit the model", AtFault::Misuse),
    Code::new("E034", "no such device", AtFault::Environment),
    Code::new(
        "E035",
        "the model cannot use a replaced value",
        AtFault::Mediator,
    ),
    Code::new("E036", "the model panicked", AtFault::Model),
    Code::new("E037", "runs need unwinding", AtFault::Misuse),
    Code::new("E038", "the run was lost", AtFault::Misuse),
    Code::new(
        "E039",
        "a run is not like the one with which it shares",
        AtFault::Mediator,
    ),
    Code::new(
        "E051",
        "the run passed no site: the model is not bound",
        AtFault::Misuse,
    ),
    Code::new(
        "E052",
        "the run passed no site: the hooks are of another binding",
        AtFault::Misuse,
    ),
    Code::new(
        "E053",
        "the run passed no site: no hook was called on its thread",
        AtFault::Misuse,
    ),
    Code::new("E058", "a backward pass failed", AtFault::Misuse),
    Code::new(
        "E059",
        "an operation cannot call a function",
        AtFault::Mediator,
    ),
    Code::new("E139", "more tokens than Interloom takes", AtFault::Misuse),
    Code::new(
        "E138",
        "a batch is padded otherwise than its run knows",
        AtFault::Misuse,
    ),
    Code::new(
        "E142",
        "a padding is not that of a run's rows",
        AtFault::Misuse,
    ),
];

fn because(error: &Option<Box<RunError>>) -> String {
    error
        .as_ref()
        .map_or_else(String::new, |error| format!("; so {error}"))
}

fn at_site(site: &Option<String>) -> String {
    match site {
        Some(site) => format!(" after `{site}`"),
        None => String::new(),
    }
}

fn whoever(by: &Option<Box<Asker>>) -> String {
    match by {
        Some(asker) => format!("mediator `{}`{}", asker.mediator, line_of(&asker.origin)),
        None => "a mediator".to_owned(),
    }
}

fn missed(gradient: &Option<String>) -> String {
    match gradient {
        Some(gradient) => format!("the gradient `{gradient}` is"),
        None => "what it passes is".to_owned(),
    }
}

fn as_before(by: &Option<Box<Asker>>) -> &'static str {
    match by {
        Some(_) => "; put in what the model passes there",
        None => "",
    }
}

fn emptiness(input: &Option<String>) -> String {
    match input {
        Some(input) => format!(
            "; expected at least one row and one token in the model's input, found {input}: give it some"
        ),
        None => String::new(),
    }
}

fn suspect(changed: &Option<Box<Asker>>) -> String {
    let Some(asker) = changed else {
        return String::new();
    };
    let at = asker.at.as_deref().unwrap_or("no site");
    format!(
        "; before that, mediator `{}` changed what passes at `{at}`{}: look at its shape",
        asker.mediator,
        line_of(&asker.origin)
    )
}

fn line_of(origin: &Origin) -> String {
    match origin {
        Origin::Unknown => String::new(),
        origin => format!(" ({origin})"),
    }
}
