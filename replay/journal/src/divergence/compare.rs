//! Comparing a live run with a recording, exchange by exchange.

use std::collections::{BTreeMap, VecDeque};

use interloom_engine::Padding;

use super::ends;
use super::environment::{self, EnvironmentDifference};
use super::fields::{self, Found, Named};
use super::visits::{SeenVisit, Visits};
use super::{
    Alignment, Divergence, DivergenceClass, DivergenceSide, ExchangeLine, FieldDifference,
    RunIdentity, ValueSource,
};
use crate::{
    CacheDeclaration, Event, ExchangeRecord, ExchangeResult, Head, JournalError, Names, Record,
    RunEndRecord, RunStart, Visit,
};

/// The number of exchanges before a divergence that are kept by default.
pub const CONTEXT_DEFAULT: usize = 4;

/// How far ahead the recording is searched for what this run does instead.
pub(super) const LOOK_AHEAD: usize = 8;

/// How many of the recording's next exchanges a report has.
const FOLLOWING: usize = 2;

/// Compares the records of a live run with those of a recording, in constant memory.
///
/// The recording is any iterator over records:
/// [`JournalReader::records`](crate::JournalReader::records) or
/// [`Journal::records`](crate::Journal::records). The live side is passed in in the order in which
/// it happens, by methods or as whole records.
#[derive(Debug)]
pub struct Comparer<I> {
    recorded: I,
    ahead: VecDeque<RecordedStep>,
    over: bool,
    error: Option<JournalError>,
    heads: Heads,
    recorded_names: Names,
    live_names: Names,
    run: String,
    /// The order of the mediators in the run, on both sides.
    schedules: [String; 2],
    context: VecDeque<ExchangeRecord>,
    context_limit: usize,
    last_served: BTreeMap<u32, u64>,
    /// What the model passed since the last exchange that is equal, recorded and live.
    visits: [Visits; 2],
    /// The requests that are open at the end of the run, recorded and live.
    open: [Vec<ExchangeRecord>; 2],
    compared: u64,
    found: Option<Parted>,
    journals: Option<[String; 2]>,
}

/// The two heads, as far as they are known.
#[derive(Debug, Default)]
struct Heads {
    recorded: Option<Box<Head>>,
    live: Option<Box<Head>>,
}

impl Heads {
    /// What both sides were made with, in these orders.
    fn made(&self, schedules: &[String; 2]) -> [Option<RunIdentity>; 2] {
        let made = |head: &Option<Box<Head>>, schedule: &String| {
            let head = head.as_ref()?;
            Some(RunIdentity {
                id: head.id(),
                device: head.device.clone(),
                schedule: schedule.clone(),
            })
        };
        let [recorded, live] = schedules;
        [made(&self.recorded, recorded), made(&self.live, live)]
    }
}

/// The next thing that the recording has.
#[derive(Debug)]
enum RecordedStep {
    Start(Box<RunStart>),
    Exchange(Box<ExchangeRecord>),
    CacheDeclaration(Box<CacheDeclaration>),
    Padding(Padding),
    End(Box<RunEndRecord>),
    Nothing,
}

/// The divergence, and what is needed to see how the runs continue after it.
#[derive(Debug)]
struct Parted {
    divergence: Divergence,
    recorded: Option<Box<ExchangeRecord>>,
    live_since: u64,
}

/// The result of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayComparison {
    /// How many exchanges are equal.
    pub exchanges: u64,
    /// The first difference, if there is one.
    pub divergence: Option<Divergence>,
}

impl<I: Iterator<Item = Result<Record, JournalError>>> Comparer<I> {
    /// Makes a comparison with this recording.
    pub fn new(recorded: I) -> Self {
        Self {
            recorded,
            ahead: VecDeque::new(),
            over: false,
            error: None,
            heads: Heads::default(),
            recorded_names: Names::default(),
            live_names: Names::default(),
            run: String::new(),
            schedules: Default::default(),
            context: VecDeque::new(),
            context_limit: CONTEXT_DEFAULT,
            last_served: BTreeMap::new(),
            visits: Default::default(),
            open: Default::default(),
            compared: 0,
            found: None,
            journals: None,
        }
    }

