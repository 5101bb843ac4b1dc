//! Runs: mediators interleaved with one forward pass, or one generation, of a bound model.
//!
//! The interleaver of the run that is under way lives in a thread-local slot, where the hooks of the model find it. While
//! mediators run it is taken out of the slot, so that a module that a mediator calls itself (a logit lens, say) passes no
//! site of the run. Without a run a hook costs one look at the slot.
//!
//! A stop and a failure leave the model by unwinding with a private payload, which no panic hook sees; the crate must not
//! be built with `panic = "abort"`, and [`Run::execute`] says so if it is.

use std::cell::RefCell;
use std::panic::resume_unwind;

use interloom_engine::{
    Asker, Audit, CacheSpec, Cached, Cx, Fault, Flow, Interleaver, Invoke, Mediator, MediatorId,
    Observer, Point, Port, Rehearsal, RunEnd, Saved, Scheduler, Setup, Site,
};

use crate::bind::{Place, Sites};
use crate::caught::catch;
use crate::erase::Erase;
use crate::error::ForwardError;
use crate::shared::{Known, Sharable, Shared, Sharing, Standing};
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
        let _outer = Outer(ACTIVE.take());
        let interleaver = self.setup.start()?;
        let unchecked = interleaver.map().point_at("", Port::Input);
        let has_rows = interleaver.batch() > 0 && !interleaver.map().declares_rows();
        let active = Active {
            unchecked: unchecked.filter(|_| has_rows),
            binding: self.sites.binding(),
            interleaver,
            sharing: self
                .shared
                .map(|(shared, known)| Sharing::begin(&shared, known)),
            last: None,
            broken: None,
        };
        match active.interleaver.is_halted() {
            true => conclude(active, None),
            false => drive(active, model),
        }
    }
}

/// Returns whether there is a run on this thread, of whichever model.
#[inline]
pub(crate) fn is_running() -> bool {
    ACTIVE.with_borrow(Option::is_some)
}

/// How a hooked module is called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Call {
    /// No run is under way.
    Plain,
    /// Its sites are passed.
    Hooked,
    /// So they are, and it has to be seen first whether the input has the rows of the invokes.
    Unchecked,
    /// The module belongs to a run that shares what it computes.
    Shared,
}

/// Returns how a module is called: the one look at the run that every call takes.
#[inline]
pub(crate) fn begin_call(place: &Place) -> Call {
    ACTIVE.with_borrow(|active| match active {
        None => Call::Plain,
        Some(active) if active.sharing.is_none() && active.unchecked.is_none() => Call::Hooked,
        Some(active) => active.special_call(place),
    })
}

/// What a hooked module does after its input site.
pub(crate) enum Passed<I, O> {
    Compute(I),
    Skipped(O),
}

/// Refuses an input of the whole model that has not the rows of the invokes, where nothing but shapes tells who has which.
#[cold]
pub(crate) fn check_rows<I: Erase>(place: &Place, input: I) -> I {
    let (binding, point) = place.point(Port::Input);
    let declared = ACTIVE.with_borrow_mut(|active| {
        let active = active.as_mut()?;
        let is_due = active.binding == binding && active.unchecked == Some(point);
        is_due.then(|| {
            active.unchecked = None;
            active.interleaver.batch()
        })
    });
    let Some(declared) = declared else {
        return input;
    };
    let input = input.erase();
    if input.has_rows(declared) == Some(false) {
        let input = input.to_string();
        halt_with(point, |_, _| ForwardError::Rows { declared, input });
    }
    recover(place, Port::Input, input)
}

/// Passes an input site.
#[inline]
pub(crate) fn pass_input<I: Erase, O: Erase>(place: &Place, input: I) -> Passed<I, O> {
    if !is_awaited(place, Port::Input) {
        return Passed::Compute(input);
    }
    match provide(place, Port::Input, input.erase()) {
        Flow::Continue(value) => Passed::Compute(recover(place, Port::Input, value)),
        Flow::Skip(value) => Passed::Skipped(recover(place, Port::Output, value)),
        Flow::Halt => halt(),
    }
}

