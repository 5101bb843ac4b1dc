//! What is checked of an experiment against its model before the first run.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use interloom_engine::program::{Expr, Known, Shapes, Step};

use super::error::ExperimentError;
use super::execute::Rows;
use super::plan::{Content, Input, Plan, RunPlan};
use super::subject::Subject;
use super::tensors;
use crate::error::Error;
use crate::experiments::Progress;

/// How many tokens the batch of a run may have, of all rows together, to be checked with the shapes of a plain pass: every
/// activation of that pass is held at once.
const SHAPED_TOKENS_MAX: usize = 256;

/// Checks every program, with the names that it is given by then and, where they are known, the shapes at its run's sites.
pub(super) fn check_programs(
    plan: &Plan,
    subject: &Subject,
    shapes: &[Option<KnownShapes>],
) -> Result<(), Error> {
    let map = subject.sites().map();
    let mut given: Vec<String> = plan.givens.iter().map(|given| given.name.clone()).collect();
    let mut known_by = Vec::with_capacity(plan.runs.len());
    for run in &plan.runs {
        known_by.push(given.len());
        given.extend(run.shares().into_keys());
    }
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    for (index, run) in plan.runs.iter().enumerate() {
        let names = &given[..known_by[index]];
        let barriers: Vec<&str> = run.barriers.iter().map(|(name, _)| name.as_str()).collect();
        let shapes = shapes.get(index).and_then(Option::as_ref);
        for invoke in &run.invokes {
            let mut known = Known::of(map).givens(names).barriers(&barriers);
            if let Some(shapes) = shapes {
                known = known.shapes(&shapes.all, invoke.input.map(|input| shapes.rows[input]));
            }
            invoke.program.check(known)?;
        }
    }
    Ok(())
}

/// What passes the sites in a plain pass over a run's batch, and how many rows each input has.
pub(super) struct KnownShapes {
    pub(super) all: Rc<Shapes>,
    rows: Vec<u32>,
}

/// Returns the shapes at the sites of each run that is checked with them.
///
/// Runs of batches of one size share a pass of the model.
pub(super) fn shapes(
    plan: &Plan,
    inputs: &[Rows],
    subject: &Subject,
    progress: &mut dyn Progress,
) -> Result<Vec<Option<KnownShapes>>, Error> {
    if !subject.is_here() {
        // They were checked when they were recorded.
        return Ok(Vec::new());
    }
    let count: Vec<u32> = inputs.iter().map(|rows| rows.tokens.len() as u32).collect();
    let mut passes: BTreeMap<(usize, usize, u32), Rc<Shapes>> = BTreeMap::new();
    let mut shapes = Vec::with_capacity(plan.runs.len());
    progress.begin("checking shapes", plan.runs.len() as u64);
    for run in &plan.runs {
        progress.step();
        let batch = run.rows();
        let batch = batch.iter().flat_map(|&input| &inputs[input].tokens);
        let batch: Vec<&[u32]> = batch.map(Vec::as_slice).collect();
        // The second step of a generation shows what differs from step to step.
        let steps = run.generate.unwrap_or(0).min(2);
        let size = (batch.len(), batch[0].len(), steps);
        if !run.is_shaped_as_plain() || size.0 * size.1 > SHAPED_TOKENS_MAX {
            shapes.push(None);
            continue;
        }
        let all = match passes.get(&size) {
            Some(shapes) => shapes.clone(),
            None => {
                let pass = || match steps {
                    0 => drop(subject.logits(&batch)),
                    steps => drop(subject.generate(batch[0], steps)),
                };
                let found = Rc::new(subject.sites().shapes(size.0 as u32, pass)?);
                passes.insert(size, found.clone());
                found
            }
        };
        let rows = count.clone();
        shapes.push(Some(KnownShapes { all, rows }));
    }
    Ok(shapes)
}

/// Returns whether a program calls modules of the model itself, so that not even served it can do without it.
pub(super) fn calls_modules(plan: &Plan) -> bool {
    fn is_call(value: &mut Expr) -> bool {
        matches!(value, Expr::Module { .. }) || value.operands_mut().into_iter().any(is_call)
    }
    fn any(steps: &mut [Step]) -> bool {
        steps.iter_mut().any(|step| {
            let action = &mut step.action;
            action.values_mut().into_iter().any(is_call) || action.bodies_mut().into_iter().any(any)
        })
    }
    let mut invokes = plan.runs.iter().flat_map(|run| &run.invokes);
    invokes.any(|invoke| any(&mut invoke.program.steps.clone()))
}

/// Returns the rows of each input.
pub(super) fn inputs(
    plan: &Plan,
    subject: &Subject,
    folder: &Path,
) -> Result<Vec<Rows>, ExperimentError> {
    let rows = |input: &Input| {
        let at = || plan.source.spot(input.at);
        let recorded = subject.recorded_rows(&input.name);
        let tokens = match &input.content {
            Content::Prompt(_) | Content::Tensor(_) if recorded.is_some() => {
                recorded.unwrap_or_default()
            }
            Content::Tokens(rows) => rows.clone(),
            Content::Prompt(prompt) => {
                let tokens = subject.encode(prompt);
                vec![tokens.map_err(|reason| ExperimentError::Input { at: at(), reason })?]
            }
            Content::Tensor(tensor) => {
                tensors::rows(folder, tensor).map_err(|reason| ExperimentError::Tensor {
                    at: at(),
                    tensor: tensor.clone(),
                    reason,
                })?
            }
        };
        let name = input.name.clone();
        Ok(Rows { name, tokens })
    };
    plan.inputs.iter().map(rows).collect()
}

/// Returns the tokens of a run's answers; none if the model is not here, because they are read off its output.
pub(super) fn answers(
    plan: &Plan,
    run: &RunPlan,
    subject: &Subject,
) -> Result<Vec<u32>, ExperimentError> {
    let answers = run.report.answers.iter().filter(|_| subject.is_here());
    let token = |(text, at): &(String, usize)| {
        subject
            .single(text)
            .map_err(|reason| ExperimentError::Input {
                at: plan.source.spot(*at),
                reason,
            })
    };
    answers.map(token).collect()
}

/// Checks that the rows of a run can be a batch of the model.
pub(super) fn check_rows(
    plan: &Plan,
    run: &RunPlan,
    inputs: &[Rows],
    subject: &Subject,
) -> Result<(), ExperimentError> {
    let rows = run.rows();
    let rows: Vec<&[u32]> = rows
        .iter()
        .flat_map(|&input| inputs[input].tokens.iter().map(Vec::as_slice))
        .collect();
    let new = run.generate.unwrap_or(0) as usize;
    let reason = match (run.generate, rows.len()) {
        (Some(_), count @ 2..) => Err(format!(
            "a generation continues one row, and the run `{}` has {count}; make a run for each",
            run.name
        )),
        _ => subject.check(&rows, new),
    };
    reason.map_err(|reason| ExperimentError::Input {
        at: plan.source.spot(run.at),
        reason,
    })
}
