//! What is known of the runs of an experiment before the first of them: what passes their sites, in
//! which order, and what their model can go on with.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use interloom_backends::Value;
use interloom_engine::Site;
use interloom_program::{CheckContext, Effects, ModelShapes, Modules, Shapes};

use super::error::ExperimentError;
use super::plan::{InvokePlan, Plan, RunPlan};
use super::rows::{RowRef, Rows};
use super::subject::Subject;
use crate::Progress;

/// How many tokens the batch of a run may have, of all rows together, to be checked with the shapes
/// of a plain pass: every activation of that pass is held at once.
const SHAPED_TOKENS_MAX: usize = 256;

/// How many different skips are tried for one batch.
const SKIPS_MAX: usize = 64;

/// What is known of one run.
pub(super) struct Outlook<'p> {
    pass: Rc<Pass<'p>>,
    /// What each invoke with an input of its own sees, in a run whose rows differ in length: what
    /// passes with that alone.
    own: BTreeMap<usize, Rc<Pass<'p>>>,
    /// What passes of so many positions as all rows have, where those of an input, or of the whole
    /// batch, differ in length.
    shortest: BTreeMap<Option<usize>, Rc<Pass<'p>>>,
    effects: Effects,
    /// How many steps the run declares.
    steps: Option<u32>,
    /// How many rows each input has.
    rows: Rc<[u32]>,
    /// Whether the batch of the pass is that of the run.
    is_sized: bool,
    /// Whether the shapes of the pass are those of the run.
    is_shaped: bool,
}

impl<'p> Outlook<'p> {
    /// Adds what is known of the run to what is known of an invoke.
    pub(super) fn of<'k>(
        &'k self,
        invoke: &InvokePlan,
        known: CheckContext<'k>,
    ) -> CheckContext<'k> {
        self.with(invoke, known, self.is_shaped)
    }

    /// Adds what is known of the run up to the first module that is skipped.
    pub(super) fn before_skips<'k>(
        &'k self,
        invoke: &InvokePlan,
        known: CheckContext<'k>,
    ) -> CheckContext<'k> {
        self.with(invoke, known, self.is_sized && !self.effects.reshapes())
    }

    /// Adds what is known of the positions that all rows of an invoke have, if they differ in
    /// length: a span that does not lie in these does not lie in one of the rows.
    pub(super) fn of_shortest<'k>(
        &'k self,
        invoke: &InvokePlan,
        known: CheckContext<'k>,
    ) -> Option<CheckContext<'k>> {
        let shortest = self.shortest.get(&invoke.input)?;
        let known = self.with_pass(shortest, known);
        self.is_shaped.then(|| known.shapes(&shortest.shapes, None))
    }

    fn with<'k>(
        &'k self,
        invoke: &InvokePlan,
        known: CheckContext<'k>,
        is_shaped: bool,
    ) -> CheckContext<'k> {
        let own = invoke.input.and_then(|input| self.own.get(&input));
        let pass = own.unwrap_or(&self.pass);
        let (shapes, known) = (&pass.shapes, self.with_pass(pass, known));
        match is_shaped {
            true if own.is_some() => known.shapes(shapes, None),
            true => known.shapes(shapes, invoke.input.map(|input| self.rows[input])),
            false => known,
        }
    }

    /// Adds what is known of the run but for the shapes.
    fn with_pass<'k>(&self, pass: &'k Pass<'p>, known: CheckContext<'k>) -> CheckContext<'k> {
        let shapes = &pass.shapes;
        let known = known.effects(self.effects).steps(self.steps);
        let known = match self.steps {
            None => known.whole_order(shapes),
            // The pass has as many steps as show what differs from step to step.
            Some(_) => known.order(shapes),
        };
        known.model(pass)
    }

    /// Returns whether a program of the run may stop it.
    pub(super) const fn stops(&self) -> bool {
        self.effects.may_stop()
    }

    /// Returns how many steps of its programs are skips.
    pub(super) const fn skips(&self) -> u32 {
        self.effects.skips()
    }

    /// Returns why the model cannot go on with a tensor of this shape in place of what a module
    /// puts out.
    ///
    /// That is not known if the batch is too large to be tried, or if a reshaping swap may put it
    /// right.
    pub(super) fn refuses(&self, input: Site, output: &[u64]) -> Option<String> {
        match self.is_sized && !self.effects.reshapes() {
            true => self.pass.skip(input, output),
            false => None,
        }
    }

    /// Returns whether invokes with inputs of their own see other shapes than those of the batch.
    pub(super) fn is_padded(&self) -> bool {
        !self.own.is_empty()
    }

    /// Returns the shapes at the sites of a plain pass of the model, which need not be those of the
    /// run.
    pub(super) fn plain(&self) -> &Shapes {
        &self.pass.shapes
    }

    /// Returns the shapes at the sites of the run, if they are known.
    pub(super) fn shapes(&self) -> Option<&Shapes> {
        self.is_shaped.then_some(&self.pass.shapes)
    }
}

