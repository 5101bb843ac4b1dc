//! An experiment file under way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use interloom::Session;
use interloom::environment;
use interloom::interventions::NamedInterventions;
use interloom_backends::{Ran, Run, RunOutput, Value};
use interloom_engine::{Cached, Invoke, RunEnd};
use interloom_journal::{Digest, Tokens};
use interloom_models::record_draws;
use interloom_program::{Machine, Modules, Results};

use super::checks::{
    answers, check_loss, check_names, check_programs, check_rows, givens, inputs, modules,
    warn_of_answers,
};
use super::error::ExperimentError;
use super::estimate::Estimate;
use super::heads::warn_of_heads;
use super::kept::{as_value, leaves, value_leaves};
use super::outlook::outlooks;
use super::plan::{Content, InvokePlan, Plan, RunPlan};
use super::prompts::PromptReport;
use super::readout::{Logits, last_logits, lens, losses};
use super::report::{Generated, InvokeReport, Lens, RowReport, RunReport};
use super::rows::{Beside, RowRef, Rows};
use super::subject::Subject;
use super::{FileExperiment, Purpose, language};
use crate::Progress;

/// An experiment whose programs, inputs and tensors have been checked against its model.
pub(super) struct Prepared {
    subject: Subject,
    runs: Vec<RunPlan>,
    /// The rows of each input, with their labels.
    inputs: Vec<Rows>,
    /// Those rows that do not stand in the file.
    tokens: Tokens,
    /// The tokens of each run's answers.
    answers: Vec<Vec<u32>>,
    /// The values that programs are given: tensors of the file, and what earlier runs saved.
    givens: BTreeMap<String, Value>,
    /// The trained modules that programs call.
    modules: NamedInterventions,
    estimate: Estimate,
    /// What the prompts became.
    prompts: Vec<PromptReport>,
}

/// What a model puts out.
pub(super) enum Output {
    /// `[batch, position, token]`.
    Logits(Box<Tensor<3>>),
    /// The tokens that were generated, for each row.
    Tokens(Vec<Vec<u32>>),
}

/// A row of a batch.
struct Row<'a> {
    input: String,
    /// The invoke that owns it, by its place, and what it calls the row.
    invoke: Option<(usize, String)>,
    /// Which of the batch's inputs it is of.
    owner: usize,
    row: RowRef<'a>,
}

/// What is said of a run without an output that was not stopped.
const SERVED: &str = "this run was answered from the journal: what its caches collect, and what is read off the output of the \
                      model, is not in there";

impl Prepared {
    /// Checks everything that can be known before the first run; `folder` is where tensors are
    /// looked for.
    pub(super) fn new(
        mut plan: Plan,
        subject: Subject,
        folder: &Path,
        purpose: Purpose,
        progress: &mut dyn Progress,
    ) -> Result<Self, ExperimentError> {
        for run in &mut plan.runs {
            for invoke in &mut run.invokes {
                invoke.uses = language::resolve(&mut invoke.program, subject.sites().map());
            }
        }
        // First what can be said without the model.
        let modules = modules(&plan, &subject, folder)?;
        check_names(&plan, &subject, &modules)?;
        let inputs = inputs(&plan, &subject, folder)?;
        let answers = plan.runs.iter().map(|run| answers(&plan, run, &subject));
        let answers = answers.collect::<Result<_, ExperimentError>>()?;
        for run in &plan.runs {
            check_rows(&plan, run, &inputs, &subject)?;
        }
        let givens = givens(&plan, &subject, folder)?;
        let outlooks = outlooks(&plan, &inputs, &subject, progress)?;
        if purpose == Purpose::Run {
            for run in &plan.runs {
                check_loss(&plan, run, &inputs)?;
            }
            warn_of_answers(&plan, &subject, progress);
            warn_of_heads(&plan, &subject, &outlooks, progress);
            if subject.is_here() {
                check_programs(&plan, &subject, &outlooks, &givens, &modules, progress)?;
            }
        }
        let prompts = PromptReport::all(&plan, &inputs, &subject);
        if purpose == Purpose::Run {
            let warnings = prompts.iter().flat_map(|prompt| &prompt.warnings);
            warnings.for_each(|warning| progress.warn(warning));
            subject
                .notes()
                .iter()
                .for_each(|note| progress.remark(note));
        }
        let estimate = Estimate::of(&plan, subject.sites().map(), &inputs, &outlooks);
        drop(outlooks);
        let made = plan.inputs.iter().zip(&inputs);
        let made = made.filter(|(input, _)| !matches!(input.content, Content::Tokens(_)));
        let tokens = made.map(|(_, rows)| (rows.name.clone(), rows.tokens.clone()));
        Ok(Self {
            subject,
            tokens: tokens.collect(),
            runs: plan.runs,
            inputs,
            answers,
            givens,
            modules,
            estimate,
            prompts,
        })
    }

