//! The parameters of a model, by path: to digest them, to draw them early, and to find their
//! gradients.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Bool, Float, Gradients, Int, Tensor, TensorData};

use crate::bound::Bound;
use crate::tensor::{AnyTensor, Kind, RANK_MAX, with_typed};

/// Reads every parameter of `model`, in the order of the module tree, with its path.
///
/// Burn draws the random numbers of a parameter when it is first used. Reading all of them right
/// after a model is made fixes the order in which they are drawn.
pub fn parameters<M: Module>(model: &M) -> Vec<(String, TensorData)> {
    let mut all = Vec::new();
    visit_parameters(model, |path, data| all.push((path.to_owned(), data)));
    all
}

/// Calls `f` with the path and the data of every parameter of `model`, in the order of the module
/// tree.
///
/// One parameter at a time is in memory.
pub fn visit_parameters<M: Module>(model: &M, f: impl FnMut(&str, TensorData)) {
    model.visit(&mut Reader {
        stack: Vec::new(),
        f,
    });
}

/// The float parameters of a model by path, so that a run can show their gradients.
///
/// They are the parameters as they stand: no element is copied, and what an optimizer makes of the
/// model later has others.
#[derive(Clone, Debug, Default)]
pub struct Parameters(BTreeMap<String, AnyTensor>);

impl Parameters {
    /// Finds the parameters of `model`.
    pub fn of<M: Module>(model: &M) -> Self {
        let mut finder = Finder {
            stack: Vec::new(),
            found: Self::default(),
        };
        model.visit(&mut finder);
        finder.found
    }

    /// Returns the shape of the parameter at `path`.
    pub fn shape(&self, path: &str) -> Option<Vec<usize>> {
        self.get(path).map(AnyTensor::shape)
    }

    pub(crate) fn get(&self, path: &str) -> Option<&AnyTensor> {
        self.0.get(path)
    }
}

impl<M: Module> From<&M> for Parameters {
    fn from(model: &M) -> Self {
        Self::of(model)
    }
}

impl<M: Module> From<&Bound<M>> for Parameters {
    fn from(model: &Bound<M>) -> Self {
        Self::of(&**model)
    }
}

impl AnyTensor {
    /// Returns the gradient of a parameter; nothing if the loss does not depend on it.
    pub(crate) fn gradient(&self, gradients: &Gradients) -> Option<Self> {
        with_typed!(self.clone(), |tensor: Tensor<_, Float>| {
            tensor.grad(gradients).map(Self::new)
        })
    }

    /// Puts another gradient of a parameter in the place of the one that there is.
    pub(crate) fn replace_gradient(&self, gradients: &mut Gradients, gradient: Self) {
        with_typed!(self.clone(), |tensor: Tensor<_, Float>| {
            // The run has compared the shapes.
            if let Ok(gradient) = gradient.typed() {
                tensor.grad_replace(gradients, gradient.without_autodiff());
            }
        });
    }
}

struct Finder {
    stack: Vec<String>,
    found: Parameters,
}

impl ModuleVisitor for Finder {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if (1..=RANK_MAX).contains(&D) {
            let tensor = AnyTensor::from_dispatch(Kind::Float, param.val().into_dispatch());
            self.found.0.insert(self.stack.join("."), tensor);
        }
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.stack.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.stack.pop();
    }
}

struct Reader<F> {
    stack: Vec<String>,
    f: F,
}

impl<F: FnMut(&str, TensorData)> Reader<F> {
    fn read(&mut self, data: TensorData) {
        (self.f)(&self.stack.join("."), data);
    }
}

impl<F: FnMut(&str, TensorData)> ModuleVisitor for Reader<F> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.read(param.val().into_data());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.read(param.val().into_data());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.read(param.val().into_data());
    }

    fn enter_module(&mut self, name: &str, _container: &str) {
        self.stack.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.stack.pop();
    }
}
