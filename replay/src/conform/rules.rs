//! Where Interloom differs from the reference on purpose.
//!
//! Each rule says in which aspects it makes a difference, and recasts the scenario into one with which Interloom does what
//! the reference did. The recast is run: the rule accounts for a difference if that leaves nothing of it, and makes none
//! that was not there, in all the aspects that the rule is about. So it is what happened that decides, not the name of a
//! scenario nor which steps are there, and a wrong value, a mark, a save, a request too many or too few stays a difference.
//! A difference that no rule accounts for is a defect of one side.
//!
//! What remains wide: errors are compared by kind, and by the site that a message about order names, but not by
//! wording; and where two rules account for an aspect only together, how many requests each of them adds is not looked at.
//! R63 (a run in which a mediator was served nothing fails) is never compared: the reference has no such rule, and all
//! invokes of scenarios are declared optional.

use interloom_engine::Event;

use super::compare::{self, Aspect, Difference, Expected, Performed};
use super::purposes::{ALL, PURPOSES};
use super::recast::Recast;
use super::run::Served;
use super::scenario::Scenario;

/// A rule of the behaviour, and why the recording differs from it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rule {
    /// Its number.
    pub rule: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// What a rule can look at.
pub(super) struct Case<'c> {
    pub(super) scenario: &'c Scenario,
    pub(super) own: &'c Performed,
    pub(super) expected: &'c Expected,
    pub(super) differences: &'c [Difference],
    /// Runs a recast, if it can be run.
    pub(super) redo: &'c dyn Fn(&Recast) -> Option<Performed>,
}

/// Returns the rules that account for all differences together, or nothing.
///
/// Each aspect is accounted for by one rule or by two that both have to do with it.
pub(super) fn explain(case: &Case<'_>) -> Option<Vec<Rule>> {
    let candidates: Vec<&Purpose> = PURPOSES
        .iter()
        .filter(|purpose| purpose.versions.contains(&case.expected.version))
        .filter(|purpose| case.differs_in(purpose.aspects))
        .filter(|purpose| (purpose.applies)(case))
        .collect();
    let singles = candidates.iter().map(|&purpose| vec![purpose]);
    let pairs = candidates.iter().enumerate().flat_map(|(index, &one)| {
        let others = candidates[index + 1..].iter();
        others.map(move |&other| vec![one, other])
    });
    let mut open: Vec<Aspect> = case.differences.iter().map(|found| found.aspect).collect();
    let mut rules = Vec::new();
    for together in singles.chain(pairs) {
        let is_about = |aspect: &Aspect| together.iter().all(|one| one.aspects.contains(aspect));
        if !open.iter().any(is_about) {
            continue;
        }
        let closed = case.closed_by(&together);
        if open.iter().any(|aspect| closed.contains(aspect)) {
            open.retain(|aspect| !closed.contains(aspect));
            for Purpose { rule, reason, .. } in together {
                let rule = Rule { rule, reason };
                if !rules.contains(&rule) {
                    rules.push(rule);
                }
            }
        }
    }
    open.is_empty().then_some(rules)
}

/// A difference on purpose.
pub(super) struct Purpose {
    pub(super) rule: &'static str,
    pub(super) reason: &'static str,
    /// The versions of the reference that it is from.
    pub(super) versions: &'static [&'static str],
    /// In what it makes a difference.
    pub(super) aspects: &'static [Aspect],
    /// How the requests that are served here stand to those of the reference.
    pub(super) own: Own,
    /// Whether what happened is of the kind that the rule is about.
    pub(super) applies: fn(&Case<'_>) -> bool,
    /// Makes the scenario one with which Interloom does what the reference did.
    pub(super) recast: fn(&Case<'_>, &mut Recast),
}

/// How the requests that are served here stand to those of a recast.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Own {
    /// They are the same.
    Same,
    /// They are these and more, of this event only if there is one.
    More(Option<Event>),
    /// They are a part of these, and what is missing is of this event only if there is one.
    Less(Option<Event>),
    /// Neither.
    Other,
}

impl Case<'_> {
    fn differs_in(&self, aspects: &[Aspect]) -> bool {
        let mut differences = self.differences.iter();
        differences.any(|found| aspects.contains(&found.aspect))
    }

    /// Returns the aspects in which these rules together leave no difference; none if they make one.
    fn closed_by(&self, together: &[&Purpose]) -> Vec<Aspect> {
        let mut recast = Recast::of(self.scenario);
        for purpose in together {
            (purpose.recast)(self, &mut recast);
        }
        let Some(mut again) = (self.redo)(&recast) else {
            return Vec::new();
        };
        again.ended_with = recast.ends_with;
        for touch in &recast.touches {
            touch(self.own, &mut again);
        }
        if let [one] = together
            && !one.own.holds(&served(self.own), &served(&again))
        {
            return Vec::new();
        }
        let left = compare::compare(&again, self.expected);
        let is_left = |aspect: &Aspect| left.iter().any(|found| found.aspect == *aspect);
        let aspects = ALL.iter().copied();
        let aspects =
            aspects.filter(|aspect| together.iter().all(|one| one.aspects.contains(aspect)));
        let (left, closed): (Vec<_>, Vec<_>) = aspects.partition(is_left);
        match left.iter().all(|aspect| self.differs_in(&[*aspect])) {
            true => closed,
            false => Vec::new(),
        }
    }
}

impl Own {
    fn holds(self, own: &[&Served], again: &[&Served]) -> bool {
        match self {
            Self::Same => own == again,
            Self::More(event) => is_beside(again, own, event),
            Self::Less(event) => is_beside(own, again, event),
            Self::Other => true,
        }
    }
}

fn served(performed: &Performed) -> Vec<&Served> {
    let runs = performed.traces.iter();
    runs.flat_map(|run| &run.served).collect()
}

/// Returns whether `all` is `part` in the same order with others between, all of them of `event` if there is one.
fn is_beside(part: &[&Served], all: &[&Served], event: Option<Event>) -> bool {
    let mut part = part.iter().peekable();
    let beside = all
        .iter()
        .filter(|served| part.next_if_eq(served).is_none());
    let is_allowed = beside.fold(true, |is_allowed, (_, found, _)| {
        is_allowed && event.is_none_or(|event| event == *found)
    });
    is_allowed && part.next().is_none()
}
