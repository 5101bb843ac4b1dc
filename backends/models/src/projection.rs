//! Linear layers whose weights lie as in the files.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use interloom_backends::Forward;

/// A linear layer with an `[out, in]` weight; burn's own has `[in, out]`.
///
/// The output is computed as the transpose of `weight · xᵀ`. With the few rows of a prompt the time
/// goes into reading the weight, which is then read once and in its own order.
#[derive(Module, Debug)]
pub struct Projection {
    weight: Param<Tensor<2>>,
    bias: Option<Param<Tensor<1>>>,
}

impl Projection {
    pub(crate) const fn new(weight: Param<Tensor<2>>, bias: Option<Param<Tensor<1>>>) -> Self {
        Self { weight, bias }
    }
}

impl Forward<Tensor<3>> for Projection {
    type Output = Tensor<3>;

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, positions, inputs] = x.dims();
        let weight = self.weight.val();
        let outputs = weight.dims()[0];
        let rows = x.reshape([batch * positions, inputs]);
        let projected = weight.matmul(rows.transpose()).transpose();
        let projected = projected.reshape([batch, positions, outputs]);
        match &self.bias {
            Some(bias) => projected + bias.val().reshape([1, 1, outputs]),
            None => projected,
        }
    }
}
