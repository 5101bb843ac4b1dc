//! Settings that the models of `tests/families` do not have: other configurations and weights made
//! of theirs, held against what the sites of a block say of each other.

use burn::tensor::Tensor;
use interloom_backends::{Run, Value};
use interloom_models::LanguageModel;
use safetensors::tensor::Dtype;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::calls::lens_is_logits;
use crate::families::file_of;
use crate::gpt2_files::{Stored, folder, read_stored};
use crate::support::{bits, cpu, floats, reader};

const PROMPT: [u32; 6] = [9, 3, 77, 64, 3, 12];

/// A model of `tests/families` with other keys, and weights that `change` makes of its own.
fn changed(
    name: &str,
    keys: Json,
    change: impl FnOnce(&mut Vec<(String, Stored)>),
) -> LanguageModel {
    let config = std::fs::read_to_string(file_of(name, "config.json")).unwrap();
    let mut config: Json = serde_json::from_str(&config).unwrap();
    for (key, value) in keys.as_object().unwrap() {
        config[key] = value.clone();
    }
    let mut weights = read_stored(&file_of(name, "model.safetensors"));
    change(&mut weights);
    let folder: TempDir = folder(&config.to_string(), &weights);
    let path = folder.path().to_str().unwrap();
    LanguageModel::load(path, &cpu()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn logits(model: &LanguageModel) -> Tensor<3> {
    model.batch(&[&PROMPT]).unwrap().logits()
}

/// Values that are near `center` and all differ.
fn wave(shape: &[usize], center: f32) -> Stored {
    let count = shape.iter().product::<usize>();
    let value = |index: usize| center + 0.2 * (index as f32 * 0.7).sin();
    let bytes = (0..count).flat_map(|index| value(index).to_le_bytes());
    Stored(Dtype::F32, shape.to_vec(), bytes.collect())
}

/// Reads sites of one run; each is asked for by its own name.
fn read<const N: usize>(model: &LanguageModel, names: [&str; N]) -> [Vec<f32>; N] {
    let mut run = Run::new("read", model.sites());
    let saved = names.map(|name| reader(&mut run, name));
    run.execute(|| logits(model)).unwrap();
    saved.map(|saved| match saved.take().unwrap().expect("it is passed") {
        Value::Tensor(tensor) => tensor.to_data().iter::<f32>().collect(),
        other => panic!("a tensor, found {other}"),
    })
}

#[track_caller]
fn assert_sum(sum: &[f32], parts: &[&[f32]]) {
    for (index, sum) in sum.iter().enumerate() {
        let expected: f32 = parts.iter().map(|part| part[index]).sum();
        assert!((sum - expected).abs() < 1e-4, "{sum} {expected}");
    }
}

#[test]
fn norms_on_the_sum_come_after_each_layer() {
    let model = changed("opt", json!({"do_layer_norm_before": false}), |weights| {
        weights.retain(|(name, _)| !name.starts_with("model.decoder.final_layer_norm"));
    });
    let [
        input,
        attn_in,
        attn,
        ln1_in,
        ln1,
        mid,
        mlp_in,
        mlp,
        ln2_in,
        ln2,
        output,
    ] = read(
        &model,
        [
            "layers.1.input",
            "layers.1.attn.input",
            "layers.1.attn.output",
            "layers.1.ln1.input",
            "layers.1.ln1.output",
            "layers.1.resid_mid.output",
            "layers.1.mlp.input",
            "layers.1.mlp.output",
            "layers.1.ln2.input",
            "layers.1.ln2.output",
            "layers.1.output",
        ],
    );
    assert_eq!(
        (&attn_in, &ln1, &mlp_in, &ln2),
        (&input, &mid, &mid, &output)
    );
    assert_sum(&ln1_in, &[&input, &attn]);
    assert_sum(&ln2_in, &[&mid, &mlp]);
    // There is no norm in front of the output layer.
    let [last, unembed] = read(&model, ["layers.2.output", "unembed.input"]);
    assert_eq!(last, unembed);
}

#[test]
fn an_embedding_of_another_width_is_projected_in_and_out() {
    let model = changed("opt", json!({"word_embed_proj_dim": 20}), |weights| {
        for (name, stored) in &mut *weights {
            if name.ends_with("embed_tokens.weight") {
                *stored = wave(&[112, 20], 0.0);
            }
        }
        let named = |name: &str| format!("model.decoder.{name}.weight");
        weights.push((named("project_in"), wave(&[32, 20], 0.0)));
        weights.push((named("project_out"), wave(&[20, 32], 0.0)));
    });
    assert_eq!(logits(&model).dims(), [1, 6, 112]);
    let [embedded, projected, positions, input, out, unembed] = read(
        &model,
        [
            "embed.output",
            "project_in.output",
            "pos_embed.output",
            "layers.0.input",
            "project_out.output",
            "unembed.input",
        ],
    );
    assert_eq!((embedded.len(), projected.len()), (6 * 20, 6 * 32));
    assert_sum(&input, &[&projected, &positions]);
    assert_eq!(out, unembed);
    lens_is_logits("opt", &model);
}

#[test]
fn what_is_added_to_can_be_the_normalized_stream() {
    let key = "apply_residual_connection_post_layernorm";
    let model = changed("bloom", json!({key: true}), |_| {});
    let [ln1, attn, mid, ln2, mlp, output] = read(
        &model,
        [
            "layers.1.ln1.output",
            "layers.1.attn.output",
            "layers.1.resid_mid.output",
            "layers.1.ln2.output",
            "layers.1.mlp.output",
            "layers.1.output",
        ],
    );
    assert_sum(&mid, &[&ln1, &attn]);
    assert_sum(&output, &[&ln2, &mlp]);
}

#[test]
fn falcon_of_the_newer_design_is_that_of_the_older_with_one_group() {
    let plain = bits(logits(&changed("falcon", json!({}), |_| {})));
    let shared = json!({
        "new_decoder_architecture": true, "num_kv_heads": 1, "num_ln_in_parallel_attn": 1
    });
    assert_eq!(bits(logits(&changed("falcon", shared, |_| {}))), plain);
    let two = json!({"new_decoder_architecture": true, "num_kv_heads": 1});
    let model = changed("falcon", two, |weights| {
        let norms: Vec<(String, Stored)> = weights
            .extract_if(.., |(name, _)| name.contains("input_layernorm"))
            .collect();
        for (name, stored) in norms {
            for own in ["ln_attn", "ln_mlp"] {
                weights.push((name.replace("input_layernorm", own), stored.clone()));
            }
        }
    });
    assert_eq!(bits(logits(&model)), plain);
    assert_eq!(model.sites().point("layers.0.resid_mid.output"), None);
}

#[test]
fn falcon_in_sequence_and_with_alibi() {
    let model = changed(
        "falcon",
        json!({"parallel_attn": false, "alibi": true}),
        |weights| {
            for layer in 0..3 {
                for (ending, center) in [("weight", 1.0), ("bias", 0.0)] {
                    let name = format!("transformer.h.{layer}.post_attention_layernorm.{ending}");
                    weights.push((name, wave(&[32], center)));
                }
            }
        },
    );
    let [input, attn, mid, mlp, output, q, k, scores] = read(
        &model,
        [
            "layers.0.input",
            "layers.0.attn.output",
            "layers.0.resid_mid.output",
            "layers.0.mlp.output",
            "layers.0.output",
            "layers.0.attn.q.output",
            "layers.0.attn.k.output",
            "layers.0.attn.scores.output",
        ],
    );
    assert_sum(&mid, &[&input, &attn]);
    assert_sum(&output, &[&mid, &mlp]);
    // Four query heads of width 8 and one key head; slopes are 1/4, 1/16, 1/64 and 1/256.
    for (index, score) in scores.iter().enumerate() {
        let (head, query, key) = (index / 36, index / 6 % 6, index % 6);
        let q = &q[(query * 4 + head) * 8..][..8];
        let product: f32 = q.iter().zip(&k[key * 8..]).map(|(q, k)| q * k).sum();
        let slope = 0.25_f32.powi(head as i32 + 1);
        let expected = (product + slope * key as f32) / 8.0_f32.sqrt();
        assert!((score - expected).abs() < 1e-4, "{score} {expected}");
    }
}

#[test]
fn parallel_blocks_read_one_norm_or_two() {
    let beside = json!({"use_parallel_residual": true});
    let model = changed("stablelm", beside, |weights| {
        weights.retain(|(name, _)| !name.contains("post_attention_layernorm"));
    });
    let names = [
        "layers.1.input",
        "layers.1.ln1.output",
        "layers.1.attn.output",
        "layers.1.mlp.input",
        "layers.1.mlp.output",
        "layers.1.output",
    ];
    let [input, ln1, attn, mlp_in, mlp, output] = read(&model, names);
    assert_eq!(ln1, mlp_in);
    assert_sum(&output, &[&input, &attn, &mlp]);

    let model = changed("gpt_neox", json!({"use_parallel_residual": false}), |_| {});
    let [input, attn, mid, ln2, mlp, output] = read(
        &model,
        [
            "layers.1.input",
            "layers.1.attn.output",
            "layers.1.resid_mid.output",
            "layers.1.ln2.output",
            "layers.1.mlp.output",
            "layers.1.output",
        ],
    );
    assert_sum(&mid, &[&input, &attn]);
    assert_sum(&output, &[&mid, &mlp]);
    assert_eq!(ln2.len(), mid.len());
}

/// Norms of queries and keys are taken under the names of each family, and change the model.
#[test]
fn queries_and_keys_are_normalized_where_a_switch_says_so() {
    let gain = |shape: &[usize]| wave(shape, 1.0);
    let of_layers = |weights: &mut Vec<(String, Stored)>, parts: &[(String, Stored)]| {
        for layer in 0..3 {
            for (name, stored) in parts {
                let name = format!("model.layers.{layer}.self_attn.{name}");
                weights.push((name, stored.clone()));
            }
        }
    };
    let own = |name: &str, heads: usize| {
        let part = |head| (format!("{name}.norms.{head}.weight"), gain(&[16]));
        (0..heads).map(part).collect::<Vec<_>>()
    };
    let whole = |ending: &str, shape: &[usize]| {
        ["q", "k"]
            .map(|part| (format!("{part}_{ending}"), gain(shape)))
            .to_vec()
    };
    let stablelm = [own("q_layernorm", 2), own("k_layernorm", 2)].concat();
    let phi = [
        whole("layernorm.weight", &[16]),
        whole("layernorm.bias", &[16]),
    ]
    .concat();
    let cohere = whole("norm.weight", &[4, 8]);
    for (name, key, parts) in [
        ("stablelm", "qk_layernorm", stablelm),
        ("phi", "qk_layernorm", phi),
        ("cohere", "use_qk_norm", cohere),
    ] {
        let model = changed(name, json!({key: true}), |weights| {
            of_layers(weights, &parts)
        });
        let [q, input, normalized] = read(
            &model,
            [
                "layers.0.attn.q.output",
                "layers.0.attn.q_norm.input",
                "layers.0.attn.q_norm.normalized.output",
            ],
        );
        assert_eq!(q, input, "{name}");
        let width = if name == "cohere" { 8 } else { 16 };
        for head in normalized.chunks(width) {
            let mean = head.iter().sum::<f32>() / width as f32;
            let square = head.iter().map(|x| x * x).sum::<f32>() / width as f32;
            assert!(
                mean.abs() < 1e-4 && (square - 1.0).abs() < 1e-2,
                "{name} {mean} {square}"
            );
        }
        let plain = changed(name, json!({}), |_| {});
        assert_ne!(bits(logits(&model)), bits(logits(&plain)), "{name}");
    }
}

#[test]
fn queries_keys_and_values_are_clipped() {
    let model = changed("olmo", json!({"clip_qkv": 0.5}), |_| {});
    let names = [
        "layers.0.attn.q.output",
        "layers.0.attn.k.output",
        "layers.0.attn.v.output",
    ];
    for values in read(&model, names) {
        let largest = values.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
        assert_eq!(largest, 0.5);
    }
}

/// Past the positions that a model was made for, dynamic frequencies change with each token, and
/// those of `longrope` once: what is generated is what would be without a cache.
#[test]
fn generation_across_lengths_is_generation_from_scratch() {
    let dynamic = json!({
        "max_position_embeddings": 6,
        "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    });
    let yarn = json!({
        "rope_parameters": {
            "rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0,
            "original_max_position_embeddings": 16
        }
    });
    for (keys, is_dynamic) in [(dynamic, true), (yarn, false)] {
        let model = changed("llama", keys, |_| {});
        let mut tokens = PROMPT[..4].to_vec();
        let generated = model.batch(&[&tokens]).unwrap().generate(7).concat();
        for &token in &generated {
            let all = floats(model.batch(&[&tokens]).unwrap().logits());
            let last = &all[all.len() - 112..];
            let largest = (0..112).max_by(|&a, &b| last[a].total_cmp(&last[b]));
            assert_eq!(largest, Some(token as usize), "{generated:?}");
            tokens.push(token);
        }
        // Up to the positions of the model nothing is scaled.
        let plain = changed("llama", json!({}), |_| {});
        let short = |model: &LanguageModel| bits(model.batch(&[&PROMPT]).unwrap().logits());
        assert_eq!(short(&model) == short(&plain), is_dynamic);
    }
}

/// A run computes every expert, and the model on its own those that are taken: to the same bits.
#[test]
fn experts_are_computed_alike_with_a_run_and_without() {
    for name in ["mixtral", "qwen2_moe"] {
        let model = changed(name, json!({"num_experts_per_tok": 1}), |_| {});
        let alone = bits(logits(&model));
        let mut run = Run::new("all", model.sites());
        let weights = reader(&mut run, "layers.1.mlp.weights.output");
        let outputs = [0, 1, 2, 3]
            .map(|expert| reader(&mut run, &format!("layers.1.mlp.experts.{expert}.output")));
        let ran = run.execute(|| logits(&model)).unwrap().completed().unwrap();
        assert_eq!(bits(ran), alone, "{name}");
        assert!(
            outputs
                .iter()
                .all(|output| output.take().unwrap().is_some())
        );
        let weights: Tensor<3> = weights.take().unwrap().unwrap().tensor().unwrap();
        for position in floats(weights).chunks(4) {
            let taken: Vec<&f32> = position.iter().filter(|&&weight| weight > 0.0).collect();
            assert_eq!(taken.len(), 1, "{name} {position:?}");
            assert_eq!(*taken[0] == 1.0, name == "mixtral");
        }
    }
}

/// The router's site decides which experts are taken.
#[test]
fn an_edit_of_the_router_chooses_the_experts() {
    let model = changed("mixtral", json!({}), |_| {});
    let mut run = Run::new("route", model.sites());
    run.mediator("m", async |cx| {
        let logits: Tensor<3> = cx.output("layers.0.mlp.router").await?.tensor()?;
        let first = logits.clone().narrow(2, 0, 1) * 0.0 + 50.0;
        let rest = logits.narrow(2, 1, 3) * 0.0;
        let logits = Tensor::cat(vec![first, rest], 2);
        cx.set_output("layers.0.mlp.router", logits).await
    });
    let expert = reader(&mut run, "layers.0.mlp.experts.0.output");
    let output = reader(&mut run, "layers.0.mlp.output");
    run.execute(|| logits(&model)).unwrap();
    let [expert, output] = [expert, output]
        .map(|saved| -> Tensor<3> { saved.take().unwrap().unwrap().tensor().unwrap() });
    assert_eq!(floats(expert), floats(output));
}
