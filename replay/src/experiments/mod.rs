//! Experiments that the program knows, so that it can make them again from a journal alone.

mod ablation;
mod causal_trace;
mod heat_map;

use std::path::{Path, PathBuf};

use interloom_backends::files::Download;

use crate::error::Error;
use crate::experiment::{FileExperiment, Schedules};
use crate::journal::{Argument, Experiment, Head, JournalReader, Policy};
use crate::session::{Conclusion, Mode};

pub use ablation::{AblationReport, HeadAblation, HeadLine};
pub use causal_trace::{CausalTrace, Restored, TraceReport};
pub use heat_map::HeatMap;

/// Somebody who is told how far long work has come.
pub trait Progress {
    /// Some work begins that has `steps` steps.
    fn begin(&mut self, what: &str, steps: u64);

    /// One step is done.
    fn step(&mut self);

    /// Something is done otherwise than was to be expected.
    fn remark(&mut self, _: &str) {}

    /// Some of a file has been downloaded.
    fn download(&mut self, _: Download<'_>) {}

    /// Something may go wrong that was found before it was begun.
    fn warn(&mut self, _: &str) {}
}

/// Nobody.
impl Progress for () {
    fn begin(&mut self, _: &str, _: u64) {}

    fn step(&mut self) {}
}

/// Why a served experiment loads its model.
pub(crate) const NO_SITES: &str = "the journal does not have its model's sites (it is of format 1.3 or before), for which the \
                                   model is loaded; nothing is computed with it";

/// An experiment that can be made from its name and its arguments.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Known {
    /// Ablating each head of the induction transformer.
    HeadAblation(HeadAblation),
    /// Patching the residual stream of a language model, position by position.
    CausalTrace(CausalTrace),
    /// What an experiment file describes.
    File(FileExperiment),
}

impl Known {
    /// Returns the experiment that a journal's head describes.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownExperiment`] if this program does not have it; [`Error::Argument`] if it lacks an argument.
    pub fn from_head(head: &Head) -> Result<Self, Error> {
        let experiment = &head.experiment;
        match experiment.name.as_str() {
            HeadAblation::NAME => HeadAblation::from_arguments(experiment).map(Self::HeadAblation),
            CausalTrace::NAME => CausalTrace::from_arguments(experiment).map(Self::CausalTrace),
            FileExperiment::NAME => FileExperiment::from_arguments(experiment).map(Self::File),
            name => Err(Error::UnknownExperiment {
                name: name.to_owned(),
                known: [HeadAblation::NAME, CausalTrace::NAME, FileExperiment::NAME].join(", "),
            }),
        }
    }

    /// Makes the experiment.
    ///
    /// # Errors
    ///
    /// Whatever can go wrong with its model, its runs and its journal.
    pub fn run(
        &self,
        mode: Mode,
        policy: Policy,
        progress: &mut dyn Progress,
    ) -> Result<Conclusion, Error> {
        match self {
            Self::HeadAblation(experiment) => Ok(experiment.run(mode, policy, progress)?.1),
            Self::CausalTrace(experiment) => Ok(experiment.run(mode, policy, progress)?.1),
            Self::File(experiment) => experiment.replay(mode, policy, progress),
        }
    }

    /// Makes the experiment another one in these respects.
    ///
    /// # Errors
    ///
    /// [`Error::NotScheduled`] for a schedule of an experiment that has none.
    pub fn change(&mut self, changes: &Changes) -> Result<(), Error> {
        if let Some(model) = &changes.model {
            self.set_model(model);
        }
        if let Some(device) = &changes.device {
            self.set_device(device);
        }
        match (&changes.schedules, self) {
            (None, _) => Ok(()),
            (Some(schedules), Self::File(experiment)) => {
                experiment.schedules = schedules.clone();
                experiment.check()
            }
            (Some(_), Self::HeadAblation(_)) => Err(Error::NotScheduled {
                experiment: HeadAblation::NAME,
            }),
            (Some(_), Self::CausalTrace(_)) => Err(Error::NotScheduled {
                experiment: CausalTrace::NAME,
            }),
        }
    }

