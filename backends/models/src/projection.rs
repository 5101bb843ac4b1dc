//! Linear layers whose weights lie as in the files.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use interloom_backends::{Forward, Tap, parallel};

/// A linear layer with an `[out, in]` weight; burn's own has `[in, out]`.
#[derive(Module, Debug)]
pub struct Projection {
    weight: Param<Tensor<2>>,
    bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    finish: Finish,
}

/// What is done with the outputs of a linear layer, in this order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Finish {
    /// The bound to which they are clipped.
    pub(crate) clip: Option<f64>,
    /// What they are multiplied by.
    pub(crate) multiplier: Option<f64>,
    /// The bound to which they are drawn by a hyperbolic tangent.
    pub(crate) cap: Option<f64>,
}

impl Projection {
    pub(crate) fn new(
        weight: Param<Tensor<2>>,
        bias: Option<Param<Tensor<1>>>,
        finish: Finish,
    ) -> Self {
        Self {
            weight,
            bias,
            finish,
        }
    }
}

impl Projection {
    /// Passes what each head, `[batch, position, head, width]`, adds to the output, `[batch,
    /// position, head, out]`, through a tap if somebody waits there, and returns the output with
    /// what becomes of that.
    ///
    /// The output is not summed anew: what it differs by is taken away from it, so that it keeps
    /// every bit where nothing is changed.
    pub(crate) fn pass(&self, output: Tensor<3>, heads: Tensor<4>, tap: &Tap) -> Tensor<3> {
        let mut made = None;
        let passed = tap.pass_if_awaited(|| made.insert(self.of_heads(heads)).clone());
        match passed.zip(made) {
            Some((passed, made)) => {
                let [batch, positions, outputs] = output.dims();
                let less = (made - passed).sum_dim(2);
                output - less.reshape([batch, positions, outputs])
            }
            None => output,
        }
    }

    fn of_heads(&self, heads: Tensor<4>) -> Tensor<4> {
        let [batch, positions, count, width] = heads.dims();
        let weight = self.weight.val();
        let outputs = weight.dims()[0];
        // For each head, `[1, head, width, out]`.
        let weight = weight.transpose().reshape([1, count, width, outputs]);
        let rows = heads
            .swap_dims(1, 2)
            .reshape([batch, count, positions, width]);
        rows.matmul(weight).swap_dims(1, 2)
    }
}

impl Forward<Tensor<3>> for Projection {
    type Output = Tensor<3>;

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, positions, inputs] = x.dims();
        let weight = self.weight.val();
        let outputs = weight.dims()[0];
        let rows = x.reshape([batch * positions, inputs]);
        let projected = parallel::linear(rows, weight);
        let projected = projected.reshape([batch, positions, outputs]);
        self.finish.of(match &self.bias {
            Some(bias) => projected + bias.val().reshape([1, 1, outputs]),
            None => projected,
        })
    }
}

impl Finish {
    fn of(self, x: Tensor<3>) -> Tensor<3> {
        let x = match self.clip {
            Some(clip) => x.clamp(-clip, clip),
            None => x,
        };
        let x = match self.multiplier {
            Some(multiplier) => x * multiplier,
            None => x,
        };
        match self.cap {
            Some(cap) => (x / cap).tanh() * cap,
            None => x,
        }
    }
}
