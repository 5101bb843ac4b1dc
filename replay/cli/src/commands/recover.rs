//! `interloom recover`: what is left of a journal that was cut or damaged?

use std::path::{Path, PathBuf};

use clap::Args;
use interloom_journal::{Recovery, RecoveryTarget, recover};
use serde_json::{Value, json};

use super::report::outln;
use super::{Ending, check, report, training};
use crate::CliError;

/// Make a whole journal of the good beginning of one that was cut or damaged.
///
/// The journal itself is not touched, unless `--in-place` says so. Exits with 0 if nothing was
/// lost, and with 3 if something was. In the folder of a training run what a killed process left of
/// a last line is cut off, and the index of the journals is made again, as when the run goes on.
#[derive(Args)]
pub(super) struct Arguments {
    /// The journal; or with `--in-place` the folder of a training run.
    #[arg(value_name = "FILE")]
    journal: PathBuf,
    /// Where to write what is left; an older journal there is replaced [default: FILE with
    /// `.recovered.ilj` at its end].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Cut off what cannot be read, in the journal itself.
    #[arg(long, conflicts_with = "out")]
    in_place: bool,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, CliError> {
    let journal = &arguments.journal;
    if training::is_training(journal) {
        return training::recover(journal, arguments.in_place, arguments.json);
    }
    let copy = match &arguments.out {
        Some(out) => out.clone(),
        None => beside(journal),
    };
    let (target, out) = if arguments.in_place {
        (RecoveryTarget::InPlace, journal.as_path())
    } else {
        (RecoveryTarget::Copy(&copy), copy.as_path())
    };
    let recovery = recover(journal, target)?;
    if arguments.json {
        outln!("{}", as_json(&recovery, out));
    } else {
        show(&recovery, out);
    }
    Ok(if recovery.is_lossless() {
        Ending::Done
    } else {
        Ending::Lossy
    })
}

/// `run.ilj` becomes `run.recovered.ilj`.
fn beside(journal: &Path) -> PathBuf {
    journal.with_extension("recovered.ilj")
}

fn show(recovery: &Recovery, out: &Path) {
    let count = report::count;
    outln!(
        "{}, {} and {} are good, in {}",
        count(recovery.frames, "frame"),
        count(recovery.runs.into(), "run"),
        count(recovery.exchanges, "exchange"),
        count(recovery.good_bytes, "byte")
    );
    match &recovery.lost {
        Some(loss) => outln!(
            "lost: {} from byte {} on: {} ({})",
            count(loss.bytes, "byte"),
            loss.offset,
            loss.error,
            loss.error.code()
        ),
        None => outln!("nothing was lost"),
    }
    if let Some(open) = &recovery.interrupted {
        outln!(
            "run {} {:?} had no end, and was given one after {}",
            open.start.run,
            open.start.name,
            count(open.exchanges, "exchange")
        );
    }
    outln!("journal: {}", out.display());
}

fn as_json(recovery: &Recovery, out: &Path) -> Value {
    let lost = recovery.lost.as_ref().map(|loss| {
        json!({
            "offset": loss.offset,
            "bytes": loss.bytes,
            "problem": check::problem(&loss.error),
        })
    });
    let interrupted = recovery.interrupted.as_ref().map(|open| {
        json!({
            "run": open.start.run,
            "name": open.start.name,
            "exchanges": open.exchanges,
        })
    });
    json!({
        "lossless": recovery.is_lossless(),
        "frames": recovery.frames,
        "runs": recovery.runs,
        "exchanges": recovery.exchanges,
        "good_bytes": recovery.good_bytes,
        "lost": lost,
        "interrupted": interrupted,
        "out": out.display().to_string(),
    })
}
