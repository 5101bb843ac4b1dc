//! Sequences of different length in one batch: which positions of a row are its own.
//!
//! A batch is one tensor, so that shorter sequences are padded. What a mediator sees are the
//! positions of its own rows: those that are padding in all of them are taken away, as if its
//! rows were a batch of their own (R52). Where its rows differ in length among themselves, the
//! tensor stays padded, and is marked as [`Ragged`], so that a program's positions can be counted
//! in each row's own tokens.

use std::ops::Range;
use std::sync::Arc;

use crate::value::{Misfit, Rows};

/// The side of a row on which its padding is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PaddingSide {
    /// In front of the row's own positions: for models that continue texts.
    Left,
    /// Behind them.
    Right,
}

impl PaddingSide {
    /// Returns the name in messages and journals.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Right => "right",
        }
    }
}

/// The padding of a batch: its side, and how many positions each row has of its own.
///
/// ```
/// use interloom_engine::{Padding, PaddingSide};
///
/// let padding = Padding::new(PaddingSide::Left, [3, 5]).unwrap();
/// assert_eq!((padding.length(), padding.own(0), padding.own(1)), (5, 2..5, 0..5));
/// assert_eq!(Padding::new(PaddingSide::Left, [5, 5]), None);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Padding {
    side: PaddingSide,
    lengths: Arc<[u32]>,
    length: u32,
}

impl Padding {
    /// Describes a batch of rows of these lengths; nothing if they are equally long, so that
    /// nothing is padded.
    pub fn new(side: PaddingSide, lengths: impl IntoIterator<Item = u32>) -> Option<Self> {
        let lengths: Arc<[u32]> = lengths.into_iter().collect();
        let length = lengths.iter().copied().max()?;
        let is_padded = lengths.iter().any(|&own| own < length);
        is_padded.then_some(Self {
            side,
            lengths,
            length,
        })
    }

    /// Returns the side of the padding.
    pub const fn side(&self) -> PaddingSide {
        self.side
    }

    /// Returns how many positions each row has of its own.
    pub fn lengths(&self) -> &[u32] {
        &self.lengths
    }

    /// Returns how many positions the padded rows have: those of the longest.
    pub const fn length(&self) -> u32 {
        self.length
    }

    /// Checks that it can be that of a batch: each row has a position of its own, and there are as
    /// many rows as mediators have together, if any has rows.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if it cannot.
    pub fn fits(&self, batch: u32) -> Result<(), Misfit> {
        let expected = if self.lengths.contains(&0) {
            "rows of one token or more".to_owned()
        } else if batch > 0 && self.lengths.len() != batch as usize {
            format!("{batch} rows, which the mediators have together")
        } else {
            return Ok(());
        };
        Err(Misfit {
            expected,
            found: Self::describe(Some(self)),
        })
    }

    /// Returns how many positions of each row are padding.
    pub fn pads(&self) -> impl Iterator<Item = u32> {
        self.lengths.iter().map(|own| self.length - own)
    }

    /// Returns the own positions of a row among the padded ones.
    ///
    /// # Panics
    ///
    /// Panics if there is no such row.
    pub fn own(&self, row: usize) -> Range<u32> {
        let own = self.lengths[row];
        match self.side {
            PaddingSide::Left => self.length - own..self.length,
            PaddingSide::Right => 0..own,
        }
    }

    /// Returns how the rows of a batch are padded, as messages say it.
    pub fn describe(padding: Option<&Self>) -> String {
        match padding {
            Some(Self { side, lengths, .. }) => {
                format!("rows of {lengths:?} tokens, padded on the {}", side.name())
            }
            None => "rows of one length".to_owned(),
        }
    }

    /// Returns what a mediator with these rows sees of it, or with all of them; nothing if it does
    /// not have such rows.
    pub(crate) fn view(&self, rows: Option<Rows>) -> Option<View<'_>> {
        let lengths = match rows {
            None => &self.lengths[..],
            Some(rows) => self.lengths.get(rows.start as usize..rows.end() as usize)?,
        };
        let longest = lengths.iter().copied().max()?;
        Some(View {
            padding: self,
            lengths,
            longest,
            is_prompt: false,
        })
    }
}

