//! Small programmes that contend for few sites, and how they are explored.

use interloom_engine::array::Array;
use interloom_engine::explore::{Attempt, Explorer, Reduction, RunOutcome, Verdict};
use interloom_engine::{Digester, Granularity, RunError, Setup};
use proptest::prelude::*;

use crate::programs::{BARRIERS, Case, Program, Style};
use crate::steps::{Form, Made, Step};
use crate::support::{Model, drive};

/// Adds an array to a digest.
pub(crate) fn add(array: &Array, digester: &mut Digester) {
    array.shape().iter().for_each(|&length| {
        digester.number(length);
    });
    array.data().iter().for_each(|x| {
        digester.number(x.to_bits());
    });
}

/// Makes one run of an exploration: what its mediators saw, how it ended, and the model's output.
pub(crate) fn shown(
    model: &Model,
    mut setup: Setup<Array>,
    x: Array,
    attempt: &Attempt,
) -> Result<RunOutcome, RunError> {
    let watch = RunOutcome::watch(&mut setup, add);
    attempt.attach(&mut setup);
    let (output, report, _) = drive(model, setup, x)?;
    if let Err(RunError::Schedule(error)) = report.result {
        return Err(error.into());
    }
    Ok(watch.outcome(&report).with("output", |digester| {
        if let Some(output) = &output {
            add(output, digester);
        }
    }))
}

/// How a case is explored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) granularity: Granularity,
    pub(crate) reduction: Reduction,
    pub(crate) budget: u64,
}

pub(crate) fn run(
    case: &Case,
    granularity: Granularity,
    attempt: &Attempt,
) -> Result<RunOutcome, RunError> {
    let mut trial = case.trial(Style::Machine);
    trial.granularity(granularity);
    shown(&case.model, trial.into_setup(), case.input(), attempt)
}

pub(crate) fn explore(case: &Case, how: How) -> Verdict<RunOutcome> {
    let explorer = Explorer::new().budget(how.budget).reduction(how.reduction);
    let verdict = explorer.explore(|attempt| run(case, how.granularity, attempt));
    verdict.expect("it can be explored")
}

/// A model of so many modules, one after the other, whose root only passes on.
pub(crate) fn chain(count: usize) -> Model {
    let paths: Vec<String> = (0..count).map(|index| format!("m{index}")).collect();
    let children: Vec<&str> = paths.iter().map(String::as_str).collect();
    let mut tree: Vec<(&str, &[&str])> = vec![("", &children)];
    tree.extend(children.iter().map(|path| (*path, &[][..])));
    Model::tree(&tree)
}

/// A step that goes on if it is refused.
pub(crate) fn caught(step: Step) -> Step {
    Step::attempt(vec![step])
}

pub(crate) fn write(target: &str, scale: f64, shift: f64) -> Step {
    Step::Write {
        target: target.to_owned(),
        expr: Made {
            scale,
            shift,
            form: Form::Fit,
        },
        reshape: false,
    }
}

pub(crate) fn program(lines: Vec<Step>, rows: Option<u32>) -> Program {
    Program {
        lines,
        rows,
        is_optional: true,
    }
}

pub(crate) fn case(model: Model, programs: Vec<Program>) -> Case {
    Case {
        model,
        programs,
        barriers: [2, 2, 3],
        steps: None,
        cache: None,
        gradients: Vec::new(),
    }
}

/// Two to four mediators of a few steps each at three sites: those of one module, and the output of
/// the model.
pub(crate) fn small_cases() -> impl Strategy<Value = Case> {
    let raw = (
        prop::collection::vec(small_line(), 1..5),
        prop::option::weighted(0.5, 1u32..3),
    );
    let programs = prop::collection::vec(raw, 2..5);
    (programs, prop::array::uniform3(1u32..4)).prop_map(|(programs, barriers)| {
        let programs = programs.into_iter().map(|(mut lines, rows)| {
            lines.sort_by_key(|(site, _)| *site);
            // What is for no site comes after this one, where others are too.
            let first = caught(Step::read(SITES[1]));
            let place = lines.partition_point(|(site, _)| *site < 1);
            lines.insert(place, (1, first));
            program(lines.into_iter().map(|(_, line)| line).collect(), rows)
        });
        Case {
            barriers,
            ..case(chain(1), programs.collect())
        }
    })
}

const SITES: [&str; 3] = ["m0.input", "m0.output", "output"];

/// A line, and the place of its site among those of the run.
fn small_line() -> impl Strategy<Value = (usize, Step)> {
    let catches = prop::bool::weighted(0.9);
    // Most of them at one site, so that there is something to order.
    let site = prop_oneof![1 => Just(0usize), 4 => Just(1), 1 => Just(2)];
    (0u8..40, site, 0u8..4, 0u8..8, catches).prop_map(|(kind, place, scale, shift, catches)| {
        let target = SITES[place].to_owned();
        let made = |scale: u8, form| Made {
            scale: f64::from(scale),
            shift: f64::from(shift),
            form,
        };
        let shared = ["x", "y"][usize::from(scale) % 2];
        let step = match kind {
            0..10 => Step::read(target),
            10..22 => Step::Write {
                target,
                expr: made(scale, if shift == 7 { Form::Wider } else { Form::Fit }),
                reshape: shift == 6,
            },
            22 => Step::Skip {
                target: SITES[0].to_owned(),
                expr: made(1, Form::Fit),
            },
            23 => Step::Stop,
            24 => {
                let message = "raised".to_owned();
                return (place, Step::Raise { message });
            }
            25..30 => Step::Barrier {
                name: BARRIERS[place].to_owned(),
            },
            30..35 => Step::Put {
                name: shared.to_owned(),
                expr: made(1, Form::Fit),
            },
            _ => Step::get(shared),
        };
        (place, if catches { caught(step) } else { step })
    })
}