    /// Says that the live side is a journal too, and what the recorded and the live one are called.
    pub fn with_journals(mut self, recorded: &str, live: &str) -> Self {
        self.journals = Some([recorded.to_owned(), live.to_owned()]);
        self
    }

    /// Keeps so many exchanges before a divergence.
    pub fn with_context(mut self, exchanges: usize) -> Self {
        self.context_limit = exchanges;
        self
    }

    /// Counts from this exchange on, where both sides begin in the middle.
    pub fn starting_at(mut self, exchange: u64) -> Self {
        self.compared = exchange;
        self
    }

    /// Tells the live side's head: the environments are compared if there is a divergence.
    pub fn head(&mut self, head: &Head) {
        self.heads.live = Some(Box::new(head.clone()));
    }

    /// Tells the text of a live path, before its first use.
    pub fn path(&mut self, id: u32, text: &str) {
        self.live_names.add_path(id, text);
    }

    /// Tells that a live run starts.
    pub fn start_run(&mut self, start: &RunStart) -> Option<&Divergence> {
        self.live_names.start_run(start);
        self.schedules[1].clone_from(&start.scheduler);
        if self.found.is_none() {
            match self.next_step() {
                RecordedStep::Start(recorded) => self.compare_starts(&recorded, start),
                RecordedStep::Nothing if self.error.is_some() => {}
                step => self.part_from(step, ends::start_side(start), None),
            }
        }
        self.divergence()
    }

    /// Tells what the live model passed.
    ///
    /// It is compared when something is exchanged after it, or the run ends: if mediators ask for
    /// something else than was recorded, the model is watched elsewhere, and that is no
    /// difference of its own.
    pub fn visit(&mut self, live: &Visit) {
        if self.found.is_none() {
            self.visits[1].add(live);
        }
    }

    /// Tells that a live mediator declares a cache; gives the divergence, if it is one.
    pub fn cache_declaration(&mut self, live: &CacheDeclaration) -> Option<&Divergence> {
        if self.found.is_none() {
            match self.next_step() {
                RecordedStep::CacheDeclaration(recorded) => self.compare_caches(&recorded, live),
                RecordedStep::Nothing if self.error.is_some() => {}
                step => {
                    let side = cache_side(live, &self.live_names);
                    self.part_from(step, side, None);
                }
            }
        }
        self.divergence()
    }

    /// Tells how the rows of the live run are padded; gives the divergence, if it is one.
    pub fn padding(&mut self, live: &Padding) -> Option<&Divergence> {
        if self.found.is_none() {
            match self.next_step() {
                RecordedStep::Padding(recorded) if recorded == *live => {}
                RecordedStep::Nothing if self.error.is_some() => {}
                step => self.part_from(step, DivergenceSide::Padding(live.clone()), None),
            }
        }
        self.divergence()
    }

    /// Tells a request that is open when the live run is over. It is compared when the run ends:
    /// how it ends says more.
    pub fn open_request(&mut self, live: &ExchangeRecord) {
        if self.found.is_none() {
            self.open[1].push(live.clone());
        }
    }

    /// Tells a live exchange; gives the divergence, from the exchange on at which it is.
    pub fn observe(&mut self, live: &ExchangeRecord) -> Option<&Divergence> {
        if self.found.is_some() {
            self.see_extra(live);
            return self.divergence();
        }
        match self.next_step() {
            RecordedStep::Exchange(recorded) => self.compare_exchanges(recorded, live),
            // The recording cannot be read further; `finish` says so.
            RecordedStep::Nothing if self.error.is_some() => {}
            step => {
                let side = DivergenceSide::Exchange(Box::new(self.live_names.line(live)));
                self.part_from(step, side, Some(live));
            }
        }
        self.divergence()
    }

