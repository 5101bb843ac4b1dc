//! The ranks of one training run: replicas of a model, each with a share of the data and a ledger
//! of its own.

use std::path::Path;

use super::ledger::Ledger;
use super::line::{StepLine, StepPhase};
use super::parting::differing_names;
use crate::error::JournalError;

/// The ledgers of the ranks of one training run, by rank.
///
/// In each step the ranks compute gradients of different items, and then update their replicas with
/// the same ones. So what must be equal in all of them is the schedule, the gradients of
/// parameters, the optimizer's state and the parameters.
#[derive(Debug)]
pub struct Ranks {
    ledgers: Vec<Ledger>,
}

/// The first place in which a rank is not the replica of rank 0 that it should be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RankDrift {
    /// The step.
    pub step: u64,
    /// The rank, above 0.
    pub rank: usize,
    /// The first of the phases that must be equal and is not.
    pub phase: StepPhase,
    /// What of the phase differs, by name, where both ledgers keep names for this step.
    pub names: Vec<String>,
}

/// What replicas have in common.
const COMMON: [StepPhase; 4] = [
    StepPhase::Schedule,
    StepPhase::Gradients,
    StepPhase::Optimizer,
    StepPhase::Parameters,
];

impl Ranks {
    /// Reads the ledgers in the folders of the ranks, from rank 0 on.
    ///
    /// # Errors
    /// As for [`Ledger::read`].
    pub fn read<P: AsRef<Path>>(
        folders: impl IntoIterator<Item = P>,
    ) -> Result<Self, JournalError> {
        let ledgers = folders.into_iter().map(Ledger::read);
        Ok(Self {
            ledgers: ledgers.collect::<Result<_, _>>()?,
        })
    }

    /// Returns the ledgers, by rank.
    pub fn ledgers(&self) -> &[Ledger] {
        &self.ledgers
    }

    /// Returns how many steps all ranks have made.
    pub fn steps(&self) -> u64 {
        let steps = self.ledgers.iter().map(|ledger| ledger.lines().len());
        steps.min().unwrap_or(0) as u64
    }

    /// Returns the lines that all ranks have made, by (step, rank).
    pub fn lines(&self) -> impl Iterator<Item = (usize, &StepLine)> {
        (0..self.steps()).flat_map(|step| {
            let ledgers = self.ledgers.iter().enumerate();
            ledgers.map(move |(rank, ledger)| (rank, &ledger.lines()[step as usize]))
        })
    }

    /// Returns where a rank first drifts from rank 0; nothing if none does.
    ///
    /// # Errors
    /// E078 if a file of names is damaged or gone.
    pub fn first_drift(&self) -> Result<Option<RankDrift>, JournalError> {
        let Some((first, _)) = self.ledgers.split_first() else {
            return Ok(None);
        };
        let drift = self.lines().find_map(|(rank, line)| {
            let of_first = &first.lines()[line.step as usize];
            let mut differences = of_first.differences(line);
            let phase = differences.find(|phase| COMMON.contains(phase))?;
            Some((line.step, rank, phase))
        });
        let Some((step, rank, phase)) = drift else {
            return Ok(None);
        };
        let names = match (first.names(step)?, self.ledgers[rank].names(step)?) {
            (Some(a), Some(b)) => differing_names(&a, &b, phase),
            _ => Vec::new(),
        };
        Ok(Some(RankDrift {
            step,
            rank,
            phase,
            names,
        }))
    }

    /// Checks that every rank is the replica of rank 0 that it should be.
    ///
    /// # Errors
    /// E130 if one is not, with step, rank, phase and names; E078 as for
    /// [`first_drift`](Self::first_drift).
    pub fn check(&self) -> Result<(), JournalError> {
        match self.first_drift()? {
            None => Ok(()),
            Some(drift) => Err(JournalError::RanksParted(Box::new(drift))),
        }
    }
}

/// The place, then the names: `step 7, rank 1, gradients of parameters: `net.weight``.
impl std::fmt::Display for RankDrift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            step, rank, phase, ..
        } = self;
        write!(f, "step {step}, rank {rank}, {phase}")?;
        for (number, name) in self.names.iter().take(NAMES_MAX).enumerate() {
            let before = if number == 0 { ": " } else { ", " };
            write!(f, "{before}`{name}`")?;
        }
        match self.names.len().saturating_sub(NAMES_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// How many names a message lists.
const NAMES_MAX: usize = 3;
