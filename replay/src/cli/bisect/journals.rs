//! Two journals, or a journal and its runs made again.

use std::path::Path;

use serde_json::{Value, json};

use super::Arguments;
use crate::cli::progress::Bars;
use crate::cli::report::{self, count, outln};
use crate::cli::{Ending, check};
use crate::divergence::{Divergence, first_difference};
use crate::experiment::{FileExperiment, Schedules};
use crate::experiments::{Changes, Known, replay_changed};
use crate::journal::{JournalError, JournalReader};
use crate::{Conclusion, Error, Mode};

/// Where two journals part.
pub(super) fn run(arguments: &Arguments, second: &Path) -> Result<Ending, Error> {
    let first = &arguments.first;
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
        arguments,
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

/// Where a journal and its runs part that are made again, on another device or in another order.
pub(super) fn again(arguments: &Arguments) -> Result<Ending, Error> {
    let changes = Changes {
        model: arguments.model.clone(),
        device: arguments.device.clone(),
        schedules: schedules_of(arguments),
    };
    let journal = &arguments.first;
    let conclusion = replay_changed(journal, Mode::Verify, &changes, &mut Bars::default())?;
    let Conclusion::Verified {
        exchanges,
        divergence,
        ..
    } = &conclusion
    else {
        unreachable!("a replay verifies");
    };
    let divergence = divergence.as_deref();
    let next = divergence.map(|divergence| report::next(divergence, journal, None));
    show(
        arguments,
        (*exchanges, &[]),
        divergence,
        &next.unwrap_or_default(),
    );
    Ok(ending(divergence))
}

fn schedules_of(arguments: &Arguments) -> Option<Schedules> {
    let mut schedules = Schedules {
        granularity: arguments.granularity.into(),
        ..Schedules::default()
    };
    arguments
        .schedules
        .iter()
        .for_each(|schedule| schedules.add(schedule));
    (!arguments.schedules.is_empty()).then_some(schedules)
}

/// Shows where two sides part, or how many exchanges are equal, and what kept more of them from being compared.
fn show(
    arguments: &Arguments,
    (exchanges, problems): (u64, &[JournalError]),
    divergence: Option<&Divergence>,
    next: &[String],
) {
    if arguments.json {
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

fn ending(divergence: Option<&Divergence>) -> Ending {
    match divergence {
        Some(_) => Ending::Diverged,
        None => Ending::Done,
    }
}

/// The command that finds what flips the result, if the journals are of one run of one experiment file in two orders.
fn flip_command(first: &Path, second: &Path) -> Result<Option<String>, Error> {
    let of_file = |path: &Path| -> Result<Option<FileExperiment>, Error> {
        let reader = JournalReader::open(path)?;
        Ok(match Known::from_head(reader.head()) {
            Ok(Known::File(experiment)) => Some(experiment),
            Ok(Known::HeadAblation(_) | Known::CausalTrace(_)) | Err(_) => None,
        })
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
    let mut command = format!("interloom bisect {}", a.file);
    let differs = a.schedules.by_run.iter().find_map(|(run, schedule)| {
        let other = b.schedules.by_run.get(run)?;
        (other != schedule).then_some((run, schedule, other))
    });
    let Some((run, schedule, other)) = differs else {
        return Ok(None);
    };
    for schedule in [schedule, other] {
        command += &format!(" --schedule {run}={schedule}");
    }
    if granularity != Default::default() {
        command += " --granularity exchange";
    }
    Ok(Some(command))
}
