//! Matrices in memory, and their product.
//!
//! The one file with unsafe code. burn's own product makes its result anew each time: memory that
//! is cleared, copied to where it is aligned, and, if the result is wanted in another layout,
//! copied once more; at the lengths of prompts that is a fifth of a forward pass. The library that
//! burn-flex multiplies with, [gemm], writes into memory that is there, but takes pointers. It is
//! given what burn-flex gives it, so that the bits are those of burn's product.

#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::OnceLock;

/// A matrix in memory: rows and columns that lie so many elements apart.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'m> {
    elements: &'m [f32],
    shape: [usize; 2],
    strides: [usize; 2],
}

impl<'m> Matrix<'m> {
    /// Makes a matrix that begins with the first of the elements.
    ///
    /// # Panics
    ///
    /// Panics if there are too few elements.
    pub(super) fn new(elements: &'m [f32], shape: [usize; 2], strides: [usize; 2]) -> Self {
        assert!(
            extent(shape, strides) <= elements.len(),
            "{shape:?} elements that lie {strides:?} apart among {}",
            elements.len()
        );
        Self {
            elements,
            shape,
            strides,
        }
    }

    /// Returns the matrix with rows for columns.
    pub(super) const fn transposed(self) -> Self {
        let ([rows, columns], [down, across]) = (self.shape, self.strides);
        Self {
            elements: self.elements,
            shape: [columns, rows],
            strides: [across, down],
        }
    }

    /// Returns some of the rows.
    ///
    /// # Panics
    ///
    /// Panics if there are not as many.
    pub(super) fn rows(self, range: Range<usize>) -> Self {
        let ([rows, columns], [down, _]) = (self.shape, self.strides);
        assert!(range.end <= rows, "rows {range:?} of {rows}");
        let shape = [range.len(), columns];
        let start = if extent(shape, self.strides) == 0 {
            0
        } else {
            range.start * down
        };
        Self::new(&self.elements[start..], shape, self.strides)
    }

    /// Returns some of the columns.
    ///
    /// # Panics
    ///
    /// Panics if there are not as many.
    pub(super) fn columns(self, range: Range<usize>) -> Self {
        self.transposed().rows(range).transposed()
    }

    /// Returns whether no element is infinite or no number.
    pub(super) fn is_finite(self) -> bool {
        let ([rows, columns], [down, across]) = (self.shape, self.strides);
        let at = |row, column| self.elements[row * down + column * across];
        (0..rows).all(|row| (0..columns).all(|column| at(row, column).is_finite()))
    }
}

/// Returns how many products the matrix kernel adds to each other before it adds them to what is in
/// memory, at most. A sum of more has parts that are as long as each other, and shorter than that,
/// so that its last bits depend on it: it comes from the size of the processor's first cache.
///
/// It is measured, of sums of 8,192 products, in less than a millisecond at the first call.
pub fn products_per_sum() -> usize {
    const INNER: usize = 8_192;
    // Of numbers this large each second one is no float: what is added to it one by one is lost.
    const LARGE: f32 = 16_777_216.0;
    static MEASURED: OnceLock<usize> = OnceLock::new();
    *MEASURED.get_or_init(|| {
        // More rows and columns than the kernel has other ways to.
        let [rows, columns] = [66, 8];
        let mut a = vec![1.0; rows * INNER];
        a[0] = LARGE;
        let b = vec![1.0; INNER * columns];
        let mut out = vec![0.0; rows * columns];
        let a = Matrix::new(&a, [rows, INNER], [INNER, 1]);
        let b = Matrix::new(&b, [INNER, columns], [columns, 1]);
        multiply(&mut out, columns, a, b);
        // What is left are the other sums.
        INNER.saturating_sub((out[0] - LARGE) as usize)
    })
}

/// Returns how many products of a sum of `inner` the kernel adds to each other before it adds them
/// to what is in memory.
fn part_of_sum(inner: usize) -> usize {
    let parts = inner.div_ceil(products_per_sum().max(1));
    inner.div_ceil(parts.max(1))
}

