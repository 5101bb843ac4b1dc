//! What names can stand for; lists are references.

use std::cell::RefCell;
use std::rc::Rc;

use super::formula::{Function, Key};
use super::{Operation, Span, Tensor, Wrong};
use crate::outcome::Item;

/// How many things there may be in one: a list may be in itself.
const PARTS_MAX: usize = 1 << 16;

/// How deep things may be in others.
const DEPTH_MAX: usize = 64;

/// Something that a name can stand for.
#[derive(Clone, Debug)]
pub(crate) enum Thing<T> {
    None,
    Bool(bool),
    Number {
        number: f64,
        is_integer: bool,
    },
    /// Something that scenarios only pass on.
    Opaque(Rc<str>),
    Tensor(T),
    Tuple(Rc<[Thing<T>]>),
    /// A list, which is the same one under all its names.
    List(Rc<RefCell<Vec<Thing<T>>>>),
    Map(Rc<[(String, Thing<T>)]>),
}

/// Arguments of a call, by place and by name.
type Arguments<T> = (Vec<T>, Vec<(String, T)>);

impl<T: Tensor> Thing<T> {
    pub(crate) fn list(items: Vec<Self>) -> Self {
        Self::List(Rc::new(RefCell::new(items)))
    }

    pub(crate) const fn float(number: f64) -> Self {
        Self::Number {
            number,
            is_integer: false,
        }
    }

    pub(crate) const fn integer(number: u32) -> Self {
        Self::Number {
            number: number as f64,
            is_integer: true,
        }
    }

    /// All arguments of a module: those by place, and a map of those by name.
    pub(crate) fn call(places: Vec<Self>, names: Vec<(String, Self)>) -> Self {
        Self::Tuple([Self::Tuple(places.into()), Self::Map(names.into())].into())
    }

    /// The arguments by place and by name, if this is what a module was called with.
    pub(crate) fn arguments(&self) -> Option<Arguments<Self>> {
        match self {
            Self::Tuple(both) => match &both[..] {
                [Self::Tuple(places), Self::Map(names)] => Some((places.to_vec(), names.to_vec())),
                _ => None,
            },
            _ => None,
        }
    }

    /// The first argument, by place or else by name.
    pub(crate) fn first_argument(&self) -> Result<Self, Wrong> {
        let (places, names) = self.arguments().ok_or(Wrong::Type)?;
        let names = names.into_iter().map(|(_, item)| item);
        places.into_iter().chain(names).next().ok_or(Wrong::Index)
    }

    /// The same arguments with another first one.
    pub(crate) fn with_first_argument(&self, first: Self) -> Result<Self, Wrong> {
        let (mut places, names) = self.arguments().ok_or(Wrong::Type)?;
        *places.first_mut().ok_or(Wrong::Index)? = first;
        Ok(Self::call(places, names))
    }

    /// Returns the thing with tensors of its own: they do not change with those that they were
    /// copied from.
    pub(super) fn snapshot(&self) -> Self {
        match self {
            Self::Tensor(tensor) => Self::Tensor(tensor.copy()),
            Self::Tuple(items) => Self::Tuple(items.iter().map(Self::snapshot).collect()),
            Self::Map(items) => {
                let items = items.iter();
                Self::Map(
                    items
                        .map(|(name, item)| (name.clone(), item.snapshot()))
                        .collect(),
                )
            }
            other => other.clone(),
        }
    }

    /// Returns it as it can be compared; nothing if a list in it is in itself, or there are too
    /// many things in it.
    pub(crate) fn item(&self) -> Option<Item> {
        self.item_within(&mut PARTS_MAX.clone(), DEPTH_MAX)
    }

    fn item_within(&self, parts: &mut usize, depth: usize) -> Option<Item> {
        *parts = parts.checked_sub(1)?;
        let depth = depth.checked_sub(1)?;
        let mut all = |items: &[Self]| {
            let items = items.iter().map(|item| item.item_within(parts, depth));
            items.collect::<Option<_>>().map(Item::Sequence)
        };
        Some(match self {
            Self::None => Item::None,
            Self::Bool(truth) => Item::Bool(*truth),
            Self::Number { number, .. } => Item::Number(*number),
            Self::Opaque(name) => Item::Text(name.to_string()),
            Self::Tensor(tensor) => tensor.item(),
            Self::Tuple(items) => all(items)?,
            Self::List(items) => all(&items.borrow())?,
            Self::Map(items) => {
                let items = items.iter();
                let items =
                    items.map(|(name, item)| Some((name.clone(), item.item_within(parts, depth)?)));
                Item::Map(items.collect::<Option<_>>()?)
            }
        })
    }

    /// Adds to a list.
    pub(super) fn append(&self, item: Self) -> Result<(), Wrong> {
        let Self::List(items) = self else {
            return Err(Wrong::Type);
        };
        let mut items = items.borrow_mut();
        if items.len() >= PARTS_MAX {
            return Err(Wrong::Type);
        }
        items.push(item);
        Ok(())
    }

    pub(super) const fn is_list(&self) -> bool {
        matches!(self, Self::List(_))
    }

    /// Returns whether it equals a number; several elements are neither equal nor unequal.
    pub(super) fn equals(&self, right: f64) -> Result<bool, Wrong> {
        match self {
            Self::Number { number, .. } => Ok(*number == right),
            Self::Bool(truth) => Ok(f64::from(*truth) == right),
            Self::Tensor(tensor) => match tensor.number() {
                Some(number) => Ok(number == right),
                None => Err(Wrong::Shape),
            },
            _ => Ok(false),
        }
    }

