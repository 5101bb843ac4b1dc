//! Training with burn's optimizers.

use std::fs;

use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::{Int, TensorData, activation};
use interloom::Run;
use interloom::models::LanguageModel;
use interloom::models::induction::{Induction, Sampler, WIDTH};
use interloom_backends::Value;
use safetensors::SafeTensors;
use serde_json::Value as Json;

use super::*;

fn autodiff() -> Device {
    Device::flex().autodiff()
}

/// PyTorch's training of a steering vector and a LoReFT at block 1 of a small llama: prompts,
/// starts, losses and results.
struct Reference {
    settings: Json,
    tensors: Vec<u8>,
    lm: LanguageModel,
}

impl Reference {
    fn load() -> Self {
        let folder = data("training");
        let settings = fs::read(folder.join("training.json")).unwrap();
        let model = data("llama");
        Self {
            settings: serde_json::from_slice(&settings).unwrap(),
            tensors: fs::read(folder.join("tensors.safetensors")).unwrap(),
            lm: LanguageModel::load(model.to_str().unwrap(), &autodiff()).unwrap(),
        }
    }

    fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        let file = SafeTensors::deserialize(&self.tensors).unwrap();
        let view = file.tensor(name).unwrap();
        let floats = view.data().chunks_exact(4);
        let floats: Vec<f32> = floats
            .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
            .collect();
        let shape: [usize; D] = view.shape().try_into().unwrap();
        Tensor::<1>::from_floats(floats.as_slice(), &autodiff()).reshape(shape)
    }

    fn losses(&self, kind: &str) -> Vec<f64> {
        serde_json::from_value(self.settings[kind]["f64"]["losses"].clone()).unwrap()
    }

    fn adam(&self) -> ModuleOptimizer {
        AdamConfig::new().with_epsilon(1e-8).init()
    }

    /// Trains an intervention for 20 steps at the output of block 1, and returns the losses before
    /// each and after the last.
    fn train<L: Learned + 'static>(
        &self,
        mut learned: L,
        edit: impl Fn(&L, Tensor<3>) -> Tensor<3> + Copy + 'static,
    ) -> (L, Vec<f64>) {
        let prompts: Vec<Vec<u32>> =
            serde_json::from_value(self.settings["prompts"].clone()).unwrap();
        let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let batch = self.lm.batch(&prompts).unwrap();
        let target = self.settings["target"].as_u64().unwrap() as usize;
        let mut optimizer = self.adam();
        let mut losses = Vec::new();
        loop {
            let mut run = Run::new("step", self.lm.sites());
            let own = learned.clone();
            run.mediator("learn", async move |cx| {
                let h = cx.output("layers.1").await?.tensor::<3>()?;
                cx.set_output("layers.1", edit(&own, h)).await
            });
            let logits: Tensor<3> = run.execute(|| batch.logits()).unwrap().completed().unwrap();
            let [rows, positions, _] = logits.dims();
            let last = logits.narrow(1, positions - 1, 1);
            let loss = activation::log_softmax(last, 2).narrow(2, target, 1);
            let loss = loss.reshape([rows]).mean().neg();
            losses.push(f64::from(loss.clone().into_scalar::<f32>()));
            if losses.len() == 21 {
                return (learned, losses);
            }
            let gradients = GradientsParams::from_grads(loss.backward(), &learned);
            learned = learned.update(&mut optimizer, 0.01, gradients);
        }
    }
}

#[track_caller]
fn assert_close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (step, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= 1e-5,
            "step {step}: {found}, PyTorch {expected}"
        );
    }
}

#[test]
fn r110_a_steering_vector_learns_what_it_does_in_pytorch() {
    let reference = Reference::load();
    let start = SteeringVector::new(32, &autodiff()).unwrap();
    let (learned, losses) = reference.train(start, |own, h| own.forward(h));
    assert_close(&losses, &reference.losses("steering"));
    let expected = reference.tensor::<1>("steering.v.final.f32");
    assert!(distance(&learned.vector(), &expected) < 1e-4);
}

