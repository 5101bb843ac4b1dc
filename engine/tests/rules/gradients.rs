//! R91 to R96: backward passes and the gradients of what passed.

use interloom_engine::array::Array;
use interloom_engine::{CacheSpec, Cx, FaultKind, NoGradient, RunEnd, RunError};

use crate::support::{Model, Ran, Trial, stack, table};

/// Three modules in a row, which multiply by 2, 3 and 4 (and the model itself by 1).
fn chain() -> Model {
    let mut model = Model::tree(&[("", &["a", "b", "c"]), ("a", &[]), ("b", &[]), ("c", &[])]);
    for (module, scale) in model.modules.iter_mut().zip([1.0, 2.0, 3.0, 4.0]) {
        (module.scale, module.shift) = (scale, 0.0);
    }
    model
}

/// Everything that may be asked for.
fn trial(model: &Model) -> Trial<'_> {
    let mut trial = Trial::of(model);
    let points: Vec<_> = model.map.points().collect();
    trial.gradients(&points);
    trial
}

fn run(trial: Trial<'_>) -> Ran {
    trial.run(table(2, 1.0))
}

fn filled(rows: u64, value: f64) -> Array {
    table(rows, 0.0).map(|_| value)
}

/// A loss of one element, whatever was read.
fn loss(value: f64) -> Array {
    Array::scalar(value)
}

#[test]
fn r91_gradients_pass_in_the_order_of_the_backward_pass() {
    let model = chain();
    let mut trial = trial(&model);
    let saved = trial.whole("reader", async |cx| {
        cx.output("").await?;
        cx.backward(loss(1.0)).await?;
        let mut all = Vec::new();
        for of in [
            "output", "c", "c.input", "b", "b.input", "a", "a.input", "input",
        ] {
            all.push(cx.grad(of).await?);
        }
        Ok(all)
    });
    let ran = run(trial);
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    let expected = [1.0, 1.0, 4.0, 4.0, 12.0, 12.0, 24.0, 24.0].map(|x| filled(2, x));
    assert_eq!(saved.take().unwrap(), expected);
    let lines = ran.lines();
    assert_eq!(lines[1], "0 BACKWARD @ output.i0 served");
    assert_eq!(lines[2], "0 VALUE output.grad.i0 @ output.grad.i0 served");
    assert_eq!(lines[9], "0 VALUE input.grad.i0 @ input.grad.i0 served");
}

#[test]
fn r91_upstream_gradients_see_a_swap() {
    let model = chain();
    let mut trial = trial(&model);
    let saved = trial.whole("scale", async |cx| {
        cx.output("").await?;
        cx.backward(loss(1.0)).await?;
        cx.update_grad("b", |gradient| gradient.map(|x| x * 10.0))
            .await?;
        cx.grad("input").await
    });
    run(trial);
    assert_eq!(saved.take(), Some(filled(2, 240.0)));
}

#[test]
fn r91_a_gradient_that_was_passed_is_out_of_order() {
    let model = chain();
    let mut trial = trial(&model);
    trial.whole("wrong order", async |cx| {
        cx.output("").await?;
        cx.backward(loss(1.0)).await?;
        cx.grad("a").await?;
        cx.grad("b").await
    });
    let ran = run(trial);
    let [(_, FaultKind::OutOfOrder { asked, at })] = ran.faults()[..] else {
        panic!("{:?}", ran.error());
    };
    assert_eq!(asked, "b.output.grad.i0");
    assert_eq!(at.as_deref(), Some("a.output.grad.i0"));
}

#[test]
fn r91_a_module_that_is_called_twice_has_its_last_iteration_first() {
    let model = stack();
    let mut trial = trial(&model);
    let saved = trial.whole("reader", async |cx| {
        cx.output("").await?;
        cx.backward(loss(1.0)).await?;
        let second = cx.grad("head.output.i1").await?;
        let first = cx.grad("head.output.i0").await?;
        Ok((second, first))
    });
    let twice = trial.whole("ascending", async |cx: Cx<Array>| {
        cx.value("head.output.grad.i0").await?;
        cx.value("head.output.grad.i1")
            .await
            .map_err(|fault| fault.code())
            .map_or_else(|code| Ok(code.to_owned()), |_| Ok("served".to_owned()))
    });
    run(trial);
    let head = model.modules[6].scale;
    let (second, first) = saved.take().unwrap();
    assert_eq!(first, second.map(|x| x * head));
    assert_eq!(twice.take().as_deref(), Some("E002"));
}

