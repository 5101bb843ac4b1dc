//! Where Interloom differs from the reference on purpose.
//!
//! Each rule looks at what happened, not at the name of a scenario, and says which aspects it accounts for. A difference
//! that no rule accounts for is a defect of one side.

use super::compare::{Aspect, Difference, Expected, Performed, Relation};
use super::scenario::{RawBlock, RawIter, RawStep, Scenario};

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
}

/// Returns the rules that account for all differences together, or nothing.
pub(super) fn explain(case: &Case<'_>) -> Option<Vec<Rule>> {
    let mut rules = Vec::new();
    let mut open: Vec<Aspect> = case.differences.iter().map(|found| found.aspect).collect();
    for Purpose {
        rule,
        reason,
        applies,
        aspects,
    } in PURPOSES
    {
        if open.iter().any(|aspect| aspects.contains(aspect)) && applies(case) {
            open.retain(|aspect| !aspects.contains(aspect));
            rules.push(Rule { rule, reason });
        }
    }
    open.is_empty().then_some(rules)
}

/// A difference on purpose.
struct Purpose {
    rule: &'static str,
    reason: &'static str,
    applies: fn(&Case<'_>) -> bool,
    aspects: &'static [Aspect],
}

const ALL: &[Aspect] = &[
    Aspect::Status,
    Aspect::Error,
    Aspect::Saved,
    Aspect::Marks,
    Aspect::Caught,
    Aspect::Outputs,
    Aspect::Caches,
    Aspect::Order,
];

/// What a run shows beside its status and its errors.
const SHOWN: &[Aspect] = &[
    Aspect::Saved,
    Aspect::Marks,
    Aspect::Outputs,
    Aspect::Caches,
    Aspect::Order,
];

const PURPOSES: &[Purpose] = &[
    Purpose {
        rule: "R5",
        reason: "a run ends, whatever its mediators do; the reference hangs",
        applies: |case| case.expected.json["status"] == "hang",
        aspects: ALL,
    },
    Purpose {
        rule: "R33",
        reason: "next(n) advances the mediator's own iteration; this version of the reference has no such method",
        applies: |case| case.has_failed_with("has no attribute 'next'"),
        aspects: ALL,
    },
    Purpose {
        rule: "R70",
        reason: "a run may have a cache of its own, outside every invoke; this version of the reference refuses it",
        applies: |case| case.has_failed_with("`tracer.cache()` outside of interleaving"),
        aspects: ALL,
    },
    Purpose {
        rule: "R70",
        reason: "the iterations of a cached module become a list; this version of the reference trips over its own list",
        applies: |case| case.has_failed_with("'list' object has no attribute"),
        aspects: ALL,
    },
    Purpose {
        rule: "R70",
        reason: "a cache collects also while a child mediator is active; this version of the reference misses what is passed then",
        applies: |case| {
            let is_cache = |step: &RawStep| matches!(step, RawStep::Cache { .. });
            let is_loop = |step: &RawStep| matches!(step, RawStep::Iter { .. });
            case.has_step(is_cache) && case.has_step(is_loop)
        },
        aspects: &[Aspect::Caches],
    },
    Purpose {
        rule: "R71",
        reason: "a cache may be declared as long as its modules are still to come; this version of the reference refuses one \
                 after any request",
        applies: |case| {
            case.has_failed_with("must be declared before reading or modifying")
                && case.own.codes().next().is_none()
        },
        aspects: ALL,
    },
    Purpose {
        rule: "R34",
        reason: "an error that leaves an iteration fails the invoke; the reference lets a `try` around the loop catch it",
        applies: |case| {
            case.own.codes().next().is_some()
                && case.has_step(|step| match step {
                    RawStep::Try { body, .. } => {
                        any(body, |step| matches!(step, RawStep::Iter { .. }))
                    }
                    _ => false,
                })
        },
        aspects: ALL,
    },
    Purpose {
        rule: "R60",
        reason: "a STOP ends the run and cannot be caught; in the reference it travels as an exception",
        applies: |case| {
            case.has_step(|step| match step {
                RawStep::Try { body, .. } => any(body, |step| matches!(step, RawStep::Stop)),
                _ => false,
            })
        },
        aspects: ALL,
    },
    Purpose {
        rule: "R71",
        reason: "a cache that is declared after its module was passed is refused; this version of the reference collects less",
        applies: |case| case.is_ours("E017") && case.expected.json["status"] == "ok",
        aspects: ALL,
    },
    Purpose {
        rule: "R43",
        reason: "a barrier that too few come to fails the run; this version of the reference leaves them waiting",
        applies: |case| {
            (case.is_ours("E025") || case.is_ours("E026")) && case.expected.json["status"] == "ok"
        },
        aspects: ALL,
    },
    Purpose {
        rule: "R50",
        reason: "tensors without dimensions pass whole; the reference looks for their rows and fails",
        applies: |case| case.has_failed_with("tuple index out of range"),
        aspects: ALL,
    },
    Purpose {
        rule: "R11",
        reason: "a request that is never provided is refused and can be caught; this version of the reference changes a \
                 dictionary while it goes through it",
        applies: |case| case.has_failed_with("dictionary changed size during iteration"),
        aspects: ALL,
    },
    Purpose {
        rule: "R20",
        reason: "a skipped module is not computed, also if nothing is put out instead; this version of the reference takes \
                 that for no skip",
        applies: |case| case.has_none() && case.expected.json["status"] == "ok",
        aspects: ALL,
    },
    Purpose {
        rule: "R73",
        reason: "an edit sees the whole batch; this version of the reference gives it the rows of the first invoke",
        applies: |case| !case.scenario.edits.is_empty() && case.has_several_invokes(),
        aspects: &[Aspect::Saved, Aspect::Outputs, Aspect::Caches],
    },
    Purpose {
        rule: "R32",
        reason: "an empty slice runs nothing; this version of the reference runs it once",
        applies: |case| {
            case.has_step(|step| match step {
                RawStep::Iter {
                    iter: RawIter::Slice(start, Some(end)),
                    ..
                } => start.unwrap_or(0) >= *end,
                _ => false,
            })
        },
        aspects: &[Aspect::Saved, Aspect::Marks, Aspect::Order],
    },
    Purpose {
        rule: "R12",
        reason: "a loop whose iterations do not come any more ends, and what follows it is run; the reference ends the block",
        applies: |case| {
            case.own
                .traces
                .iter()
                .any(super::run::Trace::has_ended_loop)
                && case.stand(Relation::More, SHOWN)
        },
        aspects: SHOWN,
    },
    Purpose {
        rule: "R10",
        reason: "who catches a refusal goes on and is served later sites; the reference ends the block after the error",
        applies: |case| !case.own.results.caught().is_empty() && case.stand(Relation::More, SHOWN),
        aspects: SHOWN,
    },
    Purpose {
        rule: "R1",
        reason: "after a STOP before the model starts it does not run at all; this version of the reference runs it",
        applies: |case| {
            let is_stopped =
                |trace: &super::run::Trace| trace.outputs.is_none() && trace.error.is_none();
            case.own.traces.iter().any(is_stopped) && case.stand(Relation::Less, &[Aspect::Outputs])
        },
        aspects: &[Aspect::Outputs],
    },
    Purpose {
        rule: "R50",
        reason: "values never change; what the reference edits in place is a SWAP of a filled copy here",
        applies: |case| {
            let is_in_place = |step: &RawStep| matches!(step, RawStep::InplaceFill { .. });
            case.has_step(is_in_place) && case.stand(Relation::More, &[Aspect::Order])
        },
        aspects: &[Aspect::Order],
    },
    Purpose {
        rule: "R3",
        reason: "a write to an input is one SWAP; the reference reads the other arguments first",
        applies: |case| {
            case.has_step(is_write_to_input) && case.stand(Relation::Less, &[Aspect::Order])
        },
        aspects: &[Aspect::Order],
    },
    Purpose {
        rule: "R51",
        reason: "a swap of another shape is refused at the swap; the reference lets the model fail on it",
        applies: |case| case.is_ours("E004") && case.stand(Relation::Less, SHOWN),
        aspects: SHOWN,
    },
    Purpose {
        rule: "R62",
        reason: "a failure halts the model where it happens; the reference lets the model finish and raises afterwards",
        applies: |case| {
            case.expected.json["status"] == "error"
                && case.own.codes().next().is_some()
                && case.stand(Relation::Less, SHOWN)
        },
        aspects: SHOWN,
    },
];

impl Case<'_> {
    fn has_failed_with(&self, message: &str) -> bool {
        let found = self.expected.json["error"]["message"].as_str();
        found.is_some_and(|found| found.contains(message))
    }

