//! Journals of runs whose rows differ in length.

use std::fs;

use interloom_journal::Journal;

use crate::Place;
use crate::tiny_llama;

const EXPERIMENT: &str = r#"
model = "tiny"

[[input]]
name = "long"
prompt = "x a y b"

[[input]]
name = "short"
prompt = "y"

[[run]]
name = "together"
input = ["long", "short"]
program = '''
    h = layers.0
    layers.0[.., 0] = h[.., -1] * 2
    save z = output[.., -1]
'''

[[run]]
name = "patched"

[[run.invoke]]
name = "from"
input = "long"
program = '''
    put h = layers.0[.., 0]
    save g = output
'''

[[run.invoke]]
name = "into"
input = "short"
program = '''
    layers.0[.., 0] = get(h) + $together.z[0..1, .., 0..1]
    save g = output
'''

[[run]]
name = "skipped"

[[run.invoke]]
name = "a"
input = "long"
program = "skip layers.1 = layers.1.input * 0.5; save g = output[.., -1]"

[[run.invoke]]
name = "b"
input = "short"
program = "skip layers.1 = layers.1.input * 2; save g = output"

[[run]]
name = "generated"
input = ["short", "long"]
generate = 3
program = '''
    for i in .. {
        save h = layers.0[.., -1] + 1
        layers.1[.., -1] *= 1.5
    }
'''
"#;

fn recorded() -> Place {
    let place = Place::new();
    tiny_llama::write(&place.path("tiny"));
    fs::write(place.path("e.toml"), EXPERIMENT).unwrap();
    let command = ["run", "e.toml", "--journal", "a.ilj", "--full"];
    place.run(&command).with(0);
    place
}

#[test]
fn a_journal_of_padded_rows_is_replayed_in_every_mode() {
    let place = recorded();
    for mode in ["verify", "serve", "drive"] {
        let replayed = place.run(&["replay", "a.ilj", "--mode", mode]).with(0);
        assert!(replayed.out.starts_with("bit-identical, "), "{mode}");
    }
}

#[test]
fn what_is_shown_of_an_exchange_are_the_positions_of_the_row() {
    let shown = recorded().run(&["show", "a.ilj", "--run", "1"]).with(0);
    let line = |start: &str| shown.out.lines().find(|line| line.contains(start)).unwrap();
    assert!(
        line("SWAP       into").contains("f32[1, 1, 16]"),
        "{}",
        shown.out
    );
    assert!(
        line("VALUE      from").contains("f32[1, 5, 16]"),
        "{}",
        shown.out
    );
}

#[test]
fn padded_rows_are_served_without_their_model() {
    let place = recorded();
    let with_model = place.run(&["replay", "a.ilj", "--mode", "serve", "--model", "tiny"]);
    fs::remove_dir_all(place.path("tiny")).unwrap();
    let served = place.run(&["replay", "a.ilj", "--mode", "serve"]).with(0);
    assert_eq!(served.out, with_model.with(0).out);
    assert_eq!(served.err, "");
    let recorded = Journal::load(place.path("a.ilj")).unwrap().digest();
    let same = format!("digest {recorded}\n");
    assert!(served.out.contains(&same), "{}", served.out);
}

#[test]
fn a_fork_of_padded_rows_goes_along_their_journal() {
    let place = recorded();
    let journal = Journal::load(place.path("a.ilj")).unwrap();
    for run in &journal.runs {
        let at = format!("a.ilj@{}", run.exchanges[0].index + 1);
        let command = [
            "run",
            "e.toml",
            "--fork",
            &at,
            "--journal",
            "b.ilj",
            "--full",
        ];
        place.run(&command).with(0);
        let same = fs::read(place.path("a.ilj")).unwrap() == fs::read(place.path("b.ilj")).unwrap();
        assert!(same, "{at}");
    }
}

#[test]
fn the_padding_is_in_the_estimate() {
    let place = recorded();
    let bytes = |more: &[&str]| {
        let command = [&["run", "e.toml", "--json"], more].concat();
        let out = place.run(&command).with(0).out;
        serde_json::from_str::<serde_json::Value>(&out).unwrap()
    };
    let most = bytes(&["--estimate"])["bytes"].as_u64().unwrap();
    let journal = bytes(&["--journal", "c.ilj"])["journal"]["bytes"].as_u64();
    assert!(journal.unwrap() <= most);
}
