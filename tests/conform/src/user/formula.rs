//! The expressions of scenarios.

use serde_json::Value as Json;

/// An expression as scenarios have them.
pub(crate) enum Formula {
    Number {
        number: f64,
        is_integer: bool,
    },
    Variable(String),
    Tensor(String),
    Read(String),
    Combine(Operation, Box<Formula>, Box<Formula>),
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

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Operation {
    Add,
    Sub,
    Mul,
}

impl Operation {
    pub(crate) fn apply(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Sub => left - right,
            Self::Mul => left * right,
        }
    }
}

/// What is computed of one tensor.
#[derive(Clone, Copy)]
pub(crate) enum Function {
    ZerosLike,
    Sum,
    Clone,
    ArgmaxLast,
}

/// An item of something.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Key {
    /// A negative place counts from the end.
    Place(i64),
    Name(String),
}

/// The places `start:end` of a sequence or a dimension: as much of them as there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    start: Option<i64>,
    end: Option<i64>,
}

impl Span {
    pub(crate) const ALL: Self = Self {
        start: None,
        end: None,
    };

    pub(crate) fn clip(self, length: usize) -> std::ops::Range<usize> {
        let place = |place: i64| {
            let from_start = if place < 0 {
                place + length as i64
            } else {
                place
            };
            from_start.clamp(0, length as i64) as usize
        };
        let start = self.start.map_or(0, place);
        let end = self.end.map_or(length, place);
        start..end.max(start)
    }
}

impl Formula {
    /// Reads an expression.
    ///
    /// # Errors
    ///
    /// The expression, or the one in it, that the format does not have.
    pub(crate) fn of(json: &Json) -> Result<Self, String> {
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
        let span = || {
            let place = |place: usize| match items.get(place)? {
                Json::Null => Some(None),
                number => number.as_i64().map(Some),
            };
            let (start, end) = (place(2)?, place(3)?);
            Some(Span { start, end })
        };
        let kind = text(0)?;
        Ok(match kind.as_str() {
            "var" => Self::Variable(text(1)?),
            "tensor" => Self::Tensor(text(1)?),
            "read" => Self::Read(text(1)?),
            "add" => Self::Combine(Operation::Add, part(1)?, part(2)?),
            "sub" => Self::Combine(Operation::Sub, part(1)?, part(2)?),
            "mul" => Self::Combine(Operation::Mul, part(1)?, part(2)?),
            "zeros_like" => Self::Of(Function::ZerosLike, part(1)?),
            "sum" => Self::Of(Function::Sum, part(1)?),
            "clone" => Self::Of(Function::Clone, part(1)?),
            "argmax_last" => Self::Of(Function::ArgmaxLast, part(1)?),
            "rows" => Self::Rows(part(1)?, span().ok_or_else(unknown)?),
            "rows2" => Self::Columns(part(1)?, span().ok_or_else(unknown)?),
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
