//! How an exchange is written as bytes, and read back.
//!
//! An exchange is written more often than all else together, so this is done by hand. It has one
//! encoding only: whatever is read is, byte for byte, what would be written.

use super::digest::{DType, Digest};
use super::pack::{self, Unexpected, Unpacker};
use super::record::{Event, Exchange, ExchangeResult, FaultLine, Origin, SiteRef};
use super::value::{VALUE_DEPTH_MAX, ValueTree};

// A value is an array that starts with one of these.
const UNIT: u64 = 0;
const BOOL: u64 = 1;
const INT: u64 = 2;
const FLOAT: u64 = 3;
const TEXT: u64 = 4;
const TENSOR: u64 = 5;
const TUPLE: u64 = 6;
const LIST: u64 = 7;
const MAP: u64 = 8;

/// The tag of each kind of value; `docs/FORMAT.md` has the same.
#[cfg(test)]
pub(super) const TAGS: [(u64, &str); 9] = [
    (UNIT, "unit"),
    (BOOL, "truth value"),
    (INT, "integer"),
    (FLOAT, "float"),
    (TEXT, "text"),
    (TENSOR, "tensor"),
    (TUPLE, "tuple"),
    (LIST, "list"),
    (MAP, "map"),
];

/// Appends the payload of an exchange to `out`.
pub(super) fn encode(exchange: &Exchange, out: &mut Vec<u8>) -> Result<(), String> {
    pack::array(out, 10);
    pack::uint(out, exchange.run.into());
    pack::uint(out, exchange.index);
    pack::uint(out, exchange.mediator.into());
    pack::uint(out, exchange.event.code().into());
    encode_site(exchange.asked, out);
    encode_site(exchange.at, out);
    pack::uint(out, exchange.result.code().into());
    match &exchange.value {
        Some(value) => encode_value(value, out, 0)?,
        None => pack::nil(out),
    }
    match &exchange.fault {
        Some(fault) => {
            pack::array(out, 2);
            pack::text(out, &fault.code);
            pack::text(out, &fault.message);
        }
        None => pack::nil(out),
    }
    match &exchange.origin {
        Some(origin) => {
            pack::array(out, 2);
            pack::text(out, &origin.file);
            pack::uint(out, origin.line.into());
        }
        None => pack::nil(out),
    }
    Ok(())
}

fn encode_site(site: Option<SiteRef>, out: &mut Vec<u8>) {
    match site {
        Some(site) => {
            pack::array(out, 2);
            pack::uint(out, site.path.into());
            pack::uint(out, site.iteration.into());
        }
        None => pack::nil(out),
    }
}

pub(super) fn encode_value(
    value: &ValueTree,
    out: &mut Vec<u8>,
    outside: usize,
) -> Result<(), String> {
    let mut start = |items, tag| {
        pack::array(out, items);
        pack::uint(out, tag);
    };
    match value {
        ValueTree::Unit => start(1, UNIT),
        ValueTree::Bool(truth) => {
            start(2, BOOL);
            pack::truth(out, *truth);
        }
        ValueTree::Int(number) => {
            start(2, INT);
            pack::int(out, *number);
        }
        ValueTree::Float(number) => {
            start(2, FLOAT);
            pack::float(out, *number);
        }
        ValueTree::Text(text) => {
            start(2, TEXT);
            pack::text(out, text);
        }
        ValueTree::Tensor {
            dtype,
            shape,
            digest,
        } => {
            start(4, TENSOR);
            pack::uint(out, dtype.code().into());
            pack::array(out, shape.len());
            shape
                .iter()
                .for_each(|dimension| pack::uint(out, *dimension));
            pack::digest(out, &digest.0);
        }
        ValueTree::Tuple(items) | ValueTree::List(items) => {
            let is_tuple = matches!(value, ValueTree::Tuple(_));
            start(2, if is_tuple { TUPLE } else { LIST });
            let inside = deeper(outside).map_err(|error| error.to_string())?;
            pack::array(out, items.len());
            for item in items {
                encode_value(item, out, inside)?;
            }
        }
        ValueTree::Map(entries) => {
            start(2, MAP);
            let inside = deeper(outside).map_err(|error| error.to_string())?;
            pack::array(out, entries.len());
            for (name, item) in entries {
                pack::array(out, 2);
                pack::text(out, name);
                encode_value(item, out, inside)?;
            }
        }
    }
    Ok(())
}

fn deeper(levels: usize) -> Result<usize, Unexpected> {
    match levels {
        0..VALUE_DEPTH_MAX => Ok(levels + 1),
        _ => Err(Unexpected::TooDeep(VALUE_DEPTH_MAX)),
    }
}

