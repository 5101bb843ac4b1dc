//! How the rows of a run's batch are padded: how that is written as bytes, and read back.
//!
//! Rows that differ in length are padded to the longest, and each mediator sees the positions of
//! its own rows. Which these are is said by the model, or by the code that calls it, before the
//! model comes to a site; without it a journal could not stand in for the model. It is a record of
//! its own and not a part of the run's start, because a run may have begun when its model is
//! called.
//!
//! It is evidence, and in the digest of the run: two runs whose rows are padded otherwise are two
//! runs, even if no mediator looked at a value. A batch without padding has no record, so that its
//! journal and its digest are what they would be if there were no padding at all.

use interloom_engine::{Padding, PaddingSide};

use super::exchange::items;
use super::pack::{self, Unexpected, Unpacker};
use super::record::PaddingRecord;

const SIDES: [PaddingSide; 2] = [PaddingSide::Left, PaddingSide::Right];

/// Appends the payload of a padding to `out`.
pub(super) fn encode(record: &PaddingRecord, out: &mut Vec<u8>) {
    let PaddingRecord { run, padding } = record;
    pack::array(out, 3);
    pack::uint(out, (*run).into());
    pack::uint(out, u64::from(padding.side() == PaddingSide::Right));
    pack::array(out, padding.lengths().len());
    for own in padding.lengths() {
        pack::uint(out, (*own).into());
    }
}

/// Reads the payload of a padding.
pub(super) fn decode(payload: &[u8]) -> Result<PaddingRecord, Unexpected> {
    let mut unpacker = Unpacker::new(payload);
    unpacker.array_of(3, "a padding's run, side and lengths of rows")?;
    let run = unpacker.u32_number()?;
    let at = unpacker.position();
    let side = SIDES.get(unpacker.u32_number()? as usize);
    let side = side.ok_or_else(|| unpacker.other(at, "the side: 0 left, 1 right"))?;
    let at = unpacker.position();
    let lengths = items(&mut unpacker, Unpacker::u32_number)?;
    if lengths.contains(&0) {
        return Err(unpacker.other(at, "rows with one position or more of their own"));
    }
    let padding = Padding::new(*side, lengths);
    let padding = padding.ok_or_else(|| unpacker.other(at, "rows that differ in length"))?;
    unpacker.end()?;
    Ok(PaddingRecord { run, padding })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::samples;

    fn encoded(record: &PaddingRecord) -> Vec<u8> {
        let mut payload = Vec::new();
        encode(record, &mut payload);
        payload
    }

    /// What is read is what would be written.
    fn check_reading(payload: &[u8]) {
        if let Ok(record) = decode(payload) {
            assert_eq!(encoded(&record), payload);
        }
    }

    proptest! {
        #[test]
        fn paddings_come_back_from_their_bytes(record in samples::any_padding()) {
            let payload = encoded(&record);
            prop_assert_eq!(decode(&payload), Ok(record));
            for cut in 0..payload.len() {
                prop_assert!(decode(&payload[..cut]).is_err());
            }
        }

        #[test]
        fn what_is_read_is_canonical(payload in proptest::collection::vec(any::<u8>(), 0..30)) {
            check_reading(&payload);
        }
    }

    #[test]
    fn every_other_byte_is_read_alike() {
        let payload = encoded(&samples::padding(2, &[1, 300, 2]));
        assert_eq!(payload, [0x93, 2, 0, 0x93, 1, 0xcd, 1, 44, 2]);
        for at in 0..payload.len() {
            for byte in 0..=u8::MAX {
                let mut payload = payload.clone();
                payload[at] = byte;
                check_reading(&payload);
            }
        }
    }

    #[test]
    fn a_padding_without_rows_of_different_length_is_refused() {
        let payloads: [&[u8]; 5] = [
            &[0x93, 0, 0, 0x92, 3, 0],
            &[0x93, 0, 1, 0x92, 3, 3],
            &[0x93, 0, 1, 0x90],
            &[0x93, 0, 2, 0x92, 3, 1],
            &[0x93, 0, 1, 0x92, 3, 1, 0],
        ];
        let reasons = payloads.map(|payload| decode(payload).unwrap_err().to_string());
        insta::assert_snapshot!(reasons.join("\n"), @"
        expected rows with one position or more of their own at byte 3 of the payload
        expected rows that differ in length at byte 3 of the payload
        expected rows that differ in length at byte 3 of the payload
        expected the side: 0 left, 1 right at byte 2 of the payload
        1 bytes follow the record in its frame
        ");
    }
}
