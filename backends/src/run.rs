//! Runs: mediators interleaved with one forward pass, or one generation, of a bound model.
//!
//! A forward pass of burn returns tensors, not results. So a stop and a failure leave the model by
//! unwinding (`resume_unwind`) with a private payload, which no panic hook sees and
//! [`Run::execute`] catches; built with `panic = "abort"`, it returns an error with a code instead.

use std::ops::Deref;
use std::sync::Arc;

use interloom_engine::{
    Audit, CacheSpec, Cached, Cx, Fault, Interleaver, Invoke, InvokeOptions, Mediator, MediatorId,
    Observer, Padding, RunEnd, Saved, Scheduler, Setup, Site,
};
use interloom_program::Modules;

use crate::active::{Active, Outer, Supply, drive};
use crate::bind::Sites;
use crate::error::ForwardError;
use crate::functions::Functions;
use crate::gradient::Numbered;
use crate::parameters::Parameters;
use crate::shared::{Known, PrefixCache};
use crate::value::Value;

/// A run to be: a name, a bound model's sites, and mediators.
pub struct Run {
    name: String,
    setup: Setup<Value>,
    sites: Sites,
    functions: Functions,
    shared: Option<(PrefixCache, Known)>,
    has_caches: bool,
    supply: Supply,
}

/// A backward pass of a record: what a model passed in it, and brought to those who waited there.
#[derive(Clone, Debug, Default)]
pub struct RecordedPass {
    visits: Vec<(Vec<Site>, Option<Value>)>,
}

impl RecordedPass {
    /// Adds the gradients' sites that were passed, and the gradient that was brought to the last of
    /// them.
    pub fn visit(&mut self, passed: Vec<Site>, brought: Option<Value>) {
        self.visits.push((passed, brought));
    }

    pub(crate) fn visits(&self) -> &[(Vec<Site>, Option<Value>)] {
        &self.visits
    }
}

/// A mediator that was added to a run: its options until the run starts, its result when it is
/// over.
///
/// It is [`Saved`]: `handle.take()` returns what the mediator has returned.
pub struct MediatorHandle<T> {
    saved: Saved<T>,
    options: InvokeOptions,
}

impl<T> MediatorHandle<T> {
    /// Gives the mediator the next `count` rows of the batch. It has no effect once the run has
    /// started.
    pub fn rows(self, count: u32) -> Self {
        self.options.rows(count);
        self
    }

    /// Declares the values whose gradients the mediator may ask for: modules, whose outputs are
    /// meant, points such as `layers.3.input`, or aliases. It has no effect once the run has
    /// started.
    ///
    /// A value needs a hook in the graph behind it while it passes, so that this has to be known
    /// before the run; where it is not declared, nothing is added to the graph.
    ///
    /// In the backward pass the mediator gets tensors without a graph, because burn holds the lock
    /// of the graph: an operation on a tensor of it, such as one that was made of a value before
    /// the pass, or a parameter, waits for ever. [`Value`]s can be used, whenever they were read,
    /// and modules, which the mediator calls by name or as [`callable`](crate::callable) makes
    /// them.
    pub fn gradients<S: Into<String>>(self, of: impl IntoIterator<Item = S>) -> Self {
        self.options.gradients(of);
        self
    }

    /// Lets the run succeed even if nothing that the mediator asks for is ever served. It has no
    /// effect once the run has started.
    pub fn optional(self) -> Self {
        self.options.optional();
        self
    }
}

impl<T> Deref for MediatorHandle<T> {
    type Target = Saved<T>;

    fn deref(&self) -> &Saved<T> {
        &self.saved
    }
}

impl<T> From<MediatorHandle<T>> for Saved<T> {
    fn from(handle: MediatorHandle<T>) -> Self {
        handle.saved
    }
}

/// The result of a run: the model's output, and its audit.
#[derive(Clone, Debug)]
pub struct Ran<Y> {
    /// What the model returned, or why there is nothing.
    pub output: RunOutput<Y>,
    /// How the run ended.
    pub end: RunEnd,
    /// What each mediator asked for and got.
    pub audit: Audit,
}

