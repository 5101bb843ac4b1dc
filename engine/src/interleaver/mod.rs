//! The interleaver: owns the mediators of one run, and is asked at every site.
//!
//! It does no input or output. The model calls [`passes`](Interleaver::passes) at every hook, which
//! is a table look-up, and [`provide`](Interleaver::provide) where that says that a mediator waits;
//! mediators are moved in and out by [`Mediator::resume`]; an [`Observer`] sees every exchange. The
//! caller, which drives the model, does what the [`Flow`] says.
//!
//! A run is a value that is consumed step by step: [`Setup`] → [`Interleaver`] → [`Report`].

mod backward;
mod barrier;
mod blackboard;
mod cache;
mod close;
mod delegate;
mod refuse;
mod serve;
mod settle;
mod skip;
mod tally;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tracing::Level;
use tracing::span::EnteredSpan;

use self::backward::Gradients;
use self::barrier::Barrier;
use self::cache::Collector;
use self::skip::Unseen;
use self::tally::Tallies;
use crate::audit::{Account, Audit, Note};
use crate::error::{Asker, RunError};
use crate::event::{Delivery, Origin};
use crate::lane::{Lane, Phase};
use crate::map::SiteMap;
use crate::mediator::{Group, Invoke, MediatorId};
use crate::observer::{Moment, Observer};
use crate::padding::{Padding, View};
use crate::planted::{self, Bug};
use crate::scheduler::{Granularity, Scheduler};
use crate::setup::Setup;
use crate::site::{Point, Site};
use crate::transition::Trigger;
use crate::value::{Rows, Value};

/// The control flow of the model after a site.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub enum Flow<V> {
    /// The model continues with this value.
    Continue(V),
    /// The module is not computed; this is its output.
    Skip(V),
    /// The model unwinds: the run was stopped, or has failed. [`Interleaver::finish`] says which.
    Halt,
}

/// The end of a run that did not fail.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RunEnd {
    /// The model finished.
    Completed,
    /// A mediator stopped it.
    Stopped {
        /// The mediator's name.
        by: String,
        /// The site at which it did; `None` before the model started.
        at: Option<String>,
    },
}

impl std::fmt::Display for RunEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Completed => f.write_str("completed"),
            Self::Stopped { by, at: Some(at) } => write!(f, "stopped by `{by}` at `{at}`"),
            Self::Stopped { by, at: None } => write!(f, "stopped by `{by}` before the model ran"),
        }
    }
}

/// The report of a run: its result and its audit.
#[derive(Clone, Debug)]
pub struct Report {
    /// How it ended.
    pub result: Result<RunEnd, RunError>,
    /// What each mediator asked for and got.
    pub audit: Audit,
}

/// The mediators of one run, interleaved with a model.
pub struct Interleaver<V> {
    map: Arc<SiteMap>,
    lanes: Vec<Lane<V>>,
    batch: u32,
    padding: Option<Padding>,
    /// Whether the model has said how its batch is padded, so that it cannot be otherwise.
    is_padding_known: bool,
    tallies: Tallies,
    /// What of the counts was not passed, because a module around it was skipped.
    unseen: BTreeMap<Point, Unseen>,
    /// Whether the observers learn which points the model passes.
    traces: bool,
    /// The sites that were passed since the observers last learned of any, if they do.
    passed: Vec<Site>,
    scheduler: Box<dyn Scheduler>,
    granularity: Granularity,
    observers: Vec<Box<dyn Observer<V>>>,
    exchanges: u64,
    /// How often the scheduler chose.
    turns: u64,
    /// How many sites were provided, and the end of the model, if it has come.
    visits: u64,
    /// The mediators that are to be stepped at the site at hand, in definition order.
    ready: Vec<MediatorId>,
    /// The replacements for the module whose input is at hand, in the order in which they were
    /// asked for.
    skips: Vec<Skip<V>>,
    /// The mediators whose barrier has opened, and that have not continued yet.
    released: VecDeque<MediatorId>,
    /// In the order of their names.
    barriers: Vec<Barrier>,
    blackboard: BTreeMap<Arc<str>, V>,
    caches: Vec<Collector<V>>,
    gradients: Gradients<V>,
    /// What is to be said of the run that no mediator's account says.
    notes: Vec<Note>,
    /// How many steps the run declares.
    steps: Option<u32>,
    changes: Changes,
    halt: Option<Halt>,
    /// Whether the model has finished, so that no site will be passed any more.
    is_closing: bool,
    /// Whether the observers know that the model has finished, or was halted.
    is_finished: bool,
}

