//! Reading the first bytes of a file that may be a journal.

use std::io::{self, Read};
use std::sync::Arc;

use super::error::{FileAction, JournalError};
use super::frame::{FORMAT_MAJOR, FORMAT_MINOR, MAGIC, PREAMBLE_BYTES, Preamble, PreambleFault};

/// Reads the preamble.
pub(super) fn read_preamble(
    source: &mut impl Read,
    journal: &Arc<str>,
) -> Result<Preamble, JournalError> {
    let mut bytes = [0; PREAMBLE_BYTES];
    let read = read_up_to(source, &mut bytes)
        .map_err(|error| JournalError::io(journal, FileAction::Read, &error))?;
    if read < MAGIC.len() || bytes[..MAGIC.len()] != MAGIC {
        return Err(JournalError::NotAJournal {
            journal: journal.clone(),
            found: describe_start(&bytes[..read.min(MAGIC.len())]),
        });
    }
    if read < PREAMBLE_BYTES {
        return Err(JournalError::Torn {
            journal: journal.clone(),
            frames: 0,
            exchanges: 0,
            good_bytes: 0,
            missing: format!("the preamble has {read} of {PREAMBLE_BYTES} bytes"),
        });
    }
    Preamble::decode(&bytes).map_err(|fault| preamble_error(fault, journal))
}

fn preamble_error(fault: PreambleFault, journal: &Arc<str>) -> JournalError {
    match fault {
        PreambleFault::Newer(major, minor) => JournalError::NewerFormat {
            journal: journal.clone(),
            found: (major, minor),
            supported: (FORMAT_MAJOR, FORMAT_MINOR),
        },
        PreambleFault::Damaged(check) => JournalError::Corrupt {
            journal: journal.clone(),
            frame: 0,
            offset: 0,
            check: check.to_owned(),
        },
        PreambleFault::Magic => JournalError::NotAJournal {
            journal: journal.clone(),
            found: "another start".to_owned(),
        },
    }
}

fn describe_start(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "an empty file".to_owned();
    }
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    if bytes.iter().all(is_text) {
        return format!("the text {:?}", String::from_utf8_lossy(bytes));
    }
    let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.join(" ")
}

/// Fills `bytes` as far as the source goes, and says how far that is.
pub(super) fn read_up_to(source: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match source.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
