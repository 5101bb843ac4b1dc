//! Async mediators that do what they should not: R82, and the faults of user code.

use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use interloom_engine::array::Array;
use interloom_engine::{
    Cx, Delivery, Fault, FaultKind, Group, Invoke, Mediator, Origin, Rows, RunEnd, RunError, Step,
    mediator,
};

use crate::support::{Move, Ran, Trial, drive, machine, stack, table};

fn run_alone<T, F, Fut>(program: F) -> Ran
where
    T: 'static,
    F: FnOnce(Cx<Array>) -> Fut,
    Fut: Future<Output = Result<T, Fault>> + 'static,
{
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("alone", program);
    trial.run(table(1, 0.0))
}

#[test]
fn r82_pending_without_a_request_fails_at_once() {
    let ran = run_alone(async |cx| {
        cx.input("embed").await?;
        pending::<()>().await;
        Ok(())
    });
    assert_eq!(ran.faults(), [("alone", &FaultKind::ForeignAwait)]);
    assert_eq!(ran.sites.last().unwrap(), "embed.input.i0");
    assert_eq!(ran.lines()[1], "0 EXCEPTION @ embed.input.i0 E008");
}

#[test]
fn r82_it_fails_before_the_model_runs_if_that_is_when_it_waits() {
    let ran = run_alone(async |_| {
        pending::<()>().await;
        Ok(())
    });
    assert_eq!(ran.codes(), [("alone", "E008")]);
    assert!(ran.sites.is_empty());
}

/// Keeps the waker, as a timer or a channel does, and is then pending for ever.
fn keep(store: Rc<RefCell<Option<Waker>>>) -> impl Future<Output = ()> {
    poll_fn(move |context| {
        *store.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    })
}

#[test]
fn r82_a_kept_waker_is_noticed() {
    let store = Rc::new(RefCell::new(None));
    let kept = store.clone();
    let ran = run_alone(async move |_| {
        keep(kept).await;
        Ok(())
    });
    assert_eq!(ran.codes(), [("alone", "E008")]);
    // Waking it afterwards does nothing.
    store.take().unwrap().wake();
}

#[test]
fn r82_a_woken_waker_is_noticed() {
    let ran = run_alone(async |_| {
        poll_fn(|context| {
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        })
        .await;
        Ok(())
    });
    assert_eq!(ran.codes(), [("alone", "E008")]);
}

#[test]
fn r82_a_foreign_future_joined_with_our_own_request_is_noticed() {
    let store = Rc::new(RefCell::new(None));
    let ran = run_alone(async move |cx: Cx<Array>| {
        let mut foreign = Box::pin(keep(store));
        let mut own = Box::pin(cx.input("embed"));
        poll_fn(|context| {
            let _ = foreign.as_mut().poll(context);
            own.as_mut().poll(context)
        })
        .await
    });
    assert_eq!(ran.codes(), [("alone", "E008")]);
    assert!(ran.sites.is_empty(), "at the poll in which it happened");
}

#[test]
fn r82_a_pending_future_joined_with_our_own_request_cannot_hang() {
    let ran = run_alone(async move |cx: Cx<Array>| {
        let mut foreign = Box::pin(pending::<()>());
        let mut own = Box::pin(cx.input("embed"));
        let mut answered = None;
        poll_fn(|context| {
            if answered.is_none()
                && let Poll::Ready(answer) = own.as_mut().poll(context)
            {
                answered = Some(answer);
            }
            foreign.as_mut().poll(context)
        })
        .await;
        Ok(())
    });
    // The request was served; with it answered, nothing is left that could ever move the mediator.
    assert_eq!(
        ran.lines()[0],
        "0 VALUE embed.input.i0 @ embed.input.i0 served"
    );
    assert_eq!(ran.codes(), [("alone", "E008")]);
}

#[test]
fn r82_a_future_that_is_ready_at_once_may_be_awaited() {
    let ran = run_alone(async |cx| {
        std::future::ready(()).await;
        cx.input("embed").await
    });
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
}

