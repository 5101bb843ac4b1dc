//! Runs that are killed and resumed, made again alone, and forked.

use std::fs;
use std::path::Path;

use burn::tensor::{Device, TensorData};
use interloom::environment::sites_of;
use interloom::journal::training::{LEDGER_FILE, Ledger, NAMES_FILE, StepPhase, first_parting};
use interloom::journal::{Event, Journal, ModelIdentity};
use interloom::{Error, Policy, Run, Session, Sites, Subject};

use crate::net::{Fault, SEED, alone, damp, fresh, record, settings, train};

const STEPS: u64 = 35;

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let names = [
        LEDGER_FILE,
        NAMES_FILE,
        "steps-00000010.ilj",
        "steps-00000030.ilj",
    ];
    names
        .map(|name| fs::read(folder.join(name)).unwrap())
        .into()
}

/// Makes steps up to `stop`, and goes away as a process that is killed does: without an end.
fn until(folder: &Path, stop: u64) {
    let mut state = fresh(SEED);
    let mut training = settings().record_or_resume(folder, &mut state).unwrap();
    train(&mut training, &mut state, stop, None).unwrap();
    drop(training);
}

fn to_the_end(folder: &Path) {
    // The weights with which it begins do not matter: those of the checkpoint do.
    let mut state = fresh(SEED + 1);
    let mut training = settings().resume(folder, &mut state).unwrap();
    train(&mut training, &mut state, STEPS, None).unwrap();
    training.finish().unwrap();
}

#[test]
fn r104_a_run_that_is_killed_anywhere_and_resumed_is_the_same_byte_for_byte() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    record(&whole, STEPS, None);
    let expected = files(&whole);
    for stops in [
        &[1][..],
        &[9],
        &[10],
        &[11, 23],
        &[0, 30, 34],
        &[35],
        &[12, 13, 14],
    ] {
        let run = folder.path().join(format!("{stops:?}"));
        for stop in stops {
            until(&run, *stop);
        }
        // What a killed process may leave: a part of a line, and of names.
        for (file, torn) in [(LEDGER_FILE, 100), (NAMES_FILE, 3)] {
            let path = run.join(file);
            let mut bytes = fs::read(&path).unwrap();
            bytes.extend(vec![7; torn]);
            fs::write(&path, bytes).unwrap();
        }
        assert!(Ledger::read(&run).unwrap().is_torn());
        to_the_end(&run);
        assert!(files(&run) == expected, "{stops:?}");
    }
}

#[test]
fn r104_any_step_is_made_again_alone() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    record(&run, STEPS, None);
    for step in 0..STEPS {
        let mut state = fresh(SEED + step);
        let mut training = settings().verify(&run, step..step + 1, &mut state).unwrap();
        assert_eq!(training.next(), step / 10 * 10);
        train(&mut training, &mut state, STEPS, None).unwrap();
        training.finish().unwrap();
    }
}

#[test]
fn r104_a_step_that_comes_out_otherwise_is_an_error_that_says_where() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    record(&run, STEPS, None);
    let wrong = |fault: Fault| {
        let mut state = fresh(SEED);
        let mut training = settings().verify(&run, 14..16, &mut state).unwrap();
        let error = train(&mut training, &mut state, STEPS, Some((12, fault))).unwrap_err();
        assert_eq!(error.code(), "E088");
        match error {
            Error::StepParted {
                step,
                phase,
                names,
                divergence,
                ..
            } => (step, phase, names, divergence.is_some()),
            _ => unreachable!(),
        }
    };
    assert_eq!(
        wrong(Fault::Item),
        (12, StepPhase::Exchanges, vec![], true),
        "the exchanges of a step are compared while it is made"
    );
    let rate = wrong(Fault::Rate { scale: 2.0 });
    assert_eq!(rate.0, 12);
    assert_eq!(
        (rate.1, &rate.2[..]),
        (StepPhase::Schedule, &["net.learning rate".to_owned()][..])
    );
    let gradient = wrong(Fault::ParameterGradient { element: 2, bit: 3 });
    assert_eq!(gradient.1, StepPhase::Gradients);
    assert_eq!(gradient.2, ["net.up.weight"]);
    let weight = wrong(Fault::Parametrisation);
    assert_eq!(
        (weight.1, &weight.2[..]),
        (StepPhase::Parameters, &["net.up.weight".to_owned()][..])
    );
}

