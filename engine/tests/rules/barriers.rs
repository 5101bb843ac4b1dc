//! Mediators that wait for one another: R40 to R44.

use std::cell::RefCell;
use std::rc::Rc;

use interloom_engine::array::Array;
use interloom_engine::transition::State;
use interloom_engine::{Cx, Delivery, Event, Fault, FaultKind, Invoke, Request, RunEnd, RunError};

use crate::support::{Backwards, Move, Ran, Trial, machine, stack, table};

/// The exchanges of BARRIER: who, and at which site.
fn barriers(ran: &Ran) -> Vec<String> {
    let lines = ran.lines().into_iter();
    lines.filter(|line| line.contains("BARRIER")).collect()
}

fn unmet(ran: &Ran) -> Vec<(&str, Vec<&str>, Vec<&str>)> {
    let (RunError::BarrierUnmet(meetings) | RunError::Circle(meetings)) = ran.error() else {
        panic!("{:?}", ran.error());
    };
    fn texts(names: &[String]) -> Vec<&str> {
        names.iter().map(String::as_str).collect()
    }
    let meeting = meetings.iter();
    meeting
        .map(|meeting| {
            let waiting = meeting.waiting.iter().map(|asker| &*asker.mediator);
            let missing = texts(&meeting.missing);
            (meeting.barrier.as_str(), waiting.collect(), missing)
        })
        .collect()
}

async fn arrive_after(cx: Cx<Array>, path: &'static str) -> Result<(), Fault> {
    cx.output(path).await?;
    cx.barrier("b").await
}

#[test]
fn r40_the_last_to_arrive_releases_all_in_definition_order_where_it_arrived() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.barrier("b", 3);
    // Arrivals: 2, 0, 1.
    trial.whole("first", async |cx| arrive_after(cx, "layers.0").await);
    trial.whole("second", async |cx| arrive_after(cx, "layers.1").await);
    trial.whole("third", async |cx| arrive_after(cx, "embed").await);
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    let at = "@ layers.1.output.i0 served";
    assert_eq!(
        barriers(&ran),
        [0, 1, 2].map(|who| format!("{who} BARRIER b {at}"))
    );
}

#[test]
fn r40_a_barrier_can_open_before_the_model_starts() {
    let model = stack();
    let order = Rc::new(RefCell::new(Vec::new()));
    let mut trial = Trial::of(&model);
    trial.barrier("b", 2);
    for name in ["a", "b"] {
        let order = order.clone();
        trial.whole(name, async move |cx| {
            cx.barrier("b").await?;
            order.borrow_mut().push(name);
            cx.output("embed").await
        });
    }
    let late = order.clone();
    trial.whole("c", async move |_| {
        late.borrow_mut().push("c");
        Ok(())
    });
    let ran = trial.run(table(1, 0.0));
    // Before those that have not had their turn.
    assert_eq!(*order.borrow(), ["a", "b", "c"]);
    assert_eq!(
        barriers(&ran),
        ["0 BARRIER b @ - served", "1 BARRIER b @ - served"]
    );
}

#[test]
fn r40_a_barrier_can_open_after_the_model_has_finished() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.barrier("b", 2);
    trial.whole("waits", async |cx| arrive_after(cx, "embed").await);
    trial.whole("comes late", async |cx| {
        cx.output("embed").await?;
        let _ = cx.value("embed.output.i1").await;
        cx.barrier("b").await
    });
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    assert_eq!(
        barriers(&ran),
        ["0 BARRIER b @ - served", "1 BARRIER b @ - served"]
    );
}

#[test]
fn r40_a_barrier_for_one_or_none_holds_nobody() {
    let model = stack();
    for participants in [0, 1] {
        let mut trial = Trial::of(&model);
        trial.barrier("b", participants);
        trial.whole("alone", async |cx| arrive_after(cx, "embed").await);
        let ran = trial.run(table(1, 0.0));
        assert_eq!(barriers(&ran), ["0 BARRIER b @ embed.output.i0 served"]);
    }
}

