//! Mediators as data, for the laws, and two ways to run them.

use std::cell::Cell;
use std::rc::Rc;

use interloom_engine::array::Array;
use interloom_engine::{
    Cx, Delivery, Fault, Invoke, Mediator, Origin, Request, Step as Next, Target, mediator,
};

use crate::as_program;
use crate::support::{Model, Ran, Trial};

/// How many numbers a row of the model's input has.
pub(crate) const WIDTH: usize = 2;

/// The batch of a run in which no invoke has rows.
pub(crate) const DEFAULT_BATCH: u32 = 2;

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
        let register = self.register_of(program);
        let lines: Rc<[Line]> = program.lines.clone().into();
        let name = format!("m{index}");
        let alive = Alive::new(alive);
        let invoke = match style {
            Style::Machine => Invoke::new(
                name,
                Interpreter {
                    lines,
                    next: 0,
                    register,
                    _alive: alive,
                },
            ),
            Style::Program => {
                let map = &self.model.map;
                Invoke::new(name, as_program::machine(&lines, register, map, alive))
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
pub(crate) enum Action {
    Ask(Request<Array>),
    Stop,
    Raise,
}

pub(crate) fn action(step: &Step, register: &Array) -> Action {
    match step {
        Step::Read(target) => Action::Ask(Request::Value {
            target: target.clone(),
        }),
        Step::Write {
            target,
            scale,
            shift,
            form,
            reshape,
        } => Action::Ask(Request::Swap {
            target: target.clone(),
            value: form.apply(&register.map(|x| x * scale + shift)),
            reshape: *reshape,
        }),
        Step::Skip {
            target,
            shift,
            form,
        } => Action::Ask(Request::Skip {
            target: target.clone(),
            value: form.apply(&register.map(|x| x + shift)),
        }),
        Step::Stop => Action::Stop,
        Step::Raise => Action::Raise,
    }
}

/// A program as a hand-written state machine.
struct Interpreter {
    lines: Rc<[Line]>,
    /// The line to be run next; the one before it waits for its answer.
    next: usize,
    register: Array,
    _alive: Alive,
}

/// Counts itself while it is there.
struct Alive(Rc<Cell<u32>>);

impl Alive {
    fn new(count: &Rc<Cell<u32>>) -> Self {
        count.set(count.get() + 1);
        Self(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Mediator<Array> for Interpreter {
    fn resume(mut self: Box<Self>, delivery: Delivery<Array>) -> Next<Array> {
        let origin = Origin::Unknown;
        match delivery {
            Delivery::Start | Delivery::Done | Delivery::Over => {}
            Delivery::Value(value) => self.register = value,
            Delivery::Refused(fault) => {
                if !self.lines[self.next - 1].catches {
                    return Next::Fail { fault, origin };
                }
            }
        }
        let Some(line) = self.lines.get(self.next) else {
            return Next::End;
        };
        match action(&line.step, &self.register) {
            Action::Stop => Next::Stop { origin },
            Action::Raise => Next::Fail {
                fault: Fault::raise("raised"),
                origin,
            },
            Action::Ask(request) => {
                self.next += 1;
                Next::Ask {
                    request,
                    origin,
                    rest: self,
                }
            }
        }
    }
}

/// A program as an async function.
async fn interpret(
    cx: Cx<Array>,
    lines: Rc<[Line]>,
    mut register: Array,
    _alive: Alive,
) -> Result<(), Fault> {
    for Line { step, catches } in lines.iter() {
        let answer = match action(step, &register) {
            Action::Raise => return Err(Fault::raise("raised")),
            Action::Stop => cx.stop().await.map(|never| match never {}),
            Action::Ask(Request::Value { target }) => {
                cx.value(target).await.map(|value| register = value)
            }
            Action::Ask(Request::Swap {
                target,
                value,
                reshape: false,
            }) => cx.set(target, value).await,
            Action::Ask(Request::Swap { target, value, .. }) => cx.reshape(target, value).await,
            Action::Ask(Request::Skip { target, value }) => cx.skip_at(target, value).await,
            Action::Ask(_) => unreachable!("no other request exists"),
        };
        match answer {
            Err(fault) if !catches => return Err(fault),
            _ => {}
        }
    }
    Ok(())
}
