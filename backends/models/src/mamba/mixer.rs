//! The mixer of a block: a convolution, and a state space whose step, input and output depend on
//! what comes in.

use burn::module::{Module, Param};
use burn::tensor::{Bool, Tensor, activation};
use interloom_backends::{Forward, Operations, Tap, operations};

use super::MambaConfig;
use crate::decoder::{Activation, Projection};

/// A selective state space (Gu and Dao 2023, algorithm 2).
#[derive(Module, Debug)]
pub struct MambaMixer {
    project_in: Projection,
    conv_weight: Param<Tensor<2>>,
    conv_bias: Option<Param<Tensor<1>>>,
    project_x: Projection,
    project_delta: Projection,
    /// `[inner, state]`.
    a_log: Param<Tensor<2>>,
    skip: Param<Tensor<1>>,
    project_out: Projection,
    ssm_input: Tap,
    gate: Tap,
    conv: Tap,
    delta: Tap,
    b: Tap,
    c: Tap,
    states: Tap,
    y: Tap,
    source: Operations,
    #[module(skip)]
    activation: Activation,
    rank: usize,
    state: usize,
}

/// The parameters of a mixer.
pub(super) struct Parts {
    pub(super) project_in: Projection,
    /// `[inner, kernel]`.
    pub(super) conv_weight: Param<Tensor<2>>,
    pub(super) conv_bias: Option<Param<Tensor<1>>>,
    pub(super) project_x: Projection,
    pub(super) project_delta: Projection,
    pub(super) a_log: Param<Tensor<2>>,
    pub(super) skip: Param<Tensor<1>>,
    pub(super) project_out: Projection,
}

/// What a mixer keeps of earlier positions.
#[derive(Clone, Debug, Default)]
pub struct MixerState {
    /// The last inputs of the convolution, one fewer than it sees: `[batch, position, inner]`.
    inputs: Option<Tensor<3>>,
    /// The last state, `[batch, inner, state]`.
    state: Option<Tensor<3>>,
    /// Which of the next positions are padding, `[batch, position, 1]`; none of those after them
    /// are.
    padded: Option<Tensor<3, Bool>>,
}

impl MixerState {
    /// Begins sequences of which these positions are padding, `[batch, position]`.
    ///
    /// Nothing comes out of padding: what it puts into the convolution and into the state is zeros,
    /// as what is there before a sequence begins.
    pub fn padded(padded: Tensor<2, Bool>) -> Self {
        Self {
            padded: Some(padded.unsqueeze_dim(2)),
            ..Self::default()
        }
    }

    /// Puts zeros in the place of padding.
    fn cleared(&self, x: Tensor<3>) -> Tensor<3> {
        match &self.padded {
            Some(padded) => {
                let shape = x.dims();
                x.mask_fill(padded.clone().expand(shape), 0.0)
            }
            None => x,
        }
    }
}

impl MambaMixer {
    pub(super) fn new(parts: Parts, config: &MambaConfig) -> Self {
        let tap = Tap::new;
        Self {
            project_in: parts.project_in,
            conv_weight: parts.conv_weight,
            conv_bias: parts.conv_bias,
            project_x: parts.project_x,
            project_delta: parts.project_delta,
            a_log: parts.a_log,
            skip: parts.skip,
            project_out: parts.project_out,
            ssm_input: tap(),
            gate: tap(),
            conv: tap(),
            delta: tap(),
            b: tap(),
            c: tap(),
            states: tap(),
            y: tap(),
            source: Operations::new(Self::OPERATIONS),
            activation: config.activation,
            rank: config.rank,
            state: config.state,
        }
    }
}

#[operations]
impl MambaMixer {
    /// Computes what is added to the stream, `[batch, position, width]`.
    pub fn forward(&self, x: Tensor<3>, kept: &mut MixerState) -> Tensor<3> {
        let projected = self.project_in.forward(x);
        let inner = projected.dims()[2] / 2;
        let x = self.ssm_input.pass(projected.clone().narrow(2, 0, inner));
        let gate = self.gate.pass(projected.narrow(2, inner, inner));
        let x = self.conv.pass(self.convolve(x, kept));

        let selected = self.project_x.forward(x.clone());
        let (rank, state) = (self.rank, self.state);
        let delta = self
            .project_delta
            .forward(selected.clone().narrow(2, 0, rank));
        let delta = self.delta.pass(activation::softplus(delta, 1.0));
        let b = self.b.pass(selected.clone().narrow(2, rank, state));
        let c = self.c.pass(selected.narrow(2, rank + state, state));
        let states = self.scan(x.clone(), delta, b, kept);
        let states = self.states.pass(states);
        // [batch, position, inner, state] · [batch, position, state, 1]
        let read = states.matmul(c.unsqueeze_dim::<4>(3)).squeeze_dim::<3>(3);
        let skip = self.skip.val().unsqueeze::<3>();
        let y = self.y.pass(read + x * skip);
        self.project_out.forward(y * activation::silu(gate))
    }
}

impl MambaMixer {
    /// Convolves each inner dimension with its own kernel over the last positions.
    fn convolve(&self, x: Tensor<3>, kept: &mut MixerState) -> Tensor<3> {
        let [batch, positions, inner] = x.dims();
        let x = kept.cleared(x);
        let weight = self.conv_weight.val();
        let kernel = weight.dims()[1];
        let padded = match kernel {
            1 => x,
            _ => {
                let before = kept.inputs.take();
                let before = before
                    .unwrap_or_else(|| Tensor::zeros([batch, kernel - 1, inner], &x.device()));
                let padded = Tensor::cat(vec![before, x], 1);
                kept.inputs = Some(padded.clone().narrow(1, positions, kernel - 1));
                padded
            }
        };
        let of = |tap: usize| {
            let weight = weight.clone().narrow(1, tap, 1).reshape([1, 1, inner]);
            padded.clone().narrow(1, tap, positions) * weight
        };
        let sum = (1..kernel).fold(of(0), |sum, tap| sum + of(tap));
        self.activation.of(match &self.conv_bias {
            Some(bias) => sum + bias.val().unsqueeze(),
            None => sum,
        })
    }

    /// Returns the state after each position, `[batch, position, inner, state]`.
    fn scan(
        &self,
        x: Tensor<3>,
        delta: Tensor<3>,
        b: Tensor<3>,
        kept: &mut MixerState,
    ) -> Tensor<4> {
        let [batch, positions, inner] = x.dims();
        let [x, delta, b] = [x, delta, b].map(|tensor| kept.cleared(tensor));
        kept.padded = None;
        let a = self.a_log.val().exp().neg().unsqueeze::<3>();
        let before = kept.state.take();
        let mut state =
            before.unwrap_or_else(|| Tensor::zeros([batch, inner, self.state], &x.device()));
        let mut states = Vec::with_capacity(positions);
        for position in 0..positions {
            let at = |tensor: &Tensor<3>| tensor.clone().narrow(1, position, 1);
            // [batch, inner, 1] and [batch, 1, state]
            let step = at(&delta).swap_dims(1, 2);
            let input = at(&x).swap_dims(1, 2);
            state = (step.clone() * a.clone()).exp() * state + step * at(&b) * input;
            states.push(state.clone().unsqueeze_dim::<4>(1));
        }
        kept.state = Some(state);
        Tensor::cat(states, 1)
    }
}
