//! The models of the scenarios, once more: plain functions of arrays that pass each site by hand.

use std::collections::BTreeMap;

use super::array::{
    Array, causal_mask, gelu, grown, mean, mean_of_all, mean_of_rows, mixed, pattern, product,
    transposed,
};
use crate::user::{Operation, Tensor, Thing};

pub(crate) type Value = Thing<Array>;

/// What a model asks at its sites.
pub(crate) trait Gates {
    /// Why the model does not go on.
    type Halt;

    /// Passes a module's input; returns the arguments, or what the module is skipped with.
    fn enter(&mut self, path: &str, call: Value) -> Result<Entered, Self::Halt>;

    /// Passes a module's output, or that of an operation.
    fn leave(&mut self, path: &str, output: Value) -> Result<Value, Self::Halt>;

    /// Returns whether the operations of the module at `path`, which begins, are passed.
    fn passes_operations(&mut self, path: &str) -> bool;

    /// Says that the model cannot compute with a value.
    fn unfit(&mut self, unfit: Unfit) -> Self::Halt;
}

pub(crate) enum Entered {
    Compute(Value),
    Skip(Value),
}

/// A value that the model cannot compute with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unfit {
    /// It is no tensor, or not of the structure.
    Kind,
    Shape,
}

type Computed = Result<Value, Unfit>;

/// A model by name, with its weights by path.
#[derive(Clone)]
pub(crate) struct Network {
    name: String,
    weights: BTreeMap<String, Array>,
}

/// Keys and values of the tokens so far, by block: `[batch, position, width]`.
type Past = Vec<Option<(Array, Array)>>;

const HEADS: usize = 2;
const STEPS_OF_RECURRENT: usize = 5;

impl Network {
    pub(crate) fn new(name: &str, weights: BTreeMap<String, Array>) -> Self {
        Self {
            name: name.to_owned(),
            weights,
        }
    }

    /// Returns the model with gradients, and with those of these weights wanted.
    pub(crate) fn differentiable(&self, wanted: &[String]) -> Self {
        let weights = self.weights.iter();
        let tracked = weights.map(|(path, weight)| {
            // What is no parameter of the model is a constant.
            let is_constant = self.is_tuples() && path == "s";
            let weight = match is_constant {
                true => weight.clone(),
                false => weight.leaf(wanted.contains(path)),
            };
            (path.clone(), weight)
        });
        Self {
            name: self.name.clone(),
            weights: tracked.collect(),
        }
    }

    /// Returns a weight by its path.
    pub(crate) fn weight(&self, path: &str) -> Option<&Array> {
        self.weights.get(path)
    }

    /// Lists the points that the model has beside those of its [modules](Self::modules): those of
    /// operations.
    pub(crate) fn operations(&self) -> Vec<String> {
        let blocks = self.modules().into_iter();
        let blocks = blocks.filter(|path| is_block(path));
        let names = |path: String| {
            let operations: &[&str] = if self.is_tuples() {
                &["self_fc_0", "torch_tanh_0", "h_0"]
            } else {
                &[
                    "self_fc_0",
                    "h_0",
                    "self_act_0",
                    "h_1",
                    "torch_mul_0",
                    "h_2",
                ]
            };
            let operations = operations.iter();
            operations
                .map(|name| format!("{path}.source.{name}"))
                .collect::<Vec<_>>()
        };
        match self.name.as_str() {
            "gpt2t" => Vec::new(),
            _ => blocks.flat_map(names).collect(),
        }
    }

    /// Lists the paths of the modules; the model itself has none.
    pub(crate) fn modules(&self) -> Vec<String> {
        let inner = |count: usize, stem: &str, parts: &[&str]| {
            let blocks = (0..count).map(|block| format!("{stem}{block}"));
            let paths = blocks.flat_map(|block| {
                let parts = parts.iter().map(|part| format!("{block}{part}"));
                parts.collect::<Vec<_>>()
            });
            paths.collect::<Vec<_>>()
        };
        let (stem, blocks) = match self.name.as_str() {
            "stack4" => (
                "embed head unused",
                inner(4, "layers.", &["", ".fc", ".act"]),
            ),
            "recur5" => ("embed head cell cell.fc cell.act", Vec::new()),
            "gpt2t" => (
                "transformer transformer.wte transformer.wpe transformer.drop transformer.ln_f lm_head",
                inner(
                    2,
                    "transformer.h.",
                    &["", ".ln_1", ".ln_2", ".attn", ".mlp"],
                ),
            ),
            _ => ("embed head", inner(3, "layers.", &["", ".fc"])),
        };
        let stem = stem.split(' ').map(str::to_owned);
        std::iter::once(String::new())
            .chain(stem)
            .chain(blocks)
            .collect()
    }

