//! Work on several threads, with the bits of one.
//!
//! burn-flex computes on the thread that calls it. Its feature `rayon` would spread some of its
//! operations over threads, but all at once, and sums of large tensors among them, which then
//! depend on the threads ([`arithmetic`](crate::arithmetic)). So the work is divided here, where it
//! is known which parts of a result have nothing to do with each other: each is computed as burn's
//! own operation would compute it of the whole, and the parts are joined in order. Whether there
//! are one or eight threads, the bits are those of the operation that is not divided; the tests
//! hold this against it.
//!
//! The threads are those of [rayon]'s pool: as many as the machine has cores, as
//! `RAYON_NUM_THREADS` says, or as the pool has in which this is called.

mod activations;
mod attention;
mod exponential;
mod held;
mod matrix;

use std::hint::black_box;
use std::ops::Range;
use std::sync::Once;

use burn::tensor::{DType, Device, Tensor, TensorData};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

pub use self::activations::{silu, softmax};
pub use self::attention::attention;
use self::held::Held;
pub use self::matrix::products_per_sum;
use self::matrix::{multiply, transpose};
use crate::caught::{Catching, panics_are_caught};

/// The number of multiplications from which work is worth more than one thread.
const WORTHWHILE: usize = 1 << 19;

/// How many multiplications a thread does in the time that it takes to compute one element from
/// another, with an exponential function perhaps.
pub const ELEMENT_COST: usize = 8;

/// The rows up to which a product is computed as its transpose: the time goes into reading the
/// weight, which is then read once and in its own order.
const FEW_ROWS: usize = 128;

/// Returns whether the elements of a tensor may be computed in parts: it is of the CPU, of 32-bit
/// floats, and no graph needs to know how it came about.
pub fn is_divisible<const D: usize>(tensor: &Tensor<D>) -> bool {
    let is_on_cpu = tensor.device().without_autodiff() == Device::flex();
    is_on_cpu && tensor.dtype() == DType::F32 && !tensor.is_tracked()
}

/// Returns whether what is computed of several tensors may be computed in parts: each
/// [may be](is_divisible), and either all of them or none are of a device that keeps graphs. What
/// burn makes of both kinds is of the first, and is rounded otherwise in some operations.
pub fn are_divisible<const D: usize>(tensors: &[&Tensor<D>]) -> bool {
    let keep_graphs = |tensor: &&Tensor<D>| tensor.is_autodiff();
    let are_alike = tensors.iter().all(keep_graphs) || !tensors.iter().any(keep_graphs);
    are_alike && tensors.iter().all(|tensor| is_divisible(tensor))
}

/// Returns how many threads work on these inputs is worth that takes as long as so many
/// multiplications: one, too, if it cannot be divided.
pub fn threads_for<const D: usize>(multiplications: usize, inputs: &[&Tensor<D>]) -> usize {
    if multiplications >= WORTHWHILE && are_divisible(inputs) {
        rayon::current_num_threads()
    } else {
        1
    }
}

/// Returns the product of `rows`, `[row, in]`, and the transpose of `weight`, `[out, in]`: `[row,
/// out]`.
///
/// # Panics
///
/// Panics if the inputs differ in number.
pub fn linear(rows: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    keep_memory();
    let ([count, inputs], [outputs, _]) = (rows.dims(), weight.dims());
    let is_wide = count > FEW_ROWS;
    let held = Held::both(&rows, &weight);
    let Some((x, weights)) = &held else {
        return if is_wide {
            rows.matmul(weight.transpose())
        } else {
            weight.matmul(rows.transpose()).transpose()
        };
    };
    let threads = threads_for(count * inputs * outputs, &[&rows, &weight]);
    let (x, weights) = (x.matrix(&[]), weights.matrix(&[]));
    let mut elements = vec![0.0; count * outputs];
    if is_wide {
        let parts = Division::of(count, threads, least(outputs));
        parts.of_elements(&mut elements, |range, place| {
            multiply(place, outputs, x.rows(range), weights.transposed());
        });
    } else if count == 1 {
        let parts = Division::of(outputs, threads, least(1));
        parts.of_elements(&mut elements, |range, place| {
            multiply(place, 1, weights.rows(range), x.transposed());
        });
    } else {
        let parts = Division::of(outputs, threads, least(count));
        let mut columns = vec![0.0; count * outputs];
        parts.of_elements(&mut columns, |range, place| {
            multiply(place, count, weights.rows(range), x.transposed());
        });
        transpose(&mut elements, outputs, &columns, outputs);
    }
    let data = TensorData::new(elements, [count, outputs]);
    Tensor::from_data(data, (&rows.device(), DType::F32))
}

/// Lets the allocator keep memory for the next tensors, up to some 60 MiB, instead of giving it
/// back to the kernel, which clears each page before it comes again: that is a twentieth of a long
/// prompt.
///
/// glibc gives back what is more than twice the largest block of its own that was ever freed, of
/// at most 32 MiB. So one is freed that was never touched. Other allocators do not notice.
fn keep_memory() {
    const BLOCK: usize = 31 << 20;
    static FREED: Once = Once::new();
    FREED.call_once(|| drop(black_box(vec![0_u8; BLOCK])));
}

