//! How the starts and the ends of two runs differ.

use std::collections::BTreeMap;

use super::{FieldDifference, Side, fields};
use crate::journal::{BarrierLine, CachedLine, Declared, Names, RunEnd, RunStart};

/// The fields in which two starts differ: name, mediators, number, and what both are known to declare.
pub(super) fn between_starts(recorded: &RunStart, live: &RunStart) -> Vec<FieldDifference> {
    let mut differences = Vec::new();
    fields::add(
        &mut differences,
        "run name",
        quoted(&recorded.name),
        quoted(&live.name),
    );
    fields::add(
        &mut differences,
        "mediators",
        mediators(recorded),
        mediators(live),
    );
    if let (Some(recorded), Some(live)) = (&recorded.declared, &live.declared) {
        let texts = (barriers(recorded), barriers(live));
        fields::add(&mut differences, "barriers", texts.0, texts.1);
        let texts = (steps(recorded), steps(live));
        fields::add(&mut differences, "steps", texts.0, texts.1);
    }
    let (recorded_run, live_run) = (recorded.run.to_string(), live.run.to_string());
    fields::add(&mut differences, "run", recorded_run, live_run);
    differences
}

/// The fields in which two ends differ: how they ended.
///
/// If the two are not `worded` alike, failures are compared by their codes.
pub(super) fn between_ends(recorded: &RunEnd, live: &RunEnd, worded: bool) -> Vec<FieldDifference> {
    let mut differences = Vec::new();
    let text = |end: &RunEnd| quoted(&end.outcome.text);
    if worded || recorded.outcome.code.is_none() || live.outcome.code.is_none() {
        fields::add(&mut differences, "outcome", text(recorded), text(live));
    }
    let code = |end: &RunEnd| end.outcome.code.clone().unwrap_or("none".to_owned());
    fields::add(&mut differences, "code", code(recorded), code(live));
    differences
}

/// How many points of caches are shown.
const CACHED_SHOWN: usize = 4;

/// The points at which caches collected something else, if both sides kept that.
pub(super) fn between_caches(
    recorded: &RunEnd,
    live: &RunEnd,
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
pub(super) fn start_side(start: &RunStart) -> Side {
    Side::RunStart {
        name: start.name.clone(),
        mediators: start
            .mediators
            .iter()
            .map(|line| line.name.clone())
            .collect(),
    }
}

/// An end as a side of a divergence.
pub(super) fn end_side(end: &RunEnd) -> Side {
    Side::RunEnd {
        outcome: end.outcome.text.clone(),
        code: end.outcome.code.clone(),
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
