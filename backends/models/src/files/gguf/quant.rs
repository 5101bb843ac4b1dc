//! The number formats of GGUF tensors, and how to turn them into `f32`.
//!
//! A quantised tensor is a row of blocks of 32 or 256 values. In the simple formats a block has a
//! scale `d` (and a minimum `m` in the formats that end in 1), both half precision, and small
//! integers `q`. In those of 256 values, the K-quants, the scale is multiplied with a small integer
//! for each 16 or 32 values, and so is the minimum. Formats whose name begins with `IQ4` look `q`
//! up in a table. A value is then `q d`, `q d + m` or `q d - m`.
//!
//! Layouts are those of ggml's `ggml-quants.c`. Each product is exact in `f32`, so a value is the
//! exact result of its formula, rounded once.

use half::{bf16, f16};

use crate::files::input::Decode;

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
    /// Double precision, which is rounded.
    F64,
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
    /// Two bits, with scales and minima of four bits for each 16 values.
    Q2K,
    /// Three bits, with signed scales of six bits for each 16 values.
    Q3K,
    /// Four bits, with scales and minima of six bits for each 32 values.
    Q4K,
    /// Five bits, with scales and minima of six bits for each 32 values.
    Q5K,
    /// Six bits, with signed scales of eight bits for each 16 values.
    Q6K,
    /// Four bits, each the number of a level.
    Iq4Nl,
    /// Four bits, each the number of a level, with signed scales of six bits for each 32 values.
    Iq4Xs,
}

/// What is known of a type.
struct Format {
    kind: TensorType,
    /// What ggml calls it.
    name: &'static str,
    /// The number that stands for it in a file (`enum ggml_type`).
    id: u32,
    /// The bytes of a block.
    bytes: usize,
    /// The values of a block.
    values: usize,
    /// Turns blocks into as many values as they have.
    decode: Decode,
}

impl Format {
    const fn new(
        kind: TensorType,
        name: &'static str,
        id: u32,
        [bytes, values]: [usize; 2],
        decode: Decode,
    ) -> Self {
        Self {
            kind,
            name,
            id,
            bytes,
            values,
            decode,
        }
    }
}

/// All types, in the order of [`TensorType`].
static FORMATS: [Format; 16] = {
    use TensorType::*;
    [
        Format::new(F32, "F32", 0, [4, 1], |b, v| each(b, v, single)),
        Format::new(F16, "F16", 1, [2, 1], |b, v| each(b, v, half)),
        Format::new(Bf16, "BF16", 30, [2, 1], |b, v| each(b, v, brain)),
        Format::new(F64, "F64", 28, [8, 1], |b, v| each(b, v, double)),
        Format::new(Q4_0, "Q4_0", 2, [18, 32], |b, v| each(b, v, q4_0)),
        Format::new(Q4_1, "Q4_1", 3, [20, 32], |b, v| each(b, v, q4_1)),
        Format::new(Q5_0, "Q5_0", 6, [22, 32], |b, v| each(b, v, q5_0)),
        Format::new(Q5_1, "Q5_1", 7, [24, 32], |b, v| each(b, v, q5_1)),
        Format::new(Q8_0, "Q8_0", 8, [34, 32], |b, v| each(b, v, q8_0)),
        Format::new(Q2K, "Q2_K", 10, [84, 256], |b, v| each(b, v, q2_k)),
        Format::new(Q3K, "Q3_K", 11, [110, 256], |b, v| each(b, v, q3_k)),
        Format::new(Q4K, "Q4_K", 12, [144, 256], |b, v| each(b, v, q4_k)),
        Format::new(Q5K, "Q5_K", 13, [176, 256], |b, v| each(b, v, q5_k)),
        Format::new(Q6K, "Q6_K", 14, [210, 256], |b, v| each(b, v, q6_k)),
        Format::new(Iq4Nl, "IQ4_NL", 20, [18, 32], |b, v| each(b, v, iq4_nl)),
        Format::new(Iq4Xs, "IQ4_XS", 23, [136, 256], |b, v| each(b, v, iq4_xs)),
    ]
};

impl TensorType {
    /// Returns all supported types, in the order in which messages name them.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        FORMATS.iter().map(|format| format.kind)
    }

    /// Returns the name that ggml gives the type.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.format().name
    }

    /// Returns the number that stands for the type in a file (`enum ggml_type`).
    #[must_use]
    pub fn id(self) -> u32 {
        self.format().id
    }

    /// Returns the type with this number, if it is supported.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        Self::all().find(|kind| kind.id() == id)
    }

    /// Returns the number of values in a block: 32 or 256, or 1 for the types that are not
    /// quantised.
    #[must_use]
    pub fn block_values(self) -> usize {
        self.format().values
    }

    /// Returns the number of bytes in a block.
    #[must_use]
    pub fn block_bytes(self) -> usize {
        self.format().bytes
    }

    /// Turns whole blocks into values; an incomplete block at the end is left out.
    #[must_use]
    pub fn dequantise(self, bytes: &[u8]) -> Vec<f32> {
        let blocks = bytes.len() / self.block_bytes();
        let mut values = vec![0.0; blocks * self.block_values()];
        self.dequantise_into(bytes, &mut values);
        values
    }

    /// Turns whole blocks into values, as far as both reach.
    pub fn dequantise_into(self, bytes: &[u8], values: &mut [f32]) {
        (self.format().decode)(bytes, values);
    }

    fn format(self) -> &'static Format {
        &FORMATS[self as usize]
    }
}

