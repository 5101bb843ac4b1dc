//! Recorded schedules: a scheduler that keeps what another chose, and one that chooses it again.

use std::cell::RefCell;
use std::rc::Rc;

use super::schedule::{Choice, Schedule};
use super::{RunFingerprint, ScheduleError, Scheduler};
use crate::mediator::MediatorId;
use crate::site::Site;

/// Chooses what a schedule says, and fails the run if it is not the one that the schedule was made
/// in.
#[derive(Clone, Debug)]
pub struct Recorded {
    schedule: Schedule,
    used: usize,
}

impl Recorded {
    /// Makes the order that a schedule stands for.
    pub const fn new(schedule: Schedule) -> Self {
        Self { schedule, used: 0 }
    }

    fn choices(&self) -> u64 {
        self.schedule.choices().len() as u64
    }
}

impl Scheduler for Recorded {
    fn choose(&mut self, _: Site, ready: &[MediatorId]) -> Result<usize, ScheduleError> {
        if ready.len() < 2 {
            return Ok(0);
        }
        let count = ready.len() as u32;
        let Some(&choice) = self.schedule.choices().get(self.used) else {
            return Err(ScheduleError::TooShort {
                choices: self.choices(),
                ready: count,
                site: String::new(),
            });
        };
        self.used += 1;
        match choice.ready == count {
            true => Ok(choice.place as usize),
            false => Err(ScheduleError::Ready {
                choice: self.used as u64,
                wanted: choice.ready,
                ready: count,
                site: String::new(),
            }),
        }
    }

    fn describe(&self) -> String {
        self.schedule.to_string()
    }

    fn begin(&mut self, programme: &RunFingerprint<'_>) -> Result<(), ScheduleError> {
        let changes = programme.changes_since(self.schedule.programme());
        match changes.is_empty() {
            true => Ok(()),
            false => Err(ScheduleError::Programme { changes }),
        }
    }

    fn end(&mut self) -> Result<(), ScheduleError> {
        match self.used as u64 == self.choices() {
            true => Ok(()),
            false => Err(ScheduleError::TooLong {
                used: self.used as u64,
                choices: self.choices(),
            }),
        }
    }
}

/// The schedule of a run that is made with a [`recording`] scheduler.
///
/// A handle: it is read when the run is over.
#[derive(Clone, Debug, Default)]
pub struct Recording(Rc<RefCell<(u64, Vec<Choice>)>>);

impl Recording {
    /// Returns what was chosen so far.
    pub fn schedule(&self) -> Schedule {
        let (programme, choices) = &*self.0.borrow();
        Schedule::new(*programme, choices.iter().copied())
    }
}

/// Wraps a scheduler, and returns what it will have chosen.
///
/// A run with `shuffle:7` that shows something is worth keeping as the choices that were made and
/// not as the seed, which means another run as soon as a mediator asks for one site more.
pub fn recording<S: Scheduler>(inner: S) -> (impl Scheduler + use<S>, Recording) {
    let recording = Recording::default();
    let into = recording.clone();
    (Recorder { inner, into }, recording)
}

struct Recorder<S> {
    inner: S,
    into: Recording,
}

impl<S: Scheduler> Scheduler for Recorder<S> {
    fn choose(&mut self, site: Site, ready: &[MediatorId]) -> Result<usize, ScheduleError> {
        let place = self.inner.choose(site, ready)?;
        if ready.len() > 1 && place < ready.len() {
            let ready = ready.len() as u32;
            let place = place as u32;
            self.into.0.borrow_mut().1.push(Choice { place, ready });
        }
        Ok(place)
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn begin(&mut self, programme: &RunFingerprint<'_>) -> Result<(), ScheduleError> {
        self.into.0.borrow_mut().0 = programme.digest();
        self.inner.begin(programme)
    }

    fn end(&mut self) -> Result<(), ScheduleError> {
        self.inner.end()
    }
}
