//! The encoding of a fault as bytes: its code and its particulars by name, as a library for msgpack
//! writes them.
//!
//! A fault without particulars is its code alone. A reader that does not know the code, or other
//! particulars of it, keeps them as they stand. Each fault has one encoding only.

use interloom_engine::{Fault, FaultKind, NoLeaf, Tree};
use serde::Serialize;
use serde_json::{Value, json};

use super::pack::{Unexpected, Unpacker};
use super::particulars::{self, READ_DEPTH_MAX};

/// The deepest nesting of the particulars of a fault, the map with its code included: more than any
/// fault of this version has.
const DEPTH_MAX: usize = 16;

/// Appends a fault.
pub(super) fn encode(fault: &Fault, out: &mut Vec<u8>) -> Result<(), String> {
    let mut serializer = rmp_serde::Serializer::new(out).with_struct_map();
    let written = match unknown_as_tree(fault) {
        Some(tree) if tree.depth() > DEPTH_MAX => {
            return Err(Unexpected::TooDeep(DEPTH_MAX).to_string());
        }
        Some(tree) => tree.serialize(&mut serializer),
        None => fault.serialize(&mut serializer),
    };
    written.map_err(|error| error.to_string())
}

/// Reads a fault.
pub(super) fn decode(unpacker: &mut Unpacker<'_>) -> Result<Fault, Unexpected> {
    let (at, rest) = (unpacker.position(), unpacker.rest());
    let not_one = || unpacker.other(at, "a fault: its code, with its particulars by name");
    let (tree, length) = particulars::read::<Tree<NoLeaf>>(rest).ok_or_else(not_one)?;
    if tree.depth() > DEPTH_MAX {
        return Err(Unexpected::TooDeep(DEPTH_MAX));
    }
    let bytes = &rest[..length];
    let known = particulars::read::<Fault>(bytes).map(|(fault, _)| fault);
    let fault = known
        .filter(|fault| is_written_as(fault, bytes))
        .or_else(|| unknown(&tree))
        .ok_or_else(not_one)?;
    if !is_written_as(&fault, bytes) {
        return Err(Unexpected::NotCanonical(at));
    }
    unpacker.skip(length)?;
    Ok(fault)
}

/// The code as it stands in a journal, also of a fault that this version does not know.
pub(super) fn code(fault: &Fault) -> &str {
    match fault.kind() {
        FaultKind::Unknown { code, .. } => code,
        _ => fault.code(),
    }
}

/// The particulars of a fault, by name.
pub(super) fn particulars(fault: &Fault) -> Tree<NoLeaf> {
    match unknown_as_tree(fault).unwrap_or_else(|| particulars::tree_of(fault)) {
        Tree::Map(entries) => match &*entries {
            [(_, particulars)] => particulars.clone(),
            _ => Tree::Map(entries),
        },
        _ => Tree::Unit,
    }
}

/// A fault for programs: its code, its particulars and a sentence.
pub(super) fn json(fault: &Fault) -> Value {
    let particulars = serde_json::to_value(particulars(fault));
    json!({
        "code": code(fault),
        "particulars": particulars.unwrap_or_default(),
        "message": fault.to_string(),
    })
}

fn is_written_as(fault: &Fault, bytes: &[u8]) -> bool {
    let mut written = Vec::with_capacity(bytes.len());
    encode(fault, &mut written).is_ok() && written == bytes
}

/// What is written of a fault that this version does not know.
fn unknown_as_tree(fault: &Fault) -> Option<Tree<NoLeaf>> {
    let FaultKind::Unknown { code, particulars } = fault.kind() else {
        return None;
    };
    let code = code.as_str().into();
    Some(match particulars {
        Tree::Unit => Tree::Text(code),
        particulars => Tree::Map([(code, particulars.clone())].into()),
    })
}

fn unknown(tree: &Tree<NoLeaf>) -> Option<Fault> {
    let (code, particulars) = match tree {
        Tree::Text(code) => (code, Tree::Unit),
        Tree::Map(entries) => match &**entries {
            [(code, particulars)] => (code, particulars.clone()),
            _ => return None,
        },
        _ => return None,
    };
    let kind = FaultKind::Unknown {
        code: code.to_string(),
        particulars,
    };
    Some(kind.into())
}