#[test]
fn r40_a_barrier_that_is_not_declared_is_refused() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.barrier("half way", 2);
    let caught = trial.whole("a", async |cx| {
        cx.output("embed").await?;
        Ok(cx.barrier("halfway").await)
    });
    let ran = trial.run(table(1, 0.0));
    let Some(Err(FaultKind::UnknownBarrier { asked, nearest })) = caught
        .take()
        .map(|arrived| arrived.map_err(Fault::into_kind))
    else {
        panic!("{:?}", ran.lines());
    };
    assert_eq!(
        (asked.as_str(), nearest.as_slice()),
        ("halfway", &["half way".to_owned()][..])
    );
    assert_eq!(barriers(&ran), ["0 BARRIER halfway @ embed.output.i0 E015"]);
}

#[test]
fn r41_the_released_are_served_at_the_site_at_hand_also_after_their_turn() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.barrier("b", 2);
    let early = trial.whole("early", async |cx| {
        cx.barrier("b").await?;
        cx.output("embed").await
    });
    trial.whole("opens", async |cx| {
        let x = cx.output("embed").await?;
        cx.set_output("embed", x.map(|x| x + 1.0)).await?;
        cx.barrier("b").await?;
        cx.output("embed").await
    });
    let last = trial.whole("last", async |cx| {
        let x = cx.output("embed").await?;
        cx.set_output("embed", x.map(|x| x * 10.0)).await?;
        Ok(x)
    });
    let ran = trial.run(table(1, 0.0));
    let site = "embed.output.i0";
    let expected = [
        format!("1 VALUE {site} @ {site} served"),
        format!("1 SWAP {site} @ {site} served"),
        format!("0 BARRIER b @ {site} served"),
        format!("0 VALUE {site} @ {site} served"),
        format!("0 END @ {site} served"),
        format!("1 BARRIER b @ {site} served"),
        format!("1 VALUE {site} @ {site} served"),
        format!("1 END @ {site} served"),
        format!("2 VALUE {site} @ {site} served"),
        format!("2 SWAP {site} @ {site} served"),
        format!("2 END @ {site} served"),
    ];
    assert_eq!(ran.lines(), expected);
    assert_eq!(early.take(), last.take());
}

#[test]
fn r41_one_mediator_hands_a_value_to_another_at_the_same_site() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.barrier("b", 2);
    let writer = trial.rows("reader", 1, async |cx| {
        cx.barrier("b").await?;
        let x = cx.get("h").await?;
        cx.set_output("layers.0", x.clone()).await?;
        Ok(x)
    });
    trial.rows("writer", 1, async |cx| {
        let h = cx.output("layers.0").await?;
        cx.put("h", h).await?;
        cx.barrier("b").await
    });
    let seen = trial.whole("watch", async |cx| cx.output("layers.0").await);
    trial.run(table(2, 0.0));
    let h = writer.take().unwrap();
    let seen = seen.take().unwrap();
    assert_eq!(seen.data(), [h.data(), h.data()].concat());
}

#[test]
fn r41_who_is_released_before_comes_before_who_is_released_after() {
    let model = stack();
    let order = Rc::new(RefCell::new(Vec::new()));
    let mut trial = Trial::of(&model);
    trial.barrier("x", 3);
    trial.barrier("y", 2);
    let log = |name: &'static str| {
        let order = order.clone();
        move || order.borrow_mut().push(name)
    };
    let at_x = log("a after x");
    let at_y = log("a after y");
    trial.whole("a", async move |cx| {
        cx.barrier("x").await?;
        at_x();
        cx.barrier("y").await?;
        at_y();
        Ok(())
    });
    let at_y = log("b after y");
    trial.whole("b", async move |cx| {
        cx.barrier("y").await?;
        at_y();
        Ok(())
    });
    for name in ["c after x", "d after x"] {
        let at_x = log(name);
        trial.whole(name, async move |cx| {
            cx.output("embed").await?;
            cx.barrier("x").await?;
            at_x();
            Ok(())
        });
    }
    assert!(trial.run(table(1, 0.0)).report.result.is_ok());
    let expected = [
        "a after x",
        "c after x",
        "d after x",
        "a after y",
        "b after y",
    ];
    assert_eq!(*order.borrow(), expected);
}

#[test]
fn r41_the_scheduler_chooses_only_among_those_that_have_not_had_their_turn() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.scheduler(Backwards);
    trial.barrier("b", 2);
    for name in ["a", "b"] {
        trial.whole(name, async |cx| {
            cx.output("embed").await?;
            cx.barrier("b").await?;
            cx.output("embed").await
        });
    }
    let ran = trial.run(table(1, 0.0));
    let who: Vec<u32> = ran.log.iter().map(|record| record.mediator).collect();
    // Backwards to the barrier, forwards from there.
    assert_eq!(who, [1, 0, 0, 0, 0, 1, 1, 1]);
}

