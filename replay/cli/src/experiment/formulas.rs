//! What the programs of an experiment file compute their values from.

use std::collections::{BTreeMap, BTreeSet};

use interloom_journal::provenance::{Formula, Formulas, ReadAt};
use interloom_journal::{Event, ExchangeRecord, Head};
use interloom_program::{Action, Expr, ProgramStep};

use super::FileExperiment;
use super::plan::{InvokePlan, Plan, RunPlan};

/// The programs of an experiment file, with which values in a journal of it are followed back.
pub struct Programs {
    plan: Plan,
    text: String,
}

impl Programs {
    /// Returns the programs of the experiment file that a journal's head has; nothing if it is
    /// another experiment.
    pub fn of(head: &Head) -> Option<Self> {
        if head.experiment.name != FileExperiment::NAME {
            return None;
        }
        let experiment = FileExperiment::from_arguments(&head.experiment).ok()?;
        Some(Self {
            plan: experiment.plan().ok()?,
            text: experiment.text,
        })
    }

    fn invoke(&self, run: &str, mediator: &str) -> Option<(usize, &RunPlan, &InvokePlan)> {
        let runs = self.plan.runs.iter().enumerate();
        let (place, run) = runs.into_iter().find(|(_, other)| other.name == run)?;
        let invoke = run.invokes.iter().find(|other| other.name == mediator)?;
        Some((place, run, invoke))
    }

    /// Adds what the values from elsewhere were computed from, where an earlier run saved them.
    fn follow_givens(&self, before: usize, givens: BTreeSet<String>, formula: &mut Formula) {
        let mut next: Vec<(usize, String)> =
            givens.into_iter().map(|name| (before, name)).collect();
        let mut seen = BTreeSet::new();
        while let Some((before, name)) = next.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            // The latest earlier run that shares the name is the one whose value was given.
            let runs = self.plan.runs[..before].iter().enumerate().rev();
            let mut saves = runs.filter_map(|(place, run)| {
                let (invoke, saved) = run.shares().remove(&name)?;
                Some((place, run, &run.invokes[invoke], saved))
            });
            let Some((place, run, invoke, saved)) = saves.next() else {
                formula.givens.push(name);
                continue;
            };
            let flat = Flat::of(&invoke.program.steps);
            let is_save = |step: &&Flat<'_>| matches!(step.action, Action::Save { variable } if *variable == saved);
            let Some(save) = flat.iter().rev().find(is_save) else {
                continue;
            };
            let slice = Slice::of(&flat, save.place, BTreeSet::from([saved]));
            formula.is_exact &= slice.is_exact;
            formula
                .reads
                .extend(slice.reads(Some(&run.name), &invoke.name));
            next.extend(slice.givens.into_iter().map(|name| (place, name)));
        }
        formula.givens.sort();
    }
}

impl Formulas for Programs {
    fn formula(&self, run: &str, mediator: &str, exchange: &ExchangeRecord) -> Option<Formula> {
        let (place, _, invoke) = self.invoke(run, mediator)?;
        let line = exchange.origin.as_ref()?.line;
        let flat = Flat::of(&invoke.program.steps);
        let writes = |step: &&Flat<'_>| {
            let is_it = matches!(
                (step.action, exchange.event),
                (Action::Write { .. }, Event::Swap)
                    | (Action::Skip { .. }, Event::Skip)
                    | (Action::Put { .. }, Event::Put)
                    | (Action::Backward { .. }, Event::Backward)
            );
            is_it && step.line == Some(line)
        };
        let mut steps = flat.iter().filter(writes);
        // Two in a line cannot be distinguished.
        let step = steps.next().filter(|_| steps.next().is_none())?;
        let slice = Slice::of(&flat, step.place, BTreeSet::new());
        let source = self.text.lines().nth(line as usize - 1).unwrap_or_default();
        let mut formula = Formula {
            step: format!("{}:{line}: {}", self.plan.source.file(), source.trim()),
            reads: slice.reads(None, mediator).collect(),
            givens: Vec::new(),
            is_exact: slice.is_exact,
        };
        self.follow_givens(place, slice.givens, &mut formula);
        Some(formula)
    }
}

/// A step, and the bodies in which it stands.
struct Flat<'p> {
    place: usize,
    action: &'p Action,
    line: Option<u32>,
    /// The places of the steps whose bodies it stands in, each with the number of the body.
    within: Vec<(usize, usize)>,
    is_in_loop: bool,
}

impl<'p> Flat<'p> {
    /// Returns all steps in the order in which they are written.
    fn of(steps: &'p [ProgramStep]) -> Vec<Self> {
        let mut all = Vec::new();
        add(steps, &mut Vec::new(), false, &mut all);
        all
    }

    const fn is_loop(&self) -> bool {
        matches!(self.action, Action::Each { .. })
    }

