//! The index of a training run's journals: which steps each is of, and what it must be.
//!
//! ```text
//! file = magic (8 bytes), version u32, number of lines u32, line*
//! line = first step u64, step behind the last u64, bytes u64, exchanges u64,
//!        sync marker of the journal (16 bytes), digest of its last run (32 bytes),
//!        the ledger's chain before the step behind the last (32 bytes), crc32 u32, zero u32
//! ```
//!
//! The file is small, and is written beside its place and renamed. A journal gets its line when it
//! is finished, and loses it before another takes its place: so a process that is killed leaves a
//! journal without a line, and never a line of what is not there. All of it follows from the
//! journals and the ledger, of which it is [made again](SegmentIndex::made_again) where it is
//! damaged.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::exchanges::{StepJournal, is_held};
use super::ledger::Ledger;
use crate::digest::Digest;
use crate::error::{FileAction, JournalError};
use crate::frame::{PREAMBLE_BYTES, Preamble, SYNC_BYTES};
use crate::write::JournalSummary;

/// The name of the index of a training run's journals in its folder.
pub const SEGMENTS_FILE: &str = "segments.ill";

const UNFINISHED_FILE: &str = ".unfinished-segments.ill";

const MAGIC: [u8; 8] = [0x89, b'I', b'L', b'S', 0x0D, 0x0A, 0x1A, 0x0A];
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 16;
const LINE_BYTES: usize = 120;
const CRC_AT: usize = 112;

/// One journal of a training run, as the index has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Segment {
    /// The steps whose exchanges are in it.
    pub steps: Range<u64>,
    /// The size of the file.
    pub bytes: u64,
    /// How many exchanges it has.
    pub exchanges: u64,
    /// The sync marker of the file, which stands for its head.
    pub sync: [u8; SYNC_BYTES],
    /// The digest of its last run.
    pub digest: Digest,
    /// The ledger's chain before the step behind the last.
    chain: Digest,
}

/// The index of the journals of a training run, in the order of their steps.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SegmentIndex {
    segments: Vec<Segment>,
}

impl SegmentIndex {
    /// Reads the index of the training run of a ledger, and no journal.
    ///
    /// # Errors
    /// E141 if the file is gone, damaged, or of another training run.
    pub fn read(ledger: &Ledger) -> Result<Self, JournalError> {
        let path = ledger.folder().join(SEGMENTS_FILE);
        let read = fs::read(&path).map_err(|error| format!("it cannot be read: {error}"));
        let segments = read.and_then(|bytes| decode(&bytes)).and_then(|segments| {
            let mut after = segments.iter();
            let stray = after.find(|segment| !segment.is_of(ledger));
            match stray {
                None => Ok(segments),
                Some(Segment { steps, .. }) => Err(format!(
                    "the ledger has other steps {} to {} than it is of",
                    steps.start,
                    steps.end.saturating_sub(1)
                )),
            }
        });
        match segments {
            Ok(segments) => Ok(Self { segments }),
            Err(reason) => Err(JournalError::BadIndex {
                index: path.display().to_string().into(),
                reason,
            }),
        }
    }

    /// Makes the index of a training run again, from its journals: each that is finished, and whose
    /// exchanges of each step are those of the ledger. What holds of a damaged index is kept.
    pub fn made_again(ledger: &Ledger) -> Self {
        let bytes = fs::read(ledger.folder().join(SEGMENTS_FILE)).unwrap_or_default();
        let known = good_lines(&bytes).into_iter();
        let known = known.filter(|segment| segment.is_of(ledger));
        let mut known: BTreeMap<u64, Segment> = known
            .map(|segment| (segment.steps.start, segment))
            .collect();
        let segments = ledger.segments().filter_map(|(steps, journal)| {
            let listed = known.remove(&steps.start);
            listed.or_else(|| Segment::of_journal(ledger, steps, &journal))
        });
        Self {
            segments: segments.collect(),
        }
    }

    /// Returns the journals, in the order of their steps.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Returns the journal that has the exchanges of a step, if the index has one.
    pub fn of_step(&self, step: u64) -> Option<&Segment> {
        let mut segments = self.segments.iter();
        segments.find(|segment| segment.steps.contains(&step))
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.segments.len() * LINE_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((self.segments.len() as u32).to_le_bytes());
        bytes.extend(self.segments.iter().flat_map(Segment::encode));
        bytes
    }

