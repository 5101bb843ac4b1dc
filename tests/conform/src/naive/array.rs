//! Plain arrays of numbers in double precision.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use super::tape::Node;
use crate::outcome::Item;
use crate::user::{Operation, Tensor};

/// An array, or a part of one: what is filled in place is filled in all that share its numbers.
#[derive(Clone)]
pub(crate) struct Array {
    numbers: Rc<RefCell<Vec<f64>>>,
    /// The place of the first number.
    first: usize,
    shape: Vec<usize>,
    /// How many numbers lie between two that are next to each other in a dimension.
    steps: Vec<usize>,
    /// Whether the numbers are integers.
    is_whole: bool,
    /// How it was computed, where gradients go back to it.
    node: Option<Rc<Node>>,
    /// The array that it is a part of, and which, where gradients go back to that.
    part_of: Option<Rc<(Self, Vec<Range<usize>>)>>,
}

impl Array {
    /// Makes an array of its own.
    pub(crate) fn new(shape: &[usize], numbers: Vec<f64>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), numbers.len(), "{shape:?}");
        let mut steps = vec![1; shape.len()];
        for place in (1..shape.len()).rev() {
            steps[place - 1] = steps[place] * shape[place];
        }
        Self {
            numbers: Rc::new(RefCell::new(numbers)),
            first: 0,
            shape: shape.to_vec(),
            steps,
            is_whole: false,
            node: None,
            part_of: None,
        }
    }

    /// Returns the array without a gradient.
    pub(super) fn untracked(&self) -> Self {
        Self {
            node: None,
            part_of: None,
            ..self.clone()
        }
    }

    pub(super) fn with_node(self, node: Rc<Node>) -> Self {
        Self {
            node: Some(node),
            ..self
        }
    }

    pub(super) const fn node(&self) -> Option<&Rc<Node>> {
        self.node.as_ref()
    }

    /// Makes it one of integers.
    pub(crate) fn whole(self) -> Self {
        Self {
            is_whole: true,
            ..self
        }
    }

    pub(crate) const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Makes it one of integers if another one is.
    fn like(self, other: &Self) -> Self {
        Self {
            is_whole: other.is_whole,
            ..self
        }
    }

    /// Returns the numbers in order.
    pub(crate) fn numbers(&self) -> Vec<f64> {
        let numbers = self.numbers.borrow();
        self.places().map(|place| numbers[place]).collect()
    }

    /// Writes one number everywhere, in place.
    pub(crate) fn fill(&self, number: f64) {
        let mut numbers = self.numbers.borrow_mut();
        self.places().for_each(|place| numbers[place] = number);
    }

    /// Writes the numbers of another array of this shape, in place.
    pub(crate) fn write(&self, other: &Self) -> Option<()> {
        let others = other.numbers();
        let mut numbers = self.numbers.borrow_mut();
        let is_like = self.shape == other.shape;
        let places = self.places().zip(others).filter(|_| is_like);
        places.for_each(|(place, number)| numbers[place] = number);
        is_like.then_some(())
    }

    pub(crate) fn map(&self, f: impl Fn(f64) -> f64 + 'static) -> Self {
        Self::computed(&[self], move |of| {
            let numbers = of[0].numbers().into_iter().map(&f);
            Self::new(&of[0].shape, numbers.collect()).like(&of[0])
        })
    }

    /// Returns an array of this shape with one number everywhere.
    pub(super) fn filled(&self, number: f64) -> Self {
        let count = self.shape.iter().product();
        Self::new(&self.shape, vec![number; count]).like(self)
    }

    /// Combines the rows of dimension 0 of several; nothing if they differ in another dimension.
    pub(crate) fn join(parts: &[Self]) -> Option<Self> {
        let (_, inner) = parts.first()?.shape.split_first()?;
        let is_like = |part: &Self| part.shape.get(1..) == Some(inner);
        if !parts.iter().all(is_like) {
            return None;
        }
        let rows = parts.iter().map(|part| part.shape[0]).sum();
        let shape = [&[rows], inner].concat();
        let parts: Vec<&Self> = parts.iter().collect();
        Some(Self::computed(&parts, move |parts| {
            let joined = Self::new(&shape, parts.iter().flat_map(Self::numbers).collect());
            joined.like(&parts[0])
        }))
    }

    pub(crate) fn reshape(&self, shape: &[usize]) -> Self {
        let shape = shape.to_vec();
        Self::computed(&[self], move |of| {
            Self::new(&shape, of[0].numbers()).like(&of[0])
        })
    }

    /// Returns these places of the first dimensions, which share their numbers with the array.
    pub(crate) fn part(&self, places: &[Range<usize>]) -> Self {
        let own = places.to_vec();
        let part = Self::computed(&[self], move |of| of[0].view(&own));
        let whole = || Rc::new((self.clone(), places.to_vec()));
        Self {
            part_of: part.node.is_some().then(whole),
            ..part
        }
    }

    /// Returns the array that this is a part of, and which part.
    pub(super) fn part_of(&self) -> Option<&(Self, Vec<Range<usize>>)> {
        self.part_of.as_deref()
    }

    fn view(&self, places: &[Range<usize>]) -> Self {
        let mut part = self.clone();
        for (dimension, places) in places.iter().enumerate() {
            part.first += places.start * self.steps[dimension];
            part.shape[dimension] = places.len();
        }
        part
    }

    /// Returns what is at a place of dimension 0, without the dimension.
    pub(crate) fn row(&self, place: usize) -> Self {
        Self::computed(&[self], move |of| {
            let mut row = of[0].view(&[place..place + 1]);
            row.shape.remove(0);
            row.steps.remove(0);
            row
        })
    }

    /// Combines two that are broadcast to this shape.
    fn combined(&self, operation: Operation, right: &Self, shape: &[usize]) -> Self {
        let padded = |array: &Self| {
            [
                vec![1; shape.len() - array.shape.len()],
                array.shape.clone(),
            ]
            .concat()
        };
        let (left, other) = (padded(self), padded(right));
        let (own, others) = (self.numbers(), right.numbers());
        let place = |lengths: &[usize], mut index: usize| {
            let (mut place, mut step) = (0, 1);
            for (&length, &whole) in lengths.iter().zip(shape).rev() {
                place += (index % whole) % length * step;
                step *= length;
                index /= whole;
            }
            place
        };
        let count = shape.iter().product::<usize>();
        let at = |index| operation.apply(own[place(&left, index)], others[place(&other, index)]);
        let combined = Self::new(shape, (0..count).map(at).collect());
        combined.like(if self.is_whole { right } else { self })
    }

    /// The places of all numbers, in order.
    fn places(&self) -> impl Iterator<Item = usize> {
        let count = self.shape.iter().product::<usize>();
        (0..count).map(move |mut index| {
            let dimensions = self.shape.iter().zip(&self.steps).rev();
            dimensions.fold(self.first, |place, (&length, step)| {
                let at = index % length;
                index /= length;
                place + at * step
            })
        })
    }
}

