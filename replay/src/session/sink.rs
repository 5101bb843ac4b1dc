//! The sink of a session: the journal that its records are written to or compared with.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use interloom_backends::ReuseStats;

use super::prefix::Prefix;
use super::{Conclusion, Proof};
use crate::divergence::{Comparer, Divergence, EnvironmentReport};
use crate::journal::training::StepDigest;
use crate::journal::{
    CacheDeclaration, CachedLine, DType, Digest, ExchangeRecord, Head, JournalError, JournalReader,
    JournalWriter, OutcomeRecord, PaddingRecord, PassageRecord, Record, RunStart, Sink, ValueTree,
    Visit, find_tensor,
};

/// The journal of a session, being written, being compared with, or both.
///
/// To verify is to record into nothing, for the numbers and digests, and to compare on the way.
pub(super) struct JournalSink {
    writer: Writer,
    watch: Watch,
    /// What happened in the runs of the step that was begun last, by itself.
    step: Option<StepDigest>,
    /// The digest of this at the end of the last run.
    digest: Option<Digest>,
    /// The texts of the paths so far, by number.
    paths: Vec<String>,
}

enum Writer {
    File(Box<JournalWriter<File>>),
    Nowhere(Box<JournalWriter<Nowhere>>),
}

/// What is kept of the tensors of a value.
#[derive(Clone, Copy)]
pub(super) enum Keeps {
    Digests,
    Bytes,
    /// What the policy says of the next exchange.
    ByPolicy,
}

/// What a session is compared with.
enum Watch {
    Nothing,
    /// A whole journal.
    Journal(Box<Watched>),
    /// What the mediators of a run said before it is forked.
    Prefix(Box<Prefix>),
}

struct Watched {
    path: PathBuf,
    recorded: Head,
    comparer: Comparer<Records>,
    /// The exchange from which on it is compared.
    first: u64,
}

/// The records of a journal, one after another.
pub(super) type Records = Box<dyn Iterator<Item = Result<Record, JournalError>>>;

/// Calls the writer, whichever it is.
macro_rules! written {
    ($sink:expr, |$writer:ident| $body:expr) => {
        match &mut $sink.writer {
            Writer::File($writer) => $body,
            Writer::Nowhere($writer) => $body,
        }
    };
}

impl JournalSink {
    /// Writes a new journal.
    pub(super) fn record(path: &Path, head: &Head) -> Result<Self, JournalError> {
        let writer = JournalWriter::create(path, head)?;
        Ok(Self::new(Writer::File(Box::new(writer)), Watch::Nothing))
    }

    /// Compares with a journal.
    pub(super) fn verify(path: &Path, head: &Head) -> Result<Self, JournalError> {
        let watch = Watch::Journal(Box::new(Watched::open(path, head)?));
        let writer = JournalWriter::new(Nowhere, "this run", head)?;
        Ok(Self::new(Writer::Nowhere(Box::new(writer)), watch))
    }

    /// Adds to a journal.
    pub(super) fn append(path: &Path, head: &Head) -> Result<Self, JournalError> {
        let writer = JournalWriter::append(path, head)?;
        Ok(Self::new(Writer::File(Box::new(writer)), Watch::Nothing))
    }

    /// Compares with a journal from one of its runs on.
    pub(super) fn verify_from(path: &Path, run: u32, head: &Head) -> Result<Self, JournalError> {
        let (writer, paths) = JournalWriter::before_run(JournalReader::open(path)?, run, Nowhere)?;
        let mut watched = Watched::open_from(path, run, writer.next_index(), head)?;
        for (id, text) in (0..).zip(&paths) {
            watched.comparer.path(id, text);
        }
        Ok(Self {
            writer: Writer::Nowhere(Box::new(writer)),
            watch: Watch::Journal(Box::new(watched)),
            step: None,
            digest: None,
            paths,
        })
    }

    /// Writes a new journal, and compares it with another one until that is [left](Self::leave).
    pub(super) fn fork(into: &Path, from: &Path, head: &Head) -> Result<Self, JournalError> {
        let watch = Watch::Journal(Box::new(Watched::open(from, head)?));
        let writer = JournalWriter::create(into, head)?;
        Ok(Self::new(Writer::File(Box::new(writer)), watch))
    }

    /// Digests what happens.
    pub(super) fn unwritten(head: &Head) -> Result<Self, JournalError> {
        let writer = JournalWriter::new(Nowhere, "this run", head)?;
        Ok(Self::new(Writer::Nowhere(Box::new(writer)), Watch::Nothing))
    }

    /// Digests the runs from here on as those of a step, by themselves.
    pub(super) fn begin_step(&mut self) {
        self.step = Some(StepDigest::default());
        self.digest = None;
    }

    /// Returns the digest of the step's runs that ended so far, if one did, and how many did.
    pub(super) fn step_digest(&self) -> Option<(Digest, u32)> {
        Some((self.digest?, self.step.as_ref()?.runs()))
    }

    fn new(writer: Writer, watch: Watch) -> Self {
        Self {
            writer,
            watch,
            step: None,
            digest: None,
            paths: Vec::new(),
        }
    }