/// Returns how many elements a matrix reaches over.
fn extent([rows, columns]: [usize; 2], [down, across]: [usize; 2]) -> usize {
    if rows == 0 || columns == 0 {
        return 0;
    }
    let reach = |count: usize, stride: usize| (count - 1).checked_mul(stride);
    let last = reach(rows, down).zip(reach(columns, across));
    let last = last.and_then(|(down, across)| down.checked_add(across));
    last.and_then(|last| last.checked_add(1))
        .expect("less than the memory")
}

/// Writes the product of two matrices, row by row, over the first elements of `out`; its rows lie
/// `stride` elements apart.
///
/// # Panics
///
/// Panics if the matrices do not fit, or `out` is too small.
pub(super) fn multiply(out: &mut [f32], stride: usize, a: Matrix<'_>, b: Matrix<'_>) {
    add_product(out, stride, a, b, false);
}

/// Writes the [product](multiply) of two matrices of which the columns of `a` from `seen` on are
/// zero and the rows of `b` finite, without these columns; at least eight are seen.
///
/// Returns whether the bits are those of the whole product. They are not known to be if an element
/// is zero: what is added to a negative zero may be a positive one.
///
/// # Panics
///
/// Panics if the matrices do not fit, or `out` is too small.
pub(super) fn multiply_seen(
    out: &mut [f32],
    stride: usize,
    a: Matrix<'_>,
    b: Matrix<'_>,
    seen: usize,
) -> bool {
    let inner = a.shape[1];
    let part = part_of_sum(inner);
    for start in (0..seen).step_by(part) {
        let range = start..seen.max(start + 8).min(start + part).min(inner);
        let (a, b) = (a.columns(range.clone()), b.rows(range));
        add_product(out, stride, a, b, start > 0);
    }
    !out.contains(&0.0)
}