    /// Returns whether a module has arguments beside its first one.
    pub(crate) fn is_by_name(&self, path: &str) -> bool {
        path.ends_with(".source.torch_mul_0")
            || (self.is_tuples() && is_block(path))
            || path
                .strip_prefix("transformer.h.")
                .is_some_and(|block| !block.contains('.'))
    }

    /// Returns whether Interloom can give a value to those who take what the module puts out.
    pub(crate) fn is_typed(&self, path: &str, output: &Value) -> bool {
        let rank = |output: &Value| match output {
            Thing::Tensor(tensor) if !tensor.is_whole() => tensor.shape().len(),
            _ => 0,
        };
        match (output, path) {
            (Thing::Tuple(items), path) if self.is_tuples() && is_block(path) => {
                matches!(&items[..], [first, Thing::Map(_)] if rank(first) == 2)
            }
            (Thing::Tuple(items), path) if path.starts_with("transformer.h.") => match &items[..] {
                [first] => self.is_by_name(path) && rank(first) == 3,
                [first, pattern] => {
                    path.ends_with(".attn") && rank(first) == 3 && rank(pattern) == 4
                }
                _ => false,
            },
            (Thing::Map(items), "transformer") => {
                matches!(&items[..], [(_, hidden)] if rank(hidden) == 3)
            }
            (Thing::Tensor(_), path) => {
                let is_composed = (self.is_tuples() && is_block(path))
                    || path == "transformer"
                    || self.is_by_name(path)
                    || path.ends_with(".attn");
                let expected = if self.name == "gpt2t" { 3 } else { 2 };
                (!is_composed || path.contains(".source.")) && rank(output) == expected
            }
            _ => false,
        }
    }

    fn is_tuples(&self) -> bool {
        self.name.starts_with("tup3")
    }

    /// Computes one pass.
    pub(crate) fn forward<G: Gates>(&self, gates: &mut G, x: Value) -> Result<Value, G::Halt> {
        let mut past = Past::new();
        self.step(gates, x, &mut past, false)
    }

    /// Continues prompts greedily; `see` is given what the model puts out in each step.
    pub(crate) fn generate<G: Gates>(
        &self,
        gates: &mut G,
        mut x: Value,
        steps: u32,
        mut see: impl FnMut(&mut G, Value),
    ) -> Result<(), G::Halt> {
        let mut past = Past::new();
        for _ in 0..steps {
            let logits = self.step(gates, x, &mut past, true)?;
            see(gates, logits.clone());
            let next = tensor(&logits).and_then(|logits| {
                let next = logits.argmax_last().ok_or(Unfit::Shape)?;
                let rows = next.shape()[0];
                Ok(next.reshape(&[rows, 1]))
            });
            x = Thing::Tensor(next.map_err(|unfit| gates.unfit(unfit))?);
        }
        Ok(())
    }

    /// Computes the module at `path` on a value outside its place, if there is one that can be.
    pub(crate) fn call(&self, path: &str, x: Value) -> Option<Computed> {
        if path.contains(".source.") || !self.modules().iter().any(|own| own == path) {
            return None;
        }
        let is_composed = path.is_empty()
            || path == "transformer"
            || path.ends_with(".attn")
            || self.is_by_name(path)
            || path.ends_with("drop");
        match path {
            _ if is_composed => None,
            path if is_block(path) => Some(self.block(&mut Silent, path, x)),
            path => Some(self.leaf(path, x)),
        }
    }

    fn step<G: Gates>(
        &self,
        gates: &mut G,
        x: Value,
        past: &mut Past,
        is_last_only: bool,
    ) -> Result<Value, G::Halt> {
        self.module(gates, "", one(x), |gates, call| {
            let x = first(gates, call)?;
            match self.name.as_str() {
                "gpt2t" => self.gpt2(gates, x, past, is_last_only),
                _ => self.stack(gates, x),
            }
        })
    }