/// Why the model cannot go on with an output of this shape for a module that is skipped at this
/// site, if it cannot.
type Skips = BTreeMap<(Site, Vec<u64>), Option<String>>;

/// A plain pass of the model over a batch.
struct Pass<'p> {
    subject: &'p Subject,
    batch: Vec<RowRef<'p>>,
    steps: u32,
    shapes: Shapes,
    skips: RefCell<Skips>,
}

/// Looks at what each run will pass: runs of batches of one size share a pass of the model. Without
/// the model nothing is known.
pub(super) fn outlooks<'p>(
    plan: &Plan,
    inputs: &'p [Rows],
    subject: &'p Subject,
    progress: &mut dyn Progress,
) -> Result<Vec<Outlook<'p>>, ExperimentError> {
    if !subject.is_here() {
        // The programs were checked when they were recorded.
        return Ok(Vec::new());
    }
    let rows: Rc<[u32]> = inputs.iter().map(|rows| rows.tokens.len() as u32).collect();
    let mut passes = Passes {
        subject,
        made: BTreeMap::new(),
    };
    let mut outlooks = Vec::with_capacity(plan.runs.len());
    progress.begin("checking shapes", plan.runs.len() as u64);
    for run in &plan.runs {
        progress.step();
        let (batch, is_sized) = batch_of(run, inputs);
        // The second step of a generation shows what differs from step to step.
        let steps = run.generate.unwrap_or(0).min(2);
        let (mut own, mut shortest) = (BTreeMap::new(), BTreeMap::new());
        if is_sized && let Some(cut) = cut_to_shortest(&batch) {
            shortest.insert(None, passes.over(cut, steps)?);
            for input in run.invokes.iter().filter_map(|invoke| invoke.input) {
                let rows: Vec<RowRef<'_>> = inputs[input].iter().collect();
                if let Some(cut) = cut_to_shortest(&rows) {
                    shortest.insert(Some(input), passes.over(cut, steps)?);
                }
                own.insert(input, passes.over(rows, steps)?);
            }
        }
        let pass = passes.over(batch, steps)?;
        let programs = run.invokes.iter().map(|invoke| &invoke.program);
        let effects = programs.map(Effects::of);
        let effects = effects.fold(Effects::default(), |all, effects| all | effects);
        outlooks.push(Outlook {
            own,
            shortest,
            is_sized,
            is_shaped: is_sized && (run.invokes.len() < 2 || !effects.may_reshape()),
            pass,
            effects,
            steps: run.generate,
            rows: rows.clone(),
        });
    }
    Ok(outlooks)
}

