//! Files: what is loaded is what was saved, and what cannot be right is refused.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use interloom::interventions::{Intervention, InterventionError};
use interloom_backends::parameters;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::*;

/// One intervention of each kind.
fn each(device: &Device) -> Vec<Intervention> {
    let mut all: Vec<Intervention> = vec![
        SteeringVector::of(numbers(1, [6], device)).into(),
        LoReft::of(
            numbers(1, [3, 6], device),
            numbers(2, [3, 6], device),
            numbers(3, [3], device),
        )
        .unwrap()
        .into(),
        Rotation::of(numbers(4, [4, 6], device)).unwrap().into(),
        LinearProbe::of(numbers(5, [2, 6], device), numbers(6, [2], device))
            .unwrap()
            .into(),
    ];
    let autoencoders = ACTIVATIONS.map(|activation| autoencoder(activation, device).into());
    all.extend(autoencoders);
    all
}

fn save(intervention: &Intervention, path: &Path) -> Result<(), InterventionError> {
    match intervention {
        Intervention::SteeringVector(own) => own.save(path),
        Intervention::LoReft(own) => own.save(path),
        Intervention::Rotation(own) => own.save(path),
        Intervention::SparseAutoencoder(own) => own.save(path),
        Intervention::LinearProbe(own) => own.save(path),
        other => panic!("{other:?} is of a new kind"),
    }
}

fn parameters_of(intervention: &Intervention) -> Vec<(String, Vec<u32>)> {
    let mut all = Vec::new();
    intervention.visit_parameters(&mut |name, data| {
        all.push((
            name.to_owned(),
            data.iter::<f32>().map(f32::to_bits).collect(),
        ));
    });
    all
}

#[test]
fn r110_what_is_loaded_is_what_was_saved_bit_for_bit() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    for (number, intervention) in each(&device).iter().enumerate() {
        let path = folder.path().join(format!("{number}.safetensors"));
        save(intervention, &path).unwrap();
        let loaded = Intervention::load(&path, &device).unwrap();
        assert_eq!(loaded.kind(), intervention.kind());
        assert_eq!(parameters_of(&loaded), parameters_of(intervention));
        // And what it computes is the same, with all settings.
        let again = folder.path().join("again.safetensors");
        save(&loaded, &again).unwrap();
        assert_eq!(fs::read(&path).unwrap(), fs::read(&again).unwrap());
    }
    let names = fs::read_dir(folder.path()).unwrap();
    assert_eq!(
        names.count(),
        each(&device).len() + 1,
        "nothing half written is left"
    );
}

#[test]
fn a_cut_file_is_refused_wherever_it_is_cut() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    for intervention in each(&device) {
        let path = folder.path().join("whole.safetensors");
        save(&intervention, &path).unwrap();
        let whole = fs::read(&path).unwrap();
        let cut = folder.path().join("cut.safetensors");
        for length in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
            fs::write(&cut, &whole[..length]).unwrap();
            let error = Intervention::load(&cut, &device).unwrap_err();
            assert_eq!(error.code(), "E083", "{length}: {error}");
        }
    }
}

/// Name, type, shape and bytes.
type StoredTensor = (String, Dtype, Vec<usize>, Vec<u8>);

/// Writes a file with the label of another and other tensors.
fn forge(from: &Path, to: &Path, change: impl FnOnce(&mut Vec<StoredTensor>)) {
    let bytes = fs::read(from).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<_> = file
        .iter()
        .map(|(name, view)| {
            (
                name.to_owned(),
                view.dtype(),
                view.shape().to_vec(),
                view.data().to_vec(),
            )
        })
        .collect();
    change(&mut tensors);
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (
            name.clone(),
            TensorView::new(*dtype, shape.clone(), data).unwrap(),
        )
    });
    let bytes = safetensors::serialize(views, header.metadata().clone()).unwrap();
    fs::write(to, bytes).unwrap();
}

