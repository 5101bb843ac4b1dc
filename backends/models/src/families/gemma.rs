//! Gemma (Mesnard et al. 2024).

use super::gguf::{Metadata, RMS_EPSILON, Storage};
use super::keys::Keys;
use super::{Defaults, Family, Kind, activation, window_of_all};
use crate::architecture::Architecture;
use crate::decoder::{Activation, DecoderConfig, Gain, LLAMA_NAMES};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["gemma"],
    gguf: Some("gemma"),
    kind: Kind::Decoder(
        Family::new(config, LLAMA_NAMES).with_gguf(Storage::GainsPlusOne, from_gguf),
    ),
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let defaults = Defaults {
        width: 3072,
        hidden: 24_576,
        layers: 28,
        heads: 16,
        kv_heads: Some(16),
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
    let mut config = defaults.like_llama(keys)?;
    as_all_gemmas(keys, &mut config)?;
    // The first files said `gelu` and meant its approximation; `hidden_activation` was to say so.
    // Other names of the exact function mean it.
    if keys.optional_text("hidden_act")?.as_deref() == Some("gelu") {
        config.mlp.activation = Activation::GeluTanh;
    }
    let other = activation(keys, "hidden_activation", "gelu_pytorch_tanh")?;
    if keys.has("hidden_activation") && other != config.mlp.activation {
        let expected = "the nonlinearity that `hidden_act` says";
        return Err(keys.unsupported("hidden_activation", expected, "another"));
    }
    window_of_all(keys, &mut config, None)?;
    Ok(config)
}

/// Sets what the families of Gemma have in common.
pub(super) fn as_all_gemmas(keys: &Keys<'_>, config: &mut DecoderConfig) -> Result<(), FileError> {
    let bias = keys.flag("attention_bias", false)?;
    config.attention.has_bias = bias;
    config.attention.has_output_bias = bias;
    config.norm.gain = Gain::ParameterPlusOne;
    config.embedding_multiplier = Some((config.width as f64).sqrt());
    Ok(())
}

fn from_gguf(metadata: &Metadata<'_>) -> Result<DecoderConfig, FileError> {
    let hub = metadata.decoder()?.number("rms_norm_eps", RMS_EPSILON)?;
    config(&hub.keys())
}
