//! Writing a journal, frame by frame, so that a crash loses at most what was not yet flushed.
//!
//! The journal is written to its final place from the start: there is no temporary file that a
//! crash would leave behind under another name. Frames are gathered in one buffer, which is
//! written out when it is full and at the end of every run.
//!
//! A journal that was left unfinished can be continued: [`JournalWriter::resume`].
//!
//! Nothing is lost silently: after the first call that fails, whatever the reason, each further
//! call fails with the same error.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::cached::CachedLine;
use super::create::open_to_write;
use super::digest::{DType, Digest};
use super::error::{FileAction, JournalError, Place};
use super::exchange;
use super::frame::{
    FRAME_ALIGNMENT, FRAME_HEADER_BYTES, FrameHeader, FrameKind, Preamble, frame_bytes, padding,
};
use super::order::Order;
use super::padded;
use super::passage;
use super::policy::Policy;
use super::record::{
    CacheDeclaration, ExchangeRecord, FORMAT_NAME, Footer, Head, NoteRecord, OriginRecord,
    OutcomeRecord, PaddingRecord, PassageRecord, PathLine, Record, RunEndRecord, RunStart, Visit,
};
use super::resume::State;
use super::sink::Sink;
use super::sites::SiteTable;
use super::value::ValueTree;
use super::visit;
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
    tick_every: u64,
    header_seed: u32,
    order: Order,
    paths: BTreeMap<String, u32>,
    sources: BTreeMap<OriginRecord, u32>,
    tensors: BTreeSet<Digest>,
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

/// The summary of a finished journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct JournalSummary {
    /// How many exchanges.
    pub exchanges: u64,
    /// The digest of the last run, which covers all exchanges before it too.
    pub digest: Digest,
    /// The size in bytes.
    pub bytes: u64,
}

const BUFFER_BYTES: usize = 1 << 16;

/// How many exchanges there are at least from one digest to the next.
const TICK_EVERY: u64 = 256;

/// How many points one record of a visit has at most.
const PASSED_AT_ONCE: usize = 1 << 12;

const ZEROS: [u8; FRAME_ALIGNMENT] = [0; FRAME_ALIGNMENT];

/// Where the next frame goes. It borrows the name alone, so that the rest can change meanwhile.
macro_rules! place {
    ($writer:expr) => {
        Place {
            journal: &$writer.journal,
            frame: $writer.frames,
            offset: $writer.bytes,
        }
    };
}

impl JournalWriter<File> {
    /// Creates the file at `path`, or replaces the journal that is there, and writes the head.
    ///
    /// # Errors
    /// E070 if there is a file that is neither empty nor an Interloom journal, E073 if another
    /// process writes it, E061 if the system refuses, E066 or E069 if the head cannot be written.
    pub fn create(path: impl AsRef<Path>, head: &Head) -> Result<Self, JournalError> {
        let journal: Arc<str> = path.as_ref().display().to_string().into();
        let file = open_to_write(path.as_ref(), &journal)?;
        Self::start(file, journal, head, BUFFER_BYTES)
    }
}

impl<S: Sink> JournalWriter<S> {
    /// Starts a journal in `sink` and writes the head; `name` is what errors call it.
    ///
    /// # Errors
    /// E061 if the sink refuses, E066 or E069 if the head cannot be written.
    pub fn new(sink: S, name: &str, head: &Head) -> Result<Self, JournalError> {
        Self::start(sink, name.into(), head, BUFFER_BYTES)
    }

    /// As [`new`](Self::new), without a buffer.
    #[cfg(test)]
    pub(super) fn unbuffered(sink: S, head: &Head) -> Result<Self, JournalError> {
        Self::start(sink, "test.ilj".into(), head, 0)
    }

    /// The same, with ticks after so many exchanges.
    #[cfg(test)]
    pub(super) fn ticking(mut self, every: u64) -> Self {
        self.tick_every = every;
        self
    }

