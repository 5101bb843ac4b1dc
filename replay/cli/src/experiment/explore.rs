//! Whether what the runs of an experiment file show depends on the order of their mediators.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use burn::tensor::Tensor;
use interloom::batch_invariance::{BatchDependence, BatchScope, compare_batches};
use interloom::explore::{Exploration, ExploredOutcome, Shown, Trial, end_of_failure, took_place};
use interloom::{Error, Mode};
use interloom_backends::{ForwardError, Ran, Run, Value};
use interloom_engine::explore::{ExplorationProgress as Made, OrderDependence, Race, Verdict};
use interloom_engine::{Exchange, MediatorId, Observer, Site};
use interloom_journal::{Digest, Policy};
use interloom_program::Results;

use super::error::ExperimentError;
use super::execute::{Output, Prepared, share};
use super::kept::Kept;
use super::plan::RunPlan;
use super::report::RunReport;
use super::schedules::Schedules;
use super::{FileExperiment, Opened};
use crate::Progress;

/// Explores each run of an experiment file, in at most `budget` runs of each; see
/// [`FileExperiment::explore`] for more.
///
/// ```
/// use interloom_cli::experiment::{FileExperiment, explore};
///
/// let text = r#"
/// model = "induction"
///
/// [[input]]
/// name = "a"
/// tokens = [5, 3, 8]
///
/// [[run]]
/// name = "both"
/// input = "a"
///
/// [[run.invoke]]
/// name = "scale"
/// program = 'layers.0 *= 2'
///
/// [[run.invoke]]
/// name = "look"
/// program = 'save h = layers.0'
/// "#;
/// let found = explore(&FileExperiment::new("both.toml", text), 100)?;
/// assert!(found.is_order_dependent());
/// let verdict = &found.runs[0].verdict;
/// assert_eq!(verdict.to_string(), "order-dependent: 2 outcomes of 2 schedules, which cover all");
/// # Ok::<(), interloom_cli::experiment::ExperimentError>(())
/// ```
///
/// # Errors
///
/// As [`FileExperiment::explore`].
pub fn explore(experiment: &FileExperiment, budget: u64) -> Result<FileFindings, ExperimentError> {
    let exploration = Exploration::new().runs(budget);
    experiment.explore(&exploration, None, false, &mut (), &mut |_| true)
}

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
    /// The runs that were not explored, because one before them, the last of [`runs`](Self::runs),
    /// fails in definition order.
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
    pub verdict: Verdict<ExploredOutcome>,
    /// What each outcome shows, line by line: what each line is about, and what it says.
    pub shown: Vec<Vec<(String, String)>>,
    /// Of each outcome the order of the mediators at each site at which two of them race, as its
    /// witness has it.
    pub orders: Vec<Vec<SiteOrder>>,
    /// Of what each outcome shows the digests, part by part.
    pub(super) parts: Vec<BTreeMap<String, Digest>>,
    /// The journals of the outcomes' witnesses, if they were asked for.
    pub journals: Vec<PathBuf>,
    /// What became of the comparison with batch-mates, if it was asked for.
    pub mates: Option<MateFindings>,
}

/// The order of the mediators at a site.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SiteOrder {
    /// The site.
    pub site: String,
    /// The mediators' names, by their turns.
    pub mediators: Vec<String>,
}

/// Whether the values of a run's invokes depend on which others share the batch.
#[derive(Clone, Debug, PartialEq)]
pub enum MateFindings {
    /// The run has not two invokes with rows, or they meet at barriers, so that none can be run
    /// alone.
    NotAsked(String),
    /// Each invoke with rows, and its first exchange that differs in the batch.
    Compared(Vec<(String, Option<BatchDependence>)>),
}