    /// Returns the name and digest of each input and each tensor of the file.
    pub(super) fn digests(&self) -> Vec<(String, Digest)> {
        let inputs = self.inputs.iter();
        let mut digests: Vec<(String, Digest)> = Vec::new();
        for Rows {
            name,
            tokens,
            beside,
        } in inputs
        {
            digests.push((name.clone(), environment::tokens_digest(&tokens.concat())));
            match beside {
                Beside::Nothing => {}
                Beside::Types(types) => {
                    let digest = environment::tokens_digest(&types.concat());
                    digests.push((format!("{name}.types"), digest));
                }
                Beside::Images(images) => {
                    let pixels = images.concat();
                    let shape = [images.len(), pixels.len() / images.len().max(1)];
                    let digest = environment::tensor_digest(TensorData::new(pixels, shape));
                    digests.push((format!("{name}.pixels"), digest));
                }
            }
        }
        for (name, value) in &self.givens {
            if let Value::Tensor(tensor) = value {
                let digest = environment::tensor_digest(tensor.to_data());
                digests.push((format!("${name}"), digest));
            }
        }
        digests
    }

    /// Returns what the prompts became.
    pub(super) fn prompts(&self) -> &[PromptReport] {
        &self.prompts
    }

    /// Returns the trained modules that programs call.
    pub(super) const fn interventions(&self) -> &NamedInterventions {
        &self.modules
    }

    /// Returns the tokens that cannot be had again without the model, or a file beside the
    /// experiment's.
    pub(super) const fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Makes every run, up to the one that `experiment` names if it does, or one that fails; what
    /// each shows is added to `reports`, and of one that fails what it had saved by then.
    pub(super) fn run(
        &self,
        experiment: &FileExperiment,
        session: &mut Session,
        progress: &mut dyn Progress,
        reports: &mut Vec<RunReport>,
    ) -> Result<(), ExperimentError> {
        let through = experiment.through.as_deref();
        let last = self.runs.iter().position(|run| Some(&*run.name) == through);
        let runs = last.map_or(&self.runs[..], |last| &self.runs[..=last]);
        progress.begin("running", runs.len() as u64);
        let mut givens = self.givens.clone();
        for (index, plan) in runs.iter().enumerate() {
            let (mut run, results) = self.stage(plan, &givens)?;
            experiment.schedules.prepare(&mut run)?;
            // A generation keeps keys and values between its steps.
            session.keep_passages(experiment.passages && plan.generate.is_none());
            match session.run(run, || self.output(plan)) {
                Ok(ran) => reports.push(self.report(index, &results, &ran)),
                Err(error) => {
                    let end = format!("failed ({})", error.code());
                    reports.push(self.report_of_end(index, &results, Err(end)));
                    return Err(error.into());
                }
            }
            share(plan, &results, &self.subject, &mut givens);
            progress.step();
        }
        Ok(())
    }

    pub(super) const fn estimate(&self) -> Estimate {
        self.estimate
    }

    pub(super) const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Returns the rows of each input, in the order of the file.
    pub(super) fn inputs(&self) -> &[Rows] {
        &self.inputs
    }

    pub(super) fn into_inputs(self) -> Vec<Rows> {
        self.inputs
    }

    pub(super) fn runs(&self) -> &[RunPlan] {
        &self.runs
    }

    /// Returns the values that the first run is given.
    pub(super) const fn givens(&self) -> &BTreeMap<String, Value> {
        &self.givens
    }

