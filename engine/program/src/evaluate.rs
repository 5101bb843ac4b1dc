//! The instructions that compute, on a stack of data.

use std::ops::Range;
use std::rc::Rc;

use interloom_engine::{Misfit, ProgramFault};

use crate::compile::{Compute, resolve};
use crate::datum::Datum;
use crate::expr::{Item, Span};
use crate::operand::{Arithmetic, Items, Operand, resolve_dimension};
use crate::ragged::{self, Mark};

/// How many tensors a tuple or map may have in it: each exchange of it visits all of them.
const LEAVES_MAX: usize = 1 << 16;

/// Computes what needs the stack only, and returns the result.
pub(crate) fn compute<V: Operand>(
    compute: &Compute,
    stack: &mut Vec<Datum<V>>,
) -> Result<Datum<V>, ProgramFault> {
    let place = name(compute);
    let operands = operands(compute, stack);
    ragged::check(compute, place, &operands)?;
    let value = match compute {
        Compute::Number(number) => return Ok(Datum::Number(*number)),
        Compute::Text(text) => V::text(text),
        Compute::Arithmetic(operation) => {
            let (right, left) = (pop(stack), pop(stack));
            let result = arithmetic(*operation, place, &left, &right)?;
            return Ok(kept(result, &operands));
        }
        Compute::Index(item) => return index(place, &pop(stack), item),
        Compute::Clip(spans) => return clip(place, pop(stack), spans),
        Compute::ZerosLike => value_of(place, pop(stack))?.zeros_like(),
        Compute::Sum => value_of(place, pop(stack))?.sum(),
        Compute::Mean => value_of(place, pop(stack))?.mean(),
        Compute::Abs => value_of(place, pop(stack))?.abs(),
        Compute::Along(operation, dimension) => {
            let of = value_of(place, pop(stack))?;
            dimension_of(&of, *dimension).and_then(|dimension| of.along(*operation, dimension))
        }
        Compute::Matmul => {
            let (right, left) = (pop(stack), value_of(place, pop(stack))?);
            left.matmul(&value_of(place, right)?)
        }
        Compute::ArgmaxLast => value_of(place, pop(stack))?.argmax_last(),
        Compute::Slice(spans) => {
            let of = value_of(place, pop(stack))?;
            return ragged::slice(place, &of, spans).map(Datum::Value);
        }
        Compute::Patch(spans) => {
            let (with, of) = (pop(stack), value_of(place, pop(stack))?);
            let patched = match with {
                Datum::Number(number) => {
                    ragged::patch(place, &of, spans, |part| filled(part, number))
                }
                with => {
                    let with = value_of(place, with)?;
                    ragged::patch(place, &of, spans, |_| Ok(with))
                }
            };
            return patched.map(Datum::Value);
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
    let misfit = |misfit| ProgramFault::Misfit {
        place: place.into(),
        misfit,
    };
    let value = value.map(Datum::Value).map_err(misfit)?;
    Ok(match compute {
        Compute::ZerosLike | Compute::Abs | Compute::Along(..) | Compute::Matmul => {
            kept(value, &operands)
        }
        _ => value,
    })
}

/// Returns the values that a computation is about to take off the stack, in order, if one of them
/// is marked and it depends on that.
fn operands<V: Operand>(compute: &Compute, stack: &[Datum<V>]) -> Vec<V> {
    let count = match compute {
        Compute::Arithmetic(_) | Compute::Matmul => 2,
        Compute::Sum
        | Compute::Mean
        | Compute::Clip(_)
        | Compute::Along(..)
        | Compute::ArgmaxLast
        | Compute::ZerosLike
        | Compute::Abs => 1,
        _ => 0,
    };
    let uppermost = &stack[stack.len().saturating_sub(count)..];
    let values = uppermost.iter().filter_map(|datum| match datum {
        Datum::Value(value) => Some(value),
        Datum::Number(_) | Datum::List(_) => None,
    });
    match values.clone().any(|value| value.ragged().is_some()) {
        true => values.cloned().collect(),
        // Not cloned, so that they are computed with in place.
        false => Vec::new(),
    }
}

/// Gives a result the mark of its operands, if it has their positions.
fn kept<V: Operand>(result: Datum<V>, operands: &[V]) -> Datum<V> {
    match (result, operands.iter().find_map(Mark::of)) {
        (Datum::Value(value), Some(mark)) => Datum::Value(mark.keep(value)),
        (result, _) => result,
    }
}

/// Takes the uppermost datum off the stack.
///
/// # Panics
///
/// Panics if there is none, which is a defect of the compiler.
pub(crate) fn pop<V>(stack: &mut Vec<Datum<V>>) -> Datum<V> {
    stack
        .pop()
        .expect("the compiler counts what is on the stack")
}

/// Returns the value that a datum is.
pub(crate) fn value_of<V>(place: &'static str, datum: Datum<V>) -> Result<V, ProgramFault> {
    match datum {
        Datum::Value(value) => Ok(value),
        other => Err(ProgramFault::Kind {
            place: place.into(),
            expected: "a value".into(),
            found: other.kind().into(),
        }),
    }
}

/// Returns the value that a datum is where it may be a number or a list, if this kind of value has
/// such: as a part of another, or on the blackboard.
pub(crate) fn part_of<V: Operand>(place: &'static str, datum: Datum<V>) -> Result<V, ProgramFault> {
    match &datum {
        Datum::Number(number) => match V::plain_number(*number) {
            Some(number) => Ok(number),
            None => value_of(place, datum),
        },
        Datum::List(items) => {
            let items = items.iter().map(|item| part_of(place, item.clone()));
            let list = V::list(items.collect::<Result<_, _>>()?);
            list.map_err(|misfit| ProgramFault::Misfit {
                place: place.into(),
                misfit,
            })
        }
        Datum::Value(_) => value_of(place, datum),
    }
}

/// Returns the items of a list, of the program or of a value; nothing if the datum is no list.
pub(crate) fn items_of<V: Operand>(datum: &Datum<V>) -> Option<Rc<Vec<Datum<V>>>> {
    match datum {
        Datum::List(items) => Some(items.clone()),
        Datum::Value(value) => match value.items()? {
            Items::List(items) => {
                let items = items.into_iter().map(Datum::Value);
                Some(Rc::new(items.collect()))
            }
            Items::Tuple(_) => None,
        },
        Datum::Number(_) => None,
    }
}

/// Refuses a list that would be nested too deeply for a site to pass.
pub(crate) fn check_nested<V: Operand>(
    list: &[Datum<V>],
    item: &Datum<V>,
) -> Result<(), ProgramFault> {
    if items_of(item).is_none() {
        return Ok(());
    }
    let leaves = list.iter().map(leaves).sum::<usize>() + leaves(item);
    check_leaves(leaves)
}

/// Returns how many things without structure there are in a datum; what is empty counts as one.
fn leaves<V: Operand>(datum: &Datum<V>) -> usize {
    match datum {
        Datum::Number(_) => 1,
        Datum::Value(value) => value.leaves().max(1),
        Datum::List(items) => items.iter().map(leaves).sum::<usize>().max(1),
    }
}

/// Returns a tensor like a part, with one number everywhere.
fn filled<V: Operand>(part: &V, number: f64) -> Result<V, Misfit> {
    part.zeros_like()?.with_number(Arithmetic::Add, number)
}

/// Returns the number that a datum is, or the value of one element in it.
pub(crate) fn number_of<V: Operand>(datum: Datum<V>) -> Result<f64, ProgramFault> {
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
        place: "a comparison".into(),
        expected: "numbers and values of one element".into(),
        found: found.into(),
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
                place: place.into(),
                expected: "numbers and values".into(),
                found: list.kind().into(),
            });
        }
    };
    let misfit = |misfit| ProgramFault::Misfit {
        place: place.into(),
        misfit,
    };
    value.map(Datum::Value).map_err(misfit)
}

