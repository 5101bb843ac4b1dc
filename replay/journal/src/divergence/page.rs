//! A page for browsers with two journals beside each other.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use interloom_engine::Padding;
use serde_json::{Value, json};

use super::journals::{Row, rows};
use super::{CONTEXT_DEFAULT, Divergence, DivergenceSide, JournalDiff, compare_journals};
use crate::export::{Exported, PageItems, file_name, write_page};
use crate::{JournalError, plain};

/// Writes two journals as one HTML page: their exchanges beside each other, aligned as
/// [`compare_journals`] does, the first divergence marked and reported.
///
/// `limit` rows are shown, those around the divergence, and the page says how many are not. `name`
/// is what errors call the output. Nothing but the last part of each path is in the page.
///
/// # Errors
/// Those of [`compare_journals`], and E061 if the output cannot be written.
pub fn diff_page<W: Write>(
    first: &Path,
    second: &Path,
    limit: usize,
    sink: &mut W,
    name: &str,
) -> Result<Exported, JournalError> {
    let mut diff = compare_journals(first, second, CONTEXT_DEFAULT)?;
    let names = [first, second].map(|path| file_name(&path.display().to_string()));
    if let Some(divergence) = &mut diff.comparison.divergence {
        divergence.journals = Some(names.clone());
    }
    let rows = rows(first, second)?;
    let divergence = diff.comparison.divergence.as_ref();
    let place = divergence.and_then(|divergence| row_of(&rows, divergence));
    let from = start(rows.len(), limit, place.unwrap_or(0));
    let shown = &rows[from..rows.len().min(from.saturating_add(limit))];
    let sides = [
        PageItems::read(first, &indices(shown, Row::first))?,
        PageItems::read(second, &indices(shown, Row::second))?,
    ];
    let items: Vec<_> = shown.iter().map(|row| item(*row, &sides)).collect();
    let title = format!("{} and {}", names[0], names[1]);
    let data = json!({
        "kind": "diff",
        "title": title,
        "names": names,
        "facts": facts(&diff, &sides[0]),
        "left_out": left_out(from, shown.len(), rows.len()),
        "report": report(&diff, place, &names),
        "is_equal": divergence.is_none() && diff.problems.is_empty(),
        "divergence": place.map(|place| place - from).filter(|place| *place < items.len()),
        "runs": runs(&sides),
        "items": items,
        "tensors": [&sides[0].tensors, &sides[1].tensors],
    });
    write_page(sink, name, &title, &data)?;
    Ok(Exported {
        items: items.len() as u64,
        torn: diff.problems.into_iter().find(JournalError::is_torn),
    })
}

impl Row {
    fn first(self) -> Option<u64> {
        match self {
            Self::Equal(first, _) | Self::Other(first, _) | Self::First(first) => Some(first),
            Self::Second(_) => None,
        }
    }

    fn second(self) -> Option<u64> {
        match self {
            Self::Equal(_, second) | Self::Other(_, second) | Self::Second(second) => Some(second),
            Self::First(_) => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Equal(..) => "equal",
            Self::Other(..) => "other",
            Self::First(_) => "first",
            Self::Second(_) => "second",
        }
    }
}

/// The first row with an exchange at which the journals diverge, if they diverge at one.
fn row_of(rows: &[Row], divergence: &Divergence) -> Option<usize> {
    let index = |side: &DivergenceSide| match side {
        DivergenceSide::Exchange(line) => Some(line.index),
        DivergenceSide::RunStart { .. }
        | DivergenceSide::Open(_)
        | DivergenceSide::CacheDeclaration { .. }
        | DivergenceSide::Padding(_)
        | DivergenceSide::Visit { .. }
        | DivergenceSide::RunEnd { .. }
        | DivergenceSide::Nothing => None,
    };
    let (recorded, live) = (index(&divergence.recorded), index(&divergence.live));
    // An exchange that only one side has makes the other side's belong to a later row.
    rows.iter().position(|row| {
        let is_recorded = recorded.is_some() && row.first() == recorded;
        is_recorded || live.is_some() && row.second() == live
    })
}

/// Where so many rows start that have `place` in their middle, as far as there are rows.
fn start(rows: usize, limit: usize, place: usize) -> usize {
    let last = rows.saturating_sub(limit);
    place.saturating_sub(limit / 2).min(last)
}

fn indices(rows: &[Row], side: fn(Row) -> Option<u64>) -> BTreeSet<u64> {
    rows.iter().filter_map(|row| side(*row)).collect()
}

