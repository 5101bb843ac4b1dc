//! What a recorded training run costs: a step of the induction model by itself, and with its
//! ledger, with digests by name, and with a look at the state before it.
//!
//! A step is one of 64 sequences, as the model was trained with; checkpoints are not part of it.
//! The ways take turns, and the least time of each counts: a machine that is busy with something
//! else only adds to it. `cargo bench --workspace --bench training` prints the table;
//! `-- recorded 256 20` makes twenty steps in one way alone, for programs that count instructions.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_types,
    reason = "it measures time, and prints it"
)]

use std::time::{Duration, Instant};

use burn::optim::GradientsParams;
use burn::tensor::Device;
use interloom::training::{Trained, Training, TrainingBuilder};
use interloom::{Hooked, Sites, backward};
use interloom_models::induction::{
    BATCH, Induction, InductionConfig, LEARNING_RATE, Sampler, foretold_loss, optimizer,
};

type State = Trained<Hooked<Induction>>;

/// The ways to make a step, by name; the first is without Interloom.
const WAYS: [(&str, Option<Settings>); 5] = [
    ("plain burn", None),
    ("unrecorded", Some(|settings| settings)),
    (
        "ledger",
        Some(|settings| settings.names_every(0).check_state_every(0)),
    ),
    (
        "ledger and names",
        Some(|settings| settings.check_state_every(0)),
    ),
    ("recorded", Some(|settings| settings)),
];

type Settings = fn(TrainingBuilder) -> TrainingBuilder;

const ROUNDS: u32 = 9;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse().ok());
    match (arguments.first(), number(1), number(2)) {
        (Some(name), Some(width), Some(steps)) => {
            let mut way = Way::new(name, width);
            (0..steps).for_each(|_| way.step());
        }
        _ => [64, 256].into_iter().for_each(measure),
    }
}

fn measure(width: usize) {
    let mut ways: Vec<_> = WAYS
        .iter()
        .map(|(name, _)| (name, Way::new(name, width), Duration::MAX))
        .collect();
    for _ in 0..ROUNDS {
        for (_, way, least) in &mut ways {
            let begun = Instant::now();
            way.step();
            *least = begun.elapsed().min(*least);
        }
    }
    let plain = ways[0].2;
    for (name, _, least) in ways {
        let more = 100.0 * (least.as_secs_f64() / plain.as_secs_f64() - 1.0);
        println!("width {width}, {name}: {least:.2?} a step, {more:+.1} %");
    }
}

/// A model that is trained in one of the ways.
struct Way {
    state: State,
    sites: Sites,
    training: Option<Training>,
    _folder: tempfile::TempDir,
}

impl Way {
    fn new(name: &str, width: usize) -> Self {
        let config = InductionConfig::of_width(width).expect("a multiple of the number of heads");
        let model = config.init(7, &device()).into_inner();
        let mut state = Trained::new("model", model, optimizer());
        let way = WAYS.iter().find(|(of, _)| *of == name).expect("a way");
        let folder = tempfile::tempdir().expect("a folder");
        let plain = || Training::of(7, &device()).checkpoint_every(1 << 40);
        let training = way.1.map(|settings| match name {
            "unrecorded" => settings(plain()).plain(),
            _ => settings(plain())
                .record(folder.path().join("run"), &mut state)
                .expect("a new run"),
        });
        let sites = Sites::bind(&state.module).expect("the sites of the model");
        Self {
            state,
            sites,
            training,
            _folder: folder,
        }
    }

    fn step(&mut self) {
        match &mut self.training {
            None => plain(&mut self.state),
            Some(training) => step(training, &mut self.state, &self.sites),
        }
    }
}

fn device() -> Device {
    Device::flex().autodiff()
}

fn plain(state: &mut State) {
    let batch = Sampler::new(7).batch(BATCH);
    let loss = foretold_loss(state.module.forward(batch.tokens(&device())), &batch);
    let _value = loss.clone().into_scalar::<f32>();
    let gradients = GradientsParams::from_grads(loss.backward(), &state.module);
    let module = state.module.clone();
    state.module = state.optimizer.step(LEARNING_RATE, module, gradients);
}

fn step(training: &mut Training, state: &mut State, sites: &Sites) {
    let batch = Sampler::new(7).batch(BATCH);
    let made = training.step(state, |step, state| {
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
    made.expect("a step");
}
