//! Trains a one-layer transformer to add modulo 53, and takes its Fourier circuit out of it while
//! it learns: a training run that is recorded, and can be resumed, made again, and forked.
//!
//! ```sh
//! cargo run --release -p interloom --example modular_addition -- --journal run
//! cargo run --release -p interloom --example modular_addition -- --journal run --verify 137..150
//! cargo run --release -p interloom --example modular_addition -- --journal run --resume --steps 2000
//! cargo run --release -p interloom --example modular_addition -- --journal run --fork 200 --into other --rate 0.0005
//! cargo run --release -p interloom --example modular_addition -- --journal two --seed 2
//! cargo run --release -- diff run two
//! ```
//!
//! After Nanda and others, *Progress measures for grokking via mechanistic interpretability*
//! (2023), which has p = 113: the model embeds numbers as sines and cosines of a few frequencies.
//! Every 200 steps a mediator removes the five strongest of them from the embedding of the held-out
//! pairs, another one keeps nothing else, and their exchanges are in the journals of the run.

use std::process::ExitCode;

use burn::module::{Module, Param};
use burn::nn::{Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData, activation};
use clap::Parser;
use interloom::training::{DataOrder, Trained, Training, TrainingStep, cross_entropy};
use interloom::{Error, Hooked, Sites, backward};
use interloom_backends::{Forward, Tap};

mod arguments;

use arguments::{TrainingArguments, ended};

/// The modulus.
const P: usize = 53;
const WIDTH: usize = 64;
const HEADS: usize = 4;
const HIDDEN: usize = 256;
/// Of all pairs, how many are trained on.
const TRAINED_SHARE: f64 = 0.6;
/// How many frequencies are taken out.
const FREQUENCIES: usize = 5;

/// Each how many steps the circuit is looked at.
const REPORTED: u64 = 200;

/// Trains a transformer to add modulo 53.
#[derive(Parser)]
struct Arguments {
    /// What weights and the choice of pairs are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many steps of all trained pairs to make.
    #[arg(long, default_value_t = 1201)]
    steps: u64,
    #[command(flatten)]
    training: TrainingArguments,
    /// The learning rate, of a fork from its step on.
    #[arg(long, default_value_t = RATE)]
    rate: f64,
}

const RATE: f64 = 1e-3;

/// `[batch, 3]` tokens `a`, `b`, `=` to `[batch, number]` logits.
#[derive(Module, Debug)]
struct Adder {
    embed: Hooked<Embedding>,
    position: Param<Tensor<2>>,
    attn: Hooked<Attention>,
    mlp: Hooked<Mlp>,
    unembed: Hooked<Linear>,
}

#[derive(Module, Debug)]
struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    pattern: Tap,
}

#[derive(Module, Debug)]
struct Mlp {
    up: Linear,
    down: Linear,
    hidden: Tap,
}

impl Adder {
    fn new(seed: u64, device: &Device) -> Hooked<Self> {
        device.seed(seed);
        let normal = Initializer::Normal {
            mean: 0.0,
            std: 1.0 / (WIDTH as f64).sqrt(),
        };
        let linear = |from, to| {
            let config = LinearConfig::new(from, to).with_bias(false);
            config.with_initializer(normal.clone()).init(device)
        };
        let embed = EmbeddingConfig::new(P + 1, WIDTH).with_initializer(normal.clone());
        Hooked::from(Self {
            embed: embed.init(device).into(),
            position: normal.init([3, WIDTH], device),
            attn: Attention {
                query: linear(WIDTH, WIDTH),
                key: linear(WIDTH, WIDTH),
                value: linear(WIDTH, WIDTH),
                output: linear(WIDTH, WIDTH),
                pattern: Tap::new(),
            }
            .into(),
            mlp: Mlp {
                up: linear(WIDTH, HIDDEN),
                down: linear(HIDDEN, WIDTH),
                hidden: Tap::new(),
            }
            .into(),
            unembed: linear(WIDTH, P).into(),
        })
    }
}

impl Forward<Tensor<2, Int>> for Adder {
    type Output = Tensor<2>;

    fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let batch = tokens.dims()[0];
        let x = self.embed.forward(tokens) + self.position.val().unsqueeze::<3>();
        let x = x.clone() + self.attn.forward(x);
        let x = x.clone() + self.mlp.forward(x);
        // What is asked for is read off the last position, the one of `=`.
        self.unembed
            .forward(x.narrow(1, 2, 1).reshape([batch, WIDTH]))
    }
}

