//! Comparing a live run with a recording, exchange by exchange.

use std::collections::{BTreeMap, VecDeque};

use super::ends;
use super::environment::{self, EnvironmentDifference};
use super::fields::{self, Found, Named};
use super::{Alignment, Class, Divergence, FieldDifference, Line, Made, Side, ValueSource};
use crate::journal::{
    Event, Exchange, ExchangeResult, Head, JournalError, Names, Record, RunEnd, RunStart,
};

/// How many exchanges before a divergence are kept, unless told otherwise.
pub const CONTEXT_DEFAULT: usize = 4;

/// How far ahead the recording is searched for what this run does instead.
pub(super) const LOOK_AHEAD: usize = 8;

/// How many of the recording's next exchanges a report has.
const FOLLOWING: usize = 2;

/// Compares the records of a live run with those of a recording, in constant memory.
///
/// The recording is any iterator over records:
/// [`JournalReader::records`](crate::journal::JournalReader::records) or
/// [`Journal::records`](crate::journal::Journal::records). The live side is told in the order in
/// which it happens, as methods or as whole records.
#[derive(Debug)]
pub struct Comparer<I> {
    recorded: I,
    ahead: VecDeque<Step>,
    over: bool,
    error: Option<JournalError>,
    heads: Heads,
    recorded_names: Names,
    live_names: Names,
    run: String,
    /// The order of the mediators in the run, on both sides.
    schedules: [String; 2],
    context: VecDeque<Exchange>,
    context_limit: usize,
    last_served: BTreeMap<u32, u64>,
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
    fn made(&self, schedules: &[String; 2]) -> [Option<Made>; 2] {
        let made = |head: &Option<Box<Head>>, schedule: &String| {
            let head = head.as_ref()?;
            Some(Made {
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
enum Step {
    Start(Box<RunStart>),
    Exchange(Box<Exchange>),
    End(Box<RunEnd>),
    Nothing,
}

/// The divergence, and what is needed to see how the runs go on after it.
#[derive(Debug)]
struct Parted {
    divergence: Divergence,
    recorded: Option<Box<Exchange>>,
    live_since: u64,
}

/// What a comparison came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// How many exchanges are equal.
    pub exchanges: u64,
    /// The first difference, if there is one.
    pub divergence: Option<Divergence>,
}

impl<I: Iterator<Item = Result<Record, JournalError>>> Comparer<I> {
    /// A comparison with this recording.
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
                Step::Start(recorded) => self.compare_starts(&recorded, start),
                Step::Nothing if self.error.is_some() => {}
                step => self.part_from(step, ends::start_side(start), None),
            }
        }
        self.divergence()
    }

    /// Tells a live exchange; gives the divergence, from the exchange on at which it is.
    pub fn observe(&mut self, live: &Exchange) -> Option<&Divergence> {
        if self.found.is_some() {
            self.see_extra(live);
            return self.divergence();
        }
        match self.next_step() {
            Step::Exchange(recorded) => self.compare_exchanges(recorded, live),
            // The recording cannot be read further; `finish` says so.
            Step::Nothing if self.error.is_some() => {}
            step => {
                let side = Side::Exchange(Box::new(self.live_names.line(live)));
                self.part_from(step, side, Some(live));
            }
        }
        self.divergence()
    }

    /// Tells that the live run ends; exchanges that were recorded and not made show here.
    pub fn end_run(&mut self, end: &RunEnd) -> Option<&Divergence> {
        if self.found.is_none() {
            match self.next_step() {
                Step::End(recorded) => self.compare_ends(&recorded, end),
                Step::Nothing if self.error.is_some() => {}
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
            Record::RunEnd(end) => return self.end_run(end),
            Record::Tensor(_)
            | Record::Footer(_)
            | Record::Note(_)
            | Record::Tick(_)
            | Record::Passage(_) => {}
        }
        self.divergence()
    }

    /// Tells that nothing more happens; runs that were recorded and not made show here.
    ///
    /// # Errors
    /// The recording could not be read as far as the live side went, and is equal up to there.
    pub fn finish(self) -> Result<Comparison, JournalError> {
        match self.conclude() {
            (comparison, Some(error)) if comparison.divergence.is_none() => Err(error),
            (comparison, _) => Ok(comparison),
        }
    }

    /// As [`finish`](Self::finish); what keeps the recording from being read is given beside what was found.
    pub(super) fn conclude(mut self) -> (Comparison, Option<JournalError>) {
        if self.found.is_none() && self.error.is_none() {
            match self.next_step() {
                Step::Nothing => {}
                step => self.part_from(step, Side::Nothing, None),
            }
        }
        self.so_far()
    }

    /// What was found, if it is not known what else happens.
    pub(super) fn so_far(self) -> (Comparison, Option<JournalError>) {
        let comparison = Comparison {
            exchanges: self.compared,
            divergence: self.found.map(|parted| parted.divergence),
        };
        (comparison, self.error)
    }

    /// The divergence, if there is one yet.
    pub fn divergence(&self) -> Option<&Divergence> {
        self.found.as_ref().map(|parted| &parted.divergence)
    }

    /// The divergence, to have the bytes of its tensors compared.
    pub fn divergence_mut(&mut self) -> Option<&mut Divergence> {
        self.found.as_mut().map(|parted| &mut parted.divergence)
    }

    /// How many exchanges are equal so far.
    pub fn exchanges(&self) -> u64 {
        self.compared
    }

    /// How the environments differ, as far as both heads are known.
    pub fn environment(&self) -> Vec<EnvironmentDifference> {
        match (&self.heads.recorded, &self.heads.live) {
            (Some(recorded), Some(live)) => environment::between(recorded, live),
            _ => Vec::new(),
        }
    }

    fn next_step(&mut self) -> Step {
        match self.ahead.pop_front() {
            Some(step) => step,
            None => self.pull(),
        }
    }

    fn pull(&mut self) -> Step {
        while !self.over {
            match self.recorded.next() {
                Some(Ok(Record::Head(head))) => self.heads.recorded = Some(head),
                Some(Ok(Record::Path(path))) => self.recorded_names.add_path(path.id, &path.text),
                Some(Ok(Record::RunStart(start))) => return Step::Start(Box::new(start)),
                Some(Ok(Record::Exchange(exchange))) => return Step::Exchange(Box::new(exchange)),
                Some(Ok(Record::RunEnd(end))) => return Step::End(Box::new(end)),
                Some(Ok(
                    Record::Tensor(_)
                    | Record::Footer(_)
                    | Record::Note(_)
                    | Record::Tick(_)
                    | Record::Passage(_),
                )) => {}
                Some(Err(error)) => {
                    self.error = Some(error);
                    self.over = true;
                }
                None => self.over = true,
            }
        }
        Step::Nothing
    }

    fn compare_starts(&mut self, recorded: &RunStart, live: &RunStart) {
        self.recorded_names.start_run(recorded);
        self.run.clone_from(&recorded.name);
        self.schedules[0].clone_from(&recorded.scheduler);
        self.context.clear();
        self.last_served.clear();
        let differences = ends::between_starts(recorded, live);
        if !differences.is_empty() {
            let sides = (ends::start_side(recorded), ends::start_side(live));
            self.part(Class::Protocol, self.compared, sides, differences);
        }
    }

    fn compare_ends(&mut self, recorded: &RunEnd, live: &RunEnd) {
        let [before, now] =
            [&self.heads.recorded, &self.heads.live].map(|head| fields::is_worded(head.as_deref()));
        let mut differences = ends::between_ends(recorded, live, before == now);
        let class = if differences.is_empty() {
            Class::Value
        } else {
            Class::Protocol
        };
        differences.extend(ends::between_caches(recorded, live, &self.recorded_names));
        if !differences.is_empty() {
            let sides = (ends::end_side(recorded), ends::end_side(live));
            self.part(class, self.compared, sides, differences);
        }
    }

    fn compare_exchanges(&mut self, recorded: Box<Exchange>, live: &Exchange) {
        let sides = (self.recorded_side(&recorded), self.live_side(live));
        match fields::compare(sides.0, sides.1) {
            None => self.keep(*recorded),
            Some(found) => self.part_at(recorded, live, found),
        }
    }

    fn keep(&mut self, recorded: Exchange) {
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

    fn part_at(&mut self, recorded: Box<Exchange>, live: &Exchange, found: Found) {
        let recorded_line = self.recorded_names.line(&recorded);
        let live_line = self.live_names.line(live);
        let sides = (
            Side::Exchange(Box::new(recorded_line)),
            Side::Exchange(Box::new(live_line)),
        );
        self.part(found.class, recorded.index, sides, found.differences);
        let alignment = match found.class {
            Class::Schedule | Class::Protocol => self.missing_before(live),
            Class::Value | Class::Environment => None,
        };
        let source = (found.class == Class::Value)
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

    /// The runs part where one of them has no exchange: it has something else, or nothing.
    fn part_from(&mut self, recorded: Step, live_side: Side, live: Option<&Exchange>) {
        let mut index = live.map_or(self.compared, |live| live.index);
        let (mut kept, mut started) = (None, None);
        let recorded_side = match recorded {
            Step::Exchange(exchange) => {
                index = exchange.index;
                let line = self.recorded_names.line(&exchange);
                kept = Some(exchange);
                Side::Exchange(Box::new(line))
            }
            Step::Start(start) => {
                let side = ends::start_side(&start);
                started = Some(start);
                side
            }
            Step::End(end) => ends::end_side(&end),
            Step::Nothing => Side::Nothing,
        };
        self.part(
            Class::Protocol,
            index,
            (recorded_side, live_side),
            Vec::new(),
        );
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

    fn part(
        &mut self,
        class: Class,
        index: u64,
        (recorded, live): (Side, Side),
        differences: Vec<FieldDifference>,
    ) {
        let shown = match (&recorded, &live) {
            (Side::Exchange(line), _) | (_, Side::Exchange(line)) => Some(line),
            _ => None,
        };
        let mediator = shown.map(|line| line.mediator.clone());
        let site = shown.and_then(|line| line.asked.clone().or(line.at.clone()));
        self.look_ahead();
        let context = self
            .context
            .iter()
            .map(|exchange| self.recorded_names.line(exchange));
        let environment = self.environment();
        let explained = environment.iter().any(EnvironmentDifference::makes_values);
        let divergence = Divergence {
            class: match class {
                Class::Value if explained => Class::Environment,
                class => class,
            },
            index,
            run: self.run.clone(),
            mediator,
            site,
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
                step @ Step::Exchange(_) => self.ahead.push_back(step),
                step => {
                    self.ahead.push_back(step);
                    return;
                }
            }
        }
    }

    fn exchanges_ahead(&self) -> impl Iterator<Item = &Exchange> {
        self.ahead.iter().map_while(|step| match step {
            Step::Exchange(exchange) => Some(&**exchange),
            Step::Start(_) | Step::End(_) | Step::Nothing => None,
        })
    }

    fn following(&self) -> Vec<Line> {
        let next = self.exchanges_ahead().take(FOLLOWING);
        next.map(|exchange| self.recorded_names.line(exchange))
            .collect()
    }

    /// Whether the recording has this exchange a little later.
    fn missing_before(&self, live: &Exchange) -> Option<Alignment> {
        let live = self.live_side(live);
        let later = self
            .exchanges_ahead()
            .position(|recorded| fields::belong(self.recorded_side(recorded), live))?;
        Some(Alignment::Missing(later as u64 + 1))
    }

    /// Whether this later live exchange is the one that was recorded where the runs parted.
    fn see_extra(&mut self, live: &Exchange) {
        let Some(parted) = &self.found else {
            return;
        };
        let open = parted.divergence.alignment.is_none()
            && parted.live_since <= LOOK_AHEAD as u64
            && matches!(parted.divergence.class, Class::Schedule | Class::Protocol);
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

    fn source(&self, recorded: &Exchange) -> Option<ValueSource> {
        match recorded.event {
            Event::Value => Some(ValueSource::Model),
            Event::Swap | Event::Skip => Some(ValueSource::Mediator {
                last_served: self.last_served.get(&recorded.mediator).copied(),
            }),
            _ => None,
        }
    }

    fn recorded_side<'a>(&'a self, exchange: &'a Exchange) -> Named<'a> {
        Named {
            exchange,
            names: &self.recorded_names,
            head: self.heads.recorded.as_deref(),
        }
    }

    fn live_side<'a>(&'a self, exchange: &'a Exchange) -> Named<'a> {
        Named {
            exchange,
            names: &self.live_names,
            head: self.heads.live.as_deref(),
        }
    }
}
