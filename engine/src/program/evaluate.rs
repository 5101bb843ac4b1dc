//! The instructions that compute, on a stack of data.

use std::ops::Range;

use super::compile::{Compute, resolve};
use super::datum::Datum;
use super::error::ProgramFault;
use super::expr::{Item, Span};
use super::operand::{Arithmetic, Operand};
use crate::value::Misfit;

/// How many tensors a tuple or map may have in it: whoever passes it looks at each.
const LEAVES_MAX: usize = 1 << 16;

/// Computes what needs the stack only, and returns the result.
pub(super) fn compute<V: Operand>(
    compute: &Compute,
    stack: &mut Vec<Datum<V>>,
) -> Result<Datum<V>, ProgramFault> {
    let place = name(compute);
    let value = match compute {
        Compute::Number(number) => return Ok(Datum::Number(*number)),
        Compute::Arithmetic(operation) => {
            let (right, left) = (pop(stack), pop(stack));
            return arithmetic(*operation, place, &left, &right);
        }
        Compute::Index(item) => return index(place, &pop(stack), item),
        Compute::ZerosLike => value_of(place, pop(stack))?.zeros_like(),
        Compute::Sum => value_of(place, pop(stack))?.sum(),
        Compute::Mean => value_of(place, pop(stack))?.mean(),
        Compute::ArgmaxLast => value_of(place, pop(stack))?.argmax_last(),
        Compute::Slice(spans) => {
            let of = value_of(place, pop(stack))?;
            of.slice(&ranges(spans, &of, place)?)
        }
        Compute::Patch(spans) => {
            let (with, of) = (pop(stack), value_of(place, pop(stack))?);
            let ranges = ranges(spans, &of, place)?;
            match with {
                Datum::Number(number) => filled(&of, &ranges, number),
                with => of.patch(&ranges, &value_of(place, with)?),
            }
        }
        Compute::Replace(item) => {
            let with = part_of(place, pop(stack))?;
            let of = value_of(place, pop(stack))?;
            count_leaves([&with, &of])?;
            of.with_item(item, with)
        }
        Compute::Tuple(count) => {
            let items = values(place, *count, stack)?;
            V::tuple(items)
        }
        Compute::Map(names) => {
            let items = values(place, names.len(), stack)?;
            V::map(names.iter().cloned().zip(items).collect())
        }
    };
    let misfit = |misfit| ProgramFault::Misfit { place, misfit };
    value.map(Datum::Value).map_err(misfit)
}

/// Takes the uppermost datum off the stack.
///
/// # Panics
///
/// Panics if there is none, which is a defect of the compiler.
pub(super) fn pop<V>(stack: &mut Vec<Datum<V>>) -> Datum<V> {
    stack
        .pop()
        .expect("the compiler counts what is on the stack")
}

/// Returns the value that a datum is.
pub(super) fn value_of<V>(place: &'static str, datum: Datum<V>) -> Result<V, ProgramFault> {
    match datum {
        Datum::Value(value) => Ok(value),
        other => Err(ProgramFault::Kind {
            place,
            expected: "a value",
            found: other.kind(),
        }),
    }
}

/// Returns the value that a datum is where it may be a number, if this kind of value has plain numbers: as a part of another, or
/// on the blackboard.
pub(super) fn part_of<V: Operand>(place: &'static str, datum: Datum<V>) -> Result<V, ProgramFault> {
    let number = match &datum {
        Datum::Number(number) => V::plain_number(*number),
        Datum::Value(_) | Datum::List(_) => None,
    };
    number.map_or_else(|| value_of(place, datum), Ok)
}

/// Returns the tensor with one number in place of a part.
fn filled<V: Operand>(of: &V, ranges: &[Range<u64>], number: f64) -> Result<V, Misfit> {
    let part = of.slice(ranges)?.zeros_like()?;
    of.patch(ranges, &part.with_number(Arithmetic::Add, number)?)
}

/// Returns the number that a datum is, or the value of one element in it.
pub(super) fn number_of<V: Operand>(datum: Datum<V>) -> Result<f64, ProgramFault> {
    let number = match &datum {
        Datum::Number(number) => Some(*number),
        Datum::Value(value) => value.number(),
        Datum::List(_) => None,
    };
    let found = match &datum {
        Datum::Value(_) => "a value of several",
        other => other.kind(),
    };
    number.ok_or(ProgramFault::Kind {
        place: "a comparison",
        expected: "numbers and values of one element",
        found,
    })
}

