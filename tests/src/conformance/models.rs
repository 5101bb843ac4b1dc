//! The models of the scenarios, as plain loops over `f64`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use interloom_engine::array::Array;
use interloom_engine::program::{Arithmetic, Operand};
use interloom_engine::{Flow, Misfit, Port, SiteMap};
use safetensors::{Dtype, SafeTensors};

use super::tree::Tree;

/// Named tensors of a file.
pub type Tensors = BTreeMap<String, Array>;

/// Reads the tensors of a file of `F32` and `I64`.
///
/// # Errors
///
/// What is wrong with the file.
pub fn load(path: &Path) -> Result<Tensors, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| error.to_string())?;
    let tensor = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let shape: Vec<u64> = view.shape().iter().map(|&length| length as u64).collect();
        let data: Vec<f64> = match view.dtype() {
            Dtype::F32 => {
                let (numbers, _) = view.data().as_chunks::<4>();
                numbers
                    .iter()
                    .map(|&bytes| f32::from_le_bytes(bytes).into())
                    .collect()
            }
            Dtype::I64 => {
                let (numbers, _) = view.data().as_chunks::<8>();
                numbers
                    .iter()
                    .map(|&bytes| i64::from_le_bytes(bytes) as f64)
                    .collect()
            }
            other => return Err(format!("`{name}` is {other:?}")),
        };
        Ok((name, Array::new(&shape, &data)))
    };
    file.tensors().into_iter().map(tensor).collect()
}

/// A model with its weights.
#[derive(Clone, Debug)]
pub struct Model {
    name: String,
    weights: Tensors,
    map: Arc<SiteMap>,
}

/// Who is asked at each site.
pub(crate) type Gate<'g> = dyn FnMut(&str, Port, Tree) -> Flow<Tree> + 'g;

/// Why a model did not come to its end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Stop {
    /// It was told so.
    Halted,
    /// It could not compute what it was given.
    Failed(Misfit),
}

impl From<Misfit> for Stop {
    fn from(misfit: Misfit) -> Self {
        Self::Failed(misfit)
    }
}

impl Model {
    /// Reads the model `name` of the scenarios in `folder`.
    ///
    /// # Errors
    ///
    /// What is wrong with its file, or that there is no such model here.
    pub fn load(folder: &Path, name: &str) -> Result<Self, String> {
        let blocks: Vec<String> = match name {
            "stack4" => (0..4).map(|layer| format!("layers.{layer}")).collect(),
            "recur5" => vec!["cell".to_owned()],
            "tup3" | "tup3_0d" => (0..3).map(|layer| format!("layers.{layer}")).collect(),
            other => return Err(format!("the model `{other}`")),
        };
        let mut map = SiteMap::new();
        let mut add = |path: &str| {
            map.add(path, &[Port::Input, Port::Output]);
        };
        ["", "embed", "head"].into_iter().for_each(&mut add);
        if name == "stack4" {
            add("unused");
        }
        for block in &blocks {
            for inner in ["", ".fc", ".act"] {
                add(&format!("{block}{inner}"));
            }
            for operation in ["self_fc_0", "self_act_0", "torch_mul_0"] {
                add(&format!("{block}.source.{operation}"));
            }
        }
        Ok(Self {
            name: name.to_owned(),
            weights: load(&folder.join(format!("models/{name}.safetensors")))?,
            map: Arc::new(map),
        })
    }

    /// Returns the sites.
    pub fn map(&self) -> &Arc<SiteMap> {
        &self.map
    }

    /// Returns whether the input at `path` is a tuple of the arguments by place and a map of those by name.
    pub fn by_name(path: &str) -> bool {
        path.ends_with(".source.torch_mul_0")
    }

    /// As [`by_name`](Self::by_name), for models whose blocks take an argument by name.
    pub fn by_name_in_blocks(path: &str) -> bool {
        let block = path.strip_prefix("layers.");
        Self::by_name(path) || block.is_some_and(|number| !number.contains('.'))
    }

    /// Returns whether the blocks take an argument by name.
    pub fn has_names(&self) -> bool {
        self.name.starts_with("tup3")
    }

    /// Calls the module at `path` on a value, with nobody watching.
    pub(crate) fn call(&self, path: &str, x: &Tree) -> Result<Tree, Misfit> {
        self.linear(path, array(x)?).map(Tree::Leaf)
    }

    pub(crate) fn forward(&self, x: Tree, gate: &mut Gate<'_>) -> Result<Tree, Stop> {
        through(gate, "", x, |gate, x| {
            let mut x = through(gate, "embed", x, |_, x| {
                self.call("embed", &x).map_err(Stop::from)
            })?;
            match self.name.as_str() {
                "recur5" => {
                    for _ in 0..5 {
                        x = self.block(gate, "cell", x)?;
                    }
                }
                "stack4" => {
                    for layer in 0..4 {
                        x = self.block(gate, &format!("layers.{layer}"), x)?;
                    }
                }
                _ => {
                    for layer in 0..3 {
                        let call = self.arguments(x);
                        x = self.tuple_block(gate, &format!("layers.{layer}"), call)?;
                        x = item(&x, 0)?;
                    }
                }
            }
            through(gate, "head", x, |_, x| {
                self.call("head", &x).map_err(Stop::from)
            })
        })
    }

    fn arguments(&self, x: Tree) -> Tree {
        let scale = Tree::Leaf(self.weights["s"].clone());
        Tree::Tuple(vec![
            Tree::Tuple(vec![x]),
            Tree::Map(vec![("scale".to_owned(), scale)]),
        ])
    }

