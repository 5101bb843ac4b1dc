//! Several mutations of a seed together, always the same ones.

/// The numbers that lengths and counts are most often wrong with.
const EXTREMES: [u64; 8] = [
    0,
    1,
    0x7F,
    0xFF,
    0x7FFF_FFFF,
    0xFFFF_FFFF,
    1 << 63,
    u64::MAX,
];

/// The most mutations of one seed.
const TOGETHER_MAX: usize = 6;

/// Mutated seeds, without end.
pub(crate) struct Havoc {
    seeds: Vec<Vec<u8>>,
    state: u64,
}

impl Havoc {
    pub(crate) fn new(seeds: Vec<Vec<u8>>) -> Self {
        Self { seeds, state: 1 }
    }

    fn below(&mut self, limit: usize) -> usize {
        // The same generator as that of the seeds; its upper bits are the good ones.
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) as usize % limit.max(1)
    }

    fn seed(&mut self) -> Vec<u8> {
        let number = self.below(self.seeds.len());
        self.seeds[number].clone()
    }

    /// Returns a range of bytes, most often a short one.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = if self.below(4) == 0 { length } else { 16 };
        start..(start + self.below(most + 1)).min(length)
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        match self.below(6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
            1 if !bytes.is_empty() => bytes[at] = self.below(256) as u8,
            2 => {
                let number = EXTREMES[self.below(EXTREMES.len())].to_le_bytes();
                let width = [1, 2, 4, 8][self.below(4)].min(bytes.len() - at);
                bytes[at..at + width].copy_from_slice(&number[..width]);
            }
            3 => drop(bytes.drain(self.range(bytes.len()))),
            4 => {
                let copied = bytes[self.range(bytes.len())].to_vec();
                bytes.splice(at..at, copied);
            }
            _ => {
                let other = self.seed();
                let (from, to) = (self.range(other.len()), self.range(bytes.len()));
                bytes.splice(to, other[from].iter().copied());
            }
        }
    }
}

impl Iterator for Havoc {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut bytes = self.seed();
        for _ in 0..=self.below(TOGETHER_MAX) {
            self.mutate(&mut bytes);
        }
        Some(bytes)
    }
}
