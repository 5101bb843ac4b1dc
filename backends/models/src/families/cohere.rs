//! Command R (Cohere): attention and feed-forward layer beside each other, and neighbours rotated.

use super::gguf::{Metadata, Storage, VARIANCE_EPSILON};
use super::keys::Keys;
use super::rope::Rope;
use super::{Defaults, Family, Kind, window_of_all};
use crate::architecture::Architecture;
use crate::decoder::{
    DecoderConfig, Gain, HeadNormConfig, LLAMA_NAMES, Layout, NormConfig, Statistic, Together,
};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["cohere"],
    gguf: Some("command-r"),
    kind: Kind::Decoder(Family::new(config, LLAMA_NAMES).with_gguf(Storage::Plain, from_gguf)),
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let defaults = Defaults {
        width: 8192,
        hidden: 22_528,
        layers: 40,
        heads: 64,
        kv_heads: None,
        head_width: None,
        vocabulary: 256_000,
        positions: 8192,
        base: 5e5,
        epsilon: 1e-5,
        activation: "silu",
        is_tied: true,
        bos: Some(5),
        eos: Some(255_001),
    };
    let mut config = defaults.like_llama_with(keys, |rope, keys| {
        let layout = Layout::Neighbours;
        Ok(vec![Rope { layout, ..rope }.read(keys)?])
    })?;
    config.norm = NormConfig {
        statistic: Statistic::Variance,
        epsilon: keys.number("layer_norm_eps", 1e-5)?,
        gain: Gain::Parameter,
        has_bias: false,
    };
    if keys.flag("use_qk_norm", false)? {
        config.attention.head_norm = Some(HeadNormConfig {
            norm: config.norm,
            over: Together::OwnHead,
        });
    }
    let bias = keys.flag("attention_bias", false)?;
    config.attention.has_bias = bias;
    config.attention.has_output_bias = bias;
    config.wiring.is_parallel = true;
    config.wiring.shares_norm = true;
    config.output.multiplier = Some(keys.number("logit_scale", 0.0625)?);
    window_of_all(keys, &mut config, None)?;
    Ok(config)
}

fn from_gguf(metadata: &Metadata<'_>) -> Result<DecoderConfig, FileError> {
    let hub = metadata
        .decoder()?
        .number("layer_norm_eps", VARIANCE_EPSILON)?
        .number("logit_scale", "logit_scale")?
        .set("use_qk_norm", metadata.has("blk.0.attn_q_norm.weight"));
    config(&hub.keys())
}
