//! Shrinking: the smallest schedule, or the smallest program, that still shows something.

use super::explorer::{Attempt, make};
use crate::mediator::MediatorId;
use crate::scheduler::{Choice, Schedule, ScheduleError, Scheduler};
use crate::site::Site;

/// A schedule that was made smaller.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Shrunk<O> {
    /// The schedule.
    pub schedule: Schedule,
    /// What a run with it shows.
    pub outcome: O,
    /// How many runs it took to find it.
    pub runs: u64,
}

/// Makes a schedule as much like definition order as it can be while its outcome is still `wanted`.
///
/// Choices that are not of the first mediator are taken back, many at once and then one by one, as
/// in delta debugging (Zeller and Hildebrandt, *Simplifying and isolating failure-inducing input*,
/// 2002), and those that remain are moved towards the first. A candidate that does not fit the run
/// is bent until it does, so that every one is a run; the result is what the run in fact chose, and
/// replays exactly. No single choice of it can be taken back.
///
/// Returns `None` if not even `schedule` itself leads to what is wanted. At most `budget` runs are
/// made.
///
/// # Errors
///
/// What the closure returns, and [`ScheduleError::NotAttached`].
pub fn shrink_schedule<O, E: From<ScheduleError>>(
    schedule: &Schedule,
    budget: u64,
    run: impl FnMut(&Attempt) -> Result<O, E>,
    wanted: impl FnMut(&O) -> bool,
) -> Result<Option<Shrunk<O>>, E> {
    let mut search = Search {
        run,
        wanted,
        runs: 0,
        budget: budget.max(1),
    };
    let Some((outcome, schedule)) = search.attempt(schedule.choices())? else {
        return Ok(None);
    };
    let mut best = Shrunk {
        schedule,
        outcome,
        runs: 0,
    };
    while search.take_back(&mut best)? || search.move_forward(&mut best)? {}
    best.runs = search.runs;
    Ok(Some(best))
}

/// Makes a program as small as it can be while it is still `wanted`.
///
/// `smaller` lists what the program can be made into, the smallest first; the first that is still
/// wanted is taken, until there is none. See [`without`] for lists.
///
/// # Errors
///
/// What `wanted` returns.
pub fn shrink_programme<P, E>(
    mut programme: P,
    mut smaller: impl FnMut(&P) -> Vec<P>,
    mut wanted: impl FnMut(&P) -> Result<bool, E>,
) -> Result<P, E> {
    'smaller: loop {
        for candidate in smaller(&programme) {
            if wanted(&candidate)? {
                programme = candidate;
                continue 'smaller;
            }
        }
        return Ok(programme);
    }
}

/// Returns the list without each of its halves, quarters, and so on to its single elements: the
/// shortest first.
///
/// ```
/// use interloom_engine::explore::without;
///
/// let shorter: Vec<Vec<char>> = without(&['a', 'b', 'c']);
/// assert_eq!(shorter, [vec!['c'], vec!['a', 'b'], vec!['b', 'c'], vec!['a', 'c'], vec!['a', 'b']]);
/// ```
pub fn without<T: Clone>(list: &[T]) -> Vec<Vec<T>> {
    let rest = |(begin, end): (usize, usize)| [&list[..begin], &list[end..]].concat();
    pieces(list.len()).into_iter().map(rest).collect()
}

/// Returns the halves, quarters, … of so many elements, as places.
fn pieces(count: usize) -> Vec<(usize, usize)> {
    let mut pieces = Vec::new();
    let mut size = count.div_ceil(2);
    while size > 0 {
        let begins = (0..count).step_by(size);
        pieces.extend(begins.map(|begin| (begin, (begin + size).min(count))));
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    pieces
}

struct Search<R, W> {
    run: R,
    wanted: W,
    runs: u64,
    budget: u64,
}

impl<R, W> Search<R, W> {
    fn attempt<O, E: From<ScheduleError>>(
        &mut self,
        choices: &[Choice],
    ) -> Result<Option<(O, Schedule)>, E>
    where
        R: FnMut(&Attempt) -> Result<O, E>,
        W: FnMut(&O) -> bool,
    {
        if self.runs >= self.budget {
            return Ok(None);
        }
        self.runs += 1;
        let places = choices.iter().map(|choice| choice.place as usize).collect();
        let (outcome, schedule) = make(Bent { places, used: 0 }, &mut self.run)?;
        Ok((self.wanted)(&outcome).then_some((outcome, schedule)))
    }

    /// Takes a candidate if it is wanted and smaller.
    fn improve<O, E: From<ScheduleError>>(
        &mut self,
        best: &mut Shrunk<O>,
        choices: &[Choice],
    ) -> Result<bool, E>
    where
        R: FnMut(&Attempt) -> Result<O, E>,
        W: FnMut(&O) -> bool,
    {
        match self.attempt(choices)? {
            Some((outcome, schedule)) if size(&schedule) < size(&best.schedule) => {
                (best.outcome, best.schedule) = (outcome, schedule);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Tries to take choices back; returns whether some were.
    fn take_back<O, E: From<ScheduleError>>(&mut self, best: &mut Shrunk<O>) -> Result<bool, E>
    where
        R: FnMut(&Attempt) -> Result<O, E>,
        W: FnMut(&O) -> bool,
    {
        let choices = best.schedule.choices().to_vec();
        let deviates = |place: &usize| choices[*place].place > 0;
        let deviations: Vec<usize> = (0..choices.len()).filter(deviates).collect();
        let whole = (!deviations.is_empty()).then_some((0, deviations.len()));
        for (begin, end) in whole.into_iter().chain(pieces(deviations.len())) {
            let mut candidate = choices.clone();
            for &place in &deviations[begin..end] {
                candidate[place].place = 0;
            }
            if self.improve(best, &candidate)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Tries to choose an earlier mediator somewhere; returns whether that worked.
    fn move_forward<O, E: From<ScheduleError>>(&mut self, best: &mut Shrunk<O>) -> Result<bool, E>
    where
        R: FnMut(&Attempt) -> Result<O, E>,
        W: FnMut(&O) -> bool,
    {
        let choices = best.schedule.choices().to_vec();
        for place in 0..choices.len() {
            for earlier in 1..choices[place].place {
                let mut candidate = choices.clone();
                candidate[place].place = earlier;
                if self.improve(best, &candidate)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// What makes a schedule smaller: fewer choices that are not the first, then earlier mediators,
/// then fewer choices.
fn size(schedule: &Schedule) -> (usize, u64, usize) {
    let choices = schedule.choices();
    let places = choices.iter().map(|choice| u64::from(choice.place));
    (schedule.deviations(), places.sum(), choices.len())
}

/// Chooses as a list says where that is possible, and otherwise the nearest; in definition order
/// after its end.
struct Bent {
    places: Vec<usize>,
    used: usize,
}

impl Scheduler for Bent {
    fn choose(&mut self, _: Site, ready: &[MediatorId]) -> Result<usize, ScheduleError> {
        if ready.len() < 2 {
            return Ok(0);
        }
        let place = self.places.get(self.used).copied().unwrap_or(0);
        self.used += 1;
        Ok(place.min(ready.len() - 1))
    }

    fn describe(&self) -> String {
        "bent".to_owned()
    }
}
