//! Attention that nothing attends to is computed in one: the bits, the sites that are passed, and
//! what later mediators get are what they are with every step.

use burn::tensor::Device;
use interloom_backends::Run;
use interloom_engine::{CacheSpec, Site};
use interloom_models::LanguageModel;

use crate::families::{families, opened};
use crate::padding::Passed;
use crate::support::{bits, cpu};

/// More than what is computed step by step even if nothing attends to it.
const LENGTH: usize = 110;

/// Loads a model that has as many positions, if they are not in its weights.
fn load(name: &str, device: &Device) -> LanguageModel {
    let folder = opened(name, "config.json").unwrap();
    let load = || LanguageModel::load(folder.path().to_str().unwrap(), device);
    let path = folder.path().join("config.json");
    let own = std::fs::read(&path).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&own).unwrap();
    for key in ["max_position_embeddings", "n_positions"] {
        if let Some(positions) = config.get_mut(key) {
            *positions = LENGTH.into();
        }
    }
    std::fs::write(&path, config.to_string()).unwrap();
    let model = load().or_else(|_| {
        std::fs::write(&path, own).unwrap();
        load()
    });
    model.unwrap().limit_positions(LENGTH)
}

fn prompt(length: usize) -> Vec<u32> {
    (0..length as u32)
        .map(|at| (at * 31 + 7) % 90 + 3)
        .collect()
}

/// The logits of two prompts of different length, which the model is called twice with, and the
/// sites that were passed.
fn passed(model: &LanguageModel, mediator: impl FnOnce(&mut Run)) -> (Vec<u32>, Vec<Site>) {
    let length = model.positions();
    let prompts = [prompt(length), prompt(length - 9)];
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    let batch = model.batch(&prompts).unwrap();
    let passed = Passed::default();
    let mut run = Run::new("passed", model.sites());
    run.observer(passed.clone());
    run.trace();
    mediator(&mut run);
    let logits = run.execute(|| {
        batch.logits();
        batch.logits()
    });
    (bits(logits.unwrap().completed().unwrap()), passed.take())
}

#[test]
fn every_family_computes_and_passes_the_same() {
    // On a device that keeps graphs some operations are rounded otherwise.
    let devices = [cpu(), cpu().autodiff()];
    let mut long = 0;
    for (name, device) in families()
        .iter()
        .flat_map(|name| devices.each_ref().map(|device| (name, device)))
    {
        let model = load(name, device);
        long += usize::from(model.positions() == LENGTH);
        let (logits, sites) = passed(&model, |_| {});
        let (attended, each) = passed(&model, |run| {
            run.mediator("all", async |cx| {
                let all = cx.cache(CacheSpec::all().both().operations()).await?;
                cx.input("").await?;
                Ok(all)
            });
        });
        assert!(logits == attended, "{name}");
        assert!(sites == each, "{name}");
    }
    assert!(long > 40, "{long} families have as many positions");
}
