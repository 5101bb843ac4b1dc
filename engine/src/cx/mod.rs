//! Mediators as async functions.
//!
//! An async closure reads like the experiment that it is:
//!
//! ```
//! # use interloom_engine::{array::Array, mediator, Cx, Fault};
//! # use std::sync::Arc;
//! # let map = Arc::new(interloom_engine::SiteMap::new());
//! let (ablate, _) = mediator(map, |cx: Cx<Array>| async move {
//!     let h = cx.output("layers.1").await?;
//!     cx.set_output("layers.1", h.map(|_| 0.0)).await?;
//!     Ok(())
//! });
//! ```
//!
//! The interleaver alone polls the closure's future, exactly when it has an answer for it, and the
//! future never waits for anything but its own [`Ask`]s. Its waker is tracked: a future that keeps
//! the waker, wakes it, or is pending without having asked for something awaits a timer, a channel
//! or another task, and fails with [`FaultKind::ForeignAwait`](crate::FaultKind::ForeignAwait).

mod ask;
mod each;
mod mailbox;

use std::marker::PhantomData;
use std::panic::Location;
use std::rc::Rc;

pub use self::ask::{Ask, FromDelivery, Saved, Stop};
use self::ask::{AskState, Declare};
use self::mailbox::Mailbox;
pub use self::mailbox::{AsyncMediator, mediator, panic_message};
use crate::cache::{CacheSpec, Cached};
use crate::event::{Request, Target};
use crate::fault::Fault;
use crate::iterations::Round;
use crate::map::SiteMap;
use crate::mediator::Mediator;
use crate::site::{Point, Port};

/// The context of an async mediator, with which it makes its requests.
pub struct Cx<V>(Rc<Mailbox<V>>);

impl<V> Clone for Cx<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V> Cx<V> {
    /// Reads the output of the module at `path`.
    #[track_caller]
    pub fn output(&self, path: &str) -> Ask<V, V> {
        let target = self.target_at(path, Port::Output);
        self.ask(Request::Value { target })
    }

    /// Reads the input of the module at `path`.
    #[track_caller]
    pub fn input(&self, path: &str) -> Ask<V, V> {
        let target = self.target_at(path, Port::Input);
        self.ask(Request::Value { target })
    }

    /// Reads the value at a site, such as `layers.1.output`, `blocks.1.hook_resid_post` or
    /// `layers.1.output.i2`.
    #[track_caller]
    pub fn value(&self, site: impl Locate) -> Ask<V, V> {
        let target = site.locate(&self.0.map);
        self.ask(Request::Value { target })
    }

    /// Replaces the output of the module at `path`.
    #[track_caller]
    pub fn set_output(&self, path: &str, value: impl Into<V>) -> Ask<V, ()> {
        let target = self.target_at(path, Port::Output);
        self.ask(swap(target, value, false))
    }

    /// Replaces the input of the module at `path`.
    #[track_caller]
    pub fn set_input(&self, path: &str, value: impl Into<V>) -> Ask<V, ()> {
        let target = self.target_at(path, Port::Input);
        self.ask(swap(target, value, false))
    }

    /// Replaces the value at a site.
    #[track_caller]
    pub fn set(&self, site: impl Locate, value: impl Into<V>) -> Ask<V, ()> {
        let target = site.locate(&self.0.map);
        self.ask(swap(target, value, false))
    }

    /// Replaces the value at a site by one of another shape, which only the owner of the whole
    /// batch may.
    #[track_caller]
    pub fn reshape(&self, site: impl Locate, value: impl Into<V>) -> Ask<V, ()> {
        let target = site.locate(&self.0.map);
        self.ask(swap(target, value, true))
    }

