//! Tables of TOML in which every key is known and every value has a place.

use std::ops::Range;

use interloom_models::files::{ChatMap, ChatValue};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ExperimentError;
use super::language::{NAME_BYTES_MAX, is_swept_word, is_word};
use super::source::{Located, Source};

/// How many names an error names as nearest.
const NEAREST_MAX: usize = 3;

type Value<'t> = Spanned<DeValue<'t>>;

/// One table of an experiment file.
pub(super) struct Table<'t> {
    source: &'t Source,
    entries: &'t DeTable<'t>,
    /// Where the table begins.
    start: usize,
}

impl<'t> Table<'t> {
    /// Takes a table that has no other keys than `known`; `name` is what messages call it.
    pub(super) fn new(
        source: &'t Source,
        entries: &'t DeTable<'t>,
        start: usize,
        name: &'static str,
        known: &[&str],
    ) -> Result<Self, ExperimentError> {
        let unknown = entries.iter().map(|(key, _)| key);
        let unknown = unknown.filter(|key| !known.contains(&key.get_ref().as_ref()));
        // The first in the file, in whatever order the table has them.
        if let Some(key) = unknown.min_by_key(|key| key.span().start) {
            return Err(ExperimentError::UnknownKey {
                at: source.spot(key.span().start),
                table: name,
                key: key.get_ref().to_string(),
                nearest: nearest(key.get_ref(), known.iter().copied()),
            });
        }
        Ok(Self {
            source,
            entries,
            start,
        })
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.get(key).is_some()
    }

    /// Returns where the value of a key stands, or the table if it has none.
    pub(super) fn at(&self, key: &str) -> usize {
        self.entries
            .get(key)
            .map_or(self.start, |value| value.span().start)
    }

    /// Returns a text, if there is one.
    pub(super) fn text(&self, key: &str) -> Result<Option<Located>, ExperimentError> {
        self.entries
            .get(key)
            .map(|value| self.located(key, value))
            .transpose()
    }

    /// Returns a text that has to be there.
    pub(super) fn needed_text(&self, key: &str) -> Result<Located, ExperimentError> {
        self.text(key)?.ok_or_else(|| self.missing(key, "a text"))
    }

