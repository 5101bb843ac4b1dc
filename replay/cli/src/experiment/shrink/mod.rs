//! The smallest experiment, and the smallest schedule, that still show a difference.
//!
//! An experiment is a text, and so is each smaller one: it is written, read, checked against the
//! model and explored as a user would do it, so that what comes out is nothing that only the search
//! has seen.

mod draft;
mod files;
mod smaller;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use interloom::explore::{Exploration, ExploredOutcome, Trial};
use interloom_backends::Value;
use interloom_engine::explore::{ExplorationProgress as Made, shrink_programme};
use interloom_engine::{Schedule, ScheduleError};
use interloom_journal::{Digest, Policy};
use interloom_models::INDUCTION;

use super::error::ExperimentError;
use super::execute::Prepared;
use super::explore::{FileFindings, RunFindings, Tried};
use super::plan::{Content, Plan};
use super::report::to_safetensors;
use super::rows::{Beside, Rows};
use super::schedules::Schedules;
use super::subject::{Subject, device_for};
use super::{FileExperiment, Opened, Purpose};
use crate::Progress;

use draft::Draft;
use files::{cannot_write, copy_module, with_comment, write};
use smaller::{on_the_small_model, smaller};

/// An experiment that was made smaller, and shows a difference all the same.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Shrunken {
    /// The run in question.
    pub run: String,
    /// Which outcomes of the exploration, from 0, differ from the first one in the same way: they
    /// end like that, and the same results differ.
    pub outcomes: Vec<usize>,
    /// The experiment.
    pub experiment: FileExperiment,
    /// How large it was.
    pub before: ExperimentSize,
    /// How large it is.
    pub after: ExperimentSize,
    /// What it shows in definition order.
    pub first: ExploredOutcome,
    /// What it shows in the other order.
    pub other: ExploredOutcome,
    /// The other order, with as few choices as can be that are not definition order.
    pub schedule: Schedule,
    /// How many runs it took to find it.
    pub runs: u64,
    /// Whether nothing more can be taken away, rather than that the budget was spent.
    pub is_smallest: bool,
    /// The journals of both orders, if there is a folder for them.
    pub journals: Vec<PathBuf>,
}

/// How large an experiment is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ExperimentSize {
    /// The runs up to the one in question.
    pub runs: usize,
    /// The mediators of the run in question.
    pub mediators: usize,
    /// The steps of all programs, with those inside others.
    pub steps: usize,
    /// The tokens of all inputs, or the words of their prompts.
    pub tokens: usize,
}

impl fmt::Display for ExperimentSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = |count: usize, what: &str| match count {
            1 => format!("1 {what}"),
            count => format!("{count} {what}s"),
        };
        let Self {
            runs,
            mediators,
            steps,
            tokens,
        } = *self;
        write!(
            f,
            "{}, {}, {}, {}",
            many(runs, "run"),
            many(mediators, "mediator"),
            many(steps, "step"),
            many(tokens, "token")
        )
    }
}

impl FileExperiment {
    /// The runs that shrinking makes at most, by default.
    pub const SHRINKING_RUNS: u64 = 5000;

    /// Makes of each difference that an exploration of this experiment has found a smaller
    /// experiment that shows it.
    ///
    /// A difference is one between the outcome in definition order and another one: how both end
    /// and, if they end alike, which results differ. Those that are alike in this are shrunk
    /// once. Runs, mediators, steps, iterations, values, rows and tokens are taken away, and a
    /// model is replaced by the induction model, for as long as a difference like it is
    /// found, in at most `budget` runs for each. The result has been explored again, and its
    /// schedule is the smallest one.
    ///
    /// With `folder`, `RUN.N.small.toml` is written there for outcome N, with the tensors, images
    /// and trained modules that it is given beside it, and the journals of both orders,
    /// `RUN.N.small.1.ilj` in definition order and `RUN.N.small.2.ilj` in the other one, which
    /// `interloom replay` makes again. `goes_on` is asked after each run.
    ///
    /// # Errors
    ///
    /// As [`explore`](Self::explore), and [`ExperimentError::Output`] if a file cannot be written.
    pub fn shrink(
        &self,
        found: &FileFindings,
        exploration: &Exploration,
        budget: u64,
        folder: Option<&Path>,
        progress: &mut dyn Progress,
        goes_on: &mut dyn FnMut(&Made) -> bool,
    ) -> Result<Vec<Shrunken>, ExperimentError> {
        let mut all = Vec::new();
        if !found.is_order_dependent() {
            return Ok(all);
        }
        let opened = self.open_model(Policy::Digest, progress)?;
        for (index, run) in found.runs.iter().enumerate() {
            for (difference, outcomes) in differences(run) {
                progress.begin(&format!("shrinking {}", run.name), budget);
                let mut search = Search {
                    subject: opened.prepared.subject().clone(),
                    folder: self.folder(),
                    exploration,
                    difference: &difference,
                    runs: 0,
                    budget,
                    progress: &mut *progress,
                    goes_on: &mut *goes_on,
                };
                let whole = self.draft(&opened, index)?;
                if let Some(draft) = search.smallest(&whole)? {
                    let small = search.finish(&whole, &draft, folder, outcomes)?;
                    all.extend(small);
                }
            }
        }
        Ok(all)
    }

