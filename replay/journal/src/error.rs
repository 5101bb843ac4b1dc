//! Errors of writing and reading journals.

use std::sync::Arc;
use std::{fmt, io};

use interloom_engine::AtFault;
use thiserror::Error;

use super::digest::Digest;
use crate::divergence::EnvironmentDifference;
use crate::reason::is_refusal;
use crate::training::RankDrift;

/// A journal could not be written or read. Each variant has a stable [`code`](Self::code).
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum JournalError {
    /// There is no such file.
    ///
    /// Code `E060`, explained in `docs/errors/E060.md`.
    #[error("no journal at {journal}: the file does not exist; check the path")]
    NotFound {
        /// The file.
        journal: Arc<str>,
    },
    /// The operating system refused an operation.
    ///
    /// Code `E061`, explained in `docs/errors/E061.md`.
    #[error("could not {doing} {journal}: {reason}")]
    Io {
        /// The file.
        journal: Arc<str>,
        /// What was being done.
        doing: FileAction,
        /// The kind of failure.
        kind: io::ErrorKind,
        /// The system's message.
        reason: String,
    },
    /// The file is something else.
    ///
    /// Code `E062`, explained in `docs/errors/E062.md`.
    #[error(
        "{journal} is not an Interloom journal: expected it to start with 89 49 4c 4a 0d 0a 1a 0a, \
         found {found}; check the path: journals are what `interloom run --journal` writes"
    )]
    NotAJournal {
        /// The file.
        journal: Arc<str>,
        /// Its first bytes, as text.
        found: String,
    },
    /// The file has a format that this version cannot read.
    ///
    /// Code `E063`, explained in `docs/errors/E063.md`.
    #[error(
        "{journal} has journal format {}.{}, and this version of Interloom reads up to {}.x; \
         upgrade Interloom to read it", found.0, found.1, supported.0
    )]
    NewerFormat {
        /// The file.
        journal: Arc<str>,
        /// The file's major and minor version.
        found: (u16, u16),
        /// The newest version that can be read.
        supported: (u16, u16),
    },
    /// A check failed: these bytes are not what was written.
    ///
    /// Code `E064`, explained in `docs/errors/E064.md`.
    #[error(
        "{journal} is damaged in frame {frame} at byte {offset}: {check}; \
         the {frame} frames before it are good"
    )]
    Corrupt {
        /// The file.
        journal: Arc<str>,
        /// The number of the frame, which is also the number of good ones before it.
        frame: u64,
        /// Where the frame starts, in bytes.
        offset: u64,
        /// The check that failed.
        check: String,
    },
    /// The file ends before its last frame or run does.
    ///
    /// Code `E065`, explained in `docs/errors/E065.md`.
    #[error(
        "{journal} ends early: {missing}; the first {good_bytes} bytes are good \
         ({frames} frames, {exchanges} exchanges)"
    )]
    Torn {
        /// The file.
        journal: Arc<str>,
        /// How many frames are good.
        frames: u64,
        /// How many exchanges are in them.
        exchanges: u64,
        /// Where the last good frame ends, in bytes.
        good_bytes: u64,
        /// What is not there.
        missing: String,
    },
    /// A frame is undamaged but its content is not a record.
    ///
    /// Code `E066`, explained in `docs/errors/E066.md`.
    #[error("frame {frame} at byte {offset} of {journal} is not a valid {record}: {reason}")]
    Malformed {
        /// The file.
        journal: Arc<str>,
        /// The number of the frame.
        frame: u64,
        /// Where the frame starts, in bytes.
        offset: u64,
        /// The kind of record.
        record: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Frames, runs, paths or exchanges are missing, repeated, or from somewhere else.
    ///
    /// Code `E067`, explained in `docs/errors/E067.md`.
    #[error(
        "frame {frame} at byte {offset} of {journal} is out of sequence: \
         expected {expected}, found {found}"
    )]
    OutOfSequence {
        /// The file.
        journal: Arc<str>,
        /// The number that the frame should have.
        frame: u64,
        /// Where the frame starts, in bytes.
        offset: u64,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Content does not have the digest that the journal gives for it.
    ///
    /// Code `E068`, explained in `docs/errors/E068.md`.
    #[error(
        "frame {frame} at byte {offset} of {journal}: the digest of {subject} \
         should be {expected:?}, but the content has {found:?}"
    )]
    DigestMismatch {
        /// The file.
        journal: Arc<str>,
        /// The number of the frame.
        frame: u64,
        /// Where the frame starts, in bytes.
        offset: u64,
        /// What was digested.
        subject: String,
        /// The digest in the journal.
        expected: Digest,
        /// The digest of the content.
        found: Digest,
    },
    /// Something is larger than the format allows.
    ///
    /// Code `E069`, explained in `docs/errors/E069.md`.
    #[error(
        "frame {frame} at byte {offset} of {journal}: {subject} is {found}, the limit is {limit}"
    )]
    Limit {
        /// The file.
        journal: Arc<str>,
        /// The number of the frame.
        frame: u64,
        /// Where the frame starts, in bytes.
        offset: u64,
        /// What is too large, and in what unit.
        subject: String,
        /// Its size.
        found: u64,
        /// The largest size allowed.
        limit: u64,
    },
    /// A tensor that a journal should have is not there.
    ///
    /// Code `E071`, explained in `docs/errors/E071.md`.
    #[error(
        "{journal} does not have the tensor {digest:?}, which exchange {exchange} names and its policy keeps"
    )]
    MissingTensor {
        /// The file.
        journal: Arc<str>,
        /// The first exchange that names the tensor.
        exchange: u64,
        /// The tensor's digest.
        digest: Digest,
    },
    /// Something was asked for that a journal does not have.
    ///
    /// Code `E072`, explained in `docs/errors/E072.md`.
    #[error("{journal} has no {what}; it has {has}")]
    Absent {
        /// The file.
        journal: Arc<str>,
        /// What was asked for.
        what: String,
        /// What there is.
        has: String,
    },
    /// Another process writes the journal.
    ///
    /// Code `E073`, explained in `docs/errors/E073.md`.
    #[error(
        "{journal} is being written by another program, or by another part of this one; wait until \
         it is done, or record to another path"
    )]
    Busy {
        /// The file.
        journal: Arc<str>,
    },
    /// Runs are to be added to a journal that ends early.
    ///
    /// Code `E065`, explained in `docs/errors/E065.md`.
    #[error("{torn}; nothing was added to it: make it whole first, with `interloom recover`")]
    AppendToTorn {
        /// How it ends.
        torn: Box<Self>,
    },
    /// Runs are to be added to a journal with the head of other runs.
    ///
    /// Code `E074`, explained in `docs/errors/E074.md`.
    #[error(
        "{journal} is of other runs than these, which cannot be added to it: {}; go on with what it was recorded with, or \
         record to another path",
        listed(differences)
    )]
    OtherHead {
        /// The file.
        journal: Arc<str>,
        /// In what the heads differ.
        differences: Vec<EnvironmentDifference>,
    },
    /// Recording would replace something that is not a journal.
    ///
    /// Code `E070`, explained in `docs/errors/E070.md`.
    #[error("will not overwrite {journal}: {reason}; move it away or record to another path")]
    WouldOverwrite {
        /// The file.
        journal: Arc<str>,
        /// What it is.
        reason: String,
    },
    /// A rank of a training run is not the replica of rank 0 that it should be.
    ///
    /// Code `E130`, explained in `docs/errors/E130.md`.
    #[error(
        "a rank is no replica of rank 0 any more: they part in {0}; expected one schedule, and the same gradients in all ranks \
         before the update; look at how gradients are reduced, and resume all ranks from a step before this one"
    )]
    RanksParted(Box<RankDrift>),
    /// A journal beside a ledger has other exchanges than the ledger's steps.
    ///
    /// Code `E086`, explained in `docs/errors/E086.md`.
    #[error(
        "{journal} is not the journal of the training run beside it: the exchanges of step {step} are others, or are not in it; \
         restore it from a copy, or resume from a checkpoint before it"
    )]
    OtherExchanges {
        /// The file.
        journal: Arc<str>,
        /// The first step whose exchanges are others.
        step: u64,
    },
    /// A journal of a training run is not the one that the run's index has.
    ///
    /// Code `E136`, explained in `docs/errors/E136.md`.
    #[error(
        "{journal} is not the journal of steps {first} to {last} that the index of the training run has: {reason}; restore it from \
         a copy, or resume from a checkpoint before it"
    )]
    OtherSegment {
        /// The file.
        journal: Arc<str>,
        /// The first step of it.
        first: u64,
        /// The last step of it.
        last: u64,
        /// What is wrong.
        reason: String,
    },
    /// The index of a training run's journals is gone, damaged, or another run's.
    ///
    /// Code `E141`, explained in `docs/errors/E141.md`.
    #[error(
        "{index} is not the index of the journals beside it: {reason}; run `interloom recover` on the folder, or resume the training \
         run: it is made again from the journals"
    )]
    BadIndex {
        /// The file.
        index: Arc<str>,
        /// What is wrong.
        reason: String,
    },
    /// The ledger of a training run is not one, or is damaged.
    ///
    /// Code `E078`, explained in `docs/errors/E078.md`.
    #[error("{ledger} is not the ledger of a training run: {reason}; restore it from a copy")]
    BadLedger {
        /// The file.
        ledger: Arc<str>,
        /// What is wrong.
        reason: String,
    },
}

