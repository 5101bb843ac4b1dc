//! Schedulers, races and explorations on simulated models.

#[path = "../support/mod.rs"]
mod support;

mod schedulers;