/// Returns the least number of rows that a part of a product with `columns` columns may have.
///
/// The kernel has other ways, with sums in another order, to products of up to 64 × 64 and of up to
/// 256 elements. No part is as small as that if the whole is not.
const fn least(columns: usize) -> usize {
    if columns > 64 { 8 } else { 65 + 256 / columns }
}

/// Computes a function of each row of a tensor, `[_, row, width]`, that is as large as the row and
/// of it alone.
pub fn by_row(x: Tensor<3>, each: impl Fn(Tensor<3>) -> Tensor<3> + Sync) -> Tensor<3> {
    let shape @ [batch, positions, width] = x.dims();
    let rows = batch * positions;
    let threads = threads_for(rows * width * ELEMENT_COST, &[&x]);
    if threads == 1 {
        return each(x);
    }
    let device = x.device();
    let x = x.reshape([1, rows, width]);
    in_parts(shape, Division::of(rows, threads, 1), &device, |range| {
        each(x.clone().narrow(1, range.start, range.len()))
    })
}

/// Returns the elements of a tensor that [is divisible](is_divisible), row by row.
///
/// # Panics
///
/// Panics if it is not.
pub fn floats<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    into_floats(tensor.clone())
}

fn into_floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let floats = tensor.into_data().try_into_vec::<f32>();
    floats.expect("32-bit floats")
}

/// Computes each row of a tensor, its last dimension, in place: `each` is given the row's number
/// and its elements. The tensor is copied only if something else holds it.
///
/// # Errors
///
/// The tensor as it is, if its elements [cannot be computed in parts](is_divisible).
#[expect(clippy::result_large_err, reason = "both are a tensor")]
pub fn in_place<const D: usize>(
    x: Tensor<D>,
    each: impl Fn(usize, &mut [f32]) + Sync,
) -> Result<Tensor<D>, Tensor<D>> {
    let shape = x.dims();
    let (count, width) = (shape.iter().product::<usize>(), shape[D - 1]);
    if !is_divisible(&x) || count == 0 {
        return Err(x);
    }
    let device = x.device();
    let threads = threads_for(count * ELEMENT_COST, &[&x]);
    let mut elements = into_floats(x);
    Division::of(count / width, threads, 1).of_elements(&mut elements, |range, place| {
        for (row, place) in range.zip(place.chunks_mut(width)) {
            each(row, place);
        }
    });
    let data = TensorData::new(elements, shape);
    Ok(Tensor::from_data(data, (&device, DType::F32)))
}

/// A division of a result into parts of whole pieces, which are of one size, such as rows or heads.
#[derive(Clone, Copy, Debug)]
pub struct Division {
    pieces: usize,
    parts: usize,
}

impl Division {
    /// Divides into up to `parts` parts of so many pieces, none of which has less than `least`.
    pub const fn of(pieces: usize, parts: usize, least: usize) -> Self {
        let most = pieces / least;
        let parts = if parts < most { parts } else { most };
        let parts = if parts == 0 { 1 } else { parts };
        Self { pieces, parts }
    }

    /// Divides into one part for each piece.
    pub const fn each(pieces: usize) -> Self {
        Self::of(pieces, pieces, 1)
    }

    fn ranges(self) -> impl Iterator<Item = Range<usize>> {
        let start = move |part| part * self.pieces / self.parts;
        (0..self.parts).map(move |part| start(part)..start(part + 1))
    }

    /// Computes the elements of each part, in place, on several threads.
    fn of_elements(self, elements: &mut [f32], part: impl Fn(Range<usize>, &mut [f32]) + Sync) {
        if self.parts == 1 {
            return part(0..self.pieces, elements);
        }
        let size = elements.len() / self.pieces;
        let mut rest = elements;
        let mut places = Vec::new();
        for range in self.ranges() {
            let (place, later) = rest.split_at_mut(range.len() * size);
            places.push((range, place));
            rest = later;
        }
        // A panic comes back to this thread, but is shown, or not, by the one it happens on.
        let is_caught = panics_are_caught();
        places.into_par_iter().for_each(|(range, place)| {
            let _catching = is_caught.then(Catching::begin);
            part(range, place);
        });
    }
}

/// Computes a tensor of `shape` in parts, on several threads, and joins them in order.
///
/// `part` returns the elements of a range of pieces. They have to be those that it would compute of
/// all pieces, wherever these are divided. It must pass no hook: those are of one thread.
///
/// # Panics
///
/// Panics if `part` does, or returns another number of elements.
pub fn in_parts<const D: usize>(
    shape: [usize; D],
    parts: Division,
    device: &Device,
    part: impl Fn(Range<usize>) -> Tensor<D> + Sync,
) -> Tensor<D> {
    if parts.parts == 1 {
        return part(0..parts.pieces);
    }
    let mut elements = vec![0.0_f32; shape.iter().product()];
    parts.of_elements(&mut elements, |range, place| {
        let data = part(range).into_data();
        place.copy_from_slice(data.as_slice().expect("32-bit floats"));
    });
    Tensor::from_data(TensorData::new(elements, shape), (device, DType::F32))
}
