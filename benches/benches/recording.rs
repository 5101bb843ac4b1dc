//! What recording costs: a forward pass of SmolLM2, plain and with every block's output read and
//! recorded by digest.
//!
//! A machine's speed drifts more between two benches than recording costs. So the recording of as
//! many values of that size is also measured alone, without the model.
//!
//! Needs `scripts/fetch-smollm2`; without the model it says so and measures the induction
//! transformer only.

use std::time::Duration;

use burn::module::Module;
use criterion::{Criterion, criterion_group, criterion_main};
use interloom::Subject;
use interloom::prelude::*;
use interloom_models::induction::Sampler;

fn induction(criterion: &mut Criterion) {
    let device = Device::flex();
    let model = Induction::trained(&device);
    let tokens = Sampler::new(1).batch(8).tokens(&device);
    let mut group = criterion.benchmark_group("induction, 8 sequences");
    group.bench_function("plain", |bencher| {
        bencher.iter(|| model.forward(tokens.clone()).into_data());
    });
    group.bench_function("two layers recorded", |bencher| {
        let (mut session, _folder) = recording(&model);
        bencher.iter(|| {
            let mut run = Run::new("read", model.sites());
            run.mediator("residual stream", |cx| async move {
                cx.output("layers.0").await?;
                cx.output("layers.1").await
            });
            session.run(run, || model.forward(tokens.clone()).into_data())
        });
    });
    group.finish();
}

fn smollm2(criterion: &mut Criterion) {
    let device = Device::flex();
    let lm = match LanguageModel::load("smollm2-135m", &device) {
        Ok(lm) => lm,
        Err(error) => return eprintln!("SmolLM2 is not measured: {error}"),
    };
    let prompt = lm
        .prompt("The Eiffel Tower is located in the city of")
        .expect("a short prompt");
    let is_block = |block: &usize| lm.sites().map().path(&format!("layers.{block}")).is_some();
    let blocks = (0..).take_while(is_block).count();
    let mut group = criterion.benchmark_group("SmolLM2-135M, 10 tokens");
    group
        .sample_size(20)
        .measurement_time(Duration::from_secs(20));
    group.bench_function("plain", |bencher| {
        bencher.iter(|| prompt.logits().into_data());
    });
    group.bench_function("every block recorded", |bencher| {
        let (mut session, _folder) = recording(&lm);
        bencher.iter(|| {
            let mut run = Run::new("read", lm.sites());
            run.mediator("residual stream", move |cx| async move {
                for block in 0..blocks {
                    cx.output(&format!("layers.{block}")).await?;
                }
                Ok(())
            });
            let ran = session.run(run, || prompt.logits().into_data());
            ran.expect("a run that only reads succeeds");
        });
    });
    group.finish();
}

/// As many taps as SmolLM2 has blocks, and nothing between them.
#[derive(Module, Debug)]
struct Taps {
    blocks: Vec<Tap>,
}

fn alone(criterion: &mut Criterion) {
    const BLOCKS: usize = 30;
    let taps = Taps {
        blocks: (0..BLOCKS).map(|_| Tap::new()).collect(),
    };
    let model = Bound::new(taps).expect("a model of taps");
    let residual = Tensor::<3>::ones([1, 10, 576], &Device::flex());
    let mut group = criterion.benchmark_group("30 values of [1, 10, 576], without a model");
    group.bench_function("recorded", |bencher| {
        let (mut session, _folder) = recording(&model);
        bencher.iter(|| {
            let mut run = Run::new("read", model.sites());
            run.mediator("residual stream", |cx| async move {
                for block in 0..BLOCKS {
                    cx.output(&format!("blocks.{block}")).await?;
                }
                Ok(())
            });
            let pass = || {
                for tap in &model.blocks {
                    tap.pass(residual.clone());
                }
            };
            let ran = session.run(run, pass);
            ran.expect("a run that only reads succeeds");
        });
    });
    group.finish();
}

fn recording(model: &impl Subject) -> (Session, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("bench.ilj");
    let session = Session::record(path, model).expect("a new journal");
    (session, folder)
}

criterion_group!(benches, induction, alone, smollm2);
criterion_main!(benches);
