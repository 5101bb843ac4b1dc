//! What can go wrong with models and runs.

use interloom_engine::{Asker, AtFault, Audit, Code, Misfit, Origin, RunError};

/// A model that cannot be bound or used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Two hooked modules have one path.
    #[error("two hooked modules have the path `{path}`; wrap a module in `Hooked` once only")]
    SharedPath {
        /// The path.
        path: String,
    },
    /// Nothing in the model is hooked.
    #[error("the model has no sites; wrap the modules that you want to reach in `Hooked`")]
    NoSites,
    /// A point that the model does not have.
    #[error("the model has no point `{asked}`; nearest: {}", .nearest.join(", "))]
    UnknownPoint {
        /// The name as it was given.
        asked: String,
        /// The names most like it.
        nearest: Vec<String>,
    },
    /// The input of a model does not fit its configuration.
    #[error("the input does not fit the model: {what}; {instead}")]
    Input {
        /// What was found.
        what: String,
        /// What to do.
        instead: String,
    },
    /// A device that this build or machine does not have.
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
            Self::Device { .. } => "E034",
        }
    }
}

/// A run of a model that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardError {
    /// The run failed.
    #[error("{error}")]
    Run {
        /// Why.
        error: Box<RunError>,
        /// What each mediator asked for and got.
        audit: Audit,
    },
    /// A value that a mediator put in cannot be used by the model.
    #[error("the model cannot go on at `{site}` with what {} put there: {misfit}{}", whoever(.by), as_before(.by))]
    Unusable {
        /// The point.
        site: String,
        /// Both types.
        misfit: Misfit,
        /// Who put it there: the last mediator that changed what passes in a way that shapes may change; nothing in a record.
        by: Option<Box<Asker>>,
    },
    /// The rows of the invokes are not those of the model's input.
    #[error(
        "the invokes have {declared} rows together, and no tensor of the model's input, {input}, has as many; give each \
         invoke as many rows as it has in the batch, or declare which tensors carry rows (`Bound::with_rows`)"
    )]
    Rows {
        /// The rows of the invokes.
        declared: u32,
        /// The model's input: its types and shapes.
        input: String,
    },
    /// The model itself panicked.
    #[error(
        "the model panicked{}: {message}{}{}",
        at_site(.after),
        emptiness(.empty_input),
        suspect(.changed)
    )]
    ModelPanicked {
        /// The panic's message.
        message: String,
        /// The last site that a mediator was served at.
        after: Option<String>,
        /// The model's input, its types and shapes, if a tensor of it has no elements.
        empty_input: Option<String>,
        /// Who last changed what passes in a way that shapes may change, or else what passes at all; nothing in a record.
        changed: Option<Box<Asker>>,
    },
    /// The program is built so that it cannot unwind.
    #[error(
        "runs need unwinding, and this program is built with `panic = \"abort\"`; remove that from its profile"
    )]
    PanicAbort,
    /// The run disappeared from its thread.
    #[error(
        "the model moved its run to another place, or panicked inside the interleaver; run it on one thread"
    )]
    Lost,
    /// A run that shares with the one before it was not like that one.
    #[error(
        "the mediators that are there for `{site}` are not those of the run before, although the orders were the same up to it; \
         mediators that take anything from outside of their run cannot be explored"
    )]
    Unsteady {
        /// The point.
        site: String,
    },
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
    /// Returns the error as records have it, without the places of requests in the user's source: a line that has moved is no
    /// other error.
    pub fn without_origins(&self) -> Self {
        let mut error = self.clone();
        match &mut error {
            Self::Run { error, .. } => **error = error.without_origins(),
            Self::Unusable { by: asker, .. } | Self::ModelPanicked { changed: asker, .. } => {
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
            Self::Rows { .. } => "E029",
            Self::Unusable { .. } => "E035",
            Self::ModelPanicked { .. } => "E036",
            Self::PanicAbort => "E037",
            Self::Lost => "E038",
            Self::Unsteady { .. } => "E039",
        }
    }
}

/// What `interloom explain` says about models and their runs.
pub(crate) const CODES: &[Code] = &[
    Code::new(
        "E029",
        "the rows of the invokes are not those of the batch",
        AtFault::Misuse,
        "Unless a model declares it, a tensor is taken to carry the rows of the batch if its dimension 0 is as long as the rows \
         of all invokes together. If no tensor of the model's own input is, every invoke would be given whole values. Give \
         each invoke the rows that it has, or declare the layout with `Bound::with_rows`.",
    ),
    Code::new(
        "E030",
        "two hooked modules have one path",
        AtFault::Misuse,
        "A `Hooked` adds no level to the module tree, so that a `Hooked<Hooked<M>>` would have its path twice. Wrap each \
         module once.",
    ),
    Code::new(
        "E031",
        "the model has no sites",
        AtFault::Misuse,
        "No module of the model is wrapped in `Hooked` and none is a `Tap`, so that there is nothing to intervene at.",
    ),
    Code::new(
        "E032",
        "no such point",
        AtFault::Misuse,
        "An alias or a row layout was declared for a point that the model does not have. The message names the nearest.",
    ),
    Code::new(
        "E033",
        "the input does not fit the model",
        AtFault::Misuse,
        "The tokens are too many for the model's positions, outside of its vocabulary, or none at all; or two prompts that \
         must have equal token counts have not.",
    ),
    Code::new(
        "E034",
        "no such device",
        AtFault::Environment,
        "The device is not known, not part of this build, or not present on this machine. `cpu` always works; `cuda` and \
         `cuda:1` need a build with the feature `cuda`, an NVIDIA GPU and its driver.",
    ),
    Code::new(
        "E035",
        "the model cannot use a replaced value",
        AtFault::Mediator,
        "A reshaping swap or a skip put a value at a site whose kind, rank or structure the model's code cannot take there, or \
         one without elements, which kernels must not be given. The message names the mediator, and the line of its request.",
    ),
    Code::new(
        "E036",
        "the model panicked",
        AtFault::Model,
        "The model's own code panicked, most often because shapes do not go together: look at what a mediator swapped in \
         before, and at the model's input; if a tensor of that has no elements (a prompt of no tokens, say), the message says so. It names the last mediator that may have changed a shape, with its line. The \
         mediators were cancelled; the model can be run again.",
    ),
    Code::new(
        "E037",
        "runs need unwinding",
        AtFault::Misuse,
        "A stop leaves the model's forward pass by unwinding. Build without `panic = \"abort\"`.",
    ),
    Code::new(
        "E038",
        "the run was lost",
        AtFault::Misuse,
        "The interleaver of a run is bound to the thread that executes it, and was not there any more when the model \
         returned.",
    ),
    Code::new(
        "E039",
        "a run is not like the one with which it shares",
        AtFault::Mediator,
        "What the runs of an exploration have in common is computed once. A mediator asked for something else than in the run \
         before, in the part that both have in common: it depends on something outside of its run, such as a counter or a \
         clock.",
    ),
];

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
