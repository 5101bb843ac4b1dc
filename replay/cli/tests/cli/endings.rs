//! How every command ends: its exit code, its JSON, and what becomes of paths that are none.

use std::fs;

use interloom_journal::Policy;
use serde_json::Value;

use crate::sample::{Sample, pair};
use crate::{Ended, GOLDEN, Place, program, tiny_llama};

const EXPERIMENT: &str = r#"
model = "induction"

[[input]]
name = "in"
tokens = [5, 3, 8]

[[run]]
name = "ordered"
input = "in"

[[run.invoke]]
name = "double"
program = 'layers.0 *= 2'

[[run.invoke]]
name = "add"
program = 'layers.0 += 1'
"#;

/// A folder with a good journal, others of it that are damaged or of other kinds, and experiments.
fn place() -> Place {
    let other = Sample {
        computed: [6.0, 9.0],
        ..Sample::default()
    };
    let place = pair(&Sample::default(), &other);
    let bytes = fs::read(place.path("a.ilj")).unwrap();
    fs::write(place.path("cut.ilj"), &bytes[..bytes.len() - 5]).unwrap();
    let digests = Sample {
        policy: Policy::Digest,
        ..Sample::default()
    };
    digests.write(&place.path("digests.ilj"));
    fs::copy(GOLDEN, place.path("golden.ilj")).unwrap();
    fs::write(place.path("empty.ilj"), "").unwrap();
    fs::write(
        place.path("text.ilj"),
        "no journal at all, but long enough to be read",
    )
    .unwrap();
    fs::create_dir(place.path("folder.ilj")).unwrap();
    fs::write(place.path("o.toml"), EXPERIMENT).unwrap();
    let cuda = EXPERIMENT.replace("model =", "device = \"cuda\"\nmodel =");
    fs::write(place.path("cuda.toml"), cuda).unwrap();
    fs::write(place.path("empty.toml"), "").unwrap();
    fs::create_dir(place.path("folder.toml")).unwrap();
    place
        .run(&["run", "o.toml", "--journal", "run.ilj"])
        .with(0);
    place
}

fn run(place: &Place, line: &str) -> Ended {
    place.run(&line.split(' ').collect::<Vec<_>>())
}

#[test]
fn every_command_ends_with_the_code_that_it_says() {
    let place = place();
    let table = [
        // 0: done, or the same.
        ("run o.toml", 0),
        ("run o.toml --schedule=ordered=shuffle:1", 0),
        ("replay run.ilj", 0),
        ("check a.ilj", 0),
        ("show a.ilj", 0),
        ("diff a.ilj a.ilj", 0),
        ("bisect journals a.ilj a.ilj", 0),
        ("bisect rerun run.ilj --device cpu", 0),
        ("bisect schedules o.toml in-order in-order", 0),
        ("step a.ilj", 0),
        ("races a.ilj", 0),
        ("races run.ilj", 0),
        ("why a.ilj layers.1.mlp", 0),
        ("export a.ilj --format mcap --out out", 0),
        ("recover a.ilj --out whole.ilj", 0),
        ("sites --model induction", 0),
        ("explain", 0),
        ("explain E001", 0),
        ("--help", 0),
        ("--version", 0),
        // 1: failed, or found something.
        ("run none.toml", 1),
        ("explore o.toml", 1),
        ("replay golden.ilj", 1),
        ("replay run.ilj --mode serve", 1),
        ("check cut.ilj", 1),
        ("show a.ilj --site nowhere", 1),
        ("show cut.ilj", 1),
        ("show folder.ilj", 1),
        ("races folder.ilj", 1),
        ("diff a.ilj none.ilj", 1),
        ("bisect journals a.ilj none.ilj", 1),
        ("bisect build run.ilj --with none", 1),
        ("bisect rerun run.ilj --schedule=ordered=ilsched1:stale", 1),
        ("step a.ilj --at 99", 1),
        ("step cut.ilj", 1),
        ("races cut.ilj", 1),
        ("why a.ilj nowhere", 1),
        ("export digests.ilj --format npz --out out", 1),
        ("recover text.ilj", 1),
        ("sites --model none", 1),
        (
            "causal-trace --model none --clean a --corrupt b --answer c --foil d",
            1,
        ),
        // 2: wrong usage.
        ("run", 2),
        ("explore o.toml --runs 0", 2),
        ("replay run.ilj --mode backwards", 2),
        ("check", 2),
        ("show a.ilj --run x", 2),
        ("diff a.ilj", 2),
        ("bisect journals a.ilj", 2),
        ("bisect schedules o.toml", 2),
        ("step a.ilj --at x", 2),
        ("races", 2),
        ("why a.ilj", 2),
        ("export a.ilj --format jsonl --diff b.ilj --out out", 2),
        ("recover a.ilj --in-place --out b", 2),
        ("sites", 2),
        ("explain E999", 2),
        ("demo --sample 0", 2),
        ("causal-trace", 2),
        ("attribute", 2),
        ("nonsense", 2),
        // 3: recovered with loss.
        ("recover cut.ilj --out whole.ilj", 3),
        // 4: diverged.
        ("diff a.ilj b.ilj", 4),
        ("bisect journals a.ilj b.ilj", 4),
        ("bisect schedules o.toml in-order pct:2:2:1", 4),
        // 5: refused by the environment.
        ("run cuda.toml", 5),
        ("run o.toml --out a.ilj/below", 5),
        ("explore cuda.toml", 5),
        ("bisect rerun run.ilj --device cuda", 5),
        ("export a.ilj --format jsonl --out none/out", 5),
        ("demo --journal none/demo.ilj", 5),
    ];
    for (line, code) in table {
        let ended = run(&place, line);
        assert_eq!(
            ended.code,
            Some(code),
            "{line}\n{}\n{}",
            ended.out,
            ended.err
        );
        assert!(!ended.err.contains("panicked"), "{line}\n{}", ended.err);
    }
}

