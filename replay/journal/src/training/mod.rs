//! The ledger of a training run: one line for each step, chained, beside the journals of what
//! mediators exchanged in it.
//!
//! A training run is a folder:
//!
//! | file | what |
//! |---|---|
//! | `ledger.ill` | the [head](Ledger::head), then a [`StepLine`] of [`LINE_BYTES`] bytes for each step |
//! | `names.ill` | the digest of each gradient, moment and parameter, for the steps that keep it |
//! | `steps-00000100.ilj` | the journal of the steps from 100 on, an ordinary journal with the runs of each |
//! | `segments.ill` | the [index](SegmentIndex) of these journals: of which steps each is, and what it must be |
//! | `checkpoint-00000100/` | all that step 100 depends on |
//!
//! Each line has the digest of what a step was given (the items of its batch, its seed, its
//! schedule) and of what came of it (exchanges, loss, gradients, state of the optimizer,
//! parameters), and a digest of itself and of the line before. So two runs are equal up to a step
//! if the chains of this one step are, and the first step in which they differ is found by
//! [bisection](first_parting).
//!
//! ```text
//! line = step u64, seed u64, rate f64, loss f64,
//!        batch, schedule, exchanges, gradients, optimizer, parameters: 16 bytes each,
//!        runs u32, names u64, chain 32 bytes, crc32 u32
//! chain = BLAKE3("interloom step", previous chain, the bytes of the line up to `names`)
//! ```
//!
//! The digest of exchanges is that of the [step by itself](StepDigest). All numbers are
//! little-endian. The chain of the first line continues that of the head, which is
//! BLAKE3("interloom ledger", the head's bytes).

mod alone;
mod exchanges;
mod keep;
mod ledger;
mod line;
mod names;
mod page;
mod parting;
mod ranks;
mod segments;
#[cfg(test)]
mod tests;

pub use alone::StepDigest;
pub use exchanges::{HeldExchanges, check_step_exchanges, held_exchanges, step_runs};
pub use keep::{KeepRule, StepKeeps};
pub use ledger::{
    LEDGER_FILE, Ledger, LedgerHead, LedgerParent, LedgerWriter, NAMES_FILE, checkpoint_folder,
    segment_file,
};
pub use line::{LINE_BYTES, ShortDigest, StepLine, StepPhase};
pub use names::{NamedDigest, digest_of_names};
pub use page::curves_page;
pub use parting::{LedgerParting, differing_names, first_parting};
pub use ranks::{RankDrift, Ranks};
pub use segments::{SEGMENTS_FILE, Segment, SegmentIndex};
