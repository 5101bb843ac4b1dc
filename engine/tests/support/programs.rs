//! Mediators as data, for the laws, and two ways to run them.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;

use interloom_engine::array::Array;
use interloom_engine::{
    Cx, Delivery, Fault, Invoke, Iterations, Mediator, Origin, Request, Round, Step as Next,
    Target, mediator,
};

use crate::as_program;
use crate::support::{Model, Ran, Trial};

/// How many numbers a row of the model's input has.
pub(crate) const WIDTH: usize = 2;

/// The batch of a run in which no invoke has rows.
pub(crate) const DEFAULT_BATCH: u32 = 2;

/// The barriers that a case declares, in the order of [`Case::barriers`].
pub(crate) const BARRIERS: [&str; 3] = ["b0", "b1", "b2"];

/// One step of a program. The register holds the value that was read last, at first zeros of the mediator's rows.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Read(Target),
    /// Writes `register · scale + shift`.
    Write {
        target: Target,
        scale: f64,
        shift: f64,
        form: Form,
        reshape: bool,
    },
    /// Skips to `register + shift`.
    Skip {
        target: Target,
        shift: f64,
        form: Form,
    },
    Stop,
    Raise,
    /// Advances the own iteration.
    Next(u32),
    /// Runs the lines once for each iteration.
    Each(Span, Rc<[Line]>),
    Meet(&'static str),
    /// Puts `register + shift`.
    Put(&'static str, f64),
    Get(&'static str),
}

/// The iterations of a loop.
#[derive(Clone, Debug)]
pub(crate) enum Span {
    Slice {
        start: Option<u32>,
        end: Option<u32>,
    },
    List(Vec<u32>),
}

impl Span {
    /// The numbers of a loop (R32), and the last of them unless there is no upper bound.
    pub(crate) fn numbers(&self, own: u32) -> (Box<dyn Iterator<Item = u32>>, Option<u32>) {
        match self {
            Self::List(list) => {
                let mut list = list.clone();
                list.sort();
                let last = list.last().copied();
                (Box::new(list.into_iter()), last)
            }
            Self::Slice { start, end: None } => (Box::new(start.unwrap_or(own)..), None),
            Self::Slice {
                start,
                end: Some(end),
            } => {
                let last = Some(end.saturating_sub(1));
                (Box::new(start.unwrap_or(own)..*end), last)
            }
        }
    }

    fn iterations(&self) -> Iterations {
        match self {
            Self::Slice { start, end } => match (*start, *end) {
                (Some(start), Some(end)) => (start..end).into(),
                (Some(start), None) => (start..).into(),
                (None, Some(end)) => (..end).into(),
                (None, None) => Iterations::all(),
            },
            Self::List(list) => list.clone().into(),
        }
    }
}

/// The shape of what is written, compared with the register's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    Fit,
    /// One row more.
    Longer,
    /// One number more in each row.
    Wider,
}

impl Form {
    pub(crate) fn apply(self, value: &Array) -> Array {
        let (rows, width) = (value.shape()[0], value.shape()[1]);
        let mut data = value.data().to_vec();
        match self {
            Self::Fit => value.clone(),
            Self::Longer => {
                data.extend(vec![0.0; width as usize]);
                Array::new(&[rows + 1, width], &data)
            }
            Self::Wider => {
                let chunks = data.chunks(width as usize);
                let data: Vec<f64> = chunks
                    .flat_map(|row| row.iter().copied().chain([0.0]))
                    .collect();
                Array::new(&[rows, width + 1], &data)
            }
        }
    }
}

/// A step, and whether its refusal is caught.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) step: Step,
    pub(crate) catches: bool,
}

/// A mediator as data, with its rows.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) lines: Vec<Line>,
    pub(crate) rows: Option<u32>,
    pub(crate) is_optional: bool,
}

/// A model, its mediators, and thereby all of a run.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) model: Model,
    pub(crate) programs: Vec<Program>,
    /// The number of participants of each of [`BARRIERS`].
    pub(crate) barriers: [u32; 3],
    pub(crate) steps: Option<u32>,
}

/// How the programs of a case are run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Style {
    Machine,
    Async,
    /// As a program of the engine.
    Program,
}

impl Case {
    pub(crate) fn batch(&self) -> u32 {
        self.programs
            .iter()
            .filter_map(|program| program.rows)
            .sum()
    }

