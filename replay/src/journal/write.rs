//! Writing a journal, frame by frame, so that a crash loses at most what was not yet flushed.
//!
//! The journal is written to its final place from the start: there is no temporary file that a
//! crash would leave behind under another name. Frames are gathered in one buffer, which is
//! written out when it is full and at the end of every run.
//!
//! A journal that was left unfinished can be gone on with: [`JournalWriter::resume`].
//!
//! Nothing is lost silently: after the first call that fails, whatever the reason, each further
//! call fails with the same error.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::create::open_to_write;
use super::digest::{DType, Digest};
use super::error::{JournalError, Place};
use super::frame::{FORMAT_MINOR, FrameHeader, Kind, Preamble, frame_bytes, padding};
use super::order::Order;
use super::policy::Policy;
use super::record::{
    Exchange, FORMAT_NAME, Footer, Head, Note, Outcome, PathLine, RunEnd, RunStart,
};
use super::resume::State;
use super::sink::Sink;
use super::wire;

/// Writes a journal.
///
/// Dropping a writer without [`finish`](JournalWriter::finish) writes out what is buffered, as far
/// as that works; the journal then has no footer but can be read.
#[derive(Debug)]
pub struct JournalWriter<S: Sink = File> {
    sink: S,
    journal: Arc<str>,
    policy: Policy,
    minor: u16,
    header_seed: u32,
    order: Order,
    paths: BTreeMap<String, u32>,
    tensors: BTreeSet<Digest>,
    payload: Vec<u8>,
    buffer: Vec<u8>,
    buffer_bytes: usize,
    frames: u64,
    bytes: u64,
    state: Writing,
}

#[derive(Debug)]
enum Writing {
    Open,
    Finished,
    Failed(JournalError),
}

/// What a finished journal holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Summary {
    /// How many exchanges.
    pub exchanges: u64,
    /// The digest of the last run, which covers all exchanges before it too.
    pub digest: Digest,
    /// The size in bytes.
    pub bytes: u64,
}

const BUFFER_BYTES: usize = 1 << 16;

impl JournalWriter<File> {
    /// Creates the file at `path`, or replaces the journal that is there, and writes the head.
    ///
    /// # Errors
    /// E070 if there is a file that is neither empty nor an Interloom journal, E061 if the system
    /// refuses, E066 or E069 if the head cannot be written.
    pub fn create(path: impl AsRef<Path>, head: &Head) -> Result<Self, JournalError> {
        let journal: Arc<str> = path.as_ref().display().to_string().into();
        let file = open_to_write(path.as_ref(), &journal)?;
        Self::start(file, journal, head, BUFFER_BYTES, FORMAT_MINOR)
    }
}

impl<S: Sink> JournalWriter<S> {
    /// Starts a journal in `sink` and writes the head; `name` is what errors call it.
    ///
    /// # Errors
    /// E061 if the sink refuses, E066 or E069 if the head cannot be written.
    pub fn new(sink: S, name: &str, head: &Head) -> Result<Self, JournalError> {
        Self::start(sink, name.into(), head, BUFFER_BYTES, FORMAT_MINOR)
    }

    /// As [`new`](Self::new), with a buffer that is written out at this size.
    #[cfg(test)]
    pub(super) fn with_buffer(
        sink: S,
        head: &Head,
        buffer_bytes: usize,
    ) -> Result<Self, JournalError> {
        Self::start(sink, "test.ilj".into(), head, buffer_bytes, FORMAT_MINOR)
    }

    /// As [`new`](Self::new), in an older format, as a resumed journal may have.
    #[cfg(test)]
    pub(super) fn with_format(sink: S, head: &Head, minor: u16) -> Result<Self, JournalError> {
        Self::start(sink, "test.ilj".into(), head, BUFFER_BYTES, minor)
    }

    /// Goes on where a reader stopped.
    pub(super) fn from_state(state: State, sink: S) -> Self {
        Self {
            sink,
            journal: state.journal,
            policy: state.head.policy,
            minor: state.minor,
            header_seed: state.header_seed,
            order: state.order,
            paths: state.paths,
            tensors: state.tensors,
            payload: Vec::new(),
            buffer: Vec::with_capacity(2 * BUFFER_BYTES),
            buffer_bytes: BUFFER_BYTES,
            frames: state.frames,
            bytes: state.offset,
            state: Writing::Open,
        }
    }

