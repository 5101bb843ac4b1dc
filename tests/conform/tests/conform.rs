//! `conform`: recorded scenarios, compared.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A folder in which the program is run.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conform"));
        let output = command.current_dir(self.0.path()).args(arguments).output();
        let output = output.unwrap();
        Ended {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// How the program ended, and what it wrote.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    #[track_caller]
    fn with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        self
    }

    /// The message of the error that it ended with.
    #[track_caller]
    fn error(self) -> String {
        let Self { err, .. } = self.with(1);
        let message = err.strip_prefix("error: ").expect("an error");
        message.trim_end().to_owned()
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn recorded() -> PathBuf {
    folder("conformance")
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

/// The folders of scenarios, with the version of the reference and what their scenarios come to.
const FOLDERS: [(&str, &str, &str); 5] = [
    (
        "conformance",
        "v050",
        "89 scenarios against v050: 69 same, 20 by rule, 0 not compared",
    ),
    (
        "conformance",
        "v081",
        "89 scenarios against v081: 71 same, 18 by rule, 0 not compared",
    ),
    (
        "kinds",
        "v081",
        "36 scenarios against v081: 7 same, 29 by rule, 0 not compared",
    ),
    (
        "told",
        "v081",
        "33 scenarios against v081: 33 same, 0 by rule, 0 not compared",
    ),
    (
        "aliased",
        "v081",
        "10 scenarios against v081: 10 same, 0 by rule, 0 not compared",
    ),
];

#[test]
fn every_scenario_is_the_same_or_by_rule() {
    let place = Place::new();
    for (name, reference, count) in FOLDERS {
        let path = folder(name).display().to_string();
        let ended = place.run(&[&path, "--reference", reference]).with(0);
        let last = ended.out.lines().last().unwrap();
        assert_eq!(
            last,
            format!("{count}, 0 differ, 0 cannot be run"),
            "{name}"
        );
        assert_eq!(ended.err, "");
    }
}

#[test]
fn a_line_says_how_each_scenario_compares() {
    let place = Place::new();
    let folder = copied(
        &place,
        &["grad_param", "ooo_read", "read_one", "write_input"],
    );
    let ended = place.run(&[&folder]).with(0);
    insta::assert_snapshot!(ended.out, @r"
    grad_param   by rule (saved): R91: a gradient is that of the value with which the model goes on after a site, with all swaps; in the reference it is that of the tensor that was read, whatever takes its place
    ooo_read     by rule (outputs): R10: a request for what has passed is refused at once, and who catches that goes on; the reference tells it after the run, and drops what follows; R62: a failure halts the model where it happens; the reference lets the model finish and raises afterwards, or the model fails first
    read_one     same
    write_input  by rule (order): R3: a write to an input is one SWAP; the reference reads the other arguments first
    4 scenarios against v081: 1 same, 3 by rule, 0 not compared, 0 differ, 0 cannot be run
    ");
    let ended = place.run(&[&folder, "--json"]).with(0);
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
    let ended = place.run(&[&folder]).with(4);
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
    let ended = place.run(&[&folder]).with(1);
    insta::assert_snapshot!(ended.out.replace('\\', "/"));
}

#[test]
fn a_list_in_itself_is_refused_with_the_reason() {
    let place = Place::new();
    let folder = copied(&place, &["iter_two_invokes"]);
    let file = "iter_two_invokes/scenario.json";
    change(&place, file, "\"read\"", "\"var\"");
    change(&place, file, "\"cell.output\"", "\"xs\"");
    let ended = place.run(&[&folder]).with(1);
    insta::assert_snapshot!(ended.out, @r"
    iter_two_invokes  cannot be run: `xs` is saved, and a list in it is in itself, or too long
    1 scenarios against v081: 0 same, 0 by rule, 0 not compared, 0 differ, 1 cannot be run
    ");
}

#[test]
fn a_run_without_inputs_is_refused_with_the_reason() {
    let place = Place::new();
    let folder = copied(&place, &["read_one"]);
    change(&place, "read_one/scenario.json", "\"x0\"", "null");
    let ended = place.run(&[&folder]).with(1);
    insta::assert_snapshot!(ended.out, @r"
    read_one  cannot be run: no invoke of a run has an input, and the model's is made of theirs
    1 scenarios against v081: 0 same, 0 by rule, 0 not compared, 0 differ, 1 cannot be run
    ");
}

#[test]
fn folders_that_are_none_are_refused() {
    let place = Place::new();
    let message = |arguments: &[&str]| place.run(arguments).error();
    insta::assert_snapshot!(message(&["nowhere"]).replace('\\', "/"));
    let folder = copied(&place, &["read_one"]);
    std::fs::remove_dir_all(place.path("recorded/scenarios/read_one")).unwrap();
    std::fs::create_dir_all(place.path("recorded/scenarios/empty")).unwrap();
    insta::assert_snapshot!(message(&[&folder]));
    let folder = copied(&place, &["read_one"]);
    let models = place.path("recorded/models");
    std::fs::copy(
        models.join("recur5.safetensors"),
        models.join("stack4.safetensors"),
    )
    .unwrap();
    insta::assert_snapshot!(message(&[&folder]));
    std::fs::write(models.join("stack4.safetensors"), b"no tensors").unwrap();
    insta::assert_snapshot!(message(&[&folder]).replace('\\', "/"));
    place.run(&[&folder, "--reference", "v999"]).with(2);
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
            let ended = place.run(&[&folder]);
            assert!(
                matches!(ended.code, Some(1 | 4)),
                "{file} {part}: {}",
                ended.err
            );
            assert_eq!(ended.err, "", "{file} {part}");
        }
        std::fs::write(home.join(file), whole).unwrap();
    }
    place.run(&[&folder]).with(0);
}
