//! Attention of which only the result is wanted: the pattern is made, used and forgotten, some
//! queries at a time.

use burn::tensor::{Bool, DType, Tensor, TensorData};
use pulp::NullaryFnOnce;

use super::activations::share_out;
use super::exponential::vectorised;
use super::held::Held;
use super::matrix::{Matrix, multiply, multiply_seen};
use super::{Division, least};

/// About how many queries are looked at together, so that their scores stay near the processor, and
/// few keys are multiplied with that only some of them see.
const TOGETHER: usize = 80;

/// How many queries take turns in the sums of their patterns.
const TURNS: usize = 4;

/// Computes `softmax(q · kᵀ / scale) · v`, `[batch, head, query, width]`, with scores that are
/// minus infinity where `hidden`, `[batch, head, query, key]`, says so.
///
/// The queries are `[batch, head, query, width]`. Of keys and values, `[batch, kv head, key,
/// width]`, as many query heads read one as there are more of them. The bits are those of burn's
/// products and [`softmax`](super::softmax) one after the other.
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
    let v = Held::floats(v)?;
    let is_finite = |index| v.matrix(&[index / groups, index % groups]).is_finite();
    let hidden = Held::flags(hidden)?;
    hidden.row(&[0, 0, 0])?;
    let held = Heads {
        q: Held::floats(q)?,
        k: Held::floats(k)?,
        is_finite: (0..batch * groups).map(is_finite).collect(),
        v,
        seen: Seen::new(hidden),
        groups,
        keys,
        width,
        scale: scale as f32,
    };
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
    /// Of the values of each group, whether none is infinite or no number.
    is_finite: Vec<bool>,
    seen: Seen,
    groups: usize,
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
        let seen = |query| self.seen.of(row, head, first + query);
        let seen: Vec<&[u8]> = (0..count).map(seen).collect();
        // What no query sees has no share, and needs no score. Products with less than eight
        // columns are computed in another way.
        let most = seen.iter().map(|hidden| hidden.len()).max();
        let most = most.unwrap_or(0).max(8).min(self.keys);
        scores.resize(count * self.keys, 0.0);
        let q = self.q.matrix(&[row, head]).rows(first..first + count);
        let k = self.k.matrix(&[row, group]).rows(0..most);
        multiply(scores, self.keys, q, k.transposed());
        let zeros = vectorised(Patterns {
            scores,
            seen: &seen,
            most,
            heads: self,
        });
        let v = self.v.matrix(&[row, group]);
        let is_of_zeros = zeros.iter().all(|zero| *zero == 0.0);
        if is_of_zeros && self.is_finite[row * self.groups + group] {
            let pattern = Matrix::new(scores, [count, self.keys], [self.keys, 1]);
            if multiply_seen(mixed, self.width, pattern, v, most) {
                return;
            }
        }
        let rows = scores.chunks_mut(self.keys).zip(&zeros);
        rows.for_each(|(row, zero)| row[most..].fill(*zero));
        let pattern = Matrix::new(scores, [count, self.keys], [self.keys, 1]);
        multiply(mixed, self.width, pattern, v);
    }
}

/// What the patterns of some queries are made of.
struct Patterns<'p> {
    /// One row for each query, of all keys.
    scores: &'p mut [f32],
    /// What is hidden from each query, up to the last key that it sees.
    seen: &'p [&'p [u8]],
    /// How many keys are seen by any of them.
    most: usize,
    heads: &'p Heads,
}

impl NullaryFnOnce for Patterns<'_> {
    type Output = Vec<f32>;

    /// Makes the patterns in place, up to the key `most`. Returns for each query what is its
    /// pattern of keys that it does not see: zero, but for one that sees nothing, whose pattern is
    /// no number.
    #[inline(always)]
    fn call(self) -> Vec<f32> {
        let mut zeros = Vec::with_capacity(self.seen.len() + TURNS);
        let rows = self.scores.chunks_mut(TURNS * self.heads.keys);
        for (rows, seen) in rows.zip(self.seen.chunks(TURNS)) {
            zeros.extend(self.heads.share_out(rows, seen, self.most));
        }
        zeros.truncate(self.seen.len());
        zeros
    }
}

impl Heads {
    /// Makes the patterns of up to [`TURNS`] queries of their scores, in the order of burn's
    /// softmax.
    #[inline(always)]
    fn share_out(&self, scores: &mut [f32], seen: &[&[u8]], most: usize) -> [f32; TURNS] {
        let (mut near, mut far) = <([&mut [f32]; TURNS], [&mut [f32]; TURNS])>::default();
        let rows = scores.chunks_mut(self.keys).zip(seen);
        for ((row, hidden), (near, far)) in rows.zip(near.iter_mut().zip(&mut far)) {
            (*near, *far) = row[..most].split_at_mut(hidden.len());
            for (score, hidden) in near.iter_mut().zip(*hidden) {
                let scaled = *score / self.scale;
                let is_seen = *hidden == 0;
                *score = if is_seen { scaled } else { f32::NEG_INFINITY };
            }
        }
        let shares = share_out(near);
        let mut zeros = [0.0; TURNS];
        for ((zero, share), far) in zeros.iter_mut().zip(shares).zip(far) {
            *zero = 0.0 * share;
            far.fill(*zero);
        }
        zeros
    }
}

/// What is hidden from each query.
struct Seen {
    hidden: Held<4>,
    /// Of each row, head and query, up to which key some are seen.
    ends: Vec<usize>,
    /// How many heads are told apart: one if what is hidden from one is hidden from all.
    heads: usize,
    queries: usize,
}

impl Seen {
    /// Looks for the last key that each query sees. The flags of a query lie in one.
    fn new(hidden: Held<4>) -> Self {
        let [batch, heads, queries, _] = hidden.shape();
        let heads = if hidden.is_shared(1) { 1 } else { heads };
        let of_query = |index: usize| {
            let (row, head) = (index / queries / heads, index / queries % heads);
            let flags = row_of(&hidden, [row, head, index % queries]);
            flags.iter().rposition(|flag| *flag == 0)
        };
        let ends = (0..batch * heads * queries).map(of_query);
        Self {
            ends: ends.map(|last| last.map_or(0, |last| last + 1)).collect(),
            hidden,
            heads,
            queries,
        }
    }

    /// Returns what is said of the keys of a query up to the last that is not hidden.
    fn of(&self, row: usize, head: usize, query: usize) -> &[u8] {
        let end = self.ends[(row * self.heads + head % self.heads) * self.queries + query];
        &row_of(&self.hidden, [row, head, query])[..end]
    }
}

fn row_of(hidden: &Held<4>, at: [usize; 3]) -> &[u8] {
    hidden.row(&at).expect("they lie in one")
}
