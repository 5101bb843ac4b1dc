//! The way out to a recorder: observers see every exchange and change none.

use crate::event::{Event, Origin};
use crate::fault::Fault;
use crate::mediator::MediatorId;
use crate::site::Site;
use crate::value::RowLayout;

/// One request and what became of it.
#[derive(Debug)]
pub struct Exchange<'a, V> {
    /// The number of the exchange in its run, from 0.
    pub index: u64,
    /// Who asked.
    pub mediator: MediatorId,
    /// What was asked.
    pub event: Event,
    /// The site, or whatever else, that was asked for, if the event has one.
    pub asked: Option<Asked<'a>>,
    /// The site that the model was passing; `None` before it started and after it finished.
    pub at: Option<Site>,
    /// What became of it.
    pub outcome: Outcome<'a, V>,
    /// Where in the user's source the request stands.
    pub origin: &'a Origin,
}

/// What an exchange is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asked<'a> {
    /// A site of the model.
    Site(Site),
    /// A name that the model does not have.
    Unknown(&'a str),
    /// The name of a barrier, or of a value on the blackboard.
    Name(&'a str),
    /// The own iteration of a child that is registered.
    Iteration(u32),
}

/// What became of a request.
#[derive(Debug)]
pub enum Outcome<'a, V> {
    /// It was served; with the value that was read, swapped in, skipped to, put or got.
    Served(Option<&'a V>),
    /// It was refused, and the mediator was told why.
    Refused(&'a Fault),
    /// The mediator failed.
    Failed(&'a Fault),
}

/// What happens between exchanges.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Moment<'a, V> {
    /// The model is at a site that somebody may wait for, and nobody has been stepped there.
    Enter {
        /// The site.
        site: Site,
        /// The value that passes, before all changes.
        value: &'a V,
        /// The rows of the batch.
        batch: u32,
        /// Which tensors carry them.
        layout: &'a RowLayout,
    },
    /// A mediator arrives at a barrier; the exchange comes when it goes on.
    Arrive {
        /// Who.
        mediator: MediatorId,
        /// The barrier's name.
        barrier: &'a str,
        /// The site that the model is passing.
        at: Option<Site>,
        /// Where in the user's source the request stands.
        origin: &'a Origin,
    },
    /// A mediator declares a cache too late, or of what there is not, and is told so; no exchange.
    CacheRefused {
        /// Who.
        mediator: MediatorId,
        /// Which of its caches, from 0; those of its children count.
        number: u32,
        /// What it is told.
        fault: &'a Fault,
    },
    /// A cache collects a value; no exchange.
    Cached {
        /// Whose cache it is; nobody's is the run's.
        owner: Option<MediatorId>,
        /// Which of its caches, from 0; those of its children count. Of the run's, which of those.
        number: u32,
        /// The site.
        site: Site,
        /// The value: the rows of the owner.
        value: &'a V,
    },
    /// The mediators are done with a site.
    Leave {
        /// The site.
        site: Site,
        /// Whether the run failed there, so that others may not have had their turn.
        failed: bool,
    },
}

/// Somebody who watches a run.
pub trait Observer<V> {
    /// Sees one exchange, right when it happens.
    fn exchange(&mut self, exchange: &Exchange<'_, V>);

    /// Sees what happens between exchanges.
    fn moment(&mut self, moment: &Moment<'_, V>) {
        let _ = moment;
    }
}

impl<V, F: FnMut(&Exchange<'_, V>)> Observer<V> for F {
    fn exchange(&mut self, exchange: &Exchange<'_, V>) {
        self(exchange);
    }
}