/// An exchange as it stands in a payload; `V` is what was made of its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parsed<'a, V> {
    pub(super) run: u32,
    pub(super) index: u64,
    pub(super) mediator: u32,
    pub(super) event: Event,
    pub(super) asked: Option<SiteRef>,
    pub(super) at: Option<SiteRef>,
    pub(super) result: ExchangeResult,
    pub(super) value: Option<V>,
    pub(super) fault: Option<(&'a str, &'a str)>,
    pub(super) origin: Option<(&'a str, u32)>,
}

/// Reads the payload of an exchange.
pub(super) fn decode(payload: &[u8]) -> Result<Exchange, Unexpected> {
    let parsed = parse(payload, |unpacker| decode_value(unpacker, 0))?;
    Ok(Exchange {
        run: parsed.run,
        index: parsed.index,
        mediator: parsed.mediator,
        event: parsed.event,
        asked: parsed.asked,
        at: parsed.at,
        result: parsed.result,
        value: parsed.value,
        fault: parsed.fault.map(|(code, message)| FaultLine {
            code: code.to_owned(),
            message: message.to_owned(),
        }),
        origin: parsed.origin.map(|(file, line)| Origin {
            file: file.to_owned(),
            line,
        }),
    })
}

/// Checks the payload of an exchange as [`decode`] does, and makes nothing of its value.
pub(super) fn check(payload: &[u8]) -> Result<Parsed<'_, ()>, Unexpected> {
    parse(payload, |unpacker| pass_value(unpacker, 0))
}

#[inline]
fn parse<'a, V>(
    payload: &'a [u8],
    value: impl FnOnce(&mut Unpacker<'a>) -> Result<V, Unexpected>,
) -> Result<Parsed<'a, V>, Unexpected> {
    let mut unpacker = Unpacker::new(payload);
    unpacker.array_of(10, "the ten fields of an exchange")?;
    let parsed = Parsed {
        run: unpacker.u32_number()?,
        index: unpacker.uint()?,
        mediator: unpacker.u32_number()?,
        event: coded(&mut unpacker, "the code of an event", Event::from_code)?,
        asked: site(&mut unpacker)?,
        at: site(&mut unpacker)?,
        result: coded(
            &mut unpacker,
            "the code of a result",
            ExchangeResult::from_code,
        )?,
        value: optional(&mut unpacker, value)?,
        fault: optional(&mut unpacker, |unpacker| {
            unpacker.array_of(2, "a fault's code and message")?;
            Ok((unpacker.text()?, unpacker.text()?))
        })?,
        origin: optional(&mut unpacker, |unpacker| {
            unpacker.array_of(2, "an origin's file and line")?;
            Ok((unpacker.text()?, unpacker.u32_number()?))
        })?,
    };
    unpacker.end()?;
    Ok(parsed)
}

#[inline]
fn optional<'a, T>(
    unpacker: &mut Unpacker<'a>,
    read: impl FnOnce(&mut Unpacker<'a>) -> Result<T, Unexpected>,
) -> Result<Option<T>, Unexpected> {
    if unpacker.nil() {
        return Ok(None);
    }
    read(unpacker).map(Some)
}

fn site(unpacker: &mut Unpacker<'_>) -> Result<Option<SiteRef>, Unexpected> {
    optional(unpacker, |unpacker| {
        unpacker.array_of(2, "a site's path and iteration")?;
        Ok(SiteRef {
            path: unpacker.u32_number()?,
            iteration: unpacker.u32_number()?,
        })
    })
}

fn coded<T>(
    unpacker: &mut Unpacker<'_>,
    expected: &'static str,
    from_code: impl FnOnce(u8) -> Option<T>,
) -> Result<T, Unexpected> {
    let at = unpacker.position();
    let code = u8::try_from(unpacker.uint()?).ok();
    code.and_then(from_code)
        .ok_or_else(|| unpacker.other(at, expected))
}

