//! Making one run again and again, in every order that can make a difference.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::course::{Course, Passed, Reduction};
use super::footprint::Access;
use super::verdict::{Class, Verdict};
use crate::mediator::MediatorId;
use crate::observer::{Exchange, Moment, Observer};
use crate::scheduler::{Recording, RunFingerprint, Schedule, ScheduleError, Scheduler, recording};
use crate::setup::Setup;
use crate::site::Site;
use crate::value::Value;

/// The runs that an exploration makes at most, by default.
const BUDGET: u64 = 10_000;

/// Explores the orders in which the mediators of a run can have their turns.
///
/// It is given a closure that makes one run: everything anew, with the scheduler of the
/// [`Attempt`], and returns what the run showed, in whatever form can be compared. A run that fails
/// has an outcome like any other.
///
/// ```
/// use std::sync::Arc;
/// use interloom_engine::{array::Array, mediator, Attempt, Cx, Explorer, Flow, Invoke, Port, RunError, Setup, SiteMap};
///
/// let mut map = SiteMap::new();
/// map.add("layer", &[Port::Output]);
/// let map = Arc::new(map);
/// let point = map.point("layer.output").unwrap();
/// let run = |attempt: &Attempt| {
///     let mut setup = Setup::new(map.clone());
///     for (name, factor) in [("double", 2.0), ("triple", 3.0)] {
///         let (program, _) = mediator(map.clone(), move |cx: Cx<Array>| async move {
///             let x = cx.output("layer").await?;
///             cx.set_output("layer", x.map(|x| x * factor)).await
///         });
///         setup.invoke(Invoke::new(name, program));
///     }
///     attempt.attach(&mut setup);
///     let mut run = setup.start()?;
///     run.passes(point);
///     let Flow::Continue(x) = run.provide(point, Array::scalar(7.0)) else { unreachable!() };
///     run.finish().result?;
///     Ok::<u64, RunError>(x.data()[0].to_bits())
/// };
/// let verdict = Explorer::new().explore(run)?;
/// assert_eq!(verdict.to_string(), "order-independent: 2 schedules cover all");
/// # Ok::<(), RunError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Explorer {
    budget: u64,
    reduction: Reduction,
    ends_at_difference: bool,
}

/// The progress of an exploration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ExplorationProgress {
    /// The runs that were made.
    pub runs: u64,
    /// The outcomes that they had.
    pub outcomes: usize,
}

impl Default for Explorer {
    fn default() -> Self {
        Self {
            budget: BUDGET,
            reduction: Reduction::Commuting,
            ends_at_difference: false,
        }
    }
}

impl Explorer {
    /// Explores up to 10,000 runs, without those that only differ in the order of turns that
    /// commute.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes at most `runs` runs, and at least one.
    pub const fn budget(mut self, runs: u64) -> Self {
        self.budget = runs;
        self
    }

    /// Chooses which orders are tried.
    pub const fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// Ends with the first run that has another outcome than the first one.
    pub const fn ends_at_difference(mut self) -> Self {
        self.ends_at_difference = true;
        self
    }

    /// Explores.
    ///
    /// # Errors
    ///
    /// What the closure returns, and [`ScheduleError::Unsteady`] or [`ScheduleError::NotAttached`]
    /// if what it does cannot be explored.
    pub fn explore<O: Ord + Clone, E: From<ScheduleError>>(
        &self,
        run: impl FnMut(&Attempt) -> Result<O, E>,
    ) -> Result<Verdict<O>, E> {
        self.explore_while(run, |_| true)
    }

