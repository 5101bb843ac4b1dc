//! The arithmetic that expressions need of a value.

mod array;

use std::ops::Range;

use interloom_engine::{Fault, Misfit, Ragged, Value};
use serde::{Deserialize, Serialize};

use crate::expr::Item;
use crate::form::Form;

/// A value that programs can compute with.
///
/// A value that cannot do what is asked of it says so with a [`Misfit`]; no method panics on what a
/// program gives it.
pub trait Operand: Value {
    /// Returns the length of each dimension of a tensor; nothing for tuples, maps and whatever else
    /// is none.
    fn shape(&self) -> Option<Vec<u64>>;

    /// Returns the structure of this value, with the shapes of its tensors.
    fn form(&self) -> Form {
        self.shape().map_or(Form::Other, Form::Tensor)
    }

    /// Combines two tensors, element by element.
    ///
    /// Either may have a single element. A tensor library may broadcast more: shapes are then
    /// aligned at their last dimension, and a dimension that is missing or of length 1 goes
    /// with any length.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if the shapes do not go together or one is no tensor.
    fn combine(&self, operation: Arithmetic, right: &Self) -> Result<Self, Misfit>;

    /// Combines each element with a number, which stands on the right.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if this is no tensor.
    fn with_number(&self, operation: Arithmetic, right: f64) -> Result<Self, Misfit>;

    /// Combines a number with each element, which stands on the right.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if this is no tensor.
    fn after_number(&self, left: f64, operation: Arithmetic) -> Result<Self, Misfit>;

    /// Returns zeros of the same structure, kinds and shapes.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if there are no such zeros.
    fn zeros_like(&self) -> Result<Self, Misfit>;

    /// Returns the sum of all elements, as a tensor of one element.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if this is no tensor.
    fn sum(&self) -> Result<Self, Misfit>;

    /// Returns the mean of all elements, as a tensor of one element.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if this is no tensor, or has no elements.
    fn mean(&self) -> Result<Self, Misfit>;

    /// Returns the absolute value of each element.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if this is no tensor of numbers.
    fn abs(&self) -> Result<Self, Misfit>;

    /// Returns what an operation makes of the elements along a dimension, which the tensor has.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if this is no tensor, or one of its dimensions is empty.
    fn along(&self, operation: Along, dimension: usize) -> Result<Self, Misfit>;

    /// Returns the product of two tensors whose last two dimensions are matrices; the dimensions
    /// before are aligned as in [`combine`](Self::combine).
    ///
    /// # Errors
    ///
    /// [`Misfit`] if the shapes do not go together, one is empty, or one is no tensor.
    fn matmul(&self, right: &Self) -> Result<Self, Misfit>;

    /// Returns the indices of the largest elements of the last dimension, at the last place of
    /// dimension 1; of several equal ones the first.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if this is no tensor of two dimensions or more, or one of them is empty.
    fn argmax_last(&self) -> Result<Self, Misfit>;

    /// Returns a part of a tensor.
    ///
    /// There is one range for each dimension, and each lies in its dimension.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if this is no tensor.
    fn slice(&self, ranges: &[Range<u64>]) -> Result<Self, Misfit>;

    /// Returns what is at a place of dimension 0 of a tensor, without that dimension.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if this is no tensor, or does not have the place.
    fn at(&self, place: u64) -> Result<Self, Misfit>;

    /// Returns the tensor with another part, for ranges as in [`slice`](Self::slice).
    ///
    /// # Errors
    ///
    /// [`Misfit`] if `part` does not have the kind and shape of the slice.
    fn patch(&self, ranges: &[Range<u64>], part: &Self) -> Result<Self, Misfit>;

    /// Returns which positions of a tensor's rows are padding, if the rows differ in that.
    fn ragged(&self) -> Option<&Ragged> {
        None
    }

    /// Returns the tensor with another such mark; one that has no marks as it is.
    fn marked(self, ragged: Option<Ragged>) -> Self {
        let _ = ragged;
        self
    }

    /// Makes a plain number, to be a part of a tuple or a map; nothing if this kind of value has
    /// none.
    fn plain_number(_: f64) -> Option<Self> {
        None
    }

    /// Makes a text.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if this kind of value has no texts.
    fn text(text: &str) -> Result<Self, Misfit> {
        Err(Misfit {
            expected: "a value that can be a text".to_owned(),
            found: format!("{text:?}"),
        })
    }

    /// Makes a tuple.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if this kind of value has no tuples.
    fn tuple(items: Vec<Self>) -> Result<Self, Misfit>;

    /// Makes a list.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if this kind of value has no lists.
    fn list(items: Vec<Self>) -> Result<Self, Misfit> {
        Err(Misfit {
            expected: "a kind of value that has lists".to_owned(),
            found: format!("a list of {} items", items.len()),
        })
    }

    /// Returns the items of a tuple or a list; nothing if this is neither.
    fn items(&self) -> Option<Items<Self>> {
        None
    }

    /// Makes a map.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if this kind of value has no maps.
    fn map(items: Vec<(String, Self)>) -> Result<Self, Misfit>;

    /// Returns an item of a tuple, a list or a map.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if this is none, or does not have the item.
    fn item(&self, item: &Item) -> Result<Self, Misfit>;

    /// Returns the tuple, list or map with another item.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if this is none, or does not have the item.
    fn with_item(&self, item: &Item, with: Self) -> Result<Self, Misfit>;

    /// Returns the number of a tensor of one element.
    fn number(&self) -> Option<f64>;

