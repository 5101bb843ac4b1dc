//! Recurrent layers: a sequence and a state, which may be none at first.

use burn::nn::{BiGru, BiLstm, BiRnn, Gru, Lstm, LstmState, Rnn, RnnState};
use burn::tensor::Tensor;

use super::named::erase_as_map;
use crate::forward::Forward;

erase_as_map!([const D: usize] LstmState<D> { cell, hidden });
erase_as_map!([const D: usize] RnnState<D> { hidden });

/// Implements [`Forward`] for layers that take a sequence and a state.
macro_rules! recurrent {
    ($($layer:ty: $state:ty => $output:ty),* $(,)?) => {
        $(impl Forward<(Tensor<3>, Option<$state>)> for $layer {
            type Output = $output;

            fn forward(&self, (sequence, state): (Tensor<3>, Option<$state>)) -> $output {
                <$layer>::forward(self, sequence, state)
            }
        })*
    };
}

recurrent!(
    BiGru: Tensor<3> => (Tensor<3>, Tensor<3>),
    BiLstm: LstmState<3> => (Tensor<3>, LstmState<3>),
    BiRnn: RnnState<3> => (Tensor<3>, RnnState<3>),
    Gru: Tensor<2> => Tensor<3>,
    Lstm: LstmState<2> => (Tensor<3>, LstmState<2>),
    Rnn: RnnState<2> => (Tensor<3>, RnnState<2>),
);
