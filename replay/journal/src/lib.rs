//! The journal of a run: every exchange, as plain data in an append-only file.
//!
//! A journal is written by a [`JournalWriter`] while a model runs, and read back by a
//! [`JournalReader`] (one record after another) or a [`Journal`] (all of it). Nothing here knows
//! a tensor library: records are plain data, so that a journal can be read where none is present.
//! `docs/FORMAT.md` describes the file byte by byte.
//!
//! The first difference between a journal and another run, or another journal, is a
//! [`divergence`].
//!
//! ```
//! use interloom_journal::{
//!     Experiment, Head, Journal, JournalReader, JournalWriter, OutcomeRecord, RunStart,
//! };
//! # fn main() -> Result<(), interloom_journal::JournalError> {
//! let head = Head::new(Experiment::default());
//! let mut bytes = Vec::new();
//! let mut writer = JournalWriter::new(&mut bytes, "memory", &head)?;
//! writer.start_run(&RunStart {
//!     run: 0,
//!     name: "forward".into(),
//!     mediators: vec![],
//!     scheduler: "in order".into(),
//!     declared: Default::default(),
//!     keeps: Vec::new(),
//! })?;
//! writer.end_run(OutcomeRecord::default())?;
//! writer.finish()?;
//!
//! let (journal, error) = Journal::read_prefix(JournalReader::new(&bytes[..], "memory")?);
//! assert_eq!(error, None);
//! assert_eq!(journal.runs[0].start.name, "forward");
//! # Ok(())
//! # }
//! ```
//!
//! # What is checked
//! Any single damaged bit is noticed, and so is a frame that is missing, repeated, out of order or
//! from a journal with another head. A journal that was cut is read up to its last good frame.

#![forbid(unsafe_code)]
#![warn(clippy::exit, clippy::print_stderr, clippy::print_stdout)]

mod argument;
mod backward;
mod blocks;
mod cached;
mod chain;
mod check;
mod codes;
mod create;
mod digest;
pub mod divergence;
mod element;
mod error;
mod evidence;
mod exchange;
pub mod export;
mod fault;
pub mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod index;
mod load;
mod model_side;
mod names;
mod order;
mod pack;
mod padded;
mod particulars;
mod passage;
mod pattern;
mod places;
mod policy;
pub mod provenance;
mod races;
mod read;
mod reason;
mod record;
mod recover;
mod resume;
mod same_file;
#[cfg(test)]
mod samples;
mod sink;
mod sites;
mod skim;
mod start;
#[cfg(test)]
mod tests;
pub mod training;
mod unfinished;
mod value;
mod visit;
mod wire;
mod write;

pub use argument::Argument;
pub use cached::CachedLine;
pub use check::{Check, CheckedRun, check};
pub use digest::{DType, Digest};
pub(crate) use element::{bits, f16_value};
pub use error::{FileAction, JournalError};
pub use evidence::Evidence;
pub use index::{Direction, IndexedJournal, IndexedPass, IndexedRun, is_at, site_of};
pub use load::{Journal, RunPosition, RunRecord};
pub(crate) use names::value_json;
pub use names::{Names, count, plain};
pub use policy::Policy;
pub use races::{RunRaces, races};
pub use read::{Followed, Frame, FrameInfo, JournalReader, find_tensor};
pub use reason::{Reason, is_refusal};
pub use record::{
    BackwardTurn, BarrierLine, Brought, Build, CacheDeclaration, Declared, Event, ExchangeRecord,
    ExchangeResult, Experiment, FORMAT_NAME, FailureLine, Footer, Head, MediatorLine,
    ModelIdentity, NoteRecord, OriginRecord, OutcomeRecord, PaddingRecord, PassageRecord,
    PassedCallRecord, PassingRecord, PathLine, Record, RunEndRecord, RunStart, SiteRef, SourceLine,
    TensorRecord, Tick, Visit,
};
pub use recover::{Recovery, RecoveryTarget, recover};
pub use resume::{Loss, OpenRun, Resumed};
pub use same_file::check_is_another;
pub use sink::Sink;
pub use sites::{BatchedTensors, PositionLine, RowLine, SiteTable, Tokens};
pub use skim::Skim;
pub use unfinished::Unfinished;
pub use value::{TensorLine, VALUE_DEPTH_MAX, ValueTree};
pub use wire::{TENSOR_FIXED_BYTES, TENSOR_RANK_MAX};
pub use write::{JournalSummary, JournalWriter};

/// Iterates over every error code of this room, in order.
pub fn codes() -> impl Iterator<Item = &'static interloom_engine::Code> {
    codes::CODES.iter().chain(divergence::CODES)
}
