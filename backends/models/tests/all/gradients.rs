//! R96: each gradient of each site of the models, a second way: with a leaf of negative zeros
//! beside the activation, which changes no bit, and without the hooks.

use std::collections::BTreeMap;

use burn::tensor::{Device, Float, Int, Tensor, TensorData};
use interloom_backends::{AnyTensor, Erase, Kind, Run, Sites, Value, backward};
use interloom_engine::{CacheSpec, Point};
use interloom_models::LanguageModel;
use interloom_models::induction::{Induction, Sampler};

use crate::gpt2_files::{CONFIG, folder, stored};
use crate::llama_files::{GROUPED, Tiny};
use crate::support::bits;

fn autodiff() -> Device {
    Device::flex().autodiff()
}

/// A loss on which every logit has an effect of its own.
fn loss(logits: Tensor<3>) -> Tensor<1> {
    let log = burn::tensor::activation::log_softmax(logits, 2);
    (log.clone() * log).mean()
}

/// The bits of each gradient by the name of its site, as hooks bring them; of a site with several
/// tensors, of the one in each place that is reached.
fn hooked(sites: &Sites, forward: &dyn Fn() -> Tensor<3>) -> BTreeMap<String, Vec<u32>> {
    let mut run = Run::new("hooked", sites);
    let points: Vec<Point> = sites.points().collect();
    let names = points.iter().map(|point| sites.point_name(*point));
    let names: Vec<String> = names.filter(|name| !name.ends_with(".fn")).collect();
    let seen: Vec<_> = names
        .iter()
        .map(|name| {
            let own = name.clone();
            let handle = run.mediator(name.clone(), async move |cx| Ok(cx.grad(&own).await.ok()));
            handle.gradients([name.clone()]).optional()
        })
        .collect();
    run.execute(|| drop(backward(&loss(forward())))).unwrap();
    let mut gradients = BTreeMap::new();
    for (name, seen) in names.into_iter().zip(seen) {
        if let Some(Some(Value::Tensor(gradient))) = seen.take() {
            gradients.insert(name, bits_of(&gradient));
        }
    }
    gradients
}

/// The same by leaves, for each site whose value is one tensor; a site in one run each, so that the
/// graph is otherwise that of the model.
fn by_leaf(sites: &Sites, name: &str, forward: &dyn Fn() -> Tensor<3>) -> Option<Vec<u32>> {
    let mut run = Run::new("leaf", sites);
    let own = name.to_owned();
    let leaf = run
        .mediator("adds", async move |cx| {
            let value = cx.value(&own).await?;
            let Value::Tensor(tensor) = &value else {
                return Ok(None);
            };
            if tensor.kind() != Kind::Float {
                return Ok(None);
            }
            let zeros = vec![-0.0f32; tensor.shape().iter().product()];
            let data = TensorData::new(zeros, tensor.shape());
            let leaf = Value::from_data(data, &autodiff())?;
            let leaf = required(leaf);
            cx.set(&own, value + &leaf).await?;
            Ok(Some(leaf))
        })
        .optional();
    let gradients = run
        .execute(|| backward(&loss(forward())))
        .unwrap()
        .completed()
        .unwrap();
    match leaf.take()?? {
        Value::Tensor(leaf) => gradient_of(leaf, &gradients),
        _ => None,
    }
}

macro_rules! of_rank {
    ($tensor:expr, |$typed:ident| $body:expr) => {
        match $tensor.rank() {
            1 => {
                let $typed = $tensor.typed::<1, Float>().unwrap();
                $body
            }
            2 => {
                let $typed = $tensor.typed::<2, Float>().unwrap();
                $body
            }
            3 => {
                let $typed = $tensor.typed::<3, Float>().unwrap();
                $body
            }
            4 => {
                let $typed = $tensor.typed::<4, Float>().unwrap();
                $body
            }
            rank => panic!("rank {rank}"),
        }
    };
}

fn required(value: Value) -> Value {
    let Value::Tensor(tensor) = value else {
        return value;
    };
    of_rank!(tensor, |tensor| tensor.require_grad().erase())
}

fn gradient_of(leaf: AnyTensor, gradients: &burn::tensor::Gradients) -> Option<Vec<u32>> {
    of_rank!(leaf, |leaf| leaf.grad(gradients).map(bits))
}

