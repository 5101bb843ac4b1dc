//! Mediators that wait for one another.

use std::sync::Arc;

use super::{Halt, Interleaver};
use crate::error::{Asker, Meeting, RunError};
use crate::event::{Delivery, Event, Origin, Step};
use crate::fault::{Fault, FaultKind};
use crate::lane::{AtBarrier, Phase};
use crate::map::nearest_of;
use crate::mediator::{Mediator, MediatorId};
use crate::observer::{Message, Moment, Outcome};
use crate::planted::{self, Bug};
use crate::site::Site;
use crate::transition::Trigger;
use crate::value::Value;

/// A barrier that the run declares.
pub(super) struct Barrier {
    name: Arc<str>,
    participants: u32,
    /// Who has arrived in this round, in the order of arrival.
    arrived: Vec<MediatorId>,
}

impl From<(Arc<str>, u32)> for Barrier {
    fn from((name, participants): (Arc<str>, u32)) -> Self {
        Self {
            name,
            participants,
            arrived: Vec::new(),
        }
    }
}

impl Barrier {
    fn waiting(&self) -> usize {
        self.arrived.len()
    }

    /// Returns whether the barrier can open if `others` more arrive.
    fn can_open(&self, others: usize) -> bool {
        let missed = usize::from(planted::has(Bug::BarrierOffByOne));
        self.waiting() + others + missed >= self.participants as usize
    }
}

impl<V: Value> Interleaver<V> {
    /// Lets a mediator wait at a barrier; the last to arrive opens it.
    pub(super) fn arrive(
        &mut self,
        id: MediatorId,
        name: Arc<str>,
        origin: Origin,
        rest: Box<dyn Mediator<V>>,
        at: Option<Site>,
    ) -> Option<Step<V>> {
        let found = self
            .barriers
            .binary_search_by(|barrier| barrier.name.cmp(&name));
        let Ok(index) = found else {
            let names = self.barriers.iter().map(|barrier| barrier.name.to_string());
            let fault = Fault::from(FaultKind::UnknownBarrier {
                asked: name.to_string(),
                nearest: nearest_of(&name, names),
            });
            let message = Message::Barrier { name: &name };
            return Some(self.decline(id, (message, fault), origin, rest, at));
        };
        self.moment(&Moment::Arrive {
            mediator: id,
            barrier: &name,
            at,
            origin: &origin,
        });
        let at_barrier = AtBarrier {
            name,
            at,
            origin,
            rest,
        };
        self.lane(id)
            .on(Trigger::Arrive, Phase::AtBarrier(at_barrier));
        let barrier = &mut self.barriers[index];
        barrier.arrived.push(id);
        match barrier.can_open(0) {
            true => {
                // Those who are released continue in definition order, whatever the order of their
                // arrival.
                if !planted::has(Bug::ReleaseByArrival) {
                    barrier.arrived.sort_unstable();
                }
                self.released.extend(barrier.arrived.drain(..));
            }
            // Only an arrival that does not open its barrier can close a circle.
            false => self.check_circle(),
        }
        None
    }

    /// Lets the next mediator whose barrier has opened continue, and returns it.
    pub(super) fn release_next(&mut self, at: Option<Site>) -> Option<MediatorId> {
        let id = self.released.pop_front()?;
        let before = self.lane(id).on(Trigger::Release, Phase::Running);
        let Phase::AtBarrier(AtBarrier {
            name, origin, rest, ..
        }) = before
        else {
            unreachable!("who is released was at a barrier");
        };
        self.lane(id).account.serve(Event::Barrier);
        let message = Message::Barrier { name: &name };
        self.observe(id, message, at, Outcome::Served(None), &origin);
        let step = self.resume(id, rest, Delivery::Done, &origin);
        self.settle(id, step, at);
        Some(id)
    }

    /// Resumes the mediators whose barrier has opened, before the model starts or after it has
    /// finished.
    pub(super) fn release_between_sites(&mut self) {
        while !self.has_failed() && self.release_next(None).is_some() {}
    }

    /// Fails the run as soon as mediators wait for one another in a circle.
    pub(super) fn check_circle(&mut self) {
        if self.halt.is_none() && !self.is_closing {
            self.halt = self.circle().map(Halt::Broken);
        }
    }

    /// Returns why the mediators that are at barriers when the model has finished will never
    /// continue.
    pub(super) fn unmet(&self) -> Option<RunError> {
        if let Some(circle) = self.circle() {
            return Some(circle);
        }
        let unmet = self.barriers.iter().filter(|barrier| barrier.waiting() > 0);
        let meetings: Vec<Meeting> = unmet.map(|barrier| self.meeting(barrier)).collect();
        (!meetings.is_empty()).then_some(RunError::BarrierUnmet(meetings))
    }

    /// Returns the barriers at which mediators wait for one another, so that none can open.
    ///
    /// First every mediator is assumed to be as helpful as possible: one that is at no barrier may
    /// come to any, and one that is released is free again. What cannot open then is stuck. Among
    /// the stuck, those that could not open even if all the others did are not part of a circle:
    /// the run has too few mediators for them, which is said at its end.
    fn circle(&self) -> Option<RunError> {
        let met = |barrier: &&Barrier| barrier.waiting() > 0;
        let mut stuck: Vec<&Barrier> = self.barriers.iter().filter(met).collect();
        if stuck.len() < 2 {
            return None;
        }
        let live = self.lanes.iter().filter(|lane| !lane.state().is_retired());
        let mut free = live.count() - all_waiting(&stuck);
        while let Some(place) = stuck.iter().position(|barrier| barrier.can_open(free)) {
            free += stuck.remove(place).waiting();
        }
        let is_short = |circle: &[&Barrier], barrier: &Barrier| {
            !barrier.can_open(free + all_waiting(circle) - barrier.waiting())
        };
        while let Some(place) = stuck.iter().position(|barrier| is_short(&stuck, barrier)) {
            stuck.remove(place);
        }
        let meetings: Vec<Meeting> = stuck.iter().map(|barrier| self.meeting(barrier)).collect();
        (!meetings.is_empty()).then_some(RunError::Circle(meetings))
    }

    fn meeting(&self, barrier: &Barrier) -> Meeting {
        let name = |id: MediatorId| self.lanes[id.0 as usize].account.name.clone();
        let all = (0..self.lanes.len() as u32).map(MediatorId);
        let (waiting, missing): (Vec<_>, Vec<_>) = all.partition(|id| barrier.arrived.contains(id));
        Meeting {
            barrier: barrier.name.to_string(),
            participants: barrier.participants,
            waiting: waiting.into_iter().map(|id| self.arrival(id)).collect(),
            missing: missing.into_iter().map(name).collect(),
        }
    }

    /// Says who waits at a barrier, and from where it came.
    fn arrival(&self, id: MediatorId) -> Asker {
        let lane = &self.lanes[id.0 as usize];
        let (at, origin) = match &lane.phase {
            Phase::AtBarrier(arrived) => (arrived.at, arrived.origin.clone()),
            _ => unreachable!("who is noted at a barrier waits there"),
        };
        Asker {
            mediator: lane.account.name.clone(),
            at: at.map(|at| self.map.site_name(at)),
            origin,
        }
    }
}

fn all_waiting(barriers: &[&Barrier]) -> usize {
    barriers.iter().map(|barrier| barrier.waiting()).sum()
}
