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
//! The closure's future is polled exactly when the interleaver has an answer for it, by nobody else, and never waits for
//! anything but its own [`Ask`]s. Its waker is tracked: a future that keeps the waker, wakes it, or is pending without
//! having asked for something awaits a timer, a channel or another task, and fails with [`Fault::ForeignAwait`].

use std::cell::Cell;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::event::{Delivery, Origin, Request, Step, Target};
use crate::fault::Fault;
use crate::map::SiteMap;
use crate::mediator::Mediator;
use crate::site::{Point, Port};

/// Makes a mediator from an async closure, and the place where its result will be.
pub fn mediator<V, T, F, Fut>(map: Arc<SiteMap>, program: F) -> (AsyncMediator<V>, Saved<T>)
where
    V: 'static,
    T: 'static,
    F: FnOnce(Cx<V>) -> Fut,
    Fut: Future<Output = Result<T, Fault>> + 'static,
{
    let saved = Saved::new();
    let mailbox = Rc::new(Mailbox::new(map));
    let program = program(Cx(mailbox.clone()));
    let result = saved.clone();
    let future = async move {
        let value = program.await?;
        result.0.set(Some(value));
        Ok(())
    };
    let mediator = AsyncMediator {
        future: Box::pin(future),
        mailbox,
        tracker: Tracker::new(),
    };
    (mediator, saved)
}

/// What an async mediator makes its requests with.
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

    /// Reads the value at a site, such as `layers.1.output`, `blocks.1.hook_resid_post` or `layers.1.output.i2`.
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

    /// Replaces the value at a site by one of another shape, which only the owner of the whole batch may.
    #[track_caller]
    pub fn reshape(&self, site: impl Locate, value: impl Into<V>) -> Ask<V, ()> {
        let target = site.locate(&self.0.map);
        self.ask(swap(target, value, true))
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

    /// Returns the sites of the model.
    pub fn sites(&self) -> &SiteMap {
        &self.0.map
    }

    #[track_caller]
    fn ask<T>(&self, request: Request<V>) -> Ask<V, T> {
        Ask {
            mailbox: self.0.clone(),
            state: AskState::New(request, Location::caller()),
            answer: PhantomData,
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

/// Something that names a site: a [`Point`], a point with an iteration, or text.
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

/// A request of an async mediator, to be awaited.
#[must_use = "a request is made when it is awaited"]
pub struct Ask<V, T> {
    mailbox: Rc<Mailbox<V>>,
    state: AskState<V>,
    answer: PhantomData<fn() -> T>,
}

enum AskState<V> {
    New(Request<V>, &'static Location<'static>),
    Posted,
    Answered,
}

impl<V, T> Unpin for Ask<V, T> {}

impl<V, T: FromDelivery<V>> Future for Ask<V, T> {
    type Output = Result<T, Fault>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match std::mem::replace(&mut self.state, AskState::Posted) {
            AskState::New(request, line) => match self.mailbox.post(Posted::Ask(request), line) {
                Ok(()) => Poll::Pending,
                Err(fault) => {
                    self.state = AskState::Answered;
                    Poll::Ready(Err(fault))
                }
            },
            AskState::Posted => match self.mailbox.delivery.take() {
                Some(delivery) => {
                    self.state = AskState::Answered;
                    Poll::Ready(T::from_delivery(delivery))
                }
                None => Poll::Pending,
            },
            AskState::Answered => {
                self.state = AskState::Answered;
                Poll::Ready(Err(Fault::Closed))
            }
        }
    }
}

/// What a request is answered with: a value, or nothing.
pub trait FromDelivery<V>: Sized {
    #[doc(hidden)]
    fn from_delivery(delivery: Delivery<V>) -> Result<Self, Fault>;
}

impl<V> FromDelivery<V> for () {
    fn from_delivery(delivery: Delivery<V>) -> Result<Self, Fault> {
        match delivery {
            Delivery::Refused(fault) => Err(fault),
            Delivery::Done | Delivery::Value(_) | Delivery::Start => Ok(()),
        }
    }
}

impl<V: crate::value::Value> FromDelivery<V> for V {
    fn from_delivery(delivery: Delivery<V>) -> Result<Self, Fault> {
        match delivery {
            Delivery::Value(value) => Ok(value),
            Delivery::Refused(fault) => Err(fault),
            // The interleaver answers a VALUE with a value or a refusal; anything else is a broken driver.
            Delivery::Done | Delivery::Start => Err(Fault::Closed),
        }
    }
}

/// The end of the model's run, to be awaited; it never returns.
#[must_use = "the run is stopped when this is awaited"]
pub struct Stop<V> {
    mailbox: Rc<Mailbox<V>>,
    line: &'static Location<'static>,
}

impl<V> Future for Stop<V> {
    type Output = Result<std::convert::Infallible, Fault>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match self.mailbox.post(Posted::Stop, self.line) {
            Ok(()) => Poll::Pending,
            Err(fault) => Poll::Ready(Err(fault)),
        }
    }
}

/// Where the result of an async mediator will be when its run is over.
pub struct Saved<T>(Rc<Cell<Option<T>>>);

impl<T> Clone for Saved<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Saved<T> {
    /// Returns the result, once; `None` if the mediator did not return, because it stopped the run or failed.
    pub fn take(&self) -> Option<T> {
        self.0.take()
    }

    fn new() -> Self {
        Self(Rc::new(Cell::new(None)))
    }
}

/// A mediator that an async closure has become.
pub struct AsyncMediator<V> {
    future: Pin<Box<dyn Future<Output = Result<(), Fault>>>>,
    mailbox: Rc<Mailbox<V>>,
    tracker: Tracker,
}

impl<V: 'static> Mediator<V> for AsyncMediator<V> {
    fn resume(mut self: Box<Self>, delivery: Delivery<V>) -> Step<V> {
        if !matches!(delivery, Delivery::Start) {
            self.mailbox.delivery.set(Some(delivery));
        }
        let polled = self.poll();
        let origin = self
            .mailbox
            .line
            .get()
            .map_or(Origin::Unknown, Origin::Rust);
        let (posted, foreign) = (self.mailbox.posted.take(), self.tracker.is_foreign());
        match (polled, posted) {
            (Poll::Ready(Ok(())), _) => Step::End,
            (Poll::Ready(Err(fault)), _) => Step::Fail { fault, origin },
            (Poll::Pending, Posted::Ask(request)) if !foreign => Step::Ask {
                request,
                origin,
                rest: self,
            },
            (Poll::Pending, Posted::Stop) if !foreign => Step::Stop { origin },
            (Poll::Pending, _) => Step::Fail {
                fault: Fault::ForeignAwait,
                origin,
            },
        }
    }
}

