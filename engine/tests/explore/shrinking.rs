//! The smallest schedule and the smallest programme that still show a difference.

use interloom_engine::explore::{
    Attempt, Explorer, OrderDependence, Reduction, RunOutcome, make, shrink_programme,
    shrink_schedule, without,
};
use interloom_engine::scheduler::{InOrder, Recorded, Shuffle};
use interloom_engine::{Granularity, RunError, Schedule};

use crate::cases::{How, case, caught, chain, explore, program, run, write};
use crate::programs::{Case, Program};
use crate::steps::Step;

/// `writers` that write at the first site, `readers` that read at the second, and one that reads at
/// the first.
pub(crate) fn noisy(writers: usize, readers: usize) -> Case {
    let read = |site: &str| caught(Step::read(site));
    let mut programs: Vec<Program> = Vec::new();
    for number in 0..readers {
        programs.push(program(vec![read("m0.input"), read("m1.output")], None));
        if number < writers {
            let lines = vec![
                read("m0.input"),
                read("m0.output"),
                write("m0.output", 1.0, 1.0 + number as f64),
                read("m1.input"),
            ];
            programs.push(program(lines, None));
        }
    }
    programs.push(program(vec![read("m0.output")], None));
    case(chain(2), programs)
}

#[test]
fn a_schedule_shrinks_to_one_choice() {
    let case = noisy(2, 3);
    for granularity in [Granularity::Site, Granularity::Exchange] {
        let mut attempt = |attempt: &Attempt| run(&case, granularity, attempt);
        let (in_order, _) = make(InOrder, &mut attempt).unwrap();
        let is_other = |outcome: &RunOutcome| *outcome != in_order;
        let mut shrunk = 0;
        for seed in 0..20 {
            let (outcome, schedule) = make(Shuffle::new(seed), &mut attempt).unwrap();
            let result = shrink_schedule(&schedule, 1_000, &mut attempt, is_other).unwrap();
            let Some(least) = result else {
                assert_eq!(outcome, in_order);
                continue;
            };
            shrunk += 1;
            assert_eq!(least.schedule.deviations(), 1, "{}", least.schedule);
            assert!(least.runs < 200, "{}", least.runs);
            // What is kept are the choices, and they replay exactly.
            let text = least.schedule.to_string();
            let kept: Schedule = text.parse().unwrap();
            let (again, _) = make(Recorded::new(kept), &mut attempt).unwrap();
            assert_eq!(again, least.outcome);
        }
        assert!(shrunk >= 10, "{shrunk}");
    }
}

#[test]
fn what_is_not_wanted_is_not_shrunk() {
    let case = noisy(1, 1);
    let attempt = |attempt: &Attempt| run(&case, Granularity::Site, attempt);
    let (_, schedule) = make(InOrder, &mut { attempt }).unwrap();
    let none = shrink_schedule(&schedule, 10, attempt, |_| false).unwrap();
    assert_eq!(none, None);
    let all = shrink_schedule(&schedule, 10, attempt, |_| true)
        .unwrap()
        .unwrap();
    assert_eq!((all.schedule, all.runs), (schedule, 1));
}

/// A case without one of its mediators, or one of their lines.
pub(crate) fn smaller(case: &Case) -> Vec<Case> {
    let fewer = without(&case.programs);
    let mut cases: Vec<Case> = fewer
        .into_iter()
        .map(|programs| Case {
            programs,
            ..case.clone()
        })
        .collect();
    for (place, own) in case.programs.iter().enumerate() {
        cases.extend(without(&own.lines).into_iter().map(|lines| {
            let mut shorter = case.clone();
            shorter.programs[place].lines = lines;
            shorter
        }));
    }
    cases
}

#[test]
fn a_programme_shrinks_to_two_mediators_and_two_lines() {
    let is_dependent = |case: &Case| {
        let how = How {
            granularity: Granularity::Site,
            reduction: Reduction::Commuting,
            budget: 50,
        };
        Ok::<_, RunError>(explore(case, how).conclusion() == OrderDependence::Dependent)
    };
    let large = noisy(3, 5);
    assert!(is_dependent(&large).unwrap());
    let small = shrink_programme(large, smaller, is_dependent).unwrap();
    let lines: Vec<usize> = small
        .programs
        .iter()
        .map(|program| program.lines.len())
        .collect();
    assert_eq!(lines, [1, 1]);
    // And the schedule of what is left is a single choice.
    let verdict = Explorer::new().explore(|attempt| run(&small, Granularity::Site, attempt));
    let verdict = verdict.unwrap();
    assert_eq!(verdict.classes.len(), 2);
    assert_eq!(verdict.classes[1].witness.choices().len(), 1);
}
