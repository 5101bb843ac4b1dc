//! Tensors for the tests of the decoder's parts.

use burn::tensor::{Device, Tensor, TensorData};

/// Makes a tensor of numbers that differ.
pub(super) fn counted(shape: [usize; 4]) -> Tensor<4> {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count)
        .map(|index| (index as f32 * 0.37).sin())
        .collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}
