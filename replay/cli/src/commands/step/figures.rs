//! The figures of tensors that a journal keeps.

use std::collections::BTreeMap;
use std::path::Path;

use interloom_journal::export::{KeptTensors, Statistics};
use interloom_journal::{Digest, IndexedJournal, JournalError, Policy, ValueTree};
use serde_json::{Map, Value};

/// How many tensors of a value are shown.
pub(super) const TENSORS_SHOWN: usize = 6;

/// The figures of the tensors of a journal, each computed once.
pub(super) struct Figures {
    kept: Option<KeptTensors>,
    known: BTreeMap<Digest, Option<Statistics>>,
}

impl Figures {
    /// Those of the tensors that are kept, if any are.
    pub(super) fn new(kept: Option<KeptTensors>) -> Self {
        Self {
            kept,
            known: BTreeMap::new(),
        }
    }

    /// Those of the journal at `path`.
    pub(super) fn open(path: &Path, journal: &IndexedJournal) -> Result<Self, JournalError> {
        let mut runs = journal.runs().iter();
        let keeps_some =
            journal.head().policy != Policy::Digest || runs.any(|run| !run.start.keeps.is_empty());
        let kept = keeps_some.then(|| KeptTensors::open(path)).transpose()?;
        Ok(Self::new(kept))
    }

    /// Those of a tensor, if the journal keeps it.
    pub(super) fn of(&mut self, digest: &Digest) -> Result<Option<Statistics>, JournalError> {
        if let Some(known) = self.known.get(digest) {
            return Ok(known.clone());
        }
        let figures = match &mut self.kept {
            Some(kept) => kept.statistics(digest)?,
            None => None,
        };
        self.known.insert(*digest, figures.clone());
        Ok(figures)
    }

    /// Those of the tensors of a value that are kept, by their digests, for programs.
    pub(super) fn json(&mut self, value: &ValueTree) -> Result<Value, JournalError> {
        let mut all = Map::new();
        for (_, digest) in tensors(value) {
            if let Some(figures) = self.of(&digest)? {
                all.insert(digest.to_string(), figures.json());
            }
        }
        Ok(Value::Object(all))
    }
}

/// The tensors of a value: type and shape, and digest.
pub(super) fn tensors(value: &ValueTree) -> Vec<(String, Digest)> {
    let mut found = Vec::new();
    value.for_each_leaf(&mut |tensor| {
        found.push((format!("{}{:?}", tensor.dtype, tensor.shape), tensor.digest));
    });
    found
}

/// What the figures of a tensor say: how many elements it has and, if any is finite, between what
/// they are and how large.
pub(super) fn lines(figures: &Statistics) -> Vec<String> {
    let Statistics {
        elements,
        not_finite,
        nan,
        finite,
    } = figures;
    let infinite = not_finite - nan;
    let mut lines = vec![format!(
        "{elements} elements, {nan} NaN, {infinite} infinite"
    )];
    if let Some(finite) = finite {
        let [min, max, mean, norm] = [finite.min, finite.max, finite.mean, finite.norm].map(number);
        lines.push(format!("min {min}  max {max}"));
        lines.push(format!("mean {mean}  norm {norm}"));
    }
    lines
}

/// How many elements are where between the least and the greatest, as a picture.
#[cfg(feature = "tui")]
pub(super) fn histogram(figures: &Statistics) -> Option<String> {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let finite = figures.finite.as_ref()?;
    let most = finite.histogram.iter().max().copied().unwrap_or(0).max(1);
    let bar = |count: &u64| BARS[(count * 8).div_ceil(most) as usize];
    let bars: String = finite.histogram.iter().map(bar).collect();
    Some(format!("[{bars}]"))
}

/// A number in at most a dozen characters.
fn number(number: f64) -> String {
    match number.abs() {
        0.0 => "0".to_owned(),
        size if (1e-4..1e7).contains(&size) => {
            let text = format!("{number:.6}");
            let text = text.trim_end_matches('0').trim_end_matches('.');
            text.to_owned()
        }
        _ => format!("{number:.4e}"),
    }
}