fn index<V: Operand>(
    place: &'static str,
    of: &Datum<V>,
    item: &Item,
) -> Result<Datum<V>, ProgramFault> {
    match of {
        Datum::Value(of) => {
            let item = match item {
                // A place in a tensor is one of its first dimension; all else has items.
                Item::Place(place) if of.shape().is_some() => ragged::at(of, (*place).into()),
                item => of.item(item),
            };
            let item = item.map(Datum::Value);
            item.map_err(|misfit| ProgramFault::Misfit {
                place: place.into(),
                misfit,
            })
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
            place: place.into(),
            expected: "a value or a list".into(),
            found: of.kind().into(),
        }),
    }
}

fn clip<V: Operand>(
    place: &'static str,
    of: Datum<V>,
    spans: &[Span],
) -> Result<Datum<V>, ProgramFault> {
    let misfit = |misfit| ProgramFault::Misfit {
        place: place.into(),
        misfit,
    };
    // A list is a datum of the program, and a tuple a value of the model; both have one dimension.
    if let Some(items) = items_of(&of) {
        let range = places(spans, items.len()).map_err(misfit)?;
        return Ok(Datum::List(Rc::new(items[range].to_vec())));
    }
    let of = value_of(place, of)?;
    if let Some(Items::Tuple(items)) = of.items() {
        let range = places(spans, items.len()).map_err(misfit)?;
        let part = V::tuple(items[range].to_vec());
        return part.map(Datum::Value).map_err(misfit);
    }
    let Some(shape) = of.shape().filter(|shape| spans.len() <= shape.len()) else {
        return Err(misfit(Misfit {
            expected: format!(
                "a tuple, a list, or a tensor of {} dimensions or more",
                spans.len()
            ),
            found: match of.shape() {
                Some(shape) => format!("a tensor {shape:?}"),
                None => "a value of several parts".to_owned(),
            },
        }));
    };
    let spans = spans.iter().chain(std::iter::repeat(&Span::ALL));
    let ranges: Vec<_> = spans
        .zip(&shape)
        .map(|(span, &length)| span.clip(length))
        .collect();
    of.slice(&ranges).map(Datum::Value).map_err(misfit)
}

