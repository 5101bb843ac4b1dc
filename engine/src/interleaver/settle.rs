//! Between sites: what a mediator says next, until it waits or is retired.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Halt, Interleaver};
use crate::cx::panic_message;
use crate::event::{Delivery, Event, Origin, Step, Target};
use crate::fault::Fault;
use crate::lane::{Failed, Phase, Waiting};
use crate::mediator::{Mediator, MediatorId};
use crate::observer::{Asked, Exchange, Outcome};
use crate::site::Site;
use crate::transition::{State, Trigger};
use crate::value::Value;

impl<V: Value> Interleaver<V> {
    /// Takes a mediator's next step, and refuses what cannot be served any more, until it waits or is retired.
    pub(super) fn settle(
        &mut self,
        id: MediatorId,
        mut step: Step<V>,
        at: Option<Site>,
        refusals: &mut u32,
    ) {
        loop {
            step = match step {
                Step::Ask {
                    request,
                    origin,
                    rest,
                } => match self.awaited(request.target(), at) {
                    Some(site) => {
                        return self.park(
                            id,
                            Waiting {
                                request,
                                site,
                                origin,
                                rest,
                            },
                        );
                    }
                    None => self.turn_down(id, request, origin, rest, at, refusals),
                },
                Step::Stop { origin } => return self.stop(id, at, &origin),
                Step::End => return self.end(id, at),
                Step::Fail { fault, origin } => return self.fail(id, at, fault, origin),
            };
        }
    }

    /// Returns the site that a request waits for, if it can still be passed or is at hand.
    pub(super) fn awaited(&self, target: &Target, at: Option<Site>) -> Option<Site> {
        let site = match target {
            Target::Point { point, .. } if self.map.has(*point) => site_of(target),
            Target::Point { .. } | Target::Unknown(_) => return None,
        };
        let is_ahead = self.counts[site.point.index()] <= site.iteration && !self.is_closing;
        (is_ahead || at == Some(site)).then_some(site)
    }

    pub(super) fn park(&mut self, id: MediatorId, waiting: Waiting<V>) {
        self.waiting[waiting.site.point.index()] += 1;
        self.lane(id).on(Trigger::Ask, Phase::Waiting(waiting));
    }

    pub(super) fn unpark(&mut self, id: MediatorId, trigger: Trigger) -> Option<Waiting<V>> {
        if self.lanes[id.0 as usize].state() != State::Waiting {
            return None;
        }
        match self.lane(id).on(trigger, Phase::Running) {
            Phase::Waiting(waiting) => {
                self.waiting[waiting.site.point.index()] -= 1;
                Some(waiting)
            }
            _ => unreachable!("the state was looked at"),
        }
    }

    /// Lets a mediator run to its next step; `origin` is that of the request which is answered.
    pub(super) fn resume(
        &mut self,
        id: MediatorId,
        mediator: Box<dyn Mediator<V>>,
        delivery: Delivery<V>,
        origin: &Origin,
    ) -> Step<V> {
        let name = self.lanes[id.0 as usize].account.name.as_str();
        let _span = tracing::trace_span!("mediator", name).entered();
        // The mediator was moved into the call and is gone after a panic, so that broken invariants stay unseen.
        let resumed = catch_unwind(AssertUnwindSafe(|| mediator.resume(delivery)));
        resumed.unwrap_or_else(|payload| Step::Fail {
            fault: Fault::Panicked(panic_message(&*payload)),
            origin: origin.clone(),
        })
    }

    pub(super) fn end(&mut self, id: MediatorId, at: Option<Site>) {
        self.lane(id).on(Trigger::End, Phase::Ended);
        self.lane(id).account.serve(Event::End);
        self.observe(
            id,
            Event::End,
            None,
            at,
            Outcome::Served(None),
            &Origin::Unknown,
        );
    }

    pub(super) fn stop(&mut self, id: MediatorId, at: Option<Site>, origin: &Origin) {
        self.lane(id).on(Trigger::Stop, Phase::Stopped);
        self.lane(id).account.serve(Event::Stop);
        self.observe(id, Event::Stop, None, at, Outcome::Served(None), origin);
        if self.halt.is_none() && !self.is_closing {
            self.halt = Some(Halt::Stopped { by: id, at });
        }
    }

    pub(super) fn fail(&mut self, id: MediatorId, at: Option<Site>, fault: Fault, origin: Origin) {
        self.lane(id).account.serve(Event::Exception);
        self.observe(
            id,
            Event::Exception,
            None,
            at,
            Outcome::Failed(&fault),
            &origin,
        );
        let failed = Box::new(Failed { fault, at, origin });
        self.lane(id).on(Trigger::Exception, Phase::Failed(failed));
        if !self.is_closing {
            self.halt = Some(Halt::Failed);
        }
    }

    pub(super) fn observe(
        &mut self,
        mediator: MediatorId,
        event: Event,
        asked: Option<Asked<'_>>,
        at: Option<Site>,
        outcome: Outcome<'_, V>,
        origin: &Origin,
    ) {
        let index = self.exchanges;
        self.exchanges += 1;
        if let Some(observer) = &mut self.observer {
            observer.exchange(&Exchange {
                index,
                mediator,
                event,
                asked,
                at,
                outcome,
                origin,
            });
        }
    }
}

/// Returns the site that a request of a known target waits for.
pub(super) fn site_of(target: &Target) -> Site {
    match target {
        // The mediator's own iteration is 0: loops, which change it, come with REGISTER.
        Target::Point { point, iteration } => point.at(iteration.unwrap_or(0)),
        Target::Unknown(name) => unreachable!("`{name}` has been refused"),
    }
}
