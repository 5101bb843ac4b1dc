//! What the journals of a training run keep, by step and by site.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::{Bound, RangeBounds};

use serde::{Deserialize, Serialize};

/// A rule of what the journals of a training run keep: in which steps, at which sites, how much.
///
/// Rules hold in their order: of a step and a site the last rule speaks that is of both. Where none
/// is, the [`Policy`](crate::Policy) of the run decides. The line of a step in the ledger, with the
/// digest of all its exchanges, is the same under every rule.
///
/// A pattern names points such as `blocks.1.attn.output`. A `*` stands for any text; a pattern that
/// ends before a dot has all that is inside: `blocks.1.attn` has inputs, outputs and gradients of
/// the module and of its parts.
///
/// ```
/// use interloom_journal::training::{KeepRule, StepKeeps};
///
/// let rules = [
///     KeepRule::nothing(),
///     KeepRule::digests().every(10),
///     KeepRule::tensors_at(["blocks.*.attn.output"]).steps(100..=120),
/// ];
/// assert_eq!(KeepRule::of_step(&rules, 7), StepKeeps::Nothing);
/// assert_eq!(KeepRule::of_step(&rules, 30), StepKeeps::Exchanges(vec!["!*".to_owned()]));
/// let both = ["!*", "blocks.*.attn.output"].map(str::to_owned);
/// assert_eq!(KeepRule::of_step(&rules, 110), StepKeeps::Exchanges(both.into()));
/// ```
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct KeepRule {
    from: u64,
    until: Option<u64>,
    every: NonZeroU64,
    keeps: Kept,
}

#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kept {
    Nothing,
    Digests(Vec<String>),
    Tensors(Vec<String>),
}

/// What the journal of a step keeps of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StepKeeps {
    /// Nothing: the step has its line in the ledger alone.
    Nothing,
    /// Its exchanges, and their tensors as these patterns say, see
    /// [`RunStart::keeps`](crate::RunStart::keeps).
    Exchanges(Vec<String>),
}

const EVERYWHERE: &str = "*";

impl KeepRule {
    /// Keeps nothing of a step beyond its line in the ledger. It is of all sites: a run without
    /// some of its exchanges would be none.
    pub const fn nothing() -> Self {
        Self::new(Kept::Nothing)
    }

    /// Keeps exchanges, with the digests of their tensors.
    pub fn digests() -> Self {
        Self::digests_at([EVERYWHERE])
    }

    /// Keeps exchanges with the digests of their tensors, at the points that these patterns name.
    pub fn digests_at(patterns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::new(Kept::Digests(texts(patterns)))
    }

    /// Keeps exchanges with their tensors.
    pub fn tensors() -> Self {
        Self::tensors_at([EVERYWHERE])
    }

    /// Keeps exchanges with their tensors, at the points that these patterns name.
    pub fn tensors_at(patterns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::new(Kept::Tensors(texts(patterns)))
    }

    const fn new(keeps: Kept) -> Self {
        Self {
            from: 0,
            until: None,
            every: NonZeroU64::MIN,
            keeps,
        }
    }

    /// Holds for each step whose number is a multiple of `every`; of all for 0 or 1.
    #[must_use]
    pub const fn every(mut self, every: u64) -> Self {
        self.every = match NonZeroU64::new(every) {
            Some(every) => every,
            None => NonZeroU64::MIN,
        };
        self
    }

    /// Holds for these steps, such as `100..200`.
    #[must_use]
    pub fn steps(mut self, steps: impl RangeBounds<u64>) -> Self {
        self.from = match steps.start_bound() {
            Bound::Included(first) => *first,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        self.until = match steps.end_bound() {
            Bound::Included(last) => last.checked_add(1),
            Bound::Excluded(end) => Some(*end),
            Bound::Unbounded => None,
        };
        self
    }

    /// Returns what some rules keep of a step.
    pub fn of_step(rules: &[Self], step: u64) -> StepKeeps {
        let mut keeps = StepKeeps::Exchanges(Vec::new());
        for rule in rules.iter().filter(|rule| rule.is_of(step)) {
            keeps = keeps.with(&rule.keeps);
        }
        keeps
    }

    fn is_of(&self, step: u64) -> bool {
        let is_before_end = self.until.is_none_or(|until| step < until);
        step >= self.from && is_before_end && step.is_multiple_of(self.every.get())
    }
}

/// `tensors at blocks.*, steps 100 to 119, every 10th`.
impl fmt::Display for KeepRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, patterns) = match &self.keeps {
            Kept::Nothing => return write!(f, "nothing{}", self.of_which()),
            Kept::Digests(patterns) => ("digests", patterns),
            Kept::Tensors(patterns) => ("tensors", patterns),
        };
        write!(f, "{what} at {}{}", patterns.join(" and "), self.of_which())
    }
}

impl KeepRule {
    fn of_which(&self) -> String {
        let steps = match (self.from, self.until) {
            (0, None) => String::new(),
            (from, None) => format!(", steps from {from}"),
            (from, Some(until)) => format!(", steps {from} to {}", until.saturating_sub(1)),
        };
        match self.every.get() {
            1 => steps,
            every => format!("{steps}, every {every}th"),
        }
    }
}

impl StepKeeps {
    fn with(self, rule: &Kept) -> Self {
        let (sign, patterns) = match rule {
            Kept::Nothing => return Self::Nothing,
            Kept::Digests(patterns) => ("!", patterns),
            Kept::Tensors(patterns) => ("", patterns),
        };
        let mut all = match self {
            Self::Exchanges(earlier) if !patterns.iter().any(|it| it == EVERYWHERE) => earlier,
            _ => Vec::new(),
        };
        all.extend(patterns.iter().map(|pattern| format!("{sign}{pattern}")));
        Self::Exchanges(all)
    }
}

fn texts(patterns: impl IntoIterator<Item = impl Into<String>>) -> Vec<String> {
    patterns.into_iter().map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_of_a_step_decides() {
        let of = |rules: &[KeepRule], step| KeepRule::of_step(rules, step);
        let as_policy = StepKeeps::Exchanges(Vec::new());
        assert_eq!(of(&[], 3), as_policy);
        let rules = [
            KeepRule::tensors(),
            KeepRule::nothing().steps(5..8),
            KeepRule::digests_at(["a", "b"]).steps(7..),
        ];
        let patterns = |all: &[&str]| StepKeeps::Exchanges(texts(all.iter().copied()));
        assert_eq!(of(&rules, 4), patterns(&["*"]));
        assert_eq!(of(&rules, 5), StepKeeps::Nothing);
        assert_eq!(of(&rules, 7), patterns(&["!a", "!b"]));
        assert_eq!(of(&rules, 8), patterns(&["*", "!a", "!b"]));
        let sampled = [
            KeepRule::nothing(),
            KeepRule::digests().every(4).steps(2..=8),
        ];
        let kept = |step| of(&sampled, step) != StepKeeps::Nothing;
        assert_eq!(
            (0..13).filter(|step| kept(*step)).collect::<Vec<_>>(),
            [4, 8]
        );
        assert_eq!(of(&[KeepRule::nothing().every(0)], 3), StepKeeps::Nothing);
        assert_eq!(
            sampled[1].to_string(),
            "digests at *, steps 2 to 8, every 4th"
        );
        assert_eq!(rules[1].to_string(), "nothing, steps 5 to 7");
    }
}
