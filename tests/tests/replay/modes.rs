//! A journal in the place of the model, or of the mediators: what is live is judged, and nothing
//! else.

use std::path::Path;

use interloom::{Conclusion, Error, Mode, Proof};
use interloom_engine::{FaultKind, Misfit};
use interloom_journal::divergence::{Divergence, DivergenceClass};
use interloom_journal::{
    CachedLine, ExchangeRecord, Journal, JournalReader, JournalWriter, Policy, Record, ValueTree,
};

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
fn caches_are_compared_where_both_sides_are_live() {
    let caches = Plan {
        caches: true,
        ..full()
    };
    let recording = Recording::of(&caches);
    let cached = |path: &Path| {
        let runs = Journal::load(path).unwrap().runs;
        let lines = |run: interloom_journal::RunRecord| run.end.unwrap().cached;
        runs.into_iter().map(lines).collect::<Vec<_>>()
    };
    let recorded = cached(&recording.path());
    let places = |lines: &Option<Vec<CachedLine>>| {
        let lines = lines.as_ref().unwrap().iter();
        let places = lines.map(|line| (line.owner, line.number, line.point.clone(), line.values));
        places.collect::<Vec<_>>()
    };
    let of_run = (None, 0, "down.output".to_owned(), 1);
    let expected = [of_run, (Some(0), 0, "split.output".to_owned(), 1)];
    assert_eq!(recorded.len(), 2);
    assert_eq!(places(&recorded[0]), expected);
    for mode in [SERVE, DRIVE] {
        let conclusion = make(mode(recording.path()), &caches).unwrap();
        assert!(
            conclusion.is_identical(),
            "caches collect what the journal serves, and what a driven model passes"
        );
    }

    // Caches collect in the run that a fork leaves, and in those before it, which are served.
    let into = recording.path().with_file_name("fork.ilj");
    let fork = Mode::Fork {
        from: recording.path(),
        exchange: 5,
        into: into.clone(),
    };
    make(fork, &caches).unwrap();
    assert_eq!(cached(&into), recorded);
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
    assert_eq!(divergence.class, DivergenceClass::Value);
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
    // `up` comes before the site at which the recorded mediator asked, so that it is another
    // mediator's turn.
    let divergence = replay(SERVE, &elsewhere).unwrap_err();
    assert_eq!(divergence.class, DivergenceClass::Schedule, "{divergence}");
    for live in [silent, longer] {
        let divergence = replay(SERVE, &live).unwrap_err();
        assert_eq!(divergence.class, DivergenceClass::Protocol, "{divergence}");
        assert_eq!(divergence.mediator.as_deref(), Some("scale"), "{live:?}");
    }
}