    /// Whether this step has been made whenever the other one is.
    fn is_certain_before(&self, other: &Self) -> bool {
        other.within.starts_with(&self.within)
    }
}

fn add<'p>(
    steps: &'p [ProgramStep],
    within: &mut Vec<(usize, usize)>,
    is_in_loop: bool,
    all: &mut Vec<Flat<'p>>,
) {
    for step in steps {
        let place = all.len();
        all.push(Flat {
            place,
            action: &step.action,
            line: step.line,
            within: within.clone(),
            is_in_loop,
        });
        let is_loop = matches!(step.action, Action::Each { .. });
        for (number, body) in step.action.bodies().into_iter().enumerate() {
            within.push((place, number));
            add(body, within, is_in_loop || is_loop, all);
            within.pop();
        }
    }
}

/// What a value is computed from: the lines of reads, and the names of given values.
#[derive(Default)]
struct Slice {
    /// Each line, and whether only its last reads count, for a loop has come there before.
    lines: BTreeMap<u32, bool>,
    givens: BTreeSet<String>,
    is_exact: bool,
}

impl Slice {
    /// Goes back from a step through the variables that its value is made of.
    fn of(flat: &[Flat<'_>], end: usize, variables: BTreeSet<String>) -> Self {
        let straight = Self::straight(flat, end, variables.clone());
        straight.unwrap_or_else(|| Self::around(flat, end, variables))
    }

    /// Goes back step by step; nothing if an iteration of a loop uses what the one before it has
    /// made.
    fn straight(flat: &[Flat<'_>], end: usize, mut variables: BTreeSet<String>) -> Option<Self> {
        let mut slice = Self {
            is_exact: true,
            ..Self::default()
        };
        let last = &flat[end];
        slice.add_values(last, &mut variables);
        for step in flat[..end].iter().rev() {
            let is_certain = step.is_certain_before(last);
            if last.within.contains(&(step.place, 0)) && step.is_loop() {
                let inside = |other: &&Flat<'_>| other.within.contains(&(step.place, 0));
                let mut made = flat
                    .iter()
                    .filter(inside)
                    .filter_map(|step| assigns(step.action));
                if made.any(|name| variables.contains(name)) {
                    return None;
                }
            }
            let Some(variable) = assigns(step.action).filter(|name| variables.contains(*name))
            else {
                continue;
            };
            // Which iteration assigned it, and whether any did, is not known from the program.
            if step.is_in_loop && !is_certain {
                return None;
            }
            slice.is_exact &= is_certain;
            if is_certain && !matches!(step.action, Action::Append { .. }) {
                variables.remove(variable);
            }
            slice.add_values(step, &mut variables);
        }
        Some(slice)
    }

    /// Takes everything that a variable is ever given.
    fn around(flat: &[Flat<'_>], end: usize, mut variables: BTreeSet<String>) -> Self {
        let mut slice = Self::default();
        slice.add_values(&flat[end], &mut variables);
        let mut before = usize::MAX;
        while before != variables.len() {
            before = variables.len();
            for step in flat {
                slice.take(step, &mut variables);
            }
        }
        slice
            .lines
            .values_mut()
            .for_each(|is_latest| *is_latest = false);
        slice
    }

    /// Returns the reads of the mediator of this name, in the run of this name or in the one at
    /// hand.
    fn reads<'s>(
        &'s self,
        run: Option<&'s str>,
        mediator: &'s str,
    ) -> impl Iterator<Item = ReadAt> + 's {
        self.lines.iter().map(move |(line, is_latest)| ReadAt {
            run: run.map(str::to_owned),
            mediator: mediator.to_owned(),
            line: *line,
            is_latest: *is_latest,
        })
    }

    fn take(&mut self, step: &Flat<'_>, variables: &mut BTreeSet<String>) {
        let is_wanted = assigns(step.action).is_some_and(|name| variables.contains(name));
        if is_wanted {
            self.add_values(step, variables);
        }
    }

    fn add_values(&mut self, step: &Flat<'_>, variables: &mut BTreeSet<String>) {
        for value in step.action.values() {
            self.add(step, value, variables);
        }
    }

    fn add(&mut self, step: &Flat<'_>, value: &Expr, variables: &mut BTreeSet<String>) {
        match value {
            Expr::Read(_) | Expr::Get(_) => {
                self.lines
                    .extend(step.line.map(|line| (line, step.is_in_loop)));
            }
            Expr::Var(name) => {
                variables.insert(name.clone());
            }
            Expr::Given(name) => {
                self.givens.insert(name.clone());
            }
            _ => {}
        }
        for operand in value.operands() {
            self.add(step, operand, variables);
        }
    }
}

/// The variable that a step gives a value, or adds one to.
fn assigns(action: &Action) -> Option<&str> {
    match action {
        Action::Let { variable, .. } | Action::List { variable } => Some(variable),
        Action::Append { list, .. } => Some(list),
        _ => None,
    }
}
