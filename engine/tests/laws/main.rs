//! The laws of the interleaver, on models and mediators that are generated.
//!
//! The first law compares the engine with a reference that is written from the rules alone, without the engine's means.
//! The others hold between two runs of the engine, or between a run and what it says of itself.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/as_program.rs"]
mod as_program;
#[path = "../support/generate.rs"]
mod generate;
#[path = "../support/programs.rs"]
mod programs;
#[path = "../support/reference.rs"]
mod reference;
#[path = "../support/spy.rs"]
mod spy;
#[path = "../support/steps.rs"]
mod steps;

mod agreement;
mod batches;
mod caches;
mod checks;
mod combined;
mod data;
mod loops;
mod meetings;
mod rehearsals;
mod runs;
mod scenario;
mod stepping;
mod tools;
mod transitions;
mod verdict;

use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;

/// Equal runs of the tests see equal cases.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x1417_e410),
        ..ProptestConfig::default()
    }
}
