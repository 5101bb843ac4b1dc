//! Reading a journal as a stream, in constant memory, with every check made on the way.
//!
//! A record is given out only after its frame's CRCs, its number, its encoding and its place among
//! the others have been checked, so what comes out is always an exact beginning of what was
//! written. When the journal is damaged or cut, the records before the damage come out first, then
//! the error, then nothing more.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use super::blocks::Blocks;
use super::digest::Digest;
use super::error::{FileAction, JournalError, Place};
use super::exchange;
use super::frame::{
    FRAME_ALIGNMENT, FRAME_HEADER_BYTES, FrameHeader, FrameKind, OPTIONAL_KINDS, PAYLOAD_BYTES_MAX,
    PREAMBLE_BYTES, Preamble, frame_bytes, padding,
};
use super::order::{Numbers, Order};
use super::record::{Experiment, Head, OriginRecord, Record, TensorRecord};
use super::skim::Skim;
use super::start::read_preamble;
use super::visit;
use super::wire::{self, TensorPayload};

/// Reads the records of a journal one after another, the head first.
#[derive(Debug)]
pub struct JournalReader<R> {
    source: Blocks<R>,
    journal: Arc<str>,
    preamble: Preamble,
    header_seed: u32,
    head: Head,
    order: Order,
    sources: Vec<OriginRecord>,
    frames: u64,
    offset: u64,
    next: Next,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Next {
    Head,
    Frame,
    /// The end of what is there, which may be torn.
    End,
    Failed(JournalError),
}

/// What [`JournalReader::follow`] finds.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is taken apart at once"
)]
pub enum Followed {
    /// The next record.
    Record(FrameInfo, Record),
    /// The file goes no further yet; ask again later.
    Waiting,
    /// The recording was finished.
    Finished,
}

/// What a writer takes over from a reader.
#[derive(Debug)]
pub(super) struct Parts<R> {
    pub(super) source: R,
    pub(super) journal: Arc<str>,
    pub(super) preamble: Preamble,
    pub(super) order: Order,
    pub(super) frames: u64,
    pub(super) offset: u64,
}

/// The frame that a record came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FrameInfo {
    /// The frame's number.
    pub sequence: u64,
    /// Where it starts, in bytes.
    pub offset: u64,
}

/// A frame that has been checked, as it stands in the file.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Which frame it is.
    pub info: FrameInfo,
    /// The code of its [`FrameKind`], or of one that this version does not know and may skip.
    pub kind: u8,
    /// Its payload, without the padding.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// Returns what the frame is, if this version knows it.
    pub fn known_kind(&self) -> Option<FrameKind> {
        FrameKind::from_code(self.kind)
    }
}

/// Where the next frame goes. It borrows the name alone, so that the rest can change meanwhile.
macro_rules! place {
    ($reader:expr) => {
        Place {
            journal: &$reader.journal,
            frame: $reader.frames,
            offset: $reader.offset,
        }
    };
}

impl JournalReader<BufReader<File>> {
    /// Opens the journal at `path` and reads its head.
    ///
    /// # Errors
    /// E060 if there is no such file, and those of [`JournalReader::new`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        let journal = path.as_ref().display().to_string();
        let file = File::open(path);
        let file = file.map_err(|error| {
            JournalError::io(&journal.as_str().into(), FileAction::Open, &error)
        })?;
        Self::new(BufReader::new(file), &journal)
    }
}

impl<R: Read> JournalReader<R> {
    /// Reads the head of the journal in `source`; `name` is what errors call it.
    ///
    /// # Errors
    /// E062 if it is something else, E063 if its format is newer, E065 if it ends within the head,
    /// E061 if it cannot be read, and E064, E066, E067 or E069 if the head is damaged.
    pub fn new(mut source: R, name: &str) -> Result<Self, JournalError> {
        let journal: Arc<str> = name.into();
        let preamble = read_preamble(&mut source, &journal)?;
        let mut reader = Self {
            source: Blocks::new(source),
            journal,
            header_seed: preamble.header_seed(),
            preamble,
            // Stands here until the first frame has been read.
            head: Head::new(Experiment::default()),
            order: Order::new(),
            sources: Vec::new(),
            frames: 0,
            offset: PREAMBLE_BYTES as u64,
            next: Next::Head,
        };
        reader.read_head()?;
        Ok(reader)
    }

