//! `interloom bisect`: where do two journals, builds, devices or orders part?

mod builds;
mod journals;
mod rerun;
mod schedules;

use clap::{Args, Subcommand};

use super::Ending;
use crate::CliError;

/// Find the first exchange at which two journals, builds, devices or orders part.
///
/// Exits with 0 if nothing parts, and with 4 if something does.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    between: Between,
}

/// What is compared with what.
#[derive(Subcommand)]
enum Between {
    Journals(journals::Arguments),
    Build(builds::Arguments),
    Rerun(rerun::Arguments),
    Schedules(schedules::Arguments),
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, CliError> {
    match &arguments.between {
        Between::Journals(arguments) => journals::run(arguments),
        Between::Build(arguments) => builds::run(arguments),
        Between::Rerun(arguments) => rerun::run(arguments),
        Between::Schedules(arguments) => schedules::run(arguments),
    }
}