    fn is_ours(&self, code: &str) -> bool {
        self.own.codes().any(|own| own == code)
    }

    /// Returns whether every difference in one of `aspects` stands in this relation to the recording.
    fn stand(&self, relation: Relation, aspects: &[Aspect]) -> bool {
        let mut differences = self.differences.iter();
        differences.all(|found| !aspects.contains(&found.aspect) || found.relation == relation)
    }

    fn has_several_invokes(&self) -> bool {
        let runs = &self.scenario.traces;
        runs.iter().any(|run| {
            run.invokes
                .as_ref()
                .is_some_and(|invokes| invokes.len() > 1)
        })
    }

    fn has_step(&self, is_it: fn(&RawStep) -> bool) -> bool {
        let runs = self.scenario.traces.iter();
        let blocks = runs.flat_map(|run| run.direct.iter().chain(run.invokes.iter().flatten()));
        let mut bodies = blocks.map(|RawBlock { steps, .. }| &steps[..]);
        let mut edits = self.scenario.edits.iter().map(|edit| &edit.steps[..]);
        bodies.any(|steps| any(steps, is_it)) || edits.any(|steps| any(steps, is_it))
    }

    fn has_none(&self) -> bool {
        self.has_step(|step| match step {
            RawStep::Skip { expr, .. } => expr[0] == "none",
            _ => false,
        })
    }
}

fn is_write_to_input(step: &RawStep) -> bool {
    match step {
        RawStep::Write { target, .. } => target.ends_with("input") || target.ends_with("inputs"),
        _ => false,
    }
}

fn any(steps: &[RawStep], is_it: fn(&RawStep) -> bool) -> bool {
    steps.iter().any(|step| {
        is_it(step)
            || match step {
                RawStep::Try { body, .. }
                | RawStep::Iter { body, .. }
                | RawStep::IfEq { body, .. } => any(body, is_it),
                _ => false,
            }
    })
}
