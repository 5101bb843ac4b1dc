//! A mediator's lane in its run: its state, its rows, its account.

use crate::audit::{Account, Refusal};
use crate::event::{Origin, Request};
use crate::fault::Fault;
use crate::mediator::{Group, Mediator};
use crate::site::Site;
use crate::transition::{self, State, Trigger};

/// One mediator in a run.
pub(crate) struct Lane<V> {
    pub(crate) group: Group,
    pub(crate) account: Account,
    pub(crate) phase: Phase<V>,
}

/// The state of a mediator, with what belongs to it.
pub(crate) enum Phase<V> {
    Registered(Box<dyn Mediator<V>>),
    /// The mediator has been moved out, because its own code runs.
    Running,
    Waiting(Waiting<V>),
    Ended,
    Stopped,
    /// Boxed, so that the moves between the other states stay short.
    Failed(Box<Failed>),
    Cancelled,
}

/// Why a mediator failed, and where.
pub(crate) struct Failed {
    pub(crate) fault: Fault,
    pub(crate) at: Option<Site>,
    pub(crate) origin: Origin,
}

/// A mediator that waits for a site.
pub(crate) struct Waiting<V> {
    pub(crate) request: Request<V>,
    pub(crate) site: Site,
    pub(crate) origin: Origin,
    pub(crate) rest: Box<dyn Mediator<V>>,
}

impl<V> Lane<V> {
    pub(crate) fn state(&self) -> State {
        match self.phase {
            Phase::Registered(_) => State::Registered,
            Phase::Running => State::Running,
            Phase::Waiting(_) => State::Waiting,
            Phase::Ended => State::Ended,
            Phase::Stopped => State::Stopped,
            Phase::Failed(_) => State::Failed,
            Phase::Cancelled => State::Cancelled,
        }
    }

    /// Moves to `phase` and returns the one before.
    ///
    /// # Panics
    ///
    /// Panics if the transition table does not allow it, which is a defect of the interleaver.
    #[inline]
    pub(crate) fn on(&mut self, trigger: Trigger, phase: Phase<V>) -> Phase<V> {
        let from = self.state();
        let before = std::mem::replace(&mut self.phase, phase);
        let to = self.state();
        assert_eq!(
            transition::next(from, trigger),
            Some(to),
            "a mediator that is {from} cannot become {to} on {trigger:?}"
        );
        before
    }

    pub(crate) fn waits_for(&self, site: Site) -> bool {
        matches!(&self.phase, Phase::Waiting(waiting) if waiting.site == site)
    }

    /// Ends the lane with its run, and notes the request that was left open.
    ///
    /// A lane is found running only if a panic has passed through the interleaver: then its mediator is already gone.
    pub(crate) fn cancel(&mut self, name_of: impl FnOnce(Site) -> String) {
        if self.state().is_retired() || self.state() == State::Running {
            return;
        }
        if let Phase::Waiting(waiting) = self.on(Trigger::Cancel, Phase::Cancelled) {
            self.account.open = Some(Refusal {
                event: waiting.request.event(),
                site: name_of(waiting.site),
                code: None,
                origin: waiting.origin,
            });
        }
    }
}