impl Forward<Tensor<3>> for Attention {
    type Output = Tensor<3>;

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, length, _] = x.dims();
        let heads = |linear: &Linear| {
            let split = linear
                .forward(x.clone())
                .reshape([batch, length, HEADS, WIDTH / HEADS]);
            split.swap_dims(1, 2)
        };
        let scores = heads(&self.query).matmul(heads(&self.key).swap_dims(2, 3));
        let future = Tensor::<2, Bool>::tril_mask([length, length], 0, &x.device());
        let future = future
            .unsqueeze::<4>()
            .expand([batch, HEADS, length, length]);
        let scores = scores / ((WIDTH / HEADS) as f64).sqrt();
        let pattern = activation::softmax(scores.mask_fill(future, -1.0e9), 3);
        let z = self.pattern.pass(pattern).matmul(heads(&self.value));
        self.output
            .forward(z.swap_dims(1, 2).reshape([batch, length, WIDTH]))
    }
}

impl Forward<Tensor<3>> for Mlp {
    type Output = Tensor<3>;

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let hidden = activation::relu(self.up.forward(x));
        self.down.forward(self.hidden.pass(hidden))
    }
}

/// Pairs of numbers.
struct Pairs(Vec<(usize, usize)>);

impl Pairs {
    /// Divides all pairs into those that are trained on and those that are held out, by a seed.
    fn divide(seed: u64) -> (Self, Self) {
        let all = (P * P) as u64;
        let order = DataOrder::new(seed, all).expect("pairs of numbers");
        let pair = |position: u64| {
            let item = order.item(0, position) as usize;
            (item / P, item % P)
        };
        let trained = (all as f64 * TRAINED_SHARE) as u64;
        (
            Self((0..trained).map(pair).collect()),
            Self((trained..all).map(pair).collect()),
        )
    }

    fn tokens(&self, device: &Device) -> Tensor<2, Int> {
        let tokens = self
            .0
            .iter()
            .flat_map(|(a, b)| [*a as i64, *b as i64, P as i64]);
        let data = TensorData::new(tokens.collect::<Vec<_>>(), [self.0.len(), 3]);
        Tensor::from_data(data, device)
    }

    fn sums(&self) -> Vec<i64> {
        self.0.iter().map(|(a, b)| ((a + b) % P) as i64).collect()
    }

    fn classes(&self, device: &Device) -> Tensor<1, Int> {
        Tensor::from_data(TensorData::new(self.sums(), [self.0.len()]), device)
    }

    fn accuracy(&self, logits: Tensor<2>) -> f64 {
        let guessed = logits
            .argmax(1)
            .into_data()
            .iter::<i64>()
            .collect::<Vec<_>>();
        let right = guessed.iter().zip(self.sums()).filter(|(a, b)| **a == *b);
        right.count() as f64 / self.0.len() as f64
    }
}

type State = Trained<Hooked<Adder>>;

fn main() -> ExitCode {
    ended(run(&Arguments::parse()).map_err(Into::into))
}

fn run(arguments: &Arguments) -> Result<(), Error> {
    let device = Device::flex().autodiff();
    let model = Adder::new(arguments.seed, &device);
    let adam = AdamWConfig::new().with_beta_2(0.98).with_weight_decay(1.0);
    let optimizer: ModuleOptimizer = adam.init();
    let mut state = Trained::new("adder", model, optimizer);
    let settings = Training::of(arguments.seed, &device).checkpoint_every(50);
    let training = settings.open(arguments.training.mode(), &mut state)?;
    train(training, &mut state, arguments)?;
    arguments.training.say_verified();
    Ok(())
}

fn train(mut training: Training, state: &mut State, arguments: &Arguments) -> Result<(), Error> {
    let device = Device::flex().autodiff();
    let sites = Sites::bind(&state.module)?;
    // Of the seed of the run, and not of a fork: it has the same pairs.
    let (trained, held_out) = Pairs::divide(arguments.seed);
    let (tokens, classes) = (trained.tokens(&device), trained.classes(&device));
    let forked_at = training.forked_at();
    while training.goes_on(arguments.steps) {
        training.step(state, |step, state| {
            step.fed("tokens", tokens.clone());
            let run = step.run(&sites);
            let (loss, gradients) = step.record(run, || {
                let loss = cross_entropy(state.module.forward(tokens.clone()), classes.clone());
                let gradients = backward(&loss);
                (loss.into_scalar::<f32>(), gradients)
            })?;
            // What a step does depends on its number alone: a run that is resumed makes the same.
            if step.number().is_multiple_of(REPORTED) {
                report(step, state, &sites, &held_out, loss)?;
            }
            let gradients = GradientsParams::from_grads(gradients, &state.module);
            let is_new = forked_at.is_none_or(|fork| step.number() >= fork);
            let rate = if is_new { arguments.rate } else { RATE };
            step.update(state, rate, gradients)?;
            Ok(f64::from(loss))
        })?;
    }
    training.finish()
}

