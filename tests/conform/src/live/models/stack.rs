//! Stacks of small blocks, whose operations are sites as well.

use std::collections::BTreeMap;

use burn::module::{Module, Param};
use burn::nn::{Linear, Tanh};
use burn::tensor::Tensor;
use interloom_backends::{Forward, Hooked, Operations, Value, operations};
use interloom_engine::Fault;

use super::{Weights, apply, uncallable};
use crate::error::ConformError;

/// `head(layers.3(..layers.0(embed(x))))`, and a layer that is never called.
#[derive(Module, Debug)]
pub(super) struct Stack {
    embed: Hooked<Linear>,
    layers: Vec<Hooked<Block>>,
    head: Hooked<Linear>,
    unused: Hooked<Linear>,
}

/// One block that is called five times.
#[derive(Module, Debug)]
pub(super) struct Recurrent {
    embed: Hooked<Linear>,
    cell: Hooked<Block>,
    head: Hooked<Linear>,
}

/// Blocks that take a named argument and return a tuple, of which the next one gets item 0.
#[derive(Module, Debug)]
pub(super) struct Tuples {
    embed: Hooked<Linear>,
    layers: Vec<Hooked<TupleBlock>>,
    head: Hooked<Linear>,
    scale: Param<Tensor<1>>,
}

/// `x + 0.5 * tanh(fc(x))`.
#[derive(Module, Debug)]
pub(super) struct Block {
    fc: Hooked<Linear>,
    act: Hooked<Tanh>,
    source: Operations,
}

/// `(x + scale * h, {h, mean of h})` with `h = tanh(fc(x))`.
#[derive(Module, Debug)]
pub(super) struct TupleBlock {
    fc: Hooked<Linear>,
    source: Operations,
    /// Whether the mean is over rows, `[width]`, or over everything.
    is_mean_of_rows: bool,
}

/// The arguments by place, and those by name.
type Call<A, N> = (A, BTreeMap<String, N>);

impl Forward<Tensor<2>> for Stack {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let layers = self.layers.iter();
        let x = layers.fold(self.embed.forward(x), |x, layer| layer.forward(x));
        self.head.forward(x)
    }
}

impl Forward<Tensor<2>> for Recurrent {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = (0..5).fold(self.embed.forward(x), |x, _| self.cell.forward(x));
        self.head.forward(x)
    }
}

impl Forward<Tensor<2>> for Tuples {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.layers.iter().fold(self.embed.forward(x), |x, layer| {
            let scale = BTreeMap::from([("scale".to_owned(), self.scale.val())]);
            layer.forward(((x,), scale)).0
        });
        self.head.forward(x)
    }
}

#[operations]
impl Forward<Tensor<2>> for Block {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let linear = h(self.fc.forward(x.clone()));
        let curved = h(self.act.forward(linear));
        let call: Call<(Tensor<2>, f64), Value> = ((curved, 0.5), BTreeMap::new());
        x + h(torch_mul(call))
    }
}

/// What the variable `h` is given: with the reference, that is an operation.
fn h(value: Tensor<2>) -> Tensor<2> {
    value
}

fn torch_mul(((value, factor), _): Call<(Tensor<2>, f64), Value>) -> Tensor<2> {
    value * factor
}

fn torch_tanh(value: Tensor<2>) -> Tensor<2> {
    value.tanh()
}

#[operations]
impl TupleBlock {
    fn hidden(&self, x: Tensor<2>) -> Tensor<2> {
        h(torch_tanh(self.fc.forward(x)))
    }
}

impl Forward<Call<(Tensor<2>,), Tensor<1>>> for TupleBlock {
    type Output = (Tensor<2>, BTreeMap<String, Value>);

    fn forward(&self, ((x,), names): Call<(Tensor<2>,), Tensor<1>>) -> Self::Output {
        let h = self.hidden(x.clone());
        let mean = if self.is_mean_of_rows {
            h.clone().mean_dim(0).squeeze_dim::<1>(0)
        } else {
            h.clone().mean()
        };
        let y = match names.get("scale") {
            Some(scale) => x + scale.clone().unsqueeze() * h.clone(),
            None => panic!("the block needs the argument `scale`"),
        };
        let named = [("h", Value::from(h)), ("mean", Value::from(mean))];
        (
            y,
            named.map(|(name, value)| (name.to_owned(), value)).into(),
        )
    }
}

