//! What `run` shows: rows by their names, runs by the values that they are swept over.

use std::fs;

use serde_json::Value as Json;

use crate::Place;
use crate::experiment::with_text;

const START: &str = "model = 'induction'

[[input]]
name = 'a'
tokens = [1, 2, 3, 4]

[[input]]
name = 'b'
tokens = [2, 3, 4, 5]

[[input]]
name = 'both'
tokens = [[1, 2, 3, 4], [2, 3, 4, 5]]

";

fn with(more: &str) -> Place {
    with_text(&format!("{START}{more}"))
}

/// The lines about likely tokens, without the probabilities.
fn labels(out: &str) -> String {
    let lines = out.lines().filter(|line| line.contains(" %"));
    let labels = lines.map(|line| line.trim().split("  ").next().unwrap());
    labels.collect::<Vec<_>>().join("\n")
}

/// Signs and points of numbers in names reach journals, results and files as they are, and nothing that a folder would notice.
#[test]
fn runs_are_swept_over_numbers_of_every_kind() {
    let place = with(
        "[[run]]\nname = 'scale_{k}_{i}'\neach = { k = [-1.5, 0.5, 1e-3, +2], i = '-1..1' }\ninput = 'a'\nprogram = '''\n\
         layers.0 *= {k} + {i}\nsave h = layers.1\n'''\n\
         [[run]]\nname = 'after'\ninput = 'a'\nprogram = 'save d = $\"scale_-1.5_-1.h\" - $scale_0.5_0.h'\n",
    );
    let journal = ["--journal", "e.ilj", "--out", "results"];
    let out = place
        .run(&[&["run", "e.toml"], &journal[..]].concat())
        .with(0)
        .out;
    let runs = out.lines().filter_map(|line| line.split(' ').next());
    let runs: Vec<&str> = runs.filter(|name| name.starts_with("scale")).collect();
    insta::assert_snapshot!(runs.join(" "), @"scale_-1.5_-1 scale_-1.5_0 scale_0.5_-1 scale_0.5_0 scale_1e-3_-1 scale_1e-3_0 scale_2_-1 scale_2_0");
    place.run(&["replay", "e.ilj"]).with(0);
    let bytes = fs::read(place.path("results/tensors.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let name = "scale_-1.5_-1/scale_-1.5_-1/h";
    assert_eq!(tensors.tensor(name).unwrap().shape(), [1, 4, 64]);
    let shown = place.run(&["show", "e.ilj"]).with(0).out;
    assert!(shown.contains("scale_1e-3_0"), "{shown}");
}

#[test]
fn what_is_no_part_of_a_number_is_no_part_of_a_name() {
    for value in ["'../x'", "'a b'", "'x/y'", "'.'", "'a.b'", "'-inf'"] {
        let place = with(&format!(
            "[[run]]\nname = 'r_{{k}}'\neach = {{ k = [{value}] }}\ninput = 'a'\n"
        ));
        let message = place.run(&["run", "e.toml"]).error("E113", 1);
        assert!(
            message.contains("`.`, `-` and `+` stand before a digit only"),
            "{message}"
        );
    }
    let place = with("[[run]]\nname = '{k}'\neach = { k = [-1] }\ninput = 'a'\n");
    place.run(&["run", "e.toml"]).error("E113", 1);
}

/// An exploration makes files of these names.
#[test]
fn explored_runs_write_their_numbers_into_files() {
    let place = with(
        "[[run]]\nname = 'k_{k}'\neach = { k = [-0.5] }\n\
         [[run.invoke]]\nname = 'one_{k}'\ninput = 'a'\nprogram = 'layers.0 *= {k}'\n\
         [[run.invoke]]\nname = 'two'\ninput = 'b'\nprogram = 'save h = layers.0'\n",
    );
    place.run(&["explore", "e.toml", "--out", "found"]).with(0);
    let files = fs::read_dir(place.path("found")).unwrap();
    let files: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["k_-0.5.1.ilj"]);
    place.run(&["replay", "found/k_-0.5.1.ilj"]).with(0);
}

#[test]
fn a_lens_shows_every_row_by_its_name() {
    let place = with(
        "[[run]]\nname = 'lens'\ninput = ['a', 'b']\nprogram = 'save all = output'\nreport = { lens = 'all' }\n\
         [[run]]\nname = 'list'\ninput = 'both'\nprogram = '''\nsave all = []\nappend(all, unembed(layers.0))\n\
         append(all, unembed(layers.1)[.., -1])\n'''\nreport = { lens = 'all' }\n\
         [[run]]\nname = 'own'\nreport = { lens = 'all' }\n\
         [[run.invoke]]\nname = 'one'\ninput = 'a'\nprogram = 'save all = output'\n\
         [[run.invoke]]\nname = 'two'\ninput = 'both'\nprogram = 'save all = output'\n\
         [[run.invoke]]\nname = 'half'\nprogram = 'save all = output[0..2]'\n",
    );
    let out = place.run(&["run", "e.toml"]).with(0).out;
    insta::assert_snapshot!(labels(&out), @r#"
    all of a
    all of b
    all.0 of both.0
    all.1 of both.0
    all.0 of both.1
    all.1 of both.1
    one.all
    two.all of both.0
    two.all of both.1
    half.all of row 0
    half.all of row 1
    "#);
    let json: Json =
        serde_json::from_str(&place.run(&["run", "e.toml", "--json"]).with(0).out).unwrap();
    let rows = |run: usize| {
        let lenses = json["runs"][run]["lenses"].as_array().unwrap().iter();
        let row = |lens: &Json| (lens["row"].clone(), lens["tops"].as_array().unwrap().len());
        lenses.map(row).collect::<Vec<_>>()
    };
    assert_eq!(rows(0), [("a".into(), 1), ("b".into(), 1)]);
    assert_eq!(rows(1), [("both.0".into(), 2), ("both.1".into(), 2)]);
    // What the model says of a row does not depend on who shares its batch.
    let top =
        |run: usize, lens: usize| json["runs"][run]["lenses"][lens]["tops"][0][0]["token"].clone();
    assert_eq!([top(0, 0), top(0, 1)], [top(2, 0), top(2, 2)]);
}

#[test]
fn a_loss_from_beyond_the_rows_is_refused_with_their_length() {
    let run = |from: u32| {
        with(&format!(
            "[[run]]\nname = 'r'\ninput = 'a'\n[run.report]\nloss_from = {from}\n"
        ))
    };
    let out = run(2).run(&["run", "e.toml"]).with(0).out;
    assert!(out.contains(" loss "), "{out}");
    let message = run(3)
        .run(&["run", "e.toml", "--journal", "e.ilj"])
        .error("E113", 1);
    insta::assert_snapshot!(message, @"e.toml:19:13: `loss_from` must be a position that has a next token: from 0 to 2, because the rows of the run `r` have 4 tokens, found 3");
    let short = with(
        "[[input]]\nname = 'c'\ntokens = [7]\n[report]\nloss_from = 0\n[[run]]\nname = 'r'\ninput = 'c'\n",
    );
    insta::assert_snapshot!(short.run(&["run", "e.toml"]).error("E113", 1), @"e.toml:19:13: `loss_from` must be left out, because the rows of the run `r` have 1 token, so that no position has a next one, found 0");
    // What the file asks of all runs is not asked of a generation.
    with("[report]\nloss_from = 9\n[[run]]\nname = 'r'\ninput = 'a'\ngenerate = 1\n")
        .run(&["run", "e.toml"])
        .with(0);
}
