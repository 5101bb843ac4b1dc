//! What is checked of an experiment against its model before the first run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use interloom::interventions::{Intervention, NamedInterventions, SaeLens};
use interloom_backends::Value;
use interloom_program::{
    CheckContext, Expr, Form, Operand as _, Program, ProgramError, ProgramFault, Skipped,
};

use super::error::ExperimentError;
use super::outlook::Outlook;
use super::plan::{Given, Input, InvokePlan, Plan, RunPlan};
use super::rows::{RowRef, Rows};
use super::subject::Subject;
use super::{skips, tensors};
use crate::Progress;

/// How many warnings there are before the first run.
const WARNINGS_MAX: usize = 16;

/// Checks the names in every program: those of sites, modules and barriers, and of the values that
/// it is given by then.
pub(super) fn check_names(
    plan: &Plan,
    subject: &Subject,
    modules: &NamedInterventions,
) -> Result<(), ExperimentError> {
    each_program(plan, subject, modules, |_, invoke, known| {
        Ok(invoke.program.check(known)?)
    })
}

/// Checks every program with what is known of its run, and warns of what it may come to.
pub(super) fn check_programs(
    plan: &Plan,
    subject: &Subject,
    outlooks: &[Outlook<'_>],
    givens: &BTreeMap<String, Value>,
    modules: &NamedInterventions,
    progress: &mut dyn Progress,
) -> Result<(), ExperimentError> {
    let forms = givens.iter();
    let forms: BTreeMap<String, Form> = forms
        .map(|(name, value)| (name.clone(), value.form()))
        .collect();
    // A sweep may have one mistake in many programs.
    let mut warned = BTreeSet::new();
    let mut skipped: Vec<Vec<Vec<Skipped>>> = vec![Vec::new(); plan.runs.len()];
    each_program(plan, subject, modules, |index, invoke, known| {
        let (outlook, named) = (&outlooks[index], known.given_forms(&forms));
        let known = outlook.of(invoke, named);
        invoke.program.check(known)?;
        let shortest = outlook.of_shortest(invoke, named);
        if let Some(Err(error)) = shortest.map(|known| invoke.program.check(known))
            && is_of_span(&error)
        {
            return Err(error.into());
        }
        let before = outlook.before_skips(invoke, named);
        skipped[index].push(invoke.program.skips(before));
        for doubt in invoke.program.doubts(known) {
            let doubt = format!("{doubt}; this fails the run if it comes to the step");
            if warned.len() < WARNINGS_MAX && warned.insert(doubt.clone()) {
                progress.warn(&doubt);
            }
        }
        Ok(())
    })?;
    let map = subject.sites().map();
    for ((run, skipped), outlook) in plan.runs.iter().zip(&skipped).zip(outlooks) {
        skips::check(run, skipped, outlook, map)?;
    }
    Ok(())
}

/// Returns whether a program fails for a span.
fn is_of_span(error: &ProgramError) -> bool {
    match error {
        ProgramError::Impossible { fault, .. } => matches!(**fault, ProgramFault::Span { .. }),
        _ => false,
    }
}

fn each_program(
    plan: &Plan,
    subject: &Subject,
    modules: &NamedInterventions,
    mut check: impl FnMut(usize, &InvokePlan, CheckContext<'_>) -> Result<(), ExperimentError>,
) -> Result<(), ExperimentError> {
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
        for invoke in &run.invokes {
            let known = CheckContext::of(map).givens(names).barriers(&barriers);
            let known = known.supplied(modules).named(&invoke.name);
            check(index, invoke, known)?;
        }
    }
    Ok(())
}

/// Returns whether a program calls modules of the model itself, so that not even served it can do
/// without it.
pub(super) fn calls_modules(plan: &Plan) -> bool {
    let mut invokes = plan.runs.iter().flat_map(|run| &run.invokes);
    let is_supplied = |name: &str| plan.modules.iter().any(|module| module.name == name);
    invokes.any(|invoke| {
        called(&invoke.program)
            .iter()
            .any(|name| !is_supplied(name))
    })
}

/// Returns the modules that a program calls, each by the first part of its path: that of a trained
/// module is its name.
pub(super) fn called(program: &Program) -> BTreeSet<&str> {
    fn look<'p>(value: &'p Expr, names: &mut BTreeSet<&'p str>) {
        if let Expr::Module { path, .. } = value {
            names.extend(path.split('.').next());
        }
        for operand in value.operands() {
            look(operand, names);
        }
    }
    let mut names = BTreeSet::new();
    for action in program.actions() {
        for value in action.values() {
            look(value, &mut names);
        }
    }
    names
}

/// Returns the rows of each input.
pub(super) fn inputs(
    plan: &Plan,
    subject: &Subject,
    folder: &Path,
) -> Result<Vec<Rows>, ExperimentError> {
    let rows = |input: &Input| Rows::of(plan, input, subject, folder);
    plan.inputs.iter().map(rows).collect()
}

