//! What passes the sites of a burn model: tensors, and tuples, lists and maps of them.
//!
//! [`Value`] has the shape of the engine's [`Tree`](interloom_engine::Tree) but is a type of this
//! crate, since only then may it have operators, typed access to its tensors and the engine's
//! `Value`. A wrapper around the tree would have them, too, but not the variants that mediators
//! match on; a journal's records of values are trees.

use std::fmt;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use interloom_engine::{Misfit, PositionLayout, RowLayout, Rows, Ticket, View};

use crate::erase::Erase;
use crate::gradient;
use crate::tensor::{AnyTensor, ElementKind, Kind};

/// A value at a site.
///
/// Values are immutable and cheap to clone. Arithmetic works on tensors of numbers of any rank, on
/// burn's own tensors beside them, and on numbers. Shapes are aligned at their last dimension, and
/// a dimension that is missing, or of length 1, goes with any length:
///
/// ```
/// # use interloom_backends::{Erase, Value};
/// # use burn::tensor::{Device, Tensor};
/// # let device = Device::flex();
/// let h: Value = Tensor::<2>::ones([2, 3], &device).erase();
/// let direction = Tensor::<1>::from_floats([0.0, 1.0, 2.0], &device);
/// let steered = &h * 2.0 + direction - h;
/// let sum: f32 = steered.tensor::<2>()?.sum().into_scalar();
/// assert_eq!(sum, 12.0);
/// # Ok::<(), interloom_engine::Fault>(())
/// ```
///
/// Operators panic where kinds or shapes do not go together, as burn's do; inside a mediator that
/// is caught and becomes the mediator's fault.
#[derive(Clone)]
pub enum Value {
    /// Nothing.
    Unit,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text.
    Text(Arc<str>),
    /// A tensor.
    Tensor(AnyTensor),
    /// Several values: the arguments of a module, or a tuple that it returns.
    Tuple(Arc<[Value]>),
    /// A list of values.
    List(Arc<[Value]>),
    /// Named values, in their own order.
    Map(Arc<[(Arc<str>, Value)]>),
}

impl Value {
    /// Returns the tensor of floats that this value is: of the model's graph, if it has one, but
    /// without it in a backward pass.
    ///
    /// As long as a pass lasts, burn holds the lock of its graph, and an operation on a tensor of
    /// it waits for ever. So what was read before a pass and is needed in it is kept as a
    /// value, and made a tensor there.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if it is none, or not of rank `D`.
    pub fn tensor<const D: usize>(self) -> Result<Tensor<D>, Misfit> {
        self.typed()
    }

    /// Returns the tensor of kind `K` that this value is.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if it is none, or of another kind or rank.
    pub fn typed<const D: usize, K: ElementKind>(self) -> Result<Tensor<D, K>, Misfit> {
        match self {
            Self::Tensor(tensor) => tensor.typed(),
            other => Err(Misfit {
                expected: format!("a tensor of {D} dimensions and kind {}", K::ELEMENT),
                found: other.to_string(),
            }),
        }
    }

    /// Returns the `index`-th item of a tuple or list.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if the value is neither, or shorter.
    pub fn item(&self, index: usize) -> Result<Self, Misfit> {
        let item = match self {
            Self::Tuple(items) | Self::List(items) => items.get(index),
            _ => None,
        };
        item.cloned().ok_or_else(|| Misfit {
            expected: format!("a tuple or list of more than {index} items"),
            found: self.to_string(),
        })
    }

    /// Returns the tuple or list with another `index`-th item.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if the value is neither, or shorter.
    pub fn with_item(&self, index: usize, item: impl Into<Self>) -> Result<Self, Misfit> {
        self.item(index)?;
        let replaced = |items: &Arc<[Self]>| {
            let mut items = items.to_vec();
            items[index] = item.into();
            items.into()
        };
        Ok(match self {
            Self::Tuple(items) => Self::Tuple(replaced(items)),
            Self::List(items) => Self::List(replaced(items)),
            _ => unreachable!("`item` has checked it"),
        })
    }

