//! Races in a recorded run: what only the scheduler ordered, found without model and mediators.
//!
//! The engine's detector ([`Races`]) observes the recorded exchanges as if they were made now. Two
//! things are not in a journal and follow from what is:
//!
//! - a mediator arrives at a barrier right after its exchange before, and in the same turn; where
//!   the barrier never opened, the arrival is a request that is open at the run's end;
//! - mediators have different rows of a value if each of them was given, or gave, as much of it as
//!   it has rows, and not all that the model brought.

use std::collections::BTreeMap;
use std::sync::Arc;

use interloom_engine::explore::{Race, Races};
use interloom_engine::{
    AskedSite, Delivery, Exchange as Told, Fault, Invoke, Mediator, MediatorId, Message, Misfit,
    Moment, Observer as _, Origin, Outcome, Point, Port, RowLayout, Rows, Setup, Site, SiteMap,
    Step, Value,
};

use super::load::{Journal, RunRecord};
use super::record::{Event, ExchangeRecord, ExchangeResult, MediatorLine, SiteRef};
use super::value::{TensorLine, ValueTree};

/// The races of one recorded run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RunRaces {
    /// The run's number.
    pub run: u32,
    /// The run's name.
    pub name: String,
    /// What only the scheduler ordered, in the order in which it showed.
    pub races: Vec<Race>,
}

/// Returns the races of each run of a journal.
///
/// A race is a question, not an error: whether its other order changes anything is what
/// exploration ([`interloom_engine::explore`]) finds out.
pub fn races(journal: &Journal) -> Vec<RunRaces> {
    let points = Points::of(&journal.paths);
    let of_run = |run: &RunRecord| RunRaces {
        run: run.start.run,
        name: run.start.name.clone(),
        races: Replayed::of(run, &points).races(),
    };
    journal.runs.iter().map(of_run).collect()
}

/// The journal's paths as points of a model.
struct Points<'j> {
    paths: &'j [String],
    map: Arc<SiteMap>,
    /// By the number of the path; a name that is none of a site has no point.
    points: Vec<Option<Point>>,
}

impl<'j> Points<'j> {
    fn of(paths: &'j [String]) -> Self {
        let mut map = SiteMap::new();
        let mut point = |text: &String| {
            let value = text.strip_suffix(".grad");
            let (path, port) = value
                .unwrap_or(text)
                .rsplit_once('.')
                .unwrap_or(("", value.unwrap_or(text)));
            let Some(port) = Port::from_name(port) else {
                return value.map(|parameter| map.add_parameter(parameter));
            };
            let point = Point::new(map.add(path, &Port::FORWARD), port);
            if value.is_some() {
                point.gradient()
            } else {
                Some(point)
            }
        };
        let points = paths.iter().map(&mut point).collect();
        Self {
            paths,
            points,
            map: Arc::new(map),
        }
    }

    fn site(&self, site: SiteRef) -> Option<Site> {
        let point = self.points.get(site.path as usize).copied().flatten()?;
        Some(point.at(site.iteration))
    }

    /// Returns the name of the barrier or the shared value that an exchange is about.
    fn name(&self, exchange: &ExchangeRecord) -> Option<&str> {
        let asked = exchange.asked?;
        self.paths.get(asked.path as usize).map(String::as_str)
    }

    /// Returns what the mediator said; nothing if it is about a name that the journal does not
    /// have.
    fn message<'m>(
        &'m self,
        exchange: &ExchangeRecord,
        fault: &'m Fault,
    ) -> Option<Message<'m, PassingRecord>> {
        const VALUE: &PassingRecord = &PassingRecord { splits: false };
        let site = || {
            let asked = exchange.asked?;
            Some(match self.site(asked) {
                Some(site) => AskedSite::Known(site),
                None => AskedSite::Unknown(self.name(exchange)?),
            })
        };
        Some(match exchange.event {
            Event::Value => Message::Value { site: site()? },
            Event::Swap => Message::Swap {
                site: site()?,
                value: VALUE,
                reshape: exchange.reshape,
            },
            Event::Skip => Message::Skip {
                site: site()?,
                value: VALUE,
            },
            Event::Register => Message::Register {
                iteration: exchange.asked.map_or(0, |asked| asked.iteration),
                round: exchange.round,
            },
            Event::Barrier => Message::Barrier {
                name: self.name(exchange)?,
            },
            Event::Put => Message::Put {
                name: self.name(exchange)?,
                value: VALUE,
            },
            Event::Get => Message::Get {
                name: self.name(exchange)?,
            },
            Event::Backward => Message::Backward { loss: VALUE },
            Event::Stop => Message::Stop,
            Event::End => Message::End,
            Event::Exception => Message::Exception { fault },
        })
    }
}

