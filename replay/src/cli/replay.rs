//! `interloom replay`: make the runs of a journal again.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use interloom::{Conclusion, Error, experiments};
use serde_json::json;

use super::progress::Bars;
use super::report::outln;
use super::{Ending, report};

/// Make the runs of a journal again, model and mediators live, and compare every exchange.
///
/// Says `bit-identical` and exits with 0, or shows the first difference and exits with 4.
#[derive(Args)]
pub(super) struct Arguments {
    /// The journal.
    #[arg(value_name = "FILE")]
    journal: PathBuf,
    /// Where the model is, if it is not where the recording found it.
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, Error> {
    let conclusion = verify(&arguments.journal, arguments.model.as_deref())?;
    if !arguments.json {
        return Ok(report::conclusion(&conclusion));
    }
    outln!("{}", as_json(&conclusion));
    Ok(if conclusion.is_identical() {
        Ending::Done
    } else {
        Ending::Diverged
    })
}

/// Replays a journal in a process of its own, which knows nothing of this one but the file.
pub(super) fn in_new_process(journal: &Path) -> Result<Ending, Error> {
    let cannot = |error: std::io::Error| Error::Output {
        path: "a new process".to_owned(),
        reason: error.to_string(),
    };
    outln!(
        "replaying it in a new process: interloom replay {}",
        journal.display()
    );
    let program = std::env::current_exe().map_err(cannot)?;
    let status = Command::new(program)
        .arg("replay")
        .arg(journal)
        .status()
        .map_err(cannot)?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(Ending::Child(code.unwrap_or(1)))
}

fn verify(journal: &Path, model: Option<&str>) -> Result<Conclusion, Error> {
    experiments::verify(journal, model, &mut Bars::default())
}

fn as_json(conclusion: &Conclusion) -> serde_json::Value {
    let Conclusion::Verified {
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
        "exchanges": exchanges,
        "digest": digest.to_string(),
        "divergence": divergence.as_ref().map(|divergence| divergence.to_json()),
        "environment": environment.as_ref().map(|environment| environment.to_json()),
    })
}
