//! The static check of a program, before it is run.

use std::collections::BTreeSet;

use interloom_engine::nearest_of;

use crate::error::{Cursor, Place, ProgramError};
use crate::expr::{Condition, Expr};
use crate::known::{CheckContext, Skipped};
use crate::pass;
use crate::step::{Action, Program, ProgramStep};

/// The deepest nesting of `try`, `if` and loops.
pub const BODIES_MAX: u32 = 8;

/// The deepest nesting of expressions and conditions.
pub const DEPTH_MAX: u32 = 32;

/// The largest number of steps and expressions of a program together.
pub const SIZE_MAX: u32 = 1 << 16;

impl Program {
    /// Checks what can be known before the run: the limits, the names of sites, modules and given
    /// values, that no variable is used which cannot have a value by then, and that kinds,
    /// shapes and the order of the sites go together where they are known.
    ///
    /// A step whose kinds, shapes or order are wrong is refused only if no run can come to a good
    /// end without it; one that a branch, a loop or a stop may leave out is one of the
    /// [`doubts`](Self::doubts).
    ///
    /// # Errors
    ///
    /// What is wrong first, in the order of the steps; limits come before all else, and names
    /// before shapes.
    pub fn check<'k>(&self, known: impl Into<CheckContext<'k>>) -> Result<(), ProgramError> {
        let known = known.into();
        limits(self, known.name)?;
        let mut checker = Checker {
            known,
            set: BTreeSet::new(),
            caches: BTreeSet::new(),
            cursor: Cursor::of(self, known.name),
        };
        checker.steps(&self.steps)?;
        pass::check(self, &known)
    }

    /// Returns what cannot work if a run comes to it, and may be left out by a branch, a loop or a
    /// stop.
    ///
    /// Of a program that [`check`](Self::check) refuses, those before what is refused.
    pub fn doubts<'k>(&self, known: impl Into<CheckContext<'k>>) -> Vec<ProgramError> {
        let known = known.into();
        match limits(self, known.name) {
            Ok(()) => pass::doubts(self, &known),
            Err(_) => Vec::new(),
        }
    }
}

impl Program {
    /// Returns the skips that every run comes to, outside of branches, loops and `try`s, to be
    /// compared with those of the invokes that share the batch.
    pub fn skips<'k>(&self, known: impl Into<CheckContext<'k>>) -> Vec<Skipped> {
        let known = known.into();
        match limits(self, known.name) {
            Ok(()) => pass::skips(self, &known),
            Err(_) => Vec::new(),
        }
    }
}

/// Checks how deep and how large a program is, going no deeper than the limit.
pub(crate) fn check_limits(program: &Program) -> Result<(), ProgramError> {
    limits(program, None)
}

fn limits(program: &Program, name: Option<&str>) -> Result<(), ProgramError> {
    let mut meter = Meter {
        cursor: Cursor::of(program, name),
        size: 0,
    };
    meter.steps(&program.steps, 0)
}

struct Meter<'p> {
    cursor: Cursor<'p>,
    size: u32,
}

impl Meter<'_> {
    fn steps(&mut self, steps: &[ProgramStep], bodies: u32) -> Result<(), ProgramError> {
        for step in steps {
            self.cursor.enter(step);
            self.count(bodies, BODIES_MAX)?;
            match &step.action {
                Action::Let { value, .. }
                | Action::Write { value, .. }
                | Action::Skip { value, .. }
                | Action::Append { value, .. }
                | Action::Put { value, .. }
                | Action::Backward { loss: value } => self.expr(value, 1)?,
                Action::Try { body, .. } | Action::Each { body, .. } => {
                    self.steps(body, bodies + 1)?;
                }
                Action::If {
                    condition,
                    then,
                    otherwise,
                } => {
                    self.condition(condition, 1)?;
                    self.steps(then, bodies + 1)?;
                    self.steps(otherwise, bodies + 1)?;
                }
                Action::Save { .. }
                | Action::Stop
                | Action::Raise { .. }
                | Action::List { .. }
                | Action::Next { .. }
                | Action::Barrier { .. }
                | Action::Cache { .. }
                | Action::Mark { .. } => {}
            }
        }
        Ok(())
    }

    /// Conditions and the expressions in them count together.
    fn condition(&mut self, condition: &Condition, depth: u32) -> Result<(), ProgramError> {
        self.count(depth, DEPTH_MAX)?;
        match condition {
            Condition::Compare { left, right, .. } => {
                self.expr(left, depth + 1)?;
                self.expr(right, depth + 1)
            }
            Condition::Not(condition) => self.condition(condition, depth + 1),
            Condition::All(conditions) | Condition::Any(conditions) => {
                let mut conditions = conditions.iter();
                conditions.try_for_each(|condition| self.condition(condition, depth + 1))
            }
            Condition::IsSet(_) | Condition::Caught(_) => Ok(()),
        }
    }

    fn expr(&mut self, expr: &Expr, depth: u32) -> Result<(), ProgramError> {
        self.count(depth, DEPTH_MAX)?;
        let mut operands = expr.operands().into_iter();
        operands.try_for_each(|operand| self.expr(operand, depth + 1))
    }

    fn count(&mut self, depth: u32, depth_max: u32) -> Result<(), ProgramError> {
        self.size += 1;
        let at = || self.cursor.place();
        if depth > depth_max {
            return Err(ProgramError::TooDeep { at: at() });
        }
        match self.size > SIZE_MAX {
            true => Err(ProgramError::TooLarge { at: at() }),
            false => Ok(()),
        }
    }
}

