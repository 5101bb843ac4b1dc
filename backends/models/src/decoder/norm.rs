//! Norms, with what is inside them as sites.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use interloom_backends::{Forward, Tap};

use super::config::{Gain, NormConfig, Statistic};

/// `(x - mean) / scale * gain + bias`, where `scale` is the root of the variance plus a constant;
/// of the kind that does without a mean, `x / scale * gain`, where it is that of the mean square.
///
/// Taps: `scale` is `[batch, position, 1]`; `normalized`, before gain and bias, has the shape of
/// the input.
#[derive(Module, Debug)]
pub struct Norm {
    gain: Option<Param<Tensor<1>>>,
    bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    config: NormConfig,
    scale: Tap,
    normalized: Tap,
}

/// The norm of queries or keys, `[batch, position, head, width]`.
///
/// Taps as of a [`Norm`]: `scale` is `[batch, position, group, 1]` and `normalized` `[batch,
/// position, group, width]`, where a group is what is normalized together.
#[derive(Module, Debug)]
pub struct HeadNorm {
    /// `[group, width]`; one row for all groups if they share it.
    gain: Option<Param<Tensor<2>>>,
    bias: Option<Param<Tensor<2>>>,
    #[module(skip)]
    config: NormConfig,
    /// How many heads are normalized together.
    together: usize,
    scale: Tap,
    normalized: Tap,
}

impl Norm {
    pub(crate) fn new(
        gain: Option<Param<Tensor<1>>>,
        bias: Option<Param<Tensor<1>>>,
        config: NormConfig,
    ) -> Self {
        Self {
            gain,
            bias,
            config,
            scale: Tap::new(),
            normalized: Tap::new(),
        }
    }
}

impl Forward<Tensor<3>> for Norm {
    type Output = Tensor<3>;

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let (x, scale) = centered(x, self.config);
        let normalized = self.normalized.pass(x / self.scale.pass(scale));
        let (gain, bias) = (&self.gain, &self.bias);
        let gain = gain.as_ref().map(|gain| gain.val().unsqueeze());
        let bias = bias.as_ref().map(|bias| bias.val().unsqueeze());
        scaled(normalized, gain, bias, self.config.gain)
    }
}

impl HeadNorm {
    pub(super) fn new(
        gain: Option<Param<Tensor<2>>>,
        bias: Option<Param<Tensor<2>>>,
        config: NormConfig,
        together: usize,
    ) -> Self {
        Self {
            gain,
            bias,
            config,
            together,
            scale: Tap::new(),
            normalized: Tap::new(),
        }
    }
}

impl Forward<Tensor<4>> for HeadNorm {
    type Output = Tensor<4>;

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let shape @ [batch, positions, heads, width] = x.dims();
        let groups = [
            batch,
            positions,
            heads / self.together,
            width * self.together,
        ];
        let (x, scale) = centered(x.reshape(groups), self.config);
        let normalized = self.normalized.pass(x / self.scale.pass(scale));
        let (gain, bias) = (&self.gain, &self.bias);
        let gain = gain.as_ref().map(|gain| gain.val().unsqueeze());
        let bias = bias.as_ref().map(|bias| bias.val().unsqueeze());
        scaled(normalized, gain, bias, self.config.gain).reshape(shape)
    }
}

/// Returns what is divided, and by what.
fn centered<const D: usize>(x: Tensor<D>, config: NormConfig) -> (Tensor<D>, Tensor<D>) {
    let x = match config.statistic {
        Statistic::MeanSquare => x,
        Statistic::Variance => x.clone() - x.mean_dim(D - 1),
    };
    let scale = (x.clone().square().mean_dim(D - 1) + config.epsilon).sqrt();
    (x, scale)
}

fn scaled<const D: usize>(
    normalized: Tensor<D>,
    gain: Option<Tensor<D>>,
    bias: Option<Tensor<D>>,
    kind: Gain,
) -> Tensor<D> {
    let scaled = match (gain, kind) {
        (None, _) | (_, Gain::None) => normalized,
        (Some(gain), Gain::Parameter) => normalized * gain,
        (Some(gain), Gain::ParameterPlusOne) => normalized * (gain + 1.0),
    };
    match bias {
        Some(bias) => scaled + bias,
        None => scaled,
    }
}
