//! Trains the induction transformer that `interloom demo` looks into, and writes its weights: as a
//! training run that is recorded, and can be resumed, made again, and forked.
//!
//! ```sh
//! cargo run --release -p interloom-cli --example train_induction -- --seed 3 --steps 2000
//! cargo run --release -p interloom-cli --example train_induction -- --journal run --steps 300
//! cargo run --release -p interloom-cli --example train_induction -- --journal run --resume --steps 400
//! cargo run --release -p interloom-cli --example train_induction -- --journal run --verify 137..150
//! cargo run --release -p interloom-cli --example train_induction -- --journal run --fork 200 --into other --rate 0.001 --steps 400
//! ```
//!
//! The same seed gives the same weights, bit for bit, on processors with the same vector
//! instructions: seed 3 and 2,000 steps those that `interloom demo` has. Two minutes on two cores
//! are enough.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Device;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use interloom::training::{SavedBytes, StatePart, Trained, Training, TrainingState};
use interloom::{Error, backward};
use interloom_backends::{Bound, Hooked, Run, Sites, parameters};
use interloom_models::induction::{
    BATCH, Induction, LAYERS, LEARNING_RATE, Sampler, foretold_loss, head_scores, optimizer,
    save_weights, score,
};

#[path = "../../examples/arguments/mod.rs"]
mod arguments;

use arguments::{TrainingArguments, ended};

/// Trains the induction transformer, and writes its weights.
#[derive(Parser)]
struct Arguments {
    /// What the first weights and the training data are drawn from.
    #[arg(long, default_value_t = 3)]
    seed: u64,
    /// How many steps of 64 sequences to train.
    #[arg(long, default_value_t = 2000)]
    steps: u64,
    #[command(flatten)]
    training: TrainingArguments,
    /// The learning rate, of a fork from its step on.
    #[arg(long, default_value_t = LEARNING_RATE)]
    rate: f64,
    /// Where to write the weights.
    #[arg(long, default_value = "induction.safetensors")]
    out: PathBuf,
}

/// What a step depends on: the model, its optimizer, and where the data is.
struct State {
    model: Trained<Hooked<Induction>>,
    sampler: SavedBytes,
}

impl TrainingState for State {
    fn parts(&mut self) -> Vec<&mut dyn StatePart> {
        vec![&mut self.model, &mut self.sampler]
    }
}

fn main() -> ExitCode {
    ended(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::flex().autodiff();
    let model = Induction::new(arguments.seed, &device).into_inner();
    let mut state = State {
        model: Trained::new("model", model, optimizer()),
        sampler: SavedBytes::new(
            "sampler",
            Sampler::new(arguments.seed).state().to_le_bytes(),
        ),
    };
    let settings = Training::of(arguments.seed, &device);
    let training = settings.open(arguments.training.mode(), &mut state)?;
    train(training, &mut state, arguments)?;
    if arguments.training.say_verified() {
        return Ok(());
    }
    evaluate(state.model.module.valid(), arguments)
}

fn train(mut training: Training, state: &mut State, arguments: &Arguments) -> Result<(), Error> {
    let sites = Sites::bind(&state.model.module)?;
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} steps, loss {msg}, {eta} left");
    let bar = ProgressBar::new(arguments.steps)
        .with_style(style.expect("the template is well formed"))
        .with_position(training.next());
    let forked_at = training.forked_at();
    while training.goes_on(arguments.steps) {
        let line = training.step(state, |step, state| {
            let mut sampler = sampler_of(&state.sampler);
            let batch = sampler.batch(BATCH);
            state.sampler.bytes = sampler.state().to_le_bytes().to_vec();
            let device = Device::flex().autodiff();
            let tokens = batch.tokens(&device);
            step.fed("tokens", tokens.clone());
            let run = step.run(&sites);
            let (loss, gradients) = step.record(run, || {
                let loss = foretold_loss(state.model.module.forward(tokens), &batch);
                let gradients = backward(&loss);
                (loss.into_scalar::<f32>(), gradients)
            })?;
            let gradients = GradientsParams::from_grads(gradients, &state.model.module);
            let is_new = forked_at.is_none_or(|fork| step.number() >= fork);
            let rate = if is_new {
                arguments.rate
            } else {
                LEARNING_RATE
            };
            step.update(&mut state.model, rate, gradients)?;
            Ok(f64::from(loss))
        })?;
        bar.set_message(format!("{:.4}", line.loss));
        bar.inc(1);
        if line.step % 250 == 0 {
            bar.suspend(|| println!("step {}: loss {:.4}", line.step, line.loss));
        }
    }
    bar.finish_and_clear();
    training.finish()
}

fn sampler_of(saved: &SavedBytes) -> Sampler {
    let bytes = saved.bytes[..].try_into().expect("eight bytes");
    Sampler::new(u64::from_le_bytes(bytes))
}

fn evaluate(
    model: Hooked<Induction>,
    arguments: &Arguments,
) -> Result<(), Box<dyn std::error::Error>> {
    let Arguments {
        seed, steps, out, ..
    } = arguments;
    let device = Device::flex();
    let model = Bound::new(model)?;
    // Sequences that training has not seen: its sampler starts elsewhere.
    let batch = Sampler::new(!seed).batch(256);
    let mut run = Run::new("evaluate", model.sites());
    let patterns = run.mediator("patterns", |cx| async move {
        let mut patterns = Vec::new();
        for layer in 0..LAYERS {
            let path = format!("layers.{layer}.attn.pattern");
            patterns.push(cx.output(&path).await?.tensor::<4>()?);
        }
        Ok(patterns)
    });
    let logits = run.execute(|| model.forward(batch.tokens(&device)))?;
    let score = score(logits.completed()?, &batch);
    println!(
        "repeated part: loss {:.4} nats, accuracy {:.2} %",
        score.loss,
        100.0 * score.accuracy
    );
    for (layer, pattern) in patterns.take().unwrap_or_default().into_iter().enumerate() {
        for (head, scores) in head_scores(pattern, &batch).into_iter().enumerate() {
            println!(
                "L{layer}H{head}: prefix matching {:.3}, previous token {:.3}",
                scores.prefix_matching, scores.previous_token
            );
        }
    }

    let command = format!(
        "cargo run --release -p interloom-cli --example train_induction -- --seed {seed} --steps {steps}"
    );
    let metadata = BTreeMap::from([
        ("seed".to_owned(), seed.to_string()),
        ("steps".to_owned(), steps.to_string()),
        ("loss".to_owned(), format!("{:.4}", score.loss)),
        ("accuracy".to_owned(), format!("{:.4}", score.accuracy)),
        ("command".to_owned(), command),
    ]);
    let bytes = save_weights(&model, metadata)?;
    std::fs::write(out, &bytes)?;
    println!("wrote {} bytes to {}", bytes.len(), out.display());
    if parameters(&*model) == parameters(&*Induction::trained(&device)) {
        println!("they are those of `interloom demo`, bit for bit");
    }
    Ok(())
}
