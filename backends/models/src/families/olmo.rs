//! OLMo (Groeneveld et al. 2024): llama with norms that have no parameters.

use super::gguf::{Metadata, Storage, VARIANCE_EPSILON};
use super::keys::Keys;
use super::{Defaults, Family, Kind, window_of_all};
use crate::architecture::Architecture;
use crate::decoder::{DecoderConfig, Gain, LLAMA_NAMES, NormConfig, Statistic};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["olmo"],
    gguf: Some("olmo"),
    kind: Kind::Decoder(
        Family::new(config, LLAMA_NAMES).with_gguf(Storage::Interleaved, from_gguf),
    ),
};

/// The defaults of OLMo, many of which OLMo 2 has as well.
pub(super) const DEFAULTS: Defaults = Defaults {
    width: 4096,
    hidden: 11_008,
    layers: 32,
    heads: 32,
    kv_heads: None,
    head_width: None,
    vocabulary: 50_304,
    positions: 2048,
    base: 1e4,
    epsilon: 1e-5,
    activation: "silu",
    is_tied: false,
    bos: None,
    eos: Some(50_279),
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let mut config = DEFAULTS.like_llama(keys)?;
    let bias = keys.flag("attention_bias", false)?;
    config.attention.has_bias = bias;
    config.attention.has_output_bias = bias;
    config.attention.clip = keys.optional_number("clip_qkv")?;
    config.norm = NormConfig {
        statistic: Statistic::Variance,
        epsilon: 1e-5,
        gain: Gain::None,
        has_bias: false,
    };
    window_of_all(keys, &mut config, None)?;
    Ok(config)
}

fn from_gguf(metadata: &Metadata<'_>) -> Result<DecoderConfig, FileError> {
    let epsilon = metadata.number(VARIANCE_EPSILON)?;
    let clip = metadata.number("attention.clamp_kqv")?;
    let hub = metadata.decoder()?.set_some("clip_qkv", clip);
    let mut config = config(&hub.keys())?;
    config.norm.epsilon = epsilon.unwrap_or(config.norm.epsilon);
    Ok(config)
}