impl FileFindings {
    /// Returns whether the order matters in any run.
    pub fn is_order_dependent(&self) -> bool {
        let mut runs = self.runs.iter();
        runs.any(|run| run.verdict.conclusion() == OrderDependence::Dependent)
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
    /// Explores each run of the file on its own, given what the runs before it have saved in
    /// definition order.
    ///
    /// The file's own schedules do not count. For each outcome the journal of a run that has it is
    /// written into `folder`, if there is one: `RUN.1.ilj` and so on, each with the runs before
    /// it, which `interloom replay` makes again. With `mates`, each invoke with rows is run
    /// alone, too. `goes_on` is asked after each run.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run) and [`Exploration::explore`]; that a run fails is no error, but an
    /// outcome.
    pub fn explore(
        &self,
        exploration: &Exploration,
        folder: Option<&Path>,
        mates: bool,
        progress: &mut dyn Progress,
        goes_on: &mut dyn FnMut(&Made) -> bool,
    ) -> Result<FileFindings, ExperimentError> {
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
                Some(results) => share(plan, &results, opened.prepared.subject(), &mut givens),
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
    ) -> Result<(), ExperimentError> {
        let witness = Self {
            schedules,
            through: Some(run.to_owned()),
            ..self.clone()
        };
        // That the run fails is the outcome; that its schedule does not fit would be a fault of
        // ours.
        match opened.run(
            &witness,
            Mode::Record(path.to_owned()),
            &mut (),
            &mut Vec::new(),
        )? {
            (Err(ExperimentError::Session(Error::Forward(error))), _) if !took_place(&error) => {
                Err(error.into())
            }
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
    ) -> Result<Vec<PathBuf>, ExperimentError> {
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
    pub(super) outcome: ExploredOutcome,
    pub(super) report: RunReport,
    ran: Result<Ran<Output>, ForwardError>,
    results: Vec<Results<Value>>,
    turns: Vec<Turn>,
}

/// A turn of a mediator, and the site at which it was.
type Turn = (Option<Site>, MediatorId);

/// The turns of a run: whose exchanges followed one another at which site.
#[derive(Clone, Default)]
struct TurnLog(Rc<RefCell<Vec<Turn>>>);

impl Observer<Value> for TurnLog {
    fn exchange(&mut self, exchange: &Exchange<'_, Value>) {
        let turn = (exchange.at, exchange.mediator);
        let mut turns = self.0.borrow_mut();
        if turns.last() != Some(&turn) {
            turns.push(turn);
        }
    }
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
                add(format!("{own}.{name}"), &|shown| show_kept("", kept, shown));
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
                show_output(ran.output.as_ref().ok(), shown);
            }),
            Err(error) => add("failure".to_owned(), &|shown| {
                shown.text("", &error.to_string());
            }),
        }
        parts
    }
}

impl Prepared {
    /// Returns the order of the mediators at these sites, by name.
    fn orders(&self, plan: &RunPlan, turns: &[Turn], sites: &BTreeSet<String>) -> Vec<SiteOrder> {
        let mut orders: Vec<SiteOrder> = Vec::new();
        for (site, mediator) in turns {
            let site = site.map(|site| self.subject().sites().site_name(site));
            let invoke = plan.invokes.get(mediator.0 as usize);
            let (Some(site), Some(invoke)) = (site, invoke) else {
                continue;
            };
            if !sites.contains(&site) {
                continue;
            }
            match orders.iter_mut().find(|order| order.site == site) {
                Some(order) => order.mediators.push(invoke.name.clone()),
                None => orders.push(SiteOrder {
                    site,
                    mediators: vec![invoke.name.clone()],
                }),
            }
        }
        orders
    }

    /// Makes a run in the order of a trial.
    pub(super) fn try_order(
        &self,
        index: usize,
        givens: &BTreeMap<String, Value>,
        trial: &Trial<'_>,
    ) -> Result<Tried, ExperimentError> {
        let (mut run, results) = self.stage(&self.runs()[index], givens)?;
        trial.attach(&mut run);
        let turns = TurnLog::default();
        run.observer(turns.clone());
        let tried = self.shown_by(index, run, results)?;
        Ok(Tried {
            turns: turns.0.take(),
            ..tried
        })
    }

