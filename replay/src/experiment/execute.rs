//! An experiment file under way.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use burn::tensor::Tensor;
use interloom_backends::{Ran, Run, Value};
use interloom_engine::program::{Known, Machine, Modules as _, Results, Shapes};
use interloom_engine::{Invoke, Note, RunEnd};

use super::error::ExperimentError;
use super::kept::{as_value, leaves, value_leaves};
use super::plan::{Content, Input, InvokePlan, Plan, RunPlan};
use super::readout::{Logits, last_logits, lens, losses};
use super::report::{Generated, InvokeReport, Lens, RowReport, RunReport};
use super::schedules::Schedules;
use super::subject::Subject;
use super::{language, tensors};
use crate::environment;
use crate::error::Error;
use crate::experiments::Progress;
use crate::journal::Digest;
use crate::session::{Session, tensor_parts};

/// An experiment whose programs, inputs and tensors have been checked against its model.
pub(super) struct Prepared {
    subject: Subject,
    runs: Vec<RunPlan>,
    /// The rows of each input, with their labels.
    inputs: Vec<Rows>,
    /// The tokens of each run's answers.
    answers: Vec<Vec<u32>>,
    /// The values that programs are given: tensors of the file, and what earlier runs saved.
    givens: BTreeMap<String, Value>,
}

/// What a model puts out.
pub(super) enum Output {
    /// `[batch, position, token]`.
    Logits(Box<Tensor<3>>),
    /// The tokens that were generated.
    Tokens(Vec<u32>),
}

/// The rows of one input.
struct Rows {
    name: String,
    tokens: Vec<Vec<u32>>,
}

/// How many tokens the batch of a run may have, of all rows together, to be checked with the shapes of a plain pass: every
/// activation of that pass is held at once.
const SHAPED_TOKENS_MAX: usize = 256;

/// A row of a batch.
struct Row<'a> {
    input: String,
    invoke: Option<String>,
    tokens: &'a [u32],
}

impl Prepared {
    /// Checks everything that can be known before the first run; `folder` is where tensors are looked for.
    pub(super) fn new(
        mut plan: Plan,
        subject: Subject,
        folder: &Path,
        progress: &mut dyn Progress,
    ) -> Result<Self, Error> {
        for run in &mut plan.runs {
            for invoke in &mut run.invokes {
                invoke.uses = language::resolve(&mut invoke.program, subject.sites().map());
            }
        }
        // First what can be said without the model.
        check_programs(&plan, &subject, &[])?;
        let inputs = inputs(&plan, &subject, folder)?;
        let answers = plan.runs.iter().map(|run| answers(&plan, run, &subject));
        let answers = answers.collect::<Result<_, ExperimentError>>()?;
        for run in &plan.runs {
            check_rows(&plan, run, &inputs, &subject)?;
        }
        let shapes = shapes(&plan, &inputs, &subject, progress)?;
        check_programs(&plan, &subject, &shapes)?;
        let mut givens = BTreeMap::new();
        for given in &plan.givens {
            let value = tensors::floats(folder, &given.tensor, subject.device());
            let value = value.map_err(|reason| ExperimentError::Tensor {
                at: plan.source.spot(given.at),
                tensor: given.tensor.clone(),
                reason,
            })?;
            givens.insert(given.name.clone(), value);
        }
        Ok(Self {
            subject,
            runs: plan.runs,
            inputs,
            answers,
            givens,
        })
    }

    /// Returns the name and digest of each input and each tensor of the file.
    pub(super) fn digests(&self) -> Vec<(String, Digest)> {
        let inputs = self.inputs.iter();
        let mut digests: Vec<(String, Digest)> = inputs
            .map(|rows| {
                (
                    rows.name.clone(),
                    environment::tokens_digest(&rows.tokens.concat()),
                )
            })
            .collect();
        for (name, value) in &self.givens {
            if let Value::Tensor(tensor) = value {
                let (dtype, shape, data) = tensor_parts(tensor.to_data());
                let digest = Digest::of_tensor(dtype, &shape, data.as_bytes());
                digests.push((format!("${name}"), digest));
            }
        }
        digests
    }

