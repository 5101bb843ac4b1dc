//! `replay --mode serve` where the model is gone: a journal of a language model on a laptop that
//! does not have it.

use std::fs;

use interloom_journal::{Head, Journal, JournalReader, JournalWriter, Policy};

use crate::tiny_llama;
use crate::{Ended, Place};

const EXPERIMENT: &str = r#"
model = "tiny"

[[input]]
name = "prompt"
prompt = "x a y"

[[run]]
name = "steered"
input = "prompt"
program = '''
    h = layers.0
    blocks.1.hook_resid_pre *= 2
    layers.1.mlp = h * 3
    save z = output
'''

[run.report]
top = 2
answers = [" c"]

[[run]]
name = "generated"
input = "prompt"
generate = 2
program = '''
    save x = $steered.z * 2
    h = layers.0
    layers.1 += h
'''
"#;

/// A folder with a journal of an experiment, and nothing of the model.
fn without_model(experiment: &str) -> Place {
    let place = Place::new();
    tiny_llama::write(&place.path("tiny"));
    fs::write(place.path("e.toml"), experiment).unwrap();
    let command = ["run", "e.toml", "--journal", "a.ilj", "--full"];
    place.run(&command).with(0);
    fs::remove_dir_all(place.path("tiny")).unwrap();
    fs::remove_file(place.path("e.toml")).unwrap();
    place
}

fn serve(place: &Place) -> Ended {
    place.run(&["replay", "a.ilj", "--mode", "serve"])
}

/// Writes the journal again with another head.
fn rewrite(place: &Place, change: impl FnOnce(&mut Head)) {
    let path = place.path("a.ilj");
    let reader = JournalReader::open(&path).unwrap();
    let mut head = reader.head().clone();
    change(&mut head);
    let mut bytes = Vec::new();
    let mut writer = JournalWriter::new(&mut bytes, "b.ilj", &head).unwrap();
    for record in reader.records() {
        writer.record(&record.unwrap()).unwrap();
    }
    writer.finish().unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_experiment_is_served_and_shown_without_its_model() {
    let place = without_model(EXPERIMENT);
    assert_eq!(place.files(), ["a.ilj"]);
    let served = serve(&place).with(0);
    let journal = Journal::load(place.path("a.ilj")).unwrap();
    let exchanges = journal.exchanges().count();
    assert!(exchanges >= 8, "{exchanges}");
    let start = format!("bit-identical, {exchanges} exchanges, digest ");
    assert!(served.out.starts_with(&start), "{}", served.out);
    assert!(served.out.contains("\nproves L2: "), "{}", served.out);
    assert_eq!(served.err, "");
    let shown = place.run(&["show", "a.ilj", "--site", "layers.0"]).with(0);
    assert!(
        shown
            .out
            .contains("run 1  VALUE      generated  layers.0.output.i0"),
        "{}",
        shown.out
    );
    // The model itself is needed where it is to compute.
    for mode in ["verify", "drive"] {
        place.run(&["replay", "a.ilj", "--mode", mode]).with(1);
    }
}

#[test]
fn a_trace_is_served_without_its_model() {
    let place = Place::new();
    tiny_llama::write(&place.path("tiny"));
    let command = [
        "causal-trace --model tiny --journal a.ilj --no-replay --full --clean",
        "x a y",
        "--corrupt",
        "x b y",
        "--answer",
        " c",
        "--foil",
        " d",
    ];
    let first = command[0].split(' ');
    let all: Vec<&str> = first.chain(command[1..].iter().copied()).collect();
    place.run(&all).with(0);
    fs::remove_dir_all(place.path("tiny")).unwrap();
    let served = serve(&place).with(0);
    assert!(served.out.contains("\nproves L2: "), "{}", served.out);
    assert_eq!(served.err, "");
}

#[test]
fn other_values_are_noticed_without_the_model_too() {
    let place = without_model(EXPERIMENT);
    let changed = EXPERIMENT.replace("h * 3", "h * 4");
    rewrite(&place, |head| {
        let text = head.experiment.arguments.get_mut("text").unwrap();
        *text = changed.into();
    });
    let out = serve(&place).with(4).out;
    assert!(out.contains("layers.1.mlp.output.i0"), "{out}");
}

#[test]
fn a_journal_without_sites_has_its_model_loaded_and_says_so() {
    let place = without_model(EXPERIMENT);
    rewrite(&place, |head| head.sites = None);
    let ended = serve(&place).with(1);
    let (note, error) = ended.err.split_once('\n').unwrap();
    insta::assert_snapshot!(note, @"note: the journal does not have its model's sites, for which the model is loaded; nothing is computed with it");
    assert!(error.starts_with("error[E040]: "), "{error}");
    tiny_llama::write(&place.path("tiny"));
    serve(&place).with(0);
}

#[test]
fn a_program_that_calls_modules_has_its_model_loaded() {
    let calls = EXPERIMENT.replace("h * 3", "layers.1.mlp(h)");
    let place = without_model(&calls);
    let ended = serve(&place).with(1);
    let note = ended.err.lines().next().unwrap();
    insta::assert_snapshot!(note, @"note: a program calls modules of the model, which is loaded for that");
}

#[test]
fn a_head_whose_sites_are_none_is_as_one_without() {
    let place = without_model(EXPERIMENT);
    rewrite(&place, |head| {
        let sites = head.sites.as_mut().unwrap();
        sites.aliases.push(("x".into(), "nowhere.output".into()));
    });
    let ended = serve(&place).with(1);
    assert!(ended.err.starts_with("note: "), "{}", ended.err);
    assert_eq!(
        Policy::Full,
        Journal::load(place.path("a.ilj")).unwrap().head.policy
    );
}
