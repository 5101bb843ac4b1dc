//! Resuming a journal that was left: after a crash, or to add runs to one that was finished.
//!
//! What is there is read and checked to its end. A torn tail is cut off, after the last good frame;
//! a footer is taken away, to be written again when the journal is finished again. A journal that
//! is damaged anywhere else is refused: continuing would hide the damage, and
//! [`recover`](super::recover()) says what it costs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use super::create::lock;
use super::digest::Digest;
use super::divergence::between_heads;
use super::error::{FileAction, JournalError};
use super::order::Order;
use super::read::JournalReader;
use super::record::{Head, OriginRecord, Record, RunStart};
use super::sink::Sink;
use super::write::JournalWriter;

/// A journal that is written again, and how it was found.
#[derive(Debug)]
pub struct Resumed<S: Sink = File> {
    /// Writes after the last good frame.
    pub writer: JournalWriter<S>,
    /// The journal's head.
    pub head: Head,
    /// The run that had not ended; continue with it, or end it.
    pub open_run: Option<OpenRun>,
    /// What was cut off the end.
    pub lost: Option<Loss>,
}

/// A run whose end is not in its journal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OpenRun {
    /// How it started.
    pub start: RunStart,
    /// How many of its exchanges are there.
    pub exchanges: u64,
}

/// The end of a journal that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Loss {
    /// Where it starts: the end of the last good frame, in bytes.
    pub offset: u64,
    /// How many bytes there are from there on.
    pub bytes: u64,
    /// What is wrong there.
    pub error: JournalError,
}

impl JournalWriter<File> {
    /// Goes on with the journal at `path`, after its last good frame.
    ///
    /// The bytes of a torn tail are removed, and [`Resumed::lost`] says how many.
    ///
    /// # Errors
    /// E060 if there is no such file, E061 if the system refuses, E062 or E063 if it is something
    /// else or newer, E065 if not even its head is whole, and E064 or E066 to E069 if it is damaged
    /// before its end; E073 if another process writes it. A journal that is refused is left as it
    /// is.
    pub fn resume(path: impl AsRef<Path>) -> Result<Resumed, JournalError> {
        let path = path.as_ref();
        Self::resume_as(path, &path.display().to_string().into())
    }

    /// As [`resume`](Self::resume); `journal` is what errors call it.
    pub(super) fn resume_as(path: &Path, journal: &Arc<str>) -> Result<Resumed, JournalError> {
        let (file, state) = scanned(path, journal)?;
        state.go_on(file)
    }

    /// Adds runs to the journal at `path`, which must be whole and have this head.
    ///
    /// What is written is what one writer would have written.
    ///
    /// # Errors
    /// As [`resume`](Self::resume), but E065 also if only its tail is torn, and E074 if it has
    /// another head. A journal that is refused is left as it is.
    pub fn append(path: impl AsRef<Path>, head: &Head) -> Result<Self, JournalError> {
        let path = path.as_ref();
        let journal = path.display().to_string().into();
        let (file, mut state) = scanned(path, &journal)?;
        if let Some(torn) = state.torn.take() {
            let torn = Box::new(torn);
            return Err(JournalError::AppendToTorn { torn });
        }
        let differences = between_heads(&state.head, head);
        if !differences.is_empty() {
            return Err(JournalError::OtherHead {
                journal,
                differences,
            });
        }
        Ok(state.go_on(file)?.writer)
    }
}

impl<S: Sink> JournalWriter<S> {
    /// Writes into `sink` as if the runs of a journal before `run` stood there, and returns the
    /// texts of their paths, by number.
    ///
    /// # Errors
    /// E072 if the journal does not have so many runs, and whatever is wrong with it before that.
    pub fn before_run(
        reader: JournalReader<impl Read>,
        run: u32,
        sink: S,
    ) -> Result<(Self, Vec<String>), JournalError> {
        let scan = Scan::before(reader, Some(run));
        if let Some(error) = scan.error {
            return Err(error);
        }
        if scan.runs < run {
            return Err(JournalError::Absent {
                journal: scan.reader.into_parts().journal,
                what: format!("run {run}"),
                has: format!("{} runs", scan.runs),
            });
        }
        let state = scan.into_state()?;
        let mut paths: Vec<_> = state.paths.iter().collect();
        paths.sort_by_key(|(_, id)| **id);
        let paths = paths.into_iter().map(|(text, _)| text.clone()).collect();
        Ok((Self::from_state(state, sink), paths))
    }
}

/// Opens a journal to be written, and reads it to its end, or to where it cannot be read.
fn scanned(path: &Path, journal: &Arc<str>) -> Result<(File, State), JournalError> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.map_err(|error| JournalError::io(journal, FileAction::Open, &error))?;
    lock(&file, journal)?;
    let reader = JournalReader::new(BufReader::new(&file), journal)?;
    let state = Scan::of(reader).into_state()?;
    Ok((file, state))
}

