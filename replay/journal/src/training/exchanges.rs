//! Whether the journals of a training run have the exchanges that its ledger is of.

use std::collections::BTreeMap;
use std::ops::Range;
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
        let read = journal
            .exists()
            .then(|| StepJournal::read(&journal, ledger, steps.clone()));
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
        // A journal of other steps, or of another training run from its first step on, has none.
        let is_of_steps = listed.is_none() || lines.iter().any(|line| read.has(line));
        for line in lines.iter().filter(|line| is_kept(line, ledger)) {
            match read.steps.get(&line.step).filter(|_| is_of_steps) {
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
    let read = StepJournal::read(&journal, ledger, ledger.segment_steps(step))?;
    let digest = read.steps.get(&step);
    if !is_kept(line, ledger) || digest == Some(&line.exchanges) {
        return Ok(());
    }
    if let Some(segment) = index.of_step(step) {
        segment.check_read(&journal, &read)?;
    }
    match digest {
        Some(_) => Err(other_exchanges(&journal, step)),
        None => Ok(()),
    }
}

/// Returns the numbers that the runs of a step have in its journal; none, if the journal is to have
/// nothing of it.
///
/// A journal has the runs of its steps one after the other, and the ledger says how many each has.
///
/// # Errors
/// E072 if the ledger does not have the step.
pub fn step_runs(ledger: &Ledger, step: u64) -> Result<Range<u32>, JournalError> {
    let line = ledger.line(step)?;
    let before = kept_lines(ledger, ledger.segment_steps(step).start..step);
    let first = before.fold(0u32, |sum, line| sum.saturating_add(line.runs));
    let runs = if is_kept(line, ledger) { line.runs } else { 0 };
    Ok(first..first.saturating_add(runs))
}

/// A journal of a training run that was read to its end.
pub(super) struct StepJournal {
    pub(super) check: Check,
    /// The digest of the exchanges of each step all of whose runs are there.
    steps: BTreeMap<u64, ShortDigest>,
}

impl StepJournal {
    /// Reads the journal of some steps of a ledger.
    pub(super) fn read(
        journal: &Path,
        ledger: &Ledger,
        steps: Range<u64>,
    ) -> Result<Self, JournalError> {
        let reader = JournalReader::open(journal)?;
        let mut steps = Steps::of(ledger, steps);
        let name = journal.display().to_string();
        let check = check_reader(reader, &name, &mut |record| steps.see(record));
        Ok(Self {
            check,
            steps: steps.digests,
        })
    }

    /// Returns whether it has the exchanges of a step as the ledger has them.
    fn has(&self, line: &StepLine) -> bool {
        self.steps.get(&line.step) == Some(&line.exchanges)
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
    kept.all(|line| read.has(line))
}

/// Returns the lines of those of some steps whose runs are in the journal, in order.
fn kept_lines(ledger: &Ledger, steps: Range<u64>) -> impl Iterator<Item = &StepLine> {
    let lines = &ledger.lines()[steps.start as usize..steps.end as usize];
    lines.iter().filter(|line| is_kept(line, ledger))
}

/// Returns whether the journals are to have something of a step.
fn is_kept(line: &StepLine, ledger: &Ledger) -> bool {
    line.runs > 0 && KeepRule::of_step(&ledger.head().keeps, line.step) != StepKeeps::Nothing
}

/// The digests of the steps of a journal, as it is read.
struct Steps<'l> {
    paths: Vec<String>,
    /// The lines of the steps whose runs come next.
    coming: Box<dyn Iterator<Item = &'l StepLine> + 'l>,
    /// The step whose runs are read.
    current: Option<(&'l StepLine, StepDigest)>,
    digests: BTreeMap<u64, ShortDigest>,
}

impl<'l> Steps<'l> {
    fn of(ledger: &'l Ledger, steps: Range<u64>) -> Self {
        Self {
            paths: Vec::new(),
            coming: Box::new(kept_lines(ledger, steps)),
            current: None,
            digests: BTreeMap::new(),
        }
    }

    fn see(&mut self, record: Record) {
        match record {
            Record::Path(path) => self.paths.push(path.text),
            Record::RunStart(start) => {
                let begun = self.current.take();
                let next = || Some((self.coming.next()?, StepDigest::default()));
                self.current = begun.or_else(next);
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
                if let Some((line, mut digest)) = self.current.take() {
                    let ended = digest.end_run(&end);
                    if digest.runs() == line.runs {
                        self.digests.insert(line.step, ended.into());
                    } else {
                        self.current = Some((line, digest));
                    }
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

fn other_exchanges(journal: &Path, step: u64) -> JournalError {
    JournalError::OtherExchanges {
        journal: journal.display().to_string().into(),
        step,
    }
}
