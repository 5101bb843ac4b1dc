//! A language model that people use: SmolLM2-135M-Instruct, from its GGUF file.

use std::sync::LazyLock;

use burn::tensor::{Tensor, activation};
use interloom_backends::{Run, Value};
use interloom_models::LanguageModel;

use crate::support::{cpu, floats};

const FRANCE: &str = "The capital of France is";
const ITALY: &str = "The capital of Italy is";
const TOWER: &str = "The Eiffel Tower is located in the city of";

/// Loaded once for all tests.
fn model() -> &'static LanguageModel {
    static MODEL: LazyLock<LanguageModel> =
        LazyLock::new(|| LanguageModel::load("smollm2-135m", &cpu()).unwrap());
    &MODEL
}

/// The logits at the last position.
fn last(logits: Tensor<3>) -> Vec<f32> {
    let [_, positions, _] = logits.dims();
    floats(logits.narrow(1, positions - 1, 1))
}

/// How much likelier Paris is than Rome, as a difference of logits.
fn paris_over_rome(model: &LanguageModel, logits: Tensor<3>) -> f32 {
    let logits = last(logits);
    let of = |text: &str| logits[model.token(text).unwrap() as usize];
    of(" Paris") - of(" Rome")
}

#[test]
#[ignore = "needs SmolLM2: scripts/fetch-smollm2, then cargo test -p interloom-models --release -- --ignored"]
fn it_knows_capitals() {
    let model = model();
    for (prompt, expected) in [(FRANCE, 7.31), (ITALY, -6.02)] {
        let ids = model.encode(prompt).unwrap();
        let found = paris_over_rome(model, model.batch(&[&ids]).unwrap().logits());
        assert!((found - expected).abs() < 0.02, "{prompt}: {found}");
    }
}

#[test]
#[ignore = "needs SmolLM2: scripts/fetch-smollm2, then cargo test -p interloom-models --release -- --ignored"]
fn it_knows_where_the_tower_is() {
    let model = model();
    let ids = model.encode(TOWER).unwrap();
    let logits: Tensor<1> =
        Tensor::from_floats(&last(model.batch(&[&ids]).unwrap().logits())[..], &cpu());
    let probabilities = floats(activation::softmax(logits, 0));
    let paris = probabilities[model.token(" Paris").unwrap() as usize];
    assert!((paris - 0.702).abs() < 0.005, "{paris}");
    let generated = model.batch(&[&ids]).unwrap().generate(6);
    let text = model.text(&generated[0]);
    assert!(text.starts_with(" Paris, France."), "{text:?}");
}

#[test]
#[ignore = "needs SmolLM2: scripts/fetch-smollm2, then cargo test -p interloom-models --release -- --ignored"]
fn its_prompts_begin_with_no_token_of_their_own() {
    let model = model();
    let ids = model.encode(FRANCE).unwrap();
    let read: Vec<String> = ids.iter().map(|&id| model.token_text(id)).collect();
    assert_eq!(read, ["The", " capital", " of", " France", " is"]);
}

/// Where the model keeps the country: patching the residual stream of the prompt about France, at
/// the country's token, into the run of the prompt about Italy.
#[test]
#[ignore = "needs SmolLM2: scripts/fetch-smollm2, then cargo test -p interloom-models --release -- --ignored"]
fn the_country_is_read_between_layers_22_and_23() {
    let model = model();
    let (clean, corrupt) = (model.encode(FRANCE).unwrap(), model.encode(ITALY).unwrap());
    let country = clean
        .iter()
        .zip(&corrupt)
        .position(|(a, b)| a != b)
        .unwrap();
    assert_eq!(model.token_text(clean[country]), " France");

    let sites = ["layers.22.output", "layers.23.output"];
    let mut run = Run::new("clean", model.sites());
    let saved = sites.map(|site| run.mediator(site, move |cx| async move { cx.value(site).await }));
    let ran = run
        .execute(|| model.batch(&[&clean]).unwrap().logits())
        .unwrap();
    let best = paris_over_rome(model, ran.output.ok().unwrap());
    let worst = paris_over_rome(model, model.batch(&[&corrupt]).unwrap().logits());

    let restored = |site: &'static str, clean: Value| {
        let clean: Tensor<3> = clean.tensor().unwrap();
        let width = clean.dims()[2];
        let place = [0..1, country..country + 1, 0..width];
        let mut run = Run::new("patch", model.sites());
        run.mediator("patch", move |cx| async move {
            let residual: Tensor<3> = cx.value(site).await?.tensor()?;
            let patch = clean.slice(place.clone());
            cx.set(site, residual.slice_assign(place, patch)).await
        });
        let ran = run
            .execute(|| model.batch(&[&corrupt]).unwrap().logits())
            .unwrap();
        let patched = paris_over_rome(model, ran.output.ok().unwrap());
        (patched - worst) / (best - worst)
    };
    let [early, late] = [0, 1].map(|index| restored(sites[index], saved[index].take().unwrap()));
    assert!((early - 1.0).abs() < 0.05, "{early}");
    assert!(late.abs() < 0.05, "{late}");
}
