//! OLMo 2 (Walsh et al. 2025): norms behind both layers, and of queries and keys.

use super::gguf::{Metadata, RMS_EPSILON, Storage};
use super::keys::Keys;
use super::olmo::DEFAULTS;
use super::window_of_all;
use super::{Family, Kind};
use crate::architecture::Architecture;
use crate::decoder::{DecoderConfig, HeadNormConfig, LLAMA_NAMES, Norms, Together};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["olmo2"],
    gguf: Some("olmo2"),
    kind: Kind::Decoder(Family::new(config, LLAMA_NAMES).with_gguf(Storage::Plain, from_gguf)),
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let mut config = DEFAULTS.like_llama(keys)?;
    let bias = keys.flag("attention_bias", false)?;
    config.attention.has_bias = bias;
    config.attention.has_output_bias = bias;
    config.attention.head_norm = Some(HeadNormConfig {
        norm: config.norm,
        over: Together::All,
    });
    config.wiring.norms = Norms::Behind;
    window_of_all(keys, &mut config, None)?;
    Ok(config)
}

fn from_gguf(metadata: &Metadata<'_>) -> Result<DecoderConfig, FileError> {
    let hub = metadata.decoder()?.number("rms_norm_eps", RMS_EPSILON)?;
    config(&hub.keys())
}
