//! Children and loops over iterations: R30 to R35; how loops end is in `loop_ends`.

use std::cell::RefCell;
use std::rc::Rc;

use interloom_engine::array::Array;
use interloom_engine::transition::State;
use interloom_engine::{
    Cx, Delivery, Event, Fault, FaultKind, Invoke, Iterations, Note, Request, Round, RunEnd,
    RunError, mediator,
};

use crate::support::{Model, Move, Ran, Trial, machine, table};

/// A model that calls one module five times.
pub(crate) fn recurrent() -> Model {
    let cells = ["embed", "cell", "cell", "cell", "cell", "cell", "head"];
    Model::tree(&[
        ("", &cells),
        ("embed", &[]),
        ("cell", &["cell.fc"]),
        ("cell.fc", &[]),
        ("head", &[]),
    ])
}

/// What the cell returns in each iteration, without mediators.
pub(crate) fn cells(model: &Model) -> Vec<Array> {
    let mut trial = Trial::of(model);
    let seen = trial.whole("watch", async |cx| {
        let mut seen = Vec::new();
        for iteration in 0..5 {
            seen.push(cx.value(&format!("cell.output.i{iteration}")).await?);
        }
        Ok(seen)
    });
    trial.run(table(1, 0.0));
    seen.take().unwrap()
}

pub(crate) async fn read_cell(cx: Cx<Array>, _: u32) -> Result<Array, Fault> {
    cx.output("cell").await
}

pub(crate) fn notes(ran: &Ran, mediator: usize) -> &[Note] {
    &ran.report.audit.mediators[mediator].notes
}

#[test]
fn r30_a_plain_request_in_a_loop_is_for_the_childs_iteration() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    let seen = trial.whole("loop", async |cx| cx.for_each(1..3, read_cell).await);
    let ran = trial.run(table(1, 0.0));
    assert_eq!(seen.take().unwrap(), cells(&model)[1..3]);
    let expected = [
        "0 REGISTER i1 @ - served",
        "0 VALUE cell.output.i1 @ cell.output.i1 served",
        "0 END @ cell.output.i1 served",
        "0 REGISTER i2 @ cell.output.i1 served",
        "0 VALUE cell.output.i2 @ cell.output.i2 served",
        "0 END @ cell.output.i2 served",
        "0 END @ cell.output.i2 served",
    ];
    assert_eq!(ran.lines(), expected);
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
}

#[test]
fn r30_another_iteration_can_be_named_inside_a_loop() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    let seen = trial.whole("loop", async |cx| {
        cx.for_each(1, async |cx, _| cx.value("cell.output.i3").await)
            .await
    });
    trial.run(table(1, 0.0));
    assert_eq!(seen.take().unwrap(), cells(&model)[3..4]);
}

#[test]
fn r31_slices_lists_numbers_and_all_register_one_child_each() {
    let model = recurrent();
    let every = cells(&model);
    let cases: [(Iterations, &[usize]); 6] = [
        ((0..2).into(), &[0, 1]),
        ([0, 3].into(), &[0, 3]),
        (4.into(), &[4]),
        ((3..).into(), &[3, 4]),
        (Iterations::all(), &[0, 1, 2, 3, 4]),
        ((2..=2).into(), &[2]),
    ];
    for (iterations, expected) in cases {
        let mut trial = Trial::of(&model);
        let case = format!("{iterations:?}");
        let seen = trial.whole("loop", async |cx| cx.for_each(iterations, read_cell).await);
        let ran = trial.run(table(1, 0.0));
        assert!(ran.report.result.is_ok(), "{case}");
        let expected: Vec<Array> = expected.iter().map(|&i| every[i].clone()).collect();
        assert_eq!(seen.take(), Some(expected), "{case}");
    }
}

