//! The models of the scenarios, with every site that the reference has.

mod hub;
mod stack;

use std::path::Path;
use std::rc::Rc;

use burn::module::{Param, ParamId};
use burn::nn::Linear;
use burn::tensor::{Device, Int, Tensor, TensorData};
use interloom_backends::{Bound, Erase, Forward, Hooked, Parameters, Sites, Value};
use interloom_engine::{Fault, Misfit};

use crate::error::ConformError;
use crate::tensors::{self, Plain, Tensors};

/// A model with its weights.
#[derive(Clone)]
pub(crate) struct Model(Rc<Kind>);

enum Kind {
    Stack(Bound<Hooked<stack::Stack>>),
    Recurrent(Bound<Hooked<stack::Recurrent>>),
    Tuples(Bound<Hooked<stack::Tuples>>),
    Gpt2(Bound<Hooked<hub::Gpt2>>),
}

/// What programs call to have a parameter's gradient [as it is stored](Model::as_stored); no module
/// has such a name.
pub(crate) const AS_STORED: &str = "as stored";

/// The names of the models.
pub(crate) const NAMES: [&str; 5] = ["stack4", "recur5", "tup3", "tup3_0d", "gpt2t"];

impl Model {
    /// Reads the model `name`, which is one of [`NAMES`], of the scenarios in `folder`.
    pub(crate) fn load(folder: &Path, name: &str, device: &Device) -> Result<Self, ConformError> {
        let path = folder.join(format!("models/{name}.safetensors"));
        if name == "gpt2t" {
            let model = bound(hub::Gpt2::load(&path, device)?);
            return Ok(Self(Rc::new(Kind::Gpt2(model))));
        }
        let mut weights = Weights {
            model: name,
            tensors: tensors::load(&path)?,
            device,
            next: 1,
        };
        let kind = match name {
            "stack4" => Kind::Stack(bound(weights.stack()?)),
            "recur5" => Kind::Recurrent(bound(weights.recurrent()?)),
            _ => Kind::Tuples(bound(weights.tuples(name == "tup3")?)),
        };
        Ok(Self(Rc::new(kind)))
    }

    pub(crate) fn sites(&self) -> &Sites {
        match &*self.0 {
            Kind::Stack(model) => model.sites(),
            Kind::Recurrent(model) => model.sites(),
            Kind::Tuples(model) => model.sites(),
            Kind::Gpt2(model) => model.sites(),
        }
    }

    /// Returns whether the input at `path` is a tuple of the arguments by place and a map of those
    /// by name.
    pub(crate) fn is_by_name(&self, path: &str) -> bool {
        let is_block = || {
            let number = path.strip_prefix("layers.");
            number.is_some_and(|number| !number.contains('.'))
        };
        let is_tuples = matches!(&*self.0, Kind::Tuples(_));
        let is_of_gpt2 = || {
            let number = path.strip_prefix("transformer.h.");
            number.is_some_and(|number| !number.contains('.'))
        };
        path.ends_with(".source.torch_mul_0") || (is_tuples && is_block()) || is_of_gpt2()
    }

    /// Returns the model's parameters.
    pub(crate) fn parameters(&self) -> Parameters {
        match &*self.0 {
            Kind::Stack(model) => Parameters::from(model),
            Kind::Recurrent(model) => Parameters::from(model),
            Kind::Tuples(model) => Parameters::from(model),
            Kind::Gpt2(model) => Parameters::from(model),
        }
    }

    /// Returns a parameter's gradient as the reference stores the parameter: a weight of a linear
    /// layer the other way round.
    pub(crate) fn as_stored(&self, gradient: Value) -> Result<Value, Fault> {
        let is_linear = !matches!(&*self.0, Kind::Gpt2(_));
        match gradient.clone().tensor::<2>() {
            Ok(matrix) if is_linear => Ok(matrix.transpose().erase()),
            _ => Ok(gradient),
        }
    }

    /// Computes one forward pass.
    ///
    /// # Panics
    ///
    /// Panics if the model cannot take this input, as burn does.
    pub(crate) fn forward(&self, x: Value) -> Value {
        let rows = |x: Value| x.tensor::<2>().unwrap_or_else(|misfit| panic!("{misfit}"));
        match &*self.0 {
            Kind::Stack(model) => model.forward(rows(x)).erase(),
            Kind::Recurrent(model) => model.forward(rows(x)).erase(),
            Kind::Tuples(model) => model.forward(rows(x)).erase(),
            Kind::Gpt2(model) => hub::forward(model, ids(x)).erase(),
        }
    }

    /// Continues prompts greedily, and shows the logits of each step; only GPT-2 can.
    ///
    /// # Panics
    ///
    /// Panics if the model cannot take this input, or generates nothing.
    pub(crate) fn generate(&self, x: Value, steps: u32, see: impl Fn(Value)) {
        match &*self.0 {
            Kind::Gpt2(model) => {
                hub::generate(model, ids(x), steps, |logits| see(logits.erase()));
            }
            _ => panic!("this model does not generate tokens"),
        }
    }

