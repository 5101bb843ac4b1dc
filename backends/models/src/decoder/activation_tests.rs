//! What PyTorch computes of the nonlinearities that transformers names.

use burn::tensor::{Device, Tensor, TensorData, activation};

use super::{Activation, silu};

const X: [f32; 8] = [-12.0, -3.0, -0.75, 0.0, 0.5, 2.0, 7.0, 25.0];

#[rustfmt::skip]
const EXPECTED: &[(&str, [f32; 8])] = &[
    ("gelu", [0.0, -0.004049694, -0.1699705, 0.0, 0.3457312, 1.9545, 7.0, 25.0]),
    ("gelu_10", [0.0, -0.004049694, -0.1699705, 0.0, 0.3457312, 1.9545, 7.0, 10.0]),
    ("gelu_fast", [0.0, -0.003637392, -0.1700394, 0.0, 0.345714, 1.954598, 7.0, 25.0]),
    ("gelu_new", [0.0, -0.003637392, -0.1700394, 0.0, 0.345714, 1.954598, 7.0, 25.0]),
    ("gelu_python", [0.0, -0.004049694, -0.1699705, 0.0, 0.3457312, 1.9545, 7.0, 25.0]),
    ("gelu_pytorch_tanh", [0.0, -0.003637392, -0.1700394, 0.0, 0.345714, 1.954598, 7.0, 25.0]),
    ("gelu_python_tanh", [0.0, -0.003637392, -0.1700394, 0.0, 0.345714, 1.954598, 7.0, 25.0]),
    ("gelu_accurate", [0.0, -0.003637392, -0.1700394, 0.0, 0.345714, 1.954598, 7.0, 25.0]),
    ("hardswish", [0.0, 0.0, -0.28125, 0.0, 0.2916667, 1.666667, 7.0, 25.0]),
    ("laplace", [0.0, 0.0, 1.200229e-07, 0.00609446, 0.2314211, 0.9999977, 1.0, 1.0]),
    ("leaky_relu", [-0.12, -0.03, -0.0075, 0.0, 0.5, 2.0, 7.0, 25.0]),
    ("linear", [-12.0, -3.0, -0.75, 0.0, 0.5, 2.0, 7.0, 25.0]),
    ("mish", [-7.373032e-05, -0.1456475, -0.2764947, 0.0, 0.3752452, 1.943959, 6.999988, 25.0]),
    ("quick_gelu", [-1.618642e-08, -0.01807131, -0.1636099, 0.0, 0.3503884, 1.935659, 6.999953, 25.0]),
    ("relu", [0.0, 0.0, 0.0, 0.0, 0.5, 2.0, 7.0, 25.0]),
    ("relu2", [0.0, 0.0, 0.0, 0.0, 0.25, 4.0, 49.0, 625.0]),
    ("relu6", [0.0, 0.0, 0.0, 0.0, 0.5, 2.0, 6.0, 6.0]),
    ("sigmoid", [6.144175e-06, 0.04742587, 0.3208213, 0.5, 0.6224593, 0.8807971, 0.9990889, 1.0]),
    ("silu", [-7.37301e-05, -0.1422776, -0.240616, 0.0, 0.3112297, 1.761594, 6.993623, 25.0]),
    ("sqrtsoftplus", [0.002478748, 0.2204254, 0.6219896, 0.8325546, 0.9869534, 1.458399, 2.645924, 5.0]),
    ("swish", [-7.37301e-05, -0.1422776, -0.240616, 0.0, 0.3112297, 1.761594, 6.993623, 25.0]),
    ("tanh", [-1.0, -0.9950547, -0.635149, 0.0, 0.4621172, 0.9640276, 0.9999983, 1.0]),
];

#[test]
fn every_nonlinearity_is_that_of_transformers() {
    for (name, expected) in EXPECTED {
        let activation = Activation::named(name).unwrap();
        let x = Tensor::<1>::from_floats(X, &Device::flex()).reshape([1, 2, 4]);
        let found: Vec<f32> = activation.of(x).into_data().iter::<f32>().collect();
        for ((x, found), expected) in X.iter().zip(found).zip(expected) {
            let apart = (found - expected).abs();
            assert!(
                apart <= 1e-6 * expected.abs().max(1.0),
                "{name}({x}) {found} {expected}"
            );
        }
    }
}

/// These have parameters.
#[test]
fn others_are_refused() {
    for name in ["prelu", "xielu", "GELU"] {
        assert_eq!(Activation::named(name), None);
    }
}

#[test]
fn silu_has_the_bits_of_burns() {
    let even = (-4_000..4_000).map(|step| step as f32 * 0.025);
    let odd = [0.0, -0.0, f32::MIN_POSITIVE, 1e-42, f32::MAX, f32::MIN];
    let no_numbers = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    let values: Vec<f32> = even.chain(odd).chain(no_numbers).collect();
    let count = values.len();
    let x = Tensor::from_data(TensorData::new(values, [1, 1, count]), &Device::flex());
    let bits = |x: Tensor<3>| -> Vec<u32> {
        let floats: Vec<f32> = x.into_data().try_into_vec().unwrap();
        floats.into_iter().map(f32::to_bits).collect()
    };
    assert_eq!(bits(silu(x.clone())), bits(activation::silu(x.clone())));
    let x = x.autodiff();
    assert_eq!(bits(silu(x.clone())), bits(activation::silu(x)));
}
