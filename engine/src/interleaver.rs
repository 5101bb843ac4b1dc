//! The interleaver: owns the mediators of one run, and is asked at every site.
//!
//! It does no input or output. The model calls [`passes`](Interleaver::passes) at every hook, which is a table look-up,
//! and [`provide`](Interleaver::provide) where that says that somebody waits; mediators are moved in and out by
//! [`Mediator::resume`]; an [`Observer`] sees every exchange. Whoever drives the model does what the [`Flow`] says.
//!
//! A run is a value that is consumed step by step: [`Setup`] → [`Interleaver`] → [`Report`].

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::audit::{Account, Audit, Refusal};
use crate::cx::panic_message;
use crate::error::{Failure, RunError};
use crate::event::{Delivery, Event, Origin, Request, Step, Target};
use crate::fault::Fault;
use crate::lane::{Failed, Lane, Phase, Waiting};
use crate::map::SiteMap;
use crate::mediator::{Group, Invoke, Mediator, MediatorId};
use crate::observer::{Asked, Exchange, Observer, Outcome};
use crate::scheduler::{InOrder, Scheduler};
use crate::site::{Point, Port, Site};
use crate::transition::{State, Trigger};
use crate::value::{Misfit, Rows, Value};

/// How many requests a mediator may make without letting the model go on.
const REQUESTS_PER_VISIT_MAX: u32 = 1 << 20;

/// How many of them may be for a site that is not passed any more, or never: each looks for the nearest names.
const REFUSALS_PER_VISIT_MAX: u32 = 1 << 12;

/// How many iterations of a point, or nearest sites, the hint of a fault names.
const HINT_MAX: usize = 3;

/// A run before it starts.
pub struct Setup<V> {
    map: Arc<SiteMap>,
    invokes: Vec<Invoke<V>>,
    scheduler: Box<dyn Scheduler>,
    observer: Option<Box<dyn Observer<V>>>,
}

impl<V: Value> Setup<V> {
    /// Prepares a run of the model whose sites `map` lists.
    pub fn new(map: Arc<SiteMap>) -> Self {
        Self {
            map,
            invokes: Vec::new(),
            scheduler: Box::new(InOrder),
            observer: None,
        }
    }

    /// Adds a mediator; its number is its place in definition order.
    pub fn invoke(&mut self, invoke: Invoke<V>) -> MediatorId {
        let id = MediatorId(self.invokes.len() as u32);
        self.invokes.push(invoke);
        id
    }

    /// Chooses the order of mediators; the default is [`InOrder`].
    pub fn scheduler(&mut self, scheduler: impl Scheduler + 'static) {
        self.scheduler = Box::new(scheduler);
    }

    /// Lets `observer` see every exchange.
    pub fn observer(&mut self, observer: impl Observer<V> + 'static) {
        self.observer = Some(Box::new(observer));
    }

    /// Returns the mediators, in definition order.
    pub fn invokes(&self) -> &[Invoke<V>] {
        &self.invokes
    }

    /// Returns what the journal calls the scheduler.
    pub fn schedule(&self) -> String {
        self.scheduler.describe()
    }

    /// Returns the rows of each mediator, in definition order.
    ///
    /// # Errors
    ///
    /// [`RunError::BatchTooLarge`] if the rows cannot be counted in 32 bits.
    pub fn groups(&self) -> Result<Vec<Group>, RunError> {
        let mut start = 0u32;
        let group = |invoke: &Invoke<V>| match invoke.rows {
            None => Ok(Group::Whole),
            Some(count) => {
                let rows = Rows { start, count };
                start = start.checked_add(count).ok_or(RunError::BatchTooLarge)?;
                Ok(Group::Rows(rows))
            }
        };
        self.invokes.iter().map(group).collect()
    }