    /// Computes the module at `path` on a value outside its place in the model.
    ///
    /// A vector is a row without its dimension, as for the modules of the reference.
    pub(crate) fn call(&self, path: &str, x: Value) -> Result<Value, Fault> {
        if path == AS_STORED {
            return self.as_stored(x);
        }
        let row = x
            .clone()
            .tensor::<1>()
            .map(|vector| vector.unsqueeze::<2>().erase());
        let is_vector = row.is_ok();
        let x = row.unwrap_or(x);
        let call = || match &*self.0 {
            Kind::Stack(model) => model.inner().call_module(path, x),
            Kind::Recurrent(model) => model.inner().call_module(path, x),
            Kind::Tuples(model) => model.inner().call_module(path, x),
            Kind::Gpt2(model) => model.inner().call_module(path, x),
        };
        // Burn panics over what does not fit a layer.
        let called = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
        let output = called.unwrap_or_else(|_| Err(uncallable(path)))?;
        match output.clone().tensor::<2>() {
            Ok(rows) if is_vector => Ok(rows.squeeze_dim::<1>(0).erase()),
            _ => Ok(output),
        }
    }
}

fn bound<M: burn::module::Module>(model: M) -> Bound<Hooked<M>> {
    Bound::new(Hooked::from(model)).expect("the model's paths are distinct")
}

fn ids(x: Value) -> Tensor<2, Int> {
    x.typed().unwrap_or_else(|misfit| panic!("{misfit}"))
}

/// Computes a module on an erased value.
fn apply<M, I, O>(module: &M, x: Value) -> Result<Value, Fault>
where
    M: Forward<I, Output = O>,
    I: Erase,
    O: Erase,
{
    Ok(module.forward(I::recover(x)?).erase())
}

/// Says that there is no such module to be called with this value.
fn uncallable(path: &str) -> Fault {
    let misfit = Misfit {
        expected: "a module that takes this value".to_owned(),
        found: format!("`{path}`"),
    };
    misfit.into()
}

/// A step of a model that is no module: it has sites and no parameters.
#[derive(burn::module::Module, Debug, Default)]
struct Operation;

/// The weights of a model that is being made.
struct Weights<'a> {
    model: &'a str,
    tensors: Tensors,
    device: &'a Device,
    /// Parameters are numbered in order; burn's own numbers are drawn at random.
    next: u64,
}

impl Weights<'_> {
    /// Takes a linear layer of PyTorch's layout, `[out, in]`.
    fn linear(&mut self, path: &str) -> Result<Hooked<Linear>, ConformError> {
        let [out, width] = self.shape(&format!("{path}.weight"))?;
        let weight = self
            .take(&format!("{path}.weight"), [out, width])?
            .transpose();
        let bias = self.take(&format!("{path}.bias"), [out])?;
        let weight = self.number(weight);
        let bias = Some(self.number(bias));
        Ok(Linear { weight, bias }.into())
    }

    /// Returns the shape of a weight, which has `D` dimensions.
    fn shape<const D: usize>(&self, weight: &str) -> Result<[usize; D], ConformError> {
        let found = self.tensors.get(weight).map(|plain| &plain.shape[..]);
        let shape = found.and_then(|shape| <[usize; D]>::try_from(shape).ok());
        shape.ok_or_else(|| self.wrong(weight, format!("of {D} dimensions")))
    }

    fn take<const D: usize>(
        &self,
        weight: &str,
        shape: [usize; D],
    ) -> Result<Tensor<D>, ConformError> {
        match self.tensors.get(weight) {
            Some(Plain {
                shape: found, data, ..
            }) if *found == shape => {
                let data: Vec<f32> = data.iter().map(|&x| x as f32).collect();
                Ok(Tensor::from_data(TensorData::new(data, shape), self.device))
            }
            _ => Err(self.wrong(weight, format!("{shape:?}"))),
        }
    }

    fn number<const D: usize>(&mut self, tensor: Tensor<D>) -> Param<Tensor<D>> {
        let mut param = Param::from_tensor(tensor);
        param.id = ParamId::from(self.next);
        self.next += 1;
        param
    }

    fn wrong(&self, weight: &str, shape: String) -> ConformError {
        let found = self.tensors.get(weight);
        ConformError::Weight {
            model: self.model.to_owned(),
            weight: weight.to_owned(),
            shape,
            found: found.map_or_else(
                || "nothing".to_owned(),
                |plain| format!("{:?}", plain.shape),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::parameter_place;

    /// A program asks for gradients of parameters in this order, in which they come.
    #[test]
    fn parameters_are_ordered_as_in_their_models() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance");
        for name in NAMES {
            let weights =
                tensors::load(&folder.join(format!("models/{name}.safetensors"))).unwrap();
            let model = Model::load(&folder, name, &Device::flex()).unwrap();
            // The others are stored in another way, and no scenario's gradients are of them.
            let known = model.sites().parameters();
            let known: Vec<&str> = known.filter(|path| weights.contains_key(*path)).collect();
            assert!(known.len() > 4, "{name}: {known:?}");
            assert!(
                known.is_sorted_by_key(|path| parameter_place(path)),
                "{name}: {known:?}"
            );
        }
    }
}
