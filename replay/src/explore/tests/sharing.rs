//! What the runs of an exploration have in common is computed once, and nothing else is different.

use std::cell::RefCell;
use std::rc::Rc;

use interloom_backends::{ReuseStats, Run, Value};
use interloom_engine::{CacheSpec, Exchange};
use proptest::prelude::*;

use super::super::*;
use crate::stack::{Act, COMPUTED, Plan, input, invoke, plans, stack};

/// Explores the plans; returns what was found, and every exchange of every run.
fn explored(plans: &[Plan], exploration: &Exploration) -> (Findings, Vec<String>) {
    let model = stack();
    let log = Rc::new(RefCell::new(Vec::new()));
    let found = exploration.explore(
        |trial| {
            let mut run = Run::new("run", model.sites());
            let all = run.cache(CacheSpec::all());
            for (number, plan) in plans.iter().enumerate() {
                invoke(&mut run, number, plan);
            }
            let lines = log.clone();
            run.observer(move |exchange: &Exchange<'_, Value>| {
                let line = match exchange.fault() {
                    None => format!("{:?}", exchange.value().map(outcome::digest_of)),
                    Some(fault) => fault.to_string(),
                };
                let (event, asked) = (exchange.event(), exchange.asked());
                let Exchange {
                    index,
                    mediator,
                    at,
                    ..
                } = exchange;
                lines.borrow_mut().push(format!(
                    "{index} {mediator:?} {event} {asked:?} {at:?} {line}"
                ));
            });
            trial.attach(&mut run);
            let ran = run.execute(|| model.forward(input(plans)));
            let audit = ran.as_ref().map(|ran| ran.audit.to_string());
            log.borrow_mut()
                .push(format!("{:?}", audit.map_err(|error| error.to_string())));
            ExploredOutcome::of(&ran, |output, shown| {
                if let Some(output) = output {
                    shown.add("output", output.clone());
                }
                for site in all.sites() {
                    shown.value("cached", &all.at(site).unwrap());
                }
            })
        },
        |_| true,
    );
    (found.unwrap(), log.take())
}

/// Explores with and without sharing, and returns what was computed with it, and without.
fn effort(plans: &[Plan]) -> (ReuseStats, u64, u64) {
    let exploration = Exploration::new().runs(60);
    let count = |exploration: &Exploration| {
        COMPUTED.set(0);
        let (found, log) = explored(plans, exploration);
        (found, log, COMPUTED.get())
    };
    let (plain, plain_log, without) = count(&exploration);
    let (shared, shared_log, with) = count(&exploration.clone().stateless());
    assert_eq!(plain.effort, ReuseStats::default());
    assert_eq!(shared_log, plain_log);
    assert_eq!(shared.verdict, plain.verdict);
    assert!(with <= without);
    (shared.effort, with, without)
}

#[test]
fn layers_before_the_first_difference_are_not_computed_again() {
    let swap = |_| {
        (
            None,
            vec![Act::Read(3, ".fc.output"), Act::Scale(10, ".output")],
        )
    };
    let plans: Vec<Plan> = (0..3).map(swap).collect();
    let (effort, with, without) = effort(&plans);
    // Three mediators have six orders at layer 10. At layer 3 they only read, and their order does
    // not matter.
    assert_eq!(without, 6 * 13);
    // Layers 0 to 9 are computed once; layer 10 itself, at whose output the runs part, and the two
    // calls of layer 11 each time.
    assert_eq!(with, 10 + 6 * 3);
    // Each block counts with its layer, and the stack counts too; the layer in block 10 is over
    // before the runs part.
    assert_eq!(effort.computed, (10 * 2 + 1) + 6 * (1 + 2 * 2 + 1));
    assert_eq!(effort.known, 5 * (10 * 2 + 1));
}

