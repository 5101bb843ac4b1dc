//! Parameters from weights by name.

use burn::module::{Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};

use crate::files::{FileError, Weights};

/// Takes the weights of a model that is being made, and numbers its parameters.
pub(crate) struct Loader<'d> {
    pub(crate) weights: Weights,
    device: &'d Device,
    /// Parameters are numbered in order; burn's own numbers are drawn at random.
    next: u64,
}

impl<'d> Loader<'d> {
    pub(crate) const fn new(weights: Weights, device: &'d Device) -> Self {
        Self {
            weights,
            device,
            next: 1,
        }
    }

    pub(crate) const fn device(&self) -> &'d Device {
        self.device
    }

    pub(crate) fn parameter<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
    ) -> Result<Param<Tensor<D>>, FileError> {
        let raw = self.weights.take(name, &shape)?;
        Ok(self.numbered(raw.data, shape))
    }

    /// Makes a parameter of values, as many as the shape has.
    pub(crate) fn numbered<const D: usize>(
        &mut self,
        values: Vec<f32>,
        shape: [usize; D],
    ) -> Param<Tensor<D>> {
        let data = TensorData::new(values, shape);
        // Unlike `Param::initialized`, this makes a parameter that has a gradient when the model is
        // trained.
        let mut param = Param::from_tensor(Tensor::from_data(data, self.device));
        param.id = ParamId::from(self.next);
        self.next += 1;
        param
    }
}
