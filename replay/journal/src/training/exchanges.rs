//! Whether the journals of a training run have the exchanges that its ledger is of.

use std::collections::BTreeMap;
use std::path::Path;

use super::ledger::Ledger;
use super::line::ShortDigest;
use crate::check::check;
use crate::error::JournalError;

/// What the journals of a training run have of the steps in its ledger.
#[derive(Debug, Default)]
pub struct HeldExchanges {
    /// How many journals are there.
    pub journals: u64,
    /// The steps with exchanges that no journal has: a journal is gone, or was cut off.
    pub absent: Vec<u64>,
    /// What is wrong with a journal, besides that it was cut off: damage, and E086 for the first
    /// step whose exchanges are not those of the ledger.
    pub problems: Vec<JournalError>,
}

/// Reads every journal of a training run, and compares the digest of the exchanges of each step
/// with that in the ledger.
pub fn held_exchanges(ledger: &Ledger) -> HeldExchanges {
    let mut held = HeldExchanges::default();
    let mut lines = ledger.lines();
    while let Some(first) = lines.first() {
        let journal = ledger.segment(first.step);
        let is_of_it = |step| ledger.segment(step) == journal;
        let count = lines.partition_point(|line| is_of_it(line.step));
        let (segment, rest) = lines.split_at(count);
        lines = rest;
        let digests = if journal.exists() {
            held.journals += 1;
            let (digests, problem) = digests(&journal);
            held.problems
                .extend(problem.filter(|problem| !problem.is_torn()));
            digests
        } else {
            BTreeMap::new()
        };
        let exchanged = segment
            .iter()
            .filter(|line| line.exchanges != ShortDigest::default());
        let mut other = None;
        for line in exchanged {
            match digests.get(&line.step) {
                None => held.absent.push(line.step),
                Some(digest) if *digest != line.exchanges => {
                    other.get_or_insert(line.step);
                }
                Some(_) => {}
            }
        }
        held.problems
            .extend(other.map(|step| other_exchanges(&journal, step)));
    }
    held
}

/// Returns the digest of a journal up to the end of each step's last run, and what is wrong with
/// it.
fn digests(journal: &Path) -> (BTreeMap<u64, ShortDigest>, Option<JournalError>) {
    let checked = match check(journal) {
        Ok(checked) => checked,
        Err(problem) => return (BTreeMap::new(), Some(problem)),
    };
    let ended = checked.runs.into_iter().filter_map(|run| {
        let digest = run.end?.digest;
        Some((step_of(&run.name)?, digest.into()))
    });
    (ended.collect(), checked.problem)
}

/// Returns the step of a run that is called `step 12` or `step 12.1`.
fn step_of(name: &str) -> Option<u64> {
    let number = name.strip_prefix("step ")?;
    let number = number.split_once('.').map_or(number, |(step, _)| step);
    number.parse().ok()
}

fn other_exchanges(journal: &Path, step: u64) -> JournalError {
    JournalError::OtherExchanges {
        journal: journal.display().to_string().into(),
        step,
    }
}
