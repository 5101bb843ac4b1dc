//! The parameters of a model, by path: to digest them, and to draw them early.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Bool, Int, Tensor, TensorData};

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
