//! One tree for values, records of values, and their forms.

use std::fmt;
use std::sync::Arc;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A structured value: scalars, texts and leaves, in tuples, lists and maps.
///
/// What the leaves are is the room's business: tensors by digest in a journal, shapes in a form,
/// nothing at all in the particulars of a fault ([`NoLeaf`]). Clones share their items.
#[derive(Clone, Debug)]
pub enum Tree<L> {
    /// Nothing.
    Unit,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float, compared by its bits.
    Float(f64),
    /// A string.
    Text(Arc<str>),
    /// A leaf.
    Leaf(L),
    /// A tuple.
    Tuple(Arc<[Self]>),
    /// A list.
    List(Arc<[Self]>),
    /// Named values, in the order in which they were given.
    Map(Arc<[(Arc<str>, Self)]>),
}

/// The leaf of trees that have none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoLeaf {}

impl<L> Tree<L> {
    /// Returns how many tuples, lists and maps enclose the innermost value, itself included.
    pub fn depth(&self) -> usize {
        let deepest = |items: &mut dyn Iterator<Item = &Self>| items.map(Self::depth).max();
        match self {
            Self::Tuple(items) | Self::List(items) => 1 + deepest(&mut items.iter()).unwrap_or(0),
            Self::Map(entries) => {
                1 + deepest(&mut entries.iter().map(|(_, item)| item)).unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// Calls `visit` with each leaf, from left to right.
    pub fn for_each_leaf<'t>(&'t self, visit: &mut impl FnMut(&'t L)) {
        match self {
            Self::Leaf(leaf) => visit(leaf),
            Self::Tuple(items) | Self::List(items) => {
                items.iter().for_each(|item| item.for_each_leaf(visit));
            }
            Self::Map(entries) => {
                entries
                    .iter()
                    .for_each(|(_, item)| item.for_each_leaf(visit));
            }
            Self::Unit | Self::Bool(_) | Self::Int(_) | Self::Float(_) | Self::Text(_) => {}
        }
    }

    /// Returns a tree of the same structure, with what `f` makes of each leaf.
    ///
    /// # Errors
    ///
    /// The first that `f` returns.
    pub fn try_map<M, E>(&self, f: &mut impl FnMut(&L) -> Result<M, E>) -> Result<Tree<M>, E> {
        let mut all = |items: &[Self]| -> Result<Arc<[Tree<M>]>, E> {
            items.iter().map(|item| item.try_map(f)).collect()
        };
        Ok(match self {
            Self::Unit => Tree::Unit,
            Self::Bool(boolean) => Tree::Bool(*boolean),
            Self::Int(number) => Tree::Int(*number),
            Self::Float(number) => Tree::Float(*number),
            Self::Text(text) => Tree::Text(text.clone()),
            Self::Leaf(leaf) => Tree::Leaf(f(leaf)?),
            Self::Tuple(items) => Tree::Tuple(all(items)?),
            Self::List(items) => Tree::List(all(items)?),
            Self::Map(entries) => {
                let entry = |(key, item): &(Arc<str>, Self)| Ok((key.clone(), item.try_map(f)?));
                Tree::Map(entries.iter().map(entry).collect::<Result<_, E>>()?)
            }
        })
    }
}

impl<L: PartialEq> PartialEq for Tree<L> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unit, Self::Unit) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Leaf(a), Self::Leaf(b)) => a == b,
            (Self::Tuple(a), Self::Tuple(b)) | (Self::List(a), Self::List(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            _ => false,
        }
    }
}

impl<L: Eq> Eq for Tree<L> {}

/// How many characters of a text are shown to people, and how many items of a tuple, list or map.
const TEXT_SHOWN: usize = 40;
const ITEMS_SHOWN: usize = 8;

/// Writes a tree for people: `(f32[1, 8] b3:77aa…, {"n": 3})`; long texts and many items are cut.
impl<L: fmt::Display> fmt::Display for Tree<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit => f.write_str("()"),
            Self::Bool(boolean) => write!(f, "{boolean}"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Text(text) => write_text(f, text),
            Self::Leaf(leaf) => write!(f, "{leaf}"),
            Self::Tuple(items) => write_items(f, ['(', ')'], items, |f, item| write!(f, "{item}")),
            Self::List(items) => write_items(f, ['[', ']'], items, |f, item| write!(f, "{item}")),
            Self::Map(entries) => write_items(f, ['{', '}'], entries, |f, (key, item)| {
                write_text(f, key)?;
                write!(f, ": {item}")
            }),
        }
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    match text.char_indices().nth(TEXT_SHOWN) {
        None => write!(f, "{text:?}"),
        Some((end, _)) => write!(f, "{:?}… ({} bytes)", &text[..end], text.len()),
    }
}

