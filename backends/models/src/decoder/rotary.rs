//! Rotary positions (Su et al. 2021): the frequencies of each way to scale them, and their tables.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::place::Place;
use super::rotation::Angles;
use crate::config::MAX_HEADS;
use crate::config::{check_laws, check_sizes};
use crate::files::FileError;

/// How many positions a table has at most; those beyond are computed when they are needed.
const TABLE_MAX: usize = 8192;

/// A kind of rotary positions.
#[derive(Clone, Debug, PartialEq)]
pub struct RotaryConfig {
    /// How many dimensions of a head are rotated; an odd number counts as the even one above it.
    pub width: usize,
    /// The base of the wavelengths.
    pub base: f64,
    /// How frequencies are scaled.
    pub scaling: Scaling,
    /// Which dimensions are a pair.
    pub layout: Layout,
}

/// Which dimensions are rotated together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Layout {
    /// Those that are half the rotated width apart.
    Halves,
    /// Neighbours.
    Neighbours,
}

/// How the frequencies of rotary positions are scaled.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// Not at all.
    None,
    /// All are divided by a factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// The base grows with the length of a sequence that is longer than the model was made for.
    Dynamic {
        /// The factor.
        factor: f64,
        /// The positions that the model was made for.
        original: usize,
    },
    /// Long wavelengths are divided, short ones are left, with a ramp between them (Llama 3.1).
    Llama3 {
        /// What long wavelengths are divided by.
        factor: f64,
        /// Where long wavelengths begin, in parts of the original length.
        low: f64,
        /// Where short wavelengths end.
        high: f64,
        /// The positions that the model was trained for before.
        original: usize,
    },
    /// Each has a divisor of its own.
    Divided {
        /// The divisors.
        divisors: Vec<f64>,
    },
    /// As for Llama 3, with a ramp over the dimensions (Peng et al. 2023).
    Yarn {
        /// What long wavelengths are divided by.
        factor: f64,
        /// What cosines and sines are multiplied by.
        attention_factor: f64,
        /// The number of rotations at which the ramp begins.
        fast: f64,
        /// The number of rotations at which the ramp ends.
        slow: f64,
        /// Whether the ends of the ramp are whole dimensions.
        truncates: bool,
        /// The positions that the model was trained for before.
        original: usize,
    },
    /// Each frequency has a divisor of its own, and another in long sequences (Ding et al. 2024).
    LongRope {
        /// The divisors in sequences of up to `original` positions.
        short: Vec<f64>,
        /// The divisors in longer sequences.
        long: Vec<f64>,
        /// What cosines and sines are multiplied by.
        attention_factor: f64,
        /// The positions that the model was trained for before.
        original: usize,
    },
}

impl RotaryConfig {
    /// Returns how long a sequence of a model may be that was made for so many positions.
    pub(super) const fn reach(&self, positions: usize) -> usize {
        match self.scaling {
            // The frequencies grow with it.
            Scaling::Dynamic { .. } => usize::MAX,
            _ => positions,
        }
    }

    /// Returns whether sequences of these two lengths have the same frequencies.
    pub(super) fn is_alike(&self, one: usize, other: usize) -> bool {
        match self.scaling {
            Scaling::Dynamic { original, .. } => one.max(original) == other.max(original),
            Scaling::LongRope { original, .. } => (one > original) == (other > original),
            _ => true,
        }
    }

