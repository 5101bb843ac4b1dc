//! The nonlinearities of feed-forward layers.

use burn::tensor::{Tensor, activation};
use interloom_backends::parallel::{by_element, by_row};

/// A nonlinearity, as configurations name it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Activation {
    /// `gelu`: with the error function.
    Gelu,
    /// `gelu_new`, `gelu_pytorch_tanh`, `gelu_fast`: approximated with a hyperbolic tangent.
    GeluTanh,
    /// `quick_gelu`: approximated with a logistic function.
    GeluSigmoid,
    /// `relu`.
    Relu,
    /// `relu2`: the square of `relu`.
    ReluSquared,
    /// `silu` or `swish`.
    Silu,
    /// `tanh`.
    Tanh,
    /// `sigmoid`.
    Sigmoid,
}

impl Activation {
    /// What messages list.
    pub(crate) const NAMES: &str = "one of gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, quick_gelu, relu, relu2, silu, tanh, sigmoid";

    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "gelu" | "gelu_python" => Self::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate" => Self::GeluTanh,
            "quick_gelu" => Self::GeluSigmoid,
            "relu" => Self::Relu,
            "relu2" => Self::ReluSquared,
            "silu" | "swish" => Self::Silu,
            "tanh" => Self::Tanh,
            "sigmoid" => Self::Sigmoid,
            _ => return None,
        })
    }

    pub(crate) fn of(self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Gelu => gelu(x),
            Self::GeluTanh => gelu_approximate(x),
            Self::GeluSigmoid => quick_gelu(x),
            Self::Relu => relu(x),
            Self::ReluSquared => relu_squared(x),
            Self::Silu => silu(x),
            Self::Tanh => tanh(x),
            Self::Sigmoid => sigmoid(x),
        }
    }

    /// Returns what the function of [`silu`](burn::tensor::activation::silu) and its like is called
    /// among the operations of a feed-forward layer.
    pub(super) const fn operation(self) -> &'static str {
        match self {
            Self::Gelu => "gelu_0",
            Self::GeluTanh => "gelu_approximate_0",
            Self::GeluSigmoid => "quick_gelu_0",
            Self::Relu => "relu_0",
            Self::ReluSquared => "relu_squared_0",
            Self::Silu => "silu_0",
            Self::Tanh => "tanh_0",
            Self::Sigmoid => "sigmoid_0",
        }
    }

    /// Every operation of which [`operation`](Self::operation) names one.
    pub(super) const OPERATIONS: [&str; 8] = [
        "gelu_0",
        "gelu_approximate_0",
        "quick_gelu_0",
        "relu_0",
        "relu_squared_0",
        "silu_0",
        "tanh_0",
        "sigmoid_0",
    ];
}

pub(super) fn gelu(x: Tensor<3>) -> Tensor<3> {
    by_row(x, activation::gelu)
}

pub(super) fn gelu_approximate(x: Tensor<3>) -> Tensor<3> {
    by_row(x, activation::gelu_approximate)
}

/// Computes `x * sigmoid(1.702 x)`.
pub(super) fn quick_gelu(x: Tensor<3>) -> Tensor<3> {
    by_row(x, |x| x.clone() * activation::sigmoid(x * 1.702))
}

pub(super) fn relu(x: Tensor<3>) -> Tensor<3> {
    by_row(x, activation::relu)
}

/// Computes the square of the positive part.
pub(super) fn relu_squared(x: Tensor<3>) -> Tensor<3> {
    by_row(x, |x| activation::relu(x).square())
}

pub(super) fn silu(x: Tensor<3>) -> Tensor<3> {
    let each = |x: f32| x * logistic(x);
    by_element(x, each, activation::silu)
}

pub(super) fn tanh(x: Tensor<3>) -> Tensor<3> {
    by_row(x, activation::tanh)
}

pub(super) fn sigmoid(x: Tensor<3>) -> Tensor<3> {
    by_row(x, activation::sigmoid)
}

/// Computes `1 / (1 + exp(-x))` as burn's sigmoid does, but without a branch on the sign, which a
/// processor cannot foresee.
fn logistic(x: f32) -> f32 {
    let small = (-x.abs()).exp();
    let share = if x >= 0.0 { 1.0 } else { small };
    share / (1.0 + small)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    #[test]
    fn silu_has_the_bits_of_burns() {
        let even = (-4_000..4_000).map(|step| step as f32 * 0.025);
        let odd = [0.0, -0.0, f32::MIN_POSITIVE, 1e-42, f32::MAX, f32::MIN];
        let no_numbers = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        let values: Vec<f32> = even.chain(odd).chain(no_numbers).collect();
        let count = values.len();
        let x = Tensor::from_data(TensorData::new(values, [1, 1, count]), &Device::flex());
        let bits = |x: Tensor<3>| -> Vec<u32> {
            let floats: Vec<f32> = x.into_data().try_into_vec().unwrap();
            floats.into_iter().map(f32::to_bits).collect()
        };
        assert_eq!(bits(silu(x.clone())), bits(activation::silu(x)));
    }
}
