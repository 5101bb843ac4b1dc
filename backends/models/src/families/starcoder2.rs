//! StarCoder2 (Lozhkov et al. 2024): grouped heads with rotary positions, layer norms, and plain
//! feed-forward layers.

use super::gguf::{Metadata, Storage, VARIANCE_EPSILON};
use super::keys::Keys;
use super::{Defaults, Family, Kind, window, window_of_all};
use crate::architecture::Architecture;
use crate::decoder::{DecoderConfig, Gain, LLAMA_NAMES, MlpNames, Names, NormConfig, Statistic};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["starcoder2"],
    gguf: Some("starcoder2"),
    kind: Kind::Decoder(Family::new(config, NAMES).with_gguf(Storage::Plain, from_gguf)),
};

const NAMES: Names = Names {
    mlp: MlpNames::Plain(["mlp.c_fc", "mlp.c_proj"]),
    ..LLAMA_NAMES
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let defaults = Defaults {
        width: 3072,
        hidden: 12_288,
        layers: 30,
        heads: 24,
        kv_heads: Some(2),
        head_width: None,
        vocabulary: 49_152,
        positions: 4096,
        base: 1e4,
        epsilon: 1e-5,
        activation: "gelu_pytorch_tanh",
        is_tied: true,
        bos: Some(50_256),
        eos: Some(50_256),
    };
    let mut config = defaults.like_llama(keys)?;
    config.norm = NormConfig {
        statistic: Statistic::Variance,
        epsilon: keys.number("norm_epsilon", 1e-5)?,
        gain: Gain::Parameter,
        has_bias: true,
    };
    let bias = keys.flag("use_bias", true)?;
    config.attention.has_bias = bias;
    config.attention.has_output_bias = bias;
    config.mlp.is_gated = false;
    config.mlp.has_bias = bias;
    let window = window(keys, None)?;
    window_of_all(keys, &mut config, window)?;
    Ok(config)
}

/// The converter leaves the window out.
fn from_gguf(metadata: &Metadata<'_>) -> Result<DecoderConfig, FileError> {
    let hub = metadata
        .decoder()?
        .number("norm_epsilon", VARIANCE_EPSILON)?;
    config(&hub.keys())
}