impl<Y> Ran<Y> {
    /// Returns what the model returned.
    ///
    /// # Errors
    ///
    /// [`ForwardError::NoOutput`] if a mediator stopped the run, or a journal stood in for the
    /// model.
    pub fn completed(self) -> Result<Y, ForwardError> {
        match self.output {
            RunOutput::Completed(output) => Ok(output),
            RunOutput::Stopped => Err(ForwardError::NoOutput {
                because: match self.end {
                    RunEnd::Stopped { by, at } => match at {
                        Some(at) => format!("mediator `{by}` stopped the run at `{at}`"),
                        None => format!("mediator `{by}` stopped the run before the model started"),
                    },
                    RunEnd::Completed => "the model did not finish".to_owned(),
                },
            }),
            RunOutput::Served => Err(ForwardError::NoOutput {
                because: "a journal stood in for the model".to_owned(),
            }),
        }
    }
}

/// The output of a run's model.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RunOutput<Y> {
    /// The model finished, with this.
    Completed(Y),
    /// A mediator stopped the run before the model finished.
    Stopped,
    /// A journal stood in for the model, which was not called.
    Served,
}

impl<Y> RunOutput<Y> {
    /// Returns what the model returned, if it finished.
    pub fn ok(self) -> Option<Y> {
        match self {
            Self::Completed(output) => Some(output),
            Self::Stopped | Self::Served => None,
        }
    }

    /// Returns the same about a reference to what the model returned.
    pub const fn as_ref(&self) -> RunOutput<&Y> {
        match self {
            Self::Completed(output) => RunOutput::Completed(output),
            Self::Stopped => RunOutput::Stopped,
            Self::Served => RunOutput::Served,
        }
    }
}

impl Run {
    /// Prepares a run of the model that has `sites`; the name stands in reports and journals.
    ///
    /// The model's edits are its first mediators.
    pub fn new(name: impl Into<String>, sites: &(impl AsRef<Sites> + ?Sized)) -> Self {
        let sites = sites.as_ref();
        let mut setup = Setup::new(sites.map().clone());
        for edit in sites.edits() {
            setup.invoke(edit.invoke(sites.map()));
        }
        Self {
            name: name.into(),
            setup,
            sites: sites.clone(),
            functions: Functions::default(),
            shared: None,
            has_caches: false,
            supply: Supply::default(),
        }
    }

    /// Adds an async closure as a mediator, which sees the whole batch and has to fire, and returns
    /// where its result will be.
    ///
    /// ```
    /// # use burn::{nn::{Linear, LinearConfig}, prelude::*};
    /// # use interloom_backends::{Hooked, Run, Sites};
    /// # let device = Device::flex();
    /// # let model = Hooked::from(LinearConfig::new(2, 2).init(&device));
    /// # let sites = Sites::bind(&model)?;
    /// let mut run = Run::new("patch", &sites);
    /// let seen = run.mediator("read", async |cx| cx.input("").await);
    /// // One that owns two rows of the batch, and need not fire.
    /// run.mediator("patch", async |cx| cx.update_output("", |h| h * 0.5).await)
    ///     .rows(2)
    ///     .optional();
    /// run.execute(|| model.forward(Tensor::<2>::ones([2, 2], &device)))?;
    /// assert_eq!(seen.take().unwrap().tensor::<2>()?.dims(), [2, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn mediator<T, F, Fut>(&mut self, name: impl Into<String>, program: F) -> MediatorHandle<T>
    where
        T: 'static,
        F: FnOnce(Cx<Value>) -> Fut,
        Fut: Future<Output = Result<T, Fault>> + 'static,
    {
        let (mediator, saved) = interloom_engine::mediator(self.sites.map().clone(), program);
        let mut invoke = Invoke::new(name, mediator);
        let options = invoke.share_options();
        self.setup.invoke(invoke);
        MediatorHandle { saved, options }
    }

