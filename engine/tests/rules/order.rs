//! Requests that come too late, or for nothing: R10, R11 and R13.

use std::cell::RefCell;
use std::rc::Rc;

use interloom_engine::{
    Delivery, Event, Fault, FaultKind, Invoke, PathId, Point, Port, Request, RunEnd, Target,
};

use crate::support::{Move, Trial, machine, stack, table};

#[test]
fn r10_a_passed_site_is_refused_at_once_with_both_sites() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("late", async |cx| {
        cx.output("layers.1").await?;
        cx.output("layers.0").await
    });
    let ran = trial.run(table(1, 0.0));
    let expected = [
        "0 VALUE layers.1.output.i0 @ layers.1.output.i0 served",
        "0 VALUE layers.0.output.i0 @ layers.1.output.i0 E002",
        "0 EXCEPTION @ layers.1.output.i0 E002",
    ];
    assert_eq!(ran.lines(), expected);
    let fault = FaultKind::OutOfOrder {
        asked: "layers.0.output.i0".to_owned(),
        at: Some("layers.1.output.i0".to_owned()),
    };
    assert_eq!(ran.faults(), [("late", &fault)]);
    assert_eq!(ran.output, None);
}

#[test]
fn r10_value_swap_and_skip_are_refused_alike() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("late", async |cx| {
        let x = cx.output("head").await?;
        for fault in [
            cx.input("embed").await.map(drop),
            cx.set_input("embed", x.clone()).await,
            cx.skip("embed", x.clone()).await,
            cx.reshape("embed.input", x.clone()).await,
        ] {
            assert!(
                matches!(
                    fault.clone().map_err(Fault::into_kind),
                    Err(FaultKind::OutOfOrder { .. })
                ),
                "{fault:?}"
            );
        }
        cx.set_output("", x).await
    });
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    let account = &ran.report.audit.mediators[0];
    let refused = [Event::Value, Event::Swap, Event::Skip].map(|event| account.refused(event));
    assert_eq!(refused, [1, 2, 1]);
}

#[test]
fn r10_a_refusal_may_be_caught_and_the_mediator_goes_on() {
    let model = stack();
    let early = model.point("embed.input");
    let late = model.point("layers.1.output");
    let seen = Rc::new(RefCell::new(Vec::new()));
    let log = seen.clone();
    let machine = machine(move |delivery| {
        let step = log.borrow().len();
        log.borrow_mut().push(match &delivery {
            Delivery::Refused(fault) => fault.code(),
            Delivery::Value(_) => "value",
            _ => "-",
        });
        match step {
            0 => Move::Value(late),
            1 => Move::Value(early),
            2 => Move::Value(late),
            _ => Move::End,
        }
    });
    let mut trial = Trial::of(&model);
    trial.invoke(Invoke::new("machine", machine));
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    // After the refusal the mediator is still at the site, and is served there again.
    assert_eq!(*seen.borrow(), ["-", "value", "E002", "value"]);
}

#[test]
fn r10_an_earlier_iteration_is_out_of_order_and_a_later_one_is_waited_for() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("second", async |cx| {
        let second = cx.value("head.output.i1").await?;
        let first = cx.value("head.output.i0").await;
        assert_eq!(first.unwrap_err().code(), "E002");
        Ok(second)
    });
    let ran = trial.run(table(1, 0.0));
    let expected = [
        "0 VALUE head.output.i1 @ head.output.i1 served",
        "0 VALUE head.output.i0 @ head.output.i1 E002",
        "0 END @ head.output.i1 served",
    ];
    assert_eq!(ran.lines(), expected);
}

#[test]
fn r10_a_plain_request_is_for_iteration_0() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("plain", async |cx| {
        cx.value("head.input.i1").await?;
        cx.output("head").await
    });
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.codes(), [("plain", "E002")]);
    assert_eq!(
        ran.lines()[1],
        "0 VALUE head.output.i0 @ head.input.i1 E002"
    );
}

#[test]
fn r11_everyone_who_still_waits_gets_a_verdict_of_their_own() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("a", async |cx| cx.value("head.output.i2").await);
    trial.whole("served", async |cx| cx.output("").await);
    trial.whole("b", async |cx| cx.value("layers.0.output.i7").await);
    let ran = trial.run(table(1, 0.0));
    let expected = [
        "1 VALUE output.i0 @ output.i0 served",
        "1 END @ output.i0 served",
        "0 VALUE head.output.i2 @ - E003",
        "0 EXCEPTION @ - E003",
        "2 VALUE layers.0.output.i7 @ - E003",
        "2 EXCEPTION @ - E003",
    ];
    assert_eq!(ran.lines(), expected);
    let not_provided = |asked: &str, hint: &str| FaultKind::NotProvided {
        asked: asked.to_owned(),
        stopped_by: None,
        hint: vec![hint.to_owned()],
    };
    let a = not_provided("head.output.i2", "head.output.i1");
    let b = not_provided("layers.0.output.i7", "layers.0.output.i0");
    assert_eq!(ran.faults(), [("a", &a), ("b", &b)]);
    // The model itself had finished.
    assert_eq!(ran.output, Some(model.plain(table(1, 0.0))));
}