    /// Iterates over the records without where they stand, as a comparison takes them.
    pub fn records(self) -> impl Iterator<Item = Result<Record, JournalError>> {
        self.map(|item| item.map(|(_, record)| record))
    }

    /// Returns the journal's head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Returns the journal's format, as major and minor version.
    pub fn version(&self) -> (u16, u16) {
        (self.preamble.major, self.preamble.minor)
    }

    /// Returns whether the footer has been read: the recording was finished, and nothing is
    /// missing.
    pub fn is_complete(&self) -> bool {
        self.order.footer()
    }

    /// Returns where the last good frame ends, in bytes.
    pub fn good_bytes(&self) -> u64 {
        self.offset
    }

    /// Returns how many frames are good so far, the head included.
    pub fn good_frames(&self) -> u64 {
        self.frames
    }

    /// Returns how many exchanges are good so far.
    pub fn good_exchanges(&self) -> u64 {
        self.order.exchanges()
    }

    /// Returns the digest of the last run that has ended so far.
    pub fn digest(&self) -> Digest {
        self.order.digest()
    }

    /// Returns what errors call the journal.
    pub fn name(&self) -> &str {
        &self.journal
    }

    pub(super) fn into_parts(self) -> Parts<R> {
        Parts {
            source: self.source.into_source(),
            journal: self.journal,
            preamble: self.preamble,
            order: self.order,
            frames: self.frames,
            offset: self.offset,
        }
    }

    /// Reads the next record of a journal that may still be written; `source` starts with the
    /// journal.
    ///
    /// Where the file ends without a footer, be it within a frame, this says so and can be called
    /// again when there is more. A writer that has to be followed closely calls
    /// [`flush`](super::JournalWriter::flush).
    ///
    /// # Errors
    /// Those of [`next_record`](Self::next_record) but E065; after one, always the same.
    pub fn follow(&mut self) -> Result<Followed, JournalError>
    where
        R: Seek,
    {
        if let Next::Failed(error) = &self.next {
            return Err(error.clone());
        }
        if self.next == Next::End && !self.order.footer() {
            let source = self.source.rewound();
            let sought = source.seek(SeekFrom::Start(self.offset));
            sought.map_err(|error| JournalError::io(&self.journal, FileAction::Read, &error))?;
            self.next = Next::Frame;
        }
        match self.next_record() {
            Ok(Some((info, record))) => Ok(Followed::Record(info, record)),
            Ok(None) if self.order.footer() => Ok(Followed::Finished),
            Ok(None) | Err(JournalError::Torn { .. }) => Ok(Followed::Waiting),
            Err(error) => Err(error),
        }
    }

    /// Reads the next record; `None` at the journal's end.
    ///
    /// # Errors
    /// E061 if it cannot be read, E064 if it is damaged, E065 if it ends early, E066 to E069 if
    /// its content does not fit.
    pub fn next_record(&mut self) -> Result<Option<(FrameInfo, Record)>, JournalError> {
        match self.next {
            Next::End | Next::Failed(_) => Ok(None),
            Next::Head => {
                self.next = Next::Frame;
                let info = FrameInfo {
                    sequence: 0,
                    offset: PREAMBLE_BYTES as u64,
                };
                Ok(Some((info, Record::Head(Box::new(self.head.clone())))))
            }
            Next::Frame => {
                let record = self.read_record();
                self.note_end(record.as_ref().map(Option::is_some));
                record
            }
        }
    }

    /// Reads the next frame after the head as it stands in the file; `None` at the journal's end.
    ///
    /// Everything is checked that [`next_record`](Self::next_record) checks, which gives the same
    /// errors, and nothing is made of it: this is several times as fast. Both can be called in
    /// turn.
    ///
    /// # Errors
    /// Those of [`next_record`](Self::next_record).
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, JournalError> {
        match self.next {
            Next::End | Next::Failed(_) => return Ok(None),
            Next::Head => self.next = Next::Frame,
            Next::Frame => {}
        }
        let info = self.info();
        let header = self.read_checked();
        self.note_end(header.as_ref().map(Option::is_some));
        Ok(header?.map(|header| Frame {
            info,
            kind: header.kind,
            payload: self.pass(header),
        }))
    }

    /// Goes over the frames that follow, each checked by itself only; many times as fast as to read
    /// them.
    pub fn skim(self) -> Skim<R> {
        Skim::new(self)
    }

