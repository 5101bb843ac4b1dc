//! The orders that an exploration tries.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::str::FromStr;

use interloom_engine::scheduler::{Pct, Shuffle, watched};
use interloom_engine::{InOrder, Scheduler};

/// The orders of the mediators that are tried.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Orders {
    /// Every order that can make a difference: those that only swap turns which commute are tried
    /// once.
    #[default]
    All,
    /// Definition order, and then orders with equal chances.
    Random {
        /// The seed of the first of them; the next ones have the numbers after it.
        seed: u64,
    },
    /// Definition order, and then orders by random priorities that change now and then
    /// ([`Pct`]).
    Pct {
        /// How many ordering constraints a difference may need, to be found with a known chance.
        depth: u32,
    },
}

impl fmt::Display for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Random { seed } => write!(f, "random:{seed}"),
            Self::Pct { depth } => write!(f, "pct:{depth}"),
        }
    }
}

impl FromStr for Orders {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unlike =
            || "it is written `all`, `random:SEED` or `pct:DEPTH`, with whole numbers".to_owned();
        match text.split_once(':') {
            None if text == "all" => Ok(Self::All),
            Some(("random", seed)) => {
                let seed = seed.parse().map_err(|_| unlike())?;
                Ok(Self::Random { seed })
            }
            Some(("pct", depth)) => {
                let depth = depth.parse().ok().filter(|&depth| depth > 0);
                let depth = depth.ok_or_else(unlike)?;
                Ok(Self::Pct { depth })
            }
            _ => Err(unlike()),
        }
    }
}

/// Makes the scheduler of each run by its number, from 0: definition order, and then shuffles by
/// the seeds from `seed` on.
pub(super) fn random(seed: u64) -> impl FnMut(u64) -> Box<dyn Scheduler> {
    move |number| match number {
        0 => Box::new(InOrder),
        number => Box::new(Shuffle::new(seed.wrapping_add(number - 1))),
    }
}

/// Makes the scheduler of each run by its number, from 0: definition order, and then priorities
/// that change somewhere in as many turns as the first run had.
pub(super) fn pct(depth: u32) -> impl FnMut(u64) -> Box<dyn Scheduler> {
    let turns = Rc::new(Cell::new(0_u32));
    move |number| match number {
        0 => {
            let turns = turns.clone();
            let count = move |_, _| turns.set(turns.get().saturating_add(1));
            Box::new(watched(InOrder, count))
        }
        number => Box::new(Pct::new(depth, turns.get(), number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_are_written() {
        for text in ["all", "random:0", "random:18446744073709551615", "pct:3"] {
            assert_eq!(text.parse::<Orders>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "All",
            "random",
            "random:",
            "random:-1",
            "pct:0",
            "pct:x",
            "pct:1:2",
        ] {
            let error = text.parse::<Orders>().unwrap_err();
            assert!(error.contains("`pct:DEPTH`"), "{text}");
        }
    }
}