    fn set_device(&mut self, device: &str) {
        match self {
            Self::HeadAblation(experiment) => device.clone_into(&mut experiment.device),
            Self::CausalTrace(experiment) => device.clone_into(&mut experiment.device),
            Self::File(experiment) => experiment.device = Some(device.to_owned()),
        }
    }

    /// Lets the journal with this head stand in for the model, where it serves the mediators.
    fn serve(&mut self, head: &Head) {
        let head = Some(Box::new(head.clone()));
        match self {
            // Its model is part of the program.
            Self::HeadAblation(_) => {}
            Self::CausalTrace(experiment) => experiment.served_by = head,
            Self::File(experiment) => experiment.served_by = head,
        }
    }

    /// Says where the model is now; another one is noticed by its digest.
    pub fn set_model(&mut self, place: &str) {
        match self {
            // Its model is part of the program.
            Self::HeadAblation(_) => {}
            Self::CausalTrace(experiment) => experiment.moved_to = Some(place.to_owned()),
            Self::File(experiment) => experiment.moved_to = Some(place.to_owned()),
        }
    }
}

/// What is another in a replay than it was when its journal was recorded.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    /// Where the model is now.
    pub model: Option<String>,
    /// The device.
    pub device: Option<String>,
    /// The orders of the mediators; for experiment files only.
    pub schedules: Option<Schedules>,
}

/// Makes the experiment of a journal again, and compares every exchange.
///
/// `mode` makes the session's mode of the journal, such as `Mode::Verify`; `model` says where the model is now, if it is not
/// where it was.
///
/// # Errors
///
/// As [`Known::from_head`] and [`Known::run`]; a divergence is no error.
pub fn replay(
    journal: &Path,
    mode: fn(PathBuf) -> Mode,
    model: Option<&str>,
    progress: &mut dyn Progress,
) -> Result<Conclusion, Error> {
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
/// As [`replay`] and [`Known::change`].
pub fn replay_changed(
    journal: &Path,
    mode: fn(PathBuf) -> Mode,
    changes: &Changes,
    progress: &mut dyn Progress,
) -> Result<Conclusion, Error> {
    let reader = JournalReader::open(journal)?;
    let mut known = Known::from_head(reader.head())?;
    known.change(changes)?;
    let mode = mode(journal.to_owned());
    if let Mode::Serve(_) = mode {
        if changes.device.is_none() {
            // Its model computes nothing, so that the device of the recording need not be here.
            known.set_device("cpu");
        }
        if changes.model.is_none() {
            known.serve(reader.head());
        }
    }
    let policy = reader.head().policy;
    known.run(mode, policy, progress)
}

/// Takes a text argument out of a journal's head.
pub(crate) fn text(
    experiment: &Experiment,
    of: &'static str,
    argument: &'static str,
) -> Result<String, Error> {
    match experiment.arguments.get(argument) {
        Some(Argument::Text(text)) => Ok(text.clone()),
        other => Err(missing(of, argument, "a text", other)),
    }
}

/// Takes a count out of a journal's head.
fn count(experiment: &Experiment, of: &'static str, argument: &'static str) -> Result<u64, Error> {
    const EXPECTED: &str = "a whole number that is not negative";
    match experiment.arguments.get(argument) {
        Some(value @ Argument::Int(count)) => {
            u64::try_from(*count).map_err(|_| missing(of, argument, EXPECTED, Some(value)))
        }
        other => Err(missing(of, argument, EXPECTED, other)),
    }
}

fn missing(
    experiment: &'static str,
    argument: &'static str,
    expected: &'static str,
    found: Option<&Argument>,
) -> Error {
    let found = found.map_or("nothing".to_owned(), |found| format!("{found:?}"));
    Error::Argument {
        experiment,
        argument,
        expected,
        found,
    }
}