#[test]
fn a_command_that_a_script_would_read_has_json() {
    let place = place();
    let lines = [
        "run o.toml",
        "explore o.toml",
        "replay run.ilj",
        "check a.ilj",
        "check cut.ilj",
        "show a.ilj",
        "diff a.ilj b.ilj",
        "bisect journals a.ilj b.ilj",
        "bisect rerun run.ilj --device cpu",
        "bisect schedules o.toml in-order shuffle:1",
        "step a.ilj",
        "races run.ilj",
        "why a.ilj layers.1.mlp",
        "recover a.ilj --out whole.ilj",
        "sites --model induction",
        "explain",
        "explain E001",
    ];
    for line in lines {
        let out = run(&place, &format!("{line} --json")).out;
        // Several values are one in a line.
        let values: Vec<Value> = match serde_json::from_str(&out) {
            Ok(value) => vec![value],
            Err(_) => out
                .lines()
                .map(|text| {
                    serde_json::from_str(text)
                        .unwrap_or_else(|error| panic!("{line}: {error}: {text}"))
                })
                .collect(),
        };
        assert!(!values.is_empty(), "{line}");
    }
    let sites: Value =
        serde_json::from_str(&run(&place, "sites --model induction --json").out).unwrap();
    let site = sites
        .as_array()
        .unwrap()
        .iter()
        .find(|site| site["site"] == "layers.0.attn.z.output");
    assert!(site.is_some(), "{sites}");
    let code: Value = serde_json::from_str(&run(&place, "explain e060 --json").out).unwrap();
    assert_eq!(
        (&code["code"], &code["at_fault"]),
        (&"E060".into(), &"misuse".into())
    );
}

#[test]
fn a_path_that_is_none_is_an_error_with_a_code_that_names_it() {
    let place = place();
    let journals = [
        "replay FILE",
        "check FILE",
        "show FILE",
        "diff FILE a.ilj",
        "diff a.ilj FILE",
        "bisect journals FILE a.ilj",
        "bisect journals a.ilj FILE",
        "bisect rerun FILE --device cpu",
        "step FILE",
        "races FILE",
        "why FILE layers.0",
        "export FILE --format html --out out",
        "export a.ilj --diff FILE --format html --out out",
        "recover FILE",
        "run o.toml --fork FILE@3 --journal new.ilj",
    ];
    let no_journals = [
        ("none.ilj", "E060", 1),
        ("folder.ilj", "E061", 1),
        ("empty.ilj", "E062", 1),
        ("text.ilj", "E062", 1),
    ];
    let experiments = [
        "run FILE",
        "explore FILE",
        "bisect schedules FILE in-order shuffle:1",
    ];
    let no_experiments = [
        ("none.toml", "E110", 1),
        ("folder.toml", "E110", 1),
        ("empty.toml", "E113", 1),
    ];
    are_refused(&place, &journals, &no_journals);
    are_refused(&place, &experiments, &no_experiments);
    assert!(
        !place
            .files()
            .iter()
            .any(|file| file == "out" || file == "new.ilj")
    );
}

