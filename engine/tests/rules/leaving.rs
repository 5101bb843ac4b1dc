//! What a run leaves behind, however it ends: nothing (R61, R62).

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use interloom_engine::array::Array;
use interloom_engine::transition::State;
use interloom_engine::{
    Cx, Event, Fault, Flow, Invoke, Misfit, RowLayout, Rows, RunEnd, Setup, Value, mediator,
};

use crate::support::{Trial, stack, table};

/// Counts itself when it is dropped.
struct Counted(Rc<Cell<u32>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn r61_a_retired_mediator_is_dropped_when_it_ends_and_costs_nothing_later() {
    let model = stack();
    let drops = Rc::new(Cell::new(0));
    let counted = Counted(drops.clone());
    let mut trial = Trial::of(&model);
    trial.whole("short", async move |cx| {
        let _held = counted;
        cx.input("embed").await
    });
    let mut run = trial.into_setup().start().unwrap();
    model.forward(table(1, 0.0), &mut |point, value| {
        let is_first = drops.get() == 0;
        if run.passes(point) {
            assert!(is_first, "nobody waits after the mediator's end");
            let flow = run.provide(point, value);
            assert_eq!(drops.get(), 1);
            return flow;
        }
        Flow::Continue(value)
    });
    assert_eq!(run.finish().result, Ok(RunEnd::Completed));
}

#[test]
fn r62_a_failure_halts_the_model_and_cancels_whoever_waits() {
    let model = stack();
    let drops = Rc::new(Cell::new(0));
    let counted = Counted(drops.clone());
    let mut trial = Trial::of(&model);
    trial.whole("waiter", async move |cx| {
        let _held = counted;
        cx.output("").await
    });
    trial.whole("broken", async |cx| {
        cx.output("embed").await?;
        Err::<(), _>(Fault::raise("broken"))
    });
    trial.whole("unserved", async |cx| cx.output("embed").await);
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.codes(), [("broken", "E013")]);
    assert_eq!(drops.get(), 1);
    assert_eq!(ran.sites.last().unwrap(), "embed.output.i0");
    let states: Vec<State> = ran
        .report
        .audit
        .mediators
        .iter()
        .map(|account| account.state)
        .collect();
    assert_eq!(states, [State::Cancelled, State::Failed, State::Cancelled]);
    let open = ran.report.audit.mediators[2].open.as_ref().unwrap();
    assert_eq!(
        (open.event, open.site.as_str()),
        (Event::Value, "embed.output.i0")
    );
}

#[test]
fn r62_a_cancelled_run_leaves_nothing_behind() {
    let model = stack();
    for sites in 0..8 {
        let drops = Rc::new(Cell::new(0));
        let mut trial = Trial::of(&model);
        for name in ["a", "b", "c"] {
            let counted = Counted(drops.clone());
            trial.whole(name, async move |cx| {
                let _held = counted;
                let x = cx.input("layers.0").await?;
                cx.set_output("", x).await
            });
        }
        let mut run = trial.into_setup().start().unwrap();
        let mut left = sites;
        let output = model.forward(table(1, 0.0), &mut |point, value| {
            if left == 0 {
                return Flow::Halt;
            }
            left -= 1;
            match run.passes(point) {
                true => run.provide(point, value),
                false => Flow::Continue(value),
            }
        });
        assert_eq!(output, None);
        let audit = run.cancel();
        assert_eq!(drops.get(), 3);
        let expected = if sites > 3 {
            "output.i0"
        } else {
            "layers.0.input.i0"
        };
        for account in &audit.mediators {
            assert_eq!(account.state, State::Cancelled);
            assert_eq!(account.open.as_ref().unwrap().site, expected);
        }
        // The model runs again at once.
        let mut again = Trial::of(&model);
        again.whole("a", async |cx| cx.output("").await);
        assert_eq!(
            again.run(table(1, 0.0)).report.result,
            Ok(RunEnd::Completed)
        );
    }
}

#[test]
fn r62_a_run_that_is_dropped_leaves_nothing_behind() {
    let model = stack();
    let drops = Rc::new(Cell::new(0));
    let counted = Counted(drops.clone());
    let mut trial = Trial::of(&model);
    trial.whole("a", async move |cx| {
        let _held = counted;
        cx.output("").await
    });
    drop(trial.into_setup().start().unwrap());
    assert_eq!(drops.get(), 1);
}

#[test]
fn r62_a_run_can_be_cancelled_after_a_panic_of_its_driver() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("a", async |cx| cx.output("").await);
    let mut setup = trial.into_setup();
    setup.observer(|_: &interloom_engine::Exchange<'_, Array>| panic!("a recorder that breaks"));
    let mut run = setup.start().unwrap();
    let point = model.point("output");
    run.passes(point);
    let provided = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = run.provide(point, table(1, 0.0));
    }));
    assert!(provided.is_err());
    assert_eq!(run.cancel().mediators[0].state, State::Running);
}

/// A value of which it is known how many there are.
#[derive(Clone)]
struct Tracked(Rc<()>);

impl Value for Tracked {
    fn rows(&self, _: Rows, _: u32, _: &RowLayout) -> Self {
        self.clone()
    }

    fn splice(&self, _: Rows, _: u32, _: &RowLayout, part: Self) -> Result<Self, Misfit> {
        Ok(part)
    }

    fn fits(&self, other: &Self) -> Result<(), Misfit> {
        assert!(Rc::ptr_eq(&self.0, &other.0), "there is one value");
        Ok(())
    }

    fn join(mut parts: Vec<Self>) -> Result<Self, Misfit> {
        Ok(parts.remove(0))
    }
}

/// How a run is left after some sites.
#[derive(Clone, Copy)]
enum Leave {
    Finish,
    Cancel,
    Drop,
}

#[test]
fn r62_no_value_outlives_its_run() {
    let model = stack();
    let point = model.point("embed.output");
    for (sites, leave) in
        (0..5).flat_map(|n| [Leave::Finish, Leave::Cancel, Leave::Drop].map(|leave| (n, leave)))
    {
        let count = Rc::new(());
        let leaked = Rc::new(RefCell::new(Vec::new()));
        let mut setup = Setup::new(model.map.clone());
        for (name, fails_at) in [("a", 9), ("b", 2)] {
            let store = leaked.clone();
            let (program, _) = mediator(model.map.clone(), async move |cx: Cx<Tracked>| {
                // A context that is kept must not keep a value alive.
                store.borrow_mut().push(cx.clone());
                let mut held = Vec::new();
                for iteration in 0..4 {
                    let value = cx.value(point.at(iteration)).await?;
                    cx.set(point.at(iteration), value.clone()).await?;
                    held.push(value);
                    if iteration == fails_at {
                        return Err(Fault::raise("as planned"));
                    }
                }
                Ok(())
            });
            setup.invoke(Invoke::new(name, program).rows(1));
        }
        let mut run = setup.start().unwrap();
        for _ in 0..sites {
            if run.passes(point) && !run.is_halted() {
                drop(run.provide(point, Tracked(count.clone())));
            }
        }
        // The mediator that has not failed still holds what it read.
        assert_eq!(Rc::strong_count(&count) > 1, sites > 0);
        match leave {
            Leave::Finish => drop(run.finish()),
            Leave::Cancel => drop(run.cancel()),
            Leave::Drop => drop(run),
        }
        assert_eq!(Rc::strong_count(&count), 1);
        assert_eq!(leaked.borrow().len(), 2);
    }
}
