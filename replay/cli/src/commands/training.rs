//! Training runs, where a command takes a journal: a folder, or one step of it.
//!
//! `runs/a` is the ledger of the run in that folder; `runs/a@1200` is its step 1200 in the journal
//! of the steps around it.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use interloom::Error;
use interloom::training::check_checkpoint;
use interloom_journal::divergence::{Divergence, first_difference};
use interloom_journal::training::{
    KeepRule, LEDGER_FILE, Ledger, LedgerParting, LedgerWriter, SegmentIndex, StepKeeps, StepLine,
    check_step_exchanges, curves_page, first_parting, held_exchanges, segment_file, step_runs,
};
use interloom_journal::{IndexedJournal, Unfinished};
use serde_json::{Value, json};

use super::report::{cannot_write, count, outln};
use super::{Ending, report};
use crate::CliError;
use crate::experiment::number_to_json;

/// A journal, and the runs of it that are meant.
pub(super) struct Located {
    /// The file.
    pub(super) journal: PathBuf,
    /// The numbers of the runs of a step, if one is meant; a step may have several.
    pub(super) runs: Option<Range<u32>>,
}

/// Returns whether a path is the folder of a training run.
pub(super) fn is_training(path: &Path) -> bool {
    path.join(LEDGER_FILE).is_file()
}

/// Returns whether two paths that are compared are folders of training runs; a run is compared with
/// a run.
pub(super) fn are_training(first: &Path, second: &Path) -> Result<bool, CliError> {
    let (run, other) = match (is_training(first), is_training(second)) {
        (true, true) => return Ok(true),
        (false, false) => return Ok(false),
        (true, false) => (first.display(), second.display()),
        (false, true) => (second.display(), first.display()),
    };
    Err(Error::Training(format!(
        "{run} is a training run, and {other} has no {LEDGER_FILE}, so that it is none; compare two runs, or {other} with one step: \
         {run}@0"
    ))
    .into())
}

/// Returns the journal that a path means: a file, or a step of a training run.
pub(super) fn located(path: &Path) -> Result<Located, CliError> {
    if is_training(path) {
        let path = path.display();
        return Err(Error::Training(format!(
            "{path} is a training run, and one of its journals is needed; say of which step: {path}@0"
        ))
        .into());
    }
    match step_of(path).filter(|_| !path.exists()) {
        Some((folder, step)) if is_training(&folder) => locate(&folder, step),
        Some((other, step)) if other.exists() => Err(no_training(&other, step).into()),
        _ => Ok(Located {
            journal: path.to_owned(),
            runs: None,
        }),
    }
}

/// The error that a step is asked for of something that is no training run.
fn no_training(path: &Path, step: u64) -> Error {
    let what = if path.is_dir() {
        format!("has no {LEDGER_FILE}, so that it is no training run")
    } else {
        "is a file, and a training run is a folder; the runs of a journal are chosen with `--run`"
            .to_owned()
    };
    let path = path.display();
    Error::Training(format!("there is no step {step} of {path}: it {what}"))
}

/// Splits `FOLDER@STEP`.
fn step_of(path: &Path) -> Option<(PathBuf, u64)> {
    let (folder, step) = path.to_str()?.rsplit_once('@')?;
    Some((PathBuf::from(folder), step.parse().ok()?))
}

fn locate(folder: &Path, step: u64) -> Result<Located, CliError> {
    let ledger = Ledger::read(folder)?;
    ledger.line(step)?;
    if KeepRule::of_step(&ledger.head().keeps, step) == StepKeeps::Nothing {
        return Err(Error::Training(format!(
            "by its rules the training run keeps nothing of step {step} beyond its line, which `interloom show {}` has",
            folder.display()
        ))
        .into());
    }
    let runs = step_runs(&ledger, step)?;
    if runs.is_empty() {
        return Err(Error::Training(format!("nothing was exchanged in step {step}")).into());
    }
    check_step_exchanges(&ledger, step)?;
    let journal = ledger.segment(step);
    let (index, _) = IndexedJournal::open(&journal)?;
    let held = index.runs().len();
    if held < runs.end as usize {
        return Err(Error::Training(format!(
            "{} ends after {}, before the end of step {step}: its process was killed; resume the training run, which makes it again",
            journal.display(),
            count(held as u64, "run")
        ))
        .into());
    }
    Ok(Located {
        journal,
        runs: Some(runs),
    })
}

