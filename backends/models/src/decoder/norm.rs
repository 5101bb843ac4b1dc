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

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn wave(count: usize) -> Vec<f32> {
        (0..count).map(|index| (index as f32 * 0.7).sin()).collect()
    }

    fn parameter(rows: usize, width: usize, shift: f32) -> Param<Tensor<2>> {
        let values: Vec<f32> = wave(rows * width).iter().map(|x| x + shift).collect();
        let data = TensorData::new(values, [rows, width]);
        Param::from_tensor(Tensor::from_data(data, &Device::flex()))
    }

    /// Normalizes `[1, 2, 4, 3]` values, in loops: `together` heads at once, with the row of the
    /// gain that `row` says.
    fn expected(
        x: &[f32],
        together: usize,
        gain: &[f32],
        bias: Option<&[f32]>,
        has_mean: bool,
    ) -> Vec<f32> {
        let width = 3 * together;
        let rows = gain.len() / width;
        let normalize = |(number, group): (usize, &[f32])| {
            let row = number % (4 / together) % rows * width;
            let mean = if has_mean {
                group.iter().sum::<f32>() / width as f32
            } else {
                0.0
            };
            let square = group.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>();
            let scale = (square / width as f32 + 0.01).sqrt();
            let one = move |(at, x): (usize, &f32)| {
                let bias = bias.map_or(0.0, |bias| bias[row + at]);
                (x - mean) / scale * gain[row + at] + bias
            };
            group.iter().enumerate().map(one).collect::<Vec<f32>>()
        };
        x.chunks(width).enumerate().flat_map(normalize).collect()
    }

    #[test]
    fn heads_are_normalized_alone_or_together() {
        let values = wave(24);
        let data = TensorData::new(values.clone(), [1, 2, 4, 3]);
        let x = Tensor::<4>::from_data(data, &Device::flex());
        for (rows, width, together, statistic, has_bias) in [
            (1, 3, 1, Statistic::MeanSquare, false),
            (1, 3, 1, Statistic::Variance, true),
            (4, 3, 1, Statistic::Variance, false),
            (1, 12, 4, Statistic::MeanSquare, false),
        ] {
            let config = NormConfig {
                statistic,
                epsilon: 0.01,
                gain: Gain::Parameter,
                has_bias,
            };
            let gain = parameter(rows, width, 1.0);
            let bias = has_bias.then(|| parameter(rows, width, 0.5));
            let floats = |param: &Param<Tensor<2>>| -> Vec<f32> {
                param.val().into_data().try_into_vec().unwrap()
            };
            let (gains, biases) = (floats(&gain), bias.as_ref().map(floats));
            let norm = HeadNorm::new(Some(gain), bias, config, together);
            let found: Vec<f32> = norm.forward(x.clone()).into_data().try_into_vec().unwrap();
            let has_mean = statistic == Statistic::Variance;
            let expected = expected(&values, together, &gains, biases.as_deref(), has_mean);
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-5, "{rows} {width} {together}");
            }
        }
    }
}
