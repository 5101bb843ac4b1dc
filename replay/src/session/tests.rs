//! A fork of a run whose passage was kept computes less, and makes the same journal.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::divergence::DivergenceClass;
use crate::journal::{self, Journal, check};
use crate::stack::{Act, COMPUTED, Plan, an_act, changed_stack, input, invoke, plans, stack};

/// What a session showed: how its run and the session ended, its exchanges, and how many blocks
/// were computed.
#[derive(Debug)]
struct Shown {
    ends: (String, String),
    exchanges: Vec<journal::ExchangeRecord>,
    effort: ReuseStats,
    blocks: u64,
}

/// Makes one run of mediators with these plans.
fn make(mode: Mode, plans: &[Plan], keeps: bool) -> Shown {
    let path = match &mode {
        Mode::Record(path) | Mode::Fork { into: path, .. } => path.clone(),
        other => panic!("{other:?} writes no journal"),
    };
    let model = stack();
    let session = Session::of(&model).policy(Policy::Full);
    let mut session = session.open(mode).unwrap();
    session.keep_passages(keeps);
    let mut run = Run::new("run", model.sites());
    for (number, plan) in plans.iter().enumerate() {
        invoke(&mut run, number, plan);
    }
    COMPUTED.set(0);
    let ran = session.run(run, || model.forward(input(plans)));
    let ran = ran.map(|ran| ran.output.ok().map(|output| output.to_data().to_string()));
    let blocks = COMPUTED.get();
    let conclusion = session.conclude().unwrap();
    let Conclusion::Recorded { digest, effort, .. } = conclusion else {
        panic!("{conclusion:?}");
    };
    let ran = ran.map_err(|error| error.to_string());
    assert_eq!(check(&path).unwrap().problem, None);
    let journal = Journal::load(&path).unwrap();
    Shown {
        ends: (format!("{ran:?}"), digest.to_string()),
        exchanges: journal.exchanges().cloned().collect(),
        effort,
        blocks,
    }
}

/// Records plans with and without passages, and forks both at `exchange`, where mediators with
/// other plans take over.
fn forked(recorded: &[Plan], exchange: u64, live: &[Plan]) -> [Shown; 2] {
    let folder = tempfile::tempdir().unwrap();
    let fork = |keeps: bool, name: &str| {
        let from = folder.path().join(name);
        let made = make(Mode::Record(from.clone()), recorded, keeps);
        let exchange = exchange.min(made.exchanges.len() as u64);
        let into = folder.path().join(format!("into {name}"));
        make(
            Mode::Fork {
                from,
                exchange,
                into,
            },
            live,
            keeps,
        )
    };
    let [with, without] = [fork(true, "with"), fork(false, "without")];
    let is_parted = |shown: &Shown| shown.ends.0.contains("the mediators part from the journal");
    assert_eq!(is_parted(&with), is_parted(&without));
    if !is_parted(&with) {
        // What mediators do that part before the fork is in no journal that could be continued.
        assert_eq!(with.ends, without.ends);
        assert_eq!(with.exchanges, without.exchanges);
    }
    assert_eq!(without.effort, ReuseStats::default());
    assert!(with.blocks <= without.blocks);
    [with, without]
}

fn mediator(acts: &[Act]) -> Plan {
    (None, acts.to_vec())
}

#[test]
fn what_was_over_before_a_fork_is_not_computed() {
    let (early, late) = (Act::Read(3, ".fc.output"), Act::Read(9, ".output"));
    let recorded = [mediator(&[
        early.clone(),
        late.clone(),
        Act::Scale(10, ".output"),
    ])];
    // VALUE, VALUE, VALUE, SWAP, END: another swap takes over from the fourth on, after block 10.
    let live = [mediator(&[
        early,
        late,
        Act::Read(10, ".output"),
        Act::Scale(11, ".output"),
    ])];
    let [with, without] = forked(&recorded, 3, &live);
    assert_eq!(without.blocks, 13);
    // Block 10 itself, where the mediator continues, and the two calls of block 11.
    assert_eq!(with.blocks, 3);
    // Each block has a layer, and the stack is computed, too; the layer in block 10 is over.
    let effort = ReuseStats {
        computed: 1 + 1 + 2 * 2,
        known: 10 * 2 + 1,
    };
    assert_eq!(with.effort, effort);
}

