//! The configuration of a ViT.

use std::collections::BTreeMap;

use crate::config::{MAX_WIDTH, check_sizes};
use crate::decoder::DecoderConfig;
use crate::families::{Defaults, Keys, Sizes, activation, refuse_for_all, share};
use crate::files::FileError;

/// The sizes and constants of a ViT.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct VitConfig {
    /// The height and the width of an image.
    pub image: [usize; 2],
    /// The height and the width of a patch.
    pub patch: [usize; 2],
    /// The number of channels.
    pub channels: usize,
    /// The number of classes.
    pub classes: usize,
    /// What the classes are called, as far as they have names.
    pub labels: BTreeMap<u32, String>,
    /// What the blocks are; it has as many tokens as there are classes.
    pub blocks: DecoderConfig,
}

impl VitConfig {
    /// Reads the text of a `config.json`; `file` is what messages call it. Keys and defaults are
    /// those of `ViTConfig` in the Python library transformers.
    ///
    /// # Errors
    ///
    /// E042 if it is not valid or its sizes do not fit together, E043 if it is of another
    /// architecture or asks for something that is not computed.
    pub fn from_json(text: &str, file: &str) -> Result<Self, FileError> {
        let keys = Keys::parse(text, file)?;
        refuse_for_all(&keys)?;
        let model_type = keys.optional_text("model_type")?;
        if model_type.as_deref() != Some("vit") {
            let found = model_type.unwrap_or_else(|| "none".to_owned());
            return Err(keys.unsupported("model_type", "vit", found));
        }
        let image = pair(&keys, "image_size", 224)?;
        let patch = pair(&keys, "patch_size", 16)?;
        let named = keys.object("id2label")?;
        let classes = match &named {
            Some(named) => named.names().count(),
            None => keys.size("num_labels", 2)?,
        };
        let labels = match &named {
            Some(named) => labels(named)?,
            // As transformers calls them.
            None => (0..classes.min(MAX_WIDTH) as u32)
                .map(|class| (class, format!("LABEL_{class}")))
                .collect(),
        };
        let width = keys.size("hidden_size", 768)?;
        let heads = keys.size("num_attention_heads", 12)?;
        let head_width = match keys.optional_size("head_dim")? {
            Some(head_width) => head_width,
            None => share(&keys, "hidden_size", width, heads)?,
        };
        let count = |side: usize| image[side].checked_div(patch[side]).unwrap_or(0);
        let sizes = Sizes {
            width,
            hidden: keys.size("intermediate_size", 3072)?,
            layers: keys.size("num_hidden_layers", 12)?,
            heads,
            vocabulary: classes,
            positions: count(0).saturating_mul(count(1)).saturating_add(1),
        };
        let mut blocks = Defaults::NONE.like_gpt(&keys, sizes, head_width)?;
        blocks.norm.epsilon = keys.number("layer_norm_eps", 1e-12)?;
        blocks.mlp.activation = activation(&keys, "hidden_act", "gelu")?;
        blocks.mlp.has_bias = true;
        blocks.attention.has_bias = keys.flag("qkv_bias", true)?;
        blocks.attention.has_output_bias = true;
        blocks.output.has_bias = true;
        blocks
            .blocks
            .iter_mut()
            .for_each(|block| block.sees_all = true);
        let channels = keys.size("num_channels", 3)?;
        check_sizes(
            file,
            &[
                ("the number of channels", channels, MAX_WIDTH),
                ("the height of an image", image[0], MAX_WIDTH),
                ("the width of an image", image[1], MAX_WIDTH),
                ("the height of a patch", patch[0], image[0]),
                ("the width of a patch", patch[1], image[1]),
            ],
        )?;
        Ok(Self {
            image,
            patch,
            channels,
            classes,
            labels,
            blocks: blocks.checked(file)?,
        })
    }
}

/// Reads what classes are called.
fn labels(named: &Keys<'_>) -> Result<BTreeMap<u32, String>, FileError> {
    let label = |class: &str| {
        let number = class.parse();
        let number =
            number.map_err(|_| named.malformed(class, "the number of a class as a key", class))?;
        Ok((number, named.optional_text(class)?.unwrap_or_default()))
    };
    named.names().map(label).collect()
}

/// Reads a height and a width; one number is both.
fn pair(keys: &Keys<'_>, key: &str, default: usize) -> Result<[usize; 2], FileError> {
    if let Ok(Some(both)) = keys.optional_numbers(key) {
        let whole = |number: f64| number.fract() == 0.0 && number >= 0.0;
        return match both[..] {
            [height, width] if whole(height) && whole(width) => {
                Ok([height as usize, width as usize])
            }
            _ => Err(keys.malformed(key, "a height and a width", format!("{both:?}"))),
        };
    }
    let one = keys.size(key, default)?;
    Ok([one, one])
}
