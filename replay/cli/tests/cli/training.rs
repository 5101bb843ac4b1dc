//! Commands on training runs: a folder, or a step of one.

use std::path::Path;

use burn::nn::{Linear, LinearConfig};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Tensor, TensorData};
use interloom::training::{DataOrder, Trained, Training};
use interloom_backends::{Hooked, Run, Sites, backward};
use serde_json::json;

use crate::Place;

/// Trains a line for twelve steps, at another rate from a step on.
fn train(folder: &Path, rate: (u64, f64)) {
    let device = Device::flex().autodiff();
    let weight = LinearConfig::new(2, 1).init(&device);
    let zero = Linear {
        weight: weight
            .weight
            .map(|weight| weight.zeros_like().require_grad()),
        bias: None,
    };
    let mut line = Trained::new("line", Hooked::from(zero), SgdConfig::new().init());
    let settings = Training::of(7, &device).checkpoint_every(5);
    let mut training = settings.record(folder, &mut line).unwrap();
    let sites = Sites::bind(&line.module).unwrap();
    let order = DataOrder::new(training.seed(), 16).unwrap();
    while training.goes_on(12) {
        let made = training.step(&mut line, |step, line| {
            let items = step.items(&order, 4);
            let points: Vec<f32> = items
                .iter()
                .flat_map(|item| [*item as f32 / 16.0, 1.0])
                .collect();
            let x = Tensor::<2>::from_data(TensorData::new(points, [4, 2]), &device);
            let mut run = step.run(&sites);
            run.mediator("scale", async |cx| cx.update_output("", |y| y * 0.5).await);
            let again = x.clone();
            let (loss, gradients) = step.record(run, || {
                let loss = (line.module.forward(x) - 1.0).square().mean();
                let gradients = backward(&loss);
                (loss.into_scalar::<f32>(), gradients)
            })?;
            let gradients = GradientsParams::from_grads(gradients, &line.module);
            if step.number() == 3 {
                let mut run = Run::new("whatever it is called", &sites);
                run.mediator("look", async |cx| cx.output("").await);
                step.record(run, || line.module.forward(again))?;
            }
            let own = if step.number() < rate.0 { 0.25 } else { rate.1 };
            step.update(line, own, gradients)?;
            Ok(f64::from(loss))
        });
        made.unwrap();
    }
    training.finish().unwrap();
}

fn place(runs: &[(&str, (u64, f64))]) -> Place {
    let place = Place::new();
    for (name, rate) in runs {
        train(&place.path(name), *rate);
    }
    place
}

#[test]
fn a_training_run_is_shown_checked_compared_and_drawn_without_its_code() {
    let place = place(&[("a", (12, 0.25)), ("b", (7, 0.125))]);
    let shown = place.run(&["show", "a"]).with(0).out;
    let steps = shown.lines().filter(|line| line.starts_with("step "));
    assert_eq!(steps.count(), 12);
    assert!(
        shown.contains("12 steps of seed 7, 3 checkpoints, on cpu"),
        "{shown}"
    );

    let checked = place.run(&["check", "a"]).with(0).out;
    let expected = "12 steps, 12 of them by name, 3 checkpoints, 3 journals\nall of them good\n";
    assert_eq!(checked, expected);

    let differing = place.run(&["diff", "a", "b"]).with(4).out;
    let place_of_it = "the runs part in step 7: schedule\n  line.learning rate\n";
    assert!(differing.starts_with(place_of_it), "{differing}");
    assert_eq!(
        place.run(&["diff", "a", "a"]).with(0).out,
        "12 steps equal\n"
    );

    let message = place.run(&["diff", "a", "nothing"]).error("E089", 1);
    assert!(message.contains("nothing has no ledger.ill"), "{message}");
    // One that was killed ends earlier.
    let ledger = place.path("b/ledger.ill");
    let bytes = std::fs::read(&ledger).unwrap();
    std::fs::write(&ledger, &bytes[..bytes.len() - 6 * 176]).unwrap();
    assert_eq!(
        place.run(&["diff", "a", "b"]).with(0).out,
        "6 steps equal\n  a has 6 steps more\n"
    );
    std::fs::write(&ledger, bytes).unwrap();

    // The rate of step 7 shows in the exchanges of the step after it.
    let parted = place.run(&["bisect", "journals", "a", "b"]).with(4).out;
    assert!(parted.starts_with(place_of_it), "{parted}");
    assert!(
        parted.contains("step 8") && parted.contains("output"),
        "{parted}"
    );
    let parted = ["bisect", "journals", "a", "b", "--json"];
    let parted: serde_json::Value = serde_json::from_str(&place.run(&parted).with(4).out).unwrap();
    assert_eq!(parted["step"], 7);
    assert!(parted["exchange"].is_object(), "{parted}");
    let same = place.run(&["bisect", "journals", "a", "a"]).with(0).out;
    assert_eq!(same, "12 steps equal\n");

    let page = [
        "export",
        "a",
        "--format",
        "html",
        "--diff",
        "b",
        "--out",
        "loss.html",
    ];
    place.run(&page).with(0);
    let page = std::fs::read_to_string(place.path("loss.html")).unwrap();
    assert!(page.contains("The runs part in <b>step 7: schedule</b> (line.learning rate)"));
    assert_eq!(page.matches("<polyline").count(), 2);
    place
        .run(&["export", "a", "--format", "jsonl", "--out", "a.jsonl"])
        .with(2);
}

