//! Races in a recorded run: what only the scheduler ordered, found without model and mediators.
//!
//! The engine's detector ([`Races`]) is told of the recorded exchanges as if they were made now. Three things are not in a
//! journal and follow from what is:
//!
//! - a mediator arrives at a barrier right after its exchange before, and in the same turn;
//! - mediators have different rows of a value if all that they were given, or gave, of it is as long as their rows;
//! - who arrived at a barrier that never opened is not known, so that there is no race for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use interloom_engine::explore::{Race, Races};
use interloom_engine::{
    Asked, Delivery, Exchange as Told, Fault, Invoke, Mediator, MediatorId, Misfit, Moment,
    Observer as _, Origin, Outcome, Point, Port, RowLayout, Rows, Setup, Site, SiteMap, Step,
    Value,
};

use super::load::{Journal, Run};
use super::record::{Event, Exchange, ExchangeResult, MediatorLine, SiteRef};
use super::value::ValueTree;

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
/// [`explore`](crate::explore) finds out.
pub fn races(journal: &Journal) -> Vec<RunRaces> {
    let points = Points::of(&journal.paths);
    let of_run = |run: &Run| RunRaces {
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
            let (path, port) = text.rsplit_once('.').unwrap_or(("", text));
            let port = Port::from_name(port)?;
            Some(Point::new(map.add(path, &Port::ALL), port))
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

    fn asked(&self, exchange: &Exchange) -> Option<Asked<'_>> {
        let asked = exchange.asked?;
        let name = self.paths.get(asked.path as usize)?;
        Some(match exchange.event {
            Event::Value | Event::Swap | Event::Skip => match self.site(asked) {
                Some(site) => Asked::Site(site),
                None => Asked::Unknown(name),
            },
            Event::Register => Asked::Iteration(asked.iteration),
            _ => Asked::Name(name),
        })
    }
}

/// A recorded run that is told of again.
struct Replayed<'j> {
    run: &'j Run,
    points: &'j Points<'j>,
    detector: Races,
    /// After which exchange, if any, a mediator arrives at a barrier, as the exchange in which it goes on.
    arrivals: BTreeMap<Option<usize>, Vec<&'j Exchange>>,
    /// The sites at which mediators have rows of their own.
    split: BTreeMap<SiteRef, bool>,
}

impl<'j> Replayed<'j> {
    fn of(run: &'j Run, points: &'j Points<'j>) -> Self {
        let mut setup: Setup<Passing> = Setup::new(points.map.clone());
        for line in &run.start.mediators {
            let invoke = Invoke::new(&line.name, Absent);
            setup.invoke(match line.rows {
                Some((_, count)) => invoke.rows(count),
                None => invoke,
            });
        }
        for barrier in run.start.declared.iter().flat_map(|all| &all.barriers) {
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
        // Before the model runs nothing races, but who was there already belongs to a barrier's round.
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
            value: &Passing { splits },
            batch: 0,
            layout,
        });
    }

    fn tell(&mut self, exchange: &Exchange) {
        if !is_named(self.run, exchange) {
            return;
        }
        let asked = self.points.asked(exchange);
        if matches!(exchange.event, Event::Put | Event::Get) && asked.is_none() {
            return;
        }
        let at = exchange.at.and_then(|at| self.points.site(at));
        let fault = Fault::raise("recorded");
        self.detector.exchange(&Told::<Passing> {
            index: exchange.index,
            mediator: MediatorId(exchange.mediator),
            event: live(exchange.event),
            asked,
            at,
            outcome: match exchange.result {
                ExchangeResult::Served => Outcome::Served(None),
                ExchangeResult::Refused => Outcome::Refused(&fault),
            },
            origin: &origin(exchange),
        });
    }

    fn arrive_after(&mut self, place: Option<usize>, here: Option<SiteRef>) {
        for arriving in self.arrivals.remove(&place).unwrap_or_default() {
            self.arrive(arriving, here);
        }
    }

    fn arrive(&mut self, exchange: &Exchange, here: Option<SiteRef>) {
        let Some(Asked::Name(barrier)) = self.points.asked(exchange) else {
            return;
        };
        let origin = origin(exchange);
        let arrival: Moment<'_, Passing> = Moment::Arrive {
            mediator: MediatorId(exchange.mediator),
            barrier,
            at: here.and_then(|here| self.points.site(here)),
            origin: &origin,
        };
        self.detector.moment(&arrival);
    }
}

