//! Runs that fail, and what they leave behind: nothing.

use std::rc::Rc;

use burn::tensor::{Int, Tensor};
use interloom_backends::{Erase, ForwardError, Ran, Run, Value};
use interloom_engine::{Cx, Event, Exchange, Fault, Observer, RowLayout};

use crate::runs::{assert_untouched, run_with, x};
use crate::support::{Mlp, cpu, tensor};

#[test]
fn a_replacement_that_the_model_cannot_take_is_e035() {
    let model = Mlp::bound(1);
    let reshaped = run_with(&model, |cx| async move {
        cx.reshape("up.output", tensor([2, 5, 1], 1)).await
    });
    let skipped = run_with(&model, |cx| async move {
        cx.skip("up", (tensor([2, 5], 1), tensor([2, 5], 2)).erase())
            .await
    });
    let whole = run_with(&model, |cx| async move {
        cx.reshape(
            "input",
            Value::from(Tensor::<2, Int>::zeros([2, 4], &cpu())),
        )
        .await
    });
    let mut messages = Vec::new();
    for result in [reshaped, skipped, whole] {
        let error = result.map(|_| ()).unwrap_err();
        assert_eq!(error.code(), "E035");
        messages.push(unlined(&error));
        // A record has no lines, and no mediator's name.
        let recorded = error.without_origins().to_string();
        assert!(
            recorded.contains("with what a mediator put there: "),
            "{recorded}"
        );
        assert_untouched(&model);
    }
    insta::assert_snapshot!(messages.join("\n"), @"
    the model cannot go on at `up.output` with what mediator `m` (failures.rs:N) put there: expected a tensor of 2 dimensions and kind float, found f32[2, 5, 1]; put in what the model passes there
    the model cannot go on at `up.output` with what mediator `m` (failures.rs:N) put there: expected a tensor of 2 dimensions and kind float, found (f32[2, 5], f32[2, 5]); put in what the model passes there
    the model cannot go on at `input` with what mediator `m` (failures.rs:N) put there: expected a tensor of 2 dimensions and kind float, found i32[2, 4]; put in what the model passes there
    ");
}

/// What kernels do with tensors without elements is not defined, and some read what is not theirs.
#[test]
fn a_replacement_without_elements_is_e035() {
    let model = Mlp::bound(1);
    let message = |result: Result<_, ForwardError>| {
        let error = result
            .map(|_: (Ran<Tensor<2>>, Option<()>)| ())
            .unwrap_err();
        assert_eq!(error.code(), "E035");
        assert_untouched(&model);
        unlined(&error)
    };
    let reshaped = run_with(&model, |cx| async move {
        let up = cx.output("up").await?.tensor::<2>()?;
        cx.reshape("up.output", up.slice([0..0, 0..5])).await
    });
    insta::assert_snapshot!(message(reshaped), @"the model cannot go on at `up.output` with what mediator `m` (failures.rs:N) put there: expected tensors with elements, found f32[0, 5]; put in what the model passes there");
    let skipped = run_with(&model, |cx| async move {
        let x = cx.input("up").await?.tensor::<2>()?;
        cx.skip("up", x.slice([0..2, 0..0])).await
    });
    insta::assert_snapshot!(message(skipped), @"the model cannot go on at `up.input` with what mediator `m` (failures.rs:N) put there: expected tensors with elements, found f32[2, 0]; put in what the model passes there");
    // Nothing is computed of what the whole model puts out.
    let last = run_with(&model, |cx| async move {
        let output = cx.output("").await?.tensor::<2>()?;
        cx.reshape("output", output.slice([0..0, 0..3])).await
    });
    assert_eq!(last.unwrap().0.output.ok().unwrap().dims(), [0, 3]);
}

#[test]
fn a_panic_of_the_model_is_e036_with_the_last_site() {
    let model = Mlp::bound(1);
    let result = run_with(&model, |cx| async move {
        cx.reshape("up.output", tensor([2, 7], 1)).await
    });
    let error = result.map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "E036");
    let message = unlined(&error);
    assert!(
        message.starts_with("the model panicked after `up.output.i0`: "),
        "{message}"
    );
    let cause = message.rsplit("; ").next().unwrap();
    insta::assert_snapshot!(cause, @"before that, mediator `m` changed what passes at `up.output.i0` (failures.rs:N): look at its shape");
    assert!(error.without_origins().to_string().len() < message.len() - cause.len());
    assert_untouched(&model);
}

