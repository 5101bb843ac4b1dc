//! `interloom sites`: what can be reached in a model?

use std::collections::BTreeMap;

use burn::tensor::{Int, Tensor};
use clap::Args;
use interloom_backends::{Parameters, Sites, parse_device};
use interloom_engine::{Point, Site};
use interloom_models::LanguageModel;
use interloom_models::induction::Induction;
use interloom_program::{Form, Shapes};
use serde_json::{Value, json};

use super::Ending;
use super::progress::Bars;
use super::report::outln;
use crate::CliError;
use crate::Progress as _;

/// The tokens of the batch whose shapes are shown.
const TOKENS: usize = 3;

/// List the sites of a model, in the order of its module tree, with their shapes and their
/// TransformerLens names.
///
/// The shapes are those of a batch of one row of three tokens, or of one image; a site that such a
/// batch does not pass has none.
#[derive(Args)]
pub(super) struct Arguments {
    /// `induction`, or a language model: a GGUF file, a Hugging Face folder, `smollm2-135m`, or
    /// `hf:ORG/NAME`.
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// List the operations inside the modules as well: the calls in their forward functions.
    #[arg(long)]
    operations: bool,
    /// List the gradients of the parameters as well, which are sites at the end of a backward
    /// pass.
    #[arg(long)]
    parameters: bool,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<Ending, CliError> {
    let device = parse_device("cpu")?;
    match arguments.model.as_str() {
        "induction" => {
            let model = Induction::trained(&device);
            let tokens = Tensor::<2, Int>::zeros([1, TOKENS], &device);
            let shapes = model.sites().shapes(1, || model.forward(tokens))?;
            list(model.sites(), &shapes, &Parameters::from(&model), arguments);
        }
        model => {
            let mut bars = Bars::default();
            let lm = LanguageModel::load_with(model, &device, &mut |part| bars.download(part))?;
            if !lm.number_formats().is_empty() {
                let formats = lm.number_formats().join(", ");
                bars.remark(&format!(
                    "the weights are {formats} in the model's files, and F32 when they are computed with"
                ));
            }
            let batch = match lm.model().images() {
                Some(images) => lm.images(&[vec![0.0; images.size().iter().product()].into()])?,
                None => lm.batch(&[&[0; TOKENS]])?,
            };
            let shapes = lm.sites().shapes(1, || batch.logits())?;
            list(lm.sites(), &shapes, &lm.parameters(), arguments);
        }
    }
    Ok(Ending::Done)
}

fn list(sites: &Sites, shapes: &Shapes, parameters: &Parameters, arguments: &Arguments) {
    let is_meant = |point: &Point| arguments.operations || !sites.is_operation(point.path);
    let gradients = sites.parameters().filter(|_| arguments.parameters);
    let gradients = gradients.filter_map(|path| sites.parameter(path));
    let points = sites.points().filter(is_meant).chain(gradients);
    let shape = |point: Point| {
        if point.is_parameter() {
            let shape = parameters.shape(sites.path_name(point.path))?;
            return Some(Form::Tensor(
                shape.into_iter().map(|length| length as u64).collect(),
            ));
        }
        let site = Site {
            point,
            iteration: 0,
        };
        shapes.form(sites.map(), site, None)
    };
    let aliases: BTreeMap<_, _> = sites
        .aliases()
        .map(|(alias, point)| (point, alias))
        .collect();
    if arguments.json {
        let points = points.map(|point| {
            json!({
                "site": sites.point_name(point),
                "alias": aliases.get(&point),
                "shape": shape(point).map(|form| match form {
                    Form::Tensor(shape) => json!(shape),
                    other => json!(other.to_string()),
                }),
            })
        });
        outln!("{}", points.collect::<Value>());
        return;
    }
    for point in points {
        let name = sites.point_name(point);
        let shape = match shape(point) {
            Some(Form::Tensor(shape)) => format!("{shape:?}"),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let alias = aliases.get(&point).copied().unwrap_or_default();
        let line = format!("{name:40} {shape:16} {alias}");
        outln!("{}", line.trim_end());
    }
}