/// What ggml calls a type that this reader may or may not support.
pub(super) fn ggml_name(id: u32) -> &'static str {
    if let Some(kind) = TensorType::from_id(id) {
        return kind.name();
    }
    match id {
        4 => "Q4_2",
        5 => "Q4_3",
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        21 => "IQ3_S",
        22 => "IQ2_S",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        29 => "IQ1_M",
        31 => "Q4_0_4_4",
        32 => "Q4_0_4_8",
        33 => "Q4_0_8_8",
        34 => "TQ1_0",
        35 => "TQ2_0",
        36 => "IQ4_NL_4_4",
        37 => "IQ4_NL_4_8",
        38 => "IQ4_NL_8_8",
        39 => "MXFP4",
        40 => "NVFP4",
        _ => "an unknown type",
    }
}

/// Decodes block after block.
fn each<const BYTES: usize, const VALUES: usize>(
    bytes: &[u8],
    values: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; VALUES]),
) {
    let blocks = bytes.as_chunks().0.iter();
    let decoded = values.as_chunks_mut().0.iter_mut();
    blocks.zip(decoded).for_each(|(b, v)| decode(b, v));
}

fn single(block: &[u8; 4], values: &mut [f32; 1]) {
    values[0] = f32::from_le_bytes(*block);
}

fn half(block: &[u8; 2], values: &mut [f32; 1]) {
    values[0] = f16::from_le_bytes(*block).to_f32();
}

fn brain(block: &[u8; 2], values: &mut [f32; 1]) {
    values[0] = bf16::from_le_bytes(*block).to_f32();
}

fn double(block: &[u8; 8], values: &mut [f32; 1]) {
    values[0] = f64::from_le_bytes(*block) as f32;
}

fn q4_0(block: &[u8; 18], values: &mut [f32; 32]) {
    let d = half_at(block, 0);
    nibbles(&block[2..], values, |_, q| (f32::from(q) - 8.0) * d);
}

fn q4_1(block: &[u8; 20], values: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    nibbles(&block[4..], values, |_, q| f32::from(q) * d + m);
}

fn q5_0(block: &[u8; 22], values: &mut [f32; 32]) {
    let (d, fifth) = (half_at(block, 0), fifths(&block[2..6]));
    let value = |index, q| (f32::from(q | fifth(index)) - 16.0) * d;
    nibbles(&block[6..], values, value);
}

fn q5_1(block: &[u8; 24], values: &mut [f32; 32]) {
    let (d, m, fifth) = (half_at(block, 0), half_at(block, 2), fifths(&block[4..8]));
    let value = |index, q| f32::from(q | fifth(index)) * d + m;
    nibbles(&block[8..], values, value);
}

fn q8_0(block: &[u8; 34], values: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (value, q) in values.iter_mut().zip(&block[2..]) {
        *value = f32::from(q.cast_signed()) * d;
    }
}

/// Scales and minima, then `q`, then `d` and `m`. Of 128 values, the lowest two bits of 32 bytes
/// are the first 32, the next two bits the next.
fn q2_k(block: &[u8; 84], values: &mut [f32; 256]) {
    let (scales, q) = (&block[..16], &block[16..80]);
    let (d, m) = (half_at(block, 80), half_at(block, 82));
    for (group, values) in values.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * f32::from(scales[group] & 0xf);
        let minimum = m * f32::from(scales[group] >> 4);
        let (start, shift) = (group / 8 * 32 + group % 2 * 16, group % 8 / 2 * 2);
        for (value, q) in values.iter_mut().zip(&q[start..]) {
            *value = scale * f32::from(q >> shift & 3) - minimum;
        }
    }
}

/// Third bits, then the lower two bits as for Q2_K, then scales, then `d`. The third bits of 32
/// values are one bit in each of 32 bytes; where it is not set, 4 is taken away.
fn q3_k(block: &[u8; 110], values: &mut [f32; 256]) {
    let (thirds, q, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let d = half_at(block, 108);
    for (group, values) in values.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let low = scales[group % 8] >> (group / 8 * 4) & 0xf;
        let high = scales[8 + group % 4] >> (group / 4 * 2) & 3;
        let scale = d * (f32::from(low | high << 4) - 32.0);
        let side = group % 2 * 16;
        let (start, shift) = (group / 8 * 32 + side, group % 8 / 2 * 2);
        let bits = q[start..].iter().zip(&thirds[side..]);
        for (value, (q, third)) in values.iter_mut().zip(bits) {
            let third = third >> (group / 2) & 1;
            *value = scale * (f32::from(q >> shift & 3 | third << 2) - 4.0);
        }
    }
}

