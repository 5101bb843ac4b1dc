//! Does a result depend on the order in which the interventions had their turns?
//!
//! At a site where several mediators wait, rule R2 has them stepped in definition order, and a
//! mediator may rely on it. Often that was not meant: two interventions were simply written down in
//! some order. This module answers the question in three ways, from cheap to certain:
//!
//! - [`Races`] names, after a single run, each pair of exchanges that nothing but the scheduler
//!   orders.
//! - [`Explorer`] makes the run again in every order that can make a difference, and no other:
//!   orders that only swap turns which commute are tried once. If all outcomes are equal it is a
//!   proof; otherwise there is a [`Schedule`] for each outcome, which replays.
//! - [`shrink_schedule`] and [`shrink_programme`] make of such a schedule, and of what was run, the
//!   smallest that still shows the difference.
//! - [`bisect_schedules`] finds, between two schedules with different outcomes, the one change of
//!   order that makes the difference.
//!
//! The proof is about the orders of the engine's own turns, at the chosen
//! [`Granularity`](crate::Granularity), for the input at hand. It holds if equal schedules make
//! equal runs, which is checked on the way, and if mediators share nothing but what the engine
//! knows of: values at sites, the blackboard, barriers, and the end of the run.
//!
//! [`Schedule`]: crate::Schedule

mod bisect;
mod course;
mod explorer;
mod footprint;
mod order;
mod outcome;
mod race;
mod shrink;
mod verdict;

pub use self::bisect::{Made, Parted, Swap, bisect_schedules};
pub use self::course::Reduction;
pub use self::explorer::{Attempt, ExplorationProgress, Explorer, make};
pub use self::outcome::{RunOutcome, Watch, describe_end};
pub use self::race::{Contended, Party, Race, Races};
pub use self::shrink::{Shrunk, shrink_programme, shrink_schedule, without};
pub use self::verdict::{Class, OrderDependence, Verdict};
