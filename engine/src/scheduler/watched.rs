//! A scheduler whose choices are seen by somebody else.

use super::{Programme, ScheduleError, Scheduler};
use crate::mediator::MediatorId;
use crate::site::Site;

/// Chooses as another scheduler does, and tells who had the turn at which site.
#[derive(Clone, Debug)]
pub struct Watched<S, F> {
    inner: S,
    see: F,
}

impl<S: Scheduler, F: FnMut(Site, MediatorId)> Watched<S, F> {
    /// Lets `see` have each choice of `inner`.
    pub const fn new(inner: S, see: F) -> Self {
        Self { inner, see }
    }
}

impl<S: Scheduler, F: FnMut(Site, MediatorId)> Scheduler for Watched<S, F> {
    fn choose(&mut self, site: Site, ready: &[MediatorId]) -> Result<usize, ScheduleError> {
        let place = self.inner.choose(site, ready)?;
        // A place that is not there is the interleaver's to refuse.
        if let Some(mediator) = ready.get(place) {
            (self.see)(site, *mediator);
        }
        Ok(place)
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn begin(&mut self, programme: &Programme<'_>) -> Result<(), ScheduleError> {
        self.inner.begin(programme)
    }

    fn end(&mut self) -> Result<(), ScheduleError> {
        self.inner.end()
    }
}
