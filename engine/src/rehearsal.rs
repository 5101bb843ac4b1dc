//! The mediators of a run without its model: their requests are answered from a record.
//!
//! A [`Rehearsal`] steps mediators as the interleaver does, but decides nothing: whoever drives it says which mediator's
//! request is answered next, and with what. Mediators cannot tell the difference, so that equal requests to equal answers
//! prove that they are functions of what they are given. See [`Setup::rehearse`](crate::Setup::rehearse).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::cache::{CacheSpec, Cached};
use crate::cx::panic_message;
use crate::event::{Delivery, Event, Origin, Request, Step, Target};
use crate::fault::{Fault, FaultKind};
use crate::interleaver::REQUESTS_PER_VISIT_MAX;
use crate::iterations::Round;
use crate::map::SiteMap;
use crate::mediator::{Invoke, Mediator, MediatorId};
use crate::observer::Asked;
use crate::site::Site;

/// The mediators of a run, to be answered from a record.
pub struct Rehearsal<V> {
    map: Arc<SiteMap>,
    parts: Vec<Part<V>>,
    started: usize,
    /// How many steps the run declares.
    steps: Option<u32>,
    /// Whether the model has finished in the record.
    is_closing: bool,
}

/// What a mediator says that has not been answered yet.
#[derive(Debug)]
pub struct Said<'r, V> {
    /// The event.
    pub event: Event,
    /// What it is about.
    pub asked: Option<Asked<'r>>,
    /// The value that it gives: of a swap, a skip or a put.
    pub value: Option<&'r V>,
    /// Why it failed, if it has.
    pub fault: Option<&'r Fault>,
    /// Where in the user's source it stands.
    pub origin: &'r Origin,
}

/// The recorded answer to a request.
#[derive(Clone, Debug)]
pub enum Answer<V> {
    /// The value that was read or got.
    Value(V),
    /// It was done. So are answered ends, failures and stops, and children that are registered.
    Done,
    /// It was refused.
    Refused(Fault),
}

/// A mediator in the middle of its work, to go on in a run.
pub struct Unfinished<V> {
    /// What it does next, or the child that acts for it; nothing if it is retired.
    pub step: Option<Step<V>>,
    /// By how many iterations it has advanced its own since it was started.
    pub advanced: u32,
    /// The mediators that wait for the child, outermost first.
    pub parents: Vec<UnfinishedParent<V>>,
    /// The caches that it has declared; nothing has been collected.
    pub caches: Vec<(CacheSpec, Cached<V>)>,
}

/// A mediator that waits for its child.
pub struct UnfinishedParent<V> {
    /// By how many iterations it has advanced its own since it was started.
    pub advanced: u32,
    /// The loop that the child is an iteration of.
    pub round: Round,
    /// The mediator, to be resumed when the child has ended.
    pub rest: Box<dyn Mediator<V>>,
}

/// One mediator, with the parents of the child that acts for it.
struct Part<V> {
    next: Next<V>,
    iteration: u32,
    parents: Vec<Parent<V>>,
    caches: Vec<(CacheSpec, Cached<V>)>,
}

struct Parent<V> {
    iteration: u32,
    child: u32,
    round: Round,
    origin: Origin,
    rest: Box<dyn Mediator<V>>,
}

/// What a mediator does next.
enum Next<V> {
    Start(Box<dyn Mediator<V>>),
    Ask {
        request: Request<V>,
        origin: Origin,
        rest: Box<dyn Mediator<V>>,
    },
    Stop(Origin),
    End,
    Fail(Fault, Origin),
    Retired,
}

impl<V> Rehearsal<V> {
    pub(crate) fn new(map: Arc<SiteMap>, invokes: Vec<Invoke<V>>, steps: Option<u32>) -> Self {
        let part = |invoke: Invoke<V>| Part {
            next: Next::Start(invoke.mediator),
            iteration: 0,
            parents: Vec::new(),
            caches: Vec::new(),
        };
        Self {
            map,
            parts: invokes.into_iter().map(part).collect(),
            started: 0,
            steps,
            is_closing: false,
        }
    }

    /// Returns how many mediators there are.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Starts the mediators with numbers below `end`, in definition order, that have not been started.
    pub fn start(&mut self, end: usize) {
        while self.started < end.min(self.parts.len()) {
            let part = &mut self.parts[self.started];
            self.started += 1;
            if let Next::Start(mediator) = std::mem::replace(&mut part.next, Next::Retired) {
                part.resume(mediator, Delivery::Start, &Origin::Unknown);
            }
        }
    }

