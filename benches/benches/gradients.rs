//! What gradient hooks cost: forward and backward passes of the induction model in plain burn's
//! terms, with hooks and a run in which no mediator waits, and with gradients that are read.
//!
//! The batch is one of 64 sequences, so that the passes are those of a training step.

use std::hint::black_box;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use interloom_backends::{Bound, Hooked, Run, backward};
use interloom_models::induction::{Induction, Sampler};

fn gradients(criterion: &mut Criterion) {
    let device = Device::flex().autodiff();
    let model = Induction::trained(&device);
    let tokens = Sampler::new(7).batch(16).tokens(&device);
    let mut group =
        criterion.benchmark_group("forward and backward, induction model, 16 sequences");
    group.sample_size(20);
    group.bench_function("without a run", |bencher| {
        bencher.iter(|| black_box(loss(&model, &tokens).backward()));
    });
    group.bench_function("run, nothing read", |bencher| {
        bencher.iter(|| {
            let run = Run::new("bench", model.sites());
            run.execute(|| black_box(backward(&loss(&model, &tokens))))
                .unwrap()
        });
    });
    group.bench_function("run, one gradient read", |bencher| {
        bencher.iter(|| {
            let mut run = Run::new("bench", model.sites());
            let seen = run
                .mediator("read", async |cx| cx.grad("layers.0").await)
                .gradients(["layers.0"]);
            run.execute(|| black_box(backward(&loss(&model, &tokens))))
                .unwrap();
            seen.take()
        });
    });
    group.bench_function("run, every value hooked, nothing read", |bencher| {
        bencher.iter(|| {
            let mut run = Run::new("bench", model.sites());
            run.all_gradients();
            run.execute(|| black_box(backward(&loss(&model, &tokens))))
                .unwrap()
        });
    });
    group.finish();
}

fn loss(model: &Bound<Hooked<Induction>>, tokens: &Tensor<2, Int>) -> Tensor<1> {
    log_softmax(model.forward(tokens.clone()), 2).mean()
}

criterion_group!(benches, gradients);
criterion_main!(benches);
