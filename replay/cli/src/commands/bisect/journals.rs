//! Two journals.

use std::path::{Path, PathBuf};

use clap::Args;
use interloom_journal::divergence::{CONTEXT_DEFAULT, Divergence, first_difference};
use interloom_journal::{JournalError, JournalReader};
use serde_json::{Value, json};

use crate::CliError;
use crate::commands::report::{self, count, outln};
use crate::commands::{Ending, check, training};
use crate::experiment::FileExperiment;

/// Find the first exchange at which two journals part; each is read once.
///
/// Of two training runs, find the first step that parts, with what of it, and from there on the
/// first exchange.
#[derive(Args)]
pub(super) struct Arguments {
    /// A journal; or the folder of a training run.
    #[arg(value_name = "A")]
    first: PathBuf,
    /// Another journal; or the folder of another training run.
    #[arg(value_name = "B")]
    second: PathBuf,
    /// How many exchanges before the first difference are shown.
    #[arg(long, value_name = "N", default_value_t = CONTEXT_DEFAULT)]
    context: usize,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, CliError> {
    let (first, second) = (&arguments.first, &arguments.second);
    if training::are_training(first, second)? {
        return training::bisect(first, second, arguments.context, arguments.json);
    }
    let (comparison, problems) = first_difference(first, second, arguments.context)?;
    let divergence = comparison.divergence.as_ref();
    let next = match divergence {
        Some(divergence) => {
            let mut next = report::next(divergence, first, Some(second));
            next.extend(flip_command(first, second)?);
            next
        }
        None => Vec::new(),
    };
    show(
        arguments.json,
        (comparison.exchanges, &problems),
        divergence,
        &next,
    );
    problems.iter().for_each(report::problem);
    Ok(match divergence {
        None if !problems.is_empty() => Ending::Failed,
        divergence => ending(divergence),
    })
}

/// Shows where two sides part, or how many exchanges are equal, and what kept more of them from
/// being compared.
pub(super) fn show(
    json: bool,
    (exchanges, problems): (u64, &[JournalError]),
    divergence: Option<&Divergence>,
    next: &[String],
) {
    if json {
        outln!("{}", as_json((exchanges, problems), divergence, next));
        return;
    }
    match divergence {
        Some(divergence) => {
            outln!("{divergence}");
            report::help(next);
        }
        None if problems.is_empty() => {
            outln!("{} equal; nothing parts", count(exchanges, "exchange"))
        }
        None => outln!(
            "{} equal; nothing parts as far as both can be read",
            count(exchanges, "exchange")
        ),
    }
}

fn as_json(
    (exchanges, problems): (u64, &[JournalError]),
    divergence: Option<&Divergence>,
    next: &[String],
) -> Value {
    json!({
        "same": divergence.is_none(),
        "exchanges": exchanges,
        "class": divergence.map(|divergence| divergence.class.name()),
        "index": divergence.map(|divergence| divergence.index),
        "divergence": divergence.map(Divergence::to_json),
        "problems": problems.iter().map(check::problem).collect::<Vec<_>>(),
        "help": next,
    })
}

pub(super) fn ending(divergence: Option<&Divergence>) -> Ending {
    match divergence {
        Some(_) => Ending::Diverged,
        None => Ending::Done,
    }
}

/// The command that finds what flips the result, if the journals are of one run of one experiment
/// file in two orders.
fn flip_command(first: &Path, second: &Path) -> Result<Option<String>, CliError> {
    let of_file = |path: &Path| -> Result<Option<FileExperiment>, CliError> {
        let reader = JournalReader::open(path)?;
        Ok(FileExperiment::from_head(reader.head()).ok())
    };
    let (Some(a), Some(b)) = (of_file(first)?, of_file(second)?) else {
        return Ok(None);
    };
    if a.text != b.text || a.set != b.set || a.schedules == b.schedules {
        return Ok(None);
    }
    let granularity = a.schedules.granularity;
    if granularity != b.schedules.granularity {
        return Ok(None);
    }
    let mut command = format!("interloom bisect schedules {}", a.file);
    let differs = a.schedules.by_run.iter().find_map(|(run, schedule)| {
        let other = b.schedules.by_run.get(run)?;
        (other != schedule).then_some((run, schedule, other))
    });
    let Some((run, schedule, other)) = differs else {
        return Ok(None);
    };
    for schedule in [schedule, other] {
        command += &format!(" {run}={schedule}");
    }
    if granularity != Default::default() {
        command += " --granularity exchange";
    }
    Ok(Some(command))
}
