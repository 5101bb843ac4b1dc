//! One mediator of a rehearsal, and the parents of the child that acts for it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::{Unfinished, UnfinishedParent};
use crate::cache::{CacheSpec, Cached};
use crate::cx::panic_message;
use crate::event::{Delivery, Origin, Request, Step, Target};
use crate::fault::{Fault, FaultKind};
use crate::interleaver::{REFUSALS_PER_VISIT_MAX, REQUESTS_PER_VISIT_MAX};
use crate::iterations::Round;
use crate::lane::Patience;
use crate::map::SiteMap;
use crate::mediator::Mediator;

/// One mediator, with the parents of the child that acts for it.
pub(super) struct Part<V> {
    pub(super) map: Arc<SiteMap>,
    pub(super) next: Next<V>,
    pub(super) iteration: u32,
    pub(super) parents: Vec<Parent<V>>,
    pub(super) caches: Vec<(CacheSpec, Cached<V>)>,
    /// How many caches it has declared, and which of them are refused.
    pub(super) declared: u32,
    pub(super) refused_caches: BTreeMap<u32, Fault>,
    pub(super) patience: Patience,
}

pub(super) struct Parent<V> {
    pub(super) iteration: u32,
    pub(super) child: u32,
    pub(super) round: Round,
    pub(super) origin: Origin,
    pub(super) rest: Box<dyn Mediator<V>>,
}

/// What a mediator does next.
pub(super) enum Next<V> {
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

impl<V> Part<V> {
    pub(super) fn into_unfinished(self) -> Unfinished<V> {
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
            declared: self.declared,
        }
    }

    /// Lets a mediator run to what it says next; what needs no answer of the record is done at once.
    pub(super) fn resume(
        &mut self,
        mediator: Box<dyn Mediator<V>>,
        delivery: Delivery<V>,
        origin: &Origin,
    ) {
        let (mut mediator, mut delivery) = (mediator, delivery);
        self.next = loop {
            let resumed = catch_unwind(AssertUnwindSafe(|| mediator.resume(delivery)));
            let step = resumed.unwrap_or_else(|payload| Step::Fail {
                fault: FaultKind::Panicked(panic_message(&*payload)).into(),
                origin: origin.clone(),
            });
            match step {
                Step::Next { by, rest } => {
                    if let Some(fault) = self.count_one() {
                        break Next::Fail(fault, Origin::Unknown);
                    }
                    self.iteration = self.iteration.saturating_add(by);
                    (mediator, delivery) = (rest, Delivery::Done);
                }
                // There is nothing to collect without a model.
                Step::Cache {
                    spec,
                    into,
                    origin,
                    rest,
                } => {
                    if let Some(fault) = self.count_one() {
                        break Next::Fail(fault, origin);
                    }
                    let number = self.declared;
                    self.declared += 1;
                    let refused = self.refused_caches.remove(&number);
                    if refused.is_some()
                        && let Some(fault) = self.count_refusal()
                    {
                        break Next::Fail(fault, origin);
                    }
                    (mediator, delivery) = match refused {
                        Some(fault) => (rest, Delivery::Refused(fault)),
                        None => {
                            self.caches.push((spec, into));
                            (rest, Delivery::Done)
                        }
                    };
                }
                Step::Ask {
                    mut request,
                    origin,
                    rest,
                } => {
                    self.name_unknown(&mut request);
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

    /// Writes a point that the model does not have as the name as which it is refused.
    fn name_unknown(&self, request: &mut Request<V>) {
        if let Request::Value { target }
        | Request::Swap { target, .. }
        | Request::Skip { target, .. } = request
            && let Target::Point { point, .. } = target
            && !self.map.has(*point)
        {
            *target = Target::Unknown(self.map.any_name(*point).into());
        }
    }

    /// Returns what the mediator has done at a visit.
    pub(super) fn patience_at(&mut self, visit: u64) -> &mut Patience {
        if self.patience.visit != visit {
            self.patience = Patience {
                visit,
                ..Patience::default()
            };
        }
        &mut self.patience
    }

    /// Counts what is done at once, and returns why it is not, if there was too much of it.
    fn count_one(&mut self) -> Option<Fault> {
        self.patience.requests += 1;
        let limit = REQUESTS_PER_VISIT_MAX;
        (self.patience.requests > limit).then(|| FaultKind::Restless { limit }.into())
    }

    /// Counts a refusal of such, and returns why there is not even that, if there were too many.
    fn count_refusal(&mut self) -> Option<Fault> {
        self.patience.refusals += 1;
        let limit = REFUSALS_PER_VISIT_MAX;
        (self.patience.refusals > limit).then(|| FaultKind::Restless { limit }.into())
    }

    /// Lets the parent of a child that is done go on.
    pub(super) fn hand_back(&mut self, is_over: impl FnOnce(&Parent<V>) -> bool) {
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
    pub(super) fn known_origin<'p>(&'p self, origin: &'p Origin) -> &'p Origin {
        let parents = self.parents.iter().rev().map(|parent| &parent.origin);
        let mut origins = std::iter::once(origin).chain(parents);
        origins
            .find(|origin| **origin != Origin::Unknown)
            .unwrap_or(origin)
    }
}

impl<V> Parent<V> {
    pub(super) fn is_over(&self, steps: Option<u32>, is_closing: bool) -> bool {
        let is_last = |steps| self.child.checked_add(1).is_none_or(|next| next >= steps);
        matches!(self.round, Round::Open) && (is_closing || steps.is_some_and(is_last))
    }
}
