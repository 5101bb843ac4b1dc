//! Exports of values that are made to be awkward.

use std::fs;

#[cfg(feature = "mcap")]
use super::super::export::mcap;
use super::super::export::{Selection, json_lines, npz, safetensors, trace};
use super::*;

/// A journal with one exchange whose value has tensors in every place, two of which get the same
/// name.
fn awkward(policy: Policy, keeps: bool) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ilj");
    let head = Head {
        policy,
        ..samples::head()
    };
    let mut writer = JournalWriter::create(&path, &head).unwrap();
    writer.start_run(&samples::run_start(0)).unwrap();
    let mut tensor = |dtype: DType, shape: &[u64], bytes: &[u8]| {
        let digest = Digest::of_tensor(dtype, shape, bytes);
        if keeps {
            writer.tensor(&digest, dtype, shape, bytes).unwrap();
        }
        ValueTree::Leaf(TensorLine {
            dtype,
            shape: shape.to_vec(),
            digest,
        })
    };
    let entries = [
        ("x".into(), tensor(DType::U8, &[3], &[1, 2, 3])),
        ("x".into(), tensor(DType::BF16, &[1, 1], &[0xC0, 0x3F])),
        ("../up".into(), tensor(DType::Bool, &[], &[1])),
    ];
    let map = ValueTree::Map(entries.into());
    let value = ValueTree::Tuple([map, tensor(DType::I64, &[0, 2], &[])].into());
    let path_id = writer.path("layers.0.output").unwrap();
    let exchange = ExchangeRecord {
        value: Some(value),
        ..samples::tensor_exchange(0, 0, Event::Value, path_id, &[])
    };
    writer.exchange(&exchange).unwrap();
    writer.end_run(samples::completed()).unwrap();
    writer.finish().unwrap();
    (folder, path)
}

#[test]
fn a_tensor_that_an_exchange_gives_another_shape_is_no_part_of_an_export() {
    // The run has no end, whose digest would show that the exchange was altered.
    let mut journal = Vec::new();
    let mut writer = JournalWriter::new(&mut journal, "a.ilj", &samples::head()).unwrap();
    writer.start_run(&samples::run_start(0)).unwrap();
    let digest = Digest::of_tensor(DType::U8, &[2], &[1, 2]);
    writer.tensor(&digest, DType::U8, &[2], &[1, 2]).unwrap();
    let path = writer.path("layers.0.output").unwrap();
    let exchange = ExchangeRecord {
        value: Some(ValueTree::Leaf(TensorLine {
            dtype: DType::U8,
            shape: vec![33],
            digest,
        })),
        ..samples::tensor_exchange(0, 0, Event::Value, path, &[])
    };
    writer.exchange(&exchange).unwrap();
    drop(writer);
    let reader = || JournalReader::new(std::io::Cursor::new(&journal[..]), "a.ilj").unwrap();
    let mut out = Vec::new();
    let error = safetensors(reader(), Selection::default(), &mut out, "out").unwrap_err();
    insta::assert_snapshot!(format!("{}: {error}", error.code()), @"E066: frame 4 at byte 1080 of a.ilj is not a valid exchange: it names a tensor u8[33], which by its digest is u8[2]");
    let error = npz(reader(), Selection::default(), &mut out, "out").unwrap_err();
    assert_eq!((error.code(), out.len()), ("E066", 0));
}