fn arithmetic<V: Operand>(
    operation: Arithmetic,
    place: &'static str,
    left: &Datum<V>,
    right: &Datum<V>,
) -> Result<Datum<V>, ProgramFault> {
    let value = match (left, right) {
        (&Datum::Number(left), &Datum::Number(right)) => {
            return Ok(Datum::Number(operation.apply(left, right)));
        }
        (Datum::Value(left), Datum::Value(right)) => left.combine(operation, right),
        (Datum::Value(left), &Datum::Number(right)) => left.with_number(operation, right),
        (&Datum::Number(left), Datum::Value(right)) => right.after_number(left, operation),
        (list @ Datum::List(_), _) | (_, list) => {
            return Err(ProgramFault::Kind {
                place,
                expected: "numbers and values",
                found: list.kind(),
            });
        }
    };
    let misfit = |misfit| ProgramFault::Misfit { place, misfit };
    value.map(Datum::Value).map_err(misfit)
}

fn index<V: Operand>(
    place: &'static str,
    of: &Datum<V>,
    item: &Item,
) -> Result<Datum<V>, ProgramFault> {
    match of {
        Datum::Value(of) => {
            let item = of.item(item).map(Datum::Value);
            item.map_err(|misfit| ProgramFault::Misfit { place, misfit })
        }
        Datum::List(items) => {
            let found = match item {
                Item::Place(number) => items.get(*number as usize).cloned(),
                Item::Name(_) => None,
            };
            found.ok_or_else(|| ProgramFault::NoItem {
                item: item.to_string(),
                length: items.len(),
            })
        }
        Datum::Number(_) => Err(ProgramFault::Kind {
            place,
            expected: "a value or a list",
            found: of.kind(),
        }),
    }
}

/// Takes `count` values off the stack, and returns them in the order in which they came.
fn values<V: Operand>(
    place: &'static str,
    count: usize,
    stack: &mut Vec<Datum<V>>,
) -> Result<Vec<V>, ProgramFault> {
    let items = stack.split_off(stack.len() - count).into_iter();
    let items = items.map(|item| part_of(place, item));
    let items = items.collect::<Result<Vec<V>, _>>()?;
    count_leaves(&items)?;
    Ok(items)
}

/// Refuses to double a tuple until nobody can pass it any more.
fn count_leaves<'v, V: Operand>(
    items: impl IntoIterator<Item = &'v V>,
) -> Result<(), ProgramFault> {
    let leaves: usize = items.into_iter().map(V::leaves).sum();
    match leaves {
        ..=LEAVES_MAX => Ok(()),
        _ => Err(ProgramFault::TooManyLeaves { limit: LEAVES_MAX }),
    }
}

fn ranges<V: Operand>(
    spans: &[Span],
    of: &V,
    place: &'static str,
) -> Result<Vec<Range<u64>>, ProgramFault> {
    let Some(shape) = of.shape() else {
        let misfit = Misfit {
            expected: "a tensor".to_owned(),
            found: "a value of several parts".to_owned(),
        };
        return Err(ProgramFault::Misfit { place, misfit });
    };
    resolve(spans, &shape).map_err(|dimension| ProgramFault::Span {
        span: spans[dimension],
        dimension,
        shape,
    })
}

/// Returns what messages call a computation: its name as programs write it.
const fn name(compute: &Compute) -> &'static str {
    match compute {
        Compute::Number(_) => "`number`",
        Compute::Arithmetic(operation) => operation.name(),
        Compute::ZerosLike => "`zeros_like`",
        Compute::Sum => "`sum`",
        Compute::Mean => "`mean`",
        Compute::ArgmaxLast => "`argmax_last`",
        Compute::Slice(_) => "`slice`",
        Compute::Patch(_) => "`patch`",
        Compute::Index(_) => "`index`",
        Compute::Replace(_) => "`replace`",
        Compute::Tuple(_) => "`tuple`",
        Compute::Map(_) => "`map`",
    }
}
