//! The happens-before relation of the turns at one site.

use super::footprint::Footprint;

/// The happens-before relation of the turns at one visit of a site: the smallest order with every
/// pair that conflicts.
pub(super) struct Order {
    /// For each turn, which of the earlier ones it conflicts with.
    conflicts: Vec<Set>,
    /// For each turn, which of the earlier ones happened before it.
    before: Vec<Set>,
}

impl Order {
    pub(super) fn of<'f>(footprints: impl Iterator<Item = &'f Footprint>) -> Self {
        let footprints: Vec<&Footprint> = footprints.collect();
        let mut order = Self {
            conflicts: Vec::with_capacity(footprints.len()),
            before: Vec::with_capacity(footprints.len()),
        };
        for (later, footprint) in footprints.iter().enumerate() {
            let mut conflicts = Set::up_to(later);
            let mut before = Set::up_to(later);
            for (earlier, other) in footprints[..later].iter().enumerate() {
                if other.conflicts(footprint) {
                    conflicts.insert(earlier);
                    before.insert(earlier);
                    before.join(&order.before[earlier]);
                }
            }
            order.conflicts.push(conflicts);
            order.before.push(before);
        }
        order
    }

    /// Iterates over the turns that conflict with `later` with none between that orders the two.
    pub(super) fn races(&self, later: usize) -> impl Iterator<Item = usize> {
        let mut ordered = Set::up_to(later);
        let conflicts = &self.conflicts[later];
        (0..later).rev().filter(move |&earlier| {
            let is_race = conflicts.has(earlier) && !ordered.has(earlier);
            if is_race {
                ordered.join(&self.before[earlier]);
            }
            is_race
        })
    }

    /// Iterates over the turns that can begin an order in which `later` comes before `earlier`.
    ///
    /// These are, among the turns after `earlier` that do not depend on it, and `later` itself, the
    /// ones that none of the others happened before.
    pub(super) fn initials(&self, earlier: usize, later: usize) -> impl Iterator<Item = usize> {
        let is_free = move |turn: usize| turn == later || !self.before[turn].has(earlier);
        (earlier + 1..=later).filter(move |&turn| {
            let mut others = (earlier + 1..turn).filter(|&other| is_free(other));
            is_free(turn) && others.all(|other| !self.before[turn].has(other))
        })
    }
}

/// A set of small numbers.
#[derive(Clone, Debug)]
struct Set(Vec<u64>);

impl Set {
    fn up_to(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    fn insert(&mut self, number: usize) {
        self.0[number / 64] |= 1 << (number % 64);
    }

    fn has(&self, number: usize) -> bool {
        self.0
            .get(number / 64)
            .is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    fn join(&mut self, other: &Self) {
        for (own, theirs) in self.0.iter_mut().zip(&other.0) {
            *own |= theirs;
        }
    }
}
