//! Mediators that behave as those of the reference do where it differs.

mod sharing;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use interloom_backends::Value;
use interloom_engine::{Cached, Delivery, Fault, FaultKind, Mediator, Origin, Request, Site, Step};

use super::translate::Plan;
use sharing::{answered, shown};

/// One way in which the reference's mediators behave otherwise.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Manner {
    /// A mediator that fails on a request out of order just ends; the model goes on.
    FailsLater,
    /// A mediator that was refused a request out of order asks for nothing more.
    EndsAfterRefusal,
    /// A mediator ends with the loop whose iterations do not come any more.
    EndsWithLoop,
    /// An error in an iteration can be caught around the loop.
    CatchesAroundLoops,
    /// A stop before the model starts ends the mediator only.
    StopsAlone,
    /// A skip with nothing is no skip.
    SkipsWithSomething,
    /// What an edit swaps is lost where invokes share the batch.
    LosesSwapsOfEdits,
    /// A mediator with some of the rows fails on a value with a tensor without dimensions.
    NeedsDimensions,
    /// A cache collects nothing while a child is active.
    CachesBetweenChildren,
    /// A mediator keeps the first value that it sees of a name of another.
    KeepsWhatItSaw,
    /// Others see the names of an iteration once its parent goes on, and an iteration sees those that its parent saw.
    SharesBetweenChildren,
}

/// The guises of all mediators of a scenario.
pub(super) struct Guises {
    manners: Vec<Manner>,
    states: RefCell<Vec<Rc<State>>>,
    /// What is on the blackboard of the run.
    board: RefCell<Rc<Board>>,
}

type Board = RefCell<BTreeMap<Arc<str>, Value>>;

impl Guises {
    pub(super) fn new(manners: &[Manner]) -> Self {
        Self {
            manners: manners.to_vec(),
            states: RefCell::default(),
            board: RefCell::default(),
        }
    }

    /// Puts guises on the mediator at this place of a plan.
    pub(super) fn put_on<P>(
        &self,
        mediator: Box<dyn Mediator<Value>>,
        plan: &Plan<P>,
        index: usize,
    ) -> Box<dyn Mediator<Value>> {
        if index == 0 {
            // Each run has its own.
            self.board.replace(Rc::default());
        }
        self.manners.iter().fold(mediator, |inner, &manner| {
            let is_worn = match manner {
                Manner::LosesSwapsOfEdits => plan.blocks[index].is_edit && is_shared(plan),
                Manner::NeedsDimensions => plan.blocks[index].input.is_some() && is_shared(plan),
                _ => true,
            };
            if !is_worn {
                return inner;
            }
            let state = Rc::new(State::new(manner, self.board.borrow().clone()));
            self.states.borrow_mut().push(state.clone());
            Box::new(Guise {
                inner,
                state,
                is_child: false,
            })
        })
    }

    /// Returns what caches would have missed: all their sites, and those that they would not have.
    pub(super) fn missed(&self) -> Vec<(Vec<Site>, BTreeSet<Site>)> {
        let states = self.states.borrow();
        for state in states.iter() {
            state.is_child_over();
        }
        let watched = states.iter().flat_map(|state| state.caches.take());
        let missed = watched.map(|watched| (watched.cache.sites(), watched.missed));
        missed.collect()
    }
}

/// Returns whether invokes share the batch.
fn is_shared<P>(plan: &Plan<P>) -> bool {
    let with_rows = plan.blocks.iter().filter(|block| block.input.is_some());
    with_rows.count() > 1
}

struct State {
    manner: Manner,
    /// Whether nothing is to be heard of the mediator any more.
    is_over: Cell<bool>,
    /// Whether something happened that has consequences at the next step.
    is_marked: Cell<bool>,
    /// The error of a child.
    fault: RefCell<Option<Fault>>,
    caches: RefCell<Vec<Watched>>,
    board: Rc<Board>,
    /// What the mediator has seen of the blackboard.
    seen: Board,
    /// What its children have put there that nobody has seen.
    kept: RefCell<VecDeque<(Arc<str>, Value)>>,
}