    /// Makes a run of its programs and what they are given, and the places of their results.
    pub(super) fn stage(
        &self,
        plan: &RunPlan,
        givens: &BTreeMap<String, Value>,
    ) -> Result<(Run, Vec<Results<Value>>), ExperimentError> {
        let mut run = Run::new(&plan.name, self.subject.sites());
        run.modules(self.modules());
        run.parameters(self.subject.parameters());
        if let Some(steps) = plan.generate {
            run.steps(steps);
        }
        let batch = self.batch(plan);
        let rows = rows_of(&batch);
        run.padding(self.subject.padding(&rows));
        for (name, participants) in &plan.barriers {
            run.barrier(name, *participants);
        }
        let mut results = Vec::with_capacity(plan.invokes.len());
        for invoke in &plan.invokes {
            let machine = self.machine(invoke, givens)?;
            results.push(machine.results());
            let mut mediator = Invoke::new(&invoke.name, machine);
            if let Some(input) = invoke.input {
                mediator = mediator.rows(self.inputs[input].tokens.len() as u32);
            }
            if invoke.optional {
                mediator = mediator.optional();
            }
            run.add(mediator);
        }
        if plan.sampling.is_some() {
            record_draws(&mut run);
        }
        Ok((run, results))
    }

    /// Makes a run in definition order, for what it saves: that is given to the runs after it.
    pub(super) fn pass(
        &self,
        plan: &RunPlan,
        givens: &mut BTreeMap<String, Value>,
    ) -> Result<(), ExperimentError> {
        let (run, results) = self.stage(plan, givens)?;
        run.execute(|| self.output(plan))?;
        share(plan, &results, &self.subject, givens);
        Ok(())
    }

    /// Calls the model on the batch of a run.
    pub(super) fn output(&self, plan: &RunPlan) -> Output {
        let batch = self.batch(plan);
        let rows = rows_of(&batch);
        match plan.generate {
            Some(new) => {
                let sampling = plan.sampling.map(|drawn| (drawn, copies(plan, &batch)));
                Output::Tokens(self.subject.generate(&rows, new, sampling))
            }
            None => Output::Logits(Box::new(self.subject.logits(&rows))),
        }
    }

    /// Returns what a run shows that has come to its end.
    pub(super) fn report(
        &self,
        index: usize,
        results: &[Results<Value>],
        ran: &Ran<Output>,
    ) -> RunReport {
        let plan = &self.runs[index];
        let mut report = self.report_of_end(index, results, Ok(ran.end.clone()));
        report.warnings = warnings_of(ran);
        match &ran.output {
            RunOutput::Completed(Output::Tokens(rows)) => {
                let mut generated = rows.iter().map(|tokens| Generated {
                    text: self.subject.text(tokens),
                    tokens: tokens.clone(),
                });
                match rows.len() {
                    1 => report.generated = generated.next(),
                    _ => report.rows = self.generated(plan, generated),
                }
            }
            RunOutput::Completed(Output::Logits(logits)) => {
                let batch = self.batch(plan);
                report.rows = self.rows(plan, &self.answers[index], &batch, logits);
            }
            RunOutput::Served => report.warnings.push(SERVED.to_owned()),
            RunOutput::Stopped => {}
        }
        report
    }

    /// Returns what a run shows that has ended like this, without an output: what its programs have
    /// saved.
    pub(super) fn report_of_end(
        &self,
        index: usize,
        results: &[Results<Value>],
        end: Result<RunEnd, String>,
    ) -> RunReport {
        let plan = &self.runs[index];
        let lenses = self.lenses(plan, results);
        let pairs = plan.invokes.iter().zip(results).enumerate();
        RunReport {
            name: plan.name.clone(),
            table: plan.table,
            each: plan.each.clone(),
            end,
            invokes: pairs
                .map(|(place, (invoke, results))| {
                    let own = lenses.iter().filter(|lens| lens.invoke == place);
                    self.invoke(invoke, results, own.map(|lens| &*lens.saved).collect())
                })
                .collect(),
            rows: Vec::new(),
            generated: None,
            lenses,
            warnings: Vec::new(),
        }
    }

    fn machine(
        &self,
        invoke: &InvokePlan,
        givens: &BTreeMap<String, Value>,
    ) -> Result<Machine<Value>, ExperimentError> {
        let machine = Machine::new(&invoke.program, self.subject.sites().map())?;
        let machine = machine.modules(self.modules());
        let uses = invoke.uses.iter();
        let given = uses.filter_map(|name| Some((name, givens.get(name)?)));
        Ok(given.fold(machine, |machine, (name, value)| {
            machine.given(name, value.clone())
        }))
    }

