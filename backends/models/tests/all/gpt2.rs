//! Language models of the GPT-2 architecture: what PyTorch computed, their sites, their generation.

use burn::tensor::{Tensor, activation};
use interloom_backends::{Run, Value};
use interloom_models::{DRAWS, LanguageModel};
use safetensors::tensor::Dtype;

use crate::gpt2_files::{CONFIG, OLD_CONFIG, Stored, folder, stored};
use crate::support::{bits, cpu, floats, passed_operations, points, reader};

const PROMPT: [u32; 6] = [7, 100, 3, 3, 64, 12];
const VOCABULARY: usize = 112;

fn load(config: &str, weights: &[(String, Stored)]) -> LanguageModel {
    let folder = folder(config, weights);
    LanguageModel::load(folder.path().to_str().unwrap(), &cpu()).unwrap()
}

fn plain() -> LanguageModel {
    load(CONFIG, &stored("model.f32"))
}

fn logits(model: &LanguageModel) -> Tensor<3> {
    model.batch(&[&PROMPT]).unwrap().logits()
}

/// Mean cross entropy of the next token, over all rows and positions but the last.
fn loss(logits: Tensor<3>, rows: &[Vec<u32>]) -> f32 {
    let [count, length, tokens] = logits.dims();
    let logarithms = floats(activation::log_softmax(logits, 2));
    let at = |row: usize, position: usize| {
        let next = rows[row][position + 1] as usize;
        -logarithms[(row * length + position) * tokens + next]
    };
    let places = (0..count).flat_map(|row| (0..length - 1).map(move |position| (row, position)));
    let all: Vec<f32> = places.map(|(row, position)| at(row, position)).collect();
    all.iter().sum::<f32>() / all.len() as f32
}

/// Compares at 1e-5 of the largest number that is expected.
#[track_caller]
fn assert_close(what: &str, found: &[f32], expected: &Stored) {
    let expected = expected.numbers();
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    let pairs = found.iter().zip(&expected);
    let apart = pairs.map(|(found, expected)| (f64::from(*found) - expected).abs());
    let furthest = apart.fold(0.0, f64::max);
    assert!(
        furthest <= 1e-5 * largest,
        "{what}: {furthest} of {largest}"
    );
}

#[test]
fn everything_is_what_pytorch_computed() {
    for precision in ["f32", "bf16", "f16"] {
        let model = load(CONFIG, &stored(&format!("model.{precision}")));
        let expected = stored(&format!("expected.{precision}"));
        for case in ["long", "short"] {
            let expected = |key: &str| {
                let key = format!("{case}.{key}");
                let found = expected.iter().find(|(name, _)| *name == key);
                &found.unwrap_or_else(|| panic!("{key}")).1
            };
            let ids = expected("input_ids");
            let tokens: Vec<u32> = ids.numbers().into_iter().map(|id| id as u32).collect();
            let rows: Vec<Vec<u32>> = tokens.chunks(ids.1[1]).map(<[u32]>::to_vec).collect();
            let prompts: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();

            let mut run = Run::new(case, model.sites());
            let mut keys = Vec::new();
            for block in 0..3 {
                let site = format!("layers.{block}");
                keys.push((format!("{site}.output"), format!("block.{block}")));
                let before = match block {
                    0 => "embed".to_owned(),
                    _ => format!("hidden_states.{block}"),
                };
                keys.push((format!("{site}.input"), before));
                let pattern = format!("{site}.attn.pattern.output");
                keys.push((pattern, format!("attn.{block}")));
            }
            keys.push(("norm.output".to_owned(), "hidden_states.3".to_owned()));
            let read = keys.iter().map(|(site, key)| (reader(&mut run, site), key));
            let read: Vec<_> = read.collect();
            let ran = run.execute(|| model.batch(&prompts).unwrap().logits());
            let logits = ran.unwrap().completed().unwrap();
            for (saved, key) in read {
                let found: Vec<f32> = match saved.take().unwrap().unwrap() {
                    Value::Tensor(tensor) => tensor.to_data().iter::<f32>().collect(),
                    other => panic!("{other}"),
                };
                assert_close(&format!("{precision} {case} {key}"), &found, expected(key));
            }
            let what = format!("{precision} {case}");
            assert_close(&what, &floats(logits.clone()), expected("logits"));
            assert_close(&what, &[loss(logits, &rows)], expected("loss"));
        }
    }
}

