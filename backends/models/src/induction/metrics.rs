//! Metrics of the model: how well it continues repeated sequences, and what its heads attend to.

use burn::tensor::{Tensor, activation};

use super::{Batch, HEADS, POSITIONS, VOCABULARY};

/// The score of the model's predictions where the first copy of a sequence foretells the second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// The mean cross entropy in nats; that of guessing is ln 40 = 3.689.
    pub loss: f64,
    /// The share of tokens that the model ranks first, from 0 to 1.
    pub accuracy: f64,
}

/// The attention scores of one head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadScores {
    /// The prefix-matching score (Olsson et al. 2022): the mean attention, from positions in a
    /// repeated copy, to all positions that follow an earlier occurrence of the current
    /// position in the repetition. From 0 to 1.
    pub prefix_matching: f64,
    /// The previous-token score: the mean attention from a position to the one before it. From 0
    /// to 1.
    pub previous_token: f64,
}

/// Scores `[batch, position, token]` logits on the repeated part of `batch`.
pub fn score(logits: Tensor<3>, batch: &Batch) -> Score {
    let log_probabilities = floats(activation::log_softmax(logits, 2));
    let (mut loss, mut right, mut count) = (0.0, 0u32, 0u32);
    for (sequence, position) in batch.foretold() {
        let start = (sequence * POSITIONS + position) * VOCABULARY;
        let row = &log_probabilities[start..start + VOCABULARY];
        let next = batch.token(sequence, position + 1);
        loss -= f64::from(row[next]);
        right += u32::from(largest(row) == next);
        count += 1;
    }
    Score {
        loss: loss / f64::from(count),
        accuracy: f64::from(right) / f64::from(count),
    }
}

/// Scores a `[batch, head, query, key]` attention pattern, head by head.
pub fn head_scores(pattern: Tensor<4>, batch: &Batch) -> Vec<HeadScores> {
    let pattern = floats(pattern);
    let scores = |head| {
        head_score(batch, |sequence, query, key| {
            let row = ((sequence * HEADS + head) * POSITIONS + query) * POSITIONS;
            f64::from(pattern[row + key])
        })
    };
    (0..HEADS).map(scores).collect()
}

fn head_score(batch: &Batch, attention: impl Fn(usize, usize, usize) -> f64) -> HeadScores {
    let (mut previous, mut previous_count) = (0.0, 0u32);
    for sequence in 0..batch.len() {
        for query in 1..POSITIONS {
            previous += attention(sequence, query, query - 1);
            previous_count += 1;
        }
    }
    let (mut prefix, mut prefix_count) = (0.0, 0u32);
    for sequence in 0..batch.len() {
        let period = batch.period(sequence);
        for query in period..POSITIONS {
            // After every earlier copy of this token: query + 1 - period, query + 1 - 2 * period, …
            let keys = (0..=query + 1 - period).rev().step_by(period);
            prefix += keys.map(|key| attention(sequence, query, key)).sum::<f64>();
            prefix_count += 1;
        }
    }
    HeadScores {
        prefix_matching: prefix / f64::from(prefix_count),
        previous_token: previous / f64::from(previous_count),
    }
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.into_data();
    data.try_into_vec().expect("the model computes in f32")
}

fn largest(row: &[f32]) -> usize {
    let by_value = |&left: &usize, &right: &usize| row[left].total_cmp(&row[right]);
    (0..row.len()).max_by(by_value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::super::Sampler;
    use super::*;

    #[test]
    fn a_perfect_previous_token_head_scores_one() {
        let batch = Sampler::new(3).batch(2);
        let mut pattern = vec![0f32; 2 * HEADS * POSITIONS * POSITIONS];
        for row in 0..2 * HEADS * POSITIONS {
            let query = row % POSITIONS;
            pattern[row * POSITIONS + query.saturating_sub(1)] = 1.0;
        }
        let data = TensorData::new(pattern, [2, HEADS, POSITIONS, POSITIONS]);
        let scores = head_scores(Tensor::from_data(data, &Device::flex()), &batch);
        assert!(
            scores
                .iter()
                .all(|score| score.previous_token == 1.0 && score.prefix_matching == 0.0)
        );
    }

    #[test]
    fn a_perfect_induction_head_scores_one() {
        let batch = Sampler::new(4).batch(1);
        let period = batch.period(0);
        let mut pattern = vec![0f32; HEADS * POSITIONS * POSITIONS];
        for row in 0..HEADS * POSITIONS {
            let query = row % POSITIONS;
            let key = (query + 1).saturating_sub(period);
            pattern[row * POSITIONS + key] = 1.0;
        }
        let data = TensorData::new(pattern, [1, HEADS, POSITIONS, POSITIONS]);
        let scores = head_scores(Tensor::from_data(data, &Device::flex()), &batch);
        assert!(
            scores.iter().all(|score| score.prefix_matching == 1.0),
            "{scores:?}"
        );
    }

    #[test]
    fn uniform_logits_lose_the_logarithm_of_the_vocabulary() {
        let batch = Sampler::new(5).batch(4);
        let score = score(
            Tensor::zeros([4, POSITIONS, VOCABULARY], &Device::flex()),
            &batch,
        );
        assert!((score.loss - (VOCABULARY as f64).ln()).abs() < 1e-5);
        assert!(score.accuracy < 0.2);
    }
}
