//! Programs and their steps.

use std::collections::BTreeSet;

use interloom_engine::{CacheSpec, Iterations};
use serde::{Deserialize, Serialize};

use crate::expr::{Condition, Expr};
use crate::nesting::limit;

/// A mediator as data.
///
/// In JSON it looks like this; every format of serde's has the same structure:
///
/// ```
/// # use interloom_program::{var, Program};
/// let text = r#"{
///   "file": "ablate.json",
///   "steps": [
///     { "action": { "let": { "variable": "h", "value": { "read": "layers.1.output" } } }, "line": 3 },
///     { "action": { "write": { "site": "layers.1.output", "value": { "mul": [{ "var": "h" }, { "number": 0.0 }] } } } }
///   ]
/// }"#;
/// let program: Program = serde_json::from_str(text).unwrap();
/// let built = Program::new()
///     .in_file("ablate.json")
///     .line(3)
///     .read("layers.1.output", "h")
///     .write("layers.1.output", var("h") * 0.0);
/// assert_eq!(program, built);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// What the program does, in order.
    pub steps: Vec<ProgramStep>,
    /// The file that the lines of the steps are counted in, as the user named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line that the builder gives to the next step.
    #[serde(skip)]
    pub(crate) next_line: Option<u32>,
}

impl Program {
    /// Iterates over what the steps do, in the order in which they are written: what stands in the
    /// bodies of a step follows it.
    ///
    /// ```
    /// use interloom_program::{Action, Program};
    ///
    /// let body = Program::new().read("layers.0.output", "h").save("h");
    /// let program = Program::new().each(2.., "i", body).save("i");
    /// let saves = program.actions().filter(|action| matches!(action, Action::Save { .. }));
    /// assert_eq!((program.actions().count(), saves.count()), (4, 2));
    /// ```
    pub fn actions(&self) -> impl Iterator<Item = &Action> {
        let mut rest = vec![self.steps.iter()];
        std::iter::from_fn(move || {
            loop {
                let Some(step) = rest.last_mut()?.next() else {
                    rest.pop();
                    continue;
                };
                let bodies = step.action.bodies().into_iter().rev();
                rest.extend(bodies.map(<[ProgramStep]>::iter));
                return Some(&step.action);
            }
        })
    }

    /// Returns the names of the caches that are no variables, too.
    pub fn caches(&self) -> BTreeSet<String> {
        let name = |action: &Action| match action {
            Action::Cache { name, .. } => Some(name.clone()),
            _ => None,
        };
        let mut names: BTreeSet<String> = self.actions().filter_map(name).collect();
        for action in self.actions() {
            match action {
                Action::Let { variable, .. }
                | Action::List { variable }
                | Action::Each { variable, .. } => drop(names.remove(variable)),
                _ => {}
            }
        }
        names
    }
}

/// One step of a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct ProgramStep {
    /// What the step does.
    pub action: Action,
    /// Where it stands in the program's file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

limit!(ProgramStep);

impl From<Action> for ProgramStep {
    fn from(action: Action) -> Self {
        Self { action, line: None }
    }
}