    /// Tells that the live run ends; exchanges that were recorded and not made show here.
    pub fn end_run(&mut self, end: &RunEndRecord) -> Option<&Divergence> {
        if self.found.is_none() {
            match self.next_step() {
                RecordedStep::End(recorded) => self.compare_ends(&recorded, end),
                RecordedStep::Nothing if self.error.is_some() => {}
                step => self.part_from(step, ends::end_side(end), None),
            }
        }
        self.divergence()
    }

    /// Tells a live record, whichever it is.
    pub fn record(&mut self, record: &Record) -> Option<&Divergence> {
        match record {
            Record::Head(head) => self.head(head),
            Record::Path(path) => self.path(path.id, &path.text),
            Record::RunStart(start) => return self.start_run(start),
            Record::Exchange(exchange) => return self.observe(exchange),
            Record::Visit(visit) => self.visit(visit),
            Record::CacheDeclaration(cache) => return self.cache_declaration(cache),
            Record::Padding(record) => return self.padding(&record.padding),
            Record::Open(open) => self.open_request(open),
            Record::RunEnd(end) => return self.end_run(end),
            Record::Tensor(_)
            | Record::Footer(_)
            | Record::Note(_)
            | Record::Tick(_)
            | Record::Passage(_)
            | Record::Source(_) => {}
        }
        self.divergence()
    }

    /// Tells that nothing more happens; runs that were recorded and not made show here.
    ///
    /// # Errors
    /// The recording could not be read as far as the live side went, and is equal up to there.
    pub fn finish(self) -> Result<ReplayComparison, JournalError> {
        match self.conclude() {
            (comparison, Some(error)) if comparison.divergence.is_none() => Err(error),
            (comparison, _) => Ok(comparison),
        }
    }

    /// As [`finish`](Self::finish); what keeps the recording from being read is given beside what
    /// was found.
    pub(super) fn conclude(mut self) -> (ReplayComparison, Option<JournalError>) {
        self.end();
        self.so_far()
    }

    /// Tells that nothing more happens; what was recorded and not made is a divergence.
    pub fn end(&mut self) -> Option<&Divergence> {
        if self.found.is_none() && self.error.is_none() {
            match self.next_step() {
                RecordedStep::Nothing => {}
                step => self.part_from(step, DivergenceSide::Nothing, None),
            }
        }
        self.divergence()
    }

    /// What was found, if it is not known what else happens.
    pub(super) fn so_far(self) -> (ReplayComparison, Option<JournalError>) {
        let comparison = ReplayComparison {
            exchanges: self.compared,
            divergence: self.found.map(|parted| parted.divergence),
        };
        (comparison, self.error)
    }

    /// Returns the divergence, if there is one yet.
    pub fn divergence(&self) -> Option<&Divergence> {
        self.found.as_ref().map(|parted| &parted.divergence)
    }

    /// Returns the divergence, to have the bytes of its tensors compared.
    pub fn divergence_mut(&mut self) -> Option<&mut Divergence> {
        self.found.as_mut().map(|parted| &mut parted.divergence)
    }

    /// Returns how many exchanges are equal so far.
    pub fn exchanges(&self) -> u64 {
        self.compared
    }

    /// Compares the environments, as far as both heads are known.
    pub fn environment(&self) -> Vec<EnvironmentDifference> {
        match (&self.heads.recorded, &self.heads.live) {
            (Some(recorded), Some(live)) => environment::between(recorded, live),
            _ => Vec::new(),
        }
    }

    fn next_step(&mut self) -> RecordedStep {
        match self.ahead.pop_front() {
            Some(step) => step,
            None => self.pull(),
        }
    }

