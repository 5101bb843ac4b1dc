//! The expressions of scenarios.

use interloom_engine::program::{Arithmetic, Span};
use serde_json::Value as Json;

use crate::conform::translate::span;

/// An expression as scenarios have them.
pub(super) enum Formula {
    Number {
        number: f64,
        is_integer: bool,
    },
    Variable(String),
    Tensor(String),
    Read(String),
    Combine(Arithmetic, Box<Formula>, Box<Formula>),
    Of(Function, Box<Formula>),
    /// Places of dimension 0, or of a sequence.
    Rows(Box<Formula>, Span),
    /// Places of dimension 1.
    Columns(Box<Formula>, Span),
    Index(Box<Formula>, Key),
    Tuple(Vec<Formula>),
    ReplaceFirst(Box<Formula>, Box<Formula>),
    Inputs(Vec<Formula>, Vec<(String, Formula)>),
    Module(String, Box<Formula>),
    Nothing,
}

/// What is computed of one tensor.
#[derive(Clone, Copy)]
pub(super) enum Function {
    ZerosLike,
    Sum,
    Clone,
    ArgmaxLast,
}

/// An item of something.
pub(super) enum Key {
    /// A negative place counts from the end.
    Place(i64),
    Name(String),
}

impl Formula {
    /// Reads an expression.
    ///
    /// # Errors
    ///
    /// The expression, or the one in it, that the format does not have.
    pub(super) fn of(json: &Json) -> Result<Self, String> {
        if let Some(number) = json.as_f64() {
            let is_integer = !json.is_f64();
            return Ok(Self::Number { number, is_integer });
        }
        let unknown = || format!("the expression {json}");
        let items = json.as_array().ok_or_else(unknown)?;
        let text = |place: usize| {
            let text = items.get(place).and_then(Json::as_str);
            text.map(str::to_owned).ok_or_else(unknown)
        };
        let part = |place: usize| Self::of(items.get(place).ok_or_else(unknown)?).map(Box::new);
        let kind = text(0)?;
        Ok(match kind.as_str() {
            "var" => Self::Variable(text(1)?),
            "tensor" => Self::Tensor(text(1)?),
            "read" => Self::Read(text(1)?),
            "add" => Self::Combine(Arithmetic::Add, part(1)?, part(2)?),
            "sub" => Self::Combine(Arithmetic::Sub, part(1)?, part(2)?),
            "mul" => Self::Combine(Arithmetic::Mul, part(1)?, part(2)?),
            "zeros_like" => Self::Of(Function::ZerosLike, part(1)?),
            "sum" => Self::Of(Function::Sum, part(1)?),
            "clone" => Self::Of(Function::Clone, part(1)?),
            "argmax_last" => Self::Of(Function::ArgmaxLast, part(1)?),
            "rows" => Self::Rows(part(1)?, span(items).ok_or_else(unknown)?),
            "rows2" => Self::Columns(part(1)?, span(items).ok_or_else(unknown)?),
            "index" => Self::Index(part(1)?, Key::of(&json[2]).ok_or_else(unknown)?),
            "tuple" => Self::Tuple(all(&items[1..])?),
            "tuple_replace0" => Self::ReplaceFirst(part(1)?, part(2)?),
            "module" => Self::Module(text(1)?, part(2)?),
            "none" => Self::Nothing,
            "inputs" => {
                let places = json[1].as_array().ok_or_else(unknown)?;
                let names = json[2].as_object().ok_or_else(unknown)?;
                let named = |(name, item)| Ok((String::clone(name), Self::of(item)?));
                let names = names.iter().map(named).collect::<Result<_, String>>()?;
                Self::Inputs(all(places)?, names)
            }
            _ => return Err(unknown()),
        })
    }
}

impl Key {
    fn of(json: &Json) -> Option<Self> {
        match json {
            Json::String(name) => Some(Self::Name(name.clone())),
            place => place.as_i64().map(Self::Place),
        }
    }
}

fn all(items: &[Json]) -> Result<Vec<Formula>, String> {
    items.iter().map(Formula::of).collect()
}
