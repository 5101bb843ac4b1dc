//! `run`: the experiments that come with the program, and whatever can be wrong with one.

use std::fs;

use interloom_cli::experiment::FileExperiment;
use interloom_journal::Journal;
use serde_json::Value as Json;

use crate::experiment::with_text;
use crate::{Ended, Place, tiny_llama, without_folder};

/// A folder with the experiments that come with the program.
fn with_experiments() -> Place {
    let place = Place::new();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments");
    for entry in fs::read_dir(shipped).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(
            &path,
            place.path(path.file_name().unwrap().to_str().unwrap()),
        )
        .unwrap();
    }
    place
}

fn json(ended: Ended) -> Json {
    serde_json::from_str(&ended.with(0).out).unwrap()
}

/// Runs an experiment and its replay, and returns what the run printed.
#[track_caller]
fn proven(place: &Place, arguments: &[&str]) -> String {
    let out = place
        .run(&[&["run", "--journal", "r.ilj"], arguments].concat())
        .with(0)
        .out;
    let journal = Journal::load(place.path("r.ilj")).unwrap();
    let (exchanges, digest) = (journal.exchanges().count(), journal.digest());
    assert!(
        out.contains(&format!("recorded {} in ", crate::exchanges(exchanges))),
        "{out}"
    );
    let proof = crate::proof(exchanges, digest);
    // The head has all that is needed: the file may be gone.
    for entry in fs::read_dir(&place.0).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(place.run(&["replay", "r.ilj"]).with(0).out, proof);
    out
}