/// The last changes of mediators to what passes, among which the cause of a failure is.
#[derive(Default)]
struct Changes {
    /// The last swap that keeps the shape.
    swap: Option<Change>,
    /// The last reshaping swap or skip.
    shape: Option<Change>,
}

struct Change {
    id: MediatorId,
    at: Site,
    origin: Origin,
}

/// Why the model must not continue.
enum Halt {
    Stopped {
        by: MediatorId,
        at: Option<Site>,
    },
    /// A mediator failed.
    Failed,
    /// A failure that is no single mediator's.
    Broken(RunError),
}

/// The replacement with which a mediator skips a module.
struct Skip<V> {
    id: MediatorId,
    value: V,
    origin: Origin,
}

/// One visit of a site.
struct Visit<V> {
    site: Site,
    value: V,
    #[cfg(test)]
    first: V,
}

impl<V: Value> Interleaver<V> {
    pub(crate) fn new(setup: Setup<V>, groups: Vec<Group>, gradients: &[Point]) -> Self {
        let paths = setup.map.len();
        let batch = groups.iter().map(Group::end).max().unwrap_or(0);
        let lane = |(invoke, group): (Invoke<V>, Group)| {
            let is_optional = invoke.is_optional();
            let account = Account::new(invoke.name, is_optional);
            Lane::new(account, group, invoke.mediator)
        };
        let lanes: Vec<_> = setup.invokes.into_iter().zip(groups).map(lane).collect();
        Self {
            ready: Vec::with_capacity(lanes.len()),
            skips: Vec::new(),
            lanes,
            batch,
            is_padding_known: setup.padding.is_some(),
            padding: setup.padding,
            tallies: Tallies::new(paths, setup.traces),
            unseen: BTreeMap::new(),
            traces: setup.traces,
            passed: Vec::new(),
            map: setup.map,
            scheduler: setup.scheduler,
            granularity: setup.granularity,
            observers: setup.observers,
            exchanges: 0,
            turns: 0,
            visits: 0,
            released: VecDeque::new(),
            barriers: setup.barriers.into_iter().map(Barrier::from).collect(),
            blackboard: BTreeMap::new(),
            caches: Vec::new(),
            gradients: Gradients::declare(gradients, paths),
            notes: Vec::new(),
            steps: setup.steps,
            changes: Changes::default(),
            halt: None,
            is_closing: false,
            is_finished: false,
        }
    }

    /// Counts a visit of `point`, and returns whether its value has to be
    /// [provided](Self::provide): whether a mediator waits for this very iteration, or a cache
    /// collects the point.
    ///
    /// This is all that happens at a hook without either.
    #[inline]
    pub fn passes(&mut self, point: Point) -> bool {
        let (iteration, interest) = self.tallies.count(point);
        interest != 0 && self.attends(point.at(iteration), interest)
    }

    /// Returns whether the value would be of use to anybody, were `point` passed: whether a
    /// mediator waits for one of its iterations, a cache collects it, or its gradient may be
    /// asked for.
    pub fn is_attended(&self, point: Point) -> bool {
        let interest = self.tallies.of(point).interest;
        interest > u32::from(self.traces) || self.is_hooked(point)
    }

    /// Notes for the observers that a site is passed, and returns whether its value has to be
    /// provided. A mediator may wait for another iteration only.
    ///
    /// Not inlined, and neither is `visit`: the registers are those of the hooks to which nothing
    /// attends.
    #[inline(never)]
    fn attends(&mut self, site: Site, interest: u32) -> bool {
        if self.traces {
            self.passed.push(site);
        }
        let waits = |lane: &Lane<V>| lane.waits_for(site);
        let collects = |cache: &Collector<V>| cache.collects(site.point);
        interest > u32::from(self.traces)
            && (self.lanes.iter().any(waits) || self.caches.iter().any(collects))
    }

    /// Serves the mediators that wait for `point`, right after [`passes`](Self::passes) has counted
    /// the visit.
    ///
    /// # Panics
    ///
    /// Panics if the point was never passed: a driver calls `passes` first.
    #[inline]
    pub fn provide(&mut self, point: Point, value: V) -> Flow<V> {
        let passed = self.passed(point);
        let site = point.at(passed.checked_sub(1).expect("provide without passes"));
        self.visit(site, value)
    }

