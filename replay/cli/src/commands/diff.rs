//! `interloom diff`: where do two journals part?

use std::path::PathBuf;

use clap::Args;
use interloom_journal::divergence::{Aligned, CONTEXT_DEFAULT, JournalDiff, compare_journals};
use serde_json::{Value, json};

use super::report::{self, count, outln};
use super::{Ending, check, training};
use crate::CliError;

/// Compare two journals, and show the first exchange at which they part, with both sides.
///
/// Exits with 0 if all exchanges are equal, with 4 if not, and with 1 if they are as far as both
/// can be read. How the heads differ is said too, and changes nothing.
#[derive(Args)]
pub(super) struct Arguments {
    /// The first journal; or the folder of a training run, to be compared with that of another:
    /// the first step that differs is found by halving.
    #[arg(value_name = "A")]
    first: PathBuf,
    /// The second journal.
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
        return training::diff(first, second, arguments.json);
    }
    let [first, second] = [first, second].map(|path| training::located(path));
    let (first, second) = (first?.journal, second?.journal);
    let diff = compare_journals(&first, &second, arguments.context)?;
    if arguments.json {
        outln!("{}", as_json(&diff, arguments));
    } else {
        show(&diff, arguments);
    }
    diff.problems.iter().for_each(report::problem);
    Ok(match diff.comparison.divergence {
        Some(_) => Ending::Diverged,
        None if diff.problems.is_empty() => Ending::Done,
        None => Ending::Failed,
    })
}

fn show(diff: &JournalDiff, arguments: &Arguments) {
    match &diff.comparison.divergence {
        Some(divergence) => outln!("{divergence}"),
        None => {
            let so_far = match diff.problems.is_empty() {
                true => "",
                false => ", as far as both can be read",
            };
            let equal = count(diff.comparison.exchanges, "exchange");
            outln!("{equal} equal{so_far}");
            let differences = diff
                .environment
                .iter()
                .flat_map(|report| &report.differences);
            for difference in differences {
                let (first, second) = (arguments.first.display(), arguments.second.display());
                outln!(
                    "  {}: {} in {first}, {} in {second}",
                    difference.subject,
                    difference.recorded,
                    difference.live
                );
            }
        }
    }
    if let Some(aligned) = &diff.aligned {
        outln!("{}", summary(aligned, arguments));
    }
    report::help(&next(diff, arguments));
}

/// The commands that go on from here.
fn next(diff: &JournalDiff, arguments: &Arguments) -> Vec<String> {
    let (first, second) = (&arguments.first, &arguments.second);
    match &diff.comparison.divergence {
        Some(divergence) => report::next(divergence, first, Some(second)),
        None => Vec::new(),
    }
}

fn summary(aligned: &Aligned, arguments: &Arguments) -> String {
    let mut text = format!(
        "  aligned by run, mediator, event, site and iteration: {} equal, {} other, {} in {} only, {} in {} only",
        aligned.equal,
        aligned.other,
        aligned.only_first,
        arguments.first.display(),
        aligned.only_second,
        arguments.second.display()
    );
    let alone = [
        (&aligned.runs_only_first, &arguments.first),
        (&aligned.runs_only_second, &arguments.second),
    ];
    for (runs, journal) in alone.into_iter().filter(|(runs, _)| !runs.is_empty()) {
        let runs: Vec<String> = runs.iter().map(|name| format!("{name:?}")).collect();
        text.push_str(&format!(
            "\n  runs in {} only: {}",
            journal.display(),
            runs.join(", ")
        ));
    }
    if let Some(pair) = &aligned.first_other {
        text.push_str(&format!(
            "\n  the first other: exchange {} in {}, and in {}:\n  {}",
            pair.first,
            arguments.first.display(),
            arguments.second.display(),
            pair.text
        ));
    }
    text
}

fn as_json(diff: &JournalDiff, arguments: &Arguments) -> Value {
    let aligned = diff.aligned.as_ref().map(|aligned| {
        let pair = aligned.first_other.as_ref();
        json!({
            "equal": aligned.equal,
            "other": aligned.other,
            "only_first": aligned.only_first,
            "only_second": aligned.only_second,
            "runs_only_first": aligned.runs_only_first,
            "runs_only_second": aligned.runs_only_second,
            "first_other": pair.map(|pair| json!({ "first": pair.first, "second": pair.second })),
        })
    });
    let divergence = diff.comparison.divergence.as_ref();
    json!({
        "equal": divergence.is_none() && diff.problems.is_empty(),
        "exchanges": diff.comparison.exchanges,
        "divergence": divergence.map(|divergence| divergence.to_json()),
        "aligned": aligned,
        "help": next(diff, arguments),
        "problems": diff.problems.iter().map(check::problem).collect::<Vec<_>>(),
        "environment": diff.environment.as_ref().map(|environment| environment.to_json()),
    })
}
