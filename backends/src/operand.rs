//! Arithmetic on burn values: that of programs, which returns a misfit, and that of operators,
//! which panics.

use std::ops::{Add, Div, Mul, Neg, Range, Sub};

use burn::tensor::Tensor;
use interloom_engine::{Misfit, Ragged};
use interloom_program::{Along, Arithmetic, Form, Item, Items, Operand};

use crate::erase::Erase;
use crate::tensor::{AnyTensor, ElementKind};
use crate::value::Value;

impl Operand for Value {
    fn shape(&self) -> Option<Vec<u64>> {
        match self {
            Self::Tensor(tensor) => Some(tensor.shape().iter().map(|&n| n as u64).collect()),
            _ => None,
        }
    }

    fn form(&self) -> Form {
        let forms = |items: &[Self]| items.iter().map(Operand::form).collect();
        match self {
            Self::Tensor(_) => Operand::shape(self).map_or(Form::Other, Form::Tensor),
            Self::Tuple(items) => Form::Tuple(forms(items)),
            Self::List(items) => Form::List(forms(items)),
            Self::Map(entries) => {
                let entries = entries.iter();
                Form::Map(
                    entries
                        .map(|(name, item)| (name.to_string(), item.form()))
                        .collect(),
                )
            }
            Self::Unit | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_) => {
                Form::Other
            }
        }
    }

    fn combine(&self, operation: Arithmetic, right: &Self) -> Result<Self, Misfit> {
        self.clone().combined(operation, right.clone())
    }

    fn with_number(&self, operation: Arithmetic, right: f64) -> Result<Self, Misfit> {
        self.clone().combined(operation, Self::Float(right))
    }

    fn after_number(&self, left: f64, operation: Arithmetic) -> Result<Self, Misfit> {
        Self::Float(left).combined(operation, self.clone())
    }

    fn zeros_like(&self) -> Result<Self, Misfit> {
        let zeros = |item: &Self| Operand::zeros_like(item);
        Ok(match self {
            Self::Tensor(tensor) => Self::Tensor(tensor.zeros_like()),
            Self::Int(_) => Self::Int(0),
            Self::Float(_) => Self::Float(0.0),
            Self::Tuple(items) => Self::Tuple(items.iter().map(zeros).collect::<Result<_, _>>()?),
            Self::List(items) => Self::List(items.iter().map(zeros).collect::<Result<_, _>>()?),
            Self::Map(entries) => {
                let zeros = |(name, item): &(_, Self)| Ok((Clone::clone(name), zeros(item)?));
                Self::Map(entries.iter().map(zeros).collect::<Result<_, _>>()?)
            }
            Self::Unit | Self::Bool(_) | Self::Text(_) => {
                return Err(self.unlike("tensors and numbers, of which there are zeros"));
            }
        })
    }

    fn sum(&self) -> Result<Self, Misfit> {
        self.any_tensor()?.sum().map(Self::Tensor)
    }

    fn mean(&self) -> Result<Self, Misfit> {
        self.any_tensor()?.mean().map(Self::Tensor)
    }

    fn abs(&self) -> Result<Self, Misfit> {
        match self {
            Self::Tensor(tensor) => tensor.abs().map(Self::Tensor),
            Self::Int(number) => Ok(number
                .checked_abs()
                .map_or_else(|| Self::Float((*number as f64).abs()), Self::Int)),
            Self::Float(number) => Ok(Self::Float(number.abs())),
            other => Err(other.unlike("a tensor or a number")),
        }
    }

    fn along(&self, operation: Along, dimension: usize) -> Result<Self, Misfit> {
        self.any_tensor()?
            .along(operation, dimension)
            .map(Self::Tensor)
    }

    fn matmul(&self, right: &Self) -> Result<Self, Misfit> {
        let (left, right) = (self.any_tensor()?, right.any_tensor()?);
        left.matmul(right).map(Self::Tensor)
    }

    fn argmax_last(&self) -> Result<Self, Misfit> {
        self.any_tensor()?.argmax_last().map(Self::Tensor)
    }

    fn slice(&self, ranges: &[Range<u64>]) -> Result<Self, Misfit> {
        self.any_tensor()?.part(ranges).map(Self::Tensor)
    }

    fn at(&self, place: u64) -> Result<Self, Misfit> {
        self.any_tensor()?.at(place).map(Self::Tensor)
    }

    fn patch(&self, ranges: &[Range<u64>], part: &Self) -> Result<Self, Misfit> {
        let part = part.any_tensor()?;
        let patched = self.any_tensor()?.with_part(ranges, part);
        patched.map(Self::Tensor)
    }

    fn ragged(&self) -> Option<&Ragged> {
        match self {
            Self::Tensor(tensor) => tensor.ragged(),
            _ => None,
        }
    }

    fn marked(self, ragged: Option<Ragged>) -> Self {
        match self {
            Self::Tensor(tensor) => Self::Tensor(tensor.marked(ragged)),
            other => other,
        }
    }

    fn plain_number(number: f64) -> Option<Self> {
        Some(Self::Float(number))
    }

    fn text(text: &str) -> Result<Self, Misfit> {
        Ok(Self::Text(text.into()))
    }

    fn tuple(items: Vec<Self>) -> Result<Self, Misfit> {
        Ok(Self::Tuple(items.into()))
    }

    fn list(items: Vec<Self>) -> Result<Self, Misfit> {
        Ok(Self::List(items.into()))
    }

    fn items(&self) -> Option<Items<Self>> {
        match self {
            Self::Tuple(items) => Some(Items::Tuple(items.to_vec())),
            Self::List(items) => Some(Items::List(items.to_vec())),
            _ => None,
        }
    }

    fn map(items: Vec<(String, Self)>) -> Result<Self, Misfit> {
        let entries = items.into_iter();
        Ok(Self::Map(
            entries.map(|(name, item)| (name.into(), item)).collect(),
        ))
    }

    fn item(&self, item: &Item) -> Result<Self, Misfit> {
        match item {
            Item::Place(place) => self.item(*place as usize),
            Item::Name(name) => self.get(name),
        }
    }

    fn with_item(&self, item: &Item, with: Self) -> Result<Self, Misfit> {
        match item {
            Item::Place(place) => self.with_item(*place as usize, with),
            Item::Name(name) => self.with_entry(name, with),
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Tensor(tensor) => tensor.number(),
            other => other.plain(),
        }
    }

    fn leaves(&self) -> usize {
        match self {
            // What is empty counts, for a tuple of such can be large.
            Self::Tuple(items) | Self::List(items) => {
                items.iter().map(Self::leaves).sum::<usize>().max(1)
            }
            Self::Map(entries) => {
                let leaves = entries.iter().map(|(_, item)| item.leaves());
                leaves.sum::<usize>().max(1)
            }
            _ => 1,
        }
    }
}

