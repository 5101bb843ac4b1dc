//! `interloom why`: where did this value come from?

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::report::outln;
use super::{Ending, report};
use crate::Error;
use crate::journal::IndexedJournal;
use crate::journal::provenance::{Step, provenance, provenance_of};

/// Follow the last value at a site back to where it came from, through what mediators put in and had read.
#[derive(Args)]
pub(super) struct Arguments {
    /// The journal.
    #[arg(value_name = "FILE")]
    journal: PathBuf,
    /// The site: `layers.3.attn.output.i0`, or without iteration, or without port.
    #[arg(value_name = "SITE", required_unless_present = "exchange")]
    site: Option<String>,
    /// The run; without it the last one that has a value there.
    #[arg(long, value_name = "N")]
    run: Option<u32>,
    /// Start at this exchange instead.
    #[arg(long, value_name = "N", conflicts_with_all = ["site", "run"])]
    exchange: Option<u64>,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, Error> {
    let (mut journal, problem) = IndexedJournal::open(&arguments.journal)?;
    match problem {
        Some(error) if !error.is_torn() => Err(error.into()),
        torn => report::of_good_beginning(follow(arguments, &mut journal), torn),
    }
}

fn follow(arguments: &Arguments, journal: &mut IndexedJournal) -> Result<Ending, Error> {
    let steps = match (arguments.exchange, &arguments.site) {
        (Some(exchange), _) => provenance_of(journal, exchange)?,
        (None, Some(site)) => provenance(journal, site, arguments.run)?,
        (None, None) => unreachable!("one of the two is required"),
    };
    if arguments.json {
        outln!("{}", as_json(journal, &steps));
    } else {
        show(journal, &steps);
    }
    Ok(Ending::Done)
}

/// A way back, for programs.
pub(super) fn as_json(journal: &mut IndexedJournal, steps: &[Step]) -> Value {
    let lines = steps.iter().map(|step| {
        let exchange = journal.names(&step.exchange).json(&step.exchange);
        json!({ "exchange": exchange, "from": words(journal, step) })
    });
    lines.collect()
}

/// Shows a way back, from the value to its origin.
pub(super) fn show(journal: &mut IndexedJournal, steps: &[Step]) {
    for line in lines(journal, steps) {
        outln!("{line}");
    }
}

/// A way back in words: two lines for each step.
pub(super) fn lines(journal: &mut IndexedJournal, steps: &[Step]) -> Vec<String> {
    let steps = steps.iter();
    let lines = steps.flat_map(|step| {
        let from = format!("        <- {}", words(journal, step));
        [step.text.clone(), from]
    });
    lines.collect()
}

fn words(journal: &mut IndexedJournal, step: &Step) -> String {
    let mediator = step.exchange.mediator;
    let mediator = journal.names(&step.exchange).mediator(mediator);
    step.from.text(&mediator)
}
