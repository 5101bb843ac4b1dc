//! The reduced exploration finds what the naive one finds, on generated programmes.

use std::cell::Cell;

use interloom_engine::Granularity;
use interloom_engine::explore::{OrderDependence, Reduction, RunOutcome, Verdict, make};
use interloom_engine::scheduler::Recorded;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

use crate::cases::{How, explore, run, small_cases};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0xd_9042),
        ..ProptestConfig::default()
    }
}

fn outcomes(verdict: &Verdict<RunOutcome>) -> Vec<&RunOutcome> {
    let mut outcomes: Vec<&RunOutcome> =
        verdict.classes.iter().map(|class| &class.outcome).collect();
    outcomes.sort();
    outcomes
}

/// Compares the two explorations on as many programmes, and returns how many were compared and how
/// many runs each made.
fn compare(cases: u32, granularity: Granularity, naive_budget: u64) -> (u32, u64, u64) {
    let compared = Cell::new((0, 0, 0));
    let law = |case: crate::programs::Case| {
        let how = How {
            granularity,
            reduction: Reduction::None,
            budget: naive_budget,
        };
        let naive = explore(&case, how);
        let reduced = explore(
            &case,
            How {
                reduction: Reduction::Commuting,
                ..how
            },
        );
        prop_assert!(naive.is_complete <= reduced.is_complete);
        if !naive.is_complete {
            return Ok(());
        }
        prop_assert!(reduced.runs <= naive.runs);
        prop_assert_eq!(outcomes(&naive), outcomes(&reduced));
        prop_assert_ne!(reduced.conclusion(), OrderDependence::Unknown);
        for class in naive.classes.iter().chain(&reduced.classes) {
            // Each witness, read back from its text, leads to its outcome.
            let schedule = class.witness.to_string().parse().unwrap();
            let mut again = |attempt: &_| run(&case, granularity, attempt);
            let (outcome, schedule) = make(Recorded::new(schedule), &mut again).unwrap();
            prop_assert_eq!(&outcome, &class.outcome);
            prop_assert_eq!(&schedule, &class.witness);
        }
        let (count, all, some) = compared.get();
        compared.set((count + 1, all + naive.runs, some + reduced.runs));
        Ok(())
    };
    if let Err(error) = TestRunner::new(config(cases)).run(&small_cases(), law) {
        panic!("{error}");
    }
    compared.get()
}

#[test]
fn reduced_and_naive_exploration_find_the_same_outcomes_by_site() {
    let (count, naive, reduced) = compare(400, Granularity::Site, 1_000);
    assert!(count > 350, "{count}");
    assert!(reduced * 2 < naive, "{reduced} of {naive}");
}

#[test]
fn reduced_and_naive_exploration_find_the_same_outcomes_by_exchange() {
    let (count, naive, reduced) = compare(300, Granularity::Exchange, 400);
    assert!(count > 200, "{count}");
    assert!(reduced * 2 < naive, "{reduced} of {naive}");
}

#[test]
#[ignore = "many cases, in release: cargo test --release -p interloom-engine --test explore -- --ignored"]
fn reduced_and_naive_exploration_find_the_same_outcomes_on_many() {
    for granularity in [Granularity::Site, Granularity::Exchange] {
        let (count, naive, reduced) = compare(10_000, granularity, 2_000);
        eprintln!("{granularity:?}: {count} programmes, {naive} runs naively, {reduced} reduced");
    }
}
