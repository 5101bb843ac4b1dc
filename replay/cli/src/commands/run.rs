//! `interloom run`: make the experiment of a file.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use interloom::{Conclusion, Mode};
use interloom_engine::Granularity;
use serde_json::json;

use super::file::File;
use super::keep::{self, every};
use super::progress::Bars;
use super::report::{cannot_write, outln};
use super::{Ending, report};
use crate::CliError;
use crate::experiment::{Estimate, FileReport, RunReport};

/// How far to the right the longest name pushes what is said about it, in characters.
const LABEL_MAX: usize = 44;

/// Run an experiment file: a model, inputs, programs and what to show of them, in TOML.
///
/// Names, sites, variables and inputs are checked before the first run, and an error says at which
/// line of the file it stands. Experiments to begin with are in the folder
/// `replay/cli/experiments`, and docs/EXPERIMENTS.md says how they are written.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: File,
    /// Where to record every exchange; an older journal there is replaced.
    #[arg(long, value_name = "FILE", group = "kept")]
    journal: Option<PathBuf>,
    /// Keep the values of all tensors in the journal, not only their digests.
    #[arg(long, requires = "kept")]
    full: bool,
    /// Keep the values of the tensors of every Nth exchange only, the first included.
    #[arg(long, value_name = "N", requires = "kept", conflicts_with = "full", value_parser = every())]
    sample: Option<u64>,
    /// Keep also what every module put out in a single pass, so that a fork need not compute what
    /// came before its exchange.
    #[arg(long, requires = "full")]
    passages: bool,
    /// Go along an older journal, recorded with `--full`, up to exchange N, and live from there:
    /// the runs before are not computed, nor are modules that were over if it has their
    /// --passages; the programs may differ after it only. Needs `--journal`, where the new one
    /// is recorded.
    #[arg(long, value_name = "FILE@N", requires = "journal", value_parser = fork)]
    fork: Option<(PathBuf, u64)>,
    /// The order of the mediators: `in-order`, `shuffle:SEED`, `pct:DEPTH:LENGTH:SEED`, or
    /// `ilsched1:…` as `interloom explore` prints it; of one run of several with its name. Can
    /// be given several times.
    #[arg(long = "schedule", value_name = "[RUN=]SCHEDULE")]
    schedules: Vec<String>,
    /// How long a turn of a mediator lasts: until it asks for another site, or until it has been
    /// served once.
    #[arg(long, value_name = "TURN", value_enum, default_value_t)]
    granularity: Turns,
    /// A folder for `results.json` and `tensors.safetensors`; older ones are replaced.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Say how many exchanges there will be at most, and how large the journal will be; nothing is
    /// run.
    #[arg(long, group = "kept", conflicts_with = "out")]
    estimate: bool,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

/// How long a turn of a mediator lasts.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum Turns {
    #[default]
    Site,
    Exchange,
}