/// Reads a value that `outside` levels enclose.
pub(super) fn decode_value(
    unpacker: &mut Unpacker<'_>,
    outside: usize,
) -> Result<ValueTree, Unexpected> {
    Ok(match tag(unpacker)? {
        UNIT => ValueTree::Unit,
        BOOL => ValueTree::Bool(unpacker.truth()?),
        INT => ValueTree::Int(unpacker.int()?),
        FLOAT => ValueTree::Float(unpacker.float()?),
        TEXT => ValueTree::Text(unpacker.text()?.to_owned()),
        TENSOR => {
            let dtype = coded(unpacker, "the code of an element type", DType::from_code)?;
            let shape = items(unpacker, Unpacker::uint)?;
            let digest = Digest(unpacker.digest()?);
            ValueTree::Tensor {
                dtype,
                shape,
                digest,
            }
        }
        TUPLE => {
            let inside = deeper(outside)?;
            ValueTree::Tuple(items(unpacker, |unpacker| decode_value(unpacker, inside))?)
        }
        LIST => {
            let inside = deeper(outside)?;
            ValueTree::List(items(unpacker, |unpacker| decode_value(unpacker, inside))?)
        }
        _ => {
            let inside = deeper(outside)?;
            ValueTree::Map(items(unpacker, |unpacker| {
                unpacker.array_of(2, "a name and a value")?;
                Ok((unpacker.text()?.to_owned(), decode_value(unpacker, inside)?))
            })?)
        }
    })
}

/// Passes a value that `outside` levels enclose.
fn pass_value(unpacker: &mut Unpacker<'_>, outside: usize) -> Result<(), Unexpected> {
    match tag(unpacker)? {
        UNIT => Ok(()),
        BOOL => unpacker.truth().map(drop),
        INT => unpacker.int().map(drop),
        FLOAT => unpacker.float().map(drop),
        TEXT => unpacker.text().map(drop),
        TENSOR => {
            coded(unpacker, "the code of an element type", DType::from_code)?;
            pass_items(unpacker, |unpacker| unpacker.uint().map(drop))?;
            unpacker.digest().map(drop)
        }
        TUPLE | LIST => {
            let inside = deeper(outside)?;
            pass_items(unpacker, |unpacker| pass_value(unpacker, inside))
        }
        _ => {
            let inside = deeper(outside)?;
            pass_items(unpacker, |unpacker| {
                unpacker.array_of(2, "a name and a value")?;
                unpacker.text()?;
                pass_value(unpacker, inside)
            })
        }
    }
}

/// The tag of a value whose array has as many items as that tag says.
fn tag(unpacker: &mut Unpacker<'_>) -> Result<u64, Unexpected> {
    let at = unpacker.position();
    let (length, tag) = (unpacker.array()?, unpacker.uint()?);
    let expected = match tag {
        UNIT => 1,
        TENSOR => 4,
        BOOL..=MAP => 2,
        _ => return Err(unpacker.other(at, "a value with a tag from 0 to 8")),
    };
    if length != expected {
        return Err(unpacker.other(at, "a value with as many fields as its tag says"));
    }
    Ok(tag)
}

pub(super) fn items<'a, T>(
    unpacker: &mut Unpacker<'a>,
    mut item: impl FnMut(&mut Unpacker<'a>) -> Result<T, Unexpected>,
) -> Result<Vec<T>, Unexpected> {
    let length = count(unpacker)?;
    // Memory comes only as items are really there.
    let mut items = Vec::with_capacity(length.min(ITEMS_AT_ONCE));
    for _ in 0..length {
        items.push(item(unpacker)?);
    }
    Ok(items)
}

const ITEMS_AT_ONCE: usize = 64;

fn pass_items<'a>(
    unpacker: &mut Unpacker<'a>,
    mut item: impl FnMut(&mut Unpacker<'a>) -> Result<(), Unexpected>,
) -> Result<(), Unexpected> {
    (0..count(unpacker)?).try_for_each(|_| item(unpacker))
}

