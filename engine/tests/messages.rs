//! The text of every fault and every failed run, as a user gets it.

mod support;

use std::collections::BTreeSet;
use std::future::{pending, poll_fn};

use interloom_engine::array::Array;
use interloom_engine::{
    CacheSpec, Cx, Delivery, Fault, FaultKind, Invoke, Misfit, NoGradient, Origin, ProgramFault,
    Request, Round, RunError, ScheduleError, Setup, Tree, codes, mediator,
};

use crate::support::{Model, Move, Trial, machine, stack, table};

/// Runs mediators on [`stack`] with two rows, and returns the run's error.
fn fail(add: impl FnOnce(&mut Trial<'_>)) -> RunError {
    let model = stack();
    let mut trial = Trial::of(&model);
    add(&mut trial);
    match trial.try_run(table(2, 0.0)) {
        Ok(ran) => ran.error().clone(),
        Err(error) => error,
    }
}

/// The message without the number of the line, which changes with this file.
fn text(error: &RunError) -> String {
    let text = error.to_string();
    let mut parts = text.split(concat!(file!(), ":"));
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str("messages.rs:N");
        plain.push_str(part.trim_start_matches(|digit: char| digit.is_ascii_digit()));
    }
    plain
}

fn alone<T: 'static>(
    program: impl AsyncFnOnce(Cx<Array>) -> Result<T, Fault> + 'static,
) -> RunError {
    fail(|trial| {
        trial.whole("patch", move |cx| program(cx));
    })
}

#[test]
fn e054_no_gradient() {
    type Running = std::pin::Pin<Box<dyn Future<Output = Result<Array, Fault>>>>;
    let undeclared = alone(async |cx| cx.grad("layers.1").await);
    insta::assert_snapshot!(text(&undeclared));
    let declared = |program: fn(Cx<Array>) -> Running| {
        fail(|trial| {
            trial.gradients(&[
                stack().point("layers.0.output"),
                stack().point("head.output"),
            ]);
            trial.whole("patch", program);
        })
    };
    let no_pass = declared(|cx| Box::pin(async move { cx.grad("layers.0").await }));
    insta::assert_snapshot!(text(&no_pass));
    let unreached = declared(|cx: Cx<Array>| -> Running {
        Box::pin(async move {
            let x = cx.input("layers.1").await?;
            cx.skip("layers.1", x).await?;
            cx.output("").await?;
            cx.backward(Array::scalar(1.0)).await?;
            cx.grad("layers.0").await
        })
    });
    insta::assert_snapshot!(text(&unreached));
}

#[test]
fn e055_e056_and_e057_what_cannot_be_differentiated() {
    let loss = alone(async |cx| {
        let all = cx.output("layers.1").await?;
        cx.backward(all).await
    });
    insta::assert_snapshot!(text(&loss));
    let early = alone(async |cx| cx.backward(Array::scalar(1.0)).await);
    insta::assert_snapshot!(text(&early));
    let within = fail(|trial| {
        trial.gradients(&[stack().point("head.output")]);
        trial.whole("patch", async |cx| {
            cx.output("").await?;
            cx.backward(Array::scalar(1.0)).await?;
            cx.grad("head.output.i1").await?;
            cx.backward(Array::scalar(1.0)).await
        });
    });
    insta::assert_snapshot!(text(&within));
    let mut setup = Setup::<Array>::new(stack().map);
    setup.gradients(["layer.1"]);
    let Err(unknown) = setup.start() else {
        panic!("it starts")
    };
    insta::assert_snapshot!(text(&unknown));
}

#[test]
fn e075_a_parameter_passes_no_site() {
    let value = alone(async |cx| cx.output("layers.1.fc.shift").await);
    insta::assert_snapshot!(text(&value), @"mediator `patch` failed (messages.rs:N): `layers.1.fc.shift.output` is a parameter, which passes no site: there is only its gradient, `layers.1.fc.shift.grad`, at the end of a backward pass; read its value from the model");
    let skip = alone(async |cx| cx.skip("layers.1.fc.shift", table(2, 0.0)).await);
    insta::assert_snapshot!(text(&skip), @"mediator `patch` failed (messages.rs:N): `layers.1.fc.shift.input` is a parameter, which passes no site: there is only its gradient, `layers.1.fc.shift.grad`, at the end of a backward pass; read its value from the model");
}

