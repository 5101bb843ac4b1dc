//! In which order the mediators of an experiment's runs have their turns.

use std::collections::BTreeMap;

use interloom_backends::Run;
use interloom_engine::scheduler::scheduler;
use interloom_engine::{Granularity, Schedule};
use interloom_journal::{Argument, Experiment};

use super::FileExperiment;
use super::error::ExperimentError;
use super::plan::Plan;
use super::replay::text;

/// The argument's names in a journal's head.
const SCHEDULES: &str = "schedules";
const GRANULARITY: &str = "granularity";

/// The schedulers of an experiment's runs, as texts; without one a run is in definition order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Schedules {
    /// That of every run that has none of its own.
    pub others: Option<String>,
    /// Those of single runs, by name.
    pub by_run: BTreeMap<String, String>,
    /// How long a turn lasts, in every run.
    pub granularity: Granularity,
}

impl Schedules {
    /// Has one run in a recorded order, and all others in definition order.
    pub(super) fn of(run: &str, schedule: &Schedule, granularity: Granularity) -> Self {
        Self {
            by_run: BTreeMap::from([(run.to_owned(), schedule.to_string())]),
            granularity,
            ..Self::default()
        }
    }

    /// Adds `SCHEDULE` for all runs, or `RUN=SCHEDULE` for one of them.
    pub fn add(&mut self, text: &str) {
        match text.split_once('=') {
            Some((run, schedule)) => {
                self.by_run.insert(run.to_owned(), schedule.to_owned());
            }
            None => self.others = Some(text.to_owned()),
        }
    }

    /// Checks that each schedule can be read, and that the runs are there.
    pub(super) fn check(&self, plan: &Plan) -> Result<(), ExperimentError> {
        for text in self.others.iter().chain(self.by_run.values()) {
            scheduler(text)?;
        }
        let names = || plan.runs.iter().map(|run| run.name.as_str());
        let is_unknown = |run: &&String| names().all(|name| name != *run);
        match self.by_run.keys().find(is_unknown) {
            None => Ok(()),
            Some(run) => {
                let at = plan.source.spot(0);
                Err(ExperimentError::unknown(
                    at,
                    "run for a schedule",
                    run,
                    names(),
                ))
            }
        }
    }

    /// Gives a run its order.
    pub(super) fn prepare(&self, run: &mut Run) -> Result<(), ExperimentError> {
        run.setup_mut().granularity(self.granularity);
        if let Some(text) = self.by_run.get(run.name()).or(self.others.as_ref()) {
            run.scheduler(scheduler(text)?);
        }
        Ok(())
    }

    /// Returns what a journal's head calls the order of all runs.
    pub(super) fn describe(&self) -> String {
        match self.texts() {
            texts if texts.is_empty() => "in-order".to_owned(),
            texts => texts.join(" "),
        }
    }

    fn texts(&self) -> Vec<String> {
        let own = self.by_run.iter();
        let own = own.map(|(run, schedule)| format!("{run}={schedule}"));
        self.others.iter().cloned().chain(own).collect()
    }

    /// Adds what makes the same orders again to a journal's head.
    pub(super) fn describe_into(&self, arguments: &mut BTreeMap<String, Argument>) {
        let texts = self.texts();
        if !texts.is_empty() {
            let texts = texts.into_iter().map(Argument::Text).collect();
            arguments.insert(SCHEDULES.to_owned(), Argument::List(texts));
        }
        if self.granularity == Granularity::Exchange {
            let exchange = Argument::Text("exchange".to_owned());
            arguments.insert(GRANULARITY.to_owned(), exchange);
        }
    }

    /// Takes the orders out of a journal's head.
    pub(super) fn from_arguments(experiment: &Experiment) -> Result<Self, ExperimentError> {
        let unlike = |argument, expected, found: &Argument| ExperimentError::Argument {
            experiment: FileExperiment::NAME,
            argument,
            expected,
            found: found.to_string(),
        };
        let mut schedules = Self::default();
        match experiment.arguments.get(SCHEDULES) {
            None => {}
            Some(Argument::List(texts)) => {
                for argument in texts {
                    match argument {
                        Argument::Text(text) => schedules.add(text),
                        other => return Err(unlike(SCHEDULES, "a list of texts", other)),
                    }
                }
            }
            Some(other) => return Err(unlike(SCHEDULES, "a list of texts", other)),
        }
        if let Some(argument) = experiment.arguments.get(GRANULARITY) {
            schedules.granularity = match text(experiment, GRANULARITY)?.as_str() {
                "site" => Granularity::Site,
                "exchange" => Granularity::Exchange,
                _ => return Err(unlike(GRANULARITY, "`site` or `exchange`", argument)),
            };
        }
        Ok(schedules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(schedules: &Schedules) -> Schedules {
        let mut experiment = Experiment::default();
        schedules.describe_into(&mut experiment.arguments);
        Schedules::from_arguments(&experiment).unwrap()
    }

    #[test]
    fn schedules_come_back_from_a_head() {
        let mut schedules = Schedules::default();
        assert_eq!(round_trip(&schedules), schedules);
        assert_eq!(schedules.describe(), "in-order");
        schedules.add("shuffle:7");
        schedules.add("both=pct:2:10:1");
        schedules.granularity = Granularity::Exchange;
        assert_eq!(round_trip(&schedules), schedules);
        assert_eq!(schedules.describe(), "shuffle:7 both=pct:2:10:1");
    }

    #[test]
    fn a_head_with_something_else_is_refused() {
        for (name, argument) in [
            (SCHEDULES, Argument::Text("in-order".to_owned())),
            (SCHEDULES, Argument::List(vec![Argument::Int(1)])),
            (GRANULARITY, Argument::Text("turn".to_owned())),
            (GRANULARITY, Argument::Int(1)),
        ] {
            let mut experiment = Experiment::default();
            experiment.arguments.insert(name.to_owned(), argument);
            let error = Schedules::from_arguments(&experiment).unwrap_err();
            assert_eq!(error.code(), "E091", "{error}");
        }
    }
}