/// Returns the runs in which something is looked for, one after the other: the one that is asked
/// for, or those of a step, the last first.
pub(super) fn of_step(asked: Option<u32>, runs: Option<Range<u32>>) -> Vec<Option<u32>> {
    match (asked, runs) {
        (None, Some(runs)) => runs.rev().map(Some).collect(),
        (asked, _) => vec![asked],
    }
}

/// Shows a line for each step.
pub(super) fn show(folder: &Path, json: bool) -> Result<Ending, CliError> {
    let ledger = Ledger::read(folder)?;
    let checkpoints = ledger.checkpoints()?;
    for line in ledger.lines() {
        if json {
            outln!("{}", line_json(line));
        } else {
            let mark = if checkpoints.contains(&line.step) {
                "  checkpoint before it"
            } else {
                ""
            };
            outln!("{}{mark}", line_text(line));
        }
    }
    if !json {
        let head = ledger.head();
        outln!(
            "{} of seed {}, {}, on {}",
            count(ledger.lines().len() as u64, "step"),
            head.seed,
            count(checkpoints.len() as u64, "checkpoint"),
            head.environment.device
        );
        if let Some(parent) = &head.parent {
            outln!(
                "forked at step {} from the run with the chain {}",
                parent.step,
                parent.chain.short()
            );
        }
        if let Some(last) = ledger.lines().last() {
            outln!("chain {}", last.chain);
        }
    }
    show_journals(&ledger, json)
}

/// Says which journals the index has, and which of them are not there; none is opened.
fn show_journals(ledger: &Ledger, json: bool) -> Result<Ending, CliError> {
    let index = SegmentIndex::read(ledger)?;
    let mut ending = Ending::Done;
    for segment in index.segments() {
        let steps = &segment.steps;
        if !json {
            outln!(
                "{}: steps {} to {}, {}, {}",
                segment_file(steps.start),
                steps.start,
                steps.end - 1,
                count(segment.exchanges, "exchange"),
                count(segment.bytes, "byte")
            );
        }
        if let Err(problem) = segment.check_size(ledger) {
            report::error(problem.code(), &problem.to_string());
            ending = Ending::Failed;
        }
    }
    Ok(ending)
}

/// Makes a training run whole after a crash, as when it goes on.
pub(super) fn recover(folder: &Path, in_place: bool, json: bool) -> Result<Ending, CliError> {
    if !in_place {
        return Err(Error::Training(format!(
            "{} is a training run, which is recovered where it is; add --in-place",
            folder.display()
        ))
        .into());
    }
    let ledger = Ledger::read(folder)?;
    drop(LedgerWriter::append(&ledger)?);
    let index = SegmentIndex::read(&ledger)?;
    let [steps, journals] = [ledger.lines().len(), index.segments().len()].map(|all| all as u64);
    if json {
        outln!("{}", json!({ "steps": steps, "journals": journals }));
    } else {
        outln!(
            "{}, {} in the index",
            count(steps, "step"),
            count(journals, "journal")
        );
    }
    Ok(Ending::Done)
}