#[test]
fn e001_unknown_site() {
    let error = alone(async |cx| cx.output("layer.0.fc").await);
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed (messages.rs:N): the model has no site `layer.0.fc.output`; nearest: `layers.0.fc.output`, `layers.1.fc.output`, `layers.0.fc.input`");
}

#[test]
fn e001_unknown_site_of_a_model_without_sites() {
    let map = std::sync::Arc::new(interloom_engine::SiteMap::new());
    let (program, _) = mediator(map.clone(), async |cx: Cx<Array>| {
        cx.output("layers.0").await
    });
    let mut setup = Setup::new(map);
    setup.invoke(Invoke::new("patch", program));
    let error = setup.start().unwrap().finish().result.unwrap_err();
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed (messages.rs:N): the model has no site `layers.0.output`; it has no sites at all, was it bound?");
}

#[test]
fn e002_out_of_order() {
    let error = alone(async |cx| {
        cx.output("layers.1").await?;
        cx.output("layers.0").await
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed at `layers.1.output.i0` (messages.rs:N): `layers.0.output.i0` was already passed when it was asked for, with the model at `layers.1.output.i0`; ask for it before you ask for a later site, or keep the value when it passes");
}

#[test]
fn e002_out_of_order_after_the_end() {
    let error = alone(async |cx| {
        let _ = cx.value("head.output.i2").await;
        cx.output("layers.0").await
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed (messages.rs:N): `layers.0.output.i0` was already passed when it was asked for; ask for it before you ask for a later site, or keep the value when it passes");
}

#[test]
fn e003_not_provided_in_a_later_iteration() {
    let error = alone(async |cx| cx.value("head.output.i2").await);
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed (messages.rs:N): the model finished without passing `head.output.i2`; passed in this run: `head.output.i1`; ask for a site that the model passes, or catch the refusal");
}

#[test]
fn e003_not_provided_after_a_stop_and_in_a_skipped_module() {
    let error = fail(|trial| {
        trial.whole("skipper", async |cx| {
            cx.skip("layers.0", table(2, 0.0)).await
        });
        trial.whole("stopper", async |cx| {
            cx.output("layers.1").await?;
            cx.stop().await?;
            Ok(())
        });
        trial.whole("inner", async |cx| cx.output("layers.0.fc").await);
        trial.whole("later", async |cx| cx.output("head").await);
    });
    insta::assert_snapshot!(text(&error), @r#"
    mediator `inner` failed (messages.rs:N): the run ended without passing `layers.0.fc.output.i0`, for mediator `stopper` stopped it at `layers.1.output.i0`; passed in this run: `layers.1.fc.output.i0`, `layers.0.output.i0`, `layers.1.fc.input.i0`; ask for a site that the model passes, or catch the refusal
    mediator `later` failed (messages.rs:N): the run ended without passing `head.output.i0`, for mediator `stopper` stopped it at `layers.1.output.i0`; passed in this run: `embed.output.i0`, `embed.input.i0`, `layers.0.output.i0`; ask for a site that the model passes, or catch the refusal
    "#);
}

#[test]
fn e003_not_provided_when_the_model_never_ran() {
    let error = fail(|trial| {
        trial.whole("stopper", async |cx| {
            cx.stop().await?;
            Ok(())
        });
        trial.whole("reader", async |cx| cx.output("head").await);
    });
    insta::assert_snapshot!(text(&error), @"mediator `reader` failed (messages.rs:N): the run ended without passing `head.output.i0`, for mediator `stopper` stopped it before the model started; check that the module is called in this run");
}

#[test]
fn e004_misfit() {
    let error = alone(async |cx| cx.set_output("embed", table(3, 0.0)).await);
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed at `embed.output.i0` (messages.rs:N): the replacement for `embed.output.i0` does not fit: expected f64[2, 2], found f64[3, 2]; a swap keeps kind and shape, a mediator that owns the whole batch may ask for a reshaping swap");
}

#[test]
fn e005_not_skippable() {
    let model = stack();
    let output = model.point("embed.output");
    let error = fail(|trial| {
        let skip = machine(move |delivery| match delivery {
            Delivery::Refused(fault) => Move::Fail(fault),
            _ => Move::Ask(Request::Skip {
                target: output.into(),
                value: table(2, 0.0),
            }),
        });
        trial.invoke(Invoke::new("patch", skip));
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed at `embed.output.i0`: `embed.output.i0` cannot be skipped; a module is skipped at its input, such as `input`");
}

#[test]
fn e006_not_owner() {
    let error = fail(|trial| {
        trial.rows("patch", 1, async |cx| {
            cx.reshape("embed.output", Array::scalar(0.0)).await
        });
        trial.rows("other", 1, async |_| Ok(()));
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed at `embed.output.i0` (messages.rs:N): the swap at `embed.output.i0` concerns the whole batch, of which this mediator owns 1 of 2 rows; keep the shape, or the function, or run the intervention alone");
}

#[test]
fn e007_type() {
    let error = alone(async |cx| {
        let x = cx.output("embed").await?;
        let [rows, width, depth] = x.shape() else {
            let misfit = Misfit {
                expected: "a tensor of rank 3".to_owned(),
                found: format!("f64{:?}", x.shape()),
            };
            return Err(misfit.into());
        };
        Ok(rows * width * depth)
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed at `embed.output.i0` (messages.rs:N): the value is not what was asked for: expected a tensor of rank 3, found f64[2, 2]; check the site's kind and rank");
}

#[test]
fn e008_foreign_await() {
    let error = alone(async |_| {
        pending::<()>().await;
        Ok(())
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed (messages.rs:N): the mediator awaits a future that is not Interloom's; only the requests of its own context may be awaited, for nothing else could be replayed; do the waiting before the run, and hand in the result");
}

#[test]
fn e008_foreign_await_at_a_site() {
    let error = alone(async |cx: Cx<Array>| {
        cx.output("embed").await?;
        pending::<()>().await;
        Ok(())
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed at `embed.output.i0` (messages.rs:N): the mediator awaits a future that is not Interloom's; only the requests of its own context may be awaited, for nothing else could be replayed; do the waiting before the run, and hand in the result");
}

#[test]
fn e009_second_request() {
    let error = alone(async |cx: Cx<Array>| {
        let mut first = Box::pin(cx.input("embed"));
        let mut second = Box::pin(cx.output("embed"));
        poll_fn(|context| {
            let _ = first.as_mut().poll(context);
            second.as_mut().poll(context)
        })
        .await
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed (messages.rs:N): the mediator made a second request while one was outstanding; await each request before the next");
}

#[test]
fn e010_closed() {
    let error = alone(async |cx: Cx<Array>| {
        let mut ask = Box::pin(cx.input("embed"));
        ask.as_mut().await?;
        ask.as_mut().await
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed at `embed.input.i0` (messages.rs:N): the context's own mediator does not run now; a context makes requests only while it does, and the body of a loop has a context of its own");
}

#[test]
fn e011_panicked() {
    let error = alone(async |cx: Cx<Array>| -> Result<(), Fault> {
        let x = cx.output("embed").await?;
        panic!("no room for {} numbers", x.data().len())
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed at `embed.output.i0` (messages.rs:N): the mediator panicked: no room for 4 numbers");
}

#[test]
fn e011_panicked_without_a_message() {
    let error = alone(async |_| -> Result<(), Fault> { std::panic::panic_any(7) });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed: the mediator panicked: a panic without a message");
}

#[test]
fn e012_restless() {
    let error = alone(async |cx: Cx<Array>| -> Result<(), Fault> {
        loop {
            let _ = cx.output("nowhere").await;
        }
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed (messages.rs:N): the mediator made 4096 requests without leaving one site; it would never let the model go on");
}

#[test]
fn e013_raised() {
    let error = alone(async |cx: Cx<Array>| {
        cx.output("embed").await?;
        Err::<(), _>(Fault::raise("the direction has no norm"))
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed at `embed.output.i0` (messages.rs:N): the direction has no norm");
}

#[test]
fn e013_raised_by_a_program_in_a_file() {
    let origin = Origin::Program {
        file: "ablate.json".into(),
        line: 12,
    };
    let failed = RunError::Mediators(vec![interloom_engine::Failure {
        mediator: "ablate".to_owned(),
        at: Some("embed.output.i0".to_owned()),
        origin,
        fault: Fault::raise("the direction has no norm"),
    }]);
    insta::assert_snapshot!(text(&failed), @"mediator `ablate` failed at `embed.output.i0` (ablate.json:12): the direction has no norm");
}

#[test]
fn e014_beyond_steps() {
    let error = fail(|trial| {
        trial.steps(5);
        let mut is_asked = false;
        let register = machine(move |delivery| match delivery {
            Delivery::Refused(fault) => Move::Fail(fault),
            _ if is_asked => Move::End,
            _ => {
                is_asked = true;
                Move::Ask(Request::Register {
                    child: Box::new(machine(|_| Move::End)),
                    iteration: Some(7),
                    round: Round::Open,
                })
            }
        });
        trial.invoke(Invoke::new("patch", register));
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed: iteration 7 is beyond the 5 steps that the run declares, at which a loop without an upper bound ends");
}

#[test]
fn e015_unknown_barrier() {
    let error = fail(|trial| {
        trial.barrier("after layer 1", 2);
        trial.barrier("half way", 2);
        trial.whole("patch", async |cx| cx.barrier("after layer 0").await);
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed (messages.rs:N): the run has no barrier `after layer 0`; nearest: `after layer 1`, `half way`");
}

#[test]
fn e015_unknown_barrier_of_a_run_without_barriers() {
    let error = alone(async |cx| cx.barrier("b").await);
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed (messages.rs:N): the run has no barrier `b`; it declares none at all");
}

#[test]
fn e016_not_shared() {
    let error = alone(async |cx| {
        cx.put("mean", table(1, 0.0)).await?;
        cx.put("direction", table(1, 0.0)).await?;
        cx.get("norm").await
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed (messages.rs:N): nothing is on the blackboard by the name `norm` yet; there is `direction`, `mean`");
}

#[test]
fn e016_not_shared_with_nothing_or_much_there() {
    let error = alone(async |cx| cx.get("norm").await);
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed (messages.rs:N): nothing is on the blackboard by the name `norm` yet; there is nothing at all");
    let error = alone(async |cx| {
        for index in 0..100 {
            cx.put(&format!("n{index}"), table(1, 0.0)).await?;
        }
        cx.get("norm").await
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed (messages.rs:N): nothing is on the blackboard by the name `norm` yet; there is `n0`, `n1`, `n10`, `n11`, `n12`, `n13`, `n14`, `n15` and 92 more");
}

#[test]
fn e017_late_cache() {
    let error = alone(async |cx| {
        cx.output("layers.0").await?;
        cx.cache(CacheSpec::of(["embed", "layers.0.fc", "layers.1"]))
            .await
    });
    insta::assert_snapshot!(text(&error), @"mediator `patch` failed at `layers.0.output.i0` (messages.rs:N): the cache comes too late for `embed.output`, `layers.0.fc.output`, which the model has passed; declare it before the mediator's first request");
}

#[test]
fn e020_partial_skip() {
    let error = fail(|trial| {
        trial.rows("a", 1, async |cx| cx.skip("embed", table(1, 0.0)).await);
        trial.rows("b", 1, async |cx| cx.output("embed").await);
    });
    insta::assert_snapshot!(text(&error), @"`embed.input.i0` is skipped by `a` (messages.rs:N) but not by `b`; `b` waits for VALUE `embed.output.i0` (messages.rs:N); invokes that share a batch skip a module together or not at all, or one without rows skips it for all of them");
}

#[test]
fn e021_skip_misfit() {
    let error = fail(|trial| {
        trial.rows("a", 1, async |cx| cx.skip("embed", table(1, 0.0)).await);
        trial.rows("b", 1, async |cx| {
            cx.skip("embed", Array::new(&[1, 3], &[0.0; 3])).await
        });
    });
    insta::assert_snapshot!(text(&error), @"the replacements of `a` (messages.rs:N), `b` (messages.rs:N) for the skipped `embed.input.i0` cannot be joined: expected f64[1, 2], found f64[1, 3]; let them differ in rows only");
}

#[test]
fn e022_never_fired() {
    let error = fail(|trial| {
        for name in ["a", "b"] {
            trial.whole(name, async |cx| Ok(cx.value("head.output.i2").await.ok()));
        }
    });
    insta::assert_snapshot!(text(&error), @"`a` never fired: its first request, VALUE `head.output.i2` (messages.rs:N), was refused with E003; `b` never fired: its first request, VALUE `head.output.i2` (messages.rs:N), was refused with E003; ask for what the model passes, or declare the intervention optional if that is meant");
}

#[test]
fn e023_duplicate_name() {
    let error = fail(|trial| {
        trial.whole("patch", async |_| Ok(()));
        trial.whole("patch", async |_| Ok(()));
    });
    insta::assert_snapshot!(text(&error), @"two mediators of the run are named `patch`; reports and journals tell them apart by name, so choose another");
}

#[test]
fn e024_batch_too_large() {
    let error = fail(|trial| {
        trial.rows("a", u32::MAX, async |_| Ok(()));
        trial.rows("b", 1, async |_| Ok(()));
    });
    insta::assert_snapshot!(text(&error), @"the invokes of the run have more than 2^32 rows together; split the batch");
}

#[test]
fn e025_barrier_unmet() {
    let error = fail(|trial| {
        trial.barrier("half way", 3);
        trial.barrier("end", 5);
        for name in ["a", "b"] {
            trial.whole(name, async |cx| {
                cx.output("embed").await?;
                cx.barrier("half way").await
            });
        }
        trial.whole("c", async |cx| cx.output("").await);
        trial.whole("d", async |cx| cx.barrier("end").await);
    });
    insta::assert_snapshot!(text(&error), @r"
    the model finished with barrier `end` closed: it is for 5, 1 came: `d` (messages.rs:N); the run has only 4 mediators; let as many arrive as it is for, or declare it for fewer
    the model finished with barrier `half way` closed: it is for 3, 2 came: `a` from `embed.output.i0` (messages.rs:N), `b` from `embed.output.i0` (messages.rs:N); missing: 1 of `c`, `d`; let as many arrive as it is for, or declare it for fewer
    ");
}

#[test]
fn e025_barrier_unmet_by_all_that_there_are() {
    let error = fail(|trial| {
        trial.barrier("b", 3);
        for name in ["a", "b"] {
            trial.whole(name, async |cx| cx.barrier("b").await);
        }
    });
    insta::assert_snapshot!(text(&error), @"the model finished with barrier `b` closed: it is for 3, 2 came: `a` (messages.rs:N), `b` (messages.rs:N); the run has only 2 mediators; let as many arrive as it is for, or declare it for fewer");
}

#[test]
fn e026_circle() {
    let error = fail(|trial| {
        trial.barrier("x", 2);
        trial.barrier("y", 2);
        trial.whole("a", async |cx| {
            cx.output("embed").await?;
            cx.barrier("x").await
        });
        trial.whole("b", async |cx| cx.barrier("y").await);
    });
    insta::assert_snapshot!(text(&error), @"mediators wait for one another in a circle: at `x`, which is for 2, `a` from `embed.output.i0` (messages.rs:N); at `y`, which is for 2, `b` (messages.rs:N); arrive at barriers in one order");
}

#[test]
fn e027_duplicate_barrier() {
    let error = fail(|trial| {
        trial.barrier("b", 2);
        trial.barrier("b", 3);
    });
    insta::assert_snapshot!(text(&error), @"barrier `b` is declared twice; a barrier can be used again, and is declared once");
}

#[test]
fn e028_unknown_cached() {
    let error = fail(|trial| {
        trial.cache(CacheSpec::of(["embed", "layer.0"]));
    });
    insta::assert_snapshot!(text(&error), @"a cache of the run lists `layer.0.output`, which the model does not have; nearest: `layers.0.output`, `layers.1.output`, `layers.0.fc.output`");
}

#[test]
fn notes_and_warnings_of_the_audit() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.cache(CacheSpec::of(["layers.0.fc"]));
    trial.whole("loops", async |cx| {
        cx.skip("layers.0", table(2, 0.0)).await?;
        let _collected = cx
            .cache(CacheSpec::of(["layers.0.fc", "head"]).both())
            .await?;
        let heads = |cx: Cx<Array>, _| async move { cx.output("head").await };
        cx.for_each(.., heads).await?;
        cx.for_each(2..5, heads).await?;
        cx.for_each(4, heads).await
    });
    let audit = trial.run(table(2, 0.0)).report.audit;
    insta::assert_snapshot!(audit.to_string(), @r"
    loops: ended, VALUE 2 of 5, SKIP 1 of 1, REGISTER 5 of 5
      note: a loop ended in iteration 2, for the model did not pass `head.output.i2`
      warning: iterations 2 to 4 of a loop never came, or not all of them: `head.output.i2` was not passed
      warning: iteration 4 of a loop never came, or not all of it: `head.output.i4` was not passed
      warning: a cache missed layers.0.fc.input, layers.0.fc.output
    the run: warning: a cache missed layers.0.fc.output
    ");
    assert_eq!(audit.warnings().count(), 4);
}

#[test]
fn the_warning_of_iterations_that_do_not_line_up() {
    let model = Model::tree(&[
        ("", &["cell", "cell.act", "cell", "cell"]),
        ("cell", &["cell.act"]),
        ("cell.act", &[]),
    ]);
    let mut trial = Trial::of(&model);
    trial.whole("skipper", async |cx| {
        cx.skip_at("cell.input.i2", table(1, 0.0)).await
    });
    let audit = trial.run(table(1, 0.0)).report.audit;
    insta::assert_snapshot!(audit.to_string(), @r"
    skipper: ended, SKIP 1 of 1
    the run: warning: iterations inside the module skipped at `cell.input.i2` do not line up with its own any more: its earlier passes passed these unequally often: cell.act.input, cell.act.output
    ");
}

#[test]
fn the_code_of_failed_mediators_is_that_of_the_first() {
    let error = fail(|trial| {
        trial.whole("a", async |cx| cx.value("head.output.i2").await);
        trial.whole("b", async |cx| cx.value("head.output.i3").await);
    });
    assert_eq!(error.code(), "E003");
    assert_eq!(error.to_string().lines().count(), 2);
    assert_eq!(RunError::Mediators(Vec::new()).code(), "E013");
}

/// The code of one of each; the enums are open to other crates, so that the count is checked
/// against the catalogue.
fn every_code() -> Vec<&'static str> {
    let misfit = || Misfit {
        expected: String::new(),
        found: String::new(),
    };
    let faults = [
        FaultKind::UnknownSite {
            asked: String::new(),
            nearest: Vec::new(),
        },
        FaultKind::OutOfOrder {
            asked: String::new(),
            at: None,
        },
        FaultKind::NotProvided {
            asked: String::new(),
            stopped_by: None,
            hint: Vec::new(),
        },
        FaultKind::Misfit {
            site: String::new(),
            misfit: misfit(),
        },
        FaultKind::NotSkippable {
            site: String::new(),
            example: String::new(),
        },
        FaultKind::NotOwner {
            site: String::new(),
            rows: 0,
            batch: 0,
        },
        FaultKind::Type(misfit()),
        FaultKind::ForeignAwait,
        FaultKind::SecondRequest,
        FaultKind::Closed,
        FaultKind::Panicked(String::new()),
        FaultKind::Restless { limit: 0 },
        FaultKind::Raised(String::new()),
        FaultKind::BeyondSteps {
            iteration: 0,
            steps: 0,
        },
        FaultKind::UnknownBarrier {
            asked: String::new(),
            nearest: Vec::new(),
        },
        FaultKind::NotShared {
            asked: String::new(),
            there: Vec::new(),
        },
        FaultKind::LateCache { passed: Vec::new() },
        FaultKind::NoGradient {
            asked: String::new(),
            why: NoGradient::NoPass,
        },
        FaultKind::Loss {
            at: String::new(),
            misfit: misfit(),
        },
        FaultKind::NoBackward { at: None },
        FaultKind::NoValue {
            asked: String::new(),
            gradient: String::new(),
        },
    ];
    let errors = [
        RunError::PartialSkip {
            site: String::new(),
            skipping: Vec::new(),
            others: Vec::new(),
            waiting: Vec::new(),
        },
        RunError::SkipMisfit {
            site: String::new(),
            skipping: Vec::new(),
            misfit: misfit(),
        },
        RunError::NeverFired(Vec::new()),
        RunError::DuplicateName(String::new()),
        RunError::BatchTooLarge,
        RunError::BarrierUnmet(Vec::new()),
        RunError::Circle(Vec::new()),
        RunError::DuplicateBarrier(String::new()),
        RunError::UnknownGradient {
            asked: String::new(),
            nearest: Vec::new(),
        },
        RunError::UnknownCached {
            asked: String::new(),
            nearest: Vec::new(),
        },
    ];
    let schedules = [
        ScheduleError::Text {
            at: 0,
            expected: "".into(),
            found: String::new(),
        },
        ScheduleError::Checksum {
            stated: 0,
            computed: 1,
            length: 0,
        },
        ScheduleError::Programme {
            changes: Vec::new(),
        },
        ScheduleError::Ready {
            choice: 1,
            wanted: 2,
            ready: 3,
            site: String::new(),
        },
        ScheduleError::TooShort {
            choices: 0,
            ready: 2,
            site: String::new(),
        },
        ScheduleError::TooLong {
            used: 0,
            choices: 1,
        },
        ScheduleError::Unsteady {
            turn: 1,
            then: String::new(),
            now: String::new(),
        },
        ScheduleError::NotAttached,
    ];
    let faults = faults.iter().map(FaultKind::code);
    let mut codes: Vec<_> = faults.chain(errors.iter().map(RunError::code)).collect();
    codes.extend(schedules.iter().map(ScheduleError::code));
    codes.push(FaultKind::Program(ProgramFault::Unset(String::new())).code());
    let unknown = FaultKind::Unknown {
        code: "E999".to_owned(),
        particulars: Tree::Unit,
    };
    codes.push(Fault::from(unknown).code());
    codes.sort_unstable();
    codes
}

#[test]
fn every_variant_has_a_code_of_its_own_in_the_catalogue() {
    let listed: Vec<&str> = codes().map(|code| code.code).collect();
    assert!(listed.is_sorted());
    let unique: BTreeSet<&str> = listed.iter().copied().collect();
    assert_eq!(unique.len(), listed.len());
    // The catalogue has one entry for each variant and no other.
    assert_eq!(every_code(), listed);
}

#[test]
fn every_entry_of_the_catalogue_says_something() {
    for code in codes() {
        assert!(
            code.code.starts_with('E') && code.code.len() == 4,
            "{code:?}"
        );
        assert!(
            !code.title.is_empty() && !code.title.ends_with('.'),
            "{code:?}"
        );
        assert!(!code.at_fault.name().is_empty());
    }
}
