//! Arithmetic, slices and sums of tensors whose kind and rank are not in their type.
//!
//! Every method checks what burn would panic on, for what it is given comes from a file.

use std::ops::Range;

use burn::tensor::activation::softmax;
use burn::tensor::kind::Numeric;
use burn::tensor::{Bool, Float, Int, Shape, Tensor, TensorData};
use interloom_engine::Misfit;
use interloom_program::{Along, Arithmetic};

use crate::tensor::{AnyTensor, ElementKind, Kind, RANK_MAX, with_any, with_typed};

/// Runs a body on the typed tensor of numbers; a tensor of booleans has none.
macro_rules! with_numbers {
    ($any:expr, |$tensor:ident| $body:expr) => {{
        let any = $any;
        match any.kind() {
            Kind::Float => with_typed!(any, |$tensor: Tensor<_, Float>| Ok($body)),
            Kind::Int => with_typed!(any, |$tensor: Tensor<_, Int>| Ok($body)),
            Kind::Bool => Err(unlike("a tensor of numbers", &any)),
        }
    }};
}

impl AnyTensor {
    /// Combines two tensors of one kind of numbers, element by element, with broadcasting.
    ///
    /// Shapes are aligned at their last dimension; a dimension that is missing, or of length 1,
    /// goes with any length.
    pub(crate) fn combine(self, operation: Arithmetic, right: Self) -> Result<Self, Misfit> {
        if self.kind() != right.kind() || !goes_with(&self.shape(), &right.shape()) {
            return Err(Misfit {
                expected: format!("a tensor that goes with {self} element by element"),
                found: right.to_string(),
            });
        }
        self.check_divisible(operation)?;
        let rank = self.rank().max(right.rank());
        let (left, right) = (self.lifted(rank), right.lifted(rank));
        with_numbers!(left, |left| {
            let right = same_type(&left, right);
            Self::new(apply(operation, left, right))
        })
    }

    /// Combines each element with a number, which stands on the right.
    pub(crate) fn with_number(self, operation: Arithmetic, right: f64) -> Result<Self, Misfit> {
        self.check_number(operation, right)?;
        with_numbers!(self, |left| Self::new(match operation {
            Arithmetic::Add => left.add_scalar(right),
            Arithmetic::Sub => left.sub_scalar(right),
            Arithmetic::Mul => left.mul_scalar(right),
            Arithmetic::Div => left.div_scalar(right),
        }))
    }

    /// Combines a number with each element, which stands on the right.
    pub(crate) fn after_number(self, left: f64, operation: Arithmetic) -> Result<Self, Misfit> {
        self.check_number(operation, left)?;
        with_numbers!(self, |right| {
            let left = right.full_like(left);
            Self::new(apply(operation, left, right))
        })
    }

    /// Returns zeros, or booleans that are all false, of the same kind and shape.
    pub(crate) fn zeros_like(&self) -> Self {
        with_any!(self.clone(), |tensor| Self::new(tensor.zeros_like()))
    }

    /// Returns the sum of all elements, `[1]`.
    pub(crate) fn sum(&self) -> Result<Self, Misfit> {
        with_numbers!(self.clone(), |tensor| Self::new(tensor.sum()))
    }

    /// Returns the mean of all elements, `[1]`.
    pub(crate) fn mean(&self) -> Result<Self, Misfit> {
        if self.kind() != Kind::Float || self.shape().contains(&0) {
            return Err(unlike("floats to take the mean of", self));
        }
        with_numbers!(self.clone(), |tensor| Self::new(tensor.mean()))
    }

    /// Returns the absolute value of each element.
    pub(crate) fn abs(&self) -> Result<Self, Misfit> {
        with_numbers!(self.clone(), |tensor| Self::new(tensor.abs()))
    }

    /// Returns what an operation makes of the elements along a dimension, which the tensor has.
    pub(crate) fn along(&self, operation: Along, dimension: usize) -> Result<Self, Misfit> {
        if self.shape().contains(&0) || dimension >= self.rank() {
            return Err(unlike("a tensor without an empty dimension", self));
        }
        if let Along::Sum = operation {
            return with_numbers!(self.clone(), |tensor| Self::new(tensor.sum_dim(dimension)));
        }
        let floats = self.floats()?;
        with_typed!(floats, |tensor: Tensor<_, Float>| Ok(Self::new(
            match operation {
                Along::Softmax => softmax(tensor, dimension),
                Along::Sum | Along::Mean => tensor.mean_dim(dimension),
            }
        )))
    }

