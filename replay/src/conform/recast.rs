//! A scenario recast: what the reference did with it, as something that Interloom does.

use super::compare::{Performed, STOP_AS_ERROR};
use super::guise::Manner;
use super::scenario::{RawIter, RawStep, Scenario};

/// What is run to see whether a difference is the one that rules claim.
pub(super) struct Recast {
    pub(super) scenario: Scenario,
    /// How its mediators behave otherwise.
    pub(super) manners: Vec<Manner>,
    /// The class of the error with which the reference ended, whatever else happened.
    pub(super) ends_with: Option<&'static str>,
    /// What is then changed in the account of the run.
    pub(super) touches: Vec<fn(&Performed, &mut Performed)>,
}

impl Recast {
    pub(super) fn of(scenario: &Scenario) -> Self {
        Self {
            scenario: scenario.clone(),
            manners: Vec::new(),
            ends_with: None,
            touches: Vec::new(),
        }
    }

    /// Replaces each step by others; the second argument says whether it is inside a `try`.
    pub(super) fn replace(&mut self, change: &mut dyn FnMut(RawStep, bool) -> Vec<RawStep>) {
        for edit in &mut self.scenario.edits {
            edit.steps = replaced(std::mem::take(&mut edit.steps), false, change);
        }
        for run in &mut self.scenario.traces {
            let blocks = run
                .direct
                .iter_mut()
                .chain(run.invokes.iter_mut().flatten());
            for block in blocks {
                block.steps = replaced(std::mem::take(&mut block.steps), false, change);
            }
        }
    }
}

fn replaced(
    steps: Vec<RawStep>,
    in_try: bool,
    change: &mut dyn FnMut(RawStep, bool) -> Vec<RawStep>,
) -> Vec<RawStep> {
    let mut found = Vec::new();
    for step in steps {
        let step = match step {
            RawStep::Try { body, r#as } => RawStep::Try {
                body: replaced(body, true, change),
                r#as,
            },
            RawStep::Iter { iter, var, body } => RawStep::Iter {
                iter,
                var,
                body: replaced(body, in_try, change),
            },
            RawStep::IfEq { var, value, body } => RawStep::IfEq {
                var,
                value,
                body: replaced(body, in_try, change),
            },
            step => step,
        };
        found.extend(change(step, in_try));
    }
    found
}

/// A method that is not there.
pub(super) fn next_is_missing(step: RawStep, _: bool) -> Vec<RawStep> {
    match step {
        RawStep::Next { .. } => vec![raise("no attribute 'next'")],
        step => vec![step],
    }
}

/// A stop that a `try` catches.
pub(super) fn stop_is_an_error(step: RawStep, in_try: bool) -> Vec<RawStep> {
    match step {
        RawStep::Stop if in_try => vec![raise(STOP_AS_ERROR)],
        step => vec![step],
    }
}

/// An empty slice that runs once.
pub(super) fn empty_slice_runs_once(step: RawStep, _: bool) -> Vec<RawStep> {
    match step {
        RawStep::Iter {
            iter: RawIter::Slice(start, Some(end)),
            var,
            body,
        } if start.unwrap_or(0) >= end => vec![RawStep::Iter {
            iter: RawIter::Int(start.unwrap_or(0)),
            var,
            body,
        }],
        step => vec![step],
    }
}

/// Whether a step is a loop over a slice that has nothing in it.
pub(super) fn is_empty_slice(step: &RawStep) -> bool {
    match step {
        RawStep::Iter {
            iter: RawIter::Slice(start, Some(end)),
            ..
        } => start.unwrap_or(0) >= *end,
        _ => false,
    }
}

/// In-place edits that are no requests.
pub(super) fn fills_are_silent(step: RawStep, _: bool) -> Vec<RawStep> {
    match step {
        RawStep::InplaceFill { .. } => Vec::new(),
        step => vec![step],
    }
}

/// A write to an input that reads the input first, after what is written was computed.
pub(super) fn write_to_input_reads(step: RawStep, _: bool) -> Vec<RawStep> {
    match step {
        RawStep::Write { target, expr } if is_input(&target) => vec![
            RawStep::Let {
                r#as: "what is written".to_owned(),
                expr,
                save: false,
            },
            RawStep::Read {
                target: target.clone(),
                r#as: "what was there".to_owned(),
                save: false,
            },
            RawStep::Write {
                target,
                expr: serde_json::json!(["var", "what is written"]),
            },
        ],
        step => vec![step],
    }
}

/// Whether a target is a first argument, and not all of them.
pub(super) fn is_input(target: &str) -> bool {
    target == "input" || target.ends_with(".input")
}

/// A cache that fails unless it comes before every request of its block.
pub(super) fn late_caches_fail(recast: &mut Recast) {
    for run in &mut recast.scenario.traces {
        let blocks = run
            .direct
            .iter_mut()
            .chain(run.invokes.iter_mut().flatten());
        for block in blocks {
            let mut has_asked = false;
            let steps = std::mem::take(&mut block.steps);
            block.steps = replaced(steps, false, &mut |step, _| {
                let is_late = has_asked;
                has_asked |= asks(&step);
                match step {
                    RawStep::Cache { .. } if is_late => vec![raise("a late cache")],
                    step => vec![step],
                }
            });
        }
    }
}

/// Whether a step by itself asks for something of the model.
fn asks(step: &RawStep) -> bool {
    match step {
        RawStep::Read { .. } | RawStep::Write { .. } | RawStep::Skip { .. } => true,
        RawStep::Let { expr, .. } | RawStep::Append { expr, .. } => reads(expr),
        _ => false,
    }
}

/// Whether an expression asks for something of the model.
pub(super) fn reads(expr: &serde_json::Value) -> bool {
    match expr {
        serde_json::Value::Array(items) => {
            items.first().is_some_and(|kind| kind == "read") || items.iter().any(reads)
        }
        serde_json::Value::Object(items) => items.values().any(reads),
        _ => false,
    }
}

fn raise(message: &str) -> RawStep {
    RawStep::Raise {
        message: message.to_owned(),
    }
}
