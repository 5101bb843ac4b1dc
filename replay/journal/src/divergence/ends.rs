//! Differences between the starts and the ends of two runs.

use std::collections::BTreeMap;

use super::{DivergenceSide, FieldDifference, fields, trees};
use crate::{BarrierLine, CachedLine, Declared, Names, OutcomeRecord, RunEndRecord, RunStart};

/// The fields in which two starts differ: name, mediators, number, and what they declare.
pub(super) fn between_starts(recorded: &RunStart, live: &RunStart) -> Vec<FieldDifference> {
    let mut differences = Vec::new();
    let names = (&recorded.name, &live.name);
    if names.0 != names.1 {
        let (recorded, live) = (quoted(names.0), quoted(names.1));
        fields::push(&mut differences, "run name", recorded, live);
    }
    if recorded.mediators != live.mediators {
        let (recorded, live) = (mediators(recorded), mediators(live));
        fields::push(&mut differences, "mediators", recorded, live);
    }
    let declared = (&recorded.declared, &live.declared);
    if declared.0.barriers != declared.1.barriers {
        let (recorded, live) = (barriers(declared.0), barriers(declared.1));
        fields::push(&mut differences, "barriers", recorded, live);
    }
    if declared.0.gradients != declared.1.gradients {
        let texts = |declared: &Declared| match &*declared.gradients {
            [] => "none".to_owned(),
            gradients => gradients.join(", "),
        };
        let (recorded, live) = (texts(declared.0), texts(declared.1));
        fields::push(&mut differences, "gradients", recorded, live);
    }
    if declared.0.steps != declared.1.steps {
        let (recorded, live) = (steps(declared.0), steps(declared.1));
        fields::push(&mut differences, "steps", recorded, live);
    }
    fields::add(&mut differences, "run", recorded.run, live.run);
    differences
}

/// The fields in which two outcomes differ: the particulars of a failure, or how it reads.
pub(super) fn between_outcomes(
    recorded: &OutcomeRecord,
    live: &OutcomeRecord,
) -> Vec<FieldDifference> {
    if recorded == live {
        return Vec::new();
    }
    if let (OutcomeRecord::Failed(a), OutcomeRecord::Failed(b)) = (recorded, live)
        && a.code == b.code
    {
        return trees::between_particulars("outcome", &a.why, &b.why);
    }
    let mut differences = Vec::new();
    let texts = [recorded, live].map(|outcome| quoted(&outcome.to_string()));
    let [recorded_text, live_text] = texts;
    fields::push(&mut differences, "outcome", recorded_text, live_text);
    let code = |outcome: &OutcomeRecord| outcome.code().unwrap_or("none").to_owned();
    fields::add(&mut differences, "code", code(recorded), code(live));
    differences
}

/// How many points of caches are shown.
const CACHED_SHOWN: usize = 4;

/// The points at which caches collected something else, if both sides kept that.
pub(super) fn between_caches(
    recorded: &RunEndRecord,
    live: &RunEndRecord,
    names: &Names,
) -> Vec<FieldDifference> {
    let (Some(recorded), Some(live)) = (&recorded.cached, &live.cached) else {
        return Vec::new();
    };
    let mut places: BTreeMap<_, [Option<&CachedLine>; 2]> = BTreeMap::new();
    for (side, lines) in [recorded, live].into_iter().enumerate() {
        for line in lines {
            places.entry(place(line)).or_default()[side] = Some(line);
        }
    }
    let differing = places.into_iter().filter(|(_, [a, b])| a != b);
    let text = |line: Option<&CachedLine>| match line {
        None => "nothing".to_owned(),
        Some(line) if line.values == 1 => format!("1 value {}", line.digest.short()),
        Some(line) => format!("{} values {}", line.values, line.digest.short()),
    };
    let fields = differing.map(
        |((owner, number, point), [recorded, live])| FieldDifference {
            field: match owner {
                Some(owner) => format!("cache {number} of {} at {point}", names.mediator(owner)),
                None => format!("cache {number} of the run at {point}"),
            },
            recorded: text(recorded),
            live: text(live),
        },
    );
    fields.take(CACHED_SHOWN).collect()
}

/// Whose cache, which of its own, and where.
fn place(line: &CachedLine) -> (Option<u32>, u32, &str) {
    (line.owner, line.number, &line.point)
}

/// A start as a side of a divergence.
pub(super) fn start_side(start: &RunStart) -> DivergenceSide {
    DivergenceSide::RunStart {
        name: start.name.clone(),
        mediators: start
            .mediators
            .iter()
            .map(|line| line.name.clone())
            .collect(),
    }
}

/// An end as a side of a divergence.
pub(super) fn end_side(end: &RunEndRecord) -> DivergenceSide {
    DivergenceSide::RunEnd {
        outcome: end.outcome.to_string(),
        code: end.outcome.code().map(str::to_owned),
    }
}

/// The mediators of a run, each with its rows of the batch: `"a" [rows 0 to 1], "b"`.
fn mediators(start: &RunStart) -> String {
    let texts = start.mediators.iter().map(|line| {
        let rows = match line.rows {
            Some((first, 0)) => format!(" [no row at {first}]"),
            Some((first, count)) => {
                let last = u64::from(first) + u64::from(count) - 1;
                format!(" [rows {first} to {last}]")
            }
            None => String::new(),
        };
        let optional = if line.optional { " [optional]" } else { "" };
        format!("{:?}{rows}{optional}", line.name)
    });
    let texts: Vec<_> = texts.collect();
    texts.join(", ")
}

/// The barriers of a run, each with its participants: `"meet" of 2`.
fn barriers(declared: &Declared) -> String {
    let text = |line: &BarrierLine| format!("{:?} of {}", line.name, line.participants);
    let texts: Vec<_> = declared.barriers.iter().map(text).collect();
    if texts.is_empty() {
        return "none".to_owned();
    }
    texts.join(", ")
}

fn steps(declared: &Declared) -> String {
    let steps = declared.steps;
    steps.map_or_else(|| "none".to_owned(), |steps| steps.to_string())
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}
