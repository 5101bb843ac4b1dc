//! Qwen2-MoE: Qwen2 with experts, one of which all positions take (Yang et al. 2024).

use super::gguf::{Metadata, RMS_EPSILON, Storage};
use super::keys::Keys;
use super::qwen2::DEFAULTS;
use super::{Defaults, Family, Kind, window, windows};
use crate::architecture::Architecture;
use crate::decoder::{DecoderConfig, ExpertsConfig, LLAMA_NAMES};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["qwen2_moe"],
    gguf: Some("qwen2moe"),
    kind: Kind::Decoder(Family::new(config, LLAMA_NAMES).with_gguf(Storage::Plain, from_gguf)),
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let defaults = Defaults {
        width: 2048,
        hidden: 5632,
        layers: 24,
        heads: 16,
        kv_heads: Some(16),
        ..DEFAULTS
    };
    let mut config = defaults.like_llama(keys)?;
    config.attention.has_bias = keys.flag("qkv_bias", true)?;
    let is_used = keys.flag("use_sliding_window", false)?;
    let window = window(keys, Some(4096))?.filter(|_| is_used);
    let first = keys.size("max_window_layers", 28)?;
    windows(keys, &mut config, window, |layer| {
        is_used && layer % 2 == 0 && layer < first
    })?;

    let count = keys.size("num_experts", 60)?;
    let step = keys.size("decoder_sparse_step", 1)?.max(1);
    let without = keys
        .optional_numbers("mlp_only_layers")?
        .unwrap_or_default();
    for (layer, block) in config.blocks.iter_mut().enumerate() {
        let is_left_out = without.contains(&(layer as f64));
        block.has_experts = count > 0 && !is_left_out && (layer + 1).is_multiple_of(step);
    }
    let has_experts = config.blocks.iter().any(|block| block.has_experts);
    config.experts = has_experts.then_some(ExpertsConfig {
        count,
        taken: keys.size("num_experts_per_tok", 4)?,
        hidden: keys.size("moe_intermediate_size", 1408)?,
        normalizes: keys.flag("norm_topk_prob", false)?,
        shared: Some(keys.size("shared_expert_intermediate_size", 5632)?),
    });
    Ok(config)
}

fn from_gguf(metadata: &Metadata<'_>) -> Result<DecoderConfig, FileError> {
    metadata.check_experts(false)?;
    let hub = metadata
        .decoder()?
        .number("rms_norm_eps", RMS_EPSILON)?
        .size("num_experts", "expert_count")?
        .size("num_experts_per_tok", "expert_used_count")?;
    let hidden = hub.given("intermediate_size");
    let taken = hub.given("num_experts_per_tok");
    let one = metadata.size("expert_feed_forward_length")?;
    let shared = metadata.size("expert_shared_feed_forward_length")?;
    let hub = hub
        .set("moe_intermediate_size", one.or(hidden.checked_div(taken)))
        .set("shared_expert_intermediate_size", shared.unwrap_or(hidden));
    config(&hub.keys())
}