    /// Serves the mediators that wait for `site`.
    #[inline(never)]
    fn visit(&mut self, site: Site, value: V) -> Flow<V> {
        // Whether tracing is on is asked first: a disabled span has to be made and dropped, too.
        let span = tracing::span_enabled!(Level::TRACE).then(|| self.enter_span(site));
        let value = self.hook_at(site, value);
        let mut visit = Visit {
            site,
            #[cfg(test)]
            first: value.clone(),
            value,
        };
        self.visits += 1;
        self.gather(site);
        if !self.observers.is_empty() {
            self.say_that_a_site_is_entered(&visit);
        }
        if planted::has(Bug::CacheBeforeSwap) {
            self.collect(site, &visit.value);
        }
        while !self.is_over()
            && let Some(id) = self.next_up(site)
        {
            self.step(id, &mut visit);
        }
        if !self.observers.is_empty() {
            let failed = self.has_failed();
            self.moment(&Moment::Leave { site, failed });
        }
        let flow = self.conclude(visit);
        if let Some(span) = span {
            span.exit();
        }
        flow
    }

    #[cold]
    fn enter_span(&self, site: Site) -> EnteredSpan {
        tracing::trace_span!("site", site = %self.map.site_name(site)).entered()
    }

    /// Returns whether the model must not continue.
    pub fn is_halted(&self) -> bool {
        self.halt.is_some()
    }

    /// Returns whether a mediator waits for `point`, for a later visit of it included, or a cache
    /// collects it.
    pub fn is_awaited(&self, point: Point) -> bool {
        self.tallies.of(point).interest > u32::from(self.traces)
    }

    /// Returns how often `point` was passed so far.
    pub fn passed(&self, point: Point) -> u32 {
        self.tallies.of(point).count
    }

    /// Returns how many exchanges there were so far.
    pub fn exchanges(&self) -> u64 {
        self.exchanges
    }

    /// Returns the rows of the batch, as the invokes declare them; 0 if none has rows of its own.
    pub const fn batch(&self) -> u32 {
        self.batch
    }

    /// Returns the padding of the batch, if rows differ in length.
    pub const fn padding(&self) -> Option<&Padding> {
        self.padding.as_ref()
    }

    /// Tells the run of the padding of its batch before its model comes to a site, where it does
    /// not know of any; returns whether that is the one it knows now.
    pub fn take_padding(&mut self, padding: Option<&Padding>) -> bool {
        if !self.is_padding_known && self.visits == 0 {
            self.is_padding_known = true;
            self.padding = padding.cloned();
            self.say_how_rows_are_padded();
        }
        self.padding() == padding
    }

    fn say_how_rows_are_padded(&mut self) {
        if let Some(padding) = self.padding.clone() {
            self.moment(&Moment::Padded { padding: &padding });
        }
    }

