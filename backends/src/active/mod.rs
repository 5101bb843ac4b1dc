//! The run under way, as the hooks of its model see it.
//!
//! A hooked module knows two words, [`enter`] and [`leave`]; a tap, which takes nothing in, only
//! [`pass`]. Behind them are three rooms:
//!
//! - `slot` holds the run, for the hooks of its thread, and is where a run leaves the model: by
//!   unwinding.
//! - `guards` refuses what the model must not be given.
//! - `reuse` leaves out what the last run has computed already.
//!
//! The latter two are [`Visitor`]s, which accompany the model through its sites around the
//! mediators. Most runs have nothing for them to do, and pay for it with two comparisons at a
//! module's input.

mod backward;
mod guards;
mod operation;
mod reuse;
mod slot;

use std::any::Any;

use interloom_engine::{Flow, Interleaver, Misfit, PathId, Point, Port, Report, RunError, Site};

pub use self::backward::backward;
pub(crate) use self::backward::{Supply, note_unreached_part, pass_gradient};
use self::guards::Guards;
pub(crate) use self::operation::{Called, call, pass_output};
use self::reuse::{Interrupted, Planned, Reuse, Unsteady};
pub(crate) use self::slot::{Outer, drive};
use self::slot::{Visited, halt_with, look, unusable, visit};
pub use self::slot::{declare_padding, is_running};
use crate::bind::Place;
use crate::erase::Erase;
use crate::error::{ForwardError, Unreached};
use crate::functions::Functions;
use crate::gradient::Numbered;
use crate::run::{Ran, RunOutput};
use crate::shared::{Known, PrefixCache};
use crate::value::Value;

/// What a hooked module does with its input.
pub(crate) enum Entered<I, O> {
    /// It is computed, and the call is [left](leave) with what comes out.
    Compute(Call, I),
    /// A mediator skips it: the call is left with this.
    Skipped(Call, O),
    /// The last run has computed it: the call is over, with this output.
    Reused(O),
}

/// The call of a hooked module that is under way.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Call {
    /// The visit at which it begins, in a run that keeps what its modules returned.
    kept_from: Option<usize>,
}

/// Enters a hooked module: passes its input site.
#[inline]
pub(crate) fn enter<I: Erase, O: Erase>(place: &Place, input: I) -> Entered<I, O> {
    match look(|run| run.arrive(place)) {
        None | Some(Arrival::Unawaited) => Entered::Compute(Call::default(), input),
        Some(Arrival::Awaited(point)) => visit_input(point, Call::default(), input),
        Some(Arrival::Hooked(point)) => Entered::Compute(Call::default(), hooked(point, input)),
        Some(Arrival::Watched(point)) => enter_watched(point, input),
    }
}

/// Leaves a hooked module: passes its output site.
#[inline]
pub(crate) fn leave<O: Erase>(place: &Place, call: Call, output: O) -> O {
    let output = match look(|run| run.departs(place)) {
        Some(departure) => depart(departure, output),
        None => output,
    };
    match call.kept_from {
        Some(begin) => keep_output(place, begin, output),
        None => output,
    }
}

/// Passes a site that is neither a module's input nor its output.
#[inline]
pub(crate) fn pass<T: Erase>(place: &Place, value: T) -> T {
    match look(|run| run.taps(place)) {
        Some(departure) => depart(departure, value),
        None => value,
    }
}

/// Passes such a site if a mediator waits for it, or for its gradient.
pub(crate) fn pass_if_awaited<T: Erase>(place: &Place, make: impl FnOnce() -> T) -> Option<T> {
    match look(|run| run.knows(place).then(|| run.taps(place))).flatten() {
        None | Some(Departure::Unawaited) => None,
        Some(departure) => Some(depart(departure, make())),
    }
}

/// Returns whether a value that passes some of a place's sites would be of use to the run under
/// way: of `paths` paths from its own on.
pub(crate) fn is_attended(place: &Place, paths: u32) -> bool {
    look(|run| run.attends(place, paths)).unwrap_or(false)
}

/// Leaves the site of an output.
#[inline]
fn depart<T: Erase>(departure: Departure, value: T) -> T {
    match departure {
        Departure::Unawaited => value,
        Departure::Awaited(point) => visit_output(point, value),
        Departure::Hooked(point) => hooked(point, value),
    }
}

/// The run under way.
pub(crate) struct Active {
    binding: u32,
    /// The numbers of the run's gradient hooks are no other run's.
    numbered: Numbered,
    interleaver: Interleaver<Value>,
    /// What operations can be made to call.
    functions: Functions,
    visitors: (Guards, Option<Reuse>),
    strangers: Strangers,
    /// Whether a cache of the run waits for what the model passes.
    has_caches: bool,
    supply: Supply,
    /// The last site that a mediator waited for, to say where a model panicked.
    last: Option<Site>,
    broken: Option<ForwardError>,
}