    /// Returns a name: a word, so that programs can refer to it.
    pub(super) fn name(&self, key: &str) -> Result<Option<String>, ExperimentError> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        self.as_name(key, text.text()).map(Some)
    }

    /// Returns a text as a name.
    fn as_name(&self, key: &str, text: &str) -> Result<String, ExperimentError> {
        const EXPECTED: &str =
            "one word of at most 256 letters, digits and `_` that does not begin with a digit";
        match is_word(text) {
            true => Ok(text.to_owned()),
            false => Err(self.no_name(key, text, EXPECTED)),
        }
    }

    /// Returns a text as the name of something that may be swept over: a word with numbers of any
    /// kind in it.
    pub(super) fn as_swept_name(&self, key: &str, text: &str) -> Result<String, ExperimentError> {
        const EXPECTED: &str = "one word of at most 256 letters, digits and `_` that does not begin with a digit; `.`, `-` and `+` stand before a digit \
             only";
        match is_swept_word(text) {
            true => Ok(text.to_owned()),
            false => Err(self.no_name(key, text, EXPECTED)),
        }
    }

    fn no_name(&self, key: &str, text: &str, expected: &str) -> ExperimentError {
        let found: String = text.chars().take(64).collect();
        self.wrong(key, expected, format!("{found:?}"), self.at(key))
    }

    pub(super) fn needed_name(&self, key: &str) -> Result<String, ExperimentError> {
        self.name(key)?.ok_or_else(|| self.missing(key, "a name"))
    }

    pub(super) fn truth(&self, key: &str) -> Result<bool, ExperimentError> {
        match self.entries.get(key) {
            None => Ok(false),
            Some(value) => value
                .get_ref()
                .as_bool()
                .ok_or_else(|| self.unlike(key, "`true` or `false`", value)),
        }
    }

    pub(super) fn is_table(&self, key: &str) -> bool {
        self.entries
            .get(key)
            .is_some_and(|value| value.get_ref().is_table())
    }

    /// Returns a number as it is written, or the text in its place, if there is one.
    pub(super) fn figure(&self, key: &str) -> Result<Option<Located>, ExperimentError> {
        let Some(value) = self.entries.get(key) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::String(_) => self.located(key, value).map(Some),
            DeValue::Integer(number) => Ok(Some(Located::whole(number.as_str()))),
            DeValue::Float(number) => Ok(Some(Located::whole(number.as_str()))),
            _ => Err(self.unlike(key, "a number", value)),
        }
    }

    /// Returns a whole number in a range, if there is one.
    pub(super) fn count(
        &self,
        key: &str,
        range: Range<u32>,
    ) -> Result<Option<u32>, ExperimentError> {
        let Some(value) = self.entries.get(key) else {
            return Ok(None);
        };
        self.number(key, value, range).map(Some)
    }

    /// Returns a list of texts, or one text as a list of one.
    pub(super) fn texts(
        &self,
        key: &str,
    ) -> Result<Option<Vec<(Located, usize)>>, ExperimentError> {
        let Some(value) = self.entries.get(key) else {
            return Ok(None);
        };
        let items: Vec<&Value<'t>> = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => vec![value],
        };
        let text = |item: &Value<'t>| {
            let located = self.located(key, item)?;
            Ok((located, item.span().start))
        };
        items
            .into_iter()
            .map(text)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// Returns a list of at least one token, or a list of such lists, if there is one.
    pub(super) fn rows(&self, key: &str) -> Result<Option<Vec<Vec<u32>>>, ExperimentError> {
        const EXPECTED: &str = "a list of at least one token, or a list of such lists";
        let Some(value) = self.entries.get(key) else {
            return Ok(None);
        };
        let Some(items) = value.get_ref().as_array() else {
            return Err(self.unlike(key, EXPECTED, value));
        };
        let row = |items: &'t [Value<'t>]| {
            let tokens = items.iter().map(|item| self.number(key, item, 0..u32::MAX));
            tokens.collect::<Result<Vec<u32>, _>>()
        };
        let is_nested = items.iter().any(|item| item.get_ref().is_array());
        let rows = match is_nested {
            false => vec![row(items)?],
            true => {
                let rows = items.iter().map(|item| match item.get_ref().as_array() {
                    Some(items) => row(items),
                    None => Err(self.unlike(key, EXPECTED, item)),
                });
                rows.collect::<Result<_, _>>()?
            }
        };
        match rows.iter().all(|row| !row.is_empty()) {
            true => Ok(Some(rows)),
            false => {
                let lengths: Vec<usize> = rows.iter().map(Vec::len).collect();
                let found = format!("rows of {lengths:?} tokens");
                Err(self.wrong(key, EXPECTED, found, value.span().start))
            }
        }
    }

    /// Returns the entries of a table inside this one, in the order in which they stand.
    pub(super) fn inner(&self, key: &str) -> Result<Vec<(String, &'t Value<'t>)>, ExperimentError> {
        let Some(value) = self.entries.get(key) else {
            return Ok(Vec::new());
        };
        let Some(table) = value.get_ref().as_table() else {
            return Err(self.unlike(key, "a table", value));
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let named = entries.into_iter();
        Ok(named
            .map(|(key, value)| (key.get_ref().to_string(), value))
            .collect())
    }

    /// Returns a table inside this one, with its known keys.
    pub(super) fn table(
        &self,
        key: &str,
        name: &'static str,
        known: &[&str],
    ) -> Result<Option<Table<'t>>, ExperimentError> {
        let Some(value) = self.entries.get(key) else {
            return Ok(None);
        };
        match value.get_ref().as_table() {
            None => Err(self.unlike(key, "a table", value)),
            Some(table) => {
                Table::new(self.source, table, value.span().start, name, known).map(Some)
            }
        }
    }

    /// Returns the tables of a list of tables, with their known keys.
    pub(super) fn tables(
        &self,
        key: &str,
        name: &'static str,
        known: &[&str],
    ) -> Result<Vec<Table<'t>>, ExperimentError> {
        let Some(value) = self.entries.get(key) else {
            return Ok(Vec::new());
        };
        let expected = format!("a list of tables, each of which begins with `{name}`");
        let Some(items) = value.get_ref().as_array() else {
            return Err(self.unlike(key, &expected, value));
        };
        let table = |item: &'t Value<'t>| match item.get_ref().as_table() {
            None => Err(self.unlike(key, &expected, item)),
            Some(table) => Table::new(self.source, table, item.span().start, name, known),
        };
        items.iter().map(table).collect()
    }

    /// Returns a table of values of any kind, if there is one.
    pub(super) fn map(&self, key: &str) -> Result<Option<ChatMap>, ExperimentError> {
        let Some(value) = self.entries.get(key) else {
            return Ok(None);
        };
        match self.any(key, value)? {
            ChatValue::Map(entries) => Ok(Some(entries)),
            _ => Err(self.unlike(key, "a table", value)),
        }
    }

    /// Returns a list of such tables.
    pub(super) fn maps(&self, key: &str, expected: &str) -> Result<Vec<ChatMap>, ExperimentError> {
        let Some(value) = self.entries.get(key) else {
            return Ok(Vec::new());
        };
        let Some(items) = value.get_ref().as_array() else {
            return Err(self.unlike(key, expected, value));
        };
        let map = |item: &Value<'t>| match self.any(key, item)? {
            ChatValue::Map(entries) => Ok(entries),
            _ => Err(self.unlike(key, expected, item)),
        };
        items.iter().map(map).collect()
    }

    /// Returns a value of any kind, the entries of a table in the order in which they stand.
    fn any(&self, key: &str, value: &Value<'t>) -> Result<ChatValue, ExperimentError> {
        let unlike = || self.unlike(key, "texts, numbers, truths, lists and tables", value);
        Ok(match value.get_ref() {
            DeValue::String(text) => ChatValue::Text(text.to_string()),
            DeValue::Boolean(truth) => ChatValue::Truth(*truth),
            DeValue::Integer(number) => {
                let number = i64::from_str_radix(number.as_str(), number.radix());
                ChatValue::Integer(number.map_err(|_| unlike())?)
            }
            DeValue::Float(number) => {
                ChatValue::Float(number.as_str().parse().map_err(|_| unlike())?)
            }
            DeValue::Array(items) => {
                let items = items.iter().map(|item| self.any(key, item));
                ChatValue::List(items.collect::<Result<_, _>>()?)
            }
            DeValue::Table(entries) => {
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_by_key(|(name, _)| name.span().start);
                let entry = |(name, value): (&Spanned<_>, &Value<'t>)| {
                    let name = ToString::to_string(name.get_ref());
                    Ok::<_, ExperimentError>((name, self.any(key, value)?))
                };
                ChatValue::Map(entries.into_iter().map(entry).collect::<Result<_, _>>()?)
            }
            DeValue::Datetime(_) => return Err(unlike()),
        })
    }

    /// Returns a whole number in a range.
    pub(super) fn number(
        &self,
        key: &str,
        value: &Value<'t>,
        range: Range<u32>,
    ) -> Result<u32, ExperimentError> {
        let number = value.get_ref().as_integer();
        let number = number.and_then(|n| u32::from_str_radix(n.as_str(), n.radix()).ok());
        let expected = match range.end {
            u32::MAX => format!("a whole number from {}", range.start),
            end => format!("a whole number from {} to {}", range.start, end - 1),
        };
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(number),
            None => Err(self.unlike(key, &expected, value)),
        }
    }

    /// Returns a text with the places of its bytes.
    pub(super) fn located(&self, key: &str, value: &Value<'t>) -> Result<Located, ExperimentError> {
        match value.get_ref().as_str() {
            Some(text) => Ok(self.source.located(value.span(), text)),
            None => Err(self.unlike(key, "a text", value)),
        }
    }

    pub(super) fn missing(&self, key: &str, expected: &str) -> ExperimentError {
        self.wrong(key, expected, "nothing".to_owned(), self.start)
    }

    /// Says that a value is not what it should be.
    pub(super) fn unlike(&self, key: &str, expected: &str, value: &Value<'t>) -> ExperimentError {
        let found = match value.get_ref() {
            DeValue::String(text) => format!("{text:?}"),
            DeValue::Integer(number) => number.as_str().to_owned(),
            DeValue::Float(number) => number.as_str().to_owned(),
            DeValue::Boolean(truth) => truth.to_string(),
            DeValue::Datetime(_) => "a date".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        self.wrong(key, expected, found, value.span().start)
    }

    pub(super) fn wrong(
        &self,
        key: &str,
        expected: &str,
        found: String,
        at: usize,
    ) -> ExperimentError {
        ExperimentError::Value {
            at: self.source.spot(at),
            key: key.to_owned(),
            expected: expected.to_owned(),
            found,
        }
    }
}

/// Returns the candidates most like a name, nearest first.
pub(super) fn nearest<'c>(
    name: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Vec<String> {
    // The comparison takes as long as the product of both lengths.
    let is_short = |name: &str| name.len() <= NAME_BYTES_MAX;
    let candidates = candidates
        .into_iter()
        .filter(|candidate| is_short(name) && is_short(candidate));
    let mut scored: Vec<(usize, &str)> = candidates
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .collect();
    scored.sort_unstable();
    let nearest = scored.into_iter().take(NEAREST_MAX);
    nearest.map(|(_, candidate)| candidate.to_owned()).collect()
}