fn write_items<T>(
    f: &mut fmt::Formatter<'_>,
    [open, close]: [char; 2],
    items: &[T],
    write_item: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    write!(f, "{open}")?;
    for (place, item) in items.iter().take(ITEMS_SHOWN).enumerate() {
        f.write_str(if place == 0 { "" } else { ", " })?;
        write_item(f, item)?;
    }
    if items.len() > ITEMS_SHOWN {
        write!(f, ", … {} more", items.len() - ITEMS_SHOWN)?;
    }
    write!(f, "{close}")
}

impl fmt::Display for NoLeaf {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

/// Serialises as what it is: tuples and lists as sequences, the keys of maps as strings.
impl Serialize for Tree<NoLeaf> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unit => serializer.serialize_none(),
            Self::Bool(boolean) => serializer.serialize_bool(*boolean),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Leaf(none) => match *none {},
            Self::Tuple(items) | Self::List(items) => serializer.collect_seq(items.iter()),
            Self::Map(entries) => {
                serializer.collect_map(entries.iter().map(|(key, item)| (&**key, item)))
            }
        }
    }
}

/// Reads whatever describes itself; sequences are lists.
impl<'de> Deserialize<'de> for Tree<NoLeaf> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyTree)
    }
}

struct AnyTree;

impl<'de> Visitor<'de> for AnyTree {
    type Value = Tree<NoLeaf>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "nothing, a boolean, a number, a string, a sequence or a map with strings as keys",
        )
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Tree::Unit)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Tree::Unit)
    }

    fn visit_bool<E>(self, boolean: bool) -> Result<Self::Value, E> {
        Ok(Tree::Bool(boolean))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Tree::Int(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        let number = i64::try_from(number);
        let number = number.map_err(|_| E::custom("an integer beyond 64 bits with a sign"))?;
        Ok(Tree::Int(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Tree::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Tree::Text(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Tree::List(items.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, item)) = map.next_entry::<String, Tree<NoLeaf>>()? {
            entries.push((key.into(), item));
        }
        Ok(Tree::Map(entries.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree<u8> {
        let pair = [Tree::Leaf(1), Tree::Float(0.5)];
        let entries = [
            ("a".into(), Tree::Tuple(pair.into())),
            ("b".into(), Tree::List([Tree::Leaf(2), Tree::Unit].into())),
        ];
        Tree::Map(entries.into())
    }

    #[test]
    fn leaves_are_visited_and_mapped_from_left_to_right() {
        let mut leaves = Vec::new();
        tree().for_each_leaf(&mut |leaf| leaves.push(*leaf));
        assert_eq!(leaves, [1, 2]);
        let doubled = tree().try_map(&mut |leaf| Ok::<_, ()>(leaf * 2)).unwrap();
        assert_eq!(doubled.to_string(), r#"{"a": (2, 0.5), "b": [4, ()]}"#);
        assert_eq!(tree().try_map(&mut |leaf| Err::<u8, _>(*leaf)), Err(1));
        assert_eq!((tree().depth(), Tree::<u8>::Unit.depth()), (2, 0));
    }

    #[test]
    fn a_tree_is_shown_to_people_within_limits() {
        let long: Tree<u8> = Tree::Text("é".repeat(41).into());
        let items: Tree<u8> = Tree::List((0..10).map(Tree::Int).collect());
        let tree = Tree::Tuple([long, items, Tree::Bool(true), Tree::Map([].into())].into());
        let shown = format!(
            "(\"{}\"… (82 bytes), [0, 1, 2, 3, 4, 5, 6, 7, … 2 more], true, {{}})",
            "é".repeat(40)
        );
        assert_eq!(tree.to_string(), shown);
    }

    #[test]
    fn floats_are_compared_by_their_bits() {
        let float = Tree::<NoLeaf>::Float;
        assert_eq!(float(f64::NAN), float(f64::NAN));
        assert_ne!(float(0.0), float(-0.0));
    }
}
