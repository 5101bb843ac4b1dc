//! The payloads of frames: how each record is written as bytes, and read back.
//!
//! Exchanges and paths are msgpack arrays in the order written here, not in that of the public
//! types, and have one encoding only: a payload that decodes but would be encoded otherwise is
//! refused. Head, run start, run end, footer and note are msgpack maps with named fields, so that
//! later versions can add to them. Tensors are raw little-endian bytes.

use std::io::Cursor;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::digest::{DType, Digest};
use super::frame::Kind;
use super::record::{
    Event, Exchange, ExchangeResult, FORMAT_NAME, FaultLine, Head, Origin, PathLine, Record,
    TensorRecord,
};
use super::value::{VALUE_DEPTH_MAX, ValueTree};

/// The largest rank of a tensor whose bytes are kept.
pub const TENSOR_RANK_MAX: usize = 255;

/// The size of a tensor payload before its dimensions: digest, type, rank, six reserved bytes.
pub const TENSOR_FIXED_BYTES: usize = 40;

/// Deep enough for the deepest allowed value (two arrays a level), and no deeper.
const MSGPACK_DEPTH_MAX: usize = 2 * VALUE_DEPTH_MAX + 16;

/// Appends the payload of an exchange to `out`.
pub(super) fn encode_exchange(exchange: &Exchange, out: &mut Vec<u8>) -> Result<(), String> {
    let wire = (
        exchange.run,
        exchange.index,
        exchange.mediator,
        exchange.event.code(),
        exchange.asked.map(<(u32, u32)>::from),
        exchange.at.map(<(u32, u32)>::from),
        exchange.result.code(),
        &exchange.value,
        exchange
            .fault
            .as_ref()
            .map(|fault| (&fault.code, &fault.message)),
        exchange
            .origin
            .as_ref()
            .map(|origin| (&origin.file, origin.line)),
    );
    let depth = exchange.value.as_ref().map_or(0, ValueTree::depth);
    if depth > VALUE_DEPTH_MAX {
        return Err(format!(
            "the value is {depth} levels deep, the limit is {VALUE_DEPTH_MAX}"
        ));
    }
    wire.serialize(&mut rmp_serde::Serializer::new(out))
        .map_err(|error| error.to_string())
}

/// Appends the payload of a path to `out`.
pub(super) fn encode_path(id: u32, text: &str, out: &mut Vec<u8>) -> Result<(), String> {
    (id, text)
        .serialize(&mut rmp_serde::Serializer::new(out))
        .map_err(|error| error.to_string())
}

/// Appends the payload of a record with named fields to `out`.
pub(super) fn encode_named(record: &impl Serialize, out: &mut Vec<u8>) -> Result<(), String> {
    record
        .serialize(&mut rmp_serde::Serializer::new(out).with_struct_map())
        .map_err(|error| error.to_string())
}

/// Appends what stands before the elements in a tensor's payload.
pub(super) fn encode_tensor_head(digest: &Digest, dtype: DType, shape: &[u64], out: &mut Vec<u8>) {
    assert!(shape.len() <= TENSOR_RANK_MAX);
    out.extend(digest.0);
    out.extend([dtype.code(), shape.len() as u8]);
    out.extend([0; 6]);
    for dimension in shape {
        out.extend(dimension.to_le_bytes());
    }
}

/// Reads the payload of a frame of this kind. `scratch` is used to encode again.
pub(super) fn decode(kind: Kind, payload: &[u8], scratch: &mut Vec<u8>) -> Result<Record, String> {
    Ok(match kind {
        Kind::Head => Record::Head(Box::new(decode_head(payload)?)),
        Kind::RunStart => Record::RunStart(decode_named(payload)?),
        Kind::Path => Record::Path(decode_path(payload, scratch)?),
        Kind::Exchange => Record::Exchange(decode_exchange(payload, scratch)?),
        Kind::Tensor => Record::Tensor(decode_tensor(payload)?),
        Kind::RunEnd => Record::RunEnd(decode_named(payload)?),
        Kind::Footer => Record::Footer(decode_named(payload)?),
        Kind::Note => Record::Note(decode_named(payload)?),
    })
}

/// Reads the payload of a head.
pub(super) fn decode_head(payload: &[u8]) -> Result<Head, String> {
    let head: Head = decode_named(payload)?;
    if head.format != FORMAT_NAME {
        return Err(format!(
            "expected the format {FORMAT_NAME:?}, found {:?}",
            head.format
        ));
    }
    Ok(head)
}

type WireExchange = (
    u32,
    u64,
    u32,
    u8,
    Option<(u32, u32)>,
    Option<(u32, u32)>,
    u8,
    Option<ValueTree>,
    Option<(String, String)>,
    Option<(String, u32)>,
);

