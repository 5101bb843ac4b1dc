//! Requests of mediators, and the deliveries that answer them.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cache::{CacheSpec, Cached};
use crate::fault::Fault;
use crate::iterations::Round;
use crate::mediator::Mediator;
use crate::site::Point;

/// The kinds of exchange between a mediator and the interleaver.
///
/// The numbers are part of the journal's format.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Event {
    /// A request for a site's value.
    Value = 0,
    /// A replacement of a site's value.
    Swap = 1,
    /// A request not to compute a module, with the value that is its output instead.
    Skip = 2,
    /// A delegation to a child, which runs to its end before the mediator continues.
    Register = 3,
    /// An arrival at a barrier, where the mediator waits for the other participants.
    Barrier = 4,
    /// A request to end the model's run here, normally.
    Stop = 5,
    /// The mediator's end.
    End = 6,
    /// The mediator's failure.
    Exception = 7,
    /// A value for the run's blackboard, which mediators share.
    Put = 8,
    /// A request for a value of the blackboard.
    Get = 9,
    /// Differentiate this loss.
    Backward = 10,
}

impl Event {
    /// Every event, in the order of its number.
    pub const ALL: [Self; 11] = [
        Self::Value,
        Self::Swap,
        Self::Skip,
        Self::Register,
        Self::Barrier,
        Self::Stop,
        Self::End,
        Self::Exception,
        Self::Put,
        Self::Get,
        Self::Backward,
    ];

    /// Returns the code that stands for this event in a journal.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Returns the event with this code, if there is one.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Returns the event's name in capitals, as reports write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Value => "VALUE",
            Self::Swap => "SWAP",
            Self::Skip => "SKIP",
            Self::Register => "REGISTER",
            Self::Barrier => "BARRIER",
            Self::Stop => "STOP",
            Self::End => "END",
            Self::Exception => "EXCEPTION",
            Self::Put => "PUT",
            Self::Get => "GET",
            Self::Backward => "BACKWARD",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A request of a mediator to the interleaver, of which it has one at a time.
#[derive(Debug)]
#[non_exhaustive]
pub enum Request<V> {
    /// The value at a site; answered by [`Delivery::Value`].
    Value {
        /// Where.
        target: Target,
    },
    /// Another value for a site; answered by [`Delivery::Done`].
    Swap {
        /// Where.
        target: Target,
        /// The replacement: the mediator's rows.
        value: V,
        /// Whether the shape may change, for a mediator that owns the whole batch.
        reshape: bool,
    },
    /// An output for a module that is then not computed; answered by [`Delivery::Done`].
    Skip {
        /// The module's input.
        target: Target,
        /// What the module returns instead: the mediator's rows.
        value: V,
    },
    /// A child that acts for this mediator's invoke until it ends.
    ///
    /// Answered by [`Delivery::Done`] when the child has ended, or by [`Delivery::Over`] if no
    /// further iteration of its loop will come.
    Register {
        /// The child; it is started at once.
        child: Box<dyn Mediator<V>>,
        /// The child's own iteration; `None` is the one that this mediator has.
        iteration: Option<u32>,
        /// The loop that the child is an iteration of, if it is one.
        round: Round,
    },
    /// A wait for the other participants of a barrier; answered by [`Delivery::Done`].
    Barrier {
        /// The barrier's name, as the run declares it.
        name: Arc<str>,
    },
    /// A value for the run's blackboard; answered by [`Delivery::Done`].
    Put {
        /// The value's name; a value that was there by that name is replaced.
        name: Arc<str>,
        /// The value, as it will be read: whole, whatever the rows of the reader.
        value: V,
    },
    /// A value from the run's blackboard; answered by [`Delivery::Value`].
    Get {
        /// The value's name.
        name: Arc<str>,
    },
    /// A backward pass from a loss, once all mediators are done with the site at hand; answered by
    /// [`Delivery::Done`] at once, so that the mediator can ask for gradients.
    Backward {
        /// The loss, of one element.
        loss: V,
    },
}

impl<V> Request<V> {
    /// Returns the event that the request is.
    pub const fn event(&self) -> Event {
        match self {
            Self::Value { .. } => Event::Value,
            Self::Swap { .. } => Event::Swap,
            Self::Skip { .. } => Event::Skip,
            Self::Register { .. } => Event::Register,
            Self::Barrier { .. } => Event::Barrier,
            Self::Put { .. } => Event::Put,
            Self::Get { .. } => Event::Get,
            Self::Backward { .. } => Event::Backward,
        }
    }

