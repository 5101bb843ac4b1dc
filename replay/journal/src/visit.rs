//! The model's side of a run, and the caches that mediators declare on the way: how they are
//! written as bytes, and read back.
//!
//! A journal keeps the points that the model passed, and the value that it brought wherever one was
//! served or collected. Without them a replay without the model would have to guess what the
//! interleaver did.
//!
//! # What that costs
//!
//! A visit (the points passed since the last one, and the value that came in, by digest) takes 64
//! to 72 bytes and up to three for each further point, and the path of a point 50 bytes, once. Of
//! the journal of the ablation experiment on the induction model, 17 visits are 1,152 of 11,392
//! bytes under the policy `digest`, and of 104,504 under `full`. Where invokes have rows, `full`
//! keeps the value of the whole batch beside the rows that each was given: the patching experiment
//! takes 95,632 bytes in place of 45,056. Without that value a journal could not stand in for the
//! model.

use std::borrow::Cow;

use super::exchange::{decode_value, encode_value, items, optional, pass_value};
use super::fault;
use super::order::Passed;
use super::pack::{self, Unexpected, Unpacker};
use super::record::{BackwardTurn, Brought, CacheDeclaration, OriginRecord, SourceLine, Visit};

/// Appends the payload of a visit to `out`.
pub(super) fn encode(visit: &Visit, out: &mut Vec<u8>) -> Result<(), String> {
    if visit.passed.is_empty() && visit.backward.is_none() {
        return Err(format!("it is without {ONE_PATH}"));
    }
    pack::array(out, 4);
    pack::uint(out, visit.run.into());
    pack::array(out, visit.passed.len());
    for path in &visit.passed {
        pack::uint(out, (*path).into());
    }
    match &visit.brought {
        Some(brought) => {
            pack::array(out, 2);
            pack::uint(out, brought.iteration.into());
            encode_value(&brought.value, out, 0)?;
        }
        None => pack::nil(out),
    }
    match visit.backward {
        Some(turn) => pack::uint(out, turn.code()),
        None => pack::nil(out),
    }
    Ok(())
}

impl BackwardTurn {
    pub(super) const fn code(self) -> u64 {
        match self {
            Self::Begin => 0,
            Self::End => 1,
        }
    }

    const fn from_code(code: u32) -> Option<Self> {
        match code {
            0 => Some(Self::Begin),
            1 => Some(Self::End),
            _ => None,
        }
    }
}

const TURN: &str = "0 where a backward pass begins, 1 where it ends";

const ONE_PATH: &str = "the paths that were passed, one or more";

/// Reads the payload of a visit.
pub(super) fn decode(payload: &[u8]) -> Result<Visit, Unexpected> {
    let (run, passed, brought, backward) = parse(payload, |unpacker| decode_value(unpacker, 0))?;
    let brought = brought.map(|(iteration, value)| Brought { iteration, value });
    Ok(Visit {
        run,
        passed,
        brought,
        backward,
    })
}

/// Checks the payload of a visit as [`decode`] does, and makes nothing of its value.
pub(super) fn check(payload: &[u8]) -> Result<Passed<'static>, Unexpected> {
    let (run, paths, brought, backward) = parse(payload, |unpacker| pass_value(unpacker, 0))?;
    Ok(Passed {
        run,
        paths: Cow::Owned(paths),
        iteration: brought.map(|(iteration, ())| iteration),
        backward,
    })
}

/// The run, the paths, the iteration with the value, and the turn of a backward pass.
type Parsed<V> = (u32, Vec<u32>, Option<(u32, V)>, Option<BackwardTurn>);

/// Reads a visit, and what `value` makes of its value.
fn parse<'a, V>(
    payload: &'a [u8],
    value: impl FnOnce(&mut Unpacker<'a>) -> Result<V, Unexpected>,
) -> Result<Parsed<V>, Unexpected> {
    let mut unpacker = Unpacker::new(payload);
    unpacker.array_of(
        4,
        "a visit's run, paths, what was brought and the backward pass",
    )?;
    let run = unpacker.u32_number()?;
    let at = unpacker.position();
    let paths = items(&mut unpacker, Unpacker::u32_number)?;
    let brought = optional(&mut unpacker, |unpacker| {
        unpacker.array_of(2, "the iteration and the value")?;
        Ok((unpacker.u32_number()?, value(unpacker)?))
    })?;
    let backward = optional(&mut unpacker, |unpacker| {
        let at = unpacker.position();
        let code = unpacker.u32_number()?;
        BackwardTurn::from_code(code).ok_or_else(|| unpacker.other(at, TURN))
    })?;
    if paths.is_empty() && backward.is_none() {
        return Err(unpacker.other(at, ONE_PATH));
    }
    unpacker.end()?;
    Ok((run, paths, brought, backward))
}