fn decode_exchange(payload: &[u8], scratch: &mut Vec<u8>) -> Result<Exchange, String> {
    let wire: WireExchange = decode_array(payload)?;
    let (run, index, mediator, event, asked, at, result, value, fault, origin) = wire;
    let exchange = Exchange {
        run,
        index,
        mediator,
        event: Event::from_code(event).ok_or_else(|| format!("no event has the code {event}"))?,
        asked: asked.map(Into::into),
        at: at.map(Into::into),
        result: ExchangeResult::from_code(result)
            .ok_or_else(|| format!("no result has the code {result}"))?,
        value,
        fault: fault.map(|(code, message)| FaultLine { code, message }),
        origin: origin.map(|(file, line)| Origin { file, line }),
    };
    scratch.clear();
    encode_exchange(&exchange, scratch)?;
    check_canonical(payload, scratch)?;
    Ok(exchange)
}

fn decode_path(payload: &[u8], scratch: &mut Vec<u8>) -> Result<PathLine, String> {
    let (id, text): (u32, String) = decode_array(payload)?;
    scratch.clear();
    encode_path(id, &text, scratch)?;
    check_canonical(payload, scratch)?;
    Ok(PathLine { id, text })
}

fn check_canonical(payload: &[u8], canonical: &[u8]) -> Result<(), String> {
    if payload == canonical {
        return Ok(());
    }
    let same = payload
        .iter()
        .zip(canonical)
        .take_while(|(a, b)| a == b)
        .count();
    Err(format!(
        "byte {same} of the payload is not the canonical encoding"
    ))
}

fn decode_array<'de, T: Deserialize<'de>>(payload: &'de [u8]) -> Result<T, String> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(payload);
    deserializer.set_max_depth(MSGPACK_DEPTH_MAX);
    T::deserialize(&mut deserializer).map_err(|error| error.to_string())
}

fn decode_named<T: DeserializeOwned>(payload: &[u8]) -> Result<T, String> {
    // The decoder would also take an array, with the fields in the order of the Rust type.
    if !matches!(payload.first(), Some(0x80..=0x8f | 0xde | 0xdf)) {
        return Err("expected a msgpack map".to_owned());
    }
    let mut deserializer = rmp_serde::Deserializer::new(Cursor::new(payload));
    deserializer.set_max_depth(MSGPACK_DEPTH_MAX);
    let record = T::deserialize(&mut deserializer).map_err(|error| error.to_string())?;
    let read = deserializer.position();
    if read != payload.len() as u64 {
        return Err(format!(
            "{} bytes follow the record in its frame",
            payload.len() as u64 - read
        ));
    }
    Ok(record)
}

fn decode_tensor(payload: &[u8]) -> Result<TensorRecord, String> {
    let too_short = || format!("{} bytes are too few for a tensor", payload.len());
    let (fixed, rest) = payload
        .split_at_checked(TENSOR_FIXED_BYTES)
        .ok_or_else(too_short)?;
    let mut digest = [0; 32];
    digest.copy_from_slice(&fixed[..32]);
    let dtype = DType::from_code(fixed[32])
        .ok_or_else(|| format!("no element type has the code {}", fixed[32]))?;
    if fixed[34..] != [0; 6] {
        return Err("the reserved bytes are not zero".to_owned());
    }
    let rank = usize::from(fixed[33]);
    let (dimensions, bytes) = rest.split_at_checked(rank * 8).ok_or_else(too_short)?;
    let shape: Vec<u64> = dimensions.chunks_exact(8).map(u64_from).collect();
    if dtype.tensor_bytes(&shape) != Some(bytes.len() as u64) {
        return Err(format!(
            "{dtype}{shape:?} does not have {} bytes",
            bytes.len()
        ));
    }
    Ok(TensorRecord {
        digest: Digest(digest),
        dtype,
        shape,
        bytes: bytes.to_vec(),
    })
}

