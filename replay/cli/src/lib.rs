//! Experiment files, and the program `interloom`.
//!
//! - [`experiment`] reads and runs experiment files, which people write by hand, and makes them
//!   again from a journal alone.
//! - [`main`] is the program: one file for each command. [`read`] reads its arguments.

#![forbid(unsafe_code)]
#![warn(clippy::exit, clippy::print_stderr, clippy::print_stdout)]

#[expect(
    clippy::disallowed_macros,
    clippy::exit,
    reason = "the command line prints, and ends its process where its output is closed"
)]
mod commands;
mod error;
pub mod experiment;
mod explanation;
mod heat_map;
mod progress;

// The public interface.
pub use commands::{Cli, main, read};
pub use error::{CliError, codes};
pub use heat_map::HeatMap;
pub use progress::Progress;
