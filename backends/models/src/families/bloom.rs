//! BLOOM (Scao et al. 2022).

use super::gguf::{Metadata, Storage, VARIANCE_EPSILON};
use super::keys::Keys;
use super::{Defaults, Family, Kind, Sizes, share};
use crate::architecture::Architecture;
use crate::config::MAX_POSITIONS;
use crate::decoder::{
    Activation, Alibi, DecoderConfig, EmbeddingNorm, Fused, LLAMA_NAMES, MlpNames, Names, QkvNames,
};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["bloom"],
    gguf: Some("bloom"),
    kind: Kind::Decoder(Family::new(config, NAMES).with_gguf(Storage::Plain, from_gguf)),
};

const NAMES: Names = Names {
    stems: &["transformer.", ""],
    embed: "word_embeddings",
    embed_norm: "word_embeddings_layernorm",
    blocks: "h",
    norm: "ln_f",
    qkv: QkvNames::Fused("self_attention.query_key_value", Fused::Grouped),
    output: "self_attention.dense",
    mlp: MlpNames::Plain(["mlp.dense_h_to_4h", "mlp.dense_4h_to_h"]),
    ..LLAMA_NAMES
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let defaults = Defaults {
        width: 64,
        hidden: 0,
        layers: 2,
        heads: 8,
        kv_heads: None,
        head_width: None,
        vocabulary: 250_880,
        positions: MAX_POSITIONS,
        base: 1e4,
        epsilon: 1e-5,
        activation: "gelu_new",
        is_tied: true,
        bos: Some(1),
        eos: Some(2),
    };
    if keys.flag("slow_but_exact", false)? && keys.size("pretraining_tp", 1)? > 1 {
        // transformers sums what each of the shards computes, and leaves their biases out.
        let expected = "false: matrices that are multiplied as a whole";
        return Err(keys.unsupported("slow_but_exact", expected, "true"));
    }
    let size = |key: &str, other: &str, default: usize| match keys.optional_size(key)? {
        Some(size) => Ok::<_, FileError>(size),
        None => keys.size(other, default),
    };
    let width = size("n_embed", "hidden_size", defaults.width)?;
    let heads = size("n_head", "num_attention_heads", defaults.heads)?;
    let head_width = share(keys, "hidden_size", width, heads)?;
    let sizes = Sizes {
        width,
        hidden: width.saturating_mul(4),
        layers: size("n_layer", "num_hidden_layers", defaults.layers)?,
        heads,
        vocabulary: keys.size("vocab_size", defaults.vocabulary)?,
        positions: defaults.positions,
    };
    let mut config = defaults.like_gpt(keys, sizes, head_width)?;
    config.embedding_norm = EmbeddingNorm::Tokens;
    config.norm.epsilon = keys.number("layer_norm_epsilon", 1e-5)?;
    config.attention.alibi = Some(Alibi::Plain);
    config.attention.has_bias = true;
    config.attention.has_output_bias = true;
    config.mlp.activation = Activation::GeluTanh;
    config.mlp.has_bias = true;
    config.wiring.adds_to_normalized =
        keys.flag("apply_residual_connection_post_layernorm", false)?;
    Ok(config)
}

fn from_gguf(metadata: &Metadata<'_>) -> Result<DecoderConfig, FileError> {
    let hub = metadata
        .decoder()?
        .number("layer_norm_epsilon", VARIANCE_EPSILON)?;
    config(&hub.keys())
}