    /// Returns the product of two tensors of floats, whose last two dimensions are matrices; the
    /// others are broadcast.
    pub(crate) fn matmul(&self, right: &Self) -> Result<Self, Misfit> {
        let (left, right) = (self.floats()?, right.floats()?);
        let (own, other) = (left.shape(), right.shape());
        let misfit = || Misfit {
            expected: format!(
                "a tensor whose last two dimensions {left} can be multiplied by, none of them empty"
            ),
            found: right.to_string(),
        };
        let split = own.split_last_chunk().zip(other.split_last_chunk());
        let ((before, &[rows, inner]), (before_other, &[other_rows, columns])) =
            split.ok_or_else(misfit)?;
        let is_empty = own.contains(&0) || other.contains(&0);
        if inner != other_rows || is_empty || !goes_with(before, before_other) {
            return Err(misfit());
        }
        let rank = own.len().max(other.len());
        let (left, right) = (left.lifted(rank), right.lifted(rank));
        let pairs = left.shape().into_iter().zip(right.shape());
        let before: Vec<usize> = pairs.take(rank - 2).map(|(a, b)| a.max(b)).collect();
        let whole = |matrix: [usize; 2]| [&before[..], &matrix].concat();
        let (left_shape, right_shape) = (whole([rows, inner]), whole([inner, columns]));
        with_typed!(left, |left: Tensor<_, Float>| {
            let right = same_type(&left, right);
            // Not every backend broadcasts what is before the matrices.
            let (left, right) = (expanded(left, left_shape), expanded(right, right_shape));
            Ok(Self::new(left.matmul(right)))
        })
    }

    /// Returns the tensor itself if it is one of floats.
    fn floats(&self) -> Result<Self, Misfit> {
        if self.kind() == Kind::Float {
            Ok(self.clone())
        } else {
            Err(unlike("a tensor of floats", self))
        }
    }

    /// Returns a part: one range for each dimension, which lies in it.
    pub(crate) fn part(&self, ranges: &[Range<u64>]) -> Result<Self, Misfit> {
        let ranges = self.within(ranges)?;
        Ok(with_any!(self.clone(), |tensor| Self::new(
            tensor.slice(&ranges[..])
        )))
    }

    /// Returns what is at a place of dimension 0, without that dimension; of a vector, one element
    /// `[1]`.
    pub(crate) fn at(&self, place: u64) -> Result<Self, Misfit> {
        let shape = self.shape();
        if shape.first().is_none_or(|&length| place >= length as u64) {
            let expected = format!("a tensor with a place {place} in dimension 0");
            return Err(unlike(&expected, self));
        }
        let whole = shape.iter().map(|&length| 0..length as u64);
        let mut ranges: Vec<Range<u64>> = whole.collect();
        ranges[0] = place..place + 1;
        let part = self.part(&ranges)?;
        Ok(match self.kind() {
            Kind::Float => part.shallower::<Float>(),
            Kind::Int => part.shallower::<Int>(),
            Kind::Bool => part.shallower::<Bool>(),
        })
    }

    /// Returns the tensor with another part, for ranges as in [`part`](Self::part).
    pub(crate) fn with_part(&self, ranges: &[Range<u64>], part: &Self) -> Result<Self, Misfit> {
        let old = self.part(ranges)?;
        if !old.is_like(part) {
            return Err(Misfit {
                expected: old.to_string(),
                found: part.to_string(),
            });
        }
        if old.shape().contains(&0) {
            return Ok(self.clone());
        }
        let ranges = self.within(ranges)?;
        Ok(with_any!(self.clone(), |tensor| {
            let part = same_type(&tensor, part.clone());
            Self::new(tensor.slice_assign(&ranges[..], part))
        }))
    }

    /// Returns the indices of the largest elements of the last dimension at the last place of
    /// dimension 1; of several equal ones the first.
    pub(crate) fn argmax_last(&self) -> Result<Self, Misfit> {
        let shape = self.shape();
        if shape.len() < 2 || shape.contains(&0) || self.kind() == Kind::Bool {
            let expected = "numbers in two dimensions or more, none of them empty";
            return Err(unlike(expected, self));
        }
        let mut ranges: Vec<Range<u64>> = shape.iter().map(|&length| 0..length as u64).collect();
        ranges[1].start = ranges[1].end - 1;
        let numbers: Vec<f64> = self.part(&ranges)?.to_data().iter::<f64>().collect();
        // What remains once dimension 1 is gone: the last of it is searched.
        let kept: Vec<usize> = [&shape[..1], &shape[2..]].concat();
        let (&width, outer) = kept.split_last().expect("two dimensions or more");
        let indices: Vec<i64> = numbers.chunks(width).map(largest).collect();
        // Burn has no tensor without dimensions.
        let outer = if outer.is_empty() { &[1] } else { outer };
        Self::from_data(TensorData::new(indices, outer.to_vec()), &self.device())
    }

    /// Returns the element of a tensor that has only one.
    pub(crate) fn number(&self) -> Option<f64> {
        let is_one = self.kind() != Kind::Bool && self.shape().iter().product::<usize>() == 1;
        is_one.then(|| self.to_data().iter::<f64>().next())?
    }

