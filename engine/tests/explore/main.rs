//! Schedulers, races and explorations on simulated models.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/programs.rs"]
#[allow(dead_code)] // The laws use all of it.
mod programs;
#[path = "../support/steps.rs"]
#[allow(dead_code)]
mod steps;

mod bisecting;
mod cases;
mod counts;
mod generated;
mod races;
mod schedulers;
mod shrinking;
mod verdicts;
mod workers;
