//! Laws of mediators as data: what is written and read again is the same.

use interloom_engine::{Invoke, Point, SiteMap};
use interloom_program::Program;
use proptest::prelude::*;

use crate::as_program::{PROGRAM, machine_of, program};
use crate::config;
use crate::generate::cases;
use crate::programs::Case;
use crate::steps::Step;
use crate::support::Ran;

/// Runs a case whose mediators are programs that have been somewhere else.
fn run_through(case: &Case, there_and_back: fn(Program) -> Program) -> Ran {
    let mut trial = case.empty_trial();
    for (index, own) in case.programs.iter().enumerate() {
        let program = there_and_back(program(&own.lines));
        let machine = machine_of(&program, case.register_of(own), &case.model.map, ());
        trial.invoke(case.invoke(index, Box::new(machine)));
    }
    trial.run(case.input())
}

/// Runs a case whose mediators say themselves which gradients they may ask for.
fn run_declaring(case: &Case) -> Ran {
    let mut trial = case.empty_trial();
    for (index, own) in case.programs.iter().enumerate() {
        let program = program(&own.lines);
        let machine = machine_of(&program, case.register_of(own), &case.model.map, ());
        let invoke = Invoke::new(format!("m{index}"), machine);
        let invoke = match own.rows {
            Some(rows) => invoke.rows(rows),
            None => invoke,
        };
        trial.invoke(match own.is_optional {
            true => invoke.optional(),
            false => invoke,
        });
    }
    trial.run(case.input())
}

/// The values whose gradients the lines name, or collect.
fn named(lines: &[Step], map: &SiteMap) -> Vec<Point> {
    let named = |line: &Step| match line {
        Step::Read { target, .. } | Step::Write { target, .. } | Step::Skip { target, .. } => {
            let point = map.site(target).map(|(point, _)| point);
            let gradient = point.filter(|point| point.port.is_gradient());
            gradient.map(Point::forward).into_iter().collect()
        }
        Step::Cache { collects, .. } => {
            let is_collected = |point: &Point| collects.has(point.gradient().unwrap(), map);
            let mut modules = collects.modules.iter().flatten();
            match modules.all(|path| map.path(path).is_some()) {
                true => map.points().filter(is_collected).collect(),
                false => Vec::new(),
            }
        }
        Step::Iter { body, .. } | Step::Try { body, .. } => named(body, map),
        _ => Vec::new(),
    };
    lines.iter().flat_map(named).collect()
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn r81_a_program_that_was_written_and_read_makes_the_same_exchanges(case in cases()) {
        let here = case.run(PROGRAM);
        let json = run_through(&case, |program| {
            let text = serde_json::to_string(&program).unwrap();
            serde_json::from_str(&text).unwrap()
        });
        let msgpack = run_through(&case, |program| {
            let bytes = rmp_serde::to_vec_named(&program).unwrap();
            rmp_serde::from_slice(&bytes).unwrap()
        });
        prop_assert_eq!(&json.log, &here.log);
        prop_assert_eq!(&msgpack.log, &here.log);
        prop_assert_eq!(&json.output, &here.output);
        prop_assert_eq!(&msgpack.output, &here.output);
    }

    #[test]
    fn r91_a_program_declares_the_gradients_that_it_names_and_no_others(case in cases()) {
        let mut declared = case.clone();
        for own in &case.programs {
            declared.gradients.extend(named(&own.lines, &case.model.map));
        }
        let (own, expected) = (run_declaring(&case), declared.run(PROGRAM));
        prop_assert_eq!(&own.log, &expected.log);
        prop_assert_eq!(&own.output, &expected.output);
        prop_assert_eq!(own.report.result, expected.report.result);
    }
}
