//! What explorations conclude, and what they refuse to explore.

use std::cell::Cell;

use interloom_engine::array::Array;
use interloom_engine::explore::{Attempt, Explorer, OrderDependence, RunOutcome, Verdict, make};
use interloom_engine::scheduler::{InOrder, Pct, Recorded, Shuffle};
use interloom_engine::{Cx, Fault, Granularity, RowLayout, RunError, Scheduler, SiteMap};

use crate::cases::{chain, shown};
use crate::support::{Model, Trial, table};
use crate::workers::Shop;

fn explored(
    explorer: &Explorer,
    model: &Model,
    add: impl Fn(&mut Trial<'_>),
) -> Result<Verdict<RunOutcome>, RunError> {
    explorer.explore(|attempt| {
        let mut trial = Trial::of(model);
        add(&mut trial);
        shown(model, trial.into_setup(), table(2, 1.0), attempt)
    })
}

fn verdict(add: impl Fn(&mut Trial<'_>)) -> Verdict<RunOutcome> {
    explored(&Explorer::new(), &chain(2), add).expect("it can be explored")
}

/// The ends of the classes, in order.
fn ends(verdict: &Verdict<RunOutcome>) -> Vec<&str> {
    verdict
        .classes
        .iter()
        .map(|class| class.outcome.end.as_str())
        .collect()
}

async fn change(cx: Cx<Array>, path: &str, f: impl Fn(f64) -> f64) -> Result<(), Fault> {
    let x = cx.output(path).await?;
    cx.set_output(path, x.map(f)).await
}

#[test]
fn what_commutes_needs_one_schedule() {
    let verdict = verdict(|trial| {
        trial.rows("a", 1, async |cx| change(cx, "m0", |x| x + 1.0).await);
        trial.rows("b", 1, async |cx| change(cx, "m0", |x| x * 2.0).await);
    });
    insta::assert_snapshot!(verdict.report(), @"
    order-independent: 1 schedule covers all
      1 schedule run, 1 choice pruned
      1. completed, digest a966d4c4bb111dccc16a3c645ec2d883, in 1 run: ilsched1:e43f59d86a8c0000:2:e0b12f42
    ");
    assert_eq!((verdict.pruned, verdict.redundant), (1, 0));
}

#[test]
fn what_does_not_commute_has_a_witness_for_each_outcome() {
    let verdict = verdict(|trial| {
        trial.whole("add", async |cx| change(cx, "m0", |x| x + 1.0).await);
        trial.whole("double", async |cx| change(cx, "m0", |x| x * 2.0).await);
        trial.whole("see", async |cx| cx.output("m1").await);
    });
    insta::assert_snapshot!(verdict.report(), @"
    order-dependent: 2 outcomes of 2 schedules, which cover all
      2 schedules run, 0 choices pruned
      1. completed, digest 9a9b5ceb5a2181fadaa99ad9308ea273, in 1 run: ilsched1:e43b95a8ca8c0000:2:4f469979
      2. completed, digest a632d9cda172b88ea3a31f0321c2232a, in 1 run: ilsched1:e43b95a8ca8c0000:1/2:15d3f750
    ");
}

/// Sums do not depend on their order, although every single turn does.
#[test]
fn what_comes_out_the_same_is_proved_by_trying_all() {
    let model = chain(1);
    let verdict = Explorer::new().explore(|attempt| {
        let mut trial = Trial::of(&model);
        for (name, amount) in [("a", 1.0), ("b", 2.0), ("c", 4.0)] {
            trial.whole(name, async move |cx| change(cx, "m0", |x| x + amount).await);
        }
        let mut setup = trial.into_setup();
        attempt.attach(&mut setup);
        let (output, ..) = crate::support::drive(&model, setup, table(2, 1.0))?;
        // Only the output counts here, not what each of them read.
        Ok::<_, RunError>(output.map(|output| format!("{output:?}")))
    });
    let verdict = verdict.unwrap();
    assert_eq!(
        verdict.to_string(),
        "order-independent: 6 schedules cover all"
    );
}

#[test]
fn failures_deadlocks_and_what_never_fires_are_outcomes() {
    // Who fails first keeps the other from its turn.
    let failing = verdict(|trial| {
        for name in ["a", "b"] {
            trial.whole(name, async |cx| {
                cx.output("m0").await?;
                Err::<(), _>(Fault::raise("no"))
            });
        }
    });
    insta::assert_snapshot!(ends(&failing).join("\n"), @r#"
failed with E013: a E013
failed with E013: b E013
"#);
    // Who meets whom.
    let meeting = verdict(|trial| {
        trial.barrier("pair", 2);
        for name in ["a", "b", "c"] {
            trial.whole(name, async |cx| {
                cx.output("m0").await?;
                cx.barrier("pair").await
            });
        }
    });
    insta::assert_snapshot!(ends(&meeting).join("\n"), @r#"
failed with E025: c at pair
failed with E025: b at pair
failed with E025: a at pair
"#);
    let circle = verdict(|trial| {
        trial.barrier("left", 2);
        trial.barrier("right", 2);
        trial.whole("a", async |cx| {
            cx.output("m0").await?;
            cx.put("sign", table(1, 0.0)).await?;
            cx.barrier("left").await
        });
        trial.whole("b", async |cx| {
            cx.output("m0").await?;
            cx.barrier("right").await
        });
        trial.whole("c", async |cx| {
            cx.output("m0").await?;
            match cx.get("sign").await {
                Ok(_) => cx.barrier("left").await,
                Err(_) => Ok(()),
            }
        });
    });
    insta::assert_snapshot!(ends(&circle).join("\n"), @r#"
failed with E025: b at right
failed with E026: a at left, b at right
"#);
    let silent = verdict(|trial| {
        trial.whole("writer", async |cx| {
            cx.output("m0").await?;
            cx.put("x", table(1, 0.0)).await
        });
        trial.whole("reader", async |cx| {
            cx.output("m0").await?;
            cx.get("x").await
        });
        trial.whole("stopper", async |cx| {
            cx.output("m0").await?;
            cx.stop().await?;
            Ok(())
        });
    });
    insta::assert_snapshot!(ends(&silent).join("\n"), @r#"
stopped by `stopper` at `m0.output.i0`
failed with E016: reader E016
failed with E016: reader E016
"#);
}

/// Each row of the table of what does not commute, with nothing else that would make a difference.
#[test]
fn everything_that_does_not_commute_is_reordered() {
    // Two puts of one name, read much later.
    let puts = verdict(|trial| {
        for (name, value) in [("a", 1.0), ("b", 2.0)] {
            trial.whole(name, async move |cx| {
                cx.output("m0").await?;
                cx.put("x", table(1, value)).await
            });
        }
        trial.whole("later", async |cx| {
            cx.output("m1").await?;
            cx.get("x").await
        });
    });
    assert_eq!((puts.classes.len(), puts.runs), (2, 2));
    // Two skips of the whole batch.
    let skips = verdict(|trial| {
        trial.whole("a", async |cx| cx.skip("m0", table(2, 0.0)).await);
        trial.whole("b", async |cx| cx.skip("m0", table(2, 1.0)).await);
    });
    assert_eq!((skips.classes.len(), skips.runs), (2, 2));
    // Two stops.
    let stops = verdict(|trial| {
        for name in ["a", "b"] {
            trial.whole(name, async |cx| {
                cx.output("m0").await?;
                cx.stop().await?;
                Ok(())
            });
        }
    });
    assert_eq!((stops.classes.len(), stops.runs), (2, 2));
    // An end, after which two that wait are too few for a circle, and an arrival.
    let circle = verdict(|trial| {
        trial.barrier("three", 3);
        trial.barrier("others", 3);
        trial.whole("ends", async |cx| cx.output("m0").await);
        trial.whole("arrives", async |cx| {
            cx.output("m0").await?;
            cx.barrier("three").await
        });
        trial.whole("waits", async |cx| cx.barrier("others").await);
    });
    insta::assert_snapshot!(ends(&circle).join("\n"), @r#"
failed with E025: arrives at three, waits at others
failed with E026: arrives at three, waits at others
"#);
}

/// What is not batched is replaced whole, so that owners of different rows do not commute there.
#[test]
fn owners_of_different_rows_do_not_commute_where_nothing_is_batched() {
    let mut model = chain(1);
    let mut map: SiteMap = (*model.map).clone();
    map.declare_rows(model.point("m0.output"), RowLayout::Shared);
    model.map = std::sync::Arc::new(map);
    let verdict = explored(&Explorer::new(), &model, |trial| {
        trial.rows("a", 1, async |cx| change(cx, "m0", |x| x + 1.0).await);
        trial.rows("b", 1, async |cx| change(cx, "m0", |x| x * 2.0).await);
    });
    assert_eq!(verdict.unwrap().classes.len(), 2);
}

#[test]
fn every_witness_replays_to_its_outcome() {
    let model = chain(2);
    let add = |trial: &mut Trial<'_>| {
        trial.granularity(Granularity::Exchange);
        trial.whole("add", async |cx| change(cx, "m0", |x| x + 1.0).await);
        trial.whole("double", async |cx| change(cx, "m0", |x| x * 2.0).await);
        trial.whole("square", async |cx| change(cx, "m0", |x| x * x).await);
    };
    let mut run = |attempt: &Attempt| {
        let mut trial = Trial::of(&model);
        add(&mut trial);
        shown(&model, trial.into_setup(), table(2, 1.0), attempt)
    };
    let verdict = Explorer::new().explore(&mut run).unwrap();
    assert!(verdict.is_complete && verdict.classes.len() > 6);
    for class in &verdict.classes {
        let schedule = class.witness.to_string().parse().unwrap();
        let (outcome, _) = make(Recorded::new(schedule), &mut run).unwrap();
        assert_eq!(outcome, class.outcome);
    }
}

#[test]
fn a_budget_that_ends_is_no_proof() {
    let shop = Shop::new(4, 1, 1, Granularity::Site);
    let run = |attempt: &Attempt| {
        let mut setup = shop.setup();
        attempt.attach(&mut setup);
        shop.drive(setup)?;
        Ok::<_, RunError>(())
    };
    let few = Explorer::new()
        .reduction(interloom_engine::explore::Reduction::None)
        .budget(5);
    let verdict = few.explore(run).unwrap();
    insta::assert_snapshot!(verdict, @"no difference found in 5 of at least 9 schedules, which proves nothing");
    assert_eq!(verdict.conclusion(), OrderDependence::Unknown);
    // A clock would stand where this counter stands.
    let left = Cell::new(3);
    let patient = |_: &_| {
        left.set(left.get() - 1);
        left.get() > 0
    };
    let all = Explorer::new().reduction(interloom_engine::explore::Reduction::None);
    assert_eq!(all.explore_while(run, patient).unwrap().runs, 3);
}

#[test]
fn an_exploration_can_end_with_the_first_difference() {
    let explorer = Explorer::new().ends_at_difference();
    let verdict = explored(&explorer, &chain(1), |trial| {
        for (name, factor) in [("a", 2.0), ("b", 3.0), ("c", 5.0)] {
            trial.whole(name, async move |cx| {
                change(cx, "m0", |x| x * factor + 1.0).await
            });
        }
    });
    let verdict = verdict.unwrap();
    assert_eq!((verdict.runs, verdict.classes.len()), (2, 2));
    insta::assert_snapshot!(verdict, @"order-dependent: 2 outcomes of 2 schedules, and not all were tried");
}

#[test]
fn samples_find_differences_and_prove_nothing() {
    let shop = Shop::new(3, 2, 2, Granularity::Exchange);
    let run = |attempt: &Attempt| {
        let mut setup = shop.setup();
        attempt.attach(&mut setup);
        Ok::<_, RunError>(shop.drive(setup)?.0)
    };
    let explorer = Explorer::new().budget(200);
    let shuffled = explorer.sample(Shuffle::new, run).unwrap();
    assert_eq!(shuffled.conclusion(), OrderDependence::Dependent);
    let by_priority = explorer.sample(|seed| Pct::new(2, 12, seed), run).unwrap();
    assert_eq!(by_priority.conclusion(), OrderDependence::Dependent);
    let same = explorer.sample(|_| InOrder, run).unwrap();
    insta::assert_snapshot!(same, @"no difference found in 200 of at least 201 schedules, which proves nothing");
    // What was found is kept as choices, not as a seed.
    let class = shuffled.classes.last().unwrap();
    let mut run = run;
    let (outcome, _) = make(Recorded::new(class.witness.clone()), &mut run).unwrap();
    assert_eq!(outcome, class.outcome);
}

fn refused(run: impl FnMut(&Attempt) -> Result<u64, RunError>) -> String {
    let error = Explorer::new().explore(run).unwrap_err();
    format!("{} {error}", error.code())
}

#[test]
fn what_cannot_be_explored_is_refused() {
    let shop = Shop::new(2, 2, 2, Granularity::Site);
    let detached = |_: &Attempt| {
        let setup = shop.setup();
        Ok(shop.drive(setup)?.0.0)
    };
    insta::assert_snapshot!(refused(detached), @"E127 the run was made without the scheduler that it was given; call `attach` on the setup of each run");
    let (other, count) = (Shop::new(3, 2, 2, Granularity::Site), Cell::new(0));
    let unsteady = |attempt: &Attempt| {
        count.set(count.get() + 1);
        let shop = if count.get() > 1 { &other } else { &shop };
        let mut setup = shop.setup();
        attempt.attach(&mut setup);
        Ok(shop.drive(setup)?.0.0)
    };
    insta::assert_snapshot!(refused(unsteady), @"E126 the run is not deterministic: made again with the same choices, turn 1 was one of mediators 0, 1 at `m0.output.i0` before and is one of mediators 0, 1, 2 at `m0.output.i0` now; make everything that it depends on anew for each run");
    let (short, count) = (Shop::new(2, 1, 2, Granularity::Site), Cell::new(0));
    let cut = |attempt: &Attempt| {
        count.set(count.get() + 1);
        let shop = if count.get() > 1 { &short } else { &shop };
        let mut setup = shop.setup();
        attempt.attach(&mut setup);
        Ok(shop.drive(setup)?.0.0)
    };
    insta::assert_snapshot!(refused(cut), @"E126 the run is not deterministic: made again with the same choices, turn 3 was one of mediators 0, 1 at another model's site before and is the end of the run now; make everything that it depends on anew for each run");
    let failing = |_: &Attempt| Err(RunError::BatchTooLarge);
    assert!(refused(failing).starts_with("E024"));
    let mut detached = |_: &Attempt| Ok::<_, RunError>(0);
    assert_eq!(make(InOrder, &mut detached).unwrap_err().code(), "E127");
    assert_eq!(InOrder.describe(), "in-order");
}