    /// Starts every mediator in definition order, and runs each to its first request.
    ///
    /// If [`Interleaver::is_halted`] says so afterwards, the model must not run.
    ///
    /// # Errors
    ///
    /// [`RunError::DuplicateName`] and [`RunError::BatchTooLarge`]; nothing has been started then.
    pub fn start(self) -> Result<Interleaver<V>, RunError> {
        let groups = self.groups()?;
        let mut names = BTreeSet::new();
        if let Some(twin) = self
            .invokes
            .iter()
            .find(|invoke| !names.insert(&invoke.name))
        {
            return Err(RunError::DuplicateName(twin.name.clone()));
        }
        let mut interleaver = Interleaver::new(self, groups);
        interleaver.start();
        Ok(interleaver)
    }
}

/// What the model does after a site.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub enum Flow<V> {
    /// Go on with this value.
    Continue(V),
    /// Do not compute the module; this is its output.
    Skip(V),
    /// Unwind: the run was stopped, or has failed. [`Interleaver::finish`] says which.
    Halt,
}

/// How a run ended that did not fail.
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

/// What a run leaves behind.
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
    /// How often each point was passed, by [`Point::index`].
    counts: Vec<u32>,
    /// How many mediators wait for each point, by [`Point::index`].
    waiting: Vec<u32>,
    scheduler: Box<dyn Scheduler>,
    observer: Option<Box<dyn Observer<V>>>,
    exchanges: u64,
    /// The mediators that are to be stepped at the site at hand, in definition order.
    ready: Vec<MediatorId>,
    halt: Option<Halt>,
    /// Whether the model has finished, so that no site will be passed any more.
    is_closing: bool,
}

/// Why the model must not go on.
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

/// One passing of a site.
struct Visit<V> {
    site: Site,
    value: V,
    skips: Vec<(MediatorId, V)>,
}

impl<V: Value> Interleaver<V> {
    fn new(setup: Setup<V>, groups: Vec<Group>) -> Self {
        let points = setup.map.len() * Port::ALL.len();
        let batch = groups.iter().map(rows_end).max().unwrap_or(0);
        let lane = |(invoke, group): (Invoke<V>, Group)| Lane {
            group,
            account: Account::new(invoke.name, invoke.optional),
            phase: Phase::Registered(invoke.mediator),
        };
        let lanes: Vec<_> = setup.invokes.into_iter().zip(groups).map(lane).collect();
        Self {
            ready: Vec::with_capacity(lanes.len()),
            lanes,
            batch,
            counts: vec![0; points],
            waiting: vec![0; points],
            map: setup.map,
            scheduler: setup.scheduler,
            observer: setup.observer,
            exchanges: 0,
            halt: None,
            is_closing: false,
        }
    }

    /// Counts a passing of `point`, and returns whether its value has to be [provided](Self::provide).
    ///
    /// This is all that happens at a hook for which nobody waits.
    #[inline]
    pub fn passes(&mut self, point: Point) -> bool {
        let index = point.index();
        debug_assert!(index < self.counts.len(), "a point of another model");
        self.counts[index] += 1;
        self.waiting[index] != 0
    }

    /// Serves the mediators that wait for `point`, right after [`passes`](Self::passes) has counted the passing.
    ///
    /// # Panics
    ///
    /// Panics if the point was never passed: a driver calls `passes` first.
    pub fn provide(&mut self, point: Point, value: V) -> Flow<V> {
        let passed = self.counts[point.index()];
        let site = point.at(passed.checked_sub(1).expect("provide without passes"));
        let _span = tracing::trace_span!("site", site = %self.map.site_name(site)).entered();
        let mut visit = Visit {
            site,
            value,
            skips: Vec::new(),
        };
        self.gather(site);
        while !self.ready.is_empty() && !self.has_failed() {
            let choice = self.scheduler.choose(site, &self.ready);
            assert!(
                choice < self.ready.len(),
                "the scheduler chose a mediator that is not ready"
            );
            let id = self.ready.remove(choice);
            self.step(id, &mut visit);
        }
        self.conclude(visit)
    }

    /// Returns whether the model must not go on.
    pub fn is_halted(&self) -> bool {
        self.halt.is_some()
    }

