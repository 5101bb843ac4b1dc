//! Making a whole journal of what is left of one.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use super::create::{lock, open_to_replace};
use super::error::{FileAction, JournalError};
use super::read::JournalReader;
use super::record::{FailureLine, OutcomeRecord};
use super::resume::{Loss, OpenRun, Scan};
use super::same_file::check_is_another;
use super::unfinished::Unfinished;
use super::write::JournalWriter;

/// The target of a recovered journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RecoveryTarget<'a> {
    /// To another file; the damaged one stays as it is. An older journal there is replaced when the
    /// new one is whole.
    Copy(&'a Path),
    /// To its own place: what cannot be read is cut off.
    InPlace,
}

/// The recovered part of a journal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recovery {
    /// How many frames were good.
    pub frames: u64,
    /// How many runs had begun.
    pub runs: u32,
    /// How many exchanges were good.
    pub exchanges: u64,
    /// Where the last good frame ended, in bytes.
    pub good_bytes: u64,
    /// The run that had no end, and was given one.
    pub interrupted: Option<OpenRun>,
    /// What could not be read.
    pub lost: Option<Loss>,
}

impl Recovery {
    /// Returns whether everything that had been written is still there.
    pub fn is_lossless(&self) -> bool {
        self.lost.is_none()
    }
}

/// The outcome of a run whose end was lost.
const INTERRUPTED: &str = "interrupted: the recording does not go further";

/// Takes the beginning of the journal at `path`, up to the last good frame, and makes it whole.
///
/// A run without end gets one, with the code E065, a note says what was lost, and a footer closes
/// the journal. A journal that was finished and is good comes out as it is.
///
/// # Errors
/// E060 to E065 if not even the head can be read, E070 if the target is another file than a
/// journal, or the damaged journal itself (whatever it is called there), E073 if another process
/// writes the target, and E061 if the system refuses.
pub fn recover(
    path: impl AsRef<Path>,
    target: RecoveryTarget<'_>,
) -> Result<Recovery, JournalError> {
    let path = path.as_ref();
    let reader = JournalReader::open(path)?;
    let length = file_length(path)?;
    let scan = Scan::of(reader);
    let good_bytes = scan.reader.good_bytes();
    let complete = scan.reader.is_complete();
    let recovery = Recovery {
        frames: scan.reader.good_frames(),
        runs: scan.runs,
        exchanges: scan.reader.good_exchanges(),
        good_bytes,
        interrupted: scan.open_run,
        lost: scan.error.map(|error| Loss {
            offset: good_bytes,
            bytes: length.saturating_sub(good_bytes),
            error,
        }),
    };
    // What is left is a good beginning; a finished journal needs nothing more.
    let close = |place: &Path, journal: &Arc<str>| match complete {
        true => Ok(()),
        false => close(place, journal, &recovery),
    };
    match target {
        RecoveryTarget::Copy(to) => copy(path, to, good_bytes, close)?,
        RecoveryTarget::InPlace => {
            if !recovery.is_lossless() {
                cut(path, good_bytes)?;
            }
            close(path, &name_of(path))?;
        }
    }
    Ok(recovery)
}

fn name_of(path: &Path) -> Arc<str> {
    path.display().to_string().into()
}

fn close(path: &Path, journal: &Arc<str>, recovery: &Recovery) -> Result<(), JournalError> {
    let mut resumed = JournalWriter::resume_as(path, journal)?;
    if let Some(loss) = &recovery.lost {
        let text = format!(
            "{} bytes from byte {} on were lost: {}",
            loss.bytes, loss.offset, loss.error
        );
        resumed.writer.note("recovered", &shortened(&text))?;
    }
    if resumed.open_run.is_some() {
        resumed
            .writer
            .end_run(OutcomeRecord::Failed(FailureLine::new(
                "E065",
                &INTERRUPTED,
            )))?;
    }
    resumed.writer.finish().map(|_| ())
}

/// A note has room for 64 KiB; messages may quote what stands in a journal.
fn shortened(text: &str) -> String {
    text.chars().take(4096).collect()
}

/// Copies the beginning of a journal and closes the copy, which is in its place only when it is
/// whole.
fn copy(
    from: &Path,
    to: &Path,
    bytes: u64,
    close: impl FnOnce(&Path, &Arc<str>) -> Result<(), JournalError>,
) -> Result<(), JournalError> {
    let journal = name_of(to);
    check_is_another(from, to, "it is the journal that is to be recovered")?;
    // The lock keeps other writers away until it is replaced.
    let _older = match to.try_exists() {
        Ok(false) => None,
        _ => Some(open_to_replace(to, &journal)?),
    };
    let failed = |doing| {
        let journal = journal.clone();
        move |error| JournalError::io(&journal, doing, &error)
    };
    let copy = Unfinished::beside(to).map_err(failed(FileAction::Other("create")))?;
    copy_prefix(from, copy.file(), &journal, bytes)?;
    close(copy.path(), &journal)?;
    copy.put().map_err(failed(FileAction::Other("write")))
}

fn copy_prefix(
    from: &Path,
    mut to: &File,
    journal: &Arc<str>,
    bytes: u64,
) -> Result<(), JournalError> {
    let source = File::open(from);
    let name = name_of(from);
    let source = source.map_err(|error| JournalError::io(&name, FileAction::Open, &error))?;
    let copied = io::copy(&mut BufReader::new(source).take(bytes), &mut to);
    let copied =
        copied.map_err(|error| JournalError::io(journal, FileAction::Other("write to"), &error))?;
    if copied == bytes {
        return Ok(());
    }
    let error = io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter meanwhile");
    Err(JournalError::io(&name, FileAction::Read, &error))
}

fn cut(path: &Path, length: u64) -> Result<(), JournalError> {
    let journal = name_of(path);
    let file = OpenOptions::new().write(true).open(path);
    let failed = |error| JournalError::io(&journal, FileAction::Other("cut"), &error);
    let file = file.map_err(failed)?;
    lock(&file, &journal)?;
    file.set_len(length).map_err(failed)
}

fn file_length(path: &Path) -> Result<u64, JournalError> {
    let journal = name_of(path);
    let end = File::open(path).and_then(|mut file| file.seek(SeekFrom::End(0)));
    end.map_err(|error| JournalError::io(&journal, FileAction::Other("examine"), &error))
}
