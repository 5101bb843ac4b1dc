//! Mediators as data, for the laws, and the ways to run them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;

use interloom_engine::array::Array;
use interloom_engine::{
    Cached, Cx, Delivery, Fault, Invoke, Mediator, Origin, Point, Request, Round, SiteMap,
    Step as Next, mediator,
};

use crate::steps::{Action, Collects, Step, action};
use crate::support::{Model, Ran, Trial};

/// How many numbers a row of the model's input has.
pub(crate) const WIDTH: usize = 2;

/// The batch of a run in which no invoke has rows.
pub(crate) const DEFAULT_BATCH: u32 = 2;

/// The barriers that a case declares, in the order of [`Case::barriers`].
pub(crate) const BARRIERS: [&str; 3] = ["b0", "b1", "b2"];

/// The names of the caches that programs declare.
pub(crate) const CACHES: [&str; 2] = ["c", "d"];

/// A mediator as data, with its rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Program {
    pub(crate) lines: Vec<Step>,
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
    /// What the run itself collects.
    pub(crate) cache: Option<Collects>,
    /// The values whose gradients may be asked for.
    pub(crate) gradients: Vec<Point>,
}

/// How the programs of a case are run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Style {
    Machine,
    Async,
    /// In a way that a test knows beside these two.
    Other(Make),
}

/// Makes a mediator of lines and what the register holds at first, and what finds its caches.
pub(crate) type Make = fn(Vec<Step>, Array, Shared) -> (Box<dyn Mediator<Array>>, Shelf);

/// Finds a cache of one mediator, or of the run, by its name; of two of one name the later.
pub(crate) type Shelf = Box<dyn Fn(&str) -> Option<Cached<Array>>>;

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

    /// The rows that are a mediator's own of a value that is `length` long; all, if it has none or
    /// that is not the batch.
    pub(crate) fn own_rows(&self, index: usize, length: usize) -> std::ops::Range<usize> {
        let count = |index: usize| self.programs[index].rows.unwrap_or(0) as usize;
        let first: usize = (0..index).map(count).sum();
        match length == self.batch() as usize && count(index) > 0 {
            true => first..first + count(index),
            false => 0..length,
        }
    }

    /// Makes a mediator that counts in `alive` for as long as it is there, and what will have its
    /// caches.
    pub(crate) fn mediator(
        &self,
        index: usize,
        style: Style,
        alive: &Rc<Cell<u32>>,
    ) -> (Box<dyn Mediator<Array>>, Shelf) {
        let program = &self.programs[index];
        let map = &self.model.map;
        let zeros = self.register_of(program);
        let shared = Shared {
            register: Rc::new(RefCell::new(zeros.clone())),
            caches: Rc::default(),
            map: map.clone(),
            alive: Alive::new(alive),
        };
        let (caches, lines) = (shared.caches.clone(), program.lines.clone());
        let shelf = move |name: &str| caches.borrow().get(name).cloned();
        let mediator: Box<dyn Mediator<Array>> = match style {
            Style::Machine => Box::new(Interpreter::new(lines, 0, shared)),
            Style::Other(make) => return make(lines, zeros, shared),
            Style::Async => {
                let run = move |cx| interpret(cx, lines, shared);
                Box::new(mediator(map.clone(), run).0)
            }
        };
        (mediator, Box::new(shelf))
    }

    pub(crate) fn invoke(&self, index: usize, mediator: Box<dyn Mediator<Array>>) -> Invoke<Array> {
        let program = &self.programs[index];
        let invoke = Invoke::new(format!("m{index}"), Boxed(mediator));
        let invoke = match program.rows {
            Some(rows) => invoke.rows(rows),
            None => invoke,
        };
        match program.is_optional {
            true => invoke.optional(),
            false => invoke,
        }
    }

    /// Sets a run up, without mediators.
    pub(crate) fn empty_trial(&self) -> Trial<'_> {
        let mut trial = Trial::of(&self.model);
        for (name, participants) in BARRIERS.into_iter().zip(self.barriers) {
            trial.barrier(name, participants);
        }
        if let Some(steps) = self.steps {
            trial.steps(steps);
        }
        trial.gradients(&self.gradients);
        trial
    }

    pub(crate) fn trial(&self, style: Style) -> Trial<'_> {
        self.trial_with_shelves(style).0
    }

    /// Sets a run up; the second finds the caches: first that of the run, by any name, then those
    /// of each mediator.
    pub(crate) fn trial_with_shelves(&self, style: Style) -> (Trial<'_>, Vec<Shelf>) {
        let mut trial = self.empty_trial();
        let of_run = self.cache.as_ref().map(|cache| trial.cache(cache.spec()));
        let mut shelves: Vec<Shelf> = vec![Box::new(move |_| of_run.clone())];
        for index in 0..self.programs.len() {
            let (mediator, shelf) = self.mediator(index, style, &Rc::default());
            trial.invoke(self.invoke(index, mediator));
            shelves.push(shelf);
        }
        (trial, shelves)
    }

    pub(crate) fn run(&self, style: Style) -> Ran {
        self.trial(style).run(self.input())
    }
}

/// A mediator whose type is not known.
struct Boxed(Box<dyn Mediator<Array>>);

impl Mediator<Array> for Boxed {
    fn resume(self: Box<Self>, delivery: Delivery<Array>) -> Next<Array> {
        self.0.resume(delivery)
    }
}

