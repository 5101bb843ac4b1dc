//! The payloads of frames: how each record is written as bytes, and read back.
//!
//! Exchanges (see `exchange`), paths and passages (see `passage`) are msgpack arrays with one
//! encoding only: any other is refused. Head, run start, run end, footer, note and tick are msgpack
//! maps with named fields, so that later versions can add to them. Tensors are raw little-endian
//! bytes.

use std::io::Cursor;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::digest::{DType, Digest};
use super::exchange;
use super::frame::FrameKind;
use super::pack::{self, Unexpected, Unpacker};
use super::padded;
use super::passage;
use super::record::{FORMAT_NAME, Head, OriginRecord, PathLine, Record, RunStart, TensorRecord};
use super::sites::SiteTable;
use super::visit;

/// The largest rank of a tensor whose bytes are kept.
pub const TENSOR_RANK_MAX: usize = 255;

/// The size of a tensor payload before its dimensions: digest, type, rank, six reserved bytes.
pub const TENSOR_FIXED_BYTES: usize = 40;

/// Deep enough for whatever a head may hold, and for what later versions may add to it.
const MSGPACK_DEPTH_MAX: usize = 144;

/// Appends the payload of a path to `out`.
pub(super) fn encode_path(id: u32, text: &str, out: &mut Vec<u8>) {
    pack::array(out, 2);
    pack::uint(out, id.into());
    pack::text(out, text);
}

/// Appends the payload of a record with named fields to `out`.
pub(super) fn encode_named(record: &impl Serialize, out: &mut Vec<u8>) -> Result<(), String> {
    record
        .serialize(&mut rmp_serde::Serializer::new(out).with_struct_map())
        .map_err(|error| error.to_string())
}

/// Appends what the digest of a run has of its start: all but the scheduler, whose name may be
/// another where the order is the same.
pub(super) fn encode_start_evidence(start: &RunStart, out: &mut Vec<u8>) {
    pack::array(out, 6);
    pack::uint(out, start.run.into());
    pack::text(out, &start.name);
    pack::array(out, start.mediators.len());
    for mediator in &start.mediators {
        pack::array(out, 3);
        pack::text(out, &mediator.name);
        match mediator.rows {
            Some((first, count)) => {
                pack::array(out, 2);
                pack::uint(out, first.into());
                pack::uint(out, count.into());
            }
            None => pack::nil(out),
        }
        pack::truth(out, mediator.optional);
    }
    pack::array(out, start.declared.barriers.len());
    for barrier in &start.declared.barriers {
        pack::array(out, 2);
        pack::text(out, &barrier.name);
        pack::uint(out, barrier.participants.into());
    }
    match start.declared.steps {
        Some(steps) => pack::uint(out, steps.into()),
        None => pack::nil(out),
    }
    pack::array(out, start.declared.gradients.len());
    for gradient in &start.declared.gradients {
        pack::text(out, gradient);
    }
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

/// Reads the payload of a frame of this kind; `sources` are the lines of source that stand before
/// it.
pub(super) fn decode(
    kind: FrameKind,
    payload: &[u8],
    sources: &[OriginRecord],
) -> Result<Record, String> {
    let exchange = |payload| {
        let decoded = canonical(exchange::decode(payload))?;
        Ok::<_, String>(decoded.with_source(sources))
    };
    Ok(match kind {
        FrameKind::Head => Record::Head(Box::new(decode_head(payload)?)),
        FrameKind::RunStart => Record::RunStart(decode_named(payload)?),
        FrameKind::Path => Record::Path(canonical(decode_path(payload))?),
        FrameKind::Exchange => Record::Exchange(exchange(payload)?),
        FrameKind::Open => Record::Open(exchange(payload)?),
        FrameKind::Visit => Record::Visit(canonical(visit::decode(payload))?),
        FrameKind::CacheDeclaration => {
            Record::CacheDeclaration(canonical(visit::decode_cache(payload))?)
        }
        FrameKind::Padding => Record::Padding(canonical(padded::decode(payload))?),
        FrameKind::Source => Record::Source(canonical(visit::decode_source(payload))?),
        FrameKind::Tensor => Record::Tensor(decode_tensor(payload)?.into_record()),
        FrameKind::RunEnd => Record::RunEnd(decode_named(payload)?),
        FrameKind::Footer => Record::Footer(decode_named(payload)?),
        FrameKind::Note => Record::Note(decode_named(payload)?),
        FrameKind::Tick => Record::Tick(decode_named(payload)?),
        FrameKind::Passage => Record::Passage(passage::decode(payload)?),
    })
}

fn canonical<T>(decoded: Result<T, Unexpected>) -> Result<T, String> {
    decoded.map_err(|error| error.to_string())
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
    head.sites.as_ref().map_or(Ok(()), SiteTable::check)?;
    Ok(head)
}

fn decode_path(payload: &[u8]) -> Result<PathLine, Unexpected> {
    let mut unpacker = Unpacker::new(payload);
    unpacker.array_of(2, "a path's number and text")?;
    let (id, text) = (unpacker.u32_number()?, unpacker.text()?.to_owned());
    unpacker.end()?;
    Ok(PathLine { id, text })
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

/// A tensor as it stands in a payload.
#[derive(Clone, Debug)]
pub(super) struct TensorPayload<'a> {
    pub(super) digest: Digest,
    pub(super) dtype: DType,
    pub(super) shape: Vec<u64>,
    pub(super) bytes: &'a [u8],
}

impl TensorPayload<'_> {
    pub(super) fn into_record(self) -> TensorRecord {
        TensorRecord {
            digest: self.digest,
            dtype: self.dtype,
            shape: self.shape,
            bytes: self.bytes.to_vec(),
        }
    }
}

