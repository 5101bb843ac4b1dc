//! `interloom why`: where did this value come from?

use std::path::PathBuf;

use clap::Args;
use interloom_journal::provenance::{
    Formulas, ProvenanceLimits, ProvenanceStep, Source, provenance, provenance_of,
};
use interloom_journal::{Head, IndexedJournal, JournalError};
use serde_json::{Value, json};

use super::report::outln;
use super::{Ending, report, training};
use crate::CliError;
use crate::experiment::Programs;

/// Follow the last value at a site back to where it came from, through what mediators put in and
/// had read.
///
/// Where a mediator computed something new, the way goes on to what it computed it from: to the
/// very reads if its program is in the journal, as for experiment files, and otherwise to what it
/// had been given. Where the model computed it, the way goes on to what had been put in before.
/// Each exchange is shown once.
#[derive(Args)]
pub(super) struct Arguments {
    /// The journal; or a step of a training run: `runs/a@1200`.
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
    /// Through how many computations the way goes on.
    #[arg(long, value_name = "N", default_value_t = ProvenanceLimits::default().depth)]
    depth: u32,
    /// To how many sources of each computation, the latest first.
    #[arg(long, value_name = "N", default_value_t = ProvenanceLimits::default().width)]
    width: u32,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, CliError> {
    let place = training::located(&arguments.journal)?;
    let (mut journal, problem) = IndexedJournal::open(&place.journal)?;
    let runs = training::of_step(arguments.run, place.runs);
    match problem {
        Some(error) if !error.is_torn() => Err(error.into()),
        torn => report::of_good_beginning(follow(arguments, &runs, &mut journal), torn),
    }
}

fn follow(
    arguments: &Arguments,
    runs: &[Option<u32>],
    journal: &mut IndexedJournal,
) -> Result<Ending, CliError> {
    let programs = programs(journal.head());
    let programs = &*programs;
    let extent = ProvenanceLimits {
        depth: arguments.depth,
        width: arguments.width,
    };
    let steps = match (arguments.exchange, &arguments.site) {
        (Some(exchange), _) => provenance_of(journal, exchange, extent, programs)?,
        (None, Some(site)) => {
            last_of(runs, |run| provenance(journal, site, run, extent, programs))?
        }
        (None, None) => unreachable!("one of the two is required"),
    };
    if arguments.json {
        outln!("{}", as_json(journal, &steps));
    } else {
        show(journal, &steps);
        if steps.iter().any(|step| step.more > 0 || !step.is_followed) {
            outln!("  help: `--depth N` and `--width N` follow it further");
        }
    }
    Ok(Ending::Done)
}

/// Follows the value of an exchange back as far as is usual.
pub(super) fn way_back(
    journal: &mut IndexedJournal,
    index: u64,
) -> Result<Vec<ProvenanceStep>, JournalError> {
    let programs = programs(journal.head());
    provenance_of(journal, index, ProvenanceLimits::default(), &*programs)
}

/// What the mediators of a journal compute, as far as its head says.
fn programs(head: &Head) -> Box<dyn Formulas> {
    match Programs::of(head) {
        Some(programs) => Box::new(programs),
        None => Box::new(()),
    }
}

/// A way back, for programs.
pub(super) fn as_json(journal: &mut IndexedJournal, steps: &[ProvenanceStep]) -> Value {
    let lines = steps.iter().map(|step| {
        let exchange = journal.names(&step.exchange).json(&step.exchange);
        let formula = match &step.from {
            Source::Computed(Some(formula)) => json!({
                "step": formula.step,
                "givens": formula.givens,
                "exact": formula.is_exact,
            }),
            _ => Value::Null,
        };
        json!({
            "exchange": exchange,
            "from": words(journal, step),
            "kind": step.from.name(),
            "sources": step.sources,
            "more": step.more,
            "depth": step.depth,
            "followed": step.is_followed,
            "formula": formula,
        })
    });
    lines.collect()
}

/// Shows a way back, from the value to its origins.
pub(super) fn show(journal: &mut IndexedJournal, steps: &[ProvenanceStep]) {
    for line in lines(journal, steps) {
        outln!("{line}");
    }
}

/// A way back in words: two lines for each step, further to the right the more often the way has
/// parted.
pub(super) fn lines(journal: &mut IndexedJournal, steps: &[ProvenanceStep]) -> Vec<String> {
    let steps = steps.iter();
    let lines = steps.flat_map(|step| {
        let indent = "  ".repeat(step.level.min(LEVELS_MAX) as usize);
        let from = format!("{indent}        <- {}", words(journal, step));
        [format!("{indent}{}", step.text), from]
    });
    lines.collect()
}

/// How far to the right a step stands at most.
const LEVELS_MAX: u32 = 12;

fn words(journal: &mut IndexedJournal, step: &ProvenanceStep) -> String {
    let mediator = step.exchange.mediator;
    step.words(&journal.names(&step.exchange).mediator(mediator))
}

/// Returns what is found in the first of some runs that has it, or the error of the first.
fn last_of<T>(
    runs: &[Option<u32>],
    mut find: impl FnMut(Option<u32>) -> Result<T, JournalError>,
) -> Result<T, JournalError> {
    let (first, others) = runs.split_first().expect("one run at least, or any");
    let found = find(*first);
    if found.is_ok() {
        return found;
    }
    let later = others.iter().find_map(|run| find(*run).ok());
    later.map_or(found, Ok)
}
