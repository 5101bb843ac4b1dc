//! Granite 3: llama with multipliers.

use super::keys::Keys;
use super::{Family, Kind, llama};
use crate::architecture::Architecture;
use crate::decoder::{DecoderConfig, LLAMA_NAMES};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["granite"],
    gguf: None,
    kind: Kind::Decoder(Family::new(config, LLAMA_NAMES)),
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