/// A recorded run whose exchanges are shown to the detector again.
struct Replayed<'j> {
    run: &'j RunRecord,
    points: &'j Points<'j>,
    detector: Races,
    /// After which exchange, if any, a mediator arrives at a barrier, as the exchange in which it
    /// continues.
    arrivals: BTreeMap<Option<usize>, Vec<&'j ExchangeRecord>>,
    /// The sites at which mediators have rows of their own.
    split: BTreeMap<SiteRef, bool>,
}

impl<'j> Replayed<'j> {
    fn of(run: &'j RunRecord, points: &'j Points<'j>) -> Self {
        let mut setup: Setup<PassingRecord> = Setup::new(points.map.clone());
        for line in &run.start.mediators {
            let invoke = Invoke::new(&line.name, Absent);
            setup.invoke(match line.rows {
                Some((_, count)) => invoke.rows(count),
                None => invoke,
            });
        }
        for barrier in &run.start.declared.barriers {
            setup.barrier(&barrier.name, barrier.participants);
        }
        Self {
            run,
            points,
            detector: Races::unwatched(&setup),
            arrivals: arrivals(run),
            split: split(run),
        }
    }

    fn races(mut self) -> Vec<Race> {
        let mut here = None;
        // Before the model runs nothing races, but who was there already belongs to a barrier's
        // round.
        self.arrive_after(None, here);
        for (place, exchange) in self.run.exchanges.iter().enumerate() {
            if exchange.at != here {
                here = exchange.at;
                self.enter(here);
            }
            self.tell(exchange);
            self.arrive_after(Some(place), here);
        }
        self.detector.found()
    }

    /// The model is somewhere else now.
    fn enter(&mut self, here: Option<SiteRef>) {
        let Some(site) = here.and_then(|here| self.points.site(here)) else {
            return;
        };
        let splits = here.is_some_and(|here| self.split.get(&here) == Some(&true));
        let layout = &RowLayout::ByShape;
        self.detector.moment(&Moment::Enter {
            site,
            passed: &[],
            value: &PassingRecord { splits },
            batch: 0,
            layout,
        });
    }

    fn tell(&mut self, exchange: &ExchangeRecord) {
        if !is_named(self.run, exchange) {
            return;
        }
        let fault = exchange.fault.clone();
        let fault = fault.unwrap_or_else(|| Fault::raise("the record has no fault"));
        let Some(message) = self.points.message(exchange, &fault) else {
            return;
        };
        let at = exchange.at.and_then(|at| self.points.site(at));
        self.detector.exchange(&Told::<PassingRecord> {
            index: exchange.index,
            mediator: MediatorId(exchange.mediator),
            at,
            message,
            outcome: match exchange.result {
                ExchangeResult::Served => Outcome::Served(None),
                ExchangeResult::Refused | ExchangeResult::Open => Outcome::Refused(&fault),
            },
            origin: &origin(exchange),
        });
    }

    fn arrive_after(&mut self, place: Option<usize>, here: Option<SiteRef>) {
        for arriving in self.arrivals.remove(&place).unwrap_or_default() {
            self.arrive(arriving, here);
        }
    }

    fn arrive(&mut self, exchange: &ExchangeRecord, here: Option<SiteRef>) {
        let Some(barrier) = self.points.name(exchange) else {
            return;
        };
        let origin = origin(exchange);
        let arrival: Moment<'_, PassingRecord> = Moment::Arrive {
            mediator: MediatorId(exchange.mediator),
            barrier,
            at: here.and_then(|here| self.points.site(here)),
            origin: &origin,
        };
        self.detector.moment(&arrival);
    }
}

