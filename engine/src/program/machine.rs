//! The machine that steps through a program.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::check::check_limits;
use super::compile::{Code, Instruction, compile};
use super::datum::{Datum, Results};
use super::error::{ProgramError, ProgramFault};
use super::evaluate::{self, number_of, value_of};
use super::operand::{Modules, Operand};
use super::step::Program;
use crate::event::{Delivery, Request, Step};
use crate::fault::Fault;
use crate::map::SiteMap;
use crate::mediator::Mediator;

/// A program as a mediator.
///
/// It makes the exchanges of the async closure that does the same: the reads of an expression where it is evaluated, from
/// left to right, and only then the step's own request. A refusal, a shape that does not go with another, and an error of
/// the program's own are faults alike; the innermost `try` around the step catches them, or else the mediator fails at
/// the step's line.
pub struct Machine<V> {
    code: Rc<Code>,
    /// The instruction to be run next; the one before it waits for its answer.
    next: usize,
    stack: Vec<Datum<V>>,
    handlers: Vec<Handler>,
    scope: Rc<RefCell<Scope<V>>>,
    outside: Outside<V>,
}

/// A `try` that the machine is in.
struct Handler {
    end: usize,
    error: Option<String>,
    /// How many data lay on the stack before.
    height: usize,
}

/// The variables, by their slots.
struct Scope<V> {
    variables: Vec<Option<Datum<V>>>,
    /// Which of them are lists that are saved, and go on growing.
    growing: Vec<bool>,
}

/// What a program can reach beside its variables.
struct Outside<V> {
    givens: BTreeMap<String, V>,
    modules: Option<Box<dyn Modules<V>>>,
    results: Results<V>,
}

/// What comes after an instruction.
enum After<V> {
    Go,
    Ask(Request<V>),
    Stop,
}

impl<V: Operand> Machine<V> {
    /// Makes a machine for a program and the sites of the model that it will run with.
    ///
    /// Only the limits are checked here, so that an unknown site is refused where it is asked for, as it is to every
    /// mediator. [`Program::check`] finds more before the run.
    ///
    /// # Errors
    ///
    /// [`ProgramError::TooDeep`] and [`ProgramError::TooLarge`].
    pub fn new(program: &Program, map: &SiteMap) -> Result<Self, ProgramError> {
        check_limits(program)?;
        let code = compile(program, map);
        let scope = Scope {
            variables: vec![None; code.variables.len()],
            growing: vec![false; code.variables.len()],
        };
        Ok(Self {
            code,
            next: 0,
            stack: Vec::new(),
            handlers: Vec::new(),
            scope: Rc::new(RefCell::new(scope)),
            outside: Outside {
                givens: BTreeMap::new(),
                modules: None,
                results: Results::new(),
            },
        })
    }

    /// Gives the program a value from outside.
    pub fn given(mut self, name: impl Into<String>, value: V) -> Self {
        self.outside.givens.insert(name.into(), value);
        self
    }

    /// Gives the program modules to call.
    pub fn modules(mut self, modules: impl Modules<V> + 'static) -> Self {
        self.outside.modules = Some(Box::new(modules));
        self
    }

    /// Lets the machine share the results of others in its run.
    pub fn share_results(mut self, results: Results<V>) -> Self {
        self.outside.results = results;
        self
    }

    /// Returns where the results will be.
    pub fn results(&self) -> Results<V> {
        self.outside.results.clone()
    }

    /// Takes the answer to the last request.
    fn take(&mut self, delivery: Delivery<V>) -> Result<(), Fault> {
        match delivery {
            Delivery::Start | Delivery::Done => Ok(()),
            Delivery::Value(value) => {
                self.stack.push(Datum::Value(value));
                Ok(())
            }
            Delivery::Refused(fault) => Err(fault),
        }
    }

    /// Lets the innermost `try` have the fault, if there is one.
    fn catch(&mut self, fault: Fault) -> Result<(), Fault> {
        let Some(handler) = self.handlers.pop() else {
            return Err(fault);
        };
        self.stack.truncate(handler.height);
        self.next = handler.end;
        if let Some(error) = &handler.error {
            self.outside.results.catch(error, fault);
        }
        Ok(())
    }

    fn execute(&mut self, instruction: &Instruction) -> Result<After<V>, Fault> {
        match instruction {
            Instruction::Read(target) => {
                let target = target.clone();
                return Ok(After::Ask(Request::Value { target }));
            }
            Instruction::Swap { target, reshape } => {
                let (target, reshape) = (target.clone(), *reshape);
                let value = value_of("a write", self.pop())?;
                return Ok(After::Ask(Request::Swap {
                    target,
                    value,
                    reshape,
                }));
            }
            Instruction::Skip(target) => {
                let target = target.clone();
                let value = value_of("a skip", self.pop())?;
                return Ok(After::Ask(Request::Skip { target, value }));
            }
            Instruction::Stop => return Ok(After::Stop),
            Instruction::Raise(message) => return Err(Fault::Raised(message.clone())),
            Instruction::Mark(text) => self.outside.results.mark(text),
            Instruction::Try { end, error } => self.handlers.push(Handler {
                end: *end,
                error: error.clone(),
                height: self.stack.len(),
            }),
            Instruction::LeaveTry => drop(self.handlers.pop()),
            Instruction::Jump(end) => self.next = *end,
            Instruction::JumpUnless(end) => {
                if !self.pop_truth() {
                    self.next = *end;
                }
            }
            Instruction::Store(slot) => {
                let datum = self.pop();
                self.store(*slot, datum);
            }
            Instruction::Save(slot) => self.save(*slot)?,
            Instruction::List(slot) => self.store(*slot, Datum::List(Rc::new(Vec::new()))),
            Instruction::Append(slot) => self.append(*slot)?,
            other => self.evaluate(other)?,
        }
        Ok(After::Go)
    }