/// The rows of a padded batch that a mediator sees.
#[derive(Clone, Copy, Debug)]
pub struct View<'p> {
    padding: &'p Padding,
    lengths: &'p [u32],
    longest: u32,
    /// Whether what is widened has the positions of the prompts, even if that is one.
    is_prompt: bool,
}

impl View<'_> {
    /// Returns the same for a value that has the positions of the prompts, or may have those of a
    /// step after them.
    pub(crate) const fn of_prompt(self, is_prompt: bool) -> Self {
        Self { is_prompt, ..self }
    }

    /// Returns the length of a dimension of positions without what is padding in all rows.
    ///
    /// Shorter ones than the padded batch, such as the one new token of a step of a generation,
    /// have no padding.
    pub fn narrowed(&self, length: u64) -> u64 {
        match self.is_padded(length) {
            true => length - u64::from(self.padding.length - self.longest),
            false => length,
        }
    }

    /// Returns the length of such a dimension in the batch.
    ///
    /// What a view leaves of a padded dimension is at least its longest row.
    pub fn widened(&self, length: u64) -> u64 {
        let is_narrowed = length >= u64::from(self.longest) && (length > 1 || self.is_prompt);
        match is_narrowed {
            true => length + u64::from(self.padding.length - self.longest),
            false => length,
        }
    }

    /// Returns which of the positions of such a dimension are left.
    pub fn range(&self, length: u64) -> Range<u64> {
        let left = self.narrowed(length);
        match self.padding.side {
            PaddingSide::Left => length - left..length,
            PaddingSide::Right => 0..left,
        }
    }

    /// Returns for a tensor what of its dimensions of positions is left to be padding in some rows:
    /// nothing if nothing is, or if it does not have the mediator's rows.
    pub fn ragged(&self, shape: &[u64], dimensions: &[usize]) -> Option<Ragged> {
        let has_rows = shape.first() == Some(&(self.lengths.len() as u64));
        let is_even = self.lengths.iter().all(|&own| own == self.longest);
        if is_even || !has_rows {
            return None;
        }
        let pads: Arc<[u64]> = self
            .lengths
            .iter()
            .map(|own| u64::from(self.longest - own))
            .collect();
        let padded = dimensions
            .iter()
            .filter(|&&at| shape.get(at).is_some_and(|&length| self.is_padded(length)));
        Ragged::new(self.padding.side, padded.map(|&at| (at, pads.clone())))
    }

    fn is_padded(&self, length: u64) -> bool {
        length >= u64::from(self.padding.length)
    }
}

/// A mark of a tensor whose rows, along dimension 0, differ in how many of their positions are
/// padding.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ragged {
    side: PaddingSide,
    /// The dimensions of positions, with the number of each row's padded ones.
    dimensions: Vec<(usize, Arc<[u64]>)>,
}

impl Ragged {
    /// Marks dimensions with the numbers of padded positions of each row; nothing if there are
    /// none.
    pub fn new(
        side: PaddingSide,
        dimensions: impl IntoIterator<Item = (usize, Arc<[u64]>)>,
    ) -> Option<Self> {
        let is_padded = |(_, pads): &(usize, Arc<[u64]>)| pads.iter().any(|&pad| pad > 0);
        let dimensions: Vec<_> = dimensions.into_iter().filter(is_padded).collect();
        (!dimensions.is_empty()).then_some(Self { side, dimensions })
    }

    /// Returns the side of the padding.
    pub const fn side(&self) -> PaddingSide {
        self.side
    }

    /// Returns the marked dimensions, with the number of each row's padded positions.
    pub fn dimensions(&self) -> &[(usize, Arc<[u64]>)] {
        &self.dimensions
    }

