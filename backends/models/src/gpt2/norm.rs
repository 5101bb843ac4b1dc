//! Layer norms, with what is inside them as sites.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use interloom_backends::{Forward, Tap};

/// `(x - mean) / scale * gain + bias`, where `scale` is the root of the variance plus a constant
/// (Ba et al. 2016).
///
/// Taps: `scale` is `[batch, position, 1]`; `normalized`, before gain and bias, has the shape of
/// the input.
#[derive(Module, Debug)]
pub struct Gpt2Norm {
    gain: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    epsilon: f64,
    scale: Tap,
    normalized: Tap,
}

impl Gpt2Norm {
    pub(super) fn new(gain: Param<Tensor<1>>, bias: Param<Tensor<1>>, epsilon: f64) -> Self {
        Self {
            gain,
            bias,
            epsilon,
            scale: Tap::new(),
            normalized: Tap::new(),
        }
    }
}

impl Forward<Tensor<3>> for Gpt2Norm {
    type Output = Tensor<3>;

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let centered = x.clone() - x.mean_dim(2);
        let scale = (centered.clone().square().mean_dim(2) + self.epsilon).sqrt();
        let normalized = self.normalized.pass(centered / self.scale.pass(scale));
        normalized * self.gain.val().unsqueeze() + self.bias.val().unsqueeze()
    }
}
