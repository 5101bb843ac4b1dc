//! The modules of a language model, called on values outside their place in it.

use interloom_backends::{Erase, Value};
use interloom_engine::Fault;
use interloom_program::Modules;

use super::lm::LlamaLm;
use super::load::positions;
use crate::call::{Callable, Sizes, in_layer, not_callable, stream, tokens};

/// The model itself, `embed`, `norm`, `unembed`, `layers.N`, and in a layer `ln1`, `attn`, `ln2`
/// and `mlp`.
///
/// A layer and its attention take their value for a whole sequence, which begins at position 0:
/// they do not see what a generation keeps of earlier tokens. Called by a mediator, modules pass no
/// site of the run.
impl Modules<Value> for LlamaLm {
    fn call(&self, path: &str, input: Value) -> Result<Value, Fault> {
        let (config, model) = (self.config(), self.model().inner());
        let room = positions(config);
        let as_tokens = |input| tokens(path, input, config.vocab_size, room);
        let as_stream = |input| stream(path, input, config.hidden_size, room);
        match path {
            "" => {
                let tokens = as_tokens(input)?;
                let [batch, length] = tokens.dims();
                let mut cache = self.cache(batch, length);
                return Ok(model.forward_cached(tokens, &mut cache).erase());
            }
            "embed" => return Ok(model.embed.forward(as_tokens(input)?).erase()),
            "norm" => return Ok(model.norm.forward(as_stream(input)?).erase()),
            "unembed" => return Ok(model.unembed.forward(as_stream(input)?).erase()),
            _ => {}
        }
        let Some((layer, part)) = in_layer(path, model.len()) else {
            return Err(unknown(path));
        };
        let block = model.layers[layer].inner();
        let output = match part {
            "" | "attn" => {
                let x = as_stream(input)?;
                let [batch, length, _] = x.dims();
                let mut cache = self.cache(batch, length);
                let angles = model.rotary.at(0, length);
                match part {
                    "" => block.forward(x, &angles, &mut cache, layer),
                    _ => block.attn.inner().forward(x, &angles, &mut cache, layer),
                }
            }
            "ln1" => block.ln1.forward(as_stream(input)?),
            "ln2" => block.ln2.forward(as_stream(input)?),
            "mlp" => block.mlp.forward(as_stream(input)?),
            _ => return Err(unknown(path)),
        };
        Ok(output.erase())
    }

    fn shape(&self, path: &str, input: &[u64]) -> Option<Result<Vec<u64>, Fault>> {
        let in_layer = in_layer(path, self.model().inner().len());
        let (tokens, logits) = match (path, in_layer) {
            ("", _) => (true, true),
            ("embed", _) => (true, false),
            ("unembed", _) => (false, true),
            ("norm", _) | (_, Some((_, "" | "attn" | "ln1" | "ln2" | "mlp"))) => (false, false),
            _ => return Some(Err(unknown(path))),
        };
        let config = self.config();
        let sizes = Sizes {
            width: config.hidden_size,
            vocabulary: config.vocab_size,
            positions: positions(config),
        };
        Some(Callable { tokens, logits }.shape(path, input, sizes))
    }
}

fn unknown(path: &str) -> Fault {
    not_callable(
        path,
        "`embed`, `layers.N`, its `ln1`, `attn`, `ln2` and `mlp`, `norm` and `unembed`",
    )
}
