//! The particulars of an error, as a tree by name and back.
//!
//! Both ways go through msgpack, which keeps the order of fields.

use std::io::Cursor;

use interloom_engine::{NoLeaf, Tree};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How deep a value may be that is read here; each level of a tree takes one or two.
pub(super) const READ_DEPTH_MAX: usize = 64;

/// Returns what an error serialises to.
pub(super) fn tree_of(error: &impl Serialize) -> Tree<NoLeaf> {
    // An error that does not serialise has no particulars; its code stands beside them.
    convert(error).unwrap_or(Tree::Unit)
}

/// Returns the error that serialises to a tree, if it is one of this type.
pub(super) fn from_tree<T: DeserializeOwned>(tree: &Tree<NoLeaf>) -> Option<T> {
    convert(tree)
}

fn convert<T: DeserializeOwned>(value: &impl Serialize) -> Option<T> {
    let bytes = rmp_serde::to_vec_named(value).ok()?;
    let (value, length) = read(&bytes)?;
    (length == bytes.len()).then_some(value)
}

/// Reads a value from the front of `bytes`, and returns how many of them it takes.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<(T, usize)> {
    let mut deserializer = rmp_serde::Deserializer::new(Cursor::new(bytes));
    deserializer.set_max_depth(READ_DEPTH_MAX);
    let value = T::deserialize(&mut deserializer).ok()?;
    let length = usize::try_from(deserializer.position()).ok()?;
    Some((value, length))
}
