//! The one change of order between two schedules that flips what a run of an experiment file shows.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use interloom::explore::ExploredOutcome;
use interloom_backends::Value;
use interloom_engine::explore::{Made, Party, Race, Races, Swap, bisect_schedules};
use interloom_engine::scheduler::{Recorded, scheduler};
use interloom_engine::{Attempt, Event, Exchange, Granularity, MediatorId, Origin, Schedule, Site};
use interloom_journal::Policy;

use super::error::ExperimentError;
use super::plan::RunPlan;
use super::{FileExperiment, Opened};
use crate::Progress;

/// Two schedules of one run with different outcomes, as near to one another as was found.
#[derive(Clone, Debug)]
pub struct Flip {
    /// The run's name.
    pub run: String,
    /// The one with the outcome of the first schedule.
    pub before: FlipSide,
    /// The one with another outcome.
    pub after: FlipSide,
    /// The two turns that change places; `None` if more than one change is between the two.
    pub turns: Option<Turns>,
    /// How many runs were made to find them.
    pub runs: u64,
}

/// One of the two.
#[derive(Clone, Debug)]
pub struct FlipSide {
    /// The order.
    pub schedule: Schedule,
    /// What it leads to.
    pub outcome: ExploredOutcome,
    /// What it shows, line by line: what each line is about, and what it says.
    pub shown: Vec<(String, String)>,
}

/// Two turns that change places.
#[derive(Clone, Debug, PartialEq)]
pub struct Turns {
    /// The site at which both are.
    pub site: String,
    /// The mediator whose turn comes first before the change.
    pub earlier: String,
    /// The mediator whose turn comes first after the change.
    pub later: String,
    /// What they race for, with the numbers of the two exchanges in the run before the change.
    pub race: Option<(Race, [Option<u64>; 2])>,
}

impl FileExperiment {
    /// Finds, between two schedules of a run, the one change of order that makes the difference;
    /// `None` if they make none.
    ///
    /// `run` names the run, unless the file has only one; schedules are written as
    /// [`Schedules`](super::Schedules) has them. The runs before it are made in definition
    /// order.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), and [`ExperimentError::Session`] if a schedule is for another run.
    pub fn bisect(
        &self,
        run: Option<&str>,
        schedules: [&str; 2],
        granularity: Granularity,
        progress: &mut dyn Progress,
    ) -> Result<Option<Flip>, ExperimentError> {
        let [first, second] = schedules;
        // Before a model is loaded.
        let schedulers = (scheduler(first)?, scheduler(second)?);
        let wanted = self.run_to_bisect(run)?;
        let opened = self.open_model(Policy::Digest, progress)?;
        let mut givens = opened.prepared.givens().clone();
        let index = opened.reach(&wanted, &mut givens)?;
        progress.begin(&format!("bisecting {wanted}"), 2);
        let bench = Bench {
            opened: &opened,
            index,
            givens: &givens,
            granularity,
            shown: RefCell::default(),
        };
        let found = bisect_schedules(schedulers.0, schedulers.1, |attempt| {
            progress.step();
            bench.make(attempt)
        })?;
        let Some(parted) = found else {
            return Ok(None);
        };
        let turns = parted.swap.map(|swap| bench.turns(&parted.before, swap));
        Ok(Some(Flip {
            run: wanted,
            turns: turns.transpose()?,
            before: bench.side(parted.before),
            after: bench.side(parted.after),
            runs: parted.runs,
        }))
    }

    /// The name of the run: the one that is named, or the only one.
    fn run_to_bisect(&self, run: Option<&str>) -> Result<String, ExperimentError> {
        let plan = self.plan()?;
        let names = || plan.runs.iter().map(|run| run.name.as_str());
        let at = plan.source.spot(0);
        match (run, &plan.runs[..]) {
            (None, [only]) => Ok(only.name.clone()),
            (Some(name), _) if names().any(|other| other == name) => Ok(name.to_owned()),
            (Some(name), _) => Err(ExperimentError::unknown(at, "run to bisect", name, names())),
            (None, _) => Err(ExperimentError::Conflict {
                at,
                what: "there are several runs, and schedules are of one".to_owned(),
                instead: format!(
                    "write RUN=SCHEDULE, with one of {}",
                    names().collect::<Vec<_>>().join(", ")
                ),
            }),
        }
    }
}

