//! The tensors of a folder of scenarios.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, TensorData};
use interloom_backends::Value;
use safetensors::{Dtype, SafeTensors};

use super::error::ConformError;
use crate::outcome::Item;

/// A tensor as it is in a file; whole numbers are floats here, too.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plain {
    pub(super) shape: Vec<usize>,
    pub(super) data: Vec<f64>,
    pub(super) is_whole: bool,
}

/// Named tensors of a file.
pub(super) type Tensors = BTreeMap<String, Plain>;

/// Files of scenarios are small; a larger one is something else.
const BYTES_MAX: u64 = 1 << 28;

/// Reads the tensors of a file, which are `F32` or `I64`.
pub(super) fn load(path: &Path) -> Result<Tensors, ConformError> {
    let file = |reason: String| ConformError::file(path, reason);
    let io = |error: std::io::Error| ConformError::file(path, error);
    let length = std::fs::metadata(path).map_err(io)?.len();
    if length > BYTES_MAX {
        return Err(file(format!(
            "{length} bytes, at most {BYTES_MAX} are read"
        )));
    }
    let bytes = std::fs::read(path).map_err(io)?;
    let views = SafeTensors::deserialize(&bytes).map_err(|error| file(error.to_string()))?;
    let mut tensors = Tensors::new();
    for (name, view) in views.tensors() {
        let data = numbers(view.dtype(), view.data()).ok_or_else(|| {
            file(format!(
                "`{name}` is {:?}, expected F32 or I64",
                view.dtype()
            ))
        })?;
        let plain = Plain {
            shape: view.shape().to_vec(),
            data,
            is_whole: view.dtype() == Dtype::I64,
        };
        tensors.insert(name, plain);
    }
    Ok(tensors)
}

/// Copies the elements out, so that nothing is computed on memory that is not aligned.
fn numbers(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f64>> {
    match dtype {
        Dtype::F32 => {
            let (numbers, _) = bytes.as_chunks::<4>();
            let numbers = numbers.iter();
            Some(
                numbers
                    .map(|&bytes| f32::from_le_bytes(bytes).into())
                    .collect(),
            )
        }
        Dtype::I64 => {
            let (numbers, _) = bytes.as_chunks::<8>();
            let numbers = numbers.iter();
            Some(
                numbers
                    .map(|&bytes| i64::from_le_bytes(bytes) as f64)
                    .collect(),
            )
        }
        _ => None,
    }
}

impl Plain {
    pub(super) fn to_item(&self) -> Item {
        Item::Tensor {
            shape: self.shape.clone(),
            numbers: self.data.clone(),
            is_on_host: true,
        }
    }

    /// Makes the tensor; one without dimensions becomes `[1]`, for burn has none.
    pub(super) fn to_value(&self, device: &Device) -> Option<Value> {
        let shape = match &self.shape[..] {
            [] => vec![1],
            shape => shape.to_vec(),
        };
        let data = if self.is_whole {
            let data: Vec<i64> = self.data.iter().map(|&x| x as i64).collect();
            TensorData::new(data, shape)
        } else {
            let data: Vec<f32> = self.data.iter().map(|&x| x as f32).collect();
            TensorData::new(data, shape)
        };
        Value::from_data(data, device).ok()
    }
}
