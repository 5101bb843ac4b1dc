//! The evidence that reading a journal gives, where nothing runs again.

use std::fmt;
use std::io::Read;

use serde_json::{Value, json};

use super::names::count;
use super::read::{FrameInfo, JournalReader};
use super::record::Record;

/// The evidence that a journal gives by having been read so far, with all that a [`JournalReader`]
/// checks.
///
/// The levels L1 to L4 of the README are of runs that are made again. This is none of them, and
/// what they rest on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Evidence {
    /// How many frames have the CRCs and the numbers that they should have.
    pub frames: u64,
    /// How many exchanges are in them.
    pub exchanges: u64,
    /// How many of the exchanges are in the digest of a run or a tick that is what it should be.
    pub digested: u64,
    /// How many runs have ended with their digest.
    pub runs: u64,
    /// How many ticks there were.
    pub ticks: u64,
    /// The number of the last frame with such a digest.
    pub last_digest: Option<u64>,
    /// Whether the footer has been read.
    pub is_complete: bool,
}

impl Evidence {
    /// Takes a record that was read.
    pub fn see(&mut self, info: &FrameInfo, record: &Record) {
        match record {
            Record::Exchange(_) => self.exchanges += 1,
            Record::RunEnd(_) => self.runs += 1,
            Record::Tick(_) => self.ticks += 1,
            _ => {}
        }
        if let Record::RunEnd(_) | Record::Tick(_) = record {
            self.digested = self.exchanges;
            self.last_digest = Some(info.sequence);
        }
    }

    /// Takes how far the reader came.
    pub fn end<R: Read>(&mut self, reader: &JournalReader<R>) {
        self.frames = reader.good_frames();
        self.is_complete = reader.is_complete();
    }

    /// Returns the same facts as `Display`, as JSON for programs.
    pub fn to_json(&self) -> Value {
        json!({
            "proves": self.to_string(),
            "level": null,
            "whole": self.is_complete,
            "frames": self.frames,
            "exchanges": self.exchanges,
            "digested_exchanges": self.digested,
            "runs": self.runs,
            "ticks": self.ticks,
            "last_digest_frame": self.last_digest,
        })
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (state, end) = match self.is_complete {
            true => ("is whole", "and its end by the footer"),
            false => ("is good so far", "and nothing says that it ends here"),
        };
        write!(
            f,
            "that the journal {state}: {} by CRCs and numbers, {} of {} by the digests of {}",
            count(self.frames, "frame"),
            self.digested,
            count(self.exchanges, "exchange"),
            count(self.runs, "run"),
        )?;
        if self.ticks > 0 {
            write!(f, " and {}", count(self.ticks, "tick"))?;
        }
        if let Some(frame) = self.last_digest {
            write!(f, " up to frame {frame}")?;
        }
        write!(
            f,
            ", {end}; none of L1 to L4, because neither model nor mediators ran"
        )
    }
}
