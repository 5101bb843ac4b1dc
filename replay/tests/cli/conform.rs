//! `interloom conform`: recorded scenarios, compared.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::Place;
use crate::told::{tell, told};

pub(crate) fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance")
}

/// Copies some scenarios, with the models and inputs.
fn copied(place: &Place, ids: &[&str]) -> String {
    let copy = |from: &Path, to: &Path| {
        std::fs::create_dir_all(to).unwrap();
        for entry in from.read_dir().unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    let home = place.path("recorded");
    copy(&recorded().join("models"), &home.join("models"));
    std::fs::copy(
        recorded().join("inputs.safetensors"),
        home.join("inputs.safetensors"),
    )
    .unwrap();
    for id in ids {
        let scenario = Path::new("scenarios").join(id);
        copy(&recorded().join(&scenario), &home.join(&scenario));
    }
    "recorded".to_owned()
}

/// Changes a file of a scenario.
fn change(place: &Place, file: &str, from: &str, to: &str) {
    let path = place.path("recorded/scenarios").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&path, text.replace(from, to)).unwrap();
}

#[test]
fn every_recorded_scenario_is_the_same_or_differs_on_purpose() {
    let place = Place::new();
    let folder = recorded().display().to_string();
    for reference in ["v050", "v081"] {
        let ended = place
            .run(&["conform", &folder, "--reference", reference])
            .with(0);
        let last = ended.out.lines().last().unwrap();
        assert!(
            last.starts_with(&format!("89 scenarios against {reference}: ")),
            "{last}"
        );
        assert!(last.ends_with(" 0 differ, 0 cannot be run"), "{last}");
        assert_eq!(ended.out.lines().count(), 90);
        assert_eq!(ended.err, "");
    }
}