/// A mediator that may have changed a shape is named, whatever was swapped after that, and else the
/// last swap.
#[test]
fn e036_names_who_may_have_changed_a_shape() {
    let model = Mlp::bound(1);
    let cause = |reshapes: bool| {
        let mut run = Run::new("panic", model.sites());
        run.mediator("first", async move |cx| {
            let up = cx.output("up").await?;
            match reshapes {
                true => cx.reshape("up.output", up).await,
                false => cx.set_output("up", up).await,
            }
        });
        run.mediator("second", async |cx| {
            let act = cx.output("act").await?;
            cx.set_output("act", act).await
        });
        let error = run.execute(|| {
            model.forward(x());
            panic!("out of paper")
        });
        unlined(&error.map(|_: Ran<()>| ()).unwrap_err())
    };
    insta::assert_snapshot!(cause(true), @"the model panicked after `act.output.i0`: out of paper; before that, mediator `first` changed what passes at `up.output.i0` (failures.rs:N): look at its shape");
    insta::assert_snapshot!(cause(false), @"the model panicked after `act.output.i0`: out of paper; before that, mediator `second` changed what passes at `act.output.i0` (failures.rs:N): look at its shape");
}

/// The message without the numbers of lines, which change with this file.
fn unlined(error: &ForwardError) -> String {
    let text = error.to_string();
    let mut parts = text.split(concat!(file!(), ":"));
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str("failures.rs:N");
        plain.push_str(part.trim_start_matches(|digit: char| digit.is_ascii_digit()));
    }
    plain
}

#[test]
fn a_panic_before_any_site_is_e036_as_well() {
    let model = Mlp::bound(1);
    let mut run = Run::new("panic", model.sites());
    run.mediator("m", |cx| async move { cx.output("up").await });
    let error = run.execute(|| panic!("out of paper")).map(|_: Ran<()>| ());
    insta::assert_snapshot!(error.unwrap_err(), @"the model panicked: out of paper");
    assert_untouched(&model);
}

#[test]
fn a_failing_mediator_fails_the_run_with_its_name_site_and_line() {
    let model = Mlp::bound(1);
    let line = line!() + 2;
    let result = run_with(&model, |cx| async move {
        let up = cx.output("up").await?;
        let _: Tensor<3> = up.tensor()?;
        Ok(())
    });
    let error = result.map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "E007");
    let message = error.to_string().replace(file!(), "FILE");
    let message = message.replace(&format!("FILE:{line}:"), "FILE:LINE:");
    insta::assert_snapshot!(message.replace(&format!("FILE:{line}"), "FILE:LINE"), @"mediator `m` failed at `up.output.i0` (FILE:LINE): the value is not what was asked for: expected a tensor of 3 dimensions and kind float, found f32[2, 5]; check the site's kind and rank");
    let ForwardError::Run { audit, .. } = error else {
        panic!("a failed run");
    };
    assert_eq!(audit.mediators[0].served(Event::Exception), 1);
    assert_untouched(&model);
}

#[test]
fn a_panicking_mediator_fails_the_run_only() {
    let model = Mlp::bound(1);
    let result = run_with(&model, |cx| async move {
        // Kinds that do not go together.
        let up = cx.output("up").await?;
        let ids = Value::from(Tensor::<2, Int>::zeros([2, 5], &cpu()));
        cx.set_output("up", up + ids).await
    });
    let error = result.map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "E011");
    let both = "expected a tensor that goes with f32[2, 5] element by element, found i32[2, 5]";
    assert!(error.to_string().contains(both), "{error}");
    assert_untouched(&model);
}

#[test]
fn a_site_that_never_comes_is_e003_and_order_is_e002() {
    let model = Mlp::bound(1);
    let late = run_with(&model, |cx| async move {
        cx.output("down").await?;
        cx.output("up").await
    });
    assert_eq!(late.map(|_| ()).unwrap_err().code(), "E002");
    let never = run_with(&model, |cx| async move { cx.value("up.output.i1").await });
    let error = never.map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "E003");
    let unknown = run_with(&model, |cx| async move { cx.output("upp").await });
    let error = unknown.map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "E001");
    assert_untouched(&model);
}

