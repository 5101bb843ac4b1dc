//! Interventions that learn: their laws, their files, their training, and programmes that call
//! them.

mod das;
mod files;
mod laws;
mod named;
mod sae_lens;
mod training;

use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use interloom::interventions::{
    FeatureActivation, Learned, LinearProbe, LoReft, Rotation, SparseAutoencoder, SteeringVector,
};

/// A folder of the tests' data.
fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// The bits of a tensor of f32.
fn bits<const D: usize>(tensor: &Tensor<D>) -> Vec<u32> {
    let data = tensor.clone().into_data();
    data.iter::<f32>().map(f32::to_bits).collect()
}

fn floats<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.clone().into_data().iter::<f32>().collect()
}

/// The largest difference of two tensors.
#[track_caller]
fn distance<const D: usize>(left: &Tensor<D>, right: &Tensor<D>) -> f32 {
    assert_eq!(left.dims(), right.dims());
    let pairs = floats(left).into_iter().zip(floats(right));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Numbers that are the same in every process, whatever else draws some.
fn numbers<const D: usize>(seed: u32, shape: [usize; D], device: &Device) -> Tensor<D> {
    let count: usize = shape.iter().product();
    let number = |at: usize| ((at as f32 + 1.0) * (seed as f32 + 0.7310)).sin() * 1.3;
    let values: Vec<f32> = (0..count).map(number).collect();
    Tensor::<1>::from_floats(values.as_slice(), device).reshape(shape)
}

/// How far rows are from orthonormal ones: the largest element of `|R R^T - 1|`, in 64 bits.
fn defect(rows: &Tensor<2>) -> f64 {
    let [count, width] = rows.dims();
    let all: Vec<f64> = floats(rows).into_iter().map(f64::from).collect();
    let mut most: f64 = 0.0;
    for (a, b) in (0..count).flat_map(|a| (0..count).map(move |b| (a, b))) {
        let (left, right) = (&all[a * width..][..width], &all[b * width..][..width]);
        let product: f64 = left.iter().zip(right).map(|(x, y)| x * y).sum();
        most = most.max((product - f64::from(u8::from(a == b))).abs());
    }
    most
}

/// An autoencoder with numbers of its own in every parameter.
fn autoencoder(activation: FeatureActivation, device: &Device) -> SparseAutoencoder {
    let (width, features) = (6, 10);
    let parts = interloom::interventions::AutoencoderParts {
        encoder: numbers(1, [width, features], device),
        encoder_bias: numbers(2, [features], device) * 0.2,
        decoder: numbers(3, [features, width], device),
        decoder_bias: numbers(4, [width], device) * 0.3,
        threshold: (activation == FeatureActivation::JumpRelu)
            .then(|| numbers(5, [features], device).abs()),
        gate_bias: (activation == FeatureActivation::Gated)
            .then(|| numbers(6, [features], device) * 0.2),
        magnitude: (activation == FeatureActivation::Gated)
            .then(|| numbers(7, [features], device) * 0.5),
    };
    SparseAutoencoder::of(parts, activation, true).unwrap()
}

const ACTIVATIONS: [FeatureActivation; 4] = [
    FeatureActivation::Relu,
    FeatureActivation::JumpRelu,
    FeatureActivation::Gated,
    FeatureActivation::TopK { k: 3 },
];
