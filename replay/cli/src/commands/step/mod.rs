//! `interloom step`: go through a journal, forwards and back.

mod figures;
#[cfg(feature = "tui")]
mod lanes;
mod line;
#[cfg(feature = "tui")]
mod screen;
#[cfg(all(test, feature = "tui"))]
mod tests;
#[cfg(feature = "tui")]
mod view;
#[cfg(feature = "tui")]
mod walk;

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use clap::Args;
use figures::Figures;
use interloom_journal::IndexedJournal;

use super::{Ending, training};
use crate::CliError;

/// Go through a journal, forwards and back: on the screen where there is a terminal, and line by
/// line for scripts.
///
/// On the screen `?` lists the keys. In lines, commands are read from standard input: next [N],
/// back [N], goto N, site SITE and mediator NAME (the next one there), show, why, quit. Each prints
/// the exchange at which it arrives; `show` also the figures of the tensors that are kept, which
/// JSON always has. Exits with 2 if a command was not understood.
#[derive(Args)]
pub(super) struct Arguments {
    /// The journal; or a step of a training run: `runs/a@1200`.
    #[arg(value_name = "FILE")]
    journal: PathBuf,
    /// Begin at this exchange.
    #[arg(long, value_name = "N", default_value_t = 0)]
    at: u64,
    /// Read commands line by line, also where there is a terminal.
    #[arg(long)]
    plain: bool,
    /// Print each exchange as JSON; commands are read line by line.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, CliError> {
    let place = training::located(&arguments.journal)?;
    let (mut journal, problem) = IndexedJournal::open(&place.journal)?;
    let first = place
        .runs
        .and_then(|runs| first_exchange(&journal, runs.start));
    let at = if arguments.at == 0 {
        first.unwrap_or(0)
    } else {
        arguments.at
    };
    if at > 0 {
        // Says what there is if there is no such exchange.
        journal.exchange(at)?;
    }
    let is_terminal = || io::stdin().is_terminal() && io::stdout().is_terminal();
    let path = &place.journal;
    let figures = Figures::open(path, &journal)?;
    let ending = if arguments.plain || arguments.json || !is_terminal() {
        line::run(journal, figures, at, arguments.json)?
    } else {
        #[cfg(feature = "tui")]
        let ended = screen::run(path, journal, figures, at, problem.as_ref())?;
        #[cfg(not(feature = "tui"))]
        let ended = Err(CliError::NotBuiltIn {
            what: "the screen of `interloom step`, in place of which `--plain` reads lines",
            feature: "tui",
        })?;
        ended
    };
    match problem {
        Some(error) => Err(error.into()),
        None => Ok(ending),
    }
}

/// Returns the index of the first exchange of a run.
fn first_exchange(journal: &IndexedJournal, run: u32) -> Option<u64> {
    let mut runs = journal.runs().iter();
    runs.find(|known| known.start.run == run)
        .map(|run| run.first)
}