#[test]
fn r91_what_is_not_declared_is_refused_when_it_is_asked_for() {
    let model = chain();
    let mut trial = Trial::of(&model);
    trial.gradients(&[model.point("b.output")]);
    trial.whole("reader", async |cx| {
        cx.output("").await?;
        cx.backward(loss(1.0)).await?;
        let undeclared = cx.grad("c").await.expect_err("not declared");
        let FaultKind::NoGradient { asked, why } = undeclared.kind() else {
            panic!("{undeclared}");
        };
        assert_eq!(
            (asked.as_str(), *why),
            ("c.output.grad.i0", NoGradient::Undeclared)
        );
        cx.grad("b").await
    });
    assert_eq!(run(trial).report.result, Ok(RunEnd::Completed));
}

#[test]
fn r91_a_gradient_of_what_the_model_does_not_have_keeps_the_run_from_starting() {
    let model = chain();
    let mut setup = Trial::of(&model).into_setup();
    setup.gradients(["d"]);
    let Err(RunError::UnknownGradient { asked, nearest }) = setup.start() else {
        panic!("it starts");
    };
    assert_eq!((asked.as_str(), nearest.is_empty()), ("d", false));
}

#[test]
fn r91_what_no_pass_reaches_is_said_to_be_absent_and_is_no_zeros() {
    let model = chain();
    let mut trial = trial(&model);
    // The graph ends at a module that is skipped.
    let saved = trial.whole("reader", async |cx| {
        let x = cx.input("b").await?;
        cx.skip("b", x).await?;
        cx.output("").await?;
        cx.backward(loss(1.0)).await?;
        cx.grad("b").await?;
        let unreached = cx.grad("a").await.expect_err("not reached");
        let FaultKind::NoGradient { why, .. } = unreached.kind() else {
            panic!("{unreached}");
        };
        Ok(*why)
    });
    assert_eq!(run(trial).report.result, Ok(RunEnd::Completed));
    assert_eq!(saved.take(), Some(NoGradient::Unreached));
}

#[test]
fn r93_without_a_backward_pass_it_is_said_that_there_was_none() {
    let model = chain();
    let mut trial = trial(&model);
    trial.whole("waits", async |cx| cx.grad("b").await);
    let ran = run(trial);
    let [(_, FaultKind::NoGradient { why, .. })] = ran.faults()[..] else {
        panic!("{:?}", ran.error());
    };
    assert_eq!(*why, NoGradient::NoPass);
}

#[test]
fn r93_losses_of_one_site_are_one_pass_after_everybodys_turn() {
    let model = chain();
    let mut trial = trial(&model);
    let first = trial.whole("first", async |cx| {
        cx.output("").await?;
        cx.backward(loss(1.0)).await?;
        cx.grad("a").await
    });
    let second = trial.whole("second", async |cx| {
        cx.output("").await?;
        cx.backward(loss(2.0)).await?;
        cx.grad("a").await
    });
    let ran = run(trial);
    assert_eq!(first.take(), Some(filled(2, 36.0)));
    assert_eq!(second.take(), Some(filled(2, 36.0)));
    let lines = ran.lines();
    assert_eq!(lines[3], "1 BACKWARD @ output.i0 served");
    assert_eq!(
        lines[4],
        "0 VALUE a.output.grad.i0 @ a.output.grad.i0 served"
    );
}

#[test]
fn r93_a_pass_in_the_middle_of_the_forward_pass() {
    let model = chain();
    let mut trial = trial(&model);
    let saved = trial.whole("probe", async |cx| {
        cx.output("b").await?;
        cx.backward(loss(1.0)).await?;
        let gradient = cx.grad("a").await?;
        // The model goes on where it was.
        let output = cx.output("").await?;
        Ok((gradient, output))
    });
    let ran = run(trial);
    let (gradient, output) = saved.take().unwrap();
    assert_eq!(gradient, filled(2, 3.0));
    assert_eq!(Some(output), ran.output);
}

#[test]
fn r93_a_backward_pass_begins_at_a_site_of_the_forward_pass_only() {
    let model = chain();
    let mut trial = trial(&model);
    let saved = trial.whole("early and late", async |cx| {
        let mut codes = Vec::new();
        let mut code = |result: Result<(), interloom_engine::Fault>| {
            codes.push(result.map_or_else(|fault| fault.code(), |()| "served"));
        };
        code(cx.backward(loss(1.0)).await);
        cx.output("").await?;
        code(cx.backward(table(2, 0.0)).await);
        code(cx.backward(loss(1.0)).await);
        cx.grad("c").await?;
        code(cx.backward(loss(1.0)).await);
        Ok(codes)
    });
    assert_eq!(run(trial).report.result, Ok(RunEnd::Completed));
    assert_eq!(saved.take().unwrap(), ["E056", "E055", "served", "E056"]);
}