#[test]
fn r82_a_second_request_is_refused_and_the_first_is_served() {
    let ran = run_alone(async |cx: Cx<Array>| {
        let mut first = Box::pin(cx.input("embed"));
        let mut second = Box::pin(cx.output("embed"));
        let mut refused = None;
        let value = poll_fn(|context| {
            let poll = first.as_mut().poll(context);
            if refused.is_none() {
                refused = Some(second.as_mut().poll(context));
            }
            poll
        })
        .await?;
        assert!(matches!(
            refused,
            Some(Poll::Ready(Err(fault))) if *fault.kind() == FaultKind::SecondRequest
        ));
        Ok(value)
    });
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    assert_eq!(ran.log.len(), 2);
}

#[test]
fn r82_an_uncaught_second_request_fails_the_mediator() {
    let ran = run_alone(async |cx: Cx<Array>| {
        let mut first = Box::pin(cx.input("embed"));
        let mut second = Box::pin(cx.output("embed"));
        poll_fn(|context| {
            let _ = first.as_mut().poll(context);
            second.as_mut().poll(context)
        })
        .await
    });
    assert_eq!(ran.codes(), [("alone", "E009")]);
}

#[test]
fn r82_an_answered_request_is_not_answered_again() {
    let ran = run_alone(async |cx: Cx<Array>| {
        let mut ask = Box::pin(cx.input("embed"));
        ask.as_mut().await?;
        ask.as_mut().await
    });
    assert_eq!(ran.codes(), [("alone", "E010")]);
}

/// Polls `future` once, outside of any run.
fn poll_once<T>(future: impl Future<Output = T>) -> Poll<T> {
    let mut context = std::task::Context::from_waker(Waker::noop());
    let mut future = Box::pin(future);
    Pin::new(&mut future).poll(&mut context)
}

#[test]
fn r82_a_context_makes_no_requests_after_its_run() {
    let kept = Rc::new(RefCell::new(None));
    let store = kept.clone();
    let ran = run_alone(async move |cx: Cx<Array>| {
        *store.borrow_mut() = Some(cx.clone());
        cx.input("embed").await
    });
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    let cx: Cx<Array> = kept.take().unwrap();
    assert!(matches!(
        poll_once(cx.input("embed")),
        Poll::Ready(Err(fault)) if *fault.kind() == FaultKind::Closed
    ));
    assert!(matches!(
        poll_once(cx.stop()),
        Poll::Ready(Err(fault)) if *fault.kind() == FaultKind::Closed
    ));
}

#[test]
fn r82_a_context_makes_no_requests_while_another_mediator_runs() {
    let model = stack();
    let kept = Rc::new(RefCell::new(None));
    let store = kept.clone();
    let mut trial = Trial::of(&model);
    trial.whole("owner", async move |cx: Cx<Array>| {
        *store.borrow_mut() = Some(cx.clone());
        cx.output("").await
    });
    trial.whole("thief", async move |cx| {
        cx.input("embed").await?;
        let stolen: Cx<Array> = kept.take().unwrap();
        stolen.output("embed").await
    });
    assert_eq!(trial.run(table(1, 0.0)).codes(), [("thief", "E010")]);
}

#[test]
fn a_panic_in_an_async_mediator_is_its_fault() {
    let ran = run_alone(async |cx: Cx<Array>| -> Result<(), Fault> {
        let x = cx.input("embed").await?;
        panic!("{} numbers", x.data().len())
    });
    assert_eq!(
        ran.faults(),
        [("alone", &FaultKind::Panicked("2 numbers".to_owned()))]
    );
}

#[test]
fn a_panic_in_a_hand_written_machine_is_its_fault_with_the_line_of_its_request() {
    struct Careless(bool);
    impl Mediator<Array> for Careless {
        fn resume(mut self: Box<Self>, _: Delivery<Array>) -> Step<Array> {
            assert!(!self.0, "careless");
            self.0 = true;
            let origin = Origin::Program {
                file: "careless.json".into(),
                line: 3,
            };
            let request = interloom_engine::Request::Value {
                target: interloom_engine::Target::Point {
                    point: stack().point("embed.input"),
                    iteration: None,
                },
            };
            Step::Ask {
                request,
                origin,
                rest: self,
            }
        }
    }
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.invoke(Invoke::new("careless", Careless(false)));
    let seen = trial.whole("other", async |cx| cx.input("embed").await);
    let ran = trial.run(table(1, 0.0));
    assert_eq!(
        ran.error().to_string(),
        "mediator `careless` failed at `embed.input.i0` (careless.json:3): the mediator panicked: careless"
    );
    assert_eq!(seen.take(), None);
}

