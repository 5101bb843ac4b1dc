//! How many orders there are, counted by making all of them.

use interloom_engine::explore::{Attempt, Explorer, OrderDependence, Reduction, Verdict};
use interloom_engine::scheduler::{Pct, Shuffle, scheduler};
use interloom_engine::{Granularity, RunError, Scheduler};

use crate::cases::{How, case, caught, chain, explore, program, write};
use crate::programs::Case;
use crate::steps::Step;
use crate::workers::Shop;

/// Makes every order of a shop's workers; its outcomes are the orders.
fn orders(shop: &Shop) -> Verdict<Vec<u8>> {
    let run = |attempt: &Attempt| {
        let mut setup = shop.setup();
        let order = Shop::order(&mut setup);
        attempt.attach(&mut setup);
        shop.drive(setup)?;
        Ok::<_, RunError>(order.take())
    };
    let explorer = Explorer::new().budget(u64::MAX).reduction(Reduction::None);
    explorer.explore(run).expect("it can be explored")
}

#[test]
fn by_site_there_are_as_many_orders_as_permutations_at_each_site() {
    let factorial = |n: u64| (1..=n).product::<u64>();
    for (workers, sites) in [
        (1, 1),
        (2, 1),
        (3, 1),
        (4, 1),
        (5, 1),
        (2, 3),
        (3, 2),
        (2, 6),
    ] {
        let verdict = orders(&Shop::new(workers, sites, 4, Granularity::Site));
        let expected = factorial(workers as u64).pow(sites as u32);
        assert_eq!(verdict.runs, expected, "{workers} at {sites}");
        // No order is made twice.
        assert_eq!(verdict.classes.len() as u64, expected);
        assert!(verdict.is_complete && verdict.pending == 0 && verdict.pruned == 0);
    }
}

#[test]
fn by_exchange_there_are_as_many_orders_as_merges() {
    // (Σk)! / Πk!
    let cases = [
        (2, 1, 1, 2),
        (2, 1, 3, 20),
        (3, 1, 2, 90),
        (2, 2, 2, 36),
        (3, 1, 3, 1_680),
    ];
    for (workers, sites, per_site, expected) in cases {
        let verdict = orders(&Shop::new(workers, sites, per_site, Granularity::Exchange));
        assert_eq!(
            (verdict.runs, verdict.classes.len()),
            (expected, expected as usize)
        );
    }
}

#[test]
fn all_orders_of_three_mediators_with_four_exchanges_each() {
    let verdict = orders(&Shop::new(3, 1, 4, Granularity::Exchange));
    assert_eq!(verdict.runs, 34_650); // 12! / (4!)^3
    assert_eq!(verdict.classes.len(), 34_650);
    assert!(verdict.is_complete);
    assert_eq!(
        verdict.classes[0].outcome,
        [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    );
}

/// Mediators with one row each, which read and write two sites.
fn apart(count: usize) -> Case {
    let lines = || {
        let mut lines = Vec::new();
        for site in ["m0.input", "m0.output"] {
            lines.extend([caught(Step::read(site)), write(site, 2.0, 1.0)]);
        }
        lines
    };
    let programs = (0..count).map(|_| program(lines(), Some(1))).collect();
    case(chain(1), programs)
}

fn runs(case: &Case, granularity: Granularity, reduction: Reduction) -> u64 {
    let how = How {
        granularity,
        reduction,
        budget: 100_000,
    };
    let verdict = explore(case, how);
    assert_eq!(verdict.conclusion(), OrderDependence::Independent);
    assert_eq!(verdict.classes.len(), 1);
    verdict.runs
}

#[test]
fn of_mediators_that_commute_one_order_is_made_instead_of_all() {
    for (count, naive) in [(2, 4), (3, 36), (4, 576)] {
        let case = apart(count);
        assert_eq!(runs(&case, Granularity::Site, Reduction::Commuting), 1);
        assert_eq!(runs(&case, Granularity::Site, Reduction::None), naive);
    }
    assert_eq!(
        runs(&apart(6), Granularity::Exchange, Reduction::Commuting),
        1
    );
    assert_eq!(runs(&apart(2), Granularity::Exchange, Reduction::None), 36);
}

#[test]
fn of_mediators_that_only_read_one_order_is_made_instead_of_all() {
    for granularity in [Granularity::Site, Granularity::Exchange] {
        let shop = Shop::new(6, 5, 3, granularity).only_reads();
        let run = |attempt: &Attempt| {
            let mut setup = shop.setup();
            attempt.attach(&mut setup);
            Ok::<_, RunError>(shop.drive(setup)?.0)
        };
        let verdict = Explorer::new().explore(run).unwrap();
        assert_eq!(
            verdict.to_string(),
            "order-independent: 1 schedule covers all"
        );
        assert!(verdict.pruned > 0);
    }
}

/// Runs `count` random schedules twice each, the second time from the text of the first.
fn twice(count: u64) {
    let shop = Shop::new(3, 2, 4, Granularity::Exchange);
    let mut totals = std::collections::BTreeMap::<u64, u64>::new();
    for seed in 0..count {
        let scheduled: Box<dyn Scheduler> = match seed % 2 {
            0 => Box::new(Shuffle::new(seed)),
            _ => Box::new(Pct::new(3, 24, seed)),
        };
        let text = scheduled.describe();
        let order = |scheduled: Box<dyn Scheduler>| {
            let mut setup = shop.setup();
            let order = Shop::order(&mut setup);
            setup.scheduler(scheduled);
            let (value, report) = shop.drive(setup).expect("it starts");
            (order.take(), value, report.audit)
        };
        let first = order(scheduled);
        assert_eq!(first, order(scheduler(&text).unwrap()), "{text}");
        *totals.entry(first.1.0).or_default() += 1;
    }
    // Lost updates of every number happen.
    assert!(totals.len() > 5, "{totals:?}");
}

#[test]
fn random_schedules_are_the_same_twice() {
    twice(500);
}

#[test]
#[ignore = "many runs, in release: cargo test --release -p interloom-engine --test explore -- --ignored"]
fn a_hundred_thousand_random_schedules_are_the_same_twice() {
    twice(100_000);
}

/// Says how many complete runs of three mediators with four exchanges each are made in a second.
#[test]
#[ignore = "a measurement, in release: cargo test --release -p interloom-engine --test explore -- --ignored speed --nocapture"]
#[allow(clippy::disallowed_types)] // Only to say how long it took.
fn speed_of_three_mediators_with_four_exchanges() {
    const RUNS: u64 = 400_000;
    let shop = Shop::new(3, 1, 4, Granularity::Exchange);
    let begin = std::time::Instant::now();
    let sum: u64 = (0..RUNS).map(|seed| shop.run(Shuffle::new(seed)).0).sum();
    let seconds = begin.elapsed().as_secs_f64();
    let per_second = RUNS as f64 / seconds;
    eprintln!(
        "{per_second:.0} random schedules a second; the mean result is {:.3}",
        sum as f64 / RUNS as f64
    );

    let run = |attempt: &Attempt| {
        let mut setup = shop.setup();
        attempt.attach(&mut setup);
        Ok::<_, RunError>(shop.drive(setup)?.0)
    };
    for reduction in [Reduction::None, Reduction::Commuting] {
        let begin = std::time::Instant::now();
        let verdict = Explorer::new()
            .budget(u64::MAX)
            .reduction(reduction)
            .explore(&run)
            .unwrap();
        let per_second = verdict.runs as f64 / begin.elapsed().as_secs_f64();
        eprintln!("{reduction:?}: {verdict}, {per_second:.0} a second");
    }
}
