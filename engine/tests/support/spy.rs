//! Mediators that are watched: which changes of state they go through.
//!
//! A spy around a mediator sees its deliveries and its steps, and the audit shows the state in
//! which the run left it. From these the transitions follow. What is refused at once leaves a
//! mediator running, so that a step into a waiting state is taken back when such a refusal comes.
#![allow(dead_code)] // Each test binary uses a part.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use interloom_engine::array::Array;
use interloom_engine::transition::{State, Trigger};
use interloom_engine::{Delivery, Event, Fault, FaultKind, Mediator, NoGradient, Request, Step};

/// A change of state.
pub(crate) type Taken = (State, Trigger, State);

/// What is known of one mediator and of its children.
#[derive(Clone, Default)]
pub(crate) struct Watch {
    all: Rc<RefCell<Vec<Rc<RefCell<Seen>>>>>,
    /// Whether the model has finished, so that a request for a site is refused at once.
    is_closing: Rc<Cell<bool>>,
}

impl Watch {
    /// Puts a spy around a mediator.
    pub(crate) fn over(&self, inner: Box<dyn Mediator<Array>>) -> Spy {
        let seen = Rc::<RefCell<Seen>>::default();
        self.all.borrow_mut().push(seen.clone());
        let watch = self.clone();
        Spy { inner, seen, watch }
    }

    /// Says that the model has finished.
    pub(crate) fn close(&self) {
        self.is_closing.set(true);
    }

    /// Returns the changes of state of a mediator that its run left in `state`, and those of its
    /// children.
    pub(crate) fn taken(&self, state: State) -> Vec<Taken> {
        let all = self.all.borrow();
        let each = all.iter().flat_map(|seen| seen.borrow().taken_until(state));
        each.collect()
    }
}

#[derive(Default)]
struct Seen {
    taken: Vec<Taken>,
}

impl Seen {
    fn state(&self) -> State {
        self.taken.last().map_or(State::Registered, |last| last.2)
    }

    fn take(&mut self, on: Trigger, to: State) {
        self.taken.push((self.state(), on, to));
    }

    /// The changes of state, with the one that a mediator does not see: that the run, or its child,
    /// retires it.
    fn taken_until(&self, state: State) -> Vec<Taken> {
        let mut taken = self.taken.clone();
        // A child that was refused has never been there.
        if !self.state().is_retired() && !taken.is_empty() {
            let on = match state {
                State::Cancelled => Trigger::Cancel,
                State::Stopped => Trigger::Stop,
                State::Failed => Trigger::Exception,
                other => panic!(
                    "a mediator was left {}, and its invoke {other}",
                    self.state()
                ),
            };
            taken.push((self.state(), on, state));
        }
        taken
    }

    fn delivered(&mut self, delivery: &Delivery<Array>) {
        let on = match (self.state(), delivery) {
            (State::Registered, _) => Trigger::Start,
            (State::Running, Delivery::Refused(fault)) if is_no_pass(fault.code()) => {
                self.taken.pop();
                return;
            }
            (State::Running, _) => return,
            (State::Waiting, Delivery::Refused(fault)) if is_too_late(fault) => Trigger::Refuse,
            (_, Delivery::Refused(fault)) if is_at_once(fault) => {
                self.taken.pop();
                return;
            }
            (State::Delegating, _) => Trigger::Return,
            (State::AtBarrier, _) => Trigger::Release,
            _ => Trigger::Serve,
        };
        self.take(on, State::Running);
    }

    fn stepped(&mut self, step: &Step<Array>, is_closing: bool) {
        let (on, to) = match step {
            Step::Ask { request, .. } => match request.event() {
                Event::Register => (Trigger::Register, State::Delegating),
                Event::Barrier => (Trigger::Arrive, State::AtBarrier),
                Event::Put | Event::Get => return,
                Event::Backward => (Trigger::Backward, State::Running),
                _ if is_closing => return,
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

/// Whether no mediator waits for what is refused with this code.
fn is_at_once(fault: &Fault) -> bool {
    ["E001", "E002", "E014", "E015", "E054"].contains(&fault.code())
}

/// Whether what was waited for will not come any more.
fn is_too_late(fault: &Fault) -> bool {
    let FaultKind::NoGradient { why, .. } = fault.kind() else {
        return fault.code() == "E003";
    };
    *why != NoGradient::Undeclared
}

/// Whether a loss is refused with this code.
fn is_no_pass(code: &str) -> bool {
    ["E055", "E056"].contains(&code)
}

/// A mediator that is watched.
pub(crate) struct Spy {
    inner: Box<dyn Mediator<Array>>,
    seen: Rc<RefCell<Seen>>,
    watch: Watch,
}

impl Mediator<Array> for Spy {
    fn resume(self: Box<Self>, delivery: Delivery<Array>) -> Step<Array> {
        let Self { inner, seen, watch } = *self;
        seen.borrow_mut().delivered(&delivery);
        let step = inner.resume(delivery);
        seen.borrow_mut().stepped(&step, watch.is_closing.get());
        let request = |request| match request {
            Request::Register {
                child,
                iteration,
                round,
            } => Request::Register {
                child: Box::new(watch.over(child)),
                iteration,
                round,
            },
            request => request,
        };
        let rest = |inner| {
            let (seen, watch) = (seen.clone(), watch.clone());
            Box::new(Self { inner, seen, watch })
        };
        match step {
            Step::Ask {
                request: asked,
                origin,
                rest: inner,
            } => Step::Ask {
                request: request(asked),
                origin,
                rest: rest(inner),
            },
            Step::Next { by, rest: inner } => Step::Next {
                by,
                rest: rest(inner),
            },
            Step::Cache {
                spec,
                into,
                origin,
                rest: inner,
            } => Step::Cache {
                spec,
                into,
                origin,
                rest: rest(inner),
            },
            step => step,
        }
    }
}
