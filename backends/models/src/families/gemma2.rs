//! Gemma 2 (Riviere et al. 2024): norms around both layers, caps, and windows in every other block.

use super::gemma::as_all_gemmas;
use super::keys::Keys;
use super::{Defaults, Family, Kind, activation, window, windows};
use crate::architecture::Architecture;
use crate::decoder::{DecoderConfig, LLAMA_NAMES, Names, Norms};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["gemma2"],
    gguf: None,
    kind: Kind::Decoder(Family::new(config, NAMES)),
};

/// The names of models with norms around both layers.
pub(super) const NAMES: Names = Names {
    ln2: "pre_feedforward_layernorm",
    ..LLAMA_NAMES
};

/// The defaults of Gemma 2, many of which Gemma 3 has as well.
pub(super) const DEFAULTS: Defaults = Defaults {
    width: 2304,
    hidden: 9216,
    layers: 26,
    heads: 8,
    kv_heads: Some(4),
    head_width: Some(256),
    vocabulary: 256_000,
    positions: 8192,
    base: 1e4,
    epsilon: 1e-6,
    activation: "gelu_pytorch_tanh",
    is_tied: true,
    bos: Some(2),
    eos: Some(1),
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let mut config = DEFAULTS.like_llama(keys)?;
    as_later_gemmas(keys, &mut config)?;
    config.attention.cap = keys.given_number("attn_logit_softcapping")?.or(Some(50.0));
    config.output.cap = keys.given_number("final_logit_softcapping")?.or(Some(30.0));
    let window = window(keys, Some(4096))?;
    windows(keys, &mut config, window, |layer| layer % 2 == 0)?;
    Ok(config)
}

/// Sets what Gemma 2 and 3 have in common.
pub(super) fn as_later_gemmas(
    keys: &Keys<'_>,
    config: &mut DecoderConfig,
) -> Result<(), FileError> {
    as_all_gemmas(keys, config)?;
    config.mlp.activation = activation(keys, "hidden_activation", "gelu_pytorch_tanh")?;
    config.wiring.norms = Norms::Around;
    config.attention.squared_divisor = keys.number("query_pre_attn_scalar", 256.0)?;
    Ok(())
}