    /// Adds an async closure as a mediator that owns the next `rows` rows of the batch:
    /// [`mediator`](Self::mediator) with [`rows`](MediatorHandle::rows).
    #[track_caller]
    pub fn invoke<T, F, Fut>(&mut self, name: impl Into<String>, rows: u32, program: F) -> Saved<T>
    where
        T: 'static,
        F: FnOnce(Cx<Value>) -> Fut,
        Fut: Future<Output = Result<T, Fault>> + 'static,
    {
        self.mediator(name, program).rows(rows).into()
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

    /// Declares how many steps the run has, such as the tokens that are generated: where a loop
    /// over all of them ends.
    pub fn steps(&mut self, steps: u32) {
        self.setup.steps(steps);
    }

    /// Declares which positions of the rows of the batch are padding, if any are: at sites whose
    /// [positions are declared](Sites::with_positions), mediators with rows of their own see those
    /// that their rows would have alone.
    pub fn padding(&mut self, padding: Option<Padding>) {
        self.setup.padding(padding);
    }

    /// Declares values whose gradients mediators may ask for: modules, whose outputs are meant,
    /// points, or aliases; and parameters, which [`parameters`](Self::parameters) shows.
    pub fn gradients<S: Into<String>>(&mut self, of: impl IntoIterator<Item = S>) {
        self.setup.gradients(of);
    }

    /// Shows the run the parameters of the model, whose gradients mediators then may ask for where
    /// they declare them: by path, at the end of each backward pass.
    ///
    /// What a mediator makes of such a gradient is what the optimizer is given.
    ///
    /// ```
    /// # use burn::{nn::{Linear, LinearConfig}, prelude::*};
    /// # use interloom_backends::{Hooked, Run, Sites, backward};
    /// # let device = Device::flex().autodiff();
    /// let model = Hooked::from(LinearConfig::new(2, 2).init(&device));
    /// let sites = Sites::bind(&model)?;
    /// let mut run = Run::new("freeze", &sites);
    /// run.parameters(&model);
    /// run.mediator("freeze", async |cx| cx.update_grad("bias", |gradient| gradient * 0.0).await)
    ///     .gradients(["bias"]);
    /// let x = Tensor::<2>::ones([1, 2], &device);
    /// let gradients = run.execute(|| backward(&model.forward(x).sum()))?.completed()?;
    /// let bias = model.inner().bias.as_ref().unwrap().grad(&gradients).unwrap();
    /// assert_eq!(bias.into_data().to_vec::<f32>()?, [0.0; 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parameters(&mut self, of: impl Into<Parameters>) {
        self.supply.parameters = of.into();
    }

    /// Declares every value that passes as one whose gradient mediators may ask for.
    pub fn all_gradients(&mut self) {
        self.setup.all_gradients();
    }

    /// Collects what modules receive or return, for the whole batch and after all changes.
    pub fn cache(&mut self, spec: CacheSpec) -> Cached<Value> {
        self.has_caches = true;
        self.setup.cache(spec)
    }

