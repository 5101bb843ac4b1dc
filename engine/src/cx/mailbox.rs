//! Async functions as mediators: polled exactly when there is an answer for them.

use std::cell::Cell;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::Cx;
use super::ask::Saved;
use crate::cache::{CacheSpec, Cached};
use crate::event::{Delivery, Origin, Request, Step};
use crate::fault::{Fault, FaultKind};
use crate::map::SiteMap;
use crate::mediator::Mediator;

/// Makes a mediator from an async closure, and the place where its result will be.
#[track_caller]
pub fn mediator<V, T, F, Fut>(map: Arc<SiteMap>, program: F) -> (AsyncMediator<V>, Saved<T>)
where
    V: 'static,
    T: 'static,
    F: FnOnce(Cx<V>) -> Fut,
    Fut: Future<Output = Result<T, Fault>> + 'static,
{
    let (mut mediator, saved) = mediator_at(map, 0, program);
    mediator.made = Origin::Rust(Location::caller());
    (mediator, saved)
}

/// Makes a mediator whose own iteration is `iteration` when it starts.
pub(super) fn mediator_at<V, T, F, Fut>(
    map: Arc<SiteMap>,
    iteration: u32,
    program: F,
) -> (AsyncMediator<V>, Saved<T>)
where
    V: 'static,
    T: 'static,
    F: FnOnce(Cx<V>) -> Fut,
    Fut: Future<Output = Result<T, Fault>> + 'static,
{
    let saved = Saved::new();
    let mailbox = Rc::new(Mailbox::new(map, iteration));
    let program = program(Cx(mailbox.clone()));
    let result = saved.clone();
    let future = async move {
        let value = program.await?;
        result.set(value);
        Ok(())
    };
    let mediator = AsyncMediator {
        future: Box::pin(future),
        mailbox,
        tracker: Tracker::new(),
        made: Origin::Unknown,
    };
    (mediator, saved)
}

/// A mediator that an async closure has become.
pub struct AsyncMediator<V> {
    future: Pin<Box<dyn Future<Output = Result<(), Fault>>>>,
    mailbox: Rc<Mailbox<V>>,
    tracker: Tracker,
    /// The line that made it, for one that never asks for anything; a child is known by the line
    /// of its parent.
    made: Origin,
}

impl<V: 'static> Mediator<V> for AsyncMediator<V> {
    fn resume(mut self: Box<Self>, delivery: Delivery<V>) -> Step<V> {
        self.mailbox.deliver(delivery);
        let polled = self.poll();
        let origin = self.mailbox.origin();
        match polled {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => return Step::End,
            Poll::Ready(Err(fault)) => return Step::Fail { fault, origin },
        }
        // A future that keeps the waker, or waits without a request, waits for what no delivery
        // brings.
        let is_foreign = self.tracker.is_foreign();
        match self.mailbox.posted.take() {
            Posted::Ask(request) if !is_foreign => self.ask(request, origin),
            Posted::Cache(cache) if !is_foreign => {
                let (spec, into) = *cache;
                Step::Cache {
                    spec,
                    into,
                    origin,
                    rest: self,
                }
            }
            Posted::Stop if !is_foreign => Step::Stop { origin },
            _ => Step::Fail {
                fault: Fault::from(FaultKind::ForeignAwait),
                origin: match origin {
                    Origin::Unknown => self.made,
                    origin => origin,
                },
            },
        }
    }
}

impl<V: 'static> AsyncMediator<V> {
    /// Makes a request, after the iteration has been advanced if the mediator said so.
    #[inline]
    fn ask(self: Box<Self>, request: Request<V>, origin: Origin) -> Step<V> {
        match self.mailbox.advanced.take() {
            0 => Step::Ask {
                request,
                origin,
                rest: self,
            },
            by => Step::Next {
                by,
                rest: Box::new(Held {
                    request,
                    origin,
                    rest: self,
                }),
            },
        }
    }
}

