//! The ledger: a head, then the lines.
//!
//! ```text
//! file = magic (8 bytes), version u32, bytes of the head u32, bytes of the parent u32,
//!        crc32 of both u32, head (msgpack), parent (msgpack), line*
//! ```
//!
//! The chain covers the head and not the parent, so that the lines of a fork before the step at
//! which it was forked are those of its parent, byte for byte.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::iter;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::keep::KeepRule;
use super::line::{LINE_BYTES, StepLine};
use super::names::{self, NamedDigest, NamesWriter};
use super::segments::SegmentWriter;
use crate::create::lock;
use crate::digest::Digest;
use crate::error::{FileAction, JournalError};
use crate::record::Head;
use crate::write::JournalSummary;

/// The name of a training run's ledger in its folder.
pub const LEDGER_FILE: &str = "ledger.ill";

/// The name of the file with a ledger's digests by name.
pub const NAMES_FILE: &str = "names.ill";

/// A ledger that is not published.
const UNFINISHED_FILE: &str = ".unfinished-ledger.ill";

const MAGIC: [u8; 8] = [0x89, b'I', b'L', b'L', 0x0D, 0x0A, 0x1A, 0x0A];
const VERSION: u32 = 3;
const FIXED_BYTES: usize = 24;
const HEAD_BYTES_MAX: u32 = 1 << 26;

/// Returns the name of the journal whose first step is `step`.
pub fn segment_file(step: u64) -> String {
    format!("steps-{step:08}.ilj")
}

/// Returns the name of the folder of the checkpoint before `step`.
pub fn checkpoint_folder(step: u64) -> String {
    format!("checkpoint-{step:08}")
}

/// The head of a ledger: what the whole training run depends on.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct LedgerHead {
    /// Build, device, arithmetic, seeds, and which experiment it is.
    pub environment: Head,
    /// The seed that those of all steps are made from.
    pub seed: u64,
    /// A journal and, unless it is thinned out, a checkpoint begin at each multiple of this.
    pub segment_steps: u64,
    /// What the journals keep by step and by site, where that is not the environment's policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keeps: Vec<KeepRule>,
    /// The run that this one was forked from, which is no part of the chain.
    #[serde(skip)]
    pub parent: Option<LedgerParent>,
}

/// The training run that another one was forked from.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct LedgerParent {
    /// The first step that is new.
    pub step: u64,
    /// The parent's chain before it.
    pub chain: Digest,
    /// The seed from that step on.
    pub seed: u64,
    /// The run that the parent was forked from, where steps of that fork are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Box<LedgerParent>>,
}

impl LedgerHead {
    /// Returns the seed of a step: that of the run, or of the last fork at or before the step.
    pub fn seed_at(&self, step: u64) -> u64 {
        let mut forks = iter::successors(self.parent.as_ref(), |fork| fork.parent.as_deref());
        let forked = forks.find(|fork| step >= fork.step);
        forked.map_or(self.seed, |fork| fork.seed)
    }

    fn encode(&self) -> Result<(Vec<u8>, Vec<u8>), rmp_serde::encode::Error> {
        let parent = self.parent.as_ref().map(rmp_serde::to_vec_named);
        Ok((
            rmp_serde::to_vec_named(self)?,
            parent.transpose()?.unwrap_or_default(),
        ))
    }
}

/// The ledger of a training run, read whole.
#[derive(Debug)]
pub struct Ledger {
    place: Arc<str>,
    folder: PathBuf,
    head: LedgerHead,
    begin: Digest,
    lines: Vec<StepLine>,
    /// Whether the file has a part of a line behind the last one.
    is_torn: bool,
    head_bytes: u64,
    /// The size of the file.
    bytes: u64,
}

