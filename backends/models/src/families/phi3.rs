//! Phi-3 and Phi-3.5 (Abdin et al. 2024): llama with linear layers that are stored as one.

use super::gguf::{Metadata, RMS_EPSILON, Storage};
use super::keys::Keys;
use super::rope::{Part, Rope};
use super::{Defaults, Family, Kind, window, window_of_all};
use crate::architecture::Architecture;
use crate::decoder::{
    DecoderConfig, Fused, LLAMA_NAMES, MlpNames, Names, QkvNames, RotaryConfig, Scaling,
};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["phi3"],
    gguf: Some("phi3"),
    kind: Kind::Decoder(Family::new(config, NAMES).with_gguf(Storage::Plain, from_gguf)),
};

const NAMES: Names = Names {
    qkv: QkvNames::Fused("self_attn.qkv_proj", Fused::Whole),
    mlp: MlpNames::FusedGate(["mlp.gate_up_proj", "mlp.down_proj"]),
    ..LLAMA_NAMES
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let defaults = Defaults {
        width: 3072,
        hidden: 8192,
        layers: 32,
        heads: 32,
        kv_heads: None,
        head_width: None,
        vocabulary: 32_064,
        positions: 4096,
        base: 1e4,
        epsilon: 1e-5,
        activation: "silu",
        is_tied: false,
        bos: Some(1),
        eos: Some(32_000),
    };
    let mut config = defaults.like_llama_with(keys, rotary)?;
    let window = window(keys, None)?;
    window_of_all(keys, &mut config, window)?;
    Ok(config)
}

fn rotary(rope: Rope, keys: &Keys<'_>) -> Result<Vec<RotaryConfig>, FileError> {
    let rope = Rope {
        part: Part::Key("partial_rotary_factor", 1.0),
        original: Some(4096),
        // The first files call it `su`, or `yarn`.
        long_names: &["longrope", "su", "yarn"],
        ..rope
    };
    let rotary = rope.read(keys)?;
    match rotary.scaling {
        Scaling::None | Scaling::LongRope { .. } => Ok(vec![rotary]),
        _ => {
            let expected = "default or longrope";
            Err(keys.unsupported("rope_parameters.rope_type", expected, "another kind"))
        }
    }
}

fn from_gguf(metadata: &Metadata<'_>) -> Result<DecoderConfig, FileError> {
    let window = metadata.size("attention.sliding_window")?;
    let hub = metadata
        .decoder()?
        .number("rms_norm_eps", RMS_EPSILON)?
        .set("sliding_window", window.filter(|&window| window > 0));
    config(&hub.keys())
}
