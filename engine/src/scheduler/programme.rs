//! The fingerprint of a run, by which a schedule knows what it belongs to.
//!
//! The digest of a run is one of each of its [parts](Part) after the other, so that a schedule that
//! does not belong to a run can say what has changed since. Each is written in digits of its own,
//! from the left:
//!
//! | digits | part | what is in them |
//! |---|---|---|
//! | 3 | sites | a digest of the names of all points of the model |
//! | 3 | mediators | a digest of their names, in definition order, and of which of them have rows |
//! | 3 | rows | a digest of how many each of these has |
//! | 3 | barriers | a digest of their names and of how many meet there |
//! | 3 | steps | 0 if none are declared, one more than there are below 2047, and from there on 2048 and their remainder by 2048 |
//! | 1 | granularity | 0 for a site, 1 for an exchange |
//!
//! Of 4096 changes of a part that is digested one is not seen here. Such a schedule is refused at
//! the first choice that does not fit.

use serde::{Deserialize, Serialize};

use std::fmt;

use super::{Granularity, SplitMix64};
use crate::digest::Digester;
use crate::mediator::Invoke;
use crate::setup::Setup;
use crate::site::Point;
use crate::value::Value;

/// The number of steps from which on they are distinguished by a remainder only.
const STEPS_EXACT: u32 = 2047;

/// A fingerprint of what a run is made of, as far as the engine knows it: of its [parts](Part).
///
/// The mediators' own code is not one. The digest is made when it is asked for.
pub struct RunFingerprint<'a>(&'a dyn Described);

impl<'a> RunFingerprint<'a> {
    pub(crate) const fn new(described: &'a dyn Described) -> Self {
        Self(described)
    }

    /// Returns the digest that schedules carry.
    pub fn digest(&self) -> u64 {
        let join = |digest, part: Part| digest << part.bits() | self.0.digest(part);
        Part::ALL.into_iter().fold(0, join)
    }

    /// Returns the parts in which the digest of a schedule is another one.
    pub(super) fn changes_since(&self, recorded: u64) -> Vec<Change> {
        let this = self.digest();
        let differs = |part: &Part| part.of(recorded) != part.of(this);
        let change = |part: Part| Change {
            part,
            here: self.0.describe(part),
            there: part.read(part.of(recorded)),
        };
        Part::ALL.into_iter().filter(differs).map(change).collect()
    }
}

impl fmt::Debug for RunFingerprint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Programme({:016x})", self.digest())
    }
}

/// A part of what a run is made of, which a schedule knows by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Part {
    /// The points of the model.
    Sites,
    /// The names of the mediators, in definition order, and which of them have rows.
    Mediators,
    /// How many rows each of these has.
    Rows,
    /// The barriers, and how many meet there.
    Barriers,
    /// How many steps are declared.
    Steps,
    /// How long a turn lasts.
    Granularity,
}

impl Part {
    /// All of them, in the order of their digits.
    pub const ALL: [Self; 6] = [
        Self::Sites,
        Self::Mediators,
        Self::Rows,
        Self::Barriers,
        Self::Steps,
        Self::Granularity,
    ];

    /// Returns what messages call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sites => "sites",
            Self::Mediators => "mediators",
            Self::Rows => "rows",
            Self::Barriers => "barriers",
            Self::Steps => "steps",
            Self::Granularity => "granularity",
        }
    }

    const fn bits(self) -> u32 {
        match self {
            Self::Granularity => 4,
            _ => 12,
        }
    }

    /// Returns its bits of a digest.
    fn of(self, digest: u64) -> u64 {
        let after = Self::ALL.into_iter().rev();
        let after = after.take_while(|&part| part != self).map(Self::bits);
        digest >> after.sum::<u32>() & ((1 << self.bits()) - 1)
    }

    /// Returns what its bits say, if they say more than that it differs.
    fn read(self, bits: u64) -> Option<String> {
        match self {
            Self::Steps if bits == 0 => Some("none".to_owned()),
            Self::Steps if bits <= STEPS_EXACT.into() => Some((bits - 1).to_string()),
            Self::Granularity if bits == 0 => Some(name_of(Granularity::Site).to_owned()),
            Self::Granularity if bits == 1 => Some(name_of(Granularity::Exchange).to_owned()),
            _ => None,
        }
    }
}

