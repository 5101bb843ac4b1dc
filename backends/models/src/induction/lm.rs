//! The induction transformer as a language model, whose tokens are numbers.

use burn::tensor::{Device, Int, Tensor, TensorData};
use interloom_backends::{Bound, Hooked, Parameters, Sites, Value, visit_parameters};
use interloom_engine::{Fault, Padding, PaddingSide};
use interloom_program::Modules;

use super::{Induction, POSITIONS, VOCABULARY};
use crate::causal::{CausalLm, Decoder};

/// The trained induction transformer as a causal language model.
#[derive(Debug)]
pub struct InductionLm(Bound<Hooked<Induction>>);

impl InductionLm {
    /// Returns the trained model.
    pub fn trained(device: &Device) -> Self {
        Self(Induction::trained(device))
    }
}

impl CausalLm for InductionLm {
    fn sites(&self) -> &Sites {
        self.0.sites()
    }

    fn parameters(&self) -> Parameters {
        Parameters::of(&*self.0)
    }

    fn visit_parameters(&self, visit: &mut dyn FnMut(&str, TensorData)) {
        visit_parameters(&*self.0, visit);
    }

    fn vocabulary(&self) -> usize {
        VOCABULARY
    }

    fn positions(&self) -> usize {
        POSITIONS
    }

    fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        self.0.forward(tokens)
    }

    fn padding_side(&self) -> Option<PaddingSide> {
        Some(PaddingSide::Left)
    }

    fn decoder(&self, positions: usize) -> Decoder<'_> {
        self.padded_decoder(positions, None)
    }

    fn padded_decoder(&self, _: usize, padding: Option<&Padding>) -> Decoder<'_> {
        let padding = padding.cloned();
        // The model keeps nothing of earlier tokens: every step is a pass over the whole sequence.
        let mut sequence: Option<Tensor<2, Int>> = None;
        Box::new(move |tokens| {
            let all = match sequence.take() {
                Some(before) => Tensor::cat(vec![before, tokens], 1),
                None => tokens,
            };
            sequence = Some(all.clone());
            let padding = padding.as_ref();
            self.0
                .call(all, |model, all| model.forward_padded(all, padding))
        })
    }
}

impl Modules<Value> for InductionLm {
    fn call(&self, path: &str, input: Value) -> Result<Value, Fault> {
        let model: &Induction = self.0.inner();
        Modules::call(model, path, input)
    }

    fn shape(&self, path: &str, input: &[u64]) -> Option<Result<Vec<u64>, Fault>> {
        let model: &Induction = self.0.inner();
        Modules::<Value>::shape(model, path, input)
    }
}
