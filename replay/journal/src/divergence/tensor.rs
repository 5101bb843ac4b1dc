//! Differences between the elements of two tensors of the same type and shape.

use thiserror::Error;

use crate::{DType, bits, f16_value};

/// The difference between the elements of two tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorDifference {
    /// How many elements each has.
    pub elements: u64,
    /// How many differ in their bits.
    pub differing: u64,
    /// The index of the first that differs, one number for each dimension.
    pub first: Vec<u64>,
    /// That element as recorded: its bits, and the number in brackets.
    pub first_recorded: String,
    /// That element in this run.
    pub first_live: String,
    /// The largest distance in units in the last place, for floats: the number of representable
    /// numbers from one to the other, counting both zeros. `None` if no two numbers differ.
    pub ulp_max: Option<u64>,
    /// The largest difference of two finite floats in relation to the greater of their magnitudes.
    /// `None` if no two differ.
    pub relative_max: Option<f64>,
    /// How many of those that differ are not a number on one side at least, and so have no
    /// distance.
    pub not_numbers: u64,
}

/// The reason why two tensors cannot be compared element by element.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum TensorMismatch {
    /// The divergence has no two tensors of the same type and shape.
    #[error("the divergence has no two tensors of the same type and shape")]
    NoPair,
    /// One side does not have the bytes that the shape needs.
    #[error("{dtype}{shape:?} does not have {recorded} bytes recorded and {live} bytes live")]
    Size {
        /// The element type.
        dtype: DType,
        /// The shape.
        shape: Vec<u64>,
        /// The bytes on the recorded side.
        recorded: u64,
        /// The bytes on the live side.
        live: u64,
    },
    /// Both have the same bytes.
    #[error("the two tensors are equal")]
    Equal,
}

impl TensorDifference {
    /// Compares two tensors of this type and shape, given as little-endian bytes.
    ///
    /// # Errors
    /// A side does not have the size of the shape, or both are equal.
    pub fn between(
        dtype: DType,
        shape: &[u64],
        recorded: &[u8],
        live: &[u8],
    ) -> Result<Self, TensorMismatch> {
        let size = dtype.tensor_bytes(shape);
        if size != Some(recorded.len() as u64) || size != Some(live.len() as u64) {
            return Err(TensorMismatch::Size {
                dtype,
                shape: shape.to_vec(),
                recorded: recorded.len() as u64,
                live: live.len() as u64,
            });
        }
        // Bytes differ, not numbers: -0.0 is not 0.0, and a NaN is equal to itself.
        let width = dtype.element_bytes() as usize;
        let pairs = recorded.chunks_exact(width).zip(live.chunks_exact(width));
        let mut pairs = pairs.enumerate().filter(|(_, (a, b))| a != b).peekable();
        let (first, (first_recorded, first_live)) = *pairs.peek().ok_or(TensorMismatch::Equal)?;
        let mut difference = Self {
            elements: (recorded.len() / width) as u64,
            differing: 0,
            first: coordinates(first as u64, shape),
            first_recorded: element_text(dtype, first_recorded),
            first_live: element_text(dtype, first_live),
            ulp_max: None,
            relative_max: None,
            not_numbers: 0,
        };
        pairs.for_each(|(_, (recorded, live))| difference.count(dtype, recorded, live));
        Ok(difference)
    }

    fn count(&mut self, dtype: DType, recorded: &[u8], live: &[u8]) {
        self.differing += 1;
        if let (Some(recorded), Some(live)) = (float(dtype, recorded), float(dtype, live))
            && recorded != live
        {
            // Halves cannot overflow, as the difference of the greatest numbers can.
            let half = (recorded / 2.0 - live / 2.0).abs();
            let relative = half / recorded.abs().max(live.abs()) * 2.0;
            self.relative_max = Some(self.relative_max.map_or(relative, |max| max.max(relative)));
        }
        match (place(dtype, recorded), place(dtype, live)) {
            (Some(Place::Number(a)), Some(Place::Number(b))) => {
                let distance = a.abs_diff(b);
                self.ulp_max = Some(self.ulp_max.map_or(distance, |max| max.max(distance)));
            }
            (Some(_), Some(_)) => self.not_numbers += 1,
            (None, _) | (_, None) => {}
        }
    }
}

