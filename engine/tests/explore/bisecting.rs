//! The one change of order between two schedules that makes the difference.

use interloom_engine::explore::{Attempt, bisect_schedules, make};
use interloom_engine::scheduler::{InOrder, Recorded, Shuffle};
use interloom_engine::{Granularity, Schedule};

use crate::cases::run;
use crate::shrinking::noisy;

/// How many neighbours change places at most between two orders of so many turns.
fn changes_max(turns: usize) -> usize {
    turns * turns.saturating_sub(1) / 2
}

#[test]
fn one_change_is_found_between_any_two_orders() {
    let case = noisy(2, 3);
    let mut parted = 0;
    for granularity in [Granularity::Site, Granularity::Exchange] {
        for seed in 0..30 {
            let mut attempt = |attempt: &Attempt| run(&case, granularity, attempt);
            let (first, second) = (Shuffle::new(seed), Shuffle::new(seed + 1_000));
            let (outcome, schedule) = make(first.clone(), &mut attempt).unwrap();
            let (other, _) = make(second.clone(), &mut attempt).unwrap();
            let found = bisect_schedules(first, second, &mut attempt).unwrap();
            let Some(found) = found else {
                assert_eq!(outcome, other);
                continue;
            };
            parted += 1;
            assert_ne!(outcome, other);
            assert_eq!(found.before.outcome, outcome);
            assert_ne!(found.after.outcome, outcome);
            let swap = found.swap.expect("these mediators always ask for the same");
            assert_ne!(swap.earlier, swap.later);
            // Halving, beside the two runs to begin with.
            let most = changes_max(schedule.choices().len() + 8).ilog2() + 1;
            assert!(found.runs <= 2 + u64::from(most), "{} runs", found.runs);
            // Both replay from their texts.
            for made in [&found.before, &found.after] {
                let kept: Schedule = made.schedule.to_string().parse().unwrap();
                let (again, _) = make(Recorded::new(kept), &mut attempt).unwrap();
                assert_eq!(again, made.outcome);
            }
        }
    }
    assert!(parted >= 20, "{parted}");
}

#[test]
fn two_orders_with_one_outcome_have_nothing_between_them() {
    let case = noisy(1, 2);
    let attempt = |attempt: &Attempt| run(&case, Granularity::Site, attempt);
    assert_eq!(bisect_schedules(InOrder, InOrder, attempt).unwrap(), None);
}
