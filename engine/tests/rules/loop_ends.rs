//! What the model's end means for a loop: R12.

use interloom_engine::array::Array;
use interloom_engine::transition::State;
use interloom_engine::{Cx, Fault, FaultKind, Note, RunEnd, mediator};

use crate::loops::{cells, notes, read_cell, recurrent};
use crate::support::{Trial, table};

fn ended(iteration: u32, last: Option<u32>, asked: &str) -> Note {
    let asked = asked.to_owned();
    Note::LoopEnded {
        iteration,
        last,
        asked,
    }
}

#[test]
fn r12_an_open_loop_ends_with_the_model_and_the_audit_notes_it() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    let after = trial.whole("loop", async |cx| {
        let seen = cx.for_each(.., read_cell).await?;
        Ok((seen.len(), "went on"))
    });
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    assert_eq!(after.take(), Some((5, "went on")));
    assert_eq!(notes(&ran, 0), [ended(5, None, "cell.output.i5")]);
    assert_eq!(ran.report.audit.warnings().count(), 0);
    let expected = [
        "0 REGISTER i5 @ cell.output.i4 served",
        "0 VALUE cell.output.i5 @ - E003",
        "0 EXCEPTION @ - E003",
        "0 END @ - served",
    ];
    assert_eq!(ran.lines()[ran.log.len() - 4..], expected);
    assert_eq!(ran.report.audit.mediators[0].state, State::Ended);
}

#[test]
fn r12_iterations_that_never_came_are_a_warning() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    let seen = trial.whole("loop", async |cx| cx.for_each(3..8, read_cell).await);
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    assert_eq!(seen.take().unwrap(), cells(&model)[3..]);
    assert_eq!(notes(&ran, 0), [ended(5, Some(7), "cell.output.i5")]);
    assert!(ran.report.audit.warnings().eq(notes(&ran, 0)));
}

#[test]
fn r12_a_child_may_catch_the_verdict_first() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    let seen = trial.whole("loop", async |cx| {
        let body = async |cx: Cx<Array>, _| Ok(cx.output("cell").await.is_ok());
        cx.for_each(3..7, body).await
    });
    let ran = trial.run(table(1, 0.0));
    assert_eq!(seen.take().unwrap(), [true, true, false, false]);
    assert_eq!(notes(&ran, 0), []);
}

#[test]
fn r12_an_open_loop_whose_child_catches_the_verdict_ends_all_the_same() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    let seen = trial.whole("loop", async |cx| {
        let body = async |cx: Cx<Array>, _| Ok(cx.output("cell").await.is_ok());
        cx.for_each(3.., body).await
    });
    trial.run(table(1, 0.0));
    assert_eq!(seen.take().unwrap(), [true, true, false]);
}

#[test]
fn r12_what_follows_the_loop_is_still_subject_to_r11() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    trial.whole("loop", async |cx| {
        cx.for_each(.., read_cell).await?;
        cx.value("head.output.i1").await
    });
    trial.whole("late", async |cx| {
        cx.for_each(.., read_cell).await?;
        cx.output("head").await
    });
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.codes(), [("loop", "E003"), ("late", "E002")]);
}

#[test]
fn r12_each_loop_ends_for_itself() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    let seen = trial.whole("loop", async |cx| {
        cx.for_each(3..5, async |cx, _| {
            let inner = cx.for_each(.., read_cell).await?;
            cx.output("head").await?;
            Ok(inner.len())
        })
        .await
    });
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    assert_eq!(seen.take().unwrap(), []);
    let expected = [
        ended(5, None, "cell.output.i5"),
        ended(3, Some(4), "head.output.i3"),
    ];
    assert_eq!(notes(&ran, 0), expected);
}

#[test]
fn r12_a_child_that_is_no_iteration_of_a_loop_fails() {
    let model = recurrent();
    let (child, _) = mediator(model.map.clone(), async |cx: Cx<Array>| {
        cx.value("cell.output.i9").await
    });
    let mut trial = Trial::of(&model);
    trial.whole("parent", async move |cx| cx.delegate(child).await);
    assert_eq!(trial.run(table(1, 0.0)).codes(), [("parent", "E003")]);
}

#[test]
fn r12_a_fault_of_that_kind_while_the_model_runs_fails_the_invoke() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    trial.whole("forger", async |cx| {
        cx.for_each(0.., async |cx, _| {
            cx.output("cell").await?;
            let fault = FaultKind::NotProvided {
                asked: "cell.output.i7".to_owned(),
                stopped_by: None,
                hint: Vec::new(),
            };
            Err::<(), _>(Fault::from(fault))
        })
        .await
    });
    assert_eq!(trial.run(table(1, 0.0)).codes(), [("forger", "E003")]);
}

#[test]
fn r12_a_stop_by_another_mediator_ends_a_loop_too() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    let seen = trial.whole("loop", async |cx| cx.for_each(.., read_cell).await);
    trial.whole("stopper", async |cx| {
        cx.value("cell.output.i2").await?;
        cx.stop().await
    });
    let ran = trial.run(table(1, 0.0));
    assert!(matches!(ran.report.result, Ok(RunEnd::Stopped { .. })));
    assert_eq!(seen.take().unwrap().len(), 3);
}

#[test]
fn r12_a_loop_of_which_nothing_was_served_never_fired() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    trial.whole("loop", async |cx| {
        cx.for_each(7.., async |cx, _| cx.output("cell").await)
            .await
    });
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.error().code(), "E022");
    assert!(ran.error().to_string().starts_with("`loop` never fired"));
}

#[test]
fn r11_what_was_asked_at_the_last_site_does_not_count_after_the_model() {
    let model = recurrent();
    let mut trial = Trial::of(&model);
    trial.whole("stubborn", async |cx| {
        let mut site = "output.i0";
        for _ in 0..2 {
            let _ = cx.value(site).await;
            for _ in 0..4000 {
                let _ = cx.output("nowhere").await;
            }
            site = "output.i1";
        }
        Ok(())
    });
    assert_eq!(
        trial.run(table(1, 0.0)).report.result,
        Ok(RunEnd::Completed)
    );
}