    /// Returns how often `point` was passed so far.
    pub fn passed(&self, point: Point) -> u32 {
        self.counts[point.index()]
    }

    /// Returns how many exchanges there were so far.
    pub fn exchanges(&self) -> u64 {
        self.exchanges
    }

    /// Returns the sites of the model.
    pub fn map(&self) -> &Arc<SiteMap> {
        &self.map
    }

    /// Ends the run: gives every mediator that still waits its verdict, and draws up the account.
    pub fn finish(mut self) -> Report {
        if !self.has_failed() {
            self.close();
        }
        let result = self.result();
        let audit = self.cancel();
        Report {
            result: result.and_then(|end| check_fired(end, &audit)),
            audit,
        }
    }

    /// Ends the run of a model that failed by itself: the mediators are dropped where they stand.
    pub fn cancel(mut self) -> Audit {
        let map = self.map.clone();
        for lane in &mut self.lanes {
            lane.cancel(|site| map.site_name(site));
            lane.account.state = lane.state();
        }
        let accounts = self.lanes.into_iter().map(|lane| lane.account);
        Audit {
            mediators: accounts.collect(),
        }
    }

    fn start(&mut self) {
        for index in 0..self.lanes.len() {
            let id = MediatorId(index as u32);
            if let Phase::Registered(mediator) = self.lane(id).on(Trigger::Start, Phase::Running) {
                let step = self.resume(id, mediator, Delivery::Start, &Origin::Unknown);
                self.settle(id, step, None, &mut 0);
            }
        }
    }