impl Ledger {
    /// Reads the ledger of the training run in a folder, and checks every line.
    ///
    /// What a process that was killed left of a last line is no error; [`is_torn`](Self::is_torn)
    /// tells of it.
    ///
    /// # Errors
    /// E060 and E061 if the file cannot be read, E078 if it is not a ledger, or damaged.
    pub fn read(folder: impl AsRef<Path>) -> Result<Self, JournalError> {
        let folder = folder.as_ref();
        let path = folder.join(LEDGER_FILE);
        let place: Arc<str> = path.display().to_string().into();
        let bytes =
            fs::read(&path).map_err(|error| JournalError::io(&place, FileAction::Open, &error))?;
        let (head, begin, head_bytes) = read_head(&bytes, &place)?;
        let (lines, is_torn) = read_lines(&bytes[head_bytes..], &begin, &place)?;
        Ok(Self {
            place,
            folder: folder.to_owned(),
            head,
            begin,
            lines,
            is_torn,
            head_bytes: head_bytes as u64,
            bytes: bytes.len() as u64,
        })
    }

    /// Returns the head.
    pub const fn head(&self) -> &LedgerHead {
        &self.head
    }

    /// Returns the lines, in the order of their steps.
    pub fn lines(&self) -> &[StepLine] {
        &self.lines
    }

    /// Returns the line of a step.
    ///
    /// # Errors
    /// E072 if the ledger does not have it.
    pub fn line(&self, step: u64) -> Result<&StepLine, JournalError> {
        let line = usize::try_from(step)
            .ok()
            .and_then(|step| self.lines.get(step));
        line.ok_or_else(|| JournalError::Absent {
            journal: self.place.clone(),
            what: format!("step {step}"),
            has: self.present(),
        })
    }

    /// Returns the chain before a step; nothing if the ledger ends earlier.
    pub fn chain_before(&self, step: u64) -> Option<Digest> {
        match usize::try_from(step).ok()?.checked_sub(1) {
            None => Some(self.begin),
            Some(last) => self.lines.get(last).map(|line| line.chain),
        }
    }

    /// Returns whether the file ends in a part of a line.
    pub const fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// Returns the folder of the training run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the journal in which a step's exchanges are, whether or not it is there.
    pub fn segment(&self, step: u64) -> PathBuf {
        self.folder
            .join(segment_file(self.segment_steps(step).start))
    }

    /// Returns the steps of the journal of a step, as far as the ledger goes.
    pub(super) fn segment_steps(&self, step: u64) -> Range<u64> {
        let every = self.head.segment_steps.max(1);
        let first = step - step % every;
        let steps = self.lines.len() as u64;
        first..steps.clamp(first, first.saturating_add(every))
    }

    /// Iterates over the steps of each journal, as far as the ledger goes, and where the journal is
    /// if it is there.
    pub fn segments(&self) -> impl Iterator<Item = (Range<u64>, PathBuf)> {
        let (steps, every) = (self.lines.len() as u64, self.head.segment_steps.max(1));
        let firsts = (0..steps.div_ceil(every)).map(move |number| number * every);
        firsts.map(|first| (self.segment_steps(first), self.segment(first)))
    }

