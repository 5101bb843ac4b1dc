//! Where the exchanges of a session go to, and what they are compared with.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use interloom_backends::Effort;

use super::{Conclusion, Proof};
use crate::divergence::{Comparer, Divergence, EnvironmentReport};
use crate::journal::{
    CachedLine, DType, Digest, Exchange, Head, JournalError, JournalReader, JournalWriter, Outcome,
    Passage, Policy, Record, RunStart, Sink, ValueTree, find_tensor,
};

/// The journal of a session, being written or being compared with.
///
/// To verify is to record into nothing, for the numbers and digests, and to compare on the way.
pub(super) enum Tape {
    Record(Box<JournalWriter<File>>),
    Verify {
        path: PathBuf,
        live: Box<JournalWriter<Nowhere>>,
        recorded: Box<Head>,
        comparer: Box<Comparer<Recorded>>,
    },
}

type Recorded = Box<dyn Iterator<Item = Result<Record, JournalError>>>;

impl Tape {
    pub(super) fn record(path: &Path, head: &Head) -> Result<Self, JournalError> {
        let writer = JournalWriter::create(path, head)?;
        Ok(Self::Record(Box::new(writer)))
    }

    pub(super) fn verify(path: &Path, head: &Head) -> Result<Self, JournalError> {
        let reader: JournalReader<BufReader<File>> = JournalReader::open(path)?;
        reader.check_behaviour()?;
        let recorded = Box::new(reader.head().clone());
        let records: Recorded = Box::new(reader.records());
        let mut comparer = Box::new(Comparer::new(records));
        comparer.head(head);
        Ok(Self::Verify {
            path: path.to_owned(),
            live: Box::new(JournalWriter::new(Nowhere, "this run", head)?),
            recorded,
            comparer,
        })
    }

    /// Starts a run, and returns its number.
    pub(super) fn start_run(&mut self, mut start: RunStart) -> Result<u32, JournalError> {
        match self {
            Self::Record(writer) => {
                start.run = writer.next_run();
                writer.start_run(&start)?;
            }
            Self::Verify { live, comparer, .. } => {
                start.run = live.next_run();
                live.start_run(&start)?;
                comparer.start_run(&start);
            }
        }
        Ok(start.run)
    }

    /// Returns the number of a path, which is written at its first use.
    pub(super) fn path(&mut self, text: &str) -> Result<u32, JournalError> {
        match self {
            Self::Record(writer) => writer.path(text),
            Self::Verify { live, comparer, .. } => {
                let id = live.path(text)?;
                comparer.path(id, text);
                Ok(id)
            }
        }
    }

    pub(super) fn tensor(
        &mut self,
        digest: &Digest,
        dtype: DType,
        shape: &[u64],
        bytes: &[u8],
    ) -> Result<(), JournalError> {
        match self {
            Self::Record(writer) => writer.tensor(digest, dtype, shape, bytes).map(|_| ()),
            Self::Verify { .. } => Ok(()),
        }
    }

    /// Writes or compares an exchange; `bytes_of` finds a tensor of its value by its digest.
    pub(super) fn exchange(
        &mut self,
        mut exchange: Exchange,
        bytes_of: impl FnOnce(&Digest) -> Option<Vec<u8>>,
    ) -> Result<(), JournalError> {
        match self {
            Self::Record(writer) => {
                exchange.index = writer.next_index();
                writer.exchange(&exchange)
            }
            Self::Verify {
                path,
                live,
                recorded,
                comparer,
            } => {
                exchange.index = live.next_index();
                let equal_so_far = comparer.divergence().is_none();
                comparer.observe(&exchange);
                if equal_so_far && recorded.policy != Policy::Digest {
                    compare_tensors(comparer, path, bytes_of);
                }
                live.exchange(&exchange)
            }
        }
    }

    /// Returns whether the live runs have parted from the recorded ones.
    pub(super) fn has_parted(&self) -> bool {
        self.divergence().is_some()
    }

    /// Returns where the live runs have parted from the recorded ones.
    pub(super) fn divergence(&self) -> Option<&Divergence> {
        match self {
            Self::Record(_) => None,
            Self::Verify { comparer, .. } => comparer.divergence(),
        }
    }

    /// Writes what a model passed and put out; nothing is compared with it.
    pub(super) fn passage(&mut self, passage: &Passage) -> Result<(), JournalError> {
        match self {
            Self::Record(writer) => writer.passage(passage),
            Self::Verify { .. } => Ok(()),
        }
    }

    /// Returns what a cache of the run collected at a point, as the end of the run has it.
    pub(super) fn cached(
        &mut self,
        cache: (Option<u32>, u32),
        point: String,
        values: &[(u32, ValueTree)],
    ) -> Result<CachedLine, JournalError> {
        match self {
            Self::Record(writer) => writer.cached(cache, point, values),
            Self::Verify { live, .. } => live.cached(cache, point, values),
        }
    }

    /// Ends the run, with what its caches collected if model and mediators were live.
    pub(super) fn end_run(
        &mut self,
        outcome: Outcome,
        cached: Option<Vec<CachedLine>>,
    ) -> Result<(), JournalError> {
        match self {
            Self::Record(writer) => writer.end_run_with(outcome, cached).map(|_| ()),
            Self::Verify { live, comparer, .. } => {
                comparer.end_run(&live.end_run_with(outcome, cached)?);
                Ok(())
            }
        }
    }

    pub(super) fn note(&mut self, key: &str, value: &str) -> Result<(), JournalError> {
        match self {
            Self::Record(writer) => writer.note(key, value),
            Self::Verify { .. } => Ok(()),
        }
    }

    /// Closes the journal or the comparison; `effort` is what the runs took.
    pub(super) fn finish(self, head: &Head, effort: Effort) -> Result<Conclusion, JournalError> {
        match self {
            Self::Record(writer) => {
                let summary = writer.finish()?;
                Ok(Conclusion::Recorded {
                    exchanges: summary.exchanges,
                    digest: summary.digest,
                    bytes: summary.bytes,
                    effort,
                })
            }
            Self::Verify {
                live,
                recorded,
                comparer,
                ..
            } => {
                let comparison = comparer.finish()?;
                Ok(Conclusion::Verified {
                    proof: Proof::Reexecution,
                    exchanges: comparison.exchanges,
                    digest: live.finish()?.digest,
                    divergence: comparison.divergence.map(Box::new),
                    environment: EnvironmentReport::between(&recorded, head),
                })
            }
        }
    }
}

/// Compares the elements of the tensors at which the runs have just parted, if they did.
///
/// This adds to a report that stands without it, so that it does nothing where the journal does not have the bytes.
fn compare_tensors(
    comparer: &mut Comparer<Recorded>,
    path: &Path,
    bytes_of: impl FnOnce(&Digest) -> Option<Vec<u8>>,
) {
    let Some(divergence) = comparer.divergence_mut() else {
        return;
    };
    let Some(pair) = &divergence.tensors else {
        return;
    };
    let recorded = find_tensor(path, &pair.recorded).ok().flatten();
    if let (Some(recorded), Some(live)) = (recorded, bytes_of(&pair.live)) {
        let _the_journal_has_checked_the_sizes = divergence.compare_tensors(&recorded.bytes, &live);
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
