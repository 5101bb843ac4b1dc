//! Mediators: interventions as state machines.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use crate::event::{Delivery, Step};
use crate::site::Point;
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

    /// Returns the values whose gradients the mediator, or a child of it, may ask for: points of
    /// the forward pass, or of the gradients themselves.
    ///
    /// It is asked once, before the run starts. A value whose gradient may be asked for has a hook
    /// in the graph behind it; without one, the request is refused.
    fn gradients(&self) -> Vec<Point> {
        Vec::new()
    }
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

    fn gradients(&self) -> Vec<Point> {
        (**self).gradients()
    }
}

/// A mediator with its name and its rows of the batch.
pub struct Invoke<V> {
    pub(crate) name: String,
    options: Held,
    pub(crate) mediator: Box<dyn Mediator<V>>,
}

/// What a mediator has beside its name and its code.
#[derive(Clone, Debug, Default)]
struct Options {
    rows: Option<u32>,
    is_optional: bool,
    /// The names of the values whose gradients it may ask for.
    gradients: Vec<String>,
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
pub struct InvokeOptions(Rc<RefCell<Options>>);

impl InvokeOptions {
    /// Gives the mediator the next `count` rows of the batch.
    pub fn rows(&self, count: u32) {
        self.0.borrow_mut().rows = Some(count);
    }

    /// Lets the run succeed even if nothing that the mediator asks for is ever served.
    pub fn optional(&self) {
        self.0.borrow_mut().is_optional = true;
    }

    /// Declares the values whose gradients the mediator may ask for: modules, whose outputs are
    /// meant, points, or aliases.
    pub fn gradients<S: Into<String>>(&self, of: impl IntoIterator<Item = S>) {
        let names = of.into_iter().map(Into::into);
        self.0.borrow_mut().gradients.extend(names);
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
        self.options(|options| options.is_optional)
    }

    /// Lets the run succeed even if nothing that the mediator asks for is ever served.
    pub fn optional(mut self) -> Self {
        self.set_options(|options| options.is_optional = true);
        self
    }

    /// Declares the values whose gradients the mediator may ask for: modules, whose outputs are
    /// meant, points, or aliases.
    pub fn gradients<S: Into<String>>(mut self, of: impl IntoIterator<Item = S>) -> Self {
        let names = of.into_iter().map(Into::into);
        self.set_options(|options| options.gradients.extend(names));
        self
    }

    /// Returns the mediator's options, to change them when it has been added to a run.
    pub fn share_options(&mut self) -> InvokeOptions {
        let shared = match &self.options {
            Held::Here(options) => InvokeOptions(Rc::new(RefCell::new(options.clone()))),
            Held::Shared(shared) => shared.clone(),
        };
        self.options = Held::Shared(shared.clone());
        shared
    }

    /// Returns how many rows of the batch the mediator owns; nothing if it sees all of them.
    pub(crate) fn own_rows(&self) -> Option<u32> {
        self.options(|options| options.rows)
    }

    /// Returns the names of the values whose gradients the mediator may ask for, beside those that
    /// it [names](Mediator::gradients) itself.
    pub(crate) fn declared_gradients(&self) -> Vec<String> {
        self.options(|options| options.gradients.clone())
    }

    fn options<T>(&self, of: impl FnOnce(&Options) -> T) -> T {
        match &self.options {
            Held::Here(options) => of(options),
            Held::Shared(shared) => of(&shared.0.borrow()),
        }
    }

    fn set_options(&mut self, change: impl FnOnce(&mut Options)) {
        match &mut self.options {
            Held::Here(own) => change(own),
            Held::Shared(shared) => change(&mut shared.0.borrow_mut()),
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

impl Group {
    /// Returns the row after the last that is its own; 0 if none is.
    pub const fn end(&self) -> u32 {
        match self {
            Self::Rows(rows) => rows.end(),
            Self::Whole => 0,
        }
    }
}
