//! Nonlinearities that need exponentials, in place.
//!
//! They have the bits of burn's wherever the platform's C library is glibc, and these bits
//! everywhere.

use burn::tensor::Tensor;
use pulp::NullaryFnOnce;

use super::exponential::{LANES, exponentials, vectorised};
use super::in_place;

/// Computes the softmax of each row of a tensor, its last dimension, in the order of burn's.
///
/// # Errors
///
/// The tensor as it is, if its elements [cannot be computed in parts](super::is_divisible), or if
/// it is of a device that keeps graphs, on which burn's softmax takes other steps, with other bits.
#[expect(clippy::result_large_err, reason = "both are a tensor")]
pub fn softmax<const D: usize>(scores: Tensor<D>) -> Result<Tensor<D>, Tensor<D>> {
    if scores.is_autodiff() {
        return Err(scores);
    }
    in_place(scores, |_, row| vectorised(Softmax(row)))
}

/// Computes `x * sigmoid(x)` of each element, in the steps of burn's.
///
/// # Errors
///
/// As for [`softmax`].
#[expect(clippy::result_large_err, reason = "both are a tensor")]
pub fn silu<const D: usize>(x: Tensor<D>) -> Result<Tensor<D>, Tensor<D>> {
    if x.is_autodiff() {
        return Err(x);
    }
    in_place(x, |_, row| vectorised(Silu(row)))
}

struct Softmax<'r>(&'r mut [f32]);

impl NullaryFnOnce for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        share_out([self.0]);
    }
}

struct Silu<'r>(&'r mut [f32]);

impl NullaryFnOnce for Silu<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (chunks, rest) = self.0.as_chunks_mut::<LANES>();
        for chunk in chunks {
            *chunk = gated(*chunk);
        }
        for x in rest {
            [*x] = gated([*x]);
        }
    }
}

/// Computes `x / (1 + exp(-x))` of each number as burn's sigmoid and a product do, but without a
/// branch on the sign, which a processor cannot foresee.
#[inline(always)]
fn gated<const N: usize>(mut numbers: [f32; N]) -> [f32; N] {
    // Zero takes either way, so that the two conditions are not one, of which a compiler would make
    // a branch; a number that is none keeps its bits.
    let mut negative = numbers;
    for x in &mut negative {
        *x = if *x > 0.0 { -*x } else { *x };
    }
    let small = exponentials(negative);
    for (x, small) in numbers.iter_mut().zip(small) {
        let share = if *x >= 0.0 { 1.0 } else { small };
        *x *= share / (1.0 + small);
    }
    numbers
}

/// Replaces scores by their shares, row by row, and returns what each exponential was multiplied
/// with: no finite number if the shares are none.
#[inline(always)]
pub(super) fn share_out<const ROWS: usize>(mut rows: [&mut [f32]; ROWS]) -> [f32; ROWS] {
    for row in &mut rows {
        let most = greatest(row);
        let (chunks, rest) = row.as_chunks_mut::<LANES>();
        for chunk in chunks {
            for score in &mut *chunk {
                *score -= most;
            }
            *chunk = exponentials(*chunk);
        }
        for score in rest {
            [*score] = exponentials([*score - most]);
        }
    }
    let shares = sums(rows.each_ref().map(|row| &**row)).map(|sum| 1.0 / sum);
    for (row, share) in rows.into_iter().zip(shares) {
        for score in row {
            *score *= share;
        }
    }
    shares
}

/// Returns the sum of each row, element after element. The rows take turns: in a single one each
/// addition waits for the last.
#[inline(always)]
fn sums<const ROWS: usize>(rows: [&[f32]; ROWS]) -> [f32; ROWS] {
    let shared = rows.iter().map(|row| row.len()).min().unwrap_or(0);
    let mut sums = [0.0; ROWS];
    let near = rows.map(|row| &row[..shared]);
    for at in 0..shared {
        for (sum, row) in sums.iter_mut().zip(near) {
            *sum += row[at];
        }
    }
    for (sum, row) in sums.iter_mut().zip(rows) {
        *sum = row[shared..].iter().fold(*sum, |sum, share| sum + share);
    }
    sums
}

/// Returns the greatest of some numbers, in lanes that a processor compares at once.
#[inline(always)]
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
