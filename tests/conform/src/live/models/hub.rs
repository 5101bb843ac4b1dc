//! The family's GPT-2 as the reference has it: under the names of the hub, and with what its
//! modules take and return there.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::nn::Embedding;
use burn::tensor::{Bool, Device, Int, Tensor};
use interloom_backends::{Hooked, Value};
use interloom_engine::Fault;
use interloom_models::decoder::{
    self, CausalAttention, DecoderModel, FeedForward, KvCache, Norm, Positions, Projection,
    TokenEmbedding,
};
use interloom_models::files::{Safetensors, Weights};

use super::stack::numbered;
use super::{Operation, apply, uncallable};
use crate::error::ConformError;

/// The configuration of the scenarios' model.
const CONFIG: &str = r#"{"model_type": "gpt2", "n_embd": 32, "n_head": 2, "n_layer": 2,
    "n_positions": 64, "vocab_size": 64, "eos_token_id": []}"#;

/// The model with its output layer.
#[derive(Module, Debug)]
pub(super) struct Gpt2 {
    transformer: Hooked<Transformer>,
    lm_head: Hooked<Projection>,
}

#[derive(Module, Debug)]
struct Transformer {
    wte: Hooked<TokenEmbedding>,
    wpe: Hooked<Embedding>,
    drop: Hooked<Operation>,
    h: Vec<Hooked<Block>>,
    ln_f: Hooked<Norm>,
}

#[derive(Module, Debug)]
struct Block {
    ln_1: Hooked<Norm>,
    attn: Hooked<CausalAttention>,
    ln_2: Hooked<Norm>,
    mlp: Hooked<FeedForward>,
}

/// All that the reference calls a block with: the hidden state, a cache, the positions, which of
/// them are masked, and two that are not there; and by name what an encoder would be masked with,
/// and two switches.
type Call = (
    (Tensor<3>, String, Tensor<1, Int>, Tensor<4>, (), ()),
    BTreeMap<String, Value>,
);

impl Gpt2 {
    /// Reads the weights of the scenarios' model.
    pub(super) fn load(path: &Path, device: &Device) -> Result<Self, ConformError> {
        let load = || {
            let weights = Weights::from_safetensors(Safetensors::open(path)?);
            DecoderModel::load(CONFIG, "the configuration of gpt2t", weights, device)
        };
        let family = load().map_err(|error| ConformError::file(path, error))?;
        const IN_GPT2: &str = "every GPT-2 has it";
        let block = |block: Hooked<decoder::Block>| {
            let block = block.into_inner();
            Hooked::from(Block {
                ln_1: block.ln1.expect(IN_GPT2),
                attn: block.attn,
                ln_2: block.ln2.expect(IN_GPT2),
                mlp: block.mlp,
            })
        };
        let transformer = Transformer {
            wte: family.embed,
            wpe: family.pos_embed.expect(IN_GPT2),
            drop: Operation.into(),
            h: family.layers.into_iter().map(block).collect(),
            ln_f: family.norm.expect(IN_GPT2),
        };
        Ok(Self {
            transformer: transformer.into(),
            lm_head: family.unembed,
        })
    }

    /// Computes `[batch, position, token]` logits of tokens that follow those of the cache; at the
    /// last position only, where they are for a generation.
    fn step(&self, ids: Tensor<2, Int>, cache: &mut KvCache, is_last_only: bool) -> Tensor<3> {
        let named = self.transformer.call(ids, |transformer, ids| {
            let hidden = transformer.forward(ids, cache);
            BTreeMap::from([("last_hidden_state".to_owned(), hidden)])
        });
        let hidden = named
            .into_values()
            .next()
            .expect("one value, whose place is checked");
        let length = hidden.dims()[1];
        let hidden = if is_last_only {
            hidden.narrow(1, length - 1, 1)
        } else {
            hidden
        };
        self.lm_head.forward(hidden)
    }

    fn cache(&self) -> KvCache {
        let transformer = self.transformer.inner();
        let positions = transformer.wpe.inner().weight.dims()[0];
        KvCache::new(transformer.h.len(), positions)
    }

