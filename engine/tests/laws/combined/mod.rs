//! Runs in which several rules meet, with what must happen written out; the reference says it too,
//! and the engine does it.

mod elsewhere;
mod loops;

use interloom_engine::Site;
use interloom_engine::array::Array;

use crate::STYLES;
use crate::programs::{Case, Program};
use crate::reference::judge;
use crate::steps::{Collects, Form, Made, Span, Step};
use crate::support::{Model, to_array};
use crate::verdict::{End, Verdict, engine};

const ALL: Span = Span::Slice(None, None);

fn within(start: u32, end: u32) -> Span {
    Span::Slice(Some(start), Some(end))
}

/// A cell that is called three times.
fn model() -> Model {
    Model::tree(&[
        ("", &["embed", "cell", "cell", "cell", "head"]),
        ("embed", &[]),
        ("cell", &["cell.fc"]),
        ("cell.fc", &[]),
        ("head", &[]),
    ])
}

fn read(target: &str) -> Step {
    Step::read(target)
}

/// What is written is one number everywhere.
fn constant(number: f64, form: Form) -> Made {
    Made {
        scale: 0.0,
        shift: number,
        form,
    }
}

fn write(target: &str, number: f64) -> Step {
    Step::Write {
        target: target.to_owned(),
        expr: constant(number, Form::Fit),
        reshape: false,
    }
}

fn skip(target: &str, number: f64) -> Step {
    Step::Skip {
        target: target.to_owned(),
        expr: constant(number, Form::Fit),
    }
}

fn each<const N: usize>(span: Span, body: [Step; N]) -> Step {
    Step::each(span, body.into())
}

fn caught<const N: usize>(body: [Step; N]) -> Step {
    Step::attempt(body.into())
}

fn next(step: u32) -> Step {
    Step::Next { step }
}

fn meet(name: &str) -> Step {
    let name = name.to_owned();
    Step::Barrier { name }
}

fn raise() -> Step {
    let message = "on purpose".to_owned();
    Step::Raise { message }
}

fn put(name: &str, number: f64) -> Step {
    Step::Put {
        name: name.to_owned(),
        expr: constant(number, Form::Fit),
    }
}

/// Collects the outputs of a module.
fn cache(name: &str, module: &str) -> Step {
    Step::Cache {
        r#as: name.to_owned(),
        collects: Collects {
            modules: Some(vec![module.to_owned()]),
            include_output: true,
            include_gradients: false,
            include_inputs: false,
        },
    }
}

fn whole<const N: usize>(lines: [Step; N]) -> Program {
    Program {
        lines: lines.into(),
        rows: None,
        is_optional: false,
    }
}

fn row<const N: usize>(lines: [Step; N]) -> Program {
    Program {
        rows: Some(1),
        ..whole(lines)
    }
}

/// A run in which each barrier is for two.
fn case<const N: usize>(programs: [Program; N]) -> Case {
    Case {
        model: model(),
        programs: programs.into(),
        barriers: [2; 3],
        steps: None,
        cache: None,
        gradients: Vec::new(),
    }
}

fn site(name: &str) -> Site {
    let (point, iteration) = model().map.site(name).expect("a site of the model");
    point.at(iteration.expect("written out"))
}

/// Asserts what is exchanged and how the run ends, in every style in which a mediator can be
/// written.
#[track_caller]
fn holds(case: &Case, end: &End, log: &str) -> Verdict {
    let (verdict, _) = judge(case);
    let line = |line: &str| match is_refused(line) {
        true => line.to_owned(),
        false => format!("{line} served"),
    };
    let expected: Vec<String> = log.trim().lines().map(|text| line(text.trim())).collect();
    let lines = verdict
        .log
        .iter()
        .map(|record| record.line(&case.model.map));
    assert_eq!(lines.collect::<Vec<_>>(), expected);
    assert_eq!(&verdict.end, end);
    for style in STYLES {
        assert_eq!(engine(case, style), verdict, "{style:?}");
    }
    verdict
}

/// Returns whether a line ends with the code of a fault.
fn is_refused(line: &str) -> bool {
    let last = line.rsplit(' ').next().expect("a word");
    last.len() == 4 && last.starts_with("E0")
}

/// The value of an exchange, by its place.
fn value(verdict: &Verdict, place: usize) -> &Array {
    verdict.log[place].value.as_ref().expect("a value")
}

fn rows(numbers: &[f64]) -> Array {
    let table: Vec<Vec<f64>> = numbers.iter().map(|number| vec![*number; 2]).collect();
    to_array(&table)
}
