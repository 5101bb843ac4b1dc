//! Modules that are not computed.

use super::{Interleaver, Skip};
use crate::error::{Asker, Pending, RunError};
use crate::fault::{Fault, FaultKind};
use crate::lane::Phase;
use crate::mediator::{Group, MediatorId};
use crate::planted::{self, Bug};
use crate::site::{Point, Port, Site};
use crate::value::Value;

impl<V: Value> Interleaver<V> {
    pub(super) fn check_skippable(&self, site: Site) -> Result<(), Fault> {
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

    /// Makes one output of the replacements of all invokes.
    ///
    /// A replacement by a mediator that sees the whole batch covers every row. It takes effect if no mediator owns rows,
    /// or if all that do skip too; the last one wins.
    pub(super) fn join_skips(&self, site: Site, skips: Vec<Skip<V>>) -> Result<V, RunError> {
        let name = |id: MediatorId| self.lanes[id.0 as usize].account.name.clone();
        let is_absent = |owner: &MediatorId| skips.iter().all(|skip| skip.id != *owner);
        let absent: Vec<MediatorId> = self.owners().filter(is_absent).collect();
        let others: Vec<String> = absent.iter().copied().map(name).collect();
        let site = self.map.site_name(site);
        let skipping = |skip: &Skip<V>| Asker {
            mediator: name(skip.id),
            at: Some(site.clone()),
            origin: skip.origin.clone(),
        };
        let skipping: Vec<Asker> = skips.iter().map(skipping).collect();
        if !others.is_empty() && !planted::has(Bug::SkipInOneInvoke) {
            return Err(RunError::PartialSkip {
                site,
                skipping,
                others,
                waiting: absent
                    .into_iter()
                    .filter_map(|id| self.pending(id))
                    .collect(),
            });
        }
        let is_whole = |skip: &Skip<V>| self.shared_rows(skip.id).is_none();
        let mut parts = skips;
        let whole = match planted::has(Bug::FirstSkipWins) {
            true => parts.iter().position(is_whole),
            false => parts.iter().rposition(is_whole),
        };
        if let Some(whole) = whole {
            return Ok(parts.swap_remove(whole).value);
        }
        parts.sort_by_key(|skip| skip.id);
        let parts = parts.into_iter().map(|skip| skip.value).collect();
        V::join(parts).map_err(|misfit| RunError::SkipMisfit {
            site,
            skipping,
            misfit,
        })
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