    /// Goes on where a reader stopped.
    pub(super) fn from_state(state: State, sink: S) -> Self {
        Self {
            sink,
            journal: state.journal,
            policy: state.head.policy,
            tick_every: TICK_EVERY,
            header_seed: state.header_seed,
            order: state.order,
            paths: state.paths,
            sources: state.sources,
            tensors: state.tensors,
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
    ) -> Result<Self, JournalError> {
        let mut writer = Self {
            sink,
            journal,
            policy: head.policy,
            tick_every: TICK_EVERY,
            header_seed: 0,
            order: Order::new(),
            paths: BTreeMap::new(),
            sources: BTreeMap::new(),
            tensors: BTreeSet::new(),
            buffer: Vec::with_capacity(2 * buffer_bytes),
            buffer_bytes,
            frames: 0,
            bytes: 0,
            state: Writing::Open,
        };
        writer.guarded(|writer| writer.write_head(head))?;
        Ok(writer)
    }

    /// Returns the number of `text`, a path and port such as `layers.3.attn.output`. It is written
    /// at the first use, within the run in which that falls.
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
            writer.order.start_run(start, place!(writer))?;
            writer.write_named(FrameKind::RunStart, start)
        })
    }

    /// Writes an exchange.
    ///
    /// # Errors
    /// E067 if it is not of the open run, its index is not [`next_index`](Self::next_index), or a
    /// path has not been written; E061 if the sink refuses; E066 if the value is too deep; E069 if
    /// the record is too large; or the first error.
    pub fn exchange(&mut self, exchange: &ExchangeRecord) -> Result<(), JournalError> {
        self.guarded(|writer| {
            writer.write_due_tick()?;
            writer.write_exchange(FrameKind::Exchange, exchange)
        })
    }

    /// Writes a request that is open when the open run is over.
    ///
    /// # Errors
    /// Those of [`exchange`](Self::exchange), and E066 if its result is not
    /// [`ExchangeResult::Open`](super::ExchangeResult::Open).
    pub fn open_request(&mut self, open: &ExchangeRecord) -> Result<(), JournalError> {
        self.guarded(|writer| writer.write_exchange(FrameKind::Open, open))
    }

    /// Writes what the model of the open run passed up to here; of very many points in several
    /// records.
    ///
    /// # Errors
    /// E067 if it is not of the open run, a path has not been written or the model has come to its
    /// end; E061 if the sink refuses; E066 if the value is too deep or no path was passed; E069
    /// if the record is too large; or the first error.
    pub fn visit(&mut self, visit: &Visit) -> Result<(), JournalError> {
        self.guarded(|writer| {
            if visit.passed.len() <= PASSED_AT_ONCE {
                return writer.write_visit(visit);
            }
            // The limit of a record is one of its value; how long nothing was served has none.
            let mut pieces = visit.passed.chunks(PASSED_AT_ONCE).peekable();
            while let Some(piece) = pieces.next() {
                let is_last = pieces.peek().is_none();
                writer.write_visit(&Visit {
                    run: visit.run,
                    passed: piece.to_vec(),
                    brought: visit.brought.clone().filter(|_| is_last),
                    backward: visit.backward.filter(|_| is_last),
                })?;
            }
            Ok(())
        })
    }

    /// Writes that a cache was refused in the open run.
    ///
    /// # Errors
    /// E067 if it is not of the open run, E061 if the sink refuses, E069 if the record is too
    /// large, or the first error.
    pub fn cache_declaration(&mut self, cache: &CacheDeclaration) -> Result<(), JournalError> {
        self.guarded(|writer| {
            writer
                .order
                .check_cache_declaration(cache, place!(writer))?;
            writer.write_evidence(FrameKind::CacheDeclaration, |out| {
                visit::encode_cache(cache, out)
            })
        })
    }

    /// Writes how the rows of the open run's batch are padded.
    ///
    /// # Errors
    /// E067 if it is not of the open run, or that has a padding or something that its model passed;
    /// E066 if it is not one of the rows of the run's mediators, or a row has no position; E061 if
    /// the sink refuses, E069 if the record is too large, or the first error.
    pub fn padding(&mut self, record: &PaddingRecord) -> Result<(), JournalError> {
        self.guarded(|writer| {
            writer.order.check_padding(record, place!(writer))?;
            writer.write_evidence(FrameKind::Padding, |out| {
                padded::encode(record, out);
                Ok(())
            })
        })
    }

    /// Writes the bytes of a tensor of the next exchange, if the [`Policy`] keeps those and this
    /// digest is new; tells whether it did. To let one pass over the journal find the bytes, call
    /// this before the first exchange that names the digest.
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
        if self.policy.keeps(self.order.exchanges()) {
            self.keep_tensor(digest, dtype, shape, bytes)
        } else {
            self.guarded(|_| Ok(false))
        }
    }

    /// Writes the bytes of a tensor of the next exchange as [`tensor`](Self::tensor) does, whatever
    /// the policy: the run says that it keeps those ([`RunStart::keeps`]).
    ///
    /// # Errors
    /// Those of [`tensor`](Self::tensor).
    pub fn keep_tensor(
        &mut self,
        digest: &Digest,
        dtype: DType,
        shape: &[u64],
        bytes: &[u8],
    ) -> Result<bool, JournalError> {
        self.guarded(|writer| {
            if writer.tensors.contains(digest) {
                return Ok(false);
            }
            writer.write_tensor(digest, dtype, shape, bytes)?;
            writer.tensors.insert(*digest);
            Ok(true)
        })
    }

    /// Writes what the model of the open run passed and returned, after the tensors of it.
    ///
    /// # Errors
    /// E067 if the run is not open, E061 if the sink refuses, E066 if a value is too deep, E069 if
    /// there is too much of it, or the first error.
    pub fn passage(&mut self, passage: &PassageRecord) -> Result<(), JournalError> {
        self.guarded(|writer| {
            writer.order.check_passage(passage, place!(writer))?;
            let start = writer.begin_frame();
            passage::encode(passage, &mut writer.buffer)
                .map_err(|reason| place!(writer).malformed(FrameKind::Passage.name(), reason))?;
            let payload = writer.seal_frame(FrameKind::Passage, start)?;
            writer.order.add_passage(&writer.buffer[payload]);
            writer.spill()
        })
    }

    /// Writes a remark.
    ///
    /// # Errors
    /// E061 if the sink refuses, E069 if it is too long, or the first error.
    pub fn note(&mut self, key: &str, value: &str) -> Result<(), JournalError> {
        let note = NoteRecord {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        self.guarded(|writer| writer.write_named(FrameKind::Note, &note))
    }

    /// Ends the open run, writes out what is buffered, and gives the run's end as it was written.
    ///
    /// # Errors
    /// E067 if no run is open, E061 if the sink refuses, or the first error.
    pub fn end_run(&mut self, outcome: OutcomeRecord) -> Result<RunEndRecord, JournalError> {
        self.end_run_with(outcome, None)
    }

    /// Makes a record of what a cache of the open run collected at a point, each value with its
    /// iteration, as [`end_run_with`](Self::end_run_with) takes it. `cache` is whose it is and
    /// which of its own.
    ///
    /// # Errors
    /// E066 if a value is too deep, or the first error.
    pub fn cached(
        &mut self,
        cache: (Option<u32>, u32),
        point: String,
        values: &[(u32, ValueTree)],
    ) -> Result<CachedLine, JournalError> {
        self.guarded(|writer| {
            CachedLine::new(cache, point, values)
                .map_err(|reason| place!(writer).malformed(FrameKind::RunEnd.name(), reason))
        })
    }

    /// Ends the run as [`end_run`](Self::end_run) does, with what the run's caches collected.
    ///
    /// # Errors
    /// Those of [`end_run`](Self::end_run), and E069 if there are too many caches.
    pub fn end_run_with(
        &mut self,
        outcome: OutcomeRecord,
        cached: Option<Vec<CachedLine>>,
    ) -> Result<RunEndRecord, JournalError> {
        self.guarded(|writer| {
            let end = writer
                .order
                .end_of_run(outcome, cached)
                .map_err(|reason| place!(writer).malformed(FrameKind::RunEnd.name(), reason))?;
            let what = format!("the end of run {}", end.run);
            writer.order.check_is_open(&what, place!(writer))?;
            writer.order.close_run(&end);
            writer.write_named(FrameKind::RunEnd, &end)?;
            writer.flush_buffer()?;
            Ok(end)
        })
    }

    /// Writes a record that was read from another journal, which may have been changed.
    ///
    /// What follows from the others is made anew: lines of source, ticks, digests of runs, the
    /// footer. The head is the writer's own.
    ///
    /// # Errors
    /// Those of the method for this kind of record.
    pub fn record(&mut self, record: &Record) -> Result<(), JournalError> {
        match record {
            Record::RunStart(start) => self.start_run(start),
            Record::Path(path) => self.path(&path.text).map(drop),
            Record::Exchange(exchange) => self.exchange(exchange),
            Record::Open(open) => self.open_request(open),
            Record::Visit(visit) => self.visit(visit),
            Record::CacheDeclaration(cache) => self.cache_declaration(cache),
            Record::Padding(padding) => self.padding(padding),
            Record::Tensor(tensor) => {
                let (dtype, shape) = (tensor.dtype, &tensor.shape);
                self.tensor(&tensor.digest, dtype, shape, &tensor.bytes)
                    .map(drop)
            }
            Record::Passage(passage) => self.passage(passage),
            Record::RunEnd(end) => self
                .end_run_with(end.outcome.clone(), end.cached.clone())
                .map(drop),
            Record::Note(note) => self.note(&note.key, &note.value),
            Record::Head(_) | Record::Source(_) | Record::Tick(_) | Record::Footer(_) => Ok(()),
        }
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
            synced.map_err(|error| {
                JournalError::io(&writer.journal, FileAction::Other("make durable"), &error)
            })
        })
    }

    /// Writes the footer and makes the journal durable.
    ///
    /// # Errors
    /// E067 if a run is open, E061 if the sink refuses, or the first error.
    pub fn finish(mut self) -> Result<JournalSummary, JournalError> {
        self.guarded(|writer| {
            let footer = Footer {
                frames: writer.frames,
                exchanges: writer.order.exchanges(),
                digest: writer.order.digest(),
            };
            writer.order.footer_at(&footer, place!(writer))?;
            writer.write_named(FrameKind::Footer, &footer)?;
            writer.flush_buffer()?;
            let synced = writer.sink.sync();
            synced.map_err(|error| {
                JournalError::io(
                    &writer.journal,
                    FileAction::Other("make durable the end of"),
                    &error,
                )
            })?;
            writer.state = Writing::Finished;
            Ok(JournalSummary {
                exchanges: footer.exchanges,
                digest: footer.digest,
                bytes: writer.bytes,
            })
        })
    }

    /// Returns the index that the next exchange must have.
    pub fn next_index(&self) -> u64 {
        self.order.exchanges()
    }

    /// Returns the number that the next run must have.
    pub fn next_run(&self) -> u32 {
        self.order.runs()
    }

    /// Returns what this journal keeps of tensors.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// Returns the first error, if a call has failed.
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

    fn write_head(&mut self, head: &Head) -> Result<(), JournalError> {
        let malformed = |reason| place!(self).malformed(FrameKind::Head.name(), reason);
        if head.format != FORMAT_NAME {
            let found = &head.format;
            return Err(malformed(format!(
                "expected the format {FORMAT_NAME:?}, found {found:?}"
            )));
        }
        let sites = head.sites.as_ref();
        sites.map_or(Ok(()), SiteTable::check).map_err(malformed)?;
        let mut payload = Vec::new();
        wire::encode_named(head, &mut payload).map_err(malformed)?;
        let preamble = Preamble::for_head(&payload);
        self.header_seed = preamble.header_seed();
        let preamble = preamble.encode();
        self.buffer.extend_from_slice(&preamble);
        self.bytes += preamble.len() as u64;
        let start = self.begin_frame();
        self.buffer.extend_from_slice(&payload);
        self.seal_frame(FrameKind::Head, start)?;
        self.flush_buffer()
    }

    fn write_exchange(
        &mut self,
        kind: FrameKind,
        exchange: &ExchangeRecord,
    ) -> Result<(), JournalError> {
        self.order
            .check_exchange(kind, exchange.into(), place!(self))?;
        let source = match &exchange.origin {
            Some(origin) => Some(self.source(origin)?),
            None => None,
        };
        let start = self.begin_frame();
        let evidence = exchange::encode(exchange, source, &mut self.buffer)
            .map_err(|reason| place!(self).malformed(kind.name(), reason))?;
        let payload = self.seal_frame(kind, start)?;
        self.order
            .add_exchange(kind, &self.buffer[payload], evidence);
        self.spill()
    }

    fn write_visit(&mut self, visit: &Visit) -> Result<(), JournalError> {
        self.order.check_visit(visit.into(), place!(self))?;
        self.write_evidence(FrameKind::Visit, |out| visit::encode(visit, out))
    }

    /// Writes a record that is evidence as a whole, and was checked.
    fn write_evidence(
        &mut self,
        kind: FrameKind,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), String>,
    ) -> Result<(), JournalError> {
        let start = self.begin_frame();
        encode(&mut self.buffer).map_err(|reason| place!(self).malformed(kind.name(), reason))?;
        let payload = self.seal_frame(kind, start)?;
        self.order.add_evidence(&self.buffer[payload]);
        self.spill()
    }

    /// The number of a line of source, which is written at its first use.
    fn source(&mut self, origin: &OriginRecord) -> Result<u32, JournalError> {
        if let Some(id) = self.sources.get(origin) {
            return Ok(*id);
        }
        let id = self.order.sources();
        let start = self.begin_frame();
        visit::encode_source(id, origin, &mut self.buffer);
        let payload = &self.buffer[start + FRAME_HEADER_BYTES..];
        self.order.source(id, payload, place!(self))?;
        self.seal_frame(FrameKind::Source, start)?;
        self.spill()?;
        self.sources.insert(origin.clone(), id);
        Ok(id)
    }

    fn write_path(&mut self, text: &str) -> Result<u32, JournalError> {
        let path = PathLine {
            id: self.order.paths(),
            text: text.to_owned(),
        };
        let start = self.begin_frame();
        wire::encode_path(path.id, text, &mut self.buffer);
        let payload = &self.buffer[start + FRAME_HEADER_BYTES..];
        self.order.path(&path, payload, place!(self))?;
        self.seal_frame(FrameKind::Path, start)?;
        self.spill()?;
        self.paths.insert(path.text, path.id);
        Ok(path.id)
    }

    fn write_due_tick(&mut self) -> Result<(), JournalError> {
        match self.order.due_tick(self.tick_every) {
            Some(tick) => self.write_named(FrameKind::Tick, &tick),
            None => Ok(()),
        }
    }

    fn write_named(
        &mut self,
        kind: FrameKind,
        record: &impl Serialize,
    ) -> Result<(), JournalError> {
        let start = self.begin_frame();
        wire::encode_named(record, &mut self.buffer)
            .map_err(|reason| place!(self).malformed(kind.name(), reason))?;
        self.seal_frame(kind, start)?;
        self.spill()
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
            return Err(place!(self).limit("a tensor's rank", shape.len() as u64, limit));
        }
        if dtype.tensor_bytes(shape) != Some(bytes.len() as u64) {
            let reason = format!("{dtype}{shape:?} does not have {} bytes", bytes.len());
            return Err(place!(self).malformed(FrameKind::Tensor.name(), reason));
        }
        let start = self.begin_frame();
        wire::encode_tensor_head(digest, dtype, shape, &mut self.buffer);
        let head = &self.buffer[start + FRAME_HEADER_BYTES..];
        let mut crc = crc32fast::Hasher::new();
        crc.update(head);
        crc.update(bytes);
        let length = head.len() as u64 + bytes.len() as u64;
        self.fill_header(FrameKind::Tensor, start, length, crc.finalize())?;
        if bytes.len() < self.buffer_bytes {
            self.buffer.extend_from_slice(bytes);
        } else {
            // Large tensors go straight to the sink: the buffer need not grow to their size.
            self.write_buffer()?;
            self.write_out(bytes)?;
        }
        self.count_frame(length);
        self.spill()
    }

    /// Makes room for a header at the end of the buffer, and says where that is. The payload is to
    /// be appended to the buffer. If that fails, so does the writer, and what stands there is
    /// never written.
    fn begin_frame(&mut self) -> usize {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        start
    }

    /// Fills in the header of the frame that begins at `start`, pads it, and says where in the
    /// buffer its payload is.
    fn seal_frame(&mut self, kind: FrameKind, start: usize) -> Result<Range<usize>, JournalError> {
        let payload = start + FRAME_HEADER_BYTES..self.buffer.len();
        let crc = crc32fast::hash(&self.buffer[payload.clone()]);
        self.fill_header(kind, start, payload.len() as u64, crc)?;
        self.count_frame(payload.len() as u64);
        Ok(payload)
    }

    fn fill_header(
        &mut self,
        kind: FrameKind,
        start: usize,
        length: u64,
        payload_crc: u32,
    ) -> Result<(), JournalError> {
        let limit = kind.bytes_max();
        let within = u32::try_from(length).ok().filter(|length| *length <= limit);
        let Some(length) = within else {
            let subject = format!("the size of this {} in bytes", kind.name());
            return Err(place!(self).limit(subject, length, u64::from(limit)));
        };
        let header = FrameHeader {
            kind: kind as u8,
            length,
            sequence: self.frames,
            payload_crc,
        };
        self.buffer[start..start + FRAME_HEADER_BYTES]
            .copy_from_slice(&header.encode(self.header_seed));
        Ok(())
    }

    fn count_frame(&mut self, length: u64) {
        self.buffer.extend_from_slice(&ZEROS[..padding(length)]);
        self.frames += 1;
        self.bytes += frame_bytes(length);
    }

    /// Writes the buffer out if there is enough in it.
    fn spill(&mut self) -> Result<(), JournalError> {
        if self.buffer.len() >= self.buffer_bytes {
            self.write_buffer()?;
        }
        Ok(())
    }

    fn flush_buffer(&mut self) -> Result<(), JournalError> {
        self.write_buffer()?;
        let flushed = self.sink.flush();
        flushed
            .map_err(|error| JournalError::io(&self.journal, FileAction::Other("write to"), &error))
    }

    fn write_buffer(&mut self) -> Result<(), JournalError> {
        let written = self.sink.write_all(&self.buffer);
        written.map_err(|error| {
            JournalError::io(&self.journal, FileAction::Other("write to"), &error)
        })?;
        self.buffer.clear();
        Ok(())
    }

    fn write_out(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let written = self.sink.write_all(bytes);
        written
            .map_err(|error| JournalError::io(&self.journal, FileAction::Other("write to"), &error))
    }
}

impl<S: Sink> Drop for JournalWriter<S> {
    fn drop(&mut self) {
        if matches!(self.state, Writing::Open) {
            // A drop cannot report an error; `finish` does.
            self.flush_buffer().ok();
        }
    }
}