/// Children go by the name of their parent; other numbers are not those of a run of ours.
fn is_named(run: &RunRecord, exchange: &ExchangeRecord) -> bool {
    (exchange.mediator as usize) < run.start.mediators.len()
}

fn origin(exchange: &ExchangeRecord) -> Origin {
    match &exchange.origin {
        None => Origin::Unknown,
        Some(origin) => Origin::Program {
            file: origin.file.clone(),
            line: origin.line,
        },
    }
}

/// Returns the arrivals at barriers, by the exchange before of the mediator that arrives.
fn arrivals(run: &RunRecord) -> BTreeMap<Option<usize>, Vec<&ExchangeRecord>> {
    let mut arrivals: BTreeMap<Option<usize>, Vec<&ExchangeRecord>> = BTreeMap::new();
    let mut last = BTreeMap::new();
    for (place, exchange) in run.exchanges.iter().chain(&run.open).enumerate() {
        let before = last.insert(exchange.mediator, place);
        let arrived =
            exchange.event == Event::Barrier && exchange.result != ExchangeResult::Refused;
        if arrived && is_named(run, exchange) {
            arrivals.entry(before).or_default().push(exchange);
        }
    }
    arrivals
}

/// Returns for each site whether mediators have different rows of what passes there.
fn split(run: &RunRecord) -> BTreeMap<SiteRef, bool> {
    let brought = brought(run);
    let rows = run.start.mediators.iter().filter_map(|line| line.rows);
    let batch = rows.map(|(first, count)| u64::from(first) + u64::from(count));
    let batch = batch.max().unwrap_or(0);
    let mut split = BTreeMap::new();
    for exchange in &run.exchanges {
        let line = run.start.mediators.get(exchange.mediator as usize);
        let rows = line.and_then(|line: &MediatorLine| line.rows);
        if let (Some(at), Some((_, count)), Some(value)) = (exchange.at, rows, &exchange.value)
            && exchange.result == ExchangeResult::Served
            && matches!(exchange.event, Event::Value | Event::Swap)
        {
            let whole = brought
                .get(&at)
                .copied()
                .filter(|_| u64::from(count) != batch);
            *split.entry(at).or_insert(true) &= is_of_rows(value, whole, u64::from(count));
        }
    }
    split
}

/// Returns what the model brought to each site at which something was served.
fn brought(run: &RunRecord) -> BTreeMap<SiteRef, &ValueTree> {
    let visits = run.visits.iter();
    let brought = visits.filter_map(|(_, visit)| Some((visit.site()?, visit.value()?)));
    brought.collect()
}

/// Returns whether all tensors of a value have so many rows, and are not the whole ones that the
/// model brought.
fn is_of_rows(value: &ValueTree, whole: Option<&ValueTree>, count: u64) -> bool {
    let same_place = |place: usize| match whole {
        Some(ValueTree::Tuple(items) | ValueTree::List(items)) => items.get(place),
        Some(ValueTree::Map(entries)) => entries.get(place).map(|(_, item)| item),
        _ => None,
    };
    match value {
        ValueTree::Leaf(TensorLine { shape, .. }) => {
            let whole = match whole {
                Some(ValueTree::Leaf(whole)) => whole.shape.first(),
                _ => None,
            };
            shape.first() == Some(&count) && whole != Some(&count)
        }
        ValueTree::Tuple(items) | ValueTree::List(items) => {
            let mut items = items.iter().enumerate();
            items.all(|(place, item)| is_of_rows(item, same_place(place), count))
        }
        ValueTree::Map(entries) => {
            let mut entries = entries.iter().enumerate();
            entries.all(|(place, (_, item))| is_of_rows(item, same_place(place), count))
        }
        _ => true,
    }
}

/// A value of which nothing is known but whether it has rows.
#[derive(Clone)]
struct PassingRecord {
    splits: bool,
}

impl Value for PassingRecord {
    fn rows(&self, _: Rows, _: u32, _: &RowLayout) -> Self {
        self.clone()
    }

