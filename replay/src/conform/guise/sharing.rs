//! What mediators of the reference see of what others share.

use std::rc::Rc;

use interloom_backends::Value;
use interloom_engine::{Delivery, FaultKind, Mediator, Origin, Request, Step};

use super::{Manner, State, ask, say};

impl State {
    /// Sees what is on the blackboard by now.
    pub(super) fn look(&self) {
        let mut seen = self.seen.borrow_mut();
        for (name, value) in self.board.borrow().iter() {
            seen.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }

    /// What it holds for a name: of a list, it sees how that has grown.
    fn held(&self, name: &str) -> Option<Value> {
        let now = self.board.borrow().get(name).cloned();
        match now {
            Some(list @ Value::List(_)) => Some(list),
            _ => self.seen.borrow().get(name).cloned(),
        }
    }
}

/// Answers what the mediator is to be told without anybody hearing it.
pub(super) fn answered(mut step: Step<Value>, state: &State, is_child: bool) -> Step<Value> {
    loop {
        let (rest, delivery) = match (state.manner, step) {
            (
                Manner::KeepsWhatItSaw,
                Step::Ask {
                    request: Request::Get { name },
                    origin,
                    rest,
                },
            ) => match state.held(&name) {
                Some(value) => (rest, Delivery::Value(value)),
                None => {
                    return Step::Ask {
                        request: Request::Get { name },
                        origin,
                        rest,
                    };
                }
            },
            (
                Manner::SharesBetweenChildren,
                Step::Ask {
                    request: Request::Put { name, value },
                    origin,
                    rest,
                },
            ) if is_child => {
                state.seen.borrow_mut().insert(name.clone(), value.clone());
                // A list that others have already is the same one, however long.
                let is_list = matches!(value, Value::List(_));
                if is_list && state.board.borrow().contains_key(&name) {
                    let request = Request::Put { name, value };
                    return Step::Ask {
                        request,
                        origin,
                        rest,
                    };
                }
                state.kept.borrow_mut().push_back((name, value));
                (rest, Delivery::Done)
            }
            (
                Manner::SharesBetweenChildren,
                Step::Ask {
                    request: Request::Get { name },
                    origin,
                    rest,
                },
            ) if is_child => {
                let seen = state.seen.borrow().get(&name).cloned();
                let is_shown = state.board.borrow().contains_key(&name);
                match seen {
                    Some(_) if is_shown => {
                        let request = Request::Get { name };
                        return Step::Ask {
                            request,
                            origin,
                            rest,
                        };
                    }
                    Some(own) => (rest, Delivery::Value(own)),
                    None => {
                        let unseen = FaultKind::NotShared {
                            asked: name.to_string(),
                            there: Vec::new(),
                        };
                        (rest, Delivery::Refused(unseen.into()))
                    }
                }
            }
            (_, step) => return step,
        };
        step = rest.resume(delivery);
    }
}

/// What is heard of a parent's step, after what its children have kept.
pub(super) fn shown(step: Step<Value>, state: &Rc<State>) -> Step<Value> {
    let kept = state.kept.borrow_mut().pop_front();
    match kept {
        Some((name, value)) => Step::Ask {
            request: ask(Request::Put { name, value }, state, &|rest, _| rest),
            origin: Origin::Unknown,
            rest: Box::new(Delayed {
                step,
                state: state.clone(),
            }),
        },
        None => say(step, state, false),
    }
}

/// A step that comes after what the children have kept.
struct Delayed {
    step: Step<Value>,
    state: Rc<State>,
}

impl Mediator<Value> for Delayed {
    fn resume(self: Box<Self>, _: Delivery<Value>) -> Step<Value> {
        shown(self.step, &self.state)
    }
}
