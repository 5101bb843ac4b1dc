//! Sparse autoencoders on activations of the embedded induction model: how much of the variance
//! they explain, and how much of the model's loss is left when it goes on with what they decode.
//!
//! ```sh
//! cargo run --release -p interloom --features models --example sae
//! ```
//!
//! Five of them are trained, which differ in the seed. The first is saved as `sae.safetensors`: it
//! is the one that `interloom run replay/cli/experiments/features.toml` uses.

use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::TensorData;
use interloom::interventions::{FeatureActivation, Learned, SparseAutoencoder};
use interloom::models::induction::{Batch, Sampler, WIDTH, score};
use interloom::prelude::*;

/// Where the activations pass: the residual stream between the two layers.
const SITE: &str = "layers.0";
const FEATURES: usize = 96;
const STEPS: usize = 1500;
/// Sequences in a step, of 48 positions each.
const SEQUENCES: usize = 16;

type Model = Bound<Hooked<Induction>>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::flex();
    let model = Induction::trained(&device);
    let held_out = Sampler::new(!0).batch(64);
    let clean = loss(&model, &held_out, |h| h)?;
    let zero = loss(&model, &held_out, |h| h * 0.0)?;
    println!("loss of the model: {clean:.4} nats, and {zero:.4} with zeros at {SITE}");
    for seed in 1..=5 {
        let sae = train(&model, seed)?;
        let h = activations(&model, &held_out)?;
        let explained = explained(&sae, h.clone());
        let firing = sae.encode(h).greater_scalar(0.0).float().mean_dim(0);
        let firing: Vec<f32> = firing.into_data().iter::<f32>().collect();
        let alive = firing.iter().filter(|&&share| share > 0.0).count();
        let own = sae.clone();
        let decoded = loss(&model, &held_out, move |h| own.forward(h))?;
        let recovered = (zero - decoded) / (zero - clean);
        println!(
            "seed {seed}: {:.2} % of the variance explained, loss {decoded:.4} nats, {:.2} % of the loss recovered, \
             {alive} of {FEATURES} features fire, {:.1} at a position",
            100.0 * explained,
            100.0 * recovered,
            firing.iter().sum::<f32>()
        );
        if explained < 0.9 {
            return Err("an autoencoder explains less than 90 % of the variance".into());
        }
        if seed == 1 {
            sae.save("sae.safetensors")?;
        }
    }
    Ok(())
}

/// Trains an autoencoder on activations of sequences that its seed draws.
fn train(model: &Model, seed: u64) -> Result<SparseAutoencoder, Box<dyn std::error::Error>> {
    let device = Device::flex().autodiff();
    device.seed(seed);
    let activation = FeatureActivation::TopK { k: 12 };
    let mut sae = SparseAutoencoder::new(WIDTH, FEATURES, activation, &device)?;
    let mut adam = AdamConfig::new().init();
    let mut sampler = Sampler::new(seed);
    for step in 0..STEPS {
        let h = activations(model, &sampler.batch(SEQUENCES))?;
        let h = Tensor::from_data(h.into_data(), &device);
        let rate = 4e-3 * (1.0 - step as f64 / STEPS as f64);
        let gradients = GradientsParams::from_grads(sae.loss(h, 0.0).backward(), &sae);
        sae = sae.update(&mut adam, rate, gradients);
    }
    // The same numbers, without a graph.
    Ok(SparseAutoencoder::from_bytes(
        &sae.to_bytes()?,
        "trained",
        &Device::flex(),
    )?)
}

/// Returns the activations of a batch, `[position of a sequence, 64]`.
fn activations(model: &Model, batch: &Batch) -> Result<Tensor<2>, Error> {
    let mut run = Run::new("read", model.sites());
    let read = run.mediator("read", async |cx| {
        Ok(cx.output(SITE).await?.tensor::<3>()?)
    });
    run.execute(|| model.forward(batch.tokens(&Device::flex())))?;
    let h = read.take().expect("the site is passed");
    let [sequences, positions, width] = h.dims();
    Ok(h.reshape([sequences * positions, width]))
}

/// Returns the share of the variance that is left when activations are encoded and decoded.
fn explained(sae: &SparseAutoencoder, h: Tensor<2>) -> f64 {
    let sum = |squares: Tensor<2>| -> f64 {
        let data: TensorData = squares.into_data();
        data.iter::<f64>().sum()
    };
    let error = sum((sae.forward(h.clone()) - h.clone()).square());
    let mean = h.clone().mean_dim(0);
    1.0 - error / sum((h - mean).square())
}

/// Returns the model's loss on the repeated parts of sequences, with something else in the place of
/// its activations.
fn loss(
    model: &Model,
    batch: &Batch,
    edit: impl Fn(Tensor<3>) -> Tensor<3> + 'static,
) -> Result<f64, Error> {
    let mut run = Run::new("edited", model.sites());
    run.mediator("edit", async move |cx| {
        let h = cx.output(SITE).await?.tensor::<3>()?;
        cx.set_output(SITE, edit(h)).await
    });
    let logits = run.execute(|| model.forward(batch.tokens(&Device::flex())))?;
    Ok(score(logits.completed()?, batch).loss)
}
