//! Granite 3: llama with multipliers.

use super::keys::Keys;
use super::{Defaults, Family, Kind, window_of_all};
use crate::architecture::Architecture;
use crate::decoder::{DecoderConfig, LLAMA_NAMES};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["granite"],
    gguf: None,
    kind: Kind::Decoder(Family::new(config, LLAMA_NAMES)),
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let defaults = Defaults {
        width: 4096,
        hidden: 11_008,
        layers: 32,
        heads: 32,
        kv_heads: None,
        head_width: None,
        vocabulary: 32_000,
        positions: 2048,
        base: 1e4,
        epsilon: 1e-6,
        activation: "silu",
        is_tied: false,
        bos: Some(1),
        eos: Some(2),
    };
    let mut config = defaults.like_llama(keys)?;
    let bias = keys.flag("attention_bias", false)?;
    config.attention.has_bias = bias;
    config.attention.has_output_bias = bias;
    config.mlp.has_bias = keys.flag("mlp_bias", false)?;
    config.embedding_multiplier = Some(keys.number("embedding_multiplier", 1.0)?);
    config.wiring.multiplier = Some(keys.number("residual_multiplier", 1.0)?);
    config.output.multiplier = Some(1.0 / keys.number("logits_scaling", 1.0)?);
    let multiplier = keys.number("attention_multiplier", 1.0)?;
    if multiplier <= 0.0 {
        let expected = "a number above 0";
        return Err(keys.malformed("attention_multiplier", expected, multiplier.to_string()));
    }
    config.attention.squared_divisor = 1.0 / (multiplier * multiplier);
    window_of_all(keys, &mut config, None)?;
    Ok(config)
}
