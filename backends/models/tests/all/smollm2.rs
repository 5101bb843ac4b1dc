//! A language model that people use: SmolLM2-135M-Instruct, from its GGUF file.

use std::sync::LazyLock;

use burn::tensor::{Tensor, activation};
use interloom_backends::{Run, Value};
use interloom_engine::{Cx, Fault};
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

/// The gradient of the logit difference with respect to the output of block 10, its L2 norm in all
/// and by position, after an edit of a gradient further up; computed by PyTorch in float64.
const EDITED: [(&str, &str, f64, [f64; 5]); 10] = [
    (
        FRANCE,
        "plain",
        0.796188,
        [0.164987, 0.310393, 0.36822, 0.331915, 0.51439],
    ),
    (
        FRANCE,
        "block 20 halved",
        0.398094,
        [0.0824937, 0.155196, 0.18411, 0.165957, 0.257195],
    ),
    (
        FRANCE,
        "block 20 without position 3",
        0.706571,
        [0.160156, 0.278653, 0.295193, 0.210259, 0.51439],
    ),
    (
        FRANCE,
        "mlp 20 halved",
        0.804111,
        [0.15664, 0.309317, 0.369123, 0.34094, 0.523346],
    ),
    (
        FRANCE,
        "head 3 of block 20 zeroed",
        0.795749,
        [0.165195, 0.310149, 0.367803, 0.331843, 0.514135],
    ),
    (
        ITALY,
        "plain",
        1.12004,
        [0.263717, 0.473805, 0.504174, 0.521404, 0.659093],
    ),
    (
        ITALY,
        "block 20 halved",
        0.560021,
        [0.131858, 0.236902, 0.252087, 0.260702, 0.329546],
    ),
    (
        ITALY,
        "block 20 without position 3",
        0.965632,
        [0.251553, 0.435778, 0.389222, 0.305558, 0.659093],
    ),
    (
        ITALY,
        "mlp 20 halved",
        1.10037,
        [0.25351, 0.462383, 0.522244, 0.515501, 0.627906],
    ),
    (
        ITALY,
        "head 3 of block 20 zeroed",
        1.11967,
        [0.263585, 0.473495, 0.504079, 0.521283, 0.658913],
    ),
];

/// Makes the edit of this name.
async fn edit(cx: &Cx<Value>, name: &str) -> Result<(), Fault> {
    match name {
        "block 20 halved" => cx.update_grad("layers.20", |gradient| gradient * 0.5).await,
        "mlp 20 halved" => {
            cx.update_grad("layers.20.mlp", |gradient| gradient * 0.5)
                .await
        }
        "block 20 without position 3" => {
            let gradient = cx.grad("layers.20").await?.tensor::<3>()?;
            let [rows, _, width] = gradient.dims();
            let zeros = Tensor::<3>::zeros([rows, 1, width], &gradient.device());
            let gradient = gradient.slice_assign([0..rows, 3..4, 0..width], zeros);
            cx.set_grad("layers.20", gradient).await
        }
        "head 3 of block 20 zeroed" => {
            let gradient = cx.grad("layers.20.attn.z").await?.tensor::<4>()?;
            let [rows, positions, _, width] = gradient.dims();
            let zeros = Tensor::<4>::zeros([rows, positions, 1, width], &gradient.device());
            let ranges = [0..rows, 0..positions, 3..4, 0..width];
            cx.set_grad("layers.20.attn.z", gradient.slice_assign(ranges, zeros))
                .await
        }
        _ => Ok(()),
    }
}

#[test]
#[ignore = "needs SmolLM2: scripts/fetch-smollm2, then cargo test -p interloom-models --release -- --ignored"]
fn edited_gradients_are_those_of_pytorch() {
    let model = LanguageModel::load("smollm2-135m", &cpu().autodiff()).unwrap();
    let token = |text: &str| model.token(text).unwrap() as usize;
    let (paris, rome) = (token(" Paris"), token(" Rome"));
    for (prompt, name, l2, by_position) in EDITED {
        let ids = model.encode(prompt).unwrap();
        let mut run = Run::new(name, model.sites());
        let gradient = run
            .mediator("edit", async move |cx| {
                let logits = cx.output("").await?.tensor::<3>()?;
                let last = logits.dims()[1] - 1;
                let of = |token: usize| {
                    logits
                        .clone()
                        .slice([0..1, last..last + 1, token..token + 1])
                };
                cx.backward((of(paris) - of(rome)).sum()).await?;
                edit(&cx, name).await?;
                cx.grad("layers.10").await
            })
            .gradients([
                "layers.10",
                "layers.20",
                "layers.20.mlp",
                "layers.20.attn.z",
            ]);
        run.execute(|| model.batch(&[&ids]).unwrap().logits())
            .unwrap();
        let gradient = gradient.take().unwrap().tensor::<3>().unwrap();
        let norms = gradient.powi_scalar(2).sum_dim(2).sqrt();
        let found: Vec<f64> = floats(norms).into_iter().map(f64::from).collect();
        let all = found.iter().map(|norm| norm * norm).sum::<f64>().sqrt();
        assert!((all - l2).abs() < 1e-4, "{prompt}, {name}: {all}");
        let apart = found.iter().zip(by_position).map(|(a, b)| (a - b).abs());
        let furthest = apart.fold(0.0, f64::max);
        assert!(furthest < 1e-4, "{prompt}, {name}: {found:?}");
    }
}