#[test]
fn ablation_shows_which_head_is_needed() {
    let out = proven(&with_experiments(), &["ablation.toml"]);
    let loss = |run: &str| -> f64 {
        let line = out.lines().find(|line| line.starts_with(run)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let runs = out.lines().filter(|line| line.contains("  loss "));
    assert_eq!(runs.count(), 9, "{out}");
    assert!(loss("intact ") < 0.1, "{out}");
    // The previous-token head, without which there is no induction.
    assert!(loss("without_L0H0 ") > 1.0, "{out}");
}

#[test]
fn patching_finds_the_position_that_decides() {
    let out = proven(&with_experiments(), &["patching.toml"]);
    let difference = |label: &str| -> f64 {
        let line = out
            .lines()
            .find(|line| line.trim_start().starts_with(label))
            .unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(
        difference("clean  \"11\"") > 5.0 && difference("corrupt ") < -5.0,
        "{out}"
    );
    for position in 0..13 {
        let restored = difference(&format!("position_{position} ")) > 5.0;
        assert_eq!(restored, position == 5, "{out}");
    }
    assert!(difference("taker ") > 5.0, "{out}");
}

#[test]
fn attribution_finds_it_with_one_backward_pass() {
    let place = with_experiments();
    let out = proven(&place, &["attribution.toml", "--out", "results", "--full"]);
    let bytes = fs::read(place.path("results/tensors.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let floats = |name: &str| -> Vec<f32> {
        let tensor = tensors.tensor(name).unwrap();
        let numbers = tensor.data().chunks(4);
        numbers
            .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
            .collect()
    };
    let positions = floats("attributed/attributed/positions");
    assert_eq!(positions.len(), 13);
    for (position, effect) in positions.iter().enumerate() {
        // What is before the difference, is the same in both.
        assert_eq!(*effect == 0.0, position < 5, "{positions:?}");
        assert!(
            position == 5 || *effect < positions[5] / 4.0,
            "{positions:?}"
        );
    }
    assert!(out.contains("position_5 "), "{out}");
    place.run(&["replay", "r.ilj", "--mode", "serve"]).with(0);
    let out = place.run(&["show", "r.ilj", "--run", "1"]).with(0).out;
    assert!(
        out.contains("        run 1  backward pass 0 begins\n"),
        "{out}"
    );
    let out = place
        .run(&["why", "r.ilj", "layers.0.attn.z.grad"])
        .with(0)
        .out;
    for step in [
        "<- a backward pass computed it from the loss of exchange 6\n",
        "<- \"attributed\" computed it from exchange 5 (attribution.toml:",
        "<- the model computed it\n",
    ] {
        assert!(out.contains(step), "{step}: {out}");
    }
}

#[test]
fn caching_writes_what_was_asked_for() {
    let place = with_experiments();
    let out = proven(&place, &["caching.toml", "--out", "results", "--full"]);
    assert!(out.contains("\nresults: results\n"), "{out}");
    let bytes = fs::read(place.path("results/tensors.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = tensors.names();
    names.sort_unstable();
    insta::assert_snapshot!(names.join("\n"), @"
    watched/watched/into.layers.1.attn.input.i0
    watched/watched/patterns.layers.0.attn.pattern.output.i0
    watched/watched/patterns.layers.1.attn.pattern.output.i0
    watched/watched/stream.embed.output.i0
    watched/watched/stream.layers.0.output.i0
    watched/watched/stream.layers.1.output.i0
    ");
    // The journal has the digests of the same, though no mediator asked for a value.
    let check = place.run(&["check", "r.ilj"]).with(0).out;
    assert!(
        check.contains("run 0 \"watched\": 1 exchange, 6 values cached at 6 points, completed"),
        "{check}"
    );
    let check = place.run(&["check", "r.ilj", "--json"]).with(0).out;
    let check: Json = serde_json::from_str(&check).unwrap();
    let cached = check["runs"][0]["cached"].as_array().unwrap();
    let points: Vec<_> = cached
        .iter()
        .map(|line| line["point"].as_str().unwrap())
        .collect();
    assert_eq!(
        points,
        [
            "embed.output",
            "layers.0.output",
            "layers.1.output",
            "layers.0.attn.pattern.output",
            "layers.1.attn.pattern.output",
            "layers.1.attn.input"
        ]
    );
    let pattern = tensors.tensor(names[1]).unwrap();
    assert_eq!(pattern.shape(), [1, 4, 16, 16]);
    let results = fs::read_to_string(place.path("results/results.json")).unwrap();
    let results: Json = serde_json::from_str(&results).unwrap();
    let saved = &results["runs"][0]["invokes"][0]["saved"];
    assert_eq!(saved.as_object().unwrap().len(), names.len());
    // A second time over the first, and over nothing else.
    fs::write(place.path("results/notes.txt"), "mine").unwrap();
    let place_of_file = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/caching.toml");
    place
        .run(&["run", place_of_file, "--out", "results"])
        .with(0);
    assert_eq!(fs::read(place.path("results/notes.txt")).unwrap(), b"mine");
    assert_eq!(
        fs::read(place.path("results/tensors.safetensors")).unwrap(),
        bytes
    );
}

#[test]
fn steering_runs_on_any_language_model() {
    let place = with_experiments();
    tiny_llama::write(&place.path("tiny"));
    let more = [
        "--model",
        "tiny",
        "--set",
        "block=0",
        "--set",
        "story=x a y",
        "--json",
    ];
    let steered = json(place.run(&[&["run", "steering.toml"], &more[..]].concat()));
    let runs = steered["runs"].as_array().unwrap();
    let tokens = |run: usize| runs[run]["generated"]["tokens"].as_array().unwrap();
    assert_eq!((runs.len(), steered["model"].as_str()), (5, Some("tiny")));
    assert!((2..5).all(|run| tokens(run).len() == 24), "{steered}");
    // A model of random weights can be steered, if nowhere sensible.
    assert!(
        tokens(3) != tokens(2) || tokens(4) != tokens(2),
        "{steered}"
    );
    // Without strength nothing is steered.
    let none = [&["run", "steering.toml", "--set", "strength=0"], &more[..]].concat();
    let none = json(place.run(&none));
    let generated = |run: usize| none["runs"][run]["generated"].clone();
    assert_eq!((generated(3), generated(4)), (generated(2), generated(2)));
    let text = [
        "--model",
        "tiny",
        "--set",
        "block=1",
        "--set",
        "story=x a y",
    ];
    let out = proven(&place, &[&["steering.toml"], &text[..]].concat());
    assert!(
        out.contains("stopped by `love` at `layers.1.output.i0`"),
        "{out}"
    );
}

#[test]
fn the_logit_lens_ends_with_what_the_model_says() {
    let place = with_experiments();
    tiny_llama::write(&place.path("tiny"));
    let tiny = [
        "--model",
        "tiny",
        "--set",
        "layers=2",
        "--set",
        "prompt=x a y",
    ];
    let lens = json(place.run(&[&["run", "logit-lens.toml", "--json"], &tiny[..]].concat()));
    let run = &lens["runs"][0];
    let lenses = run["lenses"].as_array().unwrap();
    assert_eq!(lenses.len(), 2);
    // The last position alone is multiplied in another order than all of them; the tokens are the
    // same.
    let tokens = |top: &Json| {
        let choices = top.as_array().unwrap().iter();
        choices
            .map(|choice| choice["token"].clone())
            .collect::<Vec<_>>()
    };
    let said = tokens(&run["rows"][0]["top"]);
    assert_eq!(tokens(&lenses[1]["tops"][0]), said);
    assert_ne!(tokens(&lenses[0]["tops"][0]), said);
    let out = proven(&place, &[&["logit-lens.toml"], &tiny[..]].concat());
    assert!(out.contains("\n  block_1.lens "), "{out}");
    assert!(
        !out.contains("[1, 1, 260]"),
        "a lens is shown as tokens: {out}"
    );
}

#[test]
#[ignore = "needs SmolLM2: scripts/fetch-smollm2, then cargo test --workspace --test cli -- --ignored run::"]
fn language_experiments_say_something_about_smollm2() {
    let cache = std::env::var("INTERLOOM_CACHE").ok();
    let home = std::env::var("HOME").unwrap_or_default();
    let cache = cache.unwrap_or_else(|| format!("{home}/.cache/interloom"));
    let model = format!("{cache}/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf");
    let out = proven(&with_experiments(), &["logit-lens.toml", "--model", &model]);
    let last = out
        .lines()
        .find(|line| line.contains("block_29.lens "))
        .unwrap();
    assert!(last.contains("\" Paris\" 77"), "{out}");
    let first = out
        .lines()
        .find(|line| line.contains("block_0.lens "))
        .unwrap();
    assert!(!first.contains("Paris"), "{out}");
    let out = proven(&with_experiments(), &["steering.toml", "--model", &model]);
    let generated = |run: &str| out.lines().find(|line| line.starts_with(run)).unwrap();
    assert!(generated("loving ").contains("a great place"), "{out}");
    assert!(generated("hating ").contains("a waste of money"), "{out}");
}

#[test]
fn what_is_wrong_with_a_file_is_said_before_the_model_is_loaded() {
    let cases = [
        ("", "E113"),
        ("model = 'nowhere'\nx = 1", "E112"),
        ("model = 'nowhere'\n[[run]\n", "E111"),
        (
            "model = 'nowhere'\n[[run]]\nname = 'r'\ninput = 'a'\n",
            "E115",
        ),
        ("model = 'nowhere'\n[[run]]\nname = 'r'\n", "E116"),
        (
            "model = 'nowhere'\n[[run]]\nname = 'r'\nprogram = 'save 3'",
            "E114",
        ),
    ];
    for (text, code) in cases {
        let place = with_text(text);
        let out = ["run", "e.toml", "--out", "results", "--journal", "e.ilj"];
        let message = place.run(&out).error(code, 1);
        assert!(message.starts_with("e.toml:"), "{message}");
        assert_eq!(place.files(), ["e.toml"]);
    }
}

#[test]
fn a_site_or_a_model_that_there_is_not_leaves_nothing_behind() {
    let text = "model = 'induction'\n[[input]]\nname = 'a'\ntokens = [1]\n[[run]]\nname = 'r'\ninput = 'a'\nprogram = 'h = layers.9'";
    let place = with_text(text);
    let all = ["run", "e.toml", "--out", "results", "--journal", "e.ilj"];
    let message = place.run(&all).error("E104", 1);
    insta::assert_snapshot!(message, @"e.toml:8, mediator `r`: the model has no site `layers.9.output`; nearest: `layers.0.output`, `layers.1.output`, `layers.0.input`");
    place
        .run(&[&all[..], &["--model", "nowhere"]].concat())
        .error("E040", 1);
    place
        .run(&[&all[..], &["--device", "abacus"]].concat())
        .error("E034", 5);
    place
        .run(&[&all[..], &["--set", "x=1"]].concat())
        .error("E115", 1);
    assert_eq!(place.files(), ["e.toml"]);
}

#[test]
fn files_that_are_no_experiment_are_refused() {
    let place = with_text("");
    fs::write(place.path("bytes.toml"), [0xFFu8, 0, 1]).unwrap();
    fs::write(place.path("long.toml"), vec![b' '; (1 << 20) + 1]).unwrap();
    for file in ["bytes.toml", "long.toml", "nothing.toml", "."] {
        let message = place.run(&["run", file]).error("E110", 1);
        let start = format!("cannot read the experiment {file}: ");
        assert!(
            without_folder(&place, &message).starts_with(&start),
            "{message}"
        );
    }
}

#[test]
fn results_that_cannot_be_written_are_noticed_before_the_work() {
    let place = with_experiments();
    let message = place
        .run(&["run", "ablation.toml", "--out", "caching.toml"])
        .error("E094", 5);
    assert!(
        message.starts_with("cannot write caching.toml: "),
        "{message}"
    );
    place
        .run(&["run", "ablation.toml", "--journal", "caching.toml"])
        .error("E070", 1);
    place
        .run(&["run", "ablation.toml", "--journal", "no/such.ilj"])
        .error("E061", 5);
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let place = with_text("");
    for more in [
        &[][..],
        &["e.toml", "--full"],
        &["e.toml", "--set", "x"],
        &["e.toml", "f.toml"],
    ] {
        let ended = place.run(&[&["run"], more].concat()).with(2);
        let says_how = ["Usage: interloom run", "it is written NAME=VALUE"];
        assert!(
            says_how.iter().any(|how| ended.err.contains(how)),
            "{}",
            ended.err
        );
    }
}

/// A replay of an experiment whose tokens are another's is no proof, and a changed digest is a
/// divergence.
#[test]
fn a_tensor_that_has_changed_is_noticed() {
    let tensor = |tokens: [i64; 3]| {
        let bytes: Vec<u8> = tokens
            .iter()
            .flat_map(|token| token.to_le_bytes())
            .collect();
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::I64, vec![3], &bytes);
        safetensors::serialize([("t", view.unwrap())], None).unwrap()
    };
    let place = with_text(
        "model = 'induction'\n[[input]]\nname = 'a'\ntensor = 't.safetensors#t'\n[[run]]\nname = 'r'\ninput = 'a'\nprogram = 'save h = embed.output'",
    );
    fs::write(place.path("t.safetensors"), tensor([1, 2, 3])).unwrap();
    place.run(&["run", "e.toml", "--journal", "e.ilj"]).with(0);
    place.run(&["replay", "e.ilj"]).with(0);
    fs::write(place.path("t.safetensors"), tensor([1, 2, 4])).unwrap();
    let out = place.run(&["replay", "e.ilj"]).with(4).out;
    assert!(
        out.contains("error[E080]: ") && out.contains("error[E081]: "),
        "{out}"
    );
}

/// What docs/EXPERIMENTS.md shows runs, and its programs are programs; what other pages show is a
/// part of an experiment.
#[test]
fn the_documents_examples_are_experiments() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/EXPERIMENTS.md")).unwrap();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let blocks = |page: &str, kind: &str| -> Vec<String> {
        let start = format!("```{kind}\n");
        let blocks = page.split(start.as_str()).skip(1);
        blocks
            .map(|block| block.split("```").next().unwrap().to_owned())
            .collect()
    };
    let experiments = blocks(&page, "toml");
    assert_eq!(experiments.len(), 5);
    // The first of the front page needs a language model to run.
    let first = &blocks(&readme, "toml")[0];
    FileExperiment::new("README.md", first).check().unwrap();
    for text in &experiments {
        with_text(text).run(&["run", "e.toml"]).with(0);
    }
    let programs = blocks(&page, "program");
    assert_eq!(programs.len(), 3);
    for program in programs {
        let text = format!(
            "model = 'induction'\n[[input]]\nname = 'a'\ntokens = [1]\n[[run]]\nname = 'r'\ninput = 'a'\nprogram = '''\n{program}'''"
        );
        FileExperiment::new("e.toml", &text).check().unwrap();
    }
    let model = "model = 'tiny'\n";
    let input = "[[input]]\nname = 'repeated'\ntokens = [1]\n";
    let run = "[[run]]\nname = 'r'\ninput = 'question'\n";
    for (name, count, before, after) in [
        ("docs/TOKENS.md", 2, "", run),
        ("docs/INTERVENTIONS.md", 1, input, ""),
    ] {
        let page = fs::read_to_string(root.join(name)).unwrap();
        let parts = blocks(&page, "toml");
        assert_eq!(parts.len(), count, "{name}");
        for part in parts {
            let text = format!("{model}{before}{part}{after}");
            FileExperiment::new(name, &text).check().unwrap();
        }
    }
}

#[test]
fn a_fork_goes_along_a_journal_and_lives_on() {
    let place = with_experiments();
    let run = |arguments: &[&str]| place.run(&[&["run", "ablation.toml"], arguments].concat());
    run(&["--journal", "a.ilj", "--full"]).with(0);
    let exchanges = Journal::load(place.path("a.ilj"))
        .unwrap()
        .exchanges()
        .count();
    let at = format!("a.ilj@{}", exchanges / 2);
    run(&["--fork", &at, "--journal", "b.ilj", "--full"]).with(0);
    // The same programs make the same journal.
    let out = place.run(&["diff", "a.ilj", "b.ilj"]).with(0).out;
    assert!(out.contains("identical") || out.contains("equal"), "{out}");
    place.run(&["replay", "b.ilj"]).with(0);

    // With what every module put out, a fork computes only what comes after.
    run(&["--journal", "p.ilj", "--full", "--passages"]).with(0);
    let at = format!("p.ilj@{}", exchanges - 1);
    let out = run(&["--fork", &at, "--journal", "d.ilj", "--full"])
        .with(0)
        .out;
    assert!(
        out.contains("modules: 4 calls computed, 3 taken from the journal"),
        "{out}"
    );
    assert_eq!(
        place.run(&["diff", "a.ilj", "d.ilj"]).with(0).out,
        place.run(&["diff", "a.ilj", "p.ilj"]).with(0).out
    );
    place.run(&["check", "p.ilj"]).with(0);
    place.run(&["replay", "p.ilj", "--mode", "serve"]).with(0);
    run(&["--journal", "p.ilj", "--passages"]).with(2);

    let beyond = format!("a.ilj@{}", exchanges + 1);
    let message = run(&["--fork", &beyond, "--journal", "c.ilj"]).error("E072", 1);
    assert!(
        message.contains("exchange 33") && message.contains("32 exchanges"),
        "{message}"
    );
    // Of a run that is answered from the journal nothing is computed that could be read off.
    let at = format!("a.ilj@{exchanges}");
    let out = run(&["--fork", &at, "--journal", "c.ilj"]).with(0).out;
    assert_eq!(out.matches("answered from the journal").count(), 9, "{out}");

    let usage = run(&["--fork", "a.ilj", "--journal", "c.ilj"]).with(2).err;
    assert!(usage.contains("it is written FILE@N"), "{usage}");
    run(&["--fork", &at]).with(2);
    run(&["--fork", "nothing.ilj@1", "--journal", "c.ilj"]).error("E060", 1);
}

#[test]
fn a_journal_is_not_larger_than_the_estimate_before_its_first_run() {
    let place = with_experiments();
    for name in [
        "ablation.toml",
        "patching.toml",
        "attribution.toml",
        "caching.toml",
        "orders-commute.toml",
        "orders-matter.toml",
    ] {
        for options in [&[][..], &["--full"], &["--sample", "3"]] {
            let run = |more: &[&str]| {
                let arguments = [&["run", name, "--json"], options, more].concat();
                let out = place.run(&arguments).with(0).out;
                serde_json::from_str::<serde_json::Value>(&out).unwrap()
            };
            let estimate = run(&["--estimate"]);
            let journal = &run(&["--journal", "a.ilj"])["journal"];
            let number = |of: &serde_json::Value, key: &str| of[key].as_u64().unwrap();
            assert!(
                number(journal, "bytes") <= number(&estimate, "bytes"),
                "{name}: {estimate}"
            );
            let counts = [&estimate, journal].map(|of| number(of, "exchanges"));
            assert_eq!(
                counts[0], counts[1],
                "{name}: no loop in it has an open end"
            );
        }
    }
    let out = place
        .run(&["run", "ablation.toml", "--estimate"])
        .with(0)
        .out;
    assert_eq!(
        out,
        "at most 32 exchanges; a journal with policy digest has at most 79094 bytes\n"
    );
    place
        .run(&["run", "ablation.toml", "--estimate", "--out", "o"])
        .with(2);
    place.run(&["run", "ablation.toml", "--full"]).with(2);
}

#[test]
fn a_fork_does_not_replace_the_journal_that_it_goes_along() {
    let place = with_experiments();
    let run = |arguments: &[&str]| place.run(&[&["run", "ablation.toml"], arguments].concat());
    run(&["--journal", "a.ilj", "--full"]).with(0);
    let before = std::fs::read(place.path("a.ilj")).unwrap();
    #[cfg(unix)]
    {
        std::fs::hard_link(place.path("a.ilj"), place.path("hard.ilj")).unwrap();
        std::os::unix::fs::symlink("a.ilj", place.path("soft.ilj")).unwrap();
    }
    let names: &[&str] = match cfg!(unix) {
        true => &["a.ilj", "./a.ilj", "hard.ilj", "soft.ilj"],
        false => &["a.ilj", "./a.ilj"],
    };
    for name in names {
        let fork = &["--fork", "a.ilj@7", "--journal", name, "--full"];
        let message = run(fork).error("E070", 1);
        let expected = format!(
            "will not overwrite {name}: it is the journal that is forked; move it away or record to another path"
        );
        assert_eq!(message, expected);
        assert!(
            std::fs::read(place.path("a.ilj")).unwrap() == before,
            "{name}"
        );
    }
}
