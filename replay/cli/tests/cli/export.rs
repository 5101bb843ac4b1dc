//! `export`: journals for other programs.

use std::fs;

use interloom_journal::Policy;
use serde_json::{Value, json};

use crate::sample::Sample;
use crate::{GOLDEN, Place};

fn sample(policy: Policy) -> Place {
    let place = Place::new();
    let sample = Sample {
        policy,
        ..Sample::default()
    };
    sample.write(&place.path("a.ilj"));
    place
}

/// Exports and gives the bytes.
fn export(place: &Place, format: &str, more: &[&str]) -> Vec<u8> {
    let all = [
        &["export", "a.ilj", "--format", format, "--out", "out"],
        more,
    ]
    .concat();
    place.run(&all).with(0);
    fs::read(place.path("out")).unwrap()
}

#[test]
fn what_was_exported_is_said_in_json_too() {
    let place = sample(Policy::Full);
    let command = [
        "export", "a.ilj", "--format", "npz", "--out", "out", "--json",
    ];
    let said = place.run(&command).with(0).out;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&said["out"], &said["of"]),
        (&"out".into(), &"tensor".into())
    );
    assert!(
        said["items"].as_u64() > Some(0) && said["problem"].is_null(),
        "{said}"
    );
    let whole = fs::read(place.path("a.ilj")).unwrap();
    fs::write(place.path("a.ilj"), &whole[..whole.len() - 100]).unwrap();
    let said = place.run(&command).with(1).out;
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["problem"]["code"], "E065");
}

#[test]
fn each_frame_is_a_line_of_json() {
    let place = Place::new();
    fs::copy(GOLDEN, place.path("a.ilj")).unwrap();
    let text = String::from_utf8(export(&place, "jsonl", &[])).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 72);
    let padding = lines.iter().find(|line| line["kind"] == "padding").unwrap();
    assert_eq!(
        (&padding["side"], &padding["lengths"]),
        (&json!("left"), &json!([3, 300, 1]))
    );
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(line["sequence"], number);
    }
    assert_eq!(lines[0]["head"]["experiment"]["arguments"]["steps"], 3);
    assert_eq!(lines[2]["declared"]["barriers"][1]["participants"], 2);
    let kinds: Vec<_> = lines
        .iter()
        .map(|line| line["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds[..6],
        [
            "head",
            "note",
            "run start",
            "cache declaration",
            "path",
            "tensor"
        ]
    );
    assert_eq!(kinds.last(), Some(&"footer"));
    let chosen = export(&place, "jsonl", &["--site", "layers.0.mlp"]);
    let chosen = String::from_utf8(chosen).unwrap();
    let exchanges = chosen
        .lines()
        .filter(|line| line.contains("\"kind\":\"exchange\""));
    assert_eq!(exchanges.count(), 6);
}

#[test]
fn a_trace_has_a_lane_for_each_mediator() {
    let place = sample(Policy::Digest);
    let trace: Value = serde_json::from_slice(&export(&place, "trace", &[])).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let of = |phase: &str| {
        let events = events.iter().filter(|event| event["ph"] == phase);
        events.cloned().collect::<Vec<_>>()
    };
    let names: Vec<_> = of("M")
        .iter()
        .map(|event| event["args"]["name"].clone())
        .collect();
    assert_eq!(
        names,
        [
            "run 0 \"clean\"",
            "read",
            "run 1 \"patched\"",
            "read",
            "patch"
        ]
    );
    let spans = of("X");
    assert_eq!(spans.len(), 8);
    for (index, span) in spans.iter().enumerate() {
        assert_eq!((&span["ts"], &span["dur"]), (&index.into(), &1.into()));
    }
    assert_eq!(spans[3]["name"], "SWAP layers.0.attn.output.i0");
    assert_eq!((&spans[3]["pid"], &spans[3]["tid"]), (&1.into(), &2.into()));
}

