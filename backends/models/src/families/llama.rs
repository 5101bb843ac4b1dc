//! Llama 1 to 3 (Touvron et al. 2023).

use super::gguf::{Metadata, RMS_EPSILON, Storage};
use super::keys::Keys;
use super::{Defaults, Family, Kind, mixtral, window_of_all};
use crate::architecture::Architecture;
use crate::decoder::{DecoderConfig, LLAMA_NAMES};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["llama"],
    gguf: Some("llama"),
    kind: Kind::Decoder(
        Family::new(config, LLAMA_NAMES).with_gguf(Storage::Interleaved, from_gguf),
    ),
};

pub(super) fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
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
    window_of_all(keys, &mut config, None)?;
    Ok(config)
}

/// Mistral and Mixtral have the same architecture there.
fn from_gguf(metadata: &Metadata<'_>) -> Result<DecoderConfig, FileError> {
    let hub = metadata.decoder()?.number("rms_norm_eps", RMS_EPSILON)?;
    match metadata.size("expert_count")? {
        None | Some(0) => config(&hub.keys()),
        Some(_) => mixtral::from_gguf(metadata, hub),
    }
}

/// Reads the configuration, and gives the weights the names that Hugging Face gives them.
#[cfg(test)]
pub(crate) fn open(
    files: crate::files::ModelFiles,
) -> Result<(DecoderConfig, crate::files::Weights), FileError> {
    let (config, _, weights) = crate::decoder::open(ARCHITECTURE.decoder("llama")?, files)?;
    Ok((config, weights))
}
