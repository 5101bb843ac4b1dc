//! `interloom check`: is this journal what was written?

use std::path::PathBuf;

use clap::Args;
use interloom_journal::{CachedLine, Check, CheckedRun, JournalError, check, plain};
use serde_json::{Value, json};

use super::report::outln;
use super::{Ending, report, training};
use crate::CliError;

/// Read a journal to its end, check every byte of it, and say what it holds and what is wrong.
///
/// Exits with 0 if it is good, and with 1 if not.
#[derive(Args)]
pub(super) struct Arguments {
    /// The journal; or the folder of a training run, with all its journals and checkpoints.
    #[arg(value_name = "FILE")]
    journal: PathBuf,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, CliError> {
    if training::is_training(&arguments.journal) {
        return training::check(&arguments.journal, arguments.json);
    }
    let check = check(&training::located(&arguments.journal)?.journal)?;
    if arguments.json {
        outln!("{}", as_json(&check));
    } else {
        show(&check);
    }
    let Some(problem) = &check.problem else {
        return Ok(Ending::Done);
    };
    if !arguments.json {
        report::problem(problem);
    }
    Ok(Ending::Failed)
}

fn show(check: &Check) {
    let (major, minor) = check.version;
    let finished = if check.is_complete {
        "finished"
    } else {
        "not finished"
    };
    let policy = check.policy;
    outln!("journal format {major}.{minor}, policy {policy}, {finished}");
    for (number, run) in check.runs.iter().enumerate() {
        outln!("{}", run_line(number, run));
    }
    let count = report::count;
    outln!(
        "{}, {}, {}, {}, {} of {}, {}, {}",
        count(check.frames, "frame"),
        count(check.runs.len() as u64, "run"),
        count(check.exchanges, "exchange"),
        count(check.paths, "path"),
        count(check.tensors, "tensor"),
        count(check.tensor_bytes, "byte"),
        count(check.notes, "note"),
        count(check.passages, "passage")
    );
    let verdict = if check.problem.is_none() {
        "all of them good"
    } else {
        "good up to there"
    };
    outln!("{} bytes, {verdict}", check.good_bytes);
    outln!("digest {}", check.digest);
}

fn run_line(number: usize, run: &CheckedRun) -> String {
    let name = format!("{:?}", run.name);
    let exchanges = report::count(run.exchanges, "exchange");
    let Some(end) = &run.end else {
        return format!("run {number} {name}: {exchanges}, no end");
    };
    let code = end.outcome.code().map(|code| format!(" [{code}]"));
    let code = code.unwrap_or_default();
    let text = plain(&end.outcome.to_string());
    let digest = end.digest.short();
    let caches = cached_text(end.cached.as_deref().unwrap_or_default());
    format!("run {number} {name}: {exchanges}, {caches}{text}{code}, digest {digest}")
}

/// What caches collected, if they did.
fn cached_text(lines: &[CachedLine]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let values = lines.iter().map(|line| line.values).sum();
    let (values, points) = (
        report::count(values, "value"),
        report::count(lines.len() as u64, "point"),
    );
    format!("{values} cached at {points}, ")
}

fn cached(line: &CachedLine) -> Value {
    json!({
        "mediator": line.owner,
        "cache": line.number,
        "point": line.point,
        "values": line.values,
        "digest": line.digest.to_string(),
    })
}

fn as_json(check: &Check) -> Value {
    let run = |run: &CheckedRun| {
        let end = run.end.as_ref();
        json!({
            "name": run.name,
            "exchanges": run.exchanges,
            "outcome": end.map(|end| end.outcome.to_string()),
            "code": end.map(|end| end.outcome.code()),
            "digest": end.map(|end| end.digest.to_string()),
            "cached": end.and_then(|end| end.cached.as_ref()).map(|lines| lines.iter().map(cached).collect::<Vec<_>>()),
        })
    };
    json!({
        "good": check.problem.is_none(),
        "complete": check.is_complete,
        "version": format!("{}.{}", check.version.0, check.version.1),
        "policy": check.policy.to_string(),
        "frames": check.frames,
        "good_bytes": check.good_bytes,
        "exchanges": check.exchanges,
        "paths": check.paths,
        "tensors": check.tensors,
        "tensor_bytes": check.tensor_bytes,
        "notes": check.notes,
        "ticks": check.ticks,
        "passages": check.passages,
        "digest": check.digest.to_string(),
        "runs": check.runs.iter().map(run).collect::<Vec<_>>(),
        "problem": check.problem.as_ref().map(problem),
    })
}

/// An error of a journal, for programs.
pub(super) fn problem(error: &JournalError) -> Value {
    json!({ "code": error.code(), "message": error.to_string() })
}
