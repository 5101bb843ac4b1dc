//! R96: each gradient of each site of the models, a second way: with a leaf of negative zeros
//! beside the activation, which changes no bit, and without the hooks.

use std::collections::BTreeMap;
use std::rc::Rc;

use burn::tensor::{Device, Float, Int, Tensor, TensorData};
use interloom_backends::{AnyTensor, Erase, Kind, Parameters, Run, Sites, Value, backward};
use interloom_engine::{CacheSpec, Fault, Port};
use interloom_models::LanguageModel;
use interloom_models::induction::{Induction, Sampler};
use interloom_program::Modules;

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

/// The names of the sites at which one float tensor passes.
fn single(sites: &Sites, forward: &dyn Fn() -> Tensor<3>) -> Vec<String> {
    let mut run = Run::new("single", sites);
    let names = sites.points().map(|point| sites.point_name(point));
    let read: Vec<_> = names
        .map(|name| {
            let own = name.clone();
            let handle = run.mediator(name.clone(), async move |cx| Ok(cx.value(&own).await.ok()));
            (name, handle.optional())
        })
        .collect();
    run.execute(forward).unwrap();
    let is_single = |value: Option<Option<Value>>| match value.flatten() {
        Some(Value::Tensor(tensor)) => tensor.kind() == Kind::Float,
        _ => false,
    };
    let single = read
        .into_iter()
        .filter(|(_, value)| is_single(value.take()));
    single.map(|(name, _)| name).collect()
}

/// The bits of each gradient, as hooks bring them; each is replaced by itself if `edits` says so.
fn hooked(
    sites: &Sites,
    names: &[String],
    edits: bool,
    forward: &dyn Fn() -> Tensor<3>,
) -> BTreeMap<String, Vec<u32>> {
    let mut run = Run::new("hooked", sites);
    let seen: Vec<_> = names
        .iter()
        .map(|name| {
            let own = name.clone();
            let handle = run.mediator(name.clone(), async move |cx| {
                let Ok(gradient) = cx.grad(&own).await else {
                    return Ok(None);
                };
                if edits {
                    cx.set_grad(&own, gradient.clone()).await?;
                }
                Ok(Some(gradient))
            });
            handle.gradients([name.clone()]).optional()
        })
        .collect();
    run.execute(|| drop(backward(&loss(forward())))).unwrap();
    let gradients = names
        .iter()
        .zip(seen)
        .filter_map(|(name, seen)| match seen.take()?? {
            Value::Tensor(gradient) => Some((name.clone(), bits_of(&gradient))),
            _ => None,
        });
    gradients.collect()
}

/// The same by leaves. A leaf stands where a hook would, so that burn sums the gradients of a value
/// that is used several times in the same order.
fn by_leaves(
    sites: &Sites,
    names: &[String],
    forward: &dyn Fn() -> Tensor<3>,
) -> BTreeMap<String, Vec<u32>> {
    let mut run = Run::new("leaves", sites);
    let leaves: Vec<_> = names
        .iter()
        .map(|name| {
            let own = name.clone();
            run.mediator(name.clone(), async move |cx| {
                let value = cx.value(&own).await?;
                let Value::Tensor(tensor) = &value else {
                    return Err(Fault::raise("it was one tensor"));
                };
                let zeros = vec![-0.0f32; tensor.shape().iter().product()];
                let data = TensorData::new(zeros, tensor.shape());
                let leaf = required(Value::from_data(data, &autodiff())?);
                cx.set(&own, value + &leaf).await?;
                Ok(leaf)
            })
        })
        .collect();
    let gradients = run
        .execute(|| backward(&loss(forward())))
        .unwrap()
        .completed()
        .unwrap();
    let gradients = names
        .iter()
        .zip(leaves)
        .filter_map(|(name, leaf)| match leaf.take()? {
            Value::Tensor(leaf) => Some((name.clone(), gradient_of(leaf, &gradients)?)),
            _ => None,
        });
    gradients.collect()
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
pub(crate) fn compared(sites: &Sites, forward: &dyn Fn() -> Tensor<3>) -> usize {
    let names = single(sites, forward);
    let gradients = hooked(sites, &names, false, forward);
    assert!(
        hooked(sites, &names, true, forward) == gradients,
        "identity edits"
    );
    let leaves = by_leaves(sites, &names, forward);
    let others = gradients
        .iter()
        .filter(|(name, bits)| leaves.get(*name) != Some(bits));
    let others: Vec<_> = others.map(|(name, _)| name).collect();
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(gradients.len(), leaves.len());
    gradients.len()
}

/// What becomes of the gradients of all that passes, tuples among it.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Passing {
    /// There is no hook.
    Unhooked,
    Hooked,
    /// Each is replaced by itself.
    Replaced,
}