/// Checks the ledger, its names, and every journal and checkpoint that is there.
pub(super) fn check(folder: &Path, json: bool) -> Result<Ending, CliError> {
    let ledger = Ledger::read(folder)?;
    let mut problems: Vec<CliError> = Vec::new();
    let mut named = 0;
    for line in ledger.lines() {
        match ledger.names(line.step) {
            Ok(names) => named += u64::from(names.is_some()),
            Err(error) => problems.push(error.into()),
        }
    }
    let checkpoints = ledger.checkpoints()?;
    for step in &checkpoints {
        problems.extend(check_checkpoint(&ledger, *step).err().map(CliError::from));
    }
    let held = held_exchanges(&ledger);
    let absent = held.absent.len() as u64;
    problems.extend(held.problems.into_iter().map(CliError::from));
    let (steps, count_of) = (ledger.lines().len() as u64, report::count);
    if json {
        outln!(
            "{}",
            json!({
                "good": problems.is_empty(),
                "steps": steps,
                "steps_with_names": named,
                "checkpoints": checkpoints,
                "journals": held.journals,
                "steps_without_exchanges": absent,
                "torn": ledger.is_torn(),
                "problems": problems.iter().map(|problem| json!({ "code": problem.code(), "message": problem.to_string() })).collect::<Vec<_>>(),
            })
        );
    } else {
        outln!(
            "{}, {named} of them by name, {}, {}",
            count_of(steps, "step"),
            count_of(checkpoints.len() as u64, "checkpoint"),
            count_of(held.journals, "journal")
        );
        if ledger.is_torn() {
            outln!("the last line was cut off, as by a process that was killed; the run can go on");
        }
        if let [first, ..] = held.absent[..] {
            outln!(
                "the exchanges of {} are in no journal here, first those of step {first}: a journal was cut off as by a process that \
                 was killed, or is one of the run that was forked",
                count_of(absent, "step")
            );
        }
        for problem in &problems {
            report::error(problem.code(), &problem.to_string());
        }
        if problems.is_empty() {
            outln!("all of them good");
        }
    }
    Ok(if problems.is_empty() {
        Ending::Done
    } else {
        Ending::Failed
    })
}

/// Says where two training runs part.
pub(super) fn diff(first: &Path, second: &Path, json: bool) -> Result<Ending, CliError> {
    let (a, b) = (Ledger::read(first)?, Ledger::read(second)?);
    let Some(parting) = first_parting(&a, &b)? else {
        return Ok(equal(&a, &b, json));
    };
    if json {
        outln!("{}", parting_json(&parting));
    } else {
        show_parting(&parting, &a, &b);
        let journals = [&a, &b].map(|run| run.segment(parting.step).exists());
        if journals == [true, true] {
            let (a, b, step) = (a.folder().display(), b.folder().display(), parting.step);
            report::help(&[format!("interloom diff {a}@{step} {b}@{step}")]);
        }
    }
    Ok(Ending::Diverged)
}

/// Says where two training runs part, and at which exchange from there on: of that step or of a
/// later one.
pub(super) fn bisect(
    first: &Path,
    second: &Path,
    context: usize,
    json: bool,
) -> Result<Ending, CliError> {
    let (a, b) = (Ledger::read(first)?, Ledger::read(second)?);
    let Some(parting) = first_parting(&a, &b)? else {
        return Ok(equal(&a, &b, json));
    };
    let exchange = first_exchange(&a, &b, parting.step, context)?;
    if json {
        let mut found = parting_json(&parting);
        found["exchange"] = exchange.as_ref().map(Divergence::to_json).into();
        outln!("{found}");
    } else {
        show_parting(&parting, &a, &b);
        match exchange {
            Some(divergence) => outln!("{divergence}"),
            None => outln!("no exchange of both parts in a journal that is there"),
        }
    }
    Ok(Ending::Diverged)
}

