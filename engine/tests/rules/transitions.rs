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
use interloom_engine::{
    Cx, Delivery, Event, Fault, Invoke, Mediator, Report, Request, Step, mediator,
};

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
    fn state(&self) -> State {
        self.state.unwrap_or(State::Registered)
    }

    fn take(&mut self, on: Trigger, to: State) {
        let from = self.state();
        self.taken.insert((from, on, to));
        self.state = Some(to);
    }

    fn delivered(&mut self, delivery: &Delivery<Array>) {
        let on = match (self.state(), delivery) {
            (State::Registered, Delivery::Start) => Trigger::Start,
            (State::Delegating, Delivery::Done | Delivery::Over) => Trigger::Return,
            (State::AtBarrier, Delivery::Done) => Trigger::Release,
            (State::Waiting, Delivery::Value(_) | Delivery::Done) => Trigger::Serve,
            (State::Waiting, Delivery::Refused(fault)) if fault.code() == "E003" => Trigger::Refuse,
            // What is served or refused at once leaves it running.
            _ => return self.state = Some(State::Running),
        };
        self.take(on, State::Running);
    }

    fn stepped(&mut self, step: &Step<Array>) {
        let (on, to) = match step {
            Step::Ask { request, .. } => match request.event() {
                Event::Register => (Trigger::Register, State::Delegating),
                Event::Barrier => (Trigger::Arrive, State::AtBarrier),
                Event::Put | Event::Get => return,
                _ => (Trigger::Ask, State::Waiting),
            },
            Step::Next { .. } | Step::Cache { .. } => return,
            Step::Stop { .. } => (Trigger::Stop, State::Stopped),
            Step::End => (Trigger::End, State::Ended),
            Step::Fail { .. } => (Trigger::Exception, State::Failed),
        };
        self.take(on, to);
    }
}

impl Mediator<Array> for Spy {
    fn resume(self: Box<Self>, delivery: Delivery<Array>) -> Step<Array> {
        let Self { inner, seen } = *self;
        seen.borrow_mut().delivered(&delivery);
        let step = inner.resume(delivery);
        seen.borrow_mut().stepped(&step);
        let watched = |inner, seen| Box::new(Self { inner, seen });
        match step {
            Step::Ask {
                request,
                origin,
                rest,
            } => Step::Ask {
                request: watch_child(request, &seen),
                origin,
                rest: watched(rest, seen),
            },
            Step::Next { by, rest } => Step::Next {
                by,
                rest: watched(rest, seen),
            },
            step => step,
        }
    }
}

/// Watches a child too; what it takes is added to its parent's when it is gone.
fn watch_child(request: Request<Array>, parent: &Rc<RefCell<Seen>>) -> Request<Array> {
    struct Child {
        spy: Box<Spy>,
        parent: Rc<RefCell<Seen>>,
    }

    impl Mediator<Array> for Child {
        fn resume(self: Box<Self>, delivery: Delivery<Array>) -> Step<Array> {
            let seen = self.spy.seen.clone();
            let step = self.spy.resume(delivery);
            let mut taken = seen.borrow().taken.clone();
            self.parent.borrow_mut().taken.append(&mut taken);
            step
        }
    }

    match request {
        Request::Register {
            child,
            iteration,
            round,
        } => {
            let spy = Box::new(Spy {
                inner: child,
                seen: Rc::default(),
            });
            let parent = parent.clone();
            Request::Register {
                child: Box::new(Child { spy, parent }),
                iteration,
                round,
            }
        }
        request => request,
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
    let (_, Report { audit, .. }) = trial.run_unobserved(table(1, 0.0));
    let state = audit.mediators[0].state;
    assert_eq!(state, expected);
    let mut seen = seen.borrow_mut();
    if seen.state() != state {
        // The run, or a child, has retired it; it was not told.
        let on = match state {
            State::Cancelled => Trigger::Cancel,
            State::Stopped => Trigger::Stop,
            State::Failed => Trigger::Exception,
            other => panic!("{other}"),
        };
        seen.take(on, state);
    }
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

    let listed: Taken = TRANSITIONS
        .iter()
        .map(|row| (row.from, row.on, row.to))
        .collect();
    assert_eq!(taken, listed);
}
