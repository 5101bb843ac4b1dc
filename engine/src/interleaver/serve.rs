//! At a site: reads, swaps and skips.

use super::settle::{REQUESTS_PER_VISIT_MAX, restless};
use super::{Change, Interleaver, Visit};
use crate::event::{Delivery, Origin};
use crate::fault::{Fault, FaultKind};
use crate::lane::SiteRequest;
use crate::mediator::{Group, MediatorId};
use crate::observer::{AskedSite, Outcome};
use crate::planted::{self, Bug};
use crate::scheduler::Granularity;
use crate::site::{Port, Site};
use crate::transition::Trigger;
use crate::value::{Misfit, Rows, Value};

impl<V: Value> Interleaver<V> {
    /// Steps a mediator until its turn is over: its request is for another site, or it is retired.
    pub(super) fn step(&mut self, id: MediatorId, visit: &mut Visit<V>) {
        let site = visit.site;
        let at = Some(site);
        while let Some(waiting) = self.unpark(id, Trigger::Serve, |waited| waited == site) {
            let step = match self.is_restless(id) {
                true => restless(REQUESTS_PER_VISIT_MAX, waiting.origin),
                false => {
                    let delivery = self.answer(id, waiting.request, &waiting.origin, visit);
                    self.resume(id, waiting.rest, delivery, &waiting.origin)
                }
            };
            self.settle(id, step, at);
            if self.granularity == Granularity::Exchange {
                return self.queue_up(id, site);
            }
        }
    }

    /// Serves one request at its own site.
    pub(super) fn answer(
        &mut self,
        id: MediatorId,
        request: SiteRequest<V>,
        origin: &Origin,
        visit: &mut Visit<V>,
    ) -> Delivery<V> {
        let at = Some(visit.site);
        let asked = AskedSite::Known(visit.site);
        match self.perform(id, &request, origin, visit) {
            Ok(answer) => {
                // If the model fails after this, its error names the last change, rather one of
                // shapes.
                match &request {
                    SiteRequest::Swap { reshape, .. } => {
                        self.note_change(id, visit.site, origin, *reshape);
                        self.hook_change(visit);
                    }
                    SiteRequest::Skip { .. } => self.note_change(id, visit.site, origin, true),
                    SiteRequest::Value => {}
                }
                self.lane(id).account.serve(request.event());
                let outcome = Outcome::Served(answer.as_ref());
                self.observe(id, request.message(asked), at, outcome, origin);
                if planted::has(Bug::DoubleServe) {
                    self.observe(id, request.message(asked), at, outcome, origin);
                }
                answer.map_or(Delivery::Done, Delivery::Value)
            }
            Err(fault) => {
                self.refused(id, request.message(asked), at, &fault, origin);
                Delivery::Refused(fault)
            }
        }
    }

    fn note_change(&mut self, id: MediatorId, at: Site, origin: &Origin, reshapes: bool) {
        let origin = origin.clone();
        let change = Some(Change { id, at, origin });
        match reshapes {
            true => self.changes.shape = change,
            false => self.changes.swap = change,
        }
    }

    /// Does what a request asks for, and returns the value that is its answer, if it has one.
    pub(super) fn perform(
        &mut self,
        id: MediatorId,
        request: &SiteRequest<V>,
        origin: &Origin,
        visit: &mut Visit<V>,
    ) -> Result<Option<V>, Fault> {
        match request {
            SiteRequest::Value => Ok(Some(self.read(id, visit))),
            SiteRequest::Swap { value, reshape } => {
                self.swap(id, visit, value.clone(), *reshape)?;
                Ok(None)
            }
            SiteRequest::Skip { value } => {
                self.note_skip(id, visit.site, value.clone(), origin)?;
                Ok(None)
            }
        }
    }

    pub(super) fn read(&self, id: MediatorId, visit: &Visit<V>) -> V {
        #[cfg(test)]
        if planted::has(Bug::StaleRead) && self.shared_rows(id).is_none() {
            return visit.first.clone();
        }
        let shared = self.shared_rows(id);
        let value = match shared {
            None => visit.value.clone(),
            Some(mut rows) => {
                if planted::has(Bug::WrongRows) {
                    rows.start = 0;
                }
                let layout = self.map.layout(visit.site.point);
                visit.value.rows(rows, self.batch, layout)
            }
        };
        self.own(visit.site.point, shared, value)
    }

    pub(super) fn swap(
        &self,
        id: MediatorId,
        visit: &mut Visit<V>,
        part: V,
        reshape: bool,
    ) -> Result<(), Fault> {
        let site = || self.map.site_name(visit.site);
        let misfit = |misfit: Misfit| {
            Fault::from(FaultKind::Misfit {
                site: site(),
                misfit,
            })
        };
        // A function has no rows, and neither has a parameter.
        let has_no_rows = match visit.site.point.port {
            Port::ParameterGrad => !planted::has(Bug::ParameterOfRows),
            port => port == Port::Fn,
        };
        if has_no_rows && self.shared_rows(id).is_some() {
            return self.check_owner(id, visit.site);
        }
        // Another shape may move the rows of others, so only a mediator without such others may
        // make one; a gradient has that of its value.
        if reshape && !visit.site.point.port.is_gradient() {
            self.check_owner(id, visit.site)?;
            visit.value = part;
            return Ok(());
        }
        let is_early = || self.ready.iter().any(|other| *other < id);
        if planted::has(Bug::LostSwap) && self.shared_rows(id).is_some()
            || planted::has(Bug::LostOutOfTurn) && is_early()
        {
            return Ok(());
        }
        visit.value = match self.shared_rows(id) {
            None if planted::has(Bug::UncheckedSwap) => part,
            None => {
                visit.value.fits(&part).map_err(misfit)?;
                part
            }
            Some(rows) => {
                let layout = self.map.layout(visit.site.point);
                let part = match self.view(Some(rows)) {
                    Some(view) => {
                        let whole = visit.value.rows(rows, self.batch, layout);
                        let positions = self.map.positions(visit.site.point);
                        whole.with_own(view, positions, part).map_err(misfit)?
                    }
                    None => part,
                };
                let spliced = visit.value.splice(rows, self.batch, layout, part);
                spliced.map_err(misfit)?
            }
        };
        Ok(())
    }

    /// Checks that no other mediator has rows in the batch, whose shape would change under it.
    pub(super) fn check_owner(&self, id: MediatorId, site: Site) -> Result<(), Fault> {
        let rows = match self.lanes[id.0 as usize].group {
            Group::Rows(rows) => rows.count,
            Group::Whole => 0,
        };
        match rows == self.batch {
            true => Ok(()),
            false => Err(Fault::from(FaultKind::NotOwner {
                site: self.map.site_name(site),
                rows,
                batch: self.batch,
            })),
        }
    }

    /// Returns a mediator's rows, unless it sees all of them.
    pub(super) fn shared_rows(&self, id: MediatorId) -> Option<Rows> {
        match self.lanes[id.0 as usize].group {
            Group::Rows(rows) if !rows.is_whole(self.batch) => Some(rows),
            Group::Rows(_) | Group::Whole => None,
        }
    }
}
