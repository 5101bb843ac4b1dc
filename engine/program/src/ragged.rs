//! Positions of rows that differ in length: a span counts in each row's own.
//!
//! What a mediator reads of such rows is one padded tensor with a mark ([`Ragged`]). A span of a
//! marked dimension takes from each row what it would take from the row alone; the result is padded
//! to what it takes of the longest, and marked again if rows differ in that. What works element by
//! element keeps the mark, and what would mix padding with a row's own elements is refused.

use std::ops::Range;
use std::sync::Arc;

use interloom_engine::{Misfit, PaddingSide, ProgramFault, Ragged};

use crate::compile::Compute;
use crate::evaluate::{dimension_of, ranges};
use crate::expr::Span;
use crate::operand::Operand;

/// What spans take of one row.
struct Row {
    /// The places that the result has, for each dimension.
    taken: Vec<Range<u64>>,
    /// Those of them that are the row's own.
    own: Vec<Range<u64>>,
}

impl Row {
    /// Returns where the row's own places are in what is taken of it; `row` is its number there.
    fn own_in_taken(&self, row: u64) -> Vec<Range<u64>> {
        let pairs = self.taken.iter().zip(&self.own);
        let within = |(taken, own): (&Range<u64>, &Range<u64>)| {
            own.start - taken.start..own.end - taken.start
        };
        let mut places: Vec<Range<u64>> = pairs.map(within).collect();
        places[0] = row..row + 1;
        places
    }
}

/// Returns a part of a tensor.
pub(crate) fn slice<V: Operand>(
    place: &'static str,
    of: &V,
    spans: &[Span],
) -> Result<V, ProgramFault> {
    let plain = ranges(spans, of, place)?;
    let Some(ragged) = of.ragged() else {
        return of.slice(&plain).map_err(|misfit| unlike(place, misfit));
    };
    let rows = rows(of, spans, &plain, ragged)?;
    let part = take(of, &plain, &rows).map_err(|misfit| unlike(place, misfit))?;
    Ok(part.marked(mark_of(&rows, ragged)))
}

/// Returns a tensor with another part in the place of the rows' own elements.
pub(crate) fn patch<V: Operand>(
    place: &'static str,
    of: &V,
    spans: &[Span],
    with: impl FnOnce(&V) -> Result<V, Misfit>,
) -> Result<V, ProgramFault> {
    let plain = ranges(spans, of, place)?;
    let misfit = |misfit| unlike(place, misfit);
    let Some(ragged) = of.ragged() else {
        let with = with(&of.slice(&plain).map_err(misfit)?).map_err(misfit)?;
        return of.patch(&plain, &with).map_err(misfit);
    };
    let rows = rows(of, spans, &plain, ragged)?;
    let old = take(of, &plain, &rows).map_err(misfit)?;
    let with = with(&old).map_err(misfit)?;
    old.fits(&with).map_err(misfit)?;
    let patched = rows
        .iter()
        .zip(0..)
        .try_fold(of.clone(), |of, (row, number)| {
            let part = with.slice(&row.own_in_taken(number))?;
            of.patch(&row.own, &part)
        });
    Ok(patched.map_err(misfit)?.marked(Some(ragged.clone())))
}

/// Returns what is at a place of dimension 0, without that dimension: of a row its own positions.
pub(crate) fn at<V: Operand>(of: &V, row: u64) -> Result<V, Misfit> {
    let (Some(ragged), Some(shape)) = (of.ragged(), of.shape()) else {
        return of.at(row);
    };
    let mut ranges: Vec<Range<u64>> = shape.iter().map(|&length| 0..length).collect();
    if row >= shape[0] {
        return of.at(row);
    }
    ranges[0] = row..row + 1;
    for (dimension, _) in ragged.dimensions() {
        ranges[*dimension] = ragged.own(*dimension, row as usize, shape[*dimension]);
    }
    of.slice(&ranges)?.at(0)
}

/// Refuses what would mix padding with the elements of rows.
pub(crate) fn check<V: Operand>(
    compute: &Compute,
    place: &'static str,
    operands: &[V],
) -> Result<(), ProgramFault> {
    let mixes = |of: &V| match (of.ragged(), compute) {
        (None, _) => false,
        (Some(_), Compute::Sum | Compute::Mean | Compute::Clip(_)) => true,
        (Some(ragged), Compute::Along(_, dimension)) => dimension_of(of, *dimension)
            .is_ok_and(|dimension| dimension == 0 || ragged.pads(dimension).is_some()),
        (Some(ragged), Compute::ArgmaxLast) => {
            let is_last = |(dimension, _): &(usize, Arc<[u64]>)| *dimension == 1;
            ragged.side() == PaddingSide::Right || !ragged.dimensions().iter().all(is_last)
        }
        _ => false,
    };
    let is_refused = match (compute, operands) {
        (Compute::Matmul, [left, right]) => right.ragged().is_some() || is_marked_last(left),
        (Compute::Arithmetic(_), [left, right]) => match (left.ragged(), right.ragged()) {
            (Some(left), Some(right)) => left != right,
            _ => false,
        },
        _ => operands.iter().any(mixes),
    };
    if is_refused {
        let place = place.into();
        return Err(ProgramFault::Ragged { place });
    }
    Ok(())
}

