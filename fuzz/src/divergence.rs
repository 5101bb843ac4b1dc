//! The target for the comparison of two journals.

use std::fs;
use std::path::Path;

use interloom_journal::divergence::{Comparer, JournalDiff, ReplayComparison, compare_journals};
use interloom_journal::{Journal, JournalReader};
use tempfile::TempDir;

use crate::journal::repaired;

/// How many exchanges before a difference are kept.
const CONTEXT: usize = 3;

/// Compares two journals: the first two bytes say how long the first one is.
///
/// # Panics
///
/// Panics if a journal parts from itself, or two journals part in one direction only.
pub fn divergence(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else {
        return false;
    };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (first, second) = rest.split_at(length);
    let (first, second) = (repaired(first), repaired(second));
    let folder = TempDir::new().expect("a folder");
    let paths = ["first.ilj", "second.ilj"].map(|name| folder.path().join(name));
    fs::write(&paths[0], &first).expect("a file");
    fs::write(&paths[1], &second).expect("a file");
    let [a, b] = &paths;
    parts_from_itself_nowhere(a);
    let Ok(there) = compare_journals(a, b, CONTEXT) else {
        return false;
    };
    let found = there.comparison.divergence.as_ref();
    if let Some(divergence) = found {
        assert!(!divergence.to_string().is_empty());
        assert!(divergence.to_json().is_object());
    }
    assert_eq!(found.is_some(), there.aligned.is_some());
    if let Ok(back) = compare_journals(b, a, CONTEXT) {
        fit(&there, &back);
    }
    if let Some(comparison) = compare_bytes(&first, &second) {
        assert_eq!(comparison.divergence.is_some(), found.is_some());
    }
    true
}

fn parts_from_itself_nowhere(path: &Path) {
    let loaded = Journal::load_prefix(path);
    if let (Ok((journal, None)), Ok(itself)) = (loaded, compare_journals(path, path, CONTEXT)) {
        assert!(itself.comparison.divergence.is_none() && itself.environment.is_none());
        let exchanges = journal.exchanges().count() as u64;
        assert_eq!(itself.comparison.exchanges, exchanges);
    }
}

/// Two journals part in both directions or in none, and what one has alone the other has not.
fn fit(there: &JournalDiff, back: &JournalDiff) {
    let parts = |diff: &JournalDiff| diff.comparison.divergence.is_some();
    assert_eq!(parts(back), parts(there));
    assert_eq!(back.environment.is_some(), there.environment.is_some());
    if let (Some(there), Some(back)) = (&there.aligned, &back.aligned) {
        assert_eq!(
            (there.equal, there.only_first),
            (back.equal, back.only_second)
        );
    }
}

/// Compares two journals without files, as far as the second can be read.
fn compare_bytes(first: &[u8], second: &[u8]) -> Option<ReplayComparison> {
    let read = |bytes| JournalReader::new(bytes, "fuzz.ilj").expect("it was read");
    let mut comparer = Comparer::new(read(first).records()).with_context(CONTEXT);
    for record in read(second).records() {
        match record {
            Ok(record) => drop(comparer.record(&record)),
            Err(_) if comparer.divergence().is_some() => break,
            // What else it had is not known.
            Err(_) => return None,
        }
    }
    comparer.finish().ok()
}
