//! Sequences of random tokens that repeat themselves.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::{POSITIONS, VOCABULARY};

/// The shortest length after which a sequence repeats itself.
pub(super) const PERIOD_MIN: usize = 8;
/// The longest.
pub(super) const PERIOD_MAX: usize = 20;

/// Draws sequences from a seed, independently of burn's own random numbers.
///
/// The generator is SplitMix64 (Steele, Lea and Flood 2014), written out so that no upgrade of a
/// library can move it.
#[derive(Clone, Debug)]
pub struct Sampler(u64);

/// Some sequences, with the length after which each repeats itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Batch {
    tokens: Vec<i32>,
    periods: Vec<usize>,
}

impl Sampler {
    /// Starts a stream of sequences.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the state of the generator, from which [`new`](Self::new) goes on.
    pub const fn state(&self) -> u64 {
        self.0
    }

    /// Draws `count` sequences of [`POSITIONS`] tokens.
    pub fn batch(&mut self, count: usize) -> Batch {
        let mut batch = Batch {
            tokens: Vec::with_capacity(count * POSITIONS),
            periods: Vec::with_capacity(count),
        };
        for _ in 0..count {
            let period = PERIOD_MIN + self.below(PERIOD_MAX - PERIOD_MIN + 1);
            let start = batch.tokens.len();
            for position in 0..POSITIONS {
                let token = match position < period {
                    true => self.below(VOCABULARY) as i32,
                    false => batch.tokens[start + position - period],
                };
                batch.tokens.push(token);
            }
            batch.periods.push(period);
        }
        batch
    }

    fn below(&mut self, limit: usize) -> usize {
        // The upper half of a 64-bit product: the bias for limits this small is below 2^-58.
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl Batch {
    /// Returns how many sequences there are.
    pub fn len(&self) -> usize {
        self.periods.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.periods.is_empty()
    }

    /// Returns the tokens, `[batch, position]`.
    pub fn tokens(&self, device: &Device) -> Tensor<2, Int> {
        let data = TensorData::new(self.tokens.clone(), [self.len(), POSITIONS]);
        Tensor::from_data(data, device)
    }

    /// Returns the tokens of all sequences, one after another.
    pub fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|&token| token as u32).collect()
    }

    /// Returns the token at a position of a sequence.
    pub fn token(&self, sequence: usize, position: usize) -> usize {
        self.tokens[sequence * POSITIONS + position] as usize
    }

    /// Returns the length after which a sequence repeats itself.
    pub fn period(&self, sequence: usize) -> usize {
        self.periods[sequence]
    }

    /// Iterates over the sequences and positions whose next token the first copy foretells.
    pub fn foretold(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        (0..self.len()).flat_map(|sequence| {
            (self.period(sequence)..POSITIONS - 1).map(move |position| (sequence, position))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_repeat_themselves() {
        let batch = Sampler::new(7).batch(50);
        for sequence in 0..batch.len() {
            let period = batch.period(sequence);
            assert!((PERIOD_MIN..=PERIOD_MAX).contains(&period));
            for position in period..POSITIONS {
                assert_eq!(
                    batch.token(sequence, position),
                    batch.token(sequence, position - period)
                );
            }
        }
    }

    #[test]
    fn the_generator_is_splitmix64() {
        // The first outputs of the reference implementation for seed 1234567.
        let mut sampler = Sampler::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| sampler.next()).collect();
        assert_eq!(
            first,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }
}
