//! Between sites: what a mediator says next, until it waits or is retired.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tracing::Level;

use super::{Halt, Interleaver};
use crate::cx::panic_message;
use crate::event::{Delivery, Event, Origin, Request, Step, Target};
use crate::fault::{Fault, FaultKind};
use crate::lane::{Failed, Patience, Phase, SiteRequest, Waiting};
use crate::mediator::{Mediator, MediatorId};
use crate::observer::{Exchange, Message, Outcome};
use crate::planted::{self, Bug};
use crate::site::Site;
use crate::transition::{State, Trigger};
use crate::value::Value;

/// How many requests a mediator may make without letting the model continue.
pub(crate) const REQUESTS_PER_VISIT_MAX: u32 = 1 << 20;

impl<V: Value> Interleaver<V> {
    /// Takes a mediator's steps, and refuses what cannot be served any more, until it waits or is
    /// retired.
    pub(super) fn settle(&mut self, id: MediatorId, mut step: Step<V>, at: Option<Site>) {
        // A loop and no recursion: a mediator may make a million requests at one site.
        loop {
            let next = match step {
                Step::Ask {
                    request,
                    origin,
                    rest,
                } => self.ask(id, request, origin, rest, at),
                Step::Next { by, rest } => Some(self.next(id, by, rest)),
                Step::Cache {
                    spec,
                    into,
                    origin,
                    rest,
                } => Some(self.cache(id, (spec, into), origin, rest, at)),
                Step::Stop { origin } => return self.stop(id, at, &origin),
                Step::End => self.end(id, at),
                Step::Fail { fault, origin } => self.fail(id, at, fault, origin),
            };
            match next {
                Some(next) => step = next,
                None => return,
            }
        }
    }

    /// Lets a mediator wait for the site that its request is for, if that can still be passed or is
    /// at hand.
    #[inline]
    fn ask(
        &mut self,
        id: MediatorId,
        request: Request<V>,
        origin: Origin,
        rest: Box<dyn Mediator<V>>,
        at: Option<Site>,
    ) -> Option<Step<V>> {
        // Looked at before it is moved: to copy the target right after it was written, field by
        // field, stalls the processor for a tenth of an exchange.
        let site = request
            .target()
            .and_then(|target| self.awaited(id, target, at));
        let (target, request) = match request {
            Request::Value { target } => (target, SiteRequest::Value),
            Request::Swap {
                target,
                value,
                reshape,
            } => (target, SiteRequest::Swap { value, reshape }),
            Request::Skip { target, value } => (target, SiteRequest::Skip { value }),
            request => return self.ask_of_run(id, request, origin, rest, at),
        };
        let Some(site) = site else {
            return Some(self.turn_down(id, (target, request), origin, rest, at));
        };
        let waiting = Waiting {
            request,
            site,
            origin,
            rest,
        };
        self.park(id, waiting);
        None
    }

    /// Does what is asked for at no site: of other mediators, of the blackboard.
    #[inline(never)]
    fn ask_of_run(
        &mut self,
        id: MediatorId,
        request: Request<V>,
        origin: Origin,
        rest: Box<dyn Mediator<V>>,
        at: Option<Site>,
    ) -> Option<Step<V>> {
        if self.is_restless(id) {
            return Some(restless(REQUESTS_PER_VISIT_MAX, origin));
        }
        match request {
            Request::Register {
                child,
                iteration,
                round,
            } => Some(self.register(id, (child, iteration, round), origin, rest, at)),
            Request::Barrier { name } => self.arrive(id, name, origin, rest, at),
            Request::Put { name, value } => Some(self.put(id, (name, value), origin, rest, at)),
            Request::Get { name } => Some(self.get(id, &name, origin, rest, at)),
            Request::Backward { loss } => Some(self.backward(id, loss, origin, rest, at)),
            Request::Value { .. } | Request::Swap { .. } | Request::Skip { .. } => {
                unreachable!("these have a target")
            }
        }
    }