    fn start(
        sink: S,
        journal: Arc<str>,
        head: &Head,
        buffer_bytes: usize,
        minor: u16,
    ) -> Result<Self, JournalError> {
        let mut writer = Self {
            sink,
            journal,
            policy: head.policy,
            minor,
            header_seed: 0,
            order: Order::new(),
            paths: BTreeMap::new(),
            tensors: BTreeSet::new(),
            payload: Vec::new(),
            buffer: Vec::with_capacity(2 * buffer_bytes),
            buffer_bytes,
            frames: 0,
            bytes: 0,
            state: Writing::Open,
        };
        writer.guarded(|writer| writer.write_head(head))?;
        Ok(writer)
    }

    /// The number of `text`, a path and port such as `layers.3.attn.output`. It is written at the
    /// first use, within the run in which that falls.
    ///
    /// # Errors
    /// E061 if the sink refuses, E069 if the text is too long, or the first error.
    pub fn path(&mut self, text: &str) -> Result<u32, JournalError> {
        if let (Writing::Open, Some(id)) = (&self.state, self.paths.get(text)) {
            return Ok(*id);
        }
        self.guarded(|writer| writer.write_path(text))
    }

    /// Starts a run.
    ///
    /// # Errors
    /// E067 if a run is open or [`RunStart::run`] is not [`next_run`](Self::next_run), E061 if
    /// the sink refuses, E069 if the record is too large, or the first error.
    pub fn start_run(&mut self, start: &RunStart) -> Result<(), JournalError> {
        self.guarded(|writer| {
            let place = writer.place();
            writer.order.start_run(start, &place)?;
            if writer.minor == 0 && start.declared.is_some() {
                // Format 1.0 does not have this key.
                let mut start = start.clone();
                start.declared = None;
                return writer.write_named(Kind::RunStart, &start);
            }
            writer.write_named(Kind::RunStart, start)
        })
    }

    /// Writes an exchange.
    ///
    /// # Errors
    /// E067 if it is not of the open run, its index is not [`next_index`](Self::next_index), or a
    /// path has not been written; E061 if the sink refuses; E066 if the value is too deep; E069 if
    /// the record is too large; or the first error.
    pub fn exchange(&mut self, exchange: &Exchange) -> Result<(), JournalError> {
        self.guarded(|writer| {
            let place = writer.place();
            writer.order.check_exchange(exchange, &place)?;
            writer.payload.clear();
            wire::encode_exchange(exchange, &mut writer.payload)
                .map_err(|reason| place.malformed(Kind::Exchange.name(), reason))?;
            writer.write_frame(Kind::Exchange)?;
            writer.order.add_exchange(&writer.payload);
            Ok(())
        })
    }

    /// Writes the bytes of a tensor of the next exchange, if the [`Policy`] keeps those and this
    /// digest is new; tells whether it did. To let one pass over the journal find the bytes, call this before the
    /// first exchange that names the digest.
    ///
    /// The caller has computed `digest` by [`Digest::of_tensor`]; readers check it.
    ///
    /// # Errors
    /// E061 if the sink refuses, E066 if `bytes` does not have the size of the shape, E069 if
    /// the tensor is too large, or the first error.
    pub fn tensor(
        &mut self,
        digest: &Digest,
        dtype: DType,
        shape: &[u64],
        bytes: &[u8],
    ) -> Result<bool, JournalError> {
        self.guarded(|writer| {
            let is_wanted = writer.policy.keeps(writer.order.exchanges());
            if !is_wanted || writer.tensors.contains(digest) {
                return Ok(false);
            }
            writer.write_tensor(digest, dtype, shape, bytes)?;
            writer.tensors.insert(*digest);
            Ok(true)
        })
    }