/// The length of an array of items, each of which takes a byte at least.
fn count(unpacker: &mut Unpacker<'_>) -> Result<usize, Unexpected> {
    match unpacker.array()? {
        length if length > unpacker.left() => Err(Unexpected::End),
        length => Ok(length),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::{Serialize, Serializer};

    use super::*;
    use crate::journal::samples;

    /// A value as a library for msgpack writes it.
    struct ByLibrary<'a>(&'a ValueTree);

    impl Serialize for ByLibrary<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0 {
                ValueTree::Unit => (0,).serialize(serializer),
                ValueTree::Bool(truth) => (1, truth).serialize(serializer),
                ValueTree::Int(number) => (2, number).serialize(serializer),
                ValueTree::Float(number) => (3, number).serialize(serializer),
                ValueTree::Text(text) => (4, text).serialize(serializer),
                ValueTree::Tensor {
                    dtype,
                    shape,
                    digest,
                } => (5, dtype.code(), shape, digest).serialize(serializer),
                ValueTree::Tuple(items) => {
                    let items: Vec<_> = items.iter().map(ByLibrary).collect();
                    (6, items).serialize(serializer)
                }
                ValueTree::List(items) => {
                    let items: Vec<_> = items.iter().map(ByLibrary).collect();
                    (7, items).serialize(serializer)
                }
                ValueTree::Map(entries) => {
                    let entries: Vec<_> = entries
                        .iter()
                        .map(|(name, item)| (name, ByLibrary(item)))
                        .collect();
                    (8, entries).serialize(serializer)
                }
            }
        }
    }

    fn by_library(exchange: &Exchange) -> Vec<u8> {
        let fault = exchange.fault.as_ref();
        let origin = exchange.origin.as_ref();
        let wire = (
            exchange.run,
            exchange.index,
            exchange.mediator,
            exchange.event.code(),
            exchange.asked.map(<(u32, u32)>::from),
            exchange.at.map(<(u32, u32)>::from),
            exchange.result.code(),
            exchange.value.as_ref().map(ByLibrary),
            fault.map(|fault| (&fault.code, &fault.message)),
            origin.map(|origin| (&origin.file, origin.line)),
        );
        rmp_serde::to_vec(&wire).unwrap()
    }

    fn encoded(exchange: &Exchange) -> Vec<u8> {
        let mut payload = Vec::new();
        encode(exchange, &mut payload).unwrap();
        payload
    }

    /// What is read is what would be written, and both ways of reading agree on it.
    fn check_reading(payload: &[u8]) -> Result<(), TestCaseError> {
        let decoded = decode(payload);
        prop_assert_eq!(check(payload).err(), decoded.as_ref().err().copied());
        if let Ok(exchange) = decoded {
            prop_assert_eq!(encoded(&exchange), payload);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn exchanges_are_written_as_a_library_for_msgpack_writes_them(exchange in samples::any_exchange()) {
            let payload = encoded(&exchange);
            prop_assert_eq!(&payload, &by_library(&exchange));
            prop_assert_eq!(decode(&payload), Ok(exchange));
        }

        #[test]
        fn what_is_read_is_canonical(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            check_reading(&payload)?;
        }

        #[test]
        fn what_is_read_after_damage_is_canonical(
            exchange in samples::any_exchange(),
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut payload = encoded(&exchange);
            let at = at.index(payload.len());
            payload[at] = byte;
            check_reading(&payload)?;
        }
    }

    #[test]
    fn every_cut_and_every_other_byte_of_an_exchange_is_read_alike() {
        let payload = encoded(&samples::exchange_with_everything());
        for cut in 0..payload.len() {
            assert_eq!(
                decode(&payload[..cut]),
                Err(check(&payload[..cut]).unwrap_err())
            );
        }
        for at in 0..payload.len() {
            for byte in 0..=u8::MAX {
                let mut payload = payload.clone();
                payload[at] = byte;
                check_reading(&payload).unwrap();
            }
        }
    }

    #[test]
    fn the_wire_order_of_an_exchange_is_fixed() {
        let payload = encoded(&samples::exchange_with_everything());
        let hexadecimal: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        insta::assert_snapshot!(hexadecimal, @"9a01cd012c01019201029200ce000111700192069891009201c39202f99203cb80000000000000009204a2c3a99405019102c420acc346244904a0b5d0c65f21f93f8c16e1233735d3eddbc36fd64510ad1e530c92079092089192a16b9202cf7fffffffffffffff92a445303130ac6f7574206f66206f7264657292a873746565722e72730c");
    }

    #[test]
    fn longer_encodings_of_the_same_exchange_are_refused() {
        let exchange = samples::exchange_with_everything();
        let payload = encoded(&exchange);
        assert_eq!(payload[1], exchange.run as u8);
        let wide = [&payload[..1], &[0xcc], &payload[1..]].concat();
        let error = decode(&wide).unwrap_err().to_string();
        assert_eq!(error, "byte 1 of the payload is not the canonical encoding");
        let longer = [&payload[..], &[0]].concat();
        let error = decode(&longer).unwrap_err().to_string();
        assert_eq!(error, "1 bytes follow the record in its frame");
    }

    #[test]
    fn deep_values_are_refused_on_both_sides() {
        let nested =
            |depth| (0..depth).fold(ValueTree::Unit, |value, _| ValueTree::Tuple(vec![value]));
        let mut exchange = samples::exchange_with_everything();
        exchange.value = Some(nested(VALUE_DEPTH_MAX));
        assert_eq!(decode(&encoded(&exchange)), Ok(exchange.clone()));
        exchange.value = Some(nested(VALUE_DEPTH_MAX + 1));
        assert!(encode(&exchange, &mut Vec::new()).is_err());
        let too_deep = by_library(&exchange);
        assert_eq!(decode(&too_deep), Err(Unexpected::TooDeep(VALUE_DEPTH_MAX)));
        assert!(check(&too_deep).is_err());
        assert!(decode(&[0x91; 100_000]).is_err());
    }
}
