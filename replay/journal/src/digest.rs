//! Content digests of tensors and files, and the element types that they cover.
//!
//! A digest names content: two tensors have the same digest exactly when their element type,
//! shape and bytes are the same. It is what a journal keeps of a value when the bytes themselves
//! are not kept.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::chain::PIECE_BYTES;

/// A BLAKE3 digest of 32 bytes.
///
/// `Display` writes all 64 hexadecimal digits; [`Digest::short`] and `Debug` write `b3:` and the
/// first twelve. In text formats (JSON) it is serialised as the 64 digits, in binary formats
/// (msgpack) as 32 bytes.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest that a chain starts from: 32 zero bytes.
    pub const ZERO: Self = Self([0; 32]);

    /// Digests a tensor's content.
    ///
    /// The input of BLAKE3 is the element type's code (one byte), the rank and then each
    /// dimension as u64, and the elements, all little-endian and in row-major order.
    pub fn of_tensor(dtype: DType, shape: &[u64], bytes: &[u8]) -> Self {
        let prefix = 9 + 8 * shape.len();
        let (now, later) = bytes.split_at(bytes.len().min(PIECE_BYTES.saturating_sub(prefix)));
        // Together with the first elements, so that all others start at a multiple of a large size.
        let mut start = Vec::with_capacity(prefix + now.len());
        start.push(dtype.code());
        start.extend_from_slice(&(shape.len() as u64).to_le_bytes());
        for dimension in shape {
            start.extend_from_slice(&dimension.to_le_bytes());
        }
        start.extend_from_slice(now);
        if later.is_empty() {
            return Self(*blake3::hash(&start).as_bytes());
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&start).update(later);
        Self(*hasher.finalize().as_bytes())
    }

    /// Digests bytes of any other kind, kept apart by `domain` (such as `file` or `program`).
    ///
    /// The input of BLAKE3 is the length of `domain` as u64 (little-endian), `domain`, `bytes`.
    pub fn of_bytes(domain: &str, bytes: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(domain.len() as u64).to_le_bytes());
        hasher.update(domain.as_bytes());
        hasher.update(bytes);
        Self(*hasher.finalize().as_bytes())
    }

    /// Returns `b3:` and the first twelve hexadecimal digits, for people.
    pub fn short(&self) -> String {
        let mut text = String::from("b3:");
        for byte in &self.0[..6] {
            text.push_str(&format!("{byte:02x}"));
        }
        text
    }

    /// Reads 64 hexadecimal digits, as `Display` writes them.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = (high * 16 + low) as u8;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(DigestVisitor)
        } else {
            deserializer.deserialize_bytes(DigestVisitor)
        }
    }
}

struct DigestVisitor;

