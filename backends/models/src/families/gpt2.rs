//! GPT-2 (Radford et al. 2019).

use super::gguf::{Metadata, Storage, VARIANCE_EPSILON};
use super::keys::Keys;
use super::{Defaults, Family, Kind, Sizes, activation, share};
use crate::architecture::Architecture;
use crate::decoder::{
    DecoderConfig, Fused, LLAMA_NAMES, LearnedPositions, MlpNames, Names, QkvNames,
};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["gpt2"],
    gguf: Some("gpt2"),
    kind: Kind::Decoder(Family::new(config, NAMES).with_gguf(Storage::Plain, from_gguf)),
};

const NAMES: Names = Names {
    stems: &["transformer.", ""],
    embed: "wte",
    pos_embed: "wpe",
    blocks: "h",
    norm: "ln_f",
    ln1: "ln_1",
    ln2: "ln_2",
    qkv: QkvNames::Fused("attn.c_attn", Fused::Whole),
    output: "attn.c_proj",
    mlp: MlpNames::Plain(["mlp.c_fc", "mlp.c_proj"]),
    is_transposed: true,
    left: &["attn.bias", "attn.masked_bias"],
    ..LLAMA_NAMES
};

/// The defaults of GPT-2, some of which GPT-J has as well.
pub(super) const DEFAULTS: Defaults = Defaults {
    width: 768,
    hidden: 0,
    layers: 12,
    heads: 12,
    kv_heads: None,
    head_width: None,
    vocabulary: 50_257,
    positions: 1024,
    base: 1e4,
    epsilon: 1e-5,
    activation: "gelu_new",
    is_tied: true,
    bos: Some(50_256),
    eos: Some(50_256),
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let mut config = like_gpt2(keys, &DEFAULTS)?;
    config.learned_positions = Some(LearnedPositions { offset: 0 });
    config.attention.has_bias = true;
    config.attention.has_output_bias = true;
    if !keys.flag("scale_attn_weights", true)? {
        config.attention.squared_divisor = 1.0;
    }
    config.attention.divides_by_layer = keys.flag("scale_attn_by_inverse_layer_idx", false)?;
    Ok(config)
}

/// Reads the keys of GPT-2, each of which has a second name.
pub(super) fn like_gpt2(keys: &Keys<'_>, defaults: &Defaults) -> Result<DecoderConfig, FileError> {
    let size = |key: &str, other: &str, default: usize| match keys.optional_size(key)? {
        Some(size) => Ok(size),
        None => keys.size(other, default),
    };
    let width = size("n_embd", "hidden_size", defaults.width)?;
    let heads = size("n_head", "num_attention_heads", defaults.heads)?;
    let head_width = share(keys, "n_embd", width, heads)?;
    let sizes = Sizes {
        width,
        hidden: keys.size("n_inner", width.saturating_mul(4))?,
        layers: size("n_layer", "num_hidden_layers", defaults.layers)?,
        heads,
        vocabulary: keys.size("vocab_size", defaults.vocabulary)?,
        positions: size("n_positions", "max_position_embeddings", defaults.positions)?,
    };
    let mut config = defaults.like_gpt(keys, sizes, head_width)?;
    config.norm.epsilon = keys.number("layer_norm_epsilon", defaults.epsilon)?;
    config.mlp.activation = activation(keys, "activation_function", defaults.activation)?;
    config.mlp.has_bias = true;
    Ok(config)
}

fn from_gguf(metadata: &Metadata<'_>) -> Result<DecoderConfig, FileError> {
    let hub = metadata
        .decoder()?
        .size("n_inner", "feed_forward_length")?
        .number("layer_norm_epsilon", VARIANCE_EPSILON)?;
    config(&hub.keys())
}
