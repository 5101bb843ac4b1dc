//! Runs that are killed and resumed, made again alone, and forked.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use interloom::environment::sites_of;
use interloom::journal::training::{
    KeepRule, LEDGER_FILE, Ledger, NAMES_FILE, SEGMENTS_FILE, StepPhase, check_step_exchanges,
    first_parting, held_exchanges, step_runs,
};
use interloom::journal::{Event, Journal, ModelIdentity, check};
use interloom::training::{SavedBytes, StatePart, StateTensors, TrainingBuilder, TrainingState};
use interloom::{Error, Policy, Run, Session, Sites, Subject};
use interloom_backends::Forward as _;

use crate::net::{Fault, SEED, alone, damp, device, fresh, record, settings, train};

const STEPS: u64 = 35;

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let names = [
        LEDGER_FILE,
        NAMES_FILE,
        SEGMENTS_FILE,
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
fn r106_a_fork_that_is_killed_before_its_step_goes_on_as_the_old_run_up_to_it() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let [run, fork, again] = ["run", "fork", "again"].map(|name| folder.path().join(name));
    record(&run, STEPS, None);
    let other = || interloom::training::Training::of(8, &crate::net::device()).checkpoint_every(10);
    let mut state = fresh(SEED);
    let mut training = other().fork(&run, 17, &fork, &mut state).unwrap();
    train(&mut training, &mut state, 13, None).unwrap();
    drop(training);
    // A fault before the step of the fork is one.
    let mut state = fresh(SEED);
    let mut training = other().resume(&fork, &mut state).unwrap();
    let fault = Some((12, Fault::Rate { scale: 2.0 }));
    let error = train(&mut training, &mut state, STEPS, fault).unwrap_err();
    assert_eq!(error.code(), "E088");
    drop(training);
    let mut state = fresh(SEED);
    let mut training = other().resume(&fork, &mut state).unwrap();
    train(&mut training, &mut state, STEPS, None).unwrap();
    training.finish().unwrap();
    let (a, b) = (Ledger::read(&run).unwrap(), Ledger::read(&fork).unwrap());
    assert_eq!(a.lines()[..17], b.lines()[..17]);
    let parting = first_parting(&a, &b).unwrap().unwrap();
    assert_eq!((parting.step, parting.phase), (17, StepPhase::Seed));

    // A fork of the fork has the seeds of all three, in which each step can be made again.
    let third = || interloom::training::Training::of(9, &crate::net::device()).checkpoint_every(10);
    let mut state = fresh(SEED);
    let mut training = third().fork(&fork, 25, &again, &mut state).unwrap();
    train(&mut training, &mut state, STEPS, None).unwrap();
    training.finish().unwrap();
    let c = Ledger::read(&again).unwrap();
    assert_eq!(b.lines()[..25], c.lines()[..25]);
    assert_eq!(
        [16, 17, 25].map(|step| c.head().seed_at(step)),
        [SEED, 8, 9]
    );
    let mut state = fresh(SEED);
    let mut training = third().verify(&again, 20..30, &mut state).unwrap();
    train(&mut training, &mut state, STEPS, None).unwrap();
    training.finish().unwrap();
    // And one from before the first fork has nothing of it.
    let mut state = fresh(SEED);
    let early = folder.path().join("early");
    let error = third().fork(&fork, 5, &early, &mut state).err().unwrap();
    assert!(error.to_string().contains("forked at step 17"), "{error}");
    let training = third().fork(&fork, 12, &early, &mut state).unwrap();
    drop(training);
    let early = Ledger::read(&early).unwrap();
    assert_eq!(
        [11, 12, 20].map(|step| early.head().seed_at(step)),
        [SEED, 9, 9]
    );
}

