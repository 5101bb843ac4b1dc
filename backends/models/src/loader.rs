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

    pub(crate) fn parameter<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
    ) -> Result<Param<Tensor<D>>, FileError> {
        let raw = self.weights.take(name, &shape)?;
        let data = TensorData::new(raw.data, shape);
        // Unlike `Param::initialized`, this makes a parameter that has a gradient when the model is
        // trained.
        let mut param = Param::from_tensor(Tensor::from_data(data, self.device));
        param.id = ParamId::from(self.next);
        self.next += 1;
        Ok(param)
    }

    /// Returns the weight of the output layer, `[token, width]`, which is the embedding of a tied
    /// model.
    ///
    /// Some files of tied models hold the output layer as well; transformers does not look at it
    /// either.
    pub(crate) fn output_layer(
        &mut self,
        embedding: &Param<Tensor<2>>,
        shape: [usize; 2],
        is_tied: bool,
    ) -> Result<Param<Tensor<2>>, FileError> {
        const NAME: &str = "lm_head.weight";
        if !is_tied {
            return self.parameter(NAME, shape);
        }
        if self.weights.shape(NAME).is_some() {
            self.weights.take(NAME, &shape)?;
        }
        Ok(embedding.clone())
    }
}
