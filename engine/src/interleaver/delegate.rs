//! Children that act for their parent's invoke, and the loops that they are iterations of.

use super::Interleaver;
use crate::audit::Note;
use crate::event::{Delivery, Event, Origin, Step};
use crate::fault::{Fault, FaultKind};
use crate::iterations::Round;
use crate::lane::Parent;
use crate::mediator::{Mediator, MediatorId};
use crate::observer::{Message, Outcome};
use crate::planted::{self, Bug};
use crate::site::Site;
use crate::transition::{State, Trigger};
use crate::value::Value;

/// A child, its own iteration, and its loop.
type Child<V> = (Box<dyn Mediator<V>>, Option<u32>, Round);

impl<V: Value> Interleaver<V> {
    /// Starts a child in the place of its parent, which waits until it ends.
    pub(super) fn register(
        &mut self,
        id: MediatorId,
        (child, iteration, round): Child<V>,
        origin: Origin,
        rest: Box<dyn Mediator<V>>,
        at: Option<Site>,
    ) -> Step<V> {
        let own = self.lane(id).iteration;
        let iteration = iteration.unwrap_or(own);
        let message = Message::Register { iteration, round };
        if let (Round::Open, Some(steps)) = (round, self.steps)
            && iteration >= steps
        {
            let fault = Fault::from(FaultKind::BeyondSteps { iteration, steps });
            return self.decline(id, (message, fault), origin, rest, at);
        }
        self.lane(id).account.serve(Event::Register);
        self.observe(id, message, at, Outcome::Served(None), &origin);
        self.lane(id).delegate(Parent {
            iteration: own,
            child: iteration,
            round,
            origin: origin.clone(),
            rest,
        });
        self.resume(id, child, Delivery::Start, &origin)
    }

    /// Lets the parent of a child that has ended continue, and tells it whether its loop is over.
    pub(super) fn hand_back(&mut self, id: MediatorId) -> Step<V> {
        let parent = self.lane(id).hand_back(Trigger::End, State::Ended);
        let limit = u32::from(planted::has(Bug::OneStepMore));
        let is_last = |steps: u32| {
            parent
                .child
                .checked_add(1)
                .is_none_or(|next| next >= steps + limit)
        };
        let is_over = match parent.round {
            Round::Alone | Round::Until { .. } => false,
            // Nothing that such a loop could wait for will come any more.
            Round::Open => self.is_closing || self.steps.is_some_and(is_last),
        };
        let delivery = match is_over {
            true => Delivery::Over,
            false => Delivery::Done,
        };
        self.resume(id, parent.rest, delivery, &parent.origin)
    }

    /// Ends the loop whose child failed because the model did not pass what it asked for.
    ///
    /// `None` if the failure is of another kind, or the child is no iteration of a loop.
    pub(super) fn end_loop(&mut self, id: MediatorId, fault: &Fault) -> Option<Step<V>> {
        let asked = fault.not_provided()?;
        let is_closing = self.is_closing;
        let lane = self.lane(id);
        let parent = lane.parents.last().filter(|_| is_closing)?;
        let last = match parent.round {
            Round::Alone => return None,
            Round::Open => None,
            Round::Until { last } => Some(last),
        };
        lane.account.note(Note::LoopEnded {
            iteration: parent.child,
            last,
            asked: asked.to_owned(),
        });
        let parent = lane.hand_back(Trigger::Exception, State::Failed);
        Some(self.resume(id, parent.rest, Delivery::Over, &parent.origin))
    }
}