    /// Checks that a number can take part in an operation.
    fn check_number(&self, operation: Arithmetic, number: f64) -> Result<(), Misfit> {
        self.check_divisible(operation)?;
        let limit = match self.dtype().size() {
            // Beyond this, not every integer is a number of its own.
            8 => 9_007_199_254_740_992.0,
            bytes => 2_f64.powi(8 * bytes as i32 - 1) - 1.0,
        };
        let is_exact = number.fract() == 0.0 && number.abs() <= limit;
        match self.kind() {
            Kind::Int if !is_exact => Err(Misfit {
                expected: format!("a whole number to go with {self}"),
                found: number.to_string(),
            }),
            _ => Ok(()),
        }
    }

    fn check_divisible(&self, operation: Arithmetic) -> Result<(), Misfit> {
        match (operation, self.kind()) {
            (Arithmetic::Div, Kind::Int) => Err(unlike("floats, which can be divided", self)),
            _ => Ok(()),
        }
    }

    fn within(&self, ranges: &[Range<u64>]) -> Result<Vec<Range<usize>>, Misfit> {
        let shape = self.shape();
        let is_in = |(range, &length): (&Range<u64>, &usize)| {
            range.start <= range.end && range.end <= length as u64
        };
        match ranges.len() == shape.len() && ranges.iter().zip(&shape).all(is_in) {
            // They lie within lengths that are `usize`.
            true => Ok(ranges
                .iter()
                .map(|range| range.start as usize..range.end as usize)
                .collect()),
            false => Err(Misfit {
                expected: format!("one range within each dimension of {self}"),
                found: format!("{ranges:?}"),
            }),
        }
    }

    /// Puts dimensions of length 1 in front until there are `rank`.
    fn lifted(self, rank: usize) -> Self {
        debug_assert!(rank <= RANK_MAX);
        let mut tensor = self;
        while tensor.rank() < rank {
            tensor = match tensor.kind() {
                Kind::Float => tensor.deeper::<Float>(),
                Kind::Int => tensor.deeper::<Int>(),
                Kind::Bool => unreachable!("only numbers are combined"),
            };
        }
        tensor
    }

    /// Leaves dimension 0 out, which has length 1; burn has no tensor without dimensions.
    fn shallower<K: ElementKind>(self) -> Self {
        macro_rules! of_rank {
            ($($rank:literal to $less:literal),*) => {
                match self.rank() {
                    $($rank => {
                        let tensor: Tensor<$rank, K> = self.assume_typed();
                        Self::new(tensor.squeeze_dim::<$less>(0))
                    })*
                    _ => self,
                }
            };
        }
        of_rank!(2 to 1, 3 to 2, 4 to 3, 5 to 4, 6 to 5, 7 to 6, 8 to 7)
    }

    fn deeper<K: ElementKind>(self) -> Self {
        macro_rules! of_rank {
            ($($rank:literal to $more:literal),*) => {
                match self.rank() {
                    $($rank => {
                        let tensor: Tensor<$rank, K> = self.assume_typed();
                        Self::new(tensor.unsqueeze_dim::<$more>(0))
                    })*
                    _ => unreachable!("less than the rank of another tensor"),
                }
            };
        }
        of_rank!(1 to 2, 2 to 3, 3 to 4, 4 to 5, 5 to 6, 6 to 7, 7 to 8)
    }
}

fn apply<const D: usize, K: Numeric>(
    operation: Arithmetic,
    left: Tensor<D, K>,
    right: Tensor<D, K>,
) -> Tensor<D, K> {
    match operation {
        Arithmetic::Add => left.add(right),
        Arithmetic::Sub => left.sub(right),
        Arithmetic::Mul => left.mul(right),
        Arithmetic::Div => left.div(right),
    }
}

fn expanded<const D: usize>(tensor: Tensor<D>, shape: Vec<usize>) -> Tensor<D> {
    tensor.expand(Shape::from(shape))
}

/// Returns whether two shapes can be broadcast to one.
fn goes_with(left: &[usize], right: &[usize]) -> bool {
    let mut pairs = left.iter().rev().zip(right.iter().rev());
    pairs.all(|(&left, &right)| left == right || left == 1 || right == 1)
}

fn same_type<const D: usize, K: ElementKind>(_: &Tensor<D, K>, other: AnyTensor) -> Tensor<D, K> {
    other.assume_typed()
}

fn largest(row: &[f64]) -> i64 {
    let mut best = 0;
    for (index, number) in row.iter().enumerate() {
        if *number > row[best] {
            best = index;
        }
    }
    best as i64
}

fn unlike(expected: &str, found: &AnyTensor) -> Misfit {
    Misfit {
        expected: expected.to_owned(),
        found: found.to_string(),
    }
}
