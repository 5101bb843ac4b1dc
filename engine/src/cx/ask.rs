//! The futures that an async mediator awaits, and the handle of its result.

use std::cell::Cell;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::mailbox::{Mailbox, Posted};
use crate::cache::{CacheSpec, Cached};
use crate::event::{Delivery, Request};
use crate::fault::{Fault, FaultKind};

/// A request of an async mediator, to be awaited.
#[must_use = "a request is made when it is awaited"]
pub struct Ask<V, T> {
    pub(super) mailbox: Rc<Mailbox<V>>,
    pub(super) state: AskState<V>,
    pub(super) answer: PhantomData<fn() -> T>,
}

pub(super) enum AskState<V> {
    New(Request<V>, &'static Location<'static>),
    Posted,
    Answered,
}

impl<V, T> Unpin for Ask<V, T> {}

impl<V, T: FromDelivery<V>> Future for Ask<V, T> {
    type Output = Result<T, Fault>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match std::mem::replace(&mut self.state, AskState::Posted) {
            AskState::New(request, line) => match self.mailbox.post(Posted::Ask(request), line) {
                Ok(()) => Poll::Pending,
                Err(fault) => {
                    self.state = AskState::Answered;
                    Poll::Ready(Err(fault))
                }
            },
            AskState::Posted => match self.mailbox.take_delivery() {
                Some(delivery) => {
                    self.state = AskState::Answered;
                    Poll::Ready(T::from_delivery(delivery))
                }
                None => Poll::Pending,
            },
            AskState::Answered => {
                self.state = AskState::Answered;
                Poll::Ready(Err(Fault::from(FaultKind::Closed)))
            }
        }
    }
}

/// The declaration of a cache, to be awaited.
pub(super) struct Declare<V> {
    pub(super) mailbox: Rc<Mailbox<V>>,
    pub(super) line: &'static Location<'static>,
    pub(super) spec: Option<CacheSpec>,
    pub(super) into: Cached<V>,
}

impl<V> Unpin for Declare<V> {}

impl<V> Future for Declare<V> {
    type Output = Result<Cached<V>, Fault>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match self.spec.take() {
            Some(spec) => {
                let cache = Box::new((spec, self.into.clone()));
                match self.mailbox.post(Posted::Cache(cache), self.line) {
                    Ok(()) => Poll::Pending,
                    Err(fault) => Poll::Ready(Err(fault)),
                }
            }
            None => match self.mailbox.take_delivery() {
                Some(Delivery::Refused(fault)) => Poll::Ready(Err(fault)),
                Some(_) => Poll::Ready(Ok(self.into.clone())),
                None => Poll::Pending,
            },
        }
    }
}

/// The answer to a request: a value, or nothing.
pub trait FromDelivery<V>: Sized {
    #[doc(hidden)]
    fn from_delivery(delivery: Delivery<V>) -> Result<Self, Fault>;
}

impl<V> FromDelivery<V> for () {
    fn from_delivery(delivery: Delivery<V>) -> Result<Self, Fault> {
        match delivery {
            Delivery::Refused(fault) => Err(fault),
            Delivery::Done | Delivery::Over | Delivery::Value(_) | Delivery::Start => Ok(()),
        }
    }
}

impl<V: crate::value::Value> FromDelivery<V> for V {
    fn from_delivery(delivery: Delivery<V>) -> Result<Self, Fault> {
        match delivery {
            Delivery::Value(value) => Ok(value),
            Delivery::Refused(fault) => Err(fault),
            // The interleaver answers a VALUE with a value or a refusal; anything else is a broken
            // driver.
            Delivery::Done | Delivery::Over | Delivery::Start => {
                Err(Fault::from(FaultKind::Closed))
            }
        }
    }
}

/// The end of the model's run, to be awaited; it never returns.
#[must_use = "the run is stopped when this is awaited"]
pub struct Stop<V> {
    pub(super) mailbox: Rc<Mailbox<V>>,
    pub(super) line: &'static Location<'static>,
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

/// A handle to the result of an async mediator, which is there when its run is over.
pub struct Saved<T>(Rc<Cell<Option<T>>>);

impl<T> Clone for Saved<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Saved<T> {
    /// Returns the result, once; `None` if the mediator did not return, because it stopped the run
    /// or failed.
    pub fn take(&self) -> Option<T> {
        self.0.take()
    }

    pub(super) fn new() -> Self {
        Self(Rc::new(Cell::new(None)))
    }

    pub(super) fn set(&self, value: T) {
        self.0.set(Some(value));
    }
}