    /// Returns the named value `key` of a map.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if the value is no map, or has no such name.
    pub fn get(&self, key: &str) -> Result<Self, Misfit> {
        let found = match self {
            Self::Map(entries) => entries.iter().find(|(name, _)| &**name == key),
            _ => None,
        };
        found.map(|(_, value)| value.clone()).ok_or_else(|| Misfit {
            expected: format!("a map with `{key}`"),
            found: self.to_string(),
        })
    }

    /// Returns the map with another named value in place of `key`.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if the value is no map, or has no such name.
    pub fn with_entry(&self, key: &str, value: impl Into<Self>) -> Result<Self, Misfit> {
        self.get(key)?;
        let Self::Map(entries) = self else {
            unreachable!("`get` has checked it")
        };
        let mut entries = entries.to_vec();
        for (name, old) in &mut entries {
            if &**name == key {
                *old = value.into();
                break;
            }
        }
        Ok(Self::Map(entries.into()))
    }

    /// Makes a tensor from its data.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if the data has no dimension, too many, or is quantised.
    pub fn from_data(data: TensorData, device: &Device) -> Result<Self, Misfit> {
        AnyTensor::from_data(data, device).map(Self::Tensor)
    }

    /// Returns the value with every tensor cut off from the graph that autodiff would follow.
    pub fn detached(self) -> Self {
        self.map_tensors(&mut |tensor| tensor.detached())
    }

    /// Returns a value of the same structure, with `f` of each tensor.
    pub fn map_tensors(self, f: &mut impl FnMut(AnyTensor) -> AnyTensor) -> Self {
        match self {
            Self::Tensor(tensor) => Self::Tensor(f(tensor)),
            Self::Tuple(items) => Self::Tuple(map_items(&items, f)),
            Self::List(items) => Self::List(map_items(&items, f)),
            Self::Map(entries) => {
                let entries = entries.iter();
                let mapped =
                    entries.map(|(key, value)| (key.clone(), value.clone().map_tensors(f)));
                Self::Map(mapped.collect())
            }
            plain => plain,
        }
    }

    /// Visits the tensors from left to right: the order in which a journal has them.
    pub fn each_tensor(&self, visit: &mut impl FnMut(&AnyTensor)) {
        match self {
            Self::Tensor(tensor) => visit(tensor),
            Self::Tuple(items) | Self::List(items) => {
                items.iter().for_each(|item| item.each_tensor(visit));
            }
            Self::Map(entries) => entries.iter().for_each(|(_, item)| item.each_tensor(visit)),
            Self::Unit | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_) => {}
        }
    }

    /// Returns how many bytes the elements of the tensors take.
    pub fn bytes(&self) -> u64 {
        let mut bytes = 0;
        self.each_tensor(&mut |tensor| bytes += tensor.bytes());
        bytes
    }

    /// Returns whether one of the tensors has no elements.
    pub(crate) fn has_empty(&self) -> bool {
        let mut has_empty = false;
        self.each_tensor(&mut |tensor| has_empty |= tensor.is_empty());
        has_empty
    }

    /// Returns whether a tensor has so many rows, that is, elements in dimension 0; nothing if
    /// there is no tensor.
    pub(crate) fn has_rows(&self, rows: u32) -> Option<bool> {
        let mut found = None;
        self.each_tensor(&mut |tensor| {
            let has_rows = tensor.shape().first() == Some(&(rows as usize));
            found = Some(found.unwrap_or(false) || has_rows);
        });
        found
    }

    /// Pairs this value's tensors with those of one that has the same structure.
    fn zip_tensors(
        self,
        other: Self,
        f: &mut impl FnMut(AnyTensor, AnyTensor) -> Result<AnyTensor, Misfit>,
    ) -> Result<Self, Misfit> {
        match (self, other) {
            (Self::Tensor(left), Self::Tensor(right)) => f(left, right).map(Self::Tensor),
            (Self::Tuple(left), Self::Tuple(right)) if left.len() == right.len() => {
                zip_items(&left, &right, f).map(Self::Tuple)
            }
            (Self::List(left), Self::List(right)) if left.len() == right.len() => {
                zip_items(&left, &right, f).map(Self::List)
            }
            (Self::Map(left), Self::Map(right)) if same_keys(&left, &right) => {
                let pairs = left.iter().zip(right.iter());
                let zipped = pairs.map(|((key, left), (_, right))| {
                    Ok((key.clone(), left.clone().zip_tensors(right.clone(), f)?))
                });
                zipped.collect::<Result<_, _>>().map(Self::Map)
            }
            (left, right) if left.is_plain_like(&right) => Ok(right),
            (left, right) => Err(misfit(&left, &right)),
        }
    }

    /// Returns whether all of it is batched tensors; `leaf` is the number of its first one.
    ///
    /// What is no tensor is replaced whole by any swap.
    fn has_only_rows(&self, leaf: &mut usize, batch: u32, layout: &RowLayout) -> bool {
        match self {
            Self::Unit => true,
            Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_) => false,
            Self::Tensor(tensor) => {
                let is_batched = is_batched(tensor, *leaf, batch, layout);
                *leaf += 1;
                is_batched
            }
            Self::Tuple(items) | Self::List(items) => {
                let mut items = items.iter();
                items.all(|item| item.has_only_rows(leaf, batch, layout))
            }
            Self::Map(entries) => {
                let mut entries = entries.iter();
                entries.all(|(_, item)| item.has_only_rows(leaf, batch, layout))
            }
        }
    }

    /// Returns whether both are of one kind without tensors.
    fn is_plain_like(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::Unit, Self::Unit)
                | (Self::Bool(_), Self::Bool(_))
                | (Self::Int(_), Self::Int(_))
                | (Self::Float(_), Self::Float(_))
                | (Self::Text(_), Self::Text(_))
        )
    }
}