/// The action of a step.
///
/// Expressions are evaluated before anything else, so that the reads inside them are exchanged
/// before the step's own request is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Action {
    /// Gives a variable a value.
    Let {
        /// The variable's name.
        variable: String,
        /// The value.
        value: Expr,
    },
    /// Keeps the present value of a variable as a result of the run; a saved list keeps growing.
    Save {
        /// The variable's name, and the result's.
        variable: String,
    },
    /// SWAP: replaces the value at a site.
    Write {
        /// The site, such as `layers.1.output`, with or without an iteration (`.i2`).
        site: String,
        /// The replacement: the mediator's rows.
        value: Expr,
        /// Whether the shape may change, for a mediator that owns the whole batch.
        #[serde(default)]
        reshape: bool,
    },
    /// SKIP: does not compute a module.
    Skip {
        /// The module's input, such as `layers.1.input`.
        site: String,
        /// What the module returns instead: the mediator's rows.
        value: Expr,
    },
    /// STOP: ends the model's run here, normally, and this mediator.
    Stop,
    /// Fails with the program's own error.
    Raise {
        /// What went wrong.
        message: String,
    },
    /// Runs steps, and continues after them also if a request was refused or something else failed.
    Try {
        /// The steps.
        body: Vec<ProgramStep>,
        /// The name under which the error is kept, if there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// Runs some steps if a condition holds, and others if it does not.
    If {
        /// The condition.
        condition: Condition,
        /// The steps if it holds.
        then: Vec<ProgramStep>,
        /// The steps if it does not.
        #[serde(default)]
        otherwise: Vec<ProgramStep>,
    },
    /// Makes an empty list.
    List {
        /// The variable's name.
        variable: String,
    },
    /// Adds a value to the end of a list: one that the program has made, or one that it got.
    ///
    /// Lists are values: a copy that was taken before, from the blackboard or as an item of another
    /// list, does not grow.
    Append {
        /// The list's variable.
        list: String,
        /// The value, which may itself be a list.
        value: Expr,
    },
    /// Runs steps once for each iteration of a loop, as a child of the mediator (REGISTER).
    ///
    /// Sites without an iteration are then those of the loop's iteration. A fault that leaves the
    /// body fails the mediator, also where the loop stands in a `try`; a `try` inside the body
    /// catches it.
    Each {
        /// The iterations.
        iterations: Over,
        /// The variable that holds the number of the iteration.
        variable: String,
        /// The steps.
        body: Vec<ProgramStep>,
    },
    /// Advances the mediator's own iteration.
    Next {
        /// By how many iterations.
        by: u32,
    },
    /// BARRIER: waits for the other participants.
    Barrier {
        /// The barrier's name, as the run declares it.
        name: String,
    },
    /// PUT: puts a value on the run's blackboard.
    Put {
        /// The value's name.
        name: String,
        /// The value.
        value: Expr,
    },
    /// BACKWARD: asks for a backward pass, once all mediators are done with the site at hand.
    ///
    /// The steps after it ask for gradients at their own sites (`layers.1.output.grad`), those of
    /// later values first.
    Backward {
        /// The loss, of one element.
        loss: Expr,
    },
    /// Collects what modules receive or return, from here on.
    Cache {
        /// The name of the cache among the results.
        name: String,
        /// The paths of the modules; none is all of them.
        #[serde(default)]
        modules: Option<Vec<String>>,
        /// Which side of them.
        #[serde(default)]
        side: Side,
        /// Whether the gradients of what is collected are collected, too.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        gradients: bool,
    },
    /// Notes in the results that the program got here.
    Mark {
        /// The note.
        text: String,
    },
}

/// The bodies of a step, borrowed as the step is.
macro_rules! bodies {
    ($action:expr) => {
        match $action {
            Self::Try { body, .. } | Self::Each { body, .. } => vec![body],
            Self::If {
                then, otherwise, ..
            } => vec![then, otherwise],
            Self::Let { .. }
            | Self::Save { .. }
            | Self::Write { .. }
            | Self::Skip { .. }
            | Self::Stop
            | Self::Raise { .. }
            | Self::List { .. }
            | Self::Append { .. }
            | Self::Next { .. }
            | Self::Barrier { .. }
            | Self::Put { .. }
            | Self::Backward { .. }
            | Self::Cache { .. }
            | Self::Mark { .. } => Vec::new(),
        }
    };
}

/// The values of a step, borrowed as the step is.
macro_rules! values {
    ($action:expr, $values:ident) => {
        match $action {
            Self::Let { value, .. }
            | Self::Write { value, .. }
            | Self::Skip { value, .. }
            | Self::Append { value, .. }
            | Self::Put { value, .. }
            | Self::Backward { loss: value } => vec![value],
            Self::If { condition, .. } => condition.$values(),
            Self::Save { .. }
            | Self::Stop
            | Self::Raise { .. }
            | Self::Try { .. }
            | Self::List { .. }
            | Self::Each { .. }
            | Self::Next { .. }
            | Self::Barrier { .. }
            | Self::Cache { .. }
            | Self::Mark { .. } => Vec::new(),
        }
    };
}

