//! How runs end: R60 to R63.

use std::cell::Cell;
use std::rc::Rc;

use interloom_engine::array::Array;
use interloom_engine::transition::State;
use interloom_engine::{
    Cx, Delivery, Event, Fault, FaultKind, Invoke, RunEnd, RunError, Setup, mediator,
};

use crate::support::{Move, Trial, machine, stack, table};

fn stopped(by: &str, at: Option<&str>) -> RunEnd {
    RunEnd::Stopped {
        by: by.to_owned(),
        at: at.map(str::to_owned),
    }
}

async fn stop_at(cx: Cx<Array>, path: &'static str) -> Result<(), Fault> {
    cx.output(path).await?;
    cx.stop().await?;
    unreachable!("a stop never returns")
}

#[test]
fn r60_a_stop_ends_the_models_run_at_the_site_and_the_run_succeeds() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("stopper", async |cx| stop_at(cx, "layers.0").await);
    let ran = trial.run(table(1, 0.0));
    assert_eq!(
        ran.report.result,
        Ok(stopped("stopper", Some("layers.0.output.i0")))
    );
    assert_eq!(ran.output, None);
    assert_eq!(ran.sites.last().unwrap(), "layers.0.output.i0");
    assert_eq!(ran.lines()[1], "0 STOP @ layers.0.output.i0 served");
    assert_eq!(ran.report.audit.mediators[0].state, State::Stopped);
}

#[test]
fn r60_whoever_waits_for_the_very_site_is_still_served_there() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("stopper", async |cx| stop_at(cx, "layers.0").await);
    let seen = trial.whole("reader", async |cx| {
        let x = cx.output("layers.0").await?;
        cx.set_output("layers.0", x.clone()).await?;
        Ok(x)
    });
    let ran = trial.run(table(1, 0.0));
    assert!(seen.take().is_some());
    assert_eq!(
        ran.report.result,
        Ok(stopped("stopper", Some("layers.0.output.i0")))
    );
}

#[test]
fn r60_another_invoke_that_still_waits_is_told_who_stopped_and_where() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("stopper", async |cx| stop_at(cx, "layers.0").await);
    trial.whole("waiter", async |cx| cx.output("layers.1").await);
    let ran = trial.run(table(1, 0.0));
    let [
        (
            "waiter",
            FaultKind::NotProvided {
                asked, stopped_by, ..
            },
        ),
    ] = ran.faults()[..]
    else {
        panic!("{:?}", ran.error());
    };
    assert_eq!(asked, "layers.1.output.i0");
    let expected = ("stopper".to_owned(), Some("layers.0.output.i0".to_owned()));
    assert_eq!(stopped_by.as_ref(), Some(&expected));
}

#[test]
fn r60_everyone_who_still_waits_is_told_who_stopped_also_after_another_failed() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("stopper", async |cx| stop_at(cx, "layers.0").await);
    for name in ["a", "b"] {
        trial.whole(name, async |cx| cx.output("layers.1").await);
    }
    let ran = trial.run(table(1, 0.0));
    for (_, fault) in ran.faults() {
        let FaultKind::NotProvided { stopped_by, .. } = fault else {
            panic!("{fault:?}");
        };
        assert_eq!(stopped_by.as_ref().unwrap().0, "stopper");
    }
    assert_eq!(ran.codes(), [("a", "E003"), ("b", "E003")]);
}

#[test]
fn r60_who_catches_the_verdict_after_a_stop_lets_the_run_succeed() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("stopper", async |cx| stop_at(cx, "layers.0").await);
    trial.whole("waiter", async |cx| {
        let first = cx.output("embed").await?;
        Ok(cx.output("layers.1").await.unwrap_or(first))
    });
    let ran = trial.run(table(1, 0.0));
    assert_eq!(
        ran.report.result,
        Ok(stopped("stopper", Some("layers.0.output.i0")))
    );
}

#[test]
fn r60_the_first_of_two_stops_at_a_site_is_the_one_that_is_named() {
    let model = stack();
    let mut trial = Trial::of(&model);
    for name in ["first", "second"] {
        trial.whole(name, async |cx| stop_at(cx, "embed").await);
    }
    let ran = trial.run(table(1, 0.0));
    assert_eq!(
        ran.report.result,
        Ok(stopped("first", Some("embed.output.i0")))
    );
    let states: Vec<State> = ran
        .report
        .audit
        .mediators
        .iter()
        .map(|account| account.state)
        .collect();
    assert_eq!(states, [State::Stopped, State::Stopped]);
}

#[test]
fn r60_a_stop_after_the_models_end_stops_nothing() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("late", async |cx| {
        cx.input("embed").await?;
        let _ = cx.value("embed.input.i1").await;
        cx.stop().await?;
        Ok(())
    });
    trial.whole("waiter", async |cx| {
        cx.input("embed").await?;
        match cx.value("embed.input.i2").await.map_err(Fault::into_kind) {
            Err(FaultKind::NotProvided {
                stopped_by: None, ..
            }) => Ok(()),
            other => panic!("{other:?}"),
        }
    });
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    assert_eq!(ran.report.audit.mediators[0].state, State::Stopped);
}