#[test]
fn a_step_of_a_training_run_is_a_journal() {
    let place = place(&[("run", (12, 0.25))]);
    let shown = place.run(&["show", "run@7"]).with(0).out;
    assert_eq!(shown.matches("  VALUE  ").count(), 1, "{shown}");
    assert_eq!(shown.matches("  SWAP  ").count(), 1, "{shown}");
    let both = place.run(&["show", "run@3"]).with(0).out;
    assert!(
        both.contains("  scale  ") && both.contains("  look  "),
        "{both}"
    );
    let why = place.run(&["why", "run@3", "output"]).with(0).out;
    assert!(why.contains("look"), "{why}");
    let why = place.run(&["why", "run@7", "output"]).with(0).out;
    assert!(why.contains("scale"), "{why}");
    place.run(&["races", "run@7"]).with(0);
    place.run(&["check", "run@7"]).with(0);
    let lines = place.run(&["step", "--plain", "run@7"]).with(0).out;
    assert!(lines.contains("VALUE"), "{lines}");

    place.run(&["show", "run@12"]).error("E072", 1);
    let message = place.run(&["why", "run", "output"]).error("E089", 1);
    assert!(message.ends_with("say of which step: run@0"), "{message}");
    place.run(&["show", "nothing@7"]).error("E060", 1);
    std::fs::create_dir(place.path("folder")).unwrap();
    let message = place.run(&["show", "folder@7"]).error("E089", 1);
    assert!(
        message.ends_with("has no ledger.ill, so that it is no training run"),
        "{message}"
    );
    std::fs::write(place.path("a.ilj"), "").unwrap();
    let message = place.run(&["show", "a.ilj@7"]).error("E089", 1);
    assert!(message.ends_with("are chosen with `--run`"), "{message}");
}

#[test]
fn damage_in_a_training_run_is_found() {
    let place = place(&[("run", (12, 0.25))]);
    let weights = place.path("run/checkpoint-00000005/parameters.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    place.run(&["check", "run"]).error("E079", 1);

    // A journal that is whole, and of another run.
    let place = self::place(&[("run", (12, 0.25)), ("other", (2, 0.5))]);
    let journals = ["run", "other"].map(|run| place.path(&format!("{run}/steps-00000000.ilj")));
    std::fs::copy(&journals[1], &journals[0]).unwrap();
    let message = place.run(&["check", "run"]).error("E086", 1);
    assert!(message.contains("step 3 are others"), "{message}");
    // One that is gone, and one under the name of another.
    let place = self::place(&[("run", (12, 0.25))]);
    let journals = [0, 5].map(|step| place.path(&format!("run/steps-{step:08}.ilj")));
    std::fs::rename(&journals[1], &journals[0]).unwrap();
    let checked = place.run(&["check", "run", "--json"]).with(1).out;
    let checked: serde_json::Value = serde_json::from_str(&checked).unwrap();
    let problems = checked["problems"].as_array().unwrap().iter();
    let codes: Vec<_> = problems
        .map(|problem| problem["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["E136", "E136"]);
    assert_eq!(checked["steps_without_exchanges"], 10);
    for command in [&["show", "run@7"][..], &["why", "run@2", "output"]] {
        let message = place.run(command).error("E136", 1);
        assert!(message.contains("steps-0000000"), "{message}");
    }
    let shown = place.run(&["show", "run"]).with(1).err;
    assert_eq!(shown.matches("error[E136]").count(), 2, "{shown}");
}

#[test]
fn the_index_of_the_journals_is_shown_and_made_again() {
    let place = place(&[("run", (12, 0.25))]);
    let shown = place.run(&["show", "run"]).with(0).out;
    assert!(
        shown.contains("steps-00000005.ilj: steps 5 to 9, "),
        "{shown}"
    );
    assert!(
        shown.contains("steps-00000010.ilj: steps 10 to 11, "),
        "{shown}"
    );
    let index = place.path("run/segments.ill");
    let whole = std::fs::read(&index).unwrap();
    std::fs::write(&index, &whole[..whole.len() - 120]).unwrap();
    place.run(&["check", "run"]).error("E141", 1);
    place.run(&["show", "run@7"]).with(0);
    place.run(&["recover", "run"]).error("E089", 1);
    let made = place.run(&["recover", "run", "--in-place"]).with(0).out;
    assert_eq!(made, "12 steps, 3 journals in the index\n");
    assert!(std::fs::read(&index).unwrap() == whole);
    place.run(&["check", "run"]).with(0);
}

#[test]
fn a_loss_that_is_no_number_is_told_as_a_text() {
    let place = Place::new();
    let device = Device::flex().autodiff();
    let line = LinearConfig::new(2, 1).init(&device);
    let mut line = Trained::new("line", line, SgdConfig::new().init());
    let settings = Training::of(7, &device);
    let mut training = settings.record(place.path("run"), &mut line).unwrap();
    for loss in [f64::NAN, f64::NEG_INFINITY, 0.5] {
        training.step(&mut line, |_, _| Ok(loss)).unwrap();
    }
    training.finish().unwrap();
    let shown = place.run(&["show", "run", "--json"]).with(0).out;
    let lines = shown
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let losses: Vec<_> = lines
        .map(|line: serde_json::Value| line["loss"].clone())
        .collect();
    assert_eq!(losses, [json!("NaN"), json!("-inf"), json!(0.5)]);
}
