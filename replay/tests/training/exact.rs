//! Sums, losses and clipping in a fixed order: the values of burn's own.

use burn::module::Module;
use burn::nn::loss::{CrossEntropyLossConfig, MseLoss, Reduction};
use burn::nn::{Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData, Tolerance};
use interloom::training::{
    clip_by_norm, cross_entropy, mean_squared_error, smoothed_cross_entropy, sum_in_order,
    weighted_cross_entropy,
};

use crate::net::alone;

fn logits(device: &Device) -> (Tensor<2>, Tensor<1, Int>) {
    device.seed(3);
    let logits = Tensor::<2>::random([9, 5], Distribution::Normal(0.0, 2.0), device);
    let classes = TensorData::from([0, 4, 2, 2, 1, 3, 0, 4, 1]);
    (logits, Tensor::from_data(classes, device))
}

fn close(a: Tensor<1>, b: Tensor<1>) {
    a.into_data()
        .assert_approx_eq::<f32>(&b.into_data(), Tolerance::relative(1e-6));
}

#[test]
fn losses_are_those_of_burn() {
    let _alone = alone();
    let device = Device::flex();
    let (logits, classes) = logits(&device);
    let burns = |config: CrossEntropyLossConfig| {
        config
            .init(&device)
            .forward(logits.clone(), classes.clone())
    };
    close(
        cross_entropy(logits.clone(), classes.clone()),
        burns(CrossEntropyLossConfig::new()),
    );
    close(
        smoothed_cross_entropy(logits.clone(), classes.clone(), 0.1),
        burns(CrossEntropyLossConfig::new().with_smoothing(Some(0.1))),
    );
    let weights = vec![0.5, 1.0, 2.0, 0.25, 3.0];
    let weight_of: Vec<f32> = [0, 4, 2, 2, 1, 3, 0, 4, 1]
        .map(|class: usize| weights[class])
        .to_vec();
    close(
        weighted_cross_entropy(
            logits.clone(),
            classes.clone(),
            Tensor::from_data(TensorData::new(weight_of, [9]), &device),
        ),
        burns(CrossEntropyLossConfig::new().with_weights(Some(weights))),
    );
    let target = logits.clone() * 0.5 + 1.0;
    close(
        mean_squared_error(logits.clone(), target.clone()),
        MseLoss::new().forward(logits, target, Reduction::Mean),
    );
}

#[test]
fn a_row_of_padding_has_no_gradient() {
    let _alone = alone();
    let device = Device::flex().autodiff();
    let (logits, classes) = logits(&device);
    let logits = logits.require_grad();
    let weights = TensorData::from([1.0_f32, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]);
    let loss = weighted_cross_entropy(logits.clone(), classes, Tensor::from_data(weights, &device));
    let gradient = logits.grad(&loss.backward()).expect("a gradient");
    let rows = gradient
        .abs()
        .sum_dim(1)
        .into_data()
        .try_to_vec::<f32>()
        .unwrap();
    let without: Vec<usize> = (0..9).filter(|row| rows[*row] == 0.0).collect();
    assert_eq!(without, [2, 8]);
}

#[test]
fn sums_of_every_rank_are_sums() {
    let device = Device::flex();
    let numbers: Vec<f32> = (0..24).map(|number| number as f32).collect();
    let flat = Tensor::<1>::from_data(TensorData::new(numbers, [24]), &device);
    assert_eq!(sum_in_order(flat.clone()).into_scalar::<f32>(), 276.0);
    assert_eq!(
        sum_in_order(flat.clone().reshape([4, 6])).into_scalar::<f32>(),
        276.0
    );
    assert_eq!(
        sum_in_order(flat.reshape([2, 3, 2, 2])).into_scalar::<f32>(),
        276.0
    );
}

#[test]
fn a_small_norm_is_left_as_it_is_and_a_great_one_is_scaled() {
    let _alone = alone();
    let device = Device::flex().autodiff();
    device.seed(1);
    let linear: Linear = LinearConfig::new(3, 4).init(&device);
    let input = Tensor::<2>::random([2, 3], Distribution::Default, &device);
    let gradients = || {
        let loss = linear.forward(input.clone()).square().mean();
        GradientsParams::from_grads(loss.backward(), &linear)
    };
    let numbers = |gradients: &GradientsParams| {
        let weight = gradients.get::<2>(linear.weight.id).unwrap().into_data();
        weight.try_to_vec::<f32>().unwrap()
    };
    let plain = gradients();
    let (kept, norm) = clip_by_norm(&linear, gradients(), 1e6).unwrap();
    assert_eq!(numbers(&kept), numbers(&plain));
    let (clipped, same) = clip_by_norm(&linear, gradients(), norm / 2.0).unwrap();
    assert_eq!(norm, same);
    let (_, half) = clip_by_norm(&linear, clipped, 1e6).unwrap();
    assert!((half / norm - 0.5).abs() < 1e-4, "{half} of {norm}");
    assert!(clip_by_norm(&linear, GradientsParams::new(), 1.0).is_none());
    assert_eq!(linear.num_params(), 16);
}
