//! `interloom sites`: what can be reached in a model?

use std::collections::BTreeMap;

use clap::Args;
use interloom_backends::models::induction::Induction;
use interloom_backends::models::llama::LanguageModel;
use interloom_backends::{Sites, parse_device};
use serde_json::{Value, json};

use super::Ending;
use super::progress::Bars;
use super::report::outln;
use crate::Error;
use crate::experiments::Progress as _;

/// List the sites of a model, in the order of its module tree, with their TransformerLens names.
#[derive(Args)]
pub(super) struct Arguments {
    /// `induction`, or a language model: a GGUF file, a Hugging Face folder, `smollm2-135m`, or `hf:ORG/NAME`.
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, Error> {
    let device = parse_device("cpu")?;
    match arguments.model.as_str() {
        "induction" => list(Induction::trained(&device).sites(), arguments.json),
        model => {
            let mut bars = Bars::default();
            let lm = LanguageModel::load_with(model, &device, &mut |part| bars.download(part))?;
            list(lm.sites(), arguments.json);
        }
    }
    Ok(Ending::Done)
}

fn list(sites: &Sites, json: bool) {
    let aliases: BTreeMap<_, _> = sites
        .aliases()
        .map(|(alias, point)| (point, alias))
        .collect();
    if json {
        let points = sites.points();
        let points = points
            .map(|point| json!({ "site": sites.point_name(point), "alias": aliases.get(&point) }));
        outln!("{}", points.collect::<Value>());
        return;
    }
    for point in sites.points() {
        let name = sites.point_name(point);
        match aliases.get(&point) {
            Some(alias) => outln!("{name:40} {alias}"),
            None => outln!("{name}"),
        }
    }
}
