//! GPT-NeoX (Black et al. 2022), such as Pythia.

use super::gguf::{Metadata, Storage, VARIANCE_EPSILON};
use super::keys::Keys;
use super::rope::{Part, Rope};
use super::{Defaults, Family, Kind, activation};
use crate::architecture::Architecture;
use crate::decoder::{DecoderConfig, Fused, LLAMA_NAMES, MlpNames, Names, QkvNames};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["gpt_neox"],
    gguf: Some("gptneox"),
    kind: Kind::Decoder(Family::new(config, NAMES).with_gguf(Storage::Plain, from_gguf)),
};

const NAMES: Names = Names {
    stems: &["gpt_neox.", ""],
    embed: "embed_in",
    norm: "final_layer_norm",
    unembed: "embed_out",
    qkv: QkvNames::Fused("attention.query_key_value", Fused::Grouped),
    output: "attention.dense",
    mlp: MlpNames::Plain(["mlp.dense_h_to_4h", "mlp.dense_4h_to_h"]),
    left: &["attention.bias", "attention.masked_bias"],
    ..LLAMA_NAMES
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let defaults = Defaults {
        width: 6144,
        hidden: 24_576,
        layers: 44,
        heads: 64,
        kv_heads: None,
        head_width: None,
        vocabulary: 50_432,
        positions: 2048,
        base: 1e4,
        epsilon: 1e-5,
        activation: "gelu",
        is_tied: false,
        bos: Some(0),
        eos: Some(2),
    };
    let (sizes, head_width) = defaults.sizes(keys, "intermediate_size")?;
    let rope = Rope {
        base_key: "rotary_emb_base",
        part: Part::Key("rotary_pct", 0.25),
        ..Rope::new(defaults.base, head_width, sizes.positions)
    };
    let mut config = defaults.like_gpt(keys, sizes, head_width)?;
    config.rotary = vec![rope.read(keys)?];
    config
        .blocks
        .iter_mut()
        .for_each(|block| block.rotary = Some(0));
    config.norm.epsilon = keys.number("layer_norm_eps", 1e-5)?;
    config.mlp.activation = activation(keys, "hidden_act", defaults.activation)?;
    config.mlp.has_bias = true;
    let bias = keys.flag("attention_bias", true)?;
    config.attention.has_bias = bias;
    config.attention.has_output_bias = bias;
    config.wiring.is_parallel = keys.flag("use_parallel_residual", true)?;
    Ok(config)
}

fn from_gguf(metadata: &Metadata<'_>) -> Result<DecoderConfig, FileError> {
    let hub = metadata
        .decoder()?
        .number("layer_norm_eps", VARIANCE_EPSILON)?
        .set_some(
            "use_parallel_residual",
            metadata.flag("use_parallel_residual")?,
        );
    config(&hub.keys())
}
