//! Does what a run on a model shows depend on the order in which its mediators had their turns?
//!
//! The engine's [`Explorer`] makes the run again in every order that can make a difference; here it
//! is given burn models, and what a run showed is compared by content: what was saved, the model's
//! output, and how the run ended. A failure and a barrier that never opened are outcomes like any
//! other.
//!
//! [`Exploration`] explores runs of your own code, and [`Exploration::shrink`] makes of a schedule
//! the smallest with the same outcome. `interloom explore` does so with the runs of experiment
//! files.
//!
//! ```
//! use burn::tensor::Device;
//! use interloom::explore::Exploration;
//! use interloom::prelude::*;
//! use interloom_models::induction::Sampler;
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

mod orders;
mod outcome;

#[cfg(test)]
mod tests;

use std::cell::RefCell;

use interloom_backends::{PrefixCache, ReuseStats, Run};
use interloom_engine::explore::{
    ExplorationProgress, Race, Races, Shrunk, Verdict, shrink_schedule,
};
use interloom_engine::{Attempt, Explorer, Granularity, RunError, Schedule, ScheduleError};

use crate::error::Error;

pub use orders::Orders;
pub(crate) use outcome::digest_of;
pub use outcome::{ExploredOutcome, Shown, end_of_failure, took_place};

/// The settings of an exploration.
#[derive(Clone, Debug)]
pub struct Exploration {
    runs: u64,
    orders: Orders,
    granularity: Granularity,
    is_stateless: bool,
}

/// The findings of an exploration.
#[derive(Clone, Debug)]
pub struct Findings {
    /// What only the scheduler orders, as the first run showed it.
    pub races: Vec<Race>,
    /// The outcomes, the first of them that of definition order.
    pub verdict: Verdict<ExploredOutcome>,
    /// How many calls of modules were computed and how many known, if the model is
    /// [stateless](Exploration::stateless).
    pub effort: ReuseStats,
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

    /// Explores up to [`RUNS`](Self::RUNS) runs, in all orders of turns at sites that can make a
    /// difference.
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

    /// Says that the model is a function of its input, and each run gives it the same: what a run
    /// has in common with the one before it is not computed again, up to the first turn that is
    /// another.
    ///
    /// A module that keeps something between its calls (keys and values of the tokens before, a
    /// random state) must not be left out. A single forward pass of the models that come with
    /// Interloom is stateless, a generation is not. Only [all orders](Orders::All) share; of
    /// others it is not known before a run where they differ.
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
    /// `run` makes everything anew, hands the run to [`Trial::run`], or to [`Trial::attach`] and
    /// executes it itself. After each run `goes_on` receives the progress, and can end the
    /// exploration: there is no clock in here.
    ///
    /// # Errors
    ///
    /// What `run` returns, and a [`ScheduleError`] (`E126`, `E127`) if what it does cannot be
    /// explored.
    pub fn explore<E: From<ScheduleError>>(
        &self,
        mut run: impl FnMut(&Trial<'_>) -> Result<ExploredOutcome, E>,
        goes_on: impl FnMut(&ExplorationProgress) -> bool,
    ) -> Result<Findings, E> {
        let watch = RefCell::new(Watch::Waiting);
        let shared = PrefixCache::new();
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

    /// Makes of a schedule one with as few choices as can be that are not definition order, and
    /// still an outcome that is `wanted`; nothing if not even the schedule itself leads to one.
    ///
    /// At most as many runs are made as [`runs`](Self::runs) says.
    ///
    /// # Errors
    ///
    /// As [`explore`](Self::explore).
    pub fn shrink<E: From<ScheduleError>>(
        &self,
        schedule: &Schedule,
        mut run: impl FnMut(&Trial<'_>) -> Result<ExploredOutcome, E>,
        wanted: impl FnMut(&ExploredOutcome) -> bool,
    ) -> Result<Option<Shrunk<ExploredOutcome>>, E> {
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
    /// No run has been made yet.
    Waiting,
    Watching(Races),
}

/// One run of an exploration: what gives it its order.
pub struct Trial<'a> {
    attempt: &'a Attempt,
    granularity: Granularity,
    watch: &'a RefCell<Watch>,
    shared: Option<&'a PrefixCache>,
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
    /// `show` adds what the run showed beside its end: results of mediators, and the model's
    /// output, which is missing if the run failed or was stopped.
    ///
    /// # Errors
    ///
    /// As [`ExploredOutcome::of`].
    pub fn run<Y>(
        &self,
        mut run: Run,
        model: impl FnOnce() -> Y,
        show: impl FnOnce(Option<&Y>, &mut Shown),
    ) -> Result<ExploredOutcome, Error> {
        self.attach(&mut run);
        ExploredOutcome::of(&run.execute(model), show)
    }
}

impl From<ScheduleError> for Error {
    fn from(error: ScheduleError) -> Self {
        Self::Forward(RunError::from(error).into())
    }
}
