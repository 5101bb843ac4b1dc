//! GPT-2 (Radford et al. 2019), with the modules of Hugging Face's as sites.

use std::collections::BTreeMap;

use burn::module::{Module, Param};
use burn::nn::{Embedding, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Bool, Int, Tensor, activation};
use interloom_backends::{Forward, Hooked, Value};
use interloom_engine::Fault;

use super::stack::numbered;
use super::{Operation, Weights, apply, uncallable};
use crate::error::ConformError;

const HEADS: usize = 2;

/// The model with its output layer, whose weight is the embedding's.
#[derive(Module, Debug)]
pub(super) struct Gpt2 {
    transformer: Hooked<Transformer>,
    lm_head: Hooked<Unembed>,
}

#[derive(Module, Debug)]
struct Transformer {
    wte: Hooked<Embedding>,
    wpe: Hooked<Embedding>,
    drop: Hooked<Operation>,
    h: Vec<Hooked<Block>>,
    ln_f: Hooked<LayerNorm>,
}

#[derive(Module, Debug)]
struct Block {
    ln_1: Hooked<LayerNorm>,
    attn: Hooked<Attention>,
    ln_2: Hooked<LayerNorm>,
    mlp: Hooked<Mlp>,
}

#[derive(Module, Debug)]
struct Attention {
    c_attn: Hooked<Linear>,
    attn_dropout: Hooked<Operation>,
    c_proj: Hooked<Linear>,
    resid_dropout: Hooked<Operation>,
}

#[derive(Module, Debug)]
struct Mlp {
    c_fc: Hooked<Linear>,
    act: Hooked<Operation>,
    c_proj: Hooked<Linear>,
    dropout: Hooked<Operation>,
}

#[derive(Module, Debug)]
struct Unembed {
    weight: Param<Tensor<2>>,
}

/// The keys and values of the tokens so far, `[batch, head, position, width]`, for each block.
type Cache = Vec<Option<(Tensor<4>, Tensor<4>)>>;

/// Computes `[batch, position, token]` logits.
pub(super) fn forward(model: &Hooked<Gpt2>, ids: Tensor<2, Int>) -> Tensor<3> {
    model.call(ids, |model, ids| model.step(ids, &mut Cache::new(), false))
}

/// Continues prompts greedily, and shows the `[batch, 1, token]` logits of each step.
pub(super) fn generate(
    model: &Hooked<Gpt2>,
    ids: Tensor<2, Int>,
    steps: u32,
    see: impl Fn(Tensor<3>),
) {
    let (mut cache, mut ids) = (Cache::new(), ids);
    for _ in 0..steps {
        let last = model.call(ids, |model, ids| model.step(ids, &mut cache, true));
        ids = last.clone().argmax(2).squeeze_dim::<2>(2);
        see(last);
    }
}

/// All that the reference calls a block with: the hidden state, a cache, the positions, which of
/// them are masked, and two that are not there; and by name what an encoder would be masked with,
/// and two switches.
type Call = (
    (Tensor<3>, String, Tensor<1, Int>, Tensor<4>, (), ()),
    BTreeMap<String, Value>,
);

