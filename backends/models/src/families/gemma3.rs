//! Gemma 3, the models of text (Kamath et al. 2025): norms of queries and keys, and windows with
//! rotary positions of their own in most blocks.

use super::gemma2::{DEFAULTS, NAMES, as_later_gemmas, with_windows};
use super::gguf::{Metadata, RMS_EPSILON, Storage};
use super::keys::Keys;
use super::rope::Rope;
use super::{Defaults, Family, Kind, window, windows};
use crate::architecture::Architecture;
use crate::decoder::{DecoderConfig, HeadNormConfig, RotaryConfig, Together};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["gemma3_text"],
    gguf: Some("gemma3"),
    kind: Kind::Decoder(Family::new(config, NAMES).with_gguf(Storage::GainsPlusOne, from_gguf)),
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let defaults = Defaults {
        vocabulary: 262_208,
        positions: 131_072,
        ..DEFAULTS
    };
    let mut config = defaults.like_llama_with(keys, rotary)?;
    as_later_gemmas(keys, &mut config)?;
    config.attention.head_norm = Some(HeadNormConfig {
        norm: config.norm,
        over: Together::Head,
    });
    if keys.has("attn_logit_softcapping") {
        let expected = "none: Gemma 3 does not cap its scores";
        return Err(keys.unsupported("attn_logit_softcapping", expected, "a cap"));
    }
    config.output.cap = keys.optional_number("final_logit_softcapping")?;
    // The first files have the pattern as a number.
    let pattern = keys.size("sliding_window_pattern", 6)?;
    let window = window(keys, Some(4096))?;
    windows(keys, &mut config, window, |layer| {
        pattern == 0 || !(layer + 1).is_multiple_of(pattern)
    })?;
    for block in &mut config.blocks {
        block.rotary = Some(usize::from(block.window.is_some()));
    }
    Ok(config)
}

/// Reads the rotary positions of blocks without a window, and of those with one.
fn rotary(rope: Rope, keys: &Keys<'_>) -> Result<Vec<RotaryConfig>, FileError> {
    const KINDS: [&str; 2] = ["full_attention", "sliding_attention"];
    let rope = Rope {
        has_kinds: true,
        ..rope
    };
    let parameters = keys.object("rope_parameters")?;
    let other = |name: &&str| !KINDS.contains(name);
    if let Some(name) = parameters.as_ref().and_then(|it| it.names().find(other)) {
        let expected = "parameters for full_attention and sliding_attention";
        return Err(keys.unsupported("rope_parameters", expected, format!("`{name}`")));
    }
    let inner = |kind: &str| match &parameters {
        Some(parameters) => parameters.object(kind),
        None => Ok(None),
    };
    let [full, sliding] = KINDS.map(inner);
    // In older files what is scaled is that of blocks without a window.
    let scaled = keys.object("rope_scaling")?;
    let full = match (scaled, full?) {
        (Some(_), Some(_)) => {
            let expected = "nothing, as `rope_parameters` says it";
            return Err(keys.unsupported("rope_scaling", expected, "parameters"));
        }
        (scaled, full) => scaled.or(full),
    };
    let base = keys.number("rope_theta", 1e6)?;
    let local = keys.number("rope_local_base_freq", 1e4)?;
    Ok(vec![
        rope.parameters(keys, full.as_ref(), base)?,
        rope.parameters(keys, sliding?.as_ref(), local)?,
    ])
}

/// The layers of the model of 27 billion parameters, whose scores are divided otherwise.
const LARGEST: usize = 62;

fn from_gguf(metadata: &Metadata<'_>) -> Result<DecoderConfig, FileError> {
    let logits = metadata.number("final_logit_softcapping")?;
    let window = metadata.size("attention.sliding_window")?;
    let hub = metadata.decoder()?.number("rms_norm_eps", RMS_EPSILON)?;
    let hub = hub.set("final_logit_softcapping", logits.filter(|&cap| cap != 0.0));
    let hub = with_windows(metadata, hub, window, 6, LARGEST)?;
    config(&hub.keys())
}
