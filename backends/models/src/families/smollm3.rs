//! SmolLM3: llama without positions in every fourth block.

use super::gguf::{Metadata, RMS_EPSILON, Storage};
use super::keys::Keys;
use super::{Defaults, Family, Kind, window, windows};
use crate::architecture::Architecture;
use crate::decoder::{DecoderConfig, LLAMA_NAMES};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["smollm3"],
    gguf: Some("smollm3"),
    kind: Kind::Decoder(
        Family::new(config, LLAMA_NAMES).with_gguf(Storage::Interleaved, from_gguf),
    ),
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let defaults = Defaults {
        width: 2048,
        hidden: 11_008,
        layers: 36,
        heads: 16,
        kv_heads: Some(4),
        head_width: None,
        vocabulary: 128_256,
        positions: 32_768,
        base: 2e6,
        epsilon: 1e-6,
        activation: "silu",
        is_tied: true,
        bos: Some(128_000),
        eos: Some(128_001),
    };
    let mut config = defaults.like_llama(keys)?;
    let bias = keys.flag("attention_bias", false)?;
    config.attention.has_bias = bias;
    config.attention.has_output_bias = bias;
    config.mlp.has_bias = keys.flag("mlp_bias", false)?;

    let layers = config.blocks.len();
    let interval = keys.size("no_rope_layer_interval", 4)?;
    let has_positions = match keys.optional_flags("no_rope_layers")? {
        Some(given) if given.len() == layers => given,
        Some(given) => {
            let expected = format!("one for each of the {layers} layers");
            return Err(keys.malformed("no_rope_layers", expected, given.len().to_string()));
        }
        None if interval == 0 => {
            return Err(keys.malformed("no_rope_layer_interval", "at least 1", "0"));
        }
        None => (1..=layers)
            .map(|layer| !layer.is_multiple_of(interval))
            .collect(),
    };
    for (block, has_positions) in config.blocks.iter_mut().zip(&has_positions) {
        block.rotary = has_positions.then_some(0);
    }
    let is_used = keys.flag("use_sliding_window", false)?;
    let window = window(keys, None)?;
    windows(keys, &mut config, window, |layer| {
        is_used && window.is_some() && !has_positions[layer]
    })?;
    Ok(config)
}

fn from_gguf(metadata: &Metadata<'_>) -> Result<DecoderConfig, FileError> {
    let hub = metadata.decoder()?.number("rms_norm_eps", RMS_EPSILON)?;
    config(&hub.keys())
}
