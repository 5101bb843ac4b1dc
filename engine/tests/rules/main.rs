//! The rules of the protocol, each with the tests that prove it; a test's name starts with its
//! rule.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/spy.rs"]
mod spy;

mod barriers;
mod batches;
mod caches;
mod ending;
mod futures;
mod gradients;
mod leaving;
mod loop_ends;
mod loops;
mod order;
mod sharing;
mod skip;
mod stepping;
mod transitions;
