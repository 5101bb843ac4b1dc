//! `interloom attribute`: how much does each part of a model do for an answer?

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::Ending;
use super::comparison::{Compared, Comparison, Options, Shown};
use super::trace::{Method, What};
use crate::CliError;

/// Attribute the difference between a clean and a corrupt prompt's answers to the parts of a model.
///
/// A number is the effect of a part of the clean run on the logit difference between answer and
/// foil in the corrupt run. It is estimated from gradients, or found by patching. The runs are
/// recorded and then replayed.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    compared: Compared,
    /// `attribution` takes the gradient in the corrupt run (one backward pass), `ig:N` its mean at
    /// N midpoints between the corrupt and the clean values of a whole site (integrated
    /// gradients), `exact` patches each part.
    #[arg(long, value_name = "METHOD", default_value = "attribution")]
    method: Method,
    /// The parts: the residual stream after each block or the output of each feed-forward layer,
    /// by position, or the heads.
    #[arg(long, value_enum, default_value_t = What::Resid)]
    what: What,
    /// Where to write the effects in logits as comma-separated values: block, position, token and
    /// effect, or block, head and effect.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Where to write the heat map of the shares as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Where to write the journal; an older journal there is replaced.
    #[arg(long, value_name = "FILE", default_value = "attribute.ilj")]
    journal: PathBuf,
    #[command(flatten)]
    options: Options,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, CliError> {
    let (method, what) = (arguments.method, arguments.what);
    let comparison = Comparison {
        compared: &arguments.compared,
        method,
        what,
        csv: arguments.csv.as_ref(),
        svg: arguments.svg.as_ref(),
        journal: &arguments.journal,
        options: &arguments.options,
    };
    comparison.run("attribute.toml", |effects| {
        let column = what.column();
        let place = |block, place, effect| {
            let share = effects.share(effect);
            json!({ "block": block, column: place, "effect": effect, "share": share })
        };
        let tokens = "by block and token (* differs between the prompts)";
        let of = match what {
            What::Resid => format!("of the residual stream {tokens}"),
            What::Mlp => format!("of the feed-forward layer {tokens}"),
            What::Head => "of each head, at all positions together, by block".to_owned(),
        };
        let difference = effects.difference();
        Shown {
            about: format!(
                "method: {method}\neffect {of}, as share of the difference {difference:+.3}"
            ),
            csv: effects.csv("effect", |effect| effect),
            json: json!({
                "method": method.to_string(),
                "what": what.name(),
                "effects": effects.each(place).collect::<Value>(),
            }),
        }
    })
}
