//! A page for browsers with the loss of one training run, or of two and where they part.

use std::fmt::Write as _;

use super::ledger::Ledger;
use super::parting::{LedgerParting, first_parting};
use crate::error::JournalError;
use crate::export::in_markup;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 360.0;
const MARGIN: f64 = 48.0;
/// How many points a curve has at most; of more steps, the lowest and highest loss of each span.
const POINTS_MAX: usize = 2_000;

/// Returns one HTML page, which loads nothing: the loss of each step, in the colours of the two
/// runs, with a line at the first step in which they part. The same ledgers give the same bytes.
///
/// # Errors
/// E078 if a file of names is damaged or gone.
pub fn curves_page(a: &Ledger, b: Option<&Ledger>) -> Result<String, JournalError> {
    let parting = b.map(|b| first_parting(a, b)).transpose()?.flatten();
    let runs: Vec<&Ledger> = [Some(a), b].into_iter().flatten().collect();
    let scale = Scale::of(&runs);
    let mut page = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Loss</title>\n<style>\n\
         body { font: 14px system-ui, sans-serif; margin: 24px; color: #222; background: #fff }\n\
         svg { max-width: 100%; height: auto } .a { stroke: #0b62a3 } .b { stroke: #c2410c }\n\
         polyline { fill: none; stroke-width: 1.5 } .axis { stroke: #999 } .part { stroke: #b91c1c; stroke-dasharray: 4 3 }\n\
         text { font-size: 12px; fill: #444 } table { border-collapse: collapse } td, th { padding: 2px 10px; text-align: left }\n\
         </style></head><body>\n<h1>Loss by step</h1>\n",
    );
    for (class, run) in ["a", "b"].into_iter().zip(&runs) {
        let colour = if class == "a" { "#0b62a3" } else { "#c2410c" };
        let _ = writeln!(
            page,
            "<p><b style=\"color:{colour}\">{}</b>: {} steps, seed {}</p>",
            in_markup(&run.folder().display().to_string()),
            run.lines().len(),
            run.head().seed
        );
    }
    let _ = writeln!(page, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
    scale.draw_axes(&mut page);
    for (class, run) in ["a", "b"].into_iter().zip(&runs) {
        let points: Vec<String> = curve(run)
            .into_iter()
            .map(|(step, loss)| format!("{:.1},{:.1}", scale.x(step), scale.y(loss)))
            .collect();
        let _ = writeln!(
            page,
            "<polyline class=\"{class}\" points=\"{}\"/>",
            points.join(" ")
        );
    }
    if let Some(parting) = &parting {
        let x = scale.x(parting.step);
        let (top, bottom) = (MARGIN / 2.0, HEIGHT - MARGIN);
        let _ = writeln!(
            page,
            "<line class=\"part\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{bottom}\"/>\n\
             <text x=\"{:.1}\" y=\"{}\">step {}</text>",
            x + 4.0,
            top + 12.0,
            parting.step
        );
    }
    page.push_str("</svg>\n");
    page.push_str(&verdict(b.is_some(), parting.as_ref()));
    page.push_str("</body></html>\n");
    Ok(page)
}

fn verdict(has_two: bool, parting: Option<&LedgerParting>) -> String {
    let Some(parting) = parting else {
        return if has_two {
            "<p>The runs are equal as far as the shorter one goes.</p>\n".to_owned()
        } else {
            String::new()
        };
    };
    let (a, b) = &*parting.lines;
    let names: Vec<String> = parting.names.iter().map(|name| in_markup(name)).collect();
    let mut text = format!(
        "<p>The runs part in <b>step {}: {}</b>{}</p>\n<table><tr><th></th><th>first</th><th>second</th></tr>\n",
        parting.step,
        parting.phase,
        match names.is_empty() {
            true => String::new(),
            false => format!(" ({})", names.join(", ")),
        }
    );
    let rows = [
        ("loss", a.loss.to_string(), b.loss.to_string()),
        ("rate", a.rate.to_string(), b.rate.to_string()),
        ("batch", a.batch.to_string(), b.batch.to_string()),
        (
            "exchanges",
            a.exchanges.to_string(),
            b.exchanges.to_string(),
        ),
        (
            "gradients",
            a.gradients.to_string(),
            b.gradients.to_string(),
        ),
        (
            "optimizer",
            a.optimizer.to_string(),
            b.optimizer.to_string(),
        ),
        (
            "parameters",
            a.parameters.to_string(),
            b.parameters.to_string(),
        ),
    ];
    for (name, first, second) in rows {
        let _ = writeln!(
            text,
            "<tr><td>{name}</td><td>{first}</td><td>{second}</td></tr>"
        );
    }
    text.push_str("</table>\n");
    text
}

/// Returns the finite losses of a run, thinned out to what a page can show.
fn curve(run: &Ledger) -> Vec<(u64, f64)> {
    let finite = run.lines().iter().filter(|line| line.loss.is_finite());
    let all: Vec<(u64, f64)> = finite.map(|line| (line.step, line.loss)).collect();
    if all.len() <= POINTS_MAX {
        return all;
    }
    let span = all.len().div_ceil(POINTS_MAX / 2);
    let mut curve = Vec::with_capacity(POINTS_MAX);
    for part in all.chunks(span) {
        let by_loss = |a: &&(u64, f64), b: &&(u64, f64)| a.1.total_cmp(&b.1);
        let ends = [part.iter().min_by(by_loss), part.iter().max_by(by_loss)];
        let mut ends: Vec<(u64, f64)> = ends.into_iter().flatten().copied().collect();
        ends.sort_by_key(|(step, _)| *step);
        curve.extend(ends);
    }
    curve
}

/// From steps and losses to places in the picture.
struct Scale {
    steps: f64,
    low: f64,
    high: f64,
}

impl Scale {
    fn of(runs: &[&Ledger]) -> Self {
        let lines = || runs.iter().flat_map(|run| run.lines());
        let losses = lines()
            .map(|line| line.loss)
            .filter(|loss| loss.is_finite());
        let (low, high) = losses.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), loss| {
            (low.min(loss), high.max(loss))
        });
        let (low, high) = if low < high { (low, high) } else { (0.0, 1.0) };
        let last = lines().map(|line| line.step).max().unwrap_or(0);
        Self {
            steps: (last as f64).max(1.0),
            low,
            high,
        }
    }

    fn x(&self, step: u64) -> f64 {
        MARGIN + (WIDTH - 2.0 * MARGIN) * step as f64 / self.steps
    }

    fn y(&self, loss: f64) -> f64 {
        let part = (loss - self.low) / (self.high - self.low);
        HEIGHT - MARGIN - (HEIGHT - 1.5 * MARGIN) * part
    }

    fn draw_axes(&self, page: &mut String) {
        let (left, right) = (MARGIN, WIDTH - MARGIN);
        let (top, bottom) = (MARGIN / 2.0, HEIGHT - MARGIN);
        let _ = writeln!(
            page,
            "<line class=\"axis\" x1=\"{left}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\n\
             <line class=\"axis\" x1=\"{left}\" x2=\"{left}\" y1=\"{top}\" y2=\"{bottom}\"/>\n\
             <text x=\"{left}\" y=\"{}\">0</text><text x=\"{}\" y=\"{}\">{}</text>\n\
             <text x=\"2\" y=\"{bottom}\">{:.4}</text><text x=\"2\" y=\"{}\">{:.4}</text>",
            bottom + 16.0,
            right - 20.0,
            bottom + 16.0,
            self.steps,
            self.low,
            top + 10.0,
            self.high
        );
    }
}