    /// The model's input: as many rows as the invokes have together.
    pub(crate) fn input(&self) -> Array {
        let rows = match self.batch() {
            0 => DEFAULT_BATCH,
            batch => batch,
        };
        crate::support::table(u64::from(rows), 1.0)
    }

    /// The register of a program that has not started.
    pub(crate) fn register_of(&self, program: &Program) -> Array {
        let rows = self.rows_of(program) as usize;
        Array::new(&[rows as u64, WIDTH as u64], &vec![0.0; rows * WIDTH])
    }

    /// The rows that a program reads where values are batched.
    pub(crate) fn rows_of(&self, program: &Program) -> u32 {
        program.rows.unwrap_or(match self.batch() {
            0 => DEFAULT_BATCH,
            batch => batch,
        })
    }

    pub(crate) fn invoke(&self, index: usize, style: Style) -> Invoke<Array> {
        self.guarded(index, style, &Rc::new(Cell::new(0)))
    }

    /// Makes a mediator that counts in `alive` for as long as it is there.
    pub(crate) fn guarded(
        &self,
        index: usize,
        style: Style,
        alive: &Rc<Cell<u32>>,
    ) -> Invoke<Array> {
        let program = &self.programs[index];
        let zeros = self.register_of(program);
        let register = Rc::new(RefCell::new(zeros.clone()));
        let lines: Rc<[Line]> = program.lines.clone().into();
        let name = format!("m{index}");
        let alive = Alive::new(alive);
        let invoke = match style {
            Style::Machine => Invoke::new(name, Interpreter::new(lines, 0, register, alive)),
            Style::Program => {
                let map = &self.model.map;
                Invoke::new(name, as_program::machine(&lines, zeros, map, alive))
            }
            Style::Async => {
                let run = move |cx| interpret(cx, lines, register, alive);
                Invoke::new(name, mediator(self.model.map.clone(), run).0)
            }
        };
        let invoke = match program.rows {
            Some(rows) => invoke.rows(rows),
            None => invoke,
        };
        match program.is_optional {
            true => invoke.optional(),
            false => invoke,
        }
    }

    pub(crate) fn trial(&self, style: Style) -> Trial<'_> {
        let mut trial = Trial::of(&self.model);
        for (name, participants) in BARRIERS.into_iter().zip(self.barriers) {
            trial.barrier(name, participants);
        }
        if let Some(steps) = self.steps {
            trial.steps(steps);
        }
        for index in 0..self.programs.len() {
            trial.invoke(self.invoke(index, style));
        }
        trial
    }

    pub(crate) fn run(&self, style: Style) -> Ran {
        self.trial(style).run(self.input())
    }
}

/// What a step asks for, given the register.
pub(crate) enum Action<'s> {
    Ask(Request<Array>),
    Next(u32),
    Each(&'s Span, &'s Rc<[Line]>),
    Stop,
    Raise,
}

pub(crate) fn action<'s>(step: &'s Step, register: &Array) -> Action<'s> {
    Action::Ask(match step {
        Step::Read(target) => Request::Value {
            target: target.clone(),
        },
        Step::Write {
            target,
            scale,
            shift,
            form,
            reshape,
        } => Request::Swap {
            target: target.clone(),
            value: form.apply(&register.map(|x| x * scale + shift)),
            reshape: *reshape,
        },
        Step::Skip {
            target,
            shift,
            form,
        } => Request::Skip {
            target: target.clone(),
            value: form.apply(&register.map(|x| x + shift)),
        },
        Step::Meet(name) => Request::Barrier {
            name: (*name).into(),
        },
        Step::Put(name, shift) => Request::Put {
            name: (*name).into(),
            value: register.map(|x| x + shift),
        },
        Step::Get(name) => Request::Get {
            name: (*name).into(),
        },
        Step::Next(by) => return Action::Next(*by),
        Step::Each(span, body) => return Action::Each(span, body),
        Step::Stop => return Action::Stop,
        Step::Raise => return Action::Raise,
    })
}

/// A program as a hand-written state machine.
struct Interpreter {
    lines: Rc<[Line]>,
    /// The line to be run next; the one before it waits for its answer.
    next: usize,
    iteration: u32,
    /// The loop that is under way.
    looping: Option<Loop>,
    register: Rc<RefCell<Array>>,
    alive: Alive,
}

struct Loop {
    rounds: Box<dyn Iterator<Item = (u32, Round)>>,
    body: Rc<[Line]>,
}

/// Counts itself while it is there.
struct Alive(Rc<Cell<u32>>);

