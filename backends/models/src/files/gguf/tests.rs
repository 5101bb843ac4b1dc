use proptest::prelude::*;

use super::super::test_files::{GgufFile, strings, tiny_model};
use super::*;

fn all_values() -> Vec<GgufValue> {
    let nested = GgufArray::Array(vec![
        GgufArray::U8(vec![1]),
        GgufArray::String(strings(&["x"])),
    ]);
    vec![
        GgufValue::U8(u8::MAX),
        GgufValue::I8(i8::MIN),
        GgufValue::U16(u16::MAX),
        GgufValue::I16(i16::MIN),
        GgufValue::U32(u32::MAX),
        GgufValue::I32(i32::MIN),
        GgufValue::F32(-1.5),
        GgufValue::Bool(true),
        GgufValue::String("naïve".to_owned()),
        GgufValue::U64(u64::MAX),
        GgufValue::I64(i64::MIN),
        GgufValue::F64(1e300),
        GgufValue::Array(GgufArray::U8(vec![1, 2])),
        GgufValue::Array(GgufArray::I8(vec![-1])),
        GgufValue::Array(GgufArray::U16(vec![1, 2])),
        GgufValue::Array(GgufArray::I16(vec![-1])),
        GgufValue::Array(GgufArray::U32(vec![1, 2])),
        GgufValue::Array(GgufArray::I32(vec![-1])),
        GgufValue::Array(GgufArray::F32(vec![0.5, -0.5])),
        GgufValue::Array(GgufArray::Bool(vec![true, false])),
        GgufValue::Array(GgufArray::String(strings(&["a", "", "c"]))),
        GgufValue::Array(GgufArray::U64(vec![1])),
        GgufValue::Array(GgufArray::I64(vec![])),
        GgufValue::Array(GgufArray::F64(vec![0.1])),
        GgufValue::Array(nested.clone()),
        GgufValue::Array(GgufArray::Array(vec![nested])),
    ]
}

fn error(bytes: Vec<u8>) -> FileError {
    Gguf::from_bytes(bytes, "tiny.gguf").map(drop).unwrap_err()
}

/// The length of a row of whole blocks.
fn row(kind: TensorType) -> usize {
    kind.block_values().max(32)
}

/// Blocks of every type, with scales and values that are not all alike.
fn one_of_each() -> GgufFile {
    TensorType::all().fold(GgufFile::new(), |file, kind| {
        let width = row(kind);
        let blocks = width / kind.block_values();
        let block = |at: usize| (0..kind.block_bytes()).map(move |i| (7 * (at + i)) as u8 & 0x3f);
        let data: Vec<u8> = (0..2 * blocks).flat_map(block).collect();
        file.with_tensor(kind.name(), &[2, width as u64], kind.id(), data)
    })
}

#[test]
fn every_value_type_is_read() {
    for version in [2, 3] {
        let mut file = GgufFile {
            version,
            ..GgufFile::new()
        };
        for (number, value) in all_values().into_iter().enumerate() {
            file = file.with(&format!("key{number}"), value);
        }
        let gguf = file.open();
        assert_eq!(gguf.version(), version);
        assert_eq!(gguf.metadata().len(), all_values().len());
        for (number, value) in all_values().iter().enumerate() {
            assert_eq!(gguf.metadata().get(&format!("key{number}")), Some(value));
        }
    }
}

#[test]
fn every_tensor_type_is_read() {
    let file = one_of_each();
    let gguf = file.open();
    for (stored, kind) in file.tensors.iter().zip(TensorType::all()) {
        let info = &gguf.tensors()[kind.name()];
        assert_eq!((info.kind, &info.shape[..]), (kind, &[2, row(kind)][..]));
        assert_eq!(info.length, stored.data.len() as u64);
        let tensor = gguf.load(kind.name()).unwrap();
        assert_eq!(tensor.shape, [2, row(kind)]);
        assert_eq!(tensor.data, kind.dequantise(&stored.data));
    }
    assert_eq!(gguf.load("none").unwrap_err().code(), "E044");
}

#[test]
fn shapes_are_turned_round() {
    let gguf = GgufFile::new().with_counting("w", &[2, 3]).open();
    let tensor = gguf.load("w").unwrap();
    assert_eq!(
        tensor,
        RawTensor {
            shape: vec![2, 3],
            data: vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
        }
    );
}

