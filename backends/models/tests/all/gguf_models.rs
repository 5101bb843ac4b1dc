//! Tiny models in GGUF files against what PyTorch computed with the weights in them.
//!
//! The files in `tests/gguf/models` were written as llama.cpp's converter does: in half precision,
//! in Q8_0, and with a number format for each matrix in turn. Expected are, for two batches of
//! tokens, what enters the first block and leaves each, the logits and the loss.

use std::path::{Path, PathBuf};

use burn::tensor::{Int, Tensor, TensorData};
use interloom_backends::Run;
use interloom_models::files::ModelSource;
use interloom_models::{Architecture, CausalLm};

use crate::families::{Case, numbers};
use crate::gpt2_files::read_stored;
use crate::gradients::next_token_loss;
use crate::support::{cpu, floats, reader};

/// What may differ, as a part of the largest number that is expected.
const TOLERANCE: f64 = 1e-5;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gguf/models")
}

/// The models and how each is stored.
fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let model = entry.unwrap();
        for file in std::fs::read_dir(model.path()).unwrap() {
            let file = file.unwrap().file_name().into_string().unwrap();
            let how = file
                .strip_prefix("model.")
                .and_then(|it| it.strip_suffix(".gguf"));
            let model = model.file_name().into_string().unwrap();
            files.extend(how.map(|how| (model, how.to_owned())));
        }
    }
    files.sort();
    files
}

/// How far what a model computes is from what is expected.
fn distance(model: &dyn CausalLm, case: &Case<'_>) -> f64 {
    let rows = case.rows();
    let prompts: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    let tokens: Vec<i32> = rows
        .concat()
        .into_iter()
        .map(|token| token as i32)
        .collect();
    let tokens = TensorData::new(tokens, [rows.len(), rows[0].len()]);
    let tokens = Tensor::<2, Int>::from_data(tokens, &cpu());
    let mut run = Run::new("compare", model.sites());
    let mut read = vec![("embed".to_owned(), reader(&mut run, "layers.0.input"))];
    for layer in 0.. {
        let site = format!("layers.{layer}.output");
        if model.sites().point(&site).is_none() {
            break;
        }
        read.push((format!("block.{layer}"), reader(&mut run, &site)));
    }
    let ran = run.execute(|| model.forward(tokens)).unwrap();
    let logits = ran.completed().unwrap();
    let loss = floats(next_token_loss(logits.clone(), &prompts));
    let wide = |numbers: Vec<f32>| numbers.into_iter().map(f64::from).collect::<Vec<f64>>();
    let mut furthest = case.distance("logits", &wide(floats(logits)));
    furthest = furthest.max(case.distance("loss", &wide(loss)));
    for (key, saved) in read {
        let found = numbers(&saved.take().unwrap().unwrap());
        furthest = furthest.max(case.distance(&key, &found));
    }
    furthest
}

#[test]
fn files_of_llama_cpp_compute_what_pytorch_does_with_their_weights() {
    let files = files();
    assert!(files.len() >= 10, "{files:?}");
    for (name, how) in files {
        let folder = folder().join(&name);
        let path = folder.join(format!("model.{how}.gguf"));
        let files = ModelSource::resolve(path.to_str().unwrap()).unwrap();
        let model = Architecture::load(files.open().unwrap(), &cpu());
        let model = model.unwrap_or_else(|error| panic!("{name} {how}: {error}"));
        let expected = read_stored(&folder.join(format!("expected.{how}.safetensors")));
        for case in ["long", "short"] {
            let case = Case {
                name: case,
                expected: &expected,
            };
            let distance = distance(&*model, &case);
            assert!(distance <= TOLERANCE, "{name} {how}: {distance}");
        }
    }
}
