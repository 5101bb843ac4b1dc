//! Random access to a journal, in memory that does not grow with its exchanges.
//!
//! The index is built when the journal is opened. There is none on disk: it could belong to another
//! file.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use super::error::{FileAction, JournalError, Place};
use super::frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind, frame_bytes};
use super::names::Names;
use super::places::{Places, Stretch};
use super::read::{JournalReader, Parts};
use super::record::{
    BackwardTurn, ExchangeRecord, Head, OriginRecord, Record, RunStart, SiteRef, TensorRecord,
};
use super::{visit, wire};

/// A journal with an index of the places of its exchanges.
///
/// The index is made in memory by reading the journal once, with all checks; no file is kept beside
/// the journal that could be of another one. It has the place of every 16th exchange, and of fewer
/// in a journal of more than 2^20. Each exchange is read and checked again when it is asked for.
#[derive(Debug)]
pub struct IndexedJournal<R = File> {
    frames: Frames<R>,
    head: Head,
    places: Places,
    /// The exchanges that were asked for last, and where the frame of each of them starts.
    near: Option<(Stretch, Vec<u64>)>,
    runs: Vec<IndexedRun>,
    names: Names,
    /// The run whose mediators the names are.
    named: Option<u32>,
}

/// A run, and where its exchanges are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IndexedRun {
    /// How it started.
    pub start: RunStart,
    /// The index of its first exchange.
    pub first: u64,
    /// Its backward passes, in order; empty if its model was not watched.
    pub passes: Vec<IndexedPass>,
}

/// A backward pass of a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IndexedPass {
    /// The index of the exchange that came first after it had begun.
    pub first: u64,
    /// Whether its loss is one of the code around the model, and not those of mediators.
    pub is_outer: bool,
}

impl IndexedJournal {
    /// Reads the journal at `path`, and gives what is wrong after its last good frame.
    ///
    /// # Errors
    /// Those of [`JournalReader::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<(Self, Option<JournalError>), JournalError> {
        let (indexed, problem) = IndexedJournal::new(JournalReader::open(path)?);
        let journal = IndexedJournal {
            // Small reads all over the file gain nothing from a buffer.
            frames: indexed.frames.map(BufReader::into_inner),
            head: indexed.head,
            places: indexed.places,
            near: indexed.near,
            runs: indexed.runs,
            names: indexed.names,
            named: indexed.named,
        };
        Ok((journal, problem))
    }
}

