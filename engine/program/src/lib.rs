//! Mediators as data: programs that can be written to a file, checked before a run, and stepped
//! through.
//!
//! A [`Program`] is a list of steps over named variables. It is plain data: it knows no tensor
//! library, no model and no run, and it round-trips through every format that serde knows. The
//! functions of this crate, and the methods of [`Program`] and [`Expr`], write it down:
//!
//! ```
//! use interloom_program::{var, Program};
//!
//! let ablate = Program::new()
//!     .read("layers.1.output", "h")
//!     .write("layers.1.output", var("h") * 0.0)
//!     .save("h");
//! ```
//!
//! Gradients have sites of their own, which a program reads and writes as any other once a
//! backward pass is asked for; see [`Program::backward`].
//!
//! A [`Machine`] steps through a program as one mediator of a run, and makes the exchanges that the
//! async closure of equal steps makes. What the program saves, marks and catches is in its
//! [`Results`]:
//!
//! ```
//! use std::sync::Arc;
//! use interloom_engine::array::Array;
//! use interloom_program::{Machine, Program};
//! use interloom_engine::{Flow, Invoke, Port, Setup, SiteMap};
//!
//! let mut map = SiteMap::new();
//! map.add("double", &[Port::Input, Port::Output]);
//! let map = Arc::new(map);
//!
//! let program = Program::new().read("double.input", "x").save("x");
//! program.check(&*map)?;
//! let machine = Machine::new(&program, &map)?;
//! let results = machine.results();
//!
//! let mut setup = Setup::new(map.clone());
//! setup.invoke(Invoke::new("watch", machine));
//! let mut run = setup.start().unwrap();
//! let input = map.point("double.input").unwrap();
//! assert!(run.passes(input));
//! let Flow::Continue(_) = run.provide(input, Array::scalar(21.0)) else { unreachable!() };
//! run.finish().result.unwrap();
//! assert_eq!(results.value("x"), Some(Array::scalar(21.0)));
//! # Ok::<(), interloom_program::ProgramError>(())
//! ```
//!
//! # What a machine never does
//!
//! It never recurses over a program and never loops by itself: a program is compiled to a flat list
//! of instructions, each iteration of a loop is a child that the interleaver runs, and so no
//! program can keep the model from continuing. How deep and how large a program may be is limited
//! ([`DEPTH_MAX`], [`BODIES_MAX`], [`SIZE_MAX`]), so that whatever is accepted also survives a
//! round trip through JSON.
#![forbid(unsafe_code)]
#![warn(clippy::exit, clippy::print_stderr, clippy::print_stdout)]

mod build;
mod check;
mod compile;
mod datum;
mod error;
mod evaluate;
mod expr;
mod form;
mod known;
mod machine;
mod nesting;
mod number;
mod operand;
mod pass;
mod ragged;
mod step;

// The public interface.
pub use build::{all, any, caught, get, given, inputs, is_set, map, module, read, tuple, var};
pub use check::{BODIES_MAX, DEPTH_MAX, SIZE_MAX};
pub use datum::{Datum, Results};
pub use error::{Place, ProgramError};
pub use expr::{Comparison, Condition, Expr, Item, Span};
pub use form::{Form, Shapes};
pub use interloom_engine::ProgramFault;
pub use known::{CheckContext, Effects, ModelShapes, Skipped, SuppliedModules};
pub use machine::Machine;
pub use operand::{Along, Arithmetic, Items, Modules, Operand};
pub use step::{Action, Over, Program, ProgramStep, Side};

/// Iterates over every error code of this room, in order; [`ProgramFault`] has its code in the
/// engine's catalogue.
pub fn codes() -> impl Iterator<Item = &'static interloom_engine::Code> {
    error::CODES.iter()
}
