//! A reader of GGUF, the file format of llama.cpp, in versions 2 and 3.
//!
//! A GGUF file is a header, typed key/value metadata, a table of tensors, and the tensors' data,
//! aligned. The reader follows the description in ggml's `docs/gguf.md`; the layouts of the
//! quantised blocks are those of ggml's `ggml-quants.c`. It is written here because the crates
//! for the format either bring a tensor library along, or believe the lengths in the file and
//! allocate or index by them without a check.
//!
//! [`Gguf`] reads the header once and keeps the file open; a tensor's data is read and turned into
//! `f32` by [`Gguf::load`], one tensor at a time and piece by piece, so that only its `f32` values
//! are ever in memory as a whole.

mod header;
mod quant;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeMap;
use std::path::Path;

pub use header::{
    MAX_ALIGNMENT, MAX_ARRAY_DEPTH, MAX_DIMENSIONS, MAX_HEADER_BYTES, MAX_KEYS, MAX_NAME_BYTES,
    MAX_TENSORS,
};
pub use quant::TensorType;
pub use value::{GgufArray, GgufValue};

use super::input::Input;
use super::{FileError, RawTensor};
use header::Header;

/// An open GGUF file: its metadata, its table of tensors, and a way to load them.
pub struct Gguf {
    input: Input,
    header: Header,
}

/// A tensor as the table of a GGUF file describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The extents, outermost first (the file has them innermost first).
    pub shape: Vec<usize>,
    /// How the values are stored.
    pub kind: TensorType,
    /// The first byte of the data, counted from the beginning of the file.
    pub offset: u64,
    /// The length of the data in bytes.
    pub length: u64,
}

impl Gguf {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    ///
    /// E040 or E041 if the file cannot be read, E042 if it breaks the format, E043 if its
    /// version, byte order or a tensor's number format is not supported.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Self::read(Input::open(path)?)
    }

    /// Reads the header of a file that is in memory; `name` is what messages call it.
    ///
    /// # Errors
    ///
    /// As for [`Gguf::open`].
    pub fn from_bytes(bytes: Vec<u8>, name: &str) -> Result<Self, FileError> {
        Self::read(Input::from_bytes(bytes, name))
    }

    fn read(input: Input) -> Result<Self, FileError> {
        let header = header::parse(&input)?;
        Ok(Self { input, header })
    }

    /// Returns the name that messages use: the path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.input.name()
    }

    /// Returns the version of the format, 2 or 3.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.header.version
    }

    /// Returns all metadata, by key.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, GgufValue> {
        &self.header.metadata
    }

    /// Returns all tensors, by the name that the file gives them.
    #[must_use]
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.header.tensors
    }

    /// Reads one tensor and turns its values into `f32`.
    ///
    /// # Errors
    ///
    /// E044 if there is no such tensor, E041 if the file cannot be read any more.
    pub fn load(&self, name: &str) -> Result<RawTensor, FileError> {
        self.load_part(name, None)
    }

    /// Reads one tensor, or one index of its outermost dimension, which is then left out of the
    /// shape.
    pub(crate) fn load_part(
        &self,
        name: &str,
        part: Option<usize>,
    ) -> Result<RawTensor, FileError> {
        let Some(info) = self.header.tensors.get(name) else {
            return Err(FileError::TensorMissing {
                file: self.name().to_owned(),
                name: name.to_owned(),
                found: "no such tensor".to_owned(),
                advice: "see the file's table of tensors".to_owned(),
            });
        };
        let (offset, length, shape) = match part {
            None => (info.offset, info.length, &info.shape[..]),
            Some(part) => {
                let length = info.length / info.shape[0] as u64;
                let offset = info.offset + part as u64 * length;
                (offset, length, &info.shape[1..])
            }
        };
        let kind = info.kind;
        let block = [kind.block_bytes(), kind.block_values()];
        let decode = |bytes: &[u8], values: &mut [f32]| kind.dequantise_into(bytes, values);
        let data = self.input.decode_at(offset, length, block, decode)?;
        Ok(RawTensor {
            shape: shape.to_vec(),
            data,
        })
    }

    /// A text that must be there.
    pub(crate) fn text(&self, key: &str) -> Result<&str, FileError> {
        self.required(key, "a string", GgufValue::as_str)
    }

    /// An array of texts that must be there.
    pub(crate) fn texts(&self, key: &str) -> Result<&[String], FileError> {
        self.required(key, "an array of strings", GgufValue::as_strings)
    }

    /// A value that may be absent, but must be of the right type if it is there.
    pub(crate) fn optional<'a, T: 'a>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a GgufValue) -> Option<T>,
    ) -> Result<Option<T>, FileError> {
        if !self.metadata().contains_key(key) {
            return Ok(None);
        }
        self.required(key, expected, read).map(Some)
    }

    fn required<'a, T: 'a>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a GgufValue) -> Option<T>,
    ) -> Result<T, FileError> {
        let value = self.metadata().get(key);
        value.and_then(read).ok_or_else(|| {
            let found = value.map_or_else(|| "no such key".to_owned(), GgufValue::type_name);
            FileError::malformed(
                self.name(),
                format!("metadata key `{key}`"),
                expected,
                found,
            )
        })
    }
}