    /// Returns what calls the modules of the model, and those that the file names.
    fn modules(&self) -> impl Modules<Value> + use<> {
        self.modules.clone().beside(self.subject.clone())
    }

    /// Returns the rows of a run's batch.
    fn batch<'a>(&'a self, plan: &'a RunPlan) -> Vec<Row<'a>> {
        let whole = plan.batch.iter().map(|&input| (input, None));
        let own = plan.invokes.iter().enumerate();
        let own = own.filter_map(|(place, invoke)| Some((invoke.input?, Some((place, invoke)))));
        let mut batch = Vec::new();
        for (owner, (input, invoke)) in whole.chain(own).enumerate() {
            let rows = &self.inputs[input];
            for (place, row) in rows.iter().enumerate() {
                batch.push(Row {
                    input: rows.label(place),
                    invoke: invoke.map(|(own, invoke)| (own, rows.label_of(&invoke.name, place))),
                    owner,
                    row,
                });
            }
        }
        batch
    }

    /// Returns what was generated of several rows.
    fn generated(
        &self,
        plan: &RunPlan,
        generated: impl Iterator<Item = Generated>,
    ) -> Vec<RowReport> {
        let report = |(row, generated): (Row<'_>, _)| RowReport {
            generated: Some(generated),
            ..RowReport::of(row.input, row.invoke)
        };
        self.batch(plan)
            .into_iter()
            .zip(generated)
            .map(report)
            .collect()
    }

    fn rows(
        &self,
        plan: &RunPlan,
        answers: &[u32],
        batch: &[Row<'_>],
        logits: &Tensor<3>,
    ) -> Vec<RowReport> {
        let asked = &plan.report;
        let is_asked = asked.top > 0 || asked.loss_from.is_some() || !answers.is_empty();
        // A reshaping swap may have left other rows than the batch had.
        if !is_asked || logits.dims()[0] != batch.len() || logits.dims().contains(&0) {
            return Vec::new();
        }
        let rows = rows_of(batch);
        let tokens: Vec<&[u32]> = rows.iter().map(|row| row.tokens).collect();
        let longest = tokens.iter().map(|row| row.len()).max().unwrap_or(0);
        let starts = self.subject.starts(&rows);
        let losses = match asked.loss_from {
            Some((from, _)) if logits.dims()[1] == longest => {
                losses(logits, &tokens, &starts, from as usize)
            }
            _ => vec![None; tokens.len()],
        };
        let last = last_logits(logits, self.subject.ends(&rows)).into_iter();
        let last = last.zip(losses);
        let report = |(row, (last, loss)): (&Row<'_>, (Logits, _))| RowReport {
            top: last.top(asked.top, &self.subject),
            answers: last.answers(answers, &self.subject),
            loss,
            ..RowReport::of(row.input.clone(), row.invoke.clone())
        };
        batch.iter().zip(last).map(report).collect()
    }

    fn lenses(&self, plan: &RunPlan, results: &[Results<Value>]) -> Vec<Lens> {
        let count = plan.report.top.max(1);
        let batch = self.batch(plan);
        let mut lenses = Vec::new();
        for (name, _) in &plan.report.lens {
            for (place, (invoke, results)) in plan.invokes.iter().zip(results).enumerate() {
                let Some(saved) = results.get(name) else {
                    continue;
                };
                let items = lens(&saved);
                let full = match plan.invokes.len() {
                    1 => name.clone(),
                    _ => format!("{}.{name}", invoke.name),
                };
                let rows = items.iter().map(Vec::len).max().unwrap_or(0);
                for row in 0..rows {
                    let tops = items.iter().filter_map(|rows| rows.get(row));
                    let tops = tops.map(|logits| logits.top(count, &self.subject));
                    lenses.push(Lens {
                        invoke: place,
                        saved: name.clone(),
                        name: full.clone(),
                        row: (rows > 1).then(|| self.row_name(invoke, &batch, rows, row)),
                        tops: tops.collect(),
                    });
                }
            }
        }
        lenses
    }

    /// Returns what a row of something saved is called: as its input is, if there are as many as
    /// the program sees.
    fn row_name(&self, invoke: &InvokePlan, batch: &[Row<'_>], rows: usize, row: usize) -> String {
        let own = match invoke.input {
            Some(input) => {
                let own = &self.inputs[input];
                let count = own.tokens.len();
                (count == rows).then(|| own.label(row))
            }
            None if batch.len() == rows => Some(batch[row].input.clone()),
            None => None,
        };
        own.unwrap_or_else(|| format!("row {row}"))
    }

    /// Returns what an invoke has saved, of which lenses show something.
    fn invoke(
        &self,
        invoke: &InvokePlan,
        results: &Results<Value>,
        shown: BTreeSet<&str>,
    ) -> InvokeReport {
        let (mut kept, mut read_off) = (Vec::new(), Vec::new());
        for (name, datum) in &results.saved() {
            let leaves = leaves(name, datum);
            if shown.contains(&**name) {
                read_off.extend(leaves.iter().map(|(name, _)| name.clone()));
            }
            kept.extend(leaves);
        }
        for name in invoke.caches() {
            let Some(cache) = results.cache(&name) else {
                continue;
            };
            for site in cache.sites() {
                let site_name = self.subject.sites().site_name(site);
                if let Some(value) = cache.at(site) {
                    value_leaves(&format!("{name}.{site_name}"), &value, &mut kept);
                }
            }
        }
        let caught = results.caught().into_iter();
        InvokeReport {
            name: invoke.name.clone(),
            each: invoke.each.clone(),
            kept,
            read_off,
            marks: results.marks(),
            caught: caught
                .map(|(name, fault)| (name, fault.to_string()))
                .collect(),
        }
    }
}

/// Returns what the model is given of a batch.
fn rows_of<'a>(batch: &[Row<'a>]) -> Vec<RowRef<'a>> {
    batch.iter().map(|row| row.row).collect()
}

