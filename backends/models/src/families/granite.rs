//! Granite 3: llama with multipliers.

use super::gguf::{Metadata, RMS_EPSILON, Storage};
use super::keys::Keys;
use super::{Family, Kind, llama};
use crate::architecture::Architecture;
use crate::decoder::{DecoderConfig, LLAMA_NAMES};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["granite"],
    gguf: Some("granite"),
    kind: Kind::Decoder(
        Family::new(config, LLAMA_NAMES).with_gguf(Storage::Interleaved, from_gguf),
    ),
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let mut config = llama::config(keys)?;
    config.embedding_multiplier = Some(keys.number("embedding_multiplier", 1.0)?);
    config.wiring.multiplier = Some(keys.number("residual_multiplier", 1.0)?);
    config.output.multiplier = Some(1.0 / keys.number("logits_scaling", 1.0)?);
    let multiplier = keys.number("attention_multiplier", 1.0)?;
    if multiplier <= 0.0 {
        let expected = "a number above 0";
        return Err(keys.malformed("attention_multiplier", expected, multiplier.to_string()));
    }
    config.attention.squared_divisor = 1.0 / (multiplier * multiplier);
    Ok(config)
}

fn from_gguf(metadata: &Metadata<'_>) -> Result<DecoderConfig, FileError> {
    let attention = metadata.number("attention.scale")?;
    let hub = metadata.decoder()?;
    // Without a multiplier, scores are divided as usual.
    let own = (hub.given("head_dim") as f64).sqrt().recip();
    let multiplier = attention.filter(|&scale| scale != 0.0).unwrap_or(own);
    let hub = hub
        .number("rms_norm_eps", RMS_EPSILON)?
        .number("logits_scaling", "logit_scale")?
        .set_some("embedding_multiplier", metadata.number("embedding_scale")?)
        .set_some("residual_multiplier", metadata.number("residual_scale")?)
        .set("attention_multiplier", multiplier);
    config(&hub.keys())
}
