//! The arithmetic that expressions need of a value.

use std::ops::Range;

use interloom_engine::array::Array;
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

impl Operand for Array {
    fn shape(&self) -> Option<Vec<u64>> {
        Some(self.shape().to_vec())
    }

    fn combine(&self, operation: Arithmetic, right: &Self) -> Result<Self, Misfit> {
        match (self.data(), right.data()) {
            (_, &[number]) => self.with_number(operation, number),
            (&[number], _) => right.after_number(number, operation),
            (left, data) => {
                self.fits(right)?;
                let pairs = left.iter().zip(data);
                let data: Vec<f64> = pairs.map(|(&l, &r)| operation.apply(l, r)).collect();
                Ok(Self::new(self.shape(), &data))
            }
        }
    }

    fn with_number(&self, operation: Arithmetic, right: f64) -> Result<Self, Misfit> {
        Ok(Self::map(self, |left| operation.apply(left, right)))
    }

    fn after_number(&self, left: f64, operation: Arithmetic) -> Result<Self, Misfit> {
        Ok(Self::map(self, |right| operation.apply(left, right)))
    }

    fn zeros_like(&self) -> Result<Self, Misfit> {
        Ok(Self::map(self, |_| 0.0))
    }

    fn sum(&self) -> Result<Self, Misfit> {
        Ok(Self::scalar(self.data().iter().sum()))
    }

    fn mean(&self) -> Result<Self, Misfit> {
        let count = self.data().len();
        match count {
            0 => Err(unlike("elements to take the mean of", self)),
            _ => Ok(Self::scalar(self.data().iter().sum::<f64>() / count as f64)),
        }
    }

    fn abs(&self) -> Result<Self, Misfit> {
        Ok(Self::map(self, f64::abs))
    }

    fn along(&self, operation: Along, dimension: usize) -> Result<Self, Misfit> {
        let shape = self.shape();
        let made = along(operation, shape, dimension).ok_or_else(|| unlike(NOT_EMPTY, self))?;
        let length = shape[dimension] as usize;
        // How far apart neighbours along the dimension are.
        let stride = shape[dimension + 1..].iter().product::<u64>() as usize;
        let mut data = vec![0.0; made.iter().product::<u64>() as usize];
        let lines = (0..self.data().len() / length).map(|line| (line / stride, line % stride));
        for (line, (outer, inner)) in lines.enumerate() {
            let place = |step: usize| (outer * length + step) * stride + inner;
            let numbers = (0..length).map(|step| self.data()[place(step)]);
            match operation {
                Along::Sum => data[line] = numbers.sum(),
                Along::Mean => data[line] = numbers.sum::<f64>() / length as f64,
                Along::Softmax => {
                    let most = numbers.clone().fold(f64::NEG_INFINITY, f64::max);
                    let powers = numbers.map(|number| (number - most).exp());
                    let sum: f64 = powers.clone().sum();
                    for (step, power) in powers.enumerate() {
                        data[place(step)] = power / sum;
                    }
                }
            }
        }
        Ok(Self::new(&made, &data))
    }

