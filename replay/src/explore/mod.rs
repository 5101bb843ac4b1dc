//! Does what a run on a model shows depend on the order in which its mediators had their turns?
//!
//! The engine's [`Explorer`] makes the run again in every order that can make a difference; here it is given burn models,
//! and what a run showed is compared by content: what was saved, the model's output, and how the run ended. A failure and
//! a barrier that never opened are outcomes like any other.
//!
//! [`Exploration`] explores runs of your own code, [`explore()`] each run of an experiment file, and
//! [`FileExperiment::explore`] more of it; there it can also be asked whether an invoke's values depend on which invokes
//! share its batch (rule R52), which [`company`](crate::company) asks of runs of your own code. [`FileExperiment::shrink`]
//! makes of each difference the smallest experiment that shows it, [`Exploration::shrink`] of a schedule the smallest.
//!
//! ```
//! use burn::tensor::Device;
//! use interloom::explore::Exploration;
//! use interloom::prelude::*;
//! use interloom_backends::models::induction::Sampler;
//!
//! let device = Device::flex();
//! let model = Induction::trained(&device);
//! let batch = Sampler::new(7).batch(2);
//! let found = Exploration::new().explore(
//!     |trial| {
//!         let mut run = Run::new("two", model.sites());
//!         for (name, factor) in [("double", 2.0), ("raise", 1.0)] {
//!             run.mediator(name, move |cx| async move {
//!                 let h = cx.output("layers.0").await?;
//!                 cx.set_output("layers.0", if factor == 1.0 { h + 1.0 } else { h * factor }).await
//!             });
//!         }
//!         trial.run(run, || model.forward(batch.tokens(&device)), |output, shown| {
//!             if let Some(logits) = output {
//!                 shown.add("logits", logits.clone());
//!             }
//!         })
//!     },
//!     |_| true,
//! )?;
//! assert_eq!(found.verdict.to_string(), "order-dependent: 2 outcomes of 2 schedules, which cover all");
//! assert_eq!(found.races[0].site, "layers.0.output.i0");
//! # Ok::<(), interloom::Error>(())
//! ```

mod company;
mod orders;
mod outcome;

#[cfg(test)]
mod tests;

use std::cell::RefCell;

use interloom_backends::{Effort, Run, Shared};
use interloom_engine::explore::{Progress, Race, Races, Shrunk, Verdict, shrink_schedule};
use interloom_engine::{Attempt, Explorer, Granularity, RunError, Schedule, ScheduleError};

use crate::error::Error;
use crate::experiment::FileExperiment;

pub use crate::experiment::{Extent, FileFindings, MateFindings, RunFindings, Shrunken};
pub use company::Mismatch;
pub(crate) use company::{Company, alone_and_in_company};
pub use orders::Orders;
pub use outcome::{Outcome, Shown};

pub(crate) use outcome::{end_of_failure, took_place};

/// Explores each run of an experiment file, in at most `budget` runs of each; see [`FileExperiment::explore`] for more.
///
/// ```
/// use interloom::experiment::FileExperiment;
/// use interloom::explore::explore;
///
/// let text = r#"
/// model = "induction"
///
/// [[input]]
/// name = "a"
/// tokens = [5, 3, 8]
///
/// [[run]]
/// name = "both"
/// input = "a"
///
/// [[run.invoke]]
/// name = "scale"
/// program = 'layers.0 *= 2'
///
/// [[run.invoke]]
/// name = "look"
/// program = 'save h = layers.0'
/// "#;
/// let found = explore(&FileExperiment::new("both.toml", text), 100)?;
/// assert!(found.is_order_dependent());
/// let verdict = &found.runs[0].verdict;
/// assert_eq!(verdict.to_string(), "order-dependent: 2 outcomes of 2 schedules, which cover all");
/// # Ok::<(), interloom::Error>(())
/// ```
///
/// # Errors
///
/// As [`FileExperiment::explore`].
pub fn explore(experiment: &FileExperiment, budget: u64) -> Result<FileFindings, Error> {
    let exploration = Exploration::new().runs(budget);
    experiment.explore(&exploration, None, false, &mut (), &mut |_| true)
}

/// How a run is explored.
#[derive(Clone, Debug)]
pub struct Exploration {
    runs: u64,
    orders: Orders,
    granularity: Granularity,
    is_stateless: bool,
}

/// What an exploration has found.
#[derive(Clone, Debug)]
pub struct Findings {
    /// What only the scheduler orders, as the first run showed it.
    pub races: Vec<Race>,
    /// The outcomes, the first of them that of definition order.
    pub verdict: Verdict<Outcome>,
    /// How many calls of modules were computed and how many known, if the model is [stateless](Exploration::stateless).
    pub effort: Effort,
}

impl Default for Exploration {
    fn default() -> Self {
        Self {
            runs: Self::RUNS,
            orders: Orders::All,
            granularity: Granularity::Site,
            is_stateless: false,
        }
    }
}

impl Exploration {
    /// The runs that are made at most, unless another number is given.
    pub const RUNS: u64 = 1000;

    /// Explores up to [`RUNS`](Self::RUNS) runs, in all orders of turns at sites that can make a difference.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes at most `runs` runs, and at least one.
    pub const fn runs(mut self, runs: u64) -> Self {
        self.runs = runs;
        self
    }

