//! The way of an exploration through the choices: depth first, over those that do not commute.
//!
//! This is dynamic partial-order reduction (Flanagan and Godefroid, *Dynamic partial-order
//! reduction for model checking software*, POPL 2005) with the source sets and sleep sets of
//! Abdulla, Aronis, Jonsson and Sagonas (*Optimal dynamic partial order reduction*, POPL 2014,
//! algorithm 1). A turn is a transition, and what it touches is known once it was taken. After a
//! run, each pair of turns that conflict, with nothing between that orders them, is a reason to
//! take the later one first: at the choice before the earlier one, one of the mediators that could
//! begin such an order is put among those to be tried, unless one is there. A mediator whose turn
//! has been tried at a choice sleeps in what follows, until a turn comes that does not commute with
//! its own.
//!
//! Only turns at one visit of a site change places; at its end every mediator that waited there
//! has had a turn, so that none sleeps beyond it. If a run fails, some have not, and each of them
//! is tried in place of the turn that failed.

use std::rc::Rc;
use std::sync::Arc;

use super::footprint::{Access, Footprint, Ground};
use super::order::Order;
use crate::map::SiteMap;
use crate::mediator::MediatorId;
use crate::scheduler::{Choice, Schedule, ScheduleError};
use crate::setup::Setup;
use crate::site::Site;
use crate::value::Value;

/// The reduction of the orders that are tried.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Reduction {
    /// One of all that differ only in the order of turns that commute.
    #[default]
    Commuting,
    /// Every single one; for small programmes, and to check the other.
    None,
}

/// The state of an exploration between its runs and in one.
#[derive(Debug, Default)]
pub(super) struct Course {
    pub(super) ground: Ground,
    reduction: Reduction,
    /// The turns of the run at hand, or of the last one.
    turns: Vec<Turn>,
    /// How many turns of this run have begun.
    depth: usize,
    /// How many of them are as in the run before, but for the last one.
    prefix: usize,
    /// The number of the visit of a site, and whether the model is at it.
    visit: u32,
    is_at_site: bool,
    /// The first turn of which it was clear that the run is like an earlier one.
    redundant_from: Option<usize>,
    failed: bool,
    is_attached: bool,
    map: Option<Arc<SiteMap>>,
    programme: Option<u64>,
    error: Option<ScheduleError>,
    pruned: u64,
}

/// One choice, and the turn that follows it.
#[derive(Debug)]
struct Turn {
    site: Site,
    visit: u32,
    ready: Vec<MediatorId>,
    chosen: MediatorId,
    footprint: Rc<Footprint>,
    /// Those that need not be tried here, with the turns that they would have.
    asleep: Vec<(MediatorId, Rc<Footprint>)>,
    /// Those that are to be tried here, and those that have been.
    wanted: Vec<MediatorId>,
    tried: u64,
}

impl Turn {
    fn is_asleep(&self, id: MediatorId) -> bool {
        self.asleep.iter().any(|(other, _)| *other == id)
    }

    fn want(&mut self, id: MediatorId) {
        if !self.wanted.contains(&id) {
            self.wanted.push(id);
        }
    }

    /// Iterates over those that are to be tried here still.
    fn pending(&self) -> impl Iterator<Item = MediatorId> {
        let is_open = |id: &MediatorId| *id != self.chosen && !self.is_asleep(*id);
        self.wanted.iter().copied().filter(is_open)
    }
}

/// What a run has shown of its place in the exploration.
pub(super) struct Passed {
    /// What was chosen.
    pub(super) schedule: Schedule,
    /// Whether an earlier run was the same but for the order of turns that commute.
    pub(super) is_redundant: bool,
}

impl Course {
    pub(super) fn new(reduction: Reduction) -> Self {
        Self {
            reduction,
            ..Self::default()
        }
    }

    /// Chooses whose turn it is.
    pub(super) fn choose(
        &mut self,
        site: Site,
        ready: &[MediatorId],
    ) -> Result<usize, ScheduleError> {
        if self.depth < self.prefix {
            return self.repeat(site, ready);
        }
        let asleep = self.asleep();
        let is_awake = |id: &&MediatorId| asleep.iter().all(|(other, _)| other != *id);
        let chosen = match ready.iter().find(is_awake) {
            Some(&chosen) => chosen,
            // All of them sleep: whatever comes now only reorders turns that commute in an earlier
            // run.
            None => {
                self.redundant_from.get_or_insert(self.depth);
                ready[0]
            }
        };
        self.turns.push(Turn {
            site,
            visit: self.visit,
            ready: ready.to_vec(),
            chosen,
            footprint: self.footprint_of(chosen),
            asleep,
            wanted: match self.reduction {
                Reduction::Commuting => vec![chosen],
                Reduction::None => ready.to_vec(),
            },
            tried: 1,
        });
        self.depth += 1;
        Ok(place_of(chosen, ready))
    }

