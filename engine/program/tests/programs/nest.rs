//! A value with structure: arrays, and tuples, lists and maps of them.

use std::ops::Range;

use interloom_engine::array::Array;
use interloom_engine::{Misfit, RowLayout, Rows, Value};
use interloom_program::{Along, Arithmetic, Item, Items, Operand};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Nest {
    Leaf(Array),
    Tuple(Vec<Self>),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

impl Nest {
    fn leaf(&self) -> Result<&Array, Misfit> {
        match self {
            Self::Leaf(array) => Ok(array),
            _ => Err(self.unlike("a tensor")),
        }
    }

    fn unlike(&self, expected: &str) -> Misfit {
        let found = match self {
            Self::Leaf(array) => format!("f64{:?}", array.shape()),
            Self::Tuple(items) => format!("a tuple of {}", items.len()),
            Self::List(items) => format!("a list of {}", items.len()),
            Self::Map(items) => format!("a map of {}", items.len()),
        };
        Misfit {
            expected: expected.to_owned(),
            found,
        }
    }

    fn place(&mut self, item: &Item) -> Option<&mut Self> {
        match (self, item) {
            (Self::Tuple(items) | Self::List(items), Item::Place(place)) => {
                items.get_mut(*place as usize)
            }
            (Self::Map(items), Item::Name(name)) => {
                let mut items = items.iter_mut();
                items.find(|(own, _)| own == name).map(|(_, item)| item)
            }
            _ => None,
        }
    }
}

/// Only for mediators that see the whole batch.
impl Value for Nest {
    fn rows(&self, _: Rows, _: u32, _: &RowLayout) -> Self {
        self.clone()
    }

    fn splice(&self, _: Rows, _: u32, _: &RowLayout, part: Self) -> Result<Self, Misfit> {
        Ok(part)
    }

    fn fits(&self, other: &Self) -> Result<(), Misfit> {
        match (self, other) {
            (Self::Leaf(own), Self::Leaf(other)) => own.fits(other),
            _ => Ok(()),
        }
    }

    fn join(mut parts: Vec<Self>) -> Result<Self, Misfit> {
        Ok(parts.remove(0))
    }
}

impl Operand for Nest {
    fn shape(&self) -> Option<Vec<u64>> {
        self.leaf().ok().and_then(Operand::shape)
    }

    fn combine(&self, operation: Arithmetic, right: &Self) -> Result<Self, Misfit> {
        self.leaf()?
            .combine(operation, right.leaf()?)
            .map(Self::Leaf)
    }

    fn with_number(&self, operation: Arithmetic, right: f64) -> Result<Self, Misfit> {
        self.leaf()?.with_number(operation, right).map(Self::Leaf)
    }

    fn after_number(&self, left: f64, operation: Arithmetic) -> Result<Self, Misfit> {
        self.leaf()?.after_number(left, operation).map(Self::Leaf)
    }

    fn zeros_like(&self) -> Result<Self, Misfit> {
        self.leaf()?.zeros_like().map(Self::Leaf)
    }

    fn sum(&self) -> Result<Self, Misfit> {
        self.leaf()?.sum().map(Self::Leaf)
    }

    fn mean(&self) -> Result<Self, Misfit> {
        self.leaf()?.mean().map(Self::Leaf)
    }

    fn abs(&self) -> Result<Self, Misfit> {
        self.leaf()?.abs().map(Self::Leaf)
    }

    fn along(&self, operation: Along, dimension: usize) -> Result<Self, Misfit> {
        self.leaf()?.along(operation, dimension).map(Self::Leaf)
    }

    fn matmul(&self, right: &Self) -> Result<Self, Misfit> {
        self.leaf()?.matmul(right.leaf()?).map(Self::Leaf)
    }

    fn argmax_last(&self) -> Result<Self, Misfit> {
        self.leaf()?.argmax_last().map(Self::Leaf)
    }

    fn slice(&self, ranges: &[Range<u64>]) -> Result<Self, Misfit> {
        self.leaf()?.slice(ranges).map(Self::Leaf)
    }

    fn at(&self, place: u64) -> Result<Self, Misfit> {
        self.leaf()?.at(place).map(Self::Leaf)
    }

    fn patch(&self, ranges: &[Range<u64>], part: &Self) -> Result<Self, Misfit> {
        self.leaf()?.patch(ranges, part.leaf()?).map(Self::Leaf)
    }

    fn tuple(items: Vec<Self>) -> Result<Self, Misfit> {
        Ok(Self::Tuple(items))
    }

    fn items(&self) -> Option<Items<Self>> {
        match self {
            Self::Tuple(items) => Some(Items::Tuple(items.clone())),
            Self::List(items) => Some(Items::List(items.clone())),
            Self::Leaf(_) | Self::Map(_) => None,
        }
    }

    fn list(items: Vec<Self>) -> Result<Self, Misfit> {
        Ok(Self::List(items))
    }

    fn map(items: Vec<(String, Self)>) -> Result<Self, Misfit> {
        Ok(Self::Map(items))
    }

    fn item(&self, item: &Item) -> Result<Self, Misfit> {
        let found = self.clone().place(item).cloned();
        found.ok_or_else(|| self.unlike(&format!("a tuple or map with item {item}")))
    }

    fn with_item(&self, item: &Item, with: Self) -> Result<Self, Misfit> {
        let mut replaced = self.clone();
        match replaced.place(item) {
            Some(place) => *place = with,
            None => return Err(self.unlike(&format!("a tuple or map with item {item}"))),
        }
        Ok(replaced)
    }

    fn number(&self) -> Option<f64> {
        self.leaf().ok().and_then(Operand::number)
    }

    fn leaves(&self) -> usize {
        match self {
            Self::Leaf(_) => 1,
            Self::Tuple(items) | Self::List(items) => items.iter().map(Self::leaves).sum(),
            Self::Map(items) => items.iter().map(|(_, item)| item.leaves()).sum(),
        }
    }
}
