//! From scenarios to programs.

mod company;
mod expr;
mod names;
mod steps;

use std::collections::BTreeMap;

use interloom_engine::CacheSpec;
use interloom_engine::program::{Program, Side};

use super::scenario::{Edit, RawBlock, RawStep, Run, Scenario};
use super::script::Script;
use company::Company;
pub(super) use expr::{input_of, port, span};
use names::Names;
use steps::Translator;
pub(super) use steps::over;

/// A run of several programs, or of what else blocks do.
#[derive(Debug)]
pub(crate) struct Plan<P = Program> {
    /// The blocks, edits first, in definition order.
    pub(crate) blocks: Vec<Block<P>>,
    /// The barriers and the numbers of their participants.
    pub(crate) barriers: BTreeMap<String, u32>,
    /// The caches of the whole run.
    pub(crate) caches: Vec<(String, CacheSpec)>,
    /// How many tokens are generated, if the run is a generation.
    pub(crate) tokens: Option<u32>,
}

/// A program with its input.
#[derive(Debug)]
pub(crate) struct Block<P = Program> {
    /// The name of the input; none for a block without rows.
    pub(crate) input: Option<String>,
    /// Whether it belongs to the model.
    pub(crate) is_edit: bool,
    /// Whether it sees the whole batch, though it has an input.
    pub(crate) is_whole: bool,
    /// What the block does.
    pub(crate) program: P,
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
    let mut earlier = Names::default();
    plans(scenario, |bodies| {
        let companies = Company::of_all(bodies, &earlier, by_name)?;
        let translated = |(body, company): (&Body<'_>, &Company)| {
            Translator::new(by_name, company).program(body.steps)
        };
        for body in bodies {
            earlier.extend(body.names.clone());
        }
        bodies.iter().zip(&companies).map(translated).collect()
    })
}

/// Plans the runs of a scenario whose blocks do their steps as they are written.
///
/// # Errors
///
/// The step or expression that the format does not have.
pub(crate) fn scripts(scenario: &Scenario) -> Result<Vec<Plan<Script>>, Untranslated> {
    plans(scenario, |bodies| {
        bodies.iter().map(|body| Script::of(body.steps)).collect()
    })
}

/// Plans the runs of a scenario; `write` says what the bodies of each do.
fn plans<P>(
    scenario: &Scenario,
    mut write: impl FnMut(&[Body<'_>]) -> Result<Vec<P>, Untranslated>,
) -> Result<Vec<Plan<P>>, Untranslated> {
    let mut models = edited(&scenario.edits);
    let mut plans = Vec::new();
    for run in &scenario.traces {
        let edits = models.entry(&run.on).or_default();
        if run.clear_edits {
            edits.clear();
        }
        let bodies = bodies(run, edits);
        let programs = write(&bodies)?;
        plans.push(plan(run, &bodies, programs)?);
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

fn plan<P>(run: &Run, bodies: &[Body<'_>], programs: Vec<P>) -> Result<Plan<P>, Untranslated> {
    let has_edits = bodies.iter().any(|body| body.is_edit);
    let blocks = bodies.iter().zip(programs);
    let blocks = blocks.map(|(body, program)| Block {
        input: body.input.map(str::to_owned),
        is_edit: body.is_edit,
        is_whole: body.sees_all && has_edits,
        program,
    });
    let generate = self::blocks(run).find_map(|block| block.generate.as_ref());
    let caches = run.pre.iter().map(cache_of_run);
    Ok(Plan {
        blocks: blocks.collect(),
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

/// What a cache of these modules, or of all, collects.
pub(super) fn spec(
    modules: Option<&[String]>,
    inputs: bool,
    outputs: bool,
) -> Result<CacheSpec, String> {
    let spec = modules.map_or_else(CacheSpec::all, CacheSpec::of);
    Ok(match side(inputs, outputs)? {
        Side::Both => spec.both(),
        Side::Inputs => spec.inputs(),
        Side::Outputs => spec,
    })
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
    let spec = spec(modules.as_deref(), *include_inputs, *include_output)?;
    Ok((r#as.clone(), spec))
}

#[cfg(test)]
mod tests;
