//! Bisection between two schedules with different outcomes, down to the one change of order that
//! makes the difference.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::explorer::{Attempt, make};
use crate::mediator::MediatorId;
use crate::scheduler::{Schedule, ScheduleError, Scheduler, watched};
use crate::site::Site;

/// Two schedules with different outcomes that are as near to one another as was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parted<O> {
    /// The one with the outcome of the first schedule.
    pub before: Made<O>,
    /// The one with another outcome.
    pub after: Made<O>,
    /// The change of order that makes the difference; `None` if there is more than one change
    /// between the two, because the mediators ask for other sites on the way.
    pub swap: Option<Swap>,
    /// How many runs were made.
    pub runs: u64,
}

/// A run that was made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Made<O> {
    /// What was chosen.
    pub schedule: Schedule,
    /// What it led to.
    pub outcome: O,
    turns: Vec<Turn>,
}

/// Two turns, one right after the other, that change places.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Swap {
    /// The site at which both have their turns.
    pub site: Site,
    /// Who has the earlier turn before the change.
    pub earlier: MediatorId,
    /// Who has it after the change.
    pub later: MediatorId,
}

/// A mediator's turn at a site.
type Turn = (Site, MediatorId);

/// Finds, between two schedules with different outcomes, two that differ in one change of order
/// only.
///
/// The way from the first schedule to the second is made of steps, in each of which two
/// neighbouring turns change places. Somewhere on it the outcome stops being that of the first;
/// where is found by halving, so that among `n` steps about `log2 n` runs are made, beside those of
/// the two schedules. `None` if both have the same outcome.
///
/// ```
/// use std::sync::Arc;
/// use interloom_engine::explore::{Attempt, bisect_schedules};
/// use interloom_engine::scheduler::{InOrder, Shuffle};
/// use interloom_engine::{array::Array, mediator, Cx, Flow, Invoke, Port, RunError, Setup, SiteMap};
///
/// let mut map = SiteMap::new();
/// map.add("layer", &[Port::Output]);
/// let map = Arc::new(map);
/// let point = map.point("layer.output").unwrap();
/// let run = |attempt: &Attempt| {
///     let mut setup = Setup::new(map.clone());
///     // All but the third commute.
///     for (factor, term) in [(2.0, 0.0), (3.0, 0.0), (1.0, 1.0), (5.0, 0.0)] {
///         let (program, _) = mediator(map.clone(), move |cx: Cx<Array>| async move {
///             let x = cx.output("layer").await?;
///             cx.set_output("layer", x.map(|x| x * factor + term)).await
///         });
///         setup.invoke(Invoke::new(format!("x{factor}+{term}"), program));
///     }
///     attempt.attach(&mut setup);
///     let mut run = setup.start()?;
///     run.passes(point);
///     let Flow::Continue(x) = run.provide(point, Array::scalar(7.0)) else { unreachable!() };
///     run.finish().result?;
///     Ok::<u64, RunError>(x.data()[0].to_bits())
/// };
/// let parted = bisect_schedules(InOrder, Shuffle::new(1), run)?.unwrap();
/// let swap = parted.swap.unwrap();
/// // Whatever else the two orders have changed, this is what counts.
/// assert!(swap.earlier.0 == 2 || swap.later.0 == 2);
/// # Ok::<(), RunError>(())
/// ```
///
/// # Errors
///
/// What the closure returns, and [`ScheduleError::NotAttached`].
pub fn bisect_schedules<O: PartialEq, E: From<ScheduleError>>(
    first: impl Scheduler + 'static,
    second: impl Scheduler + 'static,
    mut run: impl FnMut(&Attempt) -> Result<O, E>,
) -> Result<Option<Parted<O>>, E> {
    let mut before = watch(first, &mut run)?;
    let mut after = watch(second, &mut run)?;
    let mut runs = 2;
    if before.outcome == after.outcome {
        return Ok(None);
    }
    let way = Way::between(&before.turns, &after.turns);
    let (mut low, mut high) = (0, way.swaps.len());
    if way.after(high) != after.turns {
        // The second schedule has turns that the first one has not; how near to it does one come?
        let reached = watch(Guided::along(&way.after(high)), &mut run)?;
        runs += 1;
        if reached.outcome == before.outcome {
            let swap = None;
            return Ok(Some(Parted {
                before,
                after,
                swap,
                runs,
            }));
        }
        after = reached;
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let made = watch(Guided::along(&way.after(middle)), &mut run)?;
        runs += 1;
        match made.outcome == before.outcome {
            true => (low, before) = (middle, made),
            false => (high, after) = (middle, made),
        }
    }
    let swap = Swap::between(&before.turns, &after.turns);
    Ok(Some(Parted {
        before,
        after,
        swap,
        runs,
    }))
}

impl Swap {
    /// The first difference of two lists of turns, if it is that two neighbours have changed
    /// places.
    fn between(before: &[Turn], after: &[Turn]) -> Option<Self> {
        let same = before.iter().zip(after).take_while(|(a, b)| a == b).count();
        match (before.get(same..same + 2)?, after.get(same..same + 2)?) {
            ([a, b], [c, d]) if (a, b) == (d, c) => Some(Self {
                site: a.0,
                earlier: a.1,
                later: b.1,
            }),
            _ => None,
        }
    }
}

