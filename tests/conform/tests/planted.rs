//! Scenarios with something wrong in what is expected of them: each is found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use interloom_conform::{Folder, Verdict};
use serde_json::{Value, json};

/// What is expected of a scenario, to have something planted in it.
struct Expected {
    json: Value,
    /// The served requests, line by line.
    log: Vec<String>,
    tensors: Tensors,
}

/// Plants something wrong; returns whether there is something to be wrong in.
type Plant = fn(&mut Expected) -> bool;

const PLANTS: &[(&str, Plant)] = &[
    ("wrong_value", |expected| {
        let saved = expected.object("saved");
        saved.values_mut().for_each(|saved| *saved = nine());
        !saved.is_empty()
    }),
    ("wrong_number_in_value", |expected| expected.shift("saved")),
    ("missing_save", |expected| {
        let saved = expected.object("saved");
        let name = saved.keys().next().cloned();
        name.is_some_and(|name| {
            saved.retain(|other, _| !other.starts_with(&name));
            true
        })
    }),
    ("invented_save", |expected| {
        expected.json["saved"]["invented"] = nine();
        true
    }),
    ("invented_mark", |expected| {
        let marks = expected.json["marks"].as_array_mut().unwrap();
        marks.push("invented".into());
        true
    }),
    ("missing_mark", |expected| {
        let marks = expected.json["marks"].as_array_mut().unwrap();
        marks.pop().is_some()
    }),
    ("invented_error", |expected| {
        expected.json["caught"]["invented"] = json!({ "class": "ValueError", "message": "" });
        true
    }),
    ("another_caught", |expected| {
        first(&mut expected.json["caught"], |caught| {
            caught["class"] = "Another".into()
        })
    }),
    ("another_site", |expected| {
        let caught = &mut expected.json["caught"];
        let before = caught.clone();
        first(caught, |caught| {
            let message = caught["message"].as_str().unwrap();
            let message = message.replace(".output.i", ".elsewhere.i");
            caught["message"] = message.replace(".input.i", ".elsewhere.i").into();
        });
        *caught != before
    }),
    ("another_end", |expected| {
        let json = &mut expected.json;
        let failed = json!({ "class": "ValueError", "message": "another" });
        let (status, error) = if json["status"] == "ok" {
            ("error", failed)
        } else {
            ("ok", Value::Null)
        };
        (json["status"], json["error"]) = (status.into(), error);
        true
    }),
    ("another_error", |expected| {
        let has_one = expected.json["error"].is_object();
        if has_one {
            expected.json["error"]["class"] = "Another".into();
        }
        has_one
    }),
    ("another_message", |expected| {
        let error = &mut expected.json["error"];
        // What a model fails with, or a mediator by itself, is worded by each library in its own
        // way.
        let class = error["class"].as_str().unwrap_or_default().to_owned();
        let message = match &*class {
            "OutOfOrderError" => "`elsewhere.output.i0` was missed",
            "NameError" => "name 'v_elsewhere' is not defined",
            _ => return false,
        };
        error["message"] = message.into();
        true
    }),
    ("wrong_output", |expected| {
        expected.json["outputs"]["0"] = json!([nine()]);
        true
    }),
    ("wrong_number_in_output", |expected| {
        expected.shift("outputs")
    }),
    ("output_of_no_run", |expected| {
        expected.json["outputs"]["7"] = json!([nine()]);
        true
    }),
    ("wrong_cache", |expected| {
        first(&mut expected.json["caches"], |cache| {
            first(cache, |entries| entries[0]["output"] = nine());
        })
    }),
    ("wrong_number_in_cache", |expected| expected.shift("caches")),
    ("missing_in_cache", |expected| {
        first(&mut expected.json["caches"], |cache| {
            first(cache, |entries| {
                entries.as_array_mut().unwrap().pop();
            });
        })
    }),
    ("invented_in_cache", |expected| {
        expected.json["caches"]["invented"] = json!({ "embed": [] });
        true
    }),
    ("unknown_mediator", |expected| {
        let is_of_threads = expected.log.iter().any(|line| line.contains("\"send\""));
        let line = if is_of_threads {
            r#"["handle", "m7", "VALUE", "model.head.output.i0", "model.head.output.i0", "served"]"#
        } else {
            r#"["resume", "m7", ["VALUE", "model.head.output", 0], "END"]"#
        };
        expected.log.push(line.to_owned());
        true
    }),
    ("missing_request", |expected| {
        let last = expected.served().pop();
        last.is_some_and(|last| {
            expected.log.remove(last);
            true
        })
    }),
    ("requests_the_other_way_round", |expected| {
        let served = expected.served();
        let [.., one, other] = served[..] else {
            return false;
        };
        let request = |line: usize| {
            let line: Value = serde_json::from_str(&expected.log[line]).unwrap();
            // What a body asks for next stands behind what it was served.
            let length = if line[0] == "resume" { 3 } else { 5 };
            line.as_array().unwrap()[..length].to_vec()
        };
        let is_another = request(one) != request(other);
        expected.log.swap(one, other);
        is_another
    }),
];

