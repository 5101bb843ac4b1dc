//! In which order mediators are stepped at a site.
//!
//! The interleaver asks a [`Scheduler`] which of the mediators that wait for the site at hand goes
//! on, and nothing else chooses between them. There are five:
//!
//! | scheduler | text | order |
//! |---|---|---|
//! | [`InOrder`] | `in-order` | definition order, the default |
//! | [`Shuffle`] | `shuffle:SEED` | equal chances |
//! | [`Pct`] | `pct:DEPTH:LENGTH:SEED` | random priorities that change now and then |
//! | [`Recorded`] | `ilsched1:…` | a list of choices, the [`Schedule`] of an earlier run |
//! | [`Explorer`](crate::Explorer) | | every order that can make a difference, run by run |
//!
//! [`scheduler`] makes one from its text. [`recording`] wraps any of them and keeps what it chose,
//! and [`watched`] tells of each turn as it comes.
//!
//! # How many orders there are
//!
//! One choice is one *turn*. With [`Granularity::Site`], which is rule R2, a turn lasts until the
//! mediator asks for another site; n mediators that wait for one site then have n! orders there,
//! and over m such sites (n!)^m. With [`Granularity::Exchange`] a turn is one served request for
//! the site and what follows it until the next one; mediators with k₁, …, kₙ such requests at one
//! site have (k₁ + … + kₙ)! / (k₁! · … · kₙ!) orders there: 34,650 for three with four
//! each. Mediators that come to a site again through a barrier add orders to both.

mod error;
mod pct;
mod programme;
mod random;
mod recorded;
mod schedule;
mod watched;

pub(crate) use self::error::CODES;
pub use self::error::ScheduleError;
pub use self::pct::Pct;
pub use self::programme::{Change, Part, RunFingerprint};
pub use self::random::{Shuffle, SplitMix64};
pub use self::recorded::{Recorded, Recording, recording};
pub use self::schedule::{Choice, Schedule};
pub use self::watched::watched;
use crate::mediator::MediatorId;
use crate::site::Site;

/// The one thing that chooses between mediators.
///
/// Nothing else orders them: no hash map, address, clock or thread. A scheduler that is a function
/// of its own state and its arguments makes equal runs make equal exchanges.
pub trait Scheduler {
    /// Returns the place in `ready` of the mediator to be stepped next at `site`.
    ///
    /// `ready` is in definition order and never empty; the mediators in it all wait for `site`.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`] if there is no choice to be made, because the run is not the one that the
    /// scheduler is for. The run fails with it.
    fn choose(&mut self, site: Site, ready: &[MediatorId]) -> Result<usize, ScheduleError>;

    /// Returns what the journal calls this scheduler, including all that is needed to make it
    /// again.
    fn describe(&self) -> String;

    /// Sees what the run is made of, before anything is started.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`] if the scheduler is for another run; then nothing is started.
    fn begin(&mut self, programme: &RunFingerprint<'_>) -> Result<(), ScheduleError> {
        let _ = programme;
        Ok(())
    }

    /// Sees the end of a run that did not fail.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`] if the run was shorter than the one that the scheduler is for. The run
    /// fails with it.
    fn end(&mut self) -> Result<(), ScheduleError> {
        Ok(())
    }
}

impl<S: Scheduler + ?Sized> Scheduler for Box<S> {
    fn choose(&mut self, site: Site, ready: &[MediatorId]) -> Result<usize, ScheduleError> {
        (**self).choose(site, ready)
    }

    fn describe(&self) -> String {
        (**self).describe()
    }

    fn begin(&mut self, programme: &RunFingerprint<'_>) -> Result<(), ScheduleError> {
        (**self).begin(programme)
    }

    fn end(&mut self) -> Result<(), ScheduleError> {
        (**self).end()
    }
}

/// The length of a mediator's turn.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Granularity {
    /// Until it asks for another site or is retired: rule R2.
    #[default]
    Site,
    /// Until it has been served once at the site, and has made its next request.
    ///
    /// Finer than the rules ask for: what happens to work in every such order does not depend on
    /// where turns end. Puts, gets and children are for no site, and belong to the turn in
    /// which they are asked for.
    Exchange,
}

/// Definition order: the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct InOrder;

impl Scheduler for InOrder {
    fn choose(&mut self, _: Site, _: &[MediatorId]) -> Result<usize, ScheduleError> {
        Ok(0)
    }

    fn describe(&self) -> String {
        "in-order".to_owned()
    }
}

/// Makes the scheduler that `text`, which [`Scheduler::describe`] has returned, stands for.
///
/// ```
/// let mut shuffle = interloom_engine::scheduler::scheduler("shuffle:7").unwrap();
/// assert_eq!(shuffle.describe(), "shuffle:7");
/// assert_eq!(interloom_engine::scheduler::scheduler("shuffle:seven").err().unwrap().code(), "E120");
/// ```
///
/// # Errors
///
/// [`ScheduleError::Text`] if it is no scheduler's, and [`ScheduleError::Checksum`] if a recorded
/// schedule is damaged.
pub fn scheduler(text: &str) -> Result<Box<dyn Scheduler>, ScheduleError> {
    let unknown = |at: usize, expected: &'static str| ScheduleError::Text {
        at,
        expected: expected.into(),
        found: schedule::quoted_from(text, at),
    };
    if text == "in-order" {
        return Ok(Box::new(InOrder));
    }
    if text.starts_with(schedule::MAGIC) {
        return Ok(Box::new(Recorded::new(text.parse()?)));
    }
    if let Some(seed) = text.strip_prefix("shuffle:") {
        let seed = decimal(seed).ok_or_else(|| unknown("shuffle:".len(), "a seed in decimal"))?;
        return Ok(Box::new(Shuffle::new(seed)));
    }
    if let Some(rest) = text.strip_prefix("pct:") {
        let numbers: Option<Vec<u64>> = rest.split(':').map(decimal).collect();
        let narrow = |number: u64| u32::try_from(number).ok();
        if let Some(&[depth, length, seed]) = numbers.as_deref()
            && let (Some(depth), Some(length)) = (narrow(depth), narrow(length))
        {
            return Ok(Box::new(Pct::new(depth, length, seed)));
        }
        return Err(unknown(
            "pct:".len(),
            "a depth, a length and a seed in decimal",
        ));
    }
    Err(unknown(0, "`in-order`, `shuffle:`, `pct:` or `ilsched1:`"))
}

/// Returns the number that is written in digits alone.
fn decimal(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}