/// Returns the batch of a run, or one token or image of it if it is too large to be tried: the
/// order of the sites is the same.
fn batch_of<'p>(run: &RunPlan, inputs: &'p [Rows]) -> (Vec<RowRef<'p>>, bool) {
    let rows = run.rows();
    let rows = rows.iter().flat_map(|&input| inputs[input].iter());
    let batch: Vec<RowRef<'_>> = rows.collect();
    let longest = batch.iter().map(|row| row.len()).max().unwrap_or(0);
    match batch.len() * longest > SHAPED_TOKENS_MAX {
        false => (batch, true),
        true => (vec![batch[0].cut(1)], false),
    }
}

/// Returns as many tokens of each row as all have; nothing if they are equally long.
fn cut_to_shortest<'p>(rows: &[RowRef<'p>]) -> Option<Vec<RowRef<'p>>> {
    let length = rows.iter().map(|row| row.len()).min()?;
    let is_even = rows.iter().all(|row| row.len() == length);
    (!is_even).then(|| rows.iter().map(|row| row.cut(length)).collect())
}

/// The plain passes that were made, by the lengths of their rows and their steps.
struct Passes<'p> {
    subject: &'p Subject,
    made: BTreeMap<(Vec<usize>, u32), Rc<Pass<'p>>>,
}

impl<'p> Passes<'p> {
    fn over(
        &mut self,
        batch: Vec<RowRef<'p>>,
        steps: u32,
    ) -> Result<Rc<Pass<'p>>, ExperimentError> {
        let size = (batch.iter().map(|row| row.len()).collect(), steps);
        if let Some(pass) = self.made.get(&size) {
            return Ok(pass.clone());
        }
        let pass = Rc::new(Pass::over(batch, steps, self.subject)?);
        self.made.insert(size, pass.clone());
        Ok(pass)
    }
}

impl<'p> Pass<'p> {
    fn over(
        batch: Vec<RowRef<'p>>,
        steps: u32,
        subject: &'p Subject,
    ) -> Result<Self, ExperimentError> {
        let pass = || compute(subject, &batch, steps);
        let shapes = subject.sites().shapes(batch.len() as u32, pass)?;
        Ok(Self {
            subject,
            batch,
            steps,
            shapes,
            skips: RefCell::default(),
        })
    }
}

fn compute(subject: &Subject, batch: &[RowRef<'_>], steps: u32) {
    match steps {
        0 => drop(subject.logits(batch)),
        steps => drop(subject.generate(batch, steps, None)),
    }
}

impl ModelShapes for Pass<'_> {
    fn call(&self, path: &str, input: &[u64]) -> Option<Result<Vec<u64>, String>> {
        let shape = Modules::<Value>::shape(self.subject, path, input)?;
        Some(shape.map_err(|fault| fault.to_string()))
    }

    fn skip(&self, input: Site, output: &[u64]) -> Option<String> {
        let mut skips = self.skips.borrow_mut();
        let key = (input, output.to_vec());
        if let Some(known) = skips.get(&key) {
            return known.clone();
        }
        if skips.len() == SKIPS_MAX {
            return None;
        }
        let model = || compute(self.subject, &self.batch, self.steps);
        let (sites, device) = (self.subject.sites(), self.subject.device());
        let reason = sites.refuses(input, output, device, model);
        skips.insert(key, reason.clone());
        reason
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FileExperiment, Purpose};
    use interloom_journal::Policy;

    /// A recorded run may have failed; its replay has to fail in the same way, and not before it.
    #[test]
    fn what_is_made_again_is_not_refused_for_what_it_does() {
        let start = "model = 'induction'\n[[input]]\nname = 'a'\ntokens = [1, 2]\n";
        let run = "[[run]]\nname = 'r'\ninput = 'a'\nprogram = 'h = layers.1; g = layers.0'\n";
        let text = format!("{start}[report]\nloss_from = 1\n{run}");
        let experiment = FileExperiment::new("e.toml", &text);
        let open = |purpose| {
            let opened = experiment.open_model_for(purpose, Policy::Digest, &mut ());
            opened.map(drop).map_err(|error| error.code())
        };
        assert_eq!(open(Purpose::Run), Err("E113"));
        assert_eq!(open(Purpose::Replay), Ok(()));
    }
}
