//! Orders by random priorities, which find bugs of a small depth with a known chance.
//!
//! Burckhardt, Kothari, Musuvathi and Nagarakatti, *A randomized scheduler with probabilistic
//! guarantees of finding bugs* (ASPLOS 2010): every mediator has a random priority, the highest
//! that is ready continues, and at d − 1 random moments the priority of the one that would continue
//! falls below all others. A bug that needs d ordering constraints is found in a run of n mediators
//! and k turns with a chance of at least 1 / (n · k^(d−1)).

use std::collections::BTreeMap;

use super::random::SplitMix64;
use super::{ScheduleError, Scheduler};
use crate::mediator::MediatorId;
use crate::site::Site;

/// Chooses the mediator of the highest priority, which changes at `depth − 1` moments.
#[derive(Clone, Debug)]
pub struct Pct {
    depth: u32,
    length: u32,
    seed: u64,
    random: SplitMix64,
    priorities: BTreeMap<MediatorId, u64>,
    /// The turns before which a priority falls, the next one last.
    changes: Vec<u32>,
    turns: u32,
    /// The priority that the next one falls to; all first priorities are higher.
    lowest: u64,
}

/// More change points than any schedule has use for.
const DEPTH_MAX: u32 = 1 << 12;

impl Pct {
    /// Makes the order for bugs of `depth` ordering constraints, in runs of about `length` turns,
    /// that belongs to a seed.
    ///
    /// A depth of 0 is one of 1, where no priority changes. Change points beyond the end of a run
    /// have no effect. Depths above 4,096 are taken as that.
    pub fn new(depth: u32, length: u32, seed: u64) -> Self {
        let depth = depth.clamp(1, DEPTH_MAX);
        let mut random = SplitMix64::new(seed);
        let moment = |_| 1 + random.below(u64::from(length.max(1))) as u32;
        let mut changes: Vec<u32> = (1..depth).map(moment).collect();
        changes.sort_unstable_by(|a, b| b.cmp(a));
        Self {
            depth,
            length,
            seed,
            random,
            priorities: BTreeMap::new(),
            changes,
            turns: 0,
            lowest: u64::from(depth),
        }
    }

    /// Returns the place of the ready mediator with the highest priority.
    fn highest(&mut self, ready: &[MediatorId]) -> usize {
        let (mut best, mut highest) = (0, 0);
        for (place, id) in ready.iter().enumerate() {
            // Above all that a priority can fall to; two equal ones are as likely as 2^-63.
            let first = || self.random.next() | 1 << 63;
            let priority = *self.priorities.entry(*id).or_insert_with(first);
            if priority > highest {
                (best, highest) = (place, priority);
            }
        }
        best
    }
}

impl Scheduler for Pct {
    fn choose(&mut self, _: Site, ready: &[MediatorId]) -> Result<usize, ScheduleError> {
        self.turns += 1;
        let mut choice = self.highest(ready);
        while self
            .changes
            .last()
            .is_some_and(|&change| change <= self.turns)
        {
            self.changes.pop();
            self.lowest -= 1;
            self.priorities.insert(ready[choice], self.lowest);
            choice = self.highest(ready);
        }
        Ok(choice)
    }

    fn describe(&self) -> String {
        format!("pct:{}:{}:{}", self.depth, self.length, self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::{PathId, Point, Port};

    fn choices(mut scheduler: Pct, ready: &[MediatorId], count: usize) -> Vec<u32> {
        let site = Point::new(PathId(0), Port::Output).at(0);
        let choose = |_| ready[scheduler.choose(site, ready).unwrap()].0;
        (0..count).map(choose).collect()
    }

    #[test]
    fn without_change_points_one_mediator_goes_on() {
        let ready = [0, 1, 2].map(MediatorId);
        for seed in 0..50 {
            let chosen = choices(Pct::new(1, 10, seed), &ready, 10);
            assert!(chosen.iter().all(|&id| id == chosen[0]), "{chosen:?}");
        }
    }

    #[test]
    fn each_change_point_switches_once_and_everyone_is_first_sometimes() {
        let ready = [0, 1, 2].map(MediatorId);
        let mut firsts = [0; 3];
        for seed in 0..300 {
            let chosen = choices(Pct::new(3, 10, seed), &ready, 12);
            let switches = chosen.windows(2).filter(|pair| pair[0] != pair[1]).count();
            assert!(switches <= 2, "{chosen:?}");
            firsts[choices(Pct::new(1, 10, seed), &ready, 1)[0] as usize] += 1;
        }
        assert!(firsts.iter().all(|&count| count > 60), "{firsts:?}");
    }
}
