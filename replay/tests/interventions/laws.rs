//! What holds of the formulas.

use burn::module::Module;
use burn::tensor::TensorData;

use super::*;

#[test]
fn a_steering_vector_is_added_at_every_position() {
    let device = Device::flex();
    let vector = numbers(1, [4], &device);
    let h = numbers(2, [2, 3, 4], &device);
    let steered = SteeringVector::of(vector.clone()).forward(h.clone());
    assert_eq!(bits(&steered), bits(&(h.clone() + vector.unsqueeze())));
    let nothing = SteeringVector::new(4, &device).unwrap();
    assert_eq!((nothing.width(), nothing.num_params()), (4, 4));
    assert_eq!(bits(&nothing.forward(h.clone())), bits(&h));
}

#[test]
fn r110_loreft_has_the_parameters_of_the_paper() {
    let device = Device::flex();
    let loreft = LoReft::new(4096, 4, &device).unwrap();
    assert_eq!(loreft.num_params(), 32_772);
    assert_eq!((loreft.width(), loreft.rank()), (4096, 4));
    let defect = defect(&loreft.rotation());
    assert!(defect <= 1e-6, "{defect}");
}

#[test]
fn loreft_is_its_formula() {
    let device = Device::flex();
    let (rotation, weight) = (numbers(1, [2, 5], &device), numbers(2, [2, 5], &device));
    let bias = numbers(3, [2], &device);
    let loreft = LoReft::of(rotation, weight.clone(), bias.clone()).unwrap();
    let rotation = floats(&loreft.rotation());
    let (weight, bias) = (floats(&weight), floats(&bias));
    let h = numbers(4, [1, 3, 5], &device);
    let made = floats(&loreft.forward(h.clone()));
    for (position, h) in floats(&h).chunks(5).enumerate() {
        let product = |rows: &[f32], row: usize| -> f32 {
            rows[row * 5..][..5].iter().zip(h).map(|(a, b)| a * b).sum()
        };
        for (at, h) in h.iter().enumerate() {
            let edit: f32 = (0..2)
                .map(|row| {
                    let wanted = product(&weight, row) + bias[row];
                    rotation[row * 5 + at] * (wanted - product(&rotation, row))
                })
                .sum();
            assert!((made[position * 5 + at] - (h + edit)).abs() < 1e-5);
        }
    }
}

/// The rows of what is returned have the products that the formula wants, in the subspace, and
/// those of `h` elsewhere.
#[test]
fn an_interchange_replaces_the_subspace_and_nothing_else() {
    let device = Device::flex();
    let whole = Rotation::of(numbers(1, [6, 6], &device)).unwrap();
    let (base, source) = (
        numbers(2, [3, 2, 6], &device),
        numbers(3, [3, 2, 6], &device),
    );
    let made = whole.interchange_in(base.clone(), source.clone(), 1..4);
    let (made, base_in, source_in) = (
        whole.rotate(made),
        whole.rotate(base.clone()),
        whole.rotate(source.clone()),
    );
    assert!(distance(&made.clone().narrow(2, 1, 3), &source_in.narrow(2, 1, 3)) < 1e-5);
    assert!(
        distance(
            &made.clone().narrow(2, 0, 1),
            &base_in.clone().narrow(2, 0, 1)
        ) < 1e-5
    );
    assert!(distance(&made.narrow(2, 4, 2), &base_in.narrow(2, 4, 2)) < 1e-5);
    // All of the space is the source, and a value with itself is itself.
    assert!(distance(&whole.interchange(base.clone(), source.clone()), &source) < 1e-5);
    let same = whole.interchange(base.clone(), base.clone());
    assert_eq!(floats(&same), floats(&base));
}

#[test]
fn rows_become_orthonormal_however_alike_they_are() {
    let device = Device::flex();
    let first = numbers(1, [1, 64], &device);
    let noise = numbers(2, [8, 64], &device) * 1e-4;
    let rows = first.repeat_dim(0, 8) + noise;
    let rotation = Rotation::of(rows.clone()).unwrap();
    let defect = defect(&rotation.directions());
    assert!(defect <= 1e-6, "{defect}");
    // The first stays where it was.
    let first = rows.narrow(0, 0, 1);
    let length = first.clone().square().sum().sqrt().unsqueeze();
    assert!(distance(&rotation.directions().narrow(0, 0, 1), &(first / length)) < 1e-6);
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let device = Device::flex();
    let message = |made: Result<(), interloom::interventions::InterventionError>| {
        let error = made.unwrap_err();
        assert_eq!(error.code(), "E084");
        error.to_string()
    };
    let advice = "; save the intervention again, or load the file as what it is";
    assert_eq!(
        message(LoReft::new(4, 5, &device).map(drop)),
        format!("loreft: the rank has to be 1 to 4, the width, found 5{advice}")
    );
    assert!(Rotation::new(4, 0, &device).is_err());
    assert!(SteeringVector::new(0, &device).is_err());
    assert!(LinearProbe::new(4, 0, &device).is_err());
    for k in [0, 11] {
        let top = FeatureActivation::TopK { k };
        assert!(SparseAutoencoder::new(6, 10, top, &device).is_err(), "{k}");
    }
    assert!(SparseAutoencoder::new(6, 0, FeatureActivation::Relu, &device).is_err());
}

