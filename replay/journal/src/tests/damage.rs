//! Damage to a golden journal: always noticed, never a panic, never a changed record.

use super::faults::{framed, header_of, payload_of, renumber, seed, split};
use super::frame::{FrameHeader, FrameKind, PREAMBLE_BYTES, Preamble};
use super::*;

#[test]
fn every_cut_leaves_an_exact_prefix() {
    let golden = samples::golden();
    let (whole, _) = samples::read_all(&golden);
    for cut in 0..golden.len() {
        let (records, error) = samples::read_all(&golden[..cut]);
        assert!(records[..] == whole[..records.len()], "cut at {cut}");
        let next = whole[records.len()].0.offset;
        let expected = match cut {
            0..8 => Some("E062"),
            // Between frames, a cut shows if a run is open.
            _ if next == cut as u64 && records.len() > 1 && !run_is_open(&records) => None,
            _ if next == cut as u64 && records.len() == 1 => None,
            _ => Some("E065"),
        };
        assert_eq!(
            error.as_ref().map(JournalError::code),
            expected,
            "cut at {cut}"
        );
        if let Some(JournalError::Torn {
            frames,
            good_bytes,
            exchanges,
            ..
        }) = error
        {
            assert_eq!(frames, records.len() as u64);
            let is_exchange = |(_, record): &&(_, Record)| matches!(record, Record::Exchange(_));
            assert_eq!(exchanges, records.iter().filter(is_exchange).count() as u64);
            assert!(good_bytes <= cut as u64 && (good_bytes == next || records.is_empty()));
        }
    }
}

fn run_is_open(records: &[(FrameInfo, Record)]) -> bool {
    records
        .iter()
        .fold(false, |open, (_, record)| match record {
            Record::RunStart(_) => true,
            Record::RunEnd(_) => false,
            _ => open,
        })
}

#[test]
fn every_flipped_bit_is_noticed() {
    let golden = samples::golden();
    let (whole, _) = samples::read_all(&golden);
    let mut flipped = golden.clone();
    for bit in 0..golden.len() * 8 {
        flipped[bit / 8] ^= 1 << (bit % 8);
        let (records, error) = samples::read_all(&flipped);
        assert!(error.is_some(), "bit {bit} was not noticed");
        assert!(
            records[..] == whole[..records.len()],
            "bit {bit} changed a record"
        );
        // The damage is found in its own frame: all before it comes out.
        if let Some((next, _)) = whole.get(records.len()) {
            let good = bit < PREAMBLE_BYTES * 8 || next.offset <= bit as u64 / 8;
            assert!(good, "bit {bit} hid a good frame");
        }
        flipped[bit / 8] = golden[bit / 8];
    }
}

#[test]
fn a_tail_of_zeros_is_a_torn_tail() {
    let golden = samples::golden();
    let (whole, _) = samples::read_all(&golden);
    let cut = whole[7].0.offset as usize;
    let mut bytes = golden[..cut].to_vec();
    for zeros in 1..100 {
        bytes.push(0);
        let (records, error) = samples::read_all(&bytes);
        assert_eq!(
            (records.len(), error.unwrap().code()),
            (7, "E065"),
            "{zeros} zeros"
        );
    }
    bytes.extend_from_slice(&golden[cut..]);
    assert_eq!(samples::read_all(&bytes).0.len(), 7);
}

#[test]
fn other_bytes_after_a_journal_are_noticed() {
    let mut bytes = samples::golden();
    let frames = samples::read_all(&bytes).0.len();
    bytes.push(0);
    let (records, error) = samples::read_all(&bytes);
    assert_eq!((records.len(), error.unwrap().code()), (frames, "E064"));
}

#[test]
fn dropped_repeated_and_swapped_frames_are_noticed() {
    let golden = samples::golden();
    let frames = split(&golden);
    let (whole, _) = samples::read_all(&golden);
    for at in 1..frames.len() {
        let mut dropped = frames.clone();
        dropped.remove(at);
        let mut repeated = frames.clone();
        repeated.insert(at, frames[at].clone());
        let mut swapped = frames.clone();
        swapped.swap(at, at.max(2) - 1);
        for (damage, frames) in [
            ("dropped", dropped),
            ("repeated", repeated),
            ("swapped", swapped),
        ] {
            let (records, error) = samples::read_all(&frames.concat());
            assert!(records[..] == whole[..records.len()]);
            let last = damage == "dropped" && at == whole.len();
            let same = damage == "swapped" && at == 1;
            assert_eq!(
                error.is_none(),
                last || same,
                "{damage} frame {at}: {error:?}"
            );
        }
    }
}