struct Checker<'p> {
    known: CheckContext<'p>,
    /// The variables and caught errors that may have a value by now.
    set: BTreeSet<String>,
    /// The caches that may have been asked for by now.
    caches: BTreeSet<&'p str>,
    cursor: Cursor<'p>,
}

impl<'p> Checker<'p> {
    fn steps(&mut self, steps: &'p [ProgramStep]) -> Result<(), ProgramError> {
        for step in steps {
            self.cursor.enter(step);
            self.action(&step.action)?;
        }
        Ok(())
    }

    fn action(&mut self, action: &'p Action) -> Result<(), ProgramError> {
        match action {
            Action::Let { variable, value } => {
                self.expr(value)?;
                self.set.insert(variable.clone());
            }
            // What a cache collects is kept anyway.
            Action::Save { variable } if self.caches.contains(&**variable) => {}
            Action::Save { variable } => self.variable(variable)?,
            Action::Write { site, value, .. } | Action::Skip { site, value } => {
                self.expr(value)?;
                self.site(site)?;
            }
            Action::Try { body, error } => {
                self.steps(body)?;
                self.set.extend(error.clone());
            }
            Action::If {
                condition,
                then,
                otherwise,
            } => self.choose(condition, then, otherwise)?,
            Action::List { variable } => {
                self.set.insert(variable.clone());
            }
            Action::Append { list, value } => {
                self.expr(value)?;
                self.variable(list)?;
            }
            Action::Each { variable, body, .. } => {
                // What one iteration sets, the next one has from its beginning.
                self.set.insert(variable.clone());
                may_set(body, &mut self.set);
                self.steps(body)?;
            }
            Action::Barrier { name } => self.barrier(name)?,
            Action::Put { value, .. } | Action::Backward { loss: value } => self.expr(value)?,
            Action::Cache {
                name,
                modules,
                side,
                gradients,
            } => {
                self.caches.insert(name);
                let spec = side.of(modules.as_deref(), *gradients);
                spec.points(self.known.map)
                    .map_err(|name| self.unknown_site(&name))?;
            }
            Action::Stop | Action::Raise { .. } | Action::Mark { .. } | Action::Next { .. } => {}
        }
        Ok(())
    }

    /// What only one branch sets is unset in the other.
    fn choose(
        &mut self,
        condition: &Condition,
        then: &'p [ProgramStep],
        otherwise: &'p [ProgramStep],
    ) -> Result<(), ProgramError> {
        self.condition(condition)?;
        let before = self.set.clone();
        self.steps(then)?;
        let after = std::mem::replace(&mut self.set, before);
        self.steps(otherwise)?;
        self.set.extend(after);
        Ok(())
    }

    fn condition(&mut self, condition: &Condition) -> Result<(), ProgramError> {
        match condition {
            Condition::Compare { left, right, .. } => {
                self.expr(left)?;
                self.expr(right)
            }
            Condition::Not(condition) => self.condition(condition),
            Condition::All(conditions) | Condition::Any(conditions) => {
                let mut conditions = conditions.iter();
                conditions.try_for_each(|condition| self.condition(condition))
            }
            // These ask for what they do not know.
            Condition::IsSet(_) => Ok(()),
            Condition::Caught(error) => self.variable(error),
        }
    }

