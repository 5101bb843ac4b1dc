//! From scenarios to programs.

mod expr;
mod names;
mod shared;
mod steps;

use std::collections::BTreeMap;

use interloom_engine::CacheSpec;
use interloom_program::{Program, Side};

use crate::scenario::{self, RawStep, Scenario, Unsupported};
use crate::user::Collects;
use names::Names;
use shared::SharedNames;
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
    /// What the block does.
    pub(crate) program: P,
}

/// Makes programs of a scenario; `by_name` says at which paths the input is a tuple of the
/// arguments by place and a map of those by name.
///
/// A name that one body gives a value and another uses is shared over the blackboard.
///
/// # Errors
///
/// The step or expression that has no counterpart.
pub(crate) fn translate(
    scenario: &Scenario,
    by_name: &dyn Fn(&str) -> bool,
) -> Result<Vec<Plan>, Unsupported> {
    let mut earlier = Names::default();
    let mut plans = Vec::new();
    for plan in scenario.plans()? {
        let steps = plan.parts.iter().map(|part| part.steps);
        let bodies = steps.map(|steps| Body {
            steps,
            names: Names::set_by(steps),
        });
        let bodies: Vec<Body<'_>> = bodies.collect();
        let shared = SharedNames::of_all(&bodies, &earlier, by_name)?;
        let translated = |(body, shared): (&Body<'_>, &SharedNames)| {
            Translator::new(by_name, shared).program(body.steps)
        };
        let programs = bodies.iter().zip(&shared).map(translated);
        let programs = programs.collect::<Result<_, _>>()?;
        plans.push(Plan::new(&plan, programs));
        for body in bodies {
            earlier.extend(body.names);
        }
    }
    Ok(plans)
}

impl<P> Plan<P> {
    /// Plans a run whose bodies do this.
    pub(crate) fn new(plan: &scenario::Plan<'_>, programs: Vec<P>) -> Self {
        let blocks = plan.parts.iter().zip(programs);
        let blocks = blocks.map(|(part, program)| Block {
            input: part.input.map(str::to_owned),
            program,
        });
        let caches = plan.caches.iter();
        let caches = caches.map(|(name, collects)| ((*name).to_owned(), spec(collects)));
        Self {
            blocks: blocks.collect(),
            barriers: plan.barriers.clone(),
            caches: caches.collect(),
            tokens: plan.tokens,
        }
    }
}

/// What becomes a program.
struct Body<'s> {
    steps: &'s [RawStep],
    names: Names,
}

/// The name under which a program is given what an earlier run has saved.
pub(super) fn saved_name(variable: &str) -> String {
    format!("saved {variable}")
}

/// The name under which programs are given nothing.
pub(super) const NONE: &str = "none";

/// Which sides of modules a cache collects.
fn side(collects: &Collects) -> Side {
    match (collects.inputs, collects.outputs) {
        (true, true) => Side::Both,
        (true, false) => Side::Inputs,
        (false, _) => Side::Outputs,
    }
}

/// What a cache of these modules, or of all, collects.
pub(super) fn spec(collects: &Collects) -> CacheSpec {
    let modules = collects.modules.as_ref();
    let spec = modules.map_or_else(CacheSpec::all, CacheSpec::of);
    match side(collects) {
        Side::Both => spec.both(),
        Side::Inputs => spec.inputs(),
        Side::Outputs => spec,
    }
}

#[cfg(test)]
mod tests;
