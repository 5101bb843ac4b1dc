//! Every family in a GGUF file: the tiny models of `tests/families`, converted as llama.cpp's
//! converter would, compute what their folders do.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Int, Tensor, TensorData};
use interloom_models::files::ModelSource;
use interloom_models::{Architecture, CausalLm};
use safetensors::tensor::Dtype;
use serde_json::{Value as Json, json};

use crate::families::{families, file_of};
use crate::gguf_convert::{
    GgufWriter, Tensor as GgufTensor, architecture, as_converted, converted,
};
use crate::gpt2_files::{Stored, folder as write_folder, read_stored};
use crate::support::{cpu, floats};

/// Two rows, one of which is as long as the windows and the factors of long sequences need it.
const TOKENS: [[u32; 12]; 2] = [
    [9, 3, 77, 64, 3, 12, 100, 5, 41, 30, 8, 9],
    [4, 111, 20, 21, 22, 4, 90, 91, 3, 3, 60, 7],
];

fn logits(path: &Path) -> Vec<f32> {
    let files = ModelSource::resolve(path.to_str().unwrap()).unwrap();
    let model = Architecture::load(files.open().unwrap(), &cpu());
    logits_of(
        &*model.unwrap_or_else(|error| panic!("{error}")),
        &TOKENS.concat(),
    )
}

fn logits_of(model: &dyn CausalLm, tokens: &[u32]) -> Vec<f32> {
    let tokens: Vec<i32> = tokens.iter().map(|&token| token as i32).collect();
    let shape = [tokens.len() / TOKENS[0].len(), TOKENS[0].len()];
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(tokens, shape), &cpu());
    floats(model.forward(tokens))
}

/// A model's configuration and weights, with changes to both.
fn model(name: &str) -> (Json, Vec<(String, Stored)>) {
    let config = std::fs::read_to_string(file_of(name, "config.json")).unwrap();
    let stored = read_stored(&file_of(name, "model.safetensors"));
    (serde_json::from_str(&config).unwrap(), stored)
}

/// How far the logits of a converted model are from those of its folder, as a part of the largest;
/// nothing if the converter does not know it.
fn distance(config: &Json, stored: &[(String, Stored)]) -> Option<f64> {
    let config = as_converted(config.clone());
    let writer = converted(&config, &by_name(stored))?;
    Some(distance_of(&writer, &config, stored))
}

fn by_name(stored: &[(String, Stored)]) -> BTreeMap<String, GgufTensor> {
    let values = |tensor: &Stored| {
        assert_eq!(tensor.0, Dtype::F32);
        let values = tensor.numbers().into_iter().map(|value| value as f32);
        (tensor.1.clone(), values.collect())
    };
    let tensors = stored.iter();
    tensors
        .map(|(name, tensor)| (name.clone(), values(tensor)))
        .collect()
}

fn distance_of(writer: &GgufWriter, config: &Json, stored: &[(String, Stored)]) -> f64 {
    let folder = write_folder(&config.to_string(), stored);
    let file = folder.path().join("converted.gguf");
    std::fs::write(&file, writer.bytes()).unwrap();
    let (expected, found) = (logits(folder.path()), logits(&file));
    assert_eq!(expected.len(), found.len());
    let largest = expected.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
    let apart = expected.iter().zip(&found).map(|(a, b)| (a - b).abs());
    let furthest = apart.fold(0.0, |most: f32, x| if x <= most { most } else { x });
    f64::from(furthest / largest)
}

/// The architecture of a model in a GGUF file, and how far its logits are from those of its folder.
pub(crate) fn compared(name: &str) -> Option<(&'static str, f64)> {
    let (config, stored) = model(name);
    let architecture = architecture(config["model_type"].as_str().unwrap())?;
    let distance = distance(&config, &stored).unwrap();
    assert!(distance <= 1e-5, "{name}: {distance}");
    Some((architecture, distance))
}

#[test]
fn a_converted_model_computes_what_its_folder_does() {
    let compared: Vec<_> = families()
        .iter()
        .filter_map(|name| compared(name))
        .collect();
    assert!(compared.len() >= 24, "{compared:?}");
}

