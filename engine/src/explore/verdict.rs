//! The verdict of an exploration: whether the order of the mediators makes a difference.

use std::fmt;

use crate::scheduler::Schedule;

/// The outcomes that an exploration found, and how much of it is proof.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Verdict<O> {
    /// The outcomes, each with a schedule that leads to it; the first is that of the first run,
    /// which is in definition order unless it was sampled.
    pub classes: Vec<Class<O>>,
    /// How many runs were made.
    pub runs: u64,
    /// How many of them turned out to be like earlier ones, but for the order of turns that
    /// commute.
    pub redundant: u64,
    /// How many choices were left out, each with all runs behind it, because they lead to what
    /// others led to.
    pub pruned: u64,
    /// How many further runs are known to be needed.
    pub pending: u64,
    /// Whether nothing was left to try.
    pub is_complete: bool,
}

/// An outcome, and how to get it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Class<O> {
    /// The outcome.
    pub outcome: O,
    /// The first schedule that led to it.
    pub witness: Schedule,
    /// How many of the runs had it.
    pub runs: u64,
}

/// The answer to the question whether the order makes a difference.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OrderDependence {
    /// It makes none: every order that could make one was tried.
    Independent,
    /// It makes one.
    Dependent,
    /// No difference was found, and not all was tried; which is no proof.
    Unknown,
}

impl<O> Verdict<O> {
    /// Returns the answer.
    pub fn conclusion(&self) -> OrderDependence {
        match self.classes.len() {
            2.. => OrderDependence::Dependent,
            _ if self.is_complete => OrderDependence::Independent,
            _ => OrderDependence::Unknown,
        }
    }

    /// Says how many schedules were run and how many choices were pruned, for a report.
    pub fn effort(&self) -> String {
        format!(
            "{} run, {} pruned",
            many(self.runs, "schedule"),
            many(self.pruned, "choice")
        )
    }
}

impl<O: fmt::Display> Verdict<O> {
    /// Writes out what it took, and the outcomes, one line each, with their schedules.
    pub fn report(&self) -> String {
        let mut report = format!("{self}\n  {}", self.effort());
        for (
            number,
            Class {
                outcome,
                witness,
                runs,
            },
        ) in self.classes.iter().enumerate()
        {
            report += &format!(
                "\n  {}. {outcome}, in {}: {witness}",
                number + 1,
                many(*runs, "run")
            );
        }
        report
    }
}

impl<O> fmt::Display for Verdict<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = many(self.runs, "schedule");
        match self.conclusion() {
            OrderDependence::Independent if self.runs == 1 => {
                write!(f, "order-independent: {runs} covers all")
            }
            OrderDependence::Independent => write!(f, "order-independent: {runs} cover all"),
            OrderDependence::Dependent => {
                let outcomes = self.classes.len();
                match self.is_complete {
                    true => write!(
                        f,
                        "order-dependent: {outcomes} outcomes of {runs}, which cover all"
                    ),
                    false => write!(
                        f,
                        "order-dependent: {outcomes} outcomes of {runs}, and not all were tried"
                    ),
                }
            }
            OrderDependence::Unknown => {
                let (tried, least) = (self.runs, self.runs + self.pending.max(1));
                write!(
                    f,
                    "no difference found in {tried} of at least {least} schedules, which proves nothing"
                )
            }
        }
    }
}

fn many(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}
