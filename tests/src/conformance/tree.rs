//! A value with structure, without a tensor library.

use std::ops::Range;

use interloom_engine::array::Array;
use interloom_engine::program::{Arithmetic, Item, Operand};
use interloom_engine::{Misfit, RowLayout, Rows, Value};

/// Arrays, and tuples and maps of them.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    /// An array.
    Leaf(Array),
    /// Several values.
    Tuple(Vec<Self>),
    /// Named values.
    Map(Vec<(String, Self)>),
}

impl Tree {
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
            Self::Map(items) => format!("a map of {}", items.len()),
        };
        Misfit {
            expected: expected.to_owned(),
            found,
        }
    }

    fn place(&mut self, item: &Item) -> Option<&mut Self> {
        match (self, item) {
            (Self::Tuple(items), Item::Place(place)) => items.get_mut(*place as usize),
            (Self::Map(items), Item::Name(name)) => {
                let mut items = items.iter_mut();
                items.find(|(own, _)| own == name).map(|(_, item)| item)
            }
            _ => None,
        }
    }
}

impl Tree {
    /// Makes a value of the arrays in this one, which are numbered in the order of the structure.
    fn map_leaves(
        &self,
        leaf: &mut usize,
        f: &mut impl FnMut(usize, &Array) -> Result<Array, Misfit>,
    ) -> Result<Self, Misfit> {
        Ok(match self {
            Self::Leaf(array) => {
                *leaf += 1;
                Self::Leaf(f(*leaf - 1, array)?)
            }
            Self::Tuple(items) => {
                let items = items.iter().map(|item| item.map_leaves(leaf, f));
                Self::Tuple(items.collect::<Result<_, _>>()?)
            }
            Self::Map(items) => {
                let items = items.iter();
                let items = items.map(|(name, item)| Ok((name.clone(), item.map_leaves(leaf, f)?)));
                Self::Map(items.collect::<Result<_, Misfit>>()?)
            }
        })
    }

    fn arrays(&self) -> Vec<&Array> {
        match self {
            Self::Leaf(array) => vec![array],
            Self::Tuple(items) => items.iter().flat_map(Self::arrays).collect(),
            Self::Map(items) => items.iter().flat_map(|(_, item)| item.arrays()).collect(),
        }
    }

    fn has_structure_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Leaf(_), Self::Leaf(_)) => true,
            (Self::Tuple(own), Self::Tuple(other)) => {
                own.len() == other.len()
                    && own.iter().zip(other).all(|(l, r)| l.has_structure_of(r))
            }
            (Self::Map(own), Self::Map(other)) => {
                let is_same = |((l, left), (r, right)): (&(String, Self), &(String, Self))| {
                    l == r && left.has_structure_of(right)
                };
                own.len() == other.len() && own.iter().zip(other).all(is_same)
            }
            _ => false,
        }
    }

    /// The layout of the `leaf`-th array, which alone knows nothing of the others.
    fn layout_of(layout: &RowLayout, leaf: usize) -> RowLayout {
        match layout {
            RowLayout::Leaves(leaves) => {
                RowLayout::Leaves(leaves.get(leaf).copied().into_iter().collect())
            }
            other => other.clone(),
        }
    }
}

impl Value for Tree {
    fn rows(&self, rows: Rows, batch: u32, layout: &RowLayout) -> Self {
        let cut =
            &mut |leaf, array: &Array| Ok(array.rows(rows, batch, &Self::layout_of(layout, leaf)));
        self.map_leaves(&mut 0, cut).expect("nothing fails")
    }

    fn splice(
        &self,
        rows: Rows,
        batch: u32,
        layout: &RowLayout,
        part: Self,
    ) -> Result<Self, Misfit> {
        if !self.has_structure_of(&part) {
            return Err(self.unlike("a value of the same structure"));
        }
        let parts = part.arrays();
        self.map_leaves(&mut 0, &mut |leaf, array| {
            array.splice(
                rows,
                batch,
                &Self::layout_of(layout, leaf),
                parts[leaf].clone(),
            )
        })
    }

    fn fits(&self, other: &Self) -> Result<(), Misfit> {
        if !self.has_structure_of(other) {
            return Err(self.unlike("a value of the same structure"));
        }
        let pairs = self.arrays().into_iter().zip(other.arrays());
        pairs
            .into_iter()
            .try_for_each(|(own, other)| own.fits(other))
    }

    fn join(parts: Vec<Self>) -> Result<Self, Misfit> {
        let Some(first) = parts.first() else {
            return Ok(Self::Tuple(Vec::new()));
        };
        if let Some(other) = parts.iter().find(|part| !first.has_structure_of(part)) {
            return Err(other.unlike("a value of the same structure"));
        }
        let arrays: Vec<Vec<&Array>> = parts.iter().map(Self::arrays).collect();
        first.map_leaves(&mut 0, &mut |leaf, _| {
            Array::join(arrays.iter().map(|arrays| arrays[leaf].clone()).collect())
        })
    }
}

impl Operand for Tree {
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

    fn argmax_last(&self) -> Result<Self, Misfit> {
        self.leaf()?.argmax_last().map(Self::Leaf)
    }

    fn slice(&self, ranges: &[Range<u64>]) -> Result<Self, Misfit> {
        self.leaf()?.slice(ranges).map(Self::Leaf)
    }

    fn patch(&self, ranges: &[Range<u64>], part: &Self) -> Result<Self, Misfit> {
        self.leaf()?.patch(ranges, part.leaf()?).map(Self::Leaf)
    }

    fn tuple(items: Vec<Self>) -> Result<Self, Misfit> {
        Ok(Self::Tuple(items))
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
            Self::Tuple(items) => items.iter().map(Self::leaves).sum(),
            Self::Map(items) => items.iter().map(|(_, item)| item.leaves()).sum(),
        }
    }
}
