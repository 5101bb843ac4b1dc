//! Modules that are not computed.

use super::{Interleaver, Skip};
use crate::audit::Note;
use crate::error::{Asker, Pending, RunError};
use crate::event::Origin;
use crate::fault::{Fault, FaultKind};
use crate::lane::Phase;
use crate::mediator::{Group, MediatorId};
use crate::planted::{self, Bug};
use crate::site::{Point, Port, Site};
use crate::value::{Misfit, Value};

/// The iterations of a point that were counted because a module around it was skipped.
#[derive(Default)]
pub(super) struct Unseen {
    count: u32,
    /// The iteration after the last of them.
    end: u32,
    /// The last visit before that.
    before: Option<u32>,
}

impl<V: Value> Interleaver<V> {
    /// Notes that a mediator skips the module whose input is at hand; of its skips there the last
    /// counts.
    pub(super) fn note_skip(
        &mut self,
        id: MediatorId,
        site: Site,
        value: V,
        origin: &Origin,
    ) -> Result<(), Fault> {
        self.check_skippable(site)?;
        self.skips.retain(|skip| skip.id != id);
        let origin = origin.clone();
        self.skips.push(Skip { id, value, origin });
        Ok(())
    }

    fn check_skippable(&self, site: Site) -> Result<(), Fault> {
        let output = Point::new(site.point.path, Port::Output);
        if site.point.port == Port::Input && self.map.has(output) {
            return Ok(());
        }
        let mut inputs = self.map.points().filter(|point| point.port == Port::Input);
        let example = inputs.next().map(|point| self.map.point_name(point));
        Err(Fault::from(FaultKind::NotSkippable {
            site: self.map.site_name(site),
            example: example.unwrap_or_else(|| "input".to_owned()),
        }))
    }

    /// Makes one output of the replacements of all mediators.
    ///
    /// One by a mediator without rows is for the whole batch, and the last of these counts;
    /// mediators with rows put their own in its place. Without it there is an output only if
    /// all that have rows skip.
    pub(super) fn join_skips(&self, site: Site, skips: Vec<Skip<V>>) -> Result<V, RunError> {
        let skipping: Vec<Asker> = skips.iter().map(|skip| self.skipping(skip, site)).collect();
        let (mut whole, mut parts): (Vec<_>, Vec<_>) =
            skips.into_iter().partition(|skip| self.is_rowless(skip.id));
        for part in &mut parts {
            self.pad(part, site);
        }
        parts.sort_by_key(|skip| skip.id);
        let last = if planted::has(Bug::FirstSkipWins) {
            whole.drain(..).next()
        } else {
            whole.pop()
        };
        let joined = match last {
            Some(whole) if planted::has(Bug::WholeSkipWins) => Ok(whole.value),
            Some(whole) => self.lay_over(site, whole.value, parts),
            None => {
                self.check_all_skip(site, &parts, &skipping)?;
                V::join(parts.into_iter().map(|skip| skip.value).collect())
            }
        };
        joined.map_err(|misfit| RunError::SkipMisfit {
            site: self.map.site_name(site),
            skipping,
            misfit,
        })
    }

    /// Gives a replacement of a mediator's own positions the padding that its rows have in the
    /// batch.
    fn pad(&self, part: &mut Skip<V>, site: Site) {
        let output = Point::new(site.point.path, Port::Output);
        if let Some(view) = self.view(self.shared_rows(part.id)) {
            let view = view.of_prompt(site.iteration == 0);
            part.value = part.value.padded(view, self.map.positions(output));
        }
    }

    /// Puts the rows of mediators in the place of those of a replacement for the whole batch.
    fn lay_over(&self, site: Site, whole: V, parts: Vec<Skip<V>>) -> Result<V, Misfit> {
        let output = Point::new(site.point.path, Port::Output);
        let layout = self.map.layout(output);
        parts.into_iter().try_fold(whole, |whole, part| {
            match self.lanes[part.id.0 as usize].group {
                Group::Rows(rows) => whole.splice(rows, self.batch, layout, part.value),
                Group::Whole => unreachable!("it is none of the parts"),
            }
        })
    }

