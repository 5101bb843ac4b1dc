//! How a training run is opened, as data.

use std::ops::Range;
use std::path::PathBuf;

use super::state::TrainingState;
use super::{Training, TrainingBuilder};
use crate::error::Error;

/// The mode of a training run: in which way it is opened, such as by the arguments of a program.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum TrainingMode {
    /// Makes steps, and keeps nothing: [`TrainingBuilder::plain`].
    Plain,
    /// Begins a run in a folder: [`TrainingBuilder::record`].
    Record(PathBuf),
    /// Continues the run in a folder: [`TrainingBuilder::resume`].
    Resume(PathBuf),
    /// Makes steps of a run again, and compares them: [`TrainingBuilder::verify`].
    Verify {
        /// The folder of the run.
        folder: PathBuf,
        /// The steps.
        steps: Range<u64>,
    },
    /// Forks a run: [`TrainingBuilder::fork`].
    Fork {
        /// The folder of the run.
        from: PathBuf,
        /// The first step that may be another.
        step: u64,
        /// The folder of the fork.
        into: PathBuf,
    },
}

impl TrainingBuilder {
    /// Opens a training run in the way that a mode says.
    ///
    /// # Errors
    ///
    /// Those of the method that the mode names.
    pub fn open(
        self,
        mode: TrainingMode,
        state: &mut impl TrainingState,
    ) -> Result<Training, Error> {
        match mode {
            TrainingMode::Plain => Ok(self.plain()),
            TrainingMode::Record(folder) => self.record(folder, state),
            TrainingMode::Resume(folder) => self.resume(folder, state),
            TrainingMode::Verify { folder, steps } => self.verify(folder, steps, state),
            TrainingMode::Fork { from, step, into } => self.fork(from, step, into, state),
        }
    }
}