    /// Compares from here on only what mediators say before they are forked.
    pub(super) fn leave(&mut self, mut prefix: Prefix) {
        for (id, text) in (0..).zip(&self.paths) {
            prefix.path(id, text);
        }
        self.watch = Watch::Prefix(Box::new(prefix));
    }

    /// Starts a run, and returns its number.
    pub(super) fn start_run(&mut self, mut start: RunStart) -> Result<u32, JournalError> {
        start.run = written!(self, |writer| writer.next_run());
        written!(self, |writer| writer.start_run(&start))?;
        if let Some(step) = &mut self.step {
            step.start_run(&start);
        }
        match &mut self.watch {
            Watch::Nothing => {}
            Watch::Journal(watched) => drop(watched.comparer.start_run(&start)),
            Watch::Prefix(prefix) => prefix.start_run(&start),
        }
        Ok(start.run)
    }

    /// Returns the number of a path, which is written at its first use.
    pub(super) fn path(&mut self, text: &str) -> Result<u32, JournalError> {
        let id = written!(self, |writer| writer.path(text))?;
        if id as usize == self.paths.len() {
            self.paths.push(text.to_owned());
            match &mut self.watch {
                Watch::Nothing => {}
                Watch::Journal(watched) => watched.comparer.path(id, text),
                Watch::Prefix(prefix) => prefix.path(id, text),
            }
        }
        Ok(id)
    }

    /// Returns the text of a path that was written.
    pub(super) fn path_text(&self, path: u32) -> Option<&str> {
        self.paths.get(path as usize).map(String::as_str)
    }

    /// Writes the bytes of a tensor of the next exchange, if they are kept.
    pub(super) fn tensor(
        &mut self,
        keeps: Keeps,
        digest: &Digest,
        dtype: DType,
        shape: &[u64],
        bytes: &[u8],
    ) -> Result<(), JournalError> {
        let Writer::File(writer) = &mut self.writer else {
            return Ok(());
        };
        match keeps {
            Keeps::Digests => return Ok(()),
            Keeps::Bytes => writer.keep_tensor(digest, dtype, shape, bytes)?,
            Keeps::ByPolicy => writer.tensor(digest, dtype, shape, bytes)?,
        };
        Ok(())
    }

    /// Writes and compares an exchange; `bytes_of` finds a tensor of its value by its digest.
    pub(super) fn exchange(
        &mut self,
        mut exchange: ExchangeRecord,
        bytes_of: impl FnOnce(&Digest) -> Option<Vec<u8>>,
    ) -> Result<(), JournalError> {
        exchange.index = written!(self, |writer| writer.next_index());
        match &mut self.watch {
            Watch::Nothing => {}
            Watch::Journal(watched) => watched.see(bytes_of, |comparer| {
                comparer.observe(&exchange);
            }),
            Watch::Prefix(prefix) => prefix.exchange(&exchange),
        }
        written!(self, |writer| writer.exchange(&exchange))?;
        if let Some(step) = &mut self.step {
            step.exchange(exchange, &self.paths);
        }
        Ok(())
    }

    /// Writes and compares a request that is open when the run is over.
    pub(super) fn open_request(&mut self, mut open: ExchangeRecord) -> Result<(), JournalError> {
        open.index = written!(self, |writer| writer.next_index());
        written!(self, |writer| writer.open_request(&open))?;
        if let Some(step) = &mut self.step {
            step.open_request(open.clone(), &self.paths);
        }
        self.compare(Record::Open(open));
        Ok(())
    }

    /// Writes and compares what the model passed; `bytes_of` finds a tensor of its value by its
    /// digest.
    pub(super) fn visit(
        &mut self,
        visit: &Visit,
        bytes_of: impl FnOnce(&Digest) -> Option<Vec<u8>>,
    ) -> Result<(), JournalError> {
        if let Watch::Journal(watched) = &mut self.watch {
            watched.see(bytes_of, |comparer| comparer.visit(visit));
        }
        written!(self, |writer| writer.visit(visit))?;
        if let Some(step) = &mut self.step {
            step.visit(visit, &self.paths);
        }
        Ok(())
    }

    /// Writes and compares that a mediator declares a cache.
    pub(super) fn cache_declaration(
        &mut self,
        cache: &CacheDeclaration,
    ) -> Result<(), JournalError> {
        written!(self, |writer| writer.cache_declaration(cache))?;
        if let Some(step) = &mut self.step {
            step.cache_declaration(cache);
        }
        self.compare(Record::CacheDeclaration(cache.clone()));
        Ok(())
    }

    /// Writes and compares how the rows of the run's batch are padded.
    pub(super) fn padding(&mut self, padding: &PaddingRecord) -> Result<(), JournalError> {
        written!(self, |writer| writer.padding(padding))?;
        if let Some(step) = &mut self.step {
            step.padding(padding);
        }
        self.compare(Record::Padding(padding.clone()));
        Ok(())
    }

    fn compare(&mut self, record: Record) {
        if let Watch::Journal(watched) = &mut self.watch {
            watched.comparer.record(&record);
        }
    }

