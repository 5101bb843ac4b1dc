//! In which order mediators are stepped at a site.

use crate::mediator::MediatorId;
use crate::site::Site;

/// The one thing that chooses between mediators.
///
/// Nothing else orders them: no hash map, address, clock or thread. A scheduler that is a function of its own state and
/// its arguments makes equal runs make equal exchanges.
pub trait Scheduler {
    /// Returns the place in `ready` of the mediator to be stepped next at `site`.
    ///
    /// `ready` is in definition order and never empty; the mediators in it all wait for `site`.
    fn choose(&mut self, site: Site, ready: &[MediatorId]) -> usize;

    /// Returns what the journal calls this scheduler, including all that is needed to make it again.
    fn describe(&self) -> String;
}

/// Definition order: the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct InOrder;

impl Scheduler for InOrder {
    fn choose(&mut self, _: Site, _: &[MediatorId]) -> usize {
        0
    }

    fn describe(&self) -> String {
        "in-order".to_owned()
    }
}
