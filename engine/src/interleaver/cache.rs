//! Values that are collected while the model runs.

use super::Interleaver;
use super::refuse::REFUSALS_PER_VISIT_MAX;
use super::settle::{REQUESTS_PER_VISIT_MAX, restless};
use crate::audit::Note;
use crate::cache::{CacheSpec, Cached};
use crate::event::{Delivery, Origin, Step};
use crate::fault::{Fault, FaultKind};
use crate::mediator::{Mediator, MediatorId};
use crate::observer::Moment;
use crate::site::{Point, Site};
use crate::value::Value;

/// A cache of one invoke, or of the run.
pub(super) struct Collector<V> {
    /// Whose rows are collected; `None` is everything.
    owner: Option<MediatorId>,
    /// Which of the owner's caches.
    number: u32,
    /// In order.
    points: Vec<Point>,
    /// Whether a point that is not passed is missed.
    is_listed: bool,
    into: Cached<V>,
}

impl<V> Collector<V> {
    pub(super) fn collects(&self, point: Point) -> bool {
        self.points.binary_search(&point).is_ok()
    }
}

impl<V: Value> Interleaver<V> {
    /// Begins to collect a mediator's rows, and tells it so.
    pub(super) fn cache(
        &mut self,
        id: MediatorId,
        (spec, into): (CacheSpec, Cached<V>),
        origin: Origin,
        rest: Box<dyn Mediator<V>>,
        at: Option<Site>,
    ) -> Step<V> {
        if self.is_restless(id) {
            return restless(REQUESTS_PER_VISIT_MAX, origin);
        }
        // Refused declarations count as well, so that a number names the same cache in every
        // replay.
        let number = self.lane(id).caches;
        self.lane(id).caches += 1;
        let points = self.points_to_come(&spec, at);
        self.moment(&Moment::CacheDeclared {
            mediator: id,
            number,
            spec: &spec,
            fault: points.as_ref().err(),
            origin: &origin,
        });
        let delivery = match points {
            Ok(points) => {
                self.add_cache((Some(id), number), points, spec.is_listed(), into);
                Delivery::Done
            }
            Err(fault) => {
                if self.is_weary(id) {
                    return restless(REFUSALS_PER_VISIT_MAX, origin);
                }
                Delivery::Refused(fault)
            }
        };
        self.resume(id, rest, delivery, &origin)
    }

    pub(crate) fn add_cache(
        &mut self,
        (owner, number): (Option<MediatorId>, u32),
        points: Vec<Point>,
        is_listed: bool,
        into: Cached<V>,
    ) {
        self.hook_for_cache(&points);
        for point in &points {
            self.tallies.of_mut(*point).interest += 1;
        }
        self.caches.push(Collector {
            owner,
            number,
            points,
            is_listed,
            into,
        });
    }

    /// Lets the caches see a site with all its changes made.
    pub(super) fn collect(&mut self, site: Site, value: &V) {
        for at in 0..self.caches.len() {
            let cache = &self.caches[at];
            if !cache.collects(site.point) {
                continue;
            }
            let (owner, number) = (cache.owner, cache.number);
            let rows = owner.and_then(|owner| self.shared_rows(owner));
            let own = match rows {
                None => value.clone(),
                Some(rows) => value.rows(rows, self.batch, self.map.layout(site.point)),
            };
            let own = self.own(site.point, rows, own);
            self.moment(&Moment::Cached {
                owner,
                number,
                site,
                value: &own,
            });
            self.caches[at].into.insert(site, own);
        }
    }

    /// Notes which listed modules the caches never saw, and returns the notes about those of the
    /// run.
    pub(super) fn missed(&mut self) -> Vec<Note> {
        let mut of_run = Vec::new();
        for cache in std::mem::take(&mut self.caches) {
            let points = cache.points.iter().filter(|point| !cache.into.has(**point));
            let sites: Vec<String> = points.map(|point| self.map.point_name(*point)).collect();
            if sites.is_empty() || !cache.is_listed {
                continue;
            }
            let note = Note::CacheMissed { sites };
            match cache.owner {
                Some(owner) => self.lane(owner).account.note(note),
                None => of_run.push(note),
            }
        }
        of_run
    }

    /// Returns the points of a cache, unless one of them has been passed without it.
    fn points_to_come(&self, spec: &CacheSpec, at: Option<Site>) -> Result<Vec<Point>, Fault> {
        let points = spec
            .points(&self.map)
            .map_err(|asked| self.unknown(asked))?;
        // What is at hand is collected when all mediators are done with it.
        let at_hand = |point: Point| u32::from(at == Some(point.at(0)));
        // A gradient comes too late when its value has passed without a hook, at hand or not.
        let is_passed = |point: &&Point| {
            // That of a parameter, when the first pass comes to its end.
            if point.is_parameter() {
                return self.gradients.has_ended() || at.is_some_and(|at| at.point.is_parameter());
            }
            let value = point.forward();
            let at_hand = if point.port.is_gradient() {
                0
            } else {
                at_hand(value)
            };
            self.passings(value) > at_hand
        };
        let passed = points.iter().filter(is_passed);
        let passed: Vec<String> = passed.map(|point| self.map.point_name(*point)).collect();
        match passed.is_empty() {
            true => Ok(points),
            false => Err(Fault::from(FaultKind::LateCache { passed })),
        }
    }
}
