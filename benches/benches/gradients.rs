//! What gradient hooks cost: forward and backward passes of the induction model in plain burn's
//! terms, with hooks and a run in which no mediator waits, and with gradients that are read.
//!
//! The batch is one of 16 sequences; the model is the trained one, whose width is 64, and one of
//! width 256 with weights at random.

use std::hint::black_box;

use burn::tensor::Device;
use burn::tensor::activation::log_softmax;
use criterion::{Criterion, criterion_group, criterion_main};
use interloom_backends::{Bound, Hooked, Run, backward};
use interloom_models::induction::{Induction, InductionConfig, Sampler};

fn gradients(criterion: &mut Criterion) {
    let device = Device::flex().autodiff();
    let wide = InductionConfig::of_width(256).expect("a multiple of the number of heads");
    compare(criterion, "width 64", &Induction::trained(&device));
    compare(criterion, "width 256", &wide.init(7, &device));
}

fn compare(criterion: &mut Criterion, name: &str, model: &Bound<Hooked<Induction>>) {
    let (sites, device) = (model.sites(), Device::flex().autodiff());
    let tokens = Sampler::new(7).batch(16).tokens(&device);
    let loss = || log_softmax(model.forward(tokens.clone()), 2).mean();
    let name = format!("forward and backward, induction model of {name}, 16 sequences");
    let mut group = criterion.benchmark_group(name);
    group.sample_size(20);
    group.bench_function("without a run", |bencher| {
        bencher.iter(|| black_box(loss().backward()));
    });
    group.bench_function("run, nothing read", |bencher| {
        bencher.iter(|| {
            let run = Run::new("bench", sites);
            run.execute(|| black_box(backward(&loss()))).unwrap()
        });
    });
    group.bench_function("run, one gradient read", |bencher| {
        bencher.iter(|| {
            let mut run = Run::new("bench", sites);
            let seen = run
                .mediator("read", async |cx| cx.grad("layers.0").await)
                .gradients(["layers.0"]);
            run.execute(|| black_box(backward(&loss()))).unwrap();
            seen.take()
        });
    });
    group.bench_function("run, every value hooked, nothing read", |bencher| {
        bencher.iter(|| {
            let mut run = Run::new("bench", sites);
            run.all_gradients();
            run.execute(|| black_box(backward(&loss()))).unwrap()
        });
    });
    group.finish();
}

criterion_group!(benches, gradients);
criterion_main!(benches);
