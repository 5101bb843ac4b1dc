//! What the fuzz targets do: one function for each.
//!
//! A target takes any bytes and panics if something is wrong with Interloom; what it returns says whether the bytes were
//! accepted, so that a corpus in which everything is refused is noticed. `fuzz_targets/` hands them to libFuzzer, and
//! `tests/corpus/` runs them over `corpus/` and over mutations of it, as ordinary tests.
#![forbid(unsafe_code)]

mod engine;
mod experiment;
mod files;
mod journal;
mod tools;

// The public interface.
pub use engine::{Transcript, engine, transcript};
pub use experiment::experiment;
pub use files::{config, gguf, safetensors};
pub use journal::{exchange, frame, journal, repaired};
pub use tools::tools;

/// A target: a name, which is also that of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]) -> bool);

/// Every target but [`canary`].
pub const TARGETS: [Target; 8] = [
    ("journal", journal),
    ("tools", tools),
    ("frame", frame),
    ("exchange", exchange),
    ("gguf", gguf),
    ("safetensors", safetensors),
    ("config", config),
    ("engine", engine),
    ("experiment", experiment),
];

/// Fails when it should, so that a fuzzer, or a test of a corpus, that notices nothing is noticed.
///
/// # Panics
///
/// Panics if the bytes contain `!dead`.
pub fn canary(bytes: &[u8]) -> bool {
    let found = bytes.windows(5).any(|window| window == b"!dead");
    assert!(!found, "the canary is dead, as it should be");
    !bytes.is_empty()
}