impl Action {
    /// Returns the lists of steps directly inside this one: none for most, two for an `if`.
    pub fn bodies(&self) -> Vec<&[ProgramStep]> {
        bodies!(self)
    }

    /// Returns the lists of steps directly inside this one, to be changed.
    pub fn bodies_mut(&mut self) -> Vec<&mut [ProgramStep]> {
        bodies!(self)
    }

    /// Returns the values that this step has itself, and those of its condition, in the order in
    /// which they are evaluated; those of its bodies are not among them.
    pub fn values(&self) -> Vec<&Expr> {
        values!(self, values)
    }

    /// Returns the values that this step has itself, as [`values`](Self::values) does, to be
    /// changed.
    pub fn values_mut(&mut self) -> Vec<&mut Expr> {
        values!(self, values_mut)
    }
}

/// The iterations of a loop, as data; see [`Iterations`].
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Over {
    /// From `start` to before `end`.
    Slice {
        /// The first iteration; none is the mediator's own.
        #[serde(default)]
        start: Option<u32>,
        /// The iteration after the last; none is as long as there are any.
        #[serde(default)]
        end: Option<u32>,
    },
    /// These iterations, which are taken in ascending order.
    List(Vec<u32>),
    /// One iteration.
    One(u32),
}

impl Over {
    /// Every iteration from the mediator's own on.
    pub const ALL: Self = Self::Slice {
        start: None,
        end: None,
    };

    /// Returns the iterations for a loop of mediators.
    pub fn iterations(&self) -> Iterations {
        match self {
            Self::Slice {
                start: Some(start),
                end: Some(end),
            } => (*start..*end).into(),
            Self::Slice {
                start: Some(start),
                end: None,
            } => (*start..).into(),
            Self::Slice {
                start: None,
                end: Some(end),
            } => (..*end).into(),
            Self::Slice {
                start: None,
                end: None,
            } => Iterations::all(),
            Self::List(list) => list.clone().into(),
            Self::One(iteration) => (*iteration).into(),
        }
    }
}

impl From<u32> for Over {
    fn from(iteration: u32) -> Self {
        Self::One(iteration)
    }
}

impl From<Vec<u32>> for Over {
    fn from(list: Vec<u32>) -> Self {
        Self::List(list)
    }
}

impl<const N: usize> From<[u32; N]> for Over {
    fn from(list: [u32; N]) -> Self {
        Self::List(list.to_vec())
    }
}

impl From<std::ops::Range<u32>> for Over {
    fn from(range: std::ops::Range<u32>) -> Self {
        Self::Slice {
            start: Some(range.start),
            end: Some(range.end),
        }
    }
}

impl From<std::ops::RangeFrom<u32>> for Over {
    fn from(range: std::ops::RangeFrom<u32>) -> Self {
        Self::Slice {
            start: Some(range.start),
            end: None,
        }
    }
}

impl From<std::ops::RangeTo<u32>> for Over {
    fn from(range: std::ops::RangeTo<u32>) -> Self {
        Self::Slice {
            start: None,
            end: Some(range.end),
        }
    }
}

impl From<std::ops::RangeFull> for Over {
    fn from(_: std::ops::RangeFull) -> Self {
        Self::ALL
    }
}

/// The side of its modules that a cache collects.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The inputs.
    Inputs,
    /// The outputs.
    #[default]
    Outputs,
    /// Both.
    Both,
}

impl Side {
    pub(crate) fn of(self, modules: Option<&[String]>, gradients: bool) -> CacheSpec {
        let spec = match modules {
            Some(modules) => CacheSpec::of(modules),
            None => CacheSpec::all(),
        };
        let spec = match self {
            Self::Inputs => spec.inputs(),
            Self::Outputs => spec,
            Self::Both => spec.both(),
        };
        if gradients { spec.gradients() } else { spec }
    }
}