impl Opened {
    /// Makes the runs before the named one, and adds what they save to what it is given.
    fn reach(
        &self,
        run: &str,
        givens: &mut BTreeMap<String, Value>,
    ) -> Result<usize, ExperimentError> {
        let prepared = &self.prepared;
        let runs = prepared.runs().iter();
        let index = runs.take_while(|plan| plan.name != run).count();
        for plan in &prepared.runs()[..index] {
            prepared.pass(plan, givens)?;
        }
        Ok(index)
    }
}

/// One run, to be made in many orders.
struct Bench<'a> {
    opened: &'a Opened,
    index: usize,
    givens: &'a BTreeMap<String, Value>,
    granularity: Granularity,
    /// What each outcome shows.
    shown: RefCell<BTreeMap<ExploredOutcome, Vec<(String, String)>>>,
}

impl Bench<'_> {
    fn plan(&self) -> &RunPlan {
        &self.opened.prepared.runs()[self.index]
    }

    fn make(&self, attempt: &Attempt) -> Result<ExploredOutcome, ExperimentError> {
        let prepared = &self.opened.prepared;
        let (mut run, results) = prepared.stage(self.plan(), self.givens)?;
        run.setup_mut().granularity(self.granularity);
        attempt.attach(run.setup_mut());
        let tried = prepared.shown_by(self.index, run, results)?;
        let mut shown = self.shown.borrow_mut();
        let of_outcome = shown.entry(tried.outcome.clone());
        of_outcome.or_insert_with(|| tried.report.lines());
        Ok(tried.outcome)
    }

    fn side(&self, made: Made<ExploredOutcome>) -> FlipSide {
        let shown = self.shown.borrow().get(&made.outcome).cloned();
        FlipSide {
            schedule: made.schedule,
            outcome: made.outcome,
            shown: shown.unwrap_or_default(),
        }
    }

    /// Makes the run once more, and watches what the two mediators race for.
    fn turns(&self, made: &Made<ExploredOutcome>, swap: Swap) -> Result<Turns, ExperimentError> {
        let (prepared, plan) = (&self.opened.prepared, self.plan());
        let (mut run, _) = prepared.stage(plan, self.givens)?;
        let site = run.sites().map().site_name(swap.site);
        run.setup_mut().granularity(self.granularity);
        let races = Races::of(run.setup_mut());
        let log = Rc::new(RefCell::new(Vec::new()));
        let into = log.clone();
        run.observer(move |exchange: &Exchange<'_, Value>| {
            into.borrow_mut().push(Seen::of(exchange))
        });
        run.scheduler(Recorded::new(made.schedule.clone()));
        // How it ends is known.
        drop(run.execute(|| prepared.output(plan)));
        let name = |id: MediatorId| match plan.invokes.get(id.0 as usize) {
            Some(invoke) => invoke.name.clone(),
            None => format!("mediator {}", id.0),
        };
        let (earlier, later) = (name(swap.earlier), name(swap.later));
        let is_theirs = |race: &Race| {
            race.site == site && race.first.mediator == earlier && race.second.mediator == later
        };
        let race = races.found().into_iter().find(is_theirs);
        let log = log.borrow();
        let number = |party: &Party, id| {
            let seen = log.iter().position(|seen: &Seen| {
                seen.at == Some(swap.site)
                    && seen.mediator == id
                    && seen.event == party.event
                    && seen.origin == party.origin
            });
            seen.map(|at| at as u64)
        };
        let race = race.map(|race| {
            let numbers = [
                number(&race.first, swap.earlier),
                number(&race.second, swap.later),
            ];
            (race, numbers)
        });
        Ok(Turns {
            site,
            earlier,
            later,
            race,
        })
    }
}

/// An exchange of a run, to be found again.
struct Seen {
    at: Option<Site>,
    mediator: MediatorId,
    event: Event,
    origin: Origin,
}

impl Seen {
    fn of(exchange: &Exchange<'_, Value>) -> Self {
        Self {
            at: exchange.at,
            mediator: exchange.mediator,
            event: exchange.event(),
            origin: exchange.origin.clone(),
        }
    }
}
