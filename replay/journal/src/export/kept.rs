//! The tensors that a journal keeps, one by one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::Statistics;
use crate::digest::Digest;
use crate::error::JournalError;
use crate::index::Frames;
use crate::read::JournalReader;
use crate::record::Record;

/// The places of the tensors that a journal keeps; the tensors themselves stay in the file.
#[derive(Debug)]
pub struct KeptTensors {
    frames: Frames<BufReader<File>>,
    offsets: BTreeMap<Digest, u64>,
}

impl KeptTensors {
    /// Goes through the journal at `path` for its tensors, as far as it is good.
    ///
    /// # Errors
    /// Those of [`JournalReader::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        let mut reader = JournalReader::open(path)?;
        let mut offsets = BTreeMap::new();
        while let Ok(Some((info, record))) = reader.next_record() {
            if let Record::Tensor(tensor) = record {
                offsets.entry(tensor.digest).or_insert(info.offset);
            }
        }
        Ok(Self {
            frames: Frames::new(reader.into_parts()),
            offsets,
        })
    }

    /// Returns the figures of a tensor, or `None` if the journal does not keep it.
    ///
    /// # Errors
    /// E061 if the file cannot be read, and E064 or E066 if it is no longer what it was.
    pub fn statistics(&mut self, digest: &Digest) -> Result<Option<Statistics>, JournalError> {
        let Some(offset) = self.offsets.get(digest) else {
            return Ok(None);
        };
        let tensor = self.frames.tensor(*offset)?;
        Ok(Some(Statistics::of(&tensor)))
    }
}