    /// Makes a run that has its order, and keeps what it shows.
    pub(super) fn shown_by(
        &self,
        index: usize,
        run: Run,
        results: Vec<Results<Value>>,
    ) -> Result<Tried, ExperimentError> {
        let ran = run.execute(|| self.output(&self.runs()[index]));
        let report = match &ran {
            Ok(ran) => self.report(index, &results, ran),
            Err(error) => self.report_of_end(index, &results, Err(end_of_failure(error))),
        };
        let outcome = ExploredOutcome::of(&ran, |output, shown| show(&report, output, shown))?;
        Ok(Tried {
            outcome,
            report,
            ran,
            results,
            turns: Vec::new(),
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
    ) -> Result<Explored, ExperimentError> {
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
                of_outcome.or_insert_with(|| {
                    let turns = tried.turns.clone();
                    (tried.report.lines(), tried.parts(), turns)
                });
                first.get_or_insert_with(|| tried.ran.is_ok().then_some(tried.results));
                Ok::<_, ExperimentError>(outcome)
            },
            |made| {
                progress.step();
                goes_on(made)
            },
        )?;
        let classes = found.verdict.classes.iter();
        let shown = classes.map(|class| shown.remove(&class.outcome).unwrap_or_default());
        let sites: BTreeSet<String> = found.races.iter().map(|race| race.site.clone()).collect();
        let (mut lines, mut parts, mut orders) = (Vec::new(), Vec::new(), Vec::new());
        for (own, digests, turns) in shown {
            lines.push(own);
            parts.push(digests);
            orders.push(prepared.orders(plan, &turns, &sites));
        }
        Ok(Explored {
            findings: RunFindings {
                name: plan.name.clone(),
                races: found.races,
                shown: lines,
                parts,
                orders,
                verdict: found.verdict,
                journals: Vec::new(),
                mates: None,
            },
            results: first.flatten(),
        })
    }

    /// Runs each invoke with rows alone, and in its batch.
    fn mates(
        &self,
        plan: &RunPlan,
        givens: &BTreeMap<String, Value>,
    ) -> Result<MateFindings, ExperimentError> {
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
            // Both sides are staged from the same plan, so that only the company in the batch
            // differs.
            let dependence = compare_batches(&invoke.name, |batch| {
                let plan = match batch {
                    BatchScope::Alone => &alone,
                    BatchScope::Together => plan,
                };
                let (run, _) = prepared.stage(plan, givens)?;
                Ok::<_, ExperimentError>((run, || drop(prepared.output(plan))))
            })?;
            compared.push((invoke.name.clone(), dependence));
        }
        Ok(MateFindings::Compared(compared))
    }
}

/// Adds to an outcome what a report shows, in full: what was saved, and the model's output.
fn show(report: &RunReport, output: Option<&Output>, shown: &mut Shown) {
    for invoke in &report.invokes {
        shown.text("invoke", &invoke.name);
        for (name, kept) in &invoke.kept {
            show_kept(name, kept, shown);
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

fn show_kept(name: &str, kept: &Kept, shown: &mut Shown) {
    match kept {
        Kept::Number(number) => shown.add(name, *number),
        Kept::Text(text) => shown.text(name, text),
        Kept::Tensor(data) => shown.data(name, data.clone()),
    }
}

fn show_output(output: Option<&Output>, shown: &mut Shown) {
    match output {
        None => {}
        Some(Output::Logits(logits)) => shown.add("output", Tensor::clone(logits)),
        Some(Output::Tokens(rows)) => {
            for tokens in rows {
                let tokens: Vec<i64> = tokens.iter().map(|&token| token.into()).collect();
                shown.add("output", tokens);
            }
        }
    }
}
