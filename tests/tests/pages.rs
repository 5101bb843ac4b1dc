//! The fragments of code on the README and in docs/ stand here word for word, in what they need
//! around them, so that they are compiled; and those that a small model can run are run.
//!
//! The whole programs of these pages are examples, see `replay/cli/tests/readme.rs`.

use std::fs;
use std::path::Path;

use burn::module::Module;
use burn::nn::{Gelu, Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams};
use interloom::interventions::{Learned as _, SteeringVector};
use interloom::journal::training::{KeepRule, Ledger};
use interloom::prelude::*;
use interloom::training::{Trained, Training, TrainingBuilder};
use interloom_models::TokenBatch;

type Anything<T> = Result<T, Box<dyn std::error::Error>>;

/// The pages with fragments, and how many each has; the first one of the README is an example.
const PAGES: [(&str, usize, usize); 4] = [
    ("README.md", 1, 3),
    ("docs/DEVICES.md", 0, 1),
    ("docs/INTERVENTIONS.md", 0, 1),
    ("docs/TRAINING.md", 0, 1),
];

#[test]
fn every_fragment_of_a_page_stands_here() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let here = squeezed(include_str!("pages.rs"));
    for (page, of_examples, count) in PAGES {
        let text = fs::read_to_string(root.join(page)).unwrap();
        let fragments: Vec<&str> = text
            .split("```rust\n")
            .skip(1 + of_examples)
            .filter_map(|rest| rest.split("```").next())
            .collect();
        assert_eq!(fragments.len(), count, "{page}");
        for fragment in fragments {
            assert!(here.contains(&squeezed(fragment)), "{page}:\n{fragment}");
        }
    }
}

/// Returns a code without its comments and spaces, and without what rustfmt adds as it breaks
/// lines: commas, and braces around what a closure returns.
fn squeezed(code: &str) -> String {
    let lines = code.lines().filter_map(|line| line.split("//").next());
    let text: String = lines.flat_map(str::split_whitespace).collect();
    text.replace(",)", ")")
        .replace(",}", "}")
        .replace(['{', '}'], "")
}

/// README, "What it looks like": iterations.
#[expect(dead_code, reason = "it needs a model of thirteen layers")]
fn steered(
    lm: &LanguageModel,
    prompt: &TokenBatch<'_>,
    direction: Value,
    session: &mut Session,
) -> Anything<Vec<Vec<u32>>> {
    let mut run = Run::new("steered", lm.sites());
    run.steps(20);
    run.mediator("steer", async move |cx| {
        cx.for_each(.., move |cx, _step| {
            let direction = direction.clone();
            async move { cx.update_output("layers.12", |h| h + direction).await }
        })
        .await
    });
    let tokens = session.run(run, || prompt.generate(20))?.completed()?;
    Ok(tokens)
}

/// README, gradients.
#[expect(dead_code, reason = "it needs a model of thirteen layers")]
fn attributed(run: &mut Run) {
    run.mediator("attribute", async |cx| {
        let activation = cx.output("layers.12").await?;
        let logits = cx.output("").await?.tensor::<3>()?;
        cx.backward(logits.slice([0..1, 4..5, 42..43]).sum())
            .await?;
        Ok(cx.grad("layers.12").await? * activation)
    })
    .gradients(["layers.12"]);
}

#[test]
fn fragments_with_files_run_in_a_folder_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    std::env::set_current_dir(folder.path()).unwrap();
    let device = Device::flex();
    let linear = |from, to| LinearConfig::new(from, to).init(&device).into();
    let (up, down) = (linear(2, 3), linear(3, 2));
    let output = own_model(up, Gelu::new().into(), down, Tensor::ones([1, 2], &device)).unwrap();
    assert_eq!(output.dims(), [1, 2]);
    let error = ranks().unwrap_err();
    assert!(error.to_string().contains("run/rank-0"), "{error}");
    let mut trained = Trained::new(
        "up",
        LinearConfig::new(2, 3).init(&device),
        AdamConfig::new().init(),
    );
    rules(7, &device).record("run", &mut trained).unwrap();
    assert_eq!(Ledger::read("run").unwrap().head().keeps.len(), 3);
}

/// README, "Your own model".
fn own_model(
    up: Hooked<Linear>,
    act: Hooked<Gelu>,
    down: Hooked<Linear>,
    x: Tensor<2>,
) -> Anything<Tensor<2>> {
    let mlp = Mlp { up, act, down };

    impl Forward<Tensor<2>> for Mlp {
        type Output = Tensor<2>;

        fn forward(&self, x: Tensor<2>) -> Tensor<2> {
            self.down.forward(self.act.forward(self.up.forward(x)))
        }
    }

    #[derive(Module, Debug)]
    struct Mlp {
        up: Hooked<Linear>,
        act: Hooked<Gelu>,
        down: Hooked<Linear>,
    }

    let model = Bound::new(Hooked::from(mlp))?;
    let mut run = Run::new("ablate", &model);
    run.mediator("zero", async |cx| {
        cx.update_output("act", |h| h * 0.0).await
    });
    let mut session = Session::record("mlp.ilj", &model)?;
    let output = session.run(run, || model.forward(x))?.completed()?;
    session.finish()?;
    Ok(output)
}

/// docs/INTERVENTIONS.md, "Training".
#[test]
fn an_intervention_learns_as_the_page_says() {
    let device = Device::flex().autodiff();
    let model = Induction::trained(&device);
    let mut steer = SteeringVector::new(64, &device).unwrap();
    let start = steer.vector().into_data();
    for _ in 0..2 {
        let tokens = Tensor::from_data([[3, 5, 7, 3, 5, 7]], &device);
        steer = learned(&model, tokens, steer).unwrap();
    }
    assert_ne!(steer.vector().into_data(), start);
}

fn learned(
    model: &Bound<Hooked<Induction>>,
    tokens: Tensor<2, Int>,
    mut steer: SteeringVector,
) -> Anything<SteeringVector> {
    let loss = |logits: Tensor<3>| logits.square().mean();
    let mut run = Run::new("learn", model);

    let mut adam = AdamConfig::new().init();
    let own = steer.clone();
    run.mediator("steer", async move |cx| {
        let h = cx.output("layers.0").await?.tensor::<3>()?;
        cx.set_output("layers.0", own.forward(h)).await
    });
    let logits = run.execute(|| model.forward(tokens))?.completed()?;
    let gradients = GradientsParams::from_grads(loss(logits).backward(), &steer);
    steer = steer.update(&mut adam, 0.01, gradients);
    Ok(steer)
}

/// docs/DEVICES.md, the replicas of a training run.
fn ranks() -> Anything<()> {
    use interloom::journal::training::Ranks;

    let ranks = Ranks::read(["run/rank-0", "run/rank-1"])?;
    for (rank, line) in ranks.lines() {
        println!("step {}, rank {rank}: loss {}", line.step, line.loss);
    }
    ranks.check()?;
    Ok(())
}

/// docs/TRAINING.md, "What journals keep".
fn rules(seed: u64, device: &Device) -> TrainingBuilder {
    let device = device.clone();
    Training::of(seed, &device)
        .rule(KeepRule::nothing())
        .rule(KeepRule::digests().every(100))
        .rule(KeepRule::tensors_at(["blocks.*.attn.output", "*.grad"]).steps(1_000..1_100))
}