    /// Returns the checkpoints in the folder: the steps before which they were made, in order.
    ///
    /// # Errors
    /// E061 if the folder cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<u64>, JournalError> {
        Self::checkpoints_in(&self.folder)
    }

    /// Returns the checkpoints in the folder of a training run.
    ///
    /// # Errors
    /// E061 if the folder cannot be read.
    pub fn checkpoints_in(folder: &Path) -> Result<Vec<u64>, JournalError> {
        let place: Arc<str> = folder.display().to_string().into();
        let cannot = |error: io::Error| JournalError::io(&place, FileAction::Other("list"), &error);
        let mut steps = Vec::new();
        for entry in fs::read_dir(folder).map_err(cannot)? {
            let name = entry.map_err(cannot)?.file_name();
            let name = name.to_string_lossy();
            let step = name
                .strip_prefix("checkpoint-")
                .and_then(|step| step.parse().ok());
            // Names of other lengths are other people's.
            steps.extend(step.filter(|step| checkpoint_folder(*step) == name));
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// Returns the digests of a step by name; nothing if it keeps none.
    ///
    /// # Errors
    /// E072 if there is no such step, E078 if the file of names is damaged or gone.
    pub fn names(&self, step: u64) -> Result<Option<Vec<NamedDigest>>, JournalError> {
        let Some(at) = self.line(step)?.names_at else {
            return Ok(None);
        };
        let path = self.folder.join(NAMES_FILE);
        let damaged = |reason: String| JournalError::BadLedger {
            ledger: path.display().to_string().into(),
            reason,
        };
        let opened = File::open(&path).map_err(|error| error.to_string());
        let read = opened.and_then(|mut file| names::read(&mut file, at, step));
        read.map(|read| Some(read.parts)).map_err(damaged)
    }

    /// Returns the ledger without the lines from a step on.
    #[must_use]
    pub fn until(mut self, step: u64) -> Self {
        self.lines
            .truncate(usize::try_from(step).unwrap_or(usize::MAX));
        self
    }

    fn present(&self) -> String {
        match self.lines.len() {
            0 => "no step".to_owned(),
            count => format!("steps 0 to {}", count - 1),
        }
    }
}

/// Writes the ledger of a training run.
#[derive(Debug)]
pub struct LedgerWriter {
    place: Arc<str>,
    file: File,
    names: NamesWriter,
    segments: SegmentWriter,
    chain: Digest,
    next: u64,
}

impl LedgerWriter {
    /// Begins a ledger in a folder, which is made if it is not there. Until it is
    /// [published](Self::publish) it has another name, so that a process that is killed leaves no
    /// training run without its first checkpoint.
    ///
    /// # Errors
    /// E070 if the folder has a ledger, or steps of a run whose ledger is gone, E061 if the files
    /// cannot be made, E073 if another process begins one there.
    pub fn create(folder: impl AsRef<Path>, head: &LedgerHead) -> Result<Self, JournalError> {
        let folder = folder.as_ref();
        let place: Arc<str> = folder.join(LEDGER_FILE).display().to_string().into();
        let cannot =
            |error: io::Error| JournalError::io(&place, FileAction::Other("create"), &error);
        fs::create_dir_all(folder).map_err(cannot)?;
        check_is_free(folder, &place)?;
        check_is_not_orphaned(folder, &place)?;
        let encoded = head.encode();
        let (payload, parent) = encoded.map_err(|error| cannot(io::Error::other(error)))?;
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false);
        let mut file = options.open(folder.join(UNFINISHED_FILE)).map_err(cannot)?;
        // What is there was left by a process that was killed, unless that one is still at it.
        lock(&file, &place)?;
        file.set_len(0).map_err(cannot)?;
        let both = [&payload[..], &parent].concat();
        let mut bytes = Vec::with_capacity(FIXED_BYTES + both.len());
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((payload.len() as u32).to_le_bytes());
        bytes.extend((parent.len() as u32).to_le_bytes());
        bytes.extend(crc32fast::hash(&both).to_le_bytes());
        bytes.extend(both);
        file.write_all(&bytes).map_err(cannot)?;
        let names = File::create(folder.join(NAMES_FILE)).map_err(cannot)?;
        let names = NamesWriter::continued(names, 0, None).map_err(cannot)?;
        Ok(Self {
            place: place.clone(),
            file,
            names,
            segments: SegmentWriter::create(folder)?,
            chain: chain_of_head(&payload),
            next: 0,
        })
    }

    /// Gives a ledger that was [begun](Self::create) in a folder its name: the training run is
    /// there from now on.
    ///
    /// # Errors
    /// E070 if the folder has a ledger by now, E061 if it cannot be renamed.
    pub fn publish(&self, folder: impl AsRef<Path>) -> Result<(), JournalError> {
        let folder = folder.as_ref();
        check_is_free(folder, &self.place)?;
        self.sync()?;
        let renamed = fs::rename(folder.join(UNFINISHED_FILE), folder.join(LEDGER_FILE));
        renamed.map_err(|error| JournalError::io(&self.place, FileAction::Other("rename"), &error))
    }

    /// Continues a ledger behind its last whole line, and cuts off what a process that was killed
    /// left behind that.
    ///
    /// # Errors
    /// E061 if the files cannot be written, E073 if another process writes them, E078 if the file
    /// of names does not have what the last line says. An index of journals that is damaged is made
    /// again.
    pub fn append(ledger: &Ledger) -> Result<Self, JournalError> {
        let place = ledger.place.clone();
        let cannot =
            |error: io::Error| JournalError::io(&place, FileAction::Other("append to"), &error);
        let open = |name: &str| {
            let path = ledger.folder.join(name);
            let opened = OpenOptions::new().read(true).write(true).open(path);
            opened.map_err(cannot)
        };
        let mut file = open(LEDGER_FILE)?;
        lock(&file, &place)?;
        // Lines that another process wrote since the ledger was read would be cut off.
        if file.metadata().map_err(cannot)?.len() != ledger.bytes {
            return Err(JournalError::Busy { journal: place });
        }
        let end = ledger.head_bytes + (ledger.lines.len() * LINE_BYTES) as u64;
        file.set_len(end).map_err(cannot)?;
        file.seek(SeekFrom::Start(end)).map_err(cannot)?;
        let mut names = open(NAMES_FILE)?;
        let last = ledger
            .lines
            .iter()
            .rev()
            .find_map(|line| Some((line.step, line.names_at?)));
        let (names_end, known) = match last {
            None => (0, None),
            Some((step, at)) => {
                let read = names::read(&mut names, at, step);
                let damaged = |reason| JournalError::BadLedger {
                    ledger: ledger.folder.join(NAMES_FILE).display().to_string().into(),
                    reason,
                };
                let read = read.map_err(damaged)?;
                (read.end, Some(read.list))
            }
        };
        let next = ledger.lines.len() as u64;
        Ok(Self {
            place: place.clone(),
            file,
            names: NamesWriter::continued(names, names_end, known).map_err(cannot)?,
            segments: SegmentWriter::append(ledger)?,
            chain: ledger
                .chain_before(next)
                .expect("the chain of the last line"),
            next,
        })
    }

    /// Returns the number of the next step.
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// Returns the chain so far.
    pub const fn chain(&self) -> Digest {
        self.chain
    }

    /// Writes the line of the next step, with its digests by name if they are to be kept, and
    /// returns it with its chain.
    ///
    /// # Errors
    /// E061 if it cannot be written.
    ///
    /// # Panics
    /// If it is the line of another step.
    pub fn write(
        &mut self,
        mut line: StepLine,
        names: Option<&[NamedDigest]>,
    ) -> Result<StepLine, JournalError> {
        assert_eq!(line.step, self.next, "steps follow each other");
        let cannot =
            |error: io::Error| JournalError::io(&self.place, FileAction::Other("write to"), &error);
        line.names_at = match names {
            None => None,
            Some(parts) => Some(self.names.write(line.step, parts).map_err(cannot)?),
        };
        let line = line.chained(&self.chain);
        self.file.write_all(&line.encode()).map_err(cannot)?;
        self.chain = line.chain;
        self.next += 1;
        Ok(line)
    }

    /// Takes the journals from a step on out of the index, before others take their places.
    ///
    /// # Errors
    /// E061 if it cannot be written.
    pub fn begin_segment(&mut self, first: u64) -> Result<(), JournalError> {
        self.segments.remove_from(first)
    }

    /// Adds a journal that was finished to the index, with the steps that it is of and the
    /// ledger's chain before the one behind them.
    ///
    /// # Errors
    /// E061 if the journal cannot be read, or the index not be written.
    pub fn end_segment(
        &mut self,
        journal: &Path,
        steps: Range<u64>,
        chain: Digest,
        written: &JournalSummary,
    ) -> Result<(), JournalError> {
        self.segments.add(journal, steps, chain, written)
    }

    /// Waits until all lines are on the disk.
    ///
    /// # Errors
    /// E061 if the system cannot do it.
    pub fn sync(&self) -> Result<(), JournalError> {
        let synced = self.names.sync().and_then(|()| self.file.sync_data());
        synced.map_err(|error| JournalError::io(&self.place, FileAction::Other("sync"), &error))
    }
}

