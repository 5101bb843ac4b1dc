//! From weights by name to a model.

use burn::tensor::Device;
use interloom_backends::Tap;

use super::{PatchEmbedding, VitConfig, VitModel};
use crate::decoder::{LLAMA_NAMES, MlpNames, Names, Norm, QkvNames, load_blocks};
use crate::files::{FileError, Weights};
use crate::loader::Loader;
use crate::projection::{Finish, Projection};

const NAMES: Names = Names {
    blocks: "encoder.layer",
    ln1: "layernorm_before",
    ln2: "layernorm_after",
    qkv: QkvNames::Split([
        "attention.attention.query",
        "attention.attention.key",
        "attention.attention.value",
    ]),
    output: "attention.output.dense",
    mlp: MlpNames::Plain(["intermediate.dense", "output.dense"]),
    ..LLAMA_NAMES
};

/// Takes every weight of a model; the pooler of the bare model is left.
pub(super) fn load(
    config: &VitConfig,
    weights: Weights,
    device: &Device,
) -> Result<VitModel, FileError> {
    const TOKEN: &str = "embeddings.cls_token";
    let stem = if weights.shape(TOKEN).is_some() {
        ""
    } else {
        "vit."
    };
    let mut loader = Loader::new(weights, device);
    let width = config.blocks.width;
    let patches = format!("{stem}embeddings.patch_embeddings.projection");
    let [height, breadth] = config.patch;
    let shape = [width, config.channels, height, breadth];
    let weight = loader.weights.take(&format!("{patches}.weight"), &shape)?;
    let weight = loader.numbered(weight.data, [width, config.channels * height * breadth]);
    let bias = loader.parameter(&format!("{patches}.bias"), [width])?;
    let embed = PatchEmbedding {
        projection: Projection::new(weight, Some(bias), Finish::default()),
        height,
        width: breadth,
    };
    let class_token = loader.parameter(&format!("{stem}{TOKEN}"), [1, 1, width])?;
    let positions = format!("{stem}embeddings.position_embeddings");
    let positions = loader.parameter(&positions, [1, config.blocks.positions, width])?;
    let (layers, mut loader) = load_blocks(&config.blocks, &NAMES, stem, loader)?;
    let norm = format!("{stem}layernorm");
    let gain = loader.parameter(&format!("{norm}.weight"), [width])?;
    let bias = loader.parameter(&format!("{norm}.bias"), [width])?;
    let norm = Norm::new(Some(gain), Some(bias), config.blocks.norm);
    let weight = loader.parameter("classifier.weight", [config.classes, width])?;
    let bias = loader.parameter("classifier.bias", [config.classes])?;
    for left in ["pooler.dense.weight", "pooler.dense.bias"] {
        loader.weights.leave(&format!("{stem}{left}"));
    }
    loader.weights.finish()?;
    Ok(VitModel {
        embed: embed.into(),
        class_token,
        positions,
        pos_embed: Tap::new(),
        layers,
        norm: norm.into(),
        classifier: Projection::new(weight, Some(bias), Finish::default()).into(),
    })
}