    /// Takes the experiment up to one of its runs, with all that is not in its text written out.
    fn draft(&self, opened: &Opened, index: usize) -> Result<Draft, ExperimentError> {
        let plan = self.plan()?;
        let device = self.device.as_ref().unwrap_or(&plan.device).clone();
        let mut draft = Draft::of(plan, &opened.model, &device, index);
        for (input, rows) in draft.inputs.iter_mut().zip(opened.prepared.inputs()) {
            if let Content::Tensor(_) | Content::Chat(_) = input.content {
                input.content = Content::Tokens(rows.tokens.clone());
            }
        }
        Ok(draft)
    }
}

/// What tells two outcomes apart.
struct Difference {
    first: String,
    other: String,
    /// The results that differ.
    parts: BTreeSet<String>,
}

/// What one order has shown.
struct Seen {
    outcome: ExploredOutcome,
    parts: BTreeMap<String, Digest>,
}

impl Seen {
    fn of(tried: &Tried) -> Self {
        Self {
            outcome: tried.outcome.clone(),
            parts: tried.parts(),
        }
    }
}

impl Difference {
    fn between(first: &Seen, other: &Seen) -> Self {
        let names = first.parts.keys().chain(other.parts.keys());
        let differs = |name: &&String| first.parts.get(*name) != other.parts.get(*name);
        Self {
            first: first.outcome.end.clone(),
            other: other.outcome.end.clone(),
            parts: names.filter(differs).cloned().collect(),
        }
    }

    /// Returns whether another difference is one like this, so that what shows it shows this one,
    /// too.
    fn is_like(&self, other: &Self) -> bool {
        let same_ends = (&self.first, &self.other) == (&other.first, &other.other);
        // How far mediators came is no part.
        let ends_tell = self.first != self.other || self.parts.is_empty();
        same_ends && (ends_tell || !self.parts.is_disjoint(&other.parts))
    }

    /// Returns whether another difference is this one: where both end otherwise, nothing else is
    /// looked at.
    fn is_same(&self, other: &Self) -> bool {
        self.is_like(other) && (self.first != self.other || self.parts == other.parts)
    }
}

/// Returns what tells the outcomes of a run apart from its first one, each once, with the outcomes.
fn differences(run: &RunFindings) -> Vec<(Difference, Vec<usize>)> {
    let classes = run.verdict.classes.iter().zip(&run.parts);
    let mut seen = classes.map(|(class, parts)| Seen {
        outcome: class.outcome.clone(),
        parts: parts.clone(),
    });
    let mut all: Vec<(Difference, Vec<usize>)> = Vec::new();
    let Some(first) = seen.next() else {
        return all;
    };
    for (place, other) in seen.enumerate() {
        let new = Difference::between(&first, &other);
        let same = all
            .iter_mut()
            .find(|(difference, _)| difference.is_same(&new));
        match same {
            Some((_, outcomes)) => outcomes.push(place + 1),
            None => all.push((new, vec![place + 1])),
        }
    }
    all
}

struct Search<'a> {
    subject: Subject,
    /// Where the tensors are that the programs are given.
    folder: PathBuf,
    exploration: &'a Exploration,
    difference: &'a Difference,
    runs: u64,
    budget: u64,
    progress: &'a mut dyn Progress,
    goes_on: &'a mut dyn FnMut(&Made) -> bool,
}