impl interloom_engine::Value for Value {
    fn hooked(&self, ticket: Ticket) -> Self {
        gradient::hook(self, ticket)
    }

    fn is_loss(&self) -> Result<(), Misfit> {
        match self {
            Self::Tensor(tensor) if tensor.kind() == Kind::Float && tensor.elements() == 1 => {
                Ok(())
            }
            other => Err(Misfit {
                expected: "a float tensor of one element".to_owned(),
                found: other.to_string(),
            }),
        }
    }

    fn rows(&self, rows: Rows, batch: u32, layout: &RowLayout) -> Self {
        let mut leaf = 0;
        self.clone().map_tensors(&mut |tensor| {
            let batched = is_batched(&tensor, leaf, batch, layout);
            leaf += 1;
            if batched { tensor.rows(rows) } else { tensor }
        })
    }

    fn splice(
        &self,
        rows: Rows,
        batch: u32,
        layout: &RowLayout,
        part: Self,
    ) -> Result<Self, Misfit> {
        self.rows(rows, batch, layout).fits(&part)?;
        let mut leaf = 0;
        self.clone().zip_tensors(part, &mut |whole, part| {
            let batched = is_batched(&whole, leaf, batch, layout);
            leaf += 1;
            Ok(if batched {
                whole.with_rows(rows, part)
            } else {
                part
            })
        })
    }

    fn own(&self, view: View<'_>, positions: &PositionLayout) -> Self {
        let mut leaf = 0;
        self.clone().map_tensors(&mut |tensor| {
            leaf += 1;
            tensor.own(view, positions.of(leaf - 1))
        })
    }

    fn with_own(
        &self,
        view: View<'_>,
        positions: &PositionLayout,
        part: Self,
    ) -> Result<Self, Misfit> {
        self.own(view, positions).fits(&part)?;
        let mut leaf = 0;
        self.clone().zip_tensors(part, &mut |whole, part| {
            leaf += 1;
            Ok(whole.with_own(view, positions.of(leaf - 1), &part))
        })
    }

    fn padded(&self, view: View<'_>, positions: &PositionLayout) -> Self {
        let mut leaf = 0;
        self.clone().map_tensors(&mut |tensor| {
            leaf += 1;
            tensor.padded(view, positions.of(leaf - 1))
        })
    }

    fn fits(&self, other: &Self) -> Result<(), Misfit> {
        let fits = self.clone().zip_tensors(other.clone(), &mut |left, right| {
            check_like(&left, &right)?;
            Ok(right)
        });
        fits.map(|_| ()).map_err(|inner| within(self, other, inner))
    }

