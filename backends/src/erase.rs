//! The types that can pass a site, and how they get their type back.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::Tensor;
use interloom_engine::Misfit;

use crate::tensor::{AnyTensor, ElementKind};
use crate::value::Value;

/// A type that can pass a site: it becomes a [`Value`], and a value becomes it again, checked.
///
/// Tensors, numbers, text, and tuples, vectors, options and string maps of them implement it. For a
/// type of your own, a struct of outputs say, write the two functions in terms of a tuple or a map.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot pass a site: it has no `Erase`",
    label = "no value at a site can be made of `{Self}`",
    note = "tensors, numbers, text, and tuples, vectors, options and string maps of them can",
    note = "for a struct of your own, implement `interloom_backends::Erase` in terms of a tuple or \
            a map of its fields",
    note = "what need not be seen is captured instead: \
            `hooked.call(input, |module, input| module.forward(input, &mut cache))`"
)]
pub trait Erase: Sized {
    /// Whether a value of the type is an operand of a computation, rather than a size, a flag or a
    /// text: at an [operation](crate::Operations) only operands are shown.
    const IS_OPERAND: bool = true;

    /// Forgets the type.
    fn erase(self) -> Value;

    /// Gets the type back.
    ///
    /// # Errors
    ///
    /// [`Misfit`] if the value is of another structure, kind or rank.
    fn recover(value: Value) -> Result<Self, Misfit>;
}

impl Erase for Value {
    fn erase(self) -> Value {
        self
    }

    fn recover(value: Value) -> Result<Self, Misfit> {
        Ok(value)
    }
}

impl<const D: usize, K: ElementKind> Erase for Tensor<D, K> {
    fn erase(self) -> Value {
        Value::Tensor(AnyTensor::new(self))
    }

    fn recover(value: Value) -> Result<Self, Misfit> {
        value.typed()
    }
}

macro_rules! plain {
    ($type:ty, $variant:ident, $is_operand:literal, $name:literal, $into:expr, $from:expr) => {
        impl Erase for $type {
            const IS_OPERAND: bool = $is_operand;

            fn erase(self) -> Value {
                Value::$variant($into(self))
            }

            fn recover(value: Value) -> Result<Self, Misfit> {
                match value {
                    Value::$variant(value) => $from(value),
                    other => Err(expected($name, &other)),
                }
            }
        }
    };
}

plain!(bool, Bool, false, "a truth value", |value| value, Ok);
plain!(i64, Int, false, "an integer", |value| value, Ok);
plain!(f64, Float, true, "a number", |value| value, Ok);
plain!(
    usize,
    Int,
    false,
    "an integer that is not negative",
    |value: usize| value as i64,
    |value: i64| {
        usize::try_from(value)
            .map_err(|_| expected("an integer that is not negative", &Value::Int(value)))
    }
);
plain!(
    String,
    Text,
    false,
    "text",
    Arc::from,
    |value: Arc<str>| Ok(value.to_string())
);

impl Erase for () {
    const IS_OPERAND: bool = false;

    fn erase(self) -> Value {
        Value::Unit
    }

    fn recover(value: Value) -> Result<Self, Misfit> {
        match value {
            Value::Unit => Ok(()),
            other => Err(expected("nothing", &other)),
        }
    }
}

impl<T: Erase> Erase for Option<T> {
    const IS_OPERAND: bool = T::IS_OPERAND;

    fn erase(self) -> Value {
        self.map_or(Value::Unit, T::erase)
    }

    fn recover(value: Value) -> Result<Self, Misfit> {
        match value {
            Value::Unit => Ok(None),
            value => T::recover(value).map(Some),
        }
    }
}

impl<T: Erase> Erase for Vec<T> {
    const IS_OPERAND: bool = T::IS_OPERAND;

    fn erase(self) -> Value {
        Value::List(self.into_iter().map(T::erase).collect())
    }

    fn recover(value: Value) -> Result<Self, Misfit> {
        match value {
            Value::List(items) => items.iter().cloned().map(T::recover).collect(),
            other => Err(expected("a list", &other)),
        }
    }
}

impl<T: Erase> Erase for BTreeMap<String, T> {
    const IS_OPERAND: bool = T::IS_OPERAND;

    fn erase(self) -> Value {
        let entries = self.into_iter();
        Value::Map(
            entries
                .map(|(key, value)| (key.into(), value.erase()))
                .collect(),
        )
    }

    fn recover(value: Value) -> Result<Self, Misfit> {
        let Value::Map(entries) = value else {
            return Err(expected("a map", &value));
        };
        let entries = entries.iter();
        entries
            .map(|(key, value)| Ok((key.to_string(), T::recover(value.clone())?)))
            .collect()
    }
}

macro_rules! tuple {
    ($count:literal; $($name:ident)*) => {
        impl<$($name: Erase),*> Erase for ($($name,)*) {
            const IS_OPERAND: bool = $($name::IS_OPERAND)||*;

            fn erase(self) -> Value {
                #[allow(non_snake_case, reason = "one variable for each type")]
                let ($($name,)*) = self;
                Value::Tuple([$($name.erase()),*].into())
            }

            fn recover(value: Value) -> Result<Self, Misfit> {
                match &value {
                    Value::Tuple(items) if items.len() == $count => {
                        let mut items = items.iter().cloned();
                        Ok(($($name::recover(items.next().expect("the length was checked"))?,)*))
                    }
                    other => Err(expected(concat!("a tuple of ", $count), other)),
                }
            }
        }
    };
}

tuple!(1; A);
tuple!(2; A B);
tuple!(3; A B C);
tuple!(4; A B C D);
tuple!(5; A B C D E);
tuple!(6; A B C D E F);

fn expected(what: &str, found: &Value) -> Misfit {
    Misfit {
        expected: what.to_owned(),
        found: found.to_string(),
    }
}
