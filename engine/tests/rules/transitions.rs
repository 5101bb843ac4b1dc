//! Every transition that the table lists is taken, and none else.
//!
//! A spy around each mediator sees its deliveries and steps, and the audit shows the state in which the run left it. From
//! the two the transitions follow. (The interleaver itself looks up every change of state in the table, so that a change
//! that is not listed would have failed every other test.)

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use interloom_engine::array::Array;
use interloom_engine::transition::{State, TRANSITIONS, Trigger};
use interloom_engine::{Cx, Delivery, Fault, Invoke, Mediator, Report, Step, mediator};

use crate::support::{Model, Trial, stack, table};

type Taken = BTreeSet<(State, Trigger, State)>;

/// A mediator that is watched.
struct Spy {
    inner: Box<dyn Mediator<Array>>,
    seen: Rc<RefCell<Seen>>,
}

#[derive(Default)]
struct Seen {
    taken: Taken,
    state: Option<State>,
}

impl Seen {
    fn take(&mut self, on: Trigger, to: State) {
        let from = self.state.unwrap_or(State::Registered);
        self.taken.insert((from, on, to));
        self.state = Some(to);
    }
}

impl Mediator<Array> for Spy {
    fn resume(self: Box<Self>, delivery: Delivery<Array>) -> Step<Array> {
        let Self { inner, seen } = *self;
        match &delivery {
            Delivery::Start => seen.borrow_mut().take(Trigger::Start, State::Running),
            Delivery::Value(_) | Delivery::Done => {
                seen.borrow_mut().take(Trigger::Serve, State::Running);
            }
            Delivery::Refused(Fault::NotProvided { .. }) => {
                seen.borrow_mut().take(Trigger::Refuse, State::Running);
            }
            // What can never be served is refused while the mediator runs.
            Delivery::Refused(_) => seen.borrow_mut().state = Some(State::Running),
        }
        let step = inner.resume(delivery);
        let (on, to) = match &step {
            Step::Ask { .. } => (Trigger::Ask, State::Waiting),
            Step::Stop { .. } => (Trigger::Stop, State::Stopped),
            Step::End => (Trigger::End, State::Ended),
            Step::Fail { .. } => (Trigger::Exception, State::Failed),
        };
        seen.borrow_mut().take(on, to);
        match step {
            Step::Ask {
                request,
                origin,
                rest,
            } => {
                let rest = Box::new(Self { inner: rest, seen });
                Step::Ask {
                    request,
                    origin,
                    rest,
                }
            }
            step => step,
        }
    }
}

/// Runs one watched mediator, and adds the transitions that it took.
fn watch<F>(model: &Model, taken: &mut Taken, expected: State, program: F)
where
    F: AsyncFnOnce(Cx<Array>) -> Result<(), Fault> + 'static,
{
    let (program, _) = mediator(model.map.clone(), move |cx| program(cx));
    let seen = Rc::new(RefCell::new(Seen::default()));
    let spy = Spy {
        inner: Box::new(program),
        seen: seen.clone(),
    };
    let mut trial = Trial::of(model);
    trial.invoke(Invoke::new("spied", spy));
    trial.whole("cutter", async |cx| {
        cx.input("layers.1").await?;
        let _ = cx.value("embed.input.i1").await;
        Ok(())
    });
    trial.whole("breaker", async |cx| {
        cx.output("head").await?;
        Err::<(), _>(Fault::raise("cut short"))
    });
    let (_, Report { audit, .. }) = trial.run_unobserved(table(1, 0.0));
    let state = audit.mediators[0].state;
    assert_eq!(state, expected);
    let mut seen = seen.borrow_mut();
    if state == State::Cancelled {
        seen.take(Trigger::Cancel, state);
    }
    assert_eq!(seen.state, Some(state));
    taken.append(&mut seen.taken);
}

#[test]
fn every_transition_is_taken_and_none_else() {
    let model = stack();
    let mut taken = Taken::new();
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
    // With nobody to break the run off, the verdict comes at the end.
    let mut trial = Trial::of(&model);
    let seen = Rc::new(RefCell::new(Seen::default()));
    let (program, _) = mediator(model.map.clone(), async |cx: Cx<Array>| {
        let _ = cx.value("embed.input.i1").await;
        Ok(())
    });
    let spy = Spy {
        inner: Box::new(program),
        seen: seen.clone(),
    };
    trial.invoke(Invoke::new("spied", spy).optional());
    trial.run(table(1, 0.0));
    taken.append(&mut seen.borrow_mut().taken);

    let is_reserved = |state| matches!(state, State::Delegating | State::AtBarrier);
    let listed: Taken = TRANSITIONS
        .iter()
        .filter(|row| !row.on.is_reserved() && !is_reserved(row.from))
        .map(|row| (row.from, row.on, row.to))
        .collect();
    assert_eq!(taken, listed);
}
