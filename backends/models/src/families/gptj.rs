//! GPT-J (Wang and Komatsuzaki 2021): attention and feed-forward layer beside each other, and
//! neighbours rotated.

use super::gpt2::{DEFAULTS, like_gpt2};
use super::keys::Keys;
use super::{Defaults, Family, Kind};
use crate::architecture::Architecture;
use crate::decoder::{
    DecoderConfig, LLAMA_NAMES, Layout, MlpNames, Names, QkvNames, RotaryConfig, Scaling,
};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["gptj"],
    gguf: None,
    kind: Kind::Decoder(Family::new(config, NAMES)),
};

const NAMES: Names = Names {
    stems: &["transformer.", ""],
    embed: "wte",
    blocks: "h",
    norm: "ln_f",
    ln1: "ln_1",
    qkv: QkvNames::Split(["attn.q_proj", "attn.k_proj", "attn.v_proj"]),
    output: "attn.out_proj",
    mlp: MlpNames::Plain(["mlp.fc_in", "mlp.fc_out"]),
    left: &["attn.bias", "attn.masked_bias"],
    ..LLAMA_NAMES
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let defaults = Defaults {
        width: 4096,
        layers: 28,
        heads: 16,
        vocabulary: 50_400,
        positions: 2048,
        is_tied: false,
        ..DEFAULTS
    };
    let mut config = like_gpt2(keys, &defaults)?;
    let width = keys
        .given_size("rotary_dim")?
        .or(Some(64))
        .unwrap_or(config.width);
    if !width.is_multiple_of(2) {
        return Err(keys.malformed("rotary_dim", "an even number", width.to_string()));
    }
    config.rotary = vec![RotaryConfig {
        width,
        base: 1e4,
        scaling: Scaling::None,
        layout: Layout::Neighbours,
    }];
    config
        .blocks
        .iter_mut()
        .for_each(|block| block.rotary = Some(0));
    config.wiring.is_parallel = true;
    config.wiring.shares_norm = true;
    config.output.has_bias = true;
    Ok(config)
}
