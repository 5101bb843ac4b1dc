//! The deterministic interleaver of Interloom, without input, output, clock, thread or global
//! state.
//!
//! A *mediator* is a user's intervention, written as an async closure or as a hand-made state
//! machine. It makes one request at a time: the value at a *site*, another value for it, a module
//! not to be computed, an end to the run. An [`Interleaver`] owns the mediators of one run and is
//! asked whenever the model passes a site. It is generic over the value that passes ([`Value`]) and
//! never looks inside it.
//!
//! ```
//! use std::sync::Arc;
//! use interloom_engine::{array::Array, mediator, Cx, Flow, Invoke, Port, Setup, SiteMap};
//!
//! // A model of one module, `double`.
//! let mut map = SiteMap::new();
//! map.add("double", &[Port::Input, Port::Output]);
//! let map = Arc::new(map);
//!
//! // An intervention: read what goes in, and put it out again unchanged.
//! let (undo, seen) = mediator(map.clone(), |cx: Cx<Array>| async move {
//!     let x = cx.input("double").await?;
//!     cx.set_output("double", x.clone()).await?;
//!     Ok(x)
//! });
//!
//! let mut setup = Setup::new(map.clone());
//! setup.invoke(Invoke::new("undo", undo));
//! let mut run = setup.start()?;
//!
//! // The model asks at its two sites.
//! let mut x = Array::scalar(21.0);
//! for (name, factor) in [("double.input", 1.0), ("double.output", 2.0)] {
//!     let point = map.point(name).unwrap();
//!     x = x.map(|x| factor * x);
//!     if run.passes(point) {
//!         let Flow::Continue(value) = run.provide(point, x) else { unreachable!() };
//!         x = value;
//!     }
//! }
//! let report = run.finish();
//! assert!(report.result.is_ok());
//! assert_eq!(x, Array::scalar(21.0));
//! assert_eq!(seen.take(), Some(Array::scalar(21.0)));
//! # Ok::<(), interloom_engine::RunError>(())
//! ```
//!
//! The behaviour is written down rule by rule in `docs/PROTOCOL.md`; tests that prove a rule name
//! it.
#![forbid(unsafe_code)]
#![warn(clippy::exit, clippy::print_stderr, clippy::print_stdout)]

pub mod array;
mod audit;
mod cache;
mod code;
mod cx;
mod digest;
mod error;
mod event;
pub mod explore;
mod fault;
mod interleaver;
mod iterations;
mod lane;
mod map;
mod mediator;
mod observer;
mod padding;
mod planted;
pub mod replay;
pub mod scheduler;
mod setup;
mod site;
pub mod transition;
mod tree;
mod value;

// What the planted bugs are found with; it calls the crate by its name.
#[cfg(test)]
extern crate self as interloom_engine;
#[cfg(test)]
#[path = "../tests/support/generate.rs"]
mod generate;
#[cfg(test)]
#[allow(dead_code)] // The laws use all of it.
#[path = "../tests/support/programs.rs"]
mod programs;
#[cfg(test)]
#[allow(dead_code)]
#[path = "../tests/support/reference.rs"]
mod reference;
#[cfg(test)]
#[path = "../tests/support/steps.rs"]
mod steps;
#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;
#[cfg(test)]
#[allow(dead_code)]
#[path = "../tests/laws/verdict.rs"]
mod verdict;

// The public interface.
pub use audit::{Account, Audit, Note, Refusal};
pub use cache::{CacheSpec, Cached};
pub use code::{AtFault, Code};
pub use cx::{Ask, AsyncMediator, Cx, FromDelivery, Locate, Saved, Stop, mediator, panic_message};
pub use digest::{Digester, Fingerprint};
pub use error::{Asker, Failure, Meeting, Pending, RunError, Silent, codes};
pub use event::{Delivery, Event, Origin, Request, Step, Target};
pub use explore::{Attempt, Explorer, Races, RunOutcome, Verdict};
pub use fault::{Fault, FaultKind, NoGradient, ProgramFault};
pub use interleaver::{Flow, Interleaver, Report, RunEnd};
pub use iterations::{Iterations, Round};
pub use map::{SiteMap, nearest_of};
pub use mediator::{Group, Invoke, InvokeOptions, Mediator, MediatorId};
pub use observer::{Asked, AskedSite, Exchange, Message, Moment, Observer, Outcome};
pub use padding::{Padding, PaddingSide, PositionLayout, Ragged, View};
pub use scheduler::{Granularity, InOrder, Schedule, ScheduleError, Scheduler};
pub use setup::Setup;
pub use site::{PathId, Point, Port, Site};
pub use tree::{NoLeaf, Tree};
pub use value::{Misfit, RowLayout, Rows, Ticket, Value};