#[test]
fn a_panic_before_the_first_request_is_its_fault() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.invoke(Invoke::new("machine", machine(|_| panic!("at once"))));
    let started = trial.whole("other", async |_| Ok(()));
    assert_eq!(trial.run(table(1, 0.0)).codes(), [("machine", "E011")]);
    assert!(started.take().is_some());
}

#[test]
fn a_mediator_that_never_leaves_a_site_is_failed() {
    let model = stack();
    let point = model.point("embed.input");
    let mut trial = Trial::of(&model);
    trial.invoke(Invoke::new(
        "restless",
        machine(move |_| Move::Value(point)),
    ));
    let (output, report) = trial.run_unobserved(table(1, 0.0));
    assert_eq!(output, None);
    assert_eq!(report.result.unwrap_err().code(), "E012");
}

#[test]
fn a_mediator_that_catches_refusals_without_end_is_failed() {
    for first in ["embed.output", "nowhere"] {
        let model = stack();
        let mut trial = Trial::of(&model);
        trial.whole("restless", async move |cx| -> Result<(), Fault> {
            let _ = cx.value(first).await;
            loop {
                let _ = cx.input("nowhere").await;
            }
        });
        let (output, report) = trial.run_unobserved(table(1, 0.0));
        assert_eq!(output, None);
        assert_eq!(report.result.unwrap_err().code(), "E012");
    }
}

#[test]
fn a_mediator_that_catches_its_verdicts_without_end_is_failed() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("restless", async move |cx| -> Result<(), Fault> {
        loop {
            let _ = cx.value("head.output.i9").await;
        }
    });
    let (output, report) = trial.run_unobserved(table(1, 0.0));
    assert!(output.is_some());
    assert_eq!(report.result.unwrap_err().code(), "E012");
}

#[test]
fn a_saved_result_is_there_only_if_the_mediator_returned() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let stopped = trial.whole("stopper", async |cx| {
        cx.output("").await?;
        cx.stop().await?;
        Ok(1)
    });
    let returned = trial.whole("other", async |cx| cx.output("").await.map(|_| 2));
    trial.run(table(1, 0.0));
    assert_eq!((stopped.take(), returned.take()), (None, Some(2)));
    assert_eq!(returned.take(), None, "a result is taken once");
}

#[test]
fn a_context_reads_by_alias_point_site_and_text() {
    let mut model = stack();
    let point = model.point("layers.1.output");
    std::sync::Arc::make_mut(&mut model.map).alias("blocks.1.hook_resid_post", point);
    let mut trial = Trial::of(&model);
    let (program, saved) = mediator(model.map.clone(), async move |cx: Cx<Array>| {
        assert_eq!(cx.sites().point("layers.1.output"), Some(point));
        let owned = "layers.1.output".to_owned();
        Ok([
            cx.value(point).await?,
            cx.value(point.at(0)).await?,
            cx.value(&owned).await?,
            cx.value("layers.1.output.i0").await?,
            cx.output("blocks.1.hook_resid_post").await?,
            cx.value(interloom_engine::Target::from(point)).await?,
        ])
    });
    trial.invoke(Invoke::new("reader", program));
    trial.run(table(1, 0.0));
    let values = saved.take().unwrap();
    assert!(values.iter().all(|value| *value == values[0]));
}

#[test]
fn a_mediator_that_alternates_between_served_and_refused_is_failed() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("restless", async move |cx| -> Result<(), Fault> {
        loop {
            let _ = cx.output("embed").await;
            let _ = cx.input("embed").await;
        }
    });
    let (_, report) = trial.run_unobserved(table(1, 0.0));
    assert_eq!(report.result.unwrap_err().code(), "E012");
    let account = &report.audit.mediators[0];
    assert_eq!(account.refused(interloom_engine::Event::Value), 1 << 12);
}

