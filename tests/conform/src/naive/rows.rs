//! The rows of a batch in what passes a site.

use super::array::Array;
use super::model::Value;
use crate::user::{Tensor, Thing};

/// Some rows of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub(super) start: usize,
    pub(super) count: usize,
    /// How many rows the whole batch has.
    pub(super) batch: usize,
}

/// What cannot be put together.
#[derive(Debug)]
pub(super) struct Misfit;

impl Rows {
    /// Those of every tensor whose dimension 0 is the batch; others pass whole (R50).
    pub(super) fn of(self, value: &Value) -> Value {
        map(value, &mut |array| {
            if self.is_batched(array) {
                array.part(&[self.start..self.start + self.count])
            } else {
                array.clone()
            }
        })
    }

    pub(super) fn is_batched(self, array: &Array) -> bool {
        array.shape().first() == Some(&self.batch)
    }

    /// Puts other rows in the place of these; the parts of a tensor that is not batched are all of
    /// it.
    pub(super) fn put(self, whole: &Value, part: &Value) -> Result<Value, Misfit> {
        zip(whole, part, &mut |whole, part| {
            if !self.is_batched(whole) {
                return Ok(part.clone());
            }
            let before = whole.part(&[0..self.start]);
            let after = whole.part(&[self.start + self.count..self.batch]);
            Array::join(&[before, part.clone(), after]).ok_or(Misfit)
        })
    }
}

/// Puts rows in the place of those of a value as the reference does: a tensor that is not batched
/// stays, and so does what the part has too much.
pub(super) fn widened(rows: Rows, whole: &Value, part: &Value) -> Result<Value, Misfit> {
    match (whole, part) {
        (Thing::Tensor(array), _) if !rows.is_batched(array) => Ok(whole.clone()),
        (Thing::Tensor(_), Thing::Tensor(_)) => rows.put(whole, part),
        (Thing::Tensor(_), _) => Err(Misfit),
        (Thing::Tuple(whole), Thing::Tuple(part)) => {
            let pairs = whole.iter().zip(part.iter());
            let merged = pairs.map(|(whole, part)| widened(rows, whole, part));
            Ok(Thing::Tuple(merged.collect::<Result<_, _>>()?))
        }
        (Thing::Map(whole), Thing::Map(part)) => {
            let merged = whole.iter().map(|(name, whole)| {
                let part = part.iter().find(|(own, _)| own == name);
                let (_, part) = part.ok_or(Misfit)?;
                Ok((name.clone(), widened(rows, whole, part)?))
            });
            Ok(Thing::Map(merged.collect::<Result<_, _>>()?))
        }
        (Thing::Tuple(_) | Thing::List(_) | Thing::Map(_), _) => Err(Misfit),
        _ => Ok(part.clone()),
    }
}

/// Writes rows into a value in their place.
pub(super) fn written(rows: Rows, whole: &Value, part: &Value) -> Result<Value, Misfit> {
    zip(whole, part, &mut |whole, part| {
        if rows.is_batched(whole) {
            let own = whole.part(&[rows.start..rows.start + rows.count]);
            own.write(part).ok_or(Misfit)?;
        }
        Ok(whole.clone())
    })
}

/// R51: whether a value has the structure, the kinds and the shapes of another one.
pub(super) fn fits(value: &Value, other: &Value) -> bool {
    let fits = zip(value, other, &mut |one, other| {
        let shapes = (one.shape(), other.shape());
        let is_single = |shape: &[usize]| shape.is_empty() || shape == [1];
        let is_shaped = shapes.0 == shapes.1 || (is_single(&shapes.0) && is_single(&shapes.1));
        if is_shaped && one.is_whole() == other.is_whole() {
            Ok(other.clone())
        } else {
            Err(Misfit)
        }
    });
    fits.is_ok()
}

/// R21: joins the rows of several; what is no tensor is taken from the first.
pub(super) fn join(parts: &[Value]) -> Result<Value, Misfit> {
    let (first, rest) = parts.split_first().ok_or(Misfit)?;
    rest.iter().try_fold(first.clone(), |joined, part| {
        zip(&joined, part, &mut |joined, part| {
            Array::join(&[joined.clone(), part.clone()]).ok_or(Misfit)
        })
    })
}

pub(super) fn has_tensor(value: &Value, is_it: &dyn Fn(&Array) -> bool) -> bool {
    let mut found = false;
    map(value, &mut |array| {
        found |= is_it(array);
        array.clone()
    });
    found
}

pub(super) fn map(value: &Value, f: &mut dyn FnMut(&Array) -> Array) -> Value {
    match value {
        Thing::Tensor(array) => Thing::Tensor(f(array)),
        Thing::Tuple(items) => Thing::Tuple(items.iter().map(|item| map(item, f)).collect()),
        Thing::List(items) => Thing::list(items.borrow().iter().map(|item| map(item, f)).collect()),
        Thing::Map(items) => {
            let items = items.iter();
            Thing::Map(
                items
                    .map(|(name, item)| (name.clone(), map(item, f)))
                    .collect(),
            )
        }
        plain => plain.clone(),
    }
}

/// Pairs the tensors of two values of one structure.
fn zip(
    one: &Value,
    other: &Value,
    f: &mut dyn FnMut(&Array, &Array) -> Result<Array, Misfit>,
) -> Result<Value, Misfit> {
    let mut all = |one: &[Value], other: &[Value]| -> Result<Vec<Value>, Misfit> {
        let pairs = one.iter().zip(other);
        if one.len() == other.len() {
            pairs.map(|(one, other)| zip(one, other, f)).collect()
        } else {
            Err(Misfit)
        }
    };
    match (one, other) {
        (Thing::Tensor(one), Thing::Tensor(other)) => f(one, other).map(Thing::Tensor),
        (Thing::Tuple(one), Thing::Tuple(other)) => Ok(Thing::Tuple(all(one, other)?.into())),
        (Thing::List(one), Thing::List(other)) => {
            Ok(Thing::list(all(&one.borrow(), &other.borrow())?))
        }
        (Thing::Map(one), Thing::Map(other)) => {
            let names = |items: &[(String, Value)]| -> Vec<String> {
                items.iter().map(|(name, _)| name.clone()).collect()
            };
            let values = |items: &[(String, Value)]| -> Vec<Value> {
                items.iter().map(|(_, item)| item.clone()).collect()
            };
            if names(one) != names(other) {
                return Err(Misfit);
            }
            let items = all(&values(one), &values(other))?;
            Ok(Thing::Map(names(one).into_iter().zip(items).collect()))
        }
        (Thing::None, Thing::None)
        | (Thing::Bool(_), Thing::Bool(_))
        | (Thing::Number { .. }, Thing::Number { .. })
        | (Thing::Opaque(_), Thing::Opaque(_)) => Ok(other.clone()),
        _ => Err(Misfit),
    }
}