/// The turns of a run, and which neighbours change places on the way to another run's, one pair
/// after the other.
struct Way {
    turns: Vec<Turn>,
    swaps: Vec<usize>,
}

impl Way {
    fn between(from: &[Turn], to: &[Turn]) -> Self {
        let mut keys = keys(from, to);
        let mut swaps = Vec::new();
        // From the front, each to its place: sites are passed in one order, so that no pair is of
        // two sites.
        for place in 1..keys.len() {
            for left in (0..place).rev() {
                if keys[left] <= keys[left + 1] || from[left].0 != from[left + 1].0 {
                    break;
                }
                keys.swap(left, left + 1);
                swaps.push(left);
            }
        }
        Self {
            turns: from.to_vec(),
            swaps,
        }
    }

    /// The turns after so many changes.
    fn after(&self, changes: usize) -> Vec<Turn> {
        let mut turns = self.turns.clone();
        for &left in &self.swaps[..changes] {
            turns.swap(left, left + 1);
        }
        turns
    }
}

/// Where each turn stands in the other list; one that is not there stays behind the one that it
/// comes after.
fn keys(from: &[Turn], to: &[Turn]) -> Vec<(usize, usize)> {
    let mut places: BTreeMap<(Turn, u32), usize> = BTreeMap::new();
    let mut counts: BTreeMap<Turn, u32> = BTreeMap::new();
    for (place, turn) in to.iter().enumerate() {
        let count = counts.entry(*turn).or_default();
        places.insert((*turn, *count), place);
        *count += 1;
    }
    counts.clear();
    let mut last = (0, 0);
    let keys = from.iter().map(|turn| {
        let count = counts.entry(*turn).or_default();
        let place = places.get(&(*turn, *count));
        *count += 1;
        last = match place {
            Some(place) => (*place, 0),
            None => (last.0, last.1 + 1),
        };
        last
    });
    keys.collect()
}

/// Makes a run, and keeps whose turns there were.
fn watch<O, E: From<ScheduleError>>(
    scheduler: impl Scheduler + 'static,
    run: &mut impl FnMut(&Attempt) -> Result<O, E>,
) -> Result<Made<O>, E> {
    let turns: Rc<RefCell<Vec<Turn>>> = Rc::default();
    let seen = turns.clone();
    let watched = watched(scheduler, move |site, mediator| {
        seen.borrow_mut().push((site, mediator));
    });
    let (outcome, schedule) = make(watched, run)?;
    let turns = turns.take();
    Ok(Made {
        schedule,
        outcome,
        turns,
    })
}

/// A scheduler that chooses the ready mediator that comes first in a list of turns, and definition
/// order where the list has none of them.
struct Guided(BTreeMap<Site, Vec<MediatorId>>);

impl Guided {
    fn along(turns: &[Turn]) -> Self {
        let mut by_site: BTreeMap<Site, Vec<MediatorId>> = BTreeMap::new();
        for (site, mediator) in turns {
            by_site.entry(*site).or_default().push(*mediator);
        }
        Self(by_site)
    }
}

impl Scheduler for Guided {
    fn choose(&mut self, site: Site, ready: &[MediatorId]) -> Result<usize, ScheduleError> {
        let Some(turns) = self.0.get_mut(&site) else {
            return Ok(0);
        };
        let Some(next) = turns.iter().position(|turn| ready.contains(turn)) else {
            return Ok(0);
        };
        let mediator = turns.remove(next);
        let place = ready.iter().position(|other| *other == mediator);
        Ok(place.unwrap_or(0))
    }

    fn describe(&self) -> String {
        "guided".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::{PathId, Point, Port};

    fn turns(list: &[(u32, u32)]) -> Vec<Turn> {
        let turn = |&(path, mediator): &(u32, u32)| {
            let point = Point {
                path: PathId(path),
                port: Port::Output,
            };
            (
                Site {
                    point,
                    iteration: 0,
                },
                MediatorId(mediator),
            )
        };
        list.iter().map(turn).collect()
    }

    #[test]
    fn the_way_swaps_neighbours_until_it_is_there() {
        let from = turns(&[(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]);
        let to = turns(&[(0, 2), (0, 1), (0, 0), (1, 1), (1, 0)]);
        let way = Way::between(&from, &to);
        assert_eq!(way.swaps.len(), 4);
        assert_eq!(way.after(0), from);
        assert_eq!(way.after(4), to);
        for change in 0..4 {
            assert!(Swap::between(&way.after(change), &way.after(change + 1)).is_some());
        }
    }

    #[test]
    fn turns_that_only_one_side_has_stay_where_they_are() {
        let from = turns(&[(0, 0), (0, 3), (0, 1)]);
        let to = turns(&[(0, 1), (0, 2), (0, 0)]);
        let way = Way::between(&from, &to);
        assert_eq!(way.after(way.swaps.len()), turns(&[(0, 1), (0, 0), (0, 3)]));
        assert!(Way::between(&[], &to).swaps.is_empty());
        assert!(Swap::between(&from, &to).is_none());
    }

    #[test]
    fn a_mediator_with_two_turns_at_a_site_keeps_their_order() {
        let from = turns(&[(0, 0), (0, 0), (0, 1)]);
        let to = turns(&[(0, 0), (0, 1), (0, 0)]);
        let way = Way::between(&from, &to);
        assert_eq!(way.after(way.swaps.len()), to);
        assert_eq!(way.swaps.len(), 1);
    }
}
