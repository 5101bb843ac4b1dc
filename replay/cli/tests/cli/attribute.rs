//! `attribute`: effects of the parts of a tiny model, by each method, and of SmolLM2 beside
//! PyTorch.

use std::fs;

use interloom_journal::Journal;
use serde_json::Value;

use crate::language_model::{ANSWERS, PROMPTS, with_model};
use crate::tiny_llama::LAYERS;
use crate::{Ended, Place, program};

/// The tokens of the prompts: x, a or b with its space, space, y.
const TOKENS: usize = 4;
const HEADS: usize = 2;

fn attribute(place: &Place, more: &[&str]) -> Ended {
    let command = ["attribute", "--model", "tiny"];
    place.run(&[&command[..], &PROMPTS, &ANSWERS, more].concat())
}

fn json(place: &Place, more: &[&str]) -> Value {
    let more = [more, &["--json", "--no-replay"]].concat();
    serde_json::from_str(&attribute(place, &more).with(0).out).unwrap()
}

/// The effects of each block, or their shares.
fn rows(json: &Value, number: &str) -> Vec<Vec<f64>> {
    let mut rows: Vec<Vec<f64>> = Vec::new();
    for effect in json["effects"].as_array().unwrap() {
        if effect["block"] == rows.len() {
            rows.push(Vec::new());
        }
        let row = rows.last_mut().unwrap();
        let part = effect.get("position").or(effect.get("head"));
        assert_eq!(*part.unwrap(), row.len());
        row.push(effect[number].as_f64().unwrap());
    }
    rows
}

fn difference(json: &Value) -> f64 {
    json["clean"].as_f64().unwrap() - json["corrupt"].as_f64().unwrap()
}

#[test]
fn a_whole_attribution_is_written_recorded_and_replayed() {
    let place = with_model();
    let results = ["--csv", "t.csv", "--svg", "t.svg", "--journal", "t.ilj"];
    let out = attribute(&place, &results).with(0).out;
    assert_eq!(place.files(), ["t.csv", "t.ilj", "t.svg", "tiny"]);

    let csv = fs::read_to_string(place.path("t.csv")).unwrap();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "block,position,token,effect");
    assert_eq!(lines.len(), 1 + LAYERS * TOKENS, "{csv}");
    assert_eq!(lines[1], r#"0,0,"x",0.000000"#);
    let svg = fs::read_to_string(place.path("t.svg")).unwrap();
    assert_eq!(svg.matches("<rect x").count(), LAYERS * TOKENS);

    let journal = Journal::load(place.path("t.ilj")).unwrap();
    let (exchanges, digest) = (journal.exchanges().count(), journal.digest());
    let proof = crate::proof(exchanges, digest);
    assert!(out.ends_with(&proof), "{out}");
    assert!(
        out.contains("\nmethod: attribution\neffect of the residual stream by block and token "),
        "{out}"
    );
    assert_eq!(place.run(&["replay", "t.ilj"]).with(0).out, proof);
    let json = attribute(&place, &["--json"]).with(0).out;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["recorded"]["digest"], digest.to_string());
    assert_eq!(json["replay"]["identical"], true);
    assert_eq!(
        (&json["method"], &json["what"]),
        (&"attribution".into(), &"resid".into())
    );
    // A table of six digits.
    let of_line = |line: &&str| line.rsplit(',').next().unwrap().parse::<f64>().unwrap();
    let of_lines = lines[1..].iter().map(of_line);
    for (number, effect) in of_lines.zip(rows(&json, "effect").concat()) {
        assert!((number - effect).abs() < 1e-6, "{csv}");
    }
}

#[test]
fn every_method_is_replayed_and_has_no_effect_where_nothing_differs() {
    let place = with_model();
    for method in ["attribution", "ig:17", "exact"] {
        for what in ["resid", "mlp", "head"] {
            let command = ["--method", method, "--what", what, "--json"];
            let out = attribute(&place, &command).with(0).out;
            let json: Value = serde_json::from_str(&out).unwrap();
            assert_eq!(json["replay"]["identical"], true);
            let rows = rows(&json, "effect");
            assert_eq!(rows.len(), LAYERS);
            for row in rows {
                match what {
                    "head" => assert_eq!(row.len(), HEADS),
                    _ => {
                        assert_eq!(row.len(), TOKENS);
                        // A batch may be rounded in another way than a row alone.
                        let off_max = if method == "exact" { 1e-6 } else { 0.0 };
                        assert!(row[0].abs() <= off_max, "{method} {what}: {row:?}");
                        // Where they differ there is an effect.
                        assert!(row.iter().any(|effect| *effect != 0.0), "{out}");
                    }
                }
            }
        }
    }
}

/// Along the way from one run to the other the effects of a whole residual stream are all there is.
#[test]
fn integrated_gradients_add_up_to_the_difference() {
    let place = with_model();
    let json = json(&place, &["--method", "ig:64"]);
    let rows = rows(&json, "share");
    for row in &rows {
        let sum: f64 = row.iter().sum();
        assert!((sum - 1.0).abs() < 0.01, "{rows:?}");
    }
    // After the last block only the last position counts.
    assert_eq!(rows[LAYERS - 1][..TOKENS - 1], [0.0; TOKENS - 1]);
    assert!(difference(&json).abs() > 0.1);
}