#[test]
fn what_differs_inside_a_module_is_computed_and_what_comes_before_it_in_there_is_not() {
    // The output of the layer inside block 5: the block is computed, what is inside of it too.
    let at = |part| {
        let plans: Vec<Plan> = (0..2).map(|_| (None, vec![Act::Scale(5, part)])).collect();
        effort(&plans)
    };
    let (inside, with, _) = at(".fc.output");
    assert_eq!((with, inside.known), (13 + 8, 5 * 2));
    // At the output of the block its layer is over before the runs part.
    let (after, with, _) = at(".output");
    assert_eq!((with, after.known), (13 + 8, 5 * 2 + 1));
    let (before, with, _) = at(".input");
    assert_eq!((with, before.known), (13 + 8, 5 * 2));
}

/// R24: a pass that is skipped counts in a run that computes less of it, too.
#[test]
fn r24_what_is_inside_a_skipped_module_has_the_same_iterations_where_nothing_is_computed() {
    let reads = || vec![Act::Read(11, ".fc.output.i1"), Act::Scale(11, ".output.i1")];
    let plans: Vec<Plan> = vec![
        (None, vec![Act::Skip(11)]),
        (Some(1), reads()),
        (None, reads()),
    ];
    let (effort, with, without) = effort(&plans);
    // The first call of layer 11 is skipped, and what comes before its second call is computed
    // once.
    assert_eq!((with, without), (11 + 2, 2 * 12));
    assert!(effort.known > 0);
    let (_, log) = explored(&plans, &Exploration::new().stateless());
    assert!(log.iter().all(|line| !line.contains("E00")), "{log:#?}");
}

#[test]
fn what_is_kept_is_bounded() {
    use interloom_backends::PrefixCache;
    let model = stack();
    let computed = |bytes: u64| {
        let shared = PrefixCache::with_bytes(bytes);
        COMPUTED.set(0);
        for _ in 0..2 {
            let mut run = Run::new("run", model.sites());
            let read = run.mediator("read", |cx| async move { cx.output("layers.2.fc").await });
            run.share(&shared, u64::MAX);
            run.execute(|| model.forward(input(&[]))).unwrap();
            assert!(read.take().is_some());
        }
        COMPUTED.get()
    };
    assert_eq!(
        computed(PrefixCache::BYTES),
        13,
        "nothing is computed twice"
    );
    assert_eq!(
        computed(0),
        26,
        "no block was over before the room was used up"
    );
    // The outputs of five blocks and of their layers, and one value that was given; the last is
    // taken in whole.
    assert_eq!(computed(10 * 32), 26 - 5);
}

#[test]
fn a_mediator_that_is_another_in_the_next_run_is_an_error_where_the_model_is_not_computed() {
    let model = stack();
    let ran = |first: &'static [&'static str], second: &'static [&'static str]| {
        let shared = PrefixCache::new();
        COMPUTED.set(0);
        let ran = [first, second].map(|sites| {
            let mut run = Run::new("run", model.sites());
            run.mediator("read", move |cx| async move {
                for site in sites {
                    cx.value(*site).await?;
                }
                Ok(())
            });
            run.share(&shared, u64::MAX);
            run.execute(|| model.forward(input(&[]))).map(|ran| ran.end)
        });
        (
            ran[1]
                .clone()
                .map_err(|error| (error.code(), error.to_string())),
            COMPUTED.get(),
        )
    };
    // A mediator that waits for another site when the run comes there gets its value, and the rest
    // is computed.
    let (earlier, computed) = ran(&["layers.5.output"], &["layers.2.output"]);
    assert_eq!(earlier, Ok(interloom_engine::RunEnd::Completed));
    assert_eq!(computed, 13 + 11, "blocks 0 and 1 are known");
    for (second, at) in [
        // No mediator waits that waited.
        (
            &["layers.2.input", "layers.2.output"][..],
            "`layers.1.input`",
        ),
        // A mediator asks for what none asked for, within a module that was not computed.
        (
            &["layers.1.input", "layers.1.fc.output"],
            "`layers.1.fc.output`",
        ),
    ] {
        let (code, message) = ran(&["layers.1.input", "layers.1.output"], second)
            .0
            .unwrap_err();
        assert_eq!(code, "E039");
        assert!(message.contains(at), "{message}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sharing_changes_no_exchange_no_audit_and_no_verdict(plans in plans()) {
        effort(&plans);
    }
}