const _: () = assert!(DEPTH_MAX < READ_DEPTH_MAX);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::samples;

    fn encoded(fault: &Fault) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(fault, &mut bytes).unwrap();
        bytes
    }

    /// What stands at the front of some bytes, of which it must be all.
    fn decoded(bytes: &[u8]) -> Result<Fault, Unexpected> {
        let mut unpacker = Unpacker::new(bytes);
        let fault = decode(&mut unpacker)?;
        unpacker.end()?;
        Ok(fault)
    }

    fn packed(value: &impl Serialize) -> Vec<u8> {
        rmp_serde::to_vec_named(value).unwrap()
    }

    fn tree(json: Value) -> Tree<NoLeaf> {
        serde_json::from_value(json).unwrap()
    }

    fn unknown_fault(code: &str, particulars: Value) -> Fault {
        let kind = FaultKind::Unknown {
            code: code.to_owned(),
            particulars: tree(particulars),
        };
        kind.into()
    }

    #[test]
    fn every_fault_of_this_version_comes_back_from_its_bytes() {
        for fault in samples::faults() {
            let bytes = encoded(&fault);
            assert_eq!(decoded(&bytes), Ok(fault.clone()), "{fault}");
            assert_eq!(bytes, packed(&fault), "{fault}");
            assert_eq!(code(&fault), fault.code());
        }
    }

    #[test]
    fn a_fault_is_its_code_and_its_particulars_by_name() {
        let shown = samples::faults().into_iter().map(|fault| {
            let value: Value = rmp_serde::from_slice(&encoded(&fault)).unwrap();
            value.to_string()
        });
        insta::assert_snapshot!(shown.collect::<Vec<_>>().join("\n"), @r#"
        {"E001":{"asked":"layers.0.input.i0","nearest":["a"]}}
        {"E002":{"asked":"layers.0.input.i0","at":"layers.0.input.i0"}}
        {"E003":{"asked":"layers.0.input.i0","hint":["a"],"stopped_by":["stop","layers.0.input.i0"]}}
        {"E004":{"misfit":{"expected":"f32[1, 2]","found":"i64[3]"},"site":"layers.0.input.i0"}}
        {"E005":{"example":"layers.0.input.i0","site":"layers.0.input.i0"}}
        {"E006":{"batch":2,"rows":1,"site":"layers.0.input.i0"}}
        {"E007":{"expected":"f32[1, 2]","found":"i64[3]"}}
        "E008"
        "E009"
        "E010"
        {"E011":"so it is"}
        {"E012":{"limit":100000}}
        {"E013":"not enough"}
        {"E014":{"iteration":4,"steps":3}}
        {"E015":{"asked":"meet","nearest":["a"]}}
        {"E016":{"asked":"x","there":["a"]}}
        {"E017":{"passed":["a"]}}
        {"E054":{"asked":"layers.0.input.i0","why":"unreached"}}
        {"E055":{"at":"layers.0.input.i0","misfit":{"expected":"f32[1, 2]","found":"i64[3]"}}}
        {"E056":{"at":"layers.0.input.i0"}}
        {"E075":{"asked":"layers.0.weight.output","gradient":"layers.0.weight.grad"}}
        {"E103":{"unset":"x"}}
        {"E103":{"not-given":"x"}}
        {"E103":{"no-modules":"x"}}
        {"E103":{"kind":{"expected":"a number","found":"a list","place":"a sum"}}}
        {"E103":{"misfit":{"misfit":{"expected":"f32[1, 2]","found":"i64[3]"},"place":"a sum"}}}
        {"E103":{"span":{"dimension":1,"end":2,"shape":[2,1],"start":-1}}}
        {"E103":{"no-item":{"item":"3","length":2}}}
        {"E103":{"never-passed":{"last":"layers.0.input.i0","site":"layers.0.input.i0"}}}
        {"E103":{"late-cache":{"passed":["layers.0.input.i0"],"reached":"layers.0.input.i0","since":"step 1"}}}
        {"E103":{"unskippable":"layers.0.input.i0"}}
        {"E103":{"call":{"reason":"no such module"}}}
        {"E103":{"skip":{"expected":"f32[1]","found":"f32[2]","reason":"it does not fit","site":"layers.0.input.i0"}}}
        {"E103":{"partial-skip":{"others":"x","site":"layers.0.input.i0"}}}
        {"E103":{"too-many-leaves":{"limit":64}}}
        "#);
    }

    #[test]
    fn what_this_version_does_not_know_is_kept_as_it_stands() {
        let cases = [
            // Another code, with particulars and without.
            (
                json!({ "E900": { "asked": "a.output", "of": [1, null, true, 0.5] } }),
                "E900",
            ),
            (json!("E901"), "E901"),
            (json!({ "E902": "in words" }), "E902"),
            // Other particulars of a code that is known: one more, one less, in another order, of
            // another kind.
            (json!({ "E010": { "more": 1 } }), "E010"),
            (json!({ "E012": {} }), "E012"),
            (json!({ "E012": { "limit": "none" } }), "E012"),
            (json!({ "E012": { "limit": 7, "per": "site" } }), "E012"),
        ];
        for (json, expected) in cases {
            let bytes = packed(&json);
            let fault = decoded(&bytes).unwrap();
            assert!(matches!(fault.kind(), FaultKind::Unknown { .. }), "{json}");
            assert_eq!((code(&fault), encoded(&fault)), (expected, bytes), "{json}");
        }
        // The order of particulars, which JSON may not keep.
        let known = packed(&json!({ "E002": { "asked": "a", "at": null } }));
        let other = [&b"\x81\xa4E002\x82\xa2at\xc0\xa5asked\xa1a"[..]].concat();
        assert!(matches!(
            decoded(&known).unwrap().kind(),
            FaultKind::OutOfOrder { .. }
        ));
        let fault = decoded(&other).unwrap();
        assert!(matches!(fault.kind(), FaultKind::Unknown { .. }));
        assert_eq!(encoded(&fault), other);
    }

    #[test]
    fn what_is_no_fault_or_has_a_longer_encoding_is_refused() {
        let other = Unexpected::Other {
            at: 0,
            expected: "a fault: its code, with its particulars by name",
        };
        for bytes in [
            &b"\xc0"[..],
            b"\x07",
            b"\x90",
            b"\x80",
            b"\x82\xa4E001\xc0\xa4E002\xc0",
            b"\x81\x01\xc0",
            b"\x81\xa4E900",
            b"\x81\xa4E900\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x81\xa4E900\xc4\x01\x00",
            b"\xdf\xff\xff\xff\xff\xa4E900",
            b"\xdb\xff\xff\xff\xff",
            b"",
        ] {
            assert_eq!(decoded(bytes), Err(other), "{bytes:x?}");
        }
        for bytes in [
            // The code, a number, a float, nothing and a map, each in another form than the
            // shortest.
            &b"\xd9\x04E008"[..],
            b"\x81\xd9\x04E900\x01",
            b"\x81\xa4E900\xcc\x01",
            b"\x81\xa4E012\x81\xa5limit\xcd\x00\x07",
            b"\x81\xa4E900\xca\x3f\x80\x00\x00",
            b"\x81\xa4E900\xc0",
            b"\xde\x00\x01\xa4E900\x01",
            b"\x81\xa4E900\xdc\x00\x01\x01",
        ] {
            assert_eq!(
                decoded(bytes),
                Err(Unexpected::NotCanonical(0)),
                "{bytes:x?}"
            );
        }
    }

    #[test]
    fn deep_particulars_are_refused_on_both_sides() {
        let nested = |levels: usize| {
            let inner = (0..levels).fold(Value::Null, |value, _| json!([value]));
            json!({ "E900": inner })
        };
        for (levels, is_taken) in [(DEPTH_MAX - 1, true), (DEPTH_MAX, false), (25, false)] {
            let found = decoded(&packed(&nested(levels)));
            assert_eq!(found.is_ok(), is_taken, "{levels} levels");
            let fault = unknown_fault("E900", nested(levels)["E900"].take());
            assert_eq!(
                encode(&fault, &mut Vec::new()).is_ok(),
                is_taken,
                "{levels} levels"
            );
        }
        assert!(decoded(&[&b"\x81\xa4E900"[..], &[0x91; 100_000]].concat()).is_err());
    }

    proptest! {
        #[test]
        fn faults_are_written_as_a_library_for_msgpack_writes_them(fault in samples::any_fault()) {
            let bytes = encoded(&fault);
            prop_assert_eq!(decoded(&bytes), Ok(fault));
        }

        #[test]
        fn what_is_read_is_what_would_be_written(
            fault in samples::any_fault(),
            at in any::<proptest::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut bytes = encoded(&fault);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(fault) = decoded(&bytes) {
                prop_assert_eq!(encoded(&fault), bytes);
            }
        }
    }
}