    pub(super) fn combine(&self, operation: Operation, right: &Self) -> Result<Self, Wrong> {
        let (left, is_string) = (self, self.items().or_else(|| right.items()).is_some());
        match (left, right) {
            (
                &Self::Number { number, is_integer },
                &Self::Number {
                    number: by,
                    is_integer: by_integer,
                },
            ) => Ok(Self::Number {
                number: operation.apply(number, by),
                is_integer: is_integer && by_integer,
            }),
            _ if is_string => left.strung(operation, right),
            (Self::Tensor(left), Self::Tensor(right)) => {
                let combined = left.combine(operation, right);
                combined.map(Self::Tensor).ok_or(Wrong::Shape)
            }
            (Self::Tensor(left), &Self::Number { number, .. }) => {
                let combined = left.with_number(operation, number, false);
                combined.map(Self::Tensor).ok_or(Wrong::Type)
            }
            (&Self::Number { number, .. }, Self::Tensor(right)) => {
                let combined = right.with_number(operation, number, true);
                combined.map(Self::Tensor).ok_or(Wrong::Type)
            }
            _ => Err(Wrong::Type),
        }
    }

    /// Sequences of one kind one after another, or one several times.
    fn strung(&self, operation: Operation, right: &Self) -> Result<Self, Wrong> {
        let (sequence, items) = match (operation, self, right) {
            (Operation::Add, left, right) if left.is_list() == right.is_list() => {
                let mut items = left.items().ok_or(Wrong::Type)?;
                items.extend(right.items().ok_or(Wrong::Type)?);
                (left, items)
            }
            (
                Operation::Mul,
                sequence,
                &Self::Number {
                    number,
                    is_integer: true,
                },
            )
            | (
                Operation::Mul,
                &Self::Number {
                    number,
                    is_integer: true,
                },
                sequence,
            ) => {
                let items = sequence.items().ok_or(Wrong::Type)?;
                // Whatever is below zero is as zero.
                let times = number.clamp(0.0, PARTS_MAX as f64) as usize;
                if items.len().saturating_mul(times) > PARTS_MAX {
                    return Err(Wrong::Type);
                }
                (sequence, vec![items; times].concat())
            }
            _ => return Err(Wrong::Type),
        };
        if items.len() > PARTS_MAX {
            return Err(Wrong::Type);
        }
        Ok(sequence.with_items(items))
    }

    pub(super) fn apply(&self, function: Function) -> Result<Self, Wrong> {
        let Self::Tensor(tensor) = self else {
            return Err(Wrong::Type);
        };
        let result = match function {
            Function::ZerosLike => tensor.zeros(),
            Function::Sum => tensor.sum(),
            Function::ArgmaxLast => tensor.argmax_last(),
            Function::Clone => Some(tensor.copy()),
        };
        result.map(Self::Tensor).ok_or(Wrong::Index)
    }

    /// Takes as much of these places as there is: of dimension 0 or of a sequence, or of more
    /// dimensions.
    pub(super) fn clip(&self, spans: &[Span]) -> Result<Self, Wrong> {
        if let (Some(items), [span]) = (self.items(), spans) {
            return Ok(self.with_items(items[span.clip(items.len())].to_vec()));
        }
        let Self::Tensor(tensor) = self else {
            return Err(Wrong::Type);
        };
        let shape = tensor.shape();
        if spans.len() > shape.len() {
            return Err(Wrong::Index);
        }
        let spans = spans.iter().zip(&shape);
        let places: Vec<_> = spans.map(|(span, &length)| span.clip(length)).collect();
        tensor.slice(&places).map(Self::Tensor).ok_or(Wrong::Index)
    }

    pub(super) fn index(&self, key: &Key) -> Result<Self, Wrong> {
        let place = match (key, self) {
            (Key::Name(name), Self::Map(items)) => {
                let found = items.iter().find(|(other, _)| other == name);
                return found.map(|(_, item)| item.clone()).ok_or(Wrong::Index);
            }
            (Key::Name(_), _) => return Err(Wrong::Type),
            (Key::Place(place), _) => *place,
        };
        let at = |length: usize| {
            let from_end = if place < 0 { length as i64 } else { 0 };
            let at = usize::try_from(place + from_end).ok();
            at.filter(|&at| at < length).ok_or(Wrong::Index)
        };
        match (self.items(), self) {
            (Some(items), _) => Ok(items[at(items.len())?].clone()),
            (None, Self::Tensor(tensor)) => {
                let length = tensor.shape().first().copied().ok_or(Wrong::Index)?;
                tensor.at(at(length)?).map(Self::Tensor).ok_or(Wrong::Index)
            }
            (None, Self::Map(_)) => Err(Wrong::Index),
            (None, _) => Err(Wrong::Type),
        }
    }

    /// Returns a tuple with another first item.
    pub(super) fn with_first(&self, first: Self) -> Result<Self, Wrong> {
        match self {
            Self::Tuple(items) => {
                let rest = items.iter().skip(1).cloned();
                Ok(Self::Tuple(std::iter::once(first).chain(rest).collect()))
            }
            _ => Err(Wrong::Type),
        }
    }

    /// The items of a list or a tuple.
    fn items(&self) -> Option<Vec<Self>> {
        match self {
            Self::List(items) => Some(items.borrow().clone()),
            Self::Tuple(items) => Some(items.to_vec()),
            _ => None,
        }
    }

    /// A sequence of the same kind.
    fn with_items(&self, items: Vec<Self>) -> Self {
        if self.is_list() {
            Self::list(items)
        } else {
            Self::Tuple(items.into())
        }
    }
}
