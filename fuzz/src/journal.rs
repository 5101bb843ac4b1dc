//! Targets for journals: the file, its frames, and their payloads.

use std::io::Cursor;

use interloom_journal::frame::{
    FORMAT_MINOR, FRAME_HEADER_BYTES, FrameHeader, FrameKind, PREAMBLE_BYTES, Preamble, padding,
};
use interloom_journal::{
    ExchangeRecord, Followed, Journal, JournalError, JournalReader, JournalWriter, Record, fuzzing,
};

const NAME: &str = "fuzz.ilj";

/// Reads a journal as it is, and as it would be if all its checksums were right.
///
/// # Panics
///
/// Panics if two ways of reading differ, or a record comes out after an error.
pub fn journal(bytes: &[u8]) -> bool {
    // Without this nearly all of what is tried would end at the first checksum.
    read(&repaired(bytes));
    read(bytes)
}

fn read(bytes: &[u8]) -> bool {
    let Ok(mut reader) = JournalReader::new(bytes, NAME) else {
        return false;
    };
    let (journal, error) = Journal::read_prefix(JournalReader::new(bytes, NAME).unwrap());
    let (mut exchanges, mut end) = (Vec::new(), reader.good_bytes());
    let failure = loop {
        match reader.next_record() {
            Ok(Some((info, record))) => {
                assert!(info.sequence == 0 || info.offset >= end, "frames overlap");
                end = reader.good_bytes();
                exchanges.extend(match record {
                    Record::Exchange(exchange) => Some(exchange),
                    _ => None,
                });
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert_eq!(failure, error);
    follow(bytes, &exchanges, error.as_ref());
    resume(bytes, &exchanges, error.as_ref());
    assert!(exchanges.iter().eq(journal.exchanges()));
    assert!(end <= bytes.len() as u64, "{end} of {} bytes", bytes.len());
    assert!(
        matches!(reader.next_record(), Ok(None)),
        "something follows the end"
    );
    for (index, exchange) in exchanges.iter().enumerate() {
        assert_eq!(journal.exchange(index as u64), Some(exchange));
    }
    failure.is_none()
}

/// A reader of a growing file finds the same, and waits where the other says that the end is torn.
fn follow(bytes: &[u8], exchanges: &[ExchangeRecord], error: Option<&JournalError>) {
    let mut reader = JournalReader::new(Cursor::new(bytes), NAME).unwrap();
    let mut expected = exchanges.iter();
    loop {
        match reader.follow() {
            Ok(Followed::Record(_, Record::Exchange(exchange))) => {
                assert_eq!(Some(&exchange), expected.next());
            }
            Ok(Followed::Record(..)) => {}
            Ok(Followed::Waiting) => break assert!(error.is_none_or(is_torn)),
            Ok(Followed::Finished) => break assert_eq!(error, None),
            Err(found) => break assert_eq!(error, Some(&found)),
        }
    }
    assert_eq!(expected.next(), None);
}

/// A journal that is good but for its tail can be gone on with, and is then whole.
fn resume(bytes: &[u8], exchanges: &[ExchangeRecord], error: Option<&JournalError>) {
    match fuzzing::resume_and_finish(bytes) {
        Ok(whole) => {
            let (journal, error) =
                Journal::read_prefix(JournalReader::new(&whole[..], NAME).unwrap());
            assert_eq!(error, None);
            assert!(journal.footer.is_some() && journal.exchanges().eq(exchanges));
        }
        Err(found) => assert!(error == Some(&found) && !is_torn(&found), "{found}"),
    }
}

fn is_torn(error: &JournalError) -> bool {
    matches!(error, JournalError::Torn { .. })
}

/// Takes bytes for a preamble and frames, and gives them the checksums, the numbers and the padding
/// that belong to them.
pub fn repaired(bytes: &[u8]) -> Vec<u8> {
    let Some((start, mut rest)) = bytes.split_at_checked(PREAMBLE_BYTES) else {
        return bytes.to_vec();
    };
    let mut frames: Vec<(u8, &[u8])> = Vec::new();
    while let Some((header, body)) = rest.split_first_chunk::<FRAME_HEADER_BYTES>() {
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        let (payload, after) = body.split_at(length.min(body.len()));
        frames.push((header[0], payload));
        rest = &after[padding(payload.len() as u64).min(after.len())..];
    }
    let preamble = Preamble {
        minor: u16::from_le_bytes([start[10], start[11]]),
        ..Preamble::for_head(frames.first().map_or(&[], |(_, payload)| payload))
    };
    let mut repaired = preamble.encode().to_vec();
    for (sequence, (kind, payload)) in frames.into_iter().enumerate() {
        let header = FrameHeader {
            kind,
            length: payload.len() as u32,
            sequence: sequence as u64,
            payload_crc: crc32fast::hash(payload),
        };
        repaired.extend(header.encode(preamble.header_seed()));
        repaired.extend(payload);
        repaired.resize(repaired.len() + padding(payload.len() as u64), 0);
    }
    repaired
}

/// Decodes a preamble and the header behind it; what is accepted is encoded in one way only.
///
/// # Panics
///
/// Panics if a header is accepted that would be written otherwise.
pub fn frame(bytes: &[u8]) -> bool {
    let Some((start, rest)) = bytes.split_first_chunk::<PREAMBLE_BYTES>() else {
        return false;
    };
    let preamble = Preamble::decode(start);
    // What a newer minor version adds is ignored, and so not written again.
    let is_newer = |preamble: &Preamble| preamble.minor > FORMAT_MINOR;
    if let Ok(preamble) = &preamble
        && !is_newer(preamble)
    {
        assert_eq!(preamble.encode(), *start);
    }
    let seed = preamble.as_ref().map_or(0, Preamble::header_seed);
    let Some(header) = rest.first_chunk::<FRAME_HEADER_BYTES>() else {
        return preamble.is_ok();
    };
    // The same fields with their own checksum are always accepted.
    let fields = FrameHeader {
        kind: header[0],
        length: u32::from_le_bytes([header[4], header[5], header[6], header[7]]),
        sequence: u64::from(header[8]),
        payload_crc: u32::from_le_bytes([header[16], header[17], header[18], header[19]]),
    };
    assert_eq!(FrameHeader::decode(&fields.encode(seed), seed), Ok(fields));
    match FrameHeader::decode(header, seed) {
        Ok(decoded) => {
            assert_eq!(decoded.encode(seed), *header);
            preamble.is_ok()
        }
        Err(_) => false,
    }
}

/// Decodes the payload of a head, and begins a journal with it.
///
/// # Panics
///
/// Panics if the journal has another head.
pub fn head(bytes: &[u8]) -> bool {
    let Ok(Record::Head(head)) = fuzzing::decode(FrameKind::Head, bytes) else {
        return false;
    };
    let mut journal = Vec::new();
    match JournalWriter::new(&mut journal, NAME, &head) {
        Ok(writer) => drop(writer.finish()),
        // There are limits to what is written.
        Err(_) => return false,
    }
    let reader = JournalReader::new(&journal[..], NAME).expect("what was written");
    // As text, for what is not a number is equal to nothing.
    assert_eq!(format!("{:?}", reader.head()), format!("{head:?}"));
    true
}

/// Decodes a payload, whose kind the first byte says; exchanges are encoded in one way only.
///
/// # Panics
///
/// Panics if an exchange is accepted that would be written otherwise.
pub fn exchange(bytes: &[u8]) -> bool {
    let Some((code, payload)) = bytes.split_first() else {
        return false;
    };
    let Some(kind) = FrameKind::from_code(*code) else {
        return false;
    };
    let Ok(again) = fuzzing::recode(kind, payload) else {
        return false;
    };
    if let Some(again) = again {
        assert_eq!(again, payload);
    }
    true
}