    fn pull(&mut self) -> RecordedStep {
        while !self.over {
            match self.recorded.next() {
                Some(Ok(Record::Head(head))) => self.heads.recorded = Some(head),
                Some(Ok(Record::Path(path))) => self.recorded_names.add_path(path.id, &path.text),
                Some(Ok(Record::RunStart(start))) => return RecordedStep::Start(Box::new(start)),
                Some(Ok(Record::Exchange(exchange))) => {
                    return RecordedStep::Exchange(Box::new(exchange));
                }
                Some(Ok(Record::RunEnd(end))) => return RecordedStep::End(Box::new(end)),
                Some(Ok(Record::CacheDeclaration(cache))) => {
                    return RecordedStep::CacheDeclaration(Box::new(cache));
                }
                Some(Ok(Record::Padding(record))) => return RecordedStep::Padding(record.padding),
                Some(Ok(Record::Visit(visit))) => self.visits[0].add(&visit),
                Some(Ok(Record::Open(open))) => self.open[0].push(open),
                // These follow from exchanges and visits, or are no evidence, and are not compared.
                Some(Ok(
                    Record::Tensor(_)
                    | Record::Footer(_)
                    | Record::Note(_)
                    | Record::Tick(_)
                    | Record::Passage(_)
                    | Record::Source(_),
                )) => {}
                Some(Err(error)) => {
                    self.error = Some(error);
                    self.over = true;
                }
                None => self.over = true,
            }
        }
        RecordedStep::Nothing
    }

    fn compare_starts(&mut self, recorded: &RunStart, live: &RunStart) {
        self.recorded_names.start_run(recorded);
        self.run.clone_from(&recorded.name);
        self.schedules[0].clone_from(&recorded.scheduler);
        self.context.clear();
        self.last_served.clear();
        self.visits = Default::default();
        self.open = Default::default();
        let differences = ends::between_starts(recorded, live);
        if !differences.is_empty() {
            let sides = (ends::start_side(recorded), ends::start_side(live));
            self.part(DivergenceClass::Protocol, self.compared, sides, differences);
        }
    }

    /// Compares how two runs end, and then what led there: the model's side, open requests, and
    /// what caches collected.
    fn compare_ends(&mut self, recorded: &RunEndRecord, live: &RunEndRecord) {
        let sides = || (ends::end_side(recorded), ends::end_side(live));
        let outcomes = ends::between_outcomes(&recorded.outcome, &live.outcome);
        if !outcomes.is_empty() {
            return self.part(DivergenceClass::Protocol, self.compared, sides(), outcomes);
        }
        let next = |_: &Self| {
            let (recorded, live) = sides();
            [recorded, live]
        };
        if !self.compare_visits(next) || !self.compare_open(next) {
            return;
        }
        let caches = ends::between_caches(recorded, live, &self.recorded_names);
        if !caches.is_empty() {
            self.part(DivergenceClass::Value, self.compared, sides(), caches);
        }
    }

    fn compare_exchanges(&mut self, recorded: Box<ExchangeRecord>, live: &ExchangeRecord) {
        let sides = (self.recorded_side(&recorded), self.live_side(live));
        match fields::compare(sides.0, sides.1) {
            None => {
                let next = |comparer: &Self| {
                    let recorded = comparer.recorded_names.line(&recorded);
                    let live = comparer.live_names.line(live);
                    [recorded, live].map(|line| DivergenceSide::Exchange(Box::new(line)))
                };
                if self.compare_visits(next) {
                    self.keep(*recorded);
                } else {
                    self.show_again(RecordedStep::Exchange(recorded));
                }
            }
            Some(found) => self.part_at(recorded, live, found),
        }
    }

    fn compare_caches(&mut self, recorded: &CacheDeclaration, live: &CacheDeclaration) {
        let sides = |comparer: &Self| {
            let recorded = cache_side(recorded, &comparer.recorded_names);
            [recorded, cache_side(live, &comparer.live_names)]
        };
        let names = (&self.recorded_names, &self.live_names);
        match fields::compare_caches((recorded, names.0), (live, names.1)) {
            None => drop(self.compare_visits(sides)),
            Some(found) => {
                let [recorded, live] = sides(self);
                let sides = (recorded, live);
                self.part(found.class, self.compared, sides, found.differences);
            }
        }
    }