    /// Advances a mediator's own iteration.
    fn next(&mut self, id: MediatorId, by: u32, rest: Box<dyn Mediator<V>>) -> Step<V> {
        if self.is_restless(id) {
            return restless(REQUESTS_PER_VISIT_MAX, Origin::Unknown);
        }
        let lane = self.lane(id);
        if !planted::has(Bug::ForgottenNext) {
            lane.iteration = lane.iteration.saturating_add(by);
        }
        self.resume(id, rest, Delivery::Done, &Origin::Unknown)
    }

    /// Returns the site that a request waits for, if it can still be passed or is at hand.
    fn awaited(&self, id: MediatorId, target: &Target, at: Option<Site>) -> Option<Site> {
        let site = match target {
            Target::Point { point, .. } if self.map.has(*point) => self.site_of(id, target),
            Target::Point { .. } | Target::Unknown(_) => return None,
        };
        let late = u32::from(planted::has(Bug::LateRefusal));
        let is_ahead = match site.point.port.is_gradient() {
            true => self.is_gradient_ahead(site),
            false => self.passed(site.point) <= site.iteration.saturating_add(late),
        };
        let is_ahead = is_ahead && !self.is_closing;
        let is_late =
            planted::has(Bug::LateRegistration) && self.lanes[id.0 as usize].is_delegating();
        let is_at_hand = at == Some(site) && !is_late;
        (is_ahead || is_at_hand).then_some(site)
    }

    /// Returns the site that a request of a known target waits for.
    pub(super) fn site_of(&self, id: MediatorId, target: &Target) -> Site {
        match target {
            Target::Point { point, iteration } => {
                let own = self.lanes[id.0 as usize].iteration;
                point.at(iteration.unwrap_or(own))
            }
            Target::Unknown(name) => unreachable!("`{name}` has been refused"),
        }
    }

    #[inline]
    fn park(&mut self, id: MediatorId, waiting: Waiting<V>) {
        self.tallies.of_mut(waiting.site.point).interest += 1;
        self.lane(id).park(waiting);
    }

    /// Takes the request of a mediator that waits, if `is_meant`.
    #[inline]
    pub(super) fn unpark(
        &mut self,
        id: MediatorId,
        trigger: Trigger,
        is_meant: impl FnOnce(Site) -> bool,
    ) -> Option<Waiting<V>> {
        let waiting = self.lane(id).unpark(trigger, is_meant)?;
        self.tallies.of_mut(waiting.site.point).interest -= 1;
        Some(waiting)
    }

    /// Counts a request, and returns whether the mediator has made too many without letting the
    /// model continue.
    pub(super) fn is_restless(&mut self, id: MediatorId) -> bool {
        let patience = self.patience(id);
        patience.requests += 1;
        patience.requests > REQUESTS_PER_VISIT_MAX
    }

    /// Returns what a mediator has done at the visit at hand.
    pub(super) fn patience(&mut self, id: MediatorId) -> &mut Patience {
        let visit = self.visits;
        let patience = &mut self.lane(id).patience;
        if patience.visit != visit {
            *patience = Patience {
                visit,
                ..Patience::default()
            };
        }
        patience
    }

    /// Lets a mediator run to its next step; `origin` is that of the request which is answered.
    pub(super) fn resume(
        &mut self,
        id: MediatorId,
        mediator: Box<dyn Mediator<V>>,
        delivery: Delivery<V>,
        origin: &Origin,
    ) -> Step<V> {
        // Whether tracing is on is asked first: a disabled span has to be made and dropped, too.
        if tracing::span_enabled!(Level::TRACE) {
            let name = self.lanes[id.0 as usize].account.name.as_str();
            let span = tracing::trace_span!("mediator", name);
            return span.in_scope(|| resume(mediator, delivery, origin));
        }
        resume(mediator, delivery, origin)
    }

