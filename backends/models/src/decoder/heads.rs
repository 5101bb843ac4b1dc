//! What attention heads compute, each for itself: on several threads, with the bits of one.

use burn::tensor::{Tensor, activation};
use interloom_backends::parallel::{self, Division, ELEMENT_COST, in_parts, threads_for};

/// Returns the scores `q · kᵀ / scale`, `[batch, head, query, key]`.
pub(super) fn scores(q: Tensor<4>, k: Tensor<4>, scale: f64) -> Tensor<4> {
    let ([batch, heads, queries, width], [_, _, keys, _]) = (q.dims(), k.dims());
    let shape = [batch, heads, queries, keys];
    by_head([q, k], shape, width, |[q, k]| {
        q.matmul(k.swap_dims(2, 3)) / scale
    })
}

/// Returns the softmax of `[batch, head, query, key]` scores along the keys.
pub(super) fn softmax(scores: Tensor<4>) -> Tensor<4> {
    let shape = scores.dims();
    parallel::softmax(scores).unwrap_or_else(|scores| {
        by_head([scores], shape, ELEMENT_COST, |[scores]| {
            activation::softmax(scores, 3)
        })
    })
}

/// Returns the product of each head's two matrices.
pub(super) fn matmul(pattern: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    let ([batch, heads, queries, keys], [_, _, _, width]) = (pattern.dims(), v.dims());
    let shape = [batch, heads, queries, width];
    by_head([pattern, v], shape, keys, |[pattern, v]| pattern.matmul(v))
}

/// Computes a function of the heads of tensors, `[batch, head, _, _]`, for each head alone.
///
/// `cost` is that of one element of what comes out, in multiplications.
fn by_head<const N: usize>(
    inputs: [Tensor<4>; N],
    shape: [usize; 4],
    cost: usize,
    each: impl Fn([Tensor<4>; N]) -> Tensor<4> + Sync,
) -> Tensor<4> {
    let [batch, heads, ..] = shape;
    let work = shape.iter().product::<usize>() * cost;
    if threads_for(work, &inputs.each_ref()) == 1 {
        return each(inputs);
    }
    let device = inputs[0].device();
    in_parts(shape, Division::each(batch * heads), &device, |range| {
        let (row, head) = (range.start / heads, range.start % heads);
        let of_head = |input: &Tensor<4>| input.clone().narrow(0, row, 1).narrow(1, head, 1);
        each(inputs.each_ref().map(of_head))
    })
}