    /// Returns how many tensors and other things without structure there are in this value; what is
    /// empty may count as one.
    fn leaves(&self) -> usize;
}

/// The items of a tuple or a list.
#[derive(Clone, Debug, PartialEq)]
pub enum Items<V> {
    /// Those of a tuple.
    Tuple(Vec<V>),
    /// Those of a list.
    List(Vec<V>),
}

/// The four operations on numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arithmetic {
    /// The sum.
    Add,
    /// The difference.
    Sub,
    /// The product.
    Mul,
    /// The quotient.
    Div,
}

impl Arithmetic {
    /// Applies the operation to two numbers, as IEEE 754 says.
    pub fn apply(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Sub => left - right,
            Self::Mul => left * right,
            Self::Div => left / right,
        }
    }

    /// Returns the operation's name as programs write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Add => "`add`",
            Self::Sub => "`sub`",
            Self::Mul => "`mul`",
            Self::Div => "`div`",
        }
    }
}

/// The operations along one dimension.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Along {
    /// The sum; the dimension stays, with length 1.
    Sum,
    /// The mean; the dimension stays, with length 1.
    Mean,
    /// Positive numbers that sum to 1, in the ratios of the elements' exponentials.
    Softmax,
}

impl Along {
    /// Returns the operation's name as programs write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sum => "`sum`",
            Self::Mean => "`mean`",
            Self::Softmax => "`softmax`",
        }
    }
}

/// What the operations along a dimension, and matrix products, need.
pub(crate) const NOT_EMPTY: &str = "a tensor without an empty dimension";

/// Returns the dimension of so many that is meant, from the first; a negative one counts from the
/// end.
pub(crate) fn resolve_dimension(dimension: i32, rank: usize) -> Option<usize> {
    let place = usize::try_from(dimension.unsigned_abs()).ok()?;
    let place = if dimension < 0 {
        rank.checked_sub(place)?
    } else {
        place
    };
    (place < rank).then_some(place)
}

/// Returns the shape that an operation along a dimension makes; nothing if a dimension is empty.
pub(crate) fn along(operation: Along, shape: &[u64], dimension: usize) -> Option<Vec<u64>> {
    let mut made = shape.to_vec();
    match operation {
        Along::Sum | Along::Mean => made[dimension] = 1,
        Along::Softmax => {}
    }
    (!shape.contains(&0)).then_some(made)
}

/// Returns the shape of a matrix product; nothing if the shapes do not go together, or a dimension
/// is empty.
pub(crate) fn product(left: &[u64], right: &[u64]) -> Option<Vec<u64>> {
    let (before_left, &[rows, inner]) = left.split_last_chunk()?;
    let (before_right, &[other, columns]) = right.split_last_chunk()?;
    if inner != other || left.contains(&0) || right.contains(&0) {
        return None;
    }
    let mut shape = aligned(before_left, before_right)?;
    shape.extend([rows, columns]);
    Some(shape)
}

/// Says what the right-hand side of a matrix product must be.
pub(crate) fn multiplied_by(left: &str) -> String {
    format!("a tensor whose last two dimensions {left} can be multiplied by, none of them empty")
}

/// Returns the shape that two tensors have together, element by element.
pub(crate) fn broadcast(left: &[u64], right: &[u64]) -> Option<Vec<u64>> {
    let (long, short) = match left.len() >= right.len() {
        true => (left, right),
        false => (right, left),
    };
    // A single element goes with everything, whatever its rank.
    if short.iter().product::<u64>() == 1 {
        return Some(long.to_vec());
    }
    aligned(left, right)
}

/// Returns the shape of two tensors that are aligned at the last dimension, where 1 goes with any
/// length.
fn aligned(left: &[u64], right: &[u64]) -> Option<Vec<u64>> {
    let (long, short) = match left.len() >= right.len() {
        true => (left, right),
        false => (right, left),
    };
    let mut shape = long.to_vec();
    let offset = long.len() - short.len();
    for (own, &other) in shape[offset..].iter_mut().zip(short) {
        *own = match (*own, other) {
            (own, other) if own == other || other == 1 => own,
            (1, other) => other,
            _ => return None,
        };
    }
    Some(shape)
}

/// The modules of a model, to be called on values outside their place in it.
pub trait Modules<V> {
    /// Computes the module at `path`; no site is passed.
    ///
    /// # Errors
    ///
    /// A fault if there is no such module, or it cannot take this value.
    fn call(&self, path: &str, input: V) -> Result<V, Fault>;

    /// Returns the shape of what [`call`](Self::call) makes of a tensor of this shape; `None` if
    /// that is not known before it is computed.
    ///
    /// # Errors
    ///
    /// A fault if the module can take no tensor of this shape.
    fn shape(&self, path: &str, input: &[u64]) -> Option<Result<Vec<u64>, Fault>> {
        let _ = (path, input);
        None
    }
}

impl<V, F: Fn(&str, V) -> Result<V, Fault>> Modules<V> for F {
    fn call(&self, path: &str, input: V) -> Result<V, Fault> {
        self(path, input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_are_counted_from_either_end() {
        let cases = [
            (0, Some(0)),
            (2, Some(2)),
            (3, None),
            (-1, Some(2)),
            (-3, Some(0)),
            (-4, None),
        ];
        for (dimension, place) in cases {
            assert_eq!(resolve_dimension(dimension, 3), place, "{dimension}");
        }
        assert_eq!(resolve_dimension(i32::MIN, 3), None);
    }
}
