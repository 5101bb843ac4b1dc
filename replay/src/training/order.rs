//! The order of data: a keyed permutation, in which every position opens by itself.

use super::seed::seed_for;
use crate::error::Error;

/// The order in which a training run is fed the items of a data set.
///
/// Each epoch is another permutation of all items. Where an item stands is a function of (seed,
/// epoch, position) alone, so that a run that is resumed opens its next position without going
/// through those before.
///
/// The permutation is a Feistel network of four rounds over the smallest even number of bits that
/// holds the positions, walked until it stays among them (Black and Rogaway, *Ciphers with
/// arbitrary finite domains*, 2002): at most four rounds of the walk on average.
///
/// ```
/// use interloom::training::DataOrder;
///
/// let order = DataOrder::new(7, 1_000)?;
/// let epoch: Vec<u64> = (0..1_000).map(|position| order.item(3, position)).collect();
/// let mut sorted = epoch.clone();
/// sorted.sort_unstable();
/// assert_eq!(sorted, (0..1_000).collect::<Vec<_>>());
/// // A batch is a range of positions that goes on across epochs.
/// assert_eq!(order.batch(30, 100), epoch[..100]);
/// # Ok::<(), interloom::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DataOrder {
    seed: u64,
    items: u64,
    shuffles: bool,
}

const ROUNDS: u64 = 4;

impl DataOrder {
    /// Orders `items` items, another way in each epoch.
    ///
    /// # Errors
    ///
    /// [`Error::Training`] if there are no items.
    pub fn new(seed: u64, items: u64) -> Result<Self, Error> {
        Self::checked(seed, items, true)
    }

    /// Takes `items` items as they come, the same way in each epoch.
    ///
    /// # Errors
    ///
    /// [`Error::Training`] if there are no items.
    pub fn sequential(items: u64) -> Result<Self, Error> {
        Self::checked(0, items, false)
    }

    fn checked(seed: u64, items: u64, shuffles: bool) -> Result<Self, Error> {
        if items == 0 {
            let problem = "a data set without items has no order; look at what it is read from";
            return Err(Error::Training(problem.to_owned()));
        }
        Ok(Self {
            seed,
            items,
            shuffles,
        })
    }

    /// Returns how many items there are.
    pub const fn items(&self) -> u64 {
        self.items
    }

    /// Returns the item at a position of an epoch; positions go on in the epochs behind it.
    pub fn item(&self, epoch: u64, position: u64) -> u64 {
        let epoch = epoch.wrapping_add(position / self.items);
        let position = position % self.items;
        if !self.shuffles {
            return position;
        }
        let key = seed_for(self.seed, epoch, "data order");
        let mut place = self.permuted(key, position);
        // The network permutes a power of four; what falls outside is permuted on.
        while place >= self.items {
            place = self.permuted(key, place);
        }
        place
    }

    /// Returns the `count` items of the batch with this number, of batches of that size; a batch
    /// may reach into the next epoch.
    pub fn batch(&self, number: u64, count: u64) -> Vec<u64> {
        let first = u128::from(number) * u128::from(count);
        let items = u128::from(self.items);
        let at = |offset: u64| {
            let position = first + u128::from(offset);
            // What is left over is below a u64.
            self.item((position / items) as u64, (position % items) as u64)
        };
        (0..count).map(at).collect()
    }

    fn permuted(&self, key: u64, place: u64) -> u64 {
        let bits = u64::BITS - (self.items - 1).leading_zeros();
        let half = bits.div_ceil(2).max(1);
        let mask = u64::MAX >> (u64::BITS - half);
        let (mut left, mut right) = (place >> half, place & mask);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ (mixed(key ^ round << 56, right) & mask));
        }
        left << half | right
    }
}

/// The finaliser of SplitMix64 over a keyed word.
fn mixed(key: u64, word: u64) -> u64 {
    let mut z = key.wrapping_add(word.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_epoch_is_another_permutation() {
        for items in [1, 2, 3, 5, 16, 17, 255, 1_000, 4_097] {
            let order = DataOrder::new(7, items).unwrap();
            let epoch = |epoch| -> Vec<u64> {
                (0..items)
                    .map(|position| order.item(epoch, position))
                    .collect()
            };
            for number in 0..3 {
                let mut sorted = epoch(number);
                sorted.sort_unstable();
                assert_eq!(sorted, (0..items).collect::<Vec<_>>());
            }
            if items > 16 {
                assert_ne!(epoch(0), epoch(1));
                assert_ne!(epoch(0), (0..items).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn positions_of_huge_sets_open_by_themselves() {
        let order = DataOrder::new(9, u64::MAX).unwrap();
        assert!(order.item(u64::MAX, u64::MAX - 1) < u64::MAX);
        assert_eq!(order.batch(u64::MAX - 1, 2).len(), 2);
    }

    #[test]
    fn an_order_has_an_item_and_takes_any_position() {
        for order in [DataOrder::new(7, 0), DataOrder::sequential(0)] {
            assert_eq!(order.unwrap_err().code(), "E089");
        }
        let order = DataOrder::new(7, 5).unwrap();
        assert_eq!(order.item(2, 13), order.item(4, 3));
        assert!(order.item(u64::MAX, u64::MAX) < 5);
        assert!(order.batch(3, 0).is_empty());
    }

    #[test]
    fn batches_go_on_across_epochs() {
        let order = DataOrder::new(3, 10).unwrap();
        let flat: Vec<u64> = (0..6).flat_map(|number| order.batch(number, 5)).collect();
        let epochs: Vec<u64> = (0..3)
            .flat_map(|epoch| (0..10).map(move |position| order.item(epoch, position)))
            .collect();
        assert_eq!(flat, epochs);
        assert_eq!(DataOrder::sequential(4).unwrap().batch(1, 3), [3, 0, 1]);
    }

    #[test]
    fn items_are_spread_evenly() {
        // The first position of many epochs: each of ten items some 1,000 times out of 10,000.
        let order = DataOrder::new(1, 10).unwrap();
        let mut counts = [0_u32; 10];
        for epoch in 0..10_000 {
            counts[order.item(epoch, 0) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (850..1_150).contains(count)),
            "{counts:?}"
        );
    }
}