impl<V> AsyncMediator<V> {
    /// Polls once; the mailbox is open for requests while the user's code runs, and closed also after a panic.
    fn poll(&mut self) -> Poll<Result<(), Fault>> {
        struct Open<'m>(&'m Cell<bool>);

        impl Drop for Open<'_> {
            fn drop(&mut self) {
                self.0.set(false);
            }
        }

        let mut context = Context::from_waker(&self.tracker.waker);
        self.mailbox.open.set(true);
        let _open = Open(&self.mailbox.open);
        self.future.as_mut().poll(&mut context)
    }
}

/// Returns the text of a panic's payload.
pub fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

/// Where an async mediator leaves its request and finds the answer.
struct Mailbox<V> {
    map: Arc<SiteMap>,
    posted: Cell<Posted<V>>,
    delivery: Cell<Option<Delivery<V>>>,
    /// The line of the last request.
    line: Cell<Option<&'static Location<'static>>>,
    open: Cell<bool>,
}

#[derive(Default)]
enum Posted<V> {
    #[default]
    Nothing,
    Ask(Request<V>),
    Stop,
}

impl<V> Mailbox<V> {
    fn new(map: Arc<SiteMap>) -> Self {
        Self {
            map,
            posted: Cell::new(Posted::Nothing),
            delivery: Cell::new(None),
            line: Cell::new(None),
            open: Cell::new(false),
        }
    }

    fn post(&self, posted: Posted<V>, line: &'static Location<'static>) -> Result<(), Fault> {
        if !self.open.get() {
            return Err(Fault::Closed);
        }
        match self.posted.replace(posted) {
            Posted::Nothing => {
                self.line.set(Some(line));
                Ok(())
            }
            first => {
                self.posted.set(first);
                Err(Fault::SecondRequest)
            }
        }
    }
}

/// A waker that notices who uses it.
///
/// Interloom's own futures neither keep the waker nor wake it. Whoever does is somebody else.
struct Tracker {
    woken: Arc<Woken>,
    waker: Waker,
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Tracker {
    /// The tracker's own reference and the waker's.
    const OWN_REFERENCES: usize = 2;

    fn new() -> Self {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        Self { woken, waker }
    }

    fn is_foreign(&self) -> bool {
        self.woken.0.load(Ordering::Relaxed)
            || Arc::strong_count(&self.woken) != Self::OWN_REFERENCES
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