    fn expr(&mut self, expr: &Expr) -> Result<(), ProgramError> {
        for operand in expr.operands() {
            self.expr(operand)?;
        }
        match expr {
            Expr::Var(name) => self.variable(name),
            Expr::Given(name) => self.given(name),
            Expr::Read(site) => self.site(site),
            Expr::Module { path, .. } => self.module(path),
            Expr::Number(_)
            | Expr::Text(_)
            | Expr::Get(_)
            | Expr::Add(..)
            | Expr::Sub(..)
            | Expr::Mul(..)
            | Expr::Div(..)
            | Expr::ZerosLike(_)
            | Expr::Sum(_)
            | Expr::Mean(_)
            | Expr::Abs(_)
            | Expr::Along { .. }
            | Expr::Matmul(..)
            | Expr::Clone(_)
            | Expr::ArgmaxLast(_)
            | Expr::Slice { .. }
            | Expr::Clip { .. }
            | Expr::Patch { .. }
            | Expr::Index { .. }
            | Expr::Replace { .. }
            | Expr::Tuple(_)
            | Expr::Map(_) => Ok(()),
        }
    }

    fn variable(&self, name: &str) -> Result<(), ProgramError> {
        match self.set.contains(name) {
            true => Ok(()),
            false => Err(ProgramError::UnsetVariable {
                at: self.place(),
                name: name.to_owned(),
                nearest: nearest_of(name, self.set.iter().cloned()),
            }),
        }
    }

    fn given(&self, name: &str) -> Result<(), ProgramError> {
        match self.known.givens {
            Some(givens) if !givens.contains(&name) => Err(ProgramError::UnknownGiven {
                at: self.place(),
                name: name.to_owned(),
                nearest: nearest_of(name, givens.iter().map(ToString::to_string)),
            }),
            _ => Ok(()),
        }
    }

    fn site(&self, name: &str) -> Result<(), ProgramError> {
        match self.known.map.site(name) {
            Some(_) => Ok(()),
            None => Err(self.unknown_site(name)),
        }
    }

    fn unknown_site(&self, name: &str) -> ProgramError {
        ProgramError::UnknownSite {
            at: self.place(),
            name: name.to_owned(),
            nearest: self.known.map.nearest(name),
        }
    }

    fn barrier(&self, name: &str) -> Result<(), ProgramError> {
        match self.known.barriers {
            Some(barriers) if !barriers.contains(&name) => Err(ProgramError::UnknownBarrier {
                at: self.place(),
                name: name.to_owned(),
                nearest: nearest_of(name, barriers.iter().map(ToString::to_string)),
            }),
            _ => Ok(()),
        }
    }

    fn module(&self, path: &str) -> Result<(), ProgramError> {
        let (map, supplied) = (self.known.map, self.known.supplied);
        if map.path(path).is_some() || supplied.is_some_and(|supplied| supplied.has(path)) {
            return Ok(());
        }
        let paths = map.paths().filter(|path| !path.is_empty());
        let supplied = supplied.into_iter().flat_map(|supplied| supplied.0.names());
        Err(ProgramError::UnknownModule {
            at: self.place(),
            name: path.to_owned(),
            nearest: nearest_of(path, paths.map(str::to_owned).chain(supplied)),
        })
    }

    fn place(&self) -> Place {
        self.cursor.place()
    }
}

/// Adds every variable and caught error that the steps may give a value.
pub(crate) fn may_set(steps: &[ProgramStep], set: &mut BTreeSet<String>) {
    for ProgramStep { action, .. } in steps {
        match action {
            Action::Let { variable, .. }
            | Action::List { variable }
            | Action::Each { variable, .. } => {
                set.insert(variable.clone());
            }
            Action::Try { error, .. } => set.extend(error.clone()),
            Action::Save { .. }
            | Action::Write { .. }
            | Action::Skip { .. }
            | Action::Stop
            | Action::Raise { .. }
            | Action::If { .. }
            | Action::Append { .. }
            | Action::Next { .. }
            | Action::Barrier { .. }
            | Action::Put { .. }
            | Action::Backward { .. }
            | Action::Cache { .. }
            | Action::Mark { .. } => {}
        }
        for body in action.bodies() {
            may_set(body, set);
        }
    }
}