/// Where a float stands among all floats of its type.
enum Place {
    /// Its position: neighbours differ by one, and the order is that of the numbers.
    Number(i64),
    /// It is not a number.
    Nan,
}

/// The place of a float; `None` for other types.
fn place(dtype: DType, bytes: &[u8]) -> Option<Place> {
    let bits = bits(bytes);
    let (width, infinity) = match dtype {
        DType::F64 => (64, 0x7FF0_0000_0000_0000),
        DType::F32 => (32, 0x7F80_0000),
        DType::F16 => (16, 0x7C00),
        DType::BF16 => (16, 0x7F80),
        DType::I64
        | DType::I32
        | DType::I16
        | DType::I8
        | DType::U64
        | DType::U32
        | DType::U16
        | DType::U8
        | DType::Bool => return None,
    };
    let sign = 1u64 << (width - 1);
    let magnitude = bits & (sign - 1);
    if magnitude > infinity {
        return Some(Place::Nan);
    }
    // The magnitude leaves the top bit free, so this fits; -0 comes just below +0.
    let position = magnitude as i64;
    Some(Place::Number(if bits & sign == 0 {
        position
    } else {
        -position - 1
    }))
}

/// A finite float; `None` for other types.
fn float(dtype: DType, bytes: &[u8]) -> Option<f64> {
    let bits = bits(bytes);
    let number = match dtype {
        DType::F64 => f64::from_bits(bits),
        DType::F32 => f64::from(f32::from_bits(bits as u32)),
        DType::BF16 => f64::from(f32::from_bits((bits as u32) << 16)),
        DType::F16 => f64::from(f16_value(bits as u16)),
        DType::I64
        | DType::I32
        | DType::I16
        | DType::I8
        | DType::U64
        | DType::U32
        | DType::U16
        | DType::U8
        | DType::Bool => return None,
    };
    number.is_finite().then_some(number)
}

/// The index of the element at this position in row-major order.
fn coordinates(mut position: u64, shape: &[u64]) -> Vec<u64> {
    let mut index: Vec<u64> = shape
        .iter()
        .rev()
        .map(|dimension| {
            let along = position % dimension;
            position /= dimension;
            along
        })
        .collect();
    index.reverse();
    index
}

