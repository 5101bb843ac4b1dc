//! Root-mean-square norms, with what is inside them as sites.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use interloom_backends::{Forward, Tap};

/// `x / scale * gain`, where `scale` is the root of the mean square of `x` plus a constant (Zhang
/// and Sennrich 2019).
///
/// Taps: `scale` is `[batch, position, 1]`; `normalized`, before the gain, has the shape of the
/// input.
#[derive(Module, Debug)]
pub struct Norm {
    gain: Param<Tensor<1>>,
    epsilon: f64,
    scale: Tap,
    normalized: Tap,
}

impl Norm {
    pub(super) fn new(gain: Param<Tensor<1>>, epsilon: f64) -> Self {
        Self {
            gain,
            epsilon,
            scale: Tap::new(),
            normalized: Tap::new(),
        }
    }
}

impl Forward<Tensor<3>> for Norm {
    type Output = Tensor<3>;

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let scale = (x.clone().square().mean_dim(2) + self.epsilon).sqrt();
        let normalized = self.normalized.pass(x / self.scale.pass(scale));
        normalized * self.gain.val().unsqueeze()
    }
}