    /// Writes a remark.
    ///
    /// # Errors
    /// E061 if the sink refuses, E069 if it is too long, or the first error.
    pub fn note(&mut self, key: &str, value: &str) -> Result<(), JournalError> {
        let note = Note {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        self.guarded(|writer| writer.write_named(Kind::Note, &note))
    }

    /// Ends the open run, writes out what is buffered, and gives the run's end as it was written.
    ///
    /// # Errors
    /// E067 if no run is open, E061 if the sink refuses, or the first error.
    pub fn end_run(&mut self, outcome: Outcome) -> Result<RunEnd, JournalError> {
        self.guarded(|writer| {
            let (exchanges, digest) = writer.order.run_so_far();
            let end = RunEnd {
                run: writer.order.open_run().unwrap_or(writer.order.runs()),
                exchanges,
                outcome,
                digest,
            };
            let place = writer.place();
            writer.order.end_run(&end, &place)?;
            writer.write_named(Kind::RunEnd, &end)?;
            writer.flush_buffer()?;
            Ok(end)
        })
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// E061 if the sink refuses, or the first error.
    pub fn flush(&mut self) -> Result<(), JournalError> {
        self.guarded(Self::flush_buffer)
    }

    /// Writes out what is buffered and makes it durable: it outlives a loss of power.
    ///
    /// # Errors
    /// E061 if the sink refuses, or the first error.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.guarded(|writer| {
            writer.flush_buffer()?;
            let synced = writer.sink.sync();
            synced.map_err(|error| JournalError::io(&writer.journal, "make durable", &error))
        })
    }

    /// Writes the footer and makes the journal durable.
    ///
    /// # Errors
    /// E067 if a run is open, E061 if the sink refuses, or the first error.
    pub fn finish(mut self) -> Result<Summary, JournalError> {
        self.guarded(|writer| {
            let footer = Footer {
                frames: writer.frames,
                exchanges: writer.order.exchanges(),
                digest: writer.order.digest(),
            };
            let place = writer.place();
            writer.order.footer_at(&footer, &place)?;
            writer.write_named(Kind::Footer, &footer)?;
            writer.flush_buffer()?;
            let synced = writer.sink.sync();
            synced.map_err(|error| {
                JournalError::io(&writer.journal, "make durable the end of", &error)
            })?;
            writer.state = Writing::Finished;
            Ok(Summary {
                exchanges: footer.exchanges,
                digest: footer.digest,
                bytes: writer.bytes,
            })
        })
    }

    /// The index that the next exchange must have.
    pub fn next_index(&self) -> u64 {
        self.order.exchanges()
    }

    /// The number that the next run must have.
    pub fn next_run(&self) -> u32 {
        self.order.runs()
    }

    /// What this journal keeps of tensors.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The first error, if a call has failed.
    pub fn failure(&self) -> Option<&JournalError> {
        match &self.state {
            Writing::Failed(error) => Some(error),
            Writing::Open | Writing::Finished => None,
        }
    }

    fn guarded<T>(
        &mut self,
        action: impl FnOnce(&mut Self) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        if let Writing::Failed(error) = &self.state {
            return Err(error.clone());
        }
        let result = action(self);
        if let Err(error) = &result {
            self.state = Writing::Failed(error.clone());
        }
        result
    }

    fn place(&self) -> Place {
        Place {
            journal: self.journal.clone(),
            frame: self.frames,
            offset: self.bytes,
        }
    }

    fn write_head(&mut self, head: &Head) -> Result<(), JournalError> {
        if head.format != FORMAT_NAME {
            let reason = format!(
                "expected the format {FORMAT_NAME:?}, found {:?}",
                head.format
            );
            return Err(self.place().malformed(Kind::Head.name(), reason));
        }
        self.encode_named(Kind::Head, head)?;
        let preamble = Preamble {
            minor: self.minor,
            ..Preamble::for_head(&self.payload)
        };
        self.header_seed = preamble.header_seed();
        let preamble = preamble.encode();
        self.buffer.extend_from_slice(&preamble);
        self.bytes += preamble.len() as u64;
        self.write_frame(Kind::Head)?;
        self.flush_buffer()
    }

    fn write_path(&mut self, text: &str) -> Result<u32, JournalError> {
        let path = PathLine {
            id: self.order.paths(),
            text: text.to_owned(),
        };
        let place = self.place();
        self.payload.clear();
        wire::encode_path(path.id, text, &mut self.payload)
            .map_err(|reason| place.malformed(Kind::Path.name(), reason))?;
        self.write_frame(Kind::Path)?;
        self.order.path(&path, &self.payload, &place)?;
        self.paths.insert(path.text, path.id);
        Ok(path.id)
    }

    fn write_named(&mut self, kind: Kind, record: &impl Serialize) -> Result<(), JournalError> {
        self.encode_named(kind, record)?;
        self.write_frame(kind)
    }

    fn encode_named(&mut self, kind: Kind, record: &impl Serialize) -> Result<(), JournalError> {
        self.payload.clear();
        wire::encode_named(record, &mut self.payload)
            .map_err(|reason| self.place().malformed(kind.name(), reason))
    }

    /// Writes the frame whose payload stands in `self.payload`.
    fn write_frame(&mut self, kind: Kind) -> Result<(), JournalError> {
        let length = self.payload.len() as u64;
        let payload_crc = crc32fast::hash(&self.payload);
        self.write_header(kind, length, payload_crc)?;
        self.buffer.extend_from_slice(&self.payload);
        self.end_frame(length)
    }

    fn write_tensor(
        &mut self,
        digest: &Digest,
        dtype: DType,
        shape: &[u64],
        bytes: &[u8],
    ) -> Result<(), JournalError> {
        if shape.len() > wire::TENSOR_RANK_MAX {
            let limit = wire::TENSOR_RANK_MAX as u64;
            return Err(self
                .place()
                .limit("a tensor's rank", shape.len() as u64, limit));
        }
        if dtype.tensor_bytes(shape) != Some(bytes.len() as u64) {
            let reason = format!("{dtype}{shape:?} does not have {} bytes", bytes.len());
            return Err(self.place().malformed(Kind::Tensor.name(), reason));
        }
        self.payload.clear();
        wire::encode_tensor_head(digest, dtype, shape, &mut self.payload);
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.payload);
        crc.update(bytes);
        let length = self.payload.len() as u64 + bytes.len() as u64;
        self.write_header(Kind::Tensor, length, crc.finalize())?;
        self.buffer.extend_from_slice(&self.payload);
        // Large tensors go straight to the sink: the buffer need not grow to their size.
        self.flush_buffer()?;
        self.write_out(bytes)?;
        self.end_frame(length)
    }

    fn write_header(
        &mut self,
        kind: Kind,
        length: u64,
        payload_crc: u32,
    ) -> Result<(), JournalError> {
        let limit = kind.bytes_max();
        let within = u32::try_from(length).ok().filter(|length| *length <= limit);
        let Some(length) = within else {
            let subject = format!("the size of this {} in bytes", kind.name());
            return Err(self.place().limit(subject, length, u64::from(limit)));
        };
        let header = FrameHeader {
            kind: kind as u8,
            length,
            sequence: self.frames,
            payload_crc,
        };
        self.buffer
            .extend_from_slice(&header.encode(self.header_seed));
        Ok(())
    }

    fn end_frame(&mut self, length: u64) -> Result<(), JournalError> {
        self.buffer.resize(self.buffer.len() + padding(length), 0);
        self.frames += 1;
        self.bytes += frame_bytes(length);
        if self.buffer.len() >= self.buffer_bytes {
            self.write_buffer()?;
        }
        Ok(())
    }

    fn flush_buffer(&mut self) -> Result<(), JournalError> {
        self.write_buffer()?;
        let flushed = self.sink.flush();
        flushed.map_err(|error| JournalError::io(&self.journal, "write to", &error))
    }

    fn write_buffer(&mut self) -> Result<(), JournalError> {
        let written = self.sink.write_all(&self.buffer);
        written.map_err(|error| JournalError::io(&self.journal, "write to", &error))?;
        self.buffer.clear();
        Ok(())
    }

    fn write_out(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let written = self.sink.write_all(bytes);
        written.map_err(|error| JournalError::io(&self.journal, "write to", &error))
    }
}

impl<S: Sink> Drop for JournalWriter<S> {
    fn drop(&mut self) {
        if matches!(self.state, Writing::Open) {
            // Nobody is left to tell: whoever wants to know calls `finish`.
            self.flush_buffer().ok();
        }
    }
}
