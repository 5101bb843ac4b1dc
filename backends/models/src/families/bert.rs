//! BERT with the layer that fills in masked tokens (Devlin et al. 2019).

use super::keys::Keys;
use super::{Defaults, Family, Kind, activation};
use crate::architecture::Architecture;
use crate::decoder::{
    DecoderConfig, EmbeddingNorm, LLAMA_NAMES, LearnedPositions, MlpNames, Names, Norms, QkvNames,
};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["bert"],
    gguf: None,
    kind: Kind::Decoder(Family::new(config, NAMES)),
};

pub(super) const NAMES: Names = Names {
    stems: &["bert.", ""],
    embed: "embeddings.word_embeddings",
    type_embed: "embeddings.token_type_embeddings",
    pos_embed: "embeddings.position_embeddings",
    embed_norm: "embeddings.LayerNorm",
    blocks: "encoder.layer",
    ln1: "attention.output.LayerNorm",
    ln2: "output.LayerNorm",
    qkv: QkvNames::Split([
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
    ]),
    output: "attention.output.dense",
    mlp: MlpNames::Plain(["intermediate.dense", "output.dense"]),
    transform: [
        "cls.predictions.transform.dense",
        "cls.predictions.transform.LayerNorm",
    ],
    unembed: "cls.predictions.decoder",
    unembed_bias: "cls.predictions.bias",
    left_whole: &[
        "bert.embeddings.position_ids",
        "bert.embeddings.token_type_ids",
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "cls.predictions.bias",
        "cls.predictions.decoder.bias",
        "cls.seq_relationship.weight",
        "cls.seq_relationship.bias",
    ],
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
        vocabulary: 30_522,
        positions: 512,
        base: 1e4,
        epsilon: 1e-12,
        activation: "gelu",
        is_tied: true,
        bos: None,
        eos: None,
    };
    keys.refuse_flag("is_decoder", "a model that sees all positions")?;
    like_bert(keys, &defaults)
}

/// Reads the keys of BERT, all of which ALBERT has as well.
pub(super) fn like_bert(keys: &Keys<'_>, defaults: &Defaults) -> Result<DecoderConfig, FileError> {
    let (sizes, head_width) = defaults.sizes(keys, "intermediate_size")?;
    let kind = keys.optional_text("position_embedding_type")?;
    if let Some(kind) = kind.filter(|kind| kind != "absolute") {
        return Err(keys.unsupported("position_embedding_type", "absolute", kind));
    }
    let mut config = defaults.like_gpt(keys, sizes, head_width)?;
    config.norm.epsilon = keys.number("layer_norm_eps", defaults.epsilon)?;
    config.mlp.activation = activation(keys, "hidden_act", defaults.activation)?;
    config.mlp.has_bias = true;
    config.attention.has_bias = true;
    config.attention.has_output_bias = true;
    config.learned_positions = Some(LearnedPositions { offset: 0 });
    config.token_types = Some(keys.size("type_vocab_size", 2)?);
    config.embedding_norm = EmbeddingNorm::Sum;
    config.wiring.norms = Norms::OnSum;
    config.has_final_norm = false;
    config.output.has_bias = true;
    config.output.transform = Some(config.mlp.activation);
    config
        .blocks
        .iter_mut()
        .for_each(|block| block.sees_all = true);
    Ok(config)
}
