//! ViT (Dosovitskiy et al. 2021): images to classes, with everything inside as a site.
//!
//! The blocks are those of the [`decoder`](crate::decoder) with sight of all positions, and have
//! its sites. In front of them there are `embed`, from `[batch, channel, height, width]` pixels to
//! `[batch, patch, width]`, and `pos_embed`, the sum of that, the class token in front of it and
//! the embedding of positions; behind them `norm` and `classifier`, whose input is the class token.
//!
//! As a [`LanguageModel`](crate::LanguageModel), [`VitLm`], it takes images in place of tokens
//! ([`LanguageModel::images`](crate::LanguageModel::images)): the positions of a row are the class
//! token and the patches, and its logits are of classes.

mod config;
mod lm;
mod load;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use interloom_backends::{Bound, Forward, Hooked, ModelError, Sites, Tap};

use crate::decoder::{Block, KvCache, Norm, Positions, Projection};
use crate::files::{FileError, Weights};

pub use config::VitConfig;
pub use lm::VitLm;

/// A classifier of images: `[batch, channel, height, width]` pixels to `[batch, class]` logits.
#[derive(Module, Debug)]
pub struct VitModel {
    embed: Hooked<PatchEmbedding>,
    class_token: Param<Tensor<3>>,
    positions: Param<Tensor<3>>,
    pos_embed: Tap,
    layers: Vec<Hooked<Block>>,
    norm: Hooked<Norm>,
    classifier: Hooked<Projection>,
}

/// The embedding of patches: a linear layer of the pixels of each.
#[derive(Module, Debug)]
pub struct PatchEmbedding {
    projection: Projection,
    height: usize,
    width: usize,
}

/// A ViT that is bound to its sites, with its configuration.
#[derive(Debug)]
pub struct Vit {
    model: Bound<Hooked<VitModel>>,
    config: VitConfig,
}

impl Vit {
    /// Makes a model of the text of a `config.json`, which messages call `file`, and its weights
    /// under the names of the hub.
    ///
    /// # Errors
    ///
    /// E042 to E046: what can be wrong with the configuration or the weights.
    pub fn load(
        text: &str,
        file: &str,
        weights: Weights,
        device: &Device,
    ) -> Result<Self, FileError> {
        let config = VitConfig::from_json(text, file)?;
        let model = load::load(&config, weights, device)?;
        let bound = Bound::new(Hooked::from(model));
        Ok(Self {
            model: bound.expect("the model's own paths are distinct"),
            config,
        })
    }

    /// Returns the model's sites.
    pub const fn sites(&self) -> &Sites {
        self.model.sites()
    }

    /// Returns the model.
    pub const fn model(&self) -> &Bound<Hooked<VitModel>> {
        &self.model
    }

    /// Returns the model's sizes.
    pub const fn config(&self) -> &VitConfig {
        &self.config
    }

    /// Computes `[batch, class]` logits of `[batch, channel, height, width]` pixels.
    ///
    /// # Errors
    ///
    /// E033 if the images are not as large as the model's.
    pub fn forward(&self, pixels: Tensor<4>) -> Result<Tensor<2>, ModelError> {
        let [batch, channels, height, width] = pixels.dims();
        let [expected_height, expected_width] = self.config.image;
        let expected = [self.config.channels, expected_height, expected_width];
        if batch == 0 || [channels, height, width] != expected {
            return Err(ModelError::Input {
                what: format!("pixels {:?}", pixels.dims()),
                instead: format!(
                    "give it [batch, {}, {}, {}]",
                    expected[0], expected[1], expected[2]
                ),
            });
        }
        Ok(self.classify(pixels))
    }

    /// Computes the logits of images that are as large as the model's.
    fn classify(&self, pixels: Tensor<4>) -> Tensor<2> {
        self.model
            .call(pixels, |model, pixels| model.forward(pixels))
    }
}

impl VitModel {
    fn forward(&self, pixels: Tensor<4>) -> Tensor<2> {
        let device = pixels.device();
        let patches = self.embed.forward(pixels);
        let [batch, count, width] = patches.dims();
        let class = self.class_token.val().expand([batch, 1, width]);
        let embedded = Tensor::cat(vec![class, patches], 1) + self.positions.val();
        let mut residual = self.pos_embed.pass(embedded);

        let attentions = self.layers.iter().map(|layer| layer.inner().attn.inner());
        let positions = Positions::unrotated(attentions, [batch, 0, count + 1], &device);
        let mut cache = KvCache::new(self.layers.len(), count + 1);
        for (index, layer) in self.layers.iter().enumerate() {
            residual = layer.call(residual, |block, x| {
                block.forward(x, &positions, &mut cache, index)
            });
        }
        let class = self.norm.forward(residual).narrow(1, 0, 1);
        self.classifier.forward(class).squeeze_dim::<2>(1)
    }
}

impl Forward<Tensor<4>> for PatchEmbedding {
    type Output = Tensor<3>;

    fn forward(&self, pixels: Tensor<4>) -> Tensor<3> {
        let [batch, channels, height, width] = pixels.dims();
        let (rows, columns) = (height / self.height, width / self.width);
        // What is left over at the edges is not looked at.
        let pixels = pixels
            .narrow(2, 0, rows * self.height)
            .narrow(3, 0, columns * self.width)
            .reshape([batch, channels, rows, self.height, columns, self.width])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([batch, rows * columns, channels * self.height * self.width]);
        self.projection.forward(pixels)
    }
}