    /// Makes every run, up to the one that is named if there is one.
    pub(super) fn run(
        &self,
        schedules: &Schedules,
        through: Option<&str>,
        session: &mut Session,
        progress: &mut dyn Progress,
    ) -> Result<Vec<RunReport>, Error> {
        let last = self.runs.iter().position(|run| Some(&*run.name) == through);
        let runs = last.map_or(&self.runs[..], |last| &self.runs[..=last]);
        progress.begin("running", runs.len() as u64);
        let mut givens = self.givens.clone();
        let mut reports = Vec::with_capacity(runs.len());
        for (index, plan) in runs.iter().enumerate() {
            let (mut run, results) = self.stage(plan, &givens)?;
            schedules.prepare(&mut run)?;
            let ran = session.run(run, || self.output(plan))?;
            reports.push(self.report(index, &results, &ran));
            share(plan, &results, &mut givens);
            progress.step();
        }
        Ok(reports)
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
    ) -> Result<(Run, Vec<Results<Value>>), Error> {
        let mut run = Run::new(&plan.name, self.subject.sites());
        if let Some(steps) = plan.generate {
            run.steps(steps);
        }
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
        Ok((run, results))
    }

    /// Calls the model on the batch of a run.
    pub(super) fn output(&self, plan: &RunPlan) -> Output {
        let batch = self.batch(plan);
        let rows: Vec<&[u32]> = batch.iter().map(|row| row.tokens).collect();
        match plan.generate {
            Some(new) => Output::Tokens(self.subject.generate(rows[0], new)),
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
        let mut report = self.report_of_failure(index, results, end_of(ran));
        report.warnings = warnings_of(ran);
        match &ran.output {
            Some(Output::Tokens(tokens)) => {
                report.generated = Some(Generated {
                    text: self.subject.text(tokens),
                    tokens: tokens.clone(),
                });
            }
            Some(Output::Logits(logits)) => {
                let batch = self.batch(plan);
                report.rows = self.rows(plan, &self.answers[index], &batch, logits);
            }
            None => {}
        }
        report
    }

    /// Returns what a run shows that has ended like this, without an output: what its programs have saved.
    pub(super) fn report_of_failure(
        &self,
        index: usize,
        results: &[Results<Value>],
        end: String,
    ) -> RunReport {
        let plan = &self.runs[index];
        let pairs = plan.invokes.iter().zip(results);
        RunReport {
            name: plan.name.clone(),
            end,
            invokes: pairs
                .map(|(invoke, results)| self.invoke(invoke, results))
                .collect(),
            rows: Vec::new(),
            generated: None,
            lenses: self.lenses(plan, results),
            warnings: Vec::new(),
        }
    }

    fn machine(
        &self,
        invoke: &InvokePlan,
        givens: &BTreeMap<String, Value>,
    ) -> Result<Machine<Value>, Error> {
        let subject = self.subject.clone();
        let machine = Machine::new(&invoke.program, self.subject.sites().map())?;
        let machine = machine.modules(move |path: &str, input: Value| subject.call(path, input));
        let uses = invoke.uses.iter();
        let given = uses.filter_map(|name| Some((name, givens.get(name)?)));
        Ok(given.fold(machine, |machine, (name, value)| {
            machine.given(name, value.clone())
        }))
    }

    /// Returns the rows of a run's batch.
    fn batch<'a>(&'a self, plan: &'a RunPlan) -> Vec<Row<'a>> {
        let whole = plan.batch.iter().map(|&input| (input, None));
        let own = plan.invokes.iter();
        let own = own.filter_map(|invoke| Some((invoke.input?, Some(invoke.name.as_str()))));
        let mut batch = Vec::new();
        for (input, invoke) in whole.chain(own) {
            let rows = &self.inputs[input];
            for (place, tokens) in rows.tokens.iter().enumerate() {
                let label = |name: &str| match rows.tokens.len() {
                    1 => name.to_owned(),
                    _ => format!("{name}.{place}"),
                };
                batch.push(Row {
                    input: label(&rows.name),
                    invoke: invoke.map(label),
                    tokens,
                });
            }
        }
        batch
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
        let tokens: Vec<&[u32]> = batch.iter().map(|row| row.tokens).collect();
        let losses = match asked.loss_from {
            Some(from) if logits.dims()[1] == tokens[0].len() => {
                losses(logits, &tokens, from as usize)
            }
            _ => vec![None; tokens.len()],
        };
        let last = last_logits(logits).into_iter().zip(losses);
        let report = |(row, (last, loss)): (&Row<'_>, (Logits, _))| RowReport {
            input: row.input.clone(),
            invoke: row.invoke.clone(),
            top: last.top(asked.top, &self.subject),
            answers: last.answers(answers, &self.subject),
            loss,
        };
        batch.iter().zip(last).map(report).collect()
    }

    fn lenses(&self, plan: &RunPlan, results: &[Results<Value>]) -> Vec<Lens> {
        let count = plan.report.top.max(1);
        let mut lenses = Vec::new();
        for (name, _) in &plan.report.lens {
            for (invoke, results) in plan.invokes.iter().zip(results) {
                let Some(saved) = results.get(name) else {
                    continue;
                };
                let tops = lens(&saved);
                let tops = tops.iter().map(|logits| logits.top(count, &self.subject));
                let name = match plan.invokes.len() {
                    1 => name.clone(),
                    _ => format!("{}.{name}", invoke.name),
                };
                lenses.push(Lens {
                    name,
                    tops: tops.collect(),
                });
            }
        }
        lenses
    }

    fn invoke(&self, invoke: &InvokePlan, results: &Results<Value>) -> InvokeReport {
        let saved = results.saved();
        let mut kept: Vec<_> = saved
            .iter()
            .flat_map(|(name, datum)| leaves(name, datum))
            .collect();
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
            kept,
            marks: results.marks(),
            caught: caught
                .map(|(name, fault)| (name, fault.to_string()))
                .collect(),
        }
    }
}

