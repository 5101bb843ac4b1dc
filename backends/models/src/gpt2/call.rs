//! The modules of a language model, called on values outside their place in it.

use burn::tensor::{Int, Tensor};
use interloom_backends::Value;
use interloom_engine::Fault;
use interloom_program::Modules;

use super::{Gpt2Lm, KvCache};
use crate::call::{self, Blocks, Part, Sizes};

impl Blocks for Gpt2Lm {
    fn sizes(&self) -> Sizes {
        let config = self.config();
        Sizes {
            width: config.width,
            vocabulary: config.vocabulary,
            positions: config.positions,
        }
    }

    fn layers(&self) -> usize {
        self.config().layers
    }

    fn embed(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        self.model().inner().embed.forward(tokens)
    }

    fn whole(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let mut cache = KvCache::new(self.layers(), tokens.dims()[1]);
        self.model().inner().forward_cached(tokens, &mut cache)
    }

    fn part(&self, part: Part, x: Tensor<3>) -> Tensor<3> {
        let model = self.model().inner();
        let mut cache = KvCache::new(self.layers(), x.dims()[1]);
        let block = |layer: usize| model.layers[layer].inner();
        match part {
            Part::Layer(at) => block(at).forward(x, &mut cache, at),
            Part::Ln1(at) => block(at).ln1.forward(x),
            Part::Attn(at) => block(at).attn.inner().forward(x, &mut cache, at).0,
            Part::Ln2(at) => block(at).ln2.forward(x),
            Part::Mlp(at) => block(at).mlp.forward(x),
            Part::Norm => model.norm.forward(x),
            Part::Unembed => model.unembed.forward(x),
        }
    }
}

/// The model itself, `embed`, `norm`, `unembed`, `layers.N`, and in a layer `ln1`, `attn`, `ln2`
/// and `mlp`.
///
/// A layer and its attention take their value for a whole sequence, which begins at position 0:
/// they do not see what a generation keeps of earlier tokens. Called by a mediator, modules pass no
/// site of the run.
impl Modules<Value> for Gpt2Lm {
    fn call(&self, path: &str, input: Value) -> Result<Value, Fault> {
        call::of_blocks(self, path, input)
    }

    fn shape(&self, path: &str, input: &[u64]) -> Option<Result<Vec<u64>, Fault>> {
        Some(call::shape_of_blocks(self, path, input))
    }
}
