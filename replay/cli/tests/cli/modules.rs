//! Trained interventions that an experiment file names, and its programs call.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use interloom::interventions::{Intervention, Learned, SparseAutoencoder, SteeringVector};
use interloom_journal::JournalReader;

use crate::{Ended, Place};

const EXPERIMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments");

const START: &str = "model = 'induction'\n[[input]]\nname = 'a'\ntokens = [17, 3, 29, 8, 17, 3]\n";

/// A folder with the shipped experiment and its autoencoder.
fn shipped() -> Place {
    let place = Place::new();
    for name in ["features.toml", "sae.safetensors"] {
        fs::copy(Path::new(EXPERIMENTS).join(name), place.path(name)).unwrap();
    }
    place
}

/// A folder with an experiment of one program, a steering vector of `width`, and an autoencoder.
fn with_program(width: usize, modules: &str, program: &str) -> Place {
    let place = shipped();
    let steer = SteeringVector::of(burn::tensor::Tensor::ones([width], &Device::flex()));
    steer.save(place.path("steer.safetensors")).unwrap();
    let run = format!("[[run]]\nname = 'r'\ninput = 'a'\nprogram = '''\n{program}\n'''\n");
    fs::write(
        place.path("e.toml"),
        format!("{START}[modules]\n{modules}\n{run}"),
    )
    .unwrap();
    place
}

#[test]
fn r111_features_of_a_trained_autoencoder_are_taken_away_from_an_experiment_file() {
    let place = shipped();
    let command = [
        "run",
        "features.toml",
        "--journal",
        "a.ilj",
        "--full",
        "--json",
    ];
    let ended = place.run(&command).with(0);
    let report: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    let loss = |name: &str| {
        let runs = report["runs"].as_array().unwrap();
        let run = runs.iter().find(|run| run["name"] == name).unwrap();
        run["rows"][0]["loss"].as_f64().unwrap()
    };
    // Unedited, it is the model itself.
    assert_eq!(loss("same").to_bits(), loss("clean").to_bits());
    assert_ne!(loss("decoded"), loss("clean"));
    assert!(loss("without_95") > loss("clean") + 0.5, "{}", ended.out);

    // Replays need the autoencoder's file, and where the mediators are served, no model.
    for mode in ["verify", "serve", "drive"] {
        let replayed = place.run(&["replay", "a.ilj", "--mode", mode]);
        assert!(replayed.with(0).out.contains("identical"), "{mode}");
    }
}

#[test]
fn r110_a_journal_knows_the_parameters_of_the_modules_of_its_programs() {
    let place = shipped();
    place
        .run(&["run", "features.toml", "--journal", "a.ilj"])
        .with(0);
    let reader = JournalReader::open(place.path("a.ilj")).unwrap();
    let modules = &reader.head().modules;
    assert_eq!((modules.len(), modules[0].name.as_str()), (1, "sae"));
    let names: Vec<&str> = modules[0]
        .parameters
        .iter()
        .map(|(name, _)| &**name)
        .collect();
    assert_eq!(
        names,
        ["encoder", "encoder_bias", "decoder", "decoder_bias"]
    );

    // Another autoencoder of the same sizes is found by name.
    let path = place.path("sae.safetensors");
    let loaded = Intervention::load(&path, &Device::flex()).unwrap();
    let Intervention::SparseAutoencoder(sae) = loaded else {
        panic!("{} is no autoencoder", loaded.kind());
    };
    let other = SparseAutoencoder::new(64, 96, sae.activation(), &Device::flex()).unwrap();
    other.save(&path).unwrap();
    let replayed = place.run(&["replay", "a.ilj"]).with(4);
    let changed = "modules: 4 recorded, 4 in this run; 4 changed: sae.encoder, sae.encoder_bias";
    assert!(
        replayed.out.contains(changed),
        "{}\n{}",
        replayed.out,
        replayed.err
    );
}

#[test]
fn r111_a_steering_vector_is_added_where_a_program_calls_it() {
    let place = with_program(
        64,
        "steer = 'steer.safetensors'",
        "h = layers.0\nsave d = steer(layers.1) - layers.1\nsave s = sum(d)",
    );
    let out = place.run(&["run", "e.toml"]);
    // The order of the sites is that of the model.
    assert!(out.code == Some(0), "{}", out.err);
}