fn u64_from(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::journal::samples;

    proptest! {
        #[test]
        fn exchanges_round_trip(exchange in samples::any_exchange()) {
            let mut payload = Vec::new();
            encode_exchange(&exchange, &mut payload).unwrap();
            let decoded = decode(Kind::Exchange, &payload, &mut Vec::new()).unwrap();
            prop_assert_eq!(decoded, Record::Exchange(exchange));
        }

        #[test]
        fn what_decodes_is_canonical(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            check_reencoding(&payload)?;
        }

        #[test]
        fn what_decodes_after_damage_is_canonical(
            exchange in samples::any_exchange(),
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut payload = Vec::new();
            encode_exchange(&exchange, &mut payload).unwrap();
            let at = at.index(payload.len());
            payload[at] = byte;
            check_reencoding(&payload)?;
        }

        #[test]
        fn heads_round_trip(head in samples::any_head()) {
            let mut payload = Vec::new();
            encode_named(&head, &mut payload).unwrap();
            let decoded = decode(Kind::Head, &payload, &mut Vec::new()).unwrap();
            prop_assert_eq!(decoded, Record::Head(Box::new(head)));
        }

        #[test]
        fn no_payload_makes_a_decoder_panic(
            kind in proptest::sample::select(Kind::ALL.to_vec()),
            payload in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = decode(kind, &payload, &mut Vec::new());
        }
    }

    fn check_reencoding(payload: &[u8]) -> Result<(), TestCaseError> {
        if let Ok(Record::Exchange(exchange)) = decode(Kind::Exchange, payload, &mut Vec::new()) {
            let mut again = Vec::new();
            encode_exchange(&exchange, &mut again).unwrap();
            prop_assert_eq!(again.as_slice(), payload);
        }
        Ok(())
    }

    #[test]
    fn the_wire_order_of_an_exchange_is_fixed() {
        let mut payload = Vec::new();
        encode_exchange(&samples::exchange_with_everything(), &mut payload).unwrap();
        let hexadecimal: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        insta::assert_snapshot!(hexadecimal, @"9a01cd012c01019201029200ce000111700192069891009201c39202f99203cb80000000000000009204a2c3a99405019102c420acc346244904a0b5d0c65f21f93f8c16e1233735d3eddbc36fd64510ad1e530c92079092089192a16b9202cf7fffffffffffffff92a445303130ac6f7574206f66206f7264657292a873746565722e72730c");
    }

    #[test]
    fn longer_encodings_of_the_same_exchange_are_refused() {
        let mut payload = Vec::new();
        let exchange = samples::exchange_with_everything();
        encode_exchange(&exchange, &mut payload).unwrap();
        assert_eq!(payload[1], exchange.run as u8);
        let wide = [&payload[..1], &[0xcc], &payload[1..]].concat();
        let error = decode(Kind::Exchange, &wide, &mut Vec::new()).unwrap_err();
        assert_eq!(error, "byte 1 of the payload is not the canonical encoding");
        let longer = [&payload[..], &[0]].concat();
        assert!(decode(Kind::Exchange, &longer, &mut Vec::new()).is_err());
    }

    #[test]
    fn deep_values_are_refused_on_both_sides() {
        let nested =
            |depth| (0..depth).fold(ValueTree::Unit, |value, _| ValueTree::Tuple(vec![value]));
        let mut exchange = samples::exchange_with_everything();
        exchange.value = Some(nested(VALUE_DEPTH_MAX));
        let mut payload = Vec::new();
        encode_exchange(&exchange, &mut payload).unwrap();
        let decoded = decode(Kind::Exchange, &payload, &mut Vec::new());
        assert_eq!(decoded, Ok(Record::Exchange(exchange.clone())));
        exchange.value = Some(nested(VALUE_DEPTH_MAX + 1));
        assert!(encode_exchange(&exchange, &mut payload).is_err());

        let arrays = [0x91; 100_000];
        assert!(decode(Kind::Exchange, &arrays, &mut Vec::new()).is_err());
        assert!(decode(Kind::Head, &arrays, &mut Vec::new()).is_err());
    }

    #[test]
    fn unknown_fields_of_named_records_are_ignored() {
        #[derive(Serialize)]
        struct NoteWithMore {
            key: &'static str,
            later: Vec<u32>,
            value: &'static str,
        }
        let note = NoteWithMore {
            key: "a",
            later: vec![1, 2],
            value: "b",
        };
        let mut payload = Vec::new();
        encode_named(&note, &mut payload).unwrap();
        let expected = super::super::record::Note {
            key: "a".into(),
            value: "b".into(),
        };
        assert_eq!(
            decode(Kind::Note, &payload, &mut Vec::new()),
            Ok(Record::Note(expected))
        );
        payload.push(0);
        let error = decode(Kind::Note, &payload, &mut Vec::new()).unwrap_err();
        assert_eq!(error, "1 bytes follow the record in its frame");
    }

    #[test]
    fn tensors_with_impossible_sizes_are_refused() {
        let mut payload = Vec::new();
        encode_tensor_head(&Digest::ZERO, DType::F32, &[u64::MAX, 2], &mut payload);
        let error = decode(Kind::Tensor, &payload, &mut Vec::new()).unwrap_err();
        assert_eq!(error, "f32[18446744073709551615, 2] does not have 0 bytes");
        let error = decode(Kind::Tensor, &payload[..50], &mut Vec::new()).unwrap_err();
        assert_eq!(error, "50 bytes are too few for a tensor");
    }

    #[test]
    fn lengths_that_promise_too_much_allocate_nothing() {
        // An array of 2^32 - 1 exchanges, and a text of 2^32 - 1 bytes.
        for payload in [
            &[0xdd, 0xff, 0xff, 0xff, 0xff][..],
            &[0x92, 0, 0xdb, 0xff, 0xff, 0xff, 0xff],
        ] {
            for kind in Kind::ALL {
                assert!(decode(kind, payload, &mut Vec::new()).is_err());
            }
        }
    }
}
