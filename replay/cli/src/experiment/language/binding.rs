//! How tightly operators bind: what binds less tightly than its place needs stands in parentheses.

pub(super) const OR: u8 = 1;
pub(super) const AND: u8 = 2;
pub(super) const NOT: u8 = 3;
pub(super) const COMPARE: u8 = 4;
pub(super) const SUM: u8 = 5;
pub(super) const PRODUCT: u8 = 6;
/// A sign before a value.
pub(super) const UNARY: u8 = 7;
/// Brackets after a value, and what is a whole by itself.
pub(super) const POSTFIX: u8 = 8;