/// Passes a site at which nothing can be skipped.
#[inline]
pub(crate) fn pass<T: Erase>(place: &Place, port: Port, value: T) -> T {
    if !is_awaited(place, port) {
        return value;
    }
    match provide(place, port, value.erase()) {
        Flow::Continue(value) => recover(place, port, value),
        Flow::Skip(_) => unreachable!("the interleaver refuses a skip at an output"),
        Flow::Halt => halt(),
    }
}

thread_local! {
    static ACTIVE: RefCell<Option<Active>> = const { RefCell::new(None) };
}

/// The run under way.
struct Active {
    binding: u32,
    interleaver: Interleaver<Value>,
    sharing: Option<Sharing>,
    /// The model's input, until it has been seen that it has the rows of the invokes.
    unchecked: Option<Point>,
    /// The last site that somebody waited for, to say where a model panicked.
    last: Option<Site>,
    broken: Option<ForwardError>,
}

/// The run that the model of this one belongs to, if it is itself a part of a model that runs.
///
/// It is out of the slot until this run is over, so that neither this run's model nor its mediators pass sites of it.
struct Outer(Option<Active>);

impl Drop for Outer {
    fn drop(&mut self) {
        ACTIVE.set(self.0.take());
    }
}

/// What unwinds the model when a run is halted.
struct Halted;

/// Counts the passing of a site, and returns whether somebody waits for it.
#[inline]
fn is_awaited(place: &Place, port: Port) -> bool {
    ACTIVE.with_borrow_mut(|active| match active {
        None => false,
        Some(active) => {
            let (binding, point) = place.point(port);
            binding == active.binding && active.passes(point)
        }
    })
}

fn provide(place: &Place, port: Port, value: Value) -> Flow<Value> {
    let (_, point) = place.point(port);
    provide_at(point, value)
}

fn provide_at(point: Point, value: Value) -> Flow<Value> {
    let mut active = ACTIVE
        .take()
        .expect("the site is awaited, so there is a run");
    if let Some(sharing) = &mut active.sharing {
        sharing.enter(point, Some(&value));
    }
    let flow = active.interleaver.provide(point, value);
    if let Some(sharing) = &mut active.sharing
        && !matches!(flow, Flow::Halt)
    {
        sharing.leave(standing(&active.interleaver));
    }
    active.last = Some(point.at(active.interleaver.passed(point) - 1));
    ACTIVE.set(Some(active));
    flow
}

/// Returns what is to be done with a call of a module of a run that shares.
pub(crate) fn shared_call(place: &Place) -> Sharable {
    let (_, point) = place.point(Port::Input);
    ACTIVE.with_borrow_mut(|active| {
        let active = active.as_mut().expect("there is a run");
        let sharing = active.sharing.as_mut().expect("the run shares");
        sharing.call(point, |point| active.interleaver.is_awaited(point))
    })
}

/// Keeps what a call has put out.
pub(crate) fn end_call<O: Erase>(place: &Place, begin: usize, output: O) -> O {
    let output = output.erase();
    ACTIVE.with_borrow_mut(|active| {
        if let Some(sharing) = active.as_mut().and_then(|active| active.sharing.as_mut()) {
            sharing.end_call(begin, &output);
        }
    });
    recover(place, Port::Output, output)
}

/// Passes the sites of a call that need not be computed.
pub(crate) fn pass_known<O: Erase>(
    place: &Place,
    passings: Vec<(Point, Option<Value>)>,
    output: Value,
) -> O {
    let mut changed = None;
    for (point, given) in passings {
        let is_awaited = |active: &mut Option<Active>| {
            active.as_mut().is_some_and(|active| active.passes(point))
        };
        changed = match (ACTIVE.with_borrow_mut(is_awaited), given) {
            (false, _) => None,
            (true, None) => halt_with(point, |site, _| ForwardError::Unsteady { site }),
            (true, Some(value)) => match provide_at(point, value) {
                Flow::Continue(value) | Flow::Skip(value) => Some(value),
                Flow::Halt => halt(),
            },
        };
        let is_as_it_was = |active: &mut Option<Active>| {
            let sharing = active.as_mut().and_then(|active| active.sharing.as_mut());
            sharing.is_some_and(|sharing| sharing.is_known())
        };
        if !ACTIVE.with_borrow_mut(is_as_it_was) {
            halt_with(point, |site, _| ForwardError::Unsteady { site });
        }
    }
    recover(place, Port::Output, changed.unwrap_or(output))
}