    /// Returns how many positions of each row are padding in a dimension, if it is marked.
    pub fn pads(&self, dimension: usize) -> Option<&Arc<[u64]>> {
        let mut marked = self.dimensions.iter();
        let found = marked.find(|(at, _)| *at == dimension);
        found.map(|(_, pads)| pads)
    }

    /// Returns the own positions of a row in a dimension of this length.
    pub fn own(&self, dimension: usize, row: usize, length: u64) -> Range<u64> {
        let pad = self.pads(dimension).map_or(0, |pads| pads[row]);
        match self.side {
            PaddingSide::Left => pad..length,
            PaddingSide::Right => 0..length - pad,
        }
    }
}

/// Which dimensions of the tensors at a point are positions of a sequence, for each tensor in the
/// order of the value's structure; of those not listed as of the last one. None are by default.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PositionLayout(Vec<Vec<usize>>);

impl PositionLayout {
    /// No positions.
    pub const NONE: Self = Self(Vec::new());

    /// Lists the dimensions of each tensor.
    pub fn new(leaves: impl IntoIterator<Item = Vec<usize>>) -> Self {
        Self(leaves.into_iter().collect())
    }

    /// Iterates over the dimensions of each tensor that is listed.
    pub fn leaves(&self) -> impl Iterator<Item = &[usize]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// Returns the dimensions of positions of a value's `leaf`-th tensor.
    pub fn of(&self, leaf: usize) -> &[usize] {
        let found = self.0.get(leaf).or(self.0.last());
        found.map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(start: u32, count: u32) -> Option<Rows> {
        Some(Rows { start, count })
    }

    #[test]
    fn r52_a_view_has_the_positions_that_its_rows_would_have_alone() {
        for (side, range) in [(PaddingSide::Left, 2..5), (PaddingSide::Right, 0..3)] {
            let padding = Padding::new(side, [3, 5, 2]).unwrap();
            let view = padding.view(rows(0, 1)).unwrap();
            assert_eq!(view.range(5), range);
            assert_eq!(view.ragged(&[1, 3, 8], &[1]), None);
            // A step of a generation has one new position, and one more key.
            assert_eq!(view.range(1), 0..1);
        }
        let padding = Padding::new(PaddingSide::Left, [3, 5, 2]).unwrap();
        assert_eq!(padding.view(rows(0, 1)).unwrap().range(7), 2..7);
        assert!(padding.view(rows(2, 2)).is_none());
        assert_eq!(Padding::new(PaddingSide::Left, []), None);
    }

    #[test]
    fn a_padding_is_that_of_the_rows_of_mediators_each_with_a_token() {
        let padding = Padding::new(PaddingSide::Right, [3, 1]).unwrap();
        assert_eq!((padding.fits(0), padding.fits(2)), (Ok(()), Ok(())));
        let misfits = [
            padding.fits(3),
            Padding::new(PaddingSide::Left, [0, 2]).unwrap().fits(2),
        ];
        let misfits = misfits.map(|fits| {
            let Misfit { expected, found } = fits.unwrap_err();
            format!("expected {expected}, found {found}")
        });
        insta::assert_snapshot!(misfits.join("\n"), @"
        expected 3 rows, which the mediators have together, found rows of [3, 1] tokens, padded on the right
        expected rows of one token or more, found rows of [0, 2] tokens, padded on the left
        ");
    }

    #[test]
    fn rows_that_differ_among_themselves_are_marked() {
        let padding = Padding::new(PaddingSide::Left, [3, 5, 2]).unwrap();
        let whole = padding.view(None).unwrap();
        let ragged = whole.ragged(&[3, 4, 1, 6], &[2, 3]).unwrap();
        assert_eq!((ragged.pads(2), ragged.own(3, 2, 6)), (None, 3..6));
        let some = padding.view(rows(1, 2)).unwrap();
        let ragged = some.ragged(&[2, 5], &[1]).unwrap();
        assert_eq!(ragged.pads(1).unwrap()[..], [0, 3]);
        // Shared by the rows, or of another number of them.
        assert_eq!(some.ragged(&[1, 5], &[1]), None);
    }
}