    /// Returns the site that the request is for; `None` if it is for no site.
    pub const fn target(&self) -> Option<&Target> {
        match self {
            Self::Value { target } | Self::Swap { target, .. } | Self::Skip { target, .. } => {
                Some(target)
            }
            Self::Register { .. }
            | Self::Barrier { .. }
            | Self::Put { .. }
            | Self::Get { .. }
            | Self::Backward { .. } => None,
        }
    }
}

/// The site that a request is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// A point of the model, at the given iteration or the mediator's own.
    Point {
        /// The hook point.
        point: Point,
        /// The iteration; `None` is the mediator's own current one.
        iteration: Option<u32>,
    },
    /// A name that the model does not have; the request is refused with the nearest names.
    Unknown(Arc<str>),
}

impl From<Point> for Target {
    fn from(point: Point) -> Self {
        Self::Point {
            point,
            iteration: None,
        }
    }
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub enum Delivery<V> {
    /// The mediator may run to its first request.
    Start,
    /// The value that it asked for: its own rows.
    Value(V),
    /// What it asked for was done: a swap or skip taken, a child run, a barrier passed, a value
    /// put.
    Done,
    /// Its child has ended, and with it the loop: no further iteration will come.
    Over,
    /// Its request cannot be served; it may ask for something else.
    Refused(Fault),
}

/// The next step of a mediator: a request, or its end.
pub enum Step<V> {
    /// It asks for something and waits.
    Ask {
        /// What it asks for.
        request: Request<V>,
        /// Where in the user's source the request stands.
        origin: Origin,
        /// The mediator, to be resumed with the answer.
        rest: Box<dyn Mediator<V>>,
    },
    /// It advances its own iteration; no exchange, answered by [`Delivery::Done`] at once.
    Next {
        /// By how many iterations.
        by: u32,
        /// The mediator, to be resumed.
        rest: Box<dyn Mediator<V>>,
    },
    /// It has its sites collected from here on; no exchange, answered by [`Delivery::Done`] or a
    /// refusal at once.
    Cache {
        /// What to collect.
        spec: CacheSpec,
        /// Where to.
        into: Cached<V>,
        /// Where in the user's source the cache is declared.
        origin: Origin,
        /// The mediator, to be resumed.
        rest: Box<dyn Mediator<V>>,
    },
    /// It ends the model's run here, and itself.
    Stop {
        /// Where in the user's source the stop stands.
        origin: Origin,
    },
    /// It is done.
    End,
    /// It failed.
    Fail {
        /// Why.
        fault: Fault,
        /// Where in the user's source the last request stands.
        origin: Origin,
    },
}

/// The place of a request in the user's source.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Origin {
    /// Not known.
    #[default]
    Unknown,
    /// A line of Rust.
    Rust(&'static Location<'static>),
    /// A line of a file that holds a mediator as data.
    Program {
        /// The file as the user named it.
        file: Arc<str>,
        /// The line, from 1.
        line: u32,
    },
}

impl Origin {
    /// Returns the file and the line.
    pub fn file_line(&self) -> Option<(&str, u32)> {
        match self {
            Self::Unknown => None,
            Self::Rust(location) => Some((location.file(), location.line())),
            Self::Program { file, line } => Some((file, *line)),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.file_line() {
            Some((file, line)) => write!(f, "{file}:{line}"),
            None => f.write_str("an unknown line"),
        }
    }
}
