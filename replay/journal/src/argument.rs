//! The arguments of an experiment, as a journal's head keeps them.

use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One argument. It is serialised as the plain value, so that any msgpack or JSON reader gets a
/// text, an integer, a float, a boolean or a list.
#[derive(Clone, Debug)]
pub enum Argument {
    /// A text.
    Text(String),
    /// An integer.
    Int(i64),
    /// A float, compared by its bits.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// A list of arguments.
    List(Vec<Argument>),
}

impl PartialEq for Argument {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Argument {}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Bool(truth) => write!(f, "{truth}"),
            Self::List(items) => {
                f.write_str("[")?;
                for (position, item) in items.iter().enumerate() {
                    let separator = if position == 0 { "" } else { ", " };
                    write!(f, "{separator}{item}")?;
                }
                f.write_str("]")
            }
        }
    }
}

impl From<&str> for Argument {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Argument {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Argument {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<f64> for Argument {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Argument {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl Serialize for Argument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::List(items) => items.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ArgumentVisitor)
    }
}

struct ArgumentVisitor;

impl<'de> Visitor<'de> for ArgumentVisitor {
    type Value = Argument;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, integer, float, truth value or list")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Argument, E> {
        Ok(Argument::Text(text.to_owned()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Argument, E> {
        Ok(Argument::Int(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Argument, E> {
        i64::try_from(number)
            .map(Argument::Int)
            .map_err(|_| E::custom(format!("{number} does not fit in 64 bits with a sign")))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Argument, E> {
        Ok(Argument::Float(number))
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Argument, E> {
        Ok(Argument::Bool(truth))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Argument, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Argument::List(list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_plain_values_in_json_and_msgpack() {
        let list = Argument::List(vec![
            "a".into(),
            7.into(),
            (-7).into(),
            0.5.into(),
            2.0.into(),
            true.into(),
            Argument::List(vec![]),
        ]);
        let json = serde_json::to_string(&list).unwrap();
        assert_eq!(json, r#"["a",7,-7,0.5,2.0,true,[]]"#);
        assert_eq!(serde_json::from_str::<Argument>(&json).unwrap(), list);
        let bytes = rmp_serde::to_vec(&list).unwrap();
        assert_eq!(rmp_serde::from_slice::<Argument>(&bytes).unwrap(), list);
        assert_eq!(list.to_string(), r#"["a", 7, -7, 0.5, 2.0, true, []]"#);
    }

    #[test]
    fn arguments_of_different_kinds_differ_and_floats_go_by_bits() {
        assert_ne!(Argument::Int(1), Argument::Float(1.0));
        assert_ne!(Argument::Float(0.0), Argument::Float(-0.0));
        assert_eq!(Argument::Float(f64::NAN), Argument::Float(f64::NAN));
        assert!(serde_json::from_str::<Argument>("18446744073709551615").is_err());
        assert!(serde_json::from_str::<Argument>("null").is_err());
    }
}