#[test]
fn tensors_of_every_place_and_type_get_names_of_their_own() {
    let (_folder, path) = awkward(Policy::Full, true);
    let mut bytes = Vec::new();
    let exported = safetensors(
        JournalReader::open(&path).unwrap(),
        Selection::default(),
        &mut bytes,
        "out",
    )
    .unwrap();
    assert_eq!(exported.items, 4);
    let length = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let header = std::str::from_utf8(&bytes[8..8 + length]).unwrap();
    insta::assert_snapshot!(header.trim_end(), @r#"{"layers.0.output.i0#0[0].../up":{"data_offsets":[2,3],"dtype":"BOOL","shape":[]},"layers.0.output.i0#0[0].x":{"data_offsets":[3,6],"dtype":"U8","shape":[3]},"layers.0.output.i0#0[0].x~":{"data_offsets":[0,2],"dtype":"BF16","shape":[1,1]},"layers.0.output.i0#0[1]":{"data_offsets":[0,0],"dtype":"I64","shape":[0,2]}}"#);
    assert_eq!(bytes.len(), 8 + length + 3 + 2 + 1);

    let mut archive = Vec::new();
    npz(
        JournalReader::open(&path).unwrap(),
        Selection::default(),
        &mut archive,
        "out",
    )
    .unwrap();
    let has = |name: &[u8]| archive.windows(name.len()).any(|window| window == name);
    assert!(has(b"layers.0.output.i0#0[0].x~.npy"));
    assert!(has(b"layers.0.output.i0#0[0]..._up.npy"));
    assert!(has(
        b"'descr': '<u2', 'fortran_order': False, 'shape': (1, 1,)"
    ));
    assert!(has(b"'descr': '|b1', 'fortran_order': False, 'shape': ()"));
    assert!(!has(b"/up"));
}

#[test]
fn a_tensor_that_should_be_there_and_is_not_is_named() {
    let (_folder, path) = awkward(Policy::Full, false);
    let error = npz(
        JournalReader::open(&path).unwrap(),
        Selection::default(),
        &mut Vec::new(),
        "out",
    )
    .unwrap_err();
    assert_eq!(error.code(), "E071");
}

#[test]
fn an_output_that_fails_is_an_error_wherever_it_fails() {
    use super::faults::{FaultFile, Plan};

    let (folder, path) = awkward(Policy::Full, true);
    type Export = fn(&std::path::Path, &mut FaultFile) -> Result<(), JournalError>;
    let exports: &[Export] = &[
        #[cfg(feature = "mcap")]
        |path, file| {
            mcap(
                JournalReader::open(path)?,
                Selection::default(),
                file,
                "out",
            )
            .map(drop)
        },
        |path, file| {
            json_lines(
                JournalReader::open(path)?,
                Selection::default(),
                file,
                "out",
            )
            .map(drop)
        },
        |path, file| {
            trace(
                JournalReader::open(path)?,
                Selection::default(),
                file,
                "out",
            )
            .map(drop)
        },
        |path, file| {
            npz(
                JournalReader::open(path)?,
                Selection::default(),
                file,
                "out",
            )
            .map(drop)
        },
        |path, file| {
            safetensors(
                JournalReader::open(path)?,
                Selection::default(),
                file,
                "out",
            )
            .map(drop)
        },
    ];
    for export in exports {
        let mut whole = FaultFile::new(Plan::default());
        export(&path, &mut whole).unwrap();
        let length = whole.bytes().len();
        for room in (0..length).step_by(97) {
            let mut file = FaultFile::new(Plan {
                room: Some(room),
                ..Plan::default()
            });
            let error = export(&path, &mut file).unwrap_err();
            assert_eq!(error.code(), "E061");
            assert!(
                error.to_string().starts_with("could not write to out: "),
                "{error}"
            );
            assert!(whole.bytes().starts_with(&file.bytes()));
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_backward_pass_begins_and_ends_in_a_trace_and_in_lines() {
    let bytes = samples::golden();
    let reader = || JournalReader::new(std::io::Cursor::new(&bytes[..]), "a.ilj").unwrap();
    let mut out = Vec::new();
    trace(reader(), Selection::default(), &mut out, "out").unwrap();
    let events: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let instants = events["traceEvents"].as_array().unwrap().iter();
    let instants = instants.filter(|event| event["ph"] == "i");
    let instants = instants.map(|event| format!("{} {}", event["ts"], event["name"]));
    let instants: Vec<_> = instants.collect();
    insta::assert_snapshot!(instants.join("\n"), @r#"
    11 "backward pass 0 begins"
    12 "backward pass 0 ends"
    12 "backward pass 1 begins with the loss f32[1] b3:540f18a1cdd3"
    12 "backward pass 1 ends"
    "#);
    let mut out = Vec::new();
    json_lines(reader(), Selection::default(), &mut out, "out").unwrap();
    let lines = std::str::from_utf8(&out).unwrap().lines();
    let lines = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let visits = lines.filter(|line| line["kind"] == "visit" && !line["backward_pass"].is_null());
    let visits = visits.map(|line| {
        let fields = ["backward_pass", "backward", "passed", "iteration", "value"];
        fields.map(|field| line[field].to_string()).join(" ")
    });
    let visits: Vec<_> = visits.collect();
    insta::assert_snapshot!(visits.join("\n"), @r#"
    0 "begins" ["layers.0.mlp.output"] null null
    0 null ["layers.0.attn.output.grad"] 5 {"tensor":{"digest":"f99b64dba6edd224b04d07ffade1f924347eeeb3a80ef92411fe6c89d22ecab9","dtype":"f32","shape":[2]}}
    0 "ends" ["layers.0.mlp.output.grad.i1"] null null
    1 "begins" [] 1 {"tensor":{"digest":"540f18a1cdd3a374c793570be842ea6e0ca4a63f4b1a7bb33de6250096319fec","dtype":"f32","shape":[1]}}
    1 "ends" [] null null
    "#);
}