#[test]
fn a_line_says_how_each_scenario_compares() {
    let place = Place::new();
    let folder = copied(
        &place,
        &["grad_read", "ooo_read", "read_one", "write_input"],
    );
    let ended = place.run(&["conform", &folder]).with(0);
    insta::assert_snapshot!(ended.out, @r"
    grad_read    not compared (a step about gradients): R91: programs have no steps for a backward pass
    ooo_read     differs on purpose (outputs): R62: a failure halts the model where it happens; the reference lets the model finish and raises afterwards
    read_one     same
    write_input  differs on purpose (order): R3: a write to an input is one SWAP; the reference reads the other arguments first
    4 scenarios against v081: 1 same, 2 differ on purpose, 1 not compared, 0 differ, 0 cannot be run
    ");
    let ended = place.run(&["conform", &folder, "--json"]).with(0);
    let json: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(json["scenarios"][3]["rules"][0]["rule"], "R3");
    assert_eq!((&json["same"], &json["differ"]), (&1.into(), &0.into()));
}

#[test]
fn a_difference_without_a_rule_ends_with_4() {
    let place = Place::new();
    let folder = copied(&place, &["read_one", "write_scaled"]);
    // The program reads elsewhere than the recording.
    change(
        &place,
        "read_one/scenario.json",
        "layers.1.output",
        "layers.2.output",
    );
    let ended = place.run(&["conform", &folder]).with(4);
    insta::assert_snapshot!(ended.out);
}

#[test]
fn what_cannot_be_run_ends_with_1_and_says_why() {
    let place = Place::new();
    let folder = copied(&place, &["read_one", "read_root_input", "write_const"]);
    change(&place, "read_one/scenario.json", "\"read\"", "\"raed\"");
    change(
        &place,
        "read_root_input/scenario.json",
        "\"stack4\"",
        "\"stack5\"",
    );
    std::fs::remove_file(place.path("recorded/scenarios/write_const/log.v081.jsonl")).unwrap();
    let ended = place.run(&["conform", &folder]).with(1);
    insta::assert_snapshot!(ended.out.replace('\\', "/"));
}

#[test]
fn a_list_in_itself_is_refused_with_the_reason() {
    let place = Place::new();
    let folder = copied(&place, &["iter_two_invokes"]);
    let file = "iter_two_invokes/scenario.json";
    change(&place, file, "\"read\"", "\"var\"");
    change(&place, file, "\"cell.output\"", "\"xs\"");
    let ended = place.run(&["conform", &folder]).with(1);
    insta::assert_snapshot!(ended.out, @r"
    iter_two_invokes  cannot be run: `xs` is saved, and a list in it is in itself, or too long
    1 scenarios against v081: 0 same, 0 differ on purpose, 0 not compared, 0 differ, 1 cannot be run
    ");
}

#[test]
fn a_run_without_inputs_is_refused_with_the_reason() {
    let place = Place::new();
    let folder = copied(&place, &["read_one"]);
    change(&place, "read_one/scenario.json", "\"x0\"", "null");
    let ended = place.run(&["conform", &folder]).with(1);
    insta::assert_snapshot!(ended.out, @r"
    read_one  cannot be run: no invoke of a run has an input, and the model's is made of theirs
    1 scenarios against v081: 0 same, 0 differ on purpose, 0 not compared, 0 differ, 1 cannot be run
    ");
}

#[test]
fn folders_that_are_none_are_refused() {
    let place = Place::new();
    let message = |arguments: &[&str], code| place.run(arguments).error(code, 1);
    insta::assert_snapshot!(message(&["conform", "nowhere"], "E130").replace('\\', "/"));
    let folder = copied(&place, &["read_one"]);
    std::fs::remove_dir_all(place.path("recorded/scenarios/read_one")).unwrap();
    std::fs::create_dir_all(place.path("recorded/scenarios/empty")).unwrap();
    insta::assert_snapshot!(message(&["conform", &folder], "E132"));
    let folder = copied(&place, &["read_one"]);
    let models = place.path("recorded/models");
    std::fs::copy(
        models.join("recur5.safetensors"),
        models.join("stack4.safetensors"),
    )
    .unwrap();
    insta::assert_snapshot!(message(&["conform", &folder], "E131"));
    std::fs::write(models.join("stack4.safetensors"), b"no tensors").unwrap();
    insta::assert_snapshot!(message(&["conform", &folder], "E130").replace('\\', "/"));
    place
        .run(&["conform", &folder, "--reference", "v999"])
        .with(2);
}

#[test]
fn a_damaged_scenario_never_panics() {
    let place = Place::new();
    let folder = copied(&place, &["cache_two_invokes"]);
    let home = place.path("recorded/scenarios/cache_two_invokes");
    for file in [
        "scenario.json",
        "expected.v081.json",
        "expected.v081.safetensors",
        "log.v081.jsonl",
    ] {
        let whole = std::fs::read(home.join(file)).unwrap();
        for part in 1..4 {
            std::fs::write(home.join(file), &whole[..whole.len() * part / 4]).unwrap();
            let ended = place.run(&["conform", &folder]);
            assert!(
                matches!(ended.code, Some(1 | 4)),
                "{file} {part}: {}",
                ended.err
            );
            assert_eq!(ended.err, "", "{file} {part}");
        }
        std::fs::write(home.join(file), whole).unwrap();
    }
    place.run(&["conform", &folder]).with(0);
}

pub(crate) fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Something wrong in what is expected; returns whether there is something to be wrong in.
type Plant = fn(&mut Value, &mut String) -> bool;

const PLANTS: &[(&str, Plant)] = &[
    ("wrong_value", |expected, _| {
        let saved = expected["saved"].as_object_mut().unwrap();
        saved.values_mut().for_each(|saved| *saved = nine());
        !saved.is_empty()
    }),
    ("missing_save", |expected, _| {
        let saved = expected["saved"].as_object_mut().unwrap();
        let name = saved.keys().next().cloned();
        name.is_some_and(|name| {
            saved.retain(|other, _| !other.starts_with(&name));
            true
        })
    }),
    ("invented_save", |expected, _| {
        expected["saved"]["invented"] = nine();
        true
    }),
    ("invented_mark", |expected, _| {
        expected["marks"]
            .as_array_mut()
            .unwrap()
            .push("invented".into());
        true
    }),
    ("missing_mark", |expected, _| {
        expected["marks"].as_array_mut().unwrap().pop().is_some()
    }),
    ("invented_error", |expected, _| {
        expected["caught"]["invented"] = json!({ "class": "ValueError", "message": "" });
        true
    }),
    ("another_caught", |expected, _| {
        first(&mut expected["caught"], |caught| {
            caught["class"] = "Another".into()
        })
    }),
    ("another_site", |expected, _| {
        first(&mut expected["caught"], |caught| {
            let message = caught["message"]
                .as_str()
                .unwrap()
                .replace(".output.i", ".input.i");
            caught["message"] = message.into();
        }) && expected["caught"].to_string().contains(".input.i")
    }),
    ("another_end", |expected, _| {
        let failed = json!({ "class": "ValueError", "message": "another" });
        let (status, error) = match expected["status"] == "ok" {
            true => ("error", failed),
            false => ("ok", Value::Null),
        };
        (expected["status"], expected["error"]) = (status.into(), error);
        true
    }),
    ("another_error", |expected, _| {
        let has_one = expected["error"].is_object();
        if has_one {
            expected["error"]["class"] = "Another".into();
        }
        has_one
    }),
    ("another_message", |expected, _| {
        // What a model fails with, or a mediator by itself, is worded by each library in its own way.
        let is_compared =
            expected["error"]["class"] != "RuntimeError" && expected["error"].is_object();
        if is_compared {
            let message = match expected["error"]["class"] == "NameError" {
                true => "name 'v_elsewhere' is not defined",
                false => "`elsewhere.output.i0` was missed",
            };
            expected["error"]["message"] = message.into();
        }
        is_compared
    }),
    ("wrong_output", |expected, _| {
        expected["outputs"]["0"] = json!([nine()]);
        true
    }),
    ("output_of_no_run", |expected, _| {
        expected["outputs"]["7"] = json!([nine()]);
        true
    }),
    ("wrong_cache", |expected, _| {
        first(&mut expected["caches"], |cache| {
            first(cache, |entries| entries[0]["output"] = nine());
        })
    }),
    ("missing_in_cache", |expected, _| {
        first(&mut expected["caches"], |cache| {
            first(cache, |entries| {
                entries.as_array_mut().unwrap().pop();
            });
        })
    }),
    ("invented_in_cache", |expected, _| {
        expected["caches"]["invented"] = json!({ "embed": [] });
        true
    }),
    ("unknown_mediator", |_, log| {
        let line = match log.contains("\"resume\"") || !log.contains("\"send\"") {
            true => r#"["resume", "m7", ["VALUE", "model.head.output", 0], "END"]"#,
            false => {
                r#"["handle", "m7", "VALUE", "model.head.output.i0", "model.head.output.i0", "served"]"#
            }
        };
        *log = format!("{}\n{line}\n", log.trim_end());
        true
    }),
    ("missing_request", |_, log| {
        let is_served = |line: &str| {
            line.contains("\"served\"") || line.contains("[\"VALUE\"") && !line.contains("null, [")
        };
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.iter().rposition(|line| is_served(line));
        let kept = lines
            .iter()
            .enumerate()
            .filter(|(place, _)| Some(*place) != last);
        *log = kept.map(|(_, line)| format!("{line}\n")).collect();
        last.is_some()
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

/// Everything that differs on purpose, with something wrong in what is expected: the rule does not account for that.
#[test]
fn what_a_rule_does_not_claim_is_a_difference() {
    let reasons = read_json(&recorded().join("reasons.json"));
    let mut rules = BTreeSet::new();
    for reference in ["v050", "v081"] {
        let place = Place::new();
        let listed = reasons[reference].as_object().unwrap().iter();
        let listed = listed.filter(|(_, entry)| entry["not_compared"].is_null());
        let mut ids: Vec<String> = listed.map(|(id, _)| id.clone()).collect();
        let folder = copied(&place, &ids.iter().map(String::as_str).collect::<Vec<_>>());
        let told = told();
        let told = told.iter().enumerate();
        let told = told.filter(|(_, told)| told.version == reference);
        ids.extend(told.map(|(number, told)| tell(&place, told, number)));
        let command = ["conform", &folder, "--reference", reference];
        let ended = place.run(&command).with(0);
        let on_purpose = ended
            .out
            .lines()
            .filter(|line| line.contains(" differs on purpose "));
        let found: Vec<&str> = on_purpose
            .map(|line| line.split_once("): ").unwrap().1)
            .collect();
        assert_eq!(found.len(), ids.len(), "{}", ended.out);
        rules.extend(found.into_iter().map(str::to_owned));

        let scenarios = place.path("recorded/scenarios");
        let mut planted = 0;
        for id in &ids {
            for (name, plant) in PLANTS {
                planted += usize::from(plant_in(&scenarios, id, name, *plant, reference));
            }
            std::fs::remove_dir_all(scenarios.join(id)).unwrap();
        }
        let ended = place.run(&command).with(4);
        // Where the recording differs in one thing only, an error in that very thing can make it what Interloom does.
        let same: Vec<&str> = ended
            .out
            .lines()
            .filter_map(|line| line.strip_suffix(" same"))
            .map(str::trim)
            .collect();
        let known: &[&str] = match reference {
            "v050" => &[
                "barrier_too_many.another_end",
                "cache_recur.another_end",
                "dangling_caught.another_end",
                "write_wrong_shape.missing_request",
            ],
            _ => &["write_wrong_shape.missing_request"],
        };
        assert_eq!(same, known);
        let (count, differ) = (same.len(), planted - same.len());
        let last = format!(
            "{planted} scenarios against {reference}: {count} same, 0 differ on purpose, 0 not compared, {differ} differ, 0 cannot be run\n"
        );
        assert!(ended.out.ends_with(&last), "{}", ended.out);
    }
    let mut numbers: Vec<&str> = rules
        .iter()
        .map(|rule| rule.split_once(':').unwrap().0)
        .collect();
    numbers.sort_unstable();
    assert_eq!(
        numbers,
        [
            "R1", "R10", "R11", "R12", "R20", "R3", "R32", "R33", "R34", "R43", "R50", "R50",
            "R51", "R60", "R62", "R70", "R70", "R70", "R71", "R71", "R72", "R72", "R73"
        ],
        "every rule is put to the test"
    );
}

fn plant_in(scenarios: &Path, id: &str, name: &str, plant: Plant, reference: &str) -> bool {
    let (from, to) = (scenarios.join(id), scenarios.join(format!("{id}.{name}")));
    let (file, log) = (
        format!("expected.{reference}.json"),
        format!("log.{reference}.jsonl"),
    );
    let mut expected = read_json(&from.join(&file));
    let mut lines = std::fs::read_to_string(from.join(&log)).unwrap();
    if !plant(&mut expected, &mut lines) {
        return false;
    }
    std::fs::create_dir_all(&to).unwrap();
    for entry in from.read_dir().unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    std::fs::write(to.join(file), expected.to_string()).unwrap();
    std::fs::write(to.join(log), lines).unwrap();
    true
}
