//! Mixtral (Jiang et al. 2024): Mistral with experts.

use super::gguf::{Hub, Metadata};
use super::keys::Keys;
use super::{Defaults, Family, Kind, window, window_of_all};
use crate::architecture::Architecture;
use crate::decoder::{DecoderConfig, ExpertsConfig, LLAMA_NAMES, Names};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["mixtral"],
    gguf: None,
    kind: Kind::Decoder(Family::new(config, NAMES)),
};

const NAMES: Names = Names {
    router: "block_sparse_moe.gate",
    experts: "block_sparse_moe.experts",
    expert: ["w1", "w3", "w2"],
    ..LLAMA_NAMES
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let defaults = Defaults {
        width: 4096,
        hidden: 14_336,
        layers: 32,
        heads: 32,
        kv_heads: Some(8),
        head_width: None,
        vocabulary: 32_000,
        positions: 4096 * 32,
        base: 1e6,
        epsilon: 1e-5,
        activation: "silu",
        is_tied: false,
        bos: Some(1),
        eos: Some(2),
    };
    let mut config = defaults.like_llama(keys)?;
    let window = window(keys, None)?;
    window_of_all(keys, &mut config, window)?;
    let count = match keys.optional_size("num_local_experts")? {
        Some(count) => count,
        None => keys.size("num_experts", 8)?,
    };
    config.experts = Some(ExpertsConfig {
        count,
        taken: keys.size("num_experts_per_tok", 2)?,
        hidden: config.mlp.hidden,
        normalizes: true,
        shared: None,
    });
    config
        .blocks
        .iter_mut()
        .for_each(|block| block.has_experts = true);
    Ok(config)
}

/// Reads a file of the architecture of llama that has experts.
pub(super) fn from_gguf(
    metadata: &Metadata<'_>,
    hub: Hub<'_, '_>,
) -> Result<DecoderConfig, FileError> {
    metadata.check_experts(true)?;
    let hub = hub
        .size("num_local_experts", "expert_count")?
        .size("num_experts_per_tok", "expert_used_count")?;
    config(&hub.keys())
}