/// Appends the payload of a cache declaration to `out`.
pub(super) fn encode_cache(cache: &CacheDeclaration, out: &mut Vec<u8>) -> Result<(), String> {
    pack::array(out, 8);
    pack::uint(out, cache.run.into());
    pack::uint(out, cache.mediator.into());
    pack::uint(out, cache.number.into());
    match &cache.modules {
        Some(modules) => {
            pack::array(out, modules.len());
            modules.iter().for_each(|module| pack::text(out, module));
        }
        None => pack::nil(out),
    }
    pack::truth(out, cache.inputs);
    pack::truth(out, cache.outputs);
    pack::truth(out, cache.gradients);
    match &cache.fault {
        Some(fault) => fault::encode(fault, out),
        None => {
            pack::nil(out);
            Ok(())
        }
    }
}

/// Reads the payload of a cache declaration.
pub(super) fn decode_cache(payload: &[u8]) -> Result<CacheDeclaration, Unexpected> {
    let mut unpacker = Unpacker::new(payload);
    unpacker.array_of(8, "the eight fields of a cache declaration")?;
    let cache = CacheDeclaration {
        run: unpacker.u32_number()?,
        mediator: unpacker.u32_number()?,
        number: unpacker.u32_number()?,
        modules: optional(&mut unpacker, |unpacker| {
            items(unpacker, |unpacker| Ok(unpacker.text()?.to_owned()))
        })?,
        inputs: unpacker.truth()?,
        outputs: unpacker.truth()?,
        gradients: unpacker.truth()?,
        fault: optional(&mut unpacker, fault::decode)?,
    };
    unpacker.end()?;
    Ok(cache)
}

/// Appends the payload of a line of source to `out`.
pub(super) fn encode_source(id: u32, origin: &OriginRecord, out: &mut Vec<u8>) {
    pack::array(out, 3);
    pack::uint(out, id.into());
    pack::text(out, &origin.file);
    pack::uint(out, origin.line.into());
}