/// Returns how many rows equal to each one are before it: among those of its own invoke, whose
/// company does not matter, or of the batch.
fn copies(plan: &RunPlan, batch: &[Row<'_>]) -> Vec<u64> {
    let owner = |row: &Row<'_>| match plan.batch.is_empty() {
        true => Some(row.owner),
        false => None,
    };
    let of_row = |(at, row): (usize, &Row<'_>)| {
        let is_like =
            |other: &&Row<'_>| other.row.tokens == row.row.tokens && owner(other) == owner(row);
        batch[..at].iter().filter(is_like).count() as u64
    };
    batch.iter().enumerate().map(of_row).collect()
}

/// Lets later programs be given what a run has saved, and what its caches have collected.
pub(super) fn share(
    plan: &RunPlan,
    results: &[Results<Value>],
    subject: &Subject,
    givens: &mut BTreeMap<String, Value>,
) {
    for (name, (invoke, saved)) in plan.shares() {
        let results = &results[invoke];
        let datum = results.get(&saved).map(|datum| as_value(&datum));
        let cached = || cache_as_value(&results.cache(&saved)?, subject);
        if let Some(value) = datum.or_else(cached) {
            // The graph of a run ends with it.
            givens.insert(name, value.detached());
        }
    }
}

/// Returns what a cache has collected as a map from the names of the sites; nothing if it has
/// collected nothing, as where the model did not run.
fn cache_as_value(cache: &Cached<Value>, subject: &Subject) -> Option<Value> {
    let sites = cache.sites().into_iter();
    let entries = sites.filter_map(|site| {
        let name = subject.sites().site_name(site);
        Some((name.into(), cache.at(site)?))
    });
    let entries: Arc<[_]> = entries.collect();
    (!entries.is_empty()).then_some(Value::Map(entries))
}

/// Returns what was asked for and did not come, with whose it is.
fn warnings_of<Y>(ran: &Ran<Y>) -> Vec<String> {
    let accounts = ran.audit.mediators.iter();
    let of_mediators = accounts.flat_map(|account| {
        let notes = account.notes.iter().filter(|note| note.is_warning());
        notes.map(|note| (account.name.as_str(), note))
    });
    let of_the_run = ran.audit.notes.iter().filter(|note| note.is_warning());
    let notes = of_mediators.chain(of_the_run.map(|note| ("the run", note)));
    notes
        .map(|(name, note)| format!("{name}: {}", note.text()))
        .collect()
}
