//! OPT (Zhang et al. 2022).

use super::keys::Keys;
use super::{Defaults, Family, Kind, activation};
use crate::architecture::Architecture;
use crate::decoder::{DecoderConfig, Gain, LLAMA_NAMES, LearnedPositions, MlpNames, Names, Norms};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["opt"],
    gguf: None,
    kind: Kind::Decoder(Family::new(config, NAMES)),
};

const NAMES: Names = Names {
    stems: &["model.decoder.", "decoder."],
    norm: "final_layer_norm",
    ln1: "self_attn_layer_norm",
    ln2: "final_layer_norm",
    output: "self_attn.out_proj",
    mlp: MlpNames::Plain(["fc1", "fc2"]),
    ..LLAMA_NAMES
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let defaults = Defaults {
        width: 768,
        hidden: 3072,
        layers: 12,
        heads: 12,
        kv_heads: None,
        head_width: None,
        vocabulary: 50_272,
        positions: 2048,
        base: 1e4,
        epsilon: 1e-5,
        activation: "relu",
        is_tied: true,
        bos: Some(2),
        eos: Some(2),
    };
    let (sizes, head_width) = defaults.sizes(keys, "ffn_dim")?;
    let width = sizes.width;
    let mut config = defaults.like_gpt(keys, sizes, head_width)?;
    config.embedding_width = keys.size("word_embed_proj_dim", width)?;
    config.learned_positions = Some(LearnedPositions { offset: 2 });
    config.mlp.activation = activation(keys, "activation_function", defaults.activation)?;
    let bias = keys.flag("enable_bias", true)?;
    config.attention.has_bias = bias;
    config.attention.has_output_bias = bias;
    config.mlp.has_bias = bias;
    if !keys.flag("layer_norm_elementwise_affine", true)? {
        config.norm.gain = Gain::None;
        config.norm.has_bias = false;
    }
    let is_before = keys.flag("do_layer_norm_before", true)?;
    if !is_before {
        config.wiring.norms = Norms::OnSum;
    }
    config.has_final_norm = is_before && !keys.flag("_remove_final_layer_norm", false)?;
    Ok(config)
}