fn element_text(dtype: DType, bytes: &[u8]) -> String {
    let bits = bits(bytes);
    let digits = bytes.len() * 2;
    let unused = 64 - bytes.len() * 8;
    match dtype {
        DType::F64 => format!("{bits:#018x} ({:?})", f64::from_bits(bits)),
        DType::F32 => format!("{bits:#010x} ({:?})", f32::from_bits(bits as u32)),
        DType::BF16 => format!("{bits:#06x} ({:?})", f32::from_bits((bits as u32) << 16)),
        DType::F16 => format!("{bits:#06x} ({:?})", f16_value(bits as u16)),
        DType::I64 | DType::I32 | DType::I16 | DType::I8 => {
            format!(
                "0x{bits:0digits$x} ({})",
                ((bits << unused) as i64) >> unused
            )
        }
        DType::U64 | DType::U32 | DType::U16 | DType::U8 | DType::Bool => {
            format!("0x{bits:0digits$x} ({bits})")
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn f32s(recorded: &[f32], live: &[f32]) -> Result<TensorDifference, TensorMismatch> {
        let bytes = |elements: &[f32]| -> Vec<u8> {
            elements
                .iter()
                .flat_map(|element| element.to_le_bytes())
                .collect()
        };
        TensorDifference::between(
            DType::F32,
            &[recorded.len() as u64],
            &bytes(recorded),
            &bytes(live),
        )
    }

    #[test]
    fn neighbours_are_one_ulp_apart_across_zero_too() {
        let cases = [
            (1.0, 1.0 + f32::EPSILON, 1),
            (-1.0, -1.0 - f32::EPSILON, 1),
            (-0.0, 0.0, 1),
            (0.0, f32::from_bits(1), 1),
            (-f32::from_bits(1), f32::from_bits(1), 3),
            (f32::MAX, f32::INFINITY, 1),
            (f32::NEG_INFINITY, f32::INFINITY, 0xFF00_0001),
        ];
        for (recorded, live, distance) in cases {
            let difference = f32s(&[recorded], &[live]).unwrap();
            assert_eq!(
                difference.ulp_max,
                Some(distance),
                "{recorded:?} and {live:?}"
            );
        }
    }

    #[test]
    fn the_largest_distance_counts_and_nan_has_none() {
        let up = |number: f32, ulps| f32::from_bits(number.to_bits() + ulps);
        let recorded = [1.0, 1.1, 2.0, f32::NAN, 4.0, f32::NAN];
        let live = [1.0, up(1.1, 3), up(2.0, 1), 3.0, 4.0, f32::NAN];
        let difference = f32s(&recorded, &live).unwrap();
        let expected = TensorDifference {
            elements: 6,
            differing: 3,
            first: vec![1],
            first_recorded: "0x3f8ccccd (1.1)".into(),
            first_live: "0x3f8cccd0 (1.1000004)".into(),
            ulp_max: Some(3),
            relative_max: Some(3.0 * f64::from(f32::EPSILON) / f64::from(up(1.1, 3))),
            not_numbers: 1,
        };
        assert_eq!(difference, expected);
    }

    #[test]
    fn the_first_element_is_found_by_all_dimensions() {
        let mut live = vec![0; 24];
        live[17] = 1;
        let difference = TensorDifference::between(DType::U8, &[2, 3, 4], &[0; 24], &live).unwrap();
        assert_eq!(difference.first, [1, 1, 1]);
        assert_eq!((difference.ulp_max, difference.not_numbers), (None, 0));
        let scalar = TensorDifference::between(DType::U8, &[], &[0], &[1]).unwrap();
        assert!(scalar.first.is_empty());
    }

    #[test]
    fn elements_of_every_type_are_shown_by_bits_and_number() {
        let cases = [
            (
                DType::F64,
                &1.5f64.to_le_bytes()[..],
                "0x3ff8000000000000 (1.5)",
            ),
            (DType::F16, &[0x00, 0x3E], "0x3e00 (1.5)"),
            (DType::F16, &[0x01, 0x80], "0x8001 (-5.9604645e-8)"),
            (DType::F16, &[0x00, 0x7C], "0x7c00 (inf)"),
            (DType::BF16, &[0xC0, 0x3F], "0x3fc0 (1.5)"),
            (DType::I8, &[0xFF], "0xff (-1)"),
            (
                DType::I64,
                &(-2i64).to_le_bytes(),
                "0xfffffffffffffffe (-2)",
            ),
            (DType::U16, &[0x34, 0x12], "0x1234 (4660)"),
            (DType::Bool, &[1], "0x01 (1)"),
        ];
        for (dtype, bytes, text) in cases {
            assert_eq!(element_text(dtype, bytes), text);
        }
    }

    #[test]
    fn sizes_and_equality_are_checked() {
        assert_eq!(f32s(&[1.0], &[1.0]), Err(TensorMismatch::Equal));
        let error = TensorDifference::between(DType::F32, &[2], &[0; 8], &[0; 4]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "f32[2] does not have 8 bytes recorded and 4 bytes live"
        );
    }

    proptest! {
        #[test]
        fn places_are_ordered_as_the_numbers_are(a in any::<f32>(), b in any::<f32>()) {
            let place = |number: f32| match place(DType::F32, &number.to_le_bytes()) {
                Some(Place::Number(position)) => Some(position),
                _ => None,
            };
            match (place(a), place(b)) {
                (Some(at_a), Some(at_b)) => prop_assert_eq!(at_a.cmp(&at_b), a.total_cmp(&b)),
                _ => prop_assert!(a.is_nan() || b.is_nan()),
            }
        }
    }
}