#[test]
fn r60_a_hand_written_machine_stops() {
    let model = stack();
    let point = model.point("embed.output");
    let machine = machine(move |delivery| match delivery {
        Delivery::Start => Move::Value(point),
        _ => Move::Stop,
    });
    let mut trial = Trial::of(&model);
    trial.invoke(Invoke::new("machine", machine));
    let ran = trial.run(table(1, 0.0));
    assert_eq!(
        ran.report.result,
        Ok(stopped("machine", Some("embed.output.i0")))
    );
}

#[test]
fn r60_a_failure_at_the_site_of_a_stop_fails_the_run() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("stopper", async |cx| stop_at(cx, "embed").await);
    trial.whole("broken", async |cx| {
        cx.output("embed").await?;
        Err::<(), _>(Fault::raise("broken"))
    });
    assert_eq!(trial.run(table(1, 0.0)).codes(), [("broken", "E013")]);
}

#[test]
fn r62_a_duplicate_name_is_refused_before_anything_starts() {
    let model = stack();
    let started = Rc::new(Cell::new(false));
    let mut trial = Trial::of(&model);
    let flag = started.clone();
    trial.whole("twin", async move |_| {
        flag.set(true);
        Ok(())
    });
    trial.whole("twin", async |_| Ok(()));
    let error = trial.try_run(table(1, 0.0)).err();
    assert_eq!(error, Some(RunError::DuplicateName("twin".to_owned())));
    assert!(!started.get());
}

#[test]
fn r62_too_many_rows_are_refused_before_anything_starts() {
    let model = stack();
    let mut setup = Setup::<Array>::new(model.map.clone());
    for name in ["a", "b"] {
        let (program, _) = mediator(model.map.clone(), async |_| Ok(()));
        setup.invoke(Invoke::new(name, program).rows(u32::MAX));
    }
    assert_eq!(setup.groups(), Err(RunError::BatchTooLarge));
    assert_eq!(setup.start().err(), Some(RunError::BatchTooLarge));
}

#[test]
fn r63_the_audit_counts_what_was_asked_and_served() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("busy", async |cx| {
        let x = cx.output("embed").await?;
        let _ = cx.input("embed").await;
        let _ = cx.set_output("embed", table(7, 0.0)).await;
        cx.set_output("embed", x.clone()).await?;
        cx.skip("layers.0", x).await?;
        let _ = cx.output("layers.0.fc").await;
        Ok(())
    });
    trial.whole("stopper", async |cx| {
        cx.value("head.output.i1").await?;
        cx.stop().await?;
        Ok(())
    });
    let ran = trial.run(table(1, 0.0));
    let audit = &ran.report.audit;
    let busy = &audit.mediators[0];
    assert_eq!(busy.served, [1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(busy.refused, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let refusals: Vec<_> = busy
        .refusals
        .iter()
        .map(|refusal| (refusal.site.as_str(), refusal.code()))
        .collect();
    let expected = [
        ("embed.input.i0", Some("E002")),
        ("embed.output.i0", Some("E004")),
        ("layers.0.fc.output.i0", Some("E003")),
    ];
    assert_eq!(refusals, expected);
    assert!(
        busy.refusals[0]
            .origin
            .file_line()
            .unwrap()
            .0
            .ends_with("ending.rs")
    );
    assert_eq!(audit.exchanges(), ran.log.len() as u64);
    insta::assert_snapshot!(audit.to_string(), @r"
    busy: ended, VALUE 1 of 3, SWAP 1 of 2, SKIP 1 of 1
    stopper: stopped, VALUE 1 of 1, STOP 1 of 1
    ");
}

#[test]
fn r63_the_audit_names_the_first_refusals_and_counts_all() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("stubborn", async |cx| {
        cx.output("embed").await?;
        for _ in 0..1000 {
            let _ = cx.input("embed").await;
        }
        Ok(())
    });
    let ran = trial.run(table(1, 0.0));
    let account = &ran.report.audit.mediators[0];
    assert_eq!(account.refused(Event::Value), 1000);
    assert_eq!(account.refusals.len(), 16);
}

#[test]
fn r63_an_intervention_that_never_fired_fails_the_run() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("silent", async |cx| {
        Ok(cx.value("head.output.i9").await.ok())
    });
    trial.whole("idle", async |_| Ok(()));
    trial.whole("heard", async |cx| cx.output("").await);
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.error().code(), "E022");
    assert!(ran.error().to_string().starts_with("`silent` never fired"));
    assert!(
        ran.report
            .audit
            .to_string()
            .contains("silent: ended, VALUE 0 of 1, never fired")
    );
}

#[test]
fn r63_an_optional_intervention_need_not_fire() {
    let model = stack();
    let (silent, _) = mediator(model.map.clone(), async |cx: Cx<Array>| {
        Ok(cx.value("head.output.i9").await.ok())
    });
    let mut trial = Trial::of(&model);
    trial.invoke(Invoke::new("silent", silent).optional());
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    let account = &ran.report.audit.mediators[0];
    assert!(account.optional && account.never_fired());
}

#[test]
fn r63_an_uncaught_refusal_fails_the_run_even_of_an_optional_intervention() {
    let model = stack();
    let (silent, _) = mediator(model.map.clone(), async |cx: Cx<Array>| {
        cx.value("head.output.i9").await
    });
    let mut trial = Trial::of(&model);
    trial.invoke(Invoke::new("silent", silent).optional());
    assert_eq!(trial.run(table(1, 0.0)).codes(), [("silent", "E003")]);
}
