//! A scheduler that shows the choices of another one.

use super::{RunFingerprint, ScheduleError, Scheduler};
use crate::mediator::MediatorId;
use crate::site::Site;

/// Wraps a scheduler, and tells `watch` of each turn: at which site it is, and whose.
///
/// The order stays that of `inner`, and so does the description. A choice of no mediator is no
/// turn; the interleaver refuses it.
///
/// ```
/// use std::{cell::Cell, rc::Rc};
/// use interloom_engine::scheduler::{InOrder, Scheduler as _, watched};
/// use interloom_engine::{MediatorId, PathId, Point, Port};
///
/// let turns = Rc::new(Cell::new(0));
/// let seen = turns.clone();
/// let mut scheduler = watched(InOrder, move |_, _| seen.set(seen.get() + 1));
/// let site = Point::new(PathId(0), Port::Output).at(0);
/// assert_eq!(scheduler.choose(site, &[MediatorId(0), MediatorId(1)]), Ok(0));
/// assert_eq!((turns.get(), scheduler.describe()), (1, "in-order".to_owned()));
/// ```
pub fn watched<S: Scheduler, W: FnMut(Site, MediatorId)>(
    inner: S,
    watch: W,
) -> impl Scheduler + use<S, W> {
    Watched { inner, watch }
}

struct Watched<S, W> {
    inner: S,
    watch: W,
}

impl<S: Scheduler, W: FnMut(Site, MediatorId)> Scheduler for Watched<S, W> {
    fn choose(&mut self, site: Site, ready: &[MediatorId]) -> Result<usize, ScheduleError> {
        let place = self.inner.choose(site, ready)?;
        if let Some(&mediator) = ready.get(place) {
            (self.watch)(site, mediator);
        }
        Ok(place)
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn begin(&mut self, programme: &RunFingerprint<'_>) -> Result<(), ScheduleError> {
        self.inner.begin(programme)
    }

    fn end(&mut self) -> Result<(), ScheduleError> {
        self.inner.end()
    }
}
