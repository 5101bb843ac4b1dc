//! Gemma 2 (Riviere et al. 2024): norms around both layers, caps, and windows in every other block.

use super::gemma::as_all_gemmas;
use super::gguf::{Hub, Metadata, RMS_EPSILON, Storage};
use super::keys::Keys;
use super::{Defaults, Family, Kind, activation, window, windows};
use crate::architecture::Architecture;
use crate::decoder::{DecoderConfig, LLAMA_NAMES, Names, Norms};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["gemma2"],
    gguf: Some("gemma2"),
    kind: Kind::Decoder(Family::new(config, NAMES).with_gguf(Storage::GainsPlusOne, from_gguf)),
};

/// The names of models with norms around both layers.
pub(super) const NAMES: Names = Names {
    ln2: "pre_feedforward_layernorm",
    ..LLAMA_NAMES
};

/// The defaults of Gemma 2, many of which Gemma 3 has as well.
pub(super) const DEFAULTS: Defaults = Defaults {
    width: 2304,
    hidden: 9216,
    layers: 26,
    heads: 8,
    kv_heads: Some(4),
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

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let mut config = DEFAULTS.like_llama(keys)?;
    as_later_gemmas(keys, &mut config)?;
    config.attention.cap = keys.given_number("attn_logit_softcapping")?.or(Some(50.0));
    config.output.cap = keys.given_number("final_logit_softcapping")?.or(Some(30.0));
    let window = window(keys, Some(4096))?;
    windows(keys, &mut config, window, |layer| layer % 2 == 0)?;
    Ok(config)
}

/// Sets what Gemma 2 and 3 have in common.
pub(super) fn as_later_gemmas(
    keys: &Keys<'_>,
    config: &mut DecoderConfig,
) -> Result<(), FileError> {
    as_all_gemmas(keys, config)?;
    config.mlp.activation = activation(keys, "hidden_activation", "gelu_pytorch_tanh")?;
    config.wiring.norms = Norms::Around;
    config.attention.squared_divisor = keys.number("query_pre_attn_scalar", 256.0)?;
    Ok(())
}

/// The layers of the model of 27 billion parameters, whose scores are divided otherwise.
const LARGEST: usize = 46;

fn from_gguf(metadata: &Metadata<'_>) -> Result<DecoderConfig, FileError> {
    let scores = metadata.number("attn_logit_softcapping")?;
    let logits = metadata.number("final_logit_softcapping")?;
    let window = metadata.size("attention.sliding_window")?;
    let hub = metadata.decoder()?.number("rms_norm_eps", RMS_EPSILON)?;
    let hub = hub
        .set("attn_logit_softcapping", scores.unwrap_or(50.0))
        .set("final_logit_softcapping", logits.unwrap_or(30.0));
    let hub = with_windows(metadata, hub, window.or(Some(4096)), 2, LARGEST)?;
    config(&hub.keys())
}

/// Sets which blocks have a window, of which all but each `period`th have one unless the file says
/// it, and what scores are divided by: that is no key, and depends on whether the model is the
/// largest of its family.
pub(super) fn with_windows<'m, 'f>(
    metadata: &Metadata<'_>,
    hub: Hub<'m, 'f>,
    window: Option<usize>,
    period: usize,
    largest: usize,
) -> Result<Hub<'m, 'f>, FileError> {
    const PATTERN: &str = "attention.sliding_window_pattern";
    let layers = hub.given("num_hidden_layers");
    let window = window.filter(|&window| window > 0);
    let slides: Vec<bool> = match metadata.sizes(PATTERN)?.as_deref() {
        _ if window.is_none() => vec![false; layers],
        Some(flags) if flags.len() > 1 => flags.iter().map(|&flag| flag != 0).collect(),
        given => {
            let period = given.and_then(|one| one.first().copied()).unwrap_or(period);
            let is_last = |layer: usize| period == 0 || (layer + 1).is_multiple_of(period);
            (0..layers).map(|layer| !is_last(layer)).collect()
        }
    };
    let kind = |slides: bool| {
        if slides {
            "sliding_attention"
        } else {
            "full_attention"
        }
    };
    let divisor = if layers == largest {
        let (width, heads) = (hub.given("hidden_size"), hub.given("num_attention_heads"));
        width.checked_div(heads).unwrap_or(0)
    } else {
        hub.given("head_dim")
    };
    let kinds: Vec<&str> = slides.into_iter().map(kind).collect();
    Ok(hub
        .set("layer_types", kinds)
        .set("sliding_window", window)
        .set("query_pre_attn_scalar", divisor))
}