/// Lets later programs be given what a run has saved.
pub(super) fn share(
    plan: &RunPlan,
    results: &[Results<Value>],
    givens: &mut BTreeMap<String, Value>,
) {
    for (name, (invoke, saved)) in plan.shares() {
        if let Some(datum) = results[invoke].get(&saved) {
            givens.insert(name, as_value(&datum));
        }
    }
}

/// Checks every program, with the names that it is given by then and, where they are known, the shapes at its run's sites.
fn check_programs(
    plan: &Plan,
    subject: &Subject,
    shapes: &[Option<KnownShapes>],
) -> Result<(), Error> {
    let map = subject.sites().map();
    let mut given: Vec<String> = plan.givens.iter().map(|given| given.name.clone()).collect();
    let mut known_by = Vec::with_capacity(plan.runs.len());
    for run in &plan.runs {
        known_by.push(given.len());
        given.extend(run.shares().into_keys());
    }
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    for (index, run) in plan.runs.iter().enumerate() {
        let names = &given[..known_by[index]];
        let barriers: Vec<&str> = run.barriers.iter().map(|(name, _)| name.as_str()).collect();
        let shapes = shapes.get(index).and_then(Option::as_ref);
        for invoke in &run.invokes {
            let mut known = Known::of(map).givens(names).barriers(&barriers);
            if let Some(shapes) = shapes {
                known = known.shapes(&shapes.all, invoke.input.map(|input| shapes.rows[input]));
            }
            invoke.program.check(known)?;
        }
    }
    Ok(())
}

/// What passes the sites in a plain pass over a run's batch, and how many rows each input has.
struct KnownShapes {
    all: Rc<Shapes>,
    rows: Vec<u32>,
}