/// Prints how well held-out pairs are added: by the model, without its strongest frequencies, and
/// with these alone.
fn report(
    step: &mut TrainingStep<'_>,
    state: &State,
    sites: &Sites,
    held_out: &Pairs,
    loss: f32,
) -> Result<(), Error> {
    let device = Device::flex().autodiff();
    let tokens = held_out.tokens(&device);
    let table = state.module.inner().embed.inner().weight.val().detach();
    let numbers = table.slice([0..P, 0..WIDTH]);
    let (strongest, share) = strongest(&numbers);
    let circuit = projected(&numbers, &strongest);
    // What the circuit adds to the embedding of each token; `=` is no number.
    let mean = numbers.clone().mean_dim(0).expand([P, WIDTH]);
    let (without, alone) = (circuit.clone(), numbers - circuit - mean);
    let mut accuracies = Vec::new();
    for removed in [None, Some(without), Some(alone)] {
        let mut run = step.run(sites);
        if let Some(removed) = removed {
            let padded = Tensor::cat(vec![removed, Tensor::zeros([1, WIDTH], &device)], 0);
            let flat = tokens.clone().reshape([held_out.0.len() * 3]);
            let delta = padded.select(0, flat).reshape([held_out.0.len(), 3, WIDTH]);
            run.mediator("ablate", async move |cx| {
                cx.update_output("embed", move |embedded| embedded - delta)
                    .await
            });
        }
        let logits = step.record(run, || state.module.forward(tokens.clone()))?;
        accuracies.push(100.0 * held_out.accuracy(logits));
    }
    println!(
        "step {}: loss {loss:.6}; held out {:.1} %, without frequencies {strongest:?} {:.1} %, with them alone {:.1} %; \
         they are {:.1} % of the power of the embedding",
        step.number(),
        accuracies[0],
        accuracies[1],
        accuracies[2],
        100.0 * share
    );
    Ok(())
}

/// Returns the frequencies with the most power in a table `[number, width]`, and their share of
/// all.
fn strongest(table: &Tensor<2>) -> (Vec<usize>, f64) {
    let powers = (1..=P / 2).map(|frequency| {
        let waves = waves(&[frequency], &table.device());
        let power = waves.matmul(table.clone()).square();
        (
            frequency,
            f64::from(power.sum_dim(0).sum_dim(1).into_scalar::<f32>()),
        )
    });
    let mut powers: Vec<(usize, f64)> = powers.collect();
    let all: f64 = powers.iter().map(|(_, power)| power).sum();
    powers.sort_by(|a, b| b.1.total_cmp(&a.1));
    powers.truncate(FREQUENCIES);
    let share = powers.iter().map(|(_, power)| power).sum::<f64>() / all;
    (
        powers.into_iter().map(|(frequency, _)| frequency).collect(),
        share,
    )
}

/// Projects a table `[number, width]` onto the waves of some frequencies over the numbers.
fn projected(table: &Tensor<2>, frequencies: &[usize]) -> Tensor<2> {
    let waves = waves(frequencies, &table.device());
    waves
        .clone()
        .transpose()
        .matmul(waves.matmul(table.clone()))
}

/// Orthonormal cosines and sines of some frequencies: `[2 * frequencies, number]`.
fn waves(frequencies: &[usize], device: &Device) -> Tensor<2> {
    let norm = (2.0 / P as f64).sqrt();
    let rows = frequencies.iter().flat_map(|frequency| {
        let angle = std::f64::consts::TAU * *frequency as f64 / P as f64;
        let wave = move |of: fn(f64) -> f64| {
            (0..P).map(move |number| (norm * of(angle * number as f64)) as f32)
        };
        wave(f64::cos).chain(wave(f64::sin))
    });
    let data = TensorData::new(rows.collect::<Vec<f32>>(), [2 * frequencies.len(), P]);
    Tensor::from_data(data, device)
}
