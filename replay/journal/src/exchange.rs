//! The encoding of an exchange as bytes.
//!
//! An exchange is written more often than all else together, so this is done by hand. It has one
//! encoding only: whatever is read is, byte for byte, what would be written.

use interloom_engine::Round;

use super::digest::{DType, Digest};
use super::fault;
use super::pack::{self, Unexpected, Unpacker};
use super::record::{Event, ExchangeRecord, ExchangeResult, OriginRecord, SiteRef};
use super::value::{TensorLine, VALUE_DEPTH_MAX, ValueTree};

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
    (BOOL, "boolean"),
    (INT, "integer"),
    (FLOAT, "float"),
    (TEXT, "text"),
    (TENSOR, "tensor"),
    (TUPLE, "tuple"),
    (LIST, "list"),
    (MAP, "map"),
];

/// Appends the payload of an exchange to `out`: its evidence, and then the number of its line of
/// source. Returns how many bytes are evidence.
pub(super) fn encode(
    exchange: &ExchangeRecord,
    source: Option<u32>,
    out: &mut Vec<u8>,
) -> Result<usize, String> {
    let start = out.len();
    pack::array(out, FIELDS);
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
    encode_detail(exchange, out)?;
    match &exchange.fault {
        Some(fault) => fault::encode(fault, out)?,
        None => pack::nil(out),
    }
    let evidence = out.len() - start;
    match source {
        Some(source) => pack::uint(out, source.into()),
        None => pack::nil(out),
    }
    Ok(evidence)
}

/// What only a SWAP or a REGISTER has: whether the shape may change, and which loop the child is an
/// iteration of.
fn encode_detail(exchange: &ExchangeRecord, out: &mut Vec<u8>) -> Result<(), String> {
    match (exchange.event, exchange.reshape, exchange.round) {
        (_, false, Round::Alone) => pack::nil(out),
        (Event::Swap, true, Round::Alone) | (Event::Register, false, Round::Open) => {
            pack::truth(out, true);
        }
        (Event::Register, false, Round::Until { last }) => pack::uint(out, last.into()),
        (event, ..) => return Err(format!("{} neither reshapes nor loops", event.name())),
    }
    Ok(())
}

const FIELDS: usize = 10;

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
        ValueTree::Leaf(tensor) => {
            start(4, TENSOR);
            pack::uint(out, tensor.dtype.code().into());
            pack::array(out, tensor.shape.len());
            let dimensions = tensor.shape.iter();
            dimensions.for_each(|dimension| pack::uint(out, *dimension));
            pack::digest(out, &tensor.digest.0);
        }
        ValueTree::Tuple(items) | ValueTree::List(items) => {
            let is_tuple = matches!(value, ValueTree::Tuple(_));
            start(2, if is_tuple { TUPLE } else { LIST });
            let inside = deeper(outside).map_err(|error| error.to_string())?;
            pack::array(out, items.len());
            for item in items.iter() {
                encode_value(item, out, inside)?;
            }
        }
        ValueTree::Map(entries) => {
            start(2, MAP);
            let inside = deeper(outside).map_err(|error| error.to_string())?;
            pack::array(out, entries.len());
            for (name, item) in entries.iter() {
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

/// An exchange as it stands in a payload; `V` is what was made of its value, and `F` of its fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parsed<V, F> {
    pub(super) run: u32,
    pub(super) index: u64,
    pub(super) mediator: u32,
    pub(super) event: Event,
    pub(super) asked: Option<SiteRef>,
    pub(super) at: Option<SiteRef>,
    pub(super) result: ExchangeResult,
    pub(super) value: Option<V>,
    reshape: bool,
    round: Round,
    fault: Option<F>,
    pub(super) source: Option<u32>,
    /// How many bytes of the payload are evidence.
    pub(super) evidence: usize,
}

/// An exchange that was read, whose line of source stands for itself in another record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Decoded {
    /// The exchange, without its origin.
    pub(super) exchange: ExchangeRecord,
    pub(super) source: Option<u32>,
    /// How many bytes of the payload are evidence.
    pub(super) evidence: usize,
}

impl Decoded {
    /// The exchange with its line of source.
    pub(super) fn with_source(self, sources: &[OriginRecord]) -> ExchangeRecord {
        let origin = self.source.and_then(|source| sources.get(source as usize));
        ExchangeRecord {
            origin: origin.cloned(),
            ..self.exchange
        }
    }
}

