//! Attention of which only the result is wanted: the pattern is made, used and forgotten, some
//! queries at a time.

use burn::tensor::{Bool, DType, Tensor, TensorData};

use super::held::Held;
use super::matrix::{Matrix, multiply};
use super::{Division, least};

/// About how many queries are looked at together, so that their scores stay near the processor, and
/// few keys are multiplied with that only some of them see.
const TOGETHER: usize = 80;

/// Computes `softmax(q · kᵀ / scale) · v`, `[batch, head, query, width]`, with scores that are
/// minus infinity where `hidden`, `[batch, head, query, key]`, says so.
///
/// The queries are `[batch, head, query, width]`. Of keys and values, `[batch, kv head, key,
/// width]`, as many query heads read one as there are more of them. The bits are those of burn's
/// operations one after the other.
///
/// Returns nothing if this would not pay, for few queries, or is not on a CPU that keeps no graphs.
///
/// # Panics
///
/// Panics if the shapes do not fit.
pub fn attention(
    q: &Tensor<4>,
    [k, v]: [&Tensor<4>; 2],
    hidden: &Tensor<4, Bool>,
    scale: f64,
) -> Option<Tensor<4>> {
    let [batch, heads, queries, _] = q.dims();
    let [_, groups, keys, width] = v.dims();
    // On a device that keeps graphs burn's softmax takes other steps, with other bits, also of what
    // belongs to no graph.
    if [q, k, v].iter().any(|tensor| tensor.is_autodiff()) {
        return None;
    }
    // As few as that are multiplied in another way if they are alone.
    let least = least(width).max(65);
    // So are columns of which there is one.
    if queries < least || batch == 0 || heads == 0 || keys == 0 || width < 2 {
        return None;
    }
    let held = Heads {
        q: Held::floats(q)?,
        k: Held::floats(k)?,
        v: Held::floats(v)?,
        hidden: Held::flags(hidden)?,
        keys,
        width,
        scale: scale as f32,
    };
    held.hidden.row(&[0, 0, 0])?;
    let together = Division::of(queries, queries / TOGETHER, least);
    let mut mixed = vec![0.0; batch * heads * queries * width];
    Division::each(batch * heads).of_elements(&mut mixed, |range, mixed| {
        let mut scores = Vec::new();
        for (number, mut rest) in range.zip(mixed.chunks_mut(queries * width)) {
            let (row, head) = (number / heads, number % heads);
            for range in together.ranges() {
                let (mixed, later) = rest.split_at_mut(range.len() * width);
                rest = later;
                let of = [row, head, head * groups / heads];
                held.mix(&mut scores, of, range.start, mixed);
            }
        }
    });
    let data = TensorData::new(mixed, [batch, heads, queries, width]);
    Some(Tensor::from_data(data, (&q.device(), DType::F32)))
}

/// The heads of an attention.
struct Heads {
    q: Held<4>,
    k: Held<4>,
    v: Held<4>,
    hidden: Held<4>,
    keys: usize,
    width: usize,
    scale: f32,
}

impl Heads {
    /// Computes what is mixed for the queries from `first` on, as many as there is room for.
    fn mix(
        &self,
        scores: &mut Vec<f32>,
        [row, head, group]: [usize; 3],
        first: usize,
        mixed: &mut [f32],
    ) {
        let count = mixed.len() / self.width;
        let seen = |query: usize| {
            let hidden = self.hidden.row(&[row, head, first + query]);
            up_to_seen(hidden.expect("they lie in one"))
        };
        let seen: Vec<&[u8]> = (0..count).map(seen).collect();
        // What no query sees has no share, and needs no score. Products with less than eight
        // columns are computed in another way.
        let most = seen.iter().map(|hidden| hidden.len()).max();
        let most = most.unwrap_or(0).max(8).min(self.keys);
        scores.resize(count * self.keys, 0.0);
        let q = self.q.matrix(&[row, head]).rows(first..first + count);
        let k = self.k.matrix(&[row, group]).rows(0..most);
        multiply(scores, self.keys, q, k.transposed());
        for (scores, hidden) in scores.chunks_mut(self.keys).zip(seen) {
            self.share_out(scores, hidden);
        }
        let pattern = Matrix::new(scores, [count, self.keys], [self.keys, 1]);
        multiply(mixed, self.width, pattern, self.v.matrix(&[row, group]));
    }

    /// Makes the pattern of a query of its scores, in the order of burn's softmax; of keys beyond
    /// those that `hidden` speaks of it sees none.
    fn share_out(&self, scores: &mut [f32], hidden: &[u8]) {
        let (near, far) = scores.split_at_mut(hidden.len());
        for (score, hidden) in near.iter_mut().zip(hidden) {
            *score = if *hidden == 0 {
                *score / self.scale
            } else {
                f32::NEG_INFINITY
            };
        }
        let most = greatest(near);
        for score in near.iter_mut() {
            *score = (*score - most).exp();
        }
        // Apart from the calls, around which the sum would be written to memory.
        let sum = near.iter().fold(0.0, |sum, score| sum + score);
        let share = 1.0 / sum;
        for score in near {
            *score *= share;
        }
        // Zero, but for a query that sees nothing, whose pattern is no number.
        far.fill(0.0 * share);
    }
}

/// Returns what is said of the keys up to the last that is not hidden.
fn up_to_seen(hidden: &[u8]) -> &[u8] {
    let last = hidden.iter().rposition(|flag| *flag == 0);
    &hidden[..last.map_or(0, |last| last + 1)]
}

/// Returns the greatest of some numbers, in lanes that a processor compares at once.
fn greatest(numbers: &[f32]) -> f32 {
    const LANES: usize = 16;
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = numbers.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (lane, number) in lanes.iter_mut().zip(chunk) {
            *lane = greater(*lane, *number);
        }
    }
    let both = lanes.iter().chain(rest).copied();
    both.fold(f32::NEG_INFINITY, greater)
}
