//! What a recorded training run costs: a step of the induction model by itself, and with its
//! ledger, with digests by name, and with its exchanges in a journal.
//!
//! A step is one of 64 sequences, as the model was trained with; checkpoints are not part of it.
#![allow(missing_docs)] // criterion's macros make public items.

use burn::optim::GradientsParams;
use burn::tensor::Device;
use criterion::{Criterion, criterion_group, criterion_main};
use interloom::training::{Trained, Training, TrainingBuilder};
use interloom::{Hooked, Sites, backward};
use interloom_models::induction::{
    BATCH, Induction, LEARNING_RATE, Sampler, foretold_loss, optimizer,
};

type State = Trained<Hooked<Induction>>;

fn training(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("training step, induction model, 64 sequences");
    group.sample_size(20);
    let settings = || Training::of(7, &device()).checkpoint_every(1 << 40);
    group.bench_function("plain burn", |bencher| {
        let mut state = fresh();
        let batch = Sampler::new(7).batch(BATCH);
        bencher.iter(|| {
            let tokens = batch.tokens(&device());
            let loss = foretold_loss(state.module.forward(tokens), &batch);
            let value = loss.clone().into_scalar::<f32>();
            let gradients = GradientsParams::from_grads(loss.backward(), &state.module);
            let module = state.module.clone();
            state.module = state.optimizer.step(LEARNING_RATE, module, gradients);
            value
        });
    });
    for (name, settings) in [
        ("recorded, without names", settings().names_every(0)),
        ("recorded", settings()),
    ] {
        group.bench_function(name, |bencher| {
            let folder = tempfile::tempdir().unwrap();
            let mut state = fresh();
            let mut training = record(settings.clone(), folder.path(), &mut state);
            let sites = Sites::bind(&state.module).unwrap();
            bencher.iter(|| step(&mut training, &mut state, &sites));
        });
    }
    group.finish();
}

fn device() -> Device {
    Device::flex().autodiff()
}

fn fresh() -> State {
    Trained::new(
        "model",
        Induction::new(7, &device()).into_inner(),
        optimizer(),
    )
}

fn record(settings: TrainingBuilder, folder: &std::path::Path, state: &mut State) -> Training {
    settings.record(folder, state).unwrap()
}

fn step(training: &mut Training, state: &mut State, sites: &Sites) -> f64 {
    let batch = Sampler::new(7).batch(BATCH);
    let line = training.step(state, |step, state| {
        let tokens = batch.tokens(&device());
        step.fed("tokens", tokens.clone());
        let run = step.run(sites);
        let (loss, gradients) = step.record(run, || {
            let loss = foretold_loss(state.module.forward(tokens), &batch);
            let gradients = backward(&loss);
            (loss.into_scalar::<f32>(), gradients)
        })?;
        let gradients = GradientsParams::from_grads(gradients, &state.module);
        step.update(state, LEARNING_RATE, gradients)?;
        Ok(f64::from(loss))
    });
    line.unwrap().loss
}

criterion_group!(benches, training);
criterion_main!(benches);
