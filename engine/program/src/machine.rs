//! The machine that steps through a program.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use interloom_engine::{
    CacheSpec, Cached, Delivery, Fault, Mediator, Point, ProgramFault, Request, Round, SiteMap,
    Step,
};

use crate::check::check_limits;
use crate::compile::{Ask, Code, Instruction, Push, compile};
use crate::datum::{Datum, Results, Ticket};
use crate::error::ProgramError;
use crate::evaluate::{self, check_nested, items_of, number_of, part_of, value_of};
use crate::operand::{Modules, Operand};
use crate::ragged::Mark;
use crate::step::Program;

/// A program as a mediator.
///
/// It makes the exchanges of the async closure that does the same: the reads of an expression where
/// it is evaluated, from left to right, and only then the step's own request. A refusal, a shape
/// that does not go with another, and an error of the program's own are faults alike; the innermost
/// `try` around the step catches them, or else the mediator fails at the step's line.
pub struct Machine<V> {
    code: Rc<Code>,
    /// The instruction to be run next; the one before it waits for its answer.
    next: usize,
    stack: Vec<Datum<V>>,
    handlers: Vec<Handler>,
    /// The loop whose child runs, while one does.
    turns: Option<Turns>,
    /// The mediator's own iteration.
    iteration: u32,
    /// What the children of loops share with their parent.
    scope: Rc<RefCell<Scope<V>>>,
    outside: Rc<Outside<V>>,
}

/// A loop that the machine is in.
struct Turns {
    rounds: Box<dyn Iterator<Item = (u32, Round)>>,
    /// The variable that holds the iteration.
    slot: usize,
    end: usize,
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
    /// Which of them are lists that are saved, and keep growing.
    growing: Vec<Option<Ticket>>,
    /// The names of the errors that were caught.
    caught: BTreeSet<String>,
}

/// What a program can reach beside its variables.
struct Outside<V> {
    map: Arc<SiteMap>,
    givens: BTreeMap<String, V>,
    modules: Option<Box<dyn Modules<V>>>,
    results: Results<V>,
}

/// What comes after an instruction.
enum After<V> {
    Go,
    Ask(Request<V>),
    Next(u32),
    Cache(CacheSpec, Cached<V>),
    Stop,
    End,
}

impl<V: Operand> Machine<V> {
    /// Makes a machine for a program and the sites of the model that it will run with.
    ///
    /// Only the limits are checked here, so that an unknown site is refused where it is asked for,
    /// as it is to every mediator. [`Program::check`] finds more before the run.
    ///
    /// # Errors
    ///
    /// [`ProgramError::TooDeep`] and [`ProgramError::TooLarge`].
    pub fn new(program: &Program, map: &Arc<SiteMap>) -> Result<Self, ProgramError> {
        check_limits(program)?;
        let code = compile(program, map);
        let scope = Scope {
            variables: vec![None; code.variables.len()],
            growing: vec![None; code.variables.len()],
            caught: BTreeSet::new(),
        };
        Ok(Self {
            code,
            next: 0,
            stack: Vec::new(),
            handlers: Vec::new(),
            turns: None,
            iteration: 0,
            scope: Rc::new(RefCell::new(scope)),
            outside: Rc::new(Outside {
                map: map.clone(),
                givens: BTreeMap::new(),
                modules: None,
                results: Results::new(),
            }),
        })
    }

    /// Gives the program a value from outside.
    pub fn given(mut self, name: impl Into<String>, value: V) -> Self {
        self.outside_mut().givens.insert(name.into(), value);
        self
    }

    /// Gives the program modules to call.
    pub fn modules(mut self, modules: impl Modules<V> + 'static) -> Self {
        self.outside_mut().modules = Some(Box::new(modules));
        self
    }

    /// Lets the machine share the results of others in its run.
    pub fn share_results(mut self, results: Results<V>) -> Self {
        self.outside_mut().results = results;
        self
    }

    /// Returns where the results will be.
    pub fn results(&self) -> Results<V> {
        self.outside.results.clone()
    }

    fn outside_mut(&mut self) -> &mut Outside<V> {
        Rc::get_mut(&mut self.outside).expect("shared with children only once it runs")
    }

