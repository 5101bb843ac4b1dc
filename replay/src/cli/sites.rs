//! `interloom sites`: what can be reached in a model?

use std::collections::BTreeMap;

use clap::Args;
use interloom::Error;
use interloom::experiments::Progress as _;
use interloom_backends::models::induction::Induction;
use interloom_backends::models::llama::LanguageModel;
use interloom_backends::{Sites, parse_device};

use super::Ending;
use super::progress::Bars;
use super::report::outln;

/// List the sites of a model, in the order of its module tree, with their TransformerLens names.
#[derive(Args)]
pub(super) struct Arguments {
    /// `induction`, or a language model: a GGUF file, a Hugging Face folder, `smollm2-135m`, or `hf:ORG/NAME`.
    #[arg(long, value_name = "MODEL")]
    model: String,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, Error> {
    let device = parse_device("cpu")?;
    match arguments.model.as_str() {
        "induction" => list(Induction::trained(&device).sites()),
        model => {
            let mut bars = Bars::default();
            let lm = LanguageModel::load_with(model, &device, &mut |part| bars.download(part))?;
            list(lm.sites());
        }
    }
    Ok(Ending::Done)
}

fn list(sites: &Sites) {
    let aliases: BTreeMap<_, _> = sites
        .aliases()
        .map(|(alias, point)| (point, alias))
        .collect();
    for point in sites.points() {
        let name = sites.point_name(point);
        match aliases.get(&point) {
            Some(alias) => outln!("{name:40} {alias}"),
            None => outln!("{name}"),
        }
    }
}
