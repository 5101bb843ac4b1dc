//! Values in plain data, to compare with, and strategies that draw values.

use burn::tensor::TensorData;
use interloom_backends::{AnyTensor, Kind, Value};
use interloom_engine::{RowLayout, Rows};
use proptest::prelude::*;

use crate::support::cpu;

/// A value in plain data, with a simple account of what rows are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Naive {
    Leaf(TensorData),
    Plain(String),
    Node(String, Vec<Naive>),
}

pub(crate) fn naive(value: &Value) -> Naive {
    let node = |name: &str, items: &[Value]| {
        Naive::Node(name.to_owned(), items.iter().map(naive).collect())
    };
    match value {
        Value::Tensor(tensor) => Naive::Leaf(tensor.to_data()),
        Value::Tuple(items) => node("tuple", items),
        Value::List(items) => node("list", items),
        Value::Map(entries) => {
            let keys: Vec<&str> = entries.iter().map(|(key, _)| &**key).collect();
            let values: Vec<Value> = entries.iter().map(|(_, value)| value.clone()).collect();
            node(&keys.join(","), &values)
        }
        plain => Naive::Plain(plain.to_string()),
    }
}

impl Naive {
    /// Calls `f` with each tensor's number and data.
    fn map(self, leaf: &mut usize, f: &mut impl FnMut(usize, TensorData) -> TensorData) -> Self {
        match self {
            Self::Leaf(data) => {
                *leaf += 1;
                Self::Leaf(f(*leaf - 1, data))
            }
            Self::Node(name, items) => {
                let items = items.into_iter().map(|item| item.map(leaf, f));
                Self::Node(name, items.collect())
            }
            plain => plain,
        }
    }

    fn leaves(&self) -> Vec<TensorData> {
        let mut leaves = Vec::new();
        self.clone().map(&mut 0, &mut |_, data| {
            leaves.push(data.clone());
            data
        });
        leaves
    }

    pub(crate) fn rows(self, rows: Rows, is_batched: &impl Fn(usize, usize) -> bool) -> Self {
        self.map(&mut 0, &mut |leaf, data| {
            if !is_batched(leaf, data.shape()[0]) {
                return data;
            }
            let kept = chunk(&data, rows.start as usize, rows.end() as usize);
            with_rows(&data, rows.count as usize, kept)
        })
    }

    /// This value with the rows of `part` in place of its own.
    pub(crate) fn splice(
        self,
        rows: Rows,
        part: &Self,
        is_batched: &impl Fn(usize, usize) -> bool,
    ) -> Self {
        let parts = part.leaves();
        self.map(&mut 0, &mut |leaf, data| {
            let part = &parts[leaf];
            let length = data.shape()[0];
            if !is_batched(leaf, length) {
                return part.clone();
            }
            let before = chunk(&data, 0, rows.start as usize);
            let after = chunk(&data, rows.end() as usize, length);
            let bytes = [before, part.as_bytes().to_vec(), after].concat();
            with_rows(&data, length, bytes)
        })
    }
}

/// The bytes of rows `start..end`.
fn chunk(data: &TensorData, start: usize, end: usize) -> Vec<u8> {
    let bytes = data.as_bytes();
    let width = bytes.len() / data.shape()[0].max(1);
    bytes[start * width..end * width].to_vec()
}

fn with_rows(data: &TensorData, rows: usize, bytes: Vec<u8>) -> TensorData {
    let mut shape = data.shape().to_vec();
    shape[0] = rows;
    TensorData::from_bytes_vec(bytes, shape, data.dtype())
}

/// The element types that a test tensor may have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Element {
    F32,
    F64,
    I32,
    I64,
    Bool,
}