    fn splice(&self, _: Rows, _: u32, _: &RowLayout, _: Self) -> Result<Self, Misfit> {
        Ok(self.clone())
    }

    fn fits(&self, _: &Self) -> Result<(), Misfit> {
        Ok(())
    }

    fn join(parts: Vec<Self>) -> Result<Self, Misfit> {
        let splits = parts.iter().all(|part| part.splits);
        Ok(Self { splits })
    }

    fn splits(&self, _: u32, _: &RowLayout) -> bool {
        self.splits
    }
}

/// A mediator that was there when the run was recorded.
struct Absent;

impl Mediator<PassingRecord> for Absent {
    fn resume(self: Box<Self>, _: Delivery<PassingRecord>) -> Step<PassingRecord> {
        Step::End
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BarrierLine, RunStart};
    use crate::{DType, Digest, samples};

    /// A journal in which two mediators ask for one site in turn, so often and in so many
    /// iterations.
    fn journal(times: u64, iterations: u32) -> Journal {
        let exchanges = (0..times).map(|index| {
            let iteration = (index * u64::from(iterations) / times) as u32;
            let site = Some(SiteRef { path: 0, iteration });
            ExchangeRecord {
                mediator: (index % 2) as u32,
                asked: site,
                at: site,
                ..samples::exchange(0, index, Event::Swap)
            }
        });
        journal_of(samples::run_start(0), exchanges.collect())
    }

