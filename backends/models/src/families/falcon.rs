//! Falcon (Almazrouei et al. 2023), of all its designs: with one key and value head, with groups,
//! and with one for each head; with rotary positions or alibi; in sequence or beside each other.
//!
//! Alibi is added once, as by the attention that transformers takes if nothing else is asked for;
//! the `eager` one of its version 5.24 adds it twice.

use super::gguf::{Metadata, Storage, VARIANCE_EPSILON};
use super::keys::Keys;
use super::rope::Rope;
use super::{Defaults, Family, Kind, Sizes, activation, share, window_of_all};
use crate::architecture::Architecture;
use crate::decoder::{Alibi, DecoderConfig, Fused, LLAMA_NAMES, MlpNames, Names, QkvNames};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["falcon"],
    gguf: Some("falcon"),
    kind: Kind::Decoder(Family {
        names_for: Some(names),
        ..Family::new(config, NAMES).with_gguf(Storage::Plain, from_gguf)
    }),
};

const NAMES: Names = Names {
    stems: &["transformer.", ""],
    embed: "word_embeddings",
    blocks: "h",
    norm: "ln_f",
    qkv: QkvNames::Fused("self_attention.query_key_value", Fused::Grouped),
    output: "self_attention.dense",
    mlp: MlpNames::Plain(["mlp.dense_h_to_4h", "mlp.dense_4h_to_h"]),
    ..LLAMA_NAMES
};

/// The larger models have other names for two norms that read one stream.
fn names(config: &DecoderConfig) -> Names {
    if config.wiring.is_parallel && !config.wiring.shares_norm {
        Names {
            ln1: "ln_attn",
            ln2: "ln_mlp",
            ..NAMES
        }
    } else {
        NAMES
    }
}

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let defaults = Defaults {
        width: 4544,
        hidden: 0,
        layers: 32,
        heads: 71,
        kv_heads: None,
        head_width: None,
        vocabulary: 65_024,
        positions: 2048,
        base: 1e4,
        epsilon: 1e-5,
        activation: "gelu",
        is_tied: true,
        bos: Some(11),
        eos: Some(11),
    };
    let width = match keys.optional_size("n_embed")? {
        Some(width) => width,
        None => keys.size("hidden_size", defaults.width)?,
    };
    let heads = keys.size("num_attention_heads", defaults.heads)?;
    let head_width = share(keys, "hidden_size", width, heads)?;
    let sizes = Sizes {
        width,
        hidden: keys.size("ffn_hidden_size", width.saturating_mul(4))?,
        layers: keys.size("num_hidden_layers", defaults.layers)?,
        heads,
        vocabulary: keys.size("vocab_size", defaults.vocabulary)?,
        positions: keys.size("max_position_embeddings", defaults.positions)?,
    };
    let rope = Rope::new(defaults.base, head_width, sizes.positions);
    let mut config = defaults.like_gpt(keys, sizes, head_width)?;
    config.norm.epsilon = keys.number("layer_norm_epsilon", 1e-5)?;
    config.mlp.activation = activation(keys, "activation", defaults.activation)?;
    let bias = keys.flag("bias", false)?;
    config.attention.has_bias = bias;
    config.attention.has_output_bias = bias;
    config.mlp.has_bias = bias;
    if keys.flag("alibi", false)? {
        config.attention.alibi = Some(Alibi::Rounded);
    } else {
        config.rotary = vec![rope.read(keys)?];
        config
            .blocks
            .iter_mut()
            .for_each(|block| block.rotary = Some(0));
    }
    design(keys, &mut config)?;
    window_of_all(keys, &mut config, None)?;
    Ok(config)
}

/// Reads which design it is: how many key and value heads, and where the norms are.
fn design(keys: &Keys<'_>, config: &mut DecoderConfig) -> Result<(), FileError> {
    let is_new = keys.flag("new_decoder_architecture", false)?;
    let is_parallel = keys.flag("parallel_attn", true)?;
    let heads = config.attention.heads;
    let kv_heads = keys.size("num_kv_heads", heads)?;
    config.attention.kv_heads = if is_new {
        kv_heads
    } else if keys.flag("multi_query", true)? {
        1
    } else {
        if kv_heads != heads {
            let expected = format!("{heads}, as many as heads");
            return Err(keys.unsupported("num_kv_heads", expected, kv_heads.to_string()));
        }
        heads
    };
    if is_new && !is_parallel {
        let expected = "true with `new_decoder_architecture`";
        return Err(keys.unsupported("parallel_attn", expected, "false"));
    }
    let norms = keys.size("num_ln_in_parallel_attn", if is_new { 2 } else { 1 })?;
    config.wiring.is_parallel = is_parallel;
    config.wiring.shares_norm = is_parallel && norms != 2;
    if is_parallel && norms == 2 && !is_new {
        let expected = "1 without `new_decoder_architecture`";
        return Err(keys.unsupported("num_ln_in_parallel_attn", expected, "2"));
    }
    if is_new && !(1..=2).contains(&norms) {
        let expected = "1 or 2";
        return Err(keys.unsupported("num_ln_in_parallel_attn", expected, norms.to_string()));
    }
    Ok(())
}

/// The converter keeps nothing of the designs in sequence or with alibi, which llama.cpp does not
/// compute.
fn from_gguf(metadata: &Metadata<'_>) -> Result<DecoderConfig, FileError> {
    let norms = if metadata.has("blk.0.attn_norm_2.weight") {
        2
    } else {
        1
    };
    let hub = metadata
        .decoder()?
        .size("ffn_hidden_size", "feed_forward_length")?
        .number("layer_norm_epsilon", VARIANCE_EPSILON)?
        .set("new_decoder_architecture", true)
        .set("num_ln_in_parallel_attn", norms);
    let kv_heads = hub.given("num_key_value_heads");
    config(&hub.set("num_kv_heads", kv_heads).keys())
}