#[test]
fn a_run_is_opened_as_its_mode_says() {
    use interloom::training::TrainingMode as Mode;

    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let [run, into] = ["run", "fork"].map(|name| folder.path().join(name));
    let fork = Mode::Fork {
        from: run.clone(),
        step: 12,
        into: into.clone(),
    };
    let verify = Mode::Verify {
        folder: run.clone(),
        steps: 11..13,
    };
    for (mode, begins, forked_at, ends) in [
        (Mode::Plain, 0, None, 15),
        (Mode::Record(run.clone()), 0, None, 15),
        (Mode::Resume(run.clone()), 10, None, 15),
        (verify, 10, None, 13),
        (fork, 10, Some(12), 15),
        (Mode::Resume(into), 10, Some(12), 15),
    ] {
        let mut state = fresh(SEED);
        let mut training = settings().open(mode.clone(), &mut state).unwrap();
        assert_eq!(
            (training.next(), training.forked_at()),
            (begins, forked_at),
            "{mode:?}"
        );
        train(&mut training, &mut state, 15, None).unwrap();
        assert_eq!(training.next(), ends, "{mode:?}");
        training.finish().unwrap();
    }
    let again = settings().open(Mode::Record(run), &mut fresh(SEED));
    assert_eq!(again.err().unwrap().code(), "E070");
}

#[test]
fn a_run_that_is_resumed_makes_again_all_that_its_ledger_has() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let [run, whole] = ["run", "whole"].map(|name| folder.path().join(name));
    for folder in [&run, &whole] {
        record(folder, STEPS, None);
    }
    // Fewer steps than there are: the journal that is written anew would have less of them.
    let mut state = fresh(SEED);
    let mut training = settings().resume(&run, &mut state).unwrap();
    train(&mut training, &mut state, 32, None).unwrap();
    assert_eq!(training.next(), STEPS);
    training.finish().unwrap();
    assert_eq!(files(&run), files(&whole));
}

#[test]
fn what_was_not_made_again_is_not_verified() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    record(&run, 17, None);
    let verify = |steps| settings().verify(&run, steps, &mut fresh(SEED));
    // The loop's own number of steps may be smaller.
    let mut state = fresh(SEED);
    let mut training = settings().verify(&run, 13..15, &mut state).unwrap();
    train(&mut training, &mut state, 3, None).unwrap();
    assert_eq!(training.next(), 15);
    training.finish().unwrap();
    let error = verify(13..15).unwrap().finish().unwrap_err();
    assert_eq!(error.code(), "E077");
    for steps in [5..5, 0..0] {
        assert_eq!(verify(steps).err().unwrap().code(), "E089");
    }
}

#[test]
fn after_a_step_that_failed_there_is_no_further_one() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut state = fresh(SEED);
    let mut training = settings().record(&run, &mut state).unwrap();
    train(&mut training, &mut state, 12, None).unwrap();
    let failed = training.step(&mut state, |_, _| {
        Err(Error::Training("no data".to_owned()))
    });
    assert_eq!(failed.unwrap_err().code(), "E089");
    let error = train(&mut training, &mut state, 17, None).unwrap_err();
    assert_eq!(error.code(), "E077");
    assert_eq!(training.finish().unwrap_err().code(), "E077");
    let mut training = settings().resume(&run, &mut state).unwrap();
    train(&mut training, &mut state, 17, None).unwrap();
    training.finish().unwrap();
    assert_eq!(Ledger::read(&run).unwrap().lines().len(), 17);
}

#[test]
fn r103_a_state_that_is_changed_between_two_steps_is_named() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let names = |error: Error| match error {
        Error::StateChanged { step, names } => (step, names),
        other => panic!("{other}"),
    };
    let weight = Fault::Weight { element: 3, bit: 0 };
    let weight_name = vec!["net.up.weight".to_owned()];
    // A recording sees it before each step, and always where a checkpoint does not have it.
    let spoilt = folder.path().join("spoilt");
    let moment_name = vec!["net.down.weight.momentum.moment_1".to_owned()];
    let spoil = |every, step, fault| {
        let _ = std::fs::remove_dir_all(&spoilt);
        let mut state = fresh(SEED);
        let settings = settings().check_state_every(every);
        let mut training = settings.record(&spoilt, &mut state).unwrap();
        train(&mut training, &mut state, 15, Some((step, fault)))
    };
    for (fault, name) in [(weight, &weight_name), (Fault::Moment, &moment_name)] {
        for (every, step) in [(1, 7), (1, 14), (7, 14), (7, 10), (0, 10)] {
            let error = spoil(every, step, fault).unwrap_err();
            assert_eq!(names(error), (step, name.clone()));
        }
        spoil(0, 7, fault).unwrap();
        spoil(7, 8, fault).unwrap();
    }
    assert_eq!(
        names(spoil(0, 0, weight).unwrap_err()),
        (0, weight_name.clone())
    );
    // Where steps are made again each is looked at.
    let run = folder.path().join("run");
    record(&run, 17, None);
    let mut state = fresh(SEED);
    let mut training = settings().verify(&run, 12..16, &mut state).unwrap();
    let error = train(&mut training, &mut state, 16, Some((14, weight))).unwrap_err();
    assert_eq!(names(error), (14, weight_name));
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

