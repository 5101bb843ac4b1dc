//! Matrices in memory, and their product.
//!
//! The one file with unsafe code. burn's own product makes its result anew each time: memory that
//! is cleared, copied to where it is aligned, and, if the result is wanted in another layout,
//! copied once more; at the lengths of prompts that is a fifth of a forward pass. The library that
//! burn-flex multiplies with, [gemm], writes into memory that is there, but takes pointers. It is
//! given what burn-flex gives it, so that the bits are those of burn's product.

#![allow(unsafe_code)]

use std::ops::Range;

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
    let ([rows, inner], [others, columns]) = (a.shape, b.shape);
    assert_eq!(inner, others, "as many columns as rows");
    assert!(columns <= stride || rows <= 1, "rows that do not overlap");
    assert!(extent([rows, columns], [stride, 1]) <= out.len());
    let step = |stride: usize| isize::try_from(stride).expect("less than the memory");
    // SAFETY: `multiply` and `Matrix::new` have checked that every element that these shapes and
    // strides reach lies in its slice; no element of `out` is another one's, or shared, as it is
    // borrowed mutably. What was in `out` is not read.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            out.as_mut_ptr(),
            1,
            step(stride),
            false,
            a.elements.as_ptr(),
            step(a.strides[1]),
            step(a.strides[0]),
            b.elements.as_ptr(),
            step(b.strides[1]),
            step(b.strides[0]),
            0.0,
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
