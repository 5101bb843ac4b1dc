//! Attention scores: products of queries and keys, with what models add to them, and what of them
//! is masked.

use burn::tensor::{Bool, Device, Tensor, TensorData};
use half::bf16;
use interloom_engine::Padding;

use super::cache::is_padding;
use super::config::{Alibi, AttentionConfig};

/// What a masked attention score is set to, after whatever mediators have made of it.
///
/// No score is below it, however small a mediator makes those that are seen: what is masked has no
/// share of the pattern. A row of which all that is seen is as small is a row of NaN.
pub(super) const MASKED: f64 = f64::NEG_INFINITY;

/// Returns which keys `queries` queries do not see, `[1, 1, query, key]`: those in the future, and
/// those out of their window. The queries are the last positions of the keys.
pub(super) fn hidden(
    queries: usize,
    keys: usize,
    window: Option<usize>,
    device: &Device,
) -> Tensor<4, Bool> {
    let offset = (keys - queries) as i64;
    let future = Tensor::<2, Bool>::tril_mask([queries, keys], offset, device);
    let hidden = match window.filter(|&window| window < keys) {
        Some(window) => {
            let last = offset - window as i64;
            future.bool_or(Tensor::<2, Bool>::triu_mask(
                [queries, keys],
                last + 1,
                device,
            ))
        }
        None => future,
    };
    hidden.unsqueeze::<4>()
}

/// Adds to what is hidden, `[1, 1, query, key]`, the padding of each row, for `count` queries after
/// `start` other positions.
///
/// A query that is padding itself sees itself, for a row that sees nothing has no pattern.
pub(crate) fn with_padding(
    hidden: Tensor<4, Bool>,
    padding: &Padding,
    start: usize,
    count: usize,
    device: &Device,
) -> Tensor<4, Bool> {
    let keys = start + count;
    let padded = is_padding(padding, keys, device).unsqueeze_dims::<4>(&[1, 2]);
    let rows = padding.lengths().len();
    let others = Tensor::<2, Bool>::diag_mask([count, keys], start as i64, device);
    let others = others.unsqueeze::<4>().expand([rows, 1, count, keys]);
    let padded = padded.expand([rows, 1, count, keys]).bool_and(others);
    hidden.expand([rows, 1, count, keys]).bool_or(padded)
}

/// What models add to scores and do with them before the softmax.
#[derive(Clone, Debug)]
pub(super) struct ScoreBias {
    /// What each head's score is lowered by for each position; of [`Alibi::Rounded`] as it is
    /// rounded.
    slopes: Option<(Alibi, Vec<f32>)>,
    cap: Option<f64>,
}

impl ScoreBias {
    pub(super) fn new(config: &AttentionConfig) -> Self {
        Self {
            slopes: config.alibi.map(|alibi| (alibi, slopes(config.heads))),
            cap: config.cap,
        }
    }

    /// Returns whether scores stay as they are.
    pub(super) const fn is_none(&self) -> bool {
        self.slopes.is_none() && self.cap.is_none()
    }

    /// Returns what becomes of scores that were divided by `divisor`; `numbers` are those of the
    /// keys of each row, where rows are padded.
    pub(super) fn pass(
        &self,
        scores: Tensor<4>,
        divisor: f64,
        numbers: Option<&[Vec<usize>]>,
    ) -> Tensor<4> {
        let scores = match self.cap {
            Some(cap) => (scores / cap).tanh() * cap,
            None => scores,
        };
        match &self.slopes {
            Some((alibi, slopes)) => {
                let keys = scores.dims()[3];
                let even = [(0..keys).collect()];
                let rows = numbers.unwrap_or(&even);
                let mut values = Vec::with_capacity(rows.len() * slopes.len() * keys);
                for row in rows {
                    for &slope in slopes {
                        values.extend(row.iter().map(|&key| alibi.bias(slope, key, divisor)));
                    }
                }
                let data = TensorData::new(values, [rows.len(), slopes.len(), 1, keys]);
                let device = scores.device();
                scores + Tensor::from_data(data, &device)
            }
            None => scores,
        }
    }
}

impl Alibi {
    fn bias(self, slope: f32, key: usize, divisor: f64) -> f32 {
        match self {
            Self::Plain => slope * key as f32,
            Self::Rounded => {
                let rounded = |x: f32| bf16::from_f32(x).to_f32();
                let bias = rounded(rounded(slope) * rounded(key as f32));
                (f64::from(bias) / divisor) as f32
            }
        }
    }
}

/// Returns the slopes of alibi: powers of two for a power of two of heads, and those in between for
/// the heads beyond it.
fn slopes(heads: usize) -> Vec<f32> {
    let even = 1 << heads.checked_ilog2().unwrap_or(0);
    let slope = |of: usize, number: usize| (-8.0 * number as f64 / of as f64).exp2() as f32;
    let first = (1..=even).map(|number| slope(even, number));
    let between = (0..heads - even).map(|number| slope(2 * even, 2 * number + 1));
    first.chain(between).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_of_other_numbers_of_heads_lie_between_powers_of_two() {
        assert_eq!(slopes(4), [0.25, 0.0625, 0.015_625, 0.003_906_25]);
        assert_eq!(slopes(2), [0.0625, 0.003_906_25]);
        assert_eq!(slopes(6)[4..], [0.5, 0.125]);
        assert_eq!(slopes(1), [0.003_906_25]);
    }

    #[test]
    fn rounded_slopes_are_multiplied_in_bfloat16() {
        // The nearest bfloat16 of 0.7 is 0.69921875, and its product with 5 rounds to 3.5.
        assert_eq!(Alibi::Rounded.bias(0.7, 5, 1.0), 3.5);
        assert_eq!(Alibi::Rounded.bias(0.7, 5, 2.0), 1.75);
        assert_eq!(Alibi::Plain.bias(0.5, 3, 2.0), 1.5);
        // 257 is no bfloat16.
        assert_eq!(Alibi::Rounded.bias(1.0, 257, 1.0), 256.0);
    }

    #[test]
    fn a_window_hides_what_is_further_back() {
        let rows = |queries, keys, window| {
            let hidden = hidden(queries, keys, window, &Device::flex()).into_data();
            let hidden: Vec<bool> = hidden.iter::<bool>().collect();
            let row = |row: &[bool]| row.iter().map(|&is| if is { '.' } else { 'x' }).collect();
            hidden.chunks(keys).map(row).collect::<Vec<String>>()
        };
        assert_eq!(rows(3, 3, None), ["x..", "xx.", "xxx"]);
        assert_eq!(rows(4, 4, Some(2)), ["x...", "xx..", ".xx.", "..xx"]);
        assert_eq!(rows(2, 5, Some(3)), [".xxx.", "..xxx"]);
        assert_eq!(rows(2, 3, Some(9)), ["xx.", "xxx"]);
    }
}