/// Writes the product of two matrices over what is in `out`, or adds it.
fn add_product(out: &mut [f32], stride: usize, a: Matrix<'_>, b: Matrix<'_>, is_added: bool) {
    let ([rows, inner], [others, columns]) = (a.shape, b.shape);
    assert_eq!(inner, others, "as many columns as rows");
    assert!(columns <= stride || rows <= 1, "rows that do not overlap");
    assert!(extent([rows, columns], [stride, 1]) <= out.len());
    let step = |stride: usize| isize::try_from(stride).expect("less than the memory");
    // SAFETY: `add_product` and `Matrix::new` have checked that every element that these shapes and
    // strides reach lies in its slice; no element of `out` is another one's, or shared, as it is
    // borrowed mutably. What was in `out` is a number, and not read if the product is not added.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            out.as_mut_ptr(),
            1,
            step(stride),
            is_added,
            a.elements.as_ptr(),
            step(a.strides[1]),
            step(a.strides[0]),
            b.elements.as_ptr(),
            step(b.strides[1]),
            step(b.strides[0]),
            if is_added { 1.0 } else { 0.0 },
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Writes the transpose of a matrix of so many rows and columns, which lie one after the other,
/// into rows that lie `stride` elements apart.
pub(super) fn transpose(out: &mut [f32], stride: usize, matrix: &[f32], rows: usize) {
    // As many as are in a line of the cache.
    const TILE: usize = 16;
    let Some(columns) = matrix.len().checked_div(rows) else {
        return;
    };
    for first in (0..rows).step_by(TILE) {
        let tile = first..rows.min(first + TILE);
        for column in 0..columns {
            let out = &mut out[column * stride..][tile.clone()];
            for (out, row) in out.iter_mut().zip(tile.clone()) {
                *out = matrix[row * columns + column];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(count: usize) -> Vec<f32> {
        (0..count).map(|index| index as f32).collect()
    }

    #[test]
    fn a_product_leaves_what_is_between_rows() {
        let (a, b) = (counted(6), counted(6));
        let (a, b) = (
            Matrix::new(&a, [2, 3], [3, 1]),
            Matrix::new(&b, [3, 2], [2, 1]),
        );
        let mut out = [-1.0; 5];
        multiply(&mut out, 3, a, b);
        assert_eq!(out, [10.0, 13.0, -1.0, 28.0, 40.0]);
        multiply(&mut out, 3, b.transposed(), a.transposed());
        assert_eq!(out, [10.0, 28.0, -1.0, 13.0, 40.0]);
        multiply(&mut out, 3, a.rows(1..2), b);
        assert_eq!(out[..2], [28.0, 40.0]);
    }

    /// Numbers of which no sum is exact.
    fn uneven(count: usize) -> Vec<f32> {
        let number = |index: usize| (index as f32 * 0.713).sin() + 0.01;
        (0..count).map(number).collect()
    }

    #[test]
    fn a_product_of_what_is_seen_has_the_bits_of_the_whole() {
        let [rows, columns] = [70, 32];
        for inner in [9, 512, 700, 1_024, 1_500, 2_600] {
            for seen in [8, 200, 511, 513, 700, 1_025, 1_499, 2_600] {
                let seen = seen.min(inner);
                let mut a = uneven(rows * inner);
                for row in a.chunks_mut(inner) {
                    row[seen..].fill(0.0);
                }
                let b = uneven(inner * columns);
                let a = Matrix::new(&a, [rows, inner], [inner, 1]);
                let b = Matrix::new(&b, [inner, columns], [columns, 1]);
                let (mut whole, mut found) = (vec![0.0; rows * columns], vec![1.0; rows * columns]);
                multiply(&mut whole, columns, a, b);
                assert!(multiply_seen(&mut found, columns, a, b, seen));
                assert!(whole == found, "{seen} of {inner}");
            }
        }
    }

    #[test]
    fn a_zero_is_not_known_to_be_that_of_the_whole() {
        let zeros = vec![0.0; 70 * 20];
        let a = Matrix::new(&zeros, [70, 20], [20, 1]);
        let b = Matrix::new(&zeros, [20, 20], [20, 1]);
        assert!(!multiply_seen(&mut vec![1.0; 1_400], 20, a, b, 8));
    }

    #[test]
    fn sums_have_the_length_that_the_kernel_gives_them() {
        let length = products_per_sum();
        // It is at least that, and made of a power of two for a cache of any size.
        assert!(length >= 512 && length.is_power_of_two(), "{length}");
        assert_eq!(part_of_sum(length), length);
        assert_eq!(part_of_sum(length + 1), length / 2 + 1);
    }

    #[test]
    fn a_transpose_is_one_at_any_size() {
        for [rows, columns] in [[0, 0], [1, 7], [7, 1], [16, 16], [17, 33], [40, 5]] {
            let matrix = counted(rows * columns);
            let stride = rows + 2;
            let mut out = vec![-1.0; columns * stride];
            transpose(&mut out, stride, &matrix, rows);
            for (index, found) in out.iter().enumerate() {
                let (column, row) = (index / stride, index % stride);
                let expected = match row < rows {
                    true => matrix[row * columns + column],
                    false => -1.0,
                };
                assert_eq!(*found, expected);
            }
        }
    }

    #[test]
    #[should_panic(expected = "[3, 3] elements that lie [3, 1] apart among 8")]
    fn a_matrix_does_not_reach_further_than_its_elements() {
        Matrix::new(&counted(8), [3, 3], [3, 1]);
    }

    #[test]
    #[should_panic(expected = "rows 1..4 of 3")]
    fn rows_are_those_of_the_matrix() {
        Matrix::new(&counted(9), [3, 3], [3, 1]).rows(1..4);
    }

    #[test]
    #[should_panic(expected = "assertion failed")]
    fn a_product_is_not_written_beyond_its_memory() {
        let elements = counted(9);
        let matrix = Matrix::new(&elements, [3, 3], [3, 1]);
        multiply(&mut [0.0; 8], 3, matrix, matrix);
    }
}
