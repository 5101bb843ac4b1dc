//! Norms, with what is inside them as sites.

use std::ops::Range;

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use interloom_backends::parallel::{are_divisible, floats, in_place};
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
        let scale = self.scale.pass(scale);
        let [gain, bias] = [&self.gain, &self.bias]
            .map(|param| param.as_ref().map(|param| param.val().unsqueeze()));
        let factor = self.config.gain.factor(gain);
        scaled(x, scale, [factor, bias], &self.normalized)
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
        let scale = self.scale.pass(scale);
        let [gain, bias] = [&self.gain, &self.bias]
            .map(|param| param.as_ref().map(|param| param.val().unsqueeze()));
        let factor = self.config.gain.factor(gain);
        scaled(x, scale, [factor, bias], &self.normalized).reshape(shape)
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

impl Gain {
    /// Returns what is multiplied with.
    fn factor<const D: usize>(self, gain: Option<Tensor<D>>) -> Option<Tensor<D>> {
        match self {
            Self::None => None,
            Self::Parameter => gain,
            Self::ParameterPlusOne => gain.map(|gain| gain + 1.0),
        }
    }
}

/// Returns `x / scale * factor + bias`, and passes what is normalized.
fn scaled<const D: usize>(
    x: Tensor<D>,
    scale: Tensor<D>,
    [factor, bias]: [Option<Tensor<D>>; 2],
    normalized: &Tap,
) -> Tensor<D> {
    let x = if normalized.is_attended() {
        x
    } else {
        match scaled_in_one(x, &scale, [&factor, &bias]) {
            Ok(scaled) => {
                // It is counted, and nothing looks at the value.
                normalized.pass(scale);
                return scaled;
            }
            Err(x) => x,
        }
    };
    let normalized = normalized.pass(x / scale);
    let scaled = match factor {
        Some(factor) => normalized * factor,
        None => normalized,
    };
    match bias {
        Some(bias) => scaled + bias,
        None => scaled,
    }
}

/// Computes the same row by row, with the same bits; gives `x` back where that is not possible.
#[expect(clippy::result_large_err, reason = "both are a tensor")]
fn scaled_in_one<const D: usize>(
    x: Tensor<D>,
    scale: &Tensor<D>,
    [factor, bias]: [&Option<Tensor<D>>; 2],
) -> Result<Tensor<D>, Tensor<D>> {
    let all = [Some(&x), Some(scale), factor.as_ref(), bias.as_ref()];
    let all: Vec<&Tensor<D>> = all.into_iter().flatten().collect();
    let mut of_rows = x.dims();
    of_rows[D - 1] = 1;
    // What a mediator has made of the scale may have another shape.
    if scale.dims() != of_rows || !are_divisible(&all) {
        return Err(x);
    }
    let width = x.dims()[D - 1];
    let scales = floats(scale);
    let [factors, biases] = [factor, bias].map(|tensor| tensor.as_ref().map(floats));
    let of = |values: &[f32], row: usize| -> Range<usize> {
        let first = row % (values.len() / width) * width;
        first..first + width
    };
    in_place(x, |row, place| {
        let scale = scales[row];
        place.iter_mut().for_each(|x| *x /= scale);
        if let Some(factors) = &factors {
            let factors = &factors[of(factors, row)];
            place
                .iter_mut()
                .zip(factors)
                .for_each(|(x, factor)| *x *= factor);
        }
        if let Some(biases) = &biases {
            let biases = &biases[of(biases, row)];
            place
                .iter_mut()
                .zip(biases)
                .for_each(|(x, bias)| *x += bias);
        }
    })
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

    #[test]
    fn norms_in_one_have_the_bits_of_their_steps() {
        let tensor = |shape: [usize; 4], shift: f32| {
            let values = wave(shape.iter().product());
            let values: Vec<f32> = values.iter().map(|x| x + shift).collect();
            Tensor::<4>::from_data(TensorData::new(values, shape), &Device::flex())
        };
        let (x, scale) = (tensor([2, 3, 4, 5], 0.1), tensor([2, 3, 4, 1], 2.0));
        for rows in [1, 4] {
            let (factor, bias) = (tensor([1, 1, rows, 5], 0.3), tensor([1, 1, rows, 5], -0.2));
            let expected = x.clone() / scale.clone() * factor.clone() + bias.clone();
            let found = scaled_in_one(x.clone(), &scale, [&Some(factor), &Some(bias)]);
            assert_eq!(floats(&found.unwrap()), floats(&expected));
        }
        let none = [&None, &None];
        let found = scaled_in_one(x.clone(), &scale, none).unwrap();
        assert_eq!(floats(&found), floats(&(x.clone() / scale)));
        assert!(scaled_in_one(x.clone(), &tensor([1, 1, 1, 1], 2.0), none).is_err());
        let tracked = tensor([1, 1, 1, 5], 0.5).autodiff().require_grad();
        let scale = tensor([2, 3, 4, 1], 2.0);
        assert!(scaled_in_one(x, &scale, [&Some(tracked), &None]).is_err());
    }
}
