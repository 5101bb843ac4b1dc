//! What the fuzz targets need of the parts that are nobody else's; not a public interface.

use super::frame::Kind;
use super::record::{Exchange, Record};
use super::wire;

/// Decodes the payload of a frame.
///
/// # Errors
/// Says what is wrong with it.
pub fn decode(kind: Kind, payload: &[u8]) -> Result<Record, String> {
    wire::decode(kind, payload, &mut Vec::new())
}

/// Encodes the payload of an exchange.
///
/// # Errors
/// Its value is too deep.
pub fn encode_exchange(exchange: &Exchange) -> Result<Vec<u8>, String> {
    let mut payload = Vec::new();
    wire::encode_exchange(exchange, &mut payload)?;
    Ok(payload)
}