#[test]
fn files_in_other_styles_are_the_same_model() {
    let plain = bits(logits(&plain()));
    let same = |config: &str, weights: &[(String, Stored)], what: &str| {
        assert_eq!(bits(logits(&load(config, weights))), plain, "{what}");
    };
    same(OLD_CONFIG, &stored("model.f32"), "keys left out");

    let mask = |value: u8, width: usize| vec![value; 64 * 64 * width];
    let mut bare: Vec<(String, Stored)> = stored("model.f32")
        .into_iter()
        .map(|(name, weight)| {
            let name = name.strip_prefix("transformer.").unwrap();
            (name.to_owned(), weight)
        })
        .collect();
    let floats = |block: usize| {
        let mask = Stored(Dtype::F32, vec![1, 1, 64, 64], mask(0, 4));
        (format!("h.{block}.attn.bias"), mask)
    };
    bare.extend((0..3).map(floats));
    same(CONFIG, &bare, "names without `transformer.`, and masks");

    let mut old = stored("model.f32");
    for block in 0..3 {
        let prefix = format!("transformer.h.{block}.attn");
        let mask = Stored(Dtype::BOOL, vec![1, 1, 64, 64], mask(1, 1));
        let masked = Stored(Dtype::F32, Vec::new(), (-1e4_f32).to_le_bytes().to_vec());
        old.push((format!("{prefix}.bias"), mask));
        old.push((format!("{prefix}.masked_bias"), masked));
    }
    let embedding = stored("model.f32");
    let embedding = embedding
        .into_iter()
        .find(|(name, _)| name.ends_with("wte.weight"));
    old.push(("lm_head.weight".to_owned(), embedding.unwrap().1));
    same(
        CONFIG,
        &old,
        "masks of booleans, and a copy of the embedding",
    );
}

