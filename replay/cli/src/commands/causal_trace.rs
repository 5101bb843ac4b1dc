//! `interloom causal-trace`: where does an answer come from?

use std::path::{Path, PathBuf};

use clap::Args;
use interloom::{Conclusion, Mode};
use serde_json::{Value, json};

use super::keep::Keep;
use super::progress::Bars;
use super::report::{cannot_write, outln};
use super::trace::{Question, Restored, TraceReport};
use super::{Ending, replay, report};
use crate::CliError;

/// Patch the residual stream of a clean prompt into a corrupt one, after every block and at every
/// position.
///
/// A number is the share of the logit difference between answer and foil that patching restores: 0
/// is as after the corrupt prompt, 1 as after the clean one. The runs are recorded and then
/// replayed.
#[derive(Args)]
pub(super) struct Arguments {
    /// A GGUF file, a Hugging Face folder, `smollm2-135m` (see scripts/fetch-smollm2), or
    /// `hf:ORG/NAME`.
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// The prompt whose activations are put in.
    #[arg(long, value_name = "TEXT")]
    clean: String,
    /// The prompt that they are put into, of as many tokens.
    #[arg(long, value_name = "TEXT")]
    corrupt: String,
    /// The answer to the clean prompt: one token, most often with a space in front.
    #[arg(long, value_name = "TEXT")]
    answer: String,
    /// The answer to the corrupt prompt: one token.
    #[arg(long, value_name = "TEXT")]
    foil: String,
    /// Where to write block, position, token and restored share as comma-separated values.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Where to write the heat map as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Where to write the journal; an older journal there is replaced.
    #[arg(long, value_name = "FILE", default_value = "causal-trace.ilj")]
    journal: PathBuf,
    #[command(flatten)]
    keep: Keep,
    /// Do not replay the journal at the end.
    #[arg(long)]
    no_replay: bool,
    /// The device: `cpu`, `cuda` or `cuda:N`.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, CliError> {
    let question = Question {
        model: &arguments.model,
        device: &arguments.device,
        clean: &arguments.clean,
        corrupt: &arguments.corrupt,
        answer: &arguments.answer,
        foil: &arguments.foil,
    };
    let policy = arguments.keep.policy();
    // Before hours of work, not after them.
    let results = [&arguments.csv, &arguments.svg];
    for path in results.into_iter().flatten() {
        check_writable(path)?;
    }
    let mode = Mode::Record(arguments.journal.clone());
    let (trace, conclusion) = question.trace(mode, policy, &mut Bars::default())?;
    if !arguments.json {
        show(arguments, &trace);
    }
    if let Some(path) = &arguments.csv {
        write(path, &trace.csv())?;
        said(arguments, "table", path);
    }
    if let Some(path) = &arguments.svg {
        let title = format!(
            "{} rather than {}",
            arguments.answer.trim(),
            arguments.foil.trim()
        );
        write(path, &trace.heat_map().svg(&title))?;
        said(arguments, "picture", path);
    }
    if arguments.json {
        return report_as_json(arguments, &trace, &conclusion);
    }
    report::conclusion(&conclusion, &arguments.journal);
    outln!("journal: {}", arguments.journal.display());
    if arguments.no_replay {
        return Ok(Ending::Done);
    }
    replay::in_new_process(&arguments.journal)
}

/// Says where something was written; in JSON the caller knows.
fn said(arguments: &Arguments, what: &str, path: &Path) {
    if !arguments.json {
        outln!("{what}: {}", path.display());
    }
}

fn report_as_json(
    arguments: &Arguments,
    trace: &TraceReport,
    conclusion: &Conclusion,
) -> Result<Ending, CliError> {
    let (replayed, ending) = match arguments.no_replay {
        true => (Value::Null, Ending::Done),
        false => replay::report_of_new_process(&arguments.journal)?,
    };
    let place =
        |at: &Restored| json!({ "block": at.block, "position": at.position, "share": at.share });
    outln!(
        "{}",
        json!({
            "clean": trace.clean,
            "corrupt": trace.corrupt,
            "tokens": trace.tokens,
            "differing": trace.differing,
            "restored": trace.restored.iter().map(place).collect::<Vec<_>>(),
            "journal": arguments.journal.display().to_string(),
            "recorded": report::recorded_json(conclusion),
            "replay": replayed,
        })
    );
    Ok(ending)
}

fn show(arguments: &Arguments, trace: &TraceReport) {
    let (answer, foil) = (&arguments.answer, &arguments.foil);
    report::heading(&format!(
        "Where does `{answer}` rather than `{foil}` come from?"
    ));
    outln!(
        "logit difference: clean {:+.3}, corrupt {:+.3}",
        trace.clean,
        trace.corrupt
    );
    outln!("restored share, by block and token (* differs between the prompts)\n");
    outln!("{}", trace.heat_map());
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    std::fs::write(path, text).map_err(|error| cannot_write(path, error))
}

/// Checks that a file can be written, without leaving a new one or changing an old one.
fn check_writable(path: &Path) -> Result<(), CliError> {
    let (is_new, is_special) = match path.metadata() {
        Ok(metadata) => (false, !metadata.is_file() && !metadata.is_dir()),
        Err(_) => (true, false),
    };
    // To open and close a pipe would tell its reader that all is written.
    if is_special {
        return Ok(());
    }
    let mut options = std::fs::OpenOptions::new();
    let opened = options.append(true).create(true).open(path);
    opened.map_err(|error| cannot_write(path, error))?;
    if is_new {
        std::fs::remove_file(path).map_err(|error| cannot_write(path, error))?;
    }
    Ok(())
}