#[test]
fn an_unedited_autoencoder_changes_no_bit() {
    let device = Device::flex();
    let odd = [
        -0.0,
        0.0,
        f32::MIN_POSITIVE / 4.0,
        -f32::MIN_POSITIVE / 8.0,
        1e30,
        -3.5,
    ];
    let mut values = odd.to_vec();
    for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut row = odd;
        row[2] = special;
        values.extend(row);
    }
    values.extend(floats(&numbers(9, [60, 6], &device)));
    let h = Tensor::<3>::from_data(TensorData::new(values, [2, 32, 6]), &device);
    for activation in ACTIVATIONS {
        for device in [Device::flex(), Device::flex().autodiff()] {
            let sae = autoencoder(activation, &device);
            let h = Tensor::<3>::from_data(h.to_data(), &device);
            let made = sae.insert(h.clone(), sae.encode(h.clone()));
            assert_eq!(bits(&made), bits(&h), "{activation:?}");
        }
    }
}

#[test]
fn an_edit_keeps_the_error_and_leaves_other_positions_alone() {
    let device = Device::flex();
    let h = numbers(9, [2, 5, 6], &device);
    for activation in ACTIVATIONS {
        let sae = autoencoder(activation, &device);
        let features = sae.encode(h.clone());
        let two = features.clone().narrow(1, 2, 1) + 0.5;
        let edited = features.clone().slice_assign([0..2, 2..3, 0..10], two);
        let made = sae.insert(h.clone(), edited.clone());
        let error = h.clone() - sae.decode(features);
        assert!(distance(&made, &(sae.decode(edited) + error)) < 1e-4);
        for position in [0, 1, 3, 4] {
            let (made, h) = (made.clone(), h.clone());
            let at = |tensor: Tensor<3>| bits(&tensor.narrow(1, position, 1));
            assert_eq!(at(made), at(h), "{activation:?} {position}");
        }
        assert!(distance(&made.narrow(1, 2, 1), &h.clone().narrow(1, 2, 1)) > 0.1);
    }
}

/// Gradients of features are those of the insertion also where nothing is edited, so that what
/// features do can be attributed.
#[test]
fn gradients_pass_to_features_that_nobody_edits() {
    let device = Device::flex().autodiff();
    let sae = autoencoder(FeatureActivation::Relu, &device);
    let h = numbers(9, [4, 6], &device).require_grad();
    let features = sae.encode(h.clone()).detach().require_grad();
    let direction = numbers(7, [1, 6], &device);
    let loss = (sae.insert(h.clone(), features.clone()) * direction.clone()).sum();
    let gradients = loss.backward();
    let found = features.grad(&gradients).unwrap();
    let decoder = sae.decoder().inner();
    let expected = direction
        .inner()
        .matmul(decoder.transpose())
        .repeat_dim(0, 4);
    assert!(distance(&found, &expected) < 1e-5);
    // What reaches `h` is what an insertion of fixed features leaves of it.
    assert!(h.grad(&gradients).is_some());
}

#[test]
fn the_activations_keep_what_they_say() {
    let device = Device::flex();
    let h = numbers(9, [20, 6], &device);
    let count = |row: &[f32]| row.iter().filter(|&&feature| feature != 0.0).count();
    let relu = floats(&autoencoder(FeatureActivation::Relu, &device).encode(h.clone()));
    assert!(relu.iter().all(|&feature| feature >= 0.0));
    let top = autoencoder(FeatureActivation::TopK { k: 3 }, &device);
    let top = floats(&top.encode(h.clone()));
    for (all, kept) in relu.chunks(10).zip(top.chunks(10)) {
        let mut sorted = all.to_vec();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let expected = all
            .iter()
            .map(|&feature| if feature >= sorted[2] { feature } else { 0.0 });
        assert_eq!(kept, expected.collect::<Vec<_>>());
        assert!(count(kept) <= 3);
    }
    let jump = autoencoder(FeatureActivation::JumpRelu, &device);
    let jump = floats(&jump.encode(h));
    let threshold = floats(&numbers(5, [10], &device).abs());
    for (all, kept) in relu.chunks(10).zip(jump.chunks(10)) {
        let pairs = all.iter().zip(&threshold);
        let expected = pairs.map(|(&feature, &least)| if feature > least { feature } else { 0.0 });
        assert_eq!(kept, expected.collect::<Vec<_>>());
    }
}