#[test]
fn other_weights_and_formats_are_refused() {
    let refused = |config: &str, weights: &[(String, Stored)]| {
        let folder = folder(config, weights);
        let path = folder.path().to_str().unwrap();
        let error = LanguageModel::load(path, &cpu()).unwrap_err();
        format!("{} {error}", error.code()).replace(path, "FOLDER")
    };
    let untied = CONFIG.replace(
        r#""tie_word_embeddings": true"#,
        r#""tie_word_embeddings": false"#,
    );
    let mut more = stored("model.f32");
    let bias = Stored(Dtype::F32, vec![1], vec![0; 4]);
    more.push(("transformer.h.3.attn.bias".to_owned(), bias));
    let wide = CONFIG.replace(r#""n_inner": null"#, r#""n_inner": 96"#);
    let errors = [
        refused(&untied, &stored("model.f32")),
        refused(CONFIG, &more),
        refused(&wide, &stored("model.f32")),
    ];
    insta::assert_snapshot!(errors.join("\n"), @r"
    E044 expected a tensor `lm_head.weight` in FOLDER/model.safetensors, found no such tensor; check that the file is of the model that its configuration describes
    E046 expected every tensor of FOLDER/model.safetensors to be part of the model, found 1 more: `transformer.h.3.attn.bias`; the model would compute something else without them: use a plain model of its architecture
    E045 expected shape [32, 96] for tensor `transformer.h.0.mlp.c_fc.weight`, found [32, 128] in FOLDER/model.safetensors; the weights and the configuration are of different models: fetch both again
    ");
}

#[test]
fn generation_with_a_cache_is_generation_from_scratch() {
    let model = plain();
    let generated = model.batch(&[&PROMPT]).unwrap().generate(8).concat();
    let mut tokens = PROMPT.to_vec();
    for &token in &generated {
        let all = floats(model.batch(&[&tokens]).unwrap().logits());
        let last = &all[all.len() - VOCABULARY..];
        let largest = (0..VOCABULARY).max_by(|&a, &b| last[a].total_cmp(&last[b]));
        assert_eq!(largest, Some(token as usize), "{generated:?}");
        tokens.push(token);
    }
    let is_ended = generated.last() == Some(&2);
    assert!(generated.len() == 8 || is_ended, "{generated:?}");
}

/// The table in the module's documentation.
#[test]
fn every_point_has_the_documented_shape_and_its_other_name() {
    let model = plain();
    let sites = model.sites();
    let mut run = Run::new("read all", sites);
    // A forward pass draws nothing.
    let mut names = points(sites);
    names.retain(|name| !name.starts_with(DRAWS));
    let saved: Vec<_> = names.iter().map(|name| reader(&mut run, name)).collect();
    let read = run.execute(|| logits(&model)).unwrap().completed().unwrap();
    let (operations, modules): (Vec<_>, Vec<_>) =
        (names.iter().zip(&saved)).partition(|(name, _)| name.contains(".source."));
    let lines = modules.into_iter().map(|(name, saved)| {
        let value = saved.take().unwrap().expect("every point is passed");
        let aliases = sites
            .aliases()
            .filter(|(_, point)| sites.point_name(*point) == *name);
        let aliases: String = aliases.map(|(alias, _)| format!(" = {alias}")).collect();
        format!("{name} {value}{aliases}")
    });
    let inner = |line: &String| !line.starts_with("layers.1") && !line.starts_with("layers.2");
    let lines: Vec<String> = lines.filter(inner).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    input i32[1, 6]
    output f32[1, 6, 112]
    embed.input i32[1, 6]
    embed.output f32[1, 6, 32] = hook_embed
    pos_embed.input i32[1, 6]
    pos_embed.output f32[1, 6, 32] = hook_pos_embed
    layers.0.input f32[1, 6, 32] = blocks.0.hook_resid_pre
    layers.0.output f32[1, 6, 32] = blocks.0.hook_resid_post
    layers.0.ln1.input f32[1, 6, 32]
    layers.0.ln1.output f32[1, 6, 32]
    layers.0.ln1.scale.output f32[1, 6, 1] = blocks.0.ln1.hook_scale
    layers.0.ln1.normalized.output f32[1, 6, 32] = blocks.0.ln1.hook_normalized
    layers.0.attn.input f32[1, 6, 32]
    layers.0.attn.output f32[1, 6, 32] = blocks.0.hook_attn_out
    layers.0.attn.q.output f32[1, 6, 4, 8] = blocks.0.attn.hook_q
    layers.0.attn.k.output f32[1, 6, 4, 8] = blocks.0.attn.hook_k
    layers.0.attn.v.output f32[1, 6, 4, 8] = blocks.0.attn.hook_v
    layers.0.attn.scores.output f32[1, 4, 6, 6] = blocks.0.attn.hook_attn_scores
    layers.0.attn.pattern.output f32[1, 4, 6, 6] = blocks.0.attn.hook_pattern
    layers.0.attn.z.output f32[1, 6, 4, 8] = blocks.0.attn.hook_z
    layers.0.attn.result.output f32[1, 6, 4, 32] = blocks.0.attn.hook_result
    layers.0.resid_mid.output f32[1, 6, 32] = blocks.0.hook_resid_mid
    layers.0.ln2.input f32[1, 6, 32]
    layers.0.ln2.output f32[1, 6, 32]
    layers.0.ln2.scale.output f32[1, 6, 1] = blocks.0.ln2.hook_scale
    layers.0.ln2.normalized.output f32[1, 6, 32] = blocks.0.ln2.hook_normalized
    layers.0.mlp.input f32[1, 6, 32]
    layers.0.mlp.output f32[1, 6, 32] = blocks.0.hook_mlp_out
    layers.0.mlp.pre.output f32[1, 6, 128] = blocks.0.mlp.hook_pre
    layers.0.mlp.post.output f32[1, 6, 128] = blocks.0.mlp.hook_post
    norm.input f32[1, 6, 32]
    norm.output f32[1, 6, 32]
    norm.scale.output f32[1, 6, 1] = ln_final.hook_scale
    norm.normalized.output f32[1, 6, 32] = ln_final.hook_normalized
    unembed.input f32[1, 6, 32]
    unembed.output f32[1, 6, 112]
    ");
    assert_eq!(bits(read), bits(logits(&model)), "reading changes nothing");
    let passed = passed_operations(operations, "layers.0.");
    let passed: Vec<&str> = passed
        .lines()
        .filter_map(|line| line.split_once(".fn "))
        .map(|(_, name)| name)
        .collect();
    insta::assert_snapshot!(passed.join(" "), @r#""projection" "reshape" "split" "split" "split" "swap_dims" "swap_dims" "swap_dims" "sqrt" "share" "scores" "mask_fill" "softmax" "share" "matmul" "swap_dims" "reshape" "self.output" "self.up" "activation::gelu_approximate" "self.down""#);
}

#[test]
fn the_output_of_silent_heads_is_a_bias() {
    let model = plain();
    let mut run = Run::new("ablate", model.sites());
    run.mediator("z", async |cx| {
        cx.update_output("layers.1.attn.z", |z| z * 0.0).await
    });
    let attended = reader(&mut run, "layers.1.attn.output");
    let ablated = run.execute(|| logits(&model)).unwrap().completed().unwrap();
    let attended: Tensor<3> = attended.take().unwrap().unwrap().tensor().unwrap();
    let rows = floats(attended);
    let rows: Vec<&[f32]> = rows.chunks(32).collect();
    assert!(rows.iter().all(|row| row == &rows[0]));
    assert_ne!(bits(ablated), bits(logits(&model)));
}
