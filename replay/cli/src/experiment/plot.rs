//! What a sweep shows as a picture: one figure for each of its values.

use super::report::{FileReport, RowReport, RunReport};
use crate::HeatMap;

/// The picture of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    /// Which figure it shows, and over which names.
    pub title: String,
    /// The figures: the last name's values across, those of the others downwards.
    pub map: HeatMap,
}

/// The value of each name that is swept over, and the figure there.
type Point = (Vec<(String, String)>, f64);

impl FileReport {
    /// Returns a picture of each sweep over two or more values whose runs have a figure: the
    /// difference of the logits of the first two answers, else the probability of the only one,
    /// else the loss; the mean over rows.
    pub fn plots(&self) -> Vec<Plot> {
        let tables = self.runs.chunk_by(|left, right| left.table == right.table);
        tables.filter_map(plot).collect()
    }
}

/// Draws the runs of one table.
fn plot(runs: &[RunReport]) -> Option<Plot> {
    let figure = runs.iter().flat_map(|run| &run.rows).find_map(figure)?.0;
    let points: Vec<Point> = runs.iter().flat_map(points).collect();
    let names: Vec<&str> = points
        .first()?
        .0
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let is_alike = |(values, _): &Point| {
        let own = values.iter().map(|(name, _)| name.as_str());
        own.eq(names.iter().copied())
    };
    let (last, _) = names.split_last()?;
    if points.len() < 2 || !points.iter().all(is_alike) {
        return None;
    }
    let heading = |(name, value): &(String, String)| format!("{name} {value}");
    let (mut columns, mut rows): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut cells = Vec::with_capacity(points.len());
    for (values, figure) in &points {
        let (last, others) = values.split_last()?;
        let others: Vec<String> = others.iter().map(heading).collect();
        let column = place_of(heading(last), &mut columns);
        let row = place_of(others.join(", "), &mut rows);
        cells.push((row, column, *figure));
    }
    let rows = rows.into_iter().enumerate().map(|(row, name)| {
        let cell = |column| {
            let cell = cells.iter().find(|&&(r, c, _)| (r, c) == (row, column));
            cell.map_or(f64::NAN, |&(.., figure)| figure)
        };
        (name, (0..columns.len()).map(cell).collect())
    });
    let figures = points.iter().map(|(_, figure)| *figure);
    let figures = figures.filter(|figure| figure.is_finite());
    let least = figures.clone().fold(f64::INFINITY, f64::min);
    let greatest = figures.fold(f64::NEG_INFINITY, f64::max);
    let over = if names.len() > 1 {
        format!("{} and {last}", names[..names.len() - 1].join(", "))
    } else {
        (*last).to_owned()
    };
    Some(Plot {
        title: format!("{figure}, over {over}"),
        map: HeatMap {
            marked: Vec::new(),
            rows: rows.collect(),
            range: (least, greatest),
            columns,
        },
    })
}

/// Returns the figure at each value of the sweeps of a run and its invokes.
fn points(run: &RunReport) -> Vec<Point> {
    let invokes = run.invokes.iter().enumerate();
    let swept = invokes.filter(|(_, invoke)| !invoke.each.is_empty());
    let mut points: Vec<Point> = Vec::new();
    let mut is_of_run = true;
    for (place, invoke) in swept {
        is_of_run = false;
        let rows = run.rows.iter().filter(|row| row.owner == Some(place));
        let values = [&run.each[..], &invoke.each].concat();
        points.extend(mean(rows).map(|figure| (values, figure)));
    }
    if is_of_run && !run.each.is_empty() {
        let figure = mean(run.rows.iter());
        points.extend(figure.map(|figure| (run.each.clone(), figure)));
    }
    points
}

fn mean<'r>(rows: impl Iterator<Item = &'r RowReport>) -> Option<f64> {
    let figures: Vec<f64> = rows.filter_map(|row| Some(figure(row)?.1)).collect();
    let count = figures.len() as f64;
    (count > 0.0).then(|| figures.iter().sum::<f64>() / count)
}

/// What a picture shows of a row, and what it is called.
fn figure(row: &RowReport) -> Option<(String, f64)> {
    match &row.answers[..] {
        [first, second, ..] => {
            let name = format!("logit difference of {:?} and {:?}", first.text, second.text);
            Some((name, first.logit - second.logit))
        }
        [only] => Some((format!("probability of {:?}", only.text), only.probability)),
        [] => Some(("mean loss".to_owned(), row.loss?)),
    }
}

/// Returns the place of a heading, which is added if it is new.
fn place_of(heading: String, headings: &mut Vec<String>) -> usize {
    let place = headings.iter().position(|other| *other == heading);
    place.unwrap_or_else(|| {
        headings.push(heading);
        headings.len() - 1
    })
}