    /// Compares what the model passed up to here, and returns whether it is the same. `next` is
    /// what comes then on both sides.
    fn compare_visits(&mut self, next: impl FnOnce(&Self) -> [DivergenceSide; 2]) -> bool {
        let [recorded, live] = &self.visits;
        let names = [&self.recorded_names, &self.live_names];
        let same = recorded.same_as(live, names);
        let pair = [recorded, live].map(|visits| visits.get(same));
        if pair == [None, None] {
            self.visits.iter_mut().for_each(Visits::clear);
            return true;
        }
        let (class, differences, tensors) = match pair {
            [Some(recorded), Some(live)] => recorded.differences(live, names),
            _ => (DivergenceClass::Schedule, Vec::new(), None),
        };
        let side = |place: usize, next| pair[place].map_or(next, |visit| visit.side(names[place]));
        let [recorded_next, live_next] = next(self);
        let sides = (side(0, recorded_next), side(1, live_next));
        let pass = pair[0].map_or(recorded.pass(), SeenVisit::pass);
        let source = match pair[0].and_then(SeenVisit::turn) {
            Some(_) => ValueSource::Loss,
            None => ValueSource::Model,
        };
        self.part(class, self.compared, sides, differences);
        if let Some(parted) = &mut self.found {
            parted.divergence.backward_pass = pass;
            parted.divergence.source = (class == DivergenceClass::Value).then_some(source);
            parted.divergence.tensors = tensors;
        }
        false
    }

    /// Compares the open requests of a run that ends, and returns whether they are the same.
    fn compare_open(&mut self, next: impl FnOnce(&Self) -> [DivergenceSide; 2]) -> bool {
        // Both lists are in definition order. A request that only one side has stands beside what
        // the other side has next.
        let [recorded, live] = std::mem::take(&mut self.open);
        let count = recorded.len().max(live.len());
        let differs = |place: &usize| match (recorded.get(*place), live.get(*place)) {
            (Some(recorded), Some(live)) => {
                let sides = (self.recorded_side(recorded), self.live_side(live));
                fields::compare(sides.0, sides.1).is_some()
            }
            _ => true,
        };
        let Some(place) = (0..count).find(differs) else {
            return true;
        };
        let pair = (recorded.get(place), live.get(place));
        let found = match pair {
            (Some(recorded), Some(live)) => {
                fields::compare(self.recorded_side(recorded), self.live_side(live))
            }
            _ => None,
        };
        let [recorded_next, live_next] = next(self);
        let side = |open: Option<&ExchangeRecord>, names: &Names, next| {
            open.map_or(next, |open| {
                DivergenceSide::Open(Box::new(names.line(open)))
            })
        };
        let sides = (
            side(pair.0, &self.recorded_names, recorded_next),
            side(pair.1, &self.live_names, live_next),
        );
        let (class, differences, tensors) = match found {
            Some(found) => (found.class, found.differences, found.tensors),
            None => (DivergenceClass::Protocol, Vec::new(), None),
        };
        self.part(class, self.compared, sides, differences);
        if let Some(parted) = &mut self.found {
            parted.divergence.tensors = tensors;
        }
        false
    }

    /// Shows a step of the recording again that was passed before the runs were found to diverge.
    fn show_again(&mut self, step: RecordedStep) {
        self.ahead.push_front(step);
        let following = self.following();
        if let Some(parted) = &mut self.found {
            parted.divergence.following = following;
        }
    }

    fn keep(&mut self, recorded: ExchangeRecord) {
        self.compared += 1;
        let served = recorded.result == ExchangeResult::Served && recorded.value.is_some();
        if recorded.event == Event::Value && served {
            self.last_served.insert(recorded.mediator, recorded.index);
        }
        if self.context_limit == 0 {
            return;
        }
        if self.context.len() == self.context_limit {
            self.context.pop_front();
        }
        self.context.push_back(recorded);
    }