    fn matmul(&self, right: &Self) -> Result<Self, Misfit> {
        let expected = || multiplied_by(&format!("f64{:?}", self.shape()));
        let shape =
            product(self.shape(), right.shape()).ok_or_else(|| unlike(&expected(), right))?;
        let (before, &[rows, columns]) = shape.split_last_chunk().expect("two dimensions or more");
        let inner = self.shape()[self.shape().len() - 1] as usize;
        let (rows, columns) = (rows as usize, columns as usize);
        let mut data = Vec::new();
        for batch in 0..before.iter().product::<u64>() as usize {
            let left = matrix(self, batch, before);
            let right = matrix(right, batch, before);
            for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |at| (row, at))) {
                let products =
                    (0..inner).map(|k| left[row * inner + k] * right[k * columns + column]);
                data.push(products.sum());
            }
        }
        Ok(Self::new(&shape, &data))
    }

    fn argmax_last(&self) -> Result<Self, Misfit> {
        let shape = self.shape();
        if shape.len() < 2 || shape.contains(&0) {
            return Err(unlike("two dimensions or more, none of them empty", self));
        }
        let mut ranges: Vec<Range<u64>> = shape.iter().map(|&length| 0..length).collect();
        ranges[1] = shape[1] - 1..shape[1];
        let last = self.slice(&ranges)?;
        // What remains once dimension 1 is gone: the last of it is searched.
        let kept: Vec<u64> = [&shape[..1], &shape[2..]].concat();
        let (&width, outer) = kept.split_last().expect("two dimensions or more");
        let rows = last.data().chunks(width as usize);
        let data: Vec<f64> = rows.map(|row| largest(row) as f64).collect();
        Ok(Self::new(outer, &data))
    }

    fn slice(&self, ranges: &[Range<u64>]) -> Result<Self, Misfit> {
        let shape: Vec<u64> = ranges.iter().map(|range| range.end - range.start).collect();
        let places = places(self.shape(), ranges).into_iter();
        let data: Vec<f64> = places.map(|place| self.data()[place]).collect();
        Ok(Self::new(&shape, &data))
    }

    fn at(&self, place: u64) -> Result<Self, Misfit> {
        match self.shape() {
            [length, rest @ ..] if place < *length => {
                let size = self.data().len() / *length as usize;
                let start = place as usize * size;
                Ok(Self::new(rest, &self.data()[start..start + size]))
            }
            _ => Err(unlike(
                &format!("a tensor with a place {place} in dimension 0"),
                self,
            )),
        }
    }

    fn patch(&self, ranges: &[Range<u64>], part: &Self) -> Result<Self, Misfit> {
        self.slice(ranges)?.fits(part)?;
        let mut data = self.data().to_vec();
        for (place, &number) in places(self.shape(), ranges).into_iter().zip(part.data()) {
            data[place] = number;
        }
        Ok(Self::new(self.shape(), &data))
    }

    fn tuple(items: Vec<Self>) -> Result<Self, Misfit> {
        Err(without_structure("a tuple", items.len()))
    }

    fn map(items: Vec<(String, Self)>) -> Result<Self, Misfit> {
        Err(without_structure("a map", items.len()))
    }

    fn item(&self, item: &Item) -> Result<Self, Misfit> {
        Err(unlike(
            &format!("a tuple, list or map with item {item}"),
            self,
        ))
    }

    fn with_item(&self, item: &Item, _: Self) -> Result<Self, Misfit> {
        self.item(item)
    }

    fn number(&self) -> Option<f64> {
        match self.data() {
            &[number] => Some(number),
            _ => None,
        }
    }

    fn leaves(&self) -> usize {
        1
    }
}

/// Returns the places of the elements of a part, in order.
fn places(shape: &[u64], ranges: &[Range<u64>]) -> Vec<usize> {
    let mut places = vec![0];
    for (&length, range) in shape.iter().zip(ranges) {
        let next = |&place: &usize| {
            range
                .clone()
                .map(move |i| place * length as usize + i as usize)
        };
        places = places.iter().flat_map(next).collect();
    }
    places
}

/// Returns the elements of one matrix of an array, which is broadcast to the dimensions `before`.
fn matrix<'a>(of: &'a Array, batch: usize, before: &[u64]) -> &'a [f64] {
    let (own, &[rows, columns]) = of
        .shape()
        .split_last_chunk()
        .expect("two dimensions or more");
    let (mut rest, mut place, mut stride) = (batch, 0, 1);
    let own = own.iter().rev().chain(std::iter::repeat(&1));
    for (&length, &own) in before.iter().rev().zip(own) {
        let index = rest % length as usize;
        rest /= length as usize;
        // A dimension of length 1 is the same for all.
        place += (index % own as usize) * stride;
        stride *= own as usize;
    }
    let size = (rows * columns) as usize;
    &of.data()[place * size..(place + 1) * size]
}

fn largest(row: &[f64]) -> usize {
    let mut best = 0;
    for (index, number) in row.iter().enumerate() {
        if *number > row[best] {
            best = index;
        }
    }
    best
}

fn unlike(expected: &str, found: &Array) -> Misfit {
    Misfit {
        expected: expected.to_owned(),
        found: format!("f64{:?}", found.shape()),
    }
}