#[test]
fn a_mediator_that_waits_for_something_else_is_served_there() {
    let recorded = [
        mediator(&[Act::Read(8, ".output")]),
        mediator(&[Act::Read(2, ".output"), Act::Read(9, ".output")]),
    ];
    // The second one continues at once when its first exchange is over, long before the third.
    let live = [
        mediator(&[Act::Read(8, ".output")]),
        mediator(&[
            Act::Read(2, ".output"),
            Act::Read(5, ".fc.output"),
            Act::Read(6, ".input"),
        ]),
    ];
    let [with, _] = forked(&recorded, 1, &live);
    let read: Vec<_> = with
        .exchanges
        .iter()
        .filter_map(|exchange| exchange.at)
        .collect();
    assert_eq!(read.len(), 6, "{read:?}");
    // Blocks 0, 1, 3 and 4 with their layers, and the layer of block 2, whose output was read.
    assert_eq!(with.effort.known, 4 * 2 + 1);
}

/// A cache is no exchange: who asks for one repeats what is recorded, but waits for values that no
/// one was given, some of them inside of a call that is not computed.
#[test]
fn a_cache_that_is_asked_for_inside_of_a_known_call_has_it_computed() {
    let scales = [Act::Scale(0, ".input"), Act::Scale(7, ".fc.input")];
    let after = mediator(&[Act::Scale(8, ".input")]);
    let recorded = [mediator(&scales), after.clone()];
    let live = [mediator(&[&scales[..], &[Act::Cache(7)]].concat()), after];
    // VALUE, SWAP, VALUE, SWAP, END: the cache waits for the output of the layer whose input was
    // replaced by the last swap. Another mediator has made two exchanges before the fork.
    let [with, without] = forked(&recorded, 7, &live);
    assert!(with.ends.0.starts_with("Ok"), "{:?}", with.ends);
    // Block 7; and, from the exchange on at which the fork is, blocks 8 to 10, and 11 twice.
    assert_eq!((with.blocks, without.blocks), (6, 13));
}

#[test]
fn a_passage_that_does_not_fit_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let plans = [mediator(&[
        Act::Read(3, ".output"),
        Act::Read(9, ".output"),
    ])];
    make(Mode::Record(path("a")), &plans, true);
    let rewritten = |change: &dyn Fn(&mut journal::PassageRecord)| {
        rewrite(&path("a"), &path("b"), change);
        let (from, into) = (path("b"), path("c"));
        make(
            Mode::Fork {
                from,
                exchange: 1,
                into,
            },
            &plans,
            false,
        )
    };
    assert_eq!(rewritten(&|_| {}).effort.known, 9 * 2);
    // Of another model: a site that this one does not have.
    let other = rewritten(&|passage| passage.points[0] = "elsewhere.input".into());
    assert_eq!((other.effort, other.blocks), (ReuseStats::default(), 13));
    // In another order: what the model does is not what it did, and it computes from there on.
    let order = rewritten(&|passage| passage.points.swap(1, 4));
    assert_eq!(order.blocks, 13);
    // A tensor that is not there.
    let lost = rewritten(&|passage| {
        passage.calls[1].output = journal::ValueTree::Leaf(journal::TensorLine {
            dtype: journal::DType::F32,
            shape: vec![2, 4],
            digest: Digest::ZERO,
        });
    });
    assert_eq!((lost.effort, lost.blocks), (ReuseStats::default(), 13));
    // What no module returns there.
    let strange = rewritten(&|passage| passage.calls[1].output = journal::ValueTree::Unit);
    assert!(
        strange
            .ends
            .0
            .contains("the model cannot go on at `layers.0.output`")
    );
}

/// Arithmetic that depends on threads, as the head of a journal names it.
fn threads() -> String {
    let feature = "burn-flex/rayon";
    interloom_backends::BuildArithmetic::Threads { feature }.to_string()
}

/// Opens a session in a build with other arithmetic than this one.
fn opened(arithmetic: &str, accepts: bool, mode: Mode) -> Result<Session, Error> {
    let mut builder = Session::of(&stack());
    builder.head.arithmetic = arithmetic.to_owned();
    if accepts {
        builder = builder.accept_inexact();
    }
    builder.open(mode)
}