#[test]
fn a_run_that_cannot_start_leaves_the_model_alone() {
    let model = Mlp::bound(1);
    let mut run = Run::new("twice", model.sites());
    for _ in 0..2 {
        run.mediator("m", |cx| async move { cx.output("up").await });
    }
    let mut started = false;
    let error = run.execute(|| started = true).unwrap_err();
    assert_eq!((error.code(), started), ("E023", false));
    assert_untouched(&model);
}

/// R62, whichever way a run ends: nothing that a mediator holds survives it.
#[test]
fn r62_nothing_is_left_behind() {
    type Program =
        fn(Cx<Value>, Rc<()>) -> std::pin::Pin<Box<dyn Future<Output = Result<(), Fault>>>>;
    let programs: [Program; 6] = [
        |cx, held| {
            Box::pin(async move {
                cx.output("up").await?;
                drop(held);
                Ok(())
            })
        },
        |cx, _held| {
            Box::pin(async move {
                cx.output("up").await?;
                let _held = _held;
                Err(Fault::raise("failed"))
            })
        },
        |cx, _held| {
            Box::pin(async move {
                cx.output("up").await?;
                let _held = _held;
                cx.stop().await?;
                Ok(())
            })
        },
        |cx, _held| {
            Box::pin(async move {
                cx.reshape("up.output", tensor([2, 7], 1)).await?;
                let _held = _held;
                cx.output("").await.map(|_| ())
            })
        },
        |cx, _held| {
            Box::pin(async move {
                cx.reshape("up.output", tensor([1, 1, 1], 1)).await?;
                let _held = _held;
                cx.output("").await.map(|_| ())
            })
        },
        |cx, _held| {
            Box::pin(async move {
                cx.output("up").await?;
                let _held = _held;
                panic!("on purpose")
            })
        },
    ];
    let model = Mlp::bound(1);
    for program in programs {
        let held = Rc::new(());
        let copy = held.clone();
        let _ = run_with(&model, move |cx| program(cx, copy));
        assert_eq!(Rc::strong_count(&held), 1);
        assert_untouched(&model);
    }
}

#[test]
fn a_model_that_can_do_with_an_input_without_elements_is_not_kept_from_it() {
    let model = Mlp::bound(1);
    let mut run = Run::new("empty", model.sites());
    run.mediator("m", |cx| async move { cx.output("").await });
    let ran = run.execute(|| model.forward(Tensor::zeros([0, 4], &cpu())));
    assert_eq!(ran.unwrap().output.ok().unwrap().dims()[0], 0);
}

#[test]
fn an_observer_that_panics_fails_the_run_and_leaves_nothing_behind() {
    struct Panics;
    impl Observer<Value> for Panics {
        fn exchange(&mut self, _: &Exchange<'_, Value>) {
            panic!("the disk is full");
        }
    }
    let model = Mlp::bound(1);
    let mut run = Run::new("observed", model.sites());
    run.mediator("m", |cx| async move { cx.output("up").await });
    run.observer(Panics);
    let error = run.execute(|| model.forward(x())).unwrap_err();
    assert_eq!(error.code(), "E036");
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert_untouched(&model);
}

#[test]
fn r50_rows_that_no_tensor_of_the_input_has_are_e029() {
    let model = Mlp::bound(1);
    let run = |rows: &[u32]| {
        let mut run = Run::new("rows", model.sites());
        for (number, &rows) in rows.iter().enumerate() {
            run.invoke(format!("m{number}"), rows, |cx| async move {
                cx.output("up").await
            });
        }
        run.execute(|| model.forward(x())).map(drop)
    };
    // The input has two rows.
    assert!(run(&[2]).is_ok() && run(&[1, 1]).is_ok() && run(&[]).is_ok());
    let errors = [&[1][..], &[1, 2], &[3]].map(|rows| run(rows).unwrap_err());
    assert!(errors.iter().all(|error| error.code() == "E029"));
    insta::assert_snapshot!(errors[1], @"the invokes have 3 rows together, and no tensor of the model's input, f32[2, 4], has as many; give each invoke as many rows as it has in the batch, or declare which tensors carry rows (`Sites::with_rows`)");
    assert_untouched(&model);
    // A model that says where its rows are is taken at its word.
    let declared = model.with_rows("up.output", RowLayout::Batched).unwrap();
    let mut run = Run::new("rows", declared.sites());
    run.invoke("m", 1, |cx| async move { cx.output("up").await });
    assert!(run.execute(|| declared.forward(x())).is_ok());
}
