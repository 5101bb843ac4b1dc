//! The target for the command line.

use std::ffi::OsString;

use interloom_cli::read;

/// Reads bytes as arguments with zeros between them; nothing is done with them.
///
/// # Panics
///
/// Panics if what is refused is refused without a word.
pub fn arguments(bytes: &[u8]) -> bool {
    let words = bytes.split(|byte| *byte == 0);
    let words = words.map(|word| OsString::from(String::from_utf8_lossy(word).into_owned()));
    match read(std::iter::once("interloom".into()).chain(words)) {
        Ok(_) => true,
        Err(error) => {
            assert!(!error.to_string().trim().is_empty());
            // Asked for help or the version.
            !error.use_stderr()
        }
    }
}