#[test]
fn r93_a_stop_waits_for_the_pass_that_was_asked_for_at_its_site() {
    let model = chain();
    let mut trial = trial(&model);
    let saved = trial.whole("reader", async |cx| {
        cx.output("b").await?;
        cx.backward(loss(1.0)).await?;
        cx.grad("input").await
    });
    trial.whole("stops", async |cx| {
        cx.output("b").await?;
        cx.stop().await.map(|never| match never {})
    });
    let ran = run(trial);
    let Ok(RunEnd::Stopped { by, at }) = &ran.report.result else {
        panic!("{:?}", ran.report.result);
    };
    assert_eq!((by.as_str(), at.as_deref()), ("stops", Some("b.output.i0")));
    assert_eq!(saved.take(), Some(filled(2, 6.0)));
    assert!(ran.output.is_none());
}

#[test]
fn r94_a_gradient_keeps_its_shape_and_cannot_be_skipped() {
    let model = chain();
    let mut trial = trial(&model);
    let saved = trial.whole("bends", async |cx| {
        cx.output("").await?;
        cx.backward(loss(1.0)).await?;
        cx.grad("c").await?;
        let swap = cx.set_grad("c", table(3, 0.0)).await.expect_err("a misfit");
        let reshape = cx.reshape("c.output.grad", table(3, 0.0)).await;
        let reshape = reshape.expect_err("a misfit");
        let skip = cx.skip_at("c.output.grad", table(2, 0.0)).await;
        let skip = skip.expect_err("not skippable");
        Ok([swap, reshape, skip].map(|fault| fault.code()))
    });
    run(trial);
    assert_eq!(saved.take(), Some(["E004", "E004", "E005"]));
}

#[test]
fn r94_each_invoke_has_the_gradients_of_its_rows() {
    let model = chain();
    let mut trial = trial(&model);
    let first = trial.rows("first", 1, async |cx| {
        cx.output("").await?;
        cx.backward(loss(1.0)).await?;
        cx.update_grad("c", |gradient| gradient.map(|_| 0.0))
            .await?;
        cx.grad("a").await
    });
    let second = trial.rows("second", 1, async |cx| cx.grad("a").await);
    run(trial);
    assert_eq!(first.take(), Some(filled(1, 0.0)));
    assert_eq!(second.take(), Some(filled(1, 12.0)));
}

#[test]
fn r92_a_cache_collects_gradients_as_they_are_passed_on() {
    let model = chain();
    let mut trial = Trial::of(&model);
    // What a cache collects may not be asked for because of that.
    trial.gradients(&[model.point("c.output")]);
    let cached = trial.cache(CacheSpec::of(["a", "c"]).both().gradients());
    trial.whole("doubles", async |cx| {
        cx.output("").await?;
        cx.backward(loss(1.0)).await?;
        cx.update_grad("c", |gradient| gradient.map(|x| 2.0 * x))
            .await
    });
    run(trial);
    assert_eq!(cached.output_grads("c"), [filled(2, 2.0)]);
    assert_eq!(cached.input_grads("c"), [filled(2, 8.0)]);
    assert_eq!(cached.output_grads("a"), [filled(2, 24.0)]);
    assert_eq!(cached.outputs("a").len(), 1);
}

#[test]
fn r93_barriers_and_loops_work_in_a_backward_pass() {
    let model = stack();
    let mut trial = trial(&model);
    trial.barrier("half", 2);
    trial.whole("asks", async |cx| {
        cx.for_each(0..2, async |cx, _| {
            cx.output("head").await?;
            cx.backward(loss(1.0)).await?;
            cx.grad("head").await.map(drop)
        })
        .await
        .map(drop)?;
        cx.barrier("half").await
    });
    let saved = trial.whole("waits", async |cx| {
        cx.barrier("half").await?;
        // The pass of the second head's loss goes back to the first one's, no further.
        cx.grad("head.input.i1").await
    });
    assert_eq!(run(trial).report.result, Ok(RunEnd::Completed));
    let scale = model.modules[6].scale;
    assert_eq!(saved.take(), Some(filled(2, scale)));
}

