//! The laws of the interleaver, on models and mediators that are generated.
//!
//! The first law compares the engine with a reference that is written from the rules alone, without
//! the engine's means. The others hold between two runs of the engine, or between a run and what it
//! says of itself.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/generate.rs"]
mod generate;
#[path = "../support/programs.rs"]
#[allow(dead_code, reason = "`interloom-program` has another style")]
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
mod combined;
mod loops;
mod meetings;
mod replays;
mod runs;
mod scenario;
mod stepping;
mod styles;
mod tools;
mod transitions;
mod verdict;

use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;

use crate::programs::Style;

/// The styles in which mediators are written here; `interloom-program` tests the same laws with
/// programs.
const STYLES: [Style; 2] = [Style::Machine, Style::Async];

/// The folder of the cases that were kept.
const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/regressions");

/// Equal runs of the tests see equal cases.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x1417_e410),
        ..ProptestConfig::default()
    }
}