/// Whether a mediator waits for the input of a module that is called.
enum Arrival {
    Unawaited,
    Awaited(Point),
    /// The gradient of what passes may be asked for, and nothing else is.
    Hooked(Point),
    /// That is not known yet: a visitor has to look at the call first.
    Watched(Point),
}

/// Whether a mediator waits for what a module puts out.
enum Departure {
    Unawaited,
    Awaited(Point),
    /// The gradient of what passes may be asked for, and nothing else is.
    Hooked(Point),
}

/// The hooks that were called in a run without being those of its model.
#[derive(Clone, Copy, Debug, Default)]
struct Strangers {
    /// Calls of hooks that were never bound.
    unbound: u64,
    /// Calls of hooks that belong to another binding.
    elsewhere: u64,
}

impl Strangers {
    #[cold]
    fn meet(&mut self, place: &Place) {
        if place.is_bound() {
            self.elsewhere += 1;
        } else {
            self.unbound += 1;
        }
    }

    /// Returns why a run has passed no site.
    ///
    /// Hooks that were never bound are a mistake wherever they are called; those of another model
    /// may have been called on purpose as well.
    const fn reason(self) -> Unreached {
        match self {
            Self {
                unbound: 0,
                elsewhere: 0,
            } => Unreached::Nowhere,
            Self {
                unbound: 0,
                elsewhere,
            } => Unreached::Elsewhere { calls: elsewhere },
            Self { unbound, .. } => Unreached::Unbound { calls: unbound },
        }
    }
}

/// Something that accompanies the model through the sites of a run, around its mediators.
///
/// The model enters a site with a value, the mediators that wait there change it, and the model
/// leaves with what they made of it. Visitors are nested: the first to see a site entered is the
/// last to see it left. A site for which no mediator waits is entered and left without a value; one
/// at which the run is halted is never left.
trait Visitor {
    /// Sees the model enter a site, with `value` if a mediator waits for it.
    fn enter(&mut self, run: &Interleaver<Value>, point: Point, value: Option<&Value>);

    /// Sees the model leave the site with `value`.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if the model must not continue with that.
    fn leave(
        &mut self,
        run: &Interleaver<Value>,
        point: Point,
        value: Option<&Value>,
    ) -> Result<(), Misfit>;
}

impl<A: Visitor, B: Visitor> Visitor for (A, B) {
    fn enter(&mut self, run: &Interleaver<Value>, point: Point, value: Option<&Value>) {
        self.0.enter(run, point, value);
        self.1.enter(run, point, value);
    }

    fn leave(
        &mut self,
        run: &Interleaver<Value>,
        point: Point,
        value: Option<&Value>,
    ) -> Result<(), Misfit> {
        self.1.leave(run, point, value)?;
        self.0.leave(run, point, value)
    }
}

impl<V: Visitor> Visitor for Option<V> {
    fn enter(&mut self, run: &Interleaver<Value>, point: Point, value: Option<&Value>) {
        if let Some(visitor) = self {
            visitor.enter(run, point, value);
        }
    }

    fn leave(
        &mut self,
        run: &Interleaver<Value>,
        point: Point,
        value: Option<&Value>,
    ) -> Result<(), Misfit> {
        match self {
            Some(visitor) => visitor.leave(run, point, value),
            None => Ok(()),
        }
    }
}

impl Active {
    /// Makes what the hooks of the model with this binding number find.
    pub(crate) fn new(
        numbered: Numbered,
        interleaver: Interleaver<Value>,
        binding: u32,
        functions: Functions,
        shared: Option<(PrefixCache, Known)>,
        has_caches: bool,
        supply: Supply,
    ) -> Self {
        // What another run has computed belongs to another graph.
        let shared = shared.filter(|_| !interleaver.has_hooks());
        let reuse = shared.map(|(shared, known)| Reuse::begin(&shared, known));
        Self {
            visitors: (Guards::of(&interleaver), reuse),
            binding,
            numbered,
            interleaver,
            functions,
            strangers: Strangers::default(),
            has_caches,
            supply,
            last: None,
            broken: None,
        }
    }

    /// Returns whether the model must not run at all.
    pub(crate) fn is_halted(&self) -> bool {
        self.interleaver.is_halted()
    }