#[test]
fn r110_loreft_learns_what_it_does_in_pytorch() {
    let reference = Reference::load();
    let start = LoReft::of(
        reference.tensor("loreft.R.start"),
        reference.tensor("loreft.W.start"),
        reference.tensor("loreft.b.start"),
    );
    let (learned, losses) = reference.train(start.unwrap(), |own, h| {
        let [rows, positions, width] = h.dims();
        let last = own.forward(h.clone().narrow(1, positions - 1, 1));
        h.slice_assign([0..rows, positions - 1..positions, 0..width], last)
    });
    assert_close(&losses, &reference.losses("loreft"));
    assert!(distance(&learned.rotation(), &reference.tensor("loreft.R.final.f32")) < 1e-4);
    assert!(distance(&learned.weight(), &reference.tensor("loreft.W.final.f32")) < 1e-4);
    assert!(distance(&learned.bias(), &reference.tensor("loreft.b.final.f32")) < 1e-4);
    assert!(defect(&learned.rotation()) <= 1e-6);
}

/// A step that pulls what LoReFT makes of some values to others.
fn pulled(learned: &LoReft, step: u32, device: &Device) -> GradientsParams {
    let (h, to) = (
        numbers(step, [8, 16], device),
        numbers(step + 100, [8, 16], device),
    );
    let loss = (learned.forward(h) - to).square().mean();
    GradientsParams::from_grads(loss.backward(), learned)
}

#[test]
fn r110_rows_stay_orthonormal_in_training_and_after_a_resume() {
    let device = autodiff();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("loreft.safetensors");
    let start = || {
        let (rotation, weight) = (numbers(1, [4, 16], &device), numbers(2, [4, 16], &device));
        LoReft::of(rotation, weight, numbers(3, [4], &device)).unwrap()
    };
    let mut straight = start();
    // Without state, so that what is loaded goes on as what was saved.
    let mut sgd = SgdConfig::new().init();
    for step in 0..60 {
        let gradients = pulled(&straight, step, &device);
        straight = straight.update(&mut sgd, 0.5, gradients);
        let defect = defect(&straight.rotation());
        assert!(defect <= 1e-6, "step {step}: {defect}");
    }
    let mut resumed = start();
    for step in 0..60 {
        if step % 7 == 3 {
            resumed.save(&path).unwrap();
            resumed = LoReft::load(&path, &device).unwrap();
            let defect = defect(&resumed.rotation());
            assert!(defect <= 1e-6, "loaded at step {step}: {defect}");
        }
        let gradients = pulled(&resumed, step, &device);
        resumed = resumed.update(&mut sgd, 0.5, gradients);
    }
    assert_eq!(bits(&resumed.rotation()), bits(&straight.rotation()));
    assert_eq!(bits(&resumed.weight()), bits(&straight.weight()));
    assert_eq!(bits(&resumed.bias()), bits(&straight.bias()));
    assert!(
        distance(&straight.rotation(), &start().rotation()) > 0.01,
        "it has learned"
    );
}

/// An optimizer that knows nothing of orthonormal rows leaves them orthonormal all the same.
#[test]
fn rows_in_use_are_orthonormal_whatever_an_optimizer_does() {
    let device = autodiff();
    let mut learned = Rotation::of(numbers(1, [4, 16], &device)).unwrap();
    let mut adam = AdamConfig::new().init();
    for step in 0..40 {
        let (h, to) = (
            numbers(step, [8, 16], &device),
            numbers(step + 100, [8, 4], &device),
        );
        let loss = (learned.rotate(h) - to).square().mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &learned);
        learned = adam.step(0.1, learned, gradients);
        assert!(defect(&learned.directions()) <= 1e-6);
    }
    let stored = interloom_backends::parameters(&learned);
    let stored = Tensor::<2>::from_data(stored[0].1.clone(), &Device::flex());
    assert!(defect(&stored) > 0.01, "the stored rows have moved");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    learned.save(&path).unwrap();
    // Saved as they are, they do not hold what a file must.
    assert_eq!(Rotation::load(&path, &device).unwrap_err().code(), "E084");
}

