//! A mediator's lane in its run: its state, its rows, its account, and the children that act for
//! it.

use std::sync::Arc;

use crate::audit::{Account, Refusal};
use crate::event::{Event, Origin};
use crate::fault::Fault;
use crate::iterations::Round;
use crate::mediator::{Group, Mediator};
use crate::observer::{AskedSite, Message};
use crate::planted::{self, Bug};
use crate::site::Site;
use crate::transition::{self, State, Trigger};

/// One invoke in a run: the mediator that was defined, and the children that it delegates to.
///
/// What the lane says of its state and iteration is said of the innermost mediator, the one that
/// runs or waits.
pub(crate) struct Lane<V> {
    pub(crate) group: Group,
    pub(crate) account: Account,
    pub(crate) phase: Phase<V>,
    /// What a request without an iteration means.
    pub(crate) iteration: u32,
    /// The mediators that wait for a child, outermost first; all of them are delegating.
    pub(crate) parents: Vec<Parent<V>>,
    pub(crate) patience: Patience,
    /// How many caches the mediator and its children have declared.
    pub(crate) caches: u32,
}

/// The state of a mediator, with what belongs to it.
pub(crate) enum Phase<V> {
    Registered(Box<dyn Mediator<V>>),
    /// The mediator has been moved out, because its own code runs.
    Running,
    Waiting(Waiting<V>),
    AtBarrier(AtBarrier<V>),
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

/// What a mediator asks for at a site.
pub(crate) enum SiteRequest<V> {
    Value,
    Swap { value: V, reshape: bool },
    Skip { value: V },
}

impl<V> SiteRequest<V> {
    pub(crate) const fn event(&self) -> Event {
        match self {
            Self::Value => Event::Value,
            Self::Swap { .. } => Event::Swap,
            Self::Skip { .. } => Event::Skip,
        }
    }

    /// Returns the request as observers see it.
    #[inline]
    pub(crate) const fn message<'a>(&'a self, site: AskedSite<'a>) -> Message<'a, V> {
        match self {
            Self::Value => Message::Value { site },
            Self::Swap { value, reshape } => Message::Swap {
                site,
                value,
                reshape: *reshape,
            },
            Self::Skip { value } => Message::Skip { site, value },
        }
    }
}

/// A mediator that waits for a site.
pub(crate) struct Waiting<V> {
    pub(crate) request: SiteRequest<V>,
    pub(crate) site: Site,
    pub(crate) origin: Origin,
    pub(crate) rest: Box<dyn Mediator<V>>,
}

/// A mediator that waits for others.
pub(crate) struct AtBarrier<V> {
    pub(crate) name: Arc<str>,
    /// Where it arrived.
    pub(crate) at: Option<Site>,
    pub(crate) origin: Origin,
    pub(crate) rest: Box<dyn Mediator<V>>,
}

/// A mediator that waits for its child.
pub(crate) struct Parent<V> {
    /// Its own iteration.
    pub(crate) iteration: u32,
    /// The iteration for which the child was registered.
    pub(crate) child: u32,
    /// The loop that the child is an iteration of.
    pub(crate) round: Round,
    pub(crate) origin: Origin,
    pub(crate) rest: Box<dyn Mediator<V>>,
}

/// How much a mediator has done without letting the model continue.
#[derive(Default)]
pub(crate) struct Patience {
    /// The number of the visit that this is about.
    pub(crate) visit: u64,
    pub(crate) requests: u32,
    pub(crate) refusals: u32,
}

impl<V> Lane<V> {
    pub(crate) fn new(account: Account, group: Group, mediator: Box<dyn Mediator<V>>) -> Self {
        Self {
            group,
            account,
            phase: Phase::Registered(mediator),
            iteration: 0,
            parents: Vec::new(),
            patience: Patience::default(),
            caches: 0,
        }
    }

