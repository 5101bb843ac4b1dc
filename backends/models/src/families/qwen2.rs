//! Qwen2 and Qwen2.5 (Yang et al. 2024).

use super::gguf::{Metadata, RMS_EPSILON, Storage};
use super::keys::Keys;
use super::{Defaults, Family, Kind, window, windows};
use crate::architecture::Architecture;
use crate::decoder::{DecoderConfig, LLAMA_NAMES};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["qwen2"],
    gguf: Some("qwen2"),
    kind: Kind::Decoder(Family::new(config, LLAMA_NAMES).with_gguf(Storage::Plain, from_gguf)),
};

/// The defaults of Qwen2, many of which Qwen3 has as well.
pub(super) const DEFAULTS: Defaults = Defaults {
    width: 4096,
    hidden: 22_016,
    layers: 32,
    heads: 32,
    kv_heads: Some(32),
    head_width: None,
    vocabulary: 151_936,
    positions: 32_768,
    base: 1e4,
    epsilon: 1e-6,
    activation: "silu",
    is_tied: false,
    bos: None,
    eos: None,
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let mut config = DEFAULTS.like_llama(keys)?;
    config.attention.has_bias = true;
    upper_windows(keys, &mut config)?;
    Ok(config)
}

/// Gives the blocks from a number on a window, if windows are used.
pub(super) fn upper_windows(keys: &Keys<'_>, config: &mut DecoderConfig) -> Result<(), FileError> {
    let is_used = keys.flag("use_sliding_window", false)?;
    let window = window(keys, Some(4096))?.filter(|_| is_used);
    let first = keys.size("max_window_layers", 28)?;
    windows(keys, config, window, |layer| {
        window.is_some() && layer >= first
    })
}

fn from_gguf(metadata: &Metadata<'_>) -> Result<DecoderConfig, FileError> {
    let hub = metadata.decoder()?.number("rms_norm_eps", RMS_EPSILON)?;
    config(&hub.keys())
}
