//! Whether what the runs of an experiment file show depends on the order of their mediators.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use interloom_backends::{ForwardError, Ran, Run, Value};
use interloom_engine::explore::{Conclusion, Progress as Made, Race, Verdict};
use interloom_engine::program::Results;

use super::execute::{Output, Prepared, share};
use super::plan::RunPlan;
use super::report::RunReport;
use super::schedules::Schedules;
use super::{FileExperiment, Opened};
use crate::error::Error;
use crate::experiments::Progress;
use crate::explore::{
    Company, Exploration, Mismatch, Outcome, Shown, Trial, alone_and_in_company, end_of_failure,
    took_place,
};
use crate::journal::{Digest, Policy};
use crate::session::Mode;

/// What the exploration of an experiment file has found.
#[derive(Clone, Debug)]
pub struct FileFindings {
    /// The file.
    pub file: String,
    /// What the file says that it is about.
    pub about: Option<String>,
    /// The model.
    pub model: String,
    /// What was found of each run, in order.
    pub runs: Vec<RunFindings>,
    /// The runs that were not explored, because one before them, the last of [`runs`](Self::runs), fails in definition order.
    pub unexplored: Vec<String>,
}

/// What the exploration of one run has found.
#[derive(Clone, Debug)]
pub struct RunFindings {
    /// The run's name.
    pub name: String,
    /// What only the scheduler orders, as the run in definition order showed it.
    pub races: Vec<Race>,
    /// The outcomes, the first of them that of definition order.
    pub verdict: Verdict<Outcome>,
    /// What each outcome shows, line by line: what each line is about, and what it says.
    pub shown: Vec<Vec<(String, String)>>,
    /// Of what each outcome shows the digests, part by part.
    pub(super) parts: Vec<BTreeMap<String, Digest>>,
    /// The journals of the outcomes' witnesses, if they were asked for.
    pub journals: Vec<PathBuf>,
    /// What became of the comparison with batch-mates, if it was asked for.
    pub mates: Option<MateFindings>,
}

/// Whether the values of a run's invokes depend on which others share the batch.
#[derive(Clone, Debug, PartialEq)]
pub enum MateFindings {
    /// The run has not two invokes with rows, or they meet at barriers, so that none can be run alone.
    NotAsked(String),
    /// Each invoke with rows, and its first exchange that is another one in company.
    Compared(Vec<(String, Option<Mismatch>)>),
}

impl FileFindings {
    /// Returns whether the order matters in any run.
    pub fn is_order_dependent(&self) -> bool {
        let mut runs = self.runs.iter();
        runs.any(|run| run.verdict.conclusion() == Conclusion::Dependent)
    }
}

impl RunFindings {
    /// Returns the lines of an outcome that not all of them show.
    pub fn differing_lines(&self, outcome: usize) -> Vec<(String, String)> {
        let differs =
            |line: &&(String, String)| self.shown.iter().any(|lines| !lines.contains(line));
        let own = self.shown.get(outcome).into_iter().flatten();
        own.filter(differs).cloned().collect()
    }
}

impl FileExperiment {
    /// Explores each run of the file on its own, given what the runs before it have saved in definition order.
    ///
    /// The file's own schedules do not count. For each outcome the journal of a run that has it is written into `folder`,
    /// if there is one: `RUN.1.ilj` and so on, each with the runs before it, which `interloom replay` makes again. With
    /// `mates`, each invoke with rows is run alone, too. `goes_on` is asked after each run.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run) and [`Exploration::explore`]; that a run fails is no error, but an outcome.
    pub fn explore(
        &self,
        exploration: &Exploration,
        folder: Option<&Path>,
        mates: bool,
        progress: &mut dyn Progress,
        goes_on: &mut dyn FnMut(&Made) -> bool,
    ) -> Result<FileFindings, Error> {
        let opened = self.open_model(Policy::Digest, progress)?;
        let mut found = FileFindings {
            file: self.file.clone(),
            about: opened.about.clone(),
            model: opened.model.clone(),
            runs: Vec::new(),
            unexplored: Vec::new(),
        };
        let mut givens = opened.prepared.givens().clone();
        let mut has_failed = false;
        for (index, plan) in opened.prepared.runs().iter().enumerate() {
            if has_failed {
                found.unexplored.push(plan.name.clone());
                continue;
            }
            let own = opened.explore(index, &givens, exploration, progress, goes_on)?;
            let mut run = own.findings;
            if mates {
                run.mates = Some(opened.mates(plan, &givens)?);
            }
            if let Some(folder) = folder {
                progress.begin(
                    &format!("recording {}", plan.name),
                    run.verdict.classes.len() as u64,
                );
                run.journals = self.record_all(&opened, &run, exploration, folder, progress)?;
            }
            match own.results {
                Some(results) => share(plan, &results, &mut givens),
                None => has_failed = true,
            }
            found.runs.push(run);
        }
        Ok(found)
    }