    /// Chooses which orders are tried.
    pub const fn orders(mut self, orders: Orders) -> Self {
        self.orders = orders;
        self
    }

    /// Chooses how long a turn lasts.
    pub const fn granularity(mut self, granularity: Granularity) -> Self {
        self.granularity = granularity;
        self
    }

    /// Says that the model is a function of its input, and each run gives it the same: what a run has in common with the
    /// one before it is not computed again, up to the first turn that is another.
    ///
    /// A module that keeps something between its calls (keys and values of the tokens before, a random state) must not be
    /// left out. A single forward pass of the models that come with Interloom is stateless, a generation is not. Only
    /// [all orders](Orders::All) share; of others it is not known before a run where they differ.
    pub const fn stateless(mut self) -> Self {
        self.is_stateless = true;
        self
    }

    /// Returns how many runs are made at most.
    pub const fn budget(&self) -> u64 {
        self.runs
    }

    /// Returns how long a turn lasts.
    pub const fn turns(&self) -> Granularity {
        self.granularity
    }

    /// Makes a run again and again; the first time its mediators are in definition order.
    ///
    /// `run` makes everything anew, hands the run to [`Trial::run`], or to [`Trial::attach`] and executes it itself. After
    /// each run `goes_on` is told how far it has come, and can end the exploration: there is no clock in here.
    ///
    /// # Errors
    ///
    /// What `run` returns, and [`Error::Forward`] with a [`ScheduleError`] (`E126`, `E127`) if what it does cannot be
    /// explored.
    pub fn explore(
        &self,
        mut run: impl FnMut(&Trial<'_>) -> Result<Outcome, Error>,
        goes_on: impl FnMut(&Progress) -> bool,
    ) -> Result<Findings, Error> {
        let watch = RefCell::new(Watch::Waiting);
        let shared = Shared::new();
        let run = |attempt: &Attempt| {
            run(&Trial {
                attempt,
                granularity: self.granularity,
                watch: &watch,
                shared: (self.is_stateless && self.orders == Orders::All).then_some(&shared),
            })
        };
        let explorer = Explorer::new().budget(self.runs);
        let verdict = match self.orders {
            Orders::All => explorer.explore_while(run, goes_on)?,
            Orders::Random { seed } => explorer.sample_while(orders::random(seed), run, goes_on)?,
            Orders::Pct { depth } => explorer.sample_while(orders::pct(depth), run, goes_on)?,
        };
        let races = match watch.into_inner() {
            Watch::Waiting => Vec::new(),
            Watch::Watching(races) => races.found(),
        };
        Ok(Findings {
            races,
            verdict,
            effort: shared.effort(),
        })
    }

    /// Makes of a schedule one with as few choices as can be that are not definition order, and still an outcome that is
    /// `wanted`; nothing if not even the schedule itself leads to one.
    ///
    /// At most as many runs are made as [`runs`](Self::runs) says.
    ///
    /// # Errors
    ///
    /// As [`explore`](Self::explore).
    pub fn shrink(
        &self,
        schedule: &Schedule,
        mut run: impl FnMut(&Trial<'_>) -> Result<Outcome, Error>,
        wanted: impl FnMut(&Outcome) -> bool,
    ) -> Result<Option<Shrunk<Outcome>>, Error> {
        let watch = RefCell::new(Watch::Waiting);
        let run = |attempt: &Attempt| {
            run(&Trial {
                attempt,
                granularity: self.granularity,
                watch: &watch,
                // The orders that are tried need not have a beginning in common.
                shared: None,
            })
        };
        shrink_schedule(schedule, self.runs, run, wanted)
    }
}

/// Who looks for races.
enum Watch {
    /// Nobody yet.
    Waiting,
    Watching(Races),
}

/// One run of an exploration: what gives it its order.
pub struct Trial<'a> {
    attempt: &'a Attempt,
    granularity: Granularity,
    watch: &'a RefCell<Watch>,
    shared: Option<&'a Shared>,
}

impl Trial<'_> {
    /// Gives the run its order; called once, when all its mediators and barriers have been added.
    pub fn attach(&self, run: &mut Run) {
        let setup = run.setup_mut();
        setup.granularity(self.granularity);
        let mut watch = self.watch.borrow_mut();
        if let Watch::Waiting = *watch {
            *watch = Watch::Watching(Races::of(setup));
        }
        self.attempt.attach(setup);
        if let Some(shared) = self.shared {
            run.share(shared, self.attempt.shared_turns());
        }
    }

    /// Attaches the run and executes it, and returns its outcome.
    ///
    /// `show` adds what the run showed beside its end: results of mediators, and the model's output, which is missing if
    /// the run failed or was stopped.
    ///
    /// # Errors
    ///
    /// As [`Outcome::of`].
    pub fn run<Y>(
        &self,
        mut run: Run,
        model: impl FnOnce() -> Y,
        show: impl FnOnce(Option<&Y>, &mut Shown),
    ) -> Result<Outcome, Error> {
        self.attach(&mut run);
        Outcome::of(&run.execute(model), show)
    }
}

impl From<ScheduleError> for Error {
    fn from(error: ScheduleError) -> Self {
        Self::Forward(RunError::from(error).into())
    }
}