impl Gpt2 {
    fn step(&self, ids: Tensor<2, Int>, cache: &mut Cache, is_last_only: bool) -> Tensor<3> {
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

    pub(super) fn call_module(&self, path: &str, x: Value) -> Result<Value, Fault> {
        let Transformer {
            wte, wpe, h, ln_f, ..
        } = self.transformer.inner();
        match path {
            "transformer.wte" => apply(wte.inner(), x),
            "transformer.wpe" => apply(wpe.inner(), x),
            "transformer.ln_f" => apply::<_, Tensor<3>, _>(ln_f.inner(), x),
            "lm_head" => apply(self.lm_head.inner(), x),
            _ => {
                let (block, inner) = numbered(path, "transformer.h.", h.len())?;
                let Block {
                    ln_1,
                    attn,
                    ln_2,
                    mlp,
                } = h[block].inner();
                match inner {
                    ".ln_1" => apply::<_, Tensor<3>, _>(ln_1.inner(), x),
                    ".ln_2" => apply::<_, Tensor<3>, _>(ln_2.inner(), x),
                    ".attn.c_attn" => apply::<_, Tensor<3>, _>(attn.inner().c_attn.inner(), x),
                    ".attn.c_proj" => apply::<_, Tensor<3>, _>(attn.inner().c_proj.inner(), x),
                    ".mlp" => apply(mlp.inner(), x),
                    ".mlp.c_fc" => apply::<_, Tensor<3>, _>(mlp.inner().c_fc.inner(), x),
                    ".mlp.c_proj" => apply::<_, Tensor<3>, _>(mlp.inner().c_proj.inner(), x),
                    _ => Err(uncallable(path)),
                }
            }
        }
    }
}

impl Transformer {
    fn forward(&self, ids: Tensor<2, Int>, cache: &mut Cache) -> Tensor<3> {
        cache.resize(self.h.len(), None);
        let past = cache.first().and_then(Option::as_ref);
        let past = past.map_or(0, |(keys, _)| keys.dims()[2]);
        let length = ids.dims()[1];
        let positions = past as i64..(past + length) as i64;
        let device = ids.device();
        let positions = Tensor::<1, Int>::arange(positions, &device);
        let embedded = self.wte.forward(ids) + self.wpe.forward(positions.clone().unsqueeze());
        let future = Tensor::<2, Bool>::tril_mask([length, past + length], past as i64, &device);
        let mask = Tensor::<2>::zeros([length, past + length], &device);
        let mask = mask.mask_fill(future, f32::MIN).unsqueeze::<4>();
        let mut hidden = self.drop.call(embedded, |_, x| x);
        for (block, cache) in self.h.iter().zip(cache) {
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
            let (output,) = block.call(call, |block, ((x, ..), _)| (block.forward(x, cache),));
            hidden = output;
        }
        self.ln_f.forward(hidden)
    }
}

impl Block {
    fn forward(&self, x: Tensor<3>, cache: &mut Option<(Tensor<4>, Tensor<4>)>) -> Tensor<3> {
        let normalized = self.ln_1.forward(x.clone());
        let (attended, _) = self.attn.call(normalized, |attn, x| attn.forward(x, cache));
        let x = attended + x;
        self.mlp.forward(self.ln_2.forward(x.clone())) + x
    }
}

impl Attention {
    /// Returns the output and the `[batch, head, query, key]` pattern.
    fn forward(
        &self,
        x: Tensor<3>,
        cache: &mut Option<(Tensor<4>, Tensor<4>)>,
    ) -> (Tensor<3>, Tensor<4>) {
        let [batch, length, width] = x.dims();
        let head_width = width / HEADS;
        let all = self.c_attn.forward(x);
        let part = |index: usize| {
            let part = all.clone().narrow(2, index * width, width);
            part.reshape([batch, length, HEADS, head_width])
                .swap_dims(1, 2)
        };
        let (query, mut keys, mut values) = (part(0), part(1), part(2));
        if let Some((old_keys, old_values)) = cache.take() {
            keys = Tensor::cat(vec![old_keys, keys], 2);
            values = Tensor::cat(vec![old_values, values], 2);
        }
        *cache = Some((keys.clone(), values.clone()));
        let total = keys.dims()[2];
        let scores = query.matmul(keys.swap_dims(2, 3)) / (head_width as f64).sqrt();
        let past = (total - length) as i64;
        let future = Tensor::<2, Bool>::tril_mask([length, total], past, &scores.device());
        let future = future
            .unsqueeze::<4>()
            .expand([batch, HEADS, length, total]);
        let pattern = activation::softmax(scores.mask_fill(future, f32::MIN), 3);
        let pattern = self.attn_dropout.call(pattern, |_, pattern| pattern);
        let z = pattern.clone().matmul(values).swap_dims(1, 2);
        let output = self.c_proj.forward(z.reshape([batch, length, width]));
        (self.resid_dropout.call(output, |_, x| x), pattern)
    }
}

impl Forward<Tensor<3>> for Mlp {
    type Output = Tensor<3>;

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let h = self.c_fc.forward(x);
        let h = self.act.call(h, |_, h| activation::gelu_approximate(h));
        let h = self.c_proj.forward(h);
        self.dropout.call(h, |_, h| h)
    }
}

impl Forward<Tensor<3>> for Unembed {
    type Output = Tensor<3>;

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        x.matmul(self.weight.val().transpose().unsqueeze())
    }
}

impl Weights<'_> {
    pub(super) fn gpt2(&mut self) -> Result<Gpt2, ConformError> {
        let [tokens, width] = self.shape("transformer.wte.weight")?;
        let wte = self.take("transformer.wte.weight", [tokens, width])?;
        let weight = self.number(wte);
        let [positions, _] = self.shape::<2>("transformer.wpe.weight")?;
        let wpe = self.take("transformer.wpe.weight", [positions, width])?;
        let wpe = Embedding {
            weight: self.number(wpe),
        };
        let h = (0..2).map(|block| self.gpt2_block(&format!("transformer.h.{block}"), width));
        let h = h.collect::<Result<_, _>>()?;
        let unembed = Unembed {
            weight: weight.clone(),
        };
        let transformer = Transformer {
            wte: Embedding { weight }.into(),
            wpe: wpe.into(),
            drop: Operation.into(),
            h,
            ln_f: self.norm("transformer.ln_f", width)?,
        };
        Ok(Gpt2 {
            transformer: transformer.into(),
            lm_head: unembed.into(),
        })
    }

    fn gpt2_block(&mut self, path: &str, width: usize) -> Result<Hooked<Block>, ConformError> {
        let attn = Attention {
            c_attn: self.conv1d(&format!("{path}.attn.c_attn"))?,
            attn_dropout: Operation.into(),
            c_proj: self.conv1d(&format!("{path}.attn.c_proj"))?,
            resid_dropout: Operation.into(),
        };
        let mlp = Mlp {
            c_fc: self.conv1d(&format!("{path}.mlp.c_fc"))?,
            act: Operation.into(),
            c_proj: self.conv1d(&format!("{path}.mlp.c_proj"))?,
            dropout: Operation.into(),
        };
        let block = Block {
            ln_1: self.norm(&format!("{path}.ln_1"), width)?,
            attn: attn.into(),
            ln_2: self.norm(&format!("{path}.ln_2"), width)?,
            mlp: mlp.into(),
        };
        Ok(block.into())
    }

    /// Takes a linear layer of GPT-2's own layout, `[in, out]`, which is burn's as well.
    fn conv1d(&mut self, path: &str) -> Result<Hooked<Linear>, ConformError> {
        let [width, out] = self.shape(&format!("{path}.weight"))?;
        let weight = self.take(&format!("{path}.weight"), [width, out])?;
        let bias = self.take(&format!("{path}.bias"), [out])?;
        Ok(self.linear_of(weight, bias))
    }

    fn norm(&mut self, path: &str, width: usize) -> Result<Hooked<LayerNorm>, ConformError> {
        let mut norm = LayerNormConfig::new(width).init(self.device);
        let gain = self.take(&format!("{path}.weight"), [width])?;
        let bias = self.take(&format!("{path}.bias"), [width])?;
        norm.gamma = self.number(gain);
        norm.beta = Some(self.number(bias));
        Ok(norm.into())
    }
}