/// Returns the tensors that programs are given.
pub(super) fn givens(
    plan: &Plan,
    subject: &Subject,
    folder: &Path,
) -> Result<BTreeMap<String, Value>, ExperimentError> {
    let value = |given: &Given| {
        let value = tensors::floats(folder, &given.tensor, subject.device());
        let value = value.map_err(|reason| ExperimentError::Tensor {
            at: plan.source.spot(given.at),
            tensor: given.tensor.clone(),
            reason,
        })?;
        Ok((given.name.clone(), value))
    };
    plan.givens.iter().map(value).collect()
}

/// Loads the trained modules that programs call, none of which has the name of a module of the
/// model.
pub(super) fn modules(
    plan: &Plan,
    subject: &Subject,
    folder: &Path,
) -> Result<NamedInterventions, ExperimentError> {
    let mut named = NamedInterventions::new();
    for module in &plan.modules {
        let at = || plan.source.spot(module.at);
        let mut paths = subject.sites().map().paths();
        if paths.any(|path| path.split('.').next() == Some(&module.name)) {
            return Err(ExperimentError::Conflict {
                at: at(),
                what: format!("`{}` is a module of the model, too", module.name),
                instead: "give it another name".to_owned(),
            });
        }
        let path = folder.join(&module.file);
        let loaded = match path.is_dir() {
            true => SaeLens::load(&path, subject.device()).map(|sae| sae.autoencoder.into()),
            false => Intervention::load(&path, subject.device()),
        };
        let loaded = loaded
            .map_err(|error| ExperimentError::at(at(), interloom::Error::from(error).into()))?;
        named.add(module.name.clone(), loaded.frozen());
    }
    Ok(named)
}

/// Returns the tokens of a run's answers; none if the model is not here, because they are read off
/// its output.
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

/// Warns of answers that are a word without the space in front with which it follows another.
pub(super) fn warn_of_answers(plan: &Plan, subject: &Subject, progress: &mut dyn Progress) {
    let answers = plan.runs.iter().flat_map(|run| &run.report.answers);
    // A sweep has one report for many runs.
    let answers: BTreeMap<usize, &String> = answers.map(|(text, at)| (*at, text)).collect();
    for (at, text) in answers.into_iter().filter(|_| subject.is_here()) {
        let spaced = format!(" {text}");
        let is_word = text.starts_with(char::is_alphabetic);
        if is_word && subject.single(&spaced).is_ok() {
            progress.warn(&format!(
                "{}: the answer {text:?} is another token than {spaced:?}, with which a text goes on after a word; write the \
                 space if that is meant",
                plan.source.spot(at)
            ));
        }
    }
}

/// Checks that the rows of a run can be a batch of the model.
pub(super) fn check_rows(
    plan: &Plan,
    run: &RunPlan,
    inputs: &[Rows],
    subject: &Subject,
) -> Result<(), ExperimentError> {
    let rows = run.rows();
    let rows: Vec<RowRef<'_>> = rows
        .iter()
        .flat_map(|&input| inputs[input].iter())
        .collect();
    let new = run.generate.unwrap_or(0) as usize;
    subject
        .check(&rows, new)
        .map_err(|reason| ExperimentError::Input {
            at: plan.source.spot(run.at),
            reason,
        })
}

/// Checks that there is a position from which on the loss of a run is shown.
pub(super) fn check_loss(
    plan: &Plan,
    run: &RunPlan,
    inputs: &[Rows],
) -> Result<(), ExperimentError> {
    // A generation has no logits, and what a file asks of all runs is not asked of it.
    let (Some((from, at)), None) = (run.report.loss_from, run.generate) else {
        return Ok(());
    };
    let rows = run.rows();
    let lengths = rows.iter().flat_map(|&input| &inputs[input].tokens);
    // In each row its own positions count.
    let length = lengths.map(Vec::len).min().unwrap_or(0);
    if (from as usize) + 1 < length {
        return Ok(());
    }
    let is_even = rows
        .iter()
        .flat_map(|&input| &inputs[input].tokens)
        .all(|row| row.len() == length);
    let whose = match is_even {
        true => format!("the rows of the run `{}` have", run.name),
        false => format!("the shortest row of the run `{}` has", run.name),
    };
    let expected = match length.checked_sub(2) {
        Some(last) => format!(
            "a position that has a next token: from 0 to {last}, because {whose} {length} tokens"
        ),
        None => {
            format!("left out, because {whose} {length} token, so that no position has a next one")
        }
    };
    Err(ExperimentError::Value {
        at: plan.source.spot(at),
        key: "loss_from".to_owned(),
        expected,
        found: from.to_string(),
    })
}