/// A cache, and what passed while a child was active.
struct Watched {
    cache: Cached<Value>,
    missed: BTreeSet<Site>,
    /// What it had when the child became active.
    before: Option<BTreeSet<Site>>,
}

impl State {
    fn new(manner: Manner, board: Rc<Board>) -> Self {
        Self {
            manner,
            is_over: Cell::new(false),
            is_marked: Cell::new(false),
            fault: RefCell::default(),
            caches: RefCell::default(),
            board,
            seen: RefCell::default(),
            kept: RefCell::default(),
        }
    }

    fn end(&self) -> Step<Value> {
        self.is_over.set(true);
        Step::End
    }

    fn is_child_active(&self) {
        for watched in self.caches.borrow_mut().iter_mut() {
            let sites = watched.cache.sites();
            watched.before.get_or_insert(sites.into_iter().collect());
        }
    }

    fn is_child_over(&self) {
        for watched in self.caches.borrow_mut().iter_mut() {
            if let Some(before) = watched.before.take() {
                let sites = watched.cache.sites().into_iter();
                watched
                    .missed
                    .extend(sites.filter(|site| !before.contains(site)));
            }
        }
    }
}

struct Guise {
    inner: Box<dyn Mediator<Value>>,
    state: Rc<State>,
    is_child: bool,
}

impl Mediator<Value> for Guise {
    fn resume(self: Box<Self>, delivery: Delivery<Value>) -> Step<Value> {
        if self.state.is_over.get() {
            return Step::End;
        }
        match self.hear(delivery) {
            Heard::Tell(guise, delivery) => {
                let Guise {
                    inner,
                    state,
                    is_child,
                } = *guise;
                let step = answered(inner.resume(delivery), &state, is_child);
                match is_child {
                    true => say(step, &state, true),
                    false => shown(step, &state),
                }
            }
            Heard::Say(step) => step,
        }
    }
}

enum Heard {
    Tell(Box<Guise>, Delivery<Value>),
    Say(Step<Value>),
}

impl Guise {
    /// What the mediator is told.
    fn hear(self: Box<Self>, delivery: Delivery<Value>) -> Heard {
        let state = self.state.clone();
        let delivery = match (state.manner, delivery) {
            (Manner::EndsAfterRefusal, Delivery::Refused(fault)) => {
                state.is_marked.set(is_out_of_order(&fault));
                Delivery::Refused(fault)
            }
            (Manner::EndsWithLoop, Delivery::Over) if state.is_marked.get() => {
                return Heard::Say(state.end());
            }
            (Manner::CatchesAroundLoops, delivery) => match state.fault.take() {
                Some(fault) => Delivery::Refused(fault),
                None => delivery,
            },
            (Manner::StopsAlone, delivery) => {
                state
                    .is_marked
                    .set(state.is_marked.get() || !matches!(delivery, Delivery::Start));
                delivery
            }
            (Manner::SkipsWithSomething | Manner::LosesSwapsOfEdits, Delivery::Value(value)) => {
                match state.is_marked.replace(false) {
                    true => Delivery::Done,
                    false => Delivery::Value(value),
                }
            }
            (Manner::NeedsDimensions, Delivery::Value(value)) if lacks_dimensions(&value) => {
                return Heard::Say(fail(Fault::raise("tuple index out of range")));
            }
            (Manner::KeepsWhatItSaw, delivery) => {
                state.look();
                delivery
            }
            (Manner::SharesBetweenChildren, delivery) => {
                if !self.is_child {
                    state.look();
                }
                delivery
            }
            (Manner::CachesBetweenChildren, delivery) => {
                if !self.is_child {
                    state.is_child_over();
                }
                delivery
            }
            (_, delivery) => delivery,
        };
        Heard::Tell(self, delivery)
    }
}

