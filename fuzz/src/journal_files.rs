//! Targets for journals as files: opened, and made whole again.

use std::fs;
use std::path::Path;

use interloom_journal::{
    IndexedJournal, Journal, JournalReader, RecoveryTarget, check, recover as make_whole,
};
use tempfile::TempDir;

use crate::journal::repaired;

/// Opens a file as everything does that opens journals.
///
/// # Panics
///
/// Panics if two of them find something else in it.
pub fn open(bytes: &[u8]) -> bool {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("fuzz.ilj");
    let whole = open_file(&path, &repaired(bytes));
    open_file(&path, bytes);
    whole
}

fn open_file(path: &Path, bytes: &[u8]) -> bool {
    fs::write(path, bytes).expect("a file");
    let reader = match JournalReader::open(path) {
        Ok(reader) => reader,
        Err(refused) => {
            assert_eq!(check(path).as_ref(), Err(&refused));
            assert_eq!(Journal::load_prefix(path).as_ref(), Err(&refused));
            assert_eq!(IndexedJournal::open(path).err().as_ref(), Some(&refused));
            return false;
        }
    };
    let checked = check(path).expect("it was opened");
    let (journal, error) = Journal::load_prefix(path).expect("it was opened");
    let (indexed, problem) = IndexedJournal::open(path).expect("it was opened");
    assert_eq!(problem, error);
    assert_eq!(&journal.head, reader.head());
    assert_eq!(&journal.head, indexed.head());
    assert_eq!(journal.exchanges().count() as u64, checked.exchanges);
    assert_eq!(indexed.exchanges(), checked.exchanges);
    assert_eq!(journal.runs.len(), checked.runs.len());
    assert_eq!(journal.footer.is_some(), checked.is_complete);
    // A check also looks for tensors that should be there.
    assert!(error.is_none() || error == checked.problem);
    assert!(checked.good_bytes <= bytes.len() as u64);
    error.is_none()
}

/// Makes a journal whole again whose end is cut or damaged, into another file and in its own place.
///
/// # Panics
///
/// Panics if what comes out is not whole, or has other exchanges than the good beginning.
pub fn recover(bytes: &[u8]) -> bool {
    let folder = TempDir::new().expect("a folder");
    let whole = recover_file(folder.path(), &repaired(bytes));
    recover_file(folder.path(), bytes);
    whole
}

fn recover_file(folder: &Path, bytes: &[u8]) -> bool {
    let [damaged, copy] = ["damaged.ilj", "copy.ilj"].map(|name| folder.join(name));
    fs::write(&damaged, bytes).expect("a file");
    let _there_may_be_none = fs::remove_file(&copy);
    let before = Journal::load_prefix(&damaged);
    let recovery = match make_whole(&damaged, RecoveryTarget::Copy(&copy)) {
        Ok(recovery) => recovery,
        Err(error) => {
            // Only a journal without a head cannot be made whole, and it is left alone.
            assert_eq!(before.err().as_ref(), Some(&error));
            assert!(fs::read(&damaged).expect("a file") == bytes && !copy.exists());
            return false;
        }
    };
    let (before, error) = before.expect("its head was read");
    assert_eq!(
        recovery.lost.as_ref().map(|lost| &lost.error),
        error.as_ref()
    );
    assert_eq!(recovery.is_lossless(), error.is_none());
    if let Some(lost) = &recovery.lost {
        assert_eq!(lost.offset + lost.bytes, bytes.len() as u64);
    }
    let after = Journal::load(&copy).expect("it was made whole");
    assert!(after.footer.is_some());
    assert!(after.exchanges().eq(before.exchanges()));
    let copied = fs::read(&copy).expect("a file");
    assert!(copied.starts_with(&bytes[..recovery.good_bytes as usize]));
    // In its own place it becomes the same, but for the name in messages.
    let again = make_whole(&damaged, RecoveryTarget::InPlace).expect("it can be made whole");
    assert_eq!(
        (again.good_bytes, again.exchanges),
        (recovery.good_bytes, recovery.exchanges)
    );
    assert!(fs::read(&damaged).expect("a file") == copied);
    // What is whole stays as it is.
    let nothing = make_whole(&copy, RecoveryTarget::InPlace).expect("it is whole");
    assert!(nothing.is_lossless() && fs::read(&copy).expect("a file") == copied);
    error.is_none()
}
