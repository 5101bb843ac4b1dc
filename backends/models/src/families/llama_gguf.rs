//! Llama in GGUF files: the metadata, and the names of tensors.

use super::Defaults;
use super::keys::Keys;
use crate::config::saturate;
use crate::decoder::DecoderConfig;
use crate::files::gguf::GgufValue;
use crate::files::{FileError, Gguf, RowOrder};

const DEFAULT_THETA: f64 = 10_000.0;
const ADVICE: &str = "use a plain llama model, such as smollm2-135m";

/// Reads the metadata of a file of the architecture `llama`.
pub(super) fn from_gguf(gguf: &Gguf) -> Result<DecoderConfig, FileError> {
    refuse_unsupported_keys(gguf)?;
    let width = size(gguf, "llama.embedding_length")?;
    let heads = size(gguf, "llama.attention.head_count")?;
    let head_width = optional_size(gguf, "llama.attention.key_length")?;
    let head_width = head_width.or(width.checked_div(heads)).unwrap_or(0);
    let rotated = optional_size(gguf, "llama.rope.dimension_count")?.unwrap_or(head_width);
    let value_width = optional_size(gguf, "llama.attention.value_length")?.unwrap_or(head_width);
    for (width, key) in [
        (rotated, "llama.rope.dimension_count"),
        (value_width, "llama.attention.value_length"),
    ] {
        if width != head_width {
            let place = format!("metadata key `{key}`");
            let expected = format!("{head_width}, the width of a head");
            return Err(unsupported(
                gguf.name(),
                place,
                &expected,
                width.to_string(),
            ));
        }
    }
    let vocabulary = optional_size(gguf, "llama.vocab_size")?;
    let theta = gguf.optional("llama.rope.freq_base", "a number", GgufValue::as_f64)?;
    let has_bias = gguf.tensors().contains_key("blk.0.attn_q.bias");
    let defaults = Defaults {
        width,
        hidden: size(gguf, "llama.feed_forward_length")?,
        layers: size(gguf, "llama.block_count")?,
        heads,
        kv_heads: optional_size(gguf, "llama.attention.head_count_kv")?,
        head_width: Some(head_width),
        vocabulary: match vocabulary {
            Some(vocabulary) => vocabulary,
            None => gguf.texts("tokenizer.ggml.tokens")?.len(),
        },
        positions: size(gguf, "llama.context_length")?,
        base: theta.unwrap_or(DEFAULT_THETA),
        epsilon: gguf.number("llama.attention.layer_norm_rms_epsilon")?,
        activation: "silu",
        is_tied: !gguf.tensors().contains_key("output.weight"),
        bos: None,
        eos: None,
    };
    let mut config = defaults.like_llama(&Keys::parse("{}", gguf.name())?)?;
    config.attention.has_bias = has_bias;
    config.attention.has_output_bias = has_bias;
    config.bos_id = token(gguf, "tokenizer.ggml.bos_token_id")?;
    config.eos_ids = Vec::from_iter(token(gguf, "tokenizer.ggml.eos_token_id")?);
    Ok(config)
}

/// What Hugging Face calls a tensor of a GGUF file; unknown names stay, and are left over.
pub(super) fn hugging_face_name(stored: &str, config: &DecoderConfig) -> (String, RowOrder) {
    let top = match stored {
        "token_embd.weight" => Some("model.embed_tokens.weight"),
        "output_norm.weight" => Some("model.norm.weight"),
        "output.weight" => Some("lm_head.weight"),
        _ => None,
    };
    if let Some(top) = top {
        return (top.to_owned(), RowOrder::AsStored);
    }
    block_name(stored, config).unwrap_or_else(|| (stored.to_owned(), RowOrder::AsStored))
}