#[test]
fn r96_an_identity_edit_changes_nothing() {
    let model = chain();
    let gradients = |edits: bool| {
        let mut trial = trial(&model);
        let cached = trial.cache(CacheSpec::all().both().gradients());
        trial.whole("asks", async |cx| {
            cx.output("").await?;
            cx.backward(loss(5.0)).await
        });
        if edits {
            trial.whole("identity", async |cx| {
                for of in ["c", "c.input", "b", "b.input", "a", "a.input"] {
                    cx.update_grad(of, |gradient| gradient).await?;
                }
                Ok(())
            });
        }
        run(trial);
        let sites = cached.sites();
        sites
            .into_iter()
            .map(|site| (site, cached.at(site)))
            .collect::<Vec<_>>()
    };
    assert_eq!(gradients(true), gradients(false));
}

/// Everything that may be asked for, parameters among it.
fn trial_of_parameters<'m>(model: &'m Model, parameters: &[&str]) -> Trial<'m> {
    let mut trial = trial(model);
    let parameter = |path: &&str| model.map.parameter(path).expect("a parameter");
    let points: Vec<_> = parameters.iter().map(parameter).collect();
    trial.gradients(&points);
    trial
}

#[test]
fn r95_parameters_are_passed_after_all_gradients_in_the_order_of_the_model() {
    let model = chain();
    let mut trial = trial_of_parameters(&model, &["c.shift", "a.shift", "b.shift"]);
    let saved = trial.whole("reader", async |cx| {
        cx.output("").await?;
        cx.backward(loss(1.0)).await?;
        cx.grad("input").await?;
        let a = cx.grad("a.shift").await?;
        let b = cx.value("b.shift.grad.i0").await?;
        let late = cx.grad("a.shift").await.expect_err("it was passed");
        let gone = cx.grad("c").await.expect_err("it was passed");
        Ok((a, b, late.code(), gone.code()))
    });
    let ran = run(trial);
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    let (a, b, late, gone) = saved.take().unwrap();
    // Four numbers went out of each module.
    let sum = |x: f64| Array::new(&[1, 1], &[4.0 * x]);
    assert_eq!((a, b), (sum(12.0), sum(4.0)));
    assert_eq!((late, gone), ("E002", "E002"));
    let lines = ran.lines();
    assert_eq!(lines[2], "0 VALUE input.grad.i0 @ input.grad.i0 served");
    assert_eq!(lines[3], "0 VALUE a.shift.grad.i0 @ a.shift.grad.i0 served");
}

#[test]
fn r95_a_swap_of_a_parameters_gradient_is_what_later_readers_and_the_driver_get() {
    let model = chain();
    let mut trial = trial_of_parameters(&model, &["b.shift"]);
    let cached = trial.cache(CacheSpec::of(["b.shift"]).gradients());
    trial.whole("clips", async |cx| {
        cx.output("").await?;
        cx.backward(loss(1.0)).await?;
        let misfit = cx.set_grad("b.shift", table(2, 0.0)).await;
        assert_eq!(misfit.expect_err("another shape").code(), "E004");
        let skip = cx.skip_at("b.shift.grad", table(2, 0.0)).await;
        assert_eq!(skip.expect_err("nothing is computed").code(), "E005");
        cx.update_grad("b.shift", |gradient| gradient.map(|_| 7.0))
            .await
    });
    let after = trial.whole("reads", async |cx| cx.grad("b.shift").await);
    assert_eq!(run(trial).report.result, Ok(RunEnd::Completed));
    let seven = Array::new(&[1, 1], &[7.0]);
    assert_eq!(after.take(), Some(seven.clone()));
    assert_eq!(cached.output_grads("b.shift"), [seven]);
}

#[test]
fn r95_a_parameter_has_no_rows() {
    let model = chain();
    let mut trial = trial_of_parameters(&model, &["b.shift"]);
    let saved = trial.rows("first", 1, async |cx| {
        cx.output("").await?;
        cx.backward(loss(1.0)).await?;
        let whole = cx.grad("b.shift").await?;
        let swap = cx.set_grad("b.shift", whole.clone()).await;
        Ok((whole, swap.expect_err("of all rows").code()))
    });
    trial.rows("second", 1, async |cx| cx.grad("b.shift").await);
    assert_eq!(run(trial).report.result, Ok(RunEnd::Completed));
    assert_eq!(saved.take(), Some((Array::new(&[1, 1], &[16.0]), "E006")));
}