    fn splits(&self, batch: u32, layout: &RowLayout) -> bool {
        self.has_only_rows(&mut 0, batch, layout)
    }

    fn join(parts: Vec<Self>) -> Result<Self, Misfit> {
        let mut parts = parts.into_iter();
        let Some(first) = parts.next() else {
            return Ok(Self::Unit);
        };
        parts.try_fold(first, |joined, part| {
            joined.zip_tensors(part, &mut |left, right| {
                let inner = |tensor: &AnyTensor| {
                    (tensor.kind(), tensor.dtype(), tensor.shape()[1..].to_vec())
                };
                if inner(&left) != inner(&right) {
                    return Err(misfit(&left, &right));
                }
                Ok(AnyTensor::join(vec![left, right]))
            })
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit => f.write_str("nothing"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(value) => write!(f, "{value:?}"),
            Self::Tensor(tensor) => write!(f, "{tensor}"),
            Self::Tuple(items) => write_items(f, "(", items, ")"),
            Self::List(items) => write_items(f, "[", items, "]"),
            Self::Map(entries) => {
                f.write_str("{")?;
                for (index, (key, value)) in entries.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { ", " })?;
                    write_key(f, key)?;
                    write!(f, ": {value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The name of a function, for an operation's `fn`.
impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl<const D: usize, K: ElementKind> From<Tensor<D, K>> for Value {
    fn from(tensor: Tensor<D, K>) -> Self {
        tensor.erase()
    }
}

fn map_items(items: &[Value], f: &mut impl FnMut(AnyTensor) -> AnyTensor) -> Arc<[Value]> {
    items
        .iter()
        .map(|item| item.clone().map_tensors(f))
        .collect()
}

fn zip_items(
    left: &[Value],
    right: &[Value],
    f: &mut impl FnMut(AnyTensor, AnyTensor) -> Result<AnyTensor, Misfit>,
) -> Result<Arc<[Value]>, Misfit> {
    let pairs = left.iter().zip(right);
    pairs
        .map(|(left, right)| left.clone().zip_tensors(right.clone(), f))
        .collect()
}

fn same_keys(left: &[(Arc<str>, Value)], right: &[(Arc<str>, Value)]) -> bool {
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .all(|((left, _), (right, _))| left == right)
}

fn is_batched(tensor: &AnyTensor, leaf: usize, batch: u32, layout: &RowLayout) -> bool {
    let dimension_0 = tensor.shape().first().map(|&length| length as u64);
    layout.is_batched(leaf, dimension_0, batch)
}

fn check_like(expected: &AnyTensor, found: &AnyTensor) -> Result<(), Misfit> {
    if !expected.is_like(found) {
        return Err(misfit(expected, found));
    }
    // In a backward pass nothing can be added to the graph, which burn holds.
    if gradient::is_inside() && found.is_tracked() {
        return Err(Misfit {
            expected: format!("{expected} without a graph"),
            found: format!("{found} of a graph that is in use; detach it"),
        });
    }
    Ok(())
}

fn misfit(expected: &impl fmt::Display, found: &impl fmt::Display) -> Misfit {
    Misfit {
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

/// Says where two structures differ, and what the whole ones are.
fn within(expected: &Value, found: &Value, inner: Misfit) -> Misfit {
    let whole = misfit(expected, found);
    match whole == inner {
        true => whole,
        false => Misfit {
            expected: format!("{} within {}", inner.expected, whole.expected),
            found: format!("{} within {}", inner.found, whole.found),
        },
    }
}

fn write_items(
    f: &mut fmt::Formatter<'_>,
    open: &str,
    items: &[Value],
    close: &str,
) -> fmt::Result {
    f.write_str(open)?;
    for (index, item) in items.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(f, "{comma}{item}")?;
    }
    f.write_str(close)
}

/// A name that could be taken for something else is put in quotation marks.
fn write_key(f: &mut fmt::Formatter<'_>, key: &str) -> fmt::Result {
    let is_plain = |character: char| character.is_alphanumeric() || "_-./".contains(character);
    match !key.is_empty() && key.chars().all(is_plain) {
        true => f.write_str(key),
        false => write!(f, "{key:?}"),
    }
}