#[test]
fn r11_a_caught_verdict_lets_the_mediator_go_on_to_the_next() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let saved = trial.whole("patient", async |cx| {
        cx.input("embed").await?;
        let mut codes = Vec::new();
        for site in [
            "head.output.i2",
            "head.output.i3",
            "embed.input",
            "nowhere.output",
        ] {
            codes.push(cx.value(site).await.unwrap_err().code());
        }
        Ok(codes)
    });
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    assert_eq!(saved.take().unwrap(), ["E003", "E003", "E002", "E001"]);
}

#[test]
fn r11_without_a_passing_of_the_point_the_nearest_passed_sites_are_named() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("skipper", async |cx| {
        cx.skip("layers.0", table(1, 9.0)).await
    });
    trial.whole("inside", async |cx| cx.output("layers.0.fc").await);
    let ran = trial.run(table(1, 0.0));
    let [("inside", FaultKind::NotProvided { asked, hint, .. })] = ran.faults()[..] else {
        panic!("{:?}", ran.error());
    };
    assert_eq!(asked, "layers.0.fc.output.i0");
    assert_eq!(
        hint,
        &[
            "layers.1.fc.output.i0",
            "layers.0.output.i0",
            "layers.1.fc.input.i0"
        ]
    );
}

#[test]
fn r13_an_unknown_path_is_refused_before_the_model_runs() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("typo", async |cx| cx.output("layer.0.fc").await);
    let ran = trial.run(table(1, 0.0));
    assert!(ran.sites.is_empty());
    let expected = [
        "0 VALUE layer.0.fc.output? @ - E001",
        "0 EXCEPTION @ - E001",
    ];
    assert_eq!(ran.lines(), expected);
    let [("typo", FaultKind::UnknownSite { asked, nearest })] = ran.faults()[..] else {
        panic!("{:?}", ran.error());
    };
    assert_eq!(asked, "layer.0.fc.output");
    assert_eq!(nearest[0], "layers.0.fc.output");
}

#[test]
fn r13_a_caught_unknown_path_lets_the_mediator_go_on() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let saved = trial.whole("fallback", async |cx| {
        match cx.output("transformer.h.0").await {
            Err(fault) if fault.code() == "E001" => cx.output("layers.0").await,
            other => other,
        }
    });
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    assert!(saved.take().is_some());
}

#[test]
fn r13_a_port_or_a_path_of_another_model_is_refused_too() {
    let model = stack();
    let head = model.map.path("head").unwrap();
    let cases = [
        (Point::new(head, Port::Fn), "head.fn"),
        (
            Point::new(PathId(99), Port::Output),
            "path 99 of another model, output",
        ),
    ];
    for (point, expected) in cases {
        let machine = machine(move |delivery| match delivery {
            Delivery::Start => Move::Value(point),
            Delivery::Refused(fault) => Move::Fail(fault),
            _ => unreachable!(),
        });
        let mut trial = Trial::of(&model);
        trial.invoke(Invoke::new("machine", machine));
        let ran = trial.run(table(1, 0.0));
        let [(_, FaultKind::UnknownSite { asked, .. })] = ran.faults()[..] else {
            panic!("{:?}", ran.error());
        };
        assert_eq!(asked, expected);
        assert_eq!(ran.lines()[0], format!("0 VALUE {expected}? @ - E001"));
    }
}

#[test]
fn r13_a_program_may_name_an_unknown_target_as_data() {
    let model = stack();
    let machine = machine(|delivery| match delivery {
        Delivery::Start => Move::Ask(Request::Skip {
            target: Target::Unknown("heads.input".into()),
            value: table(1, 0.0),
        }),
        Delivery::Refused(_) => Move::End,
        _ => unreachable!(),
    });
    let mut trial = Trial::of(&model);
    trial.invoke(Invoke::new("machine", machine).optional());
    let ran = trial.run(table(1, 0.0));
    assert_eq!(
        ran.lines(),
        ["0 SKIP heads.input? @ - E001", "0 END @ - served"]
    );
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
}