#[test]
fn r106_a_run_is_forked_at_a_step_and_its_prefix_is_the_same_byte_for_byte() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (run, fork, again) = (
        folder.path().join("run"),
        folder.path().join("fork"),
        folder.path().join("again"),
    );
    record(&run, STEPS, None);
    let mut state = fresh(SEED);
    let mut training = settings().fork(&run, 17, &fork, &mut state).unwrap();
    assert_eq!(
        training.next(),
        10,
        "nothing before the checkpoint is computed again"
    );
    train(
        &mut training,
        &mut state,
        STEPS,
        Some((17, Fault::Rate { scale: 3.0 })),
    )
    .unwrap();
    training.finish().unwrap();

    let (a, b) = (Ledger::read(&run).unwrap(), Ledger::read(&fork).unwrap());
    assert_eq!(a.lines()[..17], b.lines()[..17]);
    let parting = first_parting(&a, &b).unwrap().unwrap();
    assert_eq!((parting.step, parting.phase), (17, StepPhase::Schedule));
    assert_eq!(b.head().parent.as_ref().unwrap().step, 17);
    assert_eq!(b.head().parent.as_ref().unwrap().chain, a.lines()[16].chain);

    // Another seed: from the step on, and not before.
    let mut state = fresh(SEED);
    let other = interloom::training::Training::of(8, &crate::net::device()).checkpoint_every(10);
    let mut training = other.clone().fork(&run, 20, &again, &mut state).unwrap();
    train(&mut training, &mut state, 25, None).unwrap();
    drop(training);
    let mut training = other.resume(&again, &mut state).unwrap();
    train(&mut training, &mut state, STEPS, None).unwrap();
    training.finish().unwrap();
    let parting = first_parting(&a, &Ledger::read(&again).unwrap())
        .unwrap()
        .unwrap();
    assert_eq!((parting.step, parting.phase), (20, StepPhase::Seed));
}

#[test]
fn checkpoints_are_thinned_out_and_the_first_is_kept() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut state = fresh(SEED);
    let mut training = settings().keep(2).record(&run, &mut state).unwrap();
    train(&mut training, &mut state, 45, None).unwrap();
    training.finish().unwrap();
    let ledger = Ledger::read(&run).unwrap();
    assert_eq!(ledger.checkpoints().unwrap(), [0, 30, 40]);
    // A step whose checkpoint is gone is made from an earlier one.
    let mut state = fresh(SEED);
    let mut training = settings().verify(&run, 25..26, &mut state).unwrap();
    assert_eq!(training.next(), 0);
    train(&mut training, &mut state, 45, None).unwrap();
}

/// What is there without weights: the sites that the journal names.
struct Weightless(Sites);

impl Subject for Weightless {
    fn name(&self) -> &str {
        "without weights"
    }

    fn sites(&self) -> &Sites {
        &self.0
    }

    fn device(&self) -> Device {
        Device::flex()
    }

    fn visit_parameters(&self, _: &mut dyn FnMut(&str, TensorData)) {}

    fn identity(&self) -> Option<ModelIdentity> {
        None
    }
}

#[test]
fn the_mediators_of_a_training_run_are_served_without_weights() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut state = fresh(SEED);
    let full = settings().policy(Policy::Full);
    let mut training = full.record(&run, &mut state).unwrap();
    train(&mut training, &mut state, 20, None).unwrap();
    training.finish().unwrap();

    let ledger = Ledger::read(&run).unwrap();
    for first in [0, 10] {
        let path = ledger.segment(first);
        let (journal, _) = Journal::load_prefix(&path).unwrap();
        let model = Weightless(sites_of(&journal.head).expect("the sites of the net"));
        let mut session = Session::serve(&path, &model).unwrap();
        // Two runs a step, whose mediators change an activation and two gradients.
        for recorded in &journal.runs {
            let mut run = Run::new(&recorded.start.name, &model.0);
            damp(&mut run);
            session
                .run(run, || unreachable!("no model is called"))
                .map(drop)
                .unwrap();
        }
        let conclusion = session.finish().unwrap();
        assert!(conclusion.is_identical());
        let edits = journal.runs.iter().flat_map(|run| &run.exchanges);
        assert_eq!(
            edits
                .filter(|exchange| exchange.event == Event::Swap)
                .count(),
            60
        );
    }
}