/// Returns the first exchange that parts in the journals of a step or of later ones; nothing where
/// the two keep those of different steps.
fn first_exchange(
    a: &Ledger,
    b: &Ledger,
    from: u64,
    context: usize,
) -> Result<Option<Divergence>, CliError> {
    if a.head().keeps != b.head().keeps {
        return Ok(None);
    }
    let later = a.lines().iter().map(|line| line.step);
    let mut compared = None;
    for step in later.filter(|&step| step >= from) {
        let journals = (a.segment(step), b.segment(step));
        if compared.as_ref() == Some(&journals) || !journals.0.exists() || !journals.1.exists() {
            continue;
        }
        let (comparison, _) = first_difference(&journals.0, &journals.1, context)?;
        if comparison.divergence.is_some() {
            return Ok(comparison.divergence);
        }
        compared = Some(journals);
    }
    Ok(None)
}

/// Says that two training runs are equal as far as both go.
fn equal(a: &Ledger, b: &Ledger, json: bool) -> Ending {
    let [steps_a, steps_b] = [a, b].map(|run| run.lines().len() as u64);
    let common = steps_a.min(steps_b);
    if json {
        outln!(
            "{}",
            json!({
                "equal": true,
                "steps": common,
                "only_first": steps_a - common,
                "only_second": steps_b - common,
            })
        );
        return Ending::Done;
    }
    outln!("{} equal", count(common, "step"));
    for (run, steps) in [(a, steps_a), (b, steps_b)] {
        if steps > common {
            let more = count(steps - common, "step");
            outln!("  {} has {more} more", run.folder().display());
        }
    }
    Ending::Done
}

fn show_parting(parting: &LedgerParting, a: &Ledger, b: &Ledger) {
    let LedgerParting {
        step,
        phase,
        names,
        lines,
        comparisons,
    } = parting;
    outln!("the runs part in step {step}: {phase}");
    for name in names {
        outln!("  {name}");
    }
    for (run, line) in [(a, lines.0), (b, lines.1)] {
        outln!("  {}: {}", run.folder().display(), line_text(&line));
    }
    outln!(
        "  found by {}",
        count(u64::from(*comparisons), "comparison")
    );
}

/// Writes a page with the loss of a run, or of two with their first difference marked.
pub(super) fn page(first: &Path, second: Option<&Path>, out: &Path) -> Result<Ending, CliError> {
    let a = Ledger::read(first)?;
    let b = second.map(Ledger::read).transpose()?;
    let page = curves_page(&a, b.as_ref())?;
    let cannot = |error| cannot_write(out, error);
    let unfinished = Unfinished::beside(out).map_err(cannot)?;
    let mut sink: BufWriter<&File> = BufWriter::new(unfinished.file());
    sink.write_all(page.as_bytes()).map_err(cannot)?;
    sink.flush().map_err(cannot)?;
    drop(sink);
    unfinished.put().map_err(cannot)?;
    outln!(
        "{} in {}",
        count(a.lines().len() as u64, "step"),
        out.display()
    );
    Ok(Ending::Done)
}

fn line_text(line: &StepLine) -> String {
    let StepLine {
        step,
        rate,
        loss,
        batch,
        exchanges,
        gradients,
        parameters,
        ..
    } = line;
    format!(
        "step {step}: loss {loss}, rate {rate}, batch {batch}, exchanges {exchanges}, gradients {gradients}, parameters {parameters}"
    )
}

fn line_json(line: &StepLine) -> Value {
    json!({
        "step": line.step,
        "seed": line.seed,
        "rate": number_to_json(line.rate),
        "loss": number_to_json(line.loss),
        "batch": line.batch.to_string(),
        "schedule": line.schedule.to_string(),
        "exchanges": line.exchanges.to_string(),
        "gradients": line.gradients.to_string(),
        "optimizer": line.optimizer.to_string(),
        "parameters": line.parameters.to_string(),
        "runs": line.runs,
        "chain": line.chain.to_string(),
    })
}

fn parting_json(parting: &LedgerParting) -> Value {
    json!({
        "equal": false,
        "step": parting.step,
        "phase": parting.phase,
        "names": parting.names,
        "comparisons": parting.comparisons,
        "first": line_json(&parting.lines.0),
        "second": line_json(&parting.lines.1),
    })
}
