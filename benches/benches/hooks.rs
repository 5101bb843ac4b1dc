//! What hooks cost: a stack of small layers in plain burn, hooked without a run, and hooked in runs
//! that read little or all; and what sites of operations cost, without hooks.
//!
//! The layers are small so that the hooks can be seen beside them; the cost of a hook does not
//! depend on the layer.

use std::hint::black_box;

use burn::module::{Module, Param};
use burn::nn::{Gelu, Linear};
use burn::tensor::{Device, Tensor, TensorData};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use interloom_backends::{Bound, Forward, Hooked, Operations, Run, Sites, operations};

/// Layers of the stack; each has three hooks: its own, and those of its two parts.
const LAYERS: usize = 12;
const WIDTH: usize = 64;
const ROWS: usize = 8;

/// Two linear layers without hooks.
#[derive(Module, Debug)]
struct PlainLayer {
    up: Linear,
    act: Gelu,
    down: Linear,
}

#[derive(Module, Debug)]
struct Plain {
    layers: Vec<PlainLayer>,
}

/// The same with hooks.
#[derive(Module, Debug)]
struct Layer {
    up: Hooked<Linear>,
    act: Gelu,
    down: Hooked<Linear>,
}

#[derive(Module, Debug)]
struct Stack {
    layers: Vec<Hooked<Layer>>,
}

/// The same with sites of operations.
#[derive(Module, Debug)]
struct AnnotatedLayer {
    up: Linear,
    act: Gelu,
    down: Linear,
    source: Operations,
}

#[derive(Module, Debug)]
struct Annotated {
    layers: Vec<AnnotatedLayer>,
}

#[operations]
impl AnnotatedLayer {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let hidden = self.act.forward(self.up.forward(x.clone()));
        x + self.down.forward(hidden)
    }
}

impl Annotated {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.layers.iter().fold(x, |x, layer| layer.forward(x))
    }
}

impl Plain {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.layers.iter().fold(x, |x, layer| {
            let hidden = layer.act.forward(layer.up.forward(x.clone()));
            x + layer.down.forward(hidden)
        })
    }
}

impl Forward<Tensor<2>> for Layer {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let hidden = self.act.forward(self.up.forward(x.clone()));
        x + self.down.forward(hidden)
    }
}

impl Forward<Tensor<2>> for Stack {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.layers.iter().fold(x, |x, layer| layer.forward(x))
    }
}

fn hooks(criterion: &mut Criterion) {
    let device = Device::flex();
    let plain = plain(&device);
    let model = hooked(&plain);
    let annotated = annotated(&plain);
    let operations = Sites::bind(&annotated).expect("its paths are distinct");
    let x = tensor([ROWS, WIDTH], 1, &device);
    let expected = plain.forward(x.clone()).into_data();
    assert_eq!(model.forward(x.clone()).into_data(), expected);
    assert_eq!(annotated.forward(x.clone()).into_data(), expected);

    let mut group = criterion.benchmark_group("hooks, stack of 12 layers");
    group.throughput(Throughput::Elements(hooks_of(&model)));
    group.bench_function("plain burn", |bencher| {
        bencher.iter(|| plain.forward(black_box(x.clone())));
    });
    group.bench_function("hooked, no run", |bencher| {
        bencher.iter(|| model.forward(black_box(x.clone())));
    });
    group.bench_function("annotated, no run", |bencher| {
        bencher.iter(|| annotated.forward(black_box(x.clone())));
    });
    group.bench_function("annotated, a run that reads one operation", |bencher| {
        bencher.iter(|| {
            let mut run = Run::new("bench", &operations);
            run.mediator("reads", async |cx| {
                cx.value("layers.11.source.self_down_0.output").await
            });
            run.execute(|| annotated.forward(black_box(x.clone())))
        });
    });
    group.bench_function("a run that reads the last layer", |bencher| {
        let last = format!("layers.{}.output", LAYERS - 1);
        bencher.iter(|| run(&model, std::slice::from_ref(&last), &x));
    });
    group.bench_function("a run that reads every site", |bencher| {
        let sites = model.sites();
        let all: Vec<String> = sites
            .points()
            .map(|point| sites.point_name(point))
            .collect();
        let all = in_order_of_passing(all);
        bencher.iter(|| run(&model, &all, &x));
    });
    group.finish();
}

/// A forward pass with one mediator that reads `sites`.
fn run(model: &Bound<Hooked<Stack>>, sites: &[String], x: &Tensor<2>) -> Tensor<2> {
    let mut run = Run::new("bench", model.sites());
    let names = sites.to_vec();
    run.mediator("reads", |cx| async move {
        for name in &names {
            black_box(cx.value(name).await?);
        }
        Ok(())
    });
    let ran = run.execute(|| model.forward(black_box(x.clone())));
    ran.expect("every site is passed in this order")
        .output
        .ok()
        .expect("nobody stops the run")
}

/// The map lists a module's output before its inner sites, which are passed before it.
fn in_order_of_passing(mut names: Vec<String>) -> Vec<String> {
    let place = |name: &str| {
        let layer = name
            .split('.')
            .nth(1)
            .and_then(|layer| layer.parse::<usize>().ok());
        let parts = ["up.input", "up.output", "down.input", "down.output"];
        let part = parts.iter().position(|part| name.ends_with(part));
        match (layer, part) {
            (Some(layer), Some(part)) => (1 + layer, 1 + part),
            (Some(layer), None) if name.ends_with("input") => (1 + layer, 0),
            (Some(layer), None) => (1 + layer, 5),
            (None, _) if name == "input" => (0, 0),
            (None, _) => (1 + LAYERS, 0),
        }
    };
    names.sort_by_key(|name| place(name));
    names
}

/// The same layers with sites of operations.
fn annotated(plain: &Plain) -> Annotated {
    let layers = plain.layers.iter().map(|layer| AnnotatedLayer {
        up: layer.up.clone(),
        act: layer.act.clone(),
        down: layer.down.clone(),
        source: Operations::new(AnnotatedLayer::OPERATIONS),
    });
    Annotated {
        layers: layers.collect(),
    }
}

fn hooks_of(model: &Bound<Hooked<Stack>>) -> u64 {
    model.sites().points().count() as u64
}

fn plain(device: &Device) -> Plain {
    let layer = |index: usize| PlainLayer {
        up: linear(3 * index, device),
        act: Gelu::new(),
        down: linear(3 * index + 1, device),
    };
    Plain {
        layers: (0..LAYERS).map(layer).collect(),
    }
}

fn hooked(plain: &Plain) -> Bound<Hooked<Stack>> {
    let layer = |layer: &PlainLayer| {
        Hooked::from(Layer {
            up: layer.up.clone().into(),
            act: layer.act.clone(),
            down: layer.down.clone().into(),
        })
    };
    let stack = Stack {
        layers: plain.layers.iter().map(layer).collect(),
    };
    Bound::new(stack.into()).expect("the paths are distinct")
}

fn linear(salt: usize, device: &Device) -> Linear {
    Linear {
        weight: Param::from_tensor(tensor([WIDTH, WIDTH], salt, device) * 0.1),
        bias: None,
    }
}

fn tensor<const D: usize>(shape: [usize; D], salt: usize, device: &Device) -> Tensor<D> {
    let value = |index: usize| (index as f32 * 0.731 + salt as f32).sin();
    let values: Vec<f32> = (0..shape.iter().product()).map(value).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

criterion_group!(benches, hooks);
criterion_main!(benches);
