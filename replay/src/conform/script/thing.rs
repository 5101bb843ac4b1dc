//! What names of a script stand for: lists are references, as in the reference.

use std::cell::RefCell;
use std::rc::Rc;

use interloom_backends::Value;
use interloom_engine::program::{Arithmetic, Datum, Operand, ProgramFault, Span};
use interloom_engine::{Fault, Misfit};

use super::formula::{Function, Key};
use crate::conform::run::plain;

/// How many things there may be in one, with those in them: a list may be in itself.
const PARTS_MAX: usize = 1 << 16;

/// How deep things may be in others.
const DEPTH_MAX: usize = 64;

/// Something that a name can stand for.
#[derive(Clone)]
pub(super) enum Thing {
    Number {
        number: f64,
        is_integer: bool,
    },
    Value(Value),
    /// A list, which is the same one under all its names.
    List(Rc<RefCell<Vec<Thing>>>),
    /// A tuple in which there may be a list.
    Tuple(Rc<[Thing]>),
    /// Named things among which there may be a list.
    Map(Rc<[(String, Thing)]>),
}

impl Thing {
    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(Rc::new(RefCell::new(items)))
    }

    /// Adds to a list.
    pub(super) fn append(&self, item: Self) -> Result<(), Fault> {
        let mut items = self.as_list()?.borrow_mut();
        if items.len() >= PARTS_MAX {
            return Err(too_many());
        }
        items.push(item);
        Ok(())
    }

    pub(super) fn as_list(&self) -> Result<&RefCell<Vec<Self>>, Fault> {
        match self {
            Self::List(items) => Ok(items),
            other => Err(other.unlike("an append", "a list")),
        }
    }

    pub(super) const fn is_list(&self) -> bool {
        matches!(self, Self::List(_))
    }

    /// Returns it as a value of its own, which does not grow with the lists in it.
    pub(super) fn value(&self) -> Result<Value, Fault> {
        match self.datum()? {
            Datum::Number(number) => Ok(Value::Float(number)),
            Datum::Value(value) => Ok(value),
            Datum::List(items) => Ok(Value::List(items.iter().map(plain).collect())),
        }
    }

    /// Returns it as a value where no number and no list can be.
    pub(super) fn whole(&self, place: &'static str) -> Result<Value, Fault> {
        match self {
            Self::Number { .. } | Self::List(_) => Err(self.unlike(place, "a value")),
            other => other.value(),
        }
    }

    /// Returns it as programs save such things.
    pub(super) fn datum(&self) -> Result<Datum<Value>, Fault> {
        self.datum_within(&mut PARTS_MAX.clone(), DEPTH_MAX)
    }

    fn datum_within(&self, parts: &mut usize, depth: usize) -> Result<Datum<Value>, Fault> {
        if depth == 0 || *parts == 0 {
            return Err(too_many());
        }
        *parts -= 1;
        let mut inner = |item: &Self| item.datum_within(parts, depth - 1);
        Ok(match self {
            Self::Number { number, .. } => Datum::Number(*number),
            Self::Value(value) => Datum::Value(value.clone()),
            Self::List(items) => {
                let items = items.borrow().iter().map(inner).collect::<Result<_, _>>()?;
                Datum::List(Rc::new(items))
            }
            Self::Tuple(items) => {
                let mut item = |item| Ok(plain(&inner(item)?));
                let items: Result<_, Fault> = items.iter().map(&mut item).collect();
                Datum::Value(Value::Tuple(items?))
            }
            Self::Map(items) => {
                let mut item = |(name, item): &(String, Self)| {
                    Ok((name.as_str().into(), plain(&inner(item)?)))
                };
                let items: Result<_, Fault> = items.iter().map(&mut item).collect();
                Datum::Value(Value::Map(items?))
            }
        })
    }

    /// Returns whether it equals a number.
    pub(super) fn equals(&self, right: f64) -> Result<bool, Fault> {
        match self {
            Self::Number { number, .. } => Ok(*number == right),
            Self::Value(value) => match value.number() {
                Some(number) => Ok(number == right),
                None if value.shape().is_some() => {
                    let expected = "numbers and values of one element";
                    Err(self.unlike("a comparison", expected))
                }
                None => Ok(false),
            },
            Self::List(_) | Self::Tuple(_) | Self::Map(_) => Ok(false),
        }
    }

    pub(super) fn combine(&self, operation: Arithmetic, right: &Self) -> Result<Self, Fault> {
        let place = operation.name();
        let value = match (self, right) {
            (
                &Self::Number { number, is_integer },
                &Self::Number {
                    number: by,
                    is_integer: by_integer,
                },
            ) => {
                return Ok(Self::Number {
                    number: operation.apply(number, by),
                    is_integer: is_integer && by_integer,
                });
            }
            (left, right) if left.items().or_else(|| right.items()).is_some() => {
                return left.strung(operation, right).ok_or_else(|| {
                    let wrong = if left.items().is_some() { left } else { right };
                    wrong.unlike(place, "numbers and values")
                })?;
            }
            (Self::Value(left), Self::Value(right)) => left.combine(operation, right),
            (Self::Value(left), Self::Number { number, .. }) => {
                left.with_number(operation, *number)
            }
            (Self::Number { number, .. }, Self::Value(right)) => {
                right.after_number(*number, operation)
            }
            (_, other) => return Err(other.unlike(place, "numbers and values")),
        };
        possible(place, value).map(Self::Value)
    }

    /// Sequences of one kind one after another, or one several times; nothing if the operation does neither.
    fn strung(&self, operation: Arithmetic, right: &Self) -> Option<Result<Self, Fault>> {
        let (sequence, items) = match (operation, self, right) {
            (Arithmetic::Add, left, right) if left.is_list() == right.is_list() => {
                let mut items = left.items()?;
                items.extend(right.items()?);
                (left, items)
            }
            (
                Arithmetic::Mul,
                sequence,
                Self::Number {
                    number,
                    is_integer: true,
                },
            )
            | (
                Arithmetic::Mul,
                Self::Number {
                    number,
                    is_integer: true,
                },
                sequence,
            ) => {
                let items = sequence.items()?;
                // Whatever is below zero is as zero.
                let times = number.clamp(0.0, PARTS_MAX as f64 + 1.0) as usize;
                if items.len().saturating_mul(times) > PARTS_MAX {
                    return Some(Err(too_many()));
                }
                (sequence, vec![items; times].concat())
            }
            _ => return None,
        };
        if items.len() > PARTS_MAX {
            return Some(Err(too_many()));
        }
        Some(Ok(sequence.with_items(items)))
    }

    pub(super) fn apply(&self, function: Function) -> Result<Self, Fault> {
        let place = match function {
            Function::ZerosLike => "`zeros_like`",
            Function::Sum => "`sum`",
            Function::Clone => "`clone`",
            Function::ArgmaxLast => "`argmax_last`",
        };
        let Self::Value(value) = self else {
            return Err(self.unlike(place, "a tensor"));
        };
        let result = match function {
            Function::ZerosLike => Operand::zeros_like(value),
            Function::Sum => value.sum(),
            Function::ArgmaxLast => value.argmax_last(),
            Function::Clone if value.shape().is_some() => Ok(value.clone()),
            Function::Clone => return Err(self.unlike(place, "a tensor")),
        };
        possible(place, result).map(Self::Value)
    }

    /// Takes as much of these places as there is: of dimension 0 or of a sequence, or of more dimensions.
    pub(super) fn clip(&self, spans: &[Span]) -> Result<Self, Fault> {
        if let (Some(items), [span]) = (self.items(), spans) {
            let places = span.clip(items.len() as u64);
            // They lie within a length that is `usize`.
            let items = items[places.start as usize..places.end as usize].to_vec();
            return Ok(self.with_items(items));
        }
        let (Self::Value(value), Some(shape)) = (self, self.shape()) else {
            return Err(self.unlike("`clip`", "a tensor"));
        };
        if spans.len() > shape.len() {
            let misfit = Misfit {
                expected: format!("a tensor of {} dimensions or more", spans.len()),
                found: format!("a tensor {shape:?}"),
            };
            return possible("`clip`", Err(misfit));
        }
        let spans = spans.iter().chain(std::iter::repeat(&Span::ALL));
        let ranges: Vec<_> = spans
            .zip(&shape)
            .map(|(span, &length)| span.clip(length))
            .collect();
        possible("`clip`", value.slice(&ranges)).map(Self::Value)
    }

    pub(super) fn index(&self, key: &Key) -> Result<Self, Fault> {
        if let Self::Number { .. } = self {
            return Err(self.unlike("`index`", "a value or a list"));
        }
        let (items, shape) = (self.items(), self.shape());
        let rows = shape.and_then(|shape| shape.first().copied());
        let length = items.as_ref().map_or(rows.unwrap_or(0) as usize, Vec::len);
        let no_item = |item: String| Fault::from(ProgramFault::NoItem { item, length });
        let place = match key {
            Key::Name(name) => return self.named(name).ok_or_else(|| no_item(name.clone())),
            Key::Place(place) => *place,
        };
        let from_end = if place < 0 { length as i64 } else { 0 };
        let at = usize::try_from(place + from_end).ok();
        let at = at.filter(|&at| at < length);
        match (at, items, self) {
            (Some(at), Some(items), _) => Ok(items[at].clone()),
            (Some(at), None, Self::Value(value)) => {
                possible("`index`", value.at(at as u64)).map(Self::Value)
            }
            _ => Err(no_item(place.to_string())),
        }
    }

    fn named(&self, name: &str) -> Option<Self> {
        match self {
            Self::Map(items) => {
                let found = items.iter().find(|(key, _)| key == name);
                found.map(|(_, item)| item.clone())
            }
            Self::Value(Value::Map(items)) => {
                let found = items.iter().find(|(key, _)| &**key == name);
                found.map(|(_, item)| Self::Value(item.clone()))
            }
            _ => None,
        }
    }

    /// Returns a tuple with another first item.
    pub(super) fn with_first(&self, first: Self) -> Result<Self, Fault> {
        match self.items() {
            Some(items) if !self.is_list() => {
                let rest = items.into_iter().skip(1);
                Ok(Self::Tuple(std::iter::once(first).chain(rest).collect()))
            }
            _ => Err(self.unlike("`replace`", "a tuple")),
        }
    }

    fn shape(&self) -> Option<Vec<u64>> {
        match self {
            Self::Value(value) => value.shape(),
            _ => None,
        }
    }

    /// The items of a list or a tuple.
    fn items(&self) -> Option<Vec<Self>> {
        let values = |items: &[Value]| items.iter().cloned().map(Self::Value).collect();
        match self {
            Self::List(items) => Some(items.borrow().clone()),
            Self::Tuple(items) => Some(items.to_vec()),
            Self::Value(Value::Tuple(items)) => Some(values(items)),
            _ => None,
        }
    }

    /// A sequence of the same kind.
    fn with_items(&self, items: Vec<Self>) -> Self {
        match self.is_list() {
            true => Self::list(items),
            false => Self::Tuple(items.into()),
        }
    }

    fn unlike(&self, place: &'static str, expected: &'static str) -> Fault {
        let found = match self {
            Self::Number { .. } => "a number",
            Self::List(_) => "a list",
            Self::Tuple(_) | Self::Value(Value::Tuple(_)) => "a tuple",
            Self::Map(_) | Self::Value(Value::Map(_)) => "a map",
            Self::Value(_) => "a value",
        };
        ProgramFault::Kind {
            place,
            expected,
            found,
        }
        .into()
    }
}

fn too_many() -> Fault {
    ProgramFault::TooManyLeaves { limit: PARTS_MAX }.into()
}

fn possible<T>(place: &'static str, result: Result<T, Misfit>) -> Result<T, Fault> {
    result.map_err(|misfit| ProgramFault::Misfit { place, misfit }.into())
}
