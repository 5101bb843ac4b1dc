//! The layer in front of the output layer of models that fill in what is masked.

use burn::module::Module;
use burn::tensor::Tensor;
use interloom_backends::{Forward, Hooked, Tap};

use super::activation::Activation;
use super::norm::Norm;
use crate::projection::Projection;

/// `norm(f(dense(x)))` (Devlin et al. 2019).
#[derive(Module, Debug)]
pub struct OutputTransform {
    dense: Projection,
    norm: Hooked<Norm>,
    pre: Tap,
    post: Tap,
    #[module(skip)]
    activation: Activation,
}

impl OutputTransform {
    pub(super) fn new(dense: Projection, norm: Norm, activation: Activation) -> Self {
        Self {
            dense,
            norm: norm.into(),
            pre: Tap::new(),
            post: Tap::new(),
            activation,
        }
    }
}

impl Forward<Tensor<3>> for OutputTransform {
    type Output = Tensor<3>;

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let pre = self.pre.pass(self.dense.forward(x));
        let post = self.post.pass(self.activation.of(pre));
        self.norm.forward(post)
    }
}
