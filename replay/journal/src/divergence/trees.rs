//! The places at which two trees differ: two values, or the particulars of two errors.

use std::sync::Arc;

use interloom_engine::{NoLeaf, Tree};

use super::{FieldDifference, TensorPair, fields};
use crate::ValueTree;

/// How many places within a value are shown.
const PLACES_SHOWN: usize = 4;

/// How many characters of a particular are shown.
const PARTICULAR_SHOWN: usize = 200;

/// The fields in which two values differ.
pub(super) fn between_values(
    recorded: Option<&ValueTree>,
    live: Option<&ValueTree>,
) -> Vec<FieldDifference> {
    let (mut shown, mut count) = (Vec::new(), 0);
    match (recorded, live) {
        (Some(recorded), Some(live)) => {
            each_difference(recorded, live, &mut |place, recorded, live| {
                count += 1;
                if shown.len() < PLACES_SHOWN {
                    let (aspect, [recorded, live]) = aspect(recorded, live);
                    fields::push(&mut shown, &format!("value{place}{aspect}"), recorded, live);
                }
            });
        }
        (None, None) => {}
        _ => {
            let text = |value: Option<&ValueTree>| match value {
                Some(value) => value.to_string(),
                None => "none".to_owned(),
            };
            return vec![FieldDifference {
                field: "value".to_owned(),
                recorded: text(recorded),
                live: text(live),
            }];
        }
    }
    if count > shown.len() {
        let more = format!("{} more places", count - shown.len());
        fields::push(&mut shown, "value", more.clone(), more);
    }
    shown
}

/// What of two values without a common structure differs, with both as text.
fn aspect(recorded: &ValueTree, live: &ValueTree) -> (&'static str, [String; 2]) {
    match (recorded, live) {
        (Tree::Leaf(a), Tree::Leaf(b)) if a.dtype != b.dtype => {
            (" type", [a, b].map(|tensor| tensor.dtype.to_string()))
        }
        (Tree::Leaf(a), Tree::Leaf(b)) if a.shape != b.shape => {
            (" shape", [a, b].map(|tensor| format!("{:?}", tensor.shape)))
        }
        (Tree::Leaf(a), Tree::Leaf(b)) => (" digest", [a, b].map(|tensor| tensor.digest.short())),
        (Tree::Float(a), Tree::Float(b)) => {
            let text = |float: &f64| format!("{float:?} ({:#018x})", float.to_bits());
            ("", [a, b].map(text))
        }
        _ => ("", [recorded, live].map(ToString::to_string)),
    }
}

/// The first two tensors that differ in nothing but their content.
pub(super) fn first_pair(
    recorded: Option<&ValueTree>,
    live: Option<&ValueTree>,
) -> Option<TensorPair> {
    let mut first = None;
    each_difference(recorded?, live?, &mut |place, a, b| {
        if let (None, Tree::Leaf(a), Tree::Leaf(b)) = (&first, a, b)
            && (a.dtype, &a.shape) == (b.dtype, &b.shape)
        {
            first = Some(TensorPair {
                place: place.to_owned(),
                dtype: a.dtype,
                shape: a.shape.clone(),
                recorded: a.digest,
                live: b.digest,
            });
        }
    });
    first
}

/// The places in which the particulars of two errors differ.
pub(super) fn between_particulars(
    field: &str,
    recorded: &Tree<NoLeaf>,
    live: &Tree<NoLeaf>,
) -> Vec<FieldDifference> {
    let mut differences = Vec::new();
    each_difference(recorded, live, &mut |place, recorded, live| {
        if differences.len() < PLACES_SHOWN {
            let [recorded, live] = [recorded, live].map(shown);
            fields::push(&mut differences, &format!("{field}{place}"), recorded, live);
        }
    });
    differences
}

fn shown(tree: &Tree<NoLeaf>) -> String {
    let text = tree.to_string();
    match text.char_indices().nth(PARTICULAR_SHOWN) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}

/// Calls `see` with each place in which two trees differ, such as `[1].hidden`, and with what each
/// has there.
fn each_difference<L: PartialEq>(
    recorded: &Tree<L>,
    live: &Tree<L>,
    see: &mut impl FnMut(&str, &Tree<L>, &Tree<L>),
) {
    walk(&mut String::new(), recorded, live, see);
}

fn walk<L: PartialEq>(
    place: &mut String,
    recorded: &Tree<L>,
    live: &Tree<L>,
    see: &mut impl FnMut(&str, &Tree<L>, &Tree<L>),
) {
    let here = place.len();
    match (recorded, live) {
        (Tree::Tuple(a), Tree::Tuple(b)) | (Tree::List(a), Tree::List(b)) if a.len() == b.len() => {
            for (position, (a, b)) in a.iter().zip(b.iter()).enumerate() {
                place.push_str(&format!("[{position}]"));
                walk(place, a, b, see);
                place.truncate(here);
            }
        }
        (Tree::Map(a), Tree::Map(b)) if a.iter().map(key).eq(b.iter().map(key)) => {
            for ((key, a), (_, b)) in a.iter().zip(b.iter()) {
                place.push_str(&format!(".{}", key.escape_debug()));
                walk(place, a, b, see);
                place.truncate(here);
            }
        }
        _ if recorded == live => {}
        _ => see(place, recorded, live),
    }
}

fn key<T>((key, _): &(Arc<str>, T)) -> &str {
    key
}
