//! Type checking before the run: the kinds, the shapes and the order of what a program asks for.
//!
//! The program is gone through with shapes in place of values. Where a shape is not known, because
//! a branch, a called module or the blackboard hides it, nothing is said. A step that cannot work
//! is refused if every run that comes to its end comes to this step; if a `try`, a branch, a loop,
//! a stop or another mediator may keep it from happening, it is a doubt, which is shown as a
//! warning. What passes may still fail.

mod shape;
mod sites;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use self::shape::Shape;
use self::sites::{Reached, Stand};
use crate::check::may_set;
use crate::error::{Cursor, ProgramError};
use crate::expr::Condition;
use crate::known::{CheckContext, Skipped};
use crate::step::{Action, Over, Program, ProgramStep};

/// Finds the first step that cannot work, and that no run can leave out.
pub(super) fn check(program: &Program, known: &CheckContext<'_>) -> Result<(), ProgramError> {
    Pass::of(program, known).steps(&program.steps)
}

/// Finds the steps that cannot work and may be left out, up to the first that cannot be.
pub(super) fn doubts(program: &Program, known: &CheckContext<'_>) -> Vec<ProgramError> {
    let mut pass = Pass::of(program, known);
    // What it returns is said by `check`.
    let _refused = pass.steps(&program.steps);
    pass.doubts
}

/// Finds the skips that every run comes to, in the order of the steps.
pub(super) fn skips(program: &Program, known: &CheckContext<'_>) -> Vec<Skipped> {
    let mut pass = Pass::of(program, known);
    // What it returns is said by `check`.
    let _refused = pass.steps(&program.steps);
    pass.skipped
}

struct Pass<'p> {
    known: &'p CheckContext<'p>,
    cursor: Cursor<'p>,
    variables: BTreeMap<String, Shape>,
    /// The mediator's own iteration; in a loop, that of its first round.
    iteration: Option<u32>,
    /// Whether the own iteration may be another one, when the step is done again or if a branch
    /// was taken.
    is_moving: bool,
    /// Whether the program may have changed shapes.
    is_reshaped: bool,
    /// How many `try` there are around the step: they catch what goes wrong.
    tries: u32,
    /// How many loops there are around it: they end quietly if the model does not pass what they
    /// ask for.
    loops: u32,
    /// Whether a run may come to its end without this step.
    is_doubtful: bool,
    doubts: Vec<ProgramError>,
    /// The last site of the model that a run has passed that comes here.
    reached: Option<Reached>,
    /// Where the mediator is just now.
    stand: Stand,
    /// The skips that every run comes to.
    skipped: Vec<Skipped>,
}

impl<'p> Pass<'p> {
    fn of(program: &'p Program, known: &'p CheckContext<'p>) -> Self {
        Self {
            known,
            cursor: Cursor::of(program, known.name),
            variables: BTreeMap::new(),
            iteration: Some(0),
            is_moving: false,
            is_reshaped: false,
            tries: 0,
            loops: 0,
            is_doubtful: false,
            doubts: Vec::new(),
            reached: None,
            stand: Stand::Start,
            skipped: Vec::new(),
        }
    }

    fn steps(&mut self, steps: &[ProgramStep]) -> Result<(), ProgramError> {
        for step in steps {
            self.cursor.enter(step);
            let result = self.action(&step.action);
            self.weigh(result)?;
        }
        Ok(())
    }

    /// Lets a mistake be one only if every run comes to it.
    fn weigh(&mut self, result: Result<(), ProgramError>) -> Result<(), ProgramError> {
        match result {
            Err(_) if self.tries > 0 => Ok(()),
            Err(doubt) if self.is_doubtful => {
                self.doubts.push(doubt);
                Ok(())
            }
            result => result,
        }
    }

    fn action(&mut self, action: &Action) -> Result<(), ProgramError> {
        match action {
            Action::Let { variable, value } => {
                let shape = self.expr(value);
                let kept = shape.as_ref().map_or(Shape::Unknown, Clone::clone);
                self.variables.insert(variable.clone(), kept);
                shape?;
            }
            Action::Write {
                site,
                value,
                reshape,
            } => self.write(site, value, *reshape)?,
            Action::Skip { site, value } => self.skip(site, value)?,
            Action::Put { value, .. } => self.expr(value).map(drop)?,
            Action::Append { list, value } => self.append(list, value)?,
            Action::List { variable } => drop(self.variables.insert(variable.clone(), Shape::List)),
            Action::Try { body, .. } => self.attempt(body)?,
            Action::If {
                condition,
                then,
                otherwise,
            } => self.choose(condition, then, otherwise)?,
            Action::Each {
                iterations,
                variable,
                body,
            } => self.each(iterations, variable, body)?,
            Action::Next { by } => {
                self.iteration = self.iteration.map(|own| own.saturating_add(*by));
            }
            Action::Cache {
                modules,
                side,
                gradients,
                ..
            } => self.cache(&side.of(modules.as_deref(), *gradients))?,
            Action::Backward { loss } => self.backward(loss)?,
            // Others may be somewhere else when they arrive.
            Action::Barrier { .. } => self.stand = Stand::Anywhere,
            // What follows is never done, and the run may be a good one.
            Action::Stop => self.is_doubtful = true,
            Action::Save { .. } | Action::Raise { .. } | Action::Mark { .. } => {}
        }
        Ok(())
    }