macro_rules! operators {
    ($($trait:ident, $method:ident, $operation:ident;)*) => {
        $(
            operator!([] $trait, $method, $operation: Value, Value);
            operator!([] $trait, $method, $operation: Value, &Value);
            operator!([] $trait, $method, $operation: &Value, Value);
            operator!([] $trait, $method, $operation: &Value, &Value);
            operator!([] $trait, $method, $operation: Value, f64);
            operator!([] $trait, $method, $operation: &Value, f64);
            operator!([] $trait, $method, $operation: f64, Value);
            operator!([] $trait, $method, $operation: f64, &Value);
            operator!([const D: usize, K: ElementKind]
                $trait, $method, $operation: Value, Tensor<D, K>);
            operator!([const D: usize, K: ElementKind]
                $trait, $method, $operation: Value, &Tensor<D, K>);
            operator!([const D: usize, K: ElementKind]
                $trait, $method, $operation: &Value, Tensor<D, K>);
            operator!([const D: usize, K: ElementKind]
                $trait, $method, $operation: &Value, &Tensor<D, K>);
            operator!([const D: usize, K: ElementKind]
                $trait, $method, $operation: Tensor<D, K>, Value);
            operator!([const D: usize, K: ElementKind]
                $trait, $method, $operation: Tensor<D, K>, &Value);
        )*
    };
}

