//! What races in a single run, and what does not.

use interloom_engine::array::Array;
use interloom_engine::explore::{Contended, Races};
use interloom_engine::{Cx, Granularity, Iterations, Point, RowLayout, SiteMap};

use crate::support::{Model, Trial, drive, stack, table};

/// Runs mediators on [`stack`] with two rows, and returns the races without the numbers of lines.
fn races(add: impl FnOnce(&mut Trial<'_>)) -> String {
    races_of(&stack(), add)
}

fn races_of(model: &Model, add: impl FnOnce(&mut Trial<'_>)) -> String {
    let mut trial = Trial::of(model);
    add(&mut trial);
    let mut setup = trial.into_setup();
    let races = Races::of(&mut setup);
    drive(model, setup, table(2, 1.0)).expect("it starts");
    let lines: Vec<String> = races
        .found()
        .iter()
        .map(|race| without_numbers(&race.to_string()))
        .collect();
    lines.join("\n")
}

fn without_numbers(text: &str) -> String {
    let mut parts = text.split(concat!(file!(), ":"));
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str("races.rs:N");
        plain.push_str(part.trim_start_matches(|digit: char| digit.is_ascii_digit()));
    }
    plain
}

async fn add_one(cx: Cx<Array>, path: &str) -> Result<(), interloom_engine::Fault> {
    let x = cx.output(path).await?;
    cx.set_output(path, x.map(|x| x + 1.0)).await
}

#[test]
fn a_swap_and_a_read_of_the_same_rows_race() {
    let found = races(|trial| {
        trial.whole("patch", async |cx| add_one(cx, "embed").await);
        trial.whole("probe", async |cx| cx.output("embed").await);
        trial.whole("later", async |cx| cx.output("head").await);
    });
    insta::assert_snapshot!(found, @"`patch` and `probe` race at `embed.output.i0` for the same rows: SWAP (races.rs:N), then VALUE (races.rs:N)");
}

#[test]
fn each_pair_is_reported_once_for_each_site() {
    let found = races(|trial| {
        for name in ["a", "b", "c"] {
            trial.whole(name, async |cx| {
                add_one(cx.clone(), "embed").await?;
                add_one(cx, "head").await
            });
        }
    });
    assert_eq!(found.lines().count(), 6, "{found}");
}

#[test]
fn readers_and_owners_of_different_rows_do_not_race() {
    let found = races(|trial| {
        trial.rows("a", 1, async |cx| add_one(cx, "embed").await);
        trial.rows("b", 1, async |cx| add_one(cx, "embed").await);
    });
    assert_eq!(found, "");
    let found = races(|trial| {
        trial.whole("a", async |cx| cx.output("embed").await);
        trial.whole("b", async |cx| cx.output("embed").await);
    });
    assert_eq!(found, "");
}

/// What is not batched belongs to all mediators, whichever rows they own.
#[test]
fn owners_of_different_rows_race_for_what_is_not_batched() {
    let mut model = stack();
    let mut map: SiteMap = (*model.map).clone();
    let point: Point = model.point("embed.output");
    map.declare_rows(point, RowLayout::Shared);
    model.map = std::sync::Arc::new(map);
    let found = races_of(&model, |trial| {
        trial.rows("a", 1, async |cx| add_one(cx, "embed").await);
        trial.rows("b", 1, async |cx| add_one(cx, "embed").await);
    });
    insta::assert_snapshot!(found, @"`a` and `b` race at `embed.output.i0` for the same rows: SWAP (races.rs:N), then VALUE (races.rs:N)");
}

#[test]
fn a_put_and_a_get_race_and_order_what_follows() {
    let found = races(|trial| {
        trial.whole("writer", async |cx| {
            add_one(cx.clone(), "embed").await?;
            cx.put("x", table(1, 0.0)).await
        });
        trial.whole("reader", async |cx| {
            cx.output("embed.").await.ok();
            cx.input("embed").await?;
            cx.output("embed").await?;
            cx.get("x").await?;
            add_one(cx, "embed").await
        });
    });
    insta::assert_snapshot!(found, @r#"
`writer` and `reader` race at `embed.output.i0` for the same rows: SWAP (races.rs:N), then VALUE (races.rs:N)
`writer` and `reader` race at `embed.output.i0` for `x` on the blackboard: PUT (races.rs:N), then GET (races.rs:N)
"#);
    // At another site the model itself orders them.
    let found = races(|trial| {
        trial.whole("writer", async |cx| {
            cx.output("embed").await?;
            cx.put("x", table(1, 0.0)).await
        });
        trial.whole("reader", async |cx| {
            cx.output("head").await?;
            cx.get("x").await
        });
    });
    assert_eq!(found, "");
}

#[test]
fn a_get_of_what_is_not_there_races_with_the_put() {
    let found = races(|trial| {
        trial.whole("reader", async |cx| {
            cx.output("embed").await?;
            Ok(cx.get("x").await.is_ok())
        });
        trial.whole("writer", async |cx| {
            cx.output("embed").await?;
            cx.put("x", table(1, 0.0)).await
        });
    });
    insta::assert_snapshot!(found, @"`reader` and `writer` race at `embed.output.i0` for `x` on the blackboard: GET (races.rs:N), then PUT (races.rs:N)");
}

#[test]
fn a_barrier_orders_what_comes_before_and_after() {
    let model = stack();
    let run = |is_met: bool| {
        let add = |trial: &mut Trial<'_>| {
            trial.barrier("met", 2);
            trial.whole("first", async move |cx| {
                add_one(cx.clone(), "embed").await?;
                if is_met {
                    cx.barrier("met").await?;
                }
                Ok(())
            });
            trial.whole("second", async move |cx| {
                if is_met {
                    cx.barrier("met").await?;
                }
                cx.output("embed").await
            });
        };
        races_of(&model, add)
    };
    assert_eq!(run(true), "");
    assert!(run(false).contains("`first` and `second` race at `embed.output.i0`"));
}

#[test]
fn arrivals_in_different_rounds_race() {
    let found = races(|trial| {
        trial.barrier("pair", 2);
        for name in ["a", "b", "c", "d"] {
            trial.whole(name, async |cx| {
                cx.output("embed").await?;
                cx.barrier("pair").await
            });
        }
    });
    insta::assert_snapshot!(found, @r#"
`a` and `c` race at `embed.output.i0` for a place at barrier `pair`: BARRIER (races.rs:N), then BARRIER (races.rs:N)
`b` and `c` race at `embed.output.i0` for a place at barrier `pair`: BARRIER (races.rs:N), then BARRIER (races.rs:N)
`a` and `d` race at `embed.output.i0` for a place at barrier `pair`: BARRIER (races.rs:N), then BARRIER (races.rs:N)
`b` and `d` race at `embed.output.i0` for a place at barrier `pair`: BARRIER (races.rs:N), then BARRIER (races.rs:N)
"#);
}

#[test]
fn two_stops_and_two_skips_of_everything_race() {
    let found = races(|trial| {
        for name in ["a", "b"] {
            trial.whole(name, async |cx| {
                cx.input("embed").await?;
                cx.stop().await?;
                Ok(())
            });
        }
    });
    insta::assert_snapshot!(found, @"`a` and `b` race at `embed.input.i0` for the end of the run: STOP (races.rs:N), then STOP (races.rs:N)");
    let found = races(|trial| {
        trial.whole("a", async |cx| cx.skip("embed", table(2, 0.0)).await);
        trial.whole("b", async |cx| cx.skip("embed", table(2, 1.0)).await);
    });
    insta::assert_snapshot!(found, @"`a` and `b` race at `embed.input.i0` for the output of the skipped module: SKIP (races.rs:N), then SKIP (races.rs:N)");
    let found = races(|trial| {
        trial.rows("a", 1, async |cx| cx.skip("embed", table(1, 0.0)).await);
        trial.rows("b", 1, async |cx| cx.skip("embed", table(1, 1.0)).await);
    });
    assert_eq!(found, "");
}

/// A child is its parent's, so that the two never race, and it races with others in its parent's
/// name.
#[test]
fn a_child_is_ordered_with_its_parent() {
    let found = races(|trial| {
        trial.granularity(Granularity::Exchange);
        trial.whole("looping", async |cx: Cx<Array>| {
            cx.for_each(Iterations::from(0..2), async |cx: Cx<Array>, _| {
                add_one(cx, "head").await
            })
            .await
        });
        trial.whole("once", async |cx| cx.value("head.output.i1").await);
    });
    insta::assert_snapshot!(found, @"`looping` and `once` race at `head.output.i1` for the same rows: SWAP (races.rs:N), then VALUE (races.rs:N)");
}

#[test]
fn the_parts_of_a_race_can_be_read() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("a", async |cx| cx.set_output("embed", table(2, 0.0)).await);
    trial.whole("b", async |cx| cx.set_output("embed", table(2, 1.0)).await);
    let mut setup = trial.into_setup();
    let races = Races::of(&mut setup);
    assert!(races.found().is_empty());
    drive(&model, setup, table(2, 1.0)).expect("it starts");
    let [race] = &races.found()[..] else {
        panic!("{:?}", races.found());
    };
    assert_eq!(race.over, Contended::Rows);
    assert_eq!(
        (race.first.mediator.as_str(), race.second.mediator.as_str()),
        ("a", "b")
    );
    let lines =
        [&race.first, &race.second].map(|party| party.origin.file_line().expect("a line").1);
    assert_eq!(lines[0] + 1, lines[1]);
}
