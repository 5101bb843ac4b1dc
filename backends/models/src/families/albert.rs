//! ALBERT: BERT with a narrow embedding, and blocks that share their weights (Lan et al. 2020).

use super::bert::{NAMES as BERT_NAMES, like_bert};
use super::keys::Keys;
use super::{Defaults, Family, Kind};
use crate::architecture::Architecture;
use crate::decoder::{DecoderConfig, MlpNames, Names, QkvNames, SharedBlocks};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["albert"],
    gguf: None,
    kind: Kind::Decoder(Family::new(config, NAMES)),
};

const NAMES: Names = Names {
    stems: &["albert.", ""],
    project_in: "encoder.embedding_hidden_mapping_in",
    blocks: "encoder.albert_layer_groups",
    inner_blocks: "albert_layers",
    ln1: "attention.LayerNorm",
    ln2: "full_layer_layer_norm",
    qkv: QkvNames::Split(["attention.query", "attention.key", "attention.value"]),
    output: "attention.dense",
    mlp: MlpNames::Plain(["ffn", "ffn_output"]),
    transform: ["predictions.dense", "predictions.LayerNorm"],
    unembed: "predictions.decoder",
    unembed_bias: "predictions.bias",
    left_whole: &[
        "albert.embeddings.position_ids",
        "albert.embeddings.token_type_ids",
        "albert.pooler.weight",
        "albert.pooler.bias",
        "predictions.bias",
        "predictions.decoder.bias",
        "sop_classifier.classifier.weight",
        "sop_classifier.classifier.bias",
    ],
    ..BERT_NAMES
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let defaults = Defaults {
        width: 4096,
        hidden: 16_384,
        layers: 12,
        heads: 64,
        kv_heads: None,
        head_width: None,
        vocabulary: 30_000,
        positions: 512,
        base: 1e4,
        epsilon: 1e-12,
        activation: "gelu_new",
        is_tied: true,
        bos: Some(2),
        eos: Some(3),
    };
    let mut config = like_bert(keys, &defaults)?;
    config.embedding_width = keys.size("embedding_size", 128)?;
    config.projects_sum = true;
    let shared = SharedBlocks {
        passes: config.blocks.len(),
        groups: keys.size("num_hidden_groups", 1)?,
        inner: keys.size("inner_group_num", 1)?,
    };
    let all = shared.passes.saturating_mul(shared.inner);
    if all > crate::config::MAX_LAYERS {
        let expected = format!("at most {} layers in all", crate::config::MAX_LAYERS);
        return Err(keys.malformed("inner_group_num", expected, shared.inner.to_string()));
    }
    config.shared = Some(shared);
    let block = config.blocks.first().copied().unwrap_or_default();
    config.blocks = vec![block; all];
    Ok(config)
}