fn block_name(stored: &str, config: &DecoderConfig) -> Option<(String, RowOrder)> {
    let (block, rest) = stored.strip_prefix("blk.")?.split_once('.')?;
    let canonical = block
        .parse::<usize>()
        .is_ok_and(|number| number.to_string() == block);
    let (part, ending) = rest.split_once('.')?;
    if !canonical || !matches!(ending, "weight" | "bias") {
        return None;
    }
    let (module, rows) = match part {
        "attn_norm" => ("input_layernorm", RowOrder::AsStored),
        "attn_q" => (
            "self_attn.q_proj",
            RowOrder::Interleaved {
                heads: config.attention.heads,
            },
        ),
        "attn_k" => (
            "self_attn.k_proj",
            RowOrder::Interleaved {
                heads: config.attention.kv_heads,
            },
        ),
        "attn_v" => ("self_attn.v_proj", RowOrder::AsStored),
        "attn_output" => ("self_attn.o_proj", RowOrder::AsStored),
        "ffn_norm" => ("post_attention_layernorm", RowOrder::AsStored),
        "ffn_gate" => ("mlp.gate_proj", RowOrder::AsStored),
        "ffn_up" => ("mlp.up_proj", RowOrder::AsStored),
        "ffn_down" => ("mlp.down_proj", RowOrder::AsStored),
        _ => return None,
    };
    Some((format!("model.layers.{block}.{module}.{ending}"), rows))
}

fn refuse_unsupported_keys(gguf: &Gguf) -> Result<(), FileError> {
    let scaling = gguf.optional("llama.rope.scaling.type", "a string", GgufValue::as_str)?;
    if let Some(kind) = scaling.filter(|&kind| kind != "none") {
        let place = "metadata key `llama.rope.scaling.type`".to_owned();
        return Err(unsupported(
            gguf.name(),
            place,
            "rotary positions without scaling",
            kind,
        ));
    }
    for (key, expected) in [
        (
            "llama.rope.scale_linear",
            "rotary positions without scaling",
        ),
        (
            "llama.rope.scaling.factor",
            "rotary positions without scaling",
        ),
        ("llama.expert_count", "one feed-forward layer per block"),
        (
            "llama.attention.sliding_window",
            "attention to all positions",
        ),
    ] {
        let neutral = |value: &GgufValue| match value.as_f64() {
            Some(factor) => factor == 1.0 || factor == 0.0,
            None => value.as_u64() == Some(0),
        };
        if let Some(value) = gguf.metadata().get(key).filter(|value| !neutral(value)) {
            let found = match (value.as_u64(), value.as_f64()) {
                (Some(number), _) => number.to_string(),
                (_, Some(number)) => number.to_string(),
                _ => value.type_name(),
            };
            return Err(unsupported(
                gguf.name(),
                format!("metadata key `{key}`"),
                expected,
                found,
            ));
        }
    }
    Ok(())
}

fn size(gguf: &Gguf, key: &str) -> Result<usize, FileError> {
    gguf.integer(key).map(saturate)
}

fn optional_size(gguf: &Gguf, key: &str) -> Result<Option<usize>, FileError> {
    Ok(gguf
        .optional(key, "a non-negative whole number", GgufValue::as_u64)?
        .map(saturate))
}

fn token(gguf: &Gguf, key: &str) -> Result<Option<u32>, FileError> {
    gguf.optional(key, "a token", |value| {
        value.as_u64().and_then(|id| id.try_into().ok())
    })
}

fn unsupported(
    file: &str,
    place: impl Into<String>,
    expected: &str,
    found: impl Into<String>,
) -> FileError {
    FileError::unsupported(file, place, expected, found, ADVICE)
}

#[cfg(test)]
mod tests {
    use super::super::llama;
    use super::*;
    use crate::files::ModelFiles;
    use crate::files::test_files::tiny_model;

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
        let config = from_gguf(&tiny_model().open()).unwrap();
        let name = |stored: &str| hugging_face_name(stored, &config).0;
        assert_eq!(name("output.weight"), "lm_head.weight");
        assert_eq!(
            name("blk.11.attn_k.bias"),
            "model.layers.11.self_attn.k_proj.bias"
        );
        for stored in [
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
}