    /// Reads the next frame, and checks it by itself.
    pub(super) fn skim_frame(&mut self) -> Result<Option<Frame<'_>>, JournalError> {
        let info = self.info();
        let header = self.read_frame()?;
        Ok(header.map(|header| Frame {
            info,
            kind: header.kind,
            payload: self.pass(header),
        }))
    }

    fn note_end(&mut self, found: Result<bool, &JournalError>) {
        match found {
            Ok(true) => {}
            Ok(false) | Err(JournalError::Torn { .. }) => self.next = Next::End,
            Err(error) => self.next = Next::Failed(error.clone()),
        }
    }

    fn read_record(&mut self) -> Result<Option<(FrameInfo, Record)>, JournalError> {
        loop {
            let info = self.info();
            let Some(header) = self.read_frame()? else {
                return Ok(None);
            };
            let record = match FrameKind::from_code(header.kind) {
                Some(kind) => Some(self.read_content(header, kind)?),
                None => None,
            };
            self.pass(header);
            if let Some(record) = record {
                return Ok(Some((info, record)));
            }
        }
    }

    fn read_head(&mut self) -> Result<(), JournalError> {
        let Some(header) = self.read_frame()? else {
            return Err(self.torn("the head is missing".to_owned()));
        };
        if header.kind != FrameKind::Head as u8 {
            let found = format!("a frame of kind {:#04x}", header.kind);
            return Err(place!(self).out_of_sequence("the head".to_owned(), found));
        }
        let place = place!(self);
        let payload = payload(&mut self.source, header, &self.journal)?;
        if Preamble::for_head(payload).sync != self.preamble.sync {
            return Err(
                place.corrupt("the head is not the one that the preamble's sync marker names")
            );
        }
        self.head = wire::decode_head(payload)
            .map_err(|reason| place.malformed(FrameKind::Head.name(), reason))?;
        self.pass(header);
        Ok(())
    }

    /// Reads the next frame, and checks all of it.
    fn read_checked(&mut self) -> Result<Option<FrameHeader>, JournalError> {
        let Some(header) = self.read_frame()? else {
            return Ok(None);
        };
        // What is frequent or large is checked in place, without a record being made of it.
        match FrameKind::from_code(header.kind) {
            Some(kind @ (FrameKind::Exchange | FrameKind::Open)) => {
                let place = place!(self);
                let payload = payload(&mut self.source, header, &self.journal)?;
                let exchange = exchange::check(payload)
                    .map_err(|reason| place.malformed(kind.name(), reason))?;
                let numbers = Numbers {
                    run: exchange.run,
                    index: exchange.index,
                    asked: exchange.asked,
                    at: exchange.at,
                    result: exchange.result,
                };
                self.order.check_source(exchange.source, place)?;
                self.order.check_exchange(kind, numbers, place)?;
                self.order.add_exchange(kind, payload, exchange.evidence);
            }
            Some(FrameKind::Visit) => {
                let place = place!(self);
                let payload = payload(&mut self.source, header, &self.journal)?;
                let visit = visit::check(payload)
                    .map_err(|reason| place.malformed(FrameKind::Visit.name(), reason))?;
                self.order.check_visit(visit, place)?;
                self.order.add_evidence(payload);
            }
            Some(FrameKind::Tensor) => {
                let place = place!(self);
                let payload = payload(&mut self.source, header, &self.journal)?;
                let tensor = wire::decode_tensor(payload)
                    .map_err(|reason| place.malformed(FrameKind::Tensor.name(), reason))?;
                check_tensor(&tensor, place)?;
            }
            Some(kind) => drop(self.read_content(header, kind)?),
            None => {}
        }
        Ok(Some(header))
    }

    /// Makes a record of the frame that was read, and checks its place among the others.
    fn read_content(
        &mut self,
        header: FrameHeader,
        kind: FrameKind,
    ) -> Result<Record, JournalError> {
        let place = place!(self);
        let payload = payload(&mut self.source, header, &self.journal)?;
        let malformed = |reason| place.malformed(kind.name(), reason);
        if kind == FrameKind::Tensor {
            let tensor = wire::decode_tensor(payload).map_err(malformed)?;
            check_tensor(&tensor, place)?;
            return Ok(Record::Tensor(tensor.into_record()));
        }
        if let FrameKind::Exchange | FrameKind::Open = kind {
            let decoded = exchange::decode(payload);
            let decoded = decoded.map_err(|reason| malformed(reason.to_string()))?;
            let evidence = decoded.evidence;
            self.order.check_source(decoded.source, place)?;
            let exchange = decoded.with_source(&self.sources);
            self.order.check_exchange(kind, (&exchange).into(), place)?;
            self.order.add_exchange(kind, payload, evidence);
            return Ok(match kind {
                FrameKind::Open => Record::Open(exchange),
                _ => Record::Exchange(exchange),
            });
        }
        let record = wire::decode(kind, payload, &self.sources).map_err(malformed)?;
        match &record {
            Record::Head(_) => {
                let expected = "only the first frame to be a head".to_owned();
                return Err(place.out_of_sequence(expected, "another head".to_owned()));
            }
            Record::RunStart(start) => self.order.start_run(start, place)?,
            Record::Path(path) => self.order.path(path, payload, place)?,
            Record::Visit(visit) => {
                self.order.check_visit(visit.into(), place)?;
                self.order.add_evidence(payload);
            }
            Record::CacheDeclaration(cache) => {
                self.order.check_cache_declaration(cache, place)?;
                self.order.add_evidence(payload);
            }
            Record::Padding(padding) => {
                self.order.check_padding(padding, place)?;
                self.order.add_evidence(payload);
            }
            Record::Source(source) => {
                self.order.source(source.id, payload, place)?;
                self.sources.push(source.origin.clone());
            }
            Record::RunEnd(end) => self.order.end_run(end, place)?,
            Record::Footer(footer) => self.order.footer_at(footer, place)?,
            Record::Tick(tick) => self.order.tick(tick, place)?,
            Record::Passage(passage) => {
                self.order.check_passage(passage, place)?;
                self.order.add_passage(payload);
            }
            Record::Tensor(_) | Record::Note(_) => {}
            Record::Exchange(_) | Record::Open(_) => unreachable!("these were read above"),
        }
        Ok(record)
    }

    /// Goes on after a frame that was read, and gives its payload.
    fn pass(&mut self, header: FrameHeader) -> &[u8] {
        let bytes = frame_bytes(u64::from(header.length));
        self.frames += 1;
        self.offset += bytes;
        // It has been read, so that it fits in memory.
        let frame = self.source.take(bytes as usize);
        &frame[FRAME_HEADER_BYTES..][..header.length as usize]
    }

    /// Reads the next frame up to its padding, which stays in `self.source`, and checks it by
    /// itself; `None` at the end.
    fn read_frame(&mut self) -> Result<Option<FrameHeader>, JournalError> {
        let Some(header) = self.read_header()? else {
            return Ok(None);
        };
        let length = header.length as usize;
        let wanted = frame_bytes(u64::from(header.length)) as usize;
        let place = place!(self);
        let frame = peek(&mut self.source, wanted, &self.journal)?;
        let there = frame.len() - FRAME_HEADER_BYTES;
        let Some(payload) = frame[FRAME_HEADER_BYTES..].get(..length) else {
            let frame = place.frame;
            return Err(self.torn(format!(
                "the payload of frame {frame} has {there} of {length} bytes"
            )));
        };
        if crc32fast::hash(payload) != header.payload_crc {
            return Err(place.corrupt("the payload's CRC does not match its bytes"));
        }
        if frame.len() < wanted {
            return Err(self.torn(format!("the padding of frame {} is cut", place.frame)));
        }
        if frame[FRAME_HEADER_BYTES + length..] != [0; FRAME_ALIGNMENT][..padding(length as u64)] {
            return Err(place.corrupt("the padding is not zero"));
        }
        Ok(Some(header))
    }

    fn read_header(&mut self) -> Result<Option<FrameHeader>, JournalError> {
        let place = place!(self);
        let bytes = peek(&mut self.source, FRAME_HEADER_BYTES, &self.journal)?;
        if !bytes.is_empty() && self.order.footer() {
            return Err(place.corrupt("bytes follow the footer"));
        }
        let frame = place.frame;
        let Some(bytes) = bytes.first_chunk() else {
            return match bytes.len() {
                0 => self.end().map(|()| None),
                read => Err(self.torn(format!(
                    "the header of frame {frame} has {read} of {FRAME_HEADER_BYTES} bytes"
                ))),
            };
        };
        if *bytes == [0; FRAME_HEADER_BYTES] {
            // What a file system leaves of appended bytes that never reached the disk.
            return Err(self.torn(format!(
                "frame {frame} and what follows is filled with zeros"
            )));
        }
        let header =
            FrameHeader::decode(bytes, self.header_seed).map_err(|check| place.corrupt(check))?;
        check_header(&header, place)?;
        Ok(Some(header))
    }

    fn end(&self) -> Result<(), JournalError> {
        match self.order.open_run() {
            Some(run) => Err(self.torn(format!("run {run} has no end"))),
            None => Ok(()),
        }
    }

    fn torn(&self, missing: String) -> JournalError {
        JournalError::Torn {
            journal: self.journal.clone(),
            frames: self.frames,
            exchanges: self.order.exchanges(),
            good_bytes: self.offset,
            missing,
        }
    }

    fn info(&self) -> FrameInfo {
        FrameInfo {
            sequence: self.frames,
            offset: self.offset,
        }
    }
}