#[test]
fn what_must_hold_is_checked_when_a_file_is_loaded() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let (path, forged) = (
        folder.path().join("a.safetensors"),
        folder.path().join("b.safetensors"),
    );
    let rotation = Rotation::of(numbers(4, [2, 3], &device)).unwrap();
    rotation.save(&path).unwrap();
    let refusal = |change: &dyn Fn(&mut Vec<StoredTensor>)| {
        forge(&path, &forged, change);
        let error = Rotation::load(&forged, &device).unwrap_err();
        assert_eq!(error.code(), "E084");
        let place = format!("{}: ", forged.display());
        let message = error.to_string();
        message
            .strip_prefix(&place)
            .unwrap()
            .split("; ")
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        refusal(&|all| all[0].0 = "direction".to_owned()),
        r#"parameter `directions` has to be there, found none, but ["direction"]"#
    );
    assert_eq!(
        refusal(&|all| {
            let mut other = all[0].clone();
            other.0 = "bias".to_owned();
            all.push(other);
        }),
        r#"every parameter has to be one of ["directions"], found `bias`"#
    );
    assert_eq!(
        refusal(&|all| all[0].2 = vec![3, 2]),
        "parameter `directions` has to be f32[2, 3], found f32[3, 2]"
    );
    assert_eq!(
        refusal(&|all| all[0].1 = Dtype::I32),
        "parameter `directions` has to be f32[2, 3], found i32[2, 3]"
    );
    assert_eq!(
        refusal(&|all| all[0].3[4..8].copy_from_slice(&f32::NAN.to_le_bytes())),
        "parameter `directions` has to be of finite numbers, found another at place 1"
    );
    // The least that a row can be off and be found: a hundred thousandth.
    let longer = refusal(&|all| {
        let first = f32::from_le_bytes(all[0].3[..4].try_into().unwrap());
        all[0].3[..4].copy_from_slice(&(first * 1.00002).to_le_bytes());
    });
    assert!(
        longer
            .starts_with("parameter `directions` has to be orthonormal rows, to 1e-6, found rows"),
        "{longer}"
    );
    forge(&path, &forged, |_| {});
    assert_eq!(
        parameters(&Rotation::load(&forged, &device).unwrap()),
        parameters(&rotation)
    );
}

#[test]
fn files_of_something_else_are_refused() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    SteeringVector::new(3, &device)
        .unwrap()
        .save(&path)
        .unwrap();
    let error = LoReft::load(&path, &device).unwrap_err();
    assert_eq!(error.code(), "E084");
    assert!(
        error
            .to_string()
            .contains("the kind has to be `loreft`, found `steering-vector`")
    );

    let bytes = [0u8; 12];
    let view = || TensorView::new(Dtype::F32, vec![3], &bytes).unwrap();
    let with = |label: Option<&str>| {
        let metadata =
            label.map(|label| HashMap::from([("interloom".to_owned(), label.to_owned())]));
        let file = safetensors::serialize([("vector", view())], metadata).unwrap();
        fs::write(&path, file).unwrap();
        let error = Intervention::load(&path, &device).unwrap_err();
        (error.code(), error.to_string())
    };
    let (code, message) = with(None);
    assert_eq!(code, "E083");
    assert!(
        message.contains("a SAELens folder is loaded as such"),
        "{message}"
    );
    let cases = [
        (
            r#"{"format":2,"kind":"steering-vector","settings":{"width":3}}"#,
            "E083",
        ),
        (
            r#"{"format":1,"kind":"steering-vector","settings":{"width":3,"depth":1}}"#,
            "E083",
        ),
        (
            r#"{"format":1,"kind":"steering-vector","settings":{"width":3},"more":0}"#,
            "E083",
        ),
        (
            r#"{"format":1,"kind":"steering-vector","settings":{"width":4}}"#,
            "E084",
        ),
        (r#"{"format":1,"kind":"mystery","settings":{}}"#, "E084"),
        (
            r#"{"format":1,"kind":"rotation","settings":{"width":3,"rank":1}}"#,
            "E084",
        ),
        ("no json", "E083"),
    ];
    for (label, code) in cases {
        assert_eq!(with(Some(label)).0, code, "{label}");
    }
    let error = SteeringVector::load(folder.path().join("none.safetensors"), &device).unwrap_err();
    assert_eq!((error.code(), error.at_fault().name()), ("E083", "misuse"));
    let nowhere = folder.path().join("no/folder/a.safetensors");
    let saved = SteeringVector::new(3, &device).unwrap().save(nowhere);
    let error = saved.unwrap_err();
    assert_eq!(
        (error.code(), error.at_fault().name()),
        ("E083", "environment")
    );
}
