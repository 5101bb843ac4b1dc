//! A ViT as a language model, which takes images in place of tokens.

use burn::tensor::{Device, Int, Tensor, TensorData};
use interloom_backends::{Erase, Parameters, Sites, Value, visit_parameters};
use interloom_engine::Fault;
use interloom_program::Modules;

use super::Vit;
use crate::call::{Callable, Sizes, in_layer, not_callable, stream};
use crate::causal::{CausalLm, Decoder, Images};
use crate::decoder::{KvCache, Positions};
use crate::files::{FileError, ModelFiles, Weights};

/// A ViT whose rows are images, with the device that it is on.
#[derive(Debug)]
pub struct VitLm {
    vit: Vit,
    device: Device,
}

impl VitLm {
    /// Reads the configuration of a folder, and takes every weight.
    ///
    /// # Errors
    ///
    /// E042 to E046: what can be wrong with the configuration or the weights.
    pub fn load(files: ModelFiles, device: &Device) -> Result<Self, FileError> {
        let folder = match files {
            ModelFiles::Folder(folder) => folder,
            ModelFiles::Gguf(gguf) => {
                let (place, found) = ("its format", "a GGUF file");
                let advice = "use the folder that it was made of";
                let expected = "a folder of the hub";
                return Err(FileError::unsupported(
                    gguf.name(),
                    place,
                    expected,
                    found,
                    advice,
                ));
            }
        };
        let file = folder.config_file();
        let weights = Weights::from_safetensors(folder.weights);
        Ok(Self {
            vit: Vit::load(&folder.config, &file, weights, device)?,
            device: device.clone(),
        })
    }

    /// Returns the model without what makes images of tokens.
    pub const fn vit(&self) -> &Vit {
        &self.vit
    }
}

impl CausalLm for VitLm {
    fn sites(&self) -> &Sites {
        self.vit.sites()
    }

    fn parameters(&self) -> Parameters {
        Parameters::of(self.vit.model().inner())
    }

    fn visit_parameters(&self, visit: &mut dyn FnMut(&str, TensorData)) {
        visit_parameters(self.vit.model().inner(), visit);
    }

    /// Returns how many classes there are.
    fn vocabulary(&self) -> usize {
        self.vit.config().classes
    }

    /// Returns how many positions an image has: the class token's and the patches'.
    fn positions(&self) -> usize {
        self.vit.config().blocks.positions
    }

    fn continues(&self) -> bool {
        false
    }

    fn images(&self) -> Option<&dyn Images> {
        Some(self)
    }

    /// Computes the logits of black images, one for each row: tokens say nothing of an image.
    fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let [channels, height, width] = self.size();
        let shape = [tokens.dims()[0], channels, height, width];
        self.forward_images(Tensor::zeros(shape, &self.device))
    }

    fn decoder(&self, _positions: usize) -> Decoder<'_> {
        Box::new(|tokens| self.forward(tokens))
    }
}

impl Images for VitLm {
    fn size(&self) -> [usize; 3] {
        let config = self.vit.config();
        let [height, width] = config.image;
        [config.channels, height, width]
    }

    fn label(&self, class: u32) -> Option<&str> {
        self.vit.config().labels.get(&class).map(String::as_str)
    }

    fn forward_images(&self, pixels: Tensor<4>) -> Tensor<3> {
        self.vit.classify(pixels).unsqueeze_dim(1)
    }
}

/// `norm`, `classifier`, `layers.N`, and in a layer `attn`, `mlp`, `ln1` and `ln2`.
///
/// They take the residual stream, the classifier of as many positions as one likes. Called by a
/// mediator, modules pass no site of the run.
impl Modules<Value> for VitLm {
    fn call(&self, path: &str, input: Value) -> Result<Value, Fault> {
        let (model, config) = (self.vit.model().inner(), self.vit.config());
        let as_stream = |input| stream(path, input, config.blocks.width, config.blocks.positions);
        let output = match (path, in_layer(path, config.blocks.blocks.len())) {
            ("norm", _) => model.norm.forward(as_stream(input)?),
            ("classifier", _) => model.classifier.forward(as_stream(input)?),
            (_, Some((layer, part))) => {
                let x = as_stream(input)?;
                let block = model.layers[layer].inner();
                let [batch, length, _] = x.dims();
                let attentions = model.layers.iter().map(|layer| layer.inner().attn.inner());
                let positions = Positions::unrotated(attentions, [batch, 0, length], &x.device());
                let mut cache = KvCache::new(model.layers.len(), length);
                match (part, &block.ln1, &block.ln2) {
                    ("", ..) => block.forward(x, &positions, &mut cache, layer),
                    ("attn", ..) => {
                        let attn = block.attn.inner();
                        attn.forward(x, &positions, &mut cache, layer)
                    }
                    ("mlp", ..) => block.mlp.forward(x),
                    ("ln1", Some(norm), _) | ("ln2", _, Some(norm)) => norm.forward(x),
                    _ => return Err(unknown(path)),
                }
            }
            _ => return Err(unknown(path)),
        };
        Ok(output.erase())
    }

    fn shape(&self, path: &str, input: &[u64]) -> Option<Result<Vec<u64>, Fault>> {
        let config = self.vit.config();
        let logits = match (path, in_layer(path, config.blocks.blocks.len())) {
            ("classifier", _) => true,
            ("norm", _) | (_, Some((_, "" | "attn" | "mlp" | "ln1" | "ln2"))) => false,
            _ => return Some(Err(unknown(path))),
        };
        let sizes = Sizes {
            width: config.blocks.width,
            made: config.blocks.width,
            vocabulary: config.classes,
            positions: config.blocks.positions,
        };
        let callable = Callable {
            tokens: false,
            logits,
        };
        Some(callable.shape(path, input, sizes))
    }
}

fn unknown(path: &str) -> Fault {
    not_callable(
        path,
        "`layers.N`, its `ln1`, `attn`, `ln2` and `mlp`, `norm` and `classifier`",
    )
}