fn nine() -> Value {
    json!({ "kind": "float", "value": 9.0 })
}

/// Changes the first entry of an object, if it has one.
fn first(object: &mut Value, change: impl Fn(&mut Value)) -> bool {
    let entry = object.as_object_mut().unwrap().values_mut().next();
    entry.map(change).is_some()
}

impl Expected {
    fn object(&mut self, part: &str) -> &mut serde_json::Map<String, Value> {
        self.json[part].as_object_mut().unwrap()
    }

    /// The lines of requests that were served.
    fn served(&self) -> Vec<usize> {
        let is_request = |line: &Value, event: usize| {
            ["VALUE", "SWAP", "SKIP"]
                .iter()
                .any(|name| line[event] == *name)
        };
        let is_served = |line: &String| {
            let line: Value = serde_json::from_str(line).unwrap();
            let is_of_threads = line[0] == "handle" && line[5] == "served" && is_request(&line, 2);
            is_of_threads || (line[0] == "resume" && is_request(&line[2], 0))
        };
        let lines = self.log.iter().enumerate();
        lines
            .filter(|(_, line)| is_served(line))
            .map(|(place, _)| place)
            .collect()
    }

    /// Moves one number of the first tensor in a part of what is expected, by little.
    fn shift(&mut self, part: &str) -> bool {
        let key = tensor_in(&self.json[part]).map(str::to_owned);
        key.is_some_and(|key| self.tensors.shift(&key))
    }
}

/// The key of a tensor in what is expected that has elements.
fn tensor_in(json: &Value) -> Option<&str> {
    match json {
        Value::Object(entries) if json["kind"] == "tensor" => entries["key"].as_str(),
        Value::Object(entries) => entries.values().find_map(tensor_in),
        Value::Array(items) => items.iter().find_map(tensor_in),
        _ => None,
    }
}

/// A file of tensors, and where the numbers of each begin.
struct Tensors {
    bytes: Vec<u8>,
    header: Value,
    start: usize,
}

impl Tensors {
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_default();
        let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
            return Self {
                bytes,
                header: Value::Null,
                start: 0,
            };
        };
        let length = u64::from_le_bytes(*length) as usize;
        let header = serde_json::from_slice(&rest[..length]).unwrap();
        Self {
            bytes,
            header,
            start: 8 + length,
        }
    }

    /// Adds a twentieth, or one, to the last number of a tensor.
    fn shift(&mut self, key: &str) -> bool {
        let entry = &self.header[key];
        let place = |place: usize| entry["data_offsets"][place].as_u64().unwrap() as usize;
        let numbers = &mut self.bytes[self.start + place(0)..self.start + place(1)];
        match entry["dtype"].as_str() {
            Some("F32") => {
                let Some(last) = numbers.last_chunk_mut::<4>() else {
                    return false;
                };
                *last = (f32::from_le_bytes(*last) + 0.05).to_le_bytes();
            }
            _ => {
                let Some(last) = numbers.last_chunk_mut::<8>() else {
                    return false;
                };
                *last = (i64::from_le_bytes(*last) + 1).to_le_bytes();
            }
        }
        true
    }
}

