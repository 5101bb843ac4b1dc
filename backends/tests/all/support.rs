//! Small models with fixed weights, and readers of what passes.

use std::sync::{Mutex, MutexGuard};

use burn::module::{Module, Param};
use burn::nn::{Gelu, Linear};
use burn::tensor::{Device, Tensor, TensorData};
use interloom_backends::{Bound, Forward, Hooked, Run, Sites, Value};
use interloom_engine::{Invoke, Saved, mediator};

/// Burn's seed is global to the process: tests that draw from it hold this lock.
pub(crate) fn seed_lock() -> MutexGuard<'static, ()> {
    static SEED: Mutex<()> = Mutex::new(());
    SEED.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

pub(crate) fn cpu() -> Device {
    Device::flex()
}

/// A smooth, irregular sequence of numbers between -1 and 1; `salt` chooses which.
pub(crate) fn wave(count: usize, salt: usize) -> Vec<f32> {
    let value = |index: usize| (index as f32 * 0.731 + salt as f32 * 1.37).sin();
    (0..count).map(value).collect()
}

pub(crate) fn tensor<const D: usize>(shape: [usize; D], salt: usize) -> Tensor<D> {
    tensor_on(shape, salt, &cpu())
}

pub(crate) fn tensor_on<const D: usize>(
    shape: [usize; D],
    salt: usize,
    device: &Device,
) -> Tensor<D> {
    let count = shape.iter().product();
    Tensor::from_data(TensorData::new(wave(count, salt), shape), device)
}

/// A linear layer with fixed weights, so that no random number is drawn.
pub(crate) fn linear(inputs: usize, outputs: usize, salt: usize, device: &Device) -> Linear {
    Linear {
        weight: Param::from_tensor(tensor_on([inputs, outputs], salt, device)),
        bias: Some(Param::from_tensor(tensor_on([outputs], salt + 1, device))),
    }
}

/// The exact bits of a tensor of `f32`.
pub(crate) fn bits<const D: usize>(tensor: Tensor<D>) -> Vec<u32> {
    floats(tensor).into_iter().map(f32::to_bits).collect()
}

pub(crate) fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.into_data();
    data.try_into_vec().expect("tests compute in f32")
}

/// Every point of a model, in the order of the module tree.
pub(crate) fn points(sites: &Sites) -> Vec<String> {
    sites
        .points()
        .map(|point| sites.point_name(point))
        .collect()
}

/// Adds a mediator that reads one site, if it is passed.
pub(crate) fn reader(run: &mut Run, site: &str) -> Saved<Option<Value>> {
    let asked = site.to_owned();
    let map = run.sites().map().clone();
    let (reader, saved) = mediator(map, |cx| async move { Ok(cx.value(&asked).await.ok()) });
    run.add(Invoke::new(format!("reads {site}"), reader).optional());
    saved
}

/// Runs `model` and returns what passed each of the sites; `None` where nothing did.
pub(crate) fn read<Y, const N: usize>(
    sites: &Sites,
    names: [&str; N],
    model: impl FnOnce() -> Y,
) -> [Option<Value>; N] {
    let mut run = Run::new("read", sites);
    let saved = names.map(|name| reader(&mut run, name));
    run.execute(model).expect("reading cannot fail");
    saved.map(|saved| saved.take().expect("the reader returned"))
}

/// Lists what passed the operations below a path: those of which nothing can pass are left out.
pub(crate) fn passed_operations<'s>(
    read: impl IntoIterator<Item = (&'s String, &'s Saved<Option<Value>>)>,
    below: &str,
) -> String {
    let lines = read.into_iter().filter_map(|(name, saved)| {
        let name = name.strip_prefix(below)?;
        let value = saved.take().expect("the reader returned")?;
        Some(format!("{name} {value}"))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Three layers, all hooked, and the model itself as well.
#[derive(Module, Debug)]
pub(crate) struct Mlp {
    pub(crate) up: Hooked<Linear>,
    pub(crate) act: Hooked<Gelu>,
    pub(crate) down: Hooked<Linear>,
}

impl Mlp {
    /// Takes 4 features to 3, through 5.
    pub(crate) fn new(salt: usize, device: &Device) -> Self {
        Self {
            up: linear(4, 5, salt, device).into(),
            act: Gelu::new().into(),
            down: linear(5, 3, salt + 10, device).into(),
        }
    }

    pub(crate) fn bound(salt: usize) -> Bound<Hooked<Self>> {
        Bound::new(Self::new(salt, &cpu()).into()).expect("its paths are distinct")
    }
}

impl Forward<Tensor<2>> for Mlp {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.down.forward(self.act.forward(self.up.forward(x)))
    }
}
