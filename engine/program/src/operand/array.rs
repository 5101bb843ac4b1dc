//! The arithmetic of arrays, written out: what the engine's own tests compute with.

use std::ops::Range;

use interloom_engine::array::Array;
use interloom_engine::{Misfit, Value};

use super::{Along, Arithmetic, NOT_EMPTY, Operand, along, multiplied_by, product};
use crate::expr::Item;

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
    fn sums_and_means_are_of_all_elements() {
        assert_eq!(counted(&[2, 2]).sum().unwrap(), Array::scalar(6.0));
        assert_eq!(counted(&[2, 2]).mean().unwrap(), Array::scalar(1.5));
        assert!(counted(&[0, 2]).mean().is_err());
    }
}