macro_rules! operator {
    ([$($generics:tt)*] $trait:ident, $method:ident, $operation:ident: $left:ty, $right:ty) => {
        impl<$($generics)*> $trait<$right> for $left {
            type Output = Value;

            fn $method(self, right: $right) -> Value {
                computed(self.into_operand(), Arithmetic::$operation, right.into_operand())
            }
        }
    };
}

operators! {
    Add, add, Add;
    Sub, sub, Sub;
    Mul, mul, Mul;
    Div, div, Div;
}

impl Neg for Value {
    type Output = Self;

    fn neg(self) -> Self {
        self * -1.0
    }
}

impl Neg for &Value {
    type Output = Value;

    fn neg(self) -> Value {
        self * -1.0
    }
}

/// What stands on a side of an operator.
trait AsOperand {
    fn into_operand(self) -> Value;
}

impl AsOperand for Value {
    fn into_operand(self) -> Value {
        self
    }
}

impl AsOperand for &Value {
    fn into_operand(self) -> Value {
        self.clone()
    }
}

impl AsOperand for f64 {
    fn into_operand(self) -> Value {
        Value::Float(self)
    }
}

impl<const D: usize, K: ElementKind> AsOperand for Tensor<D, K> {
    fn into_operand(self) -> Value {
        self.erase()
    }
}

impl<const D: usize, K: ElementKind> AsOperand for &Tensor<D, K> {
    fn into_operand(self) -> Value {
        self.clone().erase()
    }
}

/// Computes an operator, which cannot return an error.
fn computed(left: Value, operation: Arithmetic, right: Value) -> Value {
    let result = left.combined(operation, right);
    result.unwrap_or_else(|misfit| panic!("arithmetic: {misfit}"))
}

impl Value {
    fn combined(self, operation: Arithmetic, right: Self) -> Result<Self, Misfit> {
        let tensor = match (self, right) {
            (Self::Tensor(left), Self::Tensor(right)) => left.combine(operation, right),
            (Self::Tensor(left), right) => left.with_number(operation, right.scalar()?),
            (left, Self::Tensor(right)) => right.after_number(left.scalar()?, operation),
            (Self::Int(left), Self::Int(right)) => return integers(operation, left, right),
            (left, right) => {
                let number = operation.apply(left.scalar()?, right.scalar()?);
                return Ok(Self::Float(number));
            }
        };
        tensor.map(Self::Tensor)
    }

    fn scalar(&self) -> Result<f64, Misfit> {
        self.plain()
            .ok_or_else(|| self.unlike("a tensor or a number"))
    }

    /// Returns the number that this is, if it is no tensor.
    fn plain(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    fn any_tensor(&self) -> Result<&AnyTensor, Misfit> {
        match self {
            Self::Tensor(tensor) => Ok(tensor),
            other => Err(other.unlike("a tensor")),
        }
    }

    fn unlike(&self, expected: &str) -> Misfit {
        Misfit {
            expected: expected.to_owned(),
            found: self.to_string(),
        }
    }
}

/// Integers stay integers, unless they are divided or become too large.
fn integers(operation: Arithmetic, left: i64, right: i64) -> Result<Value, Misfit> {
    let result = match operation {
        Arithmetic::Add => left.checked_add(right),
        Arithmetic::Sub => left.checked_sub(right),
        Arithmetic::Mul => left.checked_mul(right),
        Arithmetic::Div => None,
    };
    let float = || Value::Float(operation.apply(left as f64, right as f64));
    Ok(result.map_or_else(float, Value::Int))
}