#[test]
fn r31_the_parent_goes_on_at_the_site_at_which_its_child_ended() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    let saved = trial.whole("loop", async |cx| {
        let inside = cx.for_each(2, read_cell).await?;
        cx.value("cell.output.i2")
            .await
            .map(|after| (inside, after))
    });
    let ran = trial.run(table(1, 0.0));
    let (inside, after) = saved.take().unwrap();
    assert_eq!(inside, [after]);
    assert_eq!(
        ran.lines()[3],
        "0 VALUE cell.output.i2 @ cell.output.i2 served"
    );
}

#[test]
fn r31_a_child_is_served_at_the_site_at_which_it_is_registered() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    let saved = trial.whole("loop", async |cx| {
        let before = cx.value("cell.output.i1").await?;
        let inside = cx.for_each(1, read_cell).await?;
        Ok((vec![before], inside))
    });
    trial.run(table(1, 0.0));
    let (before, inside) = saved.take().unwrap();
    assert_eq!(before, inside);
}

#[test]
fn r31_an_open_loop_ends_with_the_last_of_the_declared_steps() {
    let model = recurrent();
    let every = cells(&model);
    for iterations in [Iterations::all(), (0..).into()] {
        let mut trial = Trial::of(&model);
        trial.steps(3);
        let seen = trial.whole("loop", async |cx| {
            let seen = cx.for_each(iterations, read_cell).await?;
            // The loop ended in the run, not with it.
            cx.value("cell.output.i4").await?;
            Ok(seen)
        });
        let ran = trial.run(table(1, 0.0));
        assert_eq!(seen.take().unwrap(), every[..3]);
        assert_eq!(notes(&ran, 0), []);
        let registered = ran.report.audit.mediators[0].served(Event::Register);
        assert_eq!(registered, 3);
    }
}

#[test]
fn r31_a_loop_with_an_upper_bound_may_go_beyond_the_declared_steps() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    trial.steps(1);
    let seen = trial.whole("loop", async |cx| cx.for_each(2..4, read_cell).await);
    trial.run(table(1, 0.0));
    assert_eq!(seen.take().unwrap(), cells(&model)[2..4]);
}

#[test]
fn r31_an_open_loop_beyond_the_declared_steps_runs_nothing() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    trial.steps(3);
    let seen = trial.whole("loop", async |cx| {
        let seen = cx.for_each(3.., read_cell).await?;
        cx.output("head").await?;
        Ok(seen)
    });
    let ran = trial.run(table(1, 0.0));
    assert_eq!(seen.take(), Some(Vec::new()));
    assert_eq!(ran.lines()[0], "0 REGISTER i3 @ - E014");
}

#[test]
fn r31_a_loop_without_a_start_begins_at_the_parents_own_iteration() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    let seen = trial.whole("loop", async |cx| {
        cx.for_each(2, async |cx, _| cx.for_each(..4, read_cell).await)
            .await
    });
    trial.run(table(1, 0.0));
    assert_eq!(seen.take().unwrap(), [&cells(&model)[2..4]]);
}

#[test]
fn r31_a_child_without_an_iteration_has_its_parents() {
    let model = recurrent();
    let map = model.map.clone();
    let mut trial = Trial::of(&model);
    trial.whole("outer", async move |cx| {
        cx.for_each(3, move |cx, _| {
            let (child, saved) =
                mediator(map.clone(), async |cx: Cx<Array>| cx.output("cell").await);
            async move {
                cx.delegate(child).await?;
                Ok(saved.take())
            }
        })
        .await
    });
    let ran = trial.run(table(1, 0.0));
    let expected = [
        "0 REGISTER i3 @ - served",
        "0 REGISTER i3 @ - served",
        "0 VALUE cell.output.i3 @ cell.output.i3 served",
    ];
    assert_eq!(ran.lines()[..3], expected);
}

#[test]
fn r32_a_list_is_taken_in_ascending_order() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    let order = trial.whole("loop", async |cx| {
        cx.for_each([3, 0, 1], async |cx, i| cx.output("cell").await.map(|_| i))
            .await
    });
    assert!(trial.run(table(1, 0.0)).report.result.is_ok());
    assert_eq!(order.take().unwrap(), [0, 1, 3]);
}