    /// Explores for as long as `goes_on`, which is asked after each run, says so.
    ///
    /// The engine has no clock; who has one can end an exploration here.
    ///
    /// # Errors
    ///
    /// As [`explore`](Self::explore).
    pub fn explore_while<O: Ord + Clone, E: From<ScheduleError>>(
        &self,
        mut run: impl FnMut(&Attempt) -> Result<O, E>,
        mut goes_on: impl FnMut(&ExplorationProgress) -> bool,
    ) -> Result<Verdict<O>, E> {
        let course = Rc::new(RefCell::new(Course::new(self.reduction)));
        let attempt = Attempt(Seat::Explored(course.clone()));
        let mut tally = Tally::default();
        let is_complete = loop {
            let outcome = run(&attempt)?;
            let passed = course.borrow_mut().end()?;
            tally.add(outcome, passed);
            if !course.borrow_mut().next() {
                break true;
            }
            let is_over = self.ends_at_difference && tally.classes.len() > 1;
            if is_over || tally.runs >= self.budget || !goes_on(&tally.progress()) {
                break false;
            }
        };
        let course = course.borrow();
        Ok(Verdict {
            classes: tally.classes,
            runs: tally.runs,
            redundant: tally.redundant,
            pruned: course.pruned(),
            // The one that would have come next is chosen already.
            pending: course.pending() + u64::from(!is_complete),
            is_complete,
        })
    }

    /// Makes as many runs as the budget has, each with the scheduler that `scheduler` makes of its
    /// number.
    ///
    /// For programmes that are too large to be explored: `|seed| Shuffle::new(seed)`, or PCT. What
    /// it finds is a difference all the same; that it finds none proves nothing.
    ///
    /// # Errors
    ///
    /// As [`explore`](Self::explore).
    pub fn sample<O: Ord + Clone, E: From<ScheduleError>, S: Scheduler + 'static>(
        &self,
        scheduler: impl FnMut(u64) -> S,
        run: impl FnMut(&Attempt) -> Result<O, E>,
    ) -> Result<Verdict<O>, E> {
        self.sample_while(scheduler, run, |_| true)
    }

    /// Samples for as long as `goes_on`, which is asked after each run, says so.
    ///
    /// # Errors
    ///
    /// As [`explore`](Self::explore).
    pub fn sample_while<O: Ord + Clone, E: From<ScheduleError>, S: Scheduler + 'static>(
        &self,
        mut scheduler: impl FnMut(u64) -> S,
        mut run: impl FnMut(&Attempt) -> Result<O, E>,
        mut goes_on: impl FnMut(&ExplorationProgress) -> bool,
    ) -> Result<Verdict<O>, E> {
        let mut tally = Tally::default();
        for number in 0..self.budget.max(1) {
            let (outcome, schedule) = make(scheduler(number), &mut run)?;
            let is_redundant = false;
            tally.add(
                outcome,
                Passed {
                    schedule,
                    is_redundant,
                },
            );
            let is_over = self.ends_at_difference && tally.classes.len() > 1;
            if is_over || !goes_on(&tally.progress()) {
                break;
            }
        }
        // A sample is never known to have every order, so it can show a difference and prove none.
        Ok(Verdict {
            classes: tally.classes,
            runs: tally.runs,
            redundant: 0,
            pruned: 0,
            pending: 0,
            is_complete: false,
        })
    }
}

/// Makes one run with a scheduler, and returns its outcome and what was chosen.
///
/// # Errors
///
/// What the closure returns, and [`ScheduleError::NotAttached`].
pub fn make<O, E: From<ScheduleError>>(
    scheduler: impl Scheduler + 'static,
    run: &mut impl FnMut(&Attempt) -> Result<O, E>,
) -> Result<(O, Schedule), E> {
    let (scheduler, recording) = recording(scheduler);
    let attempt = Attempt(Seat::Given {
        scheduler: RefCell::new(Some(Box::new(scheduler))),
        recording,
    });
    let outcome = run(&attempt)?;
    match &attempt.0 {
        Seat::Given {
            scheduler,
            recording,
        } if scheduler.borrow().is_none() => Ok((outcome, recording.schedule())),
        _ => Err(ScheduleError::NotAttached.into()),
    }
}

/// One run of an exploration: what gives it its scheduler.
pub struct Attempt(Seat);

enum Seat {
    Explored(Rc<RefCell<Course>>),
    Given {
        scheduler: RefCell<Option<Box<dyn Scheduler>>>,
        recording: Recording,
    },
}