/// Refuses to begin a training run where there is one.
fn check_is_free(folder: &Path, place: &Arc<str>) -> Result<(), JournalError> {
    if folder.join(LEDGER_FILE).exists() {
        return Err(JournalError::WouldOverwrite {
            journal: place.clone(),
            reason: "the folder has a training run".to_owned(),
        });
    }
    Ok(())
}

/// Refuses to begin a training run over what is left of one without its ledger.
///
/// A run that was killed before its ledger was published leaves an unfinished one, and nothing else
/// that is worth anything.
fn check_is_not_orphaned(folder: &Path, place: &Arc<str>) -> Result<(), JournalError> {
    if folder.join(UNFINISHED_FILE).exists() {
        return Ok(());
    }
    let has_names = fs::metadata(folder.join(NAMES_FILE)).is_ok_and(|names| names.len() > 0);
    let has_steps = folder.join(segment_file(0)).exists();
    let is_behind = |steps: Vec<u64>| steps.into_iter().any(|step| step > 0);
    if has_names || has_steps || is_behind(Ledger::checkpoints_in(folder)?) {
        return Err(JournalError::WouldOverwrite {
            journal: place.clone(),
            reason: "the folder has steps of a training run, and its ledger is gone".to_owned(),
        });
    }
    Ok(())
}