    pub(super) fn check(&self, head_width: usize, file: &str) -> Result<(), FileError> {
        const ROTATED: &str = "the width of a head that is rotated";
        check_sizes(file, &[(ROTATED, self.width, MAX_HEADS)])?;
        let pairs = self.pairs();
        let is_factor = |factor: f64| factor.is_finite() && factor > 0.0;
        let (factors, lengths, original) = match &self.scaling {
            Scaling::None => (vec![1.0], [pairs; 2], 1),
            Scaling::Linear { factor } => (vec![*factor], [pairs; 2], 1),
            Scaling::Dynamic { factor, original } => (vec![*factor], [pairs; 2], *original),
            Scaling::Divided { divisors } => (divisors.clone(), [divisors.len(); 2], 1),
            Scaling::Llama3 {
                factor,
                low,
                high,
                original,
            } => (vec![*factor, *low, high - low], [pairs; 2], *original),
            Scaling::Yarn {
                factor,
                attention_factor,
                fast,
                slow,
                original,
                ..
            } => {
                let factors = vec![*factor, *attention_factor, *fast, *slow];
                (factors, [pairs; 2], *original)
            }
            Scaling::LongRope {
                short,
                long,
                attention_factor,
                original,
            } => {
                let factors = short.iter().chain(long).chain([attention_factor]);
                (
                    factors.copied().collect(),
                    [short.len(), long.len()],
                    *original,
                )
            }
        };
        let laws = [
            (
                ROTATED,
                2 * pairs <= head_width,
                format!("at most {head_width}, the width of a head, in pairs"),
                self.width.to_string(),
            ),
            (
                "the base of the rotary positions",
                self.base > 1.0 && self.base.is_finite(),
                "a number above 1".to_owned(),
                self.base.to_string(),
            ),
            (
                "the factors of scaled rotary positions",
                factors.iter().copied().all(is_factor),
                "finite numbers above 0, and a high one above the low one".to_owned(),
                format!("{factors:?}"),
            ),
            (
                "the number of factors of scaled rotary positions",
                lengths == [pairs; 2],
                format!("{pairs}, one for each rotated pair"),
                format!("{lengths:?}"),
            ),
            (
                "the original number of positions of scaled rotary positions",
                original > 0,
                "at least 1".to_owned(),
                original.to_string(),
            ),
        ];
        check_laws(file, laws)
    }

    fn pairs(&self) -> usize {
        self.width.div_ceil(2)
    }

    /// Returns the angle from one position to the next for each pair, in a sequence of `length`
    /// positions, and what cosines and sines are multiplied by.
    fn frequencies(&self, length: usize) -> (Vec<f64>, f64) {
        let width = self.width as f64;
        let with_base = |base: f64| -> Vec<f64> {
            let frequency = |pair: usize| base.powf(-2.0 * pair as f64 / width);
            (0..self.pairs()).map(frequency).collect()
        };
        let plain = || with_base(self.base);
        let each = |scale: &dyn Fn(usize, f64) -> f64| -> Vec<f64> {
            let numbered = plain().into_iter().enumerate();
            numbered
                .map(|(pair, frequency)| scale(pair, frequency))
                .collect()
        };
        match &self.scaling {
            Scaling::None => (plain(), 1.0),
            Scaling::Linear { factor } => (each(&|_, frequency| frequency / factor), 1.0),
            Scaling::Divided { divisors } => {
                (each(&|pair, frequency| frequency / divisors[pair]), 1.0)
            }
            Scaling::Dynamic { factor, original } => {
                let grown = factor * length.max(*original) as f64 / *original as f64;
                let base = self.base * (grown - (factor - 1.0)).powf(width / (width - 2.0));
                (with_base(base), 1.0)
            }
            Scaling::Llama3 {
                factor,
                low,
                high,
                original,
            } => {
                let scale = |frequency: f64| {
                    let rotations = *original as f64 * frequency / std::f64::consts::TAU;
                    let kept = ((rotations - low) / (high - low)).clamp(0.0, 1.0);
                    (1.0 - kept) * frequency / factor + kept * frequency
                };
                (each(&|_, frequency| scale(frequency)), 1.0)
            }
            Scaling::Yarn {
                factor,
                attention_factor,
                ..
            } => {
                let (low, high) = self.ramp();
                let scale = |pair: usize, frequency: f64| {
                    let divided = ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0);
                    frequency / factor * divided + frequency * (1.0 - divided)
                };
                (each(&scale), *attention_factor)
            }
            Scaling::LongRope {
                short,
                long,
                attention_factor,
                original,
            } => {
                let divisors = if length > *original { long } else { short };
                (
                    each(&|pair, frequency| frequency / divisors[pair]),
                    *attention_factor,
                )
            }
        }
    }

    /// Returns the pairs between which YaRN's ramp is.
    fn ramp(&self) -> (f64, f64) {
        let Scaling::Yarn {
            fast,
            slow,
            truncates,
            original,
            ..
        } = self.scaling
        else {
            return (0.0, 1.0);
        };
        let width = self.width as f64;
        let pair = |rotations: f64| {
            let wavelength = original as f64 / (rotations * std::f64::consts::TAU);
            width * wavelength.ln() / (2.0 * self.base.ln())
        };
        let (low, high) = match truncates {
            true => (pair(fast).floor(), pair(slow).ceil()),
            false => (pair(fast), pair(slow)),
        };
        let (low, high) = (low.max(0.0), high.min(width - 1.0));
        // As the library that made the models avoids a division by zero.
        (low, if low == high { high + 0.001 } else { high })
    }
}