impl Alive {
    fn new(count: &Rc<Cell<u32>>) -> Self {
        count.set(count.get() + 1);
        Self(count.clone())
    }
}

impl Clone for Alive {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Interpreter {
    fn new(lines: Rc<[Line]>, iteration: u32, register: Rc<RefCell<Array>>, alive: Alive) -> Self {
        Self {
            lines,
            next: 0,
            iteration,
            looping: None,
            register,
            alive,
        }
    }

    /// Takes the answer to the last request; a fault if it is not caught.
    fn take(&mut self, delivery: Delivery<Array>) -> Result<(), Fault> {
        match delivery {
            Delivery::Start | Delivery::Done => {}
            Delivery::Value(value) => *self.register.borrow_mut() = value,
            Delivery::Over => self.looping = None,
            Delivery::Refused(_) if self.looping.is_some() => self.looping = None,
            Delivery::Refused(_) if self.lines[self.next - 1].catches => {}
            Delivery::Refused(fault) => return Err(fault),
        }
        Ok(())
    }

    /// Returns the next child of the loop that is under way.
    fn child(&mut self) -> Option<Request<Array>> {
        let Loop { rounds, body } = self.looping.as_mut()?;
        let Some((iteration, round)) = rounds.next() else {
            self.looping = None;
            return None;
        };
        let (register, alive) = (self.register.clone(), self.alive.clone());
        let child = Self::new(body.clone(), iteration, register, alive);
        Some(Request::Register {
            child: Box::new(child),
            iteration: Some(iteration),
            round,
        })
    }
}

impl Mediator<Array> for Interpreter {
    fn resume(mut self: Box<Self>, delivery: Delivery<Array>) -> Next<Array> {
        let origin = Origin::Unknown;
        if let Err(fault) = self.take(delivery) {
            return Next::Fail { fault, origin };
        }
        let request = loop {
            if let Some(child) = self.child() {
                break child;
            }
            let lines = self.lines.clone();
            let Some(line) = lines.get(self.next) else {
                return Next::End;
            };
            self.next += 1;
            let register = self.register.borrow().clone();
            match action(&line.step, &register) {
                Action::Ask(request) => break request,
                Action::Next(by) => {
                    self.iteration += by;
                    return Next::Next { by, rest: self };
                }
                Action::Each(span, body) => {
                    self.looping = Some(Loop {
                        rounds: Box::new(span.iterations().rounds(self.iteration)),
                        body: body.clone(),
                    });
                }
                Action::Stop => return Next::Stop { origin },
                Action::Raise => {
                    let fault = Fault::raise("raised");
                    return Next::Fail { fault, origin };
                }
            }
        };
        Next::Ask {
            request,
            origin,
            rest: self,
        }
    }
}

type Running = Pin<Box<dyn Future<Output = Result<(), Fault>>>>;

/// A program as an async function.
fn interpret(
    cx: Cx<Array>,
    lines: Rc<[Line]>,
    register: Rc<RefCell<Array>>,
    alive: Alive,
) -> Running {
    Box::pin(async move {
        for Line { step, catches } in lines.iter() {
            let held = register.borrow().clone();
            let read = |value| *register.borrow_mut() = value;
            let answer = match action(step, &held) {
                Action::Raise => return Err(Fault::raise("raised")),
                Action::Stop => cx.stop().await.map(|never| match never {}),
                Action::Next(by) => {
                    cx.next(by);
                    Ok(())
                }
                Action::Each(span, body) => {
                    let run = |cx, _| interpret(cx, body.clone(), register.clone(), alive.clone());
                    cx.for_each(span.iterations(), run).await.map(drop)
                }
                Action::Ask(Request::Value { target }) => cx.value(target).await.map(read),
                Action::Ask(Request::Swap {
                    target,
                    value,
                    reshape: false,
                }) => cx.set(target, value).await,
                Action::Ask(Request::Swap { target, value, .. }) => cx.reshape(target, value).await,
                Action::Ask(Request::Skip { target, value }) => cx.skip_at(target, value).await,
                Action::Ask(Request::Barrier { name }) => cx.barrier(&name).await,
                Action::Ask(Request::Put { name, value }) => cx.put(&name, value).await,
                Action::Ask(Request::Get { name }) => cx.get(&name).await.map(read),
                Action::Ask(_) => unreachable!("no other request exists"),
            };
            match answer {
                Err(fault) if !catches => return Err(fault),
                _ => {}
            }
        }
        Ok(())
    })
}
