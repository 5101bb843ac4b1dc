//! The way out to a recorder: observers see everything that is said on both sides, whole, and
//! change none of it.

use crate::cache::CacheSpec;
use crate::event::{Event, Origin};
use crate::fault::Fault;
use crate::iterations::Round;
use crate::mediator::MediatorId;
use crate::padding::Padding;
use crate::site::Site;
use crate::value::RowLayout;

/// One message of a mediator and what became of it.
///
/// Nothing of either is left out: a swap has the value that was refused, a REGISTER the loop that
/// its child is an iteration of. With the model's side ([`Moment::Padded`], [`Moment::Enter`],
/// [`Moment::Finish`]) it is all that a run depends on, so that [`replay`](crate::replay) can put a
/// record in the place of either.
#[derive(Debug)]
pub struct Exchange<'a, V> {
    /// The number of the exchange in its run, from 0.
    pub index: u64,
    /// The mediator.
    pub mediator: MediatorId,
    /// The site that the model was passing; `None` before it started and after it finished.
    pub at: Option<Site>,
    /// What the mediator said.
    pub message: Message<'a, V>,
    /// What became of it.
    pub outcome: Outcome<'a, V>,
    /// Where in the user's source the request stands.
    pub origin: &'a Origin,
}

impl<'a, V> Exchange<'a, V> {
    /// Returns the event of the message.
    pub const fn event(&self) -> Event {
        self.message.event()
    }

    /// Returns what the message is about; BACKWARD, STOP, END and EXCEPTION are about nothing.
    pub const fn asked(&self) -> Option<Asked<'a>> {
        self.message.asked()
    }

    /// Returns the value that was exchanged: read or got, or swapped in, skipped to, put or
    /// differentiated; none of a refused request.
    pub const fn value(&self) -> Option<&'a V> {
        match self.outcome {
            Outcome::Served(Some(answer)) => Some(answer),
            Outcome::Served(None) => self.message.value(),
            Outcome::Refused(_) => None,
        }
    }

    /// Returns why the request was refused, or why the mediator failed.
    pub const fn fault(&self) -> Option<&'a Fault> {
        match (&self.message, self.outcome) {
            (_, Outcome::Refused(fault)) => Some(fault),
            (Message::Exception { fault }, _) => Some(fault),
            _ => None,
        }
    }
}

/// A message of a mediator: a request, or its end.
#[derive(Debug)]
pub enum Message<'a, V> {
    /// A request for a site's value.
    Value {
        /// The site.
        site: AskedSite<'a>,
    },
    /// A replacement for a site's value.
    Swap {
        /// The site.
        site: AskedSite<'a>,
        /// The replacement: the mediator's rows.
        value: &'a V,
        /// Whether the shape may change.
        reshape: bool,
    },
    /// An output for a module that is then not computed.
    Skip {
        /// The module's input.
        site: AskedSite<'a>,
        /// The output: the mediator's rows.
        value: &'a V,
    },
    /// A child that runs before its parent continues.
    Register {
        /// The child's own iteration.
        iteration: u32,
        /// The loop that the child is an iteration of, if it is one.
        round: Round,
    },
    /// An arrival at a barrier; the exchange is made when the mediator continues.
    Barrier {
        /// The barrier's name.
        name: &'a str,
    },
    /// A value for the run's blackboard.
    Put {
        /// The value's name.
        name: &'a str,
        /// The value.
        value: &'a V,
    },
    /// A request for a value of the blackboard.
    Get {
        /// The value's name.
        name: &'a str,
    },
    /// A backward pass from a loss.
    Backward {
        /// The loss.
        loss: &'a V,
    },
    /// The end of the model's run.
    Stop,
    /// The mediator's end.
    End,
    /// The mediator's failure.
    Exception {
        /// Why it failed.
        fault: &'a Fault,
    },
}

impl<V> Clone for Message<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Message<'_, V> {}

impl<'a, V> Message<'a, V> {
    /// Returns the event.
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
            Self::Stop => Event::Stop,
            Self::End => Event::End,
            Self::Exception { .. } => Event::Exception,
        }
    }

    /// Returns what the message is about.
    pub const fn asked(&self) -> Option<Asked<'a>> {
        match self {
            Self::Value { site } | Self::Swap { site, .. } | Self::Skip { site, .. } => {
                Some(match site {
                    AskedSite::Known(site) => Asked::Site(*site),
                    AskedSite::Unknown(name) => Asked::Unknown(name),
                })
            }
            Self::Register { iteration, .. } => Some(Asked::Iteration(*iteration)),
            Self::Barrier { name } | Self::Put { name, .. } | Self::Get { name } => {
                Some(Asked::Name(name))
            }
            Self::Backward { .. } | Self::Stop | Self::End | Self::Exception { .. } => None,
        }
    }

    /// Returns the value that the mediator gives.
    pub const fn value(&self) -> Option<&'a V> {
        match self {
            Self::Swap { value, .. } | Self::Skip { value, .. } | Self::Put { value, .. } => {
                Some(value)
            }
            Self::Backward { loss } => Some(loss),
            _ => None,
        }
    }
}

