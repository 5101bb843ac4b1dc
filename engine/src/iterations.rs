//! The iterations that a loop runs over.

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// The iterations of a loop: a slice, a list, one number, or all.
///
/// ```
/// use interloom_engine::Iterations;
///
/// let numbers = |iterations: Iterations| iterations.rounds(0).map(|(i, _)| i).take(3).collect::<Vec<_>>();
/// assert_eq!(numbers((1..3).into()), [1, 2]);
/// assert_eq!(numbers(vec![4, 0].into()), [0, 4]); // a list is taken in ascending order
/// assert_eq!(numbers(7.into()), [7]);
/// assert_eq!(numbers((5..).into()), [5, 6, 7]);
/// assert_eq!(numbers((3..3).into()), []);
/// assert_eq!(numbers(Iterations::all()), [0, 1, 2]);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Iterations(Kind);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Kind {
    Slice {
        /// `None` is the mediator's own iteration.
        start: Option<u32>,
        /// The iteration after the last; in 64 bits, so that the last may be any.
        end: Option<u64>,
    },
    /// In ascending order.
    List(Vec<u32>),
}

/// The loop that a registered child is an iteration of.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Round {
    /// None: what the model does not pass for the child is a failure.
    #[default]
    Alone,
    /// One without an upper bound: it ends with what the model passes, or at the run's declared
    /// number of steps.
    Open,
    /// One with an upper bound: if iterations do not come, the audit has a warning.
    Until {
        /// The last iteration.
        last: u32,
    },
}

impl Iterations {
    /// Returns all iterations from the mediator's own on, as long as the model passes any.
    pub const fn all() -> Self {
        Self(Kind::Slice {
            start: None,
            end: None,
        })
    }

    /// Iterates over the iterations in ascending order, for a mediator whose own iteration is
    /// `own`.
    ///
    /// Without an upper bound this continues for as long as there are numbers; the answer to a
    /// REGISTER says when the loop is over.
    pub fn rounds(self, own: u32) -> impl Iterator<Item = (u32, Round)> + use<> {
        let (numbers, last) = match self.0 {
            Kind::Slice { start, end } => {
                let end_or_max = end.unwrap_or(1 << 32).min(1 << 32);
                let numbers = u64::from(start.unwrap_or(own))..end_or_max;
                (
                    Numbers::Range(numbers),
                    end.map(|end| end.saturating_sub(1)),
                )
            }
            Kind::List(list) => {
                let last = list.last().map_or(0, |&last| u64::from(last));
                (Numbers::List(list.into_iter()), Some(last))
            }
        };
        let round = match last {
            None => Round::Open,
            Some(last) => Round::Until {
                last: narrowed(last),
            },
        };
        numbers.map(move |number| (number, round))
    }

    fn slice(start: Option<u32>, end: Option<u64>) -> Self {
        Self(Kind::Slice { start, end })
    }
}

enum Numbers {
    Range(Range<u64>),
    List(std::vec::IntoIter<u32>),
}

impl Iterator for Numbers {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        match self {
            Self::Range(range) => range.next().map(narrowed),
            Self::List(list) => list.next(),
        }
    }
}

/// Returns a number below 2^32, which every iteration is.
fn narrowed(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl From<u32> for Iterations {
    fn from(iteration: u32) -> Self {
        vec![iteration].into()
    }
}

impl From<Vec<u32>> for Iterations {
    fn from(mut list: Vec<u32>) -> Self {
        list.sort_unstable();
        Self(Kind::List(list))
    }
}

impl From<&[u32]> for Iterations {
    fn from(list: &[u32]) -> Self {
        list.to_vec().into()
    }
}

impl<const N: usize> From<[u32; N]> for Iterations {
    fn from(list: [u32; N]) -> Self {
        list.to_vec().into()
    }
}

impl From<Range<u32>> for Iterations {
    fn from(range: Range<u32>) -> Self {
        Self::slice(Some(range.start), Some(range.end.into()))
    }
}

impl From<RangeInclusive<u32>> for Iterations {
    fn from(range: RangeInclusive<u32>) -> Self {
        Self::slice(Some(*range.start()), Some(u64::from(*range.end()) + 1))
    }
}

impl From<RangeFrom<u32>> for Iterations {
    fn from(range: RangeFrom<u32>) -> Self {
        Self::slice(Some(range.start), None)
    }
}

/// From the mediator's own iteration.
impl From<RangeTo<u32>> for Iterations {
    fn from(range: RangeTo<u32>) -> Self {
        Self::slice(None, Some(range.end.into()))
    }
}

/// From the mediator's own iteration.
impl From<RangeToInclusive<u32>> for Iterations {
    fn from(range: RangeToInclusive<u32>) -> Self {
        Self::slice(None, Some(u64::from(range.end) + 1))
    }
}

/// From the mediator's own iteration.
impl From<RangeFull> for Iterations {
    fn from(_: RangeFull) -> Self {
        Self::all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(iterations: impl Into<Iterations>, own: u32) -> Vec<(u32, Round)> {
        iterations.into().rounds(own).take(4).collect()
    }

    fn until(last: u32, numbers: &[u32]) -> Vec<(u32, Round)> {
        let round = Round::Until { last };
        numbers.iter().map(|&number| (number, round)).collect()
    }

    fn open(numbers: &[u32]) -> Vec<(u32, Round)> {
        numbers
            .iter()
            .map(|&number| (number, Round::Open))
            .collect()
    }

    #[test]
    fn r31_slices_lists_numbers_and_all() {
        assert_eq!(rounds(1..3, 9), until(2, &[1, 2]));
        assert_eq!(rounds(1..=3, 9), until(3, &[1, 2, 3]));
        assert_eq!(rounds(5, 9), until(5, &[5]));
        assert_eq!(rounds([1, 4], 9), until(4, &[1, 4]));
        assert_eq!(rounds(2.., 9), open(&[2, 3, 4, 5]));
    }

    #[test]
    fn r31_what_has_no_start_begins_at_the_mediators_own_iteration() {
        assert_eq!(rounds(.., 0), open(&[0, 1, 2, 3]));
        assert_eq!(rounds(.., 2), open(&[2, 3, 4, 5]));
        assert_eq!(rounds(..3, 1), until(2, &[1, 2]));
        assert_eq!(rounds(..=3, 2), until(3, &[2, 3]));
        assert_eq!(rounds(..3, 3), []);
    }

    #[test]
    fn r32_a_list_is_taken_in_ascending_order_and_what_is_empty_runs_nothing() {
        assert_eq!(rounds(vec![3, 0, 1], 0), until(3, &[0, 1, 3]));
        assert_eq!(rounds(&[2, 1][..], 0), until(2, &[1, 2]));
        assert_eq!(rounds(Vec::new(), 0), []);
        assert_eq!(rounds(4..4, 0), []);
        #[allow(clippy::reversed_empty_ranges)] // As a computed bound may be.
        let reversed = 4..2;
        assert_eq!(rounds(reversed, 0), []);
    }

    #[test]
    fn the_last_number_of_all_is_an_iteration() {
        assert_eq!(rounds(u32::MAX.., 0), open(&[u32::MAX]));
        assert_eq!(rounds(u32::MAX..=u32::MAX, 0), until(u32::MAX, &[u32::MAX]));
    }
}
