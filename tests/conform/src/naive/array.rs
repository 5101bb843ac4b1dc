//! Plain arrays of numbers in double precision.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

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
        }
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

    pub(crate) fn map(&self, f: impl FnMut(f64) -> f64) -> Self {
        Self::new(&self.shape, self.numbers().into_iter().map(f).collect()).like(self)
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
        let joined = Self::new(&shape, parts.iter().flat_map(Self::numbers).collect());
        Some(joined.like(&parts[0]))
    }

    pub(crate) fn reshape(&self, shape: &[usize]) -> Self {
        Self::new(shape, self.numbers()).like(self)
    }

    /// Returns these places of the first dimensions, which share their numbers with the array.
    pub(crate) fn part(&self, places: &[Range<usize>]) -> Self {
        let mut part = self.clone();
        for (dimension, places) in places.iter().enumerate() {
            part.first += places.start * self.steps[dimension];
            part.shape[dimension] = places.len();
        }
        part
    }

    /// Returns what is at a place of dimension 0, without the dimension.
    pub(crate) fn row(&self, place: usize) -> Self {
        let mut row = self.part(&[place..place + 1]);
        row.shape.remove(0);
        row.steps.remove(0);
        row
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
        let (own, others) = (self.numbers(), right.numbers());
        let place = |lengths: &[usize], mut index: usize| {
            let (mut place, mut step) = (0, 1);
            for (&length, &whole) in lengths.iter().zip(&shape).rev() {
                place += (index % whole) % length * step;
                step *= length;
                index /= whole;
            }
            place
        };
        let count = shape.iter().product::<usize>();
        let at = |index| operation.apply(own[place(&left, index)], others[place(&other, index)]);
        let combined = Self::new(&shape, (0..count).map(at).collect());
        Some(combined.like(if self.is_whole { right } else { self }))
    }

    fn with_number(&self, operation: Operation, number: f64, is_left: bool) -> Option<Self> {
        Some(self.map(|own| {
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
        Some(self.map(|_| 0.0))
    }

    fn sum(&self) -> Option<Self> {
        Some(Self::new(&[], vec![self.numbers().iter().sum()]))
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