#[test]
fn r101_what_journals_keep_is_said_by_step_and_by_site() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let [all, some] = ["all", "some"].map(|name| folder.path().join(name));
    record(&all, STEPS, None);
    let rules = || {
        settings()
            .rule(KeepRule::nothing())
            .rule(KeepRule::digests().every(4))
            .rule(KeepRule::tensors_at(["act", "up.output.grad"]).steps(12..=17))
    };
    let mut state = fresh(SEED);
    let mut training = rules().record(&some, &mut state).unwrap();
    train(&mut training, &mut state, STEPS, None).unwrap();
    training.finish().unwrap();
    // What is kept changes no line of the ledger.
    let [a, b] = [&all, &some].map(|run| Ledger::read(run).unwrap());
    assert_eq!(first_parting(&a, &b).unwrap(), None);
    let held = held_exchanges(&b);
    assert_eq!(
        (held.absent.len(), held.problems.len(), held.journals),
        (0, 0, 4)
    );
    let journal = Journal::load(some.join("steps-00000010.ilj")).unwrap();
    let names: Vec<_> = journal.runs.iter().map(|run| &*run.start.name).collect();
    let steps: Vec<_> = names.iter().filter(|name| !name.contains('.')).collect();
    assert_eq!(
        steps,
        [
            &"step 12", &"step 13", &"step 14", &"step 15", &"step 16", &"step 17"
        ]
    );
    // Of the rest only digests, and those where they differ from all.
    assert!(!journal.tensors.is_empty());
    let whole = check(some.join("steps-00000010.ilj")).unwrap();
    assert_eq!(whole.problem, None);
    assert!(whole.tensors > 0);
    assert_eq!(check(some.join("steps-00000020.ilj")).unwrap().tensors, 0);
    // The steps are made again under the same rules, and under no others.
    for steps in [0..1, 13..14, 18..24, 34..35] {
        let mut state = fresh(SEED);
        let mut training = rules().verify(&some, steps, &mut state).unwrap();
        train(&mut training, &mut state, STEPS, None).unwrap();
        training.finish().unwrap();
    }
    let error = settings()
        .verify(&some, 0..1, &mut fresh(SEED))
        .err()
        .unwrap();
    assert_eq!(error.code(), "E087");
    let message = error.to_string();
    assert!(
        message.contains("journals keep [nothing; digests at *, every 4th; tensors at act and up.output.grad, steps 12 to 17] recorded"),
        "{message}"
    );
    // A run that is killed and goes on keeps the same.
    let killed = folder.path().join("killed");
    for stop in [13, 19, 28] {
        let mut state = fresh(SEED);
        let mut training = rules().record_or_resume(&killed, &mut state).unwrap();
        train(&mut training, &mut state, stop, None).unwrap();
        drop(training);
    }
    let mut state = fresh(SEED);
    let mut training = rules().resume(&killed, &mut state).unwrap();
    train(&mut training, &mut state, STEPS, None).unwrap();
    training.finish().unwrap();
    assert!(files(&killed) == files(&some));
}

