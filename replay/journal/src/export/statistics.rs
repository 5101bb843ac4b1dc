//! Statistics of the numbers in a tensor.

use serde_json::{Value, json};

use crate::element::number;
use crate::record::TensorRecord;

/// How many bars a histogram has.
const BARS: usize = 24;

/// A summary of a tensor's elements. All but the counts are of the finite ones only.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// How many elements there are.
    pub elements: u64,
    /// How many of them are infinite or not a number.
    pub not_finite: u64,
    /// How many of those are not a number.
    pub nan: u64,
    /// The others, if there are any.
    pub finite: Option<Finite>,
}

/// The finite elements of a tensor, of which there is at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Finite {
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// Their sum by their number.
    pub mean: f64,
    /// The Euclidean norm, the square root of the sum of squares.
    pub norm: f64,
    /// How many elements are in each of equally wide ranges from the least to the greatest.
    pub histogram: [u64; BARS],
}

impl Statistics {
    /// Sums in f64, in the order of the elements, so that the same tensor has the same figures
    /// everywhere.
    pub fn of(tensor: &TensorRecord) -> Self {
        let width = tensor.dtype.element_bytes() as usize;
        let elements = (tensor.bytes.len() / width) as u64;
        let all = || {
            let elements = tensor.bytes.chunks_exact(width);
            elements.map(|element| number(tensor.dtype, element))
        };
        let numbers = || all().filter(|number| number.is_finite());
        let finite = numbers().count() as u64;
        Self {
            elements,
            not_finite: elements - finite,
            nan: all().filter(|number| number.is_nan()).count() as u64,
            finite: (finite > 0).then(|| Finite::of(numbers, finite)),
        }
    }

    /// Returns the figures as JSON.
    pub fn json(&self) -> Value {
        let finite = self.finite.as_ref();
        json!({
            "elements": self.elements,
            "not_finite": self.not_finite,
            "nan": self.nan,
            "min": finite.map(|finite| finite.min),
            "max": finite.map(|finite| finite.max),
            "mean": finite.map(|finite| finite.mean),
            "norm": finite.map(|finite| finite.norm),
            "histogram": finite.map(|finite| finite.histogram),
        })
    }
}

impl Finite {
    fn of<I: Iterator<Item = f64>>(numbers: impl Fn() -> I, count: u64) -> Self {
        let min = numbers().fold(f64::INFINITY, f64::min);
        let max = numbers().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = numbers().sum();
        let squares: f64 = numbers().map(|number| number * number).sum();
        let mut histogram = [0; BARS];
        for number in numbers() {
            histogram[bar(number, min, max)] += 1;
        }
        Self {
            min,
            max,
            mean: sum / count as f64,
            norm: squares.sqrt(),
            histogram,
        }
    }
}

/// The bar that a number from `min` to `max` belongs to.
fn bar(number: f64, min: f64, max: f64) -> usize {
    // Halves, for the distance of two large numbers may be infinite; equal ones give NaN, which is
    // bar 0.
    let share = (number / 2.0 - min / 2.0) / (max / 2.0 - min / 2.0);
    ((share * BARS as f64) as usize).min(BARS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{DType, Digest};

    fn of(numbers: &[f32]) -> Statistics {
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        let shape = vec![numbers.len() as u64];
        Statistics::of(&TensorRecord {
            digest: Digest::of_tensor(DType::F32, &shape, &bytes),
            dtype: DType::F32,
            shape,
            bytes,
        })
    }

    #[test]
    fn finite_numbers_are_summed_and_others_counted() {
        let statistics = of(&[3.0, -4.0, f32::NAN, f32::INFINITY, 0.0]);
        assert_eq!((statistics.elements, statistics.not_finite), (5, 2));
        assert_eq!(statistics.nan, 1);
        let finite = statistics.finite.unwrap();
        assert_eq!((finite.min, finite.max), (-4.0, 3.0));
        assert_eq!((finite.mean, finite.norm), (-1.0 / 3.0, 5.0));
        assert_eq!(finite.histogram[0], 1);
        assert_eq!(finite.histogram[BARS - 1], 1);
        assert_eq!(finite.histogram.iter().sum::<u64>(), 3);
    }

    #[test]
    fn nothing_equal_numbers_and_the_widest_range_have_figures_too() {
        assert_eq!(of(&[]).finite, None);
        assert_eq!(of(&[f32::NAN]).json()["min"], Value::Null);
        assert_eq!(of(&[7.0, 7.0]).finite.unwrap().histogram[0], 2);
        let bytes = [f64::MIN, f64::MAX].map(f64::to_le_bytes).concat();
        let wide = Statistics::of(&TensorRecord {
            digest: Digest::ZERO,
            dtype: DType::F64,
            shape: vec![2],
            bytes,
        });
        let finite = wide.finite.clone().unwrap();
        assert_eq!((finite.histogram[0], finite.histogram[BARS - 1]), (1, 1));
        // JSON has no infinity.
        assert_eq!(wide.json()["norm"], Value::Null);
    }
}