#[test]
fn r32_an_empty_slice_runs_nothing() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    let seen = trial.whole("loop", async |cx| cx.for_each(2..2, read_cell).await);
    let ran = trial.run(table(1, 0.0));
    assert_eq!(seen.take(), Some(Vec::new()));
    assert_eq!(ran.lines(), ["0 END @ - served"]);
}

#[test]
fn r33_next_advances_the_own_iteration_and_is_no_exchange() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    let seen = trial.whole("next", async |cx| {
        let first = cx.output("cell").await?;
        cx.next(1);
        cx.next(2);
        assert_eq!(cx.iteration(), 3);
        let fourth = cx.output("cell").await?;
        Ok([first, fourth])
    });
    let ran = trial.run(table(1, 0.0));
    let every = cells(&model);
    assert_eq!(seen.take().unwrap(), [every[0].clone(), every[3].clone()]);
    let expected = [
        "0 VALUE cell.output.i0 @ cell.output.i0 served",
        "0 VALUE cell.output.i3 @ cell.output.i3 served",
        "0 END @ cell.output.i3 served",
    ];
    assert_eq!(ran.lines(), expected);
}

#[test]
fn r33_next_beyond_the_last_number_is_an_iteration_that_never_comes() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    trial.whole("next", async |cx| {
        cx.next(u32::MAX);
        cx.next(u32::MAX);
        cx.output("cell").await
    });
    assert_eq!(trial.run(table(1, 0.0)).codes(), [("next", "E003")]);
}

#[test]
fn r33_a_machine_cannot_come_round_to_an_earlier_iteration() {
    let model = recurrent();
    let cell = model.point("cell.output");
    let mut steps = [u32::MAX, 1].into_iter();
    let program = machine(move |delivery| match (delivery, steps.next()) {
        (Delivery::Refused(fault), _) => Move::Fail(fault),
        (_, Some(by)) => Move::Next(by),
        (_, None) => Move::Value(cell),
    });
    let mut trial = Trial::of(&model);
    trial.invoke(Invoke::new("next", program));
    assert_eq!(trial.run(table(1, 0.0)).codes(), [("next", "E003")]);
}

#[test]
fn r33_a_hand_written_machine_advances_its_iteration() {
    let model = recurrent();
    let cell = model.point("cell.output");
    let mut is_advanced = false;
    let program = machine(move |delivery| match delivery {
        Delivery::Start => Move::Next(3),
        Delivery::Done if !is_advanced => {
            is_advanced = true;
            Move::Value(cell)
        }
        Delivery::Value(_) => Move::End,
        other => panic!("{other:?}"),
    });
    let mut trial = Trial::of(&model);
    trial.invoke(Invoke::new("next", program));
    let expected = [
        "0 VALUE cell.output.i3 @ cell.output.i3 served",
        "0 END @ cell.output.i3 served",
    ];
    assert_eq!(trial.run(table(1, 0.0)).lines(), expected);
}

/// Reads the cell in every iteration of an open loop, and then the head: by hand.
fn by_hand(model: &Model, seen: Rc<RefCell<Vec<Array>>>) -> Invoke<Array> {
    let (cell, head) = (model.point("cell.output"), model.point("head.output"));
    let child = move || {
        let seen = seen.clone();
        Box::new(machine(move |delivery| match delivery {
            Delivery::Start => Move::Value(cell),
            Delivery::Value(value) => {
                seen.borrow_mut().push(value);
                Move::End
            }
            Delivery::Refused(fault) => Move::Fail(fault),
            other => panic!("{other:?}"),
        }))
    };
    let mut next = 0;
    let parent = machine(move |delivery| match delivery {
        Delivery::Start | Delivery::Done => {
            next += 1;
            Move::Ask(Request::Register {
                child: child(),
                iteration: Some(next - 1),
                round: Round::Open,
            })
        }
        Delivery::Over => Move::Value(head),
        Delivery::Refused(_) => Move::End,
        other => panic!("{other:?}"),
    });
    Invoke::new("loop", parent)
}