fn bits_of(tensor: &AnyTensor) -> Vec<u32> {
    of_rank!(tensor.clone(), |tensor| bits(tensor))
}

/// Compares the two ways at every site, and returns at how many.
fn compared(sites: &Sites, forward: &dyn Fn() -> Tensor<3>) -> usize {
    let gradients = hooked(sites, forward);
    let mut count = 0;
    for (name, gradient) in &gradients {
        if let Some(leaf) = by_leaf(sites, name, forward) {
            assert_eq!(*gradient, leaf, "{name}");
            count += 1;
        }
    }
    count
}

#[test]
fn r96_the_induction_model() {
    let device = autodiff();
    let model = Induction::trained(&device);
    let tokens: Tensor<2, Int> = Sampler::new(7).batch(1).tokens(&device);
    let count = compared(model.sites(), &|| model.forward(tokens.clone()));
    assert!(count >= 20, "{count}");
}

#[test]
fn r96_a_llama() {
    let tiny = Tiny::write(GROUPED);
    let model = LanguageModel::load(tiny.path(), &autodiff()).unwrap();
    let batch = model.batch(&[[3u32, 1, 4, 1, 5].as_slice()]).unwrap();
    let count = compared(model.sites(), &|| batch.logits());
    assert!(count >= 40, "{count}");
}

#[test]
fn r96_a_gpt2() {
    let folder = folder(CONFIG, &stored("model.f32"));
    let path = folder.path().to_str().unwrap();
    let model = LanguageModel::load(path, &autodiff()).unwrap();
    let batch = model.batch(&[[7u32, 100, 3, 3].as_slice()]).unwrap();
    let count = compared(model.sites(), &|| batch.logits());
    assert!(count >= 40, "{count}");
}

/// What PyTorch computed for a GPT-2: the gradient of the mean cross entropy of the next token.
#[test]
fn gradients_are_those_of_pytorch() {
    let folder = folder(CONFIG, &stored("model.f32"));
    let path = folder.path().to_str().unwrap();
    let model = LanguageModel::load(path, &autodiff()).unwrap();
    let expected = stored("expected.f32");
    for case in ["long", "short"] {
        let expected = |key: &str| {
            let key = format!("{case}.{key}");
            let found = expected.iter().find(|(name, _)| *name == key);
            &found.unwrap_or_else(|| panic!("{key}")).1
        };
        let ids = expected("input_ids");
        let tokens: Vec<u32> = ids.numbers().into_iter().map(|id| id as u32).collect();
        let rows: Vec<&[u32]> = tokens.chunks(ids.1[1]).collect();
        let batch = model.batch(&rows).unwrap();
        let mut run = Run::new(case, model.sites());
        let modules = ["layers.0", "layers.1", "layers.2"];
        let cached = run.cache(CacheSpec::of(modules).both().gradients());
        run.execute(|| drop(backward(&next_token_loss(batch.logits(), &rows))))
            .unwrap();
        let mut pairs = vec![(cached.input_grads("layers.0"), "grad.embed".to_owned())];
        pairs.extend((0..3).map(|block| {
            let gradients = cached.output_grads(&format!("layers.{block}"));
            (gradients, format!("grad.block.{block}"))
        }));
        for (gradients, key) in pairs {
            let Value::Tensor(gradient) = &gradients[0] else {
                panic!("{key}")
            };
            let found: Vec<f64> = gradient.to_data().iter::<f64>().collect();
            let expected = expected(&key).numbers();
            let largest = expected.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
            let apart = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
            let furthest = apart.fold(0.0, f64::max);
            assert!(
                furthest <= 1e-4 * largest,
                "{case} {key}: {furthest} of {largest}"
            );
        }
    }
}

/// The mean cross entropy of the next token, over all rows and positions but the last, in nats.
fn next_token_loss(logits: Tensor<3>, rows: &[&[u32]]) -> Tensor<1> {
    let [count, length, _] = logits.dims();
    let log = burn::tensor::activation::log_softmax(logits, 2);
    let log = log.slice([0..count, 0..length - 1]);
    let next = rows
        .iter()
        .flat_map(|row| row[1..].iter().map(|token| *token as i32));
    let next = TensorData::new(next.collect::<Vec<_>>(), [count, length - 1, 1]);
    let next = Tensor::<3, Int>::from_data(next, &log.device());
    log.gather(2, next).mean().neg()
}
