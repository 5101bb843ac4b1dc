//! The values that the interleaver moves, and the rows that it takes out of them.
//!
//! The engine never looks inside a value. All it needs is what a batch of several invokes requires:
//! take some rows, put some rows back, join parts. A tensor library is one implementation,
//! [`Array`](crate::array::Array) another.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::padding::{PositionLayout, View};

/// A value that passes a site: a tensor, or tuples, lists and maps of them.
///
/// Values are immutable to the engine. [`splice`](Value::splice) returns a new one, so that a value
/// that a mediator already holds never changes. Cloning must be cheap: it happens at every
/// delivery.
pub trait Value: Clone + 'static {
    /// Returns the rows of every tensor that `layout` says is batched; other tensors pass whole.
    fn rows(&self, rows: Rows, batch: u32, layout: &RowLayout) -> Self;

    /// Returns this value with `part` in place of those rows.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if `part` is not of the kind and shape that [`rows`](Value::rows) returns.
    fn splice(
        &self,
        rows: Rows,
        batch: u32,
        layout: &RowLayout,
        part: Self,
    ) -> Result<Self, Misfit>;

    /// Checks that `other` has the same structure, kinds and shapes.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if it has not.
    fn fits(&self, other: &Self) -> Result<(), Misfit>;

    /// Joins the rows of several invokes along dimension 0, in order; what is not a tensor is taken
    /// from the first.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if the parts differ in structure, kind, or in another dimension.
    fn join(parts: Vec<Self>) -> Result<Self, Misfit>;

    /// Returns of a value with the rows of a view the positions that are theirs: without those that
    /// are padding in all of them, and [marked](crate::Ragged) where they are in some.
    ///
    /// What has no positions is returned as it is, as by default.
    fn own(&self, view: View<'_>, positions: &PositionLayout) -> Self {
        let _ = (view, positions);
        self.clone()
    }

    /// Returns this value with `part` in place of what [`own`](Value::own) returns of it.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if `part` is not of that kind and shape.
    fn with_own(
        &self,
        view: View<'_>,
        positions: &PositionLayout,
        part: Self,
    ) -> Result<Self, Misfit> {
        self.own(view, positions).fits(&part)?;
        Ok(part)
    }

    /// Returns a value that has the view's own positions with the padding that the batch has.
    fn padded(&self, view: View<'_>, positions: &PositionLayout) -> Self {
        let _ = (view, positions);
        self.clone()
    }

    /// Returns this value with a hook in the graph behind it: a backward pass that comes to it
    /// reports the value's gradient as that of `ticket`, and goes on with the answer.
    ///
    /// What has no graph is returned as it is, as by default.
    fn hooked(&self, ticket: Ticket) -> Self {
        let _ = ticket;
        self.clone()
    }

    /// Checks that this is a loss: one element of a float kind.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if it is not; by default nothing is.
    fn is_loss(&self) -> Result<(), Misfit> {
        Err(Misfit {
            expected: "a value that can be differentiated".to_owned(),
            found: "one that cannot".to_owned(),
        })
    }

    /// Returns whether every tensor is batched under `layout`, so that mediators with different
    /// rows have nothing in common.
    ///
    /// Only explorations ask. Where the answer is no, as by default, two mediators that use a site
    /// are taken to use the same of it, and more orders of them are tried than there need be.
    fn splits(&self, batch: u32, layout: &RowLayout) -> bool {
        let _ = (batch, layout);
        false
    }
}

/// The number of a gradient hook in its run.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ticket(pub u64);

/// Consecutive rows of a batch.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Rows {
    /// The first row.
    pub start: u32,
    /// How many rows.
    pub count: u32,
}

impl Rows {
    /// Returns whether these are all rows of a batch of `batch`.
    pub const fn is_whole(self, batch: u32) -> bool {
        self.start == 0 && self.count == batch
    }

    /// Returns the row after the last.
    pub const fn end(self) -> u32 {
        self.start + self.count
    }
}

/// The tensors at a point that carry rows of the batch along dimension 0.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum RowLayout {
    /// Those whose dimension 0 equals the batch.
    #[default]
    ByShape,
    /// All of them, whatever their shape says.
    Batched,
    /// None of them, also where dimension 0 happens to equal the batch.
    Shared,
    /// As listed, for each tensor in the order of the value's structure; those not listed are not
    /// batched.
    Leaves(Vec<bool>),
}

impl RowLayout {
    /// Returns whether the `leaf`-th tensor of a value is batched, given its dimension 0 if it has
    /// one.
    pub fn is_batched(&self, leaf: usize, dimension_0: Option<u64>, batch: u32) -> bool {
        match self {
            Self::ByShape => dimension_0 == Some(u64::from(batch)),
            Self::Batched => dimension_0.is_some(),
            Self::Shared => false,
            Self::Leaves(leaves) => {
                dimension_0.is_some() && leaves.get(leaf).copied().unwrap_or(false)
            }
        }
    }
}

/// Two values that should have the same structure, kind and shape, and have not.
///
/// Both sides are texts, and the texts are the data. What the form of a value is only its kind of
/// [`Value`] knows, and the engine never looks inside one, so that there is no type in which it
/// could keep a form. What is expected is moreover not always a form: an operation may take any
/// tensor of two dimensions or more. So each kind of value writes what it is in one notation: a
/// tensor as element type and shape, all else in full, such as `(f32[1, 5, 576], {"k": -1})`.
/// Journals and comparisons take the texts as they are, for equality alone; nothing parses one.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Misfit {
    /// What was there, such as `f32[1, 5, 576]`.
    pub expected: String,
    /// What came instead.
    pub found: String,
}

impl std::error::Error for Misfit {}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r50_a_declared_layout_ignores_coincidence() {
        let cases = [
            (RowLayout::ByShape, 0, Some(4), true),
            (RowLayout::ByShape, 0, Some(5), false),
            (RowLayout::ByShape, 0, None, false),
            (RowLayout::Batched, 0, Some(5), true),
            (RowLayout::Batched, 0, None, false),
            (RowLayout::Shared, 0, Some(4), false),
            (RowLayout::Leaves(vec![false, true]), 0, Some(4), false),
            (RowLayout::Leaves(vec![false, true]), 1, Some(4), true),
            (RowLayout::Leaves(vec![false, true]), 2, Some(4), false),
        ];
        for (layout, leaf, dimension_0, batched) in cases {
            assert_eq!(
                layout.is_batched(leaf, dimension_0, 4),
                batched,
                "{layout:?}"
            );
        }
    }
}
