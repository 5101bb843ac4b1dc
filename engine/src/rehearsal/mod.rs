//! The mediators of a run without its model: their requests are answered from a record.
//!
//! A [`Rehearsal`] steps mediators as the interleaver does, but decides nothing: whoever drives it says which mediator's
//! request is answered next, and with what. Mediators cannot tell the difference, so that equal requests to equal answers
//! prove that they are functions of what they are given. See [`Setup::rehearse`](crate::Setup::rehearse).

mod part;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::part::{Next, Parent, Part};
use crate::cache::{CacheSpec, Cached};
use crate::event::{Delivery, Event, Origin, Request, Step, Target};
use crate::fault::{Fault, FaultKind};
use crate::iterations::Round;
use crate::lane::Patience;
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
    /// The site that the model is passing in the record.
    at: Option<Site>,
    /// How often that changed.
    visits: u64,
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
    /// The caches that it has declared and that were granted; nothing has been collected.
    pub caches: Vec<(CacheSpec, Cached<V>)>,
    /// How many caches it has declared.
    pub declared: u32,
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

impl<V> Rehearsal<V> {
    pub(crate) fn new(map: Arc<SiteMap>, invokes: Vec<Invoke<V>>, steps: Option<u32>) -> Self {
        let part = |invoke: Invoke<V>| Part {
            map: map.clone(),
            next: Next::Start(invoke.mediator),
            iteration: 0,
            parents: Vec::new(),
            caches: Vec::new(),
            declared: 0,
            refused_caches: BTreeMap::new(),
            patience: Patience::default(),
        };
        let parts = invokes.into_iter().map(part).collect();
        Self {
            map,
            parts,
            started: 0,
            steps,
            is_closing: false,
            at: None,
            visits: 0,
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

    /// Says which site the model is passing; `None` before it has started and when it has finished.
    ///
    /// A mediator may only do so much before the model goes on, which is counted from here.
    pub fn at(&mut self, at: Option<Site>) {
        if self.at != at {
            self.at = at;
            self.visits += 1;
        }
    }

    /// Says that the model has finished, so that loops without an upper bound end with their next iteration.
    pub fn close(&mut self) {
        if !self.is_closing {
            self.is_closing = true;
            self.at = None;
            self.visits += 1;
        }
    }

    /// Refuses a cache that a mediator will declare, the `number`-th of its own from 0; the others are granted.
    pub fn refuse_cache(&mut self, id: MediatorId, number: u32, fault: Fault) {
        if let Some(part) = self.parts.get_mut(id.0 as usize) {
            part.refused_caches.insert(number, fault);
        }
    }

    /// Lets a mediator fail that has asked for so much, while the model was where it is, that an interleaver would not serve
    /// what it says now; otherwise nothing happens.
    ///
    /// Whoever drives the rehearsal says so where the record has a failure: the mediator itself was not told.
    pub fn give_up(&mut self, id: MediatorId) {
        let visit = self.visits;
        let Some(part) = self.parts.get_mut(id.0 as usize) else {
            return;
        };
        let limit = part.patience_at(visit).limit();
        if let (Some(limit), Next::Ask { origin, .. }) = (limit, &part.next) {
            let fault = FaultKind::Restless { limit }.into();
            part.next = Next::Fail(fault, origin.clone());
        }
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
        let is_at_hand = self.is_at_hand(id);
        let visit = self.visits;
        let Some(part) = self.parts.get_mut(id.0 as usize) else {
            return;
        };
        let is_for_no_site =
            matches!(&part.next, Next::Ask { request, .. } if request.target().is_none());
        let is_asking = matches!(part.next, Next::Ask { .. });
        let patience = part.patience_at(visit);
        if is_asking {
            let is_refused = matches!(answer, Answer::Refused(_));
            let is_counted = is_at_hand || is_for_no_site;
            patience.requests += u32::from(is_counted);
            patience.refusals += u32::from(is_refused && !is_at_hand);
        }
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

    /// Returns whether a mediator asks for the site that the model is passing.
    fn is_at_hand(&self, id: MediatorId) -> bool {
        let asked = self.said(id).and_then(|said| said.asked);
        matches!((asked, self.at), (Some(Asked::Site(asked)), Some(at)) if asked == at)
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
