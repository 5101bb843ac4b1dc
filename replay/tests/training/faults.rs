//! Planted faults: each is found by its step, its phase and its place.

use std::path::Path;

use interloom::journal::training::{Ledger, StepPhase, first_parting};
use interloom::training::{StepDifference, StepDifferenceKind, StepTrace};

use crate::net::{Fault, SEED, alone, fresh, record, settings, train};

const STEPS: u64 = 32;

/// Every kind of fault, with the phase and the name under which it is to be found.
fn faults() -> Vec<(Fault, StepPhase, &'static str)> {
    let mut all = Vec::new();
    for element in [0, 7, 17] {
        for bit in [0, 12, 22, 30] {
            all.push((
                Fault::Weight { element, bit },
                StepPhase::State,
                "net.up.weight",
            ));
            all.push((
                Fault::ParameterGradient { element, bit },
                StepPhase::Gradients,
                "net.up.weight",
            ));
        }
    }
    for (site, name) in [
        ("up", "up.output.i0"),
        ("act", "act.output.i0"),
        ("down", "down.output.i0"),
    ] {
        all.push((Fault::Activation { site }, StepPhase::Forward, name));
    }
    for (site, name) in [
        ("up", "up.output.grad.i0"),
        ("act", "act.output.grad.i0"),
        ("down", "down.output.grad.i0"),
    ] {
        all.push((Fault::Gradient { site }, StepPhase::Backward, name));
    }
    all.push((
        Fault::Moment,
        StepPhase::State,
        "net.down.weight.momentum.moment_1",
    ));
    all.push((Fault::Order, StepPhase::Batch, "items"));
    all.push((Fault::Item, StepPhase::Batch, "items"));
    // The seed of the device is drawn from in the step: the first thing that it changes.
    all.push((Fault::Seed, StepPhase::Loss, "loss"));
    for scale in [1.000_001, 0.5, 2.0] {
        all.push((
            Fault::Rate { scale },
            StepPhase::Schedule,
            "net.learning rate",
        ));
    }
    all.push((
        Fault::Parametrisation,
        StepPhase::Parameters,
        "net.up.weight",
    ));
    all
}

fn trace(run: &Path, step: u64, fault: Option<(u64, Fault)>) -> StepTrace {
    let mut state = fresh(SEED);
    let mut training = settings().trace(run, step, &mut state).unwrap();
    train(&mut training, &mut state, STEPS, fault).unwrap();
    training.take_trace().unwrap()
}

/// Finds where a run with a fault parts from one without: by digests, then in one traced step.
fn find(clean: &Path, faulty: &Path, fault: (u64, Fault)) -> (StepDifference, u32) {
    let (a, b) = (Ledger::read(clean).unwrap(), Ledger::read(faulty).unwrap());
    let parting = first_parting(&a, &b).unwrap();
    let parting = parting.unwrap_or_else(|| panic!("{fault:?} is not seen"));
    let (a, b) = (
        trace(clean, parting.step, None),
        trace(faulty, parting.step, Some(fault)),
    );
    let difference = a
        .first_difference(&b)
        .expect("a step that parts has a place");
    (difference, parting.comparisons)
}

fn check(steps: impl IntoIterator<Item = u64>) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let clean = folder.path().join("clean");
    record(&clean, STEPS, None);
    let mut found = 0;
    for step in steps {
        for (number, (fault, phase, name)) in faults().into_iter().enumerate() {
            let faulty = folder.path().join(format!("{step}-{number}"));
            record(&faulty, STEPS, Some((step, fault)));
            let (difference, comparisons) = find(&clean, &faulty, (step, fault));
            let place = (difference.step, difference.phase, &*difference.name);
            assert_eq!(place, (step, phase, name), "{fault:?}: {difference}");
            assert!(
                comparisons <= STEPS.next_power_of_two().ilog2() + 1,
                "{comparisons} comparisons"
            );
            let StepDifferenceKind::Elements(elements) = &difference.kind else {
                panic!("{fault:?}: {difference}");
            };
            assert!(elements.differing >= 1);
            if let Fault::Weight { element, .. } | Fault::ParameterGradient { element, .. } = fault
            {
                let first = elements.first[0] * 6 + elements.first[1];
                assert_eq!((elements.differing, first), (1, element as u64));
            }
            found += 1;
        }
    }
    found
}

#[test]
fn r105_each_kind_of_fault_is_found_in_its_place() {
    let _alone = alone();
    assert_eq!(check([13]), faults().len());
}

/// `cargo test -p interloom --test training faults -- --ignored`
#[test]
#[ignore = "minutes: cargo test --workspace --test training -- --ignored"]
fn r105_two_hundred_faults_are_found() {
    let _alone = alone();
    assert!(check([1, 2, 9, 11, 19, 31]) >= 200);
}

#[test]
fn r105_equal_runs_do_not_part() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let runs = ["a", "b"].map(|name| folder.path().join(name));
    for run in &runs {
        record(run, 12, None);
    }
    let [a, b] = runs.each_ref().map(|run| Ledger::read(run).unwrap());
    assert_eq!(first_parting(&a, &b).unwrap(), None);
    assert_eq!(
        trace(&runs[0], 11, None).first_difference(&trace(&runs[1], 11, None)),
        None
    );
}
