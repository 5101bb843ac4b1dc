//! Whether the journals of a training run have the exchanges that its ledger is of.

use std::collections::BTreeMap;
use std::path::Path;

use super::alone::StepDigest;
use super::keep::{KeepRule, StepKeeps};
use super::ledger::Ledger;
use super::line::{ShortDigest, StepLine};
use super::segments::SegmentIndex;
use crate::check::{Check, check_reader};
use crate::error::JournalError;
use crate::read::JournalReader;
use crate::record::Record;

/// What the journals of a training run have of the steps in its ledger.
#[derive(Debug, Default)]
pub struct HeldExchanges {
    /// How many journals are there.
    pub journals: u64,
    /// The steps with exchanges that should be in a journal, and are in none.
    pub absent: Vec<u64>,
    /// What is wrong with the index of the journals (E141), or with a journal, besides that it was
    /// not finished: damage, E136 if it is not the one that the index has, and E086 for the first
    /// step whose exchanges are not those of the ledger.
    pub problems: Vec<JournalError>,
}

/// Reads every journal of a training run, and compares it with the index of the journals, and the
/// digest of the exchanges of each step with that in the ledger.
pub fn held_exchanges(ledger: &Ledger) -> HeldExchanges {
    let mut held = HeldExchanges::default();
    let index = SegmentIndex::read(ledger).unwrap_or_else(|problem| {
        held.problems.push(problem);
        SegmentIndex::default()
    });
    for (steps, journal) in ledger.segments() {
        let listed = index.of_step(steps.start);
        let lines = &ledger.lines()[steps.start as usize..steps.end as usize];
        let read = journal.exists().then(|| StepJournal::read(&journal));
        held.journals += u64::from(read.is_some());
        let (read, damage) = match read {
            Some(Ok(read)) => {
                let damage = read.check.problem.clone();
                (read, damage)
            }
            Some(Err(error)) => (StepJournal::default(), Some(error)),
            None => (StepJournal::default(), None),
        };
        let mut other = None;
        for line in lines.iter().filter(|line| is_kept(line, ledger)) {
            match read.steps.get(&line.step) {
                None => {
                    held.absent.push(line.step);
                    // A journal that is finished has what it was to have.
                    let is_other = read.check.is_complete && listed.is_none();
                    other = other.or(is_other.then_some(line.step));
                }
                Some(digest) if *digest != line.exchanges => {
                    other.get_or_insert(line.step);
                }
                Some(_) => {}
            }
        }
        let of_index = listed.and_then(|segment| {
            let problem = segment.check_size(ledger).err();
            problem.or_else(|| segment.check_read(&journal, &read).err())
        });
        // A journal that is not finished is one that a killed process left, unless it once was.
        let damage = damage.filter(|problem| !problem.is_torn());
        let other = other.map(|step| other_exchanges(&journal, step));
        held.problems.extend(other.or(damage).or(of_index));
    }
    held
}

/// Checks that a journal has the exchanges of a step that the ledger has.
///
/// # Errors
/// E136 if the journal is not the one that the index has, E086 if it has other exchanges of the
/// step; those of [`JournalReader::open`].
pub fn check_step_exchanges(ledger: &Ledger, step: u64) -> Result<(), JournalError> {
    let line = ledger.line(step)?;
    // A damaged index says nothing, and the ledger decides.
    let index = SegmentIndex::read(ledger).unwrap_or_default();
    if let Some(segment) = index.of_step(step) {
        segment.check_size(ledger)?;
    }
    let journal = ledger.segment(step);
    let read = StepJournal::read(&journal)?;
    match read.steps.get(&step) {
        Some(digest) if *digest != line.exchanges => Err(other_exchanges(&journal, step)),
        None if is_kept(line, ledger) => match index.of_step(step) {
            Some(segment) => segment.check_read(&journal, &read),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// A journal of a training run that was read to its end.
pub(super) struct StepJournal {
    pub(super) check: Check,
    /// The digest of the exchanges of each step, up to the end of its last run.
    steps: BTreeMap<u64, ShortDigest>,
}

impl StepJournal {
    pub(super) fn read(journal: &Path) -> Result<Self, JournalError> {
        let reader = JournalReader::open(journal)?;
        let mut steps = Steps::default();
        let name = journal.display().to_string();
        let check = check_reader(reader, &name, &mut |record| steps.see(record));
        Ok(Self {
            check,
            steps: steps.digests,
        })
    }
}

impl Default for StepJournal {
    fn default() -> Self {
        Self {
            check: Check::nothing(),
            steps: BTreeMap::new(),
        }
    }
}

/// Returns whether a journal has the exchanges of each of some steps, as the ledger has them.
pub(super) fn is_held(lines: &[StepLine], read: &StepJournal, ledger: &Ledger) -> bool {
    let mut kept = lines.iter().filter(|line| is_kept(line, ledger));
    kept.all(|line| read.steps.get(&line.step) == Some(&line.exchanges))
}

/// Returns whether the journals are to have something of a step.
fn is_kept(line: &StepLine, ledger: &Ledger) -> bool {
    line.exchanges != ShortDigest::default()
        && KeepRule::of_step(&ledger.head().keeps, line.step) != StepKeeps::Nothing
}

/// The digests of the steps of a journal, as it is read.
#[derive(Default)]
struct Steps {
    paths: Vec<String>,
    /// The step whose runs are read.
    current: Option<(u64, StepDigest)>,
    digests: BTreeMap<u64, ShortDigest>,
}

impl Steps {
    fn see(&mut self, record: Record) {
        match record {
            Record::Path(path) => self.paths.push(path.text),
            Record::RunStart(start) => {
                let step = step_of(&start.name);
                if self.current.as_ref().map(|(step, _)| *step) != step {
                    self.current = step.map(|step| (step, StepDigest::default()));
                }
                self.with(|digest, _| digest.start_run(&start));
            }
            Record::Exchange(exchange) => {
                self.with(|digest, paths| digest.exchange(exchange, paths));
            }
            Record::Open(open) => self.with(|digest, paths| digest.open_request(open, paths)),
            Record::Visit(visit) => self.with(|digest, paths| digest.visit(&visit, paths)),
            Record::CacheDeclaration(cache) => {
                self.with(|digest, _| digest.cache_declaration(&cache));
            }
            Record::Padding(padding) => self.with(|digest, _| digest.padding(&padding)),
            Record::RunEnd(end) => {
                if let Some((step, digest)) = &mut self.current {
                    self.digests.insert(*step, digest.end_run(&end).into());
                }
            }
            _ => {}
        }
    }

    fn with(&mut self, take: impl FnOnce(&mut StepDigest, &[String])) {
        if let Some((_, digest)) = &mut self.current {
            take(digest, &self.paths);
        }
    }
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