    /// Returns how many turns of the run at hand are those of the run before it.
    pub(super) fn shared(&self) -> u64 {
        self.prefix.saturating_sub(1) as u64
    }

    /// Returns whether it matters what is touched.
    pub(super) fn is_watching(&self) -> bool {
        self.reduction == Reduction::Commuting
    }

    /// Returns what a turn that begins has touched.
    fn footprint_of(&self, chosen: MediatorId) -> Rc<Footprint> {
        match (self.reduction, self.turns.last()) {
            // It is not written to, and one will do.
            (Reduction::None, Some(last)) => last.footprint.clone(),
            _ => Rc::new(Footprint::of(chosen)),
        }
    }

    /// Chooses as in the run before.
    fn repeat(&mut self, site: Site, ready: &[MediatorId]) -> Result<usize, ScheduleError> {
        let turn = &self.turns[self.depth];
        if turn.site != site || turn.ready != ready {
            let then = self.describe(turn.site, &turn.ready);
            let now = self.describe(site, ready);
            return Err(self.unsteady(then, now));
        }
        self.depth += 1;
        Ok(place_of(turn.chosen, ready))
    }

    /// Returns who sleeps at the next turn: those that slept at the last one, and did not have to
    /// be woken by it.
    fn asleep(&self) -> Vec<(MediatorId, Rc<Footprint>)> {
        let last = self.turns.last().filter(|last| last.visit == self.visit);
        let (Some(last), Reduction::Commuting) = (last, self.reduction) else {
            return Vec::new();
        };
        let commutes =
            |(_, theirs): &&(MediatorId, Rc<Footprint>)| !theirs.conflicts(&last.footprint);
        last.asleep.iter().filter(commutes).cloned().collect()
    }

    /// Takes note of a run that is set up.
    pub(super) fn attach<V: Value>(&mut self, setup: &Setup<V>) {
        self.ground.survey(setup);
        self.map = Some(setup.map.clone());
        self.is_attached = true;
    }

    /// Learns what the runs are made of; `digest` is called once.
    pub(super) fn begin(&mut self, digest: impl FnOnce() -> u64) {
        self.programme.get_or_insert_with(digest);
    }

    pub(super) fn enter(&mut self) {
        self.visit += 1;
        self.is_at_site = true;
    }

    pub(super) fn leave(&mut self, failed: bool) {
        self.is_at_site = false;
        self.failed |= failed;
        if failed && let Some(footprint) = self.footprint() {
            footprint.is_fatal = true;
        }
    }

    /// Notes what the turn at hand touches.
    #[inline]
    pub(super) fn touch(&mut self, member: MediatorId, access: Option<Access>) {
        if self.is_at_site
            && let Some(footprint) = self.footprint()
        {
            footprint.add(member, access);
        }
    }

    /// Returns what the turn at hand touches, unless it is known from an earlier run.
    fn footprint(&mut self) -> Option<&mut Footprint> {
        if self.depth < self.prefix {
            return None;
        }
        let turn = self.turns.get_mut(self.depth.checked_sub(1)?)?;
        (turn.visit == self.visit).then(|| Rc::make_mut(&mut turn.footprint))
    }