#[test]
fn r31_a_hand_written_loop_makes_the_same_exchanges_as_an_async_one() {
    let model = recurrent();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let mut trial = Trial::of(&model);
    trial.invoke(by_hand(&model, seen.clone()));
    let machine = trial.run(table(1, 0.0));
    let mut trial = Trial::of(&model);
    let saved = trial.whole("loop", async |cx| {
        let seen = cx.for_each(.., read_cell).await?;
        let _ = cx.output("head").await;
        Ok(seen)
    });
    let asynchronous = trial.run(table(1, 0.0));
    assert_eq!(machine.lines(), asynchronous.lines());
    assert_eq!(machine.log, asynchronous.log);
    assert_eq!(notes(&machine, 0), notes(&asynchronous, 0));
    assert_eq!(Some(seen.take()), saved.take());
}

#[test]
fn r34_loops_nest() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    let seen = trial.whole("loop", async |cx| {
        cx.for_each([1, 3], async |cx, i| {
            let inner = cx.for_each(i..i + 2, read_cell).await?;
            assert_eq!(cx.iteration(), i);
            Ok(inner)
        })
        .await
    });
    let ran = trial.run(table(1, 0.0));
    let every = cells(&model);
    assert_eq!(seen.take().unwrap(), [&every[1..3], &every[3..5]]);
    assert_eq!(ran.report.audit.mediators[0].served(Event::Register), 6);
    assert_eq!(ran.report.audit.mediators[0].served(Event::End), 7);
}

#[test]
fn r34_a_childs_stop_ends_the_models_run_and_retires_its_parents() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    let after = trial.whole("loop", async |cx| {
        cx.for_each(1.., async |cx, i| {
            cx.output("cell").await?;
            if i == 2 {
                cx.stop().await?;
            }
            Ok(())
        })
        .await
    });
    let ran = trial.run(table(1, 0.0));
    let stopped = RunEnd::Stopped {
        by: "loop".to_owned(),
        at: Some("cell.output.i2".to_owned()),
    };
    assert_eq!(ran.report.result, Ok(stopped));
    assert_eq!(ran.report.audit.mediators[0].state, State::Stopped);
    assert_eq!(after.take(), None);
}

#[test]
fn r34_a_childs_skip_counts_for_its_invoke() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    let skip = async |cx: Cx<Array>, i: u32| cx.skip("cell", table(1, f64::from(i))).await;
    trial.rows("loop", 1, async move |cx| cx.for_each(1..3, skip).await);
    trial.rows("plain", 1, async |cx| {
        cx.skip_at("cell.input.i1", table(1, 5.0)).await?;
        cx.skip_at("cell.input.i2", table(1, 6.0)).await
    });
    let third = trial.whole("watch", async |cx| cx.value("cell.output.i2").await);
    let ran = trial.run(table(2, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    assert_eq!(third.take().unwrap().data(), [2.0, 3.0, 6.0, 7.0]);
}

#[test]
fn r34_a_childs_exception_fails_its_invoke() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    let after = trial.whole("loop", async |cx| {
        let body = async |cx: Cx<Array>, i| {
            cx.output("cell").await?;
            match i {
                2 => Err(Fault::raise("no")),
                i => Ok(i),
            }
        };
        // The parent is not asked.
        Ok(cx.for_each(.., body).await.is_err())
    });
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.codes(), [("loop", "E013")]);
    assert_eq!(ran.report.audit.mediators[0].state, State::Failed);
    assert_eq!(after.take(), None);
    assert_eq!(
        ran.lines().last().unwrap(),
        "0 EXCEPTION @ cell.output.i2 E013"
    );
}