    /// Says that the model has finished, so that loops without an upper bound end with their next iteration.
    pub fn close(&mut self) {
        self.is_closing = true;
    }

    /// Returns what a mediator says next; nothing if it has not been started or is retired.
    pub fn said(&self, id: MediatorId) -> Option<Said<'_, V>> {
        let part = self.parts.get(id.0 as usize)?;
        let bare = |event, origin| Said {
            event,
            asked: None,
            value: None,
            fault: None,
            origin,
        };
        Some(match &part.next {
            Next::Start(_) | Next::Retired => return None,
            Next::End => bare(Event::End, &Origin::Unknown),
            Next::Stop(origin) => bare(Event::Stop, origin),
            Next::Fail(fault, origin) => Said {
                fault: Some(fault),
                ..bare(Event::Exception, part.known_origin(origin))
            },
            Next::Ask {
                request, origin, ..
            } => Said {
                asked: Some(self.asked(part, request)),
                value: match request {
                    Request::Swap { value, .. }
                    | Request::Skip { value, .. }
                    | Request::Put { value, .. } => Some(value),
                    _ => None,
                },
                ..bare(request.event(), origin)
            },
        })
    }

    /// Returns whether a mediator says something that an interleaver answers at once, wherever the model is.
    pub fn is_pressing(&self, id: MediatorId) -> bool {
        match self.parts.get(id.0 as usize).map(|part| &part.next) {
            Some(Next::Ask { request, .. }) => matches!(
                request,
                Request::Register { .. } | Request::Put { .. } | Request::Get { .. }
            ),
            Some(Next::Stop(_) | Next::End | Next::Fail(..)) => true,
            Some(Next::Start(_) | Next::Retired) | None => false,
        }
    }

    /// Answers what a mediator has said, and lets it run to what it says next.
    ///
    /// Nothing happens to a mediator that says nothing.
    pub fn answer(&mut self, id: MediatorId, answer: Answer<V>) {
        let (steps, is_closing) = (self.steps, self.is_closing);
        let Some(part) = self.parts.get_mut(id.0 as usize) else {
            return;
        };
        match std::mem::replace(&mut part.next, Next::Retired) {
            Next::Start(mediator) => part.next = Next::Start(mediator),
            Next::Retired => {}
            Next::Stop(_) => part.parents.clear(),
            Next::End => part.hand_back(|parent| parent.is_over(steps, is_closing)),
            Next::Fail(fault, _) => {
                let is_loop = |parent: &Parent<V>| !matches!(parent.round, Round::Alone);
                let ends_loop = is_closing && fault.not_provided().is_some();
                match part.parents.last() {
                    Some(parent) if ends_loop && is_loop(parent) => part.hand_back(|_| true),
                    _ => part.parents.clear(),
                }
            }
            Next::Ask {
                request:
                    Request::Register {
                        child,
                        iteration,
                        round,
                    },
                origin,
                rest,
            } if !matches!(answer, Answer::Refused(_)) => {
                let own = part.iteration;
                part.iteration = iteration.unwrap_or(own);
                part.parents.push(Parent {
                    iteration: own,
                    child: part.iteration,
                    round,
                    origin: origin.clone(),
                    rest,
                });
                part.resume(child, Delivery::Start, &origin);
            }
            Next::Ask { origin, rest, .. } => {
                let delivery = match answer {
                    Answer::Value(value) => Delivery::Value(value),
                    Answer::Done => Delivery::Done,
                    Answer::Refused(fault) => Delivery::Refused(fault),
                };
                part.resume(rest, delivery, &origin);
            }
        }
    }

    /// Gives up the mediators where they stand, to go on in a run whose exchanges were the same so far.
    pub fn into_unfinished(self) -> Vec<Unfinished<V>> {
        self.parts.into_iter().map(Part::into_unfinished).collect()
    }

    fn asked<'r>(&self, part: &Part<V>, request: &'r Request<V>) -> Asked<'r> {
        match request {
            Request::Value { target }
            | Request::Swap { target, .. }
            | Request::Skip { target, .. } => match target {
                Target::Point { point, iteration } => {
                    let iteration = iteration.unwrap_or(part.iteration);
                    Asked::Site(Site {
                        point: *point,
                        iteration,
                    })
                }
                Target::Unknown(name) => Asked::Unknown(name),
            },
            Request::Register { iteration, .. } => {
                Asked::Iteration(iteration.unwrap_or(part.iteration))
            }
            Request::Barrier { name } | Request::Put { name, .. } | Request::Get { name } => {
                Asked::Name(name)
            }
        }
    }

    /// Returns the sites of the model.
    pub fn map(&self) -> &Arc<SiteMap> {
        &self.map
    }
}

