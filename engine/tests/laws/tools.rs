//! What several laws need.

use std::collections::BTreeSet;

use interloom_engine::array::Array;
use interloom_engine::{MediatorId, Point, Port, ScheduleError, Scheduler, Site};

use crate::programs::{Case, Program};
use crate::steps::{Form, Made, Step};
use crate::support::{Model, Record};

/// The exchanges of one mediator, without its number.
pub(crate) fn log_of(log: &[Record], mediator: usize) -> Vec<Record> {
    let own = log
        .iter()
        .filter(|record| record.mediator == mediator as u32);
    own.map(unnumbered).collect()
}

/// The exchanges of the first mediators.
pub(crate) fn log_of_first(log: &[Record], count: usize) -> Vec<Record> {
    let own = log.iter().filter(|record| record.mediator < count as u32);
    own.cloned().collect()
}

pub(crate) fn unnumbered(record: &Record) -> Record {
    Record {
        mediator: 0,
        ..record.clone()
    }
}

/// A case with one more mediator, which sees the whole batch and is defined last.
pub(crate) fn with_another(case: &Case, lines: Vec<Step>) -> Case {
    let mut programs = case.programs.clone();
    programs.push(whole(lines));
    Case {
        programs,
        ..case.clone()
    }
}

/// A case with one mediator only, which sees the whole batch.
pub(crate) fn only(case: &Case, lines: Vec<Step>) -> Case {
    Case {
        programs: vec![whole(lines)],
        ..case.clone()
    }
}

pub(crate) fn whole(lines: Vec<Step>) -> Program {
    Program {
        lines,
        rows: None,
        is_optional: true,
    }
}

/// Writes the register as it is.
pub(crate) fn unchanged() -> Made {
    Made {
        scale: 1.0,
        shift: 0.0,
        form: Form::Fit,
    }
}

pub(crate) fn read(target: String) -> Step {
    Step::attempt(vec![Step::read(target)])
}

pub(crate) fn write(target: String, expr: Made) -> Step {
    Step::attempt(vec![Step::Write {
        target,
        expr,
        reshape: false,
    }])
}

/// The lines without those of one kind, also inside others.
pub(crate) fn without(lines: &[Step], is_out: &dyn Fn(&Step) -> bool) -> Vec<Step> {
    let inner = |step: &Step| match step.clone() {
        Step::Try { body, r#as } => Step::Try {
            body: without(&body, is_out),
            r#as,
        },
        Step::Iter { iter, var, body } => Step::Iter {
            iter,
            var,
            body: without(&body, is_out),
        },
        other => other,
    };
    let kept = lines.iter().filter(|step| !is_out(step));
    kept.map(inner).collect()
}

/// Some rows of a matrix of two columns.
pub(crate) fn cut(array: &Array, rows: std::ops::Range<usize>) -> Array {
    let data = &array.data()[rows.start * 2..rows.end * 2];
    Array::new(&[rows.len() as u64, 2], data)
}

/// The points of all modules that are called, directly or not, by the module at `input`.
pub(crate) fn inner_points(model: &Model, input: Site) -> BTreeSet<Point> {
    let path = model.map.path_name(input.point.path);
    let place = model.modules.iter().position(|module| module.path == path);
    let mut inner = BTreeSet::new();
    let mut open = vec![place.expect("a module of the model")];
    while let Some(place) = open.pop() {
        for &child in &model.modules[place].children {
            let path = model.map.path(&model.modules[child].path).expect("a path");
            inner.extend([Port::Input, Port::Output].map(|port| Point::new(path, port)));
            open.push(child);
        }
    }
    inner
}

/// A scheduler that chooses by a linear congruential generator.
pub(crate) struct Seeded(pub(crate) u64);

impl Scheduler for Seeded {
    fn choose(&mut self, _: Site, ready: &[MediatorId]) -> Result<usize, ScheduleError> {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        Ok((self.0 >> 33) as usize % ready.len())
    }

    fn describe(&self) -> String {
        format!("seeded {}", self.0)
    }
}