impl From<Turns> for Granularity {
    fn from(turns: Turns) -> Self {
        match turns {
            Turns::Site => Self::Site,
            Turns::Exchange => Self::Exchange,
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, CliError> {
    let mut experiment = arguments.file.open()?;
    for schedule in &arguments.schedules {
        experiment.schedules.add(schedule);
    }
    experiment.passages = arguments.passages;
    experiment.schedules.granularity = arguments.granularity.into();
    // Before a model is loaded, let alone run.
    experiment.check()?;
    if arguments.estimate {
        show_estimate(&experiment.estimate(&mut Bars::default())?, arguments);
        return Ok(Ending::Done);
    }
    let folder = arguments.out.as_deref().map(Folder::make).transpose()?;
    let mode = match (&arguments.journal, &arguments.fork) {
        (Some(into), Some((from, exchange))) => Mode::Fork {
            from: from.clone(),
            exchange: *exchange,
            into: into.clone(),
        },
        (Some(path), None) => Mode::Record(path.clone()),
        (None, _) => Mode::Plain,
    };
    let policy = keep::policy(arguments.full, arguments.sample);
    let (results, ended) = experiment.run_until_failure(mode, policy, &mut Bars::default())?;
    if let Some(folder) = folder.filter(|_| results.has_results()) {
        let cannot = |reason| cannot_write(folder.path, reason);
        results.write(folder.path).map_err(cannot)?;
        folder.keep();
    }
    if results.has_results() {
        match arguments.json {
            true => outln!("{}", as_json(&results, ended.as_ref().ok())),
            false => show(arguments, &results, ended.as_ref().ok()),
        }
    }
    ended?;
    Ok(Ending::Done)
}

fn show_estimate(estimate: &Estimate, arguments: &Arguments) {
    let policy = keep::policy(arguments.full, arguments.sample);
    let bytes = estimate.bytes(policy);
    if arguments.json {
        let (exchanges, policy) = (estimate.exchanges, policy.to_string());
        outln!(
            "{}",
            json!({ "exchanges": exchanges, "bytes": bytes, "policy": policy })
        );
        return;
    }
    let exchanges = report::count(estimate.exchanges, "exchange");
    match bytes {
        Some(bytes) => {
            outln!("at most {exchanges}; a journal with policy {policy} has at most {bytes} bytes")
        }
        None => outln!(
            "at most {exchanges}; how large a journal with policy {policy} is depends on shapes that are not known before the run"
        ),
    }
}

fn fork(text: &str) -> Result<(PathBuf, u64), String> {
    let fork = text.rsplit_once('@').and_then(|(file, exchange)| {
        let exchange = exchange.parse().ok()?;
        Some((PathBuf::from(file), exchange))
    });
    fork.ok_or_else(|| "it is written FILE@N, with the number of an exchange".to_owned())
}

/// Shows results; there is no conclusion if a run failed.
fn show(arguments: &Arguments, results: &FileReport, conclusion: Option<&Conclusion>) {
    report::heading(&format!("{} on {}", results.file, results.model));
    if let Some(about) = &results.about {
        outln!("{}", about.trim());
    }
    for prompt in &results.prompts {
        outln!("{}: {}", prompt.input, prompt.line());
        for warning in &prompt.warnings {
            outln!("  warning: {warning}");
        }
    }
    show_runs(&results.runs);
    for plot in results.plots() {
        outln!();
        report::heading(&plot.title);
        outln!("{}", plot.map.to_string().trim_end());
    }
    if let Some(folder) = &arguments.out {
        outln!("\nresults: {}", folder.display());
    }
    let Some(journal) = &arguments.journal else {
        return;
    };
    outln!();
    let shown = journal.display();
    match conclusion {
        Some(conclusion) => {
            report::conclusion(conclusion, journal);
            outln!("journal: {shown}");
            outln!("replay it in a new process: interloom replay {shown}");
        }
        None => outln!(
            "journal: {shown}, up to the failure; `interloom recover` makes a whole one of it"
        ),
    }
}

/// Shows runs that have one line each as a table, and others line by line below their name.
fn show_runs(runs: &[RunReport]) {
    let lines: Vec<Vec<(String, String)>> = runs.iter().map(RunReport::lines).collect();
    let mut in_table = false;
    for (run, lines) in runs.iter().zip(&lines) {
        if !in_table || lines.len() != 1 {
            outln!();
        }
        in_table = lines.len() == 1;
        match &lines[..] {
            [(label, text)] if *label == run.name => outln!("{:<20} {text}", run.name),
            [(label, text)] => outln!("{:<20} {label}  {text}", run.name),
            lines => {
                report::heading(&run.name);
                let widest = lines.iter().map(|(label, _)| label.chars().count()).max();
                let width = widest.unwrap_or(0).min(LABEL_MAX);
                for (label, text) in lines {
                    outln!("  {label:<width$}  {text}");
                }
            }
        }
    }
}

fn as_json(results: &FileReport, conclusion: Option<&Conclusion>) -> serde_json::Value {
    let mut json = results.to_json();
    json["journal"] = match conclusion {
        Some(Conclusion::Recorded {
            exchanges,
            digest,
            bytes,
            effort,
        }) => json!({
            "exchanges": exchanges,
            "digest": digest.to_string(),
            "bytes": bytes,
            "modules_computed": effort.computed,
            "modules_known": effort.known,
        }),
        _ => serde_json::Value::Null,
    };
    json
}

/// The folder for results, made before the work and, if it is new, removed when there are none.
pub(super) struct Folder<'a> {
    path: &'a Path,
    is_new: bool,
}

impl<'a> Folder<'a> {
    pub(super) fn make(path: &'a Path) -> Result<Self, CliError> {
        let is_new = !path.exists();
        std::fs::create_dir_all(path).map_err(|error| cannot_write(path, error))?;
        Ok(Self { path, is_new })
    }

    pub(super) fn keep(mut self) {
        self.is_new = false;
    }
}

impl Drop for Folder<'_> {
    fn drop(&mut self) {
        if self.is_new {
            // Only if it is empty; what else is there was not put there by this.
            let _stays_if_it_is_used = std::fs::remove_dir(self.path);
        }
    }
}