    /// Takes the answer to the last request.
    fn take(&mut self, delivery: Delivery<V>) -> Result<After<V>, Fault> {
        match delivery {
            Delivery::Done if self.turns.is_some() => return Ok(self.turn()),
            Delivery::Start | Delivery::Done => {}
            Delivery::Over => self.leave_loop(),
            Delivery::Refused(fault) if fault.is_beyond_steps() => self.leave_loop(),
            Delivery::Value(value) => self.stack.push(Datum::Value(value)),
            Delivery::Refused(fault) => {
                self.turns = None;
                return Err(fault);
            }
        }
        Ok(After::Go)
    }

    /// Hands control to a child for the next iteration of the loop, if there is one.
    fn turn(&mut self) -> After<V> {
        let next = self.turns.as_mut().and_then(|turns| {
            let round = turns.rounds.next()?;
            Some((turns.slot, round))
        });
        let Some((slot, (iteration, round))) = next else {
            self.leave_loop();
            return After::Go;
        };
        self.store(slot, Datum::Number(f64::from(iteration)));
        let child = Self {
            code: self.code.clone(),
            next: self.next,
            stack: Vec::new(),
            handlers: Vec::new(),
            turns: None,
            iteration,
            scope: self.scope.clone(),
            outside: self.outside.clone(),
        };
        After::Ask(Request::Register {
            child: Box::new(child),
            iteration: Some(iteration),
            round,
        })
    }

    fn leave_loop(&mut self) {
        if let Some(turns) = self.turns.take() {
            self.next = turns.end;
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
            self.scope.borrow_mut().caught.insert(error.clone());
            self.outside.results.catch(error, fault);
        }
        Ok(())
    }

    fn execute(&mut self, instruction: &Instruction) -> Result<After<V>, Fault> {
        // What the interleaver has to answer is returned; all else is done at once.
        match instruction {
            Instruction::Ask(ask) => return Ok(After::Ask(self.request(ask)?)),
            Instruction::Each {
                iterations,
                slot,
                end,
            } => {
                self.turns = Some(Turns {
                    rounds: Box::new(iterations.clone().rounds(self.iteration)),
                    slot: *slot,
                    end: *end,
                });
                return Ok(self.turn());
            }
            Instruction::EndEach => return Ok(After::End),
            Instruction::Next(by) => {
                self.iteration = self.iteration.saturating_add(*by);
                return Ok(After::Next(*by));
            }
            Instruction::Cache { name, spec } => {
                let cached = Cached::new(self.outside.map.clone());
                self.outside.results.declare_cache(name, cached.clone());
                return Ok(After::Cache(spec.clone(), cached));
            }
            Instruction::Stop => return Ok(After::Stop),
            Instruction::Raise(message) => return Err(Fault::raise(message)),
            Instruction::Mark(text) => self.outside.results.mark(text),
            Instruction::Try { end, error } => self.enter_try(*end, error.as_deref()),
            Instruction::LeaveTry => drop(self.handlers.pop()),
            Instruction::Jump(end) => self.next = *end,
            Instruction::JumpUnless(end) => {
                if !self.pop_truth() {
                    self.next = *end;
                }
            }
            Instruction::Push(push) => {
                let datum = self.evaluate(push)?;
                self.stack.push(datum);
            }
            Instruction::Store(slot) => {
                let datum = self.pop();
                self.store(*slot, datum);
            }
            Instruction::Save(slot) => self.save(*slot)?,
            Instruction::List(slot) => self.store(*slot, Datum::List(Rc::new(Vec::new()))),
            Instruction::Append(slot) => self.append(*slot)?,
        }
        Ok(After::Go)
    }

    /// Returns the request, with its value off the stack.
    fn request(&mut self, ask: &Ask) -> Result<Request<V>, Fault> {
        Ok(match ask {
            Ask::Read(target) => Request::Value {
                target: target.clone(),
            },
            Ask::Swap { target, reshape } => Request::Swap {
                target: target.clone(),
                value: value_of("a write", self.pop())?,
                reshape: *reshape,
            },
            Ask::Skip(target) => Request::Skip {
                target: target.clone(),
                value: value_of("a skip", self.pop())?,
            },
            Ask::Barrier(name) => Request::Barrier { name: name.clone() },
            Ask::Put(name) => Request::Put {
                name: name.clone(),
                value: part_of("a put", self.pop())?,
            },
            Ask::Get(name) => Request::Get { name: name.clone() },
            Ask::Backward => Request::Backward {
                loss: value_of("a backward pass", self.pop())?,
            },
        })
    }

