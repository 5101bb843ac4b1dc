//! Layers that take tensors and return one.

use burn::nn::{self, activation, conv, interpolate, norm, pool, transformer};
use burn::tensor::{Int, Tensor};

use crate::forward::Forward;

/// Implements [`Forward`] for layers that take a tensor of any rank and return one of that rank.
macro_rules! any_rank {
    ($($layer:ty),* $(,)?) => {
        $(impl<const D: usize> Forward<Tensor<D>> for $layer {
            type Output = Tensor<D>;

            fn forward(&self, input: Tensor<D>) -> Tensor<D> {
                <$layer>::forward(self, input)
            }
        })*
    };
}

any_rank!(
    activation::Activation,
    activation::Celu,
    activation::Elu,
    activation::GLU,
    activation::Gelu,
    activation::HardShrink,
    activation::HardSigmoid,
    activation::HardSwish,
    activation::Hardtanh,
    activation::LeakyRelu,
    activation::LogSigmoid,
    activation::Mish,
    activation::PRelu,
    activation::RRelu,
    activation::Relu,
    activation::Relu6,
    activation::Selu,
    activation::Shrink,
    activation::SiLU,
    activation::Sigmoid,
    activation::SoftShrink,
    activation::Softplus,
    activation::Softsign,
    activation::SwiGlu,
    activation::Tanh,
    activation::Tanhshrink,
    activation::Threshold,
    activation::ThresholdedRelu,
    nn::Dropout,
    nn::GaussianNoise,
    nn::Identity,
    nn::Linear,
    nn::RotaryEncoding,
    norm::BatchNorm,
    norm::GroupNorm,
    norm::InstanceNorm,
    norm::LayerNorm,
    norm::LocalResponseNorm,
    norm::Normalization,
    norm::RmsNorm,
    transformer::PositionWiseFeedForward,
);

/// Implements [`Forward`] for layers that take one tensor of a certain rank.
macro_rules! one_rank {
    ($($layer:ty: $input:ty => $output:ty),* $(,)?) => {
        $(impl Forward<$input> for $layer {
            type Output = $output;

            fn forward(&self, input: $input) -> $output {
                <$layer>::forward(self, input)
            }
        })*
    };
}

one_rank!(
    conv::Conv1d: Tensor<3> => Tensor<3>,
    conv::Conv2d: Tensor<4> => Tensor<4>,
    conv::Conv3d: Tensor<5> => Tensor<5>,
    conv::ConvTranspose1d: Tensor<3> => Tensor<3>,
    conv::ConvTranspose2d: Tensor<4> => Tensor<4>,
    conv::ConvTranspose3d: Tensor<5> => Tensor<5>,
    interpolate::Interpolate1d: Tensor<3> => Tensor<3>,
    interpolate::Interpolate2d: Tensor<4> => Tensor<4>,
    nn::Embedding: Tensor<2, Int> => Tensor<3>,
    nn::Fold4d: Tensor<3> => Tensor<4>,
    nn::PixelShuffle: Tensor<4> => Tensor<4>,
    nn::PixelUnshuffle: Tensor<4> => Tensor<4>,
    nn::PositionalEncoding: Tensor<3> => Tensor<3>,
    nn::Unfold4d: Tensor<4> => Tensor<3>,
    pool::AdaptiveAvgPool1d: Tensor<3> => Tensor<3>,
    pool::AdaptiveAvgPool2d: Tensor<4> => Tensor<4>,
    pool::AdaptiveAvgPool3d: Tensor<5> => Tensor<5>,
    pool::AvgPool1d: Tensor<3> => Tensor<3>,
    pool::AvgPool2d: Tensor<4> => Tensor<4>,
    pool::MaxPool1d: Tensor<3> => Tensor<3>,
    pool::MaxPool2d: Tensor<4> => Tensor<4>,
);

/// Takes the input, the offset, and the mask.
impl Forward<(Tensor<4>, Tensor<4>, Option<Tensor<4>>)> for conv::DeformConv2d {
    type Output = Tensor<4>;

    fn forward(
        &self,
        (input, offset, mask): (Tensor<4>, Tensor<4>, Option<Tensor<4>>),
    ) -> Tensor<4> {
        Self::forward(self, input, offset, mask)
    }
}

impl Forward<(Tensor<2>, Tensor<2>)> for nn::CosineSimilarity {
    type Output = Tensor<1>;

    fn forward(&self, (left, right): (Tensor<2>, Tensor<2>)) -> Tensor<1> {
        Self::forward(self, left, right)
    }
}

impl Forward<(Tensor<2>, Tensor<2>)> for nn::PairwiseDistance {
    type Output = Tensor<1>;

    fn forward(&self, (left, right): (Tensor<2>, Tensor<2>)) -> Tensor<1> {
        Self::forward(self, left, right)
    }
}

/// Takes what is rotated, and the position at which it starts: burn's `apply`.
impl<const D: usize> Forward<(Tensor<D>, usize)> for nn::RotaryEncoding {
    type Output = Tensor<D>;

    fn forward(&self, (x, start): (Tensor<D>, usize)) -> Tensor<D> {
        self.apply(x, start)
    }
}
