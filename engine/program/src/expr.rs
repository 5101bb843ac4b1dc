//! Expressions and conditions of programs.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::nesting::limit;
use crate::number;
use crate::operand::Along;

/// A value, as data.
///
/// Numbers and values mix in arithmetic: a number goes with every element of a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Expr {
    /// A number; in JSON, one that is not finite is `"inf"`, `"-inf"` or `"nan"`.
    Number(#[serde(with = "number")] f64),
    /// A text, such as the name of a function for what an operation calls.
    Text(String),
    /// The value of a variable.
    Var(String),
    /// A value that the machine was given under this name.
    Given(String),
    /// VALUE: the value at a site, read where the expression is evaluated.
    Read(String),
    /// GET: the value on the run's blackboard, got where the expression is evaluated.
    Get(String),
    /// The sum of two values.
    Add(Box<Expr>, Box<Expr>),
    /// The first value less the second.
    Sub(Box<Expr>, Box<Expr>),
    /// The product of two values, element by element.
    Mul(Box<Expr>, Box<Expr>),
    /// The first value divided by the second, element by element.
    Div(Box<Expr>, Box<Expr>),
    /// Zeros in the shape of a value.
    ZerosLike(Box<Expr>),
    /// The sum of all elements.
    Sum(Box<Expr>),
    /// The mean of all elements.
    Mean(Box<Expr>),
    /// The absolute value of each element.
    Abs(Box<Expr>),
    /// A reduction or another operation along one dimension.
    Along {
        /// The operation.
        operation: Along,
        /// The tensor.
        of: Box<Expr>,
        /// The dimension; a negative one counts from the end.
        dimension: i32,
    },
    /// The matrix product over the last two dimensions; the others are broadcast.
    Matmul(Box<Expr>, Box<Expr>),
    /// The value itself: values never change, and this says that a copy is meant.
    Clone(Box<Expr>),
    /// The index of the largest element of the last dimension, at the last place of dimension 1:
    /// greedy decoding of logits `[batch, sequence, vocabulary]`.
    ArgmaxLast(Box<Expr>),
    /// A part of a tensor: one span for each dimension from the first; dimensions without one are
    /// taken whole.
    Slice {
        /// The tensor.
        of: Box<Expr>,
        /// The spans.
        spans: Vec<Span>,
    },
    /// As much of a part as there is: a place beyond an end is that end, and a span that ends
    /// before it starts is empty. One span takes items of a tuple or a list, too.
    Clip {
        /// The tensor, tuple or list.
        of: Box<Expr>,
        /// The spans, as in a slice.
        spans: Vec<Span>,
    },
    /// A tensor with another part.
    Patch {
        /// The tensor.
        of: Box<Expr>,
        /// The spans, as in a slice.
        spans: Vec<Span>,
        /// The part, in the shape of the slice.
        with: Box<Expr>,
    },
    /// An item of a tuple, a list or a map, or what is at a place of dimension 0 of a tensor,
    /// without that dimension.
    Index {
        /// The tuple, list, map or tensor.
        of: Box<Expr>,
        /// Which item.
        item: Item,
    },
    /// A tuple, list or map with another item.
    Replace {
        /// The tuple, list or map.
        of: Box<Expr>,
        /// Which item.
        item: Item,
        /// The item that takes its place.
        with: Box<Expr>,
    },
    /// A tuple of values.
    Tuple(Vec<Expr>),
    /// Named values; they are evaluated in the order of their names.
    Map(BTreeMap<String, Expr>),
    /// A module called on a value, outside its place in the model; this passes no site.
    Module {
        /// The path of a module of the model, or the name of one that the run is supplied with.
        path: String,
        /// What goes into it.
        input: Box<Expr>,
    },
}

limit!(Expr);
limit!(Condition);