#[test]
fn the_alignment_of_the_file_holds() {
    for alignment in [8_u32, 64] {
        let file = GgufFile {
            alignment: alignment as usize,
            ..GgufFile::new()
        }
        .with("general.alignment", GgufValue::U32(alignment))
        .with_counting("a", &[3])
        .with_counting("b", &[5])
        .open();
        assert_eq!(file.load("b").unwrap().data, [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(file.tensors()["b"].offset % u64::from(alignment), 0);
    }
    for value in [
        GgufValue::U32(0),
        GgufValue::U32(48),
        GgufValue::U32(4),
        GgufValue::U32(1 << 21),
        GgufValue::F32(32.0),
    ] {
        let file = GgufFile::new().with("general.alignment", value);
        assert_eq!(error(file.bytes()).code(), "E042");
    }
}

#[test]
fn unsupported_files_say_what_is_supported() {
    let file = GgufFile::new().with_tensor("blk.0.ffn_up.weight", &[256], 16, vec![0; 66]);
    insta::assert_snapshot!(error(file.bytes()), @"expected one of the types F32, F16, BF16, F64, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, found IQ2_XXS (type 16) (at tensor `blk.0.ffn_up.weight` of tiny.gguf); take a file of another kind, such as Q4_K_M or Q8_0, or make one: llama-quantize --allow-requantize FILE NEW Q8_0");
    assert_eq!(error(file.bytes()).code(), "E043");
    for (version, found) in [
        (1, "version 1"),
        (4, "version 4"),
        (3 << 24, "a big-endian file"),
    ] {
        let error = error(
            GgufFile {
                version,
                ..GgufFile::new()
            }
            .bytes(),
        );
        assert_eq!(error.code(), "E043");
        assert!(error.to_string().contains(found), "{error}");
    }
}

#[test]
fn names_must_differ() {
    let mut file = tiny_model();
    file.keys.push(file.keys[0].clone());
    insta::assert_snapshot!(error(file.bytes()), @"expected every key once, found `general.architecture` again (at byte 765 of tiny.gguf); the file is cut, damaged or miswritten: fetch it again or convert it anew");
    let mut file = tiny_model();
    file.tensors.push(file.tensors[0].clone());
    insta::assert_snapshot!(error(file.bytes()), @"expected every tensor once, found `token_embd.weight` again (at byte 1401 of tiny.gguf); the file is cut, damaged or miswritten: fetch it again or convert it anew");
}

#[test]
fn faulty_tensors_are_refused() {
    let f32 = TensorType::F32.id();
    let q8 = TensorType::Q8_0.id();
    for (extents, kind) in [
        (vec![], f32),
        (vec![1, 1, 1, 1, 1], f32),
        (vec![0], f32),
        (vec![2, 0], f32),
        (vec![u64::MAX, 2], f32),
        (vec![u64::MAX / 4], f32),
        (vec![1 << 40], f32),
        (vec![16, 2], q8),
        (vec![33], q8),
    ] {
        let mut file = GgufFile::new().with_tensor("w", &[], kind, vec![0; 64]);
        file.tensors[0].extents.clone_from(&extents);
        assert_eq!(error(file.bytes()).code(), "E042", "{extents:?}");
    }
}

#[test]
fn data_lies_in_the_file_and_apart() {
    let file = GgufFile::new()
        .with_counting("a", &[16])
        .with_counting("b", &[16]);
    let offset_of_b = file.header().len() - 8;
    let moved = |offset: u64| {
        let mut bytes = file.bytes();
        bytes[offset_of_b..offset_of_b + 8].copy_from_slice(&offset.to_le_bytes());
        error(bytes)
    };
    insta::assert_snapshot!(moved(32), @"expected data of its own, found bytes of tensor `a` (at byte 128, the data of tensor `b`, of tiny.gguf); the file is cut, damaged or miswritten: fetch it again or convert it anew");
    insta::assert_snapshot!(moved(96), @"expected 64 bytes, found the end of the file after 224 bytes (at byte 192, the data of tensor `b`, of tiny.gguf); the file is cut, damaged or miswritten: fetch it again or convert it anew");
    insta::assert_snapshot!(moved(65), @"expected an offset that is a multiple of 32 for tensor `b`, found 65 (at byte 82 of tiny.gguf); the file is cut, damaged or miswritten: fetch it again or convert it anew");
    for offset in [0, 1 << 63, u64::MAX - 31] {
        assert_eq!(moved(offset).code(), "E042", "{offset}");
    }
}

#[test]
fn huge_lengths_allocate_nothing() {
    let file = GgufFile::new().with("key", GgufValue::Array(GgufArray::U32(vec![1, 2, 3])));
    let bytes = file.bytes();
    // Tensor count, key count, length of the key, and length of the array.
    for at in [8, 16, 24, 24 + 8 + 3 + 4 + 4] {
        for count in [u64::MAX, 1 << 62, 1 << 40, 1000] {
            let mut bytes = bytes.clone();
            bytes[at..at + 8].copy_from_slice(&count.to_le_bytes());
            assert_eq!(error(bytes).code(), "E042", "{count} at byte {at}");
        }
    }
}

#[test]
fn arrays_are_nested_only_so_deep() {
    let nested = |depth: usize| {
        let inner = GgufArray::U8(vec![7]);
        (1..depth).fold(inner, |array, _| GgufArray::Array(vec![array]))
    };
    let file = |depth| {
        GgufFile::new()
            .with("key", GgufValue::Array(nested(depth)))
            .bytes()
    };
    assert!(Gguf::from_bytes(file(MAX_ARRAY_DEPTH), "m").is_ok());
    insta::assert_snapshot!(error(file(MAX_ARRAY_DEPTH + 1)), @"expected at most 4 arrays inside one another, found one more (at byte 75 of tiny.gguf); the file is cut, damaged or miswritten: fetch it again or convert it anew");
    // An array whose only element is an array, and so on: the writer would recurse.
    let mut bytes = GgufFile::new()
        .with("key", GgufValue::Array(GgufArray::U8(Vec::new())))
        .bytes();
    bytes.truncate(bytes.len() - 12);
    for _ in 0..100_000 {
        bytes.extend(9_u32.to_le_bytes());
        bytes.extend(1_u64.to_le_bytes());
    }
    let message = error(bytes).to_string();
    assert!(message.contains("arrays inside one another"), "{message}");
}

#[test]
fn small_faults_are_named_with_their_byte() {
    let file = GgufFile::new().with("k", GgufValue::Bool(true));
    let change = |at: usize, byte: u8| {
        let mut bytes = file.bytes();
        bytes[at] = byte;
        error(bytes)
    };
    insta::assert_snapshot!(change(0, b'X'), @"expected a GGUF file, which begins with `GGUF`, found `XGUF` (at byte 0 of tiny.gguf); the file is cut, damaged or miswritten: fetch it again or convert it anew");
    insta::assert_snapshot!(change(32, 0xff), @"expected a metadata key in UTF-8, found other bytes (at byte 24 of tiny.gguf); the file is cut, damaged or miswritten: fetch it again or convert it anew");
    insta::assert_snapshot!(change(33, 13), @"expected a value type from 0 to 12, found 13 (at byte 33 of tiny.gguf); the file is cut, damaged or miswritten: fetch it again or convert it anew");
    insta::assert_snapshot!(change(37, 2), @"expected a boolean, 0 or 1, found 2 (at byte 37 of tiny.gguf); the file is cut, damaged or miswritten: fetch it again or convert it anew");
    insta::assert_snapshot!(error(file.bytes()[..36].to_vec()), @"expected at most 0 metadata keys, found 1 (at byte 16 of tiny.gguf); the file is cut, damaged or miswritten: fetch it again or convert it anew");
}

/// A file with a key of every type and a tensor of every type.
fn everything() -> GgufFile {
    let keys = all_values().into_iter().enumerate();
    keys.fold(one_of_each(), |file, (number, value)| {
        file.with(&format!("k{number}"), value)
    })
}

#[test]
fn no_cut_is_accepted() {
    let bytes = everything().bytes();
    for length in 0..bytes.len() {
        assert_eq!(error(bytes[..length].to_vec()).code(), "E042", "{length}");
    }
}

/// Reads a file that may be faulty; what is accepted must be whole and load.
fn read_all(bytes: Vec<u8>) {
    let length = bytes.len() as u64;
    let Ok(gguf) = Gguf::from_bytes(bytes, "flipped") else {
        return;
    };
    let tensors = gguf.tensors().clone();
    for (name, info) in tensors {
        assert!(info.offset + info.length <= length, "{name}");
        let tensor = gguf.load(&name).unwrap();
        assert_eq!(tensor.shape, info.shape);
        assert_eq!(tensor.data.len(), info.shape.iter().product::<usize>());
    }
}

#[test]
fn no_flipped_bit_panics_or_reaches_outside() {
    let file = everything();
    let bytes = file.bytes();
    for bit in 0..file.header().len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        read_all(flipped);
    }
}

proptest! {
    #[test]
    fn changed_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = everything().bytes();
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        read_all(bytes);
    }

    #[test]
    fn arbitrary_bytes_after_the_magic_never_panic(tail in prop::collection::vec(any::<u8>(), 0..200)) {
        read_all([b"GGUF\x03\0\0\0".to_vec(), tail].concat());
    }
}
