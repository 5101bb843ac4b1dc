//! A target for what looks at journals: the index, the way back of a value, exports, checks.

use std::io::Cursor;

use interloom_journal::export::{Selection, json_lines, npz, safetensors, trace};
use interloom_journal::provenance::{ProvenanceLimits, is_a_way_back, provenance_of};
use interloom_journal::{IndexedJournal, Journal, JournalReader, races};

use crate::journal::repaired;

const NAME: &str = "fuzz.ilj";

/// How many exchanges are followed back: each looks at all before it.
const FOLLOWED: u64 = 4;

/// Looks at a journal as it would be if all its checksums were right; what is done about wrong ones
/// is for [`journal`](crate::journal()) to try.
///
/// # Panics
///
/// Panics if the index finds another exchange than the journal has, a value's way back does not go
/// back, or an export is not what its format says.
pub fn tools(bytes: &[u8]) -> bool {
    let bytes = &repaired(bytes)[..];
    let open = || JournalReader::new(Cursor::new(bytes), NAME);
    let Ok(reader) = open() else {
        return false;
    };
    let (whole, error) = Journal::read_prefix(open().unwrap());
    let (mut indexed, problem) = IndexedJournal::new(reader);
    assert_eq!(problem, error);
    assert_eq!(indexed.exchanges(), whole.exchanges().count() as u64);
    for exchange in whole.exchanges() {
        let found = indexed.exchange(exchange.index).unwrap();
        assert_eq!(found, *exchange);
        assert_eq!(indexed.text(&found).lines().count(), 1);
    }
    follow(&mut indexed);
    assert_eq!(races(&whole).len(), whole.runs.len());

    let all = Selection::default;
    let (mut lines, mut lanes, mut archive, mut tensors) = (vec![], vec![], vec![], vec![]);
    let exported = json_lines(open().unwrap(), all(), &mut lines, NAME);
    let found = exported
        .as_ref()
        .map_or_else(Some, |exported| exported.torn.as_ref());
    assert_eq!(found, error.as_ref());
    if let Ok(exported) = exported {
        let count = lines.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(count as u64, exported.items);
    }
    let exported = trace(open().unwrap(), all(), &mut lanes, NAME);
    assert!(exported.map_or(true, |exported| exported.items == indexed.exchanges()));
    if let Ok(exported) = npz(open().unwrap(), all(), &mut archive, NAME) {
        let entries = [archive[archive.len() - 12], archive[archive.len() - 11]];
        assert_eq!(u64::from(u16::from_le_bytes(entries)), exported.items);
    }
    if safetensors(open().unwrap(), all(), &mut tensors, NAME).is_ok() {
        assert!(crate::files::safetensors(&tensors), "an export is refused");
    }
    error.is_none()
}

/// Follows values back to where they came from; each step is an earlier exchange.
fn follow(journal: &mut IndexedJournal<Cursor<&[u8]>>) {
    for index in 0..journal.exchanges().min(FOLLOWED) {
        let Ok(steps) = provenance_of(journal, index, ProvenanceLimits::default(), &()) else {
            continue;
        };
        assert_eq!(steps[0].exchange.index, index);
        assert!(is_a_way_back(&steps), "{steps:?}");
    }
}
