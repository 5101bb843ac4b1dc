//! The laws of the interleaver again, with programs as its mediators, and the laws of programs.

#[path = "../../../tests/support/mod.rs"]
mod support;

#[path = "../support/as_program.rs"]
mod as_program;
#[path = "../../../tests/support/generate.rs"]
mod generate;
#[allow(dead_code, reason = "the engine has other styles")]
#[path = "../../../tests/support/programs.rs"]
mod programs;
#[path = "../../../tests/support/reference.rs"]
mod reference;
#[path = "../../../tests/support/spy.rs"]
mod spy;
#[path = "../../../tests/support/steps.rs"]
mod steps;

// The laws that hold in every style in which a mediator can be written.
#[path = "../../../tests/laws/agreement.rs"]
mod agreement;
#[path = "../../../tests/laws/caches.rs"]
mod caches;
#[path = "../../../tests/laws/combined/mod.rs"]
mod combined;
#[path = "../../../tests/laws/replays.rs"]
mod replays;
#[path = "../../../tests/laws/scenario.rs"]
mod scenario;
#[path = "../../../tests/laws/styles.rs"]
mod styles;
#[allow(dead_code, reason = "the other laws use more of it")]
#[path = "../../../tests/laws/tools.rs"]
mod tools;
#[path = "../../../tests/laws/transitions.rs"]
mod transitions;
#[path = "../../../tests/laws/verdict.rs"]
mod verdict;

mod checks;
mod data;

use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;

use crate::as_program::PROGRAM;
use crate::programs::Style;

const STYLES: [Style; 1] = [PROGRAM];

/// The folder of the cases that were kept.
const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/regressions");

/// Equal runs of the tests see equal cases.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x1417_e410),
        ..ProptestConfig::default()
    }
}