impl<R: Read + Seek> IndexedJournal<R> {
    /// Reads a journal from its head on, and gives what is wrong after its last good frame; the
    /// reader's source starts with the journal.
    pub fn new(mut reader: JournalReader<R>) -> (Self, Option<JournalError>) {
        let (mut places, mut runs) = (Places::new(), Vec::<IndexedRun>::new());
        let mut names = Names::default();
        let problem = loop {
            let frame = match reader.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break None,
                Err(error) => break Some(error),
            };
            match frame.known_kind() {
                Some(FrameKind::Exchange) => places.add(frame.info.offset),
                Some(kind @ (FrameKind::RunStart | FrameKind::Path | FrameKind::Source)) => {
                    // It has been read once already, so that this cannot fail.
                    match wire::decode(kind, frame.payload, &[]) {
                        Ok(Record::RunStart(start)) => runs.push(IndexedRun {
                            start,
                            first: places.exchanges(),
                            passes: Vec::new(),
                        }),
                        Ok(record) => names.see(&record),
                        Err(_) => {}
                    }
                }
                Some(FrameKind::Visit) => {
                    let pass = begun_pass(frame.payload, places.exchanges());
                    if let (Some(pass), Some(run)) = (pass, runs.last_mut()) {
                        run.passes.push(pass);
                    }
                }
                _ => {}
            }
        };
        let journal = Self {
            head: reader.head().clone(),
            frames: Frames::new(reader.into_parts()),
            places,
            near: None,
            runs,
            names,
            named: None,
        };
        (journal, problem)
    }

    /// Returns the journal's head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Returns the runs, in order.
    pub fn runs(&self) -> &[IndexedRun] {
        &self.runs
    }

    /// Returns how many exchanges there are.
    pub fn exchanges(&self) -> u64 {
        self.places.exchanges()
    }

    /// Returns how many bytes of memory the places of the exchanges take.
    pub fn index_bytes(&self) -> usize {
        let near = self.near.as_ref();
        self.places.bytes() + near.map_or(0, |(_, offsets)| offsets.capacity() * size_of::<u64>())
    }

    /// Returns the text of each path, by number.
    pub fn paths(&self) -> &[String] {
        self.names.paths()
    }

    /// Reads an exchange.
    ///
    /// # Errors
    /// E072 if there is none of this index, E061 if the file cannot be read, and E064 or E066 if
    /// it is no longer what it was.
    pub fn exchange(&mut self, index: u64) -> Result<ExchangeRecord, JournalError> {
        let Some(stretch) = self.places.around(index) else {
            return Err(self.absent(
                format!("exchange {index}"),
                match self.exchanges() {
                    0 => "none".to_owned(),
                    count => format!("exchanges 0 to {}", count - 1),
                },
            ));
        };
        let near = self.near.take().filter(|(near, _)| *near == stretch);
        let (_, offsets) = match near {
            Some(near) => self.near.insert(near),
            None => self.near.insert((stretch, self.frames.exchanges(stretch)?)),
        };
        let offset = offsets[(index - stretch.first) as usize];
        match self.frames.record(offset, self.names.sources())? {
            Record::Exchange(exchange) if exchange.index == index => Ok(exchange),
            _ => Err(self.frames.changed(offset)),
        }
    }

    /// Returns the names as they are in the run of this exchange.
    pub fn names(&mut self, exchange: &ExchangeRecord) -> &Names {
        if self.named != Some(exchange.run)
            && let Some(run) = self.runs.get(exchange.run as usize)
        {
            self.names.start_run(&run.start);
            self.named = Some(exchange.run);
        }
        &self.names
    }

    /// Returns an exchange as one line, see [`Names::text`].
    pub fn text(&mut self, exchange: &ExchangeRecord) -> String {
        self.names(exchange).text(exchange)
    }

    /// Returns the index of the nearest exchange after `from` (or before it) for which `is_wanted`
    /// is true.
    ///
    /// # Errors
    /// Those of [`exchange`](Self::exchange).
    pub fn find(
        &mut self,
        from: u64,
        direction: Direction,
        mut is_wanted: impl FnMut(&Names, &ExchangeRecord) -> bool,
    ) -> Result<Option<u64>, JournalError> {
        let mut index = from;
        loop {
            let next = match direction {
                Direction::Forward => index.checked_add(1).filter(|next| *next < self.exchanges()),
                Direction::Back => index.checked_sub(1),
            };
            let Some(next) = next else {
                return Ok(None);
            };
            index = next;
            let exchange = self.exchange(index)?;
            if is_wanted(self.names(&exchange), &exchange) {
                return Ok(Some(index));
            }
        }
    }

    /// The error that something is not in the journal.
    pub(super) fn absent(&self, what: String, has: String) -> JournalError {
        JournalError::Absent {
            journal: self.frames.journal.clone(),
            what,
            has,
        }
    }
}

/// The backward pass that begins with a visit, before the exchange of this index.
fn begun_pass(payload: &[u8], first: u64) -> Option<IndexedPass> {
    // Nearly all visits end with nil, and need not be read again.
    let begins = u8::try_from(BackwardTurn::Begin.code()).ok()?;
    let visit = payload.ends_with(&[begins]).then(|| visit::check(payload));
    let visit = visit?.ok()?;
    (visit.backward == Some(BackwardTurn::Begin)).then_some(IndexedPass {
        first,
        is_outer: visit.iteration.is_some(),
    })
}

