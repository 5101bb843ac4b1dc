//! What gradient hooks cost: forward and backward passes of the induction model in plain burn's
//! terms, with hooks and a run in which no mediator waits, and with gradients that are read.
//!
//! The batch is one of 16 sequences; the model is the trained one, whose width is 64, and one of
//! width 256 with weights at random. Passes of all kinds take turns, and the least of each is
//! shown: a hook costs less than what the machine does beside changes from one second to the next.
#![expect(clippy::disallowed_types, reason = "a bench looks at the clock")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use burn::tensor::activation::log_softmax;
use interloom_backends::{Bound, Hooked, Run, backward};
use interloom_models::induction::{Induction, InductionConfig, Sampler};

/// How many passes of each kind are made.
const PASSES: usize = 200;

fn main() {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let passes = if is_bench { PASSES } else { 1 };
    let device = Device::flex().autodiff();
    let wide = InductionConfig::of_width(256).expect("a multiple of the number of heads");
    compare("width 64", &Induction::trained(&device), passes);
    compare("width 256", &wide.init(7, &device), passes);
}

/// What a pass is made with.
#[derive(Clone, Copy)]
enum With {
    Nothing,
    Run,
    OneGradient,
    EveryHook,
}

const KINDS: [(With, &str); 4] = [
    (With::Nothing, "without a run"),
    (With::Run, "run, nothing declared"),
    (With::OneGradient, "run, one gradient read"),
    (With::EveryHook, "run, every value hooked, nothing read"),
];

fn compare(name: &str, model: &Bound<Hooked<Induction>>, passes: usize) {
    let tokens = Sampler::new(7).batch(16).tokens(&Device::flex().autodiff());
    let loss = || log_softmax(model.forward(tokens.clone()), 2).mean();
    let pass = |with: With| {
        let mut run = match with {
            With::Nothing => {
                black_box(loss().backward());
                return;
            }
            With::Run | With::OneGradient | With::EveryHook => Run::new("bench", model),
        };
        match with {
            With::Nothing | With::Run => {}
            With::OneGradient => {
                run.mediator("read", async |cx| cx.grad("layers.0").await)
                    .gradients(["layers.0"]);
            }
            With::EveryHook => run.all_gradients(),
        }
        run.execute(|| black_box(backward(&loss())))
            .expect("nothing fails");
    };
    let mut least = [Duration::MAX; KINDS.len()];
    for _ in 0..passes {
        for ((with, _), least) in KINDS.iter().zip(&mut least) {
            let begin = Instant::now();
            pass(*with);
            *least = begin.elapsed().min(*least);
        }
    }
    println!("forward and backward, induction model of {name}, 16 sequences, least of {passes}");
    for ((_, kind), time) in KINDS.iter().zip(least) {
        let [time, plain] = [time, least[0]].map(|time| time.as_secs_f64() * 1e3);
        println!("  {kind:<38} {time:>8.3} ms  {:.3} x", time / plain);
    }
}