    /// Ends a run: finds out which other orders are worth a try.
    pub(super) fn end(&mut self) -> Result<Passed, ScheduleError> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if !self.is_attached {
            return Err(ScheduleError::NotAttached);
        }
        if self.depth < self.prefix {
            let turn = &self.turns[self.depth];
            let then = self.describe(turn.site, &turn.ready);
            return Err(self.unsteady(then, "the end of the run".to_owned()));
        }
        let passed = Passed {
            schedule: self.schedule(),
            is_redundant: self.redundant_from.is_some(),
        };
        self.turns
            .truncate(self.redundant_from.unwrap_or(self.depth));
        if self.reduction == Reduction::Commuting {
            self.want_reversals();
            if self.failed && self.redundant_from.is_none() {
                self.want_the_rest();
            }
        }
        Ok(passed)
    }

    /// Prepares the next run; `false` if there is nothing left to try.
    pub(super) fn next(&mut self) -> bool {
        (self.depth, self.visit) = (0, 0);
        (self.is_at_site, self.failed, self.is_attached) = (false, false, false);
        self.redundant_from = None;
        while let Some(turn) = self.turns.last_mut() {
            let next = turn.pending().next();
            let Some(next) = next else {
                self.pruned += turn.ready.len() as u64 - turn.tried;
                self.turns.pop();
                continue;
            };
            let fresh = match self.reduction {
                Reduction::Commuting => Rc::new(Footprint::of(next)),
                Reduction::None => turn.footprint.clone(),
            };
            let footprint = std::mem::replace(&mut turn.footprint, fresh);
            turn.asleep.push((turn.chosen, footprint));
            turn.chosen = next;
            turn.tried += 1;
            self.prefix = self.turns.len();
            return true;
        }
        false
    }

    /// Returns how many choices were not tried, because they lead to what others led to.
    pub(super) const fn pruned(&self) -> u64 {
        self.pruned
    }

    /// Returns how many runs are known to be needed still.
    pub(super) fn pending(&self) -> u64 {
        let pending = self.turns.iter().map(|turn| turn.pending().count() as u64);
        pending.sum()
    }

    fn schedule(&self) -> Schedule {
        let choices = self.turns.iter().map(|turn| Choice {
            place: place_of(turn.chosen, &turn.ready) as u32,
            ready: turn.ready.len() as u32,
        });
        Schedule::new(self.programme.unwrap_or(0), choices)
    }

    /// Wants a later turn to come before an earlier one, for each such pair that has a turn which
    /// this run was the first to take.
    fn want_reversals(&mut self) {
        let first_new = self.prefix.saturating_sub(1);
        let mut end = self.turns.len();
        while end > first_new {
            let visit = self.turns[end - 1].visit;
            let begin = self.turns.partition_point(|turn| turn.visit < visit);
            let footprints = self.turns[begin..end].iter().map(|turn| &*turn.footprint);
            let order = Order::of(footprints);
            for later in first_new.max(begin)..end {
                for earlier in order.races(later - begin) {
                    self.want_reversal(&order, begin, begin + earlier, later);
                }
            }
            end = begin;
        }
    }

    /// Adds, at the choice of `earlier`, a mediator that can begin an order in which `later` comes
    /// first.
    fn want_reversal(&mut self, order: &Order, begin: usize, earlier: usize, later: usize) {
        let who = self.turns[later].chosen;
        if self.turns[earlier].footprint.members.contains(&who) {
            return; // It could not have come before it.
        }
        let initials = order.initials(earlier - begin, later - begin);
        let chosen = |place: usize| self.turns[begin + place].chosen;
        let ready = &self.turns[earlier].ready;
        let candidates: Vec<MediatorId> = initials
            .map(chosen)
            .filter(|id| ready.contains(id))
            .collect();
        let turn = &mut self.turns[earlier];
        if candidates.iter().any(|id| turn.wanted.contains(id)) {
            return;
        }
        let preferred = candidates
            .iter()
            .find(|id| **id == who)
            .or(candidates.first());
        if let Some(&id) = preferred {
            turn.want(id);
        }
    }

    /// Wants those at the last choice who never had their turn, because the run failed.
    fn want_the_rest(&mut self) {
        if let Some(turn) = self.turns.last_mut() {
            for id in turn.ready.clone() {
                turn.want(id);
            }
        }
    }

    fn describe(&self, site: Site, ready: &[MediatorId]) -> String {
        let numbers: Vec<String> = ready.iter().map(|id| id.0.to_string()).collect();
        let site = match &self.map {
            Some(map) if map.has(site.point) => format!("`{}`", map.site_name(site)),
            _ => "another model's site".to_owned(),
        };
        match &numbers[..] {
            [one] => format!("that of mediator {one} at {site}"),
            several => format!("one of mediators {} at {site}", several.join(", ")),
        }
    }

    /// Notes that equal choices did not make equal runs; the run fails, and so does the
    /// exploration.
    fn unsteady(&mut self, then: String, now: String) -> ScheduleError {
        let turn = self.depth as u64 + 1;
        let error = ScheduleError::Unsteady { turn, then, now };
        self.error = Some(error.clone());
        error
    }
}

fn place_of(id: MediatorId, ready: &[MediatorId]) -> usize {
    let place = ready.iter().position(|other| *other == id);
    place.expect("only who is ready is chosen")
}