    /// Runs an instruction that only moves data on the stack.
    fn evaluate(&mut self, instruction: &Instruction) -> Result<(), Fault> {
        let datum = match instruction {
            Instruction::Load(slot) => self.load(*slot)?,
            Instruction::Given(name) => {
                let value = self.outside.givens.get(name).cloned();
                Datum::Value(value.ok_or_else(|| ProgramFault::NotGiven(name.clone()))?)
            }
            Instruction::Module(path) => {
                let input = value_of("a call", self.pop())?;
                let modules = self.outside.modules.as_ref();
                let modules = modules.ok_or_else(|| ProgramFault::NoModules(path.clone()))?;
                Datum::Value(modules.call(path, input)?)
            }
            Instruction::Compare(is) => {
                let (right, left) = (number_of(self.pop())?, number_of(self.pop())?);
                truth(is.holds(left, right))
            }
            Instruction::Not => truth(!self.pop_truth()),
            Instruction::IsSet(slot) => truth(self.scope.borrow().variables[*slot].is_some()),
            Instruction::Caught(error) => truth(self.outside.results.has_caught(error)),
            pure => evaluate::pure(pure, &mut self.stack)?,
        };
        self.stack.push(datum);
        Ok(())
    }

    fn load(&self, slot: usize) -> Result<Datum<V>, ProgramFault> {
        let scope = self.scope.borrow();
        let datum = scope.variables[slot].clone();
        datum.ok_or_else(|| ProgramFault::Unset(self.code.variables[slot].clone()))
    }

    fn store(&self, slot: usize, datum: Datum<V>) {
        let mut scope = self.scope.borrow_mut();
        scope.variables[slot] = Some(datum);
        scope.growing[slot] = false;
    }

    fn save(&self, slot: usize) -> Result<(), ProgramFault> {
        let datum = self.load(slot)?;
        self.scope.borrow_mut().growing[slot] = matches!(datum, Datum::List(_));
        self.outside.results.save(&self.code.variables[slot], datum);
        Ok(())
    }

    fn append(&mut self, slot: usize) -> Result<(), ProgramFault> {
        let item = match self.pop() {
            list @ Datum::List(_) => return Err(kind("a list", "numbers and values", &list)),
            item => item,
        };
        let mut scope = self.scope.borrow_mut();
        let name = &self.code.variables[slot];
        match &mut scope.variables[slot] {
            Some(Datum::List(items)) => Rc::make_mut(items).push(item.clone()),
            Some(other) => return Err(kind("an append", "a list", other)),
            None => return Err(ProgramFault::Unset(name.clone())),
        }
        if scope.growing[slot] {
            self.outside.results.extend(name, item);
        }
        Ok(())
    }

    fn pop(&mut self) -> Datum<V> {
        evaluate::pop(&mut self.stack)
    }

    fn pop_truth(&mut self) -> bool {
        matches!(self.pop(), Datum::Number(number) if number != 0.0)
    }
}

impl<V: Operand> Mediator<V> for Machine<V> {
    fn resume(mut self: Box<Self>, delivery: Delivery<V>) -> Step<V> {
        let code = self.code.clone();
        let mut after = self.take(delivery).map(|()| After::Go);
        loop {
            let at = self.next.saturating_sub(1);
            match after {
                Ok(After::Go) => {}
                Ok(After::Stop) => {
                    let origin = code.origin(at);
                    return Step::Stop { origin };
                }
                Ok(After::Ask(request)) => {
                    return Step::Ask {
                        request,
                        origin: code.origin(at),
                        rest: self,
                    };
                }
                Err(fault) => {
                    if let Err(fault) = self.catch(fault) {
                        let origin = code.origin(at);
                        return Step::Fail { fault, origin };
                    }
                }
            }
            let Some(instruction) = code.instructions.get(self.next) else {
                return Step::End;
            };
            self.next += 1;
            after = self.execute(instruction);
        }
    }
}

fn truth<V>(holds: bool) -> Datum<V> {
    Datum::Number(f64::from(u8::from(holds)))
}

fn kind<V>(place: &'static str, expected: &'static str, found: &Datum<V>) -> ProgramFault {
    ProgramFault::Kind {
        place,
        expected,
        found: found.kind(),
    }
}