#[test]
fn what_is_not_exact_is_recorded_and_compared_only_if_that_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (exact, inexact) = ("exact", threads());
    let record = |arithmetic: &str, accepts, name| {
        opened(arithmetic, accepts, Mode::Record(path(name)))?.finish()
    };
    let error = record(&inexact, false, "a").unwrap_err();
    assert_eq!(error.code(), "E082");
    assert!(!path("a").exists(), "nothing is written");
    assert_eq!(
        error.to_string(),
        "this build has the arithmetic `threads (burn-flex/rayon)`, and what is recorded or replayed \
        bit for bit needs `exact`; use burn without its default features, or accept this with `SessionBuilder::accept_inexact`"
    );
    opened(&inexact, false, Mode::Plain).unwrap();

    // Who accepts it has a journal that says so.
    record(&inexact, true, "a").unwrap();
    assert_eq!(Journal::load(path("a")).unwrap().head.arithmetic, inexact);
    record(exact, false, "b").unwrap();
    let modes = |name: &str| {
        let fork = Mode::Fork {
            from: path(name),
            exchange: 0,
            into: path("c"),
        };
        let from = Mode::VerifyFrom {
            path: path(name),
            run: 0,
        };
        let modes = [Mode::Verify, Mode::Serve, Mode::Drive].map(|mode| mode(path(name)));
        modes.into_iter().chain([fork, from])
    };
    // One of the two is not exact, whichever.
    for (arithmetic, name) in [(exact, "a"), (&*inexact, "a"), (&*inexact, "b")] {
        for mode in modes(name) {
            let error = opened(arithmetic, false, mode.clone()).err().unwrap();
            assert_eq!(error.code(), "E082", "{mode:?}");
            opened(arithmetic, true, mode).unwrap();
        }
    }
    for mode in modes("b") {
        opened(exact, false, mode).unwrap();
    }
    let append = |arithmetic| opened(arithmetic, true, Mode::Append(path("b")));
    assert_eq!(append(&inexact).err().unwrap().code(), "E074");
    append(exact).unwrap().finish().unwrap();
}

/// A change of the experiment that [`experiment`] makes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Change {
    Nothing,
    Weight,
    Mediator,
    Missing,
}

/// Makes a run of two reads and a swap, as recorded or with a change, up to the end of the session.
fn experiment(mode: Mode, change: Change) -> Result<Conclusion, Error> {
    let changed = (change == Change::Weight).then_some(1);
    let model = changed_stack(changed);
    let mut session = Session::of(&model).policy(Policy::Full).open(mode)?;
    let mut run = Run::new("run", model.sites());
    run.mediator("steer", async move |cx| {
        let value = cx.output("layers.2").await?;
        let factor = if change == Change::Mediator { 3.0 } else { 2.0 };
        cx.set_output("layers.2", value * factor).await?;
        if change != Change::Missing {
            cx.output("layers.5").await?;
        }
        Ok(())
    });
    session.run(run, || model.forward(input(&[])))?;
    session.finish()
}

