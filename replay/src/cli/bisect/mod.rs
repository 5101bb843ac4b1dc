//! `interloom bisect`: where do two journals, builds, devices or orders part?

mod builds;
mod journals;
mod schedules;

use std::path::PathBuf;

use anstream::eprintln;
use clap::Args;

use super::Ending;
use super::file::pair;
use super::run::Turns;
use crate::Error;
use crate::divergence::CONTEXT_DEFAULT;

/// Find the first exchange at which two journals, builds, devices or orders part.
///
/// Of two journals, A and B: reads both once. Of a journal and `--with`, `--device` or `--schedule`: makes its runs again with
/// another build of this program, on another device or in another order, and compares every exchange. Of an experiment file
/// and two schedules of a run with different outcomes: finds the one change of order, two turns that change places, that
/// flips the result, and says what the two race for.
///
/// Exits with 0 if nothing parts, and with 4 if something does.
#[derive(Args)]
pub(super) struct Arguments {
    /// A journal, or an experiment file (`.toml`).
    #[arg(value_name = "A")]
    first: PathBuf,
    /// Another journal.
    #[arg(value_name = "B")]
    second: Option<PathBuf>,
    /// Another build of this program, that makes the runs of the journal again.
    #[arg(long, value_name = "PROGRAM", conflicts_with = "second")]
    with: Option<PathBuf>,
    /// Another device: `cpu`, `cuda` or `cuda:N`.
    #[arg(long, value_name = "DEVICE", conflicts_with_all = ["second", "with"])]
    device: Option<String>,
    /// Another order of the mediators, as `interloom run --schedule` takes it; of an experiment file the two to bisect.
    #[arg(long = "schedule", value_name = "[RUN=]SCHEDULE", conflicts_with_all = ["second", "with"])]
    schedules: Vec<String>,
    /// How long a turn of a mediator lasts: until it asks for another site, or until it has been served once.
    #[arg(
        long,
        value_name = "TURN",
        value_enum,
        default_value_t,
        requires = "schedules"
    )]
    granularity: Turns,
    /// Where the model is, if it is not where the recording found it or the file names it.
    #[arg(long, value_name = "MODEL", conflicts_with = "second")]
    model: Option<String>,
    /// Of an experiment file: another value for a name in its `[set]`; can be given several times.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = pair, conflicts_with = "second")]
    set: Vec<(String, String)>,
    /// Of two journals: how many exchanges before the first difference are shown.
    #[arg(long, value_name = "N", default_value_t = CONTEXT_DEFAULT, conflicts_with_all = ["with", "device", "schedules"])]
    context: usize,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, Error> {
    let is_file = arguments.first.extension().is_some_and(|end| end == "toml");
    if !is_file && !arguments.set.is_empty() {
        return Ok(usage(
            "`--set` is for an experiment file; a journal has what was set",
        ));
    }
    match (&arguments.second, &arguments.with) {
        (Some(second), _) => journals::run(arguments, second),
        (None, Some(_)) if is_file => Ok(usage("`--with` takes a journal, not an experiment file")),
        (None, Some(program)) => builds::run(arguments, program),
        (None, None) if is_file => schedules::run(arguments),
        (None, None) if arguments.device.is_none() && arguments.schedules.is_empty() => Ok(usage(
            "what is the other side? name a second journal, or say `--with PROGRAM`, `--device DEVICE` or `--schedule SCHEDULE`",
        )),
        (None, None) => journals::again(arguments),
    }
}

fn usage(message: &str) -> Ending {
    eprintln!("{message}");
    Ending::Usage
}