    /// Returns which positions these rows have of their own, or all rows; nothing if none is
    /// padded.
    fn view(&self, rows: Option<Rows>) -> Option<View<'_>> {
        self.padding.as_ref()?.view(rows)
    }

    /// Returns of a value at a point, with these rows or all of them, the positions that are
    /// theirs.
    fn own(&self, point: Point, rows: Option<Rows>, value: V) -> V {
        match self.view(rows) {
            Some(view) => value.own(view, self.map.positions(point)),
            None => value,
        }
    }

    /// Returns who last changed what passes in a way that may change its shape, by a reshaping swap
    /// or a skip; or else who last swapped anything.
    ///
    /// A model that cannot continue most likely cannot because of this.
    pub fn last_change(&self) -> Option<Asker> {
        let Changes { swap, shape } = &self.changes;
        let Change { id, at, origin } = shape.as_ref().or(swap.as_ref())?;
        Some(Asker {
            mediator: self.lanes[id.0 as usize].account.name.clone(),
            at: Some(self.map.site_name(*at)),
            origin: origin.clone(),
        })
    }

    /// Returns whether the last shape that a mediator may have changed is that of the last visit
    /// of `point`.
    pub fn has_reshaped(&self, point: Point) -> bool {
        let last = self.changes.shape.as_ref().map(|change| change.at);
        last.is_some_and(|at| at.point == point && at.iteration + 1 == self.passed(point))
    }

    /// Returns how many turns the mediators had so far: how often the scheduler chose one.
    pub const fn turns(&self) -> u64 {
        self.turns
    }

    /// Returns the sites of the model.
    pub fn map(&self) -> &Arc<SiteMap> {
        &self.map
    }

    pub(crate) fn start(&mut self) {
        for index in 0..self.lanes.len() {
            let id = MediatorId(index as u32);
            if let Phase::Registered(mediator) = self.lane(id).on(Trigger::Start, Phase::Running) {
                let step = self.resume(id, mediator, Delivery::Start, &Origin::Unknown);
                self.settle(id, step, None);
            }
            self.release_between_sites();
        }
        self.moment(&Moment::Begin);
        if !self.is_halted() {
            self.say_how_rows_are_padded();
        }
    }

    /// Returns who is stepped next at `site`: those that a barrier has released, then those that
    /// wait for the site.
    fn next_up(&mut self, site: Site) -> Option<MediatorId> {
        while !self.released.is_empty()
            && !self.has_failed()
            && let Some(id) = self.release_next(Some(site))
        {
            match self.granularity {
                Granularity::Site if planted::has(Bug::DeafRelease) => {}
                Granularity::Site => return Some(id),
                Granularity::Exchange => self.queue_up(id, site),
            }
        }
        if self.ready.is_empty() || self.has_failed() {
            return None;
        }
        let choice = match self.scheduler.choose(site, &self.ready) {
            Ok(choice) => choice,
            Err(error) => {
                let error = error.at(self.map.site_name(site));
                self.halt = Some(Halt::Broken(error.into()));
                return None;
            }
        };
        self.turns += 1;
        assert!(
            choice < self.ready.len(),
            "the scheduler chose a mediator that is not ready"
        );
        Some(self.ready.remove(choice))
    }

    /// Puts a mediator that waits for `site` among those that are to be stepped, in its place.
    fn queue_up(&mut self, id: MediatorId, site: Site) {
        if self.lanes[id.0 as usize].waits_for(site) {
            let place = self.ready.partition_point(|other| *other < id);
            self.ready.insert(place, id);
        }
    }

    fn say_that_a_site_is_entered(&mut self, visit: &Visit<V>) {
        let passed = std::mem::take(&mut self.passed);
        let enter = Moment::Enter {
            site: visit.site,
            passed: &passed,
            value: &visit.value,
            batch: self.batch,
            layout: self.map.layout(visit.site.point),
        };
        let observers = self.observers.iter_mut();
        observers.for_each(|observer| observer.moment(&enter));
        // Its room is used again.
        self.passed = passed;
        self.passed.clear();
    }

    fn moment(&mut self, moment: &Moment<'_, V>) {
        for observer in &mut self.observers {
            observer.moment(moment);
        }
    }

    /// Notes who waits for `site`.
    fn gather(&mut self, site: Site) {
        let lanes = self.lanes.iter().enumerate();
        let waiting = lanes.filter(|(_, lane)| lane.waits_for(site));
        self.ready.clear();
        self.ready
            .extend(waiting.map(|(index, _)| MediatorId(index as u32)));
    }

    /// Says what the model does after a site, and lets the caches see what it continues with.
    fn conclude(&mut self, visit: Visit<V>) -> Flow<V> {
        let Visit { site, value, .. } = visit;
        let output = if self.skips.is_empty() {
            None
        } else {
            self.skip(site)
        };
        let is_collected = self.caches.is_empty() || planted::has(Bug::CacheBeforeSwap);
        if !is_collected && !self.has_failed() {
            self.collect(site, &value);
        }
        match output {
            _ if self.must_halt(site) => Flow::Halt,
            Some(output) => Flow::Skip(output),
            None => Flow::Continue(value),
        }
    }

    /// Returns the output of the module that mediators skip, unless the model does not continue.
    #[cold]
    fn skip(&mut self, site: Site) -> Option<V> {
        let skips = std::mem::take(&mut self.skips);
        if self.is_halted() {
            return None;
        }
        match self.join_skips(site, skips) {
            Ok(output) => {
                self.count_inside(site);
                Some(output)
            }
            Err(error) => {
                self.halt = Some(Halt::Broken(error));
                None
            }
        }
    }

    /// Returns whether the model must not go on after a site. A backward pass that was asked for
    /// before a stop goes on to its end.
    fn must_halt(&self, site: Site) -> bool {
        let goes_on = site.point.port.is_gradient() && self.gradients.is_after_stop();
        self.has_failed() || (self.is_halted() && !goes_on)
    }

    /// Returns whether no mediator is stepped any more at the site at hand.
    fn is_over(&self) -> bool {
        let is_hasty = planted::has(Bug::HastyStop) && self.is_halted();
        self.has_failed() || is_hasty
    }

    fn has_failed(&self) -> bool {
        matches!(self.halt, Some(Halt::Failed | Halt::Broken(_)))
    }

    fn lane(&mut self, id: MediatorId) -> &mut Lane<V> {
        &mut self.lanes[id.0 as usize]
    }
}
