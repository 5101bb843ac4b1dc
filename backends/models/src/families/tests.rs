//! What configurations say, family by family.

use serde_json::{Value as Json, json};

use super::ARCHITECTURES;
use crate::decoder::{Activation, Alibi, DecoderConfig, Norms, RotaryConfig, Scaling, Together};
use crate::files::FileError;

fn smollm2() -> Json {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 576,
        "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "vocab_size": 49152, "rms_norm_eps": 1e-5, "rope_theta": 100000,
        "rope_scaling": null, "max_position_embeddings": 8192, "tie_word_embeddings": true,
        "attention_bias": false, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": [2, 0],
    })
}

fn read(config: &Json) -> Result<DecoderConfig, FileError> {
    DecoderConfig::from_json(&config.to_string(), "config.json")
}

/// A configuration of a family in which only these keys are said.
fn of(family: &str, keys: Json) -> DecoderConfig {
    read(&changed(json!({"model_type": family}), &keys)).unwrap()
}

fn changed(mut config: Json, changes: &Json) -> Json {
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn with(changes: &Json) -> Json {
    changed(smollm2(), changes)
}

fn without(key: &str) -> Json {
    let mut config = smollm2();
    config.as_object_mut().unwrap().remove(key);
    config
}

#[test]
fn a_llama_configuration_is_read() {
    let config = read(&smollm2()).unwrap();
    let attention = &config.attention;
    assert_eq!(
        (config.width, config.mlp.hidden, config.blocks.len()),
        (576, 1536, 30)
    );
    assert_eq!(
        (attention.heads, attention.kv_heads, attention.head_width),
        (9, 3, 64)
    );
    assert_eq!((config.vocabulary, config.norm.epsilon), (49152, 1e-5));
    assert_eq!(
        (config.rotary[0].base, config.rotary[0].width),
        (100_000.0, 64)
    );
    assert_eq!((config.positions, config.longest()), (8192, 8192));
    assert!(config.output.is_tied && !attention.has_bias && config.mlp.is_gated);
    assert_eq!((config.bos_id, &config.eos_ids[..]), (Some(1), &[2, 0][..]));
    let newer = json!({"rope_parameters": {"rope_type": "default", "rope_theta": 100000.0}});
    assert_eq!(read(&with(&newer)).unwrap(), config);
}

#[test]
fn what_is_missing_has_the_default_of_its_class() {
    let llama = of("llama", json!({}));
    let attention = &llama.attention;
    assert_eq!(
        (llama.width, llama.mlp.hidden, llama.blocks.len()),
        (4096, 11_008, 32)
    );
    assert_eq!(
        (attention.heads, attention.kv_heads, attention.head_width),
        (32, 32, 128)
    );
    assert_eq!(
        (llama.vocabulary, llama.norm.epsilon, llama.positions),
        (32_000, 1e-6, 2048)
    );
    assert_eq!(
        (llama.rotary[0].base, llama.output.is_tied),
        (10_000.0, false)
    );
    assert_eq!((llama.bos_id, &llama.eos_ids[..]), (Some(1), &[2][..]));
    // What the class says of tokens holds as far as the model has them.
    assert!(of("gpt2", json!({"vocab_size": 100})).eos_ids.is_empty());
    // A negative number is no token.
    let none = of(
        "llama",
        json!({"bos_token_id": -1, "eos_token_id": [-1, 2]}),
    );
    assert_eq!((none.bos_id, &none.eos_ids[..]), (None, &[2][..]));
    assert_eq!(of("gpt2", json!({})).eos_ids, [50_256]);
    assert_eq!(
        of("llama", json!({"eos_token_id": null})).eos_ids,
        [] as [u32; 0]
    );

    assert_eq!(of("mistral", json!({})).attention.kv_heads, 8);
    assert_eq!(
        of("mistral", json!({"num_key_value_heads": null}))
            .attention
            .kv_heads,
        32
    );
    assert_eq!(of("mistral", json!({})).blocks[3].window, Some(4096));
    assert_eq!(
        of("mistral", json!({"sliding_window": null})).blocks[3].window,
        None
    );
    assert_eq!(of("mixtral", json!({})).rotary[0].base, 1e6);
    assert_eq!(of("qwen3", json!({})).attention.head_width, 128);
    assert_eq!(of("smollm3", json!({})).rotary[0].base, 2e6);
    assert_eq!(of("gemma2", json!({})).attention.cap, Some(50.0));
    assert_eq!(
        of("gemma2", json!({"attn_logit_softcapping": null}))
            .attention
            .cap,
        None
    );
    assert_eq!(of("gemma2", json!({})).output.cap, Some(30.0));
    assert_eq!(
        of("gpt2", json!({"n_inner": null, "n_embd": 24}))
            .mlp
            .hidden,
        96
    );
    assert_eq!(of("gpt2", json!({"hidden_size": 24})).width, 24);
    assert_eq!(of("bloom", json!({"n_embed": 32})).mlp.hidden, 128);
    assert_eq!(of("gpt_neox", json!({})).rotary[0].width, 24);
    assert_eq!(
        of("gpt_neox", json!({"rotary_pct": 1.0})).rotary[0].width,
        96
    );
    assert_eq!(of("phi", json!({})).rotary[0].width, 32);
    assert_eq!(of("stablelm", json!({})).rotary[0].width, 20);
    assert_eq!(of("cohere", json!({})).output.multiplier, Some(0.0625));
    let decoders = ARCHITECTURES
        .iter()
        .filter(|family| family.decoder("").is_ok());
    for family in decoders.flat_map(|family| family.model_types) {
        assert!(of(family, json!({})).longest() >= 512, "{family}");
    }
}

#[test]
fn windows_are_in_the_blocks_that_the_configuration_says() {
    let windows = |family: &str, keys: Json| -> Vec<Option<usize>> {
        let blocks = of(family, keys).blocks.into_iter();
        blocks.map(|block| block.window).collect()
    };
    let (none, some) = (None, Some(9));
    let qwen = json!({
        "num_hidden_layers": 4, "sliding_window": 9, "max_window_layers": 2,
        "use_sliding_window": true
    });
    assert_eq!(windows("qwen2", qwen.clone()), [none, none, some, some]);
    assert_eq!(windows("qwen2_moe", qwen.clone()), [some, none, none, none]);
    let off = changed(qwen, &json!({"use_sliding_window": false}));
    assert_eq!(windows("qwen2", off.clone()), [none; 4]);
    assert_eq!(windows("qwen2_moe", off), [none; 4]);
    let gemma = json!({"num_hidden_layers": 4, "sliding_window": 9, "sliding_window_pattern": 3});
    assert_eq!(windows("gemma2", gemma.clone()), [some, none, some, none]);
    assert_eq!(windows("gemma3_text", gemma), [some, some, none, some]);
    let kinds = json!({
        "num_hidden_layers": 2, "sliding_window": 9,
        "layer_types": ["full_attention", "sliding_attention"]
    });
    assert_eq!(windows("gemma2", kinds.clone()), [none, some]);
    assert_eq!(windows("smollm3", kinds), [none, some]);
    let smol = json!({"num_hidden_layers": 5, "sliding_window": 9, "use_sliding_window": true});
    assert_eq!(windows("smollm3", smol), [none, none, none, some, none]);
    let positions = of(
        "smollm3",
        json!({"num_hidden_layers": 3, "no_rope_layers": [0, 1, 0]}),
    );
    let positions = positions.blocks.iter().map(|block| block.rotary);
    assert_eq!(positions.collect::<Vec<_>>(), [None, Some(0), None]);
}

#[test]
fn some_blocks_of_ministral_have_no_window() {
    let kinds = json!({"num_hidden_layers": 2, "sliding_window": 5,
        "layer_types": ["sliding_attention", "full_attention"]});
    let windows = |config: DecoderConfig| [config.blocks[0].window, config.blocks[1].window];
    for family in ["mistral", "ministral"] {
        assert_eq!(windows(of(family, kinds.clone())), [Some(5), None]);
        assert_eq!(windows(of(family, json!({}))), [Some(4096); 2]);
    }
}

#[test]
fn experts_are_in_the_blocks_that_the_configuration_says() {
    let config = of(
        "qwen2_moe",
        json!({"num_hidden_layers": 6, "decoder_sparse_step": 2, "mlp_only_layers": [3]}),
    );
    let has: Vec<bool> = config
        .blocks
        .iter()
        .map(|block| block.has_experts)
        .collect();
    assert_eq!(has, [false, true, false, false, false, true]);
    let mixtral = of("mixtral", json!({"num_local_experts": 4}))
        .experts
        .unwrap();
    assert_eq!(
        (mixtral.count, mixtral.taken, mixtral.normalizes),
        (4, 2, true)
    );
}

#[test]
fn rotary_positions_are_scaled_as_either_style_says() {
    let scaling = |family: &str, keys: Json| of(family, keys).rotary.swap_remove(0).scaling;
    let linear = Scaling::Linear { factor: 4.0 };
    for keys in [
        json!({"rope_scaling": {"type": "linear", "factor": 4.0}}),
        json!({"rope_scaling": {"rope_type": "linear", "factor": 4}, "rope_theta": 1e4}),
        json!({"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}}),
    ] {
        assert_eq!(scaling("llama", keys.clone()), linear, "{keys}");
        assert_eq!(scaling("falcon", keys.clone()), linear, "{keys}");
    }
    assert_eq!(
        scaling("llama", json!({"rope_scaling": {"type": "default"}})),
        Scaling::None
    );
    let llama3 = json!({"rope_scaling": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64
    }});
    let (factor, low, high) = (8.0, 1.0, 4.0);
    let original = 64;
    let expected = Scaling::Llama3 {
        factor,
        low,
        high,
        original,
    };
    assert_eq!(scaling("llama", llama3), expected);
    let yarn = json!({
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0}, "max_position_embeddings": 128
    });
    let Scaling::Yarn {
        attention_factor,
        fast,
        slow,
        truncates,
        original,
        ..
    } = scaling("qwen2", yarn)
    else {
        panic!("yarn")
    };
    assert!((attention_factor - (0.1 * 4.0_f64.ln() + 1.0)).abs() < 1e-12);
    assert_eq!((fast, slow, truncates, original), (32.0, 1.0, true, 128));
    // The older names of Phi-3; its class has an attribute that comes before what is inside.
    for name in ["su", "yarn", "longrope"] {
        let factors = vec![1.5; 48];
        let keys = json!({
            "max_position_embeddings": 8192,
            "rope_scaling": {
                "type": name, "short_factor": factors, "long_factor": factors,
                "original_max_position_embeddings": 77
            }
        });
        let Scaling::LongRope {
            original,
            attention_factor,
            ..
        } = scaling("phi3", keys)
        else {
            panic!("{name}")
        };
        assert_eq!(original, 4096);
        let expected = (1.0 + 2.0_f64.ln() / 4096.0_f64.ln()).sqrt();
        assert!((attention_factor - expected).abs() < 1e-12);
    }
    let dynamic = json!({
        "rope_scaling": {"type": "dynamic", "factor": 2.0}, "max_position_embeddings": 64
    });
    assert_eq!(of("llama", dynamic).longest(), crate::MAX_POSITIONS);

    let gemma = of(
        "gemma3_text",
        json!({
            "rope_scaling": {"rope_type": "linear", "factor": 8.0}, "rope_local_base_freq": 5e3
        }),
    );
    assert_eq!(gemma.rotary[0].scaling, Scaling::Linear { factor: 8.0 });
    assert_eq!((gemma.rotary[0].base, gemma.rotary[1].base), (1e6, 5e3));
    assert_eq!(gemma.rotary[1].scaling, Scaling::None);
    assert_eq!(
        (gemma.blocks[0].rotary, gemma.blocks[5].rotary),
        (Some(1), Some(0))
    );
    // Whether YaRN rounds where its ramp ends is not asked for each kind of block.
    let yarn = json!({"rope_type": "yarn", "factor": 2.0, "truncate": false});
    let kinds = json!({"full_attention": yarn, "sliding_attention": yarn});
    let rounds = |rotary: &RotaryConfig| match rotary.scaling {
        Scaling::Yarn { truncates, .. } => truncates,
        _ => panic!("yarn"),
    };
    let gemma = of("gemma3_text", json!({"rope_parameters": kinds}));
    assert!(gemma.rotary.iter().all(rounds));
    let llama = of("llama", json!({"rope_parameters": yarn}));
    assert!(!rounds(&llama.rotary[0]));
}

#[test]
fn designs_are_what_the_configuration_says() {
    let falcon = |keys: Json| {
        let config = of("falcon", keys);
        let wiring = config.wiring;
        (
            config.attention.kv_heads,
            wiring.is_parallel,
            wiring.shares_norm,
        )
    };
    assert_eq!(falcon(json!({})), (1, true, true));
    assert_eq!(falcon(json!({"parallel_attn": false})), (1, false, false));
    assert_eq!(falcon(json!({"multi_query": false})), (71, true, true));
    let new = json!({"new_decoder_architecture": true, "num_kv_heads": 1});
    assert_eq!(falcon(new.clone()), (1, true, false));
    let shared = changed(new, &json!({"num_ln_in_parallel_attn": 1}));
    assert_eq!(falcon(shared), (1, true, true));
    let alibi = of("falcon", json!({"alibi": true}));
    assert_eq!(
        (alibi.attention.alibi, alibi.rotary.len()),
        (Some(Alibi::Rounded), 0)
    );

    let opt = of(
        "opt",
        json!({"do_layer_norm_before": false, "word_embed_proj_dim": 512}),
    );
    assert_eq!(
        (opt.wiring.norms, opt.has_final_norm),
        (Norms::OnSum, false)
    );
    assert_eq!((opt.width, opt.embedding_width), (768, 512));
    assert!(
        of(
            "bloom",
            json!({"apply_residual_connection_post_layernorm": true})
        )
        .wiring
        .adds_to_normalized
    );
    let neox = of("gpt_neox", json!({"use_parallel_residual": false}));
    assert!(!neox.wiring.is_parallel);
    let over = |family: &str, keys: Json| of(family, keys).attention.head_norm.map(|it| it.over);
    assert_eq!(
        over("phi", json!({"qk_layernorm": true})),
        Some(Together::Head)
    );
    assert_eq!(
        over("stablelm", json!({"qk_layernorm": true})),
        Some(Together::OwnHead)
    );
    assert_eq!(
        over("cohere", json!({"use_qk_norm": true})),
        Some(Together::OwnHead)
    );
    assert_eq!(over("olmo2", json!({})), Some(Together::All));
    assert_eq!(
        of("olmo", json!({"clip_qkv": 8.0})).attention.clip,
        Some(8.0)
    );

    // The root of the product of a head's width and the number of the block.
    let gpt2 = of("gpt2", json!({"scale_attn_by_inverse_layer_idx": true}));
    assert_eq!(
        (
            gpt2.attention.squared_divisor,
            gpt2.attention.divides_by_layer
        ),
        (64.0, true)
    );
    assert_eq!(
        of("gpt2", json!({"scale_attn_weights": false}))
            .attention
            .squared_divisor,
        1.0
    );
    assert_eq!(
        of("gemma", json!({"hidden_act": "gelu"})).mlp.activation,
        Activation::GeluTanh
    );
    assert_eq!(
        of("gemma", json!({"hidden_act": "gelu_python"}))
            .mlp
            .activation,
        Activation::Gelu
    );
}

#[test]
fn what_is_not_computed_is_refused_by_name() {
    let refused = |config: Json| {
        let error = read(&config).unwrap_err();
        format!("{} {error}", error.code())
    };
    let of = |family: &str, keys: Json| refused(changed(json!({"model_type": family}), &keys));
    let errors = [
        of(
            "llama",
            json!({"rope_scaling": {"rope_type": "mrope", "factor": 2.0}}),
        ),
        of("llama", json!({"partial_rotary_factor": 0.5})),
        of(
            "llama",
            json!({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}),
        ),
        of("llama", json!({"hidden_act": "xielu"})),
        of("llama", json!({"quantization_config": {"bits": 4}})),
        of(
            "gpt2",
            json!({"quantization_config": {"quant_method": "gptq"}}),
        ),
        of(
            "llama",
            json!({"quantization": {"group_size": 32, "bits": 4}}),
        ),
        of("llama", json!({"layer_types": ["sliding_attention"]})),
        of("gpt2", json!({"add_cross_attention": true})),
        of(
            "bert",
            json!({"architectures": ["BertForSequenceClassification"]}),
        ),
        of("gpt2", json!({"activation_function": "prelu"})),
        of("gemma", json!({"use_bidirectional_attention": true})),
        of("gemma3_text", json!({"attn_logit_softcapping": 30.0})),
        of(
            "phi3",
            json!({"rope_scaling": {"type": "linear", "factor": 2.0}}),
        ),
        of(
            "falcon",
            json!({"new_decoder_architecture": true, "parallel_attn": false}),
        ),
        of("falcon", json!({"num_ln_in_parallel_attn": 2})),
        of("stablelm", json!({"head_dim": 8})),
        of(
            "qwen2",
            json!({"num_hidden_layers": 1, "layer_types": ["chunked_attention"]}),
        ),
        of(
            "bloom",
            json!({"slow_but_exact": true, "pretraining_tp": 2}),
        ),
    ];
    insta::assert_snapshot!(errors.join("\n"), @r#"
    E043 expected one of default, linear, dynamic, llama3, yarn, longrope, found "mrope" (at key `rope_scaling.rope_type` of config.json); use a model of the family without it
    E043 expected 1: heads are rotated as a whole, found 0.5 (at key `partial_rotary_factor` of config.json); use a model of the family without it
    E043 expected rotary positions of one kind for all blocks, found some for `full_attention` (at key `rope_parameters` of config.json); use a model of the family without it
    E043 expected one of gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, gelu_accurate, gelu_10, quick_gelu, relu, relu2, relu6, leaky_relu, silu, hardswish, mish, tanh, sigmoid, laplace, sqrtsoftplus, linear, found "xielu" (at key `hidden_act` of config.json); use a model of the family without it
    E043 expected weights that are not quantised, found quantised weights (at key `quantization_config` of config.json); use the model that it was made of, whose weights are not quantised, or a GGUF file
    E043 expected weights that are not quantised, found quantised weights (gptq) (at key `quantization_config` of config.json); use the model that it was made of, whose weights are not quantised, or a GGUF file
    E043 expected weights that are not quantised, found quantised weights (MLX) (at key `quantization` of config.json); use the model that it was made of, whose weights are not quantised, or a GGUF file
    E043 expected full_attention in all layers, found sliding_attention (at key `layer_types` of config.json); use a model of the family without it
    E043 expected no encoder beside it, found true (at key `add_cross_attention` of config.json); use a model of the family without it
    E043 expected a model with the output layer of its vocabulary, found `BertForSequenceClassification` (at key `architectures` of config.json); use the model that it was made of, with that layer
    E043 expected one of gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, gelu_accurate, gelu_10, quick_gelu, relu, relu2, relu6, leaky_relu, silu, hardswish, mish, tanh, sigmoid, laplace, sqrtsoftplus, linear, found "prelu" (at key `activation_function` of config.json); use a model of the family without it
    E043 expected causal attention, found true (at key `use_bidirectional_attention` of config.json); use a model of the family without it
    E043 expected none: Gemma 3 does not cap its scores, found a cap (at key `attn_logit_softcapping` of config.json); use a model of the family without it
    E043 expected default or longrope, found another kind (at key `rope_parameters.rope_type` of config.json); use a model of the family without it
    E043 expected true with `new_decoder_architecture`, found false (at key `parallel_attn` of config.json); use a model of the family without it
    E043 expected 1 without `new_decoder_architecture`, found 2 (at key `num_ln_in_parallel_attn` of config.json); use a model of the family without it
    E043 expected 80, the share of each head, found 8 (at key `head_dim` of config.json); use a model of the family without it
    E043 expected sliding_attention or full_attention, found chunked_attention (at key `layer_types` of config.json); use a model of the family without it
    E043 expected false: matrices that are multiplied as a whole, found true (at key `slow_but_exact` of config.json); use a model of the family without it
    "#);
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
        json!({"num_hidden_layers": 0}),
        json!({"head_dim": 63}),
        json!({"head_dim": 0}),
        json!({"vocab_size": 1_u64 << 40}),
        json!({"rms_norm_eps": 0}),
        json!({"rms_norm_eps": 2.0}),
        json!({"rope_theta": 0.5}),
        json!({"rope_scaling": {"type": "linear"}}),
        json!({"rope_scaling": {"type": "linear", "factor": -1.0}}),
        json!({"rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [1]}}),
        json!({"bos_token_id": 49152}),
        json!({"eos_token_id": [2, 50000]}),
        json!({"eos_token_id": "2"}),
        json!({"intermediate_size": 0}),
        json!({"max_position_embeddings": 0}),
    ] {
        let code = read(&with(&changes)).unwrap_err().code();
        assert_eq!(code, "E042", "{changes}");
    }
    assert_eq!(read(&without("model_type")).unwrap_err().code(), "E042");
    assert_eq!(
        DecoderConfig::from_json("{", "config.json")
            .unwrap_err()
            .code(),
        "E042"
    );
    let errors = [
        json!({"num_key_value_heads": 2}),
        json!({"hidden_size": 577}),
        json!({"num_hidden_layers": "many"}),
    ];
    let errors = errors.map(|changes| read(&with(&changes)).unwrap_err().to_string());
    insta::assert_snapshot!(errors.join("\n"), @r#"
    expected a multiple of the 2 key/value heads, found 9 (at the number of heads of config.json); the file is cut, damaged or miswritten: fetch it again or convert it anew
    expected a multiple of the 9 heads, found 577 (at key `hidden_size` of config.json); the file is cut, damaged or miswritten: fetch it again or convert it anew
    expected a whole number that is not negative, found "many" (at key `num_hidden_layers` of config.json); the file is cut, damaged or miswritten: fetch it again or convert it anew
    "#);
}
