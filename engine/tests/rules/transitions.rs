//! Every transition that the table lists is taken, and none else.
//!
//! Each is shown here once, by a mediator made for it; the laws show the same of generated runs.
//! (The interleaver itself looks up every change of state in the table, so that a change that is
//! not listed would have failed every other test.)

use std::collections::BTreeSet;

use interloom_engine::array::Array;
use interloom_engine::transition::{State, TRANSITIONS};
use interloom_engine::{Cx, Fault, Invoke, mediator};

use crate::spy::{Taken, Watch};
use crate::support::{Model, Trial, stack, table};

/// Runs one watched mediator, and adds the transitions that it took.
fn watch<F>(model: &Model, taken: &mut BTreeSet<Taken>, expected: State, program: F)
where
    F: AsyncFnOnce(Cx<Array>) -> Result<(), Fault> + 'static,
{
    let (program, _) = mediator(model.map.clone(), move |cx| program(cx));
    let watch = Watch::default();
    let spy = watch.over(Box::new(program));
    let mut trial = Trial::of(model);
    trial.barrier("pair", 2);
    trial.barrier("nobody else", 2);
    trial.invoke(Invoke::new("spied", spy).optional());
    trial.whole("cutter", async |cx| {
        cx.input("layers.1").await?;
        cx.barrier("pair").await?;
        let _ = cx.value("embed.input.i1").await;
        Ok(())
    });
    trial.whole("breaker", async |cx| {
        cx.output("head").await?;
        Err::<(), _>(Fault::raise("cut short"))
    });
    let (_, report) = trial.run_unobserved(table(1, 0.0));
    let state = report.audit.mediators[0].state;
    assert_eq!(state, expected);
    taken.extend(watch.taken(state));
}

#[test]
fn every_transition_is_taken_and_none_else() {
    let model = stack();
    let mut taken = BTreeSet::new();
    watch(&model, &mut taken, State::Ended, async |cx| {
        cx.input("embed").await.map(drop)
    });
    watch(&model, &mut taken, State::Failed, async |cx| {
        cx.output("embed").await?;
        cx.input("embed").await.map(drop)
    });
    watch(&model, &mut taken, State::Cancelled, async |cx| {
        cx.output("").await.map(drop)
    });
    watch(&model, &mut taken, State::Stopped, async |cx| {
        cx.input("embed").await?;
        cx.stop().await.map(|never| match never {})
    });
    watch(&model, &mut taken, State::Ended, async |cx| {
        cx.input("embed").await?;
        cx.backward(Array::scalar(1.0)).await
    });
    watch(&model, &mut taken, State::Ended, async |cx| {
        cx.barrier("pair").await
    });
    watch(&model, &mut taken, State::Cancelled, async |cx| {
        cx.barrier("nobody else").await
    });
    watch(&model, &mut taken, State::Ended, async |cx| {
        cx.for_each(0, async |cx, _| cx.input("embed").await)
            .await
            .map(drop)
    });
    watch(&model, &mut taken, State::Failed, async |cx| {
        cx.for_each(0, async |cx, _| cx.input("nowhere").await)
            .await
            .map(drop)
    });
    watch(&model, &mut taken, State::Stopped, async |cx| {
        cx.for_each(0, async |cx, _| cx.stop().await)
            .await
            .map(drop)
    });
    watch(&model, &mut taken, State::Cancelled, async |cx| {
        cx.for_each(0, async |cx, _| cx.output("").await)
            .await
            .map(drop)
    });
    // Without a mediator that breaks the run off, the verdict comes at the end.
    let watch = Watch::default();
    let (program, _) = mediator(model.map.clone(), async |cx: Cx<Array>| {
        let _ = cx.value("embed.input.i1").await;
        Ok(())
    });
    let mut trial = Trial::of(&model);
    let spy = watch.over(Box::new(program));
    trial.invoke(Invoke::new("spied", spy).optional());
    trial.run(table(1, 0.0));
    taken.extend(watch.taken(State::Ended));

    let listed: BTreeSet<Taken> = TRANSITIONS
        .iter()
        .map(|row| (row.from, row.on, row.to))
        .collect();
    assert_eq!(taken, listed);
}
