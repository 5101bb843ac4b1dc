//! The journal of a run: every exchange, as plain data in an append-only file.
//!
//! A journal is written by a [`JournalWriter`] while a model runs, and read back by a
//! [`JournalReader`] (one record after another) or a [`Journal`] (all of it). Nothing here knows
//! the engine or a tensor library: records are plain data, so that a journal can be read where
//! neither is present. `docs/FORMAT.md` describes the file byte by byte.
//!
//! ```
//! use interloom::journal::{
//!     Experiment, Head, Journal, JournalReader, JournalWriter, Outcome, RunStart,
//! };
//! # fn main() -> Result<(), interloom::journal::JournalError> {
//! let head = Head::new(Experiment::default());
//! let mut bytes = Vec::new();
//! let mut writer = JournalWriter::new(&mut bytes, "memory", &head)?;
//! writer.start_run(&RunStart {
//!     run: 0,
//!     name: "forward".into(),
//!     mediators: vec![],
//!     scheduler: "in order".into(),
//!     declared: None,
//! })?;
//! writer.end_run(Outcome::default())?;
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

mod argument;
mod blocks;
mod cached;
mod chain;
mod check;
mod codes;
mod create;
mod digest;
mod element;
mod error;
mod evidence;
mod exchange;
pub mod export;
pub mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod index;
mod load;
mod names;
mod order;
mod pack;
mod passage;
mod places;
mod policy;
pub mod provenance;
mod quirks;
mod races;
mod read;
mod record;
mod recover;
mod resume;
mod same_file;
#[cfg(test)]
pub(crate) mod samples;
mod sink;
mod sites;
mod skim;
mod start;
#[cfg(test)]
mod tests;
mod unfinished;
mod value;
mod wire;
mod write;

pub use argument::Argument;
pub use cached::CachedLine;
pub use check::{Check, CheckedRun, check};
pub(crate) use codes::CODES;
pub use digest::{DType, Digest};
pub(crate) use element::{bits, f16_value};
pub use error::JournalError;
pub use evidence::Evidence;
pub use index::{Direction, IndexedJournal, IndexedRun, is_at};
pub use load::{Journal, Run};
pub use names::{Names, plain};
pub(crate) use names::{count, value_json};
pub use policy::Policy;
pub use quirks::{Quirk, Quirks};
pub use races::{RunRaces, races};
pub use read::{Followed, Frame, FrameInfo, JournalReader, find_tensor};
pub use record::{
    BarrierLine, Build, Declared, Event, Exchange, ExchangeResult, Experiment, FORMAT_NAME,
    FaultLine, Footer, Head, MediatorLine, ModelIdentity, Note, Origin, Outcome, Passage,
    PassedCall, Passing, PathLine, Record, RunEnd, RunStart, SiteRef, TensorRecord, Tick,
};
pub use recover::{Recovery, Target, recover};
pub use resume::{Loss, OpenRun, Resumed};
pub(crate) use same_file::check_is_another;
pub use sink::Sink;
pub use sites::{SiteTable, Tokens};
pub use skim::Skim;
pub(crate) use unfinished::Unfinished;
pub use value::{VALUE_DEPTH_MAX, ValueTree};
pub use wire::{TENSOR_FIXED_BYTES, TENSOR_RANK_MAX};
pub use write::{JournalWriter, Summary};
