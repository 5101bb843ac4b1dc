//! Runs: mediators interleaved with one forward pass, or one generation, of a bound model.
//!
//! A stop and a failure leave the model by unwinding with a private payload, which no panic hook sees; the crate must not
//! be built with `panic = "abort"`, and [`Run::execute`] says so if it is.

use interloom_engine::{
    Audit, CacheSpec, Cached, Cx, Fault, Invoke, Mediator, MediatorId, Observer, Rehearsal, RunEnd,
    Saved, Scheduler, Setup,
};

use crate::active::{Active, Outer, conclude, drive};
use crate::bind::Sites;
use crate::error::ForwardError;
use crate::shared::{Known, Shared};
use crate::value::Value;

/// A run to be: a name, a bound model's sites, and mediators.
pub struct Run {
    name: String,
    setup: Setup<Value>,
    sites: Sites,
    shared: Option<(Shared, Known)>,
}

/// What a run leaves behind.
#[derive(Clone, Debug)]
pub struct Ran<Y> {
    /// What the model put out; `None` if a mediator stopped it.
    pub output: Option<Y>,
    /// How the run ended.
    pub end: RunEnd,
    /// What each mediator asked for and got.
    pub audit: Audit,
}

impl Run {
    /// Prepares a run of the model that has `sites`; the name stands in reports and journals.
    ///
    /// The model's edits are its first mediators.
    pub fn new(name: impl Into<String>, sites: &Sites) -> Self {
        let mut setup = Setup::new(sites.map().clone());
        for edit in sites.edits() {
            setup.invoke(edit.invoke(sites.map()));
        }
        Self {
            name: name.into(),
            setup,
            sites: sites.clone(),
            shared: None,
        }
    }

    /// Adds an async closure as a mediator that sees the whole batch, and returns the place where its result will be.
    #[track_caller]
    pub fn mediator<T, F, Fut>(&mut self, name: impl Into<String>, program: F) -> Saved<T>
    where
        T: 'static,
        F: FnOnce(Cx<Value>) -> Fut,
        Fut: Future<Output = Result<T, Fault>> + 'static,
    {
        let (mediator, saved) = interloom_engine::mediator(self.sites.map().clone(), program);
        self.setup.invoke(Invoke::new(name, mediator));
        saved
    }

    /// Adds an async closure as a mediator that owns the next `rows` rows of the batch.
    #[track_caller]
    pub fn invoke<T, F, Fut>(&mut self, name: impl Into<String>, rows: u32, program: F) -> Saved<T>
    where
        T: 'static,
        F: FnOnce(Cx<Value>) -> Fut,
        Fut: Future<Output = Result<T, Fault>> + 'static,
    {
        let (mediator, saved) = interloom_engine::mediator(self.sites.map().clone(), program);
        self.setup.invoke(Invoke::new(name, mediator).rows(rows));
        saved
    }

    /// Adds a mediator of any make.
    pub fn add(&mut self, invoke: Invoke<Value>) -> MediatorId {
        self.setup.invoke(invoke)
    }

    /// Adds a hand-written mediator that sees the whole batch.
    pub fn machine(
        &mut self,
        name: impl Into<String>,
        mediator: impl Mediator<Value> + 'static,
    ) -> MediatorId {
        self.add(Invoke::new(name, mediator))
    }

    /// Declares a barrier at which mediators wait until so many of them have arrived.
    pub fn barrier(&mut self, name: &str, participants: u32) {
        self.setup.barrier(name, participants);
    }

    /// Declares how many steps the run has, such as the tokens that are generated: where a loop over all of them ends.
    pub fn steps(&mut self, steps: u32) {
        self.setup.steps(steps);
    }

    /// Collects what modules take in or put out, for the whole batch and after all changes.
    pub fn cache(&mut self, spec: CacheSpec) -> Cached<Value> {
        self.setup.cache(spec)
    }

    /// Chooses the order of mediators.
    pub fn scheduler(&mut self, scheduler: impl Scheduler + 'static) {
        self.setup.scheduler(scheduler);
    }

    /// Lets `observer` see every exchange.
    pub fn observer(&mut self, observer: impl Observer<Value> + 'static) {
        self.setup.observer(observer);
    }

    /// Does not compute what the run has in common with the last one that shared `shared`: all that comes before another
    /// choice than that run's after `turns` turns.
    ///
    /// Both must be runs of one model on one input, with equal mediators. The model must be a function of its input: what
    /// its modules keep between their calls, such as keys and values of the tokens before, would be missing where they are
    /// not called.
    pub fn share(&mut self, shared: &Shared, turns: u64) {
        self.shared = Some((shared.clone(), Known::Turns(turns)));
    }

    /// Does not compute what was over before the mediators do something else than in the last run that shared `shared`.
    ///
    /// They make its first `all` exchanges again, and before `certain` of these are over none that is not among them. Then
    /// somebody may ask for what nobody has asked for: a module in which there is such a site is computed, and so is all
    /// that comes after another exchange. What [`share`](Self::share) says of model and input holds here, too.
    pub fn share_exchanges(&mut self, shared: &Shared, all: u64, certain: u64) {
        self.shared = Some((shared.clone(), Known::Exchanges { all, certain }));
    }

    /// Replaces the mediators, those of the model's edits among them, by others.
    pub fn recast(&mut self, invokes: Vec<Invoke<Value>>) {
        self.setup.recast(invokes);
    }

    /// Takes the mediators out, to answer them from a record before the run goes on with what [`recast`](Self::recast) puts in.
    ///
    /// # Errors
    ///
    /// [`ForwardError::Run`] if the run could not start.
    pub fn rehearse_apart(&mut self) -> Result<Rehearsal<Value>, ForwardError> {
        Ok(self.setup.rehearse_apart()?)
    }

    /// Prepares to answer the mediators from a record, without the model.
    ///
    /// # Errors
    ///
    /// [`ForwardError::Run`] if the run could not start.
    pub fn rehearse(self) -> Result<Rehearsal<Value>, ForwardError> {
        Ok(self.setup.rehearse()?)
    }

    /// Returns the run's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what the run is made of.
    pub const fn setup(&self) -> &Setup<Value> {
        &self.setup
    }

    /// Lets the run be attached to an exploration, or watched for races.
    pub fn setup_mut(&mut self) -> &mut Setup<Value> {
        &mut self.setup
    }

    /// Returns the sites of the model.
    pub const fn sites(&self) -> &Sites {
        &self.sites
    }

    /// Runs `model` with the mediators: one forward pass, or as many as belong to one generation.
    ///
    /// The model runs on this thread; a site that is passed on another is not seen.
    ///
    /// # Errors
    ///
    /// [`ForwardError`] if a mediator fails, nothing of it fires, or the model itself panics. The model can be run again
    /// at once.
    pub fn execute<Y>(self, model: impl FnOnce() -> Y) -> Result<Ran<Y>, ForwardError> {
        if cfg!(panic = "abort") {
            return Err(ForwardError::PanicAbort);
        }
        let _span = tracing::info_span!("run", name = self.name).entered();
        // Whichever run is under way on this thread, it is no business of this one's model.
        let _outer = Outer::set_aside();
        let interleaver = self.setup.start()?;
        let active = Active::new(interleaver, self.sites.binding(), self.shared);
        match active.is_halted() {
            true => conclude(active, None),
            false => drive(active, model),
        }
    }
}