impl<R: Read> Iterator for JournalReader<R> {
    type Item = Result<(FrameInfo, Record), JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_record().transpose()
    }
}

/// Searches the journal at `path` for the bytes of the tensor with this digest.
///
/// # Errors
/// Those of [`JournalReader::open`], and of [`Skim::next_frame`] up to the place where the tensor
/// stands; E068 if its bytes are not those of the digest.
pub fn find_tensor(
    path: impl AsRef<Path>,
    digest: &Digest,
) -> Result<Option<TensorRecord>, JournalError> {
    let reader = JournalReader::open(path)?;
    let journal = reader.journal.clone();
    let mut frames = reader.skim();
    while let Some(frame) = frames.next_frame()? {
        let is_it =
            frame.known_kind() == Some(FrameKind::Tensor) && frame.payload.starts_with(&digest.0);
        if is_it && let Ok(tensor) = wire::decode_tensor(frame.payload) {
            let place = Place {
                journal: &journal,
                frame: frame.info.sequence,
                offset: frame.info.offset,
            };
            check_tensor(&tensor, place)?;
            return Ok(Some(tensor.into_record()));
        }
    }
    Ok(None)
}

/// What is there of the next `wanted` bytes.
fn peek<'a, R: Read>(
    source: &'a mut Blocks<R>,
    wanted: usize,
    journal: &Arc<str>,
) -> Result<&'a [u8], JournalError> {
    let bytes = source.peek(wanted);
    bytes.map_err(|error| JournalError::io(journal, FileAction::Read, &error))
}

