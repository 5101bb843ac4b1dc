//! Folders of SAELens, which sae-lens 6.54.12 has saved, with what it computes
//! (`data/sae-lens/make.py`).

use std::fs;
use std::path::Path;

use interloom::interventions::SaeLens;
use safetensors::SafeTensors;
use serde_json::{Value as Json, json};

use super::*;

fn tensor(file: &SafeTensors<'_>, name: &str, device: &Device) -> Tensor<2> {
    let view = file.tensor(name).unwrap();
    let floats = view.data().chunks_exact(4);
    let floats: Vec<f32> = floats
        .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
        .collect();
    let shape: [usize; 2] = view.shape().try_into().unwrap();
    Tensor::<1>::from_floats(floats.as_slice(), device).reshape(shape)
}

#[test]
fn autoencoders_of_sae_lens_compute_what_they_do_there() {
    let device = Device::flex();
    for (name, activation) in [
        ("standard", FeatureActivation::Relu),
        ("jumprelu", FeatureActivation::JumpRelu),
        ("gated", FeatureActivation::Gated),
        ("topk", FeatureActivation::TopK { k: 3 }),
        ("trained-topk", FeatureActivation::TopK { k: 3 }),
        ("batchtopk", FeatureActivation::JumpRelu),
        ("matryoshka", FeatureActivation::JumpRelu),
    ] {
        let folder = data("sae-lens").join(name);
        let loaded = SaeLens::load(&folder, &device).unwrap();
        assert_eq!(loaded.hook_name(), Some("blocks.0.hook_resid_post"));
        let sae = loaded.autoencoder;
        assert_eq!(
            (sae.width(), sae.features(), sae.activation()),
            (6, 10, activation)
        );
        let bytes = fs::read(folder.join("expected.safetensors")).unwrap();
        let expected = SafeTensors::deserialize(&bytes).unwrap();
        let features = sae.encode(tensor(&expected, "x", &device));
        assert!(
            distance(&features, &tensor(&expected, "features", &device)) < 1e-5,
            "{name}"
        );
        let decoded = sae.decode(features);
        assert!(
            distance(&decoded, &tensor(&expected, "decoded", &device)) < 1e-5,
            "{name}"
        );
    }
}

/// Copies a folder with other settings, and loads it.
fn with(name: &str, change: impl FnOnce(&mut Json)) -> Result<SaeLens, (&'static str, String)> {
    let folder = tempfile::tempdir().unwrap();
    let from = data("sae-lens").join(name);
    let copy = |file: &str| fs::read(from.join(file)).unwrap();
    let mut settings: Json = serde_json::from_slice(&copy("cfg.json")).unwrap();
    change(&mut settings);
    let write = |file: &str, bytes: &[u8]| fs::write(folder.path().join(file), bytes).unwrap();
    write("cfg.json", settings.to_string().as_bytes());
    write("sae_weights.safetensors", &copy("sae_weights.safetensors"));
    SaeLens::load(folder.path(), &Device::flex()).map_err(|error| {
        let folder: &Path = folder.path();
        (
            error.code(),
            error
                .to_string()
                .replace(&format!("{}/", folder.display()), ""),
        )
    })
}

#[test]
fn settings_that_are_not_known_are_refused_by_name() {
    for (setting, value) in [
        ("normalize_activations", json!("layer_norm")),
        ("normalize_activations", json!("expected_average_only_in")),
        ("reshape_activations", json!("hook_z")),
        ("architecture", json!("transcoder")),
        ("architecture", Json::Null),
        ("dtype", json!("float64")),
        ("d_in", json!(0)),
        ("d_sae", json!("10")),
        ("apply_b_dec_to_input", json!(1)),
        ("finetuning_scaling_factor", json!(true)),
        ("activation_fn", json!("relu")),
        ("k", json!(3)),
        ("metadata", json!("text")),
    ] {
        let (code, message) =
            with("standard", |settings| settings[setting] = value.clone()).unwrap_err();
        assert_eq!(code, "E085", "{message}");
        let start = format!("cfg.json: setting `{setting}` is {value}, expected ");
        assert!(message.starts_with(&start), "{message}");
    }
}

/// In a `topk` that sae-lens has trained rows have length 1 already, in others they need not.
#[test]
fn lengths_of_decoder_rows_are_folded_into_the_weights() {
    let rescaled = |settings: &mut Json| settings["rescale_acts_by_decoder_norm"] = json!(true);
    let folded = with("topk", rescaled).unwrap().autoencoder;
    let plain = with("topk", |_| ()).unwrap().autoencoder;
    let lengths = plain.decoder().square().sum_dim(1).sqrt().transpose();
    assert!(distance(&lengths, &lengths.ones_like()) > 0.1);
    // With every feature taken, no choice depends on the lengths.
    let all = |settings: &mut Json| {
        rescaled(settings);
        settings["k"] = json!(10);
    };
    let x = Tensor::<2>::from_floats(
        [
            [0.5, -1.2, 0.3, 2.0, -0.7, 1.1],
            [-1.5, 0.4, 0.9, -0.2, 1.3, 0.1],
        ],
        &Device::flex(),
    );
    let [scaled, own] = [
        with("topk", all),
        with("topk", |settings| settings["k"] = json!(10)),
    ]
    .map(|loaded| loaded.unwrap().autoencoder);
    let (scaled_features, features) = (scaled.encode(x.clone()), own.encode(x));
    assert!(distance(&scaled_features, &(features.clone() * lengths)) < 1e-5);
    assert!(distance(&scaled.decode(scaled_features), &own.decode(features)) < 1e-5);
    let ones = folded.decoder().square().sum_dim(1).sqrt();
    assert!(distance(&ones, &ones.ones_like()) < 1e-6);
}

#[test]
fn weights_that_are_not_those_of_the_configuration_are_refused() {
    for (name, setting, value) in [
        ("standard", "d_in", json!(7)),
        ("standard", "dtype", json!("bfloat16")),
        ("standard", "architecture", json!("jumprelu")),
        ("jumprelu", "architecture", json!("standard")),
        ("gated", "architecture", json!("standard")),
        ("topk", "k", json!(11)),
    ] {
        let (code, message) = with(name, |settings| settings[setting] = value).unwrap_err();
        assert_eq!(code, "E084", "{message}");
    }
    let (code, _) = with("topk", |settings| settings["k"] = Json::Null).unwrap_err();
    assert_eq!(code, "E085");
    let missing = SaeLens::load(data("sae-lens"), &Device::flex()).unwrap_err();
    assert_eq!(missing.code(), "E083");
    // What is not there has the value that SAELens gives it.
    let fewer = |settings: &mut Json| {
        let settings = settings.as_object_mut().unwrap();
        for name in [
            "apply_b_dec_to_input",
            "dtype",
            "device",
            "metadata",
            "normalize_activations",
        ] {
            settings.remove(name);
        }
    };
    assert!(with("standard", fewer).is_ok());
}