impl Tensor for Array {
    fn item(&self) -> Item {
        Item::Tensor {
            shape: self.shape.clone(),
            numbers: self.numbers(),
            is_on_host: true,
        }
    }

    fn shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn number(&self) -> Option<f64> {
        match self.numbers()[..] {
            [number] => Some(number),
            _ => None,
        }
    }

    fn combine(&self, operation: Operation, right: &Self) -> Option<Self> {
        let rank = self.shape.len().max(right.shape.len());
        let padded =
            |array: &Self| [vec![1; rank - array.shape.len()], array.shape.clone()].concat();
        let (left, other) = (padded(self), padded(right));
        let lengths = left.iter().zip(&other);
        let shape: Option<Vec<usize>> = lengths
            .map(|pair| match pair {
                (&own, &other) if own == other || other == 1 => Some(own),
                (1, &other) => Some(other),
                _ => None,
            })
            .collect();
        let shape = shape?;
        Some(Self::computed(&[self, right], move |of| {
            of[0].combined(operation, &of[1], &shape)
        }))
    }

    fn with_number(&self, operation: Operation, number: f64, is_left: bool) -> Option<Self> {
        Some(self.map(move |own| {
            if is_left {
                operation.apply(number, own)
            } else {
                operation.apply(own, number)
            }
        }))
    }

