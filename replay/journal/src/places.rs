//! The places of a journal's exchanges, in memory that does not grow with their number.

/// The places of every so many exchanges; from the nearest one before it, any other is found by
/// passing a few headers.
#[derive(Debug)]
pub(super) struct Places {
    /// How many exchanges there are from one known place to the next, a power of two.
    every: u64,
    /// Where the frame of each such exchange starts.
    known: Vec<u64>,
    exchanges: u64,
}

/// How many places are kept at most; then every other one is dropped.
const KNOWN_MAX: usize = 1 << 16;
const EVERY_MIN: u64 = 16;

impl Places {
    pub(super) fn new() -> Self {
        Self {
            every: EVERY_MIN,
            known: Vec::new(),
            exchanges: 0,
        }
    }

    /// Takes in that the frame of the next exchange starts at `offset`.
    pub(super) fn add(&mut self, offset: u64) {
        if self.exchanges.is_multiple_of(self.every) {
            if self.known.len() == KNOWN_MAX {
                let mut position = 0;
                self.known.retain(|_| {
                    position += 1;
                    position % 2 == 1
                });
                self.every *= 2;
            }
            // After the dropping, this is a multiple of the larger number too.
            self.known.push(offset);
        }
        self.exchanges += 1;
    }

    /// How many exchanges there are.
    pub(super) fn exchanges(&self) -> u64 {
        self.exchanges
    }

    /// The exchanges around this one whose first has a known place: that place, the index of the
    /// first, and how many there are. `None` if there is no such exchange.
    pub(super) fn around(&self, index: u64) -> Option<Stretch> {
        if index >= self.exchanges {
            return None;
        }
        let first = index - index % self.every;
        Some(Stretch {
            first,
            count: self.every.min(self.exchanges - first),
            offset: self.known[(index / self.every) as usize],
        })
    }

    /// How many bytes of memory the places take.
    pub(super) fn bytes(&self) -> usize {
        self.known.capacity() * size_of::<u64>()
    }
}

/// Exchanges one after another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stretch {
    /// The index of the first.
    pub(super) first: u64,
    /// How many there are.
    pub(super) count: u64,
    /// Where the frame of the first starts.
    pub(super) offset: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_does_not_grow_with_the_exchanges() {
        let mut places = Places::new();
        let most = KNOWN_MAX as u64 * EVERY_MIN;
        for index in 0..3 * most {
            places.add(1000 + 8 * index);
        }
        assert!(places.bytes() <= KNOWN_MAX * 8);
        assert_eq!(
            (places.every, places.exchanges()),
            (4 * EVERY_MIN, 3 * most)
        );
        for index in [0, 1, 63, 64, 1000, most, 3 * most - 1] {
            let first = index / 64 * 64;
            let expected = Stretch {
                first,
                count: 64,
                offset: 1000 + 8 * first,
            };
            assert_eq!(places.around(index), Some(expected));
        }
        assert_eq!(places.around(3 * most), None);
    }

    #[test]
    fn the_last_stretch_is_as_long_as_there_are_exchanges() {
        let mut places = Places::new();
        assert_eq!(places.around(0), None);
        (0..20).for_each(|index| places.add(index));
        let last = places.around(19).unwrap();
        assert_eq!((last.first, last.count, last.offset), (16, 4, 16));
    }
}