/// All that is needed to continue with a journal.
#[derive(Debug)]
pub(super) struct State {
    pub(super) journal: Arc<str>,
    pub(super) head: Head,
    pub(super) header_seed: u32,
    pub(super) order: Order,
    pub(super) paths: BTreeMap<String, u32>,
    pub(super) sources: BTreeMap<OriginRecord, u32>,
    pub(super) tensors: BTreeSet<Digest>,
    pub(super) frames: u64,
    pub(super) offset: u64,
    open_run: Option<OpenRun>,
    torn: Option<JournalError>,
}

impl State {
    /// Cuts off the footer, or what cannot be read, and goes on there.
    fn go_on(self, mut file: File) -> Result<Resumed, JournalError> {
        let doing = |doing| {
            let journal = self.journal.clone();
            move |error| JournalError::io(&journal, doing, &error)
        };
        let length = file
            .metadata()
            .map_err(doing(FileAction::Other("examine")))?
            .len();
        let cut = file.set_len(self.offset);
        cut.map_err(doing(FileAction::Other("cut the torn tail of")))?;
        let end = SeekFrom::Start(self.offset);
        file.seek(end)
            .map_err(doing(FileAction::Other("go to the end of")))?;
        Ok(self.into_writer(file, length))
    }

    /// A writer that appends to `sink`, which ends where the last good frame did; `length` is what
    /// there was before the tail was cut.
    pub(super) fn into_writer<S: Sink>(mut self, sink: S, length: u64) -> Resumed<S> {
        let open_run = self.open_run.take();
        let offset = self.offset;
        let lost = self.torn.take().map(|error| Loss {
            offset,
            bytes: length.saturating_sub(offset),
            error,
        });
        Resumed {
            head: self.head.clone(),
            writer: JournalWriter::from_state(self, sink),
            open_run,
            lost,
        }
    }
}

/// A journal that is read to its end, or to where it cannot be read.
#[derive(Debug)]
pub(super) struct Scan<R> {
    pub(super) reader: JournalReader<R>,
    pub(super) open_run: Option<OpenRun>,
    pub(super) error: Option<JournalError>,
    pub(super) records: u64,
    pub(super) runs: u32,
    paths: BTreeMap<String, u32>,
    sources: BTreeMap<OriginRecord, u32>,
    tensors: BTreeSet<Digest>,
    footer: Option<u64>,
}

impl<R: Read> Scan<R> {
    pub(super) fn of(reader: JournalReader<R>) -> Self {
        Self::before(reader, None)
    }

    /// Reads to the end, or to a run.
    fn before(reader: JournalReader<R>, run: Option<u32>) -> Self {
        let mut scan = Self {
            reader,
            open_run: None,
            error: None,
            records: 0,
            runs: 0,
            paths: BTreeMap::new(),
            sources: BTreeMap::new(),
            tensors: BTreeSet::new(),
            footer: None,
        };
        loop {
            let is_between = scan.records > 0 && scan.open_run.is_none();
            if is_between && run == Some(scan.runs) {
                return scan;
            }
            match scan.reader.next_record() {
                Ok(Some((info, record))) => scan.take(info.offset, record),
                Ok(None) => return scan,
                Err(error) => {
                    scan.error = Some(error);
                    return scan;
                }
            }
        }
    }

    fn take(&mut self, offset: u64, record: Record) {
        self.records += 1;
        match record {
            Record::RunStart(start) => {
                self.runs += 1;
                self.open_run = Some(OpenRun {
                    start,
                    exchanges: 0,
                });
            }
            Record::Exchange(_) => {
                if let Some(run) = &mut self.open_run {
                    run.exchanges += 1;
                }
            }
            Record::RunEnd(_) => self.open_run = None,
            Record::Path(path) => {
                // A writer gives each text one number; of others the first counts.
                self.paths.entry(path.text).or_insert(path.id);
            }
            Record::Tensor(tensor) => {
                self.tensors.insert(tensor.digest);
            }
            Record::Footer(_) => self.footer = Some(offset),
            Record::Source(source) => {
                self.sources.entry(source.origin).or_insert(source.id);
            }
            Record::Head(_)
            | Record::Note(_)
            | Record::Tick(_)
            | Record::Passage(_)
            | Record::Visit(_)
            | Record::Open(_)
            | Record::CacheDeclaration(_)
            | Record::Padding(_) => {}
        }
    }

    /// What a writer needs to continue, if the journal is good but for a torn tail.
    pub(super) fn into_state(self) -> Result<State, JournalError> {
        if let Some(error) = &self.error
            && !matches!(error, JournalError::Torn { .. })
        {
            return Err(error.clone());
        }
        let head = self.reader.head().clone();
        let parts = self.reader.into_parts();
        let (mut frames, mut offset, mut order) = (parts.frames, parts.offset, parts.order);
        if let Some(footer) = self.footer {
            order.reopen();
            (frames, offset) = (frames - 1, footer);
        }
        Ok(State {
            journal: parts.journal,
            head,
            header_seed: parts.preamble.header_seed(),
            order,
            paths: self.paths,
            sources: self.sources,
            tensors: self.tensors,
            frames,
            offset,
            open_run: self.open_run,
            torn: self.error,
        })
    }
}