/// The mark of a tensor, with its shape.
pub(crate) struct Mark {
    ragged: Ragged,
    shape: Vec<u64>,
}

impl Mark {
    /// Returns the mark of a value, if it has one.
    pub(crate) fn of<V: Operand>(value: &V) -> Option<Self> {
        Some(Self {
            ragged: value.ragged()?.clone(),
            shape: value.shape()?,
        })
    }

    /// Gives the mark to what was computed of the tensor, if that has its positions.
    pub(crate) fn keep<V: Operand>(self, result: V) -> V {
        let Some(shape) = result.shape() else {
            return result;
        };
        let is_same = |at: usize| self.shape.get(at) == shape.get(at);
        let mut dimensions = self.ragged.dimensions().iter().map(|(at, _)| *at);
        let keeps = self.shape.len() == shape.len() && is_same(0) && dimensions.all(is_same);
        match keeps {
            true => result.marked(Some(self.ragged)),
            false => result,
        }
    }
}

fn is_marked_last<V: Operand>(of: &V) -> bool {
    let last = of.shape().and_then(|shape| shape.len().checked_sub(1));
    let pads = last.and_then(|last| of.ragged()?.pads(last));
    pads.is_some()
}

/// Returns what the spans take of each of the rows that they take.
fn rows<V: Operand>(
    of: &V,
    spans: &[Span],
    plain: &[Range<u64>],
    ragged: &Ragged,
) -> Result<Vec<Row>, ProgramFault> {
    let shape = of.shape().unwrap_or_default();
    let of_row = |row: u64| {
        let mut taken = plain.to_vec();
        taken[0] = row..row + 1;
        let mut own = taken.clone();
        for (dimension, _) in ragged.dimensions() {
            let dimension = *dimension;
            let span = spans.get(dimension).copied().unwrap_or(Span::ALL);
            let places = ragged.own(dimension, row as usize, shape[dimension]);
            let length = places.end - places.start;
            let width = plain[dimension].end - plain[dimension].start;
            let found = span.resolve(length).and_then(|range| {
                let range = places.start + range.start..places.start + range.end;
                let whole = match ragged.side() {
                    PaddingSide::Left => range.end.checked_sub(width)?..range.end,
                    PaddingSide::Right => range.start..range.start + width,
                };
                let fits = range.end - range.start <= width && whole.end <= shape[dimension];
                fits.then_some((range, whole))
            });
            let (range, whole) = found.ok_or(ProgramFault::OwnSpan {
                start: span.start,
                end: span.end,
                row,
                length,
            })?;
            (own[dimension], taken[dimension]) = (range, whole);
        }
        Ok(Row { taken, own })
    };
    plain[0].clone().map(of_row).collect()
}

fn take<V: Operand>(of: &V, plain: &[Range<u64>], rows: &[Row]) -> Result<V, Misfit> {
    let Some(first) = rows.first() else {
        return of.slice(plain);
    };
    if rows.iter().all(|row| row.taken[1..] == first.taken[1..]) {
        let mut ranges = first.taken.clone();
        ranges[0] = plain[0].clone();
        return of.slice(&ranges);
    }
    let parts = rows.iter().map(|row| of.slice(&row.taken));
    V::join(parts.collect::<Result<_, _>>()?)
}

/// Returns which of the taken places are padding.
fn mark_of(rows: &[Row], ragged: &Ragged) -> Option<Ragged> {
    let dimensions = ragged.dimensions().iter().map(|(dimension, _)| {
        let pads = rows.iter().map(|row| {
            let length = |ranges: &[Range<u64>]| ranges[*dimension].end - ranges[*dimension].start;
            length(&row.taken) - length(&row.own)
        });
        (*dimension, pads.collect())
    });
    Ragged::new(ragged.side(), dimensions)
}

fn unlike(place: &'static str, misfit: Misfit) -> ProgramFault {
    ProgramFault::Misfit {
        place: place.into(),
        misfit,
    }
}