    /// Passes a module's input, computes it unless it is skipped, and passes its output.
    fn module<G: Gates>(
        &self,
        gates: &mut G,
        path: &str,
        call: Value,
        body: impl FnOnce(&mut G, Value) -> Result<Value, G::Halt>,
    ) -> Result<Value, G::Halt> {
        let output = match gates.enter(path, call)? {
            Entered::Compute(call) => body(gates, call)?,
            Entered::Skip(output) => output,
        };
        gates.leave(path, output)
    }

    /// Computes a module without others inside.
    fn layer<G: Gates>(&self, gates: &mut G, path: &str, x: Value) -> Result<Value, G::Halt> {
        self.module(gates, path, one(x), |gates, call| {
            let x = first(gates, call)?;
            self.leaf(path, x).map_err(|unfit| gates.unfit(unfit))
        })
    }

    fn leaf(&self, path: &str, x: Value) -> Computed {
        let name = path.rsplit_once('.').map_or(path, |(_, name)| name);
        match name {
            "act" => Ok(Thing::Tensor(tensor(&x)?.map(f64::tanh))),
            "drop" => Ok(x),
            "mlp" => self.mlp(path, &x),
            "wte" | "wpe" => self.embedding(path, &x),
            "ln_1" | "ln_2" | "ln_f" => self.norm(path, &x),
            "lm_head" => {
                let weight = transposed(&self.weights["transformer.wte.weight"]);
                let logits = product(&tensor(&x)?, &weight);
                logits.map(Thing::Tensor).ok_or(Unfit::Shape)
            }
            _ => self.affine(
                path,
                &transposed(&self.weights[&format!("{path}.weight")]),
                &x,
            ),
        }
    }

    /// `x · weight + bias` with an `[in, out]` weight.
    fn affine(&self, path: &str, weight: &Array, x: &Value) -> Computed {
        let bias = &self.weights[&format!("{path}.bias")];
        let product = product(&tensor(x)?, weight).ok_or(Unfit::Shape)?;
        let sum = product.combine(Operation::Add, bias);
        sum.map(Thing::Tensor).ok_or(Unfit::Shape)
    }

    /// A linear layer of GPT-2, whose weight is `[in, out]`.
    fn conv1d(&self, path: &str, x: &Value) -> Computed {
        self.affine(path, &self.weights[&format!("{path}.weight")], x)
    }

    fn stack<G: Gates>(&self, gates: &mut G, x: Value) -> Result<Value, G::Halt> {
        let mut x = self.layer(gates, "embed", x)?;
        let blocks: Vec<String> = match self.name.as_str() {
            "recur5" => vec!["cell".to_owned(); STEPS_OF_RECURRENT],
            name => {
                let count = if name == "stack4" { 4 } else { 3 };
                (0..count).map(|block| format!("layers.{block}")).collect()
            }
        };
        for path in blocks {
            if !self.is_tuples() {
                x = self.module(gates, &path, one(x), |gates, call| {
                    let x = first(gates, call)?;
                    self.block(gates, &path, x)
                })?;
                continue;
            }
            let scale = Thing::Tensor(self.weights["s"].clone());
            let call = Thing::call(vec![x], vec![("scale".to_owned(), scale)]);
            let output = self.module(gates, &path, call, |gates, call| {
                self.tuple_block(gates, &path, &call)
            })?;
            x = match &output {
                Thing::Tuple(items) if !items.is_empty() => items[0].clone(),
                // Item 0 of a tensor is a row of it.
                Thing::Tensor(tensor) if tensor.shape().first() > Some(&0) => {
                    Thing::Tensor(tensor.row(0))
                }
                _ => return Err(gates.unfit(Unfit::Kind)),
            };
        }
        self.layer(gates, "head", x)
    }

    /// `x + 0.5 * act(fc(x))`, with its operations.
    fn block<G: Gates>(&self, gates: &mut G, path: &str, x: Value) -> Result<Value, G::Halt> {
        let has_operations = gates.passes_operations(path);
        let h = self.operation(
            gates,
            (path, "self_fc_0", has_operations),
            one(x.clone()),
            |gates, call| {
                let x = first(gates, call)?;
                self.layer(gates, &format!("{path}.fc"), x)
            },
        )?;
        let h = self.assigned(gates, (path, "h_0", has_operations), h)?;
        let h = self.operation(
            gates,
            (path, "self_act_0", has_operations),
            one(h),
            |gates, call| {
                let h = first(gates, call)?;
                self.layer(gates, &format!("{path}.act"), h)
            },
        )?;
        let h = self.assigned(gates, (path, "h_1", has_operations), h)?;
        let call = Thing::call(vec![h, Thing::float(0.5)], Vec::new());
        let h = self.operation(
            gates,
            (path, "torch_mul_0", has_operations),
            call,
            |gates, call| match call.arguments() {
                Some((places, _)) if places.len() == 2 => {
                    combine(gates, Operation::Mul, &places[0], &places[1])
                }
                _ => Err(gates.unfit(Unfit::Kind)),
            },
        )?;
        let h = self.assigned(gates, (path, "h_2", has_operations), h)?;
        combine(gates, Operation::Add, &x, &h)
    }