fn standing(interleaver: &Interleaver<Value>) -> Standing {
    Standing {
        turns: interleaver.turns(),
        exchanges: interleaver.exchanges(),
    }
}

impl Active {
    /// Returns how a module is called in a run that shares, or whose input has not been seen yet.
    #[cold]
    fn special_call(&self, place: &Place) -> Call {
        let (binding, point) = place.point(Port::Input);
        match (&self.sharing, self.unchecked) {
            _ if binding != self.binding => Call::Hooked,
            (Some(_), _) => Call::Shared,
            (None, Some(unchecked)) if unchecked == point => Call::Unchecked,
            (None, _) => Call::Hooked,
        }
    }

    /// Counts the passing of a point, and returns whether somebody waits for it.
    #[inline]
    fn passes(&mut self, point: Point) -> bool {
        let is_awaited = self.interleaver.passes(point);
        if !is_awaited && let Some(sharing) = &mut self.sharing {
            sharing.enter(point, None);
            sharing.leave(standing(&self.interleaver));
        }
        is_awaited
    }
}

/// Gives a value its type back; a reshaping swap or a skip may have made that impossible.
fn recover<T: Erase>(place: &Place, port: Port, value: Value) -> T {
    T::recover(value).unwrap_or_else(|misfit| {
        let (_, point) = place.point(port);
        halt_with(point, |site, by| ForwardError::Unusable {
            site,
            misfit,
            by,
        })
    })
}

/// Unwinds the model with an error about a point, and whoever put something else there.
fn halt_with(point: Point, error: impl FnOnce(String, Option<Box<Asker>>) -> ForwardError) -> ! {
    ACTIVE.with_borrow_mut(|active| {
        let active = active.as_mut().expect("put back by `provide`");
        let site = active.interleaver.map().point_name(point);
        let by = active.interleaver.last_change().map(Box::new);
        active.broken = Some(error(site, by));
    });
    halt()
}

fn halt() -> ! {
    resume_unwind(Box::new(Halted))
}

fn drive<Y>(active: Active, model: impl FnOnce() -> Y) -> Result<Ran<Y>, ForwardError> {
    ACTIVE.set(Some(active));
    // Nothing of the model is looked at after a panic but what the caller holds anyway.
    let result = catch(model);
    match (result, ACTIVE.take()) {
        (Ok(output), Some(active)) => conclude(active, Some(output)),
        (Err(payload), Some(active)) if payload.is::<Halted>() => conclude(active, None),
        (Err(payload), active) if !payload.is::<Halted>() => Err(panicked(active, &*payload)),
        (_, None) => Err(ForwardError::Lost),
        (Err(_), Some(_)) => unreachable!("every payload is `Halted` or not"),
    }
}

fn conclude<Y>(active: Active, output: Option<Y>) -> Result<Ran<Y>, ForwardError> {
    if let Some(broken) = active.broken {
        active.interleaver.cancel();
        return Err(broken);
    }
    let report = active.interleaver.finish();
    match report.result {
        Ok(end) => Ok(Ran {
            output,
            end,
            audit: report.audit,
        }),
        Err(error) => Err(ForwardError::Run {
            error: Box::new(error),
            audit: report.audit,
        }),
    }
}

/// A panic within `provide` (of an observer, say) has dropped the run, and its last site is not known.
fn panicked(active: Option<Active>, payload: &(dyn std::any::Any + Send)) -> ForwardError {
    let (after, changed) = active.map_or((None, None), |active| {
        let map = active.interleaver.map().clone();
        let changed = active.interleaver.last_change().map(Box::new);
        active.interleaver.cancel();
        (active.last.map(|site| map.site_name(site)), changed)
    });
    ForwardError::ModelPanicked {
        message: interloom_engine::panic_message(payload),
        after,
        changed,
    }
}