#[test]
fn fewer_and_more_runs_than_the_journal_has_are_differences() {
    for (mode, runs) in [(SERVE, 1), (SERVE, 3), (DRIVE, 1), (DRIVE, 3)] {
        let live = Plan {
            runs: 0..runs,
            ..full()
        };
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
    for mode in [SERVE, DRIVE] {
        let again = make(mode(recording.path()), &failing).unwrap();
        assert!(again.is_identical(), "{again:?}");
    }
}

fn careless() -> Plan {
    Plan {
        careless: true,
        ..full()
    }
}

/// The refused swaps of the first run.
fn refusals(journal: &Journal) -> Vec<&ExchangeRecord> {
    let of_run = journal.runs[0].exchanges.iter();
    of_run.filter(|exchange| exchange.fault.is_some()).collect()
}

#[test]
fn what_did_not_fit_is_refused_again_whatever_it_was() {
    let recording = Recording::of(&careless());
    let journal = Journal::load(recording.path()).unwrap();
    let refusals = refusals(&journal);
    assert_eq!(refusals.len(), 10);
    for mode in [Mode::Verify, SERVE, DRIVE] {
        let conclusion = make(mode(recording.path()), &careless()).unwrap();
        assert!(conclusion.is_identical(), "{conclusion:#?}");
    }
    // In a fork, too, they are refused again before the mediators take over.
    let exchange = refusals.last().unwrap().index + 1;
    let into = recording.path().with_file_name("fork.ilj");
    let from = recording.path();
    let fork = Mode::Fork {
        from,
        exchange,
        into: into.clone(),
    };
    make(fork, &careless()).unwrap();
    let forked = Journal::load(into).unwrap();
    assert_eq!(forked.runs[0].exchanges, journal.runs[0].exchanges);
}

#[test]
fn a_refusal_that_the_model_would_not_give_is_a_difference() {
    let recording = Recording::of(&careless());
    let journal = Journal::load(recording.path()).unwrap();
    let refusals = refusals(&journal);
    let expects =
        |exchange: &mut ExchangeRecord| misfit(exchange, |misfit| misfit.expected.push('?'));
    let finds = |exchange: &mut ExchangeRecord| misfit(exchange, |misfit| misfit.found.push('?'));
    let gives = |exchange: &mut ExchangeRecord| exchange.value = Some(ValueTree::Unit);
    let changes: [&dyn Fn(&mut ExchangeRecord); 3] = [&expects, &finds, &gives];
    // The tuples for `act` and for `split`.
    for place in [2, 6] {
        for (number, change) in changes.into_iter().enumerate() {
            let index = refusals[place].index;
            let path = recording.path().with_file_name("tampered.ilj");
            rewrite(&recording.path(), &path, index, change);
            match make(Mode::Drive(path), &careless()) {
                Ok(Conclusion::Verified {
                    divergence: Some(divergence),
                    ..
                }) => assert_eq!(
                    (divergence.index, divergence.class),
                    (index, DivergenceClass::Protocol),
                    "change {number}"
                ),
                other => panic!("change {number}: {other:?}"),
            }
        }
    }
}

/// Changes what the fault of an exchange says did not fit.
fn misfit(exchange: &mut ExchangeRecord, change: impl FnOnce(&mut Misfit)) {
    let fault = exchange.fault.take().expect("it is refused");
    exchange.fault = Some(match fault.into_kind() {
        FaultKind::Misfit { site, mut misfit } => {
            change(&mut misfit);
            FaultKind::Misfit { site, misfit }.into()
        }
        other => panic!("{other:?}"),
    });
}

/// Writes a journal again, with one exchange changed.
fn rewrite(path: &Path, into: &Path, index: u64, change: &dyn Fn(&mut ExchangeRecord)) {
    rewrite_each(path, into, &|record| {
        if let Record::Exchange(exchange) = record
            && exchange.index == index
        {
            change(exchange);
        }
        true
    });
}

/// Writes a journal again, with records changed, and without those that `keeps` does not keep.
fn rewrite_each(path: &Path, into: &Path, keeps: &dyn Fn(&mut Record) -> bool) {
    let mut reader = JournalReader::open(path).unwrap();
    let head = reader.head().clone();
    let mut writer = JournalWriter::create(into, &head).unwrap();
    while let Some((_, mut record)) = reader.next_record().unwrap() {
        if keeps(&mut record) {
            writer.record(&record).unwrap();
        }
    }
    writer.finish().unwrap();
}

#[test]
fn a_journal_that_does_not_say_what_the_model_passed_serves_nobody() {
    let recording = Recording::of(&full());
    let path = recording.path().with_file_name("unwatched.ilj");
    rewrite_each(&recording.path(), &path, &|record| {
        !matches!(record, Record::Visit(_))
    });
    let exchange = Journal::load(&path).unwrap().exchanges().count() as u64;
    let into = recording.path().with_file_name("into.ilj");
    let from = path.clone();
    let fork = Mode::Fork {
        from,
        exchange,
        into,
    };
    for mode in [SERVE(path.clone()), fork] {
        match make(mode, &full()) {
            Err(error @ Error::Unwatched { .. }) => assert_eq!(error.code(), "E098"),
            other => panic!("{other:?}"),
        }
    }
    // The live model is watched, and that is a difference.
    for mode in [Mode::Verify, DRIVE] {
        match make(mode(path.clone()), &full()).unwrap() {
            Conclusion::Verified {
                divergence: Some(divergence),
                ..
            } => assert_eq!(divergence.class, DivergenceClass::Schedule),
            other => panic!("{other:?}"),
        }
    }
}

/// Forks a full recording of the default plan at an exchange, and returns both journals.
fn fork(exchange: u64, live: &Plan) -> Result<(Journal, Journal), Error> {
    let recording = Recording::of(&full());
    let into = recording.folder.path().join("into.ilj");
    let mode = Mode::Fork {
        from: recording.path(),
        exchange,
        into: into.clone(),
    };
    make(mode, live)?;
    Ok((Journal::load(recording.path())?, Journal::load(into)?))
}

#[test]
fn a_fork_lives_on_with_other_mediators() {
    let other = Plan {
        scale: 3.0,
        ..full()
    };
    // Exchange 3 is the first swap; the read before it is the same.
    let (from, into) = fork(3, &other).unwrap();
    let lines = |journal: &Journal| -> Vec<String> {
        let exchanges = journal.exchanges();
        let line = |exchange: &ExchangeRecord| {
            let value = exchange.value.as_ref();
            format!("{:?} {value:?}", exchange.event)
        };
        exchanges.map(line).collect()
    };
    let (old, new) = (lines(&from), lines(&into));
    assert_eq!(old.len(), new.len());
    assert_eq!(old[..3], new[..3]);
    assert_ne!(old[3], new[3], "the swap is another one");
    // In the second run nothing is left of the journal.
    let last = new.len() - 1;
    assert_ne!(old[last - 1], new[last - 1]);
}

#[test]
fn a_fork_serves_the_runs_before_it() {
    let recording = Recording::of(&full());
    let first = Journal::load(recording.path()).unwrap().runs[0]
        .exchanges
        .len() as u64;
    // Another model is not noticed in the first run, which is served, and is in the second, which
    // is computed.
    let other = Plan {
        weight: Some(("up.weight", 3, 0.25)),
        ..full()
    };
    match fork(first + 1, &other) {
        Err(Error::ForkParted { divergence, .. }) => {
            let parted = (divergence.index, divergence.class);
            assert_eq!(
                parted,
                (first, DivergenceClass::Environment),
                "the head names the model"
            );
        }
        other => panic!("{other:?}"),
    }
    let at_once = fork(first, &other).unwrap();
    assert_eq!(at_once.0.runs[0].exchanges, at_once.1.runs[0].exchanges);
    assert_ne!(at_once.0.runs[1].exchanges, at_once.1.runs[1].exchanges);
}

#[test]
fn a_fork_that_parts_before_its_exchange_is_refused() {
    let other = Plan {
        scale: 3.0,
        ..full()
    };
    match fork(4, &other) {
        Err(Error::ForkParted {
            exchange,
            divergence,
        }) => {
            assert_eq!((exchange, divergence.index), (4, 3));
        }
        other => panic!("{other:?}"),
    }
    // In the first run both sides are live, so that digests are enough; a run before the fork is
    // served.
    let digests = Recording::of(&Plan::default());
    let first = Journal::load(digests.path()).unwrap().runs[0]
        .exchanges
        .len() as u64;
    let mode = |exchange| Mode::Fork {
        from: digests.path(),
        exchange,
        into: digests.folder.path().join("into.ilj"),
    };
    make(mode(2), &Plan::default()).unwrap();
    let error = make(mode(first + 1), &Plan::default()).unwrap_err();
    assert_eq!(error.code(), "E095");
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