/// What stands directly inside an expression, borrowed as the expression is.
macro_rules! operands {
    ($expr:expr, $iter:ident, $values:ident) => {
        match $expr {
            Self::Number(_)
            | Self::Text(_)
            | Self::Var(_)
            | Self::Given(_)
            | Self::Read(_)
            | Self::Get(_) => Vec::new(),
            Self::Add(left, right)
            | Self::Sub(left, right)
            | Self::Mul(left, right)
            | Self::Div(left, right)
            | Self::Matmul(left, right) => vec![left, right],
            Self::ZerosLike(of)
            | Self::Sum(of)
            | Self::Mean(of)
            | Self::Abs(of)
            | Self::Along { of, .. }
            | Self::Clone(of)
            | Self::ArgmaxLast(of)
            | Self::Slice { of, .. }
            | Self::Clip { of, .. }
            | Self::Index { of, .. }
            | Self::Module { input: of, .. } => vec![of],
            Self::Patch { of, with, .. } | Self::Replace { of, with, .. } => vec![of, with],
            Self::Tuple(items) => items.$iter().collect(),
            Self::Map(items) => items.$values().collect(),
        }
    };
}

impl Expr {
    /// Returns the expressions directly inside this one, in the order in which they are evaluated.
    ///
    /// ```
    /// use interloom_program::{read, var};
    ///
    /// let sum = read("layers.0.output") + var("h") * 2.0;
    /// assert_eq!(sum.operands(), [&read("layers.0.output"), &(var("h") * 2.0)]);
    /// assert!(var("h").operands().is_empty());
    /// ```
    pub fn operands(&self) -> Vec<&Self> {
        operands!(self, iter, values)
    }

    /// Returns the expressions directly inside this one, in the order in which they are evaluated,
    /// to be changed.
    pub fn operands_mut(&mut self) -> Vec<&mut Self> {
        operands!(self, iter_mut, values_mut)
    }
}

/// The key of an item of a tuple, a list or a map.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// The item at a place, from 0.
    Place(u32),
    /// The item of a name.
    Name(String),
}

impl From<u32> for Item {
    fn from(place: u32) -> Self {
        Self::Place(place)
    }
}

impl From<&str> for Item {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(place) => write!(f, "{place}"),
            Self::Name(name) => write!(f, "`{name}`"),
        }
    }
}

/// A range of places in one dimension, from `start` to before `end`; a negative place counts from
/// the end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// The first place; none is the first of all.
    #[serde(default)]
    pub start: Option<i64>,
    /// The place after the last; none is the end.
    #[serde(default)]
    pub end: Option<i64>,
}

impl Span {
    /// The whole dimension.
    pub const ALL: Self = Self {
        start: None,
        end: None,
    };

    /// Returns the range in a dimension of `length`, or nothing if that does not have it.
    pub fn resolve(self, length: u64) -> Option<std::ops::Range<u64>> {
        let place = |place: i64| match place {
            0.. => Some(place.unsigned_abs()),
            _ => length.checked_sub(place.unsigned_abs()),
        };
        let start = self.start.map_or(Some(0), place)?;
        let end = self.end.map_or(Some(length), place)?;
        (start <= end && end <= length).then_some(start..end)
    }

    /// Returns as much of the range as a dimension of `length` has.
    pub fn clip(self, length: u64) -> std::ops::Range<u64> {
        let place = |place: i64| match place {
            0.. => place.unsigned_abs().min(length),
            _ => length.saturating_sub(place.unsigned_abs()),
        };
        let start = self.start.map_or(0, place);
        let end = self.end.map_or(length, place);
        start..end.max(start)
    }
}

impl From<std::ops::Range<i64>> for Span {
    fn from(range: std::ops::Range<i64>) -> Self {
        Self {
            start: Some(range.start),
            end: Some(range.end),
        }
    }
}

impl From<std::ops::RangeFrom<i64>> for Span {
    fn from(range: std::ops::RangeFrom<i64>) -> Self {
        Self {
            start: Some(range.start),
            end: None,
        }
    }
}

impl From<std::ops::RangeTo<i64>> for Span {
    fn from(range: std::ops::RangeTo<i64>) -> Self {
        Self {
            start: None,
            end: Some(range.end),
        }
    }
}

impl From<std::ops::RangeFull> for Span {
    fn from(_: std::ops::RangeFull) -> Self {
        Self::ALL
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |place: Option<i64>| place.map_or(String::new(), |place| place.to_string());
        write!(f, "{}..{}", text(self.start), text(self.end))
    }
}

