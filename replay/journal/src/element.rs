//! The elements of tensors as numbers.

use super::digest::DType;

/// The number that an element stands for, as near as f64 comes to it; a boolean is 0 or 1.
pub(super) fn number(dtype: DType, bytes: &[u8]) -> f64 {
    let bits = bits(bytes);
    let unused = 64 - bytes.len() * 8;
    match dtype {
        DType::F64 => f64::from_bits(bits),
        DType::F32 => f64::from(f32::from_bits(bits as u32)),
        DType::BF16 => f64::from(f32::from_bits((bits as u32) << 16)),
        DType::F16 => f64::from(f16_value(bits as u16)),
        DType::I64 | DType::I32 | DType::I16 | DType::I8 => {
            (((bits << unused) as i64) >> unused) as f64
        }
        DType::U64 | DType::U32 | DType::U16 | DType::U8 | DType::Bool => bits as f64,
    }
}

/// The bits of an element of at most eight bytes, little-endian.
pub(crate) fn bits(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

/// The number that the bits of an IEEE 754 binary16 stand for; exact in f32.
pub(crate) fn f16_value(bits: u16) -> f32 {
    let fraction = f32::from(bits & 0x03FF);
    let exponent = i32::from(bits >> 10 & 0x1F);
    let magnitude = match exponent {
        0 => fraction * 2f32.powi(-24),
        0x1F if fraction == 0.0 => f32::INFINITY,
        0x1F => f32::NAN,
        _ => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    };
    if bits & 0x8000 == 0 {
        magnitude
    } else {
        -magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_every_type_are_numbers() {
        let cases: [(DType, &[u8], f64); 13] = [
            (DType::F64, &1.5f64.to_le_bytes(), 1.5),
            (DType::F32, &(-1.5f32).to_le_bytes(), -1.5),
            (DType::F16, &[0x00, 0x3E], 1.5),
            (DType::BF16, &[0xC0, 0x3F], 1.5),
            (DType::I64, &(-2i64).to_le_bytes(), -2.0),
            (DType::I32, &(-2i32).to_le_bytes(), -2.0),
            (DType::I16, &(-2i16).to_le_bytes(), -2.0),
            (DType::I8, &[0xFE], -2.0),
            (DType::U64, &3u64.to_le_bytes(), 3.0),
            (DType::U32, &u32::MAX.to_le_bytes(), 4_294_967_295.0),
            (DType::U16, &[0x34, 0x12], 4660.0),
            (DType::U8, &[0xFE], 254.0),
            (DType::Bool, &[1], 1.0),
        ];
        for (dtype, bytes, expected) in cases {
            assert_eq!(number(dtype, bytes), expected, "{dtype}");
        }
        assert!(number(DType::F16, &[0x01, 0x7C]).is_nan());
    }
}