/// Returns the shapes at the sites of each run that is checked with them.
///
/// Runs of batches of one size share a pass of the model.
fn shapes(
    plan: &Plan,
    inputs: &[Rows],
    subject: &Subject,
    progress: &mut dyn Progress,
) -> Result<Vec<Option<KnownShapes>>, Error> {
    let count: Vec<u32> = inputs.iter().map(|rows| rows.tokens.len() as u32).collect();
    let mut passes: BTreeMap<(usize, usize, u32), Rc<Shapes>> = BTreeMap::new();
    let mut shapes = Vec::with_capacity(plan.runs.len());
    progress.begin("checking shapes", plan.runs.len() as u64);
    for run in &plan.runs {
        progress.step();
        let batch = run.rows();
        let batch = batch.iter().flat_map(|&input| &inputs[input].tokens);
        let batch: Vec<&[u32]> = batch.map(Vec::as_slice).collect();
        // The second step of a generation shows what differs from step to step.
        let steps = run.generate.unwrap_or(0).min(2);
        let size = (batch.len(), batch[0].len(), steps);
        if !run.is_shaped_as_plain() || size.0 * size.1 > SHAPED_TOKENS_MAX {
            shapes.push(None);
            continue;
        }
        let all = match passes.get(&size) {
            Some(shapes) => shapes.clone(),
            None => {
                let pass = || match steps {
                    0 => drop(subject.logits(&batch)),
                    steps => drop(subject.generate(batch[0], steps)),
                };
                let found = Rc::new(subject.sites().shapes(size.0 as u32, pass)?);
                passes.insert(size, found.clone());
                found
            }
        };
        let rows = count.clone();
        shapes.push(Some(KnownShapes { all, rows }));
    }
    Ok(shapes)
}

fn inputs(plan: &Plan, subject: &Subject, folder: &Path) -> Result<Vec<Rows>, ExperimentError> {
    let rows = |input: &Input| {
        let at = || plan.source.spot(input.at);
        let tokens = match &input.content {
            Content::Tokens(rows) => rows.clone(),
            Content::Prompt(prompt) => {
                let tokens = subject.encode(prompt);
                vec![tokens.map_err(|reason| ExperimentError::Input { at: at(), reason })?]
            }
            Content::Tensor(tensor) => {
                tensors::rows(folder, tensor).map_err(|reason| ExperimentError::Tensor {
                    at: at(),
                    tensor: tensor.clone(),
                    reason,
                })?
            }
        };
        let name = input.name.clone();
        Ok(Rows { name, tokens })
    };
    plan.inputs.iter().map(rows).collect()
}

fn answers(plan: &Plan, run: &RunPlan, subject: &Subject) -> Result<Vec<u32>, ExperimentError> {
    let answers = run.report.answers.iter();
    let token = |(text, at): &(String, usize)| {
        subject
            .single(text)
            .map_err(|reason| ExperimentError::Input {
                at: plan.source.spot(*at),
                reason,
            })
    };
    answers.map(token).collect()
}

/// Checks that the rows of a run can be a batch of the model.
fn check_rows(
    plan: &Plan,
    run: &RunPlan,
    inputs: &[Rows],
    subject: &Subject,
) -> Result<(), ExperimentError> {
    let rows = run.rows();
    let rows: Vec<&[u32]> = rows
        .iter()
        .flat_map(|&input| inputs[input].tokens.iter().map(Vec::as_slice))
        .collect();
    let new = run.generate.unwrap_or(0) as usize;
    let reason = match (run.generate, rows.len()) {
        (Some(_), count @ 2..) => Err(format!(
            "a generation continues one row, and the run `{}` has {count}; make a run for each",
            run.name
        )),
        _ => subject.check(&rows, new),
    };
    reason.map_err(|reason| ExperimentError::Input {
        at: plan.source.spot(run.at),
        reason,
    })
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
    let text = |(name, note): (&str, &Note)| {
        let note = note.to_string();
        format!(
            "{name}: {}",
            note.strip_prefix("warning: ").unwrap_or(&note)
        )
    };
    notes.map(text).collect()
}

fn end_of<Y>(ran: &Ran<Y>) -> String {
    match &ran.end {
        RunEnd::Completed => "completed".to_owned(),
        RunEnd::Stopped { by, at: Some(at) } => format!("stopped by `{by}` at `{at}`"),
        RunEnd::Stopped { by, at: None } => format!("stopped by `{by}` before the model ran"),
    }
}