#[test]
fn r110_an_intervention_and_its_model_are_trained_together_or_the_model_is_frozen() {
    let device = autodiff();
    let sampler = || Sampler::new(3).batch(2).tokens(&device);
    let train = |trains_model: bool| {
        let mut model = Induction::trained(&device);
        let before: Vec<_> = interloom_backends::parameters(&*model);
        let mut steer = SteeringVector::new(WIDTH, &device).unwrap();
        let (mut own, mut of_model): (ModuleOptimizer, ModuleOptimizer) =
            (AdamConfig::new().init(), AdamConfig::new().init());
        for _ in 0..3 {
            let mut run = Run::new("step", model.sites());
            let learned = steer.clone();
            run.mediator("steer", async move |cx| {
                let h = cx.output("layers.0").await?.tensor::<3>()?;
                cx.set_output("layers.0", learned.forward(h)).await
            });
            let logits: Tensor<3> = run
                .execute(|| model.forward(sampler()))
                .unwrap()
                .completed()
                .unwrap();
            let loss = activation::log_softmax(logits, 2)
                .narrow(2, 5, 1)
                .mean()
                .neg();
            let mut gradients = loss.backward();
            let learned = GradientsParams::from_module(&mut gradients, &steer);
            steer = steer.update(&mut own, 0.1, learned);
            if trains_model {
                let gradients = GradientsParams::from_module(&mut gradients, &*model);
                model = model.map(|model| of_model.step(0.001, model, gradients));
            }
        }
        let after = interloom_backends::parameters(&*model);
        let moved = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before.1 != after.1)
            .count();
        (floats(&steer.vector()), moved, before.len())
    };
    let (frozen, moved, _) = train(false);
    assert_eq!(moved, 0);
    assert!(frozen.iter().all(|&number| number != 0.0));
    let (together, moved, parameters) = train(true);
    assert_eq!(moved, parameters);
    assert_ne!(together, frozen);
}

/// A probe finds out of the residual stream, where attention has added to it, which token stands
/// there; to guess one of 40 would be right once in 40 times.
#[test]
fn a_probe_reads_the_token_out_of_an_activation() {
    let device = autodiff();
    let model = Induction::trained(&device);
    let classes = 40;
    let examples = |seed: u64| -> (Tensor<2>, Vec<usize>) {
        let batch = Sampler::new(seed).batch(16);
        let mut run = Run::new("read", model.sites());
        let read = run.mediator("read", async |cx| cx.output("layers.0").await);
        run.execute(|| model.forward(batch.tokens(&device)))
            .unwrap();
        let h: Value = read.take().unwrap();
        let h = h.tensor::<3>().unwrap().inner();
        let [rows, positions, width] = h.dims();
        let tokens = (0..rows).flat_map(|row| {
            let batch = &batch;
            (0..positions).map(move |position| batch.token(row, position))
        });
        (h.reshape([rows * positions, width]), tokens.collect())
    };
    let accuracy = |probe: &LinearProbe, h: &Tensor<2>, tokens: &[usize]| {
        let found = probe.forward(h.clone()).argmax(1).into_data();
        let found: Vec<usize> = found.iter::<i64>().map(|class| class as usize).collect();
        let right = found
            .iter()
            .zip(tokens)
            .filter(|(found, tokens)| found == tokens)
            .count();
        right as f64 / tokens.len() as f64
    };
    let (h, tokens) = examples(1);
    let targets: Vec<i32> = tokens.iter().map(|&class| class as i32).collect();
    let count = targets.len();
    let targets = Tensor::<2, Int>::from_data(TensorData::new(targets, [count, 1]), &device);
    let mut probe = LinearProbe::new(WIDTH, classes, &device).unwrap();
    assert_eq!(probe.num_params(), classes * WIDTH + classes);
    let mut adam = AdamConfig::new().init();
    for _ in 0..40 {
        let logits = probe.forward(Tensor::from_inner(h.clone()));
        let loss = activation::log_softmax(logits, 1)
            .gather(1, targets.clone())
            .mean()
            .neg();
        let gradients = GradientsParams::from_grads(loss.backward(), &probe);
        probe = probe.update(&mut adam, 0.1, gradients);
    }
    let (h, tokens) = examples(2);
    let accuracy = accuracy(&probe, &h, &tokens);
    assert!(accuracy > 0.95, "{accuracy}");
}