#[test]
fn an_update_is_one_read_and_one_swap() {
    let ran = run_alone(async |cx| {
        cx.update_input("embed", |x| x.map(|x| x + 1.0)).await?;
        cx.update_output("layers.0", |x| x.map(|x| 2.0 * x)).await?;
        // In a loop, each iteration has its own; a site with an iteration is that one.
        cx.for_each(0..1, async |cx, _| {
            cx.update_output("head", |x| x.map(|x| x - 1.0)).await
        })
        .await?;
        cx.update("head.output.i1", |x| x.map(|x| x * 3.0)).await
    });
    let written_out = run_alone(async |cx| {
        let x = cx.input("embed").await?;
        cx.set_input("embed", x.map(|x| x + 1.0)).await?;
        let x = cx.output("layers.0").await?;
        cx.set_output("layers.0", x.map(|x| 2.0 * x)).await?;
        cx.for_each(0..1, async |cx, _| {
            let x = cx.output("head").await?;
            cx.set_output("head", x.map(|x| x - 1.0)).await
        })
        .await?;
        let x = cx.value("head.output.i1").await?;
        cx.set("head.output.i1", x.map(|x| x * 3.0)).await
    });
    assert_eq!(ran.lines(), written_out.lines());
    assert_eq!(ran.output, written_out.output);
    assert!(ran.output.is_some());
}

#[test]
fn an_update_is_told_at_its_line_and_fails_where_it_is_refused() {
    let line = line!() + 2;
    let ran = run_alone(async |cx| {
        cx.update_output("nowhere", |x| x).await?;
        Ok(())
    });
    let RunError::Mediators(failures) = ran.error() else {
        panic!("{}", ran.error());
    };
    assert_eq!(failures[0].fault.code(), "E001");
    let Origin::Rust(at) = failures[0].origin else {
        panic!("{}", failures[0].origin);
    };
    assert_eq!((at.file(), at.line()), (file!(), line));
    let ran = run_alone(async |cx| {
        let wide = Array::new(&[1, 5], &[0.0; 5]);
        cx.update_output("embed", |_| wide).await
    });
    assert_eq!(ran.codes(), [("alone", "E004")]);
    let ran = run_alone(async |cx| {
        let panics = |_: Array| -> Array { panic!("out of ink") };
        cx.update_output("embed", panics).await
    });
    assert_eq!(ran.codes(), [("alone", "E011")]);
}

#[test]
fn a_boxed_mediator_is_what_it_boxes() {
    let model = stack();
    let lines = |is_boxed: bool| {
        let (reads, saved) = mediator(model.map.clone(), async |cx: Cx<Array>| {
            cx.output("embed").await
        });
        let mut trial = Trial::of(&model);
        if is_boxed {
            let boxed: Box<dyn Mediator<Array>> = Box::new(reads);
            trial.invoke(Invoke::new("m", boxed));
        } else {
            trial.invoke(Invoke::new("m", reads));
        }
        let ran = trial.run(table(1, 0.0));
        (ran.lines(), saved.take().unwrap())
    };
    assert_eq!(lines(true), lines(false));
}

#[test]
fn options_can_be_changed_until_the_run_starts() {
    let model = stack();
    let invoke = |name: &str| {
        let (mediator, _) = mediator(model.map.clone(), async |cx: Cx<Array>| {
            let missing = cx.output("nowhere").await;
            assert!(missing.is_err());
            Ok(())
        });
        Invoke::new(name, mediator)
    };
    let mut first = invoke("first").optional();
    let mut second = invoke("second");
    let (options, same) = (first.share_options(), first.share_options());
    let later = second.share_options();
    let mut trial = Trial::of(&model);
    trial.invoke(first.rows(3));
    trial.invoke(second);
    // What is said last counts, wherever it is said.
    options.rows(2);
    same.optional();
    later.rows(1);
    later.optional();
    let setup = trial.into_setup();
    let rows = |start, count| Group::Rows(Rows { start, count });
    assert_eq!(setup.groups().unwrap(), [rows(0, 2), rows(2, 1)]);
    assert!(setup.invokes().iter().all(Invoke::is_optional));
    let (_, report, _) = drive(&model, setup, table(3, 0.0)).unwrap();
    assert_eq!(report.result, Ok(RunEnd::Completed));
}
