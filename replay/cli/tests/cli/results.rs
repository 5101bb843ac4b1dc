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

/// Signs and points of numbers in names reach journals, results and files as they are, and nothing
/// that a folder would notice.
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

/// The results of an experiment, as JSON.
fn results(place: &Place) -> Json {
    let text = fs::read_to_string(place.path("results/results.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_sweep_says_its_values_and_is_drawn() {
    let place = with(
        "[[run]]\nname = 'L{layer}_{scale}'\neach = { layer = '0..2', scale = [0, 0.5, 1] }\ninput = 'a'\n\
         program = 'layers.{layer} *= {scale}'\nreport.answers = ['11', '30']\n\
         [[run]]\nname = 'alone'\ninput = 'a'\n\
         [[run]]\nname = 'batch'\nreport.answers = ['11', '30']\n\
         [[run.invoke]]\nname = 'p{position}'\neach = { position = '0..4' }\ninput = 'a'\n\
         program = 'layers.0[.., {position}] = 0'\n",
    );
    let out = place
        .run(&["run", "e.toml", "--out", "results"])
        .with(0)
        .out;
    let found = results(&place);
    assert_eq!(
        found["runs"][1]["each"],
        serde_json::json!({ "layer": 0, "scale": 0.5 })
    );
    assert_eq!(found["runs"][6]["each"], serde_json::json!({}));
    assert_eq!(found["runs"][7]["invokes"][3]["each"]["position"], 3);
    let title = "logit difference of \"11\" and \"30\", over layer and scale";
    let plot = out.split_once(title).unwrap().1;
    let lines: Vec<&str> = plot.lines().skip(1).take(3).collect();
    assert!(lines[0].contains("scale 0 scale 0.5 scale 1"), "{plot}");
    assert!(
        lines[1].starts_with("layer 0 ") && lines[2].starts_with("layer 1 "),
        "{plot}"
    );
    // What is not scaled is the same whichever layer it is.
    let last = |line: &str| line.rsplit(' ').next().unwrap().to_owned();
    assert_eq!(last(lines[1]), last(lines[2]));
    for (file, cells) in [("results/sweep-1.svg", 6), ("results/sweep-2.svg", 4)] {
        let svg = fs::read_to_string(place.path(file)).unwrap();
        assert_eq!(svg.matches("<rect x").count(), cells, "{file}");
    }
    assert!(!place.path("results/sweep-3.svg").exists());
}

#[test]
fn rows_are_drawn_at_their_own_value_whatever_names_begin_alike() {
    let place = with(
        "[[run]]\nname = 'alone{scale}'\neach = { scale = [0, 0.5] }\ninput = 'a'\n\
         program = 'layers.1 *= {scale}'\nreport.answers = ['11', '30']\n\
         [[run]]\nname = 'batch'\nreport.answers = ['11', '30']\n\
         [[run.invoke]]\nname = 's{scale}'\neach = { scale = [0, 0.5] }\ninput = 'a'\n\
         program = 'layers.1 *= {scale}'\n",
    );
    let out = place.run(&["run", "e.toml"]).with(0).out;
    let title = "logit difference of \"11\" and \"30\", over scale";
    let plots: Vec<&str> = out.split(title).skip(1).collect();
    let [alone, batch] = [0, 1].map(|plot: usize| plots[plot].lines().take(3).collect::<Vec<_>>());
    assert_eq!(alone, batch);
}

#[test]
fn dimensions_are_summed_and_matrices_multiplied() {
    let place = with(
        "[[run]]\nname = 'r'\ninput = 'a'\nprogram = '''\n\
         p = softmax(layers.0, -1)\nsave ones = sum(p, -1)\nsave flat = mean(abs(layers.1), 1)\n\
         save gram = matmul(ones, flat)\nsave all = sum(ones)\n'''\n",
    );
    place.run(&["run", "e.toml", "--out", "results"]).with(0);
    let found = results(&place);
    let saved = &found["runs"][0]["invokes"][0]["saved"];
    assert_eq!(saved["ones"]["shape"], serde_json::json!([1, 4, 1]));
    assert!((saved["ones"]["mean"].as_f64().unwrap() - 1.0).abs() < 1e-6);
    assert_eq!(saved["flat"]["shape"], serde_json::json!([1, 1, 64]));
    assert!(saved["flat"]["min"].as_f64().unwrap() >= 0.0);
    assert_eq!(saved["gram"]["shape"], serde_json::json!([1, 4, 64]));
    assert!((saved["all"]["mean"].as_f64().unwrap() - 4.0).abs() < 1e-5);
    // Shapes are known before the run.
    let wrong = |value: &str| {
        let place = with(&format!(
            "[[run]]\nname = 'r'\ninput = 'a'\nprogram = 'save h = {value}'\n"
        ));
        let ended = place.run(&["run", "e.toml"]).with(1);
        ended.err.lines().next().unwrap().to_owned()
    };
    let dimension = wrong("softmax(layers.0, 3)");
    assert!(
        dimension.contains("a tensor with a dimension 3"),
        "{dimension}"
    );
    let product = wrong("matmul(layers.0, layers.1)");
    assert!(product.contains("can be multiplied by"), "{product}");
    let dimension = wrong("softmax(layers.0)");
    assert!(dimension.contains("expected `,`"), "{dimension}");
}

#[test]
fn what_a_cache_collects_can_be_saved_and_is_given_to_later_runs() {
    let place = with(
        "[[run]]\nname = 'first'\ninput = 'a'\nprogram = '''\ncache c = outputs(layers.0, layers.1)\nsave c\n'''\n\
         [[run]]\nname = 'later'\ninput = 'a'\nprogram = '''\n\
         save d = layers.0 - $first.c[\"layers.0.output.i0\"]\n'''\n",
    );
    let options = ["--out", "results", "--journal", "e.ilj"];
    place
        .run(&[&["run", "e.toml"], &options[..]].concat())
        .with(0);
    let found = results(&place);
    let cached = found["runs"][0]["invokes"][0]["saved"].as_object().unwrap();
    assert_eq!(cached.len(), 2, "{cached:?}");
    let difference = &found["runs"][1]["invokes"][0]["saved"]["d"];
    assert_eq!(
        (&difference["min"], &difference["max"]),
        (&0.0.into(), &0.0.into())
    );
    place.run(&["replay", "e.ilj"]).with(0);
    // Before it is asked for, there is none.
    let early = with(
        "[[run]]\nname = 'r'\ninput = 'a'\nprogram = '''\nsave c\ncache c = outputs(..)\n'''\n",
    );
    early.run(&["run", "e.toml"]).error("E105", 1);
}

#[test]
fn sites_are_listed_with_their_shapes() {
    let place = Place::new();
    let out = place.run(&["sites", "--model", "induction"]).with(0).out;
    let line = out
        .lines()
        .find(|line| line.starts_with("layers.0.attn.pattern.output "));
    assert!(line.unwrap().contains(" [1, 4, 3, 3] "), "{out}");
    assert!(!out.contains(".source."), "{out}");
    let out = place.run(&["sites", "--model", "induction", "--operations"]);
    let out = out.with(0).out;
    let softmax = out.lines().filter_map(|line| {
        let rest = line.strip_prefix("layers.1.attn.source.softmax_0.")?;
        Some(rest.split_whitespace().collect::<Vec<_>>().join(" "))
    });
    let softmax: Vec<String> = softmax.collect();
    assert_eq!(softmax, ["input [1, 4, 3, 3]", "output [1, 4, 3, 3]", "fn"]);
    let out = place
        .run(&["sites", "--model", "induction", "--json"])
        .with(0)
        .out;
    let sites: Json = serde_json::from_str(&out).unwrap();
    let sites = sites.as_array().unwrap();
    let logits = sites.iter().find(|site| site["site"] == "output").unwrap();
    assert_eq!(logits["shape"], serde_json::json!([1, 3, 40]));
}

/// Experiments reach the calls inside of a module, and read what they call.
#[test]
fn r90_operations_are_read_and_changed_by_experiments() {
    let place = with(
        "[[run]]\nname = 'r'\ninput = 'a'\nprogram = '''\nf = layers.1.attn.source.softmax_0.fn\n\
         layers.1.attn.source.softmax_0 *= 0.5\nsave h = layers.1.attn.pattern\nsave f\n'''\n",
    );
    let command = ["run", "e.toml", "--journal", "a.ilj", "--full"];
    let out = place.run(&command).with(0).out;
    assert!(out.contains("activation::softmax"), "{out}");
    for mode in ["verify", "serve", "drive"] {
        place.run(&["replay", "a.ilj", "--mode", mode]).with(0);
    }
    // Another module in the place of the output layer of the attention: the other attention.
    let swapped = with(
        "[[run]]\nname = 'r'\ninput = 'a'\nprogram = '''\n\
         layers.1.attn.source.self_output_0.fn = text(\"layers.0.attn\")\n\
         x = layers.1.attn.source.self_output_0.input\n\
         save d = layers.1.attn.source.self_output_0 - layers.0.attn(x)\nsave x\n'''\n",
    );
    let out = swapped.run(&command).with(0).out;
    let difference = out.lines().find(|line| line.trim_start().starts_with("d "));
    let difference = difference.unwrap();
    assert!(
        difference.contains("min 0.0000  max 0.0000"),
        "{difference}"
    );
    for mode in ["verify", "serve", "drive"] {
        swapped.run(&["replay", "a.ilj", "--mode", mode]).with(0);
    }
    let missing = with(
        "[[run]]\nname = 'r'\ninput = 'a'\nprogram = '''\n\
         layers.1.attn.source.self_output_0.fn = text(\"layers.9\")\n'''\n",
    );
    missing.run(&["run", "e.toml"]).error("E059", 1);
    let unknown = with(
        "[[run]]\nname = 'r'\ninput = 'a'\nprogram = '''\nsave f = layers.1.attn.source.softmx_0.fn\n'''\n",
    );
    let said = unknown.run(&["run", "e.toml"]).error("E104", 1);
    assert!(said.contains("layers.1.attn.source.softmax_0.fn"), "{said}");
}

/// The digest is of what happened: not of where the file lies, how its path is spelled, or on which
/// lines its programs stand.
#[test]
fn the_digest_of_a_run_does_not_depend_on_where_its_file_lies() {
    let place = with(
        "[[run]]\nname = 'r'\ninput = 'a'\nprogram = '''\nlayers.0[.., -1] *= 2\nsave h = layers.1\n'''\n",
    );
    let text = fs::read_to_string(place.path("e.toml")).unwrap();
    fs::create_dir(place.path("sub")).unwrap();
    fs::write(place.path("sub/e.toml"), &text).unwrap();
    fs::write(
        place.path("moved.toml"),
        format!("# Two lines more.\n\n{text}"),
    )
    .unwrap();
    let digest = |path: &str| {
        let out = place.run(&["run", path, "--journal", "j.ilj"]).with(0).out;
        let mut lines = out.lines();
        let digest = lines.find_map(|line| line.split_once("digest "));
        digest.expect("a digest").1.to_owned()
    };
    let absolute = place.path("e.toml");
    let paths = [
        "./e.toml",
        "sub/e.toml",
        "moved.toml",
        absolute.to_str().unwrap(),
    ];
    for path in paths {
        assert_eq!(digest(path), digest("e.toml"), "{path}");
    }
}

/// A sweep that fails at its last run keeps what the others have found, in every form.
#[test]
fn a_run_that_fails_loses_nothing_of_those_before_it() {
    let place = with(
        "[[run]]\nname = 'first'\ninput = 'a'\nprogram = 'save h = layers.0'\n\
         [[run]]\nname = 'second'\ninput = 'a'\nprogram = '''\nsave early = layers.1\nif sum(early) != 0 { g = layers.0 }\n'''\n\
         [[run]]\nname = 'third'\ninput = 'a'\nprogram = 'save h = layers.0'\n",
    );
    let ended = place.run(&["run", "e.toml", "--out", "out"]).with(1);
    let error = ended.err.lines().find(|line| line.starts_with("error"));
    assert!(
        error
            .unwrap()
            .starts_with("error[E002]: mediator `second` failed"),
        "{}",
        ended.err
    );
    let shown: Vec<&str> = ended.out.lines().filter(|line| !line.is_empty()).collect();
    insta::assert_snapshot!(shown.join("\n"), @"
    e.toml on induction
    first                h  f32 [1, 4, 64]  mean -0.0043  min -1.9339  max 2.2788  [0.9331, -0.4120, 0.7918, -0.4995, …]
    second
      end    failed (E002)
      early  f32 [1, 4, 64]  mean -0.1175  min -6.2126  max 5.5731  [-1.5297, -1.9592, 0.7216, 0.9475, …]
    results: out
    ");
    let json: Json =
        serde_json::from_slice(&fs::read(place.path("out/results.json")).unwrap()).unwrap();
    let printed = place.run(&["run", "e.toml", "--json"]).with(1).out;
    let printed: Json = serde_json::from_str(&printed).unwrap();
    assert_eq!(
        (&printed["runs"], &printed["failure"]),
        (&json["runs"], &json["failure"])
    );
    assert!(printed["journal"].is_null());
    let runs: Vec<&Json> = json["runs"].as_array().unwrap().iter().collect();
    let ends: Vec<&Json> = runs.iter().map(|run| &run["end"]).collect();
    assert_eq!(ends, ["completed", "failed (E002)"]);
    assert_eq!(json["failure"]["code"], "E002");
    let bytes = fs::read(place.path("out/tensors.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = tensors.names();
    names.sort_unstable();
    assert_eq!(names, ["first/first/h", "second/second/early"]);
    // What was recorded is as good as what is shown.
    let recorded = place.run(&["run", "e.toml", "--journal", "e.ilj"]);
    assert!(recorded.with(1).out.contains("`interloom recover`"));
    place
        .run(&["recover", "e.ilj", "--out", "whole.ilj"])
        .with(0);
    let whole = place.run(&["show", "whole.ilj"]).with(0).out;
    assert!(
        whole.contains("first") && whole.contains("second"),
        "{whole}"
    );
}

#[test]
fn a_failure_without_results_leaves_no_folder() {
    let place = with(
        "[[run]]\nname = 'only'\ninput = 'a'\nprogram = '''\nh = layers.1\nif sum(h) != 0 { g = layers.0 }\n'''\n",
    );
    let ended = place.run(&["run", "e.toml", "--out", "out"]).with(1);
    assert_eq!(
        (ended.out.as_str(), place.files()),
        ("", vec!["e.toml".to_owned()])
    );
    assert_eq!(place.run(&["run", "e.toml", "--json"]).with(1).out, "");
}