/// `d` and `m`, then scales and minima, then `q`, of which the low nibbles of 32 bytes are 32
/// values, and the high nibbles the next.
fn q4_k(block: &[u8; 144], values: &mut [f32; 256]) {
    let (d, m, scales) = (half_at(block, 0), half_at(block, 2), &block[4..16]);
    for (group, values) in values.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, minimum) = scale_and_minimum(scales, group);
        let (scale, minimum) = (d * scale, m * minimum);
        let shift = group % 2 * 4;
        for (value, q) in values.iter_mut().zip(&block[16 + group / 2 * 32..]) {
            *value = scale * f32::from(q >> shift & 0xf) - minimum;
        }
    }
}

/// As Q4_K, with the fifth bits in front of `q`: one bit in each of 32 bytes for 32 values.
fn q5_k(block: &[u8; 176], values: &mut [f32; 256]) {
    let (d, m, scales) = (half_at(block, 0), half_at(block, 2), &block[4..16]);
    let (fifths, q) = block[16..].split_at(32);
    for (group, values) in values.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, minimum) = scale_and_minimum(scales, group);
        let (scale, minimum) = (d * scale, m * minimum);
        let shift = group % 2 * 4;
        let bits = q[group / 2 * 32..].iter().zip(fifths);
        for (value, (q, fifth)) in values.iter_mut().zip(bits) {
            let q = q >> shift & 0xf | (fifth >> group & 1) << 4;
            *value = scale * f32::from(q) - minimum;
        }
    }
}

/// The low four bits, then the high two, then scales, then `d`. Of 128 values, the low nibbles of
/// 64 bytes are the first 64, and the high nibbles the next; the high bits are as in Q2_K.
fn q6_k(block: &[u8; 210], values: &mut [f32; 256]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half_at(block, 208);
    for (group, values) in values.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * f32::from(scales[group].cast_signed());
        let (half, part) = (group / 8, group % 8);
        let low = &low[half * 64 + part % 4 * 16..];
        let high = &high[half * 32 + part % 2 * 16..];
        for (value, (low, high)) in values.iter_mut().zip(low.iter().zip(high)) {
            let q = low >> (part / 4 * 4) & 0xf | (high >> (part / 2 * 2) & 3) << 4;
            *value = scale * (f32::from(q) - 32.0);
        }
    }
}

fn iq4_nl(block: &[u8; 18], values: &mut [f32; 32]) {
    let d = half_at(block, 0);
    nibbles(&block[2..], values, |_, q| d * level(q));
}

/// `d`, then the high two bits of the scales, then their low four bits, then the numbers of levels.
fn iq4_xs(block: &[u8; 136], values: &mut [f32; 256]) {
    let d = half_at(block, 0);
    let high = u16::from_le_bytes([block[2], block[3]]);
    for (group, values) in values.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let low = block[4 + group / 2] >> (group % 2 * 4) & 0xf;
        let high = (high >> (group * 2) & 3) as u8;
        let scale = d * (f32::from(low | high << 4) - 32.0);
        nibbles(&block[8 + group * 16..], values, |_, q| scale * level(q));
    }
}

/// Makes 16 values of the low nibbles of 16 bytes, and 16 more of the high ones; `value` takes the
/// number of a value and its nibble.
fn nibbles(bytes: &[u8], values: &mut [f32; 32], value: impl Fn(usize, u8) -> f32) {
    let (first, second) = values.split_at_mut(16);
    for (index, ((low, high), byte)) in first.iter_mut().zip(second).zip(bytes).enumerate() {
        *low = value(index, byte & 0xf);
        *high = value(index + 16, byte >> 4);
    }
}

/// Returns what gives the fifth bit of each of 32 values, in its place.
fn fifths(bytes: &[u8]) -> impl Fn(usize) -> u8 {
    let bits = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    move |index| (bits >> index & 1) as u8 * 16
}

/// The scale and the minimum of one of eight groups: 16 numbers of six bits in 12 bytes, of which
/// the last eight have their upper two bits in the first eight bytes.
fn scale_and_minimum(bytes: &[u8], group: usize) -> (f32, f32) {
    let (scale, minimum) = match group {
        0..4 => (bytes[group] & 63, bytes[group + 4] & 63),
        _ => {
            let (low, scale, minimum) = (bytes[group + 4], bytes[group - 4], bytes[group]);
            (low & 0xf | scale >> 6 << 4, low >> 4 | minimum >> 6 << 4)
        }
    };
    (f32::from(scale), f32::from(minimum))
}

/// The levels of IQ4_NL and IQ4_XS.
fn level(number: u8) -> f32 {
    const LEVELS: [i8; 16] = [
        -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
    ];
    f32::from(LEVELS[usize::from(number & 0xf)])
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

#[cfg(test)]
#[path = "quant_tests.rs"]
mod tests;