/// The gradients of all parameters.
fn of_parameters(
    sites: &Sites,
    parameters: &Parameters,
    passing: Passing,
    forward: &dyn Fn() -> Tensor<3>,
) -> BTreeMap<String, TensorData> {
    let mut run = Run::new("parameters", sites);
    run.parameters(parameters.clone());
    let cached = run.cache(CacheSpec::of(sites.map().parameters()).gradients());
    if passing != Passing::Unhooked {
        run.all_gradients();
    }
    let replaced = sites.points().filter(|_| passing == Passing::Replaced);
    for point in replaced.filter(|point| point.port != Port::Fn) {
        let name = sites.point_name(point);
        let edit = run.mediator(name.clone(), async move |cx| match cx.grad(&name).await {
            Ok(gradient) => cx.set_grad(&name, gradient).await,
            // No loss reaches it.
            Err(_) => Ok(()),
        });
        edit.optional();
    }
    run.execute(|| drop(backward(&loss(forward())))).unwrap();
    let gradients = cached.sites().into_iter().map(|site| {
        let Some(Value::Tensor(gradient)) = cached.at(site) else {
            panic!("{}", sites.site_name(site))
        };
        (sites.site_name(site), gradient.to_data())
    });
    gradients.collect()
}

/// Compares the gradients of all parameters with and without hooks that change nothing. An identity
/// edit changes no bit; a hook sums the uses of its value before those of the value in front of it,
/// which is rounded otherwise.
pub(crate) fn unchanged(sites: &Sites, of: &Parameters, forward: &dyn Fn() -> Tensor<3>) {
    let [plain, hooked, replaced] = [Passing::Unhooked, Passing::Hooked, Passing::Replaced]
        .map(|passing| of_parameters(sites, of, passing, forward));
    assert_eq!(hooked, replaced);
    assert!(plain.len() > 10);
    assert!(plain.keys().eq(hooked.keys()));
    for (name, plain) in &plain {
        let pairs = plain.iter::<f64>().zip(hooked[name].iter::<f64>());
        let (mut furthest, mut largest) = (0.0_f64, 0.0_f64);
        for (plain, hooked) in pairs {
            furthest = furthest.max((plain - hooked).abs());
            largest = largest.max(plain.abs());
        }
        assert!(
            furthest <= 1e-4 * largest + 1e-7,
            "{name}: {furthest} of {largest}"
        );
    }
}

#[test]
fn r96_the_induction_model() {
    let device = autodiff();
    let model = Induction::trained(&device);
    let tokens: Tensor<2, Int> = Sampler::new(7).batch(1).tokens(&device);
    let count = compared(model.sites(), &|| model.forward(tokens.clone()));
    assert!(count >= 20, "{count}");
    unchanged(model.sites(), &Parameters::of(&*model), &|| {
        model.forward(tokens.clone())
    });
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

#[test]
fn r96_models_of_every_family() {
    let names = crate::families::families();
    assert!(names.len() >= 28, "{names:?}");
    for name in names {
        let folder = crate::families::opened(&name, "config.json").unwrap();
        let path = folder.path().to_str().unwrap();
        let model = LanguageModel::load(path, &autodiff()).unwrap();
        let batch = model.batch(&[[7u32, 100, 3, 3].as_slice()]).unwrap();
        let count = compared(model.sites(), &|| batch.logits());
        assert!(count >= 40, "{name} {count}");
        unchanged(model.sites(), &model.parameters(), &|| batch.logits());
    }
}

/// Burn holds the graph's lock in a pass, and what modules make of a value needs none: it is what
/// they make of it outside.
#[test]
fn r94_modules_are_called_in_a_backward_pass() {
    for name in crate::families::families() {
        let folder = crate::families::opened(&name, "config.json").unwrap();
        let path = folder.path().to_str().unwrap();
        let model = Rc::new(LanguageModel::load(path, &autodiff()).unwrap());
        let calls = |model: &LanguageModel, h: Value| -> Result<Vec<Vec<u32>>, Fault> {
            let called = ["layers.1", "layers.1.attn", "layers.1.mixer", "unembed"];
            let inner = called.map(|path| match Modules::call(model, path, h.clone()) {
                Ok(value) => Ok(Some(bits(value.tensor::<3>()?))),
                // It has none of the name.
                Err(_) => Ok(None),
            });
            let inner = inner.into_iter().filter_map(Result::transpose);
            inner.collect()
        };
        let batch = model.batch(&[[7u32, 100, 3, 3].as_slice()]).unwrap();
        let mut run = Run::new("calls", model.sites());
        let own = model.clone();
        let seen = run
            .mediator("calls", async move |cx| {
                let h = cx.input("layers.1").await?;
                let outside = calls(&own, h.clone())?;
                cx.grad("layers.0").await?;
                Ok((outside, calls(&own, h)?))
            })
            .gradients(["layers.0"]);
        run.execute(|| drop(backward(&loss(batch.logits()))))
            .unwrap();
        let (outside, inside) = seen.take().unwrap();
        assert!(!outside.is_empty(), "{name}");
        assert!(inside == outside, "{name}");
    }
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
pub(crate) fn next_token_loss(logits: Tensor<3>, rows: &[&[u32]]) -> Tensor<1> {
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