/// What a mediator and its children have in common.
#[derive(Clone)]
pub(crate) struct Shared {
    register: Rc<RefCell<Array>>,
    caches: Rc<RefCell<BTreeMap<String, Cached<Array>>>>,
    pub(crate) map: std::sync::Arc<SiteMap>,
    #[allow(dead_code)] // It is there to be dropped.
    alive: Alive,
}

impl Shared {
    /// Puts up an empty cache.
    fn declare(&self, name: &str) -> Cached<Array> {
        let cached = Cached::new(self.map.clone());
        self.shelve(name, cached.clone());
        cached
    }

    fn shelve(&self, name: &str, cached: Cached<Array>) {
        self.caches.borrow_mut().insert(name.to_owned(), cached);
    }
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

/// A program as a hand-written state machine.
struct Interpreter {
    /// The lines, and the bodies of the `try` steps that it is in, each with those that are still
    /// to come.
    frames: Vec<std::vec::IntoIter<Step>>,
    iteration: u32,
    /// The loop that is under way.
    looping: Option<Loop>,
    shared: Shared,
}

struct Loop {
    rounds: Box<dyn Iterator<Item = (u32, Round)>>,
    body: Vec<Step>,
}

impl Interpreter {
    fn new(lines: Vec<Step>, iteration: u32, shared: Shared) -> Self {
        Self {
            frames: vec![lines.into_iter()],
            iteration,
            looping: None,
            shared,
        }
    }

    /// Takes the answer to the last request; a fault if it is not caught.
    fn take(&mut self, delivery: Delivery<Array>) -> Result<(), Fault> {
        match delivery {
            Delivery::Start | Delivery::Done => {}
            Delivery::Value(value) => *self.shared.register.borrow_mut() = value,
            Delivery::Over => self.looping = None,
            Delivery::Refused(_) if self.looping.is_some() => self.looping = None,
            Delivery::Refused(fault) => self.catch(fault)?,
        }
        Ok(())
    }

    fn catch(&mut self, fault: Fault) -> Result<(), Fault> {
        self.frames.pop();
        match self.frames.is_empty() {
            true => Err(fault),
            false => Ok(()),
        }
    }

    /// Returns the next line, from the innermost body that has one.
    fn next_line(&mut self) -> Option<Step> {
        loop {
            match self.frames.last_mut()?.next() {
                Some(line) => return Some(line),
                None => drop(self.frames.pop()),
            }
        }
    }

    /// Returns the next child of the loop that is under way.
    fn child(&mut self) -> Option<Request<Array>> {
        let Loop { rounds, body } = self.looping.as_mut()?;
        let Some((iteration, round)) = rounds.next() else {
            self.looping = None;
            return None;
        };
        let child = Self::new(body.clone(), iteration, self.shared.clone());
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
            let Some(line) = self.next_line() else {
                return Next::End;
            };
            let register = self.shared.register.borrow().clone();
            match action(&line, &register, &self.shared.map) {
                Action::Ask(request) => break request,
                Action::Next(by) => {
                    self.iteration += by;
                    return Next::Next { by, rest: self };
                }
                Action::Each(span, body) => {
                    self.looping = Some(Loop {
                        rounds: Box::new(span.iterations().rounds(self.iteration)),
                        body: body.to_vec(),
                    });
                }
                Action::Try(body) => self.frames.push(Vec::from(body).into_iter()),
                Action::Cache(name, collects) => {
                    let (spec, into) = (collects.spec(), self.shared.declare(name));
                    return Next::Cache {
                        spec,
                        into,
                        origin,
                        rest: self,
                    };
                }
                Action::Stop => return Next::Stop { origin },
                Action::Raise => {
                    if let Err(fault) = self.catch(Fault::raise("raised")) {
                        return Next::Fail { fault, origin };
                    }
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
fn interpret(cx: Cx<Array>, lines: Vec<Step>, shared: Shared) -> Running {
    Box::pin(async move {
        for line in &lines {
            let held = shared.register.borrow().clone();
            let read = |value| *shared.register.borrow_mut() = value;
            match action(line, &held, &shared.map) {
                Action::Raise => return Err(Fault::raise("raised")),
                Action::Stop => cx.stop().await.map(|never| match never {})?,
                Action::Next(by) => cx.next(by),
                Action::Each(span, body) => {
                    let run = |cx, _| interpret(cx, body.to_vec(), shared.clone());
                    cx.for_each(span.iterations(), run).await.map(drop)?;
                }
                Action::Try(body) => {
                    let _ = interpret(cx.clone(), body.to_vec(), shared.clone()).await;
                }
                Action::Cache(name, collects) => {
                    shared.declare(name);
                    let cached = cx.cache(collects.spec()).await?;
                    shared.shelve(name, cached);
                }
                Action::Ask(Request::Value { target }) => cx.value(target).await.map(read)?,
                Action::Ask(Request::Swap {
                    target,
                    value,
                    reshape: false,
                }) => cx.set(target, value).await?,
                Action::Ask(Request::Swap { target, value, .. }) => {
                    cx.reshape(target, value).await?;
                }
                Action::Ask(Request::Skip { target, value }) => cx.skip_at(target, value).await?,
                Action::Ask(Request::Barrier { name }) => cx.barrier(&name).await?,
                Action::Ask(Request::Put { name, value }) => cx.put(&name, value).await?,
                Action::Ask(Request::Get { name }) => cx.get(&name).await.map(read)?,
                Action::Ask(Request::Backward { loss }) => cx.backward(loss).await?,
                Action::Ask(_) => unreachable!("no other request exists"),
            }
        }
        Ok(())
    })
}
