//! Qwen3: Qwen2 with norms of queries and keys instead of biases (Yang et al. 2025).

use super::gguf::{Metadata, RMS_EPSILON, Storage};
use super::keys::Keys;
use super::qwen2::{DEFAULTS, upper_windows};
use super::{Defaults, Family, Kind};
use crate::architecture::Architecture;
use crate::decoder::{DecoderConfig, HeadNormConfig, LLAMA_NAMES, Together};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["qwen3"],
    gguf: Some("qwen3"),
    kind: Kind::Decoder(Family::new(config, LLAMA_NAMES).with_gguf(Storage::Plain, from_gguf)),
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let defaults = Defaults {
        head_width: Some(128),
        ..DEFAULTS
    };
    let mut config = defaults.like_llama(keys)?;
    let bias = keys.flag("attention_bias", false)?;
    config.attention.has_bias = bias;
    config.attention.has_output_bias = bias;
    config.attention.head_norm = Some(HeadNormConfig {
        norm: config.norm,
        over: Together::Head,
    });
    upper_windows(keys, &mut config)?;
    Ok(config)
}

fn from_gguf(metadata: &Metadata<'_>) -> Result<DecoderConfig, FileError> {
    let hub = metadata.decoder()?.number("rms_norm_eps", RMS_EPSILON)?;
    config(&hub.keys())
}