    fn before(mut self, first: u64) -> Self {
        self.segments.retain(|segment| segment.steps.start < first);
        self
    }
}

impl Segment {
    /// Checks that the file is there with the size that it must have, without opening it.
    ///
    /// # Errors
    /// E136 if it is not.
    pub fn check_size(&self, ledger: &Ledger) -> Result<(), JournalError> {
        let journal = ledger.segment(self.steps.start);
        match fs::metadata(&journal) {
            Ok(file) if file.len() == self.bytes => Ok(()),
            Ok(file) => Err(self.other(
                &journal,
                format!(
                    "it has {} bytes, expected {}: it was cut, exchanged or written to",
                    file.len(),
                    self.bytes
                ),
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(self.other(&journal, "it is not there".to_owned()))
            }
            Err(error) => {
                let journal = journal.display().to_string().into();
                Err(JournalError::io(
                    &journal,
                    FileAction::Other("examine"),
                    &error,
                ))
            }
        }
    }

    /// Checks that a journal that was read is the one that the index has.
    pub(super) fn check_read(
        &self,
        journal: &Path,
        read: &StepJournal,
    ) -> Result<(), JournalError> {
        let sync = sync_of(journal).ok();
        if sync == Some(self.sync) && read.check.digest == self.digest {
            return Ok(());
        }
        Err(self.other(
            journal,
            "its head or its runs are others: it is of another training run".to_owned(),
        ))
    }

    fn other(&self, journal: &Path, reason: String) -> JournalError {
        JournalError::OtherSegment {
            journal: journal.display().to_string().into(),
            first: self.steps.start,
            last: self.steps.end - 1,
            reason,
        }
    }

    /// Describes a journal by itself, if it is finished and of these steps of the ledger.
    fn of_journal(ledger: &Ledger, steps: Range<u64>, journal: &Path) -> Option<Self> {
        let read = StepJournal::read(journal, ledger, steps.clone()).ok()?;
        let lines = &ledger.lines()[steps.start as usize..steps.end as usize];
        if !read.check.is_complete || read.check.problem.is_some() || !is_held(lines, &read, ledger)
        {
            return None;
        }
        Some(Self {
            bytes: read.check.good_bytes,
            exchanges: read.check.exchanges,
            sync: sync_of(journal).ok()?,
            digest: read.check.digest,
            chain: ledger.chain_before(steps.end)?,
            steps,
        })
    }

    fn is_of(&self, ledger: &Ledger) -> bool {
        let is_whole = self.steps.start < self.steps.end;
        let place = ledger.segment(self.steps.start);
        let is_one = is_whole && place == ledger.segment(self.steps.end - 1);
        is_one && ledger.chain_before(self.steps.end) == Some(self.chain)
    }

    fn encode(&self) -> [u8; LINE_BYTES] {
        let mut line = Vec::with_capacity(LINE_BYTES);
        let Range { start, end } = self.steps;
        for number in [start, end, self.bytes, self.exchanges] {
            line.extend(number.to_le_bytes());
        }
        line.extend(self.sync);
        line.extend(self.digest.0);
        line.extend(self.chain.0);
        line.extend(crc32fast::hash(&line).to_le_bytes());
        line.extend([0; 4]);
        line.try_into().expect("the fields fill the line")
    }

    /// Reads a line; nothing if it is not what was written.
    fn decode(line: &[u8]) -> Option<Self> {
        let crc = u32::from_le_bytes(part(line, CRC_AT)?);
        if crc32fast::hash(&line[..CRC_AT]) != crc || line[CRC_AT + 4..] != [0; 4] {
            return None;
        }
        let number = |at| Some(u64::from_le_bytes(part(line, at)?));
        Some(Self {
            steps: number(0)?..number(8)?,
            bytes: number(16)?,
            exchanges: number(24)?,
            sync: part(line, 32)?,
            digest: Digest(part(line, 48)?),
            chain: Digest(part(line, 80)?),
        })
    }
}

fn part<const N: usize>(line: &[u8], at: usize) -> Option<[u8; N]> {
    line.get(at..at + N)?.try_into().ok()
}

/// Reads an index; the reason, if it is damaged.
fn decode(bytes: &[u8]) -> Result<Vec<Segment>, String> {
    let number = |at| part(bytes, at).map(u32::from_le_bytes);
    let (true, Some(VERSION), Some(count)) = (bytes.starts_with(&MAGIC), number(8), number(12))
    else {
        return Err("it does not start as one does, or is of another version".to_owned());
    };
    let lines = &bytes[HEAD_BYTES..];
    if lines.len() as u64 != u64::from(count) * LINE_BYTES as u64 {
        return Err(format!("it has not the {count} lines that it had"));
    }
    let mut segments: Vec<Segment> = Vec::new();
    for (number, line) in lines.chunks(LINE_BYTES).enumerate() {
        let segment = Segment::decode(line).ok_or_else(|| format!("line {number} is damaged"))?;
        let behind = segments.last().map_or(0, |last| last.steps.end);
        if segment.steps.start < behind {
            return Err(format!("line {number} does not follow the one before"));
        }
        segments.push(segment);
    }
    Ok(segments)
}

/// Returns the lines of an index that are whole, wherever it is damaged.
fn good_lines(bytes: &[u8]) -> Vec<Segment> {
    let lines = bytes.get(HEAD_BYTES..).unwrap_or_default();
    lines
        .chunks_exact(LINE_BYTES)
        .filter_map(Segment::decode)
        .collect()
}

fn sync_of(journal: &Path) -> io::Result<[u8; SYNC_BYTES]> {
    let mut bytes = [0; PREAMBLE_BYTES];
    File::open(journal)?.read_exact(&mut bytes)?;
    let preamble = Preamble::decode(&bytes);
    let preamble = preamble.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(preamble.sync)
}

/// Writes the index of a training run.
#[derive(Debug)]
pub(super) struct SegmentWriter {
    path: PathBuf,
    place: Arc<str>,
    index: SegmentIndex,
}

impl SegmentWriter {
    /// Begins an index in a folder.
    pub(super) fn create(folder: &Path) -> Result<Self, JournalError> {
        let writer = Self::of(folder, SegmentIndex::default());
        writer.put()?;
        Ok(writer)
    }