impl Search<'_> {
    /// Returns the smallest draft that was found; nothing if not even the whole one shows the
    /// difference.
    fn smallest(&mut self, whole: &Draft) -> Result<Option<Draft>, ExperimentError> {
        if !self.shows(whole) {
            return Ok(None);
        }
        let mut draft = whole.clone();
        if let Some(small) = on_the_small_model(&draft, &self.rows(&draft)?) {
            let device = device_for(&small.device, &small.runs)?;
            let subject = Subject::load(INDUCTION, &device, None, &mut |_| {})?;
            let before = std::mem::replace(&mut self.subject, subject);
            match self.shows(&small) {
                true => draft = small,
                false => self.subject = before,
            }
        }
        shrink_programme(draft, smaller, |draft| Ok(self.shows(draft))).map(Some)
    }

    fn rows(&self, draft: &Draft) -> Result<Vec<Rows>, ExperimentError> {
        let prepared = self.prepare(draft);
        let prepared = prepared.expect("it has just been run");
        Ok(prepared.into_inputs())
    }

    /// Checks a draft as the text that it is; nothing if it is no experiment.
    fn prepare(&self, draft: &Draft) -> Option<Prepared> {
        let text = draft.to_text()?;
        let plan = Plan::read("small.toml", &text, &BTreeMap::new()).ok()?;
        Prepared::new(
            plan,
            self.subject.clone(),
            &self.folder,
            Purpose::Run,
            &mut (),
        )
        .ok()
    }

    /// Returns whether the last run of a draft shows the difference.
    fn shows(&mut self, draft: &Draft) -> bool {
        if self.runs >= self.budget {
            return false;
        }
        let Some(prepared) = self.prepare(draft) else {
            return false;
        };
        let Some(givens) = self.run_earlier(&prepared) else {
            return false;
        };
        let index = prepared.runs().len() - 1;
        let left = self.budget.saturating_sub(self.runs).max(1);
        let left = left.min(self.exploration.budget());
        // The difference is one to definition order, which the first run of an exploration has.
        let first: RefCell<Option<Seen>> = RefCell::new(None);
        let is_found = RefCell::new(false);
        let (exploration, difference) = (self.exploration.clone().runs(left), self.difference);
        let explored: Result<_, ExperimentError> = exploration.explore(
            |trial: &Trial<'_>| {
                let tried = prepared.try_order(index, &givens, trial)?;
                let mut first = first.borrow_mut();
                match &*first {
                    None => *first = Some(Seen::of(&tried)),
                    Some(first) if first.outcome != tried.outcome => {
                        let here = Difference::between(first, &Seen::of(&tried));
                        *is_found.borrow_mut() |= difference.is_like(&here);
                    }
                    Some(_) => {}
                }
                Ok(tried.outcome)
            },
            |made| self.count(made) && !*is_found.borrow(),
        );
        explored.is_ok() && is_found.take()
    }

    /// Makes the runs before the last one, and returns what it is given; nothing if one fails.
    fn run_earlier(&mut self, prepared: &Prepared) -> Option<BTreeMap<String, Value>> {
        let mut givens = prepared.givens().clone();
        let (_, earlier) = prepared.runs().split_last()?;
        for plan in earlier {
            self.runs += 1;
            prepared.pass(plan, &mut givens).ok()?;
        }
        Some(givens)
    }

    /// Counts a run, and returns whether another one may be made.
    fn count(&mut self, made: &Made) -> bool {
        self.runs += 1;
        self.progress.step();
        if !(self.goes_on)(made) {
            self.budget = self.runs;
        }
        self.runs < self.budget
    }

    /// Explores the smallest draft as the file that it becomes, and finds its smallest schedule.
    fn finish(
        mut self,
        whole: &Draft,
        draft: &Draft,
        folder: Option<&Path>,
        outcomes: Vec<usize>,
    ) -> Result<Option<Shrunken>, ExperimentError> {
        let is_smallest = self.runs < self.budget;
        let run = draft.last().name.clone();
        let stem = format!("{run}.{}.small", outcomes[0] + 1);
        let draft = match folder {
            Some(folder) => {
                let draft = self.with_tensors(draft, folder, &stem)?;
                self.with_modules(draft, folder, &stem)?
            }
            None => draft.clone(),
        };
        let file = format!("{stem}.toml");
        let path = folder.unwrap_or(&self.folder).join(&file);
        // From here on the file is what a user will have, read and opened as theirs would be.
        let text = draft.to_text().expect("it has been written before");
        let mut experiment = FileExperiment::new(&path.display().to_string(), &text);
        let opened =
            experiment.open_on(self.subject.clone(), Purpose::Run, Policy::Digest, &mut ())?;
        let Some((first, other, schedule)) = self.smallest_schedule(&opened)? else {
            return Ok(None);
        };
        let granularity = self.exploration.turns();
        experiment.text = with_comment(&text, &path, &run, &schedule, granularity);
        let journals = match folder {
            Some(folder) => {
                write(&path, experiment.text.as_bytes())?;
                self.record(&experiment, &run, &schedule, folder, &stem)?
            }
            None => Vec::new(),
        };
        Ok(Some(Shrunken {
            run,
            outcomes,
            before: whole.extent(),
            after: draft.extent(),
            first,
            other,
            schedule,
            runs: self.runs,
            is_smallest,
            journals,
            experiment,
        }))
    }

    /// Records the run in both orders, as `STEM.1.ilj` and `STEM.2.ilj` in the folder.
    fn record(
        &self,
        experiment: &FileExperiment,
        run: &str,
        schedule: &Schedule,
        folder: &Path,
        stem: &str,
    ) -> Result<Vec<PathBuf>, ExperimentError> {
        // The lines of the text may have changed since it was opened.
        let opened =
            experiment.open_on(self.subject.clone(), Purpose::Run, Policy::Digest, &mut ())?;
        let granularity = self.exploration.turns();
        let in_order = Schedules {
            granularity,
            ..Schedules::default()
        };
        let orders = [in_order, Schedules::of(run, schedule, granularity)];
        let mut journals = Vec::new();
        for (number, schedules) in orders.into_iter().enumerate() {
            let journal = folder.join(format!("{stem}.{}.ilj", number + 1));
            experiment.record(&opened, run, schedules, &journal)?;
            journals.push(journal);
        }
        Ok(journals)
    }

    /// Explores an experiment, and returns the outcomes that differ as they should, with the
    /// smallest schedule for the other.
    fn smallest_schedule(
        &mut self,
        opened: &Opened,
    ) -> Result<Option<(ExploredOutcome, ExploredOutcome, Schedule)>, ExperimentError> {
        let prepared = &opened.prepared;
        let Some(givens) = self.run_earlier(prepared) else {
            return Ok(None);
        };
        let index = prepared.runs().len() - 1;
        let explored = opened.explore(index, &givens, self.exploration, &mut (), &mut |_| true)?;
        let run = explored.findings;
        self.runs += run.verdict.runs;
        let mut found = differences(&run).into_iter();
        let found = found.find(|(difference, _)| self.difference.is_like(difference));
        let Some((_, outcomes)) = found else {
            return Ok(None);
        };
        let classes = &run.verdict.classes;
        let (first, other) = (&classes[0].outcome, &classes[outcomes[0]]);
        let shrunk: Result<_, ExperimentError> = self.exploration.shrink(
            &other.witness,
            |trial| Ok(prepared.try_order(index, &givens, trial)?.outcome),
            |outcome| *outcome == other.outcome,
        );
        let Some(shrunk) = shrunk? else {
            // The same choices have led elsewhere.
            return Err(unsteady(&other.outcome).into());
        };
        self.runs += shrunk.runs;
        Ok(Some((first.clone(), shrunk.outcome, shrunk.schedule)))
    }

    /// Writes the tensors that the programs are given, and the images of the inputs, beside the
    /// file.
    fn with_tensors(
        &self,
        draft: &Draft,
        folder: &Path,
        stem: &str,
    ) -> Result<Draft, ExperimentError> {
        let prepared = self.prepare(draft).expect("it has been run before");
        let file = format!("{stem}.safetensors");
        let mut draft = draft.of_what_is_used();
        let mut tensors: BTreeMap<String, TensorData> = BTreeMap::new();
        for given in &mut draft.givens {
            if let Some(Value::Tensor(tensor)) = prepared.givens().get(&given.name) {
                given.tensor = format!("{file}#{}", given.name);
                tensors.insert(given.name.clone(), tensor.to_data());
            }
        }
        for rows in prepared.inputs() {
            let Some(images) = self.images(rows) else {
                continue;
            };
            let name = format!("pixels.{}", rows.name);
            let mut inputs = draft.inputs.iter_mut();
            if let Some(input) = inputs.find(|input| input.name == rows.name) {
                input.content = Content::Pixels(format!("{file}#{name}"));
                tensors.insert(name, images);
            }
        }
        if !tensors.is_empty() {
            let path = folder.join(&file);
            let bytes = to_safetensors(tensors.iter().map(|(name, data)| (name.as_str(), data)));
            let bytes = bytes.map_err(|reason| cannot_write(&path, reason))?;
            write(&path, &bytes)?;
        }
        Ok(draft)
    }

    /// Copies the trained modules of a draft that has no others than it uses beside the file.
    fn with_modules(
        &self,
        mut draft: Draft,
        folder: &Path,
        stem: &str,
    ) -> Result<Draft, ExperimentError> {
        for module in &mut draft.modules {
            let file = format!("{stem}.{}", module.name);
            copy_module(&self.folder.join(&module.file), &folder.join(&file))?;
            module.file = file;
        }
        Ok(draft)
    }

    /// Returns the images that the rows of an input are, `[image, channel, height, width]`.
    fn images(&self, rows: &Rows) -> Option<TensorData> {
        let Beside::Images(images) = &rows.beside else {
            return None;
        };
        let [channels, height, width] = self.subject.image().ok()?;
        let shape = [images.len(), channels, height, width];
        Some(TensorData::new(images.concat(), shape))
    }
}

fn unsteady(wanted: &ExploredOutcome) -> ScheduleError {
    ScheduleError::Unsteady {
        turn: 1,
        then: wanted.to_string(),
        now: "another outcome".to_owned(),
    }
}
