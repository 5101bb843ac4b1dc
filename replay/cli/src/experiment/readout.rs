//! What is read off logits: likely tokens, chosen answers, the loss.

use burn::tensor::{Tensor, TensorData};
use interloom_backends::Value;
use interloom_program::Datum;

use super::subject::Subject;

/// A token with how likely it is.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenProbability {
    /// The token.
    pub token: u32,
    /// How it reads.
    pub text: String,
    /// Its logit.
    pub logit: f64,
    /// Its probability, from 0 to 1.
    pub probability: f64,
}

/// The logits of one place, as numbers.
pub(super) struct Logits(Vec<f64>);

impl Logits {
    /// Returns the probability of every token, in double precision.
    fn probabilities(&self) -> Vec<f64> {
        let most = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = self.0.iter().map(|logit| (logit - most).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(|power| power / sum).collect()
    }

    fn choices(&self, tokens: &[u32], subject: &Subject) -> Vec<TokenProbability> {
        let probabilities = self.probabilities();
        let choice = |&token: &u32| {
            let place = token as usize;
            Some(TokenProbability {
                token,
                text: subject.token_text(token),
                logit: *self.0.get(place)?,
                probability: probabilities[place],
            })
        };
        tokens.iter().filter_map(choice).collect()
    }

    /// Returns the most likely tokens, the most likely first; of equals the lowest first.
    pub(super) fn top(&self, count: u32, subject: &Subject) -> Vec<TokenProbability> {
        let mut tokens: Vec<u32> = (0..self.0.len() as u32).collect();
        let logit = |token: u32| self.0[token as usize];
        tokens.sort_by(|&left, &right| logit(right).total_cmp(&logit(left)).then(left.cmp(&right)));
        tokens.truncate(count as usize);
        self.choices(&tokens, subject)
    }

    pub(super) fn answers(&self, tokens: &[u32], subject: &Subject) -> Vec<TokenProbability> {
        self.choices(tokens, subject)
    }

    /// Returns the cross entropy of one token, in nats.
    fn loss(&self, token: u32) -> f64 {
        let most = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = self.0.iter().map(|logit| (logit - most).exp()).sum();
        self.0
            .get(token as usize)
            .map_or(f64::NAN, |logit| most + sum.ln() - logit)
    }
}

/// Returns the logits of the last position of each row of `[row, position, token]`, where its own
/// positions end.
pub(super) fn last_logits(logits: &Tensor<3>, ends: Vec<Option<usize>>) -> Vec<Logits> {
    let [_, positions, tokens] = logits.dims();
    let last = ends.into_iter().enumerate().flat_map(|(row, end)| {
        let end = end.unwrap_or(positions).min(positions);
        let last = logits
            .clone()
            .slice([row..row + 1, end - 1..end, 0..tokens]);
        split(&last.into_data(), tokens)
    });
    last.collect()
}

/// Returns for each row of `[row, position, token]` logits the mean cross entropy of the next
/// token, in nats, over the row's own positions from `from` on; nothing if none of these has a next
/// token. The own positions of each row begin at its start.
pub(super) fn losses(
    logits: &Tensor<3>,
    rows: &[&[u32]],
    starts: &[usize],
    from: usize,
) -> Vec<Option<f64>> {
    let [_, positions, tokens] = logits.dims();
    let all = split(&logits.clone().into_data(), tokens);
    let loss = |(row, ids): (usize, &&[u32])| {
        let places = from..ids.len().saturating_sub(1);
        let count = places.len();
        let sum: f64 = places
            .map(|place| all[row * positions + starts[row] + place].loss(ids[place + 1]))
            .sum();
        (count > 0).then(|| sum / count as f64)
    };
    rows.iter().enumerate().map(loss).collect()
}

/// Returns the logits in what a program has saved: of each tensor, for each of its rows the last
/// place of dimension 1.
pub(super) fn lens(saved: &Datum<Value>) -> Vec<Vec<Logits>> {
    match saved {
        Datum::Number(_) => Vec::new(),
        Datum::Value(value) => lens_of(value),
        Datum::List(items) => items.iter().flat_map(lens).collect(),
    }
}

fn lens_of(value: &Value) -> Vec<Vec<Logits>> {
    match value {
        Value::Tensor(tensor) => {
            let data = tensor.to_data();
            let shape = data.shape().to_vec();
            let Some(&tokens) = shape.last().filter(|_| !shape.contains(&0)) else {
                return Vec::new();
            };
            // The last position of each row, whatever is between it and the tokens.
            let places = shape[1.min(shape.len() - 1)..shape.len() - 1]
                .iter()
                .product::<usize>();
            let all = split(&data, tokens).into_iter();
            vec![all.skip(places - 1).step_by(places).collect()]
        }
        Value::Tuple(items) | Value::List(items) => items.iter().flat_map(lens_of).collect(),
        _ => Vec::new(),
    }
}

fn split(data: &TensorData, tokens: usize) -> Vec<Logits> {
    let numbers: Vec<f64> = data.iter::<f64>().collect();
    numbers
        .chunks(tokens.max(1))
        .map(|row| Logits(row.to_vec()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn logits(values: &[f32], shape: [usize; 3]) -> Tensor<3> {
        Tensor::from_data(TensorData::new(values.to_vec(), shape), &Device::flex())
    }

    #[test]
    fn the_loss_of_even_logits_is_the_logarithm_of_how_many_there_are() {
        let even = logits(&[0.5; 24], [2, 3, 4]);
        let rows: [&[u32]; 2] = [&[0, 1, 2], &[3, 3, 3]];
        for loss in losses(&even, &rows, &[0, 0], 0).into_iter().flatten() {
            assert!((loss - 4f64.ln()).abs() < 1e-12);
        }
        assert_eq!(losses(&even, &rows, &[0, 0], 2), [None, None]);
    }

    #[test]
    fn a_sure_prediction_costs_nothing_and_a_wrong_one_much() {
        let sure = logits(&[100., 0., 0., 100.], [1, 2, 2]);
        assert!(losses(&sure, &[&[1, 0]], &[0], 0)[0].unwrap() < 1e-12);
        assert!((losses(&sure, &[&[1, 1]], &[0], 0)[0].unwrap() - 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_lens_reads_the_last_position_of_every_row() {
        let value = Value::from(logits(&[0., 1., 2., 3., 4., 5., 6., 7.], [2, 2, 2]));
        let read = lens(&Datum::List(
            vec![Datum::Value(value), Datum::Number(1.0)].into(),
        ));
        assert_eq!(read.len(), 1);
        let rows: Vec<&[f64]> = read[0].iter().map(|row| &*row.0).collect();
        assert_eq!(rows, [[2.0, 3.0], [6.0, 7.0]]);
    }
}