#[test]
fn r42_a_barrier_can_be_used_again() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.barrier("b", 2);
    for name in ["a", "b"] {
        trial.whole(name, async |cx| {
            arrive_after(cx.clone(), "layers.0").await?;
            arrive_after(cx, "layers.1").await
        });
    }
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    assert_eq!(barriers(&ran).len(), 4);
}

#[test]
fn r42_a_barrier_can_be_used_again_at_the_same_site() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.barrier("b", 2);
    for name in ["a", "b"] {
        trial.whole(name, async |cx| {
            cx.output("embed").await?;
            for _ in 0..3 {
                cx.barrier("b").await?;
            }
            cx.output("embed").await
        });
    }
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    let who: Vec<u32> = ran.log.iter().map(|record| record.mediator).collect();
    assert_eq!(who, [0, 1, 0, 1, 0, 1, 0, 0, 0, 1, 1, 1]);
}

#[test]
fn r42_mediators_that_meet_without_end_are_failed() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.barrier("b", 2);
    for name in ["a", "b"] {
        let endless = machine(|_| Move::Ask(Request::Barrier { name: "b".into() }));
        trial.invoke(Invoke::new(name, endless));
    }
    let (_, report) = trial.run_unobserved(table(1, 0.0));
    assert_eq!(report.result.unwrap_err().code(), "E012");
}

#[test]
fn r43_more_arrivals_begin_the_next_round() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.barrier("b", 2);
    for name in ["a", "b", "c", "d"] {
        trial.whole(name, async |cx| arrive_after(cx, "embed").await);
    }
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    assert_eq!(barriers(&ran).len(), 4);
}

#[test]
fn r43_a_barrier_that_is_still_closed_at_the_end_fails_the_run() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.barrier("b", 3);
    for name in ["a", "b"] {
        trial.whole(name, async |cx| arrive_after(cx, "embed").await);
    }
    trial.whole("c", async |cx| cx.output("head").await);
    let ran = trial.run(table(1, 0.0));
    assert_eq!(unmet(&ran), [("b", vec!["a", "b"], vec!["c"])]);
    assert_eq!(ran.error().code(), "E025");
    // The model went on, and who waits is cancelled there.
    assert_eq!(ran.output, Some(model.plain(table(1, 0.0))));
    let account = &ran.report.audit.mediators[0];
    assert_eq!(account.state, State::Cancelled);
    let open = account.open.as_ref().unwrap();
    assert_eq!((open.event, open.site.as_str()), (Event::Barrier, "b"));
}

#[test]
fn r43_every_closed_barrier_is_named_after_every_verdict() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.barrier("x", 4);
    trial.barrier("y", 4);
    trial.whole("a", async |cx| cx.barrier("y").await);
    trial.whole("b", async |cx| {
        let _ = cx.value("embed.output.i9").await;
        cx.barrier("x").await
    });
    let ran = trial.run(table(1, 0.0));
    let expected = [("x", vec!["b"], vec!["a"]), ("y", vec!["a"], vec!["b"])];
    assert_eq!(unmet(&ran), expected);
}

#[test]
fn r43_a_failed_mediator_is_reported_before_the_barrier_that_waited_for_it() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.barrier("b", 2);
    trial.whole("waits", async |cx| arrive_after(cx, "embed").await);
    trial.whole("fails", async |cx| {
        cx.value("embed.output.i9").await?;
        cx.barrier("b").await
    });
    assert_eq!(trial.run(table(1, 0.0)).codes(), [("fails", "E003")]);
}

#[test]
fn r43_a_stop_before_the_barrier_opens_leaves_it_closed() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.barrier("b", 2);
    trial.whole("waits", async |cx| arrive_after(cx, "embed").await);
    trial.whole("stops", async |cx| {
        cx.output("layers.0").await?;
        cx.stop().await
    });
    let ran = trial.run(table(1, 0.0));
    assert_eq!(unmet(&ran), [("b", vec!["waits"], vec!["stops"])]);
}