    pub(crate) fn state(&self) -> State {
        match self.phase {
            Phase::Registered(_) => State::Registered,
            Phase::Running => State::Running,
            Phase::Waiting(_) => State::Waiting,
            Phase::AtBarrier(_) => State::AtBarrier,
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
        assert_legal(from, trigger, self.state());
        before
    }

    /// Lets the running mediator wait for a site.
    #[inline]
    pub(crate) fn park(&mut self, waiting: Waiting<V>) {
        assert_legal(self.state(), Trigger::Ask, State::Waiting);
        let running = std::mem::replace(&mut self.phase, Phase::Waiting(waiting));
        // No other state can ask, and this one has nothing to drop.
        std::mem::forget(running);
    }

    /// Takes out the request of a mediator that waits for a site, if `is_meant`; it runs then.
    #[inline]
    pub(crate) fn unpark(
        &mut self,
        trigger: Trigger,
        is_meant: impl FnOnce(Site) -> bool,
    ) -> Option<Waiting<V>> {
        match &self.phase {
            Phase::Waiting(waiting) if is_meant(waiting.site) => {}
            _ => return None,
        }
        assert_legal(State::Waiting, trigger, State::Running);
        match std::mem::replace(&mut self.phase, Phase::Running) {
            Phase::Waiting(waiting) => Some(waiting),
            _ => unreachable!("the state was looked at"),
        }
    }

    pub(crate) fn waits_for(&self, site: Site) -> bool {
        matches!(&self.phase, Phase::Waiting(waiting) if waiting.site == site)
    }

    /// Returns whether a child acts in the place of the mediator.
    pub(crate) fn is_delegating(&self) -> bool {
        !self.parents.is_empty()
    }

    /// Puts a child in the place of the running mediator, and starts it.
    pub(crate) fn delegate(&mut self, mut parent: Parent<V>) {
        assert_legal(self.state(), Trigger::Register, State::Delegating);
        assert_legal(State::Registered, Trigger::Start, State::Running);
        parent.iteration = self.iteration;
        self.iteration = parent.child;
        self.parents.push(parent);
    }

    /// Retires the running child, and returns its parent, which runs then.
    pub(crate) fn hand_back(&mut self, trigger: Trigger, to: State) -> Parent<V> {
        assert_legal(self.state(), trigger, to);
        assert_legal(State::Delegating, Trigger::Return, State::Running);
        let parent = self.parents.pop().expect("a child has a parent");
        if !planted::has(Bug::WrongIteration) {
            self.iteration = parent.iteration;
        }
        parent
    }

    /// Retires the mediators that wait for a child, with the innermost one.
    pub(crate) fn retire_parents(&mut self, trigger: Trigger, to: State) {
        for _parent in self.parents.drain(..) {
            assert_legal(State::Delegating, trigger, to);
        }
    }

    /// Ends the lane with its run, and notes the request that was left open.
    ///
    /// A lane is found running only if a panic has passed through the interleaver: then its
    /// mediator is already gone.
    pub(crate) fn cancel(&mut self, name_of: impl FnOnce(Site) -> String) {
        if self.state().is_retired() || self.state() == State::Running {
            return;
        }
        let (event, site, origin) = match self.on(Trigger::Cancel, Phase::Cancelled) {
            Phase::Waiting(waiting) => (
                waiting.request.event(),
                name_of(waiting.site),
                waiting.origin,
            ),
            Phase::AtBarrier(AtBarrier { name, origin, .. }) => {
                (Event::Barrier, name.to_string(), origin)
            }
            _ => unreachable!("nothing else can be cancelled"),
        };
        self.retire_parents(Trigger::Cancel, State::Cancelled);
        self.account.open = Some(Refusal {
            event,
            site,
            fault: None,
            origin,
        });
    }
}

/// # Panics
///
/// Panics if the transition table does not allow it, which is a defect of the interleaver.
#[inline]
fn assert_legal(from: State, trigger: Trigger, to: State) {
    assert_eq!(
        transition::next(from, trigger),
        Some(to),
        "a mediator that is {from} cannot become {to} on {trigger:?}"
    );
}
