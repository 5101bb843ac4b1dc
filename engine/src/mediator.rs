//! Mediators: interventions as state machines.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use crate::event::{Delivery, Step};
use crate::value::Rows;

/// One intervention, as a state machine with at most one outstanding request.
///
/// A mediator is moved into each step and moved out again with its next request, so that a fault
/// consumes it and cannot leave it half-way. Most are written as async closures, see
/// [`mediator`](crate::mediator()); implement the trait for a machine whose states are data.
///
/// ```
/// use interloom_engine::{Delivery, Mediator, Origin, Point, Request, Step, array::Array};
///
/// /// Doubles what passes a point.
/// enum Double { Begin(Point), Reading(Point), Writing }
///
/// impl Mediator<Array> for Double {
///     fn resume(mut self: Box<Self>, delivery: Delivery<Array>) -> Step<Array> {
///         let (state, request) = match (*self, delivery) {
///             (Self::Begin(at), Delivery::Start) => (Self::Reading(at), Request::Value { target: at.into() }),
///             (Self::Reading(at), Delivery::Value(value)) => (
///                 Self::Writing,
///                 Request::Swap { target: at.into(), value: value.map(|x| 2.0 * x), reshape: false },
///             ),
///             (_, Delivery::Refused(fault)) => return Step::Fail { fault, origin: Origin::Unknown },
///             _ => return Step::End,
///         };
///         Step::Ask { request, origin: Origin::Unknown, rest: Box::new(state) }
///     }
/// }
/// ```
pub trait Mediator<V> {
    /// Takes the answer to the last request, and runs to the next.
    fn resume(self: Box<Self>, delivery: Delivery<V>) -> Step<V>;
}

impl<V> fmt::Debug for dyn Mediator<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mediator")
    }
}

/// A mediator of any make, boxed already.
impl<V> Mediator<V> for Box<dyn Mediator<V>> {
    fn resume(self: Box<Self>, delivery: Delivery<V>) -> Step<V> {
        (*self).resume(delivery)
    }
}

/// A mediator with its name and its rows of the batch.
pub struct Invoke<V> {
    pub(crate) name: String,
    options: Held,
    pub(crate) mediator: Box<dyn Mediator<V>>,
}

/// What a mediator has beside its name and its code.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    rows: Option<u32>,
    is_optional: bool,
}

/// Where the options of a mediator are.
enum Held {
    Here(Options),
    /// Shared with the handle of the mediator, through which they may still change.
    Shared(InvokeOptions),
}

/// The options of a mediator that belongs to a run already, which can be changed until the run
/// starts.
#[derive(Clone, Debug)]
pub struct InvokeOptions(Rc<Cell<Options>>);

impl InvokeOptions {
    /// Gives the mediator the next `count` rows of the batch.
    pub fn rows(&self, count: u32) {
        self.0.set(Options {
            rows: Some(count),
            ..self.0.get()
        });
    }

    /// Lets the run succeed even if nothing that the mediator asks for is ever served.
    pub fn optional(&self) {
        self.0.set(Options {
            is_optional: true,
            ..self.0.get()
        });
    }
}

impl<V> Invoke<V> {
    /// Names a mediator, which sees the whole batch until [`rows`](Self::rows) says otherwise.
    pub fn new(name: impl Into<String>, mediator: impl Mediator<V> + 'static) -> Self {
        Self {
            name: name.into(),
            options: Held::Here(Options::default()),
            mediator: Box::new(mediator),
        }
    }

    /// Gives the mediator the next `count` rows of the batch.
    pub fn rows(mut self, count: u32) -> Self {
        self.set_options(|options| options.rows = Some(count));
        self
    }

    /// Returns the mediator's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether the run succeeds even if nothing that the mediator asks for is ever served.
    pub fn is_optional(&self) -> bool {
        self.options().is_optional
    }

    /// Lets the run succeed even if nothing that the mediator asks for is ever served.
    pub fn optional(mut self) -> Self {
        self.set_options(|options| options.is_optional = true);
        self
    }

    /// Returns the mediator's options, to change them when it has been added to a run.
    pub fn share_options(&mut self) -> InvokeOptions {
        let shared = match &self.options {
            Held::Here(options) => InvokeOptions(Rc::new(Cell::new(*options))),
            Held::Shared(shared) => shared.clone(),
        };
        self.options = Held::Shared(shared.clone());
        shared
    }

    /// Returns how many rows of the batch the mediator owns; nothing if it sees all of them.
    pub(crate) fn own_rows(&self) -> Option<u32> {
        self.options().rows
    }

    fn options(&self) -> Options {
        match &self.options {
            Held::Here(options) => *options,
            Held::Shared(shared) => shared.0.get(),
        }
    }

    fn set_options(&mut self, change: impl FnOnce(&mut Options)) {
        let mut options = self.options();
        change(&mut options);
        match &mut self.options {
            Held::Here(own) => *own = options,
            Held::Shared(shared) => shared.0.set(options),
        }
    }
}

/// The number of a mediator in its run, in definition order.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MediatorId(pub u32);

/// The rows of the batch that a mediator reads and replaces.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Group {
    /// These rows.
    Rows(Rows),
    /// All of them, without owning any.
    Whole,
}