/// The report of a session that failed to be the recorded one, and what else differed.
fn diverged(path: &Path, change: Change) -> (Divergence, Option<EnvironmentReport>) {
    match experiment(Mode::Verify(path.to_owned()), change) {
        Err(error @ Error::Diverged(_)) => {
            assert_eq!(error.code(), "E080");
            match error {
                Error::Diverged(conclusion) => match *conclusion {
                    Conclusion::Verified {
                        divergence: Some(divergence),
                        environment,
                        ..
                    } => (*divergence, environment),
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{change:?}: {other:?}"),
    }
}

#[test]
fn finish_fails_with_the_report_of_what_diverged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ilj");
    experiment(Mode::Record(path.clone()), Change::Nothing).unwrap();
    experiment(Mode::Verify(path.clone()), Change::Nothing).unwrap();

    let (divergence, environment) = diverged(&path, Change::Weight);
    assert_eq!(divergence.class, DivergenceClass::Environment);
    let changed = environment.unwrap().differences.remove(0);
    assert_eq!((changed.subject, changed.changed_count), ("model", 1));
    assert_eq!(changed.changed, ["layers.1.fc.weight"]);
    let report = divergence.to_string();
    assert!(report.contains("layers.1.fc.weight"), "{report}");

    let (divergence, environment) = diverged(&path, Change::Mediator);
    let found = (divergence.class, divergence.index, environment);
    assert_eq!(found, (DivergenceClass::Value, 1, None));
    assert_eq!(divergence.mediator.as_deref(), Some("steer"));

    let (divergence, environment) = diverged(&path, Change::Missing);
    let found = (divergence.class, divergence.index, environment);
    assert_eq!(found, (DivergenceClass::Schedule, 2, None));
    assert_eq!(divergence.site.as_deref(), Some("layers.5.output.i0"));
}

/// Makes the run of one recorded in which a barrier never opens, while another mediator fails when
/// the model has come to its end.
fn unmet(mode: Mode) -> Conclusion {
    let model = stack();
    let mut session = Session::of(&model).policy(Policy::Full).open(mode).unwrap();
    let mut run = Run::new("run", model.sites());
    run.barrier("meet", 2);
    run.mediator("waits", async |cx| {
        cx.output("layers.1").await?;
        cx.barrier("meet").await
    });
    run.mediator("fails", async |cx| {
        cx.output("layers.3").await?;
        // The model never comes here again, which is refused at its end, and not caught.
        cx.value("layers.3.output.i7").await
    });
    let failed = session.run(run, || model.forward(input(&[])));
    assert!(failed.is_err());
    session.finish().unwrap()
}

#[test]
fn a_barrier_that_never_opens_while_another_mediator_fails_is_the_same_in_every_mode() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ilj");
    let Conclusion::Recorded {
        digest, exchanges, ..
    } = unmet(Mode::Record(path.clone()))
    else {
        panic!("it records");
    };
    let run = &Journal::load(&path).unwrap().runs[0];
    let failure = run.end.as_ref().unwrap().outcome.to_string();
    assert!(failure.contains("fails"), "{failure}");
    for mode in [Mode::Verify, Mode::Serve, Mode::Drive] {
        match unmet(mode(path.clone())) {
            Conclusion::Verified { digest: own, .. } => assert_eq!(own, digest),
            other => panic!("{other:?}"),
        }
    }
    for exchange in 0..=exchanges {
        let fork = Mode::Fork {
            from: path.clone(),
            exchange,
            into: folder.path().join("b.ilj"),
        };
        match unmet(fork) {
            Conclusion::Recorded { digest: own, .. } => assert_eq!(own, digest, "{exchange}"),
            other => panic!("{other:?}"),
        }
    }
}

/// Writes a journal again, with another passage.
fn rewrite(from: &Path, into: &Path, change: &dyn Fn(&mut journal::PassageRecord)) {
    let mut reader = journal::JournalReader::open(from).unwrap();
    let head = reader.head().clone();
    let mut writer = journal::JournalWriter::create(into, &head).unwrap();
    while let Some((_, record)) = reader.next_record().unwrap() {
        match record {
            journal::Record::Passage(mut passage) => {
                change(&mut passage);
                writer.passage(&passage).unwrap();
            }
            record => writer.record(&record).unwrap(),
        }
    }
    writer.finish().unwrap();
}

/// Plans, and others that begin alike.
fn pairs() -> impl Strategy<Value = (Vec<Plan>, Vec<Plan>)> {
    let tail = (0..4_usize, prop::collection::vec(an_act(), 0..3));
    let tails = prop::collection::vec(tail, 3);
    let added = prop::collection::vec((Just(None), prop::collection::vec(an_act(), 1..3)), 0..2);
    (plans(), tails, added).prop_map(|(plans, tails, added)| {
        let mut live = plans.clone();
        for ((_, acts), (same, tail)) in live.iter_mut().zip(tails) {
            acts.truncate(same);
            acts.extend(tail);
        }
        live.extend(added);
        (plans, live)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_fork_is_the_same_with_and_without_a_passage((recorded, live) in pairs(), at in 0..24_u64) {
        forked(&recorded, at, &recorded);
        forked(&recorded, at, &live);
    }
}