/// Adds tensors whose values are all different.
fn add(stored: &mut Vec<(String, Stored)>, name: String, shape: &[usize]) {
    let count: usize = shape.iter().product();
    let value = |index: usize| 0.7 + 0.6 * (index as f32 + stored.len() as f32).sin();
    let bytes = (0..count).flat_map(|index| value(index).to_le_bytes());
    let tensor = Stored(Dtype::F32, shape.to_vec(), bytes.collect());
    stored.retain(|(other, _)| *other != name);
    stored.push((name, tensor));
}

/// A model of another design of its family: changed keys, the norms of a block that it lacks, and
/// what it has in each block instead or beside.
struct Design {
    name: &'static str,
    changes: Json,
    lacks: &'static str,
    has: &'static [(&'static str, &'static [usize])],
}

#[test]
fn other_designs_of_families_are_converted() {
    let designs = [
        Design {
            name: "gpt_neox",
            changes: json!({"use_parallel_residual": false}),
            lacks: "none",
            has: &[],
        },
        Design {
            name: "falcon",
            changes: json!({
                "new_decoder_architecture": true, "multi_query": false, "num_kv_heads": 2
            }),
            lacks: ".input_layernorm.",
            has: &[
                ("ln_attn.weight", &[32]),
                ("ln_attn.bias", &[32]),
                ("ln_mlp.weight", &[32]),
                ("ln_mlp.bias", &[32]),
                ("self_attention.query_key_value.weight", &[64, 32]),
            ],
        },
        Design {
            name: "stablelm",
            changes: json!({"use_parallel_residual": true, "qk_layernorm": true}),
            lacks: ".post_attention_layernorm.",
            has: &[
                ("self_attn.q_layernorm.norms.0.weight", &[16]),
                ("self_attn.q_layernorm.norms.1.weight", &[16]),
                ("self_attn.k_layernorm.norms.0.weight", &[16]),
                ("self_attn.k_layernorm.norms.1.weight", &[16]),
            ],
        },
        Design {
            name: "cohere",
            changes: json!({"use_qk_norm": true}),
            lacks: "none",
            has: &[
                ("self_attn.q_norm.weight", &[4, 8]),
                ("self_attn.k_norm.weight", &[4, 8]),
            ],
        },
        Design {
            name: "olmo",
            changes: json!({"clip_qkv": 0.75}),
            lacks: "none",
            has: &[],
        },
        Design {
            name: "qwen2",
            changes: json!({"tie_word_embeddings": false}),
            lacks: "none",
            has: &[],
        },
    ];
    for design in designs {
        let name = design.name;
        let (mut config, mut stored) = model(name);
        let before = config["tie_word_embeddings"].clone();
        for (key, value) in design.changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        stored.retain(|(name, _)| !name.contains(design.lacks));
        let front = if name == "falcon" {
            "transformer.h"
        } else {
            "model.layers"
        };
        for block in 0..config["num_hidden_layers"].as_u64().unwrap() {
            for (module, shape) in design.has {
                add(&mut stored, format!("{front}.{block}.{module}"), shape);
            }
        }
        if config["tie_word_embeddings"] != before {
            add(&mut stored, "lm_head.weight".to_owned(), &[112, 32]);
        }
        let distance = distance(&config, &stored).unwrap();
        assert!(distance <= 1e-5, "{name}: {distance}");
    }
}

/// What is in a file and not in the model is named, as is what is missing.
#[test]
fn tensors_to_spare_and_missing_ones_are_named() {
    let (config, stored) = model("qwen2");
    let tensors = by_name(&stored);
    let code = |tensors: &BTreeMap<String, GgufTensor>, extra: Option<&str>| {
        let mut writer = converted(&config, tensors).unwrap();
        if let Some(name) = extra {
            writer.add(name, &[1], 0, vec![0; 4]);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, writer.bytes()).unwrap();
        let files = ModelSource::resolve(path.to_str().unwrap()).unwrap();
        let loaded = Architecture::load(files.open().unwrap(), &cpu());
        loaded.map(drop).map_err(|error| error.code())
    };
    assert_eq!(code(&tensors, None), Ok(()));
    for name in [
        "blk.0.attn_q.scale",
        "blk.0.ssm_in.weight",
        "blk.9.attn_q.weight",
    ] {
        assert_eq!(code(&tensors, Some(name)), Err("E046"), "{name}");
    }
    let mut fewer = tensors.clone();
    fewer.remove("model.layers.1.self_attn.k_proj.weight");
    assert_eq!(code(&fewer, None), Err("E044"));
}