    /// Refuses what still waits, in definition order; nobody is spared the verdict because another failed.
    fn close(&mut self) {
        self.is_closing = true;
        for index in 0..self.lanes.len() {
            let id = MediatorId(index as u32);
            if let Some(waiting) = self.unpark(id, Trigger::Refuse) {
                let fault = self.not_provided(waiting.site);
                let asked = Asked::Site(waiting.site);
                self.refused(
                    id,
                    waiting.request.event(),
                    asked,
                    None,
                    &fault,
                    &waiting.origin,
                );
                let step = self.resume(id, waiting.rest, Delivery::Refused(fault), &waiting.origin);
                self.settle(id, step, None, &mut 0);
            }
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

    /// Steps a mediator until its request is for another site, or it is retired.
    fn step(&mut self, id: MediatorId, visit: &mut Visit<V>) {
        let (mut requests, mut refusals) = (0, 0);
        while self.lanes[id.0 as usize].waits_for(visit.site)
            && let Some(waiting) = self.unpark(id, Trigger::Serve)
        {
            requests += 1;
            if requests > REQUESTS_PER_VISIT_MAX {
                let limit = REQUESTS_PER_VISIT_MAX;
                return self.fail(
                    id,
                    Some(visit.site),
                    Fault::Restless { limit },
                    waiting.origin,
                );
            }
            let delivery = self.answer(id, waiting.request, &waiting.origin, visit);
            let step = self.resume(id, waiting.rest, delivery, &waiting.origin);
            self.settle(id, step, Some(visit.site), &mut refusals);
        }
    }

    /// Serves one request at its own site.
    fn answer(
        &mut self,
        id: MediatorId,
        request: Request<V>,
        origin: &Origin,
        visit: &mut Visit<V>,
    ) -> Delivery<V> {
        let event = request.event();
        let at = Some(visit.site);
        let asked = Asked::Site(visit.site);
        match self.perform(id, request, visit) {
            Ok(value) => {
                self.lane(id).account.serve(event);
                self.observe(
                    id,
                    event,
                    Some(asked),
                    at,
                    Outcome::Served(Some(&value)),
                    origin,
                );
                match event {
                    Event::Value => Delivery::Value(value),
                    _ => Delivery::Done,
                }
            }
            Err(fault) => {
                self.refused(id, event, asked, at, &fault, origin);
                Delivery::Refused(fault)
            }
        }
    }

    /// Does what a request asks for, and returns the value that was exchanged.
    fn perform(
        &self,
        id: MediatorId,
        request: Request<V>,
        visit: &mut Visit<V>,
    ) -> Result<V, Fault> {
        match request {
            Request::Value { .. } => Ok(self.read(id, visit)),
            Request::Swap { value, reshape, .. } => {
                self.swap(id, visit, value.clone(), reshape)?;
                Ok(value)
            }
            Request::Skip { value, .. } => {
                self.check_skippable(visit.site)?;
                visit.skips.retain(|(skipping, _)| *skipping != id);
                visit.skips.push((id, value.clone()));
                Ok(value)
            }
        }
    }

    fn read(&self, id: MediatorId, visit: &Visit<V>) -> V {
        match self.shared_rows(id) {
            None => visit.value.clone(),
            Some(rows) => {
                let layout = self.map.layout(visit.site.point);
                visit.value.rows(rows, self.batch, layout)
            }
        }
    }

    fn swap(
        &self,
        id: MediatorId,
        visit: &mut Visit<V>,
        part: V,
        reshape: bool,
    ) -> Result<(), Fault> {
        let site = || self.map.site_name(visit.site);
        let misfit = |misfit: Misfit| Fault::Misfit {
            site: site(),
            misfit,
        };
        if reshape {
            self.check_owner(id, visit.site)?;
            visit.value = part;
            return Ok(());
        }
        visit.value = match self.shared_rows(id) {
            None => {
                visit.value.fits(&part).map_err(misfit)?;
                part
            }
            Some(rows) => {
                let layout = self.map.layout(visit.site.point);
                let spliced = visit.value.splice(rows, self.batch, layout, part);
                spliced.map_err(misfit)?
            }
        };
        Ok(())
    }

    /// Checks that no other mediator has rows in the batch, whose shape would change under it.
    fn check_owner(&self, id: MediatorId, site: Site) -> Result<(), Fault> {
        let rows = match self.lanes[id.0 as usize].group {
            Group::Rows(rows) => rows.count,
            Group::Whole => 0,
        };
        match rows == self.batch {
            true => Ok(()),
            false => Err(Fault::NotOwner {
                site: self.map.site_name(site),
                rows,
                batch: self.batch,
            }),
        }
    }

    /// Returns a mediator's rows, unless it sees all of them.
    fn shared_rows(&self, id: MediatorId) -> Option<Rows> {
        match self.lanes[id.0 as usize].group {
            Group::Rows(rows) if !rows.is_whole(self.batch) => Some(rows),
            Group::Rows(_) | Group::Whole => None,
        }
    }

    fn check_skippable(&self, site: Site) -> Result<(), Fault> {
        let output = Point::new(site.point.path, Port::Output);
        if site.point.port == Port::Input && self.map.has(output) {
            return Ok(());
        }
        let mut inputs = self.map.points().filter(|point| point.port == Port::Input);
        let example = inputs.next().map(|point| self.map.point_name(point));
        Err(Fault::NotSkippable {
            site: self.map.site_name(site),
            example: example.unwrap_or_else(|| "input".to_owned()),
        })
    }

    /// Takes a mediator's next step, and refuses what cannot be served any more, until it waits or is retired.
    fn settle(&mut self, id: MediatorId, mut step: Step<V>, at: Option<Site>, refusals: &mut u32) {
        loop {
            step = match step {
                Step::Ask {
                    request,
                    origin,
                    rest,
                } => match self.awaited(request.target(), at) {
                    Some(site) => {
                        return self.park(
                            id,
                            Waiting {
                                request,
                                site,
                                origin,
                                rest,
                            },
                        );
                    }
                    None => self.turn_down(id, request, origin, rest, at, refusals),
                },
                Step::Stop { origin } => return self.stop(id, at, &origin),
                Step::End => return self.end(id, at),
                Step::Fail { fault, origin } => return self.fail(id, at, fault, origin),
            };
        }
    }

    /// Returns the site that a request waits for, if it can still be passed or is at hand.
    fn awaited(&self, target: &Target, at: Option<Site>) -> Option<Site> {
        let site = match target {
            Target::Point { point, .. } if self.map.has(*point) => site_of(target),
            Target::Point { .. } | Target::Unknown(_) => return None,
        };
        let is_ahead = self.counts[site.point.index()] <= site.iteration && !self.is_closing;
        (is_ahead || at == Some(site)).then_some(site)
    }

    /// Refuses a request for a site that will not be passed, and returns what the mediator does then.
    #[cold]
    fn turn_down(
        &mut self,
        id: MediatorId,
        request: Request<V>,
        origin: Origin,
        rest: Box<dyn Mediator<V>>,
        at: Option<Site>,
        refusals: &mut u32,
    ) -> Step<V> {
        if *refusals == REFUSALS_PER_VISIT_MAX {
            let limit = REFUSALS_PER_VISIT_MAX;
            let fault = Fault::Restless { limit };
            return Step::Fail { fault, origin };
        }
        *refusals += 1;
        let fault = self.not_awaited(request.target(), at);
        let asked = match &fault {
            Fault::UnknownSite { asked, .. } => Asked::Unknown(asked),
            _ => Asked::Site(site_of(request.target())),
        };
        self.refused(id, request.event(), asked, at, &fault, &origin);
        self.resume(id, rest, Delivery::Refused(fault), &origin)
    }

    /// Says why nobody can wait for `target`.
    fn not_awaited(&self, target: &Target, at: Option<Site>) -> Fault {
        let site = match target {
            Target::Point { point, .. } if self.map.has(*point) => site_of(target),
            Target::Point { point, .. } => return self.unknown(self.name_of(*point)),
            Target::Unknown(name) => return self.unknown(name.to_string()),
        };
        match self.counts[site.point.index()] > site.iteration {
            true => Fault::OutOfOrder {
                asked: self.map.site_name(site),
                at: at.map(|at| self.map.site_name(at)),
            },
            false => self.not_provided(site),
        }
    }

    /// Returns the text of a point that the map may not have.
    fn name_of(&self, point: Point) -> String {
        match (point.path.0 as usize) < self.map.len() {
            true => self.map.point_name(point),
            false => format!("path {} of another model, {}", point.path.0, point.port),
        }
    }

    fn unknown(&self, asked: String) -> Fault {
        let nearest = self.map.nearest(&asked);
        Fault::UnknownSite { asked, nearest }
    }

    fn not_provided(&self, site: Site) -> Fault {
        let stopped_by = match self.halt {
            Some(Halt::Stopped { by, at }) => {
                let name = self.lanes[by.0 as usize].account.name.clone();
                Some((name, at.map(|at| self.map.site_name(at))))
            }
            _ => None,
        };
        Fault::NotProvided {
            asked: self.map.site_name(site),
            stopped_by,
            hint: self.passed_like(site),
        }
    }

    /// Returns the last passing of the point, or else the passed sites with the most similar names.
    fn passed_like(&self, site: Site) -> Vec<String> {
        let passed = |point: Point| {
            self.counts[point.index()]
                .checked_sub(1)
                .map(|last| point.at(last))
        };
        if let Some(last) = passed(site.point) {
            return vec![self.map.site_name(last)];
        }
        let asked = self.map.site_name(site);
        let sites = self.map.points().filter_map(passed);
        let mut names: Vec<(usize, String)> = sites
            .map(|site| self.map.site_name(site))
            .map(|name| (strsim::damerau_levenshtein(&asked, &name), name))
            .collect();
        names.sort();
        names.truncate(HINT_MAX);
        names.into_iter().map(|(_, name)| name).collect()
    }

    fn park(&mut self, id: MediatorId, waiting: Waiting<V>) {
        self.waiting[waiting.site.point.index()] += 1;
        self.lane(id).on(Trigger::Ask, Phase::Waiting(waiting));
    }

    fn unpark(&mut self, id: MediatorId, trigger: Trigger) -> Option<Waiting<V>> {
        if self.lanes[id.0 as usize].state() != State::Waiting {
            return None;
        }
        match self.lane(id).on(trigger, Phase::Running) {
            Phase::Waiting(waiting) => {
                self.waiting[waiting.site.point.index()] -= 1;
                Some(waiting)
            }
            _ => unreachable!("the state was looked at"),
        }
    }

    /// Lets a mediator run to its next step; `origin` is that of the request which is answered.
    fn resume(
        &mut self,
        id: MediatorId,
        mediator: Box<dyn Mediator<V>>,
        delivery: Delivery<V>,
        origin: &Origin,
    ) -> Step<V> {
        let name = self.lanes[id.0 as usize].account.name.as_str();
        let _span = tracing::trace_span!("mediator", name).entered();
        // The mediator was moved into the call and is gone after a panic, so that broken invariants stay unseen.
        let resumed = catch_unwind(AssertUnwindSafe(|| mediator.resume(delivery)));
        resumed.unwrap_or_else(|payload| Step::Fail {
            fault: Fault::Panicked(panic_message(&*payload)),
            origin: origin.clone(),
        })
    }

    fn end(&mut self, id: MediatorId, at: Option<Site>) {
        self.lane(id).on(Trigger::End, Phase::Ended);
        self.lane(id).account.serve(Event::End);
        self.observe(
            id,
            Event::End,
            None,
            at,
            Outcome::Served(None),
            &Origin::Unknown,
        );
    }

    fn stop(&mut self, id: MediatorId, at: Option<Site>, origin: &Origin) {
        self.lane(id).on(Trigger::Stop, Phase::Stopped);
        self.lane(id).account.serve(Event::Stop);
        self.observe(id, Event::Stop, None, at, Outcome::Served(None), origin);
        if self.halt.is_none() && !self.is_closing {
            self.halt = Some(Halt::Stopped { by: id, at });
        }
    }

    fn fail(&mut self, id: MediatorId, at: Option<Site>, fault: Fault, origin: Origin) {
        self.lane(id).account.serve(Event::Exception);
        self.observe(
            id,
            Event::Exception,
            None,
            at,
            Outcome::Failed(&fault),
            &origin,
        );
        let failed = Box::new(Failed { fault, at, origin });
        self.lane(id).on(Trigger::Exception, Phase::Failed(failed));
        if !self.is_closing {
            self.halt = Some(Halt::Failed);
        }
    }

    fn refused(
        &mut self,
        id: MediatorId,
        event: Event,
        asked: Asked<'_>,
        at: Option<Site>,
        fault: &Fault,
        origin: &Origin,
    ) {
        let map = self.map.clone();
        let refusal = || Refusal {
            event,
            site: match asked {
                Asked::Site(site) => map.site_name(site),
                Asked::Unknown(name) => name.to_owned(),
            },
            code: Some(fault.code()),
            origin: origin.clone(),
        };
        self.lane(id).account.refuse(refusal, event);
        self.observe(id, event, Some(asked), at, Outcome::Refused(fault), origin);
    }

    fn observe(
        &mut self,
        mediator: MediatorId,
        event: Event,
        asked: Option<Asked<'_>>,
        at: Option<Site>,
        outcome: Outcome<'_, V>,
        origin: &Origin,
    ) {
        let index = self.exchanges;
        self.exchanges += 1;
        if let Some(observer) = &mut self.observer {
            observer.exchange(&Exchange {
                index,
                mediator,
                event,
                asked,
                at,
                outcome,
                origin,
            });
        }
    }

    /// Says what the model does after a site.
    fn conclude(&mut self, visit: Visit<V>) -> Flow<V> {
        let Visit { site, value, skips } = visit;
        if self.is_halted() {
            return Flow::Halt;
        }
        if skips.is_empty() {
            return Flow::Continue(value);
        }
        match self.join_skips(site, skips) {
            Ok(output) => Flow::Skip(output),
            Err(error) => {
                self.halt = Some(Halt::Broken(error));
                Flow::Halt
            }
        }
    }

    /// Makes one output of the replacements of all invokes.
    ///
    /// A replacement by a mediator that sees the whole batch covers every row. It takes effect if no mediator owns rows,
    /// or if all that do skip too; the last one wins.
    fn join_skips(&self, site: Site, skips: Vec<(MediatorId, V)>) -> Result<V, RunError> {
        let name = |id: MediatorId| self.lanes[id.0 as usize].account.name.clone();
        let skipping: Vec<String> = skips.iter().map(|(id, _)| name(*id)).collect();
        let others: Vec<String> = self
            .owners()
            .filter(|owner| skips.iter().all(|(id, _)| id != owner))
            .map(name)
            .collect();
        let site = self.map.site_name(site);
        if !others.is_empty() {
            return Err(RunError::PartialSkip {
                site,
                skipping,
                others,
            });
        }
        let is_whole = |(id, _): &(MediatorId, V)| self.shared_rows(*id).is_none();
        if let Some(whole) = skips.iter().rposition(is_whole) {
            return Ok(skips
                .into_iter()
                .nth(whole)
                .map(|(_, value)| value)
                .expect("found above"));
        }
        let mut parts = skips;
        parts.sort_by_key(|(id, _)| *id);
        let parts = parts.into_iter().map(|(_, value)| value).collect();
        V::join(parts).map_err(|misfit| RunError::SkipMisfit {
            site,
            skipping,
            misfit,
        })
    }

    /// Iterates over the mediators that own rows of the batch.
    fn owners(&self) -> impl Iterator<Item = MediatorId> {
        let lanes = self.lanes.iter().enumerate();
        lanes
            .filter(|(_, lane)| matches!(lane.group, Group::Rows(rows) if rows.count > 0))
            .map(|(index, _)| MediatorId(index as u32))
    }

    fn result(&mut self) -> Result<RunEnd, RunError> {
        let failures: Vec<Failure> = self
            .lanes
            .iter()
            .filter_map(|lane| self.failure(lane))
            .collect();
        if !failures.is_empty() {
            return Err(RunError::Mediators(failures));
        }
        match self.halt.take() {
            Some(Halt::Broken(error)) => Err(error),
            Some(Halt::Stopped { by, at }) => Ok(RunEnd::Stopped {
                by: self.lanes[by.0 as usize].account.name.clone(),
                at: at.map(|at| self.map.site_name(at)),
            }),
            Some(Halt::Failed) => unreachable!("a failed mediator is in its lane"),
            None => Ok(RunEnd::Completed),
        }
    }

    fn failure(&self, lane: &Lane<V>) -> Option<Failure> {
        match &lane.phase {
            Phase::Failed(failed) => Some(Failure {
                mediator: lane.account.name.clone(),
                at: failed.at.map(|at| self.map.site_name(at)),
                origin: failed.origin.clone(),
                fault: failed.fault.clone(),
            }),
            _ => None,
        }
    }

    fn has_failed(&self) -> bool {
        matches!(self.halt, Some(Halt::Failed | Halt::Broken(_)))
    }

    fn lane(&mut self, id: MediatorId) -> &mut Lane<V> {
        &mut self.lanes[id.0 as usize]
    }
}

/// Returns the site that a request of a known target waits for.
fn site_of(target: &Target) -> Site {
    match target {
        // The mediator's own iteration is 0: loops, which change it, come with REGISTER.
        Target::Point { point, iteration } => point.at(iteration.unwrap_or(0)),
        Target::Unknown(name) => unreachable!("`{name}` has been refused"),
    }
}

fn rows_end(group: &Group) -> u32 {
    match group {
        Group::Rows(rows) => rows.end(),
        Group::Whole => 0,
    }
}

/// A run in which an intervention never fired does not show what the intervention does, and fails.
fn check_fired(end: RunEnd, audit: &Audit) -> Result<RunEnd, RunError> {
    let silent = audit.never_fired().filter(|account| !account.optional);
    let names: Vec<String> = silent.map(|account| account.name.clone()).collect();
    match names.is_empty() {
        true => Ok(end),
        false => Err(RunError::NeverFired(names)),
    }
}