pub(crate) fn leaf(element: Element, shape: Vec<usize>, salt: u32) -> Value {
    let count: usize = shape.iter().product();
    let at = |index: usize| {
        (index as u32)
            .wrapping_mul(2_654_435_761)
            .wrapping_add(salt)
    };
    let all = 0..count;
    let data = match element {
        Element::F32 => data(all.map(|index| at(index) as f32 / 7.0), shape),
        Element::F64 => data(all.map(|index| f64::from(at(index)) / 7.0), shape),
        Element::I32 => data(all.map(|index| at(index) as i32), shape),
        Element::I64 => data(all.map(|index| i64::from(at(index)) << 8), shape),
        Element::Bool => data(all.map(|index| at(index) & 4 == 0), shape),
    };
    Value::from_data(data, &cpu()).unwrap()
}

pub(crate) fn data<T: burn::tensor::Element>(
    values: impl Iterator<Item = T>,
    shape: Vec<usize>,
) -> TensorData {
    TensorData::new(values.collect::<Vec<T>>(), shape)
}

pub(crate) const BATCH: u32 = 5;

pub(crate) fn elements() -> impl Strategy<Value = Element> {
    use Element::{Bool, F32, F64, I32, I64};
    prop::sample::select(vec![F32, F64, I32, I64, Bool])
}

/// Tensors of 1 to 8 dimensions, about half of them with as many rows as the batch.
fn leaves() -> impl Strategy<Value = Value> {
    let rows = prop_oneof![Just(BATCH as usize), 1..4_usize];
    let shape = (rows, prop::collection::vec(1..3_usize, 0..8));
    (elements(), shape, any::<u32>()).prop_map(|(element, (rows, mut rest), salt)| {
        rest.insert(0, rows);
        leaf(element, rest, salt)
    })
}

pub(crate) fn values() -> impl Strategy<Value = Value> {
    let plain = prop_oneof![
        Just(Value::Unit),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-9.0..9.0).prop_map(Value::Float),
        "[a-z]{0,4}".prop_map(|text| Value::Text(text.into())),
    ];
    let any_leaf = prop_oneof![4 => leaves(), 1 => plain];
    any_leaf.prop_recursive(3, 12, 4, |inner| {
        let items = prop::collection::vec(inner.clone(), 0..4);
        let named = prop::collection::btree_map("[a-z]{1,3}", inner, 0..4);
        prop_oneof![
            items.clone().prop_map(|items| Value::Tuple(items.into())),
            items.prop_map(|items| Value::List(items.into())),
            named.prop_map(|entries| {
                let entries = entries.into_iter();
                Value::Map(entries.map(|(key, value)| (key.into(), value)).collect())
            }),
        ]
    })
}

pub(crate) fn rows() -> impl Strategy<Value = Rows> {
    (0..BATCH)
        .prop_flat_map(|start| (0..=BATCH - start).prop_map(move |count| Rows { start, count }))
}

pub(crate) fn layouts() -> impl Strategy<Value = RowLayout> {
    prop_oneof![
        2 => Just(RowLayout::ByShape),
        1 => Just(RowLayout::Shared),
    ]
}

/// R50, as the rule says it.
pub(crate) fn is_batched(layout: &RowLayout, dimension_0: usize) -> bool {
    match layout {
        RowLayout::ByShape => dimension_0 == BATCH as usize,
        _ => false,
    }
}

/// A value of the same structure whose tensors have other elements.
pub(crate) fn other_elements(value: Value) -> Value {
    value.map_tensors(&mut |tensor| {
        let data = tensor.to_data();
        let (shape, dtype) = (data.shape().to_vec(), data.dtype());
        let mut bytes = data.as_bytes().to_vec();
        if !matches!(tensor.kind(), Kind::Bool) {
            // The lowest byte, so that a float stays finite.
            let width = bytes.len() / shape.iter().product::<usize>().max(1);
            bytes
                .iter_mut()
                .step_by(width.max(1))
                .for_each(|byte| *byte ^= 0x15);
        } else {
            bytes.iter_mut().for_each(|byte| *byte ^= 1);
        }
        let data = TensorData::from_bytes_vec(bytes, shape, dtype);
        AnyTensor::from_data(data, &cpu()).unwrap()
    })
}
