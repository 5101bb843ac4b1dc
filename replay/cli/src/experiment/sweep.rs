//! Values that stand for their names in braces: what a file sets, and what runs and invokes are
//! swept over.
//!
//! `each = { layer = "0..2", head = [0, 3] }` makes four: in their names, inputs and programs
//! `{layer}` and `{head}` are the values. The values of the last name change fastest. `[set]` gives
//! names a value in the whole file, which the command line may replace.

use std::cell::Cell;
use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::DeValue;

use super::error::ExperimentError;
use super::file::RUNS_MAX;
use super::source::{Located, Source};
use super::table::Table;

/// How long all names, inputs and programs of a file may be together, with what sweeps make of
/// them, in bytes.
const FILLED_BYTES_MAX: usize = 8 << 20;

/// What a text counts for beside its bytes, so that there cannot be too many empty ones.
const TEXT_BYTES: usize = 64;

/// How much text sweeps may still make.
pub(super) struct Budget<'s> {
    source: &'s Source,
    left: Cell<usize>,
}

impl<'s> Budget<'s> {
    pub(super) const fn new(source: &'s Source) -> Self {
        Self {
            source,
            left: Cell::new(FILLED_BYTES_MAX),
        }
    }

    fn check(&self, bytes: usize, text: &Located) -> Result<(), ExperimentError> {
        match bytes > self.left.get() {
            false => Ok(()),
            true => Err(ExperimentError::Conflict {
                at: self.source.spot(text.offset(0)),
                what: format!(
                    "with this, what sweeps make is longer than {FILLED_BYTES_MAX} bytes"
                ),
                instead: "sweep over less, or split the file".to_owned(),
            }),
        }
    }

    fn take(&self, bytes: usize, text: &Located) -> Result<(), ExperimentError> {
        self.check(bytes, text)?;
        self.left.set(self.left.get() - bytes);
        Ok(())
    }
}

/// Names and their values; of two equal names the first counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Sweep(Vec<(String, String)>);

impl Sweep {
    /// Returns what a file sets, with other values for some of it.
    pub(super) fn set(
        source: &Source,
        file: &Table<'_>,
        others: &BTreeMap<String, String>,
    ) -> Result<Self, ExperimentError> {
        let mut set = Vec::new();
        for (name, value) in file.inner("set")? {
            let text = text_of(value);
            let text = text.ok_or_else(|| file.unlike(&name, "a number or a text", value))?;
            set.push((name.clone(), others.get(&name).cloned().unwrap_or(text)));
        }
        let is_set = |other: &&String| set.iter().any(|(name, _)| name == *other);
        match others.keys().find(|other| !is_set(other)) {
            None => Ok(Self(set)),
            Some(other) => {
                let at = source.spot(file.at("set"));
                let names = set.iter().map(|(name, _)| name.as_str());
                Err(ExperimentError::unknown(at, "value in [set]", other, names))
            }
        }
    }

    /// Returns a text with the values in the places of their names.
    pub(super) fn fill(
        &self,
        text: &Located,
        budget: &Budget<'_>,
    ) -> Result<Located, ExperimentError> {
        let mut filled = text.clone();
        for (name, value) in &self.0 {
            let name = format!("{{{name}}}");
            let count = filled.text().matches(&name).count();
            // Before the memory is taken.
            budget.check(
                filled
                    .text()
                    .len()
                    .saturating_add(count.saturating_mul(value.len())),
                text,
            )?;
            filled = filled.replace(&name, value);
        }
        budget.take(filled.text().len() + TEXT_BYTES, text)?;
        Ok(filled)
    }

    /// Returns the names and values that this has beyond those of another, from which it was made.
    pub(super) fn beyond(&self, outer: &Self) -> Vec<(String, String)> {
        let own = self.0.len() - outer.0.len();
        // The last name stands first.
        self.0[..own].iter().rev().cloned().collect()
    }

    /// Returns the names that stand in a text in braces, with their values.
    pub(super) fn names_in(&self, text: &Located) -> impl Iterator<Item = (&str, &str)> {
        let stands = |name: &str| text.text().contains(&format!("{{{name}}}"));
        let named: BTreeMap<&str, &str> = self.0.iter().rev().map(|(n, v)| (&**n, &**v)).collect();
        named.into_iter().filter(move |(name, _)| stands(name))
    }

    /// Returns the same with a value for a name, in the place of one that it has.
    pub(super) fn with(&self, name: &str, value: &str) -> Self {
        let own = (name.to_owned(), value.to_owned());
        Self([&[own], &self.0[..]].concat())
    }
}

/// Returns the sweeps of a table inside another: only that other if it has no `each`.
pub(super) fn sweeps(
    table: &Table<'_>,
    outer: &Sweep,
    budget: &Budget<'_>,
) -> Result<Vec<Sweep>, ExperimentError> {
    let mut sweeps = vec![outer.clone()];
    for (name, value) in table.inner("each")? {
        let key = format!("each.{name}");
        let values = values(table, &key, value, outer, budget)?;
        if values.is_empty() || sweeps.len() * values.len() > RUNS_MAX {
            let found = format!(
                "{} of them, with {} of the names before",
                values.len(),
                sweeps.len()
            );
            let expected = format!("at least one value, and at most {RUNS_MAX} with the others");
            return Err(table.wrong(&key, &expected, found, value.span().start));
        }
        let values = &values;
        let swept = sweeps.iter();
        sweeps = swept
            .flat_map(|sweep| values.iter().map(|value| sweep.with(&name, value)))
            .collect();
    }
    Ok(sweeps)
}

fn values<'t>(
    table: &Table<'t>,
    key: &str,
    value: &Spanned<DeValue<'t>>,
    outer: &Sweep,
    budget: &Budget<'_>,
) -> Result<Vec<String>, ExperimentError> {
    const EXPECTED: &str = "a list of numbers or texts, or a range such as \"0..12\"";
    if value.get_ref().is_str() {
        let located = table.located(key, value)?;
        let range = range_of(outer.fill(&located, budget)?.text());
        return range.ok_or_else(|| table.unlike(key, EXPECTED, value));
    }
    let Some(items) = value.get_ref().as_array() else {
        return Err(table.unlike(key, EXPECTED, value));
    };
    let text = |item| text_of(item).ok_or_else(|| table.unlike(key, EXPECTED, item));
    items.iter().map(text).collect()
}

/// Returns a number or a text as it stands in a program, which has no sign before what is positive
/// and no `_` in numbers.
fn text_of(value: &Spanned<DeValue<'_>>) -> Option<String> {
    let written = |number: &str| number.trim_start_matches('+').replace('_', "");
    match value.get_ref() {
        DeValue::Integer(number) if number.radix() == 10 => Some(written(number.as_str())),
        DeValue::Float(number) => Some(written(number.as_str())),
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    }
}

fn range_of(text: &str) -> Option<Vec<String>> {
    let (start, end) = text.split_once("..")?;
    let (start, end): (i64, i64) = (start.trim().parse().ok()?, end.trim().parse().ok()?);
    // One more than the limit is enough to be refused.
    let range = (start..end).take(RUNS_MAX + 1);
    Some(range.map(|value| value.to_string()).collect())
}