/// Frames that were renumbered, with CRCs made right, are still noticed, by the indexes or by the
/// digest of the run.
#[test]
fn renumbered_frames_are_noticed() {
    let golden = samples::golden();
    let frames = split(&golden);
    let (whole, _) = samples::read_all(&golden);
    for (at, (_, record)) in whole.iter().enumerate() {
        if matches!(
            record,
            Record::Head(_)
                | Record::Note(_)
                | Record::Tensor(_)
                | Record::Tick(_)
                | Record::Footer(_)
        ) {
            continue;
        }
        let mut dropped = frames.clone();
        dropped.remove(at + 1);
        let (_, error) = samples::read_all(&renumber(dropped));
        assert!(
            matches!(error.unwrap().code(), "E067" | "E068"),
            "dropped {at}"
        );
        let mut repeated = frames.clone();
        repeated.insert(at + 1, frames[at + 1].clone());
        let (_, error) = samples::read_all(&renumber(repeated));
        let code = error.unwrap().code();
        // What may stand anywhere in its run is found by the digests of all of them.
        assert!(matches!(code, "E067" | "E068"), "repeated {at}: {code}");
    }
}

#[test]
fn kinds_that_are_not_known_are_skipped_or_refused() {
    let golden = samples::golden();
    let (whole, _) = samples::read_all(&golden);
    let end = whole[3].0.offset as usize;
    for (kind, code) in [
        (0x83, None),
        (0xff, None),
        (0x0c, Some("E066")),
        (0x7f, Some("E066")),
    ] {
        let mut bytes = golden[..end].to_vec();
        bytes.extend(framed(&golden, kind, 3, b"what later versions write"));
        let (records, error) = samples::read_all(&bytes);
        assert_eq!(records.len(), 3);
        // Cut after the strange frame, in an open run.
        assert_eq!(
            error.unwrap().code(),
            code.unwrap_or("E065"),
            "kind {kind:#x}"
        );
    }
}

#[test]
fn newer_formats_are_refused_by_major_version_only() {
    for ((major, minor), code) in [((1, 9), None), ((2, 0), Some("E063"))] {
        let mut bytes = samples::golden();
        let mut preamble = Preamble::decode(bytes[..PREAMBLE_BYTES].try_into().unwrap()).unwrap();
        (preamble.major, preamble.minor) = (major, minor);
        bytes[..PREAMBLE_BYTES].copy_from_slice(&preamble.encode());
        let (_, error) = samples::read_all(&bytes);
        assert_eq!(error.as_ref().map(JournalError::code), code);
    }
}

#[test]
fn a_length_past_the_limit_is_refused_before_anything_is_read() {
    let golden = samples::golden();
    let (whole, _) = samples::read_all(&golden);
    let end = whole[3].0.offset as usize;
    for kind in FrameKind::ALL {
        let header = FrameHeader {
            kind: kind as u8,
            length: kind.bytes_max() + 1,
            sequence: 3,
            payload_crc: 0,
        };
        let mut bytes = golden[..end].to_vec();
        bytes.extend(header.encode(seed(&golden)));
        assert_eq!(samples::read_all(&bytes).1.unwrap().code(), "E069");
    }
}

/// A forged byte with its CRC made right is refused alike in both ways of reading, and nothing that
/// takes what came before it panics.
#[test]
fn a_forged_byte_is_refused_alike_in_both_ways_of_reading() {
    let golden = samples::golden();
    let frames = split(&golden);
    let seed = seed(&golden);
    let mut refused = 0;
    for at in 2..frames.len() {
        let header = header_of(&frames[at], seed);
        for byte in 0..header.length as usize {
            let mut payload = payload_of(&frames[at], &header).to_vec();
            payload[byte] ^= 1 << (byte % 8);
            let mut forged = frames.clone();
            forged[at] = framed(&golden, header.kind, header.sequence, &payload);
            let forged = forged.concat();
            let (_, by_record) = samples::read_all(&forged);
            let mut reader = JournalReader::new(&forged[..], "test.ilj").unwrap();
            let by_frame = loop {
                match reader.next_frame() {
                    Ok(Some(_)) => {}
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            assert_eq!(by_record, by_frame, "frame {at}, byte {byte}");
            refused += u32::from(by_record.is_some());
            let reader = JournalReader::new(&forged[..], "test.ilj").unwrap();
            let (journal, problem) = Journal::read_prefix(reader);
            assert_eq!(problem, by_record);
            let told = journal.runs.iter().flat_map(RunRecord::records).count();
            assert!(told <= frames.len());
            drop(races(&journal));
        }
    }
    assert!(refused > 2000, "{refused}");
}