    fn copy(&self) -> Self {
        self.map(|number| number)
    }

    fn zeros(&self) -> Option<Self> {
        Some(self.filled(0.0))
    }

    fn sum(&self) -> Option<Self> {
        Some(Self::computed(&[self], |of| {
            Self::new(&[], vec![of[0].numbers().iter().sum()])
        }))
    }

    fn argmax_last(&self) -> Option<Self> {
        let [rows, places, width] = self.shape[..] else {
            return None;
        };
        let last = self.part(&[0..rows, places.checked_sub(1)?..places]);
        let numbers = last.numbers();
        let largest = |row: &[f64]| {
            let best =
                (0..row.len()).reduce(|best, at| if row[at] > row[best] { at } else { best });
            best.unwrap_or(0) as f64
        };
        let places = numbers.chunks(width.max(1)).map(largest);
        Some(Self::new(&[rows], places.collect()).whole())
    }

    fn slice(&self, places: &[Range<usize>]) -> Option<Self> {
        Some(self.part(places))
    }

    fn at(&self, place: usize) -> Option<Self> {
        Some(self.row(place))
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.shape, self.numbers())
    }
}

/// The mean of numbers.
pub(super) fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

/// The mean over everything.
pub(super) fn mean_of_all(array: &Array) -> Array {
    Array::computed(&[array], |of| Array::new(&[], vec![mean(&of[0].numbers())]))
}

/// The mean over dimension 0.
pub(super) fn mean_of_rows(array: &Array) -> Array {
    Array::computed(&[array], |of| means(&of[0]))
}

fn means(array: &Array) -> Array {
    let shape = array.shape();
    let inner = shape.get(1..).unwrap_or_default();
    let width: usize = inner.iter().product();
    let numbers = array.numbers();
    let column = |place: usize| {
        let column: Vec<f64> = numbers
            .iter()
            .skip(place)
            .step_by(width.max(1))
            .copied()
            .collect();
        mean(&column)
    };
    Array::new(inner, (0..width).map(column).collect())
}

/// The nonlinearity of GPT-2.
pub(super) fn gelu(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
    0.5 * x * (1.0 + inner.tanh())
}

/// Swaps the dimensions of a matrix.
pub(super) fn transposed(matrix: &Array) -> Array {
    Array::computed(&[matrix], |of| {
        let (rows, columns) = (of[0].shape()[0], of[0].shape()[1]);
        let numbers = of[0].numbers();
        let at = |place: usize| numbers[place % rows * columns + place / rows];
        Array::new(&[columns, rows], (0..rows * columns).map(at).collect())
    })
}

/// Multiplies the last dimension of `x` with an `[in, out]` matrix; nothing if it has another
/// length.
pub(super) fn product(x: &Array, weight: &Array) -> Option<Array> {
    let is_like = x.shape().last() == Some(&weight.shape()[0]);
    is_like.then(|| Array::computed(&[x, weight], |of| multiplied(&of[0], &of[1])))
}

fn multiplied(x: &Array, weight: &Array) -> Array {
    let (width, out) = (weight.shape()[0], weight.shape()[1]);
    let shape = x.shape();
    let outer = &shape[..shape.len() - 1];
    let (numbers, weight) = (x.numbers(), weight.numbers());
    let rows = numbers.chunks(width).flat_map(|row| {
        let weight = &weight;
        (0..out).map(move |column| {
            let terms = row.iter().enumerate();
            terms
                .map(|(place, x)| x * weight[place * out + column])
                .sum::<f64>()
        })
    });
    let numbers: Vec<f64> = rows.collect();
    Array::new(&[outer, &[out]].concat(), numbers)
}