    /// An error that an earlier pass caught under the name is not that of this one.
    fn enter_try(&mut self, end: usize, error: Option<&str>) {
        if let Some(error) = error {
            self.scope.borrow_mut().caught.remove(error);
        }
        self.handlers.push(Handler {
            end,
            error: error.map(str::to_owned),
            height: self.stack.len(),
        });
    }

    /// Returns the datum that is to lie on the stack, with those that it is made of off it.
    fn evaluate(&mut self, push: &Push) -> Result<Datum<V>, Fault> {
        Ok(match push {
            Push::Load(slot) => self.load(*slot)?,
            Push::Given(name) => {
                let value = self.outside.givens.get(name).cloned();
                Datum::Value(value.ok_or_else(|| ProgramFault::NotGiven(name.clone()))?)
            }
            Push::Module(path) => {
                let input = value_of("a call", self.pop())?;
                let modules = self.outside.modules.as_ref();
                let modules = modules.ok_or_else(|| ProgramFault::NoModules(path.clone()))?;
                let mark = Mark::of(&input);
                let output = modules.call(path, input)?;
                Datum::Value(match mark {
                    Some(mark) => mark.keep(output),
                    None => output,
                })
            }
            Push::Compare(is) => {
                let (right, left) = (number_of(self.pop())?, number_of(self.pop())?);
                truth(is.holds(left, right))
            }
            Push::Not => truth(!self.pop_truth()),
            Push::IsSet(slot) => truth(self.scope.borrow().variables[*slot].is_some()),
            Push::Caught(error) => truth(self.scope.borrow().caught.contains(error)),
            Push::Compute(compute) => evaluate::compute(compute, &mut self.stack)?,
        })
    }

    fn load(&self, slot: usize) -> Result<Datum<V>, ProgramFault> {
        let scope = self.scope.borrow();
        let datum = scope.variables[slot].clone();
        datum.ok_or_else(|| ProgramFault::Unset(self.code.variables[slot].clone()))
    }

    fn store(&self, slot: usize, datum: Datum<V>) {
        let mut scope = self.scope.borrow_mut();
        scope.variables[slot] = Some(datum);
        scope.growing[slot] = None;
    }

    fn save(&self, slot: usize) -> Result<(), ProgramFault> {
        let mut datum = self.load(slot)?;
        let items = items_of(&datum);
        let is_list = items.is_some();
        if let Some(items) = items {
            datum = Datum::List(items);
            self.store(slot, datum.clone());
        }
        let ticket = self
            .outside
            .results
            .save_growing(&self.code.variables[slot], datum);
        self.scope.borrow_mut().growing[slot] = is_list.then_some(ticket);
        Ok(())
    }

    fn append(&mut self, slot: usize) -> Result<(), ProgramFault> {
        let item = self.pop();
        let mut scope = self.scope.borrow_mut();
        let name = &self.code.variables[slot];
        let Some(variable) = &mut scope.variables[slot] else {
            return Err(ProgramFault::Unset(name.clone()));
        };
        // A list that was got is one of its own from here on.
        let Some(mut items) = items_of(variable) else {
            return Err(kind("an append", "a list", variable));
        };
        check_nested(&items, &item)?;
        // It is copied only if it is shared.
        *variable = Datum::Number(0.0);
        Rc::make_mut(&mut items).push(item.clone());
        *variable = Datum::List(items);
        if let Some(ticket) = scope.growing[slot] {
            self.outside.results.extend(name, ticket, item);
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
        let mut after = self.take(delivery);
        loop {
            // `next` is one past the instruction that was executed, whose line is the origin.
            let at = self.next.saturating_sub(1);
            match after {
                Ok(After::Go) => {}
                Ok(After::Stop) => {
                    let origin = code.origin(at);
                    return Step::Stop { origin };
                }
                Ok(After::End) => return Step::End,
                Ok(After::Next(by)) => return Step::Next { by, rest: self },
                Ok(After::Cache(spec, into)) => {
                    return Step::Cache {
                        spec,
                        into,
                        origin: code.origin(at),
                        rest: self,
                    };
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

    fn gradients(&self) -> Vec<Point> {
        self.code.gradients(&self.outside.map).collect()
    }
}

fn truth<V>(holds: bool) -> Datum<V> {
    Datum::Number(f64::from(u8::from(holds)))
}

fn kind<V>(place: &'static str, expected: &'static str, found: &Datum<V>) -> ProgramFault {
    ProgramFault::Kind {
        place: place.into(),
        expected: expected.into(),
        found: found.kind().into(),
    }
}