    #[test]
    fn two_that_change_one_gradient_race_there() {
        let site = |path| Some(SiteRef { path, iteration: 3 });
        let said = |index: u64, path, event| ExchangeRecord {
            mediator: (index % 2) as u32,
            asked: site(path).filter(|_| event != Event::Backward),
            at: site(path),
            ..samples::exchange(0, index, event)
        };
        let lines = [
            (0, Event::Backward),
            (0, Event::Backward),
            // One scales it, and the other one clips it.
            (2, Event::Swap),
            (2, Event::Swap),
            // Who only reads it does not race with who only reads it.
            (3, Event::Value),
            (3, Event::Value),
            // So it is with a parameter.
            (4, Event::Value),
            (4, Event::Swap),
        ];
        let exchanges = (0..).zip(lines);
        let exchanges = exchanges.map(|(index, (path, event))| said(index, path, event));
        let mut journal = journal_of(samples::run_start(0), exchanges.collect());
        let gradients = [
            "layers.1.output.grad",
            "layers.0.output.grad",
            "layers.0.weight.grad",
        ];
        journal.paths.extend(gradients.map(str::to_owned));
        let found = &races(&journal)[0].races;
        let shown: Vec<_> = found.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(shown.join("\n"), @r"
        `read` and `steer` race at `layers.1.output.grad.i3` for the same rows: SWAP (an unknown line), then SWAP (an unknown line)
        `read` and `steer` race at `layers.0.weight.grad.i3` for the same rows: VALUE (an unknown line), then SWAP (an unknown line)
        ");
    }

    /// A journal with one run.
    fn journal_of(start: RunStart, exchanges: Vec<ExchangeRecord>) -> Journal {
        let mut journal = Journal::with_head(samples::head());
        journal.paths = vec!["layers.0.output".to_owned(), "meet".to_owned()];
        journal.runs.push(RunRecord {
            start,
            exchanges,
            visits: Vec::new(),
            open: Vec::new(),
            cache_declarations: Vec::new(),
            padding: None,
            passage: None,
            end: None,
        });
        journal
    }

    #[test]
    fn what_is_done_over_and_over_races_once_at_each_site() {
        // Were each compared with all before it, this would take hours.
        for (times, iterations) in [(200_000, 1), (200_000, 20_000)] {
            let found = races(&journal(times, iterations));
            assert_eq!(found[0].races.len(), iterations as usize);
        }
        let [few, many] = [4, 400].map(|times| races(&journal(times, 1)));
        assert_eq!(few, many);
    }

    /// A run of two mediators with a row each.
    fn start_with_rows() -> RunStart {
        let mut start = samples::run_start(0);
        for (line, first) in start.mediators.iter_mut().zip(0..) {
            line.rows = Some((first, 1));
        }
        start
    }

    fn tensor(shape: &[u64]) -> ValueTree {
        ValueTree::Leaf(TensorLine {
            dtype: DType::F32,
            shape: shape.to_vec(),
            digest: Digest::ZERO,
        })
    }

    /// Whether two mediators with a row each race for a value of which each was given one part, if
    /// the model brought a whole.
    fn races_for(part: ValueTree, whole: Option<ValueTree>) -> bool {
        let site = Some(SiteRef {
            path: 0,
            iteration: 1,
        });
        let line = |index: u64, event| ExchangeRecord {
            mediator: index as u32,
            asked: site,
            at: site,
            value: Some(part.clone()),
            ..samples::exchange(0, index, event)
        };
        let exchanges = vec![line(0, Event::Swap), line(1, Event::Swap)];
        let mut journal = journal_of(start_with_rows(), exchanges);
        if let Some(whole) = whole {
            let visit = samples::visit(0, &[0], Some((1, whole)));
            journal.runs[0].visits = vec![(0, visit)];
        }
        !races(&journal)[0].races.is_empty()
    }

    #[test]
    fn mediators_with_rows_of_their_own_do_not_race_for_what_the_model_brought_for_both() {
        let list =
            |items: &[&[u64]]| ValueTree::List(items.iter().map(|item| tensor(item)).collect());
        let one = || tensor(&[1, 8]);
        let cases = [
            // Each was given its row of two.
            (one(), Some(tensor(&[2, 8])), false),
            // Both were given the whole, which is as long as a row is.
            (one(), Some(one()), true),
            // Nothing is known of the whole, or it has another structure since it was changed.
            (one(), None, false),
            (one(), Some(ValueTree::Unit), false),
            (list(&[&[1], &[1, 3]]), Some(list(&[&[2], &[2, 3]])), false),
            (list(&[&[1], &[1, 3]]), Some(list(&[&[2], &[1, 3]])), true),
            (list(&[&[1], &[5, 3]]), Some(list(&[&[2], &[5, 3]])), true),
        ];
        for (part, whole, expected) in cases {
            let text = format!("{part} of {whole:?}");
            assert_eq!(races_for(part, whole), expected, "{text}");
        }
    }

    #[test]
    fn who_waits_at_a_barrier_that_never_opened_has_arrived() {
        let site = Some(SiteRef {
            path: 0,
            iteration: 0,
        });
        let meet = Some(SiteRef {
            path: 1,
            iteration: 0,
        });
        let mut start = samples::run_start(0);
        let third = MediatorLine {
            name: "third".into(),
            rows: None,
            optional: false,
        };
        start.mediators.push(third);
        start.declared.barriers = vec![BarrierLine {
            name: "meet".into(),
            participants: 2,
        }];
        let read = |index: u64| ExchangeRecord {
            mediator: index as u32,
            asked: site,
            at: site,
            ..samples::exchange(0, index, Event::Value)
        };
        let arrival = |index: u64, mediator, result| ExchangeRecord {
            mediator,
            asked: meet,
            at: site.filter(|_| result == ExchangeResult::Served),
            result,
            ..samples::exchange(0, index, Event::Barrier)
        };
        let served = ExchangeResult::Served;
        let exchanges = vec![
            read(0),
            read(1),
            arrival(2, 0, served),
            arrival(3, 1, served),
            ExchangeRecord {
                index: 4,
                ..read(2)
            },
        ];
        let mut journal = journal_of(start, exchanges);
        assert_eq!(races(&journal)[0].races, []);
        // The third comes to the next round, and in another order would have met one of the others.
        journal.runs[0].open = vec![arrival(5, 2, ExchangeResult::Open)];
        let found = &races(&journal)[0].races;
        let shown: Vec<_> = found.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(shown.join("\n"), @"
        `read` and `third` race at `layers.0.output.i0` for a place at barrier `meet`: BARRIER (an unknown line), then BARRIER (an unknown line)
        `steer` and `third` race at `layers.0.output.i0` for a place at barrier `meet`: BARRIER (an unknown line), then BARRIER (an unknown line)
        ");
    }
}
