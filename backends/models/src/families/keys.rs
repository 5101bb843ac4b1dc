//! The keys of a `config.json`, as Python's classes read them: what is missing has the default of
//! the class.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::config::{key_place, parse, saturate};
use crate::files::FileError;

/// What to do about a configuration that asks for something that is not computed.
const ADVICE: &str = "use a model of the family without it";

/// An object of a configuration.
pub(crate) struct Keys<'f> {
    map: Map<String, Json>,
    /// The keys that lead to it, each with a dot behind it.
    within: String,
    /// Where a key is in files that have another name for it.
    places: BTreeMap<String, String>,
    file: &'f str,
}

/// What a configuration says of a key that may be `null`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Given<T> {
    Missing,
    Null,
    Value(T),
}

impl<T> Given<T> {
    /// Returns the value; `missing` if there is no such key, and nothing if it is `null`.
    pub(crate) fn or(self, missing: Option<T>) -> Option<T> {
        match self {
            Self::Missing => missing,
            Self::Null => None,
            Self::Value(value) => Some(value),
        }
    }
}

impl<'f> Keys<'f> {
    /// Reads the text of a `config.json`; `file` is what messages call it.
    pub(crate) fn parse(text: &str, file: &'f str) -> Result<Self, FileError> {
        Ok(Self::new(parse(text, file)?, BTreeMap::new(), file))
    }

    /// Makes the keys of a file that has them at other places.
    pub(crate) const fn new(
        map: Map<String, Json>,
        places: BTreeMap<String, String>,
        file: &'f str,
    ) -> Self {
        Self {
            map,
            within: String::new(),
            places,
            file,
        }
    }

    pub(crate) const fn file(&self) -> &'f str {
        self.file
    }

    /// Returns whether there is such a key, whose value is not `null`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(|value| !value.is_null())
    }

    /// Returns the names of all keys, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.map.keys().map(String::as_str)
    }

    /// Reads a size; too large for the machine is too large for the limits as well.
    pub(crate) fn given_size(&self, key: &str) -> Result<Given<usize>, FileError> {
        self.read(key, "a whole number that is not negative", |value| {
            value.as_u64().map(saturate)
        })
    }

    pub(crate) fn size(&self, key: &str, default: usize) -> Result<usize, FileError> {
        Ok(self.optional_size(key)?.unwrap_or(default))
    }

    pub(crate) fn optional_size(&self, key: &str) -> Result<Option<usize>, FileError> {
        Ok(self.given_size(key)?.or(None))
    }

    pub(crate) fn given_number(&self, key: &str) -> Result<Given<f64>, FileError> {
        self.read(key, "a number", Json::as_f64)
    }

    pub(crate) fn number(&self, key: &str, default: f64) -> Result<f64, FileError> {
        Ok(self.optional_number(key)?.unwrap_or(default))
    }

    pub(crate) fn optional_number(&self, key: &str) -> Result<Option<f64>, FileError> {
        Ok(self.given_number(key)?.or(None))
    }

    pub(crate) fn flag(&self, key: &str, default: bool) -> Result<bool, FileError> {
        let read = self.read(key, "true or false", Json::as_bool)?;
        Ok(read.or(None).unwrap_or(default))
    }

    pub(crate) fn optional_text(&self, key: &str) -> Result<Option<String>, FileError> {
        let read = self.read(key, "a text", |value| value.as_str().map(str::to_owned))?;
        Ok(read.or(None))
    }

    /// Reads a list of numbers.
    pub(crate) fn optional_numbers(&self, key: &str) -> Result<Option<Vec<f64>>, FileError> {
        let numbers = |value: &Json| value.as_array()?.iter().map(Json::as_f64).collect();
        Ok(self.read(key, "a list of numbers", numbers)?.or(None))
    }

    /// Reads a list of texts.
    pub(crate) fn optional_texts(&self, key: &str) -> Result<Option<Vec<String>>, FileError> {
        let text = |value: &Json| value.as_str().map(str::to_owned);
        let texts = |value: &Json| value.as_array()?.iter().map(text).collect();
        Ok(self.read(key, "a list of texts", texts)?.or(None))
    }

    /// Reads a list of which each is 0, 1, true or false.
    pub(crate) fn optional_flags(&self, key: &str) -> Result<Option<Vec<bool>>, FileError> {
        let flag = |value: &Json| {
            let number = value.as_u64().map(|number| number != 0);
            value.as_bool().or(number)
        };
        let flags = |value: &Json| value.as_array()?.iter().map(flag).collect();
        Ok(self.read(key, "a list of 0 and 1", flags)?.or(None))
    }

    /// Reads one token or several; those of the class, as far as the model has them, if there is no
    /// such key.
    pub(crate) fn tokens(
        &self,
        key: &str,
        default: Option<u32>,
        vocabulary: usize,
    ) -> Result<Vec<u32>, FileError> {
        let default = default.filter(|&id| (id as usize) < vocabulary);
        let missing = Vec::from_iter(default);
        let read = self.read(key, "a token, or a list of tokens", token_list)?;
        Ok(read.or(Some(missing)).unwrap_or_default())
    }

    /// Returns an object inside; nothing if it is missing, `null` or empty.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Self>, FileError> {
        let read = self.read(key, "an object", |value| value.as_object().cloned())?;
        let map = read.or(None).filter(|map| !map.is_empty());
        Ok(map.map(|map| Self {
            map,
            within: format!("{}{key}.", self.within),
            places: BTreeMap::new(),
            file: self.file,
        }))
    }

    /// Refuses a key that asks for something that is not computed.
    pub(crate) fn unsupported(
        &self,
        key: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> FileError {
        self.unsupported_with(key, expected, found, ADVICE)
    }

    /// Refuses a key as [`unsupported`](Self::unsupported) does, with an advice of its own.
    pub(crate) fn unsupported_with(
        &self,
        key: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
        advice: &str,
    ) -> FileError {
        FileError::unsupported(self.file, self.place(key), expected, found, advice)
    }

    /// Refuses a value that does not fit the others.
    pub(crate) fn malformed(
        &self,
        key: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> FileError {
        FileError::malformed(self.file, self.place(key), expected, found)
    }

    fn place(&self, key: &str) -> String {
        let elsewhere = self.places.get(key).cloned();
        elsewhere.unwrap_or_else(|| key_place(&format!("{}{key}", self.within)))
    }

    /// Refuses a switch that is on.
    pub(crate) fn refuse_flag(&self, key: &str, expected: &str) -> Result<(), FileError> {
        match self.flag(key, false)? {
            true => Err(self.unsupported(key, expected, "true")),
            false => Ok(()),
        }
    }

    fn read<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&Json) -> Option<T>,
    ) -> Result<Given<T>, FileError> {
        match self.map.get(key) {
            None => Ok(Given::Missing),
            Some(Json::Null) => Ok(Given::Null),
            Some(value) => match read(value) {
                Some(value) => Ok(Given::Value(value)),
                None => {
                    let found: String = value.to_string().chars().take(80).collect();
                    Err(self.malformed(key, expected, found))
                }
            },
        }
    }
}

/// Reads one token or several. A negative number is no token: it is how files say that there is
/// none.
fn token_list(value: &Json) -> Option<Vec<u32>> {
    let token = |value: &Json| match value.as_i64()? {
        ..0 => Some(None),
        id => id.try_into().ok().map(Some),
    };
    let tokens = match value.as_array() {
        Some(several) => several.iter().map(token).collect::<Option<Vec<_>>>()?,
        None => vec![token(value)?],
    };
    Some(tokens.into_iter().flatten().collect())
}