/// Returns the places of the items that one span takes.
fn places(spans: &[Span], length: usize) -> Result<Range<usize>, Misfit> {
    let [span] = spans else {
        return Err(Misfit {
            expected: "one span, for a tuple or a list".to_owned(),
            found: format!("{} of them", spans.len()),
        });
    };
    // They lie within a length that is `usize`.
    let Range { start, end } = span.clip(length as u64);
    Ok(start as usize..end as usize)
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

/// Refuses a tuple that would have too many tensors for a site to pass.
fn count_leaves<'v, V: Operand>(
    items: impl IntoIterator<Item = &'v V>,
) -> Result<(), ProgramFault> {
    check_leaves(items.into_iter().map(V::leaves).sum())
}

fn check_leaves(leaves: usize) -> Result<(), ProgramFault> {
    match leaves {
        ..=LEAVES_MAX => Ok(()),
        _ => Err(ProgramFault::TooManyLeaves { limit: LEAVES_MAX }),
    }
}

/// Returns the dimension of a tensor that is meant, from the first.
pub(crate) fn dimension_of<V: Operand>(of: &V, dimension: i32) -> Result<usize, Misfit> {
    let shape = of.shape();
    let found = shape
        .as_ref()
        .and_then(|shape| resolve_dimension(dimension, shape.len()));
    found.ok_or_else(|| Misfit {
        expected: format!("a tensor with a dimension {dimension}"),
        found: match shape {
            Some(shape) => format!("a tensor {shape:?}"),
            None => "a value that is no tensor".to_owned(),
        },
    })
}

pub(crate) fn ranges<V: Operand>(
    spans: &[Span],
    of: &V,
    place: &'static str,
) -> Result<Vec<Range<u64>>, ProgramFault> {
    let Some(shape) = of.shape() else {
        let misfit = Misfit {
            expected: "a tensor".to_owned(),
            found: "a value of several parts".to_owned(),
        };
        return Err(ProgramFault::Misfit {
            place: place.into(),
            misfit,
        });
    };
    resolve(spans, &shape).map_err(|dimension| ProgramFault::Span {
        start: spans[dimension].start,
        end: spans[dimension].end,
        dimension,
        shape,
    })
}

/// Returns what messages call a computation: its name as programs write it.
const fn name(compute: &Compute) -> &'static str {
    match compute {
        Compute::Number(_) => "`number`",
        Compute::Text(_) => "`text`",
        Compute::Arithmetic(operation) => operation.name(),
        Compute::ZerosLike => "`zeros_like`",
        Compute::Sum => "`sum`",
        Compute::Mean => "`mean`",
        Compute::Abs => "`abs`",
        Compute::Along(operation, _) => operation.name(),
        Compute::Matmul => "`matmul`",
        Compute::ArgmaxLast => "`argmax_last`",
        Compute::Slice(_) => "`slice`",
        Compute::Clip(_) => "`clip`",
        Compute::Patch(_) => "`patch`",
        Compute::Index(_) => "`index`",
        Compute::Replace(_) => "`replace`",
        Compute::Tuple(_) => "`tuple`",
        Compute::Map(_) => "`map`",
    }
}
