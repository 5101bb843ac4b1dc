//! The values that caches collected, kept with the end of a run: they are in no exchange, and a
//! replay must not overlook them.

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::exchange::encode_value;
use super::value::ValueTree;

/// The values that one cache collected at one point. It is written as an array of the five fields.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(from = "Fields", into = "Fields")]
pub struct CachedLine {
    /// Whose cache it is, as a position in [`RunStart::mediators`](super::RunStart::mediators);
    /// `None` is the run's.
    pub owner: Option<u32>,
    /// Which of its caches, from 0.
    pub number: u32,
    /// The path and port, such as `layers.3.attn.output`.
    pub point: String,
    /// How many values there are, one for each iteration.
    pub values: u64,
    /// The digest under the domain `cached` over the iteration (u32) and the encoding of each
    /// value as in an exchange, in the order in which they were collected.
    pub digest: Digest,
}

impl CachedLine {
    /// What was collected at a point, each value with its iteration.
    ///
    /// # Errors
    /// A value is nested deeper than a journal can say, in words.
    pub(super) fn new(
        (owner, number): (Option<u32>, u32),
        point: String,
        values: &[(u32, ValueTree)],
    ) -> Result<Self, String> {
        let mut bytes = Vec::new();
        for (iteration, value) in values {
            bytes.extend_from_slice(&iteration.to_le_bytes());
            encode_value(value, &mut bytes, 0)?;
        }
        Ok(Self {
            owner,
            number,
            point,
            values: values.len() as u64,
            digest: Digest::of_bytes("cached", &bytes),
        })
    }
}

type Fields = (Option<u32>, u32, String, u64, Digest);

impl From<Fields> for CachedLine {
    fn from((owner, number, point, values, digest): Fields) -> Self {
        Self {
            owner,
            number,
            point,
            values,
            digest,
        }
    }
}

impl From<CachedLine> for Fields {
    fn from(line: CachedLine) -> Self {
        (
            line.owner,
            line.number,
            line.point,
            line.values,
            line.digest,
        )
    }
}
