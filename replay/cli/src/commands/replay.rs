//! `interloom replay`: make the runs of a journal again.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use clap::{Args, ValueEnum};
use interloom::{Conclusion, Mode};
use serde_json::json;

use super::progress::Bars;
use super::report::{cannot_write, outln};
use super::{Ending, report};
use crate::{CliError, experiment};

/// Make the runs of a journal again, and compare every exchange.
///
/// Says `bit-identical` and what that proves, and exits with 0; or shows the first difference and
/// exits with 4.
#[derive(Args)]
pub(super) struct Arguments {
    /// The journal.
    #[arg(value_name = "FILE")]
    journal: PathBuf,
    /// Where the model is, if it is not where the recording found it.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// What is live: `verify` runs model and mediators; `serve` gives the mediators the journal's
    /// values and runs no model; `drive` asks the model for what the journal's mediators asked
    /// for, and runs none. The last two need a journal that was recorded with `--full`.
    #[arg(long, value_name = "MODE", value_enum, default_value_t)]
    mode: Live,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

/// Which side of the exchanges is live.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Live {
    #[default]
    Verify,
    Serve,
    Drive,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, CliError> {
    let conclusion = replay(arguments)?;
    if !arguments.json {
        return Ok(report::conclusion(&conclusion, &arguments.journal));
    }
    outln!("{}", as_json(&conclusion));
    Ok(if conclusion.is_identical() {
        Ending::Done
    } else {
        Ending::Diverged
    })
}

/// Replays a journal in a process of its own, which knows nothing of this one but the file.
pub(super) fn in_new_process(journal: &Path) -> Result<Ending, CliError> {
    outln!(
        "replaying it in a new process: interloom replay {}",
        journal.display()
    );
    let status = replaying(journal)?.status().map_err(no_process)?;
    Ok(ending(status))
}

/// Replays a journal in a process of its own as [`in_new_process`] does, and returns what that says
/// as JSON.
pub(super) fn report_of_new_process(
    journal: &Path,
) -> Result<(serde_json::Value, Ending), CliError> {
    let mut command = replaying(journal)?;
    let command = command.arg("--json").stderr(Stdio::inherit());
    let output = command.output().map_err(no_process)?;
    // A replay that failed has said so, and has no report.
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    Ok((report, ending(output.status)))
}

fn replaying(journal: &Path) -> Result<Command, CliError> {
    let program = std::env::current_exe().map_err(no_process)?;
    let mut command = Command::new(program);
    command.arg("replay").arg(journal);
    Ok(command)
}

fn no_process(error: std::io::Error) -> CliError {
    cannot_write(Path::new("a new process"), error)
}

fn ending(status: ExitStatus) -> Ending {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ending::Child(code.unwrap_or(1))
}

fn replay(arguments: &Arguments) -> Result<Conclusion, CliError> {
    let mode = match arguments.mode {
        Live::Verify => Mode::Verify,
        Live::Serve => Mode::Serve,
        Live::Drive => Mode::Drive,
    };
    let model = arguments.model.as_deref();
    let conclusion = experiment::replay(&arguments.journal, mode, model, &mut Bars::default())?;
    Ok(conclusion)
}

/// What a replay came to, for programs; `interloom bisect build` reads it from other builds.
pub(super) fn as_json(conclusion: &Conclusion) -> serde_json::Value {
    let Conclusion::Verified {
        proof,
        exchanges,
        digest,
        divergence,
        environment,
    } = conclusion
    else {
        unreachable!("a replay verifies");
    };
    json!({
        "identical": conclusion.is_identical(),
        "proves": conclusion.is_identical().then(|| proof.to_string()),
        "exchanges": exchanges,
        "digest": digest.to_string(),
        "divergence": divergence.as_ref().map(|divergence| divergence.to_json()),
        "environment": environment.as_ref().map(|environment| environment.to_json()),
    })
}
