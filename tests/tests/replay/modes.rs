//! A journal in the place of the model, or of the mediators: what is live is judged, and nothing else.

use interloom::divergence::{Class, Divergence};
use interloom::journal::Policy;
use interloom::{Conclusion, Error, Mode, Proof};

use crate::Recording;
use crate::plan::{Plan, make};

fn full() -> Plan {
    Plan {
        policy: Policy::Full,
        ..Plan::default()
    }
}

type Makes = fn(std::path::PathBuf) -> Mode;

const SERVE: Makes = Mode::Serve;
const DRIVE: Makes = Mode::Drive;

/// Replays a full recording of the default plan, and says what it proves or where it parts.
fn replay(mode: Makes, live: &Plan) -> Result<Proof, Box<Divergence>> {
    let recording = Recording::of(&full());
    match make(mode(recording.path()), live).unwrap() {
        Conclusion::Verified {
            proof, divergence, ..
        } => divergence.map_or(Ok(proof), Err),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_equal_is_proved_for_the_live_side() {
    assert_eq!(replay(SERVE, &full()), Ok(Proof::Mediators));
    assert_eq!(replay(DRIVE, &full()), Ok(Proof::Model));
}

#[test]
fn another_model_is_none_of_the_mediators_business() {
    let other = Plan {
        weight: Some(("up.weight", 3, 0.25)),
        ..full()
    };
    assert_eq!(replay(SERVE, &other), Ok(Proof::Mediators), "no model runs");
    let divergence = replay(DRIVE, &other).unwrap_err();
    assert_eq!(divergence.site.as_deref(), Some("up.output.i0"));
}

#[test]
fn another_mediator_is_none_of_the_models_business() {
    let other = Plan {
        scale: 2.000_000_2,
        ..full()
    };
    assert_eq!(replay(DRIVE, &other), Ok(Proof::Model), "no mediator runs");
    let divergence = replay(SERVE, &other).unwrap_err();
    assert_eq!(divergence.class, Class::Value);
    assert_eq!(divergence.mediator.as_deref(), Some("scale"));
    let tensor = divergence.tensor.expect("the journal has the bytes");
    assert!(tensor.differing > 0);
}

#[test]
fn mediators_that_ask_for_something_else_part_from_a_journal_that_serves() {
    let elsewhere = Plan {
        site: "up",
        ..full()
    };
    let silent = Plan {
        swaps: false,
        ..full()
    };
    let longer = Plan {
        reads_again: true,
        ..full()
    };
    for live in [elsewhere, silent, longer] {
        let divergence = replay(SERVE, &live).unwrap_err();
        assert_eq!(divergence.class, Class::Protocol, "{divergence}");
        assert_eq!(divergence.mediator.as_deref(), Some("scale"), "{live:?}");
    }
}

#[test]
fn fewer_and_more_runs_than_the_journal_has_are_differences() {
    for (mode, runs) in [(SERVE, 1), (SERVE, 3), (DRIVE, 1), (DRIVE, 3)] {
        let live = Plan { runs, ..full() };
        let recording = Recording::of(&full());
        let conclusion = make(mode(recording.path()), &live).unwrap();
        assert!(!conclusion.is_identical(), "{runs} runs");
    }
}

#[test]
fn a_run_that_failed_is_served_to_its_failure() {
    let failing = Plan {
        fails: true,
        ..full()
    };
    let recording = Recording::of(&failing);
    match make(Mode::Serve(recording.path()), &failing) {
        Err(Error::RecordedFailure { code, run, .. }) => {
            assert_eq!((code.as_str(), run.as_str()), ("E002", "run 0"));
        }
        other => panic!("{other:?}"),
    }
    let driven = make(Mode::Drive(recording.path()), &failing).unwrap();
    assert!(driven.is_identical(), "{driven:?}");
}

#[test]
fn a_journal_of_digests_has_nothing_to_give() {
    let recording = Recording::of(&Plan::default());
    for mode in [SERVE, DRIVE] {
        match make(mode(recording.path()), &Plan::default()) {
            Err(error @ Error::NotKept { .. }) => assert_eq!(error.code(), "E095"),
            other => panic!("{other:?}"),
        }
    }
}
