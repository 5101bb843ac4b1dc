//! The place of tokens in their sequences.

use burn::tensor::{Device, Int, Tensor, TensorData};
use interloom_engine::Padding;

/// The place of the tokens of one call in their sequences: how many come before, and what of them
/// is padding.
pub(crate) struct Place<'p> {
    padding: Option<&'p Padding>,
    pub(super) batch: usize,
    /// How many tokens of each sequence come before, with its padding.
    pub(super) start: usize,
    pub(super) count: usize,
}

impl<'p> Place<'p> {
    pub(crate) const fn new(
        padding: Option<&'p Padding>,
        batch: usize,
        start: usize,
        count: usize,
    ) -> Self {
        Self {
            padding,
            batch,
            start,
            count,
        }
    }

    pub(super) const fn padding(&self) -> Option<&'p Padding> {
        self.padding
    }

    /// Returns for each row how many positions it has of its own so far, and the numbers of those
    /// at hand among its own; 0 for padding. One entry stands for all rows where none is padded.
    pub(super) fn rows(&self) -> Vec<(usize, Vec<usize>)> {
        let Self { start, count, .. } = *self;
        let Some(padding) = self.padding else {
            return vec![(start + count, (start..start + count).collect())];
        };
        let of_row = |row: usize| {
            let (own, pad) = (padding.own(row), padding.length() - padding.lengths()[row]);
            let first = own.start as usize;
            let number = |at: usize| at.saturating_sub(first);
            let length = (start + count).saturating_sub(pad as usize);
            (length, (start..start + count).map(number).collect())
        };
        (0..self.batch).map(of_row).collect()
    }

    /// Returns the numbers of the positions, `[batch, position]`, or `[1, position]` where no row
    /// is padded.
    pub(crate) fn numbers(&self, device: &Device) -> Tensor<2, Int> {
        if self.padding.is_none() {
            let numbers = self.start as i64..(self.start + self.count) as i64;
            return Tensor::<1, Int>::arange(numbers, device).unsqueeze();
        }
        let rows = self.rows();
        let shape = [rows.len(), self.count];
        let numbers = rows.into_iter().flat_map(|(_, numbers)| numbers);
        let numbers: Vec<i64> = numbers.map(|number| number as i64).collect();
        Tensor::from_data(TensorData::new(numbers, shape), device)
    }
}
