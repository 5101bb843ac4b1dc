//! Programs and their steps.

use serde::{Deserialize, Serialize};

use super::expr::{Condition, Expr};
use super::nesting::limit;

/// A mediator as data.
///
/// In JSON it looks like this; every format of serde's has the same structure:
///
/// ```
/// # use interloom_engine::program::{var, Program};
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
    pub steps: Vec<Step>,
    /// The file that the lines of the steps are counted in, as the user named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line that the builder gives to the next step.
    #[serde(skip)]
    pub(super) next_line: Option<u32>,
}

/// One step of a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct Step {
    /// What the step does.
    pub action: Action,
    /// Where it stands in the program's file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
}

limit!(Step);

impl From<Action> for Step {
    fn from(action: Action) -> Self {
        Self { action, line: None }
    }
}

/// What a step does.
///
/// Expressions are evaluated before anything else, so that the reads inside them are exchanged before the step's own
/// request is sent.
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
    /// Keeps the present value of a variable as a result of the run; a saved list goes on growing.
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
        /// What the module puts out instead: the mediator's rows.
        value: Expr,
    },
    /// STOP: ends the model's run here, normally, and this mediator.
    Stop,
    /// Fails with the program's own error.
    Raise {
        /// What went wrong.
        message: String,
    },
    /// Runs steps, and goes on after them also if a request was refused or something else failed.
    Try {
        /// The steps.
        body: Vec<Step>,
        /// The name under which the error is kept, if there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// Runs some steps if a condition holds, and others if it does not.
    If {
        /// The condition.
        condition: Condition,
        /// The steps if it holds.
        then: Vec<Step>,
        /// The steps if it does not.
        #[serde(default)]
        otherwise: Vec<Step>,
    },
    /// Makes an empty list.
    List {
        /// The variable's name.
        variable: String,
    },
    /// Adds a value to the end of a list.
    Append {
        /// The list's variable.
        list: String,
        /// The value, which is not itself a list.
        value: Expr,
    },
    /// Notes that the program got here, for whoever reads the results.
    Mark {
        /// The note.
        text: String,
    },
}