impl Stack {
    pub(super) fn call_module(&self, path: &str, x: Value) -> Result<Value, Fault> {
        match path {
            "embed" => apply::<_, Tensor<2>, _>(self.embed.inner(), x),
            "head" => apply::<_, Tensor<2>, _>(self.head.inner(), x),
            "unused" => apply::<_, Tensor<2>, _>(self.unused.inner(), x),
            _ => {
                let (layer, inner) = numbered(path, "layers.", self.layers.len())?;
                self.layers[layer].inner().call_module(path, inner, x)
            }
        }
    }
}

impl Recurrent {
    pub(super) fn call_module(&self, path: &str, x: Value) -> Result<Value, Fault> {
        match path {
            "embed" => apply::<_, Tensor<2>, _>(self.embed.inner(), x),
            "head" => apply::<_, Tensor<2>, _>(self.head.inner(), x),
            _ => match path.strip_prefix("cell") {
                Some(inner) => self.cell.inner().call_module(path, inner, x),
                None => Err(uncallable(path)),
            },
        }
    }
}

impl Tuples {
    pub(super) fn call_module(&self, path: &str, x: Value) -> Result<Value, Fault> {
        match path {
            "embed" => apply::<_, Tensor<2>, _>(self.embed.inner(), x),
            "head" => apply::<_, Tensor<2>, _>(self.head.inner(), x),
            _ => {
                let (layer, inner) = numbered(path, "layers.", self.layers.len())?;
                let layer = &self.layers[layer];
                match inner {
                    ".fc" => apply::<_, Tensor<2>, _>(layer.inner().fc.inner(), x),
                    _ => Err(uncallable(path)),
                }
            }
        }
    }
}

impl Block {
    fn call_module(&self, path: &str, inner: &str, x: Value) -> Result<Value, Fault> {
        match inner {
            "" => apply(self, x),
            ".fc" => apply::<_, Tensor<2>, _>(self.fc.inner(), x),
            ".act" => apply::<_, Tensor<2>, _>(self.act.inner(), x),
            _ => Err(uncallable(path)),
        }
    }
}

/// Takes a path apart into the number of a block and the path inside it.
pub(super) fn numbered<'p>(
    path: &'p str,
    before: &str,
    count: usize,
) -> Result<(usize, &'p str), Fault> {
    let rest = path.strip_prefix(before).ok_or_else(|| uncallable(path))?;
    let (number, inner) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
    match number.parse() {
        Ok(number) if number < count => Ok((number, inner)),
        _ => Err(uncallable(path)),
    }
}

impl Weights<'_> {
    pub(super) fn stack(&mut self) -> Result<Stack, ConformError> {
        let layers = (0..4).map(|layer| self.block(&format!("layers.{layer}")));
        Ok(Stack {
            layers: layers.collect::<Result<_, _>>()?,
            embed: self.linear("embed")?,
            head: self.linear("head")?,
            unused: self.linear("unused")?,
        })
    }

    pub(super) fn recurrent(&mut self) -> Result<Recurrent, ConformError> {
        Ok(Recurrent {
            embed: self.linear("embed")?,
            cell: self.block("cell")?,
            head: self.linear("head")?,
        })
    }

    pub(super) fn tuples(&mut self, is_mean_of_rows: bool) -> Result<Tuples, ConformError> {
        let layers = (0..3).map(|layer| {
            let block = TupleBlock {
                fc: self.linear(&format!("layers.{layer}.fc"))?,
                source: Operations::new(TupleBlock::OPERATIONS),
                is_mean_of_rows,
            };
            Ok(block.into())
        });
        let layers = layers.collect::<Result<_, ConformError>>()?;
        let [width] = self.shape("s")?;
        let scale = self.take("s", [width])?;
        Ok(Tuples {
            embed: self.linear("embed")?,
            layers,
            head: self.linear("head")?,
            scale: self.number(scale),
        })
    }

    fn block(&mut self, path: &str) -> Result<Hooked<Block>, ConformError> {
        let block = Block {
            fc: self.linear(&format!("{path}.fc"))?,
            act: Tanh::new().into(),
            source: Operations::new(Block::OPERATIONS),
        };
        Ok(block.into())
    }
}