/// What is heard of the mediator's step.
fn say(step: Step<Value>, state: &Rc<State>, is_child: bool) -> Step<Value> {
    let wear = |inner: Box<dyn Mediator<Value>>, is_child: bool| -> Box<dyn Mediator<Value>> {
        Box::new(Guise {
            inner,
            state: state.clone(),
            is_child,
        })
    };
    match step {
        Step::Ask {
            request,
            origin,
            rest,
        } => {
            if state.manner == Manner::EndsAfterRefusal
                && state.is_marked.get()
                && is_known_to_both(&request)
            {
                return state.end();
            }
            Step::Ask {
                request: ask(request, state, &wear),
                origin,
                rest: wear(rest, is_child),
            }
        }
        Step::Next { by, rest } => Step::Next {
            by,
            rest: wear(rest, is_child),
        },
        Step::Cache {
            spec,
            into,
            origin,
            rest,
        } => {
            state.caches.borrow_mut().push(Watched {
                cache: into.clone(),
                missed: BTreeSet::new(),
                before: None,
            });
            Step::Cache {
                spec,
                into,
                origin,
                rest: wear(rest, is_child),
            }
        }
        Step::Stop { .. } if state.manner == Manner::StopsAlone && !state.is_marked.get() => {
            state.end()
        }
        Step::Fail { fault, origin } => match state.manner {
            Manner::FailsLater if is_out_of_order(&fault) => state.end(),
            Manner::CatchesAroundLoops if is_child && !is_not_provided(&fault) => {
                state.fault.replace(Some(fault));
                Step::End
            }
            manner => {
                if manner == Manner::EndsWithLoop && is_child && is_not_provided(&fault) {
                    state.is_marked.set(true);
                }
                Step::Fail { fault, origin }
            }
        },
        Step::Stop { .. } | Step::End => step,
    }
}

type Wear<'w> = dyn Fn(Box<dyn Mediator<Value>>, bool) -> Box<dyn Mediator<Value>> + 'w;

fn ask(request: Request<Value>, state: &State, wear: &Wear<'_>) -> Request<Value> {
    match (state.manner, request) {
        (
            manner,
            Request::Register {
                child,
                iteration,
                round,
            },
        ) => {
            if manner == Manner::CachesBetweenChildren {
                state.is_child_active();
            }
            Request::Register {
                child: wear(child, true),
                iteration,
                round,
            }
        }
        (
            Manner::SkipsWithSomething,
            Request::Skip {
                target,
                value: Value::Unit,
            },
        ) => {
            state.is_marked.set(true);
            Request::Value { target }
        }
        (Manner::KeepsWhatItSaw | Manner::SharesBetweenChildren, Request::Put { name, value }) => {
            state.board.borrow_mut().insert(name.clone(), value.clone());
            Request::Put { name, value }
        }
        (Manner::LosesSwapsOfEdits, Request::Swap { target, .. }) => {
            state.is_marked.set(true);
            Request::Value { target }
        }
        (_, request) => request,
    }
}

/// Whether the reference makes such a request of its interleaver too.
fn is_known_to_both(request: &Request<Value>) -> bool {
    request.target().is_some() || matches!(request, Request::Barrier { .. })
}

fn fail(fault: Fault) -> Step<Value> {
    Step::Fail {
        fault,
        origin: Origin::Unknown,
    }
}

fn is_out_of_order(fault: &Fault) -> bool {
    matches!(fault.kind(), FaultKind::OutOfOrder { .. })
}

fn is_not_provided(fault: &Fault) -> bool {
    matches!(fault.kind(), FaultKind::NotProvided { .. })
}

/// Burn has no tensors without dimensions: theirs is one element.
fn lacks_dimensions(value: &Value) -> bool {
    let mut lacks = false;
    value.each_tensor(&mut |tensor| lacks |= tensor.shape() == [1]);
    lacks
}
