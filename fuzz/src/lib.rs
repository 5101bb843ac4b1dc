//! What the fuzz targets do: one function for each.
//!
//! A target takes any bytes and panics if something is wrong with Interloom; what it returns says
//! whether the bytes were accepted, so that a corpus in which everything is refused is noticed.
//! `fuzz_targets/` hands them to libFuzzer, and `tests/corpus/` runs them over `corpus/` and over
//! mutations of it, as ordinary tests.
#![forbid(unsafe_code)]

mod arguments;
mod divergence;
mod engine;
mod experiment;
mod files;
mod journal;
mod journal_files;
mod laws;
mod program;
mod schedule;
mod tools;

// What the laws of the engine's tests are made with, among it the reference interpreter. It says
// `crate::` of itself.
#[path = "../../engine/program/tests/support/as_program.rs"]
mod as_program;
#[allow(dead_code, reason = "the laws use more of it")]
#[path = "../../engine/tests/support/generate.rs"]
mod generate;
#[allow(dead_code, reason = "the laws use more of it")]
#[path = "../../engine/tests/support/programs.rs"]
mod programs;
#[allow(dead_code, reason = "the laws use more of it")]
#[path = "../../engine/tests/support/reference.rs"]
mod reference;
#[allow(dead_code, reason = "the laws use more of it")]
#[path = "../../engine/tests/support/steps.rs"]
mod steps;
#[path = "../../engine/tests/support/mod.rs"]
mod support;
#[path = "../../engine/tests/laws/verdict.rs"]
mod verdict;

// The public interface.
pub use arguments::arguments;
pub use divergence::divergence;
pub use engine::{Transcript, engine, transcript};
pub use experiment::experiment;
pub use files::{config, gguf, safetensors};
pub use journal::{exchange, frame, head, journal, repaired};
pub use journal_files::{open, recover};
pub use laws::laws;
pub use program::program;
pub use schedule::schedule;
pub use tools::tools;

/// A target: a name, which is also that of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// Every target but [`canary`].
pub const TARGETS: [Target; 17] = [
    ("journal", journal),
    ("tools", tools),
    ("frame", frame),
    ("head", head),
    ("exchange", exchange),
    ("open", open),
    ("recover", recover),
    ("divergence", divergence),
    ("gguf", gguf),
    ("safetensors", safetensors),
    ("config", config),
    ("engine", engine),
    ("laws", laws),
    ("schedule", schedule),
    ("program", program),
    ("experiment", experiment),
    ("arguments", arguments),
];

/// Fails when it should, so that a fuzzer, or a test of a corpus, that notices nothing is noticed.
///
/// # Panics
///
/// Panics if the bytes contain `!dead`.
pub fn canary(bytes: &[u8]) -> bool {
    // Byte by byte, so that each one that is right reaches new code: a fuzzer finds its way there
    // without a seed.
    let found = bytes.windows(5).any(|window| {
        window[0] == b'!'
            && window[1] == b'd'
            && window[2] == b'e'
            && window[3] == b'a'
            && window[4] == b'd'
    });
    assert!(!found, "the canary is dead, as it should be");
    !bytes.is_empty()
}