/// A file that is there and cannot be read: the first byte of a process's memory is never mapped.
#[cfg(target_os = "linux")]
const REFUSED: &str = "/proc/self/mem";

#[test]
#[cfg(target_os = "linux")]
fn what_the_system_refuses_is_exit_code_5_whatever_it_is_for() {
    let place = place();
    tiny_llama::write(&place.path("tiny"));
    let tensor = EXPERIMENT.replace("tokens = [5, 3, 8]", &format!("tensor = '{REFUSED}#t'"));
    assert_ne!(tensor, EXPERIMENT);
    fs::write(place.path("tensor.toml"), tensor).unwrap();
    let table = [
        ("show REFUSED", "E061"),
        ("replay REFUSED", "E061"),
        ("recover REFUSED", "E061"),
        (
            "export a.ilj --diff REFUSED --format html --out out",
            "E061",
        ),
        ("run REFUSED", "E110"),
        ("run tensor.toml", "E117"),
    ];
    for (line, code) in table {
        run(&place, &line.replace("REFUSED", REFUSED)).error(code, 5);
    }
    for file in ["config.json", "tokenizer.json"] {
        let path = place.path("tiny").join(file);
        let whole = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        run(&place, "sites --model tiny").error("E040", 1);
        fs::create_dir(&path).unwrap();
        run(&place, "sites --model tiny").error("E041", 1);
        fs::remove_dir(&path).unwrap();
        fs::write(&path, whole).unwrap();
    }
    run(&place, "sites --model tiny").with(0);
    // A file and a folder in the place of the other.
    fs::create_dir(place.path("folder.gguf")).unwrap();
    run(&place, "sites --model folder.gguf").with(1);
    run(&place, "sites --model a.ilj").with(1);
}

/// Checks that each command ends with the code and the exit code of the file that is put in the
/// place of `FILE`, and names that file.
fn are_refused(place: &Place, commands: &[&str], files: &[(&str, &str, i32)]) {
    for command in commands {
        for (file, code, exit) in files {
            let line = command.replace("FILE", file);
            let ended = run(place, &line);
            assert_eq!(ended.code, Some(*exit), "{line}: {}", ended.err);
            assert!(
                ended.err.starts_with(&format!("error[{code}]: ")),
                "{line}: {}",
                ended.err
            );
            assert!(ended.err.contains(file), "{line}: {}", ended.err);
        }
    }
}

#[test]
fn a_reader_that_goes_away_ends_every_command_quietly() {
    let place = place();
    let lines = [
        "run o.toml",
        "explore o.toml",
        "replay run.ilj",
        "check a.ilj",
        "show a.ilj",
        "diff a.ilj b.ilj",
        "bisect journals a.ilj b.ilj",
        "step a.ilj",
        "races run.ilj",
        "why a.ilj layers.1.mlp",
        "sites --model induction",
        "explain --json",
    ];
    for line in lines {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = program(&place.path(""));
        command.env("INTERLOOM_CACHE", place.path(""));
        let ended = command
            .args(line.split(' '))
            .stdout(writer)
            .output()
            .unwrap();
        let ended = Ended::from(ended);
        assert!(
            !ended.err.contains("panicked") && !ended.err.contains("error["),
            "{line}\n{}",
            ended.err
        );
    }
}

#[test]
fn a_model_that_is_none_is_told_with_its_line() {
    let place = Place::new();
    fs::write(
        place.path("o.toml"),
        EXPERIMENT.replace("induction", "nothing.gguf"),
    )
    .unwrap();
    let message = run(&place, "run o.toml").error("E040", 1);
    insta::assert_snapshot!(message, @"o.toml:2:9: expected a .gguf file or a model's folder at nothing.gguf, found nothing there; check the path, or name a model: `induction`, `smollm2-135m`, `hf:ORG/NAME`");
    // What the command line names stands in no file.
    let message = run(&place, "run o.toml --model nowhere.gguf").error("E040", 1);
    insta::assert_snapshot!(message, @"expected a .gguf file or a model's folder at nowhere.gguf, found nothing there; check the path, or name a model: `induction`, `smollm2-135m`, `hf:ORG/NAME`");
}
