//! From a journal back to the experiment that it records.
//!
//! What is replayed is not checked before: a recorded run may have failed, and must fail again.

use std::path::{Path, PathBuf};

use interloom::{Conclusion, Mode};
use interloom_journal::{Argument, Experiment, Head, JournalReader};

use super::{ExperimentError, FileExperiment, Schedules};
use crate::Progress;

/// What is different in a replay from when its journal was recorded.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    /// Where the model is now.
    pub model: Option<String>,
    /// The device.
    pub device: Option<String>,
    /// The orders of the mediators.
    pub schedules: Option<Schedules>,
}

/// Makes the experiment of a journal again, and compares every exchange.
///
/// `mode` makes the session's mode of the journal, such as `Mode::Verify`; `model` says where the
/// model is now, if it is not where it was.
///
/// # Errors
///
/// As [`replay_changed`]; a divergence is no error.
pub fn replay(
    journal: &Path,
    mode: fn(PathBuf) -> Mode,
    model: Option<&str>,
    progress: &mut dyn Progress,
) -> Result<Conclusion, ExperimentError> {
    let changes = Changes {
        model: model.map(str::to_owned),
        ..Changes::default()
    };
    replay_changed(journal, mode, &changes, progress)
}

/// Makes the experiment of a journal again with something changed, and compares every exchange.
///
/// # Errors
///
/// As [`FileExperiment::from_head`] and [`FileExperiment::run`]; a divergence is no error.
pub fn replay_changed(
    journal: &Path,
    mode: fn(PathBuf) -> Mode,
    changes: &Changes,
    progress: &mut dyn Progress,
) -> Result<Conclusion, ExperimentError> {
    let reader = JournalReader::open(journal)?;
    let mut experiment = FileExperiment::from_head(reader.head())?;
    let mode = mode(journal.to_owned());
    if let Mode::Serve(_) = mode {
        // Its model computes nothing, so that the device of the recording need not be here.
        experiment.device = Some("cpu".to_owned());
        if changes.model.is_none() {
            experiment.served_by = Some(Box::new(reader.head().clone()));
        }
    }
    experiment.change(changes)?;
    experiment.replay(mode, reader.head().policy, progress)
}

impl FileExperiment {
    /// Returns the experiment that a journal's head describes.
    ///
    /// # Errors
    ///
    /// [`ExperimentError::UnknownExperiment`] if it is not one of a file;
    /// [`ExperimentError::Argument`] if it lacks an argument.
    pub fn from_head(head: &Head) -> Result<Self, ExperimentError> {
        let experiment = &head.experiment;
        if experiment.name == Self::NAME {
            Self::from_arguments(experiment)
        } else {
            Err(ExperimentError::UnknownExperiment {
                name: experiment.name.clone(),
            })
        }
    }

    fn change(&mut self, changes: &Changes) -> Result<(), ExperimentError> {
        if let Some(model) = &changes.model {
            self.moved_to = Some(model.clone());
        }
        if let Some(device) = &changes.device {
            self.device = Some(device.clone());
        }
        if let Some(schedules) = &changes.schedules {
            self.schedules = schedules.clone();
            self.check()?;
        }
        Ok(())
    }
}

/// Takes a text argument out of a journal's head.
pub(super) fn text(
    experiment: &Experiment,
    argument: &'static str,
) -> Result<String, ExperimentError> {
    match experiment.arguments.get(argument) {
        Some(Argument::Text(text)) => Ok(text.clone()),
        other => Err(ExperimentError::Argument {
            experiment: FileExperiment::NAME,
            argument,
            expected: "a text",
            found: other.map_or("nothing".to_owned(), |found| format!("{found:?}")),
        }),
    }
}
