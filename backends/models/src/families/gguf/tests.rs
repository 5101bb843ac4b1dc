use super::super::llama;
use super::*;
use crate::decoder::Scaling;
use crate::files::ModelFiles;
use crate::files::gguf::{GgufArray, GgufValue};
use crate::files::test_files::{GgufFile, tiny_model};

#[test]
fn gguf_names_become_those_of_hugging_face() {
    let (_, weights) = llama::open(ModelFiles::Gguf(tiny_model().open())).unwrap();
    let names: Vec<&str> = weights.names().collect();
    insta::assert_snapshot!(names.join("\n"), @r"
    model.embed_tokens.weight
    model.layers.0.input_layernorm.weight
    model.layers.0.mlp.down_proj.weight
    model.layers.0.mlp.gate_proj.weight
    model.layers.0.mlp.up_proj.weight
    model.layers.0.post_attention_layernorm.weight
    model.layers.0.self_attn.k_proj.weight
    model.layers.0.self_attn.o_proj.weight
    model.layers.0.self_attn.q_proj.weight
    model.layers.0.self_attn.v_proj.weight
    model.norm.weight
    ");
    assert_eq!(
        weights.shape("model.layers.0.mlp.down_proj.weight"),
        Some(&[8, 12][..])
    );
}

#[test]
fn other_names_stay() {
    let gguf = tiny_model().open();
    let config = DecoderConfig::from_gguf(&gguf).unwrap();
    let names = crate::decoder::LLAMA_NAMES;
    let tensors = names::Tensors::new(&gguf, &names, &config, Storage::Interleaved);
    let name = |stored: &str| tensors.hub_name(stored).0;
    assert_eq!(name("output.weight"), "lm_head.weight");
    assert_eq!(
        name("blk.11.attn_k.bias"),
        "model.layers.11.self_attn.k_proj.bias"
    );
    assert_eq!(
        name("blk.2.ffn_gate_exps.weight"),
        "model.layers.2.mlp.experts.*.gate_proj.weight"
    );
    assert_eq!(
        name("blk.2.ffn_down.7.weight"),
        "model.layers.2.mlp.experts.7.down_proj.weight"
    );
    for stored in [
        "blk.2.ffn_down.07.weight",
        "blk.2.attn_q.7.weight",
        "blk.2.attn_q_exps.weight",
        "blk.01.attn_q.weight",
        "blk.0.attn_q.scale",
        "blk.x.attn_q.weight",
        "rope_freqs.weight",
    ] {
        assert_eq!(name(stored), stored);
    }
}

#[test]
fn a_gguf_configuration_is_read() {
    let config = DecoderConfig::from_gguf(&tiny_model().open()).unwrap();
    let attention = &config.attention;
    assert_eq!(
        (config.width, config.mlp.hidden, config.blocks.len()),
        (8, 12, 1)
    );
    assert_eq!(
        (attention.heads, attention.kv_heads, attention.head_width),
        (2, 1, 4)
    );
    assert_eq!((config.vocabulary, config.positions), (6, 16));
    assert_eq!(
        (config.norm.epsilon, config.rotary[0].base),
        (f64::from(1e-5_f32), 1e4)
    );
    assert!(config.output.is_tied && !attention.has_bias);
    assert_eq!((config.bos_id, &config.eos_ids[..]), (Some(0), &[0][..]));
}

#[test]
fn gguf_keys_are_checked() {
    for (key, value, code) in [
        (
            "general.architecture",
            GgufValue::String("bert".to_owned()),
            "E043",
        ),
        ("general.architecture", GgufValue::U8(1), "E042"),
        (
            "llama.rope.scaling.type",
            GgufValue::String("dynamic".to_owned()),
            "E043",
        ),
        ("llama.rope.scaling.factor", GgufValue::F32(-4.0), "E042"),
        (
            "llama.rope.scaling.yarn_ext_factor",
            GgufValue::F32(0.5),
            "E043",
        ),
        ("llama.expert_count", GgufValue::U32(8), "E042"),
        ("llama.expert_weights_scale", GgufValue::F32(2.5), "E043"),
        ("llama.attention.causal", GgufValue::Bool(false), "E043"),
        ("llama.some_new_key", GgufValue::Bool(true), "E043"),
        ("llama.attention.sliding_window", GgufValue::U32(8), "E043"),
        ("llama.rope.dimension_count", GgufValue::U32(2), "E043"),
        ("llama.attention.value_length", GgufValue::U32(2), "E043"),
        ("llama.attention.head_count", GgufValue::U32(0), "E042"),
        ("llama.attention.head_count", GgufValue::I32(-2), "E042"),
        ("llama.embedding_length", GgufValue::F32(8.0), "E042"),
        ("llama.attention.key_length", GgufValue::U32(3), "E042"),
        ("llama.context_length", GgufValue::U64(u64::MAX), "E042"),
        ("tokenizer.ggml.bos_token_id", GgufValue::U32(6), "E042"),
        (
            "llama.attention.layer_norm_rms_epsilon",
            GgufValue::F32(f32::NAN),
            "E042",
        ),
    ] {
        let gguf = tiny_model().with(key, value.clone()).open();
        assert_eq!(
            DecoderConfig::from_gguf(&gguf).unwrap_err().code(),
            code,
            "{key} {value:?}"
        );
    }
    for (key, value) in [
        (
            "llama.rope.scaling.type",
            GgufValue::String("none".to_owned()),
        ),
        ("llama.rope.scaling.factor", GgufValue::F32(1.0)),
        ("llama.expert_count", GgufValue::U32(0)),
    ] {
        assert!(
            DecoderConfig::from_gguf(&tiny_model().with(key, value).open()).is_ok(),
            "{key}"
        );
    }
}

#[test]
fn a_refused_key_is_named() {
    let value = GgufValue::String("tanh".to_owned());
    let gguf = tiny_model().with("llama.some_new_key", value).open();
    let error = DecoderConfig::from_gguf(&gguf).unwrap_err();
    insta::assert_snapshot!(error, @r#"expected nothing that is not computed, found "tanh" (at metadata key `llama.some_new_key` of tiny.gguf); use the folder of the model with its safetensors files, or a file without it"#);
    // What the class of the family refuses is at the key of the file.
    let sizes = [
        "embedding_length",
        "block_count",
        "feed_forward_length",
        "context_length",
    ];
    let text = GgufValue::String("bloom".to_owned());
    let file = sizes.iter().fold(
        GgufFile::new().with("general.architecture", text),
        |file, key| file.with(&format!("bloom.{key}"), GgufValue::U32(9)),
    );
    let gguf = file
        .with("bloom.attention.head_count", GgufValue::U32(2))
        .with("bloom.attention.layer_norm_epsilon", GgufValue::F32(1e-5))
        .with("bloom.vocab_size", GgufValue::U32(9))
        .open();
    let error = DecoderConfig::from_gguf(&gguf).unwrap_err();
    insta::assert_snapshot!(error, @"expected a multiple of the 2 heads, found 9 (at metadata key `bloom.embedding_length` of tiny.gguf); the file is cut, damaged or miswritten: fetch it again or convert it anew");
}

#[test]
fn sizes_may_be_said_for_each_block() {
    let heads = |values: Vec<i32>| {
        let value = GgufValue::Array(GgufArray::I32(values));
        let gguf = tiny_model()
            .with("llama.attention.head_count", value)
            .open();
        DecoderConfig::from_gguf(&gguf)
    };
    assert_eq!(heads(vec![2, 2]).unwrap().attention.heads, 2);
    assert_eq!(heads(vec![2, 1]).unwrap_err().code(), "E043");
    assert_eq!(heads(vec![]).unwrap_err().code(), "E043");
    assert_eq!(heads(vec![-1]).unwrap_err().code(), "E042");
}

/// The same as a `config.json` would say it.
#[test]
fn scaled_positions_are_read() {
    let text = |text: &str| GgufValue::String(text.to_owned());
    let scaling = |keys: &[(&str, GgufValue)]| {
        let key = |key: &str| format!("llama.rope.scaling.{key}");
        let with = |file: GgufFile, (name, value): &(&str, GgufValue)| {
            file.with(&key(name), value.clone())
        };
        let gguf = keys.iter().fold(tiny_model(), with).open();
        let config = DecoderConfig::from_gguf(&gguf).unwrap();
        config.rotary[0].scaling.clone()
    };
    let factor = ("factor", GgufValue::F32(4.0));
    assert_eq!(
        scaling(std::slice::from_ref(&factor)),
        Scaling::Linear { factor: 4.0 }
    );
    let linear = ("type", text("linear"));
    assert_eq!(
        scaling(&[linear, factor.clone()]),
        Scaling::Linear { factor: 4.0 }
    );
    let none = ("type", text("none"));
    assert_eq!(scaling(&[none, factor.clone()]), Scaling::None);

    let yarn = [
        ("type", text("yarn")),
        factor,
        ("original_context_length", GgufValue::U32(8)),
        ("yarn_beta_slow", GgufValue::F32(2.0)),
    ];
    let json = r#"{"model_type": "llama", "hidden_size": 8, "num_attention_heads": 2,
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "beta_slow": 2.0,
        "original_max_position_embeddings": 8}}"#;
    let expected = DecoderConfig::from_json(json, "config.json").unwrap();
    assert_eq!(scaling(&yarn), expected.rotary[0].scaling);
}
