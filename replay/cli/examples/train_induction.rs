//! Trains the induction transformer that `interloom demo` looks into, and writes its weights.
//!
//! ```sh
//! cargo run --release -p interloom-cli --example train_induction -- --seed 1 --steps 2000
//! ```
//!
//! The same seed gives the same weights, bit for bit, on processors with the same vector
//! instructions. Two minutes on two cores are enough.

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::tensor::Device;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use interloom_backends::{Bound, Run};
use interloom_models::induction::{LAYERS, Sampler, Trainer, head_scores, save_weights, score};

/// Trains the induction transformer, and writes its weights.
#[derive(Parser)]
struct Arguments {
    /// What the first weights and the training data are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many steps of 64 sequences to train.
    #[arg(long, default_value_t = 2000)]
    steps: u32,
    /// Where to write the weights.
    #[arg(long, default_value = "induction.safetensors")]
    out: PathBuf,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { seed, steps, out } = Arguments::parse();
    let device = Device::flex();
    let trainer = train(seed, steps, &device);
    let model = Bound::new(trainer.model())?;

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

    let metadata = BTreeMap::from([
        ("seed".to_owned(), seed.to_string()),
        ("steps".to_owned(), steps.to_string()),
        ("loss".to_owned(), format!("{:.4}", score.loss)),
        ("accuracy".to_owned(), format!("{:.4}", score.accuracy)),
        (
            "command".to_owned(),
            format!(
                "cargo run --release -p interloom-cli --example train_induction -- --seed {seed} --steps {steps}"
            ),
        ),
    ]);
    let bytes = save_weights(&model, metadata)?;
    std::fs::write(&out, &bytes)?;
    println!("wrote {} bytes to {}", bytes.len(), out.display());
    Ok(())
}

fn train(seed: u64, steps: u32, device: &Device) -> Trainer {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} steps, loss {msg}, {eta} left");
    let bar =
        ProgressBar::new(u64::from(steps)).with_style(style.expect("the template is well formed"));
    let mut trainer = Trainer::new(seed, device);
    for step in 0..steps {
        let (next, loss) = trainer.step();
        trainer = next;
        bar.set_message(format!("{loss:.4}"));
        bar.inc(1);
        if step % 250 == 0 {
            bar.suspend(|| println!("step {step}: loss {loss:.4} (bits {:08x})", loss.to_bits()));
        }
    }
    bar.finish_and_clear();
    trainer
}
