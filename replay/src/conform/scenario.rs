//! Scenarios as they are written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// One recorded scenario; its name is that of its folder.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Scenario {
    /// The model's name.
    pub(crate) model: String,
    /// Persistent edits, made before the runs.
    #[serde(default)]
    pub(crate) edits: Vec<Edit>,
    /// The runs.
    pub(crate) traces: Vec<Run>,
}

impl Scenario {
    /// The names of the caches of its blocks.
    pub(crate) fn cache_names(&self) -> Vec<String> {
        let edits = self.edits.iter().map(|edit| &edit.steps);
        let runs = self.traces.iter();
        let blocks = runs.flat_map(|run| run.direct.iter().chain(run.invokes.iter().flatten()));
        let mut names = Vec::new();
        for steps in edits.chain(blocks.map(|block| &block.steps)) {
            add_caches(steps, &mut names);
        }
        names
    }
}

fn add_caches(steps: &[RawStep], names: &mut Vec<String>) {
    for step in steps {
        if let RawStep::Cache { r#as, .. } = step {
            names.push(r#as.clone());
        }
        add_caches(step.body(), names);
    }
}

/// A mediator that belongs to a model.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Edit {
    /// The edited model: a copy, or the model itself if it is edited in place.
    pub(crate) name: String,
    /// The model that it is an edit of.
    pub(crate) on: Option<String>,
    /// What the edit does.
    pub(crate) steps: Vec<RawStep>,
}

/// A run as it is written.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Run {
    /// The model: `base`, or an edited one.
    pub(crate) on: String,
    /// The only invoke, or
    pub(crate) direct: Option<RawBlock>,
    /// several of them.
    pub(crate) invokes: Option<Vec<RawBlock>>,
    /// The barriers and the numbers of their participants.
    #[serde(default)]
    pub(crate) barriers: BTreeMap<String, u32>,
    /// Steps of the run itself.
    #[serde(default)]
    pub(crate) pre: Vec<RawStep>,
    /// Whether the model's edits are cleared first.
    #[serde(default)]
    pub(crate) clear_edits: bool,
}

/// An invoke as it is written.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct RawBlock {
    /// The name of its input; none for an invoke without rows.
    pub(crate) input: Option<String>,
    /// How tokens are generated, if they are.
    pub(crate) generate: Option<Generate>,
    /// What it does.
    pub(crate) steps: Vec<RawStep>,
    /// Whether it sees the whole batch beside edits, though it has rows of its own; never written.
    #[serde(skip)]
    pub(crate) sees_all: bool,
}

/// How tokens are generated: greedily, one after another.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Generate {
    /// How many.
    pub(crate) max_new_tokens: u32,
}

/// A step as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(crate) enum RawStep {
    Read {
        target: String,
        r#as: String,
        #[serde(default)]
        save: bool,
    },
    Write {
        target: String,
        expr: Value,
    },
    Let {
        r#as: String,
        expr: Value,
        #[serde(default)]
        save: bool,
    },
    Save {
        name: String,
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
        #[serde(default = "yes")]
        include_output: bool,
        #[serde(default)]
        include_inputs: bool,
    },
    InplaceFill {
        var: String,
        value: f64,
    },
    /// A backward pass.
    Backward {},
    /// A parameter's gradient.
    SaveParamGrad {},
}

impl RawStep {
    /// The steps inside this one.
    pub(crate) fn body(&self) -> &[Self] {
        match self {
            Self::Try { body, .. } | Self::Iter { body, .. } | Self::IfEq { body, .. } => body,
            _ => &[],
        }
    }

    /// What this step computes, if it does.
    pub(crate) fn expr(&self) -> Option<&Value> {
        match self {
            Self::Write { expr, .. }
            | Self::Let { expr, .. }
            | Self::Skip { expr, .. }
            | Self::Append { expr, .. } => Some(expr),
            _ => None,
        }
    }
}

/// The reference's caches collect outputs unless told otherwise.
const fn yes() -> bool {
    true
}

/// Iterations as they are written.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawIter {
    Slice(Option<u32>, Option<u32>),
    List(Vec<u32>),
    Int(u32),
}