#[test]
fn the_exact_effects_are_those_of_a_causal_trace() {
    let place = with_model();
    let exact = json(&place, &["--method", "exact"]);
    let command = ["causal-trace", "--model", "tiny", "--json", "--no-replay"];
    let out = place
        .run(&[&command[..], &PROMPTS, &ANSWERS].concat())
        .with(0)
        .out;
    let traced: Value = serde_json::from_str(&out).unwrap();
    let restored = traced["restored"].as_array().unwrap().iter();
    let shares: Vec<f64> = restored.map(|at| at["share"].as_f64().unwrap()).collect();
    assert_eq!(rows(&exact, "share").concat(), shares);
    for (share, effect) in shares.iter().zip(rows(&exact, "effect").concat()) {
        assert!((share * difference(&exact) - effect).abs() < 1e-9);
    }
}

#[test]
fn heads_are_columns() {
    let place = with_model();
    let results = [
        "--what",
        "head",
        "--csv",
        "t.csv",
        "--svg",
        "t.svg",
        "--no-replay",
    ];
    let out = attribute(&place, &results).with(0).out;
    assert!(out.contains(" head 0 head 1\n"), "{out}");
    let csv = fs::read_to_string(place.path("t.csv")).unwrap();
    assert!(csv.starts_with("block,head,effect\n0,0,"), "{csv}");
    assert_eq!(csv.lines().count(), 1 + LAYERS * HEADS);
    let svg = fs::read_to_string(place.path("t.svg")).unwrap();
    assert!(svg.contains(">head 1</text>"), "{svg}");
}

/// The model that is always there has no tokenizer.
#[test]
fn prompts_of_a_model_without_a_tokenizer_are_numbers() {
    let place = Place::new();
    let prompts = ["--clean", "17 3 29 17 3", "--corrupt", "17 3 30 17 3"];
    let answers = ["--answer", "29", "--foil", "30"];
    let of = |command: &str, more: &[&str]| {
        let whole = [command, "--model", "induction", "--json"];
        let whole = [&whole[..], &prompts, &answers, more].concat();
        serde_json::from_str::<Value>(&place.run(&whole).with(0).out).unwrap()
    };
    for method in ["attribution", "ig:3", "exact"] {
        for what in ["resid", "head"] {
            let json = of("attribute", &["--method", method, "--what", what]);
            assert_eq!(json["replay"]["identical"], true);
            assert_eq!(json["tokens"][2], "29");
        }
    }
    of("causal-trace", &[]);

    let wrong = ["--answer", "29", "--foil", "30", "--corrupt", "1"];
    let refused = |clean: &str| {
        let command = ["attribute", "--model", "induction", "--clean", clean];
        place.run(&[&command[..], &wrong].concat()).error("E033", 1)
    };
    for clean in ["", "one", "40", "1.5", &"1 ".repeat(49)] {
        let error = refused(clean);
        assert!(error.contains("the clean prompt"), "{error}");
    }
}

#[test]
fn what_cannot_be_attributed_is_refused() {
    let place = with_model();
    for method in ["ig", "ig:0", "ig:257", "gradient"] {
        let err = attribute(&place, &["--method", method]).with(2).err;
        assert!(
            err.contains("expected `attribution`, `ig:N` with N from 1 to 256, or `exact`"),
            "{err}"
        );
    }
    attribute(&place, &["--what", "neuron"]).with(2);
    attribute(&place, &["--csv", "no/such/folder.txt"]).error("E094", 5);
    let same = ["--clean", "x a y", "--corrupt", "x a y"];
    let command = ["attribute", "--model", "tiny"];
    let same = place.run(&[&command[..], &same, &ANSWERS].concat());
    same.error("E093", 1);
    assert_eq!(place.files(), ["tiny"]);
}

/// PyTorch has computed in double precision.
#[test]
#[ignore = "needs SmolLM2: scripts/fetch-smollm2, then cargo test --workspace --release -- --ignored smollm2"]
fn smollm2_has_the_effects_that_pytorch_computes() {
    let expected: Value = serde_json::from_str(include_str!("data/smollm2-capital.json")).unwrap();
    let of_metric = |prompt: &str| expected["metric"][prompt].as_f64().unwrap();
    let scale = of_metric("clean") - of_metric("corrupt");
    for (key, method, number, off_max) in [
        ("attribution", "attribution", "effect", 1e-3 * scale),
        ("integrated", "ig:10", "effect", 1e-3 * scale),
        ("exact", "exact", "share", 1e-4),
    ] {
        for (what, blocks) in expected[key].as_object().unwrap() {
            let place = Place::new();
            // With the cache folder of the user who runs the tests, in which the model is.
            let mut command = program(&place.path(""));
            command.args([
                "attribute",
                "--model",
                "smollm2-135m",
                "--json",
                "--no-replay",
            ]);
            command.args([
                "--clean",
                "The capital of France is",
                "--corrupt",
                "The capital of Italy is",
            ]);
            command.args(["--answer", " Paris", "--foil", " Rome"]);
            command.args(["--method", method, "--what", what]);
            let ended = Ended::from(command.output().unwrap()).with(0);
            let json: Value = serde_json::from_str(&ended.out).unwrap();
            for prompt in ["clean", "corrupt"] {
                let metric = json[prompt].as_f64().unwrap();
                assert!(
                    (metric - of_metric(prompt)).abs() < 1e-3,
                    "{prompt}: {metric}"
                );
            }
            let expected: Vec<Vec<f64>> = serde_json::from_value(blocks.clone()).unwrap();
            let found = rows(&json, number);
            let sizes = |rows: &[Vec<f64>]| rows.iter().map(Vec::len).collect::<Vec<_>>();
            assert_eq!(sizes(&found), sizes(&expected));
            let pairs = found.concat().into_iter().zip(expected.concat());
            let off = pairs.map(|(found, expected)| (found - expected).abs());
            let off = off.fold(0.0, f64::max);
            println!("{method} {what}: at most {off:.1e} off");
            assert!(off < off_max, "{method} {what}: {off}");
        }
    }
}
