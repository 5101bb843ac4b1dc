//! Which orders are tried.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::str::FromStr;

use interloom_engine::Scheduler;
use interloom_engine::scheduler::Watched;

/// Which orders of the mediators are tried.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Orders {
    /// Every order that can make a difference: those that only swap turns which commute are tried once.
    #[default]
    All,
    /// Definition order, and then orders with equal chances.
    Random {
        /// The seed of the first of them; the next ones have the numbers after it.
        seed: u64,
    },
    /// Definition order, and then orders by random priorities that change now and then
    /// ([`Pct`](interloom_engine::scheduler::Pct)).
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

/// How many turns the first run had.
#[derive(Default)]
pub(super) struct Turns {
    first: Rc<Cell<u32>>,
    is_counted: Cell<bool>,
}

impl Turns {
    /// Wraps a scheduler; that of the first run counts.
    pub(super) fn count(&self, inner: Box<dyn Scheduler>) -> impl Scheduler + 'static {
        let turns = match self.is_counted.replace(true) {
            true => Rc::default(),
            false => self.first.clone(),
        };
        Watched::new(inner, move |_, _| turns.set(turns.get().saturating_add(1)))
    }

    pub(super) fn first(&self) -> u32 {
        self.first.get()
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
