//! Draws of a generation in a journal.

use std::fs;

use crate::tiny_llama;
use crate::{Ended, Place};

const EXPERIMENT: &str = r#"
model = "tiny"

[[input]]
name = "long"
prompt = "x a y b"

[[input]]
name = "short"
prompt = "y"

[[run]]
name = "drawn"
input = ["long", "short"]
generate = { tokens = 3, temperature = 1.2, top_k = 40, seed = 3 }
program = '''
    for i in .. { layers.1[.., -1] *= 1.5 }
'''

[[run]]
name = "one"
input = "short"
generate = { tokens = 3, temperature = 1.2, top_k = 40, seed = 3 }
"#;

fn recorded(keep: &[&str]) -> (Place, Ended) {
    let place = Place::new();
    tiny_llama::write(&place.path("tiny"));
    fs::write(place.path("e.toml"), EXPERIMENT).unwrap();
    let command = ["run", "e.toml", "--journal", "a.ilj", "--json"];
    let ran = place.run(&[&command[..], keep].concat()).with(0);
    (place, ran)
}

fn tokens(ran: &Ended) -> Vec<u64> {
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let tokens = report["runs"][1]["generated"]["tokens"].as_array().unwrap();
    tokens.iter().map(|token| token.as_u64().unwrap()).collect()
}

/// Also where only digests of tensors are kept.
#[test]
fn each_draw_is_shown_with_its_probability() {
    let (place, ran) = recorded(&[]);
    let shown = place.run(&["show", "a.ilj", "--run", "1"]).with(0);
    let lines = shown
        .out
        .lines()
        .filter(|line| line.contains("PUT        (sampler)"));
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), 3, "{}", shown.out);
    for (line, token) in lines.iter().zip(tokens(&ran)) {
        assert!(line.contains(&format!("[({token}, 0.")), "{line}");
    }
}

#[test]
fn draws_are_replayed_in_every_mode() {
    let (place, _) = recorded(&["--full"]);
    for mode in ["verify", "serve", "drive"] {
        let replayed = place.run(&["replay", "a.ilj", "--mode", mode]).with(0);
        assert!(replayed.out.starts_with("bit-identical, "), "{mode}");
    }
}

/// The run of one row needs no model to be served.
#[test]
fn draws_are_served_without_the_model() {
    let place = Place::new();
    tiny_llama::write(&place.path("tiny"));
    let text = EXPERIMENT.replace("[\"long\", \"short\"]", "\"long\"");
    fs::write(place.path("e.toml"), text).unwrap();
    place
        .run(&["run", "e.toml", "--journal", "a.ilj", "--full"])
        .with(0);
    fs::remove_dir_all(place.path("tiny")).unwrap();
    let served = place.run(&["replay", "a.ilj", "--mode", "serve"]).with(0);
    assert!(served.out.contains("\nproves L2: "), "{}", served.out);
}

/// Another seed draws other tokens, and the first is where two journals part.
#[test]
fn journals_of_two_seeds_part_at_a_draw() {
    let (place, _) = recorded(&[]);
    let text = EXPERIMENT.replace("seed = 3", "seed = 4");
    fs::write(place.path("e.toml"), text).unwrap();
    place.run(&["run", "e.toml", "--journal", "b.ilj"]).with(0);
    let parted = place.run(&["diff", "a.ilj", "b.ilj"]);
    assert!(parted.out.contains("sample.output.i"), "{}", parted.out);
}