/// The cosines and sines of rotary positions.
#[derive(Module, Debug)]
pub struct Rotary {
    #[module(skip)]
    config: RotaryConfig,
    /// Those of short sequences; and of long ones, if these differ and do not grow.
    tables: Vec<Table>,
}

#[derive(Module, Debug)]
struct Table {
    /// `[position, pair]`.
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl Rotary {
    pub(super) fn new(config: &RotaryConfig, positions: usize, device: &Device) -> Self {
        let positions = positions.min(TABLE_MAX);
        let table = |length| Table::new(config, length, 0..positions, device);
        let tables = match config.scaling {
            Scaling::LongRope { original, .. } => vec![table(original), table(original + 1)],
            _ => vec![table(positions.min(1))],
        };
        Self {
            config: config.clone(),
            tables,
        }
    }

    /// Returns whether sequences of these two lengths have the same angles at the same positions.
    pub(super) fn is_alike(&self, one: usize, other: usize) -> bool {
        self.config.is_alike(one, other)
    }

    /// Returns those of the positions at hand, each row's by its own length.
    pub(super) fn at(&self, place: &Place<'_>) -> Angles {
        let layout = self.config.layout;
        if place.padding().is_none() {
            let (start, count) = (place.start, place.count);
            let numbers: Vec<usize> = (start..start + count).collect();
            let [cos, sin] = self.of(start + count, &numbers);
            return Angles { cos, sin, layout };
        }
        let rows = place.rows().into_iter();
        let (cos, sin) = rows
            .map(|(length, numbers)| {
                let [cos, sin] = self.of(length, &numbers);
                (cos, sin)
            })
            .unzip();
        Angles {
            cos: Tensor::cat(cos, 0),
            sin: Tensor::cat(sin, 0),
            layout,
        }
    }

    /// Returns the cosines and sines of positions of these numbers, which are consecutive but for
    /// padding, in a sequence of `length`.
    fn of(&self, length: usize, numbers: &[usize]) -> [Tensor<4>; 2] {
        let table = match self.config.scaling {
            Scaling::Dynamic { original, .. } if length > original => None,
            Scaling::LongRope { original, .. } if length > original => Some(&self.tables[1]),
            _ => Some(&self.tables[0]),
        };
        match table.filter(|table| length <= table.cos.dims()[0]) {
            Some(table) => table.of(numbers),
            None => {
                let device = self.tables[0].cos.device();
                let table = Table::new(&self.config, length, numbers.iter().copied(), &device);
                table.each(|rows| rows)
            }
        }
    }
}

impl Table {
    /// Makes the table of positions of these numbers in a sequence of `length`.
    fn new(
        config: &RotaryConfig,
        length: usize,
        numbers: impl ExactSizeIterator<Item = usize> + Clone,
        device: &Device,
    ) -> Self {
        let (frequencies, factor) = config.frequencies(length);
        let shape = [numbers.len(), frequencies.len()];
        let table = |f: fn(f64) -> f64| {
            let angles = numbers.clone().flat_map(|number| {
                let angle = move |frequency: &f64| number as f64 * frequency;
                frequencies.iter().map(angle)
            });
            let values: Vec<f32> = angles.map(|angle| (f(angle) * factor) as f32).collect();
            Tensor::from_data(TensorData::new(values, shape), device)
        };
        Self {
            cos: table(f64::cos),
            sin: table(f64::sin),
        }
    }

    /// Returns the cosines and sines of positions of these numbers, `[1, position, 1, pair]`.
    fn of(&self, numbers: &[usize]) -> [Tensor<4>; 2] {
        let first = numbers.first().copied().unwrap_or(0);
        if numbers.iter().copied().eq(first..first + numbers.len()) {
            return self.each(|table| table.narrow(0, first, numbers.len()));
        }
        let data: Vec<i64> = numbers.iter().map(|&number| number as i64).collect();
        let numbers = Tensor::<1, Int>::from_data(&data[..], &self.cos.device());
        self.each(|table| table.select(0, numbers.clone()))
    }

    fn each(&self, rows: impl Fn(Tensor<2>) -> Tensor<2>) -> [Tensor<4>; 2] {
        [&self.cos, &self.sin].map(|table| {
            let rows = rows(table.clone());
            let [count, pairs] = rows.dims();
            rows.reshape([1, count, 1, pairs])
        })
    }
}

#[cfg(test)]
mod tests {
    use interloom_backends::parallel::floats;

    use super::super::samples::counted;
    use super::*;

    fn config(layout: Layout, scaling: Scaling) -> RotaryConfig {
        RotaryConfig {
            width: 4,
            base: 10_000.0,
            scaling,
            layout,
        }
    }

