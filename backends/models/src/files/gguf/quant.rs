//! The number formats of GGUF tensors, and how to turn them into `f32`.
//!
//! A quantised tensor is a row of blocks of 32 values. A block begins with a scale `d` (and a
//! minimum `m` in the formats that end in 1), both half precision; the values follow as small
//! integers `q`. Of the formats with nibbles, the low nibbles of the 16 bytes are values 0 to 15
//! and the high nibbles values 16 to 31; the formats of five bits keep the fifth bits of all 32
//! values in four bytes in front of the nibbles. The sums are those of ggml's
//! `dequantize_row_*`, in the same order, so the results are equal bit for bit.

use half::{bf16, f16};

/// The storage type of a tensor's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TensorType {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// The upper half of single precision.
    Bf16,
    /// Four bits: `(q - 8) d`.
    Q4_0,
    /// Four bits: `q d + m`.
    Q4_1,
    /// Five bits: `(q - 16) d`.
    Q5_0,
    /// Five bits: `q d + m`.
    Q5_1,
    /// Eight bits, signed: `q d`.
    Q8_0,
}

/// The values in a quantised block.
const BLOCK: usize = 32;
/// The bytes of a half-precision number.
const HALF: usize = 2;

impl TensorType {
    /// All supported types, in the order in which messages name them.
    pub const ALL: [Self; 8] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
    ];

    /// Returns the name that ggml gives the type.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
        }
    }

    /// Returns the number that stands for the type in a file (`enum ggml_type`).
    #[must_use]
    pub fn id(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Bf16 => 30,
        }
    }

    /// Returns the type with this number, if it is supported.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.id() == id)
    }

    /// Returns the number of values in a block: 32, or 1 for the types that are not quantised.
    #[must_use]
    pub fn block_values(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => BLOCK,
        }
    }

    /// Returns the number of bytes in a block.
    #[must_use]
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => HALF,
            Self::Q4_0 => HALF + BLOCK / 2,
            Self::Q4_1 => 2 * HALF + BLOCK / 2,
            Self::Q5_0 => HALF + BLOCK / 8 + BLOCK / 2,
            Self::Q5_1 => 2 * HALF + BLOCK / 8 + BLOCK / 2,
            Self::Q8_0 => HALF + BLOCK,
        }
    }

    /// Turns whole blocks into values; an incomplete block at the end is left out.
    #[must_use]
    pub fn dequantise(self, bytes: &[u8]) -> Vec<f32> {
        let blocks = bytes.chunks_exact(self.block_bytes());
        let mut values = Vec::with_capacity(blocks.len() * self.block_values());
        for block in blocks {
            match self {
                Self::F32 => {
                    values.push(f32::from_le_bytes([block[0], block[1], block[2], block[3]]))
                }
                Self::F16 => values.push(half_at(block, 0)),
                Self::Bf16 => values.push(bf16::from_le_bytes([block[0], block[1]]).to_f32()),
                Self::Q4_0 => four_bits(&mut values, &block[HALF..], half_at(block, 0), None),
                Self::Q4_1 => {
                    let minimum = half_at(block, HALF);
                    four_bits(
                        &mut values,
                        &block[2 * HALF..],
                        half_at(block, 0),
                        Some(minimum),
                    );
                }
                Self::Q5_0 => five_bits(&mut values, &block[HALF..], half_at(block, 0), None),
                Self::Q5_1 => {
                    let minimum = half_at(block, HALF);
                    five_bits(
                        &mut values,
                        &block[2 * HALF..],
                        half_at(block, 0),
                        Some(minimum),
                    );
                }
                Self::Q8_0 => {
                    let scale = half_at(block, 0);
                    values.extend(
                        block[HALF..]
                            .iter()
                            .map(|&q| f32::from(q.cast_signed()) * scale),
                    );
                }
            }
        }
        values
    }
}