    /// `(x + scale * h, {h, mean of h})` with `h = tanh(fc(x))`, with its operations.
    fn tuple_block<G: Gates>(
        &self,
        gates: &mut G,
        path: &str,
        call: &Value,
    ) -> Result<Value, G::Halt> {
        let has_operations = gates.passes_operations(path);
        let arguments = call.arguments();
        let Some(([x], [(_, scale)])) = arguments
            .as_ref()
            .map(|(places, names)| (&places[..], &names[..]))
        else {
            return Err(gates.unfit(Unfit::Kind));
        };
        let h = self.operation(
            gates,
            (path, "self_fc_0", has_operations),
            one(x.clone()),
            |gates, call| {
                let x = first(gates, call)?;
                self.layer(gates, &format!("{path}.fc"), x)
            },
        )?;
        let h = self.operation(
            gates,
            (path, "torch_tanh_0", has_operations),
            one(h),
            |gates, call| {
                let h = first(gates, call)?;
                let h = tensor(&h).map_err(|unfit| gates.unfit(unfit))?;
                Ok(Thing::Tensor(h.map(f64::tanh)))
            },
        )?;
        let h = self.assigned(gates, (path, "h_0", has_operations), h)?;
        let numbers = tensor(&h).map_err(|unfit| gates.unfit(unfit))?;
        let mean = match self.name.as_str() {
            "tup3" => mean_of_rows(&numbers),
            _ => mean_of_all(&numbers),
        };
        let scaled = combine(gates, Operation::Mul, scale, &h)?;
        let y = combine(gates, Operation::Add, x, &scaled)?;
        let named = [
            ("h".to_owned(), h),
            ("mean".to_owned(), Thing::Tensor(mean)),
        ];
        Ok(Thing::Tuple([y, Thing::Map(named.into())].into()))
    }

    fn operation<G: Gates>(
        &self,
        gates: &mut G,
        (path, name, is_passed): (&str, &str, bool),
        call: Value,
        body: impl FnOnce(&mut G, Value) -> Result<Value, G::Halt>,
    ) -> Result<Value, G::Halt> {
        if is_passed {
            self.module(gates, &format!("{path}.source.{name}"), call, body)
        } else {
            body(gates, call)
        }
    }

    /// Passes what a variable of a forward function is given.
    fn assigned<G: Gates>(
        &self,
        gates: &mut G,
        place: (&str, &str, bool),
        value: Value,
    ) -> Result<Value, G::Halt> {
        self.operation(gates, place, one(value), first)
    }

    fn gpt2<G: Gates>(
        &self,
        gates: &mut G,
        ids: Value,
        past: &mut Past,
        is_last_only: bool,
    ) -> Result<Value, G::Halt> {
        let named = self.module(gates, "transformer", one(ids), |gates, call| {
            let ids = first(gates, call)?;
            let hidden = self.transformer(gates, ids, past)?;
            Ok(Thing::Map(
                [("last_hidden_state".to_owned(), hidden)].into(),
            ))
        })?;
        let hidden = match &named {
            Thing::Map(items) if !items.is_empty() => tensor(&items[0].1),
            _ => Err(Unfit::Kind),
        };
        let hidden = hidden.map_err(|unfit| gates.unfit(unfit))?;
        let hidden = match (is_last_only, &hidden.shape()[..]) {
            (true, &[rows, length, _]) if length > 0 => hidden.part(&[0..rows, length - 1..length]),
            _ => hidden,
        };
        self.layer(gates, "lm_head", Thing::Tensor(hidden))
    }