impl Visitor<'_> for DigestVisitor {
    type Value = Digest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a digest of 32 bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Digest, E> {
        let bytes = bytes.try_into();
        bytes
            .map(Digest)
            .map_err(|_| E::custom("expected a digest of 32 bytes"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Digest, E> {
        Digest::from_hex(text)
            .ok_or_else(|| E::custom("expected a digest of 64 hexadecimal digits"))
    }
}

/// The element type of a tensor.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum DType {
    /// 64-bit IEEE 754 float.
    F64,
    /// 32-bit IEEE 754 float.
    F32,
    /// 16-bit IEEE 754 float.
    F16,
    /// bfloat16: the upper half of an `F32`.
    BF16,
    /// 64-bit signed integer.
    I64,
    /// 32-bit signed integer.
    I32,
    /// 16-bit signed integer.
    I16,
    /// 8-bit signed integer.
    I8,
    /// 64-bit unsigned integer.
    U64,
    /// 32-bit unsigned integer.
    U32,
    /// 16-bit unsigned integer.
    U16,
    /// 8-bit unsigned integer.
    U8,
    /// Truth value, one byte each: 0 or 1.
    Bool,
}

impl DType {
    /// Every element type, ordered by code.
    pub const ALL: [Self; 13] = [
        Self::F64,
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::I64,
        Self::I32,
        Self::I16,
        Self::I8,
        Self::U64,
        Self::U32,
        Self::U16,
        Self::U8,
        Self::Bool,
    ];

    /// Returns the code that stands for this type in a journal and in digests.
    pub const fn code(self) -> u8 {
        match self {
            Self::F64 => 0,
            Self::F32 => 1,
            Self::F16 => 2,
            Self::BF16 => 3,
            Self::I64 => 4,
            Self::I32 => 5,
            Self::I16 => 6,
            Self::I8 => 7,
            Self::U64 => 8,
            Self::U32 => 9,
            Self::U16 => 10,
            Self::U8 => 11,
            Self::Bool => 12,
        }
    }

    /// Returns the type with this code, if there is one.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Returns the size of one element in bytes.
    pub const fn element_bytes(self) -> u64 {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Returns the bytes that a tensor of this type and shape has, or `None` past `u64`.
    pub fn tensor_bytes(self, shape: &[u64]) -> Option<u64> {
        if shape.contains(&0) {
            return Some(0);
        }
        shape
            .iter()
            .try_fold(self.element_bytes(), |bytes, dimension| {
                bytes.checked_mul(*dimension)
            })
    }

    /// Returns the short name, such as `f32`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::I16 => "i16",
            Self::I8 => "i8",
            Self::U64 => "u64",
            Self::U32 => "u32",
            Self::U16 => "u16",
            Self::U8 => "u8",
            Self::Bool => "bool",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_name_each_type_once() {
        for (code, dtype) in DType::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(dtype.code()), code);
            assert_eq!(DType::from_code(dtype.code()), Some(dtype));
        }
        assert_eq!(DType::from_code(13), None);
    }

    #[test]
    fn a_tensor_digest_depends_on_type_shape_and_bytes() {
        let cases = [
            Digest::of_tensor(DType::F32, &[2], &[0; 8]),
            Digest::of_tensor(DType::I32, &[2], &[0; 8]),
            Digest::of_tensor(DType::F32, &[1, 2], &[0; 8]),
            Digest::of_tensor(DType::F32, &[2], &[0, 0, 0, 0, 0, 0, 0, 1]),
            Digest::of_bytes("tensor", &[0; 8]),
            Digest::of_bytes("file", &[0; 8]),
        ];
        let distinct: BTreeSet<_> = cases.iter().collect();
        assert_eq!(distinct.len(), cases.len());
    }

    #[test]
    fn the_digest_of_a_large_tensor_has_the_documented_input_too() {
        for count in [
            PIECE_BYTES - 18,
            PIECE_BYTES - 17,
            PIECE_BYTES - 16,
            3 * PIECE_BYTES,
        ] {
            let bytes: Vec<u8> = (0..count).map(|at| at as u8).collect();
            let mut input = vec![11];
            input.extend(1u64.to_le_bytes());
            input.extend((count as u64).to_le_bytes());
            input.extend(&bytes);
            let expected = Digest(*blake3::hash(&input).as_bytes());
            assert_eq!(
                Digest::of_tensor(DType::U8, &[count as u64], &bytes),
                expected
            );
        }
    }

    #[test]
    fn the_digest_input_is_the_documented_one() {
        let mut input = vec![1];
        input.extend(1u64.to_le_bytes());
        input.extend(2u64.to_le_bytes());
        input.extend([1, 2, 3, 4, 5, 6, 7, 8]);
        let expected = Digest(*blake3::hash(&input).as_bytes());
        assert_eq!(
            Digest::of_tensor(DType::F32, &[2], &[1, 2, 3, 4, 5, 6, 7, 8]),
            expected
        );

        let mut input = 4u64.to_le_bytes().to_vec();
        input.extend(b"fileabc");
        let expected = Digest(*blake3::hash(&input).as_bytes());
        assert_eq!(Digest::of_bytes("file", b"abc"), expected);
    }

    #[test]
    fn hexadecimal_digits_round_trip() {
        let digest = Digest::of_bytes("file", b"abc");
        assert_eq!(Digest::from_hex(&digest.to_string()), Some(digest));
        assert_eq!(Digest::from_hex("b3"), None);
        assert_eq!(Digest::from_hex(&"g".repeat(64)), None);
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{digest}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        assert!(digest.to_string().starts_with(&digest.short()[3..]));
    }

    #[test]
    fn tensor_sizes_are_checked() {
        assert_eq!(DType::F32.tensor_bytes(&[2, 3]), Some(24));
        assert_eq!(DType::BF16.tensor_bytes(&[]), Some(2));
        assert_eq!(DType::U8.tensor_bytes(&[u64::MAX, u64::MAX, 0]), Some(0));
        assert_eq!(DType::U8.tensor_bytes(&[u64::MAX, 2]), None);
    }
}