#[test]
fn r34_a_child_that_asks_nothing_fails_at_the_line_where_it_was_registered() {
    let model = recurrent();
    let panics = async |_, _| -> Result<(), Fault> { panic!("at once") };
    let raises = async |_, _| Err::<(), _>(Fault::raise("at once"));
    let mut trial = Trial::of(&model);
    trial.whole("panics", async move |cx| cx.for_each(0, panics).await);
    trial.whole("raises", async move |cx| cx.for_each(0, raises).await);
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.codes(), [("panics", "E011"), ("raises", "E013")]);
    let RunError::Mediators(failures) = ran.error() else {
        unreachable!("the codes are those of mediators")
    };
    for failure in failures {
        let (file, _) = failure.origin.file_line().expect("a line");
        assert!(file.ends_with("loops.rs"), "{file}");
    }
}

#[test]
fn r34_a_child_arrives_at_a_barrier_for_its_invoke() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    trial.barrier("each", 2);
    trial.whole("first", async |cx| {
        cx.for_each(0..3, async |cx, _| {
            let x = cx.output("cell").await?;
            cx.put("x", x).await?;
            cx.barrier("each").await
        })
        .await
    });
    let seen = trial.whole("second", async |cx| {
        cx.for_each(0..3, async |cx, _| {
            cx.barrier("each").await?;
            cx.get("x").await
        })
        .await
    });
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    assert_eq!(seen.take().unwrap(), cells(&model)[..3]);
}

#[test]
fn r34_the_context_of_the_parent_makes_no_requests_for_the_child() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    trial.whole("loop", async |cx| {
        let outer = cx.clone();
        let body = move |_, _| {
            let outer = outer.clone();
            async move { outer.output("cell").await }
        };
        cx.for_each(0, body).await
    });
    assert_eq!(trial.run(table(1, 0.0)).codes(), [("loop", "E010")]);
}

#[test]
fn r35_after_a_loop_the_own_iteration_is_what_it_was() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    let seen = trial.whole("loop", async |cx| {
        let inside = async |cx: Cx<Array>, _| {
            cx.next(1);
            cx.output("cell").await
        };
        let first = cx.for_each([0], inside).await?;
        cx.next(3);
        cx.for_each(2, read_cell).await?;
        Ok((first, cx.output("cell").await?, cx.output("head").await))
    });
    trial.run(table(1, 0.0));
    let (first, after, head) = seen.take().unwrap();
    let every = cells(&model);
    assert_eq!(first, every[1..2]);
    assert_eq!(after, every[3]);
    // The head is passed once: iteration 3 of it never comes.
    assert_eq!(head.unwrap_err().code(), "E003");
}

#[test]
fn r31_a_loop_that_never_waits_is_failed() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    let endless = machine(|delivery| match delivery {
        Delivery::Start | Delivery::Done => Move::Ask(Request::Register {
            child: Box::new(machine(|_| Move::End)),
            iteration: None,
            round: Round::Open,
        }),
        other => panic!("{other:?}"),
    });
    trial.invoke(Invoke::new("endless", endless));
    trial.whole("impatient", async |cx| {
        cx.for_each(0.., async |cx, _| {
            let _ = cx.output("nowhere").await;
            Ok(())
        })
        .await
    });
    let (_, report) = trial.run_unobserved(table(1, 0.0));
    let Err(RunError::Mediators(failures)) = report.result else {
        panic!("{:?}", report.result);
    };
    let faults: Vec<&FaultKind> = failures
        .iter()
        .map(|failure| failure.fault.kind())
        .collect();
    let limits = [1 << 20, 1 << 12].map(|limit| FaultKind::Restless { limit });
    assert_eq!(faults, limits.iter().collect::<Vec<_>>());
}

#[test]
fn r33_a_mediator_that_only_advances_is_failed() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    trial.invoke(Invoke::new("endless", machine(|_| Move::Next(1))));
    let (_, report) = trial.run_unobserved(table(1, 0.0));
    assert_eq!(report.result.unwrap_err().code(), "E012");
}