    /// `x + 0.5 · tanh(fc(x))`, with its operations.
    fn block(&self, gate: &mut Gate<'_>, path: &str, x: Tree) -> Result<Tree, Stop> {
        through(gate, path, x, |gate, x| {
            let h = self.inner(gate, path, x.clone())?;
            let call = Tree::Tuple(vec![
                Tree::Tuple(vec![h, Tree::Leaf(Array::scalar(0.5))]),
                Tree::Map(Vec::new()),
            ]);
            let h = through(
                gate,
                &format!("{path}.source.torch_mul_0"),
                call,
                |_, call| {
                    let arguments = item(&call, 0)?;
                    Ok(item(&arguments, 0)?.combine(Arithmetic::Mul, &item(&arguments, 1)?)?)
                },
            )?;
            Ok(x.combine(Arithmetic::Add, &h)?)
        })
    }

    /// `(x + scale · h, {h, mean of h})` with `h = tanh(fc(x))`.
    fn tuple_block(&self, gate: &mut Gate<'_>, path: &str, call: Tree) -> Result<Tree, Stop> {
        through(gate, path, call, |gate, call| {
            let (x, names) = (item(&item(&call, 0)?, 0)?, item(&call, 1)?);
            let scale = names.item(&"scale".into())?;
            let h = self.inner(gate, path, x.clone())?;
            let mean = match self.name.as_str() {
                "tup3" => columns_mean(array(&h)?),
                _ => Operand::mean(array(&h)?)?,
            };
            let scaled = scale_rows(array(&h)?, array(&scale)?)?;
            let y = x.combine(Arithmetic::Add, &Tree::Leaf(scaled))?;
            let named = vec![("h".to_owned(), h), ("mean".to_owned(), Tree::Leaf(mean))];
            Ok(Tree::Tuple(vec![y, Tree::Map(named)]))
        })
    }

    /// `tanh(fc(x))`, as the operations of a block and the modules inside them.
    fn inner(&self, gate: &mut Gate<'_>, path: &str, x: Tree) -> Result<Tree, Stop> {
        let fc = format!("{path}.fc");
        let h = through(gate, &format!("{path}.source.self_fc_0"), x, |gate, x| {
            through(gate, &fc, x, |_, x| self.call(&fc, &x).map_err(Stop::from))
        })?;
        through(gate, &format!("{path}.source.self_act_0"), h, |gate, h| {
            through(gate, &format!("{path}.act"), h, |_, h| {
                Ok(Tree::Leaf(Array::map(array(&h)?, f64::tanh)))
            })
        })
    }

    /// `x · weightᵀ + bias`, for `x` of `[rows, in]` and `weight` of `[out, in]`.
    fn linear(&self, path: &str, x: &Array) -> Result<Array, Misfit> {
        let weights = self.weights.get(&format!("{path}.weight"));
        let bias = self.weights.get(&format!("{path}.bias"));
        let (Some(weight), Some(bias)) = (weights, bias) else {
            return Err(misfit(format!("a linear module, not `{path}`"), x));
        };
        let width = weight.shape()[1];
        if x.shape().len() != 2 || x.shape()[1] != width {
            return Err(misfit(format!("rows of {width} numbers"), x));
        }
        let mut data = Vec::new();
        for row in x.data().chunks(width as usize) {
            for (out, column) in weight.data().chunks(width as usize).enumerate() {
                let products = row.iter().zip(column).map(|(x, w)| x * w);
                data.push(bias.data()[out] + products.sum::<f64>());
            }
        }
        Ok(Array::new(&[x.shape()[0], weight.shape()[0]], &data))
    }
}

/// Passes the two sites of a module and computes what is between.
fn through(
    gate: &mut Gate<'_>,
    path: &str,
    x: Tree,
    compute: impl FnOnce(&mut Gate<'_>, Tree) -> Result<Tree, Stop>,
) -> Result<Tree, Stop> {
    let output = match gate(path, Port::Input, x) {
        Flow::Continue(x) => compute(gate, x)?,
        Flow::Skip(output) => output,
        Flow::Halt => return Err(Stop::Halted),
    };
    match gate(path, Port::Output, output) {
        Flow::Continue(output) => Ok(output),
        Flow::Skip(_) | Flow::Halt => Err(Stop::Halted),
    }
}

fn item(tree: &Tree, place: u32) -> Result<Tree, Misfit> {
    tree.item(&place.into())
}

fn array(tree: &Tree) -> Result<&Array, Misfit> {
    match tree {
        Tree::Leaf(array) => Ok(array),
        _ => Err(Misfit {
            expected: "a tensor".to_owned(),
            found: format!("{tree:?}"),
        }),
    }
}

fn columns_mean(x: &Array) -> Array {
    let (rows, width) = (x.shape()[0], x.shape()[1] as usize);
    let sum = |column: usize| x.data().iter().skip(column).step_by(width).sum::<f64>();
    let data: Vec<f64> = (0..width).map(|column| sum(column) / rows as f64).collect();
    Array::new(&[width as u64], &data)
}

fn scale_rows(x: &Array, scale: &Array) -> Result<Array, Misfit> {
    let width = scale.data().len();
    if x.shape().last() != Some(&(width as u64)) {
        return Err(misfit(format!("rows of {width} numbers"), x));
    }
    let scales = scale.data().iter().cycle();
    let data: Vec<f64> = x.data().iter().zip(scales).map(|(x, s)| x * s).collect();
    Ok(Array::new(x.shape(), &data))
}

fn misfit(expected: String, found: &Array) -> Misfit {
    Misfit {
        expected,
        found: format!("f64{:?}", found.shape()),
    }
}
