use serde_json::json;

use super::*;
use crate::files::test_files::tiny_model;

fn smollm2() -> Json {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 576,
        "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "vocab_size": 49152, "rms_norm_eps": 1e-5, "rope_theta": 100000,
        "rope_scaling": null, "max_position_embeddings": 8192, "tie_word_embeddings": true,
        "attention_bias": false, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": [2, 0],
    })
}

fn read(config: &Json) -> Result<LlamaConfig, FileError> {
    LlamaConfig::from_json(&config.to_string(), "config.json")
}

fn with(changes: Json) -> Json {
    let mut config = smollm2();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn without(key: &str) -> Json {
    let mut config = smollm2();
    config.as_object_mut().unwrap().remove(key);
    config
}

#[test]
fn a_llama_configuration_is_read() {
    let expected = LlamaConfig {
        hidden_size: 576,
        intermediate_size: 1536,
        layers: 30,
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        vocab_size: 49152,
        norm_eps: 1e-5,
        rope_theta: 100_000.0,
        max_positions: 8192,
        tie_embeddings: true,
        attention_bias: false,
        bos_id: Some(1),
        eos_ids: vec![2, 0],
    };
    assert_eq!(read(&smollm2()).unwrap(), expected);
    let newer = with(json!({"rope_parameters": {"rope_type": "default", "rope_theta": 100000.0}}));
    assert_eq!(read(&newer).unwrap(), expected);
}

#[test]
fn defaults_are_those_of_transformers() {
    let defaults = |key: &str| read(&without(key)).unwrap();
    assert_eq!(defaults("num_key_value_heads").kv_heads, 9);
    assert_eq!(defaults("rms_norm_eps").norm_eps, 1e-6);
    assert_eq!(defaults("rope_theta").rope_theta, 10_000.0);
    assert_eq!(defaults("max_position_embeddings").max_positions, 2048);
    assert!(!defaults("tie_word_embeddings").tie_embeddings);
    assert_eq!(defaults("bos_token_id").bos_id, None);
    assert!(defaults("eos_token_id").eos_ids.is_empty());
    assert_eq!(read(&with(json!({"head_dim": 32}))).unwrap().head_dim, 32);
}

#[test]
fn what_is_not_plain_llama_is_unsupported() {
    for changes in [
        json!({"model_type": "gpt2"}),
        json!({"rope_scaling": {"rope_type": "llama3", "factor": 32.0}}),
        json!({"rope_scaling": {"type": "linear", "factor": 2.0}}),
        json!({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}),
        json!({"model_type": "mistral"}),
        json!({"model_type": "mistral", "sliding_window": 4096}),
        json!({"hidden_act": "gelu"}),
        json!({"mlp_bias": true}),
        json!({"quantization_config": {"bits": 4}}),
    ] {
        assert_eq!(
            read(&with(changes.clone())).unwrap_err().code(),
            "E043",
            "{changes}"
        );
    }
    insta::assert_snapshot!(read(&with(json!({"model_type": "gpt2"}))).unwrap_err(), @r#"expected the architecture llama (or mistral without a sliding window), found "gpt2" (at key `model_type` of config.json); use a plain llama model, such as smollm2-135m"#);
}

#[test]
fn mistral_without_a_window_is_llama() {
    for changes in [
        json!({"model_type": "mistral", "sliding_window": null}),
        json!({"model_type": "mistral", "sliding_window": 8192}),
    ] {
        assert_eq!(read(&with(changes)).unwrap(), read(&smollm2()).unwrap());
    }
}

#[test]
fn faulty_configurations_are_malformed() {
    for changes in [
        json!({"hidden_size": 577}),
        json!({"hidden_size": 0}),
        json!({"hidden_size": -1}),
        json!({"hidden_size": "576"}),
        json!({"num_key_value_heads": 2}),
        json!({"num_key_value_heads": 0}),
        json!({"num_attention_heads": 0}),
        json!({"num_hidden_layers": u64::MAX}),
        json!({"head_dim": 63}),
        json!({"head_dim": 0}),
        json!({"vocab_size": 1_u64 << 40}),
        json!({"rms_norm_eps": 0}),
        json!({"rms_norm_eps": 2.0}),
        json!({"rope_theta": 0.5}),
        json!({"bos_token_id": 49152}),
        json!({"eos_token_id": [2, 50000]}),
        json!({"intermediate_size": 0}),
        json!({"max_position_embeddings": 0}),
    ] {
        assert_eq!(
            read(&with(changes.clone())).unwrap_err().code(),
            "E042",
            "{changes}"
        );
    }
    for key in [
        "model_type",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "vocab_size",
    ] {
        assert_eq!(read(&without(key)).unwrap_err().code(), "E042", "{key}");
    }
    assert_eq!(
        LlamaConfig::from_json("{", "config.json")
            .unwrap_err()
            .code(),
        "E042"
    );
    insta::assert_snapshot!(read(&with(json!({"num_key_value_heads": 2}))).unwrap_err(), @"expected a multiple of the 2 key/value heads, found 9 (at the number of heads of config.json); the file is cut, damaged or miswritten: fetch it again or convert it anew");
    insta::assert_snapshot!(read(&without("hidden_size")).unwrap_err(), @"expected a value, found no such key (at key `hidden_size` of config.json); the file is cut, damaged or miswritten: fetch it again or convert it anew");
}

#[test]
fn a_gguf_configuration_is_read() {
    let config = LlamaConfig::from_gguf(&tiny_model().open()).unwrap();
    assert_eq!(
        config,
        LlamaConfig {
            hidden_size: 8,
            intermediate_size: 12,
            layers: 1,
            heads: 2,
            kv_heads: 1,
            head_dim: 4,
            vocab_size: 6,
            norm_eps: f64::from(1e-5_f32),
            rope_theta: 10_000.0,
            max_positions: 16,
            tie_embeddings: true,
            attention_bias: false,
            bos_id: Some(0),
            eos_ids: vec![0],
        }
    );
}

#[test]
fn gguf_keys_are_checked() {
    for (key, value, code) in [
        (
            "general.architecture",
            GgufValue::String("gpt2".to_owned()),
            "E043",
        ),
        ("general.architecture", GgufValue::U8(1), "E042"),
        (
            "llama.rope.scaling.type",
            GgufValue::String("yarn".to_owned()),
            "E043",
        ),
        ("llama.rope.scaling.factor", GgufValue::F32(4.0), "E043"),
        ("llama.expert_count", GgufValue::U32(8), "E043"),
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
            LlamaConfig::from_gguf(&gguf).unwrap_err().code(),
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
            LlamaConfig::from_gguf(&tiny_model().with(key, value).open()).is_ok(),
            "{key}"
        );
    }
}
