//! The slot in which a run lives while its model does: one for each thread.
//!
//! Hooks have no argument through which a run could reach them, so that they look for it here. The
//! run is taken out while its mediators are at work, so that a module that a mediator calls itself
//! (a logit lens, say) passes no site of the run, and put back when they are done; a mediator may
//! also make a run of its own. Without a run a hook costs one look at the slot.
//!
//! A stop and a failure leave the model by unwinding with a private payload, which no panic hook
//! sees.

use std::cell::RefCell;
use std::panic::resume_unwind;

use interloom_engine::{Asker, Flow, Interleaver, Misfit, Padding, Point};

use super::{Active, backward};
use crate::bind::Sites;
use crate::caught::catch;
use crate::error::ForwardError;
use crate::run::Ran;
use crate::value::Value;

thread_local! {
    static ACTIVE: RefCell<Option<Active>> = const { RefCell::new(None) };
}

/// Returns whether there is a run on this thread, of whichever model.
#[inline]
pub fn is_running() -> bool {
    ACTIVE.with_borrow(Option::is_some)
}

/// Looks at the run, which stays where it is.
#[inline]
pub(super) fn look<T>(f: impl FnOnce(&mut Active) -> T) -> Option<T> {
    ACTIVE.with_borrow_mut(|active| active.as_mut().map(f))
}

/// What the model does after a site, if it continues at all.
pub(super) enum Visited {
    /// It continues with this value.
    Continue(Value),
    /// It does not compute the module; this is its output.
    Skip(Value),
}

impl From<Visited> for Flow<Value> {
    fn from(visited: Visited) -> Self {
        match visited {
            Visited::Continue(value) => Self::Continue(value),
            Visited::Skip(value) => Self::Skip(value),
        }
    }
}

/// Visits a site for which a mediator waits, with the run out of its slot; unwinds the model if the
/// run ends there.
pub(super) fn visit(point: Point, value: Value) -> Visited {
    let (flow, losses) = Slot::with(|active| {
        let flow = active.visit(point, value);
        (flow, active.interleaver.take_losses())
    });
    if !losses.is_empty() && flow.is_ok() {
        backward::differentiate_all(losses);
    }
    match flow {
        Ok(Flow::Continue(value)) => Visited::Continue(value),
        Ok(Flow::Skip(value)) => Visited::Skip(value),
        Ok(Flow::Halt) => halt(),
        Err(misfit) => halt_with(point, unusable(misfit)),
    }
}

/// The place of the run under way.
pub(super) struct Slot;

impl Slot {
    /// Takes the run out of its slot while `f` lets its mediators work.
    pub(super) fn with<T>(f: impl FnOnce(&mut Active) -> T) -> T {
        let mut active = ACTIVE.take().expect("there is a run");
        let result = f(&mut active);
        ACTIVE.set(Some(active));
        result
    }
}

/// The run that the model of this one belongs to, if it is itself a part of a model that runs.
///
/// It is out of the slot until this run is over, so that neither this run's model nor its mediators
/// pass sites of it.
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

/// Runs the model, and catches what unwinds it.
pub(crate) fn drive<Y>(active: Active, model: impl FnOnce() -> Y) -> Result<Ran<Y>, ForwardError> {
    ACTIVE.set(Some(active));
    // Nothing of the model is looked at after a panic but what the caller holds anyway.
    let result = catch(model);
    match (result, ACTIVE.take()) {
        (Ok(output), Some(active)) => active.conclude(Some(output)),
        (Err(payload), Some(active)) if payload.is::<Halted>() => active.conclude(None),
        (Err(payload), Some(active)) => Err(active.panicked(&*payload)),
        // A panic while the run was out of its slot (of an observer, say) has dropped it.
        (Err(payload), None) if !payload.is::<Halted>() => Err(ForwardError::ModelPanicked {
            message: interloom_engine::panic_message(&*payload),
            after: None,
            empty_input: None,
            changed: None,
        }),
        (Ok(_) | Err(_), None) => Err(ForwardError::Lost),
    }
}

/// What unwinds the model when a run is halted.
struct Halted;

pub(super) fn halt() -> ! {
    resume_unwind(Box::new(Halted))
}

/// Returns whether a run that is halted unwinds with this.
pub(super) fn is_halting(payload: &(dyn std::any::Any + Send)) -> bool {
    payload.is::<Halted>()
}

/// Unwinds the model with an error, which is given the last site that a mediator was served at.
pub(super) fn halt_because(error: impl FnOnce(Option<String>) -> ForwardError) -> ! {
    look(|active| {
        let map = active.interleaver.map();
        let after = active.last.map(|site| map.site_name(site));
        active.broken = Some(error(after));
    });
    halt()
}

/// Tells the run that is under way, if it is one of these sites, how the rows are padded with which
/// its model is about to be called.
///
/// Unwinds the model if the run knows of another padding, or does not have such rows.
pub fn declare_padding(sites: &Sites, padding: Option<&Padding>) {
    let is_broken = look(|active| {
        if active.binding != sites.binding() {
            return false;
        }
        let error = take_padding(&mut active.interleaver, padding).err();
        let is_broken = error.is_some();
        active.broken = error.or(active.broken.take());
        is_broken
    });
    if is_broken == Some(true) {
        halt()
    }
}

fn take_padding(
    run: &mut Interleaver<Value>,
    padding: Option<&Padding>,
) -> Result<(), ForwardError> {
    if let Some(padding) = padding {
        let fits = padding.fits(run.batch());
        fits.map_err(ForwardError::Unpaddable)?;
    }
    if run.take_padding(padding) {
        return Ok(());
    }
    Err(ForwardError::Padding {
        declared: Padding::describe(run.padding()),
        found: Padding::describe(padding),
    })
}

/// Unwinds the model with an error about a point, and about the mediator that replaced the value
/// there.
pub(super) fn halt_with(
    point: Point,
    error: impl FnOnce(String, Option<Box<Asker>>) -> ForwardError,
) -> ! {
    look(|active| {
        let site = active.interleaver.map().point_name(point);
        let by = active.interleaver.last_change().map(Box::new);
        active.broken = Some(error(site, by));
    });
    halt()
}

/// The error of a value that the model cannot continue with.
pub(super) fn unusable(misfit: Misfit) -> impl FnOnce(String, Option<Box<Asker>>) -> ForwardError {
    |site, by| ForwardError::Unusable { site, misfit, by }
}
