//! The nonlinearities of feed-forward layers.

use burn::tensor::{Tensor, activation};
use interloom_backends::parallel::{self, by_row};

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
    /// `gelu_10`: [`Gelu`](Self::Gelu), clipped to -10 to 10.
    GeluClipped,
    /// `hardswish`: `x * relu6(x + 3) / 6`.
    HardSwish,
    /// `laplace`: the distribution function of a normal distribution.
    Laplace,
    /// `leaky_relu`: what is negative times 0.01.
    LeakyRelu,
    /// `linear`: none.
    Linear,
    /// `mish`: `x * tanh(softplus(x))`.
    Mish,
    /// `relu6`: `relu`, clipped to 6.
    Relu6,
    /// `sqrtsoftplus`: the square root of `softplus`.
    SqrtSoftplus,
}

impl Activation {
    /// What messages list.
    pub(crate) const NAMES: &str = "one of gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, gelu_accurate, gelu_10, quick_gelu, relu, relu2, relu6, leaky_relu, silu, hardswish, mish, tanh, sigmoid, laplace, sqrtsoftplus, linear";

    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "gelu" | "gelu_python" => Self::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_fast"
            | "gelu_accurate" => Self::GeluTanh,
            "quick_gelu" => Self::GeluSigmoid,
            "relu" => Self::Relu,
            "relu2" => Self::ReluSquared,
            "silu" | "swish" => Self::Silu,
            "tanh" => Self::Tanh,
            "sigmoid" => Self::Sigmoid,
            "gelu_10" => Self::GeluClipped,
            "hardswish" => Self::HardSwish,
            "laplace" => Self::Laplace,
            "leaky_relu" => Self::LeakyRelu,
            "linear" => Self::Linear,
            "mish" => Self::Mish,
            "relu6" => Self::Relu6,
            "sqrtsoftplus" => Self::SqrtSoftplus,
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
            Self::GeluClipped => gelu_clipped(x),
            Self::HardSwish => hard_swish(x),
            Self::Laplace => laplace(x),
            Self::LeakyRelu => leaky_relu(x),
            Self::Linear => linear(x),
            Self::Mish => mish(x),
            Self::Relu6 => relu6(x),
            Self::SqrtSoftplus => sqrt_softplus(x),
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
            Self::GeluClipped => "gelu_clipped_0",
            Self::HardSwish => "hard_swish_0",
            Self::Laplace => "laplace_0",
            Self::LeakyRelu => "leaky_relu_0",
            Self::Linear => "linear_0",
            Self::Mish => "mish_0",
            Self::Relu6 => "relu6_0",
            Self::SqrtSoftplus => "sqrt_softplus_0",
        }
    }

    /// Every operation of which [`operation`](Self::operation) names one.
    pub(super) const OPERATIONS: [&str; 16] = [
        "gelu_0",
        "gelu_approximate_0",
        "quick_gelu_0",
        "relu_0",
        "relu_squared_0",
        "silu_0",
        "tanh_0",
        "sigmoid_0",
        "gelu_clipped_0",
        "hard_swish_0",
        "laplace_0",
        "leaky_relu_0",
        "linear_0",
        "mish_0",
        "relu6_0",
        "sqrt_softplus_0",
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
    parallel::silu(x).unwrap_or_else(|x| by_row(x, activation::silu))
}

pub(super) fn tanh(x: Tensor<3>) -> Tensor<3> {
    by_row(x, activation::tanh)
}

pub(super) fn sigmoid(x: Tensor<3>) -> Tensor<3> {
    by_row(x, activation::sigmoid)
}

pub(super) fn gelu_clipped(x: Tensor<3>) -> Tensor<3> {
    by_row(x, |x| activation::gelu(x).clamp(-10, 10))
}

pub(super) fn hard_swish(x: Tensor<3>) -> Tensor<3> {
    by_row(x, |x| x.clone() * activation::relu6(x + 3) / 6)
}

/// Computes the distribution function at `x` of the normal distribution with the mean √½ and the
/// variance 1/4π (Ma et al. 2023), which both have six digits.
pub(super) fn laplace(x: Tensor<3>) -> Tensor<3> {
    #[allow(clippy::approx_constant, reason = "transformers has six digits of it")]
    const MEAN: f64 = 0.707_107;
    const DEVIATION: f64 = 0.282_095;
    by_row(x, |x| {
        let scaled = (x - MEAN) / (DEVIATION * std::f64::consts::SQRT_2);
        (scaled.erf() + 1) * 0.5
    })
}

pub(super) fn leaky_relu(x: Tensor<3>) -> Tensor<3> {
    by_row(x, |x| activation::leaky_relu(x, 0.01))
}

pub(super) const fn linear(x: Tensor<3>) -> Tensor<3> {
    x
}

pub(super) fn mish(x: Tensor<3>) -> Tensor<3> {
    by_row(x, |x| x.clone() * activation::softplus(x, 1.0).tanh())
}

pub(super) fn relu6(x: Tensor<3>) -> Tensor<3> {
    by_row(x, activation::relu6)
}

pub(super) fn sqrt_softplus(x: Tensor<3>) -> Tensor<3> {
    by_row(x, |x| activation::softplus(x, 1.0).sqrt())
}

#[cfg(test)]
#[path = "activation_tests.rs"]
mod tests;