fn item(row: Row, [first, second]: &[PageItems; 2]) -> Value {
    json!({
        "is": row.name(),
        "first": row.first().and_then(|index| first.items.get(&index)),
        "second": row.second().and_then(|index| second.items.get(&index)),
    })
}

fn facts(diff: &JournalDiff, first: &PageItems) -> Vec<Value> {
    let mut facts = first.facts.clone();
    match &diff.aligned {
        Some(aligned) => facts.extend([
            json!(["equal", aligned.equal]),
            json!(["other", aligned.other]),
            json!(["in A only", aligned.only_first]),
            json!(["in B only", aligned.only_second]),
        ]),
        None => facts.push(json!(["equal", diff.comparison.exchanges])),
    }
    facts
}

fn left_out(from: usize, shown: usize, rows: usize) -> Option<String> {
    (shown < rows).then(|| {
        format!(
            "This page has {shown} rows and leaves out {from} before and {} after them. `interloom export --limit N` shows more.",
            rows - from - shown
        )
    })
}

/// What is said of the comparison; `place` is the row of the divergence, where there is one to
/// mark.
fn report(diff: &JournalDiff, place: Option<usize>, names: &[String; 2]) -> Value {
    if let Some(divergence) = &diff.comparison.divergence {
        let class = divergence.class.name();
        let mut summary = format!(
            "The first divergence is at exchange {} ({class}).",
            divergence.index
        );
        if place.is_none() {
            let [first, second] = names;
            summary.push_str(&format!(
                " No row is marked, for they part between exchanges: {first} {}, {second} {}.",
                has(&divergence.recorded),
                has(&divergence.live)
            ));
        }
        return json!({ "summary": summary, "text": divergence.to_string() });
    }
    let environment = diff.environment.iter();
    let lines = environment
        .flat_map(|report| &report.differences)
        .map(|difference| {
            format!(
                "{}: {} in {}, {} in {}",
                difference.subject, difference.recorded, names[0], difference.live, names[1]
            )
        });
    let problems = diff
        .problems
        .iter()
        .map(|problem| plain(&problem.to_string()));
    let lines: Vec<_> = problems.chain(lines).collect();
    let text = match lines.is_empty() {
        true => "The heads are equal too.".to_owned(),
        false => lines.join("\n"),
    };
    let exchanges = diff.comparison.exchanges;
    let summary = match diff.problems.is_empty() {
        true => format!("All {exchanges} exchanges are equal."),
        false => format!("All {exchanges} exchanges are equal that both can be read for."),
    };
    json!({ "summary": summary, "text": text })
}

/// What a journal has where two diverge and neither has an exchange.
fn has(side: &DivergenceSide) -> String {
    match side {
        DivergenceSide::Exchange(line) => format!("has exchange {}", line.index),
        DivergenceSide::RunStart { name, .. } => format!("begins run {name:?}"),
        DivergenceSide::Open(line) => format!("ends with a request of {:?} open", line.mediator),
        DivergenceSide::CacheDeclaration { mediator, .. } => {
            format!("declares a cache of {mediator:?}")
        }
        DivergenceSide::Padding(padding) => format!("has {}", Padding::describe(Some(padding))),
        DivergenceSide::Visit {
            site,
            backward_pass,
            turn,
            ..
        } => {
            let pass = backward_pass.map(|pass| format!("backward pass {pass}"));
            match (turn, site, pass) {
                (Some(turn), _, Some(pass)) => format!("{} {pass}", turn.name()),
                (Some(turn), ..) => format!("{} a backward pass", turn.name()),
                (None, Some(site), Some(pass)) => format!("has its model at {site} in {pass}"),
                (None, Some(site), None) => format!("has its model at {site}"),
                (None, None, _) => "has its model at a point without a name".to_owned(),
            }
        }
        DivergenceSide::RunEnd { outcome, .. } => format!("ends the run ({outcome:?})"),
        DivergenceSide::Nothing => "has nothing more".to_owned(),
    }
}

/// The runs that are shown, by their names in the first journal where it has them.
fn runs([first, second]: &[PageItems; 2]) -> Vec<Value> {
    let mut runs = second.runs.clone();
    runs.extend(first.runs.clone());
    let runs = runs.into_iter();
    runs.map(|(run, title)| json!({ "run": run, "title": title }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_around_a_place_are_within_all_rows() {
        let cases = [
            ((10, 20, 3), 0),
            ((10, 4, 0), 0),
            ((10, 4, 5), 3),
            ((10, 4, 9), 6),
            ((10, 0, 5), 5),
            ((0, 4, 0), 0),
        ];
        for ((rows, limit, place), expected) in cases {
            assert_eq!(start(rows, limit, place), expected);
        }
    }
}