#[test]
fn r104_a_resume_at_a_checkpoint_has_steps_to_compare() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let [run, whole] = ["run", "whole"].map(|name| folder.path().join(name));
    record(&whole, STEPS, None);
    record(&run, 20, None);
    // Another rate, item or order is refused, though no step was made behind the checkpoint.
    for fault in [Fault::Rate { scale: 2.0 }, Fault::Item, Fault::Order] {
        let mut state = fresh(SEED);
        let mut training = settings().resume(&run, &mut state).unwrap();
        assert_eq!(training.next(), 10);
        let error = train(&mut training, &mut state, STEPS, Some((10, fault))).unwrap_err();
        assert_eq!(error.code(), "E088", "{fault:?}");
    }
    to_the_end(&run);
    assert!(files(&run) == files(&whole));
    // Unless it is trusted, or the checkpoint before is gone.
    let run = folder.path().join("trusted");
    record(&run, 20, None);
    let next = |settings: TrainingBuilder| {
        let training = settings.resume(&run, &mut fresh(SEED)).unwrap();
        training.next()
    };
    assert_eq!(next(settings().trust_checkpoint()), 20);
    fs::remove_dir_all(run.join("checkpoint-00000010")).unwrap();
    assert_eq!(next(settings()), 20);
}

/// Bytes that count how often they are read.
struct Counted {
    bytes: SavedBytes,
    reads: Cell<u32>,
}

impl StatePart for Counted {
    fn name(&self) -> &str {
        self.bytes.name()
    }

    fn read(&self) -> Result<StateTensors, String> {
        self.reads.set(self.reads.get() + 1);
        self.bytes.read()
    }

    fn load(&mut self, saved: StateTensors) -> Result<(), String> {
        self.bytes.load(saved)
    }
}

impl TrainingState for Counted {
    fn parts(&mut self) -> Vec<&mut dyn StatePart> {
        vec![self]
    }
}

#[test]
fn the_state_is_read_once_for_a_step_and_once_to_look_whether_it_changed() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    for (every, expected) in [(0, [1, 1, 1, 1, 2, 1]), (1, [2; 6])] {
        let mut state = Counted {
            bytes: SavedBytes::new("bytes", [7; 8]),
            reads: Cell::new(0),
        };
        let settings = settings().checkpoint_every(4).check_state_every(every);
        let run = folder.path().join(every.to_string());
        let mut training = settings.record(run, &mut state).unwrap();
        training.step(&mut state, |_, _| Ok(0.0)).unwrap();
        let reads = [(); 6].map(|()| {
            state.reads.set(0);
            training.step(&mut state, |_, _| Ok(0.0)).unwrap();
            state.reads.get()
        });
        // The fourth of these makes a checkpoint, and the one behind it begins a journal.
        assert_eq!(reads[..3], expected[..3]);
        assert_eq!(reads.iter().sum::<u32>(), expected.iter().sum::<u32>());
    }
}

#[test]
fn r101_the_runs_of_a_step_are_counted_whatever_they_are_called_and_if_they_fail() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let mut state = fresh(SEED);
    let mut training = settings().record(folder.path(), &mut state).unwrap();
    let sites = Sites::bind(&state.module).unwrap();
    while training.goes_on(12) {
        let made = training.step(&mut state, |step, state| {
            // None, one that succeeds, or also one that fails.
            for nth in 0..step.number() % 3 {
                let mut run = Run::new("step 4", &sites);
                run.mediator("reader", async move |cx| match nth {
                    0 => cx.output("act").await.map(drop),
                    _ => cx.output("nowhere").await.map(drop),
                });
                let x = Tensor::<2>::ones([1, 3], &device());
                let recorded = step.record(run, || state.module.forward(x));
                assert_eq!(recorded.is_err(), nth == 1);
            }
            Ok(0.0)
        });
        made.unwrap();
    }
    training.finish().unwrap();
    let ledger = Ledger::read(folder.path()).unwrap();
    let counts: Vec<u32> = ledger.lines().iter().map(|line| line.runs).collect();
    assert_eq!(counts, [0, 1, 2].repeat(4));
    let held = held_exchanges(&ledger);
    assert_eq!((held.absent, held.problems.len()), (vec![], 0));
    for step in 0..12 {
        check_step_exchanges(&ledger, step).unwrap();
    }
    let numbers = [3, 5, 10, 11].map(|step| step_runs(&ledger, step).unwrap());
    assert_eq!(numbers, [3..3, 4..6, 0..1, 1..3]);
    assert_eq!(step_runs(&ledger, 12).unwrap_err().code(), "E072");
}