/// The direction in which an [`IndexedJournal`] is searched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// Towards the end.
    Forward,
    /// Towards the beginning.
    Back,
}

/// Returns whether an exchange is at the site that `text` names, see [`Names::is_site`]: asks for
/// it, or, if it asks for none, is made there.
pub fn is_at(names: &Names, exchange: &ExchangeRecord, text: &str) -> bool {
    site_of(exchange).is_some_and(|site| names.is_site(site, text))
}

/// Returns the site that an exchange is at.
pub fn site_of(exchange: &ExchangeRecord) -> Option<SiteRef> {
    exchange.asked.or(exchange.at)
}

/// A place in the journal; the number of its frame is not known.
macro_rules! place {
    ($frames:expr, $offset:expr) => {
        Place {
            journal: &$frames.journal,
            frame: 0,
            offset: $offset,
        }
    };
}

/// The frames of a journal, read one by one in any order.
#[derive(Debug)]
pub(super) struct Frames<R> {
    source: R,
    journal: Arc<str>,
    header_seed: u32,
    payload: Vec<u8>,
}

impl<R> Frames<R> {
    pub(super) fn new(parts: Parts<R>) -> Self {
        Self {
            source: parts.source,
            journal: parts.journal,
            header_seed: parts.preamble.header_seed(),
            payload: Vec::new(),
        }
    }

    fn map<T>(self, change: impl FnOnce(R) -> T) -> Frames<T> {
        Frames {
            source: change(self.source),
            journal: self.journal,
            header_seed: self.header_seed,
            payload: self.payload,
        }
    }

    fn changed(&self, offset: u64) -> JournalError {
        let place = place!(self, offset);
        place.corrupt("the journal has changed since it was opened")
    }
}

impl<R: Read + Seek> Frames<R> {
    /// Reads a tensor whose frame starts at `offset`.
    pub(super) fn tensor(&mut self, offset: u64) -> Result<TensorRecord, JournalError> {
        match self.record(offset, &[])? {
            Record::Tensor(tensor) => Ok(tensor),
            _ => Err(self.changed(offset)),
        }
    }

    /// Where the frames of these exchanges start.
    fn exchanges(&mut self, stretch: Stretch) -> Result<Vec<u64>, JournalError> {
        let (mut offsets, mut offset) = (Vec::new(), stretch.offset);
        while (offsets.len() as u64) < stretch.count {
            let header = self.header(offset)?;
            if header.kind == FrameKind::Exchange as u8 {
                offsets.push(offset);
            }
            offset += frame_bytes(u64::from(header.length));
        }
        Ok(offsets)
    }

    fn record(&mut self, offset: u64, sources: &[OriginRecord]) -> Result<Record, JournalError> {
        let header = self.header(offset)?;
        let place = place!(self, offset);
        let kind =
            FrameKind::from_code(header.kind).filter(|kind| header.length <= kind.bytes_max());
        let Some(kind) = kind else {
            return Err(self.changed(offset));
        };
        self.payload.resize(header.length as usize, 0);
        let read = self.source.read_exact(&mut self.payload);
        read.map_err(|error| JournalError::io(&self.journal, FileAction::Read, &error))?;
        if crc32fast::hash(&self.payload) != header.payload_crc {
            return Err(place.corrupt("the payload's CRC does not match its bytes"));
        }
        let record = wire::decode(kind, &self.payload, sources);
        record.map_err(|reason| place.malformed(kind.name(), reason))
    }

    fn header(&mut self, offset: u64) -> Result<FrameHeader, JournalError> {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        let sought = self.source.seek(SeekFrom::Start(offset));
        let read = sought.and_then(|_| self.source.read_exact(&mut bytes));
        read.map_err(|error| JournalError::io(&self.journal, FileAction::Read, &error))?;
        let header = FrameHeader::decode(&bytes, self.header_seed);
        header.map_err(|check| place!(self, offset).corrupt(check))
    }
}