    /// Continues the index of a training run, which is made again from the journals where it lacks
    /// some or is damaged.
    pub(super) fn append(ledger: &Ledger) -> Result<Self, JournalError> {
        let writer = Self::of(ledger.folder(), SegmentIndex::made_again(ledger));
        if fs::read(&writer.path).ok() != Some(writer.index.encode()) {
            writer.put()?;
        }
        Ok(writer)
    }

    fn of(folder: &Path, index: SegmentIndex) -> Self {
        let path = folder.join(SEGMENTS_FILE);
        let place = path.display().to_string().into();
        Self { path, place, index }
    }

    /// Takes out the journals from a step on, before others take their places.
    pub(super) fn remove_from(&mut self, first: u64) -> Result<(), JournalError> {
        let kept = std::mem::take(&mut self.index);
        let before = kept.segments.len();
        self.index = kept.before(first);
        if self.index.segments.len() < before {
            self.put()?;
        }
        Ok(())
    }

    /// Adds a journal that was finished.
    pub(super) fn add(
        &mut self,
        journal: &Path,
        steps: Range<u64>,
        chain: Digest,
        written: &JournalSummary,
    ) -> Result<(), JournalError> {
        let name: Arc<str> = journal.display().to_string().into();
        let sync =
            sync_of(journal).map_err(|error| JournalError::io(&name, FileAction::Open, &error))?;
        self.remove_from(steps.start)?;
        self.index.segments.push(Segment {
            steps,
            bytes: written.bytes,
            exchanges: written.exchanges,
            sync,
            digest: written.digest,
            chain,
        });
        self.put()
    }

    fn put(&self) -> Result<(), JournalError> {
        // One name: what a process that was killed left is written over.
        let unfinished = self.path.with_file_name(UNFINISHED_FILE);
        let written = || {
            let mut file = File::create(&unfinished)?;
            file.write_all(&self.index.encode())?;
            file.sync_all()?;
            fs::rename(&unfinished, &self.path)
        };
        written().map_err(|error| JournalError::io(&self.place, FileAction::Other("write"), &error))
    }
}