/// What is added to the scores of each query and key: nothing, or the lowest number.
pub(super) fn causal_mask(queries: usize, keys: usize) -> Array {
    let at = |place: usize| {
        let (query, key) = (place / keys, place % keys);
        if key > query + keys - queries {
            f64::from(f32::MIN)
        } else {
            0.0
        }
    };
    Array::new(
        &[1, 1, queries, keys],
        (0..queries * keys).map(at).collect(),
    )
}

/// Puts new positions after the old ones.
pub(super) fn grown(old: &Array, new: &Array) -> Array {
    Array::computed(&[old, new], |of| appended(&of[0], &of[1]))
}

fn appended(old: &Array, new: &Array) -> Array {
    let [rows, before, width] = old.shape()[..] else {
        unreachable!("keys and values have three dimensions")
    };
    let after = new.shape()[1];
    let (old, new) = (old.numbers(), new.numbers());
    let rows_of = |row: usize| {
        let old = &old[row * before * width..(row + 1) * before * width];
        [old, &new[row * after * width..(row + 1) * after * width]].concat()
    };
    Array::new(
        &[rows, before + after, width],
        (0..rows).flat_map(rows_of).collect(),
    )
}

/// The weights with which each query takes the values of the positions up to its own.
pub(super) fn pattern(query: &Array, keys: &Array, heads: usize) -> Array {
    Array::computed(&[query, keys], move |of| weights(&of[0], &of[1], heads))
}

fn weights(query: &Array, keys: &Array, heads: usize) -> Array {
    let (rows, queries, width) = (query.shape()[0], query.shape()[1], query.shape()[2]);
    let (count, per_head) = (keys.shape()[1], width / heads);
    let (query, keys) = (query.numbers(), keys.numbers());
    let mut numbers = Vec::new();
    for row in 0..rows {
        for head in 0..heads {
            for place in 0..queries {
                let at = |numbers: &[f64], count: usize, place: usize| {
                    let first = (row * count + place) * width + head * per_head;
                    numbers[first..first + per_head].to_vec()
                };
                let query = at(&query, queries, place);
                let scores: Vec<f64> = (0..=place + count - queries)
                    .map(|key| {
                        let key = at(&keys, count, key);
                        let terms = query.iter().zip(&key).map(|(query, key)| query * key);
                        terms.sum::<f64>() / (per_head as f64).sqrt()
                    })
                    .collect();
                let most = scores.iter().copied().fold(f64::MIN, f64::max);
                let powers: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
                let sum: f64 = powers.iter().sum();
                let weights = powers.iter().map(|power| power / sum);
                numbers.extend(weights.chain(std::iter::repeat(0.0)).take(count));
            }
        }
    }
    Array::new(&[rows, heads, queries, count], numbers)
}

/// Mixes the values by the weights of a pattern; nothing if it has another shape.
pub(super) fn mixed(pattern: &Array, values: &Array) -> Option<Array> {
    let &[rows, _, _, count] = &pattern.shape()[..] else {
        return None;
    };
    let is_like = (rows, count) == (values.shape()[0], values.shape()[1]);
    is_like.then(|| Array::computed(&[pattern, values], |of| weighted(&of[0], &of[1])))
}

fn weighted(pattern: &Array, values: &Array) -> Array {
    let (rows, count, width) = (values.shape()[0], values.shape()[1], values.shape()[2]);
    let (heads, queries) = (pattern.shape()[1], pattern.shape()[2]);
    let (weights, values, per_head) = (pattern.numbers(), values.numbers(), width / heads);
    let at = |place: usize| {
        let (row, query, column) = (
            place / width / queries,
            place / width % queries,
            place % width,
        );
        let head = column / per_head;
        let first = ((row * heads + head) * queries + query) * count;
        let terms = (0..count)
            .map(|key| weights[first + key] * values[(row * count + key) * width + column]);
        terms.sum::<f64>()
    };
    Array::new(
        &[rows, queries, width],
        (0..rows * queries * width).map(at).collect(),
    )
}