fn listed(differences: &[EnvironmentDifference]) -> String {
    let texts: Vec<String> = differences.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

impl JournalError {
    /// Returns the stable code, such as `E065`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "E060",
            Self::Io { .. } => "E061",
            Self::NotAJournal { .. } => "E062",
            Self::NewerFormat { .. } => "E063",
            Self::Corrupt { .. } => "E064",
            Self::Torn { .. } | Self::AppendToTorn { .. } => "E065",
            Self::Malformed { .. } => "E066",
            Self::OutOfSequence { .. } => "E067",
            Self::DigestMismatch { .. } => "E068",
            Self::Limit { .. } => "E069",
            Self::WouldOverwrite { .. } => "E070",
            Self::MissingTensor { .. } => "E071",
            Self::Absent { .. } => "E072",
            Self::Busy { .. } => "E073",
            Self::OtherHead { .. } => "E074",
            Self::BadLedger { .. } => "E078",
            Self::OtherExchanges { .. } => "E086",
            Self::RanksParted(_) => "E130",
            Self::OtherSegment { .. } => "E136",
            Self::BadIndex { .. } => "E141",
        }
    }

    /// Returns whether a journal ends early, so that all that is there of it is good.
    pub const fn is_torn(&self) -> bool {
        matches!(self, Self::Torn { .. })
    }

    /// Returns who is at fault: the party that the code names; but the environment where the system
    /// refused to read or write a file, and the caller where a name is not that of a file.
    pub fn at_fault(&self) -> AtFault {
        match self.is_refusal() {
            Some(true) => AtFault::Environment,
            Some(false) => AtFault::Misuse,
            None => {
                let mut codes = crate::codes();
                let known = codes.find(|known| known.code == self.code());
                known.map_or(AtFault::Misuse, |known| known.at_fault)
            }
        }
    }

    /// Whether the system did not let a journal be read, or written; nothing of what is wrong with
    /// one that is.
    fn is_refusal(&self) -> Option<bool> {
        match self {
            // A folder that is to be read is the wrong name; one that is to be written is in the
            // way.
            Self::Io {
                doing: FileAction::Open | FileAction::Read,
                kind,
                ..
            } => Some(is_refusal(*kind)),
            Self::Io { .. } => Some(true),
            _ => None,
        }
    }

    pub(super) fn io(journal: &Arc<str>, doing: FileAction, error: &io::Error) -> Self {
        let (journal, kind) = (journal.clone(), error.kind());
        match (doing, kind) {
            (FileAction::Open, io::ErrorKind::NotFound) => Self::NotFound { journal },
            (FileAction::Open | FileAction::Read, io::ErrorKind::IsADirectory) => Self::Io {
                journal,
                doing,
                kind,
                reason: "it is a folder; name a journal in it".to_owned(),
            },
            _ => Self::Io {
                journal,
                doing,
                kind,
                reason: error.to_string(),
            },
        }
    }
}

