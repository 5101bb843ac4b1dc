//! The run under way, as the hooks of its model see it.
//!
//! The interleaver of the run lives in a thread-local slot, where the hooks find it. While mediators run it is taken out of the
//! slot, so that a module that a mediator calls itself (a logit lens, say) passes no site of the run. Without a run a hook costs
//! one look at the slot.
//!
//! A stop and a failure leave the model by unwinding with a private payload, which no panic hook sees.

use std::cell::RefCell;
use std::panic::resume_unwind;

use interloom_engine::{Asker, Flow, Interleaver, Misfit, Point, Port, Site};

use crate::bind::Place;
use crate::caught::catch;
use crate::erase::Erase;
use crate::error::ForwardError;
use crate::run::Ran;
use crate::shared::{Known, Sharable, Shared, Sharing, Standing};
use crate::value::Value;

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
    /// So they are, and the module is the whole model, whose input has not been seen yet.
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

/// Looks at the input of the whole model, once in a run: refuses one that has not the rows of the invokes, where nothing but
/// shapes tells who has which, and keeps in mind one without elements, for which a model may panic.
#[cold]
pub(crate) fn check_input<I: Erase>(place: &Place, input: I) -> I {
    let (binding, point) = place.point(Port::Input);
    let declared = ACTIVE.with_borrow_mut(|active| {
        let active = active.as_mut()?;
        let is_due = active.binding == binding && active.unchecked == Some(point);
        is_due.then(|| {
            active.unchecked = None;
            let map = active.interleaver.map();
            Some(active.interleaver.batch()).filter(|&batch| batch > 0 && !map.declares_rows())
        })
    });
    let Some(declared) = declared else {
        return input;
    };
    let input = input.erase();
    if let Some(declared) = declared
        && input.has_rows(declared) == Some(false)
    {
        let input = input.to_string();
        halt_with(point, |_, _| ForwardError::Rows { declared, input });
    }
    if input.has_empty() {
        ACTIVE.with_borrow_mut(|active| {
            let active = active.as_mut().expect("its input is due");
            active.empty_input = Some(input.to_string());
        });
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
pub(crate) struct Active {
    binding: u32,
    interleaver: Interleaver<Value>,
    sharing: Option<Sharing>,
    /// The model's input, until it has been seen.
    unchecked: Option<Point>,
    /// What the model was given, if a tensor of it has no elements.
    empty_input: Option<String>,
    /// The last site that somebody waited for, to say where a model panicked.
    last: Option<Site>,
    broken: Option<ForwardError>,
}

/// The run that the model of this one belongs to, if it is itself a part of a model that runs.
///
/// It is out of the slot until this run is over, so that neither this run's model nor its mediators pass sites of it.
pub(crate) struct Outer(Option<Active>);

impl Outer {
    /// Takes the run under way out of its slot, until this is dropped.
    pub(crate) fn set_aside() -> Self {
        Self(ACTIVE.take())
    }
}

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
    let was_empty = value.has_empty();
    let flow = active.interleaver.provide(point, value);
    let emptied = match &flow {
        Flow::Continue(value) | Flow::Skip(value) if !was_empty => active.emptied(point, value),
        _ => None,
    };
    if let Some(sharing) = &mut active.sharing
        && !matches!(flow, Flow::Halt)
    {
        sharing.leave(standing(&active.interleaver));
    }
    active.last = Some(point.at(active.interleaver.passed(point) - 1));
    ACTIVE.set(Some(active));
    if let Some(misfit) = emptied {
        halt_with(point, |site, by| ForwardError::Unusable {
            site,
            misfit,
            by,
        });
    }
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
    /// Makes what the hooks of the model with this binding number find.
    pub(crate) fn new(
        interleaver: Interleaver<Value>,
        binding: u32,
        shared: Option<(Shared, Known)>,
    ) -> Self {
        Self {
            unchecked: interleaver.map().point_at("", Port::Input),
            empty_input: None,
            binding,
            interleaver,
            sharing: shared.map(|(shared, known)| Sharing::begin(&shared, known)),
            last: None,
            broken: None,
        }
    }

    /// Returns whether the model must not run at all.
    pub(crate) fn is_halted(&self) -> bool {
        self.interleaver.is_halted()
    }

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

    /// Says that a mediator has put a tensor without elements where there were some: what the kernels of a device do with
    /// that is not defined. What the whole model puts out goes into no kernel.
    fn emptied(&self, point: Point, value: &Value) -> Option<Misfit> {
        let is_last = self.interleaver.map().point_at("", Port::Output) == Some(point);
        let is_emptied = !is_last && self.interleaver.has_reshaped(point) && value.has_empty();
        is_emptied.then(|| Misfit {
            expected: "tensors with elements".to_owned(),
            found: value.to_string(),
        })
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

/// Runs the model, and catches what unwinds it.
pub(crate) fn drive<Y>(active: Active, model: impl FnOnce() -> Y) -> Result<Ran<Y>, ForwardError> {
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

/// Draws up what a run leaves behind.
pub(crate) fn conclude<Y>(active: Active, output: Option<Y>) -> Result<Ran<Y>, ForwardError> {
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
    let (after, empty_input, changed) = active.map_or((None, None, None), |active| {
        let map = active.interleaver.map().clone();
        let changed = active.interleaver.last_change().map(Box::new);
        active.interleaver.cancel();
        let after = active.last.map(|site| map.site_name(site));
        (after, active.empty_input, changed)
    });
    ForwardError::ModelPanicked {
        message: interloom_engine::panic_message(payload),
        after,
        empty_input,
        changed,
    }
}