#[test]
fn tensors_are_exported_as_safetensors() {
    let place = sample(Policy::Full);
    let bytes = export(&place, "safetensors", &["--site", "layers.1.mlp.output"]);
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let length = u64::from_le_bytes(*length) as usize;
    assert_eq!(length % 8, 0);
    let header: Value = serde_json::from_slice(&rest[..length]).unwrap();
    insta::assert_snapshot!(header, @r#"{"layers.1.mlp.output.i0#5":{"data_offsets":[0,8],"dtype":"F32","shape":[2]},"layers.1.mlp.output.i0#6":{"data_offsets":[8,16],"dtype":"F32","shape":[2]}}"#);
    let data = [6.0f32, 8.0, 6.0, 8.0].map(f32::to_le_bytes).concat();
    assert_eq!(rest[length..], data);
    // All of them, and from two sites.
    let all = export(&place, "safetensors", &[]);
    let both = ["--site", "layers.1.mlp", "--site", "layers.0.attn"];
    assert!(all == export(&place, "safetensors", &both));
    assert_eq!(place.files(), ["a.ilj", "out"]);
}

#[test]
fn tensors_are_exported_for_numpy() {
    let place = sample(Policy::Full);
    let bytes = export(&place, "npz", &["--site", "layers.1.mlp"]);
    assert!(bytes.starts_with(b"PK\x03\x04"));
    let name = b"layers.1.mlp.output.i0#5.npy";
    assert_eq!(&bytes[30..30 + name.len()], name);
    let array = &bytes[30 + name.len()..];
    assert!(array.starts_with(
        b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"
    ));
    assert_eq!(
        array[128..136],
        [6.0f32, 8.0].map(f32::to_le_bytes).concat()
    );
    // The end of the archive's directory: two entries.
    let end = &bytes[bytes.len() - 22..];
    assert_eq!(end[..12], *b"PK\x05\x06\0\0\0\0\x02\0\x02\0");
    let directory = u32::from_le_bytes(end[16..20].try_into().unwrap()) as usize;
    assert!(bytes[directory..].starts_with(b"PK\x01\x02"));
}

/// The messages of an MCAP file by the mediator's channel and the time, and its attachments by
/// name.
fn read_mcap(bytes: &[u8]) -> (Vec<(String, u64, Value)>, Vec<mcap::Attachment<'_>>) {
    let messages = mcap::MessageStream::new(bytes).unwrap().map(|message| {
        let message = message.unwrap();
        let schema = message.channel.schema.as_ref().unwrap();
        assert_eq!(
            (&*schema.name, &*schema.encoding),
            ("interloom.Exchange", "jsonschema")
        );
        let shape: Value = serde_json::from_slice(&schema.data).unwrap();
        let exchange: Value = serde_json::from_slice(&message.data).unwrap();
        for field in shape["required"].as_array().unwrap() {
            assert!(exchange.get(field.as_str().unwrap()).is_some(), "{field}");
        }
        (message.channel.topic.clone(), message.log_time, exchange)
    });
    let messages = messages.collect();
    let summary = mcap::Summary::read(bytes).unwrap().unwrap();
    let attachments = summary.attachment_indexes.iter();
    let attachments = attachments.map(|index| mcap::read::attachment(bytes, index).unwrap());
    (messages, attachments.collect())
}

#[test]
fn every_exchange_comes_back_from_an_mcap_file() {
    for journal in ["golden", "sample"] {
        let place = sample(Policy::Full);
        if journal == "golden" {
            fs::copy(GOLDEN, place.path("a.ilj")).unwrap();
        }
        let bytes = export(&place, "mcap", &[]);
        let (messages, _) = read_mcap(&bytes);
        let shown = place.run(&["show", "a.ilj", "--json"]).with(0).out;
        let mut shown: Vec<Value> = shown
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        // What the journal proves is no exchange.
        assert_eq!(shown.pop().unwrap()["whole"], true);
        assert_eq!(messages.len(), shown.len());
        for ((channel, time, exchange), shown) in messages.iter().zip(&shown) {
            assert_eq!(exchange, shown);
            assert_eq!(*channel, shown["mediator"]);
            assert_eq!(*time, shown["index"]);
        }
        assert!(bytes == export(&place, "mcap", &[]), "not the same twice");
    }
}

#[test]
fn an_mcap_file_has_the_head_the_runs_and_what_is_kept() {
    let place = sample(Policy::Full);
    let bytes = export(&place, "mcap", &["--site", "layers.1.mlp"]);
    let (messages, attachments) = read_mcap(&bytes);
    // The end of `read` is made there too.
    let times: Vec<_> = messages.iter().map(|(_, time, _)| *time).collect();
    assert_eq!(times, [5, 6, 7]);
    let [kept] = &attachments[..] else {
        panic!("{attachments:?}");
    };
    let digest = &messages[0].2["value"]["tensor"]["digest"];
    assert_eq!(kept.name, format!("{}.npy", digest.as_str().unwrap()));
    assert_eq!(kept.log_time, 5);
    assert!(kept.data.starts_with(b"\x93NUMPY\x01\x00"));
    assert!(
        kept.data
            .ends_with(&[6.0f32, 8.0].map(f32::to_le_bytes).concat())
    );
    let summary = mcap::Summary::read(&bytes).unwrap().unwrap();
    let metadata = summary.metadata_indexes.iter();
    let metadata: Vec<_> = metadata
        .map(|index| mcap::read::metadata(&bytes, index).unwrap())
        .collect();
    let names: Vec<_> = metadata.iter().map(|each| each.name.as_str()).collect();
    assert_eq!(
        names,
        ["interloom.head", "interloom.run.0", "interloom.run.1"]
    );
    assert_eq!(metadata[0].metadata["device"], "cpu");
    let start: Value = serde_json::from_str(&metadata[2].metadata["start"]).unwrap();
    assert_eq!(start["mediators"][1]["name"], "patch");
    let end: Value = serde_json::from_str(&metadata[2].metadata["end"]).unwrap();
    assert_eq!(end["exchanges"], 6);
    let without = export(&sample(Policy::Digest), "mcap", &[]);
    assert_eq!(read_mcap(&without).1.len(), 0);
}

#[test]
fn what_cannot_be_exported_is_said_and_leaves_nothing_behind() {
    let place = sample(Policy::Digest);
    let run = |format: &str, out: &str, more: &[&str]| {
        let all = [&["export", "a.ilj", "--format", format, "--out", out], more].concat();
        place.run(&all)
    };
    let message = run("safetensors", "out", &[]).error("E072", 1);
    insta::assert_snapshot!(message, @"a.ilj has no tensor of these exchanges; it has the policy digest");
    run("npz", "out", &[]).error("E072", 1);
    let message = run("jsonl", "out", &["--site", "layers.9"]).error("E072", 1);
    insta::assert_snapshot!(message, @r#"a.ilj has no exchange at the site "layers.9"; it has layers.1.mlp.output, layers.0.attn.output"#);
    run("trace", "a.ilj", &[]).error("E070", 1);
    run("trace", "none/out", &[]).error("E094", 5);
    run("csv", "out", &[]).with(2);
    fs::write(place.path("out"), "older").unwrap();
    run("trace", "out", &["--site", "layers.9"]).error("E072", 1);
    assert_eq!(fs::read(place.path("out")).unwrap(), b"older");
    assert_eq!(place.files(), ["a.ilj", "out"]);
    for (name, code, exit) in [
        ("none.ilj", "E060", 1),
        (".", "E061", 1),
        ("out", "E062", 1),
    ] {
        place
            .run(&["export", name, "--format", "trace", "--out", "b"])
            .error(code, exit);
    }
}