/// The payload of a frame that has been read and not been passed.
fn payload<'a, R: Read>(
    source: &'a mut Blocks<R>,
    header: FrameHeader,
    journal: &Arc<str>,
) -> Result<&'a [u8], JournalError> {
    let end = FRAME_HEADER_BYTES + header.length as usize;
    peek(source, end, journal).map(|frame| &frame[FRAME_HEADER_BYTES..])
}

fn check_header(header: &FrameHeader, place: Place<'_>) -> Result<(), JournalError> {
    if header.sequence != place.frame {
        let expected = format!("frame {}", place.frame);
        return Err(place.out_of_sequence(expected, header.sequence.to_string()));
    }
    let kind = FrameKind::from_code(header.kind);
    if kind.is_none() && header.kind < OPTIONAL_KINDS {
        let reason = format!(
            "kind {:#04x} is not known to this version and may not be skipped; upgrade Interloom",
            header.kind
        );
        return Err(place.malformed("record", reason));
    }
    let limit = kind.map_or(PAYLOAD_BYTES_MAX, FrameKind::bytes_max);
    if header.length > limit {
        let subject = format!(
            "the size of this {} in bytes",
            kind.map_or("record", FrameKind::name)
        );
        return Err(place.limit(subject, u64::from(header.length), u64::from(limit)));
    }
    Ok(())
}

fn check_tensor(tensor: &TensorPayload<'_>, place: Place<'_>) -> Result<(), JournalError> {
    let found = Digest::of_tensor(tensor.dtype, &tensor.shape, tensor.bytes);
    if found == tensor.digest {
        return Ok(());
    }
    let subject = format!("a tensor {}{:?}", tensor.dtype, tensor.shape);
    Err(place.digest(subject, tensor.digest, found))
}
