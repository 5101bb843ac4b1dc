//! Programs: what they do, what they refuse, and that they survive every format.

#[path = "../../../tests/support/mod.rs"]
mod support;

mod checks;
mod codes;
mod faults;
mod generate;
mod gradients;
mod limits;
mod looping;
mod nest;
mod outlook;
mod round_trips;
mod running;
mod shapes;
mod structure;
