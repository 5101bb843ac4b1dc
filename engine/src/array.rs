//! A small array of numbers: a value without a tensor library.
//!
//! With it the engine, schedules and journals are tested, fuzzed and explored at hundreds of
//! thousands of runs a second.

use std::fmt;
use std::sync::Arc;

use crate::value::{Misfit, RowLayout, Rows, Value};

/// An immutable array of `f64`, row-major, shared by its clones.
#[derive(Clone, PartialEq)]
pub struct Array {
    shape: Arc<[u64]>,
    data: Arc<[f64]>,
}

impl Array {
    /// Makes an array.
    ///
    /// # Panics
    ///
    /// Panics if `data` does not have as many numbers as `shape` says.
    pub fn new(shape: &[u64], data: &[f64]) -> Self {
        assert_eq!(
            shape.iter().product::<u64>(),
            data.len() as u64,
            "shape {shape:?}"
        );
        Self {
            shape: shape.into(),
            data: data.into(),
        }
    }

    /// Makes an array without dimensions.
    pub fn scalar(value: f64) -> Self {
        Self::new(&[], &[value])
    }

    /// Returns the length of each dimension.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Returns the numbers, row-major.
    pub fn data(&self) -> &[f64] {
        &self.data
    }

    /// Returns an array of the same shape with `f` of each number.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self {
            shape: self.shape.clone(),
            data: self.data.iter().map(|&x| f(x)).collect(),
        }
    }

    /// Whether there are rows to take. Where rows are declared, a reshaping swap can leave fewer
    /// than the batch has; such an array passes whole. (A tensor of a burn model panics then,
    /// which its run reports as the model's failure.)
    fn is_batched(&self, batch: u32, layout: &RowLayout) -> bool {
        let length = self.shape.first().copied();
        layout.is_batched(0, length, batch) && length >= Some(u64::from(batch))
    }

    /// Returns the numbers of some rows, as a range of [`data`](Self::data).
    fn range(&self, rows: Rows) -> std::ops::Range<usize> {
        let width = self.shape[1..].iter().product::<u64>() as usize;
        rows.start as usize * width..rows.end() as usize * width
    }

    fn with_rows(&self, count: u64) -> Arc<[u64]> {
        let mut shape = self.shape.to_vec();
        shape[0] = count;
        shape.into()
    }
}

impl Value for Array {
    fn is_loss(&self) -> Result<(), Misfit> {
        match self.data.len() {
            1 => Ok(()),
            _ => Err(Misfit {
                expected: "one element".to_owned(),
                found: format!("{self:?}"),
            }),
        }
    }

    fn rows(&self, rows: Rows, batch: u32, layout: &RowLayout) -> Self {
        if !self.is_batched(batch, layout) {
            return self.clone();
        }
        Self {
            shape: self.with_rows(u64::from(rows.count)),
            data: self.data[self.range(rows)].into(),
        }
    }

    fn splice(
        &self,
        rows: Rows,
        batch: u32,
        layout: &RowLayout,
        part: Self,
    ) -> Result<Self, Misfit> {
        self.rows(rows, batch, layout).fits(&part)?;
        if !self.is_batched(batch, layout) {
            return Ok(part);
        }
        let mut data = self.data.to_vec();
        data[self.range(rows)].copy_from_slice(&part.data);
        Ok(Self {
            shape: self.shape.clone(),
            data: data.into(),
        })
    }

    fn splits(&self, batch: u32, layout: &RowLayout) -> bool {
        self.is_batched(batch, layout)
    }

    fn fits(&self, other: &Self) -> Result<(), Misfit> {
        match self.shape == other.shape {
            true => Ok(()),
            false => Err(misfit(self, other)),
        }
    }

    fn join(parts: Vec<Self>) -> Result<Self, Misfit> {
        let first = parts
            .first()
            .cloned()
            .unwrap_or_else(|| Self::new(&[0], &[]));
        let Some((_, inner)) = first.shape.split_first() else {
            return Ok(first);
        };
        if let Some(other) = parts.iter().find(|part| part.shape.get(1..) != Some(inner)) {
            return Err(misfit(&first, other));
        }
        let count = parts.iter().map(|part| part.shape[0]).sum();
        let data = parts.iter().flat_map(|part| part.data.iter().copied());
        Ok(Self {
            shape: first.with_rows(count),
            data: data.collect(),
        })
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "f64{:?} {:?}", self.shape, self.data)
    }
}

fn misfit(expected: &Array, found: &Array) -> Misfit {
    Misfit {
        expected: format!("f64{:?}", expected.shape),
        found: format!("f64{:?}", found.shape),
    }
}