    fn transformer<G: Gates>(
        &self,
        gates: &mut G,
        ids: Value,
        past: &mut Past,
    ) -> Result<Value, G::Halt> {
        past.resize(2, None);
        let before = past[0].as_ref().map_or(0, |(keys, _)| keys.shape()[1]);
        let length = match tensor(&ids).map(|ids| ids.shape()) {
            Ok(shape) if shape.len() == 2 => shape[1],
            _ => return Err(gates.unfit(Unfit::Kind)),
        };
        let tokens = self.layer(gates, "transformer.wte", ids)?;
        let positions: Vec<f64> = (before..before + length)
            .map(|place| place as f64)
            .collect();
        let row = Thing::Tensor(Array::new(&[1, length], positions.clone()).whole());
        let places = self.layer(gates, "transformer.wpe", row)?;
        let sum = combine(gates, Operation::Add, &tokens, &places)?;
        let mut hidden = self.layer(gates, "transformer.drop", sum)?;
        let positions = Thing::Tensor(Array::new(&[length], positions).whole());
        let mask = Thing::Tensor(causal_mask(length, before + length));
        for (number, past) in past.iter_mut().enumerate() {
            let path = format!("transformer.h.{number}");
            let places = vec![
                hidden,
                Thing::Opaque("DynamicCache".into()),
                positions.clone(),
                mask.clone(),
                Thing::None,
                Thing::None,
            ];
            let names = [
                ("encoder_attention_mask", Thing::None),
                ("use_cache", Thing::Bool(true)),
                ("output_attentions", Thing::Bool(false)),
            ];
            let names = names.map(|(name, value)| (name.to_owned(), value));
            let call = Thing::call(places, names.into());
            let output = self.module(gates, &path, call, |gates, call| {
                let x = first(gates, call)?;
                let output = self.gpt2_block(gates, &path, x, past)?;
                Ok(Thing::Tuple([output].into()))
            })?;
            hidden = match &output {
                Thing::Tuple(items) if !items.is_empty() => items[0].clone(),
                Thing::Tensor(tensor) if tensor.shape().first() > Some(&0) => {
                    Thing::Tensor(tensor.row(0))
                }
                _ => return Err(gates.unfit(Unfit::Kind)),
            };
        }
        self.layer(gates, "transformer.ln_f", hidden)
    }

    fn gpt2_block<G: Gates>(
        &self,
        gates: &mut G,
        path: &str,
        x: Value,
        past: &mut Option<(Array, Array)>,
    ) -> Result<Value, G::Halt> {
        let normalized = self.layer(gates, &format!("{path}.ln_1"), x.clone())?;
        let attention = format!("{path}.attn");
        let attended = self.module(gates, &attention, one(normalized), |gates, call| {
            let x = first(gates, call)?;
            let attended = self.attention(&attention, &x, past);
            attended.map_err(|unfit| gates.unfit(unfit))
        })?;
        let attended = match &attended {
            Thing::Tuple(items) if !items.is_empty() => items[0].clone(),
            _ => return Err(gates.unfit(Unfit::Kind)),
        };
        let x = combine(gates, Operation::Add, &attended, &x)?;
        let normalized = self.layer(gates, &format!("{path}.ln_2"), x.clone())?;
        let h = self.layer(gates, &format!("{path}.mlp"), normalized)?;
        combine(gates, Operation::Add, &h, &x)
    }

    fn mlp(&self, path: &str, x: &Value) -> Computed {
        let h = tensor(&self.conv1d(&format!("{path}.c_fc"), x)?)?;
        self.conv1d(&format!("{path}.c_proj"), &Thing::Tensor(h.map(gelu)))
    }

    /// Returns the output and the `[batch, head, query, key]` pattern.
    fn attention(&self, path: &str, x: &Value, past: &mut Option<(Array, Array)>) -> Computed {
        let all = tensor(&self.conv1d(&format!("{path}.c_attn"), x)?)?;
        let &[rows, length, wide] = &all.shape()[..] else {
            return Err(Unfit::Shape);
        };
        let width = wide / 3;
        let part = |part: usize| all.part(&[0..rows, 0..length, part * width..(part + 1) * width]);
        let (query, mut keys, mut values) = (part(0), part(1), part(2));
        if let Some((old_keys, old_values)) = past.take() {
            if old_keys.shape()[0] != rows {
                return Err(Unfit::Shape);
            }
            (keys, values) = (grown(&old_keys, &keys), grown(&old_values, &values));
        }
        let pattern = pattern(&query, &keys, HEADS);
        let mixed = mixed(&pattern, &values).ok_or(Unfit::Shape)?;
        *past = Some((keys, values));
        let output = self.conv1d(&format!("{path}.c_proj"), &Thing::Tensor(mixed))?;
        Ok(Thing::Tuple([output, Thing::Tensor(pattern)].into()))
    }

