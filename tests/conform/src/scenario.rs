//! Scenarios as they are written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::user::{Collects, check};

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

/// What has no place in a comparison.
#[derive(Debug, PartialEq)]
pub(crate) enum Unsupported {
    /// Something that is not compared.
    Outside(&'static str),
    /// A step or an expression that the format does not have.
    Unknown(String),
}

impl From<String> for Unsupported {
    fn from(what: String) -> Self {
        Self::Unknown(what)
    }
}

/// One run, with the edits of its model.
pub(crate) struct Plan<'s> {
    /// The bodies, edits first, in definition order.
    pub(crate) parts: Vec<Part<'s>>,
    pub(crate) barriers: &'s BTreeMap<String, u32>,
    /// What the run itself collects.
    pub(crate) caches: Vec<(&'s str, Collects)>,
    /// How many tokens are generated, if the run is a generation.
    pub(crate) tokens: Option<u32>,
}

/// What one mediator does.
pub(crate) struct Part<'s> {
    /// The name of its input; none for one without rows.
    pub(crate) input: Option<&'s str>,
    /// Whether it belongs to the model.
    pub(crate) is_edit: bool,
    pub(crate) steps: &'s [RawStep],
}

impl Scenario {
    /// Returns the runs.
    ///
    /// # Errors
    ///
    /// What the format does not have, or what is about gradients.
    pub(crate) fn plans(&self) -> Result<Vec<Plan<'_>>, Unsupported> {
        let mut models = self.edited();
        self.traces
            .iter()
            .map(|run| {
                let edits = models.entry(&run.on).or_default();
                if run.clear_edits {
                    edits.clear();
                }
                let plan = run.plan(edits)?;
                plan.parts.iter().try_for_each(|part| check(part.steps))?;
                if plan.tokens.is_some() && self.has_gradients() {
                    return Err(Unsupported::Outside("a backward pass in a generation"));
                }
                Ok(plan)
            })
            .collect()
    }

    /// Returns whether a body asks for a backward pass.
    pub(crate) fn has_gradients(&self) -> bool {
        self.has_step(&|step| matches!(step, RawStep::Backward { .. }))
    }

    /// Returns the parameters whose gradients are saved, in the order of the model.
    pub(crate) fn parameters(&self) -> Vec<String> {
        let edits = self.edits.iter().map(|edit| &edit.steps[..]);
        let blocks = self.traces.iter().flat_map(Run::blocks);
        let bodies = edits.chain(blocks.map(|block| &block.steps[..]));
        let mut all: Vec<String> = bodies.flat_map(parameters).collect();
        all.sort_by_key(|path| parameter_place(path));
        all.dedup();
        all
    }

    /// The edits of each model: a copy begins with those that its original had by then.
    fn edited(&self) -> BTreeMap<&str, Vec<&Edit>> {
        let mut models: BTreeMap<&str, Vec<&Edit>> = BTreeMap::new();
        for edit in &self.edits {
            let own = models.get(edit.name.as_str()).cloned();
            let original = || models.get(edit.base.as_deref().unwrap_or("base")).cloned();
            let mut stack = own.or_else(original).unwrap_or_default();
            stack.push(edit);
            models.insert(&edit.name, stack);
        }
        models
    }

    /// Returns the names of the caches of its bodies.
    pub(crate) fn cache_names(&self) -> impl Iterator<Item = &str> {
        let edits = self.edits.iter().map(|edit| &edit.steps[..]);
        let blocks = self.traces.iter().flat_map(Run::blocks);
        let bodies = edits.chain(blocks.map(|block| &block.steps[..]));
        let mut names = Vec::new();
        bodies.for_each(|steps| add_caches(steps, &mut names));
        names.into_iter()
    }

    /// Returns whether a step is of this kind, wherever it stands.
    pub(crate) fn has_step(&self, is_it: &dyn Fn(&RawStep) -> bool) -> bool {
        let edits = self.edits.iter().map(|edit| &edit.steps[..]);
        let blocks = self.traces.iter().flat_map(Run::blocks);
        let mut bodies = edits.chain(blocks.map(|block| &block.steps[..]));
        bodies.any(|steps| has_step(steps, is_it))
    }
}

fn add_caches<'s>(steps: &'s [RawStep], names: &mut Vec<&'s str>) {
    for step in steps {
        names.extend(step.cache().map(|(name, _)| name));
        add_caches(step.body(), names);
    }
}