/// Reads the payload of an exchange.
pub(super) fn decode(payload: &[u8]) -> Result<Decoded, Unexpected> {
    let parsed = parse(payload, |unpacker| decode_value(unpacker, 0), fault::decode)?;
    Ok(Decoded {
        source: parsed.source,
        evidence: parsed.evidence,
        exchange: ExchangeRecord {
            run: parsed.run,
            index: parsed.index,
            mediator: parsed.mediator,
            event: parsed.event,
            asked: parsed.asked,
            at: parsed.at,
            result: parsed.result,
            value: parsed.value,
            reshape: parsed.reshape,
            round: parsed.round,
            fault: parsed.fault,
            origin: None,
        },
    })
}

/// Checks the payload of an exchange as [`decode`] does, and makes nothing of its value.
pub(super) fn check(payload: &[u8]) -> Result<Parsed<(), ()>, Unexpected> {
    let fault = |unpacker: &mut Unpacker<'_>| fault::decode(unpacker).map(drop);
    parse(payload, |unpacker| pass_value(unpacker, 0), fault)
}

#[inline]
fn parse<'a, V, F>(
    payload: &'a [u8],
    value: impl FnOnce(&mut Unpacker<'a>) -> Result<V, Unexpected>,
    fault: impl FnOnce(&mut Unpacker<'a>) -> Result<F, Unexpected>,
) -> Result<Parsed<V, F>, Unexpected> {
    let mut unpacker = Unpacker::new(payload);
    unpacker.array_of(FIELDS, "the ten fields of an exchange")?;
    let run = unpacker.u32_number()?;
    let index = unpacker.uint()?;
    let mediator = unpacker.u32_number()?;
    let event = coded(&mut unpacker, "the code of an event", Event::from_code)?;
    let asked = site(&mut unpacker)?;
    let at = site(&mut unpacker)?;
    let result = coded(
        &mut unpacker,
        "the code of a result",
        ExchangeResult::from_code,
    )?;
    let value = optional(&mut unpacker, value)?;
    let (reshape, round) = detail(&mut unpacker, event)?;
    let fault = optional(&mut unpacker, fault)?;
    let evidence = unpacker.position();
    let source = optional(&mut unpacker, Unpacker::u32_number)?;
    unpacker.end()?;
    Ok(Parsed {
        run,
        index,
        mediator,
        event,
        asked,
        at,
        result,
        value,
        reshape,
        round,
        fault,
        source,
        evidence,
    })
}

fn detail(unpacker: &mut Unpacker<'_>, event: Event) -> Result<(bool, Round), Unexpected> {
    let at = unpacker.position();
    if unpacker.nil() {
        return Ok((false, Round::Alone));
    }
    match event {
        Event::Swap | Event::Register if unpacker.is_truth() => {
            let is_swap = event == Event::Swap;
            match unpacker.truth()? {
                true if is_swap => Ok((true, Round::Alone)),
                true => Ok((false, Round::Open)),
                false => Err(unpacker.other(at, "nil in place of false")),
            }
        }
        Event::Register => {
            let last = unpacker.u32_number()?;
            Ok((false, Round::Until { last }))
        }
        _ => Err(unpacker.other(at, "nil, for the event neither reshapes nor loops")),
    }
}

/// Reads something that may be nil.
#[inline]
pub(super) fn optional<'a, T>(
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
        TEXT => ValueTree::Text(unpacker.text()?.into()),
        TENSOR => {
            let dtype = coded(unpacker, "the code of an element type", DType::from_code)?;
            let shape = items(unpacker, Unpacker::uint)?;
            let digest = Digest(unpacker.digest()?);
            ValueTree::Leaf(TensorLine {
                dtype,
                shape,
                digest,
            })
        }
        TUPLE => {
            let inside = deeper(outside)?;
            ValueTree::Tuple(items(unpacker, |unpacker| decode_value(unpacker, inside))?.into())
        }
        LIST => {
            let inside = deeper(outside)?;
            ValueTree::List(items(unpacker, |unpacker| decode_value(unpacker, inside))?.into())
        }
        _ => {
            let inside = deeper(outside)?;
            let entries = items(unpacker, |unpacker| {
                unpacker.array_of(2, "a name and a value")?;
                Ok((unpacker.text()?.into(), decode_value(unpacker, inside)?))
            })?;
            ValueTree::Map(entries.into())
        }
    })
}