    #[test]
    fn frequencies_depend_on_the_length_where_the_scaling_says_so() {
        let dynamic = config(
            Layout::Halves,
            Scaling::Dynamic {
                factor: 2.0,
                original: 8,
            },
        );
        assert!(dynamic.is_alike(3, 8) && !dynamic.is_alike(8, 9) && !dynamic.is_alike(9, 10));
        assert_eq!(dynamic.frequencies(3), dynamic.frequencies(8));
        assert_ne!(dynamic.frequencies(8), dynamic.frequencies(9));
        assert_eq!(dynamic.reach(8), usize::MAX);
        let scaling = Scaling::LongRope {
            short: vec![1.0, 2.0],
            long: vec![1.0, 4.0],
            attention_factor: 1.0,
            original: 8,
        };
        let long = config(Layout::Halves, scaling);
        assert!(long.is_alike(3, 8) && !long.is_alike(8, 9) && long.is_alike(9, 10));
        assert_eq!(long.frequencies(8).0[1], 2.0 * long.frequencies(9).0[1]);
    }

    /// Computed with the formulas of the library that made the models, step by step.
    #[test]
    fn scaled_frequencies_are_those_of_the_library() {
        let of = |width: usize, scaling: Scaling, length: usize| {
            let config = RotaryConfig {
                width,
                ..config(Layout::Halves, scaling)
            };
            config.frequencies(length).0
        };
        let yarn = |fast: f64, slow: f64, truncates: bool| Scaling::Yarn {
            factor: 4.0,
            attention_factor: 1.0,
            fast,
            slow,
            truncates,
            original: 64,
        };
        let dynamic = Scaling::Dynamic {
            factor: 2.0,
            original: 8,
        };
        let llama3 = Scaling::Llama3 {
            factor: 8.0,
            low: 1.0,
            high: 4.0,
            original: 64,
        };
        let cases: [(Vec<f64>, &[f64]); 4] = [
            (
                of(16, yarn(32.0, 1.0, true), 1),
                &[
                    1.000000000e+00,
                    2.371708245e-01,
                    5.000000000e-02,
                    7.905694150e-03,
                    2.500000000e-03,
                    7.905694150e-04,
                    2.500000000e-04,
                    7.905694150e-05,
                ],
            ),
            (
                of(16, yarn(8.0, 2.0, false), 1),
                &[
                    1.000000000e+00,
                    1.605891349e-01,
                    2.500000000e-02,
                    7.905694150e-03,
                    2.500000000e-03,
                    7.905694150e-04,
                    2.500000000e-04,
                    7.905694150e-05,
                ],
            ),
            (
                of(8, dynamic, 12),
                &[
                    1.000000000e+00,
                    7.937005260e-02,
                    6.299605249e-03,
                    5.000000000e-04,
                ],
            ),
            (
                of(16, llama3, 1),
                &[
                    1.000000000e+00,
                    2.443845994e-01,
                    1.304225604e-02,
                    3.952847075e-03,
                    1.250000000e-03,
                    3.952847075e-04,
                    1.250000000e-04,
                    3.952847075e-05,
                ],
            ),
        ];
        for (found, expected) in cases {
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!((found / expected - 1.0).abs() < 1e-8, "{found} {expected}");
            }
        }
    }

    /// A table is there for speed alone.
    #[test]
    fn positions_beyond_a_table_are_those_of_a_longer_one() {
        let scalings = [
            Scaling::None,
            Scaling::LongRope {
                short: vec![1.0, 2.0],
                long: vec![1.5, 3.0],
                attention_factor: 1.25,
                original: 9,
            },
            Scaling::Dynamic {
                factor: 2.0,
                original: 9,
            },
        ];
        let padding = interloom_engine::Padding::new(interloom_engine::PaddingSide::Left, [12, 7]);
        for scaling in scalings {
            let config = config(Layout::Halves, scaling);
            let [short, long] = [4, 16].map(|size| Rotary::new(&config, size, &Device::flex()));
            for (padding, rows) in [(None, 1), (padding.as_ref(), 2)] {
                for (start, count) in [(0, 12), (8, 4), (11, 1), (2, 2)] {
                    let place = Place::new(padding, rows, start, count);
                    let x = counted([rows, count, 4, 6]);
                    let [short, long] =
                        [&short, &long].map(|rotary| floats(&rotary.at(&place).rotate(x.clone())));
                    assert_eq!(short, long, "{config:?} {start} {count}");
                }
            }
        }
    }
}