    /// Returns where the session has diverged from what it is compared with.
    pub(super) fn divergence(&self) -> Option<&Divergence> {
        match &self.watch {
            Watch::Nothing => None,
            Watch::Journal(watched) => watched.comparer.divergence(),
            Watch::Prefix(prefix) => prefix.divergence(),
        }
    }

    /// Writes what a model passed and returned; nothing is compared with it.
    pub(super) fn passage(&mut self, passage: &PassageRecord) -> Result<(), JournalError> {
        match &mut self.writer {
            Writer::File(writer) => writer.passage(passage),
            Writer::Nowhere(_) => Ok(()),
        }
    }

    /// Returns what a cache of the run collected at a point, as the end of the run has it.
    pub(super) fn cached(
        &mut self,
        cache: (Option<u32>, u32),
        point: String,
        values: &[(u32, ValueTree)],
    ) -> Result<CachedLine, JournalError> {
        written!(self, |writer| writer.cached(cache, point, values))
    }

    /// Ends the run, with what its caches collected.
    pub(super) fn end_run(
        &mut self,
        outcome: OutcomeRecord,
        cached: Vec<CachedLine>,
    ) -> Result<(), JournalError> {
        let end = written!(self, |writer| writer.end_run_with(outcome, Some(cached)))?;
        if let Some(step) = &mut self.step {
            self.digest = Some(step.end_run(&end));
        }
        match &mut self.watch {
            Watch::Nothing => {}
            Watch::Journal(watched) => drop(watched.comparer.end_run(&end)),
            Watch::Prefix(prefix) => prefix.end_run(),
        }
        Ok(())
    }

    /// Writes a remark, which is compared with nothing.
    pub(super) fn note(&mut self, key: &str, value: &str) -> Result<(), JournalError> {
        match &mut self.writer {
            Writer::File(writer) => writer.note(key, value),
            Writer::Nowhere(_) => Ok(()),
        }
    }

    /// Closes the journal or the comparison; `effort` is what the runs took.
    pub(super) fn finish(
        self,
        head: &Head,
        effort: ReuseStats,
    ) -> Result<Conclusion, JournalError> {
        match (self.writer, self.watch) {
            (Writer::File(writer), _) => {
                let summary = writer.finish()?;
                Ok(Conclusion::Recorded {
                    exchanges: summary.exchanges,
                    digest: summary.digest,
                    bytes: summary.bytes,
                    effort,
                })
            }
            (Writer::Nowhere(writer), Watch::Journal(watched)) => {
                let comparison = watched.comparer.finish()?;
                Ok(Conclusion::Verified {
                    proof: Proof::Reexecution,
                    exchanges: comparison.exchanges - watched.first,
                    digest: writer.finish()?.digest,
                    divergence: comparison.divergence.map(Box::new),
                    environment: EnvironmentReport::between(&watched.recorded, head),
                })
            }
            (Writer::Nowhere(_), Watch::Nothing | Watch::Prefix(_)) => {
                unreachable!("what is written nowhere and not compared is only digested")
            }
        }
    }
}

impl Watched {
    fn open(path: &Path, head: &Head) -> Result<Self, JournalError> {
        Self::open_from(path, 0, 0, head)
    }

    /// Opens a journal at the start of a run, with the exchange `first` as the next.
    fn open_from(path: &Path, run: u32, first: u64, head: &Head) -> Result<Self, JournalError> {
        let reader: JournalReader<BufReader<File>> = JournalReader::open(path)?;
        let recorded = reader.head().clone();
        let mut has_begun = run == 0;
        let records = reader.records().filter(move |record| {
            if let Ok(Record::RunStart(start)) = record {
                has_begun |= start.run >= run;
            }
            // What later runs are named with.
            has_begun || matches!(record, Err(_) | Ok(Record::Head(_) | Record::Path(_)))
        });
        let records: Records = Box::new(records);
        let mut comparer = Comparer::new(records).starting_at(first);
        comparer.head(head);
        Ok(Self {
            path: path.to_owned(),
            recorded,
            comparer,
            first,
        })
    }

    /// Lets the comparer see something with tensors; if the session diverges here, also their
    /// elements are compared, where the journal has those.
    fn see(
        &mut self,
        bytes_of: impl FnOnce(&Digest) -> Option<Vec<u8>>,
        see: impl FnOnce(&mut Comparer<Records>),
    ) {
        let was_equal = self.comparer.divergence().is_none();
        see(&mut self.comparer);
        if !was_equal {
            return;
        }
        let Some(divergence) = self.comparer.divergence_mut() else {
            return;
        };
        let Some(pair) = &divergence.tensors else {
            return;
        };
        // This adds to a report that stands without it, so that nothing happens where the journal
        // does not have the bytes.
        let recorded = find_tensor(&self.path, &pair.recorded).ok().flatten();
        if let (Some(recorded), Some(live)) = (recorded, bytes_of(&pair.live)) {
            let _the_journal_has_checked_the_sizes =
                divergence.compare_tensors(&recorded.bytes, &live);
        }
    }
}

/// A sink that keeps nothing.
#[derive(Debug)]
pub(super) struct Nowhere;

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Nowhere {}
