//! The target for the comparison of two journals.

use std::fs;

use interloom::divergence::{Comparer, compare_journals};
use interloom::journal::{Journal, JournalReader};
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
    if let (Ok((journal, None)), Ok(itself)) =
        (Journal::load_prefix(a), compare_journals(a, a, CONTEXT))
    {
        assert!(itself.comparison.divergence.is_none() && itself.environment.is_none());
        assert_eq!(
            itself.comparison.exchanges,
            journal.exchanges().count() as u64
        );
    }
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
        assert_eq!(back.comparison.divergence.is_some(), found.is_some());
        assert_eq!(back.environment.is_some(), there.environment.is_some());
        if let (Some(there), Some(back)) = (&there.aligned, &back.aligned) {
            assert_eq!(
                (there.equal, there.only_first),
                (back.equal, back.only_second)
            );
        }
    }
    // The same without files.
    let name = "fuzz.ilj";
    let reader = JournalReader::new(&first[..], name).expect("it was read");
    let mut comparer = Comparer::new(reader.records()).with_context(CONTEXT);
    for record in JournalReader::new(&second[..], name)
        .expect("it was read")
        .records()
    {
        let Ok(record) = record else { break };
        comparer.record(&record);
    }
    if let Ok(comparison) = comparer.finish() {
        assert_eq!(comparison.divergence.is_some(), found.is_some());
    }
    true
}