/// Passes a value that `outside` levels enclose.
pub(super) fn pass_value(unpacker: &mut Unpacker<'_>, outside: usize) -> Result<(), Unexpected> {
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
    use std::collections::BTreeMap;

    use interloom_engine::{Fault, FaultKind, Tree};
    use proptest::prelude::*;
    use serde::{Serialize, Serializer};

    use super::*;
    use crate::samples;

    /// A value as a library for msgpack writes it.
    struct ByLibrary<'a>(&'a ValueTree);

    impl Serialize for ByLibrary<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0 {
                ValueTree::Unit => (0,).serialize(serializer),
                ValueTree::Bool(truth) => (1, truth).serialize(serializer),
                ValueTree::Int(number) => (2, number).serialize(serializer),
                ValueTree::Float(number) => (3, number).serialize(serializer),
                ValueTree::Text(text) => (4, &**text).serialize(serializer),
                ValueTree::Leaf(TensorLine {
                    dtype,
                    shape,
                    digest,
                }) => (5, dtype.code(), shape, digest).serialize(serializer),
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
                        .map(|(name, item)| (&**name, ByLibrary(item)))
                        .collect();
                    (8, entries).serialize(serializer)
                }
            }
        }
    }

    /// A fault as a library for msgpack writes it.
    struct FaultByLibrary<'a>(&'a Fault);

    impl Serialize for FaultByLibrary<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let (code, particulars) = match self.0.kind() {
                FaultKind::Unknown { code, particulars } => (code, particulars),
                _ => return self.0.serialize(serializer),
            };
            match particulars {
                Tree::Unit => code.serialize(serializer),
                particulars => BTreeMap::from([(code, particulars)]).serialize(serializer),
            }
        }
    }

    /// What only a SWAP or a REGISTER has, as a library for msgpack writes it.
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Detail {
        None,
        Truth(bool),
        Last(u32),
    }

    fn by_library(exchange: &ExchangeRecord, source: Option<u32>) -> Vec<u8> {
        let detail = match (exchange.reshape, exchange.round) {
            (false, Round::Alone) => Detail::None,
            (_, Round::Until { last }) => Detail::Last(last),
            _ => Detail::Truth(true),
        };
        let wire = (
            exchange.run,
            exchange.index,
            exchange.mediator,
            exchange.event.code(),
            exchange.asked.map(<(u32, u32)>::from),
            exchange.at.map(<(u32, u32)>::from),
            exchange.result.code(),
            exchange.value.as_ref().map(ByLibrary),
            detail,
            exchange.fault.as_ref().map(FaultByLibrary),
        );
        let mut bytes = rmp_serde::to_vec_named(&wire).unwrap();
        bytes.extend(rmp_serde::to_vec(&source).unwrap());
        bytes
    }

    fn encoded(exchange: &ExchangeRecord, source: Option<u32>) -> Vec<u8> {
        let mut payload = Vec::new();
        let evidence = encode(exchange, source, &mut payload).unwrap();
        let rest = rmp_serde::to_vec(&source).unwrap();
        assert_eq!(payload[evidence..], rest);
        payload
    }

    /// An exchange with its line of source apart.
    fn apart(exchange: ExchangeRecord, source: Option<u32>, payload: &[u8]) -> Decoded {
        Decoded {
            exchange: ExchangeRecord {
                origin: None,
                ..exchange
            },
            source,
            evidence: payload.len() - rmp_serde::to_vec(&source).unwrap().len(),
        }
    }

    /// What is read is what would be written, and both ways of reading agree on it.
    fn check_reading(payload: &[u8]) -> Result<(), TestCaseError> {
        let decoded = decode(payload);
        let checked = check(payload);
        prop_assert_eq!(checked.err(), decoded.as_ref().err().copied());
        if let (
            Ok(Decoded {
                exchange,
                source,
                evidence,
            }),
            Ok(checked),
        ) = (decoded, checked)
        {
            prop_assert_eq!(encoded(&exchange, source), payload);
            prop_assert_eq!((checked.source, checked.evidence), (source, evidence));
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn exchanges_are_written_as_a_library_for_msgpack_writes_them(
            exchange in samples::any_exchange(),
            source in proptest::option::of(any::<u32>()),
        ) {
            let payload = encoded(&exchange, source);
            prop_assert_eq!(&payload, &by_library(&exchange, source));
            prop_assert_eq!(decode(&payload), Ok(apart(exchange, source, &payload)));
        }

        #[test]
        fn what_is_read_is_canonical(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            check_reading(&payload)?;
        }

        #[test]
        fn what_is_read_after_damage_is_canonical(
            exchange in samples::any_exchange(),
            source in proptest::option::of(any::<u32>()),
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut payload = encoded(&exchange, source);
            let at = at.index(payload.len());
            payload[at] = byte;
            check_reading(&payload)?;
        }
    }

    #[test]
    fn every_cut_and_every_other_byte_of_an_exchange_is_read_alike() {
        let last = ExchangeRecord {
            round: Round::Until { last: 300 },
            fault: Some(samples::later_fault()),
            ..samples::exchange(0, 0, Event::Register)
        };
        for exchange in [samples::exchange_with_everything(), last] {
            let payload = encoded(&exchange, Some(3));
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
    }

    #[test]
    fn the_wire_order_of_an_exchange_is_fixed() {
        let payload = encoded(&samples::exchange_with_everything(), Some(5));
        let hexadecimal: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        insta::assert_snapshot!(hexadecimal, @"9a01cd012c01019201029200ce000111700192069891009201c39202f99203cb80000000000000009204a2c3a99405019102c420acc346244904a0b5d0c65f21f93f8c16e1233735d3eddbc36fd64510ad1e530c92079092089192a16b9202cf7fffffffffffffffc381a44530303282a561736b6564b66c61796572732e302e6d6c702e6f75747075742e6932a26174bb6c61796572732e302e6174746e2e6f75747075742e69373030303005");
    }

    #[test]
    fn what_only_a_swap_or_a_register_has_is_nil_otherwise() {
        let with = |event, reshape, round| ExchangeRecord {
            reshape,
            round,
            ..samples::exchange(0, 0, event)
        };
        let details = [
            (with(Event::Swap, true, Round::Alone), 0xc3),
            (with(Event::Swap, false, Round::Alone), 0xc0),
            (with(Event::Register, false, Round::Open), 0xc3),
            (with(Event::Register, false, Round::Until { last: 5 }), 5),
        ];
        for (exchange, detail) in details {
            let payload = encoded(&exchange, None);
            assert_eq!(payload[payload.len() - 3], detail);
            assert_eq!(decode(&payload).map(|found| found.exchange), Ok(exchange));
        }
        for exchange in [
            with(Event::Value, true, Round::Alone),
            with(Event::Skip, false, Round::Open),
            with(Event::Swap, false, Round::Open),
            with(Event::Register, true, Round::Alone),
            with(Event::Register, true, Round::Open),
        ] {
            assert!(
                encode(&exchange, None, &mut Vec::new()).is_err(),
                "{exchange:?}"
            );
        }
        // The detail of one event in an exchange of another, and false in place of nil.
        let mut payload = encoded(&with(Event::Swap, true, Round::Alone), None);
        let at = payload.len() - 3;
        for (event, detail) in [
            (Event::Value, 0xc3),
            (Event::End, 5),
            (Event::Swap, 0xc2),
            (Event::Swap, 5),
            (Event::Register, 0xc2),
            (Event::Register, 0xe0),
        ] {
            (payload[4], payload[at]) = (event.code(), detail);
            let found = decode(&payload).unwrap_err();
            assert!(matches!(found, Unexpected::Other { at: found, .. } if found == at));
            assert_eq!(check(&payload).unwrap_err(), found);
        }
    }

    #[test]
    fn longer_encodings_of_the_same_exchange_are_refused() {
        let exchange = samples::exchange_with_everything();
        let payload = encoded(&exchange, Some(7));
        assert_eq!(payload[1], exchange.run as u8);
        let wide = [&payload[..1], &[0xcc], &payload[1..]].concat();
        let error = decode(&wide).unwrap_err().to_string();
        assert_eq!(error, "byte 1 of the payload is not the canonical encoding");
        let longer = [&payload[..], &[0]].concat();
        let error = decode(&longer).unwrap_err().to_string();
        assert_eq!(error, "1 bytes follow the record in its frame");
        let source = payload.len() - 1;
        let wide = [&payload[..source], &[0xcc, 7]].concat();
        assert_eq!(decode(&wide), Err(Unexpected::NotCanonical(source)));
    }

    #[test]
    fn deep_values_are_refused_on_both_sides() {
        let nested =
            |depth| (0..depth).fold(ValueTree::Unit, |value, _| ValueTree::Tuple([value].into()));
        let mut exchange = samples::exchange_with_everything();
        exchange.value = Some(nested(VALUE_DEPTH_MAX));
        let payload = encoded(&exchange, None);
        assert_eq!(
            decode(&payload),
            Ok(apart(exchange.clone(), None, &payload))
        );
        exchange.value = Some(nested(VALUE_DEPTH_MAX + 1));
        assert!(encode(&exchange, None, &mut Vec::new()).is_err());
        let too_deep = by_library(&exchange, None);
        assert_eq!(decode(&too_deep), Err(Unexpected::TooDeep(VALUE_DEPTH_MAX)));
        assert!(check(&too_deep).is_err());
        assert!(decode(&[0x91; 100_000]).is_err());
    }
}
