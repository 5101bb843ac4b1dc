//! From scenarios to programs.

mod company;
mod expr;
mod names;
mod steps;

use std::collections::BTreeMap;

use interloom_engine::CacheSpec;
use interloom_engine::program::{Program, Side};

use super::scenario::{Edit, RawBlock, RawStep, Run, Scenario};
use company::Company;
use names::Names;
use steps::Translator;

/// A run of several programs.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The programs, edits first, in definition order.
    pub(crate) blocks: Vec<Block>,
    /// The barriers and the numbers of their participants.
    pub(crate) barriers: BTreeMap<String, u32>,
    /// The caches of the whole run.
    pub(crate) caches: Vec<(String, CacheSpec)>,
    /// How many tokens are generated, if the run is a generation.
    pub(crate) tokens: Option<u32>,
}

/// A program with its input.
#[derive(Debug)]
pub(crate) struct Block {
    /// The name of the input; none for a block without rows.
    pub(crate) input: Option<String>,
    /// Whether it belongs to the model.
    pub(crate) is_edit: bool,
    /// Whether it sees the whole batch, though it has an input.
    pub(crate) is_whole: bool,
    /// What the block does.
    pub(crate) program: Program,
}

/// Why a scenario has no programs.
#[derive(Debug)]
pub(crate) enum Untranslated {
    /// A step is about gradients.
    Gradients,
    /// A step or an expression has no counterpart, and which.
    NoCounterpart(String),
}

impl From<String> for Untranslated {
    fn from(what: String) -> Self {
        Self::NoCounterpart(what)
    }
}

/// Makes programs of a scenario; `by_name` says at which paths the input is a tuple of the arguments by place and a map of
/// those by name.
///
/// A name that one body gives a value and another uses is shared over the blackboard.
///
/// # Errors
///
/// The step or expression that has no counterpart.
pub(crate) fn translate(
    scenario: &Scenario,
    by_name: &dyn Fn(&str) -> bool,
) -> Result<Vec<Plan>, Untranslated> {
    let mut models = edited(&scenario.edits);
    let mut earlier = Names::default();
    let mut plans = Vec::new();
    for run in &scenario.traces {
        let edits = models.entry(&run.on).or_default();
        if run.clear_edits {
            edits.clear();
        }
        let bodies = bodies(run, edits);
        plans.push(plan(run, &bodies, &earlier, by_name)?);
        for body in bodies {
            earlier.extend(body.names);
        }
    }
    Ok(plans)
}

/// What becomes a program.
struct Body<'s> {
    input: Option<&'s str>,
    is_edit: bool,
    sees_all: bool,
    steps: &'s [RawStep],
    names: Names,
}

/// The bodies of a run, edits first.
fn bodies<'s>(run: &'s Run, edits: &[&'s Edit]) -> Vec<Body<'s>> {
    let edits = edits.iter().map(|edit| Body {
        input: None,
        is_edit: true,
        sees_all: true,
        steps: &edit.steps,
        names: Names::set_by(&edit.steps),
    });
    let blocks = blocks(run).map(|block| Body {
        input: block.input.as_deref(),
        is_edit: false,
        sees_all: block.sees_all,
        steps: &block.steps,
        names: Names::set_by(&block.steps),
    });
    edits.chain(blocks).collect()
}

fn blocks(run: &Run) -> impl Iterator<Item = &RawBlock> {
    run.direct
        .iter()
        .chain(run.invokes.iter().flat_map(|invokes| invokes.iter()))
}

fn plan(
    run: &Run,
    bodies: &[Body<'_>],
    earlier: &Names,
    by_name: &dyn Fn(&str) -> bool,
) -> Result<Plan, Untranslated> {
    let mut programs = Vec::new();
    for (body, company) in bodies
        .iter()
        .zip(Company::of_all(bodies, earlier, by_name)?)
    {
        let mut translator = Translator::new(by_name, &company);
        programs.push(Block {
            input: body.input.map(str::to_owned),
            is_edit: body.is_edit,
            is_whole: body.sees_all && bodies.iter().any(|body| body.is_edit),
            program: translator.program(body.steps)?,
        });
    }
    let generate = blocks(run).find_map(|block| block.generate.as_ref());
    let caches = run.pre.iter().map(cache_of_run);
    Ok(Plan {
        blocks: programs,
        barriers: run.barriers.clone(),
        caches: caches.collect::<Result<_, String>>()?,
        tokens: generate.map(|generate| generate.max_new_tokens),
    })
}

/// The edits of each model: a copy begins with those that its original had by then.
fn edited(edits: &[Edit]) -> BTreeMap<&str, Vec<&Edit>> {
    let mut models: BTreeMap<&str, Vec<&Edit>> = BTreeMap::new();
    for edit in edits {
        let own = models.get(edit.name.as_str()).cloned();
        let original = || models.get(edit.on.as_deref().unwrap_or("base")).cloned();
        let mut stack = own.or_else(original).unwrap_or_default();
        stack.push(edit);
        models.insert(&edit.name, stack);
    }
    models
}

/// The name under which a program is given what an earlier run has saved.
pub(super) fn saved_name(variable: &str) -> String {
    format!("saved {variable}")
}

/// The name under which programs are given nothing.
pub(super) const NONE: &str = "none";

fn side(inputs: bool, outputs: bool) -> Result<Side, String> {
    match (inputs, outputs) {
        (true, true) => Ok(Side::Both),
        (true, false) => Ok(Side::Inputs),
        (false, true) => Ok(Side::Outputs),
        (false, false) => Err("a cache of nothing".to_owned()),
    }
}

fn cache_of_run(step: &RawStep) -> Result<(String, CacheSpec), String> {
    let RawStep::Cache {
        r#as,
        modules,
        include_output,
        include_inputs,
    } = step
    else {
        return Err(format!("{step:?} before the invokes"));
    };
    let spec = match modules {
        Some(modules) => CacheSpec::of(modules),
        None => CacheSpec::all(),
    };
    let spec = match side(*include_inputs, *include_output)? {
        Side::Both => spec.both(),
        Side::Inputs => spec.inputs(),
        Side::Outputs => spec,
    };
    Ok((r#as.clone(), spec))
}

#[cfg(test)]
mod tests;