fn chain_of_head(payload: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"interloom ledger");
    hasher.update(payload);
    Digest(*hasher.finalize().as_bytes())
}

/// Reads a head, the chain that begins with it, and where the lines begin.
fn read_head(bytes: &[u8], place: &Arc<str>) -> Result<(LedgerHead, Digest, usize), JournalError> {
    let bad = |reason: &str| JournalError::BadLedger {
        ledger: place.clone(),
        reason: reason.to_owned(),
    };
    let fixed = bytes
        .get(..FIXED_BYTES)
        .filter(|fixed| fixed.starts_with(&MAGIC));
    let fixed = fixed.ok_or_else(|| bad("it does not start as one does"))?;
    let number = |at: usize| {
        let mut number = [0; 4];
        number.copy_from_slice(&fixed[at..at + 4]);
        u32::from_le_bytes(number)
    };
    let (version, head_bytes, parent_bytes) = (number(8), number(12), number(16));
    if version != VERSION {
        let reason = format!(
            "its version is {version}, expected {VERSION}: it was written by another version of Interloom, or is damaged"
        );
        return Err(bad(&reason));
    }
    if head_bytes > HEAD_BYTES_MAX || parent_bytes > HEAD_BYTES_MAX {
        return Err(bad("its first bytes are damaged"));
    }
    let end = FIXED_BYTES + head_bytes as usize + parent_bytes as usize;
    let both = bytes.get(FIXED_BYTES..end);
    let both = both.filter(|both| crc32fast::hash(both) == number(20));
    let both = both.ok_or_else(|| bad("its head is damaged, or cut"))?;
    let (payload, parent) = both.split_at(head_bytes as usize);
    let malformed =
        |error: rmp_serde::decode::Error| bad(&format!("its head is malformed: {error}"));
    let head: LedgerHead = rmp_serde::from_slice(payload).map_err(malformed)?;
    let parent = (!parent.is_empty()).then(|| rmp_serde::from_slice(parent));
    let parent = parent.transpose().map_err(malformed)?;
    Ok((LedgerHead { parent, ..head }, chain_of_head(payload), end))
}

/// Reads the lines behind a head, and whether a part of one is left over.
fn read_lines(
    mut bytes: &[u8],
    begin: &Digest,
    place: &Arc<str>,
) -> Result<(Vec<StepLine>, bool), JournalError> {
    let mut lines: Vec<StepLine> = Vec::with_capacity(bytes.len() / LINE_BYTES);
    let mut chain = *begin;
    let mut encoded = [0; LINE_BYTES];
    while bytes.len() >= LINE_BYTES {
        bytes.read_exact(&mut encoded).expect("a slice is read");
        let step = lines.len() as u64;
        let decoded = StepLine::decode(&encoded);
        let fits = |line: &StepLine| line.step == step && line.chain_after(&chain) == line.chain;
        let Some(line) = decoded.filter(fits) else {
            return Err(JournalError::BadLedger {
                ledger: place.clone(),
                reason: format!("the line of step {step} is damaged, or not the one that followed"),
            });
        };
        chain = line.chain;
        lines.push(line);
    }
    Ok((lines, !bytes.is_empty()))
}
