//! Families in GGUF files, as llama.cpp's converter writes them.
//!
//! A file's metadata become the keys of the family's `config.json`, so that a configuration is read
//! in one place; what the converter did to tensors is undone, and they get the names of the hub.
//! What metadata do not say is what the class of transformers says: a nonlinearity, for example.
//! Rotary positions and biases are as the file has them, whatever the family.
//!
//! A key of the architecture that was not read must say nothing, or the file is refused.

mod metadata;
mod names;
mod rotary;
#[cfg(test)]
mod tests;

use crate::decoder::{DecoderConfig, Names};
use crate::files::{FileError, Gguf, Weights};

pub(super) use self::metadata::{Hub, VARIANCE_EPSILON};
pub(crate) use self::metadata::{Metadata, RMS_EPSILON};
use super::Family;

/// What reads a family from GGUF files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FromGguf {
    /// Reads the metadata.
    pub(super) config: fn(&Metadata<'_>) -> Result<DecoderConfig, FileError>,
    /// What the converter did to the tensors.
    pub(super) storage: Storage,
}

/// What the converter does to the tensors of a family.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Storage {
    /// Nothing.
    Plain,
    /// The rows of queries and keys are in the order in which llama.cpp rotates neighbours.
    Interleaved,
    /// One is added to the gains of norms.
    GainsPlusOne,
}

impl Family {
    /// Makes the family one that is read from GGUF files as well.
    pub(super) const fn with_gguf(
        self,
        storage: Storage,
        config: fn(&Metadata<'_>) -> Result<DecoderConfig, FileError>,
    ) -> Self {
        let gguf = Some(FromGguf { config, storage });
        Self { gguf, ..self }
    }

    /// Reads the metadata of a GGUF file, and gives its tensors the names of the hub.
    pub(crate) fn open_gguf(
        &self,
        gguf: Gguf,
    ) -> Result<(DecoderConfig, Names, Weights), FileError> {
        let from = self.reader(&gguf)?;
        let config = from.read(&gguf)?;
        let names = names::of_file(&gguf, self.names(&config));
        let tensors = names::Tensors::new(&gguf, &names, &config, from.storage);
        let name = |stored: &str| tensors.hub_name(stored);
        let weights = Weights::from_gguf(gguf, name);
        Ok((config, names, weights))
    }

    /// Reads the metadata of a GGUF file.
    pub(crate) fn read_gguf(&self, gguf: &Gguf) -> Result<DecoderConfig, FileError> {
        self.reader(gguf)?.read(gguf)
    }

    fn reader(&self, gguf: &Gguf) -> Result<FromGguf, FileError> {
        let refused = || {
            let place = "metadata key `general.architecture`";
            let expected = "a family that is read from GGUF files";
            let advice = "use the folder of the model with its safetensors files";
            let found = gguf.text("general.architecture")?;
            Err(FileError::unsupported(
                gguf.name(),
                place,
                expected,
                found,
                advice,
            ))
        };
        self.gguf.map_or_else(refused, Ok)
    }
}

impl FromGguf {
    fn read(self, gguf: &Gguf) -> Result<DecoderConfig, FileError> {
        let metadata = Metadata::new(gguf)?;
        let mut config = (self.config)(&metadata)?;
        rotary::read(&metadata, self.storage, &mut config)?;
        biases(&metadata, &mut config);
        metadata.refuse_unread()?;
        config.checked(gguf.name())
    }
}

/// Gives linear layers the biases that the file has.
fn biases(metadata: &Metadata<'_>, config: &mut DecoderConfig) {
    let has = |names: &[&str]| names.iter().any(|name| metadata.has(name));
    config.attention.has_bias = has(&["blk.0.attn_q.bias", "blk.0.attn_qkv.bias"]);
    config.attention.has_output_bias = has(&["blk.0.attn_output.bias"]);
    config.mlp.has_bias = has(&["blk.0.ffn_up.bias"]);
    config.output.has_bias = has(&["output.bias"]);
}