/// The site that a request names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AskedSite<'a> {
    /// A site of the model.
    Known(Site),
    /// A name that the model does not have.
    Unknown(&'a str),
}

/// The subject of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asked<'a> {
    /// A site of the model.
    Site(Site),
    /// A name that the model does not have.
    Unknown(&'a str),
    /// The name of a barrier, or of a value on the blackboard.
    Name(&'a str),
    /// The own iteration of a child that is registered.
    Iteration(u32),
}

/// The outcome of a message.
#[derive(Debug)]
pub enum Outcome<'a, V> {
    /// It was served; a VALUE and a GET with the value that is the answer.
    Served(Option<&'a V>),
    /// It was refused, and the mediator received the fault.
    Refused(&'a Fault),
}

impl<V> Clone for Outcome<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Outcome<'_, V> {}

/// A moment between exchanges.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Moment<'a, V> {
    /// Every mediator has run to its first request, and the model starts.
    Begin,
    /// The rows of the batch differ in length: once in a run, before its model comes to a site.
    Padded {
        /// How they are padded.
        padding: &'a Padding,
    },
    /// The model is at a site that a mediator waits for or a cache collects; no mediator has been
    /// stepped there.
    Enter {
        /// The site.
        site: Site,
        /// The sites that the model has passed since the last such moment, this one last. Empty
        /// unless the run [traces](crate::Setup::trace) its model.
        passed: &'a [Site],
        /// The value that passes, before all changes.
        value: &'a V,
        /// The rows of the batch.
        batch: u32,
        /// Which tensors carry them.
        layout: &'a RowLayout,
    },
    /// A mediator arrives at a barrier; the exchange comes when it continues.
    Arrive {
        /// The mediator.
        mediator: MediatorId,
        /// The barrier's name.
        barrier: &'a str,
        /// The site that the model is passing.
        at: Option<Site>,
        /// Where in the user's source the request stands.
        origin: &'a Origin,
    },
    /// A mediator declares a cache; no exchange.
    CacheDeclared {
        /// The mediator.
        mediator: MediatorId,
        /// Which of its caches, from 0; those of its children count.
        number: u32,
        /// What it collects.
        spec: &'a CacheSpec,
        /// Why it is refused, if it is: it comes too late, or lists what the model does not have.
        fault: Option<&'a Fault>,
        /// Where in the user's source the cache is declared.
        origin: &'a Origin,
    },
    /// A cache collects a value; no exchange.
    Cached {
        /// The mediator whose cache it is; `None` is the run.
        owner: Option<MediatorId>,
        /// Which of its caches, from 0; those of its children count. Of the run's, which of those.
        number: u32,
        /// The site.
        site: Site,
        /// The value: the rows of the owner.
        value: &'a V,
    },
    /// The mediators are done with a site.
    Leave {
        /// The site.
        site: Site,
        /// Whether the run failed there, so that others may not have had their turn.
        failed: bool,
    },
    /// A backward pass begins.
    BeginBackward {
        /// The number of the pass in its run, from 0.
        number: u32,
        /// The loss, where it is that of the code around the model; what mediators asked for is in
        /// their exchanges.
        loss: Option<&'a V>,
        /// The sites that the model has passed since the last [`Moment::Enter`], if the run traces
        /// its model.
        passed: &'a [Site],
    },
    /// A backward pass has ended.
    EndBackward {
        /// The number of the pass in its run.
        number: u32,
        /// The gradients' sites that were passed since the last [`Moment::Enter`], if the run
        /// traces its model.
        passed: &'a [Site],
    },
    /// The model has finished, was stopped or was halted by a failure; what still waits is refused
    /// after this.
    Finish {
        /// The sites that the model has passed since the last [`Moment::Enter`], if the run
        /// traces its model.
        passed: &'a [Site],
    },
    /// A mediator's request is still open when the run is over, because the run failed before it
    /// was served.
    Open {
        /// The mediator.
        mediator: MediatorId,
        /// What it waits for.
        message: Message<'a, V>,
        /// Where in the user's source the request stands.
        origin: &'a Origin,
    },
}

/// A watcher of a run.
pub trait Observer<V> {
    /// Sees one exchange, right when it happens.
    fn exchange(&mut self, exchange: &Exchange<'_, V>);

    /// Sees what happens between exchanges.
    fn moment(&mut self, moment: &Moment<'_, V>) {
        let _ = moment;
    }
}

impl<V, F: FnMut(&Exchange<'_, V>)> Observer<V> for F {
    fn exchange(&mut self, exchange: &Exchange<'_, V>) {
        self(exchange);
    }
}