    /// Retires a mediator that is done; if it is a child, its parent continues at the same site.
    fn end(&mut self, id: MediatorId, at: Option<Site>) -> Option<Step<V>> {
        let is_child = self.lane(id).is_delegating();
        if !is_child {
            self.lane(id).on(Trigger::End, Phase::Ended);
        }
        self.lane(id).account.serve(Event::End);
        let outcome = Outcome::Served(None);
        if planted::has(Bug::DroppedEnd) && is_child {
            return Some(self.hand_back(id));
        }
        self.observe(id, Message::End, at, outcome, &Origin::Unknown);
        match is_child {
            true => Some(self.hand_back(id)),
            false => {
                self.check_circle();
                None
            }
        }
    }

    fn stop(&mut self, id: MediatorId, at: Option<Site>, origin: &Origin) {
        let lane = self.lane(id);
        lane.on(Trigger::Stop, Phase::Stopped);
        lane.retire_parents(Trigger::Stop, State::Stopped);
        lane.account.serve(Event::Stop);
        self.observe(id, Message::Stop, at, Outcome::Served(None), origin);
        let is_first = self.halt.is_none() || planted::has(Bug::LastStopNamed);
        if is_first && !self.is_closing && !planted::has(Bug::IgnoredStop) {
            self.halt = Some(Halt::Stopped { by: id, at });
        }
    }

    /// Fails a mediator's invoke, unless the fault says that an iteration never came, which ends
    /// its loop.
    fn fail(
        &mut self,
        id: MediatorId,
        at: Option<Site>,
        fault: Fault,
        origin: Origin,
    ) -> Option<Step<V>> {
        let origin = self.known_origin(id, origin);
        self.lane(id).account.serve(Event::Exception);
        let message = Message::Exception { fault: &fault };
        self.observe(id, message, at, Outcome::Served(None), &origin);
        if let Some(step) = self.end_loop(id, &fault) {
            return Some(step);
        }
        let failed = Box::new(Failed { fault, at, origin });
        let lane = self.lane(id);
        lane.on(Trigger::Exception, Phase::Failed(failed));
        lane.retire_parents(Trigger::Exception, State::Failed);
        if !self.is_closing {
            self.halt = Some(Halt::Failed);
        }
        None
    }

    /// A child that has not asked for anything failed where it was registered.
    fn known_origin(&self, id: MediatorId, origin: Origin) -> Origin {
        let parents = self.lanes[id.0 as usize].parents.iter().rev();
        let mut origins = std::iter::once(&origin).chain(parents.map(|parent| &parent.origin));
        let known = origins.find(|origin| **origin != Origin::Unknown);
        known.cloned().unwrap_or_default()
    }

    /// Counts an exchange, and shows it to the observers.
    #[inline]
    pub(super) fn observe(
        &mut self,
        mediator: MediatorId,
        message: Message<'_, V>,
        at: Option<Site>,
        outcome: Outcome<'_, V>,
        origin: &Origin,
    ) {
        self.exchanges += 1;
        if !self.observers.is_empty() {
            self.show(mediator, message, at, outcome, origin);
        }
    }

    fn show(
        &mut self,
        mediator: MediatorId,
        message: Message<'_, V>,
        at: Option<Site>,
        outcome: Outcome<'_, V>,
        origin: &Origin,
    ) {
        let index = self.exchanges - 1;
        let exchange = Exchange {
            index,
            mediator,
            at,
            message,
            outcome,
            origin,
        };
        for observer in &mut self.observers {
            observer.exchange(&exchange);
        }
    }
}

/// Lets a mediator run; its panic is its failure.
#[inline(always)]
fn resume<V>(mediator: Box<dyn Mediator<V>>, delivery: Delivery<V>, origin: &Origin) -> Step<V> {
    // The mediator was moved into the call and is gone after a panic, so that broken invariants
    // stay unseen.
    let resumed = catch_unwind(AssertUnwindSafe(|| mediator.resume(delivery)));
    resumed.unwrap_or_else(|payload| Step::Fail {
        fault: Fault::from(FaultKind::Panicked(panic_message(&*payload))),
        origin: origin.clone(),
    })
}

/// Says that a mediator would never let the model continue.
pub(super) fn restless<V>(limit: u32, origin: Origin) -> Step<V> {
    let fault = Fault::from(FaultKind::Restless { limit });
    Step::Fail { fault, origin }
}
