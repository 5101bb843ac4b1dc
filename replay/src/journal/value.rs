//! The values that exchanges carry: trees whose leaves are scalars, texts and tensors.
//!
//! A tensor stands here by its element type, shape and digest.

use std::fmt;

use super::digest::{DType, Digest};

/// The deepest nesting of tuples, lists and maps in a value.
pub const VALUE_DEPTH_MAX: usize = 64;

/// A value, with tensors by digest.
#[derive(Clone, Debug)]
pub enum ValueTree {
    /// Nothing.
    Unit,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float, compared by its bits.
    Float(f64),
    /// A text.
    Text(String),
    /// A tensor.
    Tensor {
        /// The element type.
        dtype: DType,
        /// The shape.
        shape: Vec<u64>,
        /// The content: [`Digest::of_tensor`].
        digest: Digest,
    },
    /// A tuple.
    Tuple(Vec<ValueTree>),
    /// A list.
    List(Vec<ValueTree>),
    /// Named values, in the order in which they were given.
    Map(Vec<(String, ValueTree)>),
}

impl ValueTree {
    /// How many tuples, lists and maps enclose the innermost value, itself included.
    pub fn depth(&self) -> usize {
        match self {
            Self::Tuple(items) | Self::List(items) => {
                1 + items.iter().map(Self::depth).max().unwrap_or(0)
            }
            Self::Map(entries) => {
                let depths = entries.iter().map(|(_, value)| value.depth());
                1 + depths.max().unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// Calls `visit` with each tensor, from left to right.
    pub fn for_each_tensor(&self, visit: &mut dyn FnMut(DType, &[u64], &Digest)) {
        match self {
            Self::Tensor {
                dtype,
                shape,
                digest,
            } => visit(*dtype, shape, digest),
            Self::Tuple(items) | Self::List(items) => {
                items.iter().for_each(|item| item.for_each_tensor(visit));
            }
            Self::Map(entries) => {
                entries
                    .iter()
                    .for_each(|(_, item)| item.for_each_tensor(visit));
            }
            _ => {}
        }
    }
}

impl PartialEq for ValueTree {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unit, Self::Unit) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Text(a), Self::Text(b)) => a == b,
            (
                Self::Tensor {
                    dtype,
                    shape,
                    digest,
                },
                Self::Tensor {
                    dtype: other_dtype,
                    shape: other_shape,
                    digest: other_digest,
                },
            ) => dtype == other_dtype && shape == other_shape && digest == other_digest,
            (Self::Tuple(a), Self::Tuple(b)) | (Self::List(a), Self::List(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for ValueTree {}

/// Writes a value for people: `(f32[1, 8] b3:77aa…, {"n": 3})`.
impl fmt::Display for ValueTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit => f.write_str("()"),
            Self::Bool(truth) => write!(f, "{truth}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Text(text) => write_text(f, text),
            Self::Tensor {
                dtype,
                shape,
                digest,
            } => {
                write!(f, "{dtype}{shape:?} {}", digest.short())
            }
            Self::Tuple(items) => write_items(f, "(", items, ")"),
            Self::List(items) => write_items(f, "[", items, "]"),
            Self::Map(entries) => write_entries(f, entries),
        }
    }
}

const TEXT_CHARACTERS_SHOWN: usize = 40;
const ITEMS_SHOWN: usize = 8;

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    match text.char_indices().nth(TEXT_CHARACTERS_SHOWN) {
        None => write!(f, "{text:?}"),
        Some((end, _)) => write!(f, "{:?}… ({} bytes)", &text[..end], text.len()),
    }
}

fn write_items(
    f: &mut fmt::Formatter<'_>,
    open: &str,
    items: &[ValueTree],
    close: &str,
) -> fmt::Result {
    f.write_str(open)?;
    for (position, item) in items.iter().take(ITEMS_SHOWN).enumerate() {
        let separator = if position == 0 { "" } else { ", " };
        write!(f, "{separator}{item}")?;
    }
    write_rest(f, items.len())?;
    f.write_str(close)
}

fn write_entries(f: &mut fmt::Formatter<'_>, entries: &[(String, ValueTree)]) -> fmt::Result {
    f.write_str("{")?;
    for (position, (name, item)) in entries.iter().take(ITEMS_SHOWN).enumerate() {
        let separator = if position == 0 { "" } else { ", " };
        f.write_str(separator)?;
        write_text(f, name)?;
        write!(f, ": {item}")?;
    }
    write_rest(f, entries.len())?;
    f.write_str("}")
}

fn write_rest(f: &mut fmt::Formatter<'_>, count: usize) -> fmt::Result {
    if count > ITEMS_SHOWN {
        write!(f, ", … {} more", count - ITEMS_SHOWN)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn depth_counts_the_enclosing_containers() {
        assert_eq!(ValueTree::Unit.depth(), 0);
        assert_eq!(ValueTree::Tuple(vec![]).depth(), 1);
        let map = ValueTree::Map(vec![("a".into(), ValueTree::List(vec![ValueTree::Unit]))]);
        assert_eq!(map.depth(), 2);
    }

    #[test]
    fn floats_are_compared_by_their_bits() {
        assert_ne!(ValueTree::Float(0.0), ValueTree::Float(-0.0));
        assert_eq!(ValueTree::Float(f64::NAN), ValueTree::Float(f64::NAN));
        assert_ne!(ValueTree::Tuple(vec![]), ValueTree::List(vec![]));
    }

    #[test]
    fn values_are_written_shortly_for_people() {
        let tensor = ValueTree::Tensor {
            dtype: DType::F32,
            shape: vec![1, 8],
            digest: Digest([0x77; 32]),
        };
        let map = ValueTree::Map(vec![
            ("hidden".into(), tensor),
            ("long".into(), ValueTree::Text("é".repeat(50))),
            ("none".into(), ValueTree::Unit),
        ]);
        let tree = ValueTree::Tuple(vec![
            map,
            ValueTree::List((0..10).map(ValueTree::Int).collect()),
            ValueTree::Float(1.0),
            ValueTree::Bool(true),
        ]);
        assert_snapshot!(tree, @r#"({"hidden": f32[1, 8] b3:777777777777, "long": "éééééééééééééééééééééééééééééééééééééééé"… (100 bytes), "none": ()}, [0, 1, 2, 3, 4, 5, 6, 7, … 2 more], 1.0, true)"#);
    }
}