#[test]
fn r44_a_circle_fails_the_run_at_once() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.barrier("x", 2);
    trial.barrier("y", 2);
    trial.whole("a", async |cx| {
        cx.output("embed").await?;
        cx.barrier("x").await
    });
    trial.whole("b", async |cx| {
        cx.output("layers.0").await?;
        cx.barrier("y").await
    });
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.error().code(), "E026");
    let expected = [("x", vec!["a"], vec!["b"]), ("y", vec!["b"], vec!["a"])];
    assert_eq!(unmet(&ran), expected);
    assert_eq!(ran.sites.last().unwrap(), "layers.0.output.i0");
}

#[test]
fn r44_it_is_no_circle_while_somebody_may_still_come() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.barrier("x", 2);
    trial.barrier("y", 2);
    trial.whole("a", async |cx| cx.barrier("x").await);
    trial.whole("b", async |cx| cx.barrier("y").await);
    trial.whole("c", async |cx| {
        cx.output("layers.0").await?;
        cx.barrier("x").await?;
        cx.barrier("y").await
    });
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
}

#[test]
fn r44_it_is_certain_when_the_last_who_could_have_come_ends() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.barrier("x", 2);
    trial.barrier("y", 2);
    trial.whole("a", async |cx| cx.barrier("x").await);
    trial.whole("b", async |cx| cx.barrier("y").await);
    trial.whole("c", async |cx| cx.output("layers.0").await);
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.error().code(), "E026");
    assert_eq!(ran.sites.last().unwrap(), "layers.0.output.i0");
}

#[test]
fn r44_a_circle_is_certain_also_while_another_mediator_runs() {
    let model = stack();
    let mut trial = Trial::of(&model);
    for name in ["x", "y"] {
        trial.barrier(name, 3);
    }
    trial.whole("a", async |cx| cx.barrier("x").await);
    trial.whole("b", async |cx| {
        cx.output("embed").await?;
        cx.barrier("y").await
    });
    // One alone helps neither.
    trial.whole("c", async |cx| cx.output("head").await);
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.error().code(), "E026");
    assert_eq!(ran.sites.last().unwrap(), "embed.output.i0");
}

#[test]
fn r44_who_waits_for_more_than_there_are_is_no_part_of_a_circle() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.barrier("x", 2);
    trial.barrier("y", 2);
    trial.barrier("z", 9);
    for (name, barrier) in [("a", "x"), ("b", "y"), ("c", "z")] {
        trial.whole(name, async move |cx| cx.barrier(barrier).await);
    }
    let ran = trial.run(table(1, 0.0));
    let names: Vec<&str> = unmet(&ran).iter().map(|(name, ..)| *name).collect();
    assert_eq!((ran.error().code(), names), ("E026", vec!["x", "y"]));
}

#[test]
fn r44_two_lonely_barriers_are_no_circle() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.barrier("x", 2);
    trial.barrier("y", 3);
    // y needs a third: no mediator can help b, and so b cannot help a.
    trial.whole("a", async |cx| cx.barrier("x").await);
    trial.whole("b", async |cx| cx.barrier("y").await);
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.error().code(), "E025");
    assert_eq!(ran.output, Some(model.plain(table(1, 0.0))));
}

#[test]
fn r44_a_circle_that_closes_after_the_model_is_one_too() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.barrier("x", 2);
    trial.barrier("y", 2);
    trial.whole("a", async |cx| cx.barrier("x").await);
    trial.whole("b", async |cx| {
        let _ = cx.value("head.output.i9").await;
        cx.barrier("y").await
    });
    assert_eq!(trial.run(table(1, 0.0)).error().code(), "E026");
}

#[test]
fn r40_a_hand_written_machine_arrives_as_an_async_one_does() {
    let model = stack();
    let point = model.point("layers.0.output");
    let by_hand = || {
        machine(move |delivery| match delivery {
            Delivery::Start => Move::Value(point),
            Delivery::Value(_) => Move::Ask(Request::Barrier { name: "b".into() }),
            Delivery::Done => Move::End,
            other => panic!("{other:?}"),
        })
    };
    let mut trial = Trial::of(&model);
    trial.barrier("b", 2);
    trial.invoke(Invoke::new("a", by_hand()));
    trial.invoke(Invoke::new("b", by_hand()));
    let machines = trial.run(table(1, 0.0));
    let mut trial = Trial::of(&model);
    trial.barrier("b", 2);
    for name in ["a", "b"] {
        trial.whole(name, async |cx| arrive_after(cx, "layers.0").await);
    }
    assert_eq!(machines.log, trial.run(table(1, 0.0)).log);
    assert_eq!(barriers(&machines).len(), 2);
}