pub(crate) fn has_step(steps: &[RawStep], is_it: &dyn Fn(&RawStep) -> bool) -> bool {
    let mut steps = steps.iter();
    steps.any(|step| is_it(step) || has_step(step.body(), is_it))
}

/// Returns the parameters whose gradients a body saves, in the order of the model.
pub(crate) fn parameters(steps: &[RawStep]) -> Vec<String> {
    let mut all = Vec::new();
    add_parameters(steps, &mut all);
    all.sort_by_key(|path| parameter_place(path));
    all.dedup();
    all
}

fn add_parameters(steps: &[RawStep], all: &mut Vec<String>) {
    for step in steps {
        if let RawStep::SaveParamGrad { param, .. } = step {
            all.push(param.clone());
        }
        add_parameters(step.body(), all);
    }
}

/// Where a parameter stands among those of its model.
pub(crate) fn parameter_place(path: &str) -> (usize, String, bool) {
    let (module, name) = path.rsplit_once('.').unwrap_or(("", path));
    let stems = [
        "embed",
        "transformer.wte",
        "transformer.wpe",
        "layers",
        "cell",
        "transformer.h",
        "transformer.ln_f",
        "head",
        "lm_head",
        "unused",
    ];
    let is_in = |stem: &str| {
        let rest = module.strip_prefix(stem);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let place = stems.iter().position(|stem| is_in(stem));
    (
        place.unwrap_or(stems.len()),
        module.to_owned(),
        name == "bias",
    )
}

/// A mediator that belongs to a model.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Edit {
    /// The edited model: a copy, or the model itself if it is edited in place.
    pub(crate) name: String,
    /// The model that it is an edit of.
    pub(crate) base: Option<String>,
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

impl Run {
    pub(crate) fn blocks(&self) -> impl Iterator<Item = &RawBlock> {
        let invokes = self.invokes.iter().flatten();
        self.direct.iter().chain(invokes)
    }

    fn plan<'s>(&'s self, edits: &[&'s Edit]) -> Result<Plan<'s>, Unsupported> {
        let edits = edits.iter().map(|edit| Part {
            input: None,
            is_edit: true,
            steps: &edit.steps,
        });
        let blocks = self.blocks().map(|block| Part {
            input: block.input.as_deref(),
            is_edit: false,
            steps: &block.steps,
        });
        let generate = self.blocks().find_map(|block| block.generate.as_ref());
        let caches = self.pre.iter().map(|step| match step.cache() {
            Some(cache) => Ok(cache),
            None => Err(format!("{step:?} before the invokes")),
        });
        Ok(Plan {
            parts: edits.chain(blocks).collect(),
            barriers: &self.barriers,
            caches: caches.collect::<Result<_, _>>()?,
            tokens: generate.map(|generate| generate.max_new_tokens),
        })
    }
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
    /// A backward pass from a loss, and what is done in it.
    Backward {
        of: Value,
        body: Vec<RawStep>,
    },
    /// The gradient of what a name stands for, which is saved.
    ReadGrad {
        var: String,
        r#as: String,
    },
    WriteGrad {
        var: String,
        expr: Value,
    },
    /// The gradient of a parameter, after a backward pass.
    SaveParamGrad {
        param: String,
        r#as: String,
    },
}

impl RawStep {
    /// The steps inside this one.
    pub(crate) fn body(&self) -> &[Self] {
        match self {
            Self::Try { body, .. }
            | Self::Iter { body, .. }
            | Self::IfEq { body, .. }
            | Self::Backward { body, .. } => body,
            _ => &[],
        }
    }

    /// The name of a cache, and what it collects.
    pub(crate) fn cache(&self) -> Option<(&str, Collects)> {
        match self {
            Self::Cache {
                r#as,
                modules,
                include_output,
                include_inputs,
            } => {
                let collects = Collects {
                    modules: modules.clone(),
                    inputs: *include_inputs,
                    outputs: *include_output,
                };
                Some((r#as, collects))
            }
            _ => None,
        }
    }

    /// What this step computes, if it does.
    pub(crate) fn expr(&self) -> Option<&Value> {
        match self {
            Self::Write { expr, .. }
            | Self::Let { expr, .. }
            | Self::Skip { expr, .. }
            | Self::Append { expr, .. }
            | Self::WriteGrad { expr, .. }
            | Self::Backward { of: expr, .. } => Some(expr),
            _ => None,
        }
    }
}

/// The reference's caches collect outputs by default.
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
