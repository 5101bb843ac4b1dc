//! What the fuzz targets need of the parts that are nobody else's; not a public interface.

use super::error::JournalError;
use super::exchange;
use super::frame::Kind;
use super::read::JournalReader;
use super::record::{Exchange, Outcome, Record};
use super::resume::{Resumed, Scan};
use super::wire;

/// Decodes the payload of a frame.
///
/// # Errors
/// Says what is wrong with it.
pub fn decode(kind: Kind, payload: &[u8]) -> Result<Record, String> {
    wire::decode(kind, payload)
}

/// Encodes the payload of an exchange.
///
/// # Errors
/// Its value is too deep.
pub fn encode_exchange(given: &Exchange) -> Result<Vec<u8>, String> {
    let mut payload = Vec::new();
    exchange::encode(given, &mut payload)?;
    Ok(payload)
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
        writer.end_run(Outcome::default())?;
    }
    writer.finish()?;
    Ok([&bytes[..good], &rest].concat())
}
