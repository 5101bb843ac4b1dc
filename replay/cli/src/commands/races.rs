//! `interloom races`: what did only the scheduler order?

use std::path::PathBuf;

use clap::Args;
use interloom_journal::{Journal, plain, races};
use serde_json::json;

use super::explore::race_as_json;
use super::report::outln;
use super::{Ending, report, training};
use crate::CliError;

/// Name the pairs of recorded requests that nothing but the order of the mediators puts one before
/// the other.
///
/// Neither model nor mediators are needed. A race is a question, not an error; `interloom explore`
/// answers it.
#[derive(Args)]
pub(super) struct Arguments {
    /// The journal.
    #[arg(value_name = "FILE")]
    journal: PathBuf,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, CliError> {
    let (journal, problem) = Journal::load_prefix(training::located(&arguments.journal)?.journal)?;
    match problem {
        Some(error) if !error.is_torn() => Err(error.into()),
        torn => report::of_good_beginning(Ok(show(arguments, &journal)), torn),
    }
}

fn show(arguments: &Arguments, journal: &Journal) -> Ending {
    let found = races(journal);
    if arguments.json {
        let runs = found.iter().map(|run| {
            let races = run.races.iter().map(race_as_json);
            json!({ "run": run.run, "name": run.name, "races": races.collect::<Vec<_>>() })
        });
        outln!("{}", json!(runs.collect::<Vec<_>>()));
        return Ending::Done;
    }
    for run in &found {
        report::heading(&run.name);
        if run.races.is_empty() {
            outln!("  nothing races");
        }
        for race in &run.races {
            outln!("  {}", plain(&race.to_string()));
        }
    }
    Ending::Done
}