/// Action on a file that the system refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FileAction {
    /// Opening it to be read.
    Open,
    /// Reading it.
    Read,
    /// Another one, as a verb, such as `write to`.
    Other(&'static str),
}

impl fmt::Display for FileAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Other(verb) => verb,
        })
    }
}

/// A place in a journal, from which errors are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) journal: &'a Arc<str>,
    pub(super) frame: u64,
    pub(super) offset: u64,
}

impl Place<'_> {
    pub(super) fn corrupt(&self, check: impl Into<String>) -> JournalError {
        JournalError::Corrupt {
            journal: Arc::clone(self.journal),
            frame: self.frame,
            offset: self.offset,
            check: check.into(),
        }
    }

    pub(super) fn malformed(&self, record: &'static str, reason: impl ToString) -> JournalError {
        JournalError::Malformed {
            journal: Arc::clone(self.journal),
            frame: self.frame,
            offset: self.offset,
            record,
            reason: reason.to_string(),
        }
    }

    pub(super) fn out_of_sequence(&self, expected: String, found: String) -> JournalError {
        JournalError::OutOfSequence {
            journal: Arc::clone(self.journal),
            frame: self.frame,
            offset: self.offset,
            expected,
            found,
        }
    }

    pub(super) fn digest(&self, subject: String, expected: Digest, found: Digest) -> JournalError {
        JournalError::DigestMismatch {
            journal: Arc::clone(self.journal),
            frame: self.frame,
            offset: self.offset,
            subject,
            expected,
            found,
        }
    }

    pub(super) fn limit(&self, subject: impl Into<String>, found: u64, limit: u64) -> JournalError {
        JournalError::Limit {
            journal: Arc::clone(self.journal),
            frame: self.frame,
            offset: self.offset,
            subject: subject.into(),
            found,
            limit,
        }
    }
}
