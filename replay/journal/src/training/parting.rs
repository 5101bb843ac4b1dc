//! The first step in which two training runs differ.

use super::ledger::Ledger;
use super::line::{StepLine, StepPhase};
use super::names::NamedDigest;
use crate::error::JournalError;

/// The first difference between two training runs, as far as their ledgers have it.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerParting {
    /// The step.
    pub step: u64,
    /// The first phase of it that differs.
    pub phase: StepPhase,
    /// The gradients, moments or parameters that differ in this phase, by name, where both ledgers
    /// keep their digests for this step.
    pub names: Vec<String>,
    /// The two lines.
    pub lines: Box<(StepLine, StepLine)>,
    /// How many pairs of digests were compared to find the step.
    pub comparisons: u32,
}

/// Returns where two training runs first differ, up to the end of the shorter one; nothing if they
/// are equal as far as that goes.
///
/// The chains of two runs are equal up to the step in which they part and differ from there on. So
/// one comparison says whether they do, and log2 of the number of steps find where. Where the heads
/// differ (another seed, another build) the chains do from the beginning: then the lines are
/// compared, one after the other.
///
/// # Errors
/// E078 if a file of names is damaged or gone.
pub fn first_parting(a: &Ledger, b: &Ledger) -> Result<Option<LedgerParting>, JournalError> {
    let count = a.lines().len().min(b.lines().len());
    let (a_lines, b_lines) = (&a.lines()[..count], &b.lines()[..count]);
    let mut comparisons = 0;
    let found = if a.chain_before(0) == b.chain_before(0) {
        let mut is_equal = |step: usize| {
            comparisons += 1;
            a_lines[step].chain == b_lines[step].chain
        };
        if count == 0 || is_equal(count - 1) {
            None
        } else {
            // The last step differs; the first that does is at or before it.
            let (mut low, mut high) = (0, count - 1);
            while low < high {
                let middle = low.midpoint(high);
                if is_equal(middle) {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            Some(low)
        }
    } else {
        let mut pairs = a_lines.iter().zip(b_lines);
        let differs = |(a, b): (&StepLine, &StepLine)| {
            comparisons += 1;
            a.first_difference(b).is_some()
        };
        pairs.position(differs)
    };
    let Some(step) = found else { return Ok(None) };
    let (line_a, line_b) = (a_lines[step], b_lines[step]);
    let phase = line_a.first_difference(&line_b);
    let phase = phase.unwrap_or(StepPhase::State);
    let names = match (a.names(step as u64)?, b.names(step as u64)?) {
        (Some(a), Some(b)) => differing_names(&a, &b, phase),
        _ => Vec::new(),
    };
    Ok(Some(LedgerParting {
        step: step as u64,
        phase,
        names,
        lines: Box::new((line_a, line_b)),
        comparisons,
    }))
}

/// Returns the names of a phase whose digests differ, or that only one side has, in order.
pub fn differing_names(a: &[NamedDigest], b: &[NamedDigest], phase: StepPhase) -> Vec<String> {
    let of_phase = |part: &&NamedDigest| part.phase == phase;
    let missing = |from: &[NamedDigest], part: &NamedDigest| !from.contains(part);
    let of_a = a.iter().filter(of_phase).filter(|part| missing(b, part));
    let of_b = b.iter().filter(of_phase).filter(|part| missing(a, part));
    let mut names: Vec<String> = of_a.map(|part| part.name.clone()).collect();
    for part in of_b {
        if !names.contains(&part.name) {
            names.push(part.name.clone());
        }
    }
    names
}