    fn part_at(&mut self, recorded: Box<ExchangeRecord>, live: &ExchangeRecord, found: Found) {
        let recorded_line = self.recorded_names.line(&recorded);
        let live_line = self.live_names.line(live);
        let sides = (
            DivergenceSide::Exchange(Box::new(recorded_line)),
            DivergenceSide::Exchange(Box::new(live_line)),
        );
        self.part(found.class, recorded.index, sides, found.differences);
        let alignment = match found.class {
            DivergenceClass::Schedule | DivergenceClass::Protocol => self.missing_before(live),
            DivergenceClass::Value | DivergenceClass::Environment => None,
        };
        let source = (found.class == DivergenceClass::Value)
            .then(|| self.source(&recorded))
            .flatten();
        let Some(parted) = &mut self.found else {
            return;
        };
        let divergence = &mut parted.divergence;
        divergence.alignment = alignment;
        divergence.source = source;
        divergence.tensors = found.tensors;
        parted.recorded = Some(recorded);
    }

    /// The runs diverge where one of them has no exchange: it has something else, or nothing.
    fn part_from(
        &mut self,
        recorded: RecordedStep,
        live_side: DivergenceSide,
        live: Option<&ExchangeRecord>,
    ) {
        let mut index = live.map_or(self.compared, |live| live.index);
        let (class, differences) = self.between_paddings(&recorded, &live_side);
        let (mut kept, mut started) = (None, None);
        let recorded_side = match recorded {
            RecordedStep::Exchange(exchange) => {
                index = exchange.index;
                let line = self.recorded_names.line(&exchange);
                kept = Some(exchange);
                DivergenceSide::Exchange(Box::new(line))
            }
            RecordedStep::Start(start) => {
                let side = ends::start_side(&start);
                started = Some(start);
                side
            }
            RecordedStep::CacheDeclaration(cache) => cache_side(&cache, &self.recorded_names),
            RecordedStep::Padding(padding) => DivergenceSide::Padding(padding),
            RecordedStep::End(end) => ends::end_side(&end),
            RecordedStep::Nothing => DivergenceSide::Nothing,
        };
        self.part(class, index, (recorded_side, live_side), differences);
        // What follows is of the run that starts, and what came before of the one that ended.
        let following = started.map(|start| {
            self.recorded_names.start_run(&start);
            self.following()
        });
        if let Some(parted) = &mut self.found {
            parted.recorded = kept;
            if let Some(following) = following {
                parted.divergence.following = following;
            }
        }
    }

    /// How the batches differ, if a run has a padding here and the other one has another, or its
    /// model comes to a site without one.
    fn between_paddings(
        &self,
        recorded: &RecordedStep,
        live: &DivergenceSide,
    ) -> (DivergenceClass, Vec<FieldDifference>) {
        let recorded = match recorded {
            RecordedStep::Padding(padding) => Some(padding),
            _ => None,
        };
        let live = match live {
            DivergenceSide::Padding(padding) => Some(padding),
            _ => None,
        };
        let [recorded_visits, live_visits] = &self.visits;
        let is_known = |padding: Option<&Padding>, visits: &Visits| {
            padding.is_some() || visits.get(0).is_some()
        };
        let are_known = is_known(recorded, recorded_visits) && is_known(live, live_visits);
        if !are_known || recorded == live {
            return (DivergenceClass::Protocol, Vec::new());
        }
        let mut differences = Vec::new();
        let (recorded, live) = (Padding::describe(recorded), Padding::describe(live));
        fields::push(&mut differences, "padding", recorded, live);
        (DivergenceClass::Value, differences)
    }

