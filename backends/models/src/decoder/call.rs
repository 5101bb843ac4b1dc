//! The modules of a decoder, called on values outside their place in it.

use burn::tensor::Tensor;
use interloom_backends::{Erase, Hooked, Value, callable};
use interloom_engine::{Fault, Padding};
use interloom_program::Modules;

use super::place::Place;
use super::{Block, DecoderLm, DecoderModel, KvCache, Norm, OutputTransform, Projection};
use crate::call::{Callable, Sizes, in_layer, not_callable, padding, stream, tokens};

/// A module that takes the residual stream; those of blocks with the number of theirs.
#[derive(Clone, Copy)]
enum Part<'m> {
    Block(usize),
    Attn(usize),
    Mlp(usize),
    Norm(&'m Hooked<Norm>),
    Project(&'m Hooked<Projection>),
    Transform(&'m Hooked<OutputTransform>),
    Unembed,
}

const CALLABLE: &str = "`embed`, `layers.N`, its norms, `attn` and `mlp`, and, of those that it has, `project_in`, \
     `embed_norm`, `norm`, `project_out`, `transform` and `unembed`";

impl DecoderModel {
    fn part(&self, path: &str) -> Result<Part<'_>, Fault> {
        let part = match (path, in_layer(path, self.len())) {
            ("project_in", _) => self.project_in.as_ref().map(Part::Project),
            ("embed_norm", _) => self.embed_norm.as_ref().map(Part::Norm),
            ("norm", _) => self.norm.as_ref().map(Part::Norm),
            ("project_out", _) => self.project_out.as_ref().map(Part::Project),
            ("transform", _) => self.transform.as_ref().map(Part::Transform),
            ("unembed", _) => Some(Part::Unembed),
            (_, Some((layer, part))) => {
                let block: &Block = self.layers[layer].inner();
                match part {
                    "" => Some(Part::Block(layer)),
                    "attn" => Some(Part::Attn(layer)),
                    "mlp" => Some(Part::Mlp(layer)),
                    "ln1" => block.ln1.as_ref().map(Part::Norm),
                    "ln1_post" => block.ln1_post.as_ref().map(Part::Norm),
                    "ln2" => block.ln2.as_ref().map(Part::Norm),
                    "ln2_post" => block.ln2_post.as_ref().map(Part::Norm),
                    _ => None,
                }
            }
            _ => None,
        };
        part.ok_or_else(|| not_callable(path, CALLABLE))
    }

    fn compute(&self, part: Part<'_>, x: Tensor<3>, padding: Option<Padding>) -> Tensor<3> {
        let [batch, length, _] = x.dims();
        let place = Place::new(padding.as_ref(), batch, 0, length);
        let positions = || self.positions(&place, &x.device());
        let mut cache = KvCache::padded(self.len(), length, padding.clone());
        let block = |layer: usize| self.layers[layer].inner();
        match part {
            Part::Block(at) => {
                let positions = positions();
                block(at).forward(x, &positions, &mut cache, at)
            }
            Part::Attn(at) => {
                let positions = positions();
                block(at)
                    .attn
                    .inner()
                    .forward(x, &positions, &mut cache, at)
            }
            Part::Mlp(at) => block(at).mlp.forward(x),
            Part::Norm(norm) => norm.forward(x),
            Part::Project(project) => project.forward(x),
            Part::Transform(transform) => transform.forward(x),
            Part::Unembed => self.unembed.forward(x),
        }
    }
}

impl DecoderLm {
    /// Returns the sizes of what the module at `path` takes and makes.
    fn sizes(&self, path: &str) -> Sizes {
        let config = self.config();
        let (narrow, wide) = (config.embedding_width, config.width);
        let (width, made) = match path {
            "embed" | "unembed" => (narrow, narrow),
            "embed_norm" if config.projects_sum => (narrow, narrow),
            "project_in" => (narrow, wide),
            "project_out" | "transform" => (wide, narrow),
            _ => (wide, wide),
        };
        Sizes {
            width,
            made,
            vocabulary: config.vocabulary,
            positions: config.longest(),
        }
    }
}

/// The model itself, `embed`, `layers.N`, in a layer `attn`, `mlp` and the norms that it has, and
/// before and behind them `project_in`, `embed_norm`, `norm`, `project_out`, `transform` and
/// `unembed`.
///
/// A layer and its attention take their value for a whole sequence, which begins at position 0:
/// they do not see what a generation keeps of earlier tokens. Of rows that are marked as padded
/// they see each row's own positions. Called by a mediator, modules pass no site of the run.
impl Modules<Value> for DecoderLm {
    fn call(&self, path: &str, input: Value) -> Result<Value, Fault> {
        let (sizes, padding) = (self.sizes(path), padding(&input));
        let as_tokens = |input| tokens(path, input, sizes.vocabulary, sizes.positions);
        let model = callable(self.model().inner());
        let output = match path {
            "" => {
                let tokens = as_tokens(input)?;
                let mut cache = KvCache::padded(model.len(), tokens.dims()[1], padding);
                model.forward_cached(tokens, &mut cache)
            }
            "embed" => model.embed.forward(as_tokens(input)?),
            _ => {
                let part = model.part(path)?;
                let x = stream(path, input, sizes.width, sizes.positions)?;
                model.compute(part, x, padding)
            }
        };
        Ok(output.erase())
    }

    fn shape(&self, path: &str, input: &[u64]) -> Option<Result<Vec<u64>, Fault>> {
        let (tokens, logits) = match path {
            "" => (true, true),
            "embed" => (true, false),
            _ => match self.model().inner().part(path) {
                Ok(part) => (false, matches!(part, Part::Unembed)),
                Err(fault) => return Some(Err(fault)),
            },
        };
        Some(Callable { tokens, logits }.shape(path, input, self.sizes(path)))
    }
}