#[test]
fn r95_each_pass_has_gradients_of_parameters_and_its_number_is_their_iteration() {
    let model = chain();
    let mut trial = trial_of_parameters(&model, &["a.shift", "c.shift"]);
    let saved = trial.whole("reader", async |cx| {
        cx.output("b").await?;
        cx.backward(loss(1.0)).await?;
        let first = cx.grad("a.shift").await?;
        cx.output("").await?;
        cx.backward(loss(2.0)).await?;
        // The second pass does not go back beyond the first one's loss.
        let second = cx.value("c.shift.grad.i1").await?;
        let unreached = cx.value("a.shift.grad.i1").await.expect_err("not reached");
        let earlier = cx.grad("c.shift").await.expect_err("not reached");
        let why = [unreached, earlier].map(|fault| match fault.kind() {
            FaultKind::NoGradient { asked, why } => (asked.clone(), *why),
            _ => panic!("{fault}"),
        });
        Ok((first, second, why))
    });
    let waits = trial.whole("waits", async |cx| {
        let fault = cx.grad("c.shift").await.expect_err("not reached");
        // It learns so when the pass is over, and the model goes on.
        cx.output("c").await?;
        Ok(fault.code())
    });
    let beyond = trial.whole("beyond", async |cx| {
        cx.input("").await?;
        let fault = cx.value("c.shift.grad.i2").await.expect_err("no such pass");
        Ok(fault.to_string())
    });
    assert_eq!(run(trial).report.result, Ok(RunEnd::Completed));
    let (first, second, why) = saved.take().unwrap();
    assert_eq!(first, Array::new(&[1, 1], &[12.0]));
    assert_eq!(second, Array::new(&[1, 1], &[8.0]));
    let unreached = |asked: &str| (asked.to_owned(), NoGradient::Unreached);
    let expected = ["a.shift.grad.i1", "c.shift.grad.i0"].map(unreached);
    assert_eq!(why, expected);
    assert_eq!(waits.take(), Some("E054"));
    assert!(beyond.take().unwrap().contains("`c.shift.grad.i1`"));
}

#[test]
fn r95_what_is_not_declared_or_has_no_pass_is_refused() {
    let model = chain();
    let mut trial = trial_of_parameters(&model, &["a.shift"]);
    let saved = trial.whole("reader", async |cx| {
        let value = cx.output("a.shift").await.expect_err("it passes no site");
        let undeclared = cx.grad("b.shift").await.expect_err("not declared");
        let no_pass = cx.grad("a.shift").await.expect_err("no pass");
        Ok(
            [value, undeclared, no_pass].map(|fault| match fault.kind() {
                FaultKind::NoGradient { why, .. } => format!("{why:?}"),
                _ => fault.code().to_owned(),
            }),
        )
    });
    run(trial);
    let expected = ["E075", "Undeclared", "NoPass"].map(str::to_owned);
    assert_eq!(saved.take(), Some(expected));
}

#[test]
fn r95_a_cache_of_parameters_comes_before_the_first_pass_ends() {
    let model = chain();
    let mut trial = trial(&model);
    let saved = trial.whole("caches", async |cx| {
        let value = cx.cache(CacheSpec::of(["a.shift"])).await;
        let value = value.map(drop).expect_err("it has no value").code();
        cx.output("b").await?;
        cx.backward(loss(1.0)).await?;
        cx.grad("b").await?;
        let spec = CacheSpec::of(["a.shift", "b.shift", "c.shift"]).gradients();
        let cached = cx.cache(spec.clone()).await?;
        cx.output("").await?;
        let late = cx.cache(spec).await.map(drop).expect_err("too late");
        Ok((value, cached, late.code()))
    });
    let ran = run(trial);
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    let (value, cached, late) = saved.take().unwrap();
    assert_eq!((value, late), ("E075", "E017"));
    let sum = |x: f64| vec![Array::new(&[1, 1], &[4.0 * x])];
    assert_eq!(cached.output_grads("a.shift"), sum(3.0));
    assert_eq!(cached.output_grads("b.shift"), sum(1.0));
    // What the pass did not reach is missed.
    assert_eq!(cached.len(), 2);
    let notes = ran.report.audit.mediators[0].notes.iter();
    let notes: Vec<String> = notes.map(ToString::to_string).collect();
    assert!(notes.concat().contains("missed c.shift.grad"), "{notes:?}");
}