    fn part(
        &mut self,
        class: DivergenceClass,
        index: u64,
        (recorded, live): (DivergenceSide, DivergenceSide),
        differences: Vec<FieldDifference>,
    ) {
        let shown = recorded.place().or_else(|| live.place());
        let (mediator, site) = shown.unwrap_or_default();
        let backward_pass = self.visits[0].pass();
        self.look_ahead();
        let context = self
            .context
            .iter()
            .map(|exchange| self.recorded_names.line(exchange));
        let environment = self.environment();
        let explained = environment.iter().any(EnvironmentDifference::makes_values);
        let divergence = Divergence {
            // A value that differs because its model or input does says nothing about the run.
            class: match class {
                DivergenceClass::Value if explained => DivergenceClass::Environment,
                class => class,
            },
            index,
            run: self.run.clone(),
            mediator,
            site,
            backward_pass,
            recorded,
            live,
            differences,
            context: context.collect(),
            following: self.following(),
            alignment: None,
            source: None,
            tensors: None,
            tensor: None,
            environment,
            made: self.heads.made(&self.schedules),
            journals: self.journals.clone(),
        };
        self.found = Some(Parted {
            divergence,
            recorded: None,
            live_since: 1,
        });
    }

    fn look_ahead(&mut self) {
        while self.ahead.len() < LOOK_AHEAD {
            match self.pull() {
                step @ RecordedStep::Exchange(_) => self.ahead.push_back(step),
                step => {
                    self.ahead.push_back(step);
                    return;
                }
            }
        }
    }

    fn exchanges_ahead(&self) -> impl Iterator<Item = &ExchangeRecord> {
        self.ahead.iter().map_while(|step| match step {
            RecordedStep::Exchange(exchange) => Some(&**exchange),
            RecordedStep::Start(_)
            | RecordedStep::CacheDeclaration(_)
            | RecordedStep::Padding(_)
            | RecordedStep::End(_)
            | RecordedStep::Nothing => None,
        })
    }

    fn following(&self) -> Vec<ExchangeLine> {
        let next = self.exchanges_ahead().take(FOLLOWING);
        next.map(|exchange| self.recorded_names.line(exchange))
            .collect()
    }

    /// Whether the recording has this exchange a little later.
    fn missing_before(&self, live: &ExchangeRecord) -> Option<Alignment> {
        let live = self.live_side(live);
        let later = self
            .exchanges_ahead()
            .position(|recorded| fields::belong(self.recorded_side(recorded), live))?;
        Some(Alignment::Missing(later as u64 + 1))
    }

    /// Whether this later live exchange is the one that was recorded where the runs diverged.
    fn see_extra(&mut self, live: &ExchangeRecord) {
        let Some(parted) = &self.found else {
            return;
        };
        let open = parted.divergence.alignment.is_none()
            && parted.live_since <= LOOK_AHEAD as u64
            && matches!(
                parted.divergence.class,
                DivergenceClass::Schedule | DivergenceClass::Protocol
            );
        let back = open
            && parted.recorded.as_ref().is_some_and(|recorded| {
                fields::belong(self.recorded_side(recorded), self.live_side(live))
            });
        if let Some(parted) = &mut self.found {
            if back {
                parted.divergence.alignment = Some(Alignment::Extra(parted.live_since));
            }
            parted.live_since += 1;
        }
    }

    fn source(&self, recorded: &ExchangeRecord) -> Option<ValueSource> {
        match recorded.event {
            Event::Value => Some(ValueSource::Model),
            Event::Swap | Event::Skip | Event::Backward => Some(ValueSource::Mediator {
                last_served: self.last_served.get(&recorded.mediator).copied(),
            }),
            _ => None,
        }
    }

    fn recorded_side<'a>(&'a self, exchange: &'a ExchangeRecord) -> Named<'a> {
        Named {
            exchange,
            names: &self.recorded_names,
        }
    }

    fn live_side<'a>(&'a self, exchange: &'a ExchangeRecord) -> Named<'a> {
        Named {
            exchange,
            names: &self.live_names,
        }
    }
}

fn cache_side(cache: &CacheDeclaration, names: &Names) -> DivergenceSide {
    DivergenceSide::CacheDeclaration {
        mediator: names.mediator(cache.mediator),
        number: cache.number,
        fault: cache.fault.clone(),
    }
}
