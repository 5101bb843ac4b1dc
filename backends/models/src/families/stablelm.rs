//! StableLM (Bellagente et al. 2024): llama with layer norms, of which a part of each head is
//! rotated.

use super::gguf::{Metadata, Storage, VARIANCE_EPSILON};
use super::keys::Keys;
use super::rope::{Part, Rope};
use super::{Defaults, Family, Kind, share, window_of_all};
use crate::architecture::Architecture;
use crate::decoder::{
    DecoderConfig, Gain, HeadNormConfig, LLAMA_NAMES, Names, NormConfig, Statistic, Together,
};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["stablelm"],
    gguf: Some("stablelm"),
    kind: Kind::Decoder(Family::new(config, NAMES).with_gguf(Storage::Plain, from_gguf)),
};

const NAMES: Names = Names {
    q_norm: "self_attn.q_layernorm",
    k_norm: "self_attn.k_layernorm",
    ..LLAMA_NAMES
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let defaults = Defaults {
        width: 2560,
        hidden: 6912,
        layers: 32,
        heads: 32,
        kv_heads: Some(32),
        head_width: None,
        vocabulary: 50_304,
        positions: 4096,
        base: 1e4,
        epsilon: 1e-5,
        activation: "silu",
        is_tied: false,
        bos: Some(0),
        eos: Some(0),
    };
    let mut config = defaults.like_llama_with(keys, |rope, keys| {
        let part = Part::Key("partial_rotary_factor", 0.25);
        Ok(vec![Rope { part, ..rope }.even(keys)?])
    })?;
    let own = share(keys, "hidden_size", config.width, config.attention.heads)?;
    if config.attention.head_width != own {
        let expected = format!("{own}, the share of each head");
        let found = config.attention.head_width.to_string();
        return Err(keys.unsupported("head_dim", expected, found));
    }
    config.norm = NormConfig {
        statistic: Statistic::Variance,
        epsilon: keys.number("layer_norm_eps", 1e-5)?,
        gain: Gain::Parameter,
        has_bias: true,
    };
    if keys.flag("qk_layernorm", false)? {
        let norm = NormConfig {
            has_bias: false,
            ..config.norm
        };
        let over = Together::OwnHead;
        config.attention.head_norm = Some(HeadNormConfig { norm, over });
    }
    config.attention.has_bias = keys.flag("use_qkv_bias", false)?;
    config.wiring.is_parallel = keys.flag("use_parallel_residual", false)?;
    config.wiring.shares_norm = config.wiring.is_parallel;
    window_of_all(keys, &mut config, None)?;
    Ok(config)
}

/// A parallel block is known by its one norm.
fn from_gguf(metadata: &Metadata<'_>) -> Result<DecoderConfig, FileError> {
    metadata.flag("use_parallel_residual")?;
    let hub = metadata
        .decoder()?
        .number("layer_norm_eps", VARIANCE_EPSILON)?
        .set("qk_layernorm", metadata.has("blk.0.attn_q_norm.weight"))
        .set(
            "use_parallel_residual",
            !metadata.has("blk.0.ffn_norm.weight"),
        );
    config(&hub.keys())
}
