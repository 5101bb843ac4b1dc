//! `interloom causal-trace`: where does an answer come from?

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::Ending;
use super::comparison::{Compared, Comparison, Options, Shown};
use super::trace::{Method, What};
use crate::CliError;

/// Patch the residual stream of a clean prompt into a corrupt one, after every block and at every
/// position.
///
/// A number is the share of the logit difference between answer and foil that patching restores: 0
/// is as after the corrupt prompt, 1 as after the clean one. The runs are recorded and then
/// replayed.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    compared: Compared,
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
    options: Options,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, CliError> {
    let comparison = Comparison {
        compared: &arguments.compared,
        method: Method::Exact,
        what: What::Resid,
        csv: arguments.csv.as_ref(),
        svg: arguments.svg.as_ref(),
        journal: &arguments.journal,
        options: &arguments.options,
    };
    comparison.run("causal-trace.toml", |effects| {
        let place = |block, position, effect| {
            json!({ "block": block, "position": position, "share": effects.share(effect) })
        };
        Shown {
            about: "restored share, by block and token (* differs between the prompts)".to_owned(),
            csv: effects.csv("restored", |effect| effects.share(effect)),
            json: json!({ "restored": effects.each(place).collect::<Value>() }),
        }
    })
}