    pub(super) fn call_module(&self, path: &str, x: Value) -> Result<Value, Fault> {
        let Transformer {
            wte, wpe, h, ln_f, ..
        } = self.transformer.inner();
        match path {
            "transformer.wte" => apply(wte.inner(), x),
            "transformer.wpe" => apply(wpe.inner(), x),
            "transformer.ln_f" => apply(ln_f.inner(), x),
            "lm_head" => apply(self.lm_head.inner(), x),
            _ => {
                let (block, inner) = numbered(path, "transformer.h.", h.len())?;
                let block = h[block].inner();
                match inner {
                    ".ln_1" => apply(block.ln_1.inner(), x),
                    ".ln_2" => apply(block.ln_2.inner(), x),
                    ".mlp" => apply(block.mlp.inner(), x),
                    _ => Err(uncallable(path)),
                }
            }
        }
    }
}

/// Computes `[batch, position, token]` logits.
pub(super) fn forward(model: &Hooked<Gpt2>, ids: Tensor<2, Int>) -> Tensor<3> {
    model.call(ids, |model, ids| model.step(ids, &mut model.cache(), false))
}

/// Continues prompts greedily, and shows the `[batch, 1, token]` logits of each step.
pub(super) fn generate(
    model: &Hooked<Gpt2>,
    ids: Tensor<2, Int>,
    steps: u32,
    see: impl Fn(Tensor<3>),
) {
    let (mut cache, mut ids) = (model.inner().cache(), ids);
    for _ in 0..steps {
        let last = model.call(ids, |model, ids| model.step(ids, &mut cache, true));
        ids = last.clone().argmax(2).squeeze_dim::<2>(2);
        see(last);
    }
}

impl Transformer {
    fn forward(&self, ids: Tensor<2, Int>, cache: &mut KvCache) -> Tensor<3> {
        let (past, length) = (cache.len(), ids.dims()[1]);
        let device = ids.device();
        let positions = Tensor::<1, Int>::arange(past as i64..(past + length) as i64, &device);
        let embedded = self.wte.forward(ids) + self.wpe.forward(positions.clone().unsqueeze());
        let future = Tensor::<2, Bool>::tril_mask([length, past + length], past as i64, &device);
        let mask = Tensor::<2>::zeros([length, past + length], &device);
        let mask = mask.mask_fill(future, f32::MIN).unsqueeze::<4>();
        let attentions = self.h.iter().map(|block| block.inner().attn.inner());
        let sizes = [embedded.dims()[0], past, length];
        let placed = Positions::unrotated(attentions, sizes, &device);
        let mut hidden = self.drop.call(embedded, |_, x| x);
        for (number, block) in self.h.iter().enumerate() {
            let named = [
                ("encoder_attention_mask", Value::Unit),
                ("use_cache", Value::Bool(true)),
                ("output_attentions", Value::Bool(false)),
            ];
            let named = named.map(|(name, value)| (name.to_owned(), value));
            let places = (
                hidden,
                "DynamicCache".to_owned(),
                positions.clone(),
                mask.clone(),
                (),
                (),
            );
            let call: Call = (places, named.into());
            let compute =
                |block: &Block, ((x, ..), _): Call| (block.forward(x, &placed, cache, number),);
            let (output,) = block.call(call, compute);
            hidden = output;
        }
        cache.advance(length);
        self.ln_f.forward(hidden)
    }
}

impl Block {
    /// Computes the block as the family does; the attention also shows its pattern.
    fn forward(
        &self,
        x: Tensor<3>,
        positions: &Positions,
        cache: &mut KvCache,
        number: usize,
    ) -> Tensor<3> {
        let normalized = self.ln_1.forward(x.clone());
        let attend =
            |attn: &CausalAttention, x| attn.forward_with_pattern(x, positions, cache, number);
        let (attended, _) = self.attn.call(normalized, attend);
        let x = attended + x;
        self.mlp.forward(self.ln_2.forward(x.clone())) + x
    }
}
