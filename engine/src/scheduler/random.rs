//! Orders that a seed decides.

use super::{ScheduleError, Scheduler};
use crate::mediator::MediatorId;
use crate::site::Site;

/// A small generator of pseudo-random numbers: SplitMix64.
///
/// The algorithm of Steele, Lea and Flood, *Fast splittable pseudorandom number generators* (OOPSLA
/// 2014), with the constants of `java.util.SplittableRandom`. It is part of what a seed means, and
/// will not change.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// Begins with a seed; every seed is as good as another.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number.
    #[inline]
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `bound`, which is at least 1.
    ///
    /// By the multiplication of Lemire, *Fast random integer generation in an interval* (2019),
    /// without its rejection: the bias is below `bound` in 2^64.
    #[inline]
    pub const fn below(&mut self, bound: u64) -> u64 {
        ((self.next() as u128 * bound as u128) >> 64) as u64
    }
}

/// Chooses among the mediators that are ready with equal chances.
#[derive(Clone, Debug)]
pub struct Shuffle {
    seed: u64,
    random: SplitMix64,
}

impl Shuffle {
    /// Makes the order that belongs to a seed.
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            random: SplitMix64::new(seed),
        }
    }
}

impl Scheduler for Shuffle {
    fn choose(&mut self, _: Site, ready: &[MediatorId]) -> Result<usize, ScheduleError> {
        Ok(match ready.len() {
            1 => 0,
            count => self.random.below(count as u64) as usize,
        })
    }

    fn describe(&self) -> String {
        format!("shuffle:{}", self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        // The first outputs of the reference implementation for the seed 1234567.
        let mut random = SplitMix64::new(1_234_567);
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(expected.map(|_| random.next()), expected);
    }

    #[test]
    fn numbers_below_a_bound_reach_all_of_it() {
        let mut random = SplitMix64::new(7);
        let mut seen = [0u32; 5];
        for _ in 0..5_000 {
            seen[random.below(5) as usize] += 1;
        }
        assert!(
            seen.iter().all(|&count| (900..1_100).contains(&count)),
            "{seen:?}"
        );
    }
}