    /// How far the body comes is not known.
    fn attempt(&mut self, body: &[ProgramStep]) -> Result<(), ProgramError> {
        self.tries += 1;
        let ran = self.branch(body);
        self.tries -= 1;
        self.forget(body);
        ran
    }

    /// What one iteration leaves, the next one begins with; and there may be none.
    fn each(
        &mut self,
        iterations: &Over,
        variable: &str,
        body: &[ProgramStep],
    ) -> Result<(), ProgramError> {
        let before = (self.iteration, self.is_moving, self.is_doubtful);
        let first = self.first_round(iterations);
        self.is_doubtful |= first.is_none();
        (self.iteration, self.is_moving) = (first, true);
        self.forget(body);
        self.variables.insert(variable.to_owned(), Shape::Number);
        let reached = self.reached_place();
        self.loops += 1;
        let ran = self.steps(body);
        self.loops -= 1;
        let has_loops = body
            .iter()
            .any(|step| matches!(step.action, Action::Each { .. }));
        if self.loops == 0 && !has_loops {
            self.reach_last_round(iterations, reached, first);
        }
        self.stand = Stand::Anywhere;
        self.forget(body);
        (self.iteration, self.is_moving, self.is_doubtful) = before;
        self.is_doubtful |= stops(body);
        ran
    }

    /// Returns the first iteration of a loop if there is one in every run.
    fn first_round(&self, iterations: &Over) -> Option<u32> {
        let own = self.iteration;
        match iterations {
            Over::One(iteration) => Some(*iteration),
            Over::List(list) => list.iter().min().copied(),
            Over::Slice { start, end } => {
                let start = start.or(own)?;
                let end = match end {
                    Some(end) => Some(*end),
                    None => self.known.steps?,
                };
                end.is_none_or(|end| start < end).then_some(start)
            }
        }
    }

    /// What only one branch knows is not known after both.
    fn choose(
        &mut self,
        condition: &Condition,
        then: &[ProgramStep],
        otherwise: &[ProgramStep],
    ) -> Result<(), ProgramError> {
        self.condition(condition)?;
        let before = self.variables.clone();
        self.branch(then)?;
        let after = std::mem::replace(&mut self.variables, before);
        self.branch(otherwise)?;
        for (name, shape) in &mut self.variables {
            if after.get(name) != Some(shape) {
                *shape = Shape::Unknown;
            }
        }
        for name in after.into_keys() {
            self.variables.entry(name).or_insert(Shape::Unknown);
        }
        Ok(())
    }

    /// Goes through steps that may not be done; in a loop, in some of its rounds only.
    fn branch(&mut self, body: &[ProgramStep]) -> Result<(), ProgramError> {
        let before = (self.iteration, self.is_doubtful);
        self.is_doubtful = true;
        let ran = match self.loops {
            0 => self.steps(body),
            _ => self.in_some_round(body),
        };
        self.stand = Stand::Anywhere;
        if self.iteration != before.0 {
            (self.iteration, self.is_moving) = (None, true);
        }
        self.is_doubtful = before.1 || stops(body);
        ran
    }

    /// Goes through steps without what is known of the first round, and knows it again afterwards.
    fn in_some_round(&mut self, body: &[ProgramStep]) -> Result<(), ProgramError> {
        self.stand = Stand::Anywhere;
        let first = self.variables.clone();
        let variables = self.variables.values_mut();
        variables
            .filter(|shape| !matches!(shape, Shape::Number | Shape::List))
            .for_each(|shape| *shape = Shape::Unknown);
        let ran = self.steps(body);
        let mut set = BTreeSet::new();
        may_set(body, &mut set);
        let kept = first.into_iter().filter(|(name, _)| !set.contains(name));
        self.variables.extend(kept);
        ran
    }

    /// Forgets what is known of all that the steps may set.
    fn forget(&mut self, steps: &[ProgramStep]) {
        let mut set = BTreeSet::new();
        may_set(steps, &mut set);
        for name in set {
            self.variables.insert(name, Shape::Unknown);
        }
    }
}

/// Returns whether there is a stop among the steps, or in one of them.
fn stops(steps: &[ProgramStep]) -> bool {
    steps.iter().any(|ProgramStep { action, .. }| {
        let mut bodies = action.bodies().into_iter();
        matches!(action, Action::Stop) || bodies.any(stops)
    })
}