    /// Lets a swap at an operation's `fn` put `function` in the place of what the source calls, by
    /// this name.
    ///
    /// ```
    /// # use burn::{nn::{Linear, LinearConfig}, prelude::*};
    /// # use interloom_backends::{Forward, Hooked, Run, Sites, Operations, operations};
    /// # #[derive(Module, Debug)]
    /// # struct Mlp { up: Linear, source: Operations }
    /// # #[operations]
    /// # impl Forward<Tensor<2>> for Mlp {
    /// #     type Output = Tensor<2>;
    /// #     fn forward(&self, x: Tensor<2>) -> Tensor<2> { self.up.forward(x).tanh() }
    /// # }
    /// # let device = Device::flex();
    /// # let source = Operations::new(Mlp::OPERATIONS);
    /// # let model = Hooked::from(Mlp { up: LinearConfig::new(2, 2).init(&device), source });
    /// # let sites = Sites::bind(&model)?;
    /// let mut run = Run::new("linear", &sites);
    /// run.function("identity", Ok);
    /// run.mediator("swap", async |cx| cx.set("source.tanh_0.fn", "identity").await);
    /// let output = run.execute(|| model.forward(Tensor::<2>::ones([1, 2], &device)))?.completed()?;
    /// # let plain = model.inner().up.forward(Tensor::<2>::ones([1, 2], &device));
    /// # assert_eq!(output.into_data(), plain.into_data());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn function(
        &mut self,
        name: impl Into<Arc<str>>,
        function: impl Fn(Value) -> Result<Value, Fault> + 'static,
    ) {
        self.functions.add(name, function);
    }

    /// Returns the functions that operations can be made to call, for a mediator that adds its own.
    pub fn functions(&self) -> Functions {
        self.functions.clone()
    }

    /// Lets a swap at an operation's `fn` put a module of the model in the place of what the source
    /// calls, by its path; no site is passed in it.
    pub fn modules(&mut self, modules: impl Modules<Value> + 'static) {
        self.functions.set_modules(modules);
    }

    /// Chooses the order of mediators.
    pub fn scheduler(&mut self, scheduler: impl Scheduler + 'static) {
        self.setup.scheduler(scheduler);
    }

    /// Lets `observer` see every exchange.
    pub fn observer(&mut self, observer: impl Observer<Value> + 'static) {
        self.setup.observer(observer);
    }

    /// Does not compute what the run has in common with the last one that shared `shared`: all that
    /// comes before another choice than that run's after `turns` turns.
    ///
    /// Both must be runs of one model on one input, with equal mediators. The model must be a
    /// function of its input: what its modules keep between their calls, such as keys and values of
    /// the tokens before, would be missing where they are not called.
    pub fn share(&mut self, shared: &PrefixCache, turns: u64) {
        self.shared = Some((shared.clone(), Known::Turns(turns)));
    }

    /// Does not compute what was over before the mediators do something else than in the last run
    /// that shared `shared`.
    ///
    /// They make its first `all` exchanges again, and before `certain` of these are over none that
    /// is not among them. After that a mediator may ask for a site that none asked for in that run:
    /// a module that contains such a site is computed, and so is all that comes after another
    /// exchange. What [`share`](Self::share) says of model and input holds here, too.
    pub fn share_exchanges(&mut self, shared: &PrefixCache, all: u64, certain: u64) {
        self.shared = Some((shared.clone(), Known::Exchanges { all, certain }));
    }

    /// Replaces the mediators, those of the model's edits among them, by others.
    pub fn replace_mediators(&mut self, invokes: Vec<Invoke<Value>>) {
        self.setup.replace_mediators(invokes);
    }

    /// Plays backward passes from a record where mediators ask for one, in order: a loss that comes
    /// from a record belongs to no graph.
    pub fn play_backward(&mut self, passes: Vec<RecordedPass>) {
        self.supply.passes = passes.into();
    }

    /// Shows the observers which points the model passes, also where no mediator waits.
    pub fn trace(&mut self) {
        self.setup.trace();
    }

    /// Starts the mediators without a model: the caller passes the sites.
    ///
    /// # Errors
    ///
    /// [`ForwardError::Run`] if the run cannot start; [`ForwardError::Unpaddable`] if its batch
    /// cannot be padded as it declares.
    pub fn start(self) -> Result<Interleaver<Value>, ForwardError> {
        self.check_padding()?;
        Ok(self.setup.start()?)
    }

    fn check_padding(&self) -> Result<(), ForwardError> {
        match self.setup.declared_padding() {
            Some(padding) => {
                let fits = padding.fits(self.setup.batch()?);
                fits.map_err(ForwardError::Unpaddable)
            }
            None => Ok(()),
        }
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
    /// [`ForwardError`] if a mediator fails, nothing of it fires, or the model itself panics. The
    /// model can be run again at once.
    pub fn execute<Y>(self, model: impl FnOnce() -> Y) -> Result<Ran<Y>, ForwardError> {
        if cfg!(panic = "abort") {
            return Err(ForwardError::PanicAbort);
        }
        let _span = tracing::info_span!("run", name = self.name).entered();
        // Whichever run is under way on this thread, it is no business of this one's model.
        let _outer = Outer::set_aside();
        self.check_padding()?;
        let numbered = Numbered::begin();
        let interleaver = self.setup.start()?;
        let binding = self.sites.binding();
        let active = Active::new(
            numbered,
            interleaver,
            binding,
            self.functions,
            self.shared,
            self.has_caches,
            self.supply,
        );
        if active.is_halted() {
            active.conclude(None)
        } else {
            drive(active, model)
        }
    }
}
