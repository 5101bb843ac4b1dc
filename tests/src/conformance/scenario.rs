//! Scenarios as they are written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// One recorded scenario.
#[derive(Debug, Deserialize)]
pub struct Scenario {
    /// Its name, which is that of its folder.
    pub id: String,
    /// The model's name.
    pub model: String,
    /// Persistent edits, made before the runs.
    pub edits: Vec<Edit>,
    /// The runs.
    pub traces: Vec<Run>,
}

/// A mediator that belongs to a model.
#[derive(Debug, Deserialize)]
pub struct Edit {
    /// The edited model.
    pub name: String,
    /// What the edit does.
    pub steps: Vec<RawStep>,
}

/// A run as it is written.
#[derive(Debug, Deserialize)]
pub struct Run {
    /// The model: `base`, or an edited one.
    pub on: String,
    /// The only invoke, or
    pub direct: Option<RawBlock>,
    /// several of them.
    pub invokes: Option<Vec<RawBlock>>,
    /// The barriers and the numbers of their participants.
    pub barriers: BTreeMap<String, u32>,
    /// Steps of the run itself.
    pub pre: Vec<RawStep>,
    /// Whether the model's edits are cleared first.
    #[serde(default)]
    pub clear_edits: bool,
}

/// An invoke as it is written.
#[derive(Debug, Deserialize)]
pub struct RawBlock {
    /// The name of its input; none for an invoke without rows.
    pub input: Option<String>,
    /// How tokens are generated, if they are.
    pub generate: Option<Value>,
    /// What it does.
    pub steps: Vec<RawStep>,
}

/// A step as it is written.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
#[allow(missing_docs)] // The README of the scenarios says what each is.
pub enum RawStep {
    Read {
        target: String,
        r#as: String,
        save: bool,
    },
    Write {
        target: String,
        expr: Value,
    },
    Let {
        r#as: String,
        expr: Value,
        save: bool,
    },
    Mark {
        text: String,
    },
    Raise {
        message: String,
    },
    Try {
        body: Vec<RawStep>,
        r#as: String,
    },
    Stop,
    Skip {
        module: String,
        expr: Value,
    },
    Barrier {
        name: String,
    },
    Iter {
        iter: RawIter,
        var: String,
        body: Vec<RawStep>,
    },
    Next {
        step: Option<u32>,
    },
    IfEq {
        var: String,
        value: f64,
        body: Vec<RawStep>,
    },
    List {
        r#as: String,
    },
    Append {
        list: String,
        expr: Value,
    },
    Cache {
        r#as: String,
        modules: Option<Vec<String>>,
        include_output: bool,
        include_inputs: bool,
    },
    InplaceFill {
        var: String,
        value: f64,
    },
    /// A step about gradients.
    #[serde(other)]
    Other,
}

/// Iterations as they are written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // As above.
pub enum RawIter {
    Slice(Option<u32>, Option<u32>),
    List(Vec<u32>),
    Int(u32),
}
