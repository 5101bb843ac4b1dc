//! What reading a configuration needs in every family: limits, checks and errors.

use serde::de::DeserializeOwned;

use crate::files::FileError;

/// The most blocks.
pub const MAX_LAYERS: usize = 1024;
/// The most attention heads, and the widest head.
pub const MAX_HEADS: usize = 4096;
/// The widest residual stream and the widest hidden layer of a block.
pub const MAX_WIDTH: usize = 1 << 20;
/// The most experts of a block.
pub const MAX_EXPERTS: usize = 4096;
/// The most positions.
pub const MAX_POSITIONS: usize = 1 << 26;

/// Reads the text of a `config.json`.
pub(crate) fn parse<T: DeserializeOwned>(text: &str, file: &str) -> Result<T, FileError> {
    let malformed = |error: serde_json::Error| {
        let expected = "a model's configuration";
        FileError::malformed(file, "the JSON", expected, error.to_string())
    };
    serde_json::from_str(text).map_err(malformed)
}

/// Checks that each size is at least 1 and at most its limit.
pub(crate) fn check_sizes(file: &str, sizes: &[(&str, usize, usize)]) -> Result<(), FileError> {
    let laws = sizes.iter().map(|&(what, size, most)| {
        let holds = (1..=most).contains(&size);
        (what, holds, format!("1 to {most}"), size.to_string())
    });
    check_laws(file, laws)
}

/// Checks laws: the place that each is about, whether it holds, what is expected and what is found.
pub(crate) fn check_laws<'l>(
    file: &str,
    laws: impl IntoIterator<Item = (&'l str, bool, String, String)>,
) -> Result<(), FileError> {
    let broken = laws.into_iter().find(|(_, holds, ..)| !holds);
    match broken {
        Some((place, _, expected, found)) => {
            Err(FileError::malformed(file, place, expected, found))
        }
        None => Ok(()),
    }
}

/// Too large for the machine is too large for the limits as well.
pub(crate) fn saturate(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

pub(crate) fn key_place(key: &str) -> String {
    format!("key `{key}`")
}

pub(crate) fn missing(file: &str, key: &str) -> FileError {
    FileError::malformed(file, key_place(key), "a value", "no such key")
}