/// A condition, as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Condition {
    /// Two numbers, or values of one element, compare so.
    Compare {
        /// The left-hand side.
        left: Expr,
        /// How they are to compare.
        is: Comparison,
        /// The right-hand side.
        right: Expr,
    },
    /// The other does not hold.
    Not(Box<Condition>),
    /// All of them hold; what follows the first that does not is not evaluated.
    All(Vec<Condition>),
    /// One of them holds; what follows it is not evaluated.
    Any(Vec<Condition>),
    /// A variable has a value.
    IsSet(String),
    /// A `try` has caught an error under this name.
    Caught(String),
}

/// The expressions in a condition, borrowed as the condition is.
macro_rules! compared {
    ($condition:expr, $iter:ident, $values:ident) => {
        match $condition {
            Self::Compare { left, right, .. } => vec![left, right],
            Self::Not(condition) => condition.$values(),
            Self::All(conditions) | Self::Any(conditions) => {
                conditions.$iter().flat_map(Self::$values).collect()
            }
            Self::IsSet(_) | Self::Caught(_) => Vec::new(),
        }
    };
}

impl Condition {
    /// Returns the expressions in this condition and in those inside it, in the order in which they
    /// are evaluated.
    pub fn values(&self) -> Vec<&Expr> {
        compared!(self, iter, values)
    }

    /// Returns the expressions in this condition and in those inside it, in the order in which they
    /// are evaluated, to be changed.
    pub fn values_mut(&mut self) -> Vec<&mut Expr> {
        compared!(self, iter_mut, values_mut)
    }
}

/// A comparison of two numbers; a NaN compares with nothing, except that it is not equal.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// Returns whether two numbers compare so.
    pub fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_resolved_in_its_dimension_or_not_at_all() {
        let cases = [
            (Span::from(..), Some(0..5)),
            (Span::from(1..3), Some(1..3)),
            (Span::from(-2..), Some(3..5)),
            (Span::from(..-1), Some(0..4)),
            (Span::from(-5..-5), Some(0..0)),
            (Span::from(5..), Some(5..5)),
            (Span::from(0..6), None),
            (Span::from(-6..), None),
            (
                Span {
                    start: Some(3),
                    end: Some(2),
                },
                None,
            ),
            (Span::from(i64::MIN..i64::MAX), None),
        ];
        for (span, range) in cases {
            assert_eq!(span.resolve(5), range, "{span}");
        }
        assert_eq!(Span::from(-1..).to_string(), "-1..");
    }

    #[test]
    fn a_span_is_clipped_to_what_its_dimension_has() {
        let cases = [
            (Span::from(1..3), 1..3),
            (Span::from(0..99), 0..5),
            (Span::from(7..9), 5..5),
            (Span::from(-2..), 3..5),
            (Span::from(-9..-3), 0..2),
            (
                Span {
                    start: Some(3),
                    end: Some(1),
                },
                3..3,
            ),
            (Span::from(-9..-8), 0..0),
            (Span::from(i64::MIN..i64::MAX), 0..5),
        ];
        for (span, range) in cases {
            assert_eq!(span.clip(5), range, "{span}");
        }
        assert_eq!(Span::from(-3..3).clip(0), 0..0);
    }

    #[test]
    fn what_is_clipped_is_resolved_where_it_lies_in_its_dimension() {
        for (start, end) in (-6..7).flat_map(|start| (-6..7).map(move |end| (start, end))) {
            let span = Span::from(start..end);
            if let Some(range) = span.resolve(4) {
                assert_eq!(span.clip(4), range, "{span}");
            }
        }
    }

    #[test]
    fn not_a_number_compares_with_nothing() {
        use Comparison::*;
        for (is, same, nan) in [
            (Equal, true, false),
            (NotEqual, false, true),
            (Less, false, false),
            (LessOrEqual, true, false),
            (Greater, false, false),
            (GreaterOrEqual, true, false),
        ] {
            assert_eq!(
                (is.holds(2.0, 2.0), is.holds(2.0, f64::NAN)),
                (same, nan),
                "{is:?}"
            );
        }
        assert!(Less.holds(1.0, 2.0) && LessOrEqual.holds(1.0, 2.0) && !Greater.holds(1.0, 2.0));
    }
}
