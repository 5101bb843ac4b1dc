//! The values that exchanges carry: trees whose leaves are tensors, each by its element type, shape
//! and digest.

use std::fmt;

use interloom_engine::Tree;

use super::digest::{DType, Digest};

/// The deepest nesting of tuples, lists and maps in a value.
pub const VALUE_DEPTH_MAX: usize = 64;

/// A value, with tensors by digest.
pub type ValueTree = Tree<TensorLine>;

/// A tensor in a value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TensorLine {
    /// The element type.
    pub dtype: DType,
    /// The shape.
    pub shape: Vec<u64>,
    /// The content: [`Digest::of_tensor`].
    pub digest: Digest,
}

/// `f32[1, 8] b3:777777777777`.
impl fmt::Display for TensorLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            dtype,
            shape,
            digest,
        } = self;
        write!(f, "{dtype}{shape:?} {}", digest.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_shortly_for_people() {
        let tensor = ValueTree::Leaf(TensorLine {
            dtype: DType::F32,
            shape: vec![1, 8],
            digest: Digest([0x77; 32]),
        });
        let map = ValueTree::Map(
            [
                ("hidden".into(), tensor),
                ("long".into(), ValueTree::Text("é".repeat(50).into())),
                ("none".into(), ValueTree::Unit),
            ]
            .into(),
        );
        let tree = ValueTree::Tuple(
            [
                map,
                ValueTree::List((0..10).map(ValueTree::Int).collect()),
                ValueTree::Float(1.0),
                ValueTree::Bool(true),
            ]
            .into(),
        );
        insta::assert_snapshot!(tree, @r#"({"hidden": f32[1, 8] b3:777777777777, "long": "éééééééééééééééééééééééééééééééééééééééé"… (100 bytes), "none": ()}, [0, 1, 2, 3, 4, 5, 6, 7, … 2 more], 1.0, true)"#);
    }
}