#[test]
fn calls_are_checked_before_the_first_run() {
    let refused = |width: usize, modules: &str, program: &str, code: &str| {
        let place = with_program(width, modules, program);
        let ended: Ended = place.run(&["run", "e.toml"]);
        ended.error(code, 1)
    };
    let steer = "steer = 'steer.safetensors'";
    let sae = "sae = 'sae.safetensors'";
    for (width, modules, program, code, message) in [
        (
            64,
            steer,
            "layers.0 = ster(layers.0)",
            "E102",
            "e.toml:11, mediator `r`: the model has no module `ster` to call; nearest: `steer`, `embed`, `sample`",
        ),
        (
            64,
            sae,
            "layers.0 = sae.decod(layers.0)",
            "E102",
            "e.toml:11, mediator `r`: the model has no module `sae.decod` to call; nearest: `sae.decode`, `sae.encode`, `embed`",
        ),
        (
            32,
            steer,
            "layers.0 = steer(layers.0)",
            "E108",
            "e.toml:11, mediator `r`: `steer` takes floats with a last dimension of 32, found a tensor [1, 6, 64]; give it what it \
             takes, or call another module",
        ),
        (
            64,
            sae,
            "layers.0 = sae.encode(layers.0)",
            "E109",
            "e.toml:11, mediator `r`: the replacement for `layers.0.output` is a tensor [1, 6, 96], but the site has a tensor \
             [1, 6, 64] for this mediator; a swap keeps structure and shape, a mediator that owns the whole batch may ask for a \
             reshaping write",
        ),
        (
            64,
            "layers = 'steer.safetensors'",
            "layers.0 *= 1",
            "E116",
            "e.toml:6:11: `layers` is a module of the model, too; give it another name",
        ),
        (
            64,
            "sum = 'steer.safetensors'",
            "layers.0 *= 1",
            "E113",
            "e.toml:6:8: `modules` must be a table whose keys are words that the language of programs does not use itself, \
             found `sum`",
        ),
        (
            64,
            "steer = 3",
            "layers.0 *= 1",
            "E113",
            "e.toml:6:9: `steer` must be a text, found 3",
        ),
    ] {
        assert_eq!(refused(width, modules, program, code), message);
    }
    let missing = refused(64, "steer = 'none.safetensors'", "layers.0 *= 1", "E083");
    assert!(
        missing.starts_with("e.toml:6:10: none.safetensors cannot be used"),
        "{missing}"
    );
    let folder = refused(64, "steer = '.'", "layers.0 *= 1", "E083");
    assert!(folder.contains("cfg.json"), "{folder}");
}

/// What is left in a folder is explored and replayed from there, without the files that it is of.
#[test]
fn the_modules_of_a_shrunken_experiment_are_beside_it() {
    let place = with_program(
        64,
        "steer = 'steer.safetensors'\nsae = 'sae.safetensors'",
        "h = layers.0",
    );
    let run = "[[run]]\nname = 'two'\ninput = 'a'\n\
        [[run.invoke]]\nname = 'a'\nprogram = 'layers.0 = steer(layers.0)'\n\
        [[run.invoke]]\nname = 'b'\nprogram = 'layers.0 *= 0.5'\n";
    let text = fs::read_to_string(place.path("e.toml")).unwrap();
    fs::write(place.path("e.toml"), text + run).unwrap();
    // As few runs as show the difference: with more, a number would do as well as the call.
    let command = [
        "explore",
        "e.toml",
        "--shrink",
        "--shrink-runs",
        "3",
        "--out",
        "w",
    ];
    place.run(&command).with(1);
    for file in ["steer.safetensors", "sae.safetensors", "e.toml"] {
        fs::remove_file(place.path(file)).unwrap();
    }
    let small = fs::read_to_string(place.path("w/two.2.small.toml")).unwrap();
    assert!(
        small.contains("[modules]\n\"steer\" = \"two.2.small.steer\"\n\n"),
        "{small}"
    );
    let again = ["explore", "w/two.2.small.toml"];
    assert!(place.run(&again).with(1).out.contains("order-dependent"));
    for journal in ["w/two.2.small.1.ilj", "w/two.2.small.2.ilj"] {
        place.run(&["replay", journal]).with(0);
    }
}
