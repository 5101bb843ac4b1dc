//! The modules of the model, called on values outside their place in it.

use interloom_backends::{Erase, Value, callable};
use interloom_engine::Fault;
use interloom_program::Modules;

use super::{Induction, LAYERS, POSITIONS, VOCABULARY};
use crate::call::{Callable, Sizes, in_layer, not_callable, padding, stream, tokens};

/// The model itself, `embed`, `layers.N`, `layers.N.attn` and `unembed`; a layer takes its value
/// for a whole sequence.
///
/// Called by a mediator, they pass no site of the run.
impl Modules<Value> for Induction {
    fn call(&self, path: &str, input: Value) -> Result<Value, Fault> {
        let padding = padding(&input);
        let padding = padding.as_ref();
        let as_tokens = |input| tokens(path, input, VOCABULARY, POSITIONS);
        let as_stream = |input| stream(path, input, self.width(), POSITIONS);
        let model = callable(self);
        match path {
            "" => return Ok(model.forward_padded(as_tokens(input)?, padding).erase()),
            "embed" => return Ok(model.embed.forward(as_tokens(input)?).erase()),
            "unembed" => return Ok(model.unembed.forward(as_stream(input)?).erase()),
            _ => {}
        }
        match in_layer(path, LAYERS) {
            Some((layer, "")) => {
                let layer = model.layers[layer].inner();
                Ok(layer.add(as_stream(input)?, padding).erase())
            }
            Some((layer, "attn")) => Ok(model.layers[layer]
                .inner()
                .attn
                .inner()
                .attend(as_stream(input)?, padding)
                .erase()),
            _ => Err(unknown(path)),
        }
    }

    fn shape(&self, path: &str, input: &[u64]) -> Option<Result<Vec<u64>, Fault>> {
        let (tokens, logits) = match path {
            "" => (true, true),
            "embed" => (true, false),
            "unembed" => (false, true),
            _ if matches!(in_layer(path, LAYERS), Some((_, "" | "attn"))) => (false, false),
            _ => return Some(Err(unknown(path))),
        };
        let sizes = Sizes {
            width: self.width(),
            made: self.width(),
            vocabulary: VOCABULARY,
            positions: POSITIONS,
        };
        Some(Callable { tokens, logits }.shape(path, input, sizes))
    }
}

fn unknown(path: &str) -> Fault {
    not_callable(path, "`embed`, `layers.N`, `layers.N.attn` and `unembed`")
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::super::Sampler;
    use super::*;
    use interloom_backends::Run;

    fn close(left: &Value, right: &Value) -> bool {
        let floats = |value: &Value| value.clone().tensor::<3>().unwrap().into_data();
        floats(left) == floats(right)
    }

    #[test]
    fn modules_in_a_row_are_the_model() {
        let device = Device::flex();
        let model = Induction::trained(&device);
        let tokens = Sampler::new(5).batch(2).tokens(&device);
        let mut run = Run::new("read", model.sites());
        let read = run.mediator("read", |cx| async move {
            let residual = cx.input("layers.0").await?;
            let attended = cx.output("layers.0.attn").await?;
            Ok((residual, attended, cx.output("layers.0").await?))
        });
        let logits = run.execute(|| model.forward(tokens.clone())).unwrap();
        let logits = logits.output.ok().unwrap().erase();
        let (residual, attended, after) = read.take().unwrap();
        let call = |path: &str, input: Value| model.inner().call_module(path, input);
        assert!(close(&call("layers.0.attn", residual.clone()), &attended));
        assert!(close(&call("layers.0", residual), &after));
        let last = call("layers.1", after);
        assert!(close(&call("unembed", last), &logits));
        assert!(close(&call("", tokens.erase()), &logits));
    }

    impl Induction {
        fn call_module(&self, path: &str, input: Value) -> Value {
            Modules::call(self, path, input).unwrap()
        }
    }

    #[test]
    fn what_a_module_does_not_take_is_said() {
        let device = Device::flex();
        let model = Induction::trained(&device);
        let fault = |path: &str, input: Value| {
            Modules::call(model.inner(), path, input)
                .unwrap_err()
                .to_string()
        };
        let tokens = Sampler::new(5).batch(1).tokens(&device);
        insta::assert_snapshot!(fault("unembed", tokens.clone().erase()), @"`unembed` takes floats of [batch, 1 to 48 positions, 64], found i32[1, 48]");
        insta::assert_snapshot!(fault("embed", (tokens.clone() + 100).erase()), @"`embed` takes tokens below 40 of [batch, 1 to 48 positions], found token 130");
        insta::assert_snapshot!(fault("layers.2", tokens.clone().erase()), @"`layers.2` cannot be called on a value; of this model `embed`, `layers.N`, `layers.N.attn` and `unembed` can");
        insta::assert_snapshot!(fault("", Value::Unit), @"the model takes tokens below 40 of [batch, 1 to 48 positions], found nothing");
        insta::assert_snapshot!(fault("layers.0.attn.q", Value::Unit), @"`layers.0.attn.q` cannot be called on a value; of this model `embed`, `layers.N`, `layers.N.attn` and `unembed` can");
    }
}