    fn embedding(&self, path: &str, ids: &Value) -> Computed {
        let (ids, table) = (tensor(ids)?, &self.weights[&format!("{path}.weight")]);
        if !ids.is_whole() {
            return Err(Unfit::Shape);
        }
        let (count, width) = (table.shape()[0], table.shape()[1]);
        let rows = ids.numbers();
        if rows
            .iter()
            .any(|id| *id as usize >= count || id.fract() != 0.0)
        {
            return Err(Unfit::Shape);
        }
        let shape = [ids.shape(), vec![width]].concat();
        Ok(Thing::Tensor(Array::computed(&[table], move |of| {
            let table = of[0].numbers();
            let row = |id: &f64| &table[*id as usize * width..(*id as usize + 1) * width];
            Array::new(&shape, rows.iter().flat_map(row).copied().collect())
        })))
    }

    fn norm(&self, path: &str, x: &Value) -> Computed {
        let x = tensor(x)?;
        let weight = |name: &str| &self.weights[&format!("{path}.{name}")];
        let (gain, bias) = (weight("weight"), weight("bias"));
        if x.shape().last() != gain.shape().last() {
            return Err(Unfit::Shape);
        }
        Ok(Thing::Tensor(Array::computed(&[&x, gain, bias], |of| {
            let (numbers, gain, bias) = (of[0].numbers(), of[1].numbers(), of[2].numbers());
            let normalized = numbers.chunks(gain.len()).flat_map(|row| {
                let mean = mean(row);
                let squares: Vec<f64> = row.iter().map(|x| (x - mean).powi(2)).collect();
                let deviation = (self::mean(&squares) + 1e-5).sqrt();
                let of =
                    |(place, x): (usize, &f64)| (x - mean) / deviation * gain[place] + bias[place];
                row.iter().enumerate().map(of).collect::<Vec<_>>()
            });
            Array::new(&of[0].shape(), normalized.collect())
        })))
    }
}

/// Passes sites without bodies.
struct Silent;

impl Gates for Silent {
    type Halt = Unfit;

    fn enter(&mut self, _: &str, call: Value) -> Result<Entered, Unfit> {
        Ok(Entered::Compute(call))
    }

    fn leave(&mut self, _: &str, output: Value) -> Result<Value, Unfit> {
        Ok(output)
    }

    fn passes_operations(&mut self, _: &str) -> bool {
        false
    }

    fn unfit(&mut self, unfit: Unfit) -> Unfit {
        unfit
    }
}

fn is_block(path: &str) -> bool {
    let number = path.strip_prefix("layers.");
    path == "cell" || number.is_some_and(|number| !number.contains('.'))
}

fn one(x: Value) -> Value {
    Thing::call(vec![x], Vec::new())
}

/// The first argument of a call.
fn first<G: Gates>(gates: &mut G, call: Value) -> Result<Value, G::Halt> {
    call.first_argument().map_err(|_| gates.unfit(Unfit::Kind))
}

fn tensor(value: &Value) -> Result<Array, Unfit> {
    match value {
        Thing::Tensor(array) => Ok(array.clone()),
        _ => Err(Unfit::Kind),
    }
}

/// Combines values of a model, numbers among them.
fn combine<G: Gates>(
    gates: &mut G,
    operation: Operation,
    left: &Value,
    right: &Value,
) -> Result<Value, G::Halt> {
    let combined = match (left, right) {
        (Thing::Tensor(left), Thing::Tensor(right)) => {
            let combined = left.combine(operation, right);
            combined.map(Thing::Tensor).ok_or(Unfit::Shape)
        }
        (Thing::Tensor(left), &Thing::Number { number, .. }) => Ok(Thing::Tensor(
            left.map(move |own| operation.apply(own, number)),
        )),
        (&Thing::Number { number, .. }, Thing::Tensor(right)) => Ok(Thing::Tensor(
            right.map(move |own| operation.apply(number, own)),
        )),
        (&Thing::Number { number, .. }, &Thing::Number { number: by, .. }) => {
            Ok(Thing::float(operation.apply(number, by)))
        }
        _ => Err(Unfit::Kind),
    };
    combined.map_err(|unfit| gates.unfit(unfit))
}
