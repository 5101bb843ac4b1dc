//! The rules of the protocol, each with the tests that prove it; a test's name starts with its rule.

#[path = "../support/mod.rs"]
mod support;

mod batches;
mod ending;
mod futures;
mod leaving;
mod order;
mod skip;
mod stepping;
mod transitions;