/// A part in which a schedule and a run differ.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// The part.
    pub part: Part,
    /// What the run has.
    pub here: String,
    /// What the run had that the schedule is of, where the digest tells it.
    pub there: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, here, there } = self;
        write!(f, "{} (here {here}", part.name())?;
        if let Some(there) = there {
            write!(f, ", there {there}")?;
        }
        f.write_str(")")
    }
}

/// What has parts.
pub(crate) trait Described {
    /// Digests a part, in as many bits as it has.
    fn digest(&self, part: Part) -> u64;

    /// Says what it is, for a message.
    fn describe(&self, part: Part) -> String;
}

impl<V: Value> Described for Setup<V> {
    fn digest(&self, part: Part) -> u64 {
        let mut digester = Digester::new();
        match part {
            Part::Sites => {
                for point in self.map.module_points() {
                    digester.text(&self.map.point_name(point));
                }
            }
            Part::Mediators => {
                for invoke in &self.invokes {
                    let has_rows = invoke.own_rows().is_some();
                    digester.text(&invoke.name).number(has_rows.into());
                }
            }
            Part::Rows => {
                for rows in self.invokes.iter().filter_map(|invoke| invoke.own_rows()) {
                    digester.number(rows.into());
                }
            }
            Part::Barriers => {
                for (name, participants) in sorted_barriers(self) {
                    digester.text(name).number(participants.into());
                }
            }
            Part::Steps => {
                return match self.steps {
                    None => 0,
                    Some(steps) if steps < STEPS_EXACT => u64::from(steps) + 1,
                    Some(steps) => 2048 + u64::from(steps) % 2048,
                };
            }
            Part::Granularity => {
                return match self.granularity {
                    Granularity::Site => 0,
                    Granularity::Exchange => 1,
                };
            }
        }
        // The bits of the hash are not alike; after this they are.
        SplitMix64::new(digester.finish_short()).next() >> (64 - part.bits())
    }

    fn describe(&self, part: Part) -> String {
        match part {
            Part::Sites => {
                let name = |point| self.map.point_name(point);
                let points: Vec<Point> = self.map.module_points().collect();
                match *points {
                    [] => "none".to_owned(),
                    [only] => format!("1: `{}`", name(only)),
                    [first, .., last] => {
                        format!("{}: `{}` to `{}`", points.len(), name(first), name(last))
                    }
                }
            }
            Part::Mediators => {
                let name = |invoke: &Invoke<V>| match invoke.own_rows() {
                    None => format!("`{}`", invoke.name),
                    Some(_) => format!("`{}` with rows", invoke.name),
                };
                listed(self.invokes.iter().map(name))
            }
            Part::Rows => {
                let rows = |invoke: &Invoke<V>| {
                    Some(format!("{} of `{}`", invoke.own_rows()?, invoke.name))
                };
                listed_alone(self.invokes.iter().filter_map(rows))
            }
            Part::Barriers => {
                let barrier = |(name, participants)| format!("`{name}` of {participants}");
                listed(sorted_barriers(self).into_iter().map(barrier))
            }
            Part::Steps => self
                .steps
                .map_or("none".to_owned(), |steps| steps.to_string()),
            Part::Granularity => name_of(self.granularity).to_owned(),
        }
    }
}

const fn name_of(granularity: Granularity) -> &'static str {
    match granularity {
        Granularity::Site => "site",
        Granularity::Exchange => "exchange",
    }
}

/// Whichever is declared first is none of the order's business.
fn sorted_barriers<V: Value>(setup: &Setup<V>) -> Vec<(&str, u32)> {
    let mut barriers: Vec<(&str, u32)> = setup.barriers().collect();
    barriers.sort_unstable();
    barriers
}

/// Writes a few things out, with their number.
fn listed(things: impl ExactSizeIterator<Item = String>) -> String {
    match things.len() {
        0 => "none".to_owned(),
        count => format!("{count}: {}", listed_alone(things)),
    }
}

/// Writes a few things out.
fn listed_alone(things: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 8;
    let mut things: Vec<String> = things.collect();
    if things.is_empty() {
        return "none".to_owned();
    }
    if things.len() > SHOWN {
        let more = things.len() - SHOWN;
        things.truncate(SHOWN);
        things.push(format!("and {more} more"));
    }
    things.join(", ")
}