/// What ggml calls a type that this reader may or may not support.
pub(super) fn ggml_name(id: u32) -> &'static str {
    if let Some(kind) = TensorType::from_id(id) {
        return kind.name();
    }
    match id {
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        12 => "Q4_K",
        13 => "Q5_K",
        14 => "Q6_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => "an unknown type",
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn four_bits(values: &mut Vec<f32>, nibbles: &[u8], scale: f32, minimum: Option<f32>) {
    let low = nibbles.iter().map(|byte| byte & 0xf);
    let high = nibbles.iter().map(|byte| byte >> 4);
    values.extend(low.chain(high).map(|q| scaled(q, 8, scale, minimum)));
}

fn five_bits(values: &mut Vec<f32>, bytes: &[u8], scale: f32, minimum: Option<f32>) {
    let (fifths, nibbles) = bytes.split_at(BLOCK / 8);
    let low = nibbles.iter().map(|byte| byte & 0xf);
    let high = nibbles.iter().map(|byte| byte >> 4);
    values.extend(low.chain(high).enumerate().map(|(index, nibble)| {
        let fifth = (fifths[index / 8] >> (index % 8)) & 1;
        scaled(nibble | (fifth << 4), 16, scale, minimum)
    }));
}

/// `q d + m` where the format has a minimum, else `(q - centre) d`.
fn scaled(q: u8, centre: i16, scale: f32, minimum: Option<f32>) -> f32 {
    match minimum {
        Some(minimum) => f32::from(q) * scale + minimum,
        None => f32::from(i16::from(q) - centre) * scale,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halves(values: &[f32]) -> Vec<u8> {
        values
            .iter()
            .flat_map(|&value| f16::from_f32(value).to_le_bytes())
            .collect()
    }

    /// Bytes whose low nibbles count up from 0 to 15 and whose high nibbles count down.
    fn nibbles() -> Vec<u8> {
        (0..16).map(|i| i | ((15 - i) << 4)).collect()
    }

    /// The `q` of those nibbles in the order of the values.
    fn counted() -> Vec<f32> {
        (0..16)
            .chain((0..16).rev())
            .map(|q: u8| f32::from(q))
            .collect()
    }

    #[test]
    fn plain_numbers_are_converted_exactly() {
        let values = [0.0, -0.0, 1.5, -65504.0, f32::INFINITY];
        let single: Vec<u8> = values
            .iter()
            .flat_map(|value: &f32| value.to_le_bytes())
            .collect();
        assert_eq!(TensorType::F32.dequantise(&single), values);
        assert_eq!(TensorType::F16.dequantise(&halves(&values)), values);
        let brain: Vec<u8> = [1.5_f32, -3.0e38, 0.0]
            .iter()
            .flat_map(|&value| bf16::from_f32(value).to_le_bytes())
            .collect();
        assert_eq!(
            TensorType::Bf16.dequantise(&brain),
            [1.5, bf16::from_f32(-3.0e38).to_f32(), 0.0]
        );
    }

    #[test]
    fn four_bit_blocks_have_low_nibbles_first() {
        let block = [halves(&[0.5]), nibbles()].concat();
        let expected: Vec<f32> = counted().iter().map(|q| (q - 8.0) * 0.5).collect();
        assert_eq!(TensorType::Q4_0.dequantise(&block), expected);

        let block = [halves(&[0.5, -3.0]), nibbles()].concat();
        let expected: Vec<f32> = counted().iter().map(|q| q * 0.5 - 3.0).collect();
        assert_eq!(TensorType::Q4_1.dequantise(&block), expected);
    }

    #[test]
    fn five_bit_blocks_have_their_fifth_bits_in_order() {
        // The fifth bits of values 0, 9, 16 and 31.
        let fifths: u32 = 1 | 1 << 9 | 1 << 16 | 1 << 31;
        let fifth = |index: usize| if fifths >> index & 1 == 1 { 16.0 } else { 0.0 };
        let q = || {
            counted()
                .into_iter()
                .enumerate()
                .map(|(index, q)| q + fifth(index))
        };

        let block = [halves(&[0.25]), fifths.to_le_bytes().to_vec(), nibbles()].concat();
        let expected: Vec<f32> = q().map(|q| (q - 16.0) * 0.25).collect();
        assert_eq!(TensorType::Q5_0.dequantise(&block), expected);

        let block = [
            halves(&[0.25, 7.0]),
            fifths.to_le_bytes().to_vec(),
            nibbles(),
        ]
        .concat();
        let expected: Vec<f32> = q().map(|q| q * 0.25 + 7.0).collect();
        assert_eq!(TensorType::Q5_1.dequantise(&block), expected);
    }

    #[test]
    fn eight_bit_blocks_are_signed() {
        let bytes: Vec<u8> = (0..32_u8).map(|i| i.wrapping_mul(8)).collect();
        let block = [halves(&[2.0]), bytes.clone()].concat();
        let expected: Vec<f32> = bytes
            .iter()
            .map(|&b| f32::from(b.cast_signed()) * 2.0)
            .collect();
        assert_eq!(
            TensorType::Q8_0.dequantise(&[block.clone(), block].concat()),
            [expected.clone(), expected].concat()
        );
    }

    #[test]
    fn ids_and_names_are_those_of_ggml() {
        for kind in TensorType::ALL {
            assert_eq!(TensorType::from_id(kind.id()), Some(kind));
            assert_eq!(ggml_name(kind.id()), kind.name());
            assert_eq!(
                kind.dequantise(&vec![0; kind.block_bytes()]).len(),
                kind.block_values()
            );
        }
        assert_eq!(TensorType::from_id(12), None);
        assert_eq!((ggml_name(12), ggml_name(4)), ("Q4_K", "an unknown type"));
    }
}