impl<V> Part<V> {
    fn into_unfinished(self) -> Unfinished<V> {
        // A child begins with the iteration for which it was registered.
        let mut began = 0;
        let mut parents = Vec::with_capacity(self.parents.len());
        for parent in self.parents {
            parents.push(UnfinishedParent {
                advanced: parent.iteration.saturating_sub(began),
                round: parent.round,
                rest: parent.rest,
            });
            began = parent.child;
        }
        let step = match self.next {
            Next::Start(_) | Next::Retired => None,
            Next::Ask {
                request,
                origin,
                rest,
            } => Some(Step::Ask {
                request,
                origin,
                rest,
            }),
            Next::Stop(origin) => Some(Step::Stop { origin }),
            Next::End => Some(Step::End),
            Next::Fail(fault, origin) => Some(Step::Fail { fault, origin }),
        };
        Unfinished {
            step,
            advanced: self.iteration.saturating_sub(began),
            parents,
            caches: self.caches,
        }
    }

    /// Lets a mediator run to what it says next; what needs no answer of the record is done at once.
    fn resume(&mut self, mediator: Box<dyn Mediator<V>>, delivery: Delivery<V>, origin: &Origin) {
        let (mut mediator, mut delivery) = (mediator, delivery);
        let mut patience = REQUESTS_PER_VISIT_MAX;
        self.next = loop {
            if patience == 0 {
                let limit = REQUESTS_PER_VISIT_MAX;
                break Next::Fail(FaultKind::Restless { limit }.into(), origin.clone());
            }
            patience -= 1;
            let resumed = catch_unwind(AssertUnwindSafe(|| mediator.resume(delivery)));
            let step = resumed.unwrap_or_else(|payload| Step::Fail {
                fault: FaultKind::Panicked(panic_message(&*payload)).into(),
                origin: origin.clone(),
            });
            match step {
                Step::Next { by, rest } => {
                    self.iteration = self.iteration.saturating_add(by);
                    (mediator, delivery) = (rest, Delivery::Done);
                }
                // There is nothing to collect without a model.
                Step::Cache {
                    spec, into, rest, ..
                } => {
                    self.caches.push((spec, into));
                    (mediator, delivery) = (rest, Delivery::Done);
                }
                Step::Ask {
                    request,
                    origin,
                    rest,
                } => {
                    break Next::Ask {
                        request,
                        origin,
                        rest,
                    };
                }
                Step::Stop { origin } => break Next::Stop(origin),
                Step::End => break Next::End,
                Step::Fail { fault, origin } => break Next::Fail(fault, origin),
            }
        };
    }

    /// Lets the parent of a child that is done go on.
    fn hand_back(&mut self, is_over: impl FnOnce(&Parent<V>) -> bool) {
        let Some(parent) = self.parents.pop() else {
            return;
        };
        let delivery = match is_over(&parent) {
            true => Delivery::Over,
            false => Delivery::Done,
        };
        self.iteration = parent.iteration;
        self.resume(parent.rest, delivery, &parent.origin);
    }

    /// A child that has not asked for anything failed where it was registered.
    fn known_origin<'p>(&'p self, origin: &'p Origin) -> &'p Origin {
        let parents = self.parents.iter().rev().map(|parent| &parent.origin);
        let mut origins = std::iter::once(origin).chain(parents);
        origins
            .find(|origin| **origin != Origin::Unknown)
            .unwrap_or(origin)
    }
}

impl<V> Parent<V> {
    fn is_over(&self, steps: Option<u32>, is_closing: bool) -> bool {
        let is_last = |steps| self.child.checked_add(1).is_none_or(|next| next >= steps);
        matches!(self.round, Round::Open) && (is_closing || steps.is_some_and(is_last))
    }
}