/// A mediator with a request that it makes once its iteration has been advanced.
struct Held<V> {
    request: Request<V>,
    origin: Origin,
    rest: Box<AsyncMediator<V>>,
}

impl<V: 'static> Mediator<V> for Held<V> {
    fn resume(self: Box<Self>, _: Delivery<V>) -> Step<V> {
        let Self {
            request,
            origin,
            rest,
        } = *self;
        Step::Ask {
            request,
            origin,
            rest,
        }
    }
}

impl<V> AsyncMediator<V> {
    /// Polls once; the mailbox is open for requests while the user's code runs, and closed also
    /// after a panic.
    fn poll(&mut self) -> Poll<Result<(), Fault>> {
        struct Open<'m>(&'m Cell<Door>);

        impl Drop for Open<'_> {
            fn drop(&mut self) {
                self.0.set(Door::Closed);
            }
        }

        let mut context = Context::from_waker(&self.tracker.waker);
        self.mailbox.door.set(Door::Open);
        let _open = Open(&self.mailbox.door);
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
pub(super) struct Mailbox<V> {
    pub(super) map: Arc<SiteMap>,
    /// The mediator's own iteration, as it will be at its next request.
    iteration: Cell<u32>,
    /// By how much that is more than the interleaver knows.
    advanced: Cell<u32>,
    posted: Cell<Posted<V>>,
    delivery: Cell<Option<Delivery<V>>>,
    /// The line of the last request.
    line: Cell<Option<&'static Location<'static>>>,
    door: Cell<Door>,
}

/// Whether a mailbox takes a request.
#[derive(Clone, Copy)]
enum Door {
    /// The mediator's code does not run.
    Closed,
    Open,
    /// A request is in.
    Full,
}

#[derive(Default)]
pub(super) enum Posted<V> {
    #[default]
    Nothing,
    Ask(Request<V>),
    /// Boxed, so that requests are moved in few bytes.
    Cache(Box<(CacheSpec, Cached<V>)>),
    Stop,
}

impl<V> Mailbox<V> {
    fn new(map: Arc<SiteMap>, iteration: u32) -> Self {
        Self {
            map,
            iteration: Cell::new(iteration),
            advanced: Cell::new(0),
            posted: Cell::new(Posted::Nothing),
            delivery: Cell::new(None),
            line: Cell::new(None),
            door: Cell::new(Door::Closed),
        }
    }

    pub(super) fn iteration(&self) -> u32 {
        self.iteration.get()
    }

    pub(super) fn advance(&self, by: u32) {
        let before = self.iteration.get();
        self.iteration.set(before.saturating_add(by));
        self.advanced.update(|advanced| advanced.saturating_add(by));
    }

    /// Puts an answer in for the mediator to find.
    #[inline]
    fn deliver(&self, delivery: Delivery<V>) {
        if !matches!(delivery, Delivery::Start) {
            self.delivery.set(Some(delivery));
        }
    }

    /// Returns the line of the last request.
    #[inline]
    fn origin(&self) -> Origin {
        self.line.get().map_or(Origin::Unknown, Origin::Rust)
    }

    #[inline]
    pub(super) fn take_delivery(&self) -> Option<Delivery<V>> {
        self.delivery.take()
    }

    #[inline]
    pub(super) fn post(
        &self,
        posted: Posted<V>,
        line: &'static Location<'static>,
    ) -> Result<(), Fault> {
        match self.door.get() {
            Door::Open => {
                // Nothing is in: what is put in is taken out before the door opens again.
                let _nothing = self.posted.replace(posted);
                self.line.set(Some(line));
                self.door.set(Door::Full);
                Ok(())
            }
            Door::Full => Err(Fault::from(FaultKind::SecondRequest)),
            Door::Closed => Err(Fault::from(FaultKind::Closed)),
        }
    }
}

/// A waker that notices who uses it.
///
/// Interloom's own futures neither keep the waker nor wake it, so that a future that does is a
/// foreign one.
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
