//! Losses: what was predicted and what it should have been, and how the elements' losses become
//! one.

use std::sync::Arc;

use burn::nn::loss::{
    BinaryCrossEntropyLoss, CTCLoss, CosineEmbeddingLoss, CrossEntropyLoss, GaussianNLLLoss,
    HingeEmbeddingLoss, HuberLoss, KLDivLoss, LpLoss, MarginRankingLoss, MseLoss, MultiMarginLoss,
    PoissonNllLoss, RNNTLoss, Reduction, SmoothL1Loss, SoftMarginLoss, TripletMarginLoss,
};
use burn::tensor::{Int, Tensor};
use interloom_engine::Misfit;

use crate::erase::Erase;
use crate::forward::Forward;
use crate::value::Value;

/// A reduction passes a site as text: `mean`, `sum`, `batch mean` or `auto`.
impl Erase for Reduction {
    fn erase(self) -> Value {
        let name = match self {
            Self::Mean => "mean",
            Self::Sum => "sum",
            Self::BatchMean => "batch mean",
            Self::Auto => "auto",
        };
        Value::Text(Arc::from(name))
    }

    fn recover(value: Value) -> Result<Self, Misfit> {
        let name = match &value {
            Value::Text(name) => &**name,
            _ => "",
        };
        match name {
            "mean" => Ok(Self::Mean),
            "sum" => Ok(Self::Sum),
            "batch mean" => Ok(Self::BatchMean),
            "auto" => Ok(Self::Auto),
            _ => Err(Misfit {
                expected: "a reduction: \"mean\", \"sum\", \"batch mean\" or \"auto\"".to_owned(),
                found: value.to_string(),
            }),
        }
    }
}

/// Implements [`Forward`] for losses with the same arguments, in burn's order.
macro_rules! losses {
    ($generics:tt $arguments:tt => $output:ty; $($loss:ty),* $(,)?) => {
        $(loss!($generics $arguments => $output; $loss);)*
    };
}

macro_rules! loss {
    ([$($generics:tt)*] ($($name:ident: $type:ty),* $(,)?) => $output:ty; $loss:ty) => {
        impl<$($generics)*> Forward<($($type),*)> for $loss {
            type Output = $output;

            fn forward(&self, ($($name),*): ($($type),*)) -> $output {
                <$loss>::forward(self, $($name),*)
            }
        }
    };
}

losses!(
    [const D: usize] (predicted: Tensor<D>, target: Tensor<D>, reduction: Reduction) => Tensor<1>;
    HingeEmbeddingLoss, HuberLoss, KLDivLoss, LpLoss, MseLoss, PoissonNllLoss, SoftMarginLoss,
);
losses!([const D: usize] (predicted: Tensor<D>, target: Tensor<D>) => Tensor<D>; SmoothL1Loss);
losses!(
    [const D: usize] (logits: Tensor<D>, target: Tensor<D, Int>) => Tensor<1>;
    BinaryCrossEntropyLoss,
);
losses!([] (logits: Tensor<2>, target: Tensor<1, Int>) => Tensor<1>; CrossEntropyLoss);
losses!(
    [] (left: Tensor<2>, right: Tensor<2>, target: Tensor<1, Int>) => Tensor<1>;
    CosineEmbeddingLoss,
);
losses!(
    [] (scores: Tensor<2>, target: Tensor<1, Int>, reduction: Reduction) => Tensor<1>;
    MultiMarginLoss,
);
losses!(
    [const D: usize]
    (first: Tensor<D>, second: Tensor<D>, third: Tensor<D>, reduction: Reduction) => Tensor<1>;
    GaussianNLLLoss, MarginRankingLoss,
);
losses!(
    []
    (anchor: Tensor<2>, positive: Tensor<2>, negative: Tensor<2>, reduction: Reduction)
    => Tensor<1>;
    TripletMarginLoss,
);
losses!(
    []
    (
        log_probs: Tensor<3>,
        targets: Tensor<2, Int>,
        input_lengths: Tensor<1, Int>,
        target_lengths: Tensor<1, Int>,
    ) => Tensor<1>;
    CTCLoss,
);
losses!(
    []
    (
        logits: Tensor<4>,
        targets: Tensor<2, Int>,
        logit_lengths: Tensor<1, Int>,
        target_lengths: Tensor<1, Int>,
    ) => Tensor<1>;
    RNNTLoss,
);