    /// Replaces the output of the module at `path` by what `f` makes of it: one read and one swap.
    ///
    /// ```
    /// # use interloom_engine::{array::Array, mediator, Cx};
    /// # use std::sync::Arc;
    /// # let map = Arc::new(interloom_engine::SiteMap::new());
    /// let (halve, _) = mediator(map, async |cx: Cx<Array>| {
    ///     cx.update_output("layers.1", |h| h.map(|x| x / 2.0)).await
    /// });
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`output`](Self::output) and [`set_output`](Self::set_output). If `f` panics, the
    /// mediator fails with that.
    #[track_caller]
    pub fn update_output<R, F>(
        &self,
        path: &str,
        f: F,
    ) -> impl Future<Output = Result<(), Fault>> + use<V, R, F>
    where
        V: crate::value::Value,
        R: Into<V>,
        F: FnOnce(V) -> R,
    {
        self.update_at(self.target_at(path, Port::Output), f, Location::caller())
    }

    /// Replaces the input of the module at `path` by what `f` makes of it: one read and one swap.
    ///
    /// # Errors
    ///
    /// As for [`input`](Self::input) and [`set_input`](Self::set_input). If `f` panics, the
    /// mediator fails with that.
    #[track_caller]
    pub fn update_input<R, F>(
        &self,
        path: &str,
        f: F,
    ) -> impl Future<Output = Result<(), Fault>> + use<V, R, F>
    where
        V: crate::value::Value,
        R: Into<V>,
        F: FnOnce(V) -> R,
    {
        self.update_at(self.target_at(path, Port::Input), f, Location::caller())
    }

    /// Replaces the value at a site by what `f` makes of it: one read and one swap.
    ///
    /// # Errors
    ///
    /// As for [`value`](Self::value) and [`set`](Self::set). If `f` panics, the mediator fails with
    /// that.
    #[track_caller]
    pub fn update<L, R, F>(
        &self,
        site: L,
        f: F,
    ) -> impl Future<Output = Result<(), Fault>> + use<V, L, R, F>
    where
        V: crate::value::Value,
        L: Locate,
        R: Into<V>,
        F: FnOnce(V) -> R,
    {
        self.update_at(site.locate(&self.0.map), f, Location::caller())
    }

    /// Reads the gradient of what passes at `value`: of a module's output (`layers.1`), of a point
    /// (`layers.1.input`), or of an alias; or of a parameter (`layers.1.weight`).
    ///
    /// It comes in a backward pass that the code around the model makes, or that a mediator has
    /// [asked for](Self::backward), later values first, and parameters after all of these, in their
    /// order in the model. It is the gradient of what the model went on with, after all swaps. The
    /// iteration of a parameter's gradient is the number of the backward pass.
    ///
    /// # Errors
    ///
    /// [`NoGradient`](crate::FaultKind::NoGradient) if the run does not declare that it may be
    /// asked for ([`Invoke::gradients`](crate::Invoke::gradients)), or no backward pass reaches
    /// it; [`OutOfOrder`](crate::FaultKind::OutOfOrder) if the pass has gone by.
    #[track_caller]
    pub fn grad(&self, value: &str) -> Ask<V, V> {
        let target = self.gradient_target(value);
        self.ask(Request::Value { target })
    }

    /// Replaces the gradient of what passes at `value`; what comes before it sees the replacement.
    /// Of a parameter, the optimizer does.
    ///
    /// # Errors
    ///
    /// As for [`grad`](Self::grad), and [`Misfit`](crate::FaultKind::Misfit) if it has another
    /// shape.
    #[track_caller]
    pub fn set_grad(&self, value: &str, gradient: impl Into<V>) -> Ask<V, ()> {
        let target = self.gradient_target(value);
        self.ask(swap(target, gradient, false))
    }

    /// Replaces the gradient of what passes at `value` by what `f` makes of it: one read and one
    /// swap.
    ///
    /// # Errors
    ///
    /// As for [`grad`](Self::grad) and [`set_grad`](Self::set_grad).
    #[track_caller]
    pub fn update_grad<R, F>(
        &self,
        value: &str,
        f: F,
    ) -> impl Future<Output = Result<(), Fault>> + use<V, R, F>
    where
        V: crate::value::Value,
        R: Into<V>,
        F: FnOnce(V) -> R,
    {
        self.update_at(self.gradient_target(value), f, Location::caller())
    }

    /// Asks for a backward pass from a loss of one element that was computed from what was read.
    ///
    /// The pass begins when all mediators are done with the site at hand; losses that several of
    /// them ask for there are differentiated in one pass over their sum. This returns at once, so
    /// that the mediator can ask for [gradients](Self::grad).
    ///
    /// # Errors
    ///
    /// [`Loss`](crate::FaultKind::Loss) if it has more elements than one,
    /// [`NoBackward`](crate::FaultKind::NoBackward) outside of the forward pass.
    #[track_caller]
    pub fn backward(&self, loss: impl Into<V>) -> Ask<V, ()> {
        let loss = loss.into();
        self.ask(Request::Backward { loss })
    }

    /// Does not compute the module at `path`, and uses `value` as its output.
    #[track_caller]
    pub fn skip(&self, path: &str, value: impl Into<V>) -> Ask<V, ()> {
        let target = self.target_at(path, Port::Input);
        let value = value.into();
        self.ask(Request::Skip { target, value })
    }

    /// Does not compute the module at whose input `site` is, such as `layers.1.input.i2`.
    #[track_caller]
    pub fn skip_at(&self, site: impl Locate, value: impl Into<V>) -> Ask<V, ()> {
        let target = site.locate(&self.0.map);
        let value = value.into();
        self.ask(Request::Skip { target, value })
    }

    /// Ends the model's run here, normally; this mediator ends with it.
    #[track_caller]
    pub fn stop(&self) -> Stop<V> {
        Stop {
            mailbox: self.0.clone(),
            line: Location::caller(),
        }
    }

    /// Waits until as many mediators are at the barrier as the run declares for it.
    #[track_caller]
    pub fn barrier(&self, name: &str) -> Ask<V, ()> {
        let name = name.into();
        self.ask(Request::Barrier { name })
    }

    /// Writes a value on the run's blackboard, in place of one that is there by that name.
    #[track_caller]
    pub fn put(&self, name: &str, value: impl Into<V>) -> Ask<V, ()> {
        let (name, value) = (name.into(), value.into());
        self.ask(Request::Put { name, value })
    }

    /// Reads a value from the run's blackboard: as it was put, whatever this mediator's rows.
    #[track_caller]
    pub fn get(&self, name: &str) -> Ask<V, V> {
        let name = name.into();
        self.ask(Request::Get { name })
    }

    /// Lets `child` act for this mediator until it ends, in this mediator's own iteration.
    #[track_caller]
    pub fn delegate(&self, child: impl Mediator<V> + 'static) -> Ask<V, ()> {
        self.ask(Request::Register {
            child: Box::new(child),
            iteration: None,
            round: Round::Alone,
        })
    }

    /// Collects this mediator's rows of what modules receive or return, from here to the end of
    /// the run.
    ///
    /// # Errors
    ///
    /// [`LateCache`](crate::FaultKind::LateCache) if a module was passed already,
    /// [`UnknownSite`](crate::FaultKind::UnknownSite) if there is none of that name.
    #[track_caller]
    pub fn cache(&self, spec: CacheSpec) -> impl Future<Output = Result<Cached<V>, Fault>> + use<V>
    where
        V: crate::value::Value,
    {
        Declare {
            mailbox: self.0.clone(),
            line: Location::caller(),
            spec: Some(spec),
            into: Cached::new(self.0.map.clone()),
        }
    }

    /// Advances this mediator's own iteration by `by`; what it asks for next, without an iteration,
    /// is then of that one.
    pub fn next(&self, by: u32) {
        self.0.advance(by);
    }

    /// Returns this mediator's own iteration: 0 outside a loop.
    pub fn iteration(&self) -> u32 {
        self.0.iteration()
    }

    /// Returns the sites of the model.
    pub fn sites(&self) -> &SiteMap {
        &self.0.map
    }

    #[track_caller]
    fn ask<T>(&self, request: Request<V>) -> Ask<V, T> {
        self.ask_at(request, Location::caller())
    }

    fn ask_at<T>(&self, request: Request<V>, line: &'static Location<'static>) -> Ask<V, T> {
        Ask {
            mailbox: self.0.clone(),
            state: AskState::New(request, line),
            answer: PhantomData,
        }
    }

    fn update_at<R, F>(
        &self,
        target: Target,
        f: F,
        line: &'static Location<'static>,
    ) -> impl Future<Output = Result<(), Fault>> + use<V, R, F>
    where
        V: crate::value::Value,
        R: Into<V>,
        F: FnOnce(V) -> R,
    {
        let cx = self.clone();
        async move {
            let request = Request::Value {
                target: target.clone(),
            };
            let value: V = cx.ask_at(request, line).await?;
            cx.ask_at(swap(target, f(value), false), line).await
        }
    }

    fn gradient_target(&self, value: &str) -> Target {
        let map = &self.0.map;
        // With an iteration, as in `layers.1.output.i2` and `layers.1.output.grad.i2`.
        if let Some((point, iteration)) = map.site(value)
            && let Some(point) = point.own_gradient()
        {
            return Target::Point { point, iteration };
        }
        match map.gradient(value) {
            Some(point) => point.into(),
            None => Target::Unknown(format!("{value}.grad").into()),
        }
    }

    fn target_at(&self, path: &str, port: Port) -> Target {
        match self.0.map.point_at(path, port) {
            Some(point) => point.into(),
            None if path.is_empty() => Target::Unknown(port.name().into()),
            None => Target::Unknown(format!("{path}.{port}").into()),
        }
    }
}

fn swap<V>(target: Target, value: impl Into<V>, reshape: bool) -> Request<V> {
    Request::Swap {
        target,
        value: value.into(),
        reshape,
    }
}

/// A name of a site: a [`Point`], a point with an iteration, or text.
pub trait Locate {
    /// Looks the site up.
    fn locate(self, map: &SiteMap) -> Target;
}

impl Locate for Point {
    fn locate(self, _: &SiteMap) -> Target {
        self.into()
    }
}

impl Locate for crate::site::Site {
    fn locate(self, _: &SiteMap) -> Target {
        Target::Point {
            point: self.point,
            iteration: Some(self.iteration),
        }
    }
}

impl Locate for Target {
    fn locate(self, _: &SiteMap) -> Target {
        self
    }
}

impl Locate for &str {
    fn locate(self, map: &SiteMap) -> Target {
        match map.site(self) {
            Some((point, iteration)) => Target::Point { point, iteration },
            None => Target::Unknown(self.into()),
        }
    }
}

impl Locate for &String {
    fn locate(self, map: &SiteMap) -> Target {
        self.as_str().locate(map)
    }
}