    /// Checks that every mediator with rows skips.
    fn check_all_skip(
        &self,
        site: Site,
        parts: &[Skip<V>],
        skipping: &[Asker],
    ) -> Result<(), RunError> {
        let is_absent = |owner: &MediatorId| parts.iter().all(|skip| skip.id != *owner);
        let absent: Vec<MediatorId> = self.owners().filter(is_absent).collect();
        if absent.is_empty() || planted::has(Bug::SkipInOneInvoke) {
            return Ok(());
        }
        Err(RunError::PartialSkip {
            site: self.map.site_name(site),
            skipping: skipping.to_vec(),
            others: absent.iter().map(|id| self.name(*id)).collect(),
            waiting: absent
                .into_iter()
                .filter_map(|id| self.pending(id))
                .collect(),
        })
    }

    /// Counts a pass of a module that is skipped for the sites inside it, as often as they were
    /// passed per pass of it so far.
    ///
    /// So iteration k of what is inside stays the one in iteration k of the module.
    pub(super) fn count_inside(&mut self, module: Site) {
        if planted::has(Bug::SkipUncounted) {
            return;
        }
        let earlier = module.iteration;
        let map = self.map.clone();
        let mut uneven = Vec::new();
        for point in map.points_below(module.point.path) {
            let count = self.passed(point);
            match count.checked_rem(earlier) {
                None => self.count_unseen(point, 1),
                Some(0) => self.count_unseen(point, count / earlier),
                Some(_) => uneven.push(map.point_name(point)),
            }
        }
        if !uneven.is_empty() {
            let module = map.site_name(module);
            self.notes.push(Note::OutOfStep { module, uneven });
        }
    }

    fn count_unseen(&mut self, point: Point, more: u32) {
        let count = &mut self.tallies.of_mut(point).count;
        let unseen = self.unseen.entry(point).or_default();
        if unseen.end != *count {
            unseen.before = count.checked_sub(1);
        }
        *count = count.saturating_add(more);
        unseen.count = unseen.count.saturating_add(more);
        unseen.end = *count;
    }

    /// Returns the last iteration in which a point was passed.
    pub(super) fn last_passing(&self, point: Point) -> Option<u32> {
        if point.is_parameter() {
            return self.gradients.last_passing(point);
        }
        let count = self.passed(point);
        match self.unseen.get(&point) {
            Some(unseen) if unseen.end == count => unseen.before,
            _ => count.checked_sub(1),
        }
    }

    /// Returns how often a point was passed, without what was counted for skipped modules around
    /// it.
    pub(super) fn passings(&self, point: Point) -> u32 {
        let unseen = self.unseen.get(&point).map_or(0, |unseen| unseen.count);
        self.passed(point) - unseen
    }

    fn skipping(&self, skip: &Skip<V>, site: Site) -> Asker {
        Asker {
            mediator: self.name(skip.id),
            at: Some(self.map.site_name(site)),
            origin: skip.origin.clone(),
        }
    }

    fn name(&self, id: MediatorId) -> String {
        self.lanes[id.0 as usize].account.name.clone()
    }

    /// Returns whether a mediator sees the whole batch and owns no row of it.
    fn is_rowless(&self, id: MediatorId) -> bool {
        self.shared_rows(id).is_none() && self.owners().all(|owner| owner != id)
    }

    /// Returns what a mediator waits for, if it waits for a site.
    fn pending(&self, id: MediatorId) -> Option<Pending> {
        let lane = &self.lanes[id.0 as usize];
        match &lane.phase {
            Phase::Waiting(waiting) => Some(Pending {
                mediator: lane.account.name.clone(),
                event: waiting.request.event(),
                site: self.map.site_name(waiting.site),
                origin: waiting.origin.clone(),
            }),
            _ => None,
        }
    }

    /// Iterates over the mediators that own rows of the batch.
    pub(super) fn owners(&self) -> impl Iterator<Item = MediatorId> {
        let lanes = self.lanes.iter().enumerate();
        lanes
            .filter(|(_, lane)| matches!(lane.group, Group::Rows(rows) if rows.count > 0))
            .map(|(index, _)| MediatorId(index as u32))
    }
}