    /// Takes the call of a hooked module in.
    #[inline]
    fn arrive(&mut self, place: &Place) -> Arrival {
        let (binding, point) = place.point(Port::Input);
        if binding != self.binding {
            self.strangers.meet(place);
            return Arrival::Unawaited;
        }
        let (guards, reuse) = &self.visitors;
        if reuse.is_some() || guards.expects_input() {
            return Arrival::Watched(point);
        }
        if self.passes(point) {
            Arrival::Awaited(point)
        } else if self.interleaver.is_hooked(point) {
            Arrival::Hooked(point)
        } else {
            Arrival::Unawaited
        }
    }

    /// Lets a module's output out.
    #[inline]
    fn departs(&mut self, place: &Place) -> Departure {
        let (binding, point) = place.point(Port::Output);
        if binding == self.binding {
            self.departs_at(point)
        } else {
            Departure::Unawaited
        }
    }

    /// Lets what passes a point of the run's model out.
    #[inline]
    fn departs_at(&mut self, point: Point) -> Departure {
        if self.passes(point) {
            Departure::Awaited(point)
        } else if self.interleaver.is_hooked(point) {
            Departure::Hooked(point)
        } else {
            Departure::Unawaited
        }
    }

    /// Returns whether the run's sites have a place of the binding, as those of a model do not have
    /// what was added to a copy of them.
    fn knows(&self, place: &Place) -> bool {
        let (binding, point) = place.point(Port::Output);
        binding != self.binding || self.interleaver.map().has(point)
    }

    /// Returns whether anything attends to what passes one of `paths` paths from a place's own on.
    fn attends(&self, place: &Place, paths: u32) -> bool {
        let (binding, Point { path, .. }) = place.point(Port::Output);
        let mut points = (path.0..path.0 + paths)
            .flat_map(|path| Port::FORWARD.map(|port| Point::new(PathId(path), port)));
        let map = self.interleaver.map();
        binding == self.binding
            && points.any(|point| map.has(point) && self.interleaver.is_attended(point))
    }

    /// Lets the value of a tap pass.
    #[inline]
    fn taps(&mut self, place: &Place) -> Departure {
        let (binding, _) = place.point(Port::Output);
        if binding != self.binding {
            self.strangers.meet(place);
        }
        self.departs(place)
    }

    /// Counts the visit of a point, and returns whether a mediator waits for it.
    #[inline]
    fn passes(&mut self, point: Point) -> bool {
        if let Some(is_awaited) = self.repeats(point) {
            return is_awaited;
        }
        let is_awaited = self.interleaver.passes(point);
        if !is_awaited && self.visitors.1.is_some() {
            self.pass_alone(point);
        }
        is_awaited
    }

    /// Returns whether a mediator waited for a point of a call that is computed after all, if it
    /// was visited already.
    #[inline]
    fn repeats(&mut self, point: Point) -> Option<bool> {
        let repeated = self.visitors.1.as_mut()?.repeat(point)?;
        Some(repeated.unwrap_or_else(|Unsteady| {
            let site = self.interleaver.map().point_name(point);
            self.broken = Some(ForwardError::Unsteady { site });
            false
        }))
    }

    /// Lets a call be computed whose visits were made in part; returns where it begins.
    fn interrupt(&mut self, call: Interrupted) -> Option<usize> {
        let reuse = self.visitors.1.as_mut()?;
        Some(reuse.interrupt(call))
    }

    /// Passes a site for which no mediator waits.
    #[cold]
    fn pass_alone(&mut self, point: Point) {
        let (run, visitors) = (&self.interleaver, &mut self.visitors);
        visitors.enter(run, point, None);
        let left = visitors.leave(run, point, None);
        left.expect("what is not there is not refused");
    }

    /// Visits a site that [`passes`](Self::passes) has counted.
    fn visit(&mut self, point: Point, value: Value) -> Result<Flow<Value>, Misfit> {
        let repeated = self.visitors.1.as_mut().and_then(Reuse::take_repeated);
        if let Some(flow) = repeated {
            return Ok(flow);
        }
        self.visitors.enter(&self.interleaver, point, Some(&value));
        let flow = self.interleaver.provide(point, value);
        self.last = Some(point.at(self.interleaver.passed(point) - 1));
        if let Flow::Continue(value) | Flow::Skip(value) = &flow {
            self.visitors.leave(&self.interleaver, point, Some(value))?;
        }
        Ok(flow)
    }

