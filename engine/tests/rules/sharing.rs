//! Values that mediators share through the run's blackboard: R72.

use interloom_engine::array::Array;
use interloom_engine::{Delivery, Event, Fault, FaultKind, Invoke, Request, RunEnd};

use crate::support::{Move, Trial, machine, stack, table};

#[test]
fn r72_what_one_mediator_puts_another_gets() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.rows("writer", 1, async |cx| {
        let h = cx.output("layers.0").await?;
        cx.put("h", h.clone()).await?;
        Ok(h)
    });
    let got = trial.rows("reader", 2, async |cx| {
        cx.output("layers.1").await?;
        cx.get("h").await
    });
    let ran = trial.run(table(3, 0.0));
    let site = "layers.0.output.i0";
    let written = ran.value_at(&format!("0 PUT h @ {site} served"));
    // As it was put: the writer's row, though the reader has two.
    assert_eq!(got.take().as_ref(), Some(written));
    assert_eq!(written.shape(), [1, 2]);
    let read = ran.value_at("1 GET h @ layers.1.output.i0 served");
    assert_eq!(read, written);
    let accounts = &ran.report.audit.mediators;
    assert_eq!(accounts[0].served(Event::Put), 1);
    assert_eq!(accounts[1].served(Event::Get), 1);
    assert_eq!(ran.report.audit.exchanges(), ran.log.len() as u64);
}

#[test]
fn r72_a_name_that_is_not_there_yet_is_refused_with_the_names_that_are() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let caught = trial.whole("reader", async |cx| {
        cx.output("embed").await?;
        let first = cx.get("h").await;
        cx.output("layers.0").await?;
        Ok((first, cx.get("h").await))
    });
    trial.whole("writer", async |cx| {
        let x = cx.input("embed").await?;
        cx.put("x", x).await?;
        let h = cx.output("embed").await?;
        cx.put("h", h).await
    });
    let ran = trial.run(table(1, 0.0));
    let (first, second) = caught.take().unwrap();
    let expected = FaultKind::NotShared {
        asked: "h".to_owned(),
        there: vec!["x".to_owned()],
    };
    assert_eq!(first, Err(expected.into()));
    assert!(second.is_ok());
    assert_eq!(ran.lines()[3], "0 GET h @ embed.output.i0 E016");
    let refusal = &ran.report.audit.mediators[0].refusals[0];
    assert_eq!((refusal.site.as_str(), refusal.code()), ("h", Some("E016")));
}

#[test]
fn r72_an_uncaught_miss_fails_the_mediator() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("reader", async |cx| cx.get("h").await);
    assert_eq!(trial.run(table(1, 0.0)).codes(), [("reader", "E016")]);
}

#[test]
fn r72_a_second_put_takes_the_place_of_the_first() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let got = trial.whole("writer", async |cx| {
        cx.put("x", Array::scalar(1.0)).await?;
        let before = cx.get("x").await?;
        cx.put("x", Array::scalar(2.0)).await?;
        Ok([before, cx.get("x").await?])
    });
    let ran = trial.run(table(1, 0.0));
    assert_eq!(got.take(), Some([1.0, 2.0].map(Array::scalar)));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
}

#[test]
fn r72_the_blackboard_works_after_the_model_too() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let got = trial.whole("late", async |cx| {
        let _ = cx.value("embed.output.i1").await;
        cx.put("x", Array::scalar(1.0)).await?;
        cx.get("x").await
    });
    let ran = trial.run(table(1, 0.0));
    assert_eq!(got.take(), Some(Array::scalar(1.0)));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
}

#[test]
fn r72_each_run_has_a_blackboard_of_its_own() {
    let model = stack();
    for _ in 0..2 {
        let mut trial = Trial::of(&model);
        trial.whole("writer", async |cx| {
            let before = cx.get("x").await;
            assert!(before.is_err());
            cx.put("x", Array::scalar(1.0)).await
        });
        assert!(trial.run(table(1, 0.0)).report.result.is_ok());
    }
}

#[test]
fn r72_a_mediator_that_asks_without_end_is_failed() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("stubborn", async |cx| -> Result<(), Fault> {
        loop {
            let _ = cx.get("y").await;
        }
    });
    let (_, report) = trial.run_unobserved(table(1, 0.0));
    assert_eq!(report.result.unwrap_err().code(), "E012");
}

#[test]
fn r72_a_hand_written_machine_shares_as_an_async_one_does() {
    let model = stack();
    let mut step = 0;
    let by_hand = machine(move |delivery| {
        step += 1;
        let name = || "x".into();
        match (step, delivery) {
            (1, Delivery::Start) => Move::Ask(Request::Get { name: name() }),
            (2, Delivery::Refused(_)) => Move::Ask(Request::Put {
                name: name(),
                value: table(1, 4.0),
            }),
            (3, Delivery::Done) => Move::Ask(Request::Get { name: name() }),
            (4, Delivery::Value(_)) => Move::End,
            other => panic!("{other:?}"),
        }
    });
    let mut trial = Trial::of(&model);
    trial.invoke(Invoke::new("a", by_hand));
    let machine = trial.run(table(1, 0.0));
    let mut trial = Trial::of(&model);
    trial.whole("a", async |cx| {
        let _ = cx.get("x").await;
        cx.put("x", table(1, 4.0)).await?;
        cx.get("x").await
    });
    assert_eq!(machine.log, trial.run(table(1, 0.0)).log);
    let expected = [
        "0 GET x @ - E016",
        "0 PUT x @ - served",
        "0 GET x @ - served",
        "0 END @ - served",
    ];
    assert_eq!(machine.lines(), expected);
}
