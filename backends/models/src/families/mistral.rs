//! Mistral (Jiang et al. 2023), and Ministral, in which some blocks have no window.

use super::keys::Keys;
use super::{Defaults, Family, Kind, window, windows};
use crate::architecture::Architecture;
use crate::decoder::{DecoderConfig, LLAMA_NAMES};
use crate::files::FileError;

pub(super) const ARCHITECTURE: Architecture = Architecture {
    model_types: &["mistral", "ministral"],
    gguf: None,
    kind: Kind::Decoder(Family::new(config, LLAMA_NAMES)),
};

fn config(keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
    let defaults = Defaults {
        width: 4096,
        hidden: 14_336,
        layers: 32,
        heads: 32,
        kv_heads: Some(8),
        head_width: None,
        vocabulary: 32_000,
        positions: 4096 * 32,
        base: 1e4,
        epsilon: 1e-6,
        activation: "silu",
        is_tied: false,
        bos: Some(1),
        eos: Some(2),
    };
    let mut config = defaults.like_llama(keys)?;
    let window = window(keys, Some(4096))?;
    windows(keys, &mut config, window, |_| window.is_some())?;
    Ok(config)
}