/// Copies models and inputs, and every scenario that is compared with each plant in it; returns how
/// many there are.
fn plant(from: &Path, to: &Path, reference: &'static str) -> usize {
    std::fs::create_dir_all(to.join("models")).unwrap();
    for entry in from.join("models").read_dir().unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join("models").join(entry.file_name())).unwrap();
    }
    std::fs::copy(
        from.join("inputs.safetensors"),
        to.join("inputs.safetensors"),
    )
    .unwrap();
    let folder = Folder::open(from, &Device::flex()).unwrap();
    let mut planted = 0;
    for id in folder.ids() {
        if matches!(folder.compare(id, reference), Verdict::NotCompared(_)) {
            continue;
        }
        for (name, plant) in PLANTS {
            let from = from.join("scenarios").join(id);
            let to = to.join("scenarios").join(format!("{id}.{name}"));
            planted += usize::from(plant_in(&from, &to, *plant, reference));
        }
    }
    planted
}

fn plant_in(from: &Path, to: &Path, plant: Plant, reference: &str) -> bool {
    let file = |end: &str| format!("expected.{reference}.{end}");
    let log = format!("log.{reference}.jsonl");
    let lines = std::fs::read_to_string(from.join(&log)).unwrap();
    let mut expected = Expected {
        json: serde_json::from_slice(&std::fs::read(from.join(file("json"))).unwrap()).unwrap(),
        log: lines.lines().map(str::to_owned).collect(),
        tensors: Tensors::read(&from.join(file("safetensors"))),
    };
    if !plant(&mut expected) {
        return false;
    }
    std::fs::create_dir_all(to).unwrap();
    std::fs::copy(from.join("scenario.json"), to.join("scenario.json")).unwrap();
    std::fs::write(to.join(file("json")), expected.json.to_string()).unwrap();
    std::fs::write(to.join(log), expected.log.join("\n")).unwrap();
    if !expected.tensors.bytes.is_empty() {
        std::fs::write(to.join(file("safetensors")), expected.tensors.bytes).unwrap();
    }
    true
}

/// Returns the scenarios with something planted that are not found to differ.
fn missed(name: &str, reference: &'static str) -> Vec<String> {
    let from = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(name);
    let place = tempfile::tempdir().unwrap();
    let planted = plant(&from, place.path(), reference);
    let folder = Folder::open(place.path(), &Device::flex()).unwrap();
    assert_eq!(folder.ids().len(), planted);
    let found: BTreeSet<(&String, &str)> = folder
        .ids()
        .iter()
        .filter_map(|id| match folder.compare(id, reference) {
            Verdict::Differs(_) => None,
            Verdict::Same => Some((id, "same")),
            Verdict::ByRule { .. } => Some((id, "by rule")),
            Verdict::NotCompared(_) => Some((id, "not compared")),
            Verdict::Broken(_) => Some((id, "broken")),
        })
        .collect();
    found
        .into_iter()
        .map(|(id, verdict)| format!("{id}: {verdict}"))
        .collect()
}

/// Where the recording differs in one thing only, an error in that very thing can make it what
/// Interloom does.
#[test]
fn what_is_planted_in_recordings_of_threads_is_found() {
    let found = missed("conformance", "v050");
    let known = [
        "barrier_too_many.another_end: same",
        "cache_recur.another_end: same",
        "dangling_caught.another_end: same",
        "write_wrong_shape.missing_request: same",
    ];
    assert_eq!(found, known);
}

#[test]
fn what_is_planted_in_recordings_of_coroutines_is_found() {
    let found = missed("conformance", "v081");
    assert_eq!(found, ["write_wrong_shape.missing_request: same"]);
}

#[test]
fn what_is_planted_in_recordings_of_kinds_is_found() {
    let found = missed("kinds", "v081");
    let known = [
        "dangling_at_iteration_0.another_end: same",
        "late_cache_caught.missing_request: same",
        "request_after_cut_loop.another_end: same",
        "skip_gate_order.requests_the_other_way_round: same",
        "stop_before_model.another_end: same",
    ];
    assert_eq!(found, known);
}

/// In one of them the reference would do what is planted.
#[test]
fn what_is_planted_in_scenarios_that_were_written_down_is_found() {
    let found = missed("told", "v081");
    assert_eq!(found, ["earlier_and_shared.missing_mark: by rule"]);
    assert_eq!(missed("aliased", "v081"), [""; 0]);
}