fn without_structure(kind: &str, items: usize) -> Misfit {
    Misfit {
        expected: "an array, which has no structure".to_owned(),
        found: format!("{kind} of {items} items"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(shape: &[u64]) -> Array {
        let count = shape.iter().product::<u64>();
        let data: Vec<f64> = (0..count).map(|i| i as f64).collect();
        Array::new(shape, &data)
    }

    #[test]
    fn a_single_element_goes_with_every_element_on_either_side() {
        let (x, two) = (counted(&[2, 2]), Array::scalar(2.0));
        let minus = |l: &Array, r: &Array| l.combine(Arithmetic::Sub, r).unwrap();
        assert_eq!(
            minus(&x, &two),
            Array::new(&[2, 2], &[-2.0, -1.0, 0.0, 1.0])
        );
        assert_eq!(minus(&two, &x), Array::new(&[2, 2], &[2.0, 1.0, 0.0, -1.0]));
        assert_eq!(minus(&x, &x), x.zeros_like().unwrap());
        let misfit = x.combine(Arithmetic::Add, &counted(&[2])).unwrap_err();
        insta::assert_snapshot!(misfit, @"expected f64[2, 2], found f64[2]");
    }

    #[test]
    fn a_slice_and_a_patch_take_the_same_places() {
        let x = counted(&[2, 3, 2]);
        let ranges = [0..2, 1..3, 1..2];
        let part = x.slice(&ranges).unwrap();
        assert_eq!(part, Array::new(&[2, 2, 1], &[3.0, 5.0, 9.0, 11.0]));
        assert_eq!(x.patch(&ranges, &part).unwrap(), x);
        let zeros = x.patch(&ranges, &part.zeros_like().unwrap()).unwrap();
        assert_eq!(
            x.data().iter().sum::<f64>() - zeros.data().iter().sum::<f64>(),
            28.0
        );
        assert!(x.patch(&ranges, &counted(&[2, 2])).is_err());
        assert_eq!(
            x.slice(&[1..1, 0..3, 0..2]).unwrap(),
            Array::new(&[0, 3, 2], &[])
        );
    }

    #[test]
    fn the_largest_logit_of_the_last_token_is_the_first_of_equals() {
        let logits = Array::new(
            &[2, 2, 3],
            &[9., 0., 0., 1., 3., 3., 9., 0., 0., 5., 4., 3.],
        );
        assert_eq!(logits.argmax_last().unwrap(), Array::new(&[2], &[1.0, 0.0]));
        let flat = Array::new(&[2, 2], &[1.0, 2.0, 1.0, 7.0]);
        assert_eq!(flat.argmax_last().unwrap(), Array::scalar(1.0));
        let misfit = counted(&[3]).argmax_last().unwrap_err();
        insta::assert_snapshot!(misfit, @"expected two dimensions or more, none of them empty, found f64[3]");
        assert!(counted(&[2, 0]).argmax_last().is_err());
    }

    #[test]
    fn a_dimension_is_summed_averaged_or_made_to_sum_to_one() {
        let x = counted(&[2, 3]);
        let along = |operation, dimension| x.along(operation, dimension).unwrap();
        assert_eq!(along(Along::Sum, 0), Array::new(&[1, 3], &[3.0, 5.0, 7.0]));
        assert_eq!(along(Along::Mean, 1), Array::new(&[2, 1], &[1.0, 4.0]));
        let shares = along(Along::Softmax, 1);
        let sums = shares.along(Along::Sum, 1).unwrap();
        assert!(sums.data().iter().all(|sum| (sum - 1.0).abs() < 1e-12));
        let ratio = shares.data()[1] / shares.data()[0];
        assert!((ratio - 1f64.exp()).abs() < 1e-12);
        assert!(counted(&[0, 2]).along(Along::Sum, 1).is_err());
        let minus = x.with_number(Arithmetic::Sub, 2.0).unwrap();
        let expected = Array::new(&[2, 3], &[2.0, 1.0, 0.0, 1.0, 2.0, 3.0]);
        assert_eq!(minus.abs().unwrap(), expected);
    }

    #[test]
    fn matrices_are_multiplied_and_what_is_before_them_is_broadcast() {
        let (left, right) = (counted(&[2, 2, 3]), counted(&[3, 1]));
        let both = left.matmul(&right).unwrap();
        assert_eq!(both, Array::new(&[2, 2, 1], &[5.0, 14.0, 23.0, 32.0]));
        let rows = counted(&[2, 1, 1]).matmul(&counted(&[1, 1, 2])).unwrap();
        assert_eq!(rows, Array::new(&[2, 1, 2], &[0.0, 0.0, 0.0, 1.0]));
        let misfit = left.matmul(&counted(&[2, 3])).unwrap_err();
        insta::assert_snapshot!(misfit, @"expected a tensor whose last two dimensions f64[2, 2, 3] can be multiplied by, none of them empty, found f64[2, 3]");
        assert!(left.matmul(&counted(&[3])).is_err() && left.matmul(&counted(&[3, 0])).is_err());
        assert!(counted(&[3, 1, 2]).matmul(&counted(&[2, 2, 1])).is_err());
    }

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

    #[test]
    fn sums_and_means_are_of_all_elements() {
        assert_eq!(counted(&[2, 2]).sum().unwrap(), Array::scalar(6.0));
        assert_eq!(counted(&[2, 2]).mean().unwrap(), Array::scalar(1.5));
        assert!(counted(&[0, 2]).mean().is_err());
    }
}