/// Reads the payload of a line of source.
pub(super) fn decode_source(payload: &[u8]) -> Result<SourceLine, Unexpected> {
    let mut unpacker = Unpacker::new(payload);
    unpacker.array_of(3, "a source line's number, file and line")?;
    let id = unpacker.u32_number()?;
    let (file, line) = (unpacker.text()?.into(), unpacker.u32_number()?);
    unpacker.end()?;
    Ok(SourceLine {
        id,
        origin: OriginRecord { file, line },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::samples;
    use crate::value::{VALUE_DEPTH_MAX, ValueTree};

    /// A record of one of the three kinds, as its own functions take it.
    #[derive(Clone, Debug, PartialEq)]
    enum Written {
        Visit(Visit),
        Cache(CacheDeclaration),
        Source(SourceLine),
    }

    impl Written {
        fn encoded(&self) -> Vec<u8> {
            let mut payload = Vec::new();
            match self {
                Self::Visit(visit) => encode(visit, &mut payload).unwrap(),
                Self::Cache(cache) => encode_cache(cache, &mut payload).unwrap(),
                Self::Source(SourceLine { id, origin }) => {
                    encode_source(*id, origin, &mut payload);
                }
            }
            payload
        }
    }

    type Reader = fn(&[u8]) -> Result<Written, Unexpected>;

    /// Reads a payload as each of the kinds.
    const READERS: [Reader; 3] = [
        |payload| decode(payload).map(Written::Visit),
        |payload| decode_cache(payload).map(Written::Cache),
        |payload| decode_source(payload).map(Written::Source),
    ];

    fn any_written() -> impl Strategy<Value = (usize, Written)> {
        let source = (any::<u32>(), samples::any_origin());
        prop_oneof![
            samples::any_visit().prop_map(|visit| (0, Written::Visit(visit))),
            samples::any_cache_declaration().prop_map(|cache| (1, Written::Cache(cache))),
            source.prop_map(|(id, origin)| (2, Written::Source(SourceLine { id, origin }))),
        ]
    }

    /// What is read, as whichever kind, is what would be written; a visit is read alike in both
    /// ways.
    fn check_reading(payload: &[u8]) -> Result<(), TestCaseError> {
        for read in READERS {
            if let Ok(written) = read(payload) {
                prop_assert_eq!(written.encoded(), payload);
            }
        }
        match (decode(payload), check(payload)) {
            (Ok(visit), Ok(passed)) => {
                prop_assert_eq!(visit.passed, passed.paths.into_owned());
                let iteration = visit.brought.map(|brought| brought.iteration);
                prop_assert_eq!(
                    (visit.run, iteration, visit.backward),
                    (passed.run, passed.iteration, passed.backward)
                );
            }
            (visit, passed) => prop_assert_eq!(visit.err(), passed.err()),
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn records_come_back_from_their_bytes((kind, written) in any_written()) {
            let payload = written.encoded();
            prop_assert_eq!(READERS[kind](&payload), Ok(written));
            for cut in 0..payload.len() {
                prop_assert!(READERS[kind](&payload[..cut]).is_err());
            }
        }

        #[test]
        fn what_is_read_is_canonical(payload in proptest::collection::vec(any::<u8>(), 0..100)) {
            check_reading(&payload)?;
        }

        #[test]
        fn what_is_read_after_damage_is_canonical(
            (_, written) in any_written(),
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut payload = written.encoded();
            let at = at.index(payload.len());
            payload[at] = byte;
            check_reading(&payload)?;
        }
    }

    #[test]
    fn every_other_byte_is_read_alike() {
        let records = [
            Written::Visit(samples::visit(
                1,
                &[0, 300, 1],
                Some((300, samples::tensor(&[1.0]))),
            )),
            Written::Visit(samples::visit(0, &[2], None)),
            Written::Visit(samples::backward(0, &[2], BackwardTurn::Begin)),
            Written::Visit(samples::backward(0, &[], BackwardTurn::End)),
            Written::Cache(samples::cache_declaration(3)),
            Written::Cache(samples::granted_cache(3)),
            Written::Source(SourceLine {
                id: 200,
                origin: samples::origin("steer.rs", 12),
            }),
        ];
        for written in records {
            let payload = written.encoded();
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
    fn the_wire_order_of_each_record_is_fixed() {
        let records = [
            Written::Visit(samples::visit(1, &[0, 300], Some((7, ValueTree::Int(-1))))),
            Written::Visit(samples::backward(1, &[], BackwardTurn::End)),
            Written::Cache(samples::cache_declaration(2)),
            Written::Cache(samples::granted_cache(2)),
            Written::Source(SourceLine {
                id: 3,
                origin: samples::origin("steer.rs", 12),
            }),
        ];
        let lines = records.iter().map(|written| {
            let bytes = written.encoded();
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        });
        insta::assert_snapshot!(lines.collect::<Vec<String>>().join("\n"), @"
        94019200cd012c92079202ffc0
        940190c001
        9802010091ad6c61796572732e302e6174746ec2c3c281a44530313781a670617373656491b36c61796572732e302e6d6c702e6f7574707574
        98020000c0c3c3c3c0
        9303a873746565722e72730c
        ");
    }

    #[test]
    fn what_cannot_be_is_refused_on_both_sides() {
        let nowhere = samples::visit(0, &[], None);
        assert!(encode(&nowhere, &mut Vec::new()).is_err());
        let nested =
            (0..=VALUE_DEPTH_MAX).fold(ValueTree::Unit, |value, _| ValueTree::List([value].into()));
        let deep = samples::visit(0, &[0], Some((0, nested)));
        assert!(encode(&deep, &mut Vec::new()).is_err());
        let cases: [(&[u8], Unexpected); 5] = [
            (
                b"\x94\0\x90\xc0\xc0",
                Unexpected::Other {
                    at: 2,
                    expected: ONE_PATH,
                },
            ),
            (
                b"\x94\0\x90\xc0\x02",
                Unexpected::Other {
                    at: 4,
                    expected: TURN,
                },
            ),
            (b"\x94\0\x91\xcc\x01\xc0", Unexpected::NotCanonical(3)),
            (b"\x94\0\x91\0\xc0\xc0\xc0", Unexpected::More(1)),
            // So many paths cannot be there.
            (b"\x94\0\xdd\xff\xff\xff\xff", Unexpected::End),
        ];
        for (payload, expected) in cases {
            assert_eq!(decode(payload), Err(expected));
            assert_eq!(check(payload).err(), Some(expected));
        }
    }
}