/// Reads the payload of a tensor.
pub(super) fn decode_tensor(payload: &[u8]) -> Result<TensorPayload<'_>, String> {
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
    Ok(TensorPayload {
        digest: Digest(digest),
        dtype,
        shape,
        bytes,
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
    use crate::samples;

    proptest! {
        #[test]
        fn heads_round_trip(head in samples::any_head()) {
            let mut payload = Vec::new();
            encode_named(&head, &mut payload).unwrap();
            let decoded = decode(FrameKind::Head, &payload, &[]).unwrap();
            prop_assert_eq!(decoded, Record::Head(Box::new(head)));
        }

        #[test]
        fn no_payload_makes_a_decoder_panic(
            kind in proptest::sample::select(FrameKind::ALL.to_vec()),
            payload in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = decode(kind, &payload, &[]);
        }
    }

    #[test]
    fn paths_round_trip_and_have_one_encoding() {
        for (id, text) in [(0, ""), (200, "layers.3.attn.output"), (u32::MAX, "é")] {
            let mut payload = Vec::new();
            encode_path(id, text, &mut payload);
            assert_eq!(payload, rmp_serde::to_vec(&(id, text)).unwrap());
            let expected = Record::Path(PathLine {
                id,
                text: text.into(),
            });
            assert_eq!(decode(FrameKind::Path, &payload, &[]), Ok(expected));
            payload.push(0);
            assert!(decode(FrameKind::Path, &payload, &[]).is_err());
        }
        let error = decode(FrameKind::Path, &[0x92, 0xcc, 1, 0xa0], &[]).unwrap_err();
        assert_eq!(error, "byte 1 of the payload is not the canonical encoding");
    }

    #[test]
    fn the_evidence_of_a_start_is_all_but_the_scheduler_as_the_library_writes_it() {
        let start = RunStart {
            declared: samples::declared(),
            ..samples::run_start(3)
        };
        let evidence = |start: &RunStart| {
            let mut evidence = Vec::new();
            encode_start_evidence(start, &mut evidence);
            evidence
        };
        let mediators = start.mediators.iter();
        let mediators: Vec<_> = mediators
            .map(|line| (&line.name, line.rows, line.optional))
            .collect();
        let barriers = start.declared.barriers.iter();
        let barriers: Vec<_> = barriers
            .map(|barrier| (&barrier.name, barrier.participants))
            .collect();
        let whole = (
            start.run,
            &start.name,
            mediators,
            barriers,
            start.declared.steps,
            &start.declared.gradients,
        );
        assert_eq!(evidence(&start), rmp_serde::to_vec(&whole).unwrap());
        let other = RunStart {
            scheduler: "seeded 7".into(),
            ..start.clone()
        };
        assert_eq!(evidence(&start), evidence(&other));
    }

    #[test]
    fn deep_arrays_are_refused() {
        let arrays = [0x91; 100_000];
        for kind in FrameKind::ALL {
            assert!(decode(kind, &arrays, &[]).is_err());
        }
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
        let expected = super::super::record::NoteRecord {
            key: "a".into(),
            value: "b".into(),
        };
        assert_eq!(
            decode(FrameKind::Note, &payload, &[]),
            Ok(Record::Note(expected))
        );
        payload.push(0);
        let error = decode(FrameKind::Note, &payload, &[]).unwrap_err();
        assert_eq!(error, "1 bytes follow the record in its frame");
    }

    #[test]
    fn tensors_with_impossible_sizes_are_refused() {
        let mut payload = Vec::new();
        encode_tensor_head(&Digest::ZERO, DType::F32, &[u64::MAX, 2], &mut payload);
        let error = decode(FrameKind::Tensor, &payload, &[]).unwrap_err();
        assert_eq!(error, "f32[18446744073709551615, 2] does not have 0 bytes");
        let error = decode(FrameKind::Tensor, &payload[..50], &[]).unwrap_err();
        assert_eq!(error, "50 bytes are too few for a tensor");
    }

    #[test]
    fn lengths_that_promise_too_much_allocate_nothing() {
        // An array of 2^32 - 1 exchanges, and a text of 2^32 - 1 bytes.
        for payload in [
            &[0xdd, 0xff, 0xff, 0xff, 0xff][..],
            &[0x92, 0, 0xdb, 0xff, 0xff, 0xff, 0xff],
        ] {
            for kind in FrameKind::ALL {
                assert!(decode(kind, payload, &[]).is_err());
            }
        }
    }
}
