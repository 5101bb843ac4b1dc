//! Phi-1, Phi-1.5 and Phi-2 (Gunasekar et al. 2023).

use super::gguf::{Metadata, Storage, VARIANCE_EPSILON};
use super::keys::Keys;
use super::rope::{Part, Rope};
use super::{Defaults, Family, Kind, window_of_all};
use crate::architecture::Architecture;
use crate::decoder::{
    DecoderConfig, Gain, HeadNormConfig, LLAMA_NAMES, MlpNames, Names, NormConfig, Statistic,
    Together,
};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["phi"],
    gguf: Some("phi2"),
    kind: Kind::Decoder(Family::new(config, NAMES).with_gguf(Storage::Plain, from_gguf)),
};

const NAMES: Names = Names {
    norm: "final_layernorm",
    output: "self_attn.dense",
    q_norm: "self_attn.q_layernorm",
    k_norm: "self_attn.k_layernorm",
    mlp: MlpNames::Plain(["mlp.fc1", "mlp.fc2"]),
    ..LLAMA_NAMES
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let defaults = Defaults {
        width: 2048,
        hidden: 8192,
        layers: 24,
        heads: 32,
        kv_heads: None,
        head_width: None,
        vocabulary: 51_200,
        positions: 2048,
        base: 1e4,
        epsilon: 1e-5,
        activation: "gelu_new",
        is_tied: false,
        bos: Some(1),
        eos: Some(2),
    };
    let mut config = defaults.like_llama_with(keys, |rope, keys| {
        let part = Part::Key("partial_rotary_factor", 0.5);
        Ok(vec![Rope { part, ..rope }.even(keys)?])
    })?;
    config.norm = NormConfig {
        statistic: Statistic::Variance,
        epsilon: keys.number("layer_norm_eps", 1e-5)?,
        gain: Gain::Parameter,
        has_bias: true,
    };
    if keys.flag("qk_layernorm", false)? {
        config.attention.head_norm = Some(HeadNormConfig {
            norm: config.norm,
            over: Together::Head,
        });
    }
    config.wiring.is_parallel = true;
    config.wiring.shares_norm = true;
    config.attention.has_bias = true;
    config.attention.has_output_bias = true;
    config.mlp.is_gated = false;
    config.mlp.has_bias = true;
    config.output.has_bias = true;
    window_of_all(keys, &mut config, None)?;
    Ok(config)
}

fn from_gguf(metadata: &Metadata<'_>) -> Result<DecoderConfig, FileError> {
    let hub = metadata
        .decoder()?
        .number("layer_norm_eps", VARIANCE_EPSILON)?;
    config(&hub.keys())
}