    /// Records the runs up to one of them, in these orders.
    pub(super) fn record(
        &self,
        opened: &Opened,
        run: &str,
        schedules: Schedules,
        path: &Path,
    ) -> Result<(), Error> {
        let witness = Self {
            schedules,
            through: Some(run.to_owned()),
            ..self.clone()
        };
        // That the run fails is the outcome; that its schedule does not fit would be a fault of ours.
        match opened.run(&witness, Mode::Record(path.to_owned()), &mut ())? {
            (Err(Error::Forward(error)), _) if !took_place(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Records a run for each outcome.
    fn record_all(
        &self,
        opened: &Opened,
        run: &RunFindings,
        exploration: &Exploration,
        folder: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Vec<PathBuf>, Error> {
        let mut journals = Vec::new();
        for (number, class) in run.verdict.classes.iter().enumerate() {
            let schedules = Schedules::of(&run.name, &class.witness, exploration.turns());
            let path = folder.join(format!("{}.{}.ilj", run.name, number + 1));
            self.record(opened, &run.name, schedules, &path)?;
            journals.push(path);
            progress.step();
        }
        Ok(journals)
    }
}

/// What one run showed in definition order, beside what was found.
pub(super) struct Explored {
    pub(super) findings: RunFindings,
    /// What it has saved, if it did not fail.
    results: Option<Vec<Results<Value>>>,
}

/// One run of an exploration.
pub(super) struct Tried {
    pub(super) outcome: Outcome,
    pub(super) report: RunReport,
    ran: Result<Ran<Output>, ForwardError>,
    results: Vec<Results<Value>>,
}

impl Tried {
    /// Returns the digest of each part of what the run showed, by a name that says what it is.
    pub(super) fn parts(&self) -> BTreeMap<String, Digest> {
        let mut parts = BTreeMap::new();
        let mut add = |name: String, show: &dyn Fn(&mut Shown)| {
            let mut shown = Shown::default();
            show(&mut shown);
            parts.insert(name, shown.digest());
        };
        for invoke in &self.report.invokes {
            let own = &invoke.name;
            for (name, kept) in &invoke.kept {
                add(format!("{own}.{name}"), &|shown| shown.kept("", kept));
            }
            for (name, fault) in &invoke.caught {
                add(format!("caught {own}.{name}"), &|shown| {
                    shown.text("", fault)
                });
            }
            let marks = invoke.marks.join("\n");
            add(format!("marks {own}"), &|shown| shown.text("", &marks));
        }
        match &self.ran {
            Ok(ran) => add("output".to_owned(), &|shown| {
                show_output(ran.output.as_ref(), shown);
            }),
            Err(error) => add("failure".to_owned(), &|shown| {
                shown.text("", &error.to_string());
            }),
        }
        parts
    }
}

impl Prepared {
    /// Makes a run in the order of a trial.
    pub(super) fn try_order(
        &self,
        index: usize,
        givens: &BTreeMap<String, Value>,
        trial: &Trial<'_>,
    ) -> Result<Tried, Error> {
        let (mut run, results) = self.stage(&self.runs()[index], givens)?;
        trial.attach(&mut run);
        self.shown_by(index, run, results)
    }

    /// Makes a run that has its order, and keeps what it shows.
    pub(super) fn shown_by(
        &self,
        index: usize,
        run: Run,
        results: Vec<Results<Value>>,
    ) -> Result<Tried, Error> {
        let ran = run.execute(|| self.output(&self.runs()[index]));
        let report = match &ran {
            Ok(ran) => self.report(index, &results, ran),
            Err(error) => self.report_of_failure(index, &results, end_of_failure(error)),
        };
        let outcome = Outcome::of(&ran, |output, shown| show(&report, output, shown))?;
        Ok(Tried {
            outcome,
            report,
            ran,
            results,
        })
    }
}

impl Opened {
    pub(super) fn explore(
        &self,
        index: usize,
        givens: &BTreeMap<String, Value>,
        exploration: &Exploration,
        progress: &mut dyn Progress,
        goes_on: &mut dyn FnMut(&Made) -> bool,
    ) -> Result<Explored, Error> {
        let prepared = &self.prepared;
        let plan = &prepared.runs()[index];
        progress.begin(&format!("exploring {}", plan.name), exploration.budget());
        let mut shown = BTreeMap::new();
        let mut first = None;
        // A generation keeps keys and values between its steps.
        let exploration = match plan.generate {
            None => exploration.clone().stateless(),
            Some(_) => exploration.clone(),
        };
        let found = exploration.explore(
            |trial: &Trial<'_>| {
                let tried = prepared.try_order(index, givens, trial)?;
                let outcome = tried.outcome.clone();
                let of_outcome = shown.entry(outcome.clone());
                of_outcome.or_insert_with(|| (tried.report.lines(), tried.parts()));
                first.get_or_insert_with(|| tried.ran.is_ok().then_some(tried.results));
                Ok(outcome)
            },
            |made| {
                progress.step();
                goes_on(made)
            },
        )?;
        let classes = found.verdict.classes.iter();
        let shown = classes.map(|class| shown.remove(&class.outcome).unwrap_or_default());
        let (shown, parts) = shown.unzip();
        Ok(Explored {
            findings: RunFindings {
                name: plan.name.clone(),
                races: found.races,
                shown,
                parts,
                verdict: found.verdict,
                journals: Vec::new(),
                mates: None,
            },
            results: first.flatten(),
        })
    }

    /// Runs each invoke with rows alone, and in company.
    fn mates(
        &self,
        plan: &RunPlan,
        givens: &BTreeMap<String, Value>,
    ) -> Result<MateFindings, Error> {
        let owners = plan.invokes.iter().filter(|invoke| invoke.input.is_some());
        if owners.clone().count() < 2 {
            let reason = "it has not two invokes with rows of their own";
            return Ok(MateFindings::NotAsked(reason.to_owned()));
        }
        if !plan.barriers.is_empty() {
            let reason = "its invokes meet at barriers, so that none can be run alone";
            return Ok(MateFindings::NotAsked(reason.to_owned()));
        }
        let prepared = &self.prepared;
        let mut compared = Vec::new();
        for invoke in owners {
            let alone = RunPlan {
                invokes: vec![invoke.clone()],
                ..plan.clone()
            };
            let mismatch = alone_and_in_company(&invoke.name, |company| {
                let plan = match company {
                    Company::Alone => &alone,
                    Company::Together => plan,
                };
                let (run, _) = prepared.stage(plan, givens)?;
                Ok((run, || drop(prepared.output(plan))))
            })?;
            compared.push((invoke.name.clone(), mismatch));
        }
        Ok(MateFindings::Compared(compared))
    }
}

/// Adds to an outcome what a report shows, in full: what was saved, and the model's output.
fn show(report: &RunReport, output: Option<&Output>, shown: &mut Shown) {
    for invoke in &report.invokes {
        shown.text("invoke", &invoke.name);
        for (name, kept) in &invoke.kept {
            shown.kept(name, kept);
        }
        for mark in &invoke.marks {
            shown.text("mark", mark);
        }
        for (name, fault) in &invoke.caught {
            shown.text(name, fault);
        }
    }
    show_output(output, shown);
}

fn show_output(output: Option<&Output>, shown: &mut Shown) {
    match output {
        None => {}
        Some(Output::Logits(logits)) => shown.add("output", Tensor::clone(logits)),
        Some(Output::Tokens(tokens)) => {
            let tokens: Vec<i64> = tokens.iter().map(|&token| token.into()).collect();
            shown.add("output", tokens);
        }
    }
}
