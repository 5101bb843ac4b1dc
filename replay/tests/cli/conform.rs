//! `interloom conform`: recorded scenarios, compared.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Place;

fn recorded() -> PathBuf {
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
fn a_list_of_another_invoke_is_refused_with_the_reason() {
    let place = Place::new();
    let folder = copied(&place, &["iter_two_invokes"]);
    change(
        &place,
        "iter_two_invokes/scenario.json",
        r#""list": "ys""#,
        r#""list": "xs""#,
    );
    let ended = place.run(&["conform", &folder]).with(1);
    insta::assert_snapshot!(ended.out, @"
    iter_two_invokes  cannot be run: it uses the list `xs` where another invoke or edit has made it; mediators share values, which never change, and no lists
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
