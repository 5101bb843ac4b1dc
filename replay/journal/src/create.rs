//! The file of a new journal, which replaces nothing but an old journal, and has one writer at a
//! time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek};
use std::path::Path;
use std::sync::Arc;

use super::error::{FileAction, JournalError};
use super::frame::MAGIC;

/// Opens `path` for a new journal: a new file, or one that may be replaced.
pub(super) fn open_to_write(path: &Path, journal: &Arc<str>) -> Result<File, JournalError> {
    let mut options = OpenOptions::new();
    match options.read(true).write(true).create_new(true).open(path) {
        Ok(file) => {
            lock(&file, journal)?;
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut file = open_to_replace(path, journal)?;
            let emptied = file.set_len(0).and_then(|()| file.rewind());
            emptied
                .map_err(|error| JournalError::io(journal, FileAction::Other("empty"), &error))?;
            Ok(file)
        }
        Err(error) => Err(JournalError::io(
            journal,
            FileAction::Other("create"),
            &error,
        )),
    }
}

/// Opens a file that may be replaced, which is an older journal or empty anyway, and leaves it as
/// it is.
pub(super) fn open_to_replace(path: &Path, journal: &Arc<str>) -> Result<File, JournalError> {
    check_not_special(path, journal)?;
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.map_err(|error| JournalError::io(journal, FileAction::Open, &error))?;
    let mut start = Vec::new();
    let read = (&file).take(MAGIC.len() as u64).read_to_end(&mut start);
    read.map_err(|error| JournalError::io(journal, FileAction::Read, &error))?;
    if !start.is_empty() && start != MAGIC {
        return Err(JournalError::WouldOverwrite {
            journal: journal.clone(),
            reason: "it exists and is not an Interloom journal".to_owned(),
        });
    }
    // Before anything is changed: another process may be writing.
    lock(&file, journal)?;
    Ok(file)
}

/// Keeps other writers away until the file is closed; readers may come.
///
/// Where the file system has no locks, as some on a network have not, writing continues without. So
/// it does on Windows, whose locks keep readers away too.
pub(super) fn lock(file: &File, journal: &Arc<str>) -> Result<(), JournalError> {
    if cfg!(windows) {
        return Ok(());
    }
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(JournalError::Busy {
            journal: journal.clone(),
        }),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// Opening a pipe would wait for its other end, so this comes before the opening.
fn check_not_special(path: &Path, journal: &Arc<str>) -> Result<(), JournalError> {
    let metadata = path.metadata();
    let metadata = metadata
        .map_err(|error| JournalError::io(journal, FileAction::Other("examine"), &error))?;
    if metadata.is_file() {
        return Ok(());
    }
    Err(JournalError::WouldOverwrite {
        journal: journal.clone(),
        reason: "it is not a regular file".to_owned(),
    })
}