    /// Draws up what the run leaves behind.
    pub(crate) fn conclude<Y>(self, output: Option<Y>) -> Result<Ran<Y>, ForwardError> {
        if let Some(broken) = self.broken {
            self.interleaver.cancel();
            return Err(broken);
        }
        // A run that passed no site at all fails for that, and not for what its mediators missed.
        let reason = self.unreached(output.is_some());
        let has_caches = self.has_caches;
        let Report { result, audit } = self.interleaver.finish();
        match (result, reason) {
            (Err(error), Some(why)) if is_of_sites(&error) => Err(ForwardError::Unreached {
                why,
                error: Some(Box::new(error)),
                audit,
            }),
            (Err(error), _) => Err(ForwardError::Run {
                error: Box::new(error),
                audit,
            }),
            (Ok(_), Some(why)) if has_caches => Err(ForwardError::Unreached {
                why,
                error: None,
                audit,
            }),
            (Ok(end), _) => Ok(Ran {
                output: output.map_or(RunOutput::Stopped, RunOutput::Completed),
                end,
                audit,
            }),
        }
    }

    /// Returns why the model has passed no site of the run, if it has finished without.
    fn unreached(&self, has_finished: bool) -> Option<Unreached> {
        let is_passed = |point| self.interleaver.passed(point) > 0;
        let is_unreached = || !self.interleaver.map().points().any(is_passed);
        (has_finished && is_unreached()).then(|| self.strangers.reason())
    }

    /// Says what is known of a panic of the model.
    fn panicked(self, payload: &(dyn Any + Send)) -> ForwardError {
        let map = self.interleaver.map().clone();
        let changed = self.interleaver.last_change().map(Box::new);
        self.interleaver.cancel();
        ForwardError::ModelPanicked {
            message: interloom_engine::panic_message(payload),
            after: self.last.map(|site| map.site_name(site)),
            empty_input: self.visitors.0.into_empty_input(),
            changed,
        }
    }
}

/// Returns whether a run fails for what the model passes, and not for what mediators do among
/// themselves.
const fn is_of_sites(error: &RunError) -> bool {
    matches!(error, RunError::Mediators(_) | RunError::NeverFired(_))
}

/// Enters a module at which a visitor looks before it is computed.
#[cold]
fn enter_watched<I: Erase, O: Erase>(point: Point, input: I) -> Entered<I, O> {
    let call = match look(|run| run.plan(point)) {
        None | Some(None) => Call::default(),
        Some(Some(Planned::Compute(begin))) => Call {
            kept_from: Some(begin),
        },
        Some(Some(Planned::Reuse(passed))) => match reuse::visit_again(point, passed) {
            Ok(output) => return Entered::Reused(output),
            Err(interrupted) => Call {
                kept_from: look(|run| run.interrupt(interrupted)).flatten(),
            },
        },
    };
    let input = guards::check_input(point, input);
    if look(|run| run.passes(point)).unwrap_or(false) {
        return visit_input(point, call, input);
    }
    let input = if look(|run| run.interleaver.is_hooked(point)) == Some(true) {
        hooked(point, input)
    } else {
        input
    };
    Entered::Compute(call, input)
}

/// Puts a gradient hook behind what passes a site that no mediator waits for.
#[cold]
fn hooked<T: Erase>(point: Point, value: T) -> T {
    let value = value.erase();
    let value = look(|run| run.interleaver.hook(point, value)).expect("the run has said so");
    recover(point, value)
}

/// Visits a module's input site, for which a mediator waits.
fn visit_input<I: Erase, O: Erase>(point: Point, call: Call, input: I) -> Entered<I, O> {
    match visit(point, input.erase()) {
        Visited::Continue(value) => Entered::Compute(call, recover(point, value)),
        Visited::Skip(value) => {
            let output = Point::new(point.path, Port::Output);
            Entered::Skipped(call, recover(output, value))
        }
    }
}

/// Visits a site at which nothing can be skipped, and for which a mediator waits.
fn visit_output<T: Erase>(point: Point, value: T) -> T {
    match visit(point, value.erase()) {
        Visited::Continue(value) => recover(point, value),
        Visited::Skip(_) => unreachable!("the interleaver refuses a skip at an output"),
    }
}

/// Keeps what a call has returned, for the next run.
#[cold]
fn keep_output<O: Erase>(place: &Place, begin: usize, output: O) -> O {
    let output = output.erase();
    look(|run| {
        if let Some(reuse) = &mut run.visitors.1 {
            reuse.keep(begin, &output);
        }
    });
    let (_, point) = place.point(Port::Output);
    recover(point, output)
}

/// Gives a value its type back; a reshaping swap or a skip may have made that impossible.
fn recover<T: Erase>(point: Point, value: Value) -> T {
    T::recover(value).unwrap_or_else(|misfit| halt_with(point, unusable(misfit)))
}