/// Children go by the name of their parent; other numbers are not those of a run of ours.
fn is_named(run: &Run, exchange: &Exchange) -> bool {
    (exchange.mediator as usize) < run.start.mediators.len()
}

fn live(event: Event) -> interloom_engine::Event {
    let live = interloom_engine::Event::ALL.into_iter();
    let mut live = live.filter(|live| *live as u8 == event.code());
    live.next().expect("the engine's numbers are the journal's")
}

fn origin(exchange: &Exchange) -> Origin {
    match &exchange.origin {
        None => Origin::Unknown,
        Some(origin) => Origin::Program {
            file: origin.file.as_str().into(),
            line: origin.line,
        },
    }
}

fn arrivals(run: &Run) -> BTreeMap<Option<usize>, Vec<&Exchange>> {
    let mut arrivals: BTreeMap<Option<usize>, Vec<&Exchange>> = BTreeMap::new();
    let mut last = BTreeMap::new();
    for (place, exchange) in run.exchanges.iter().enumerate() {
        let before = last.insert(exchange.mediator, place);
        let went_on = exchange.event == Event::Barrier && exchange.result == ExchangeResult::Served;
        if went_on && is_named(run, exchange) {
            arrivals.entry(before).or_default().push(exchange);
        }
    }
    arrivals
}

/// Returns for each site whether all values that mediators with rows had there are as long as their rows.
fn split(run: &Run) -> BTreeMap<SiteRef, bool> {
    let mut split = BTreeMap::new();
    for exchange in &run.exchanges {
        let line = run.start.mediators.get(exchange.mediator as usize);
        let rows = line.and_then(|line: &MediatorLine| line.rows);
        if let (Some(at), Some((_, count)), Some(value)) = (exchange.at, rows, &exchange.value)
            && matches!(exchange.event, Event::Value | Event::Swap)
        {
            *split.entry(at).or_insert(true) &= is_of_rows(value, u64::from(count));
        }
    }
    split
}

fn is_of_rows(value: &ValueTree, count: u64) -> bool {
    match value {
        ValueTree::Tensor { shape, .. } => shape.first() == Some(&count),
        ValueTree::Tuple(items) | ValueTree::List(items) => {
            items.iter().all(|item| is_of_rows(item, count))
        }
        ValueTree::Map(entries) => entries.iter().all(|(_, item)| is_of_rows(item, count)),
        _ => true,
    }
}

/// A value of which nothing is known but whether its rows can be told apart.
#[derive(Clone)]
struct Passing {
    splits: bool,
}

impl Value for Passing {
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

impl Mediator<Passing> for Absent {
    fn resume(self: Box<Self>, _: Delivery<Passing>) -> Step<Passing> {
        Step::End
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::samples;

    /// A journal in which two mediators ask for one site in turn, so often and in so many iterations.
    fn journal(times: u64, iterations: u32) -> Journal {
        let mut journal = Journal::with_head(samples::head());
        journal.paths = vec!["layers.0.output".to_owned()];
        let exchanges = (0..times).map(|index| {
            let iteration = (index * u64::from(iterations) / times) as u32;
            let site = Some(SiteRef { path: 0, iteration });
            Exchange {
                mediator: (index % 2) as u32,
                asked: site,
                at: site,
                ..samples::exchange(0, index, Event::Swap)
            }
        });
        journal.runs.push(Run {
            start: samples::run_start(0),
            exchanges: exchanges.collect(),
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
}