impl Attempt {
    /// Gives the run its scheduler, and watches what its mediators touch.
    ///
    /// Called once for each run, when all mediators and barriers have been added and no scheduler
    /// is set after it.
    pub fn attach<V: Value>(&self, setup: &mut Setup<V>) {
        match &self.0 {
            Seat::Explored(course) => {
                course.borrow_mut().attach(setup);
                setup.scheduler(Steered(course.clone()));
                if course.borrow().is_watching() {
                    setup.observer(Steered(course.clone()));
                }
            }
            Seat::Given { scheduler, .. } => {
                if let Some(scheduler) = scheduler.take() {
                    setup.scheduler(scheduler);
                }
            }
        }
    }

    /// Returns how many turns, from the first on, this run has in common with the one before it,
    /// whatever they touch.
    ///
    /// None are known if the scheduler was given. What the model does before the next turn need not
    /// be computed again.
    pub fn shared_turns(&self) -> u64 {
        match &self.0 {
            Seat::Explored(course) => course.borrow().shared(),
            Seat::Given { .. } => 0,
        }
    }
}

/// The two ends of an exploration in a run: its choices, and what they led to.
struct Steered(Rc<RefCell<Course>>);

impl Scheduler for Steered {
    fn choose(&mut self, site: Site, ready: &[MediatorId]) -> Result<usize, ScheduleError> {
        self.0.borrow_mut().choose(site, ready)
    }

    fn describe(&self) -> String {
        "explored".to_owned()
    }

    fn begin(&mut self, programme: &RunFingerprint<'_>) -> Result<(), ScheduleError> {
        self.0.borrow_mut().begin(|| programme.digest());
        Ok(())
    }
}

impl<V: Value> Observer<V> for Steered {
    fn exchange(&mut self, exchange: &Exchange<'_, V>) {
        if exchange.at.is_some() {
            let course = &mut *self.0.borrow_mut();
            let access = course.ground.access(exchange);
            course.touch(exchange.mediator, access);
        }
    }

    fn moment(&mut self, moment: &Moment<'_, V>) {
        let course = &mut *self.0.borrow_mut();
        match *moment {
            Moment::Enter { .. } => {
                course.ground.enter(moment);
                course.enter();
            }
            Moment::Arrive {
                mediator, barrier, ..
            } => {
                let access = course.ground.arrival(barrier).map(Access::Arrive);
                course.touch(mediator, access);
                if course.ground.has_circles && access.is_some() {
                    course.touch(mediator, Some(Access::Gather));
                }
            }
            Moment::Leave { failed, .. } => course.leave(failed),
            Moment::Begin
            | Moment::Padded { .. }
            | Moment::CacheDeclared { .. }
            | Moment::Cached { .. }
            | Moment::BeginBackward { .. }
            | Moment::EndBackward { .. }
            | Moment::Finish { .. }
            | Moment::Open { .. } => {}
        }
    }
}

/// The outcomes so far.
struct Tally<O> {
    classes: Vec<Class<O>>,
    places: BTreeMap<O, usize>,
    runs: u64,
    redundant: u64,
}

impl<O> Default for Tally<O> {
    fn default() -> Self {
        Self {
            classes: Vec::new(),
            places: BTreeMap::new(),
            runs: 0,
            redundant: 0,
        }
    }
}

impl<O: Ord + Clone> Tally<O> {
    fn add(&mut self, outcome: O, passed: Passed) {
        self.runs += 1;
        self.redundant += u64::from(passed.is_redundant);
        match self.places.get(&outcome) {
            Some(&place) => self.classes[place].runs += 1,
            None => {
                self.places.insert(outcome.clone(), self.classes.len());
                self.classes.push(Class {
                    outcome,
                    witness: passed.schedule,
                    runs: 1,
                });
            }
        }
    }

    fn progress(&self) -> ExplorationProgress {
        ExplorationProgress {
            runs: self.runs,
            outcomes: self.classes.len(),
        }
    }
}
