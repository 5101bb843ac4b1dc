//! What the fuzz targets need of private parts; not a public interface.

use super::error::JournalError;
use super::exchange;
use super::frame::FrameKind;
use super::padded;
use super::passage;
use super::read::JournalReader;
use super::record::{OutcomeRecord, Record};
use super::resume::{Resumed, Scan};
use super::visit;
use super::wire;

/// Decodes the payload of a frame.
///
/// # Errors
/// Says what is wrong with it.
pub fn decode(kind: FrameKind, payload: &[u8]) -> Result<Record, String> {
    wire::decode(kind, payload, &[])
}

/// Encodes again what the payload of a frame decodes to; nothing for kinds that have more than one
/// encoding.
///
/// # Errors
/// Says what is wrong with the payload.
pub fn recode(kind: FrameKind, payload: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let mut again = Vec::new();
    match decode(kind, payload)? {
        Record::Exchange(exchange) | Record::Open(exchange) => {
            let source = exchange::decode(payload)
                .ok()
                .and_then(|found| found.source);
            exchange::encode(&exchange, source, &mut again)?;
        }
        Record::Path(path) => wire::encode_path(path.id, &path.text, &mut again),
        Record::Visit(visit) => visit::encode(&visit, &mut again)?,
        Record::CacheDeclaration(cache) => visit::encode_cache(&cache, &mut again)?,
        Record::Padding(record) => padded::encode(&record, &mut again),
        Record::Source(source) => visit::encode_source(source.id, &source.origin, &mut again),
        Record::Passage(passage) => passage::encode(&passage, &mut again)?,
        _ => return Ok(None),
    }
    Ok(Some(again))
}

/// Goes on with a journal: ends its open run, closes it, and gives all its bytes.
///
/// # Errors
/// Those of [`JournalWriter::resume`](super::JournalWriter::resume).
pub fn resume_and_finish(bytes: &[u8]) -> Result<Vec<u8>, JournalError> {
    let state = Scan::of(JournalReader::new(bytes, "fuzz.ilj")?).into_state()?;
    let good = state.offset as usize;
    let mut rest = Vec::new();
    let Resumed {
        mut writer,
        open_run,
        ..
    } = state.into_writer(&mut rest, bytes.len() as u64);
    if open_run.is_some() {
        writer.end_run(OutcomeRecord::default())?;
    }
    writer.finish()?;
    Ok([&bytes[..good], &rest].concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::samples;

    #[test]
    fn every_canonical_frame_of_a_journal_is_encoded_as_it_stands() {
        let golden = samples::golden();
        let mut frames = JournalReader::new(&golden[..], "a.ilj").unwrap().skim();
        let mut kinds = Vec::new();
        while let Some(frame) = frames.next_frame().unwrap() {
            let kind = frame.known_kind().unwrap();
            if let Some(again) = recode(kind, frame.payload).unwrap() {
                assert_eq!(again, frame.payload);
                kinds.push(kind as u8);
            }
        }
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds, [0x03, 0x04, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x82]);
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_would_be_written(
            kind in proptest::sample::select(FrameKind::ALL.to_vec()),
            payload in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            if let Ok(Some(again)) = recode(kind, &payload) {
                prop_assert_eq!(again, payload);
            }
        }
    }
}
