//! Bodies that run until they wait for something.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::array::Array;
use super::model::{Network, Value};
use super::tape::Pass;
use crate::cause::{Cause, STOP};
use crate::outcome::Fault;
use crate::scenario::RawIter;
use crate::user::{Asks, Collects, Gradients, Halt, Origin, Promise, Round, Tensor, Thing, Wrong};

/// What a body waits for.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Value(String),
    Swap(String, Value),
    Skip(String, Value),
    Barrier(String),
    Cache(String, Collects),
    /// The next iteration of a loop, and its last one unless it has no upper bound.
    Begin {
        number: u32,
        last: Option<u32>,
        is_first: bool,
    },
    /// What an iteration came to.
    Finish {
        number: u32,
        last: Option<u32>,
        came_to: Result<(), Fault>,
    },
    Stop,
    /// A backward pass from a loss.
    Backward(Value),
    /// The gradient of what passed a point, or of a parameter; or another one for it.
    Gradient {
        of: String,
        iteration: u32,
        with: Option<Value>,
    },
    /// Says that a gradient was read or replaced, in the reference: of which array.
    Served(&'static str, u64),
}

type Answer = Result<Value, Halt<Fault>>;

/// In whose manner a body asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Manner {
    Rules,
    /// The generation of threads.
    Threads,
    /// The generation of coroutines.
    Coroutines,
}

impl Manner {
    /// That of a version of the reference.
    pub(crate) fn of(version: &str) -> Self {
        match version {
            "v050" => Self::Threads,
            _ => Self::Coroutines,
        }
    }
}

/// What all bodies of a scenario have in common.
pub(super) struct Scene {
    pub(super) network: Network,
    /// Whether a body asks for a backward pass.
    pub(super) has_gradients: bool,
    /// The parameters whose gradients are saved, in the order of the model.
    pub(super) parameters: Vec<String>,
    pub(super) inputs: BTreeMap<String, Array>,
    pub(super) marks: RefCell<Vec<String>>,
    pub(super) caught: RefCell<BTreeMap<String, Fault>>,
    /// The modules of which operations were named.
    pub(super) named: RefCell<BTreeSet<String>>,
    pub(super) manner: Manner,
}

/// A body that is under way.
pub(super) struct Task {
    line: Line,
    has_begun: bool,
    running: Option<Promise<(), Fault>>,
    /// What it waits for.
    pub(super) ask: Option<Ask>,
}

/// A body's way to its run.
#[derive(Clone)]
pub(super) struct Line {
    scene: Rc<Scene>,
    mail: Rc<Mail>,
    own: Rc<Cell<Own>>,
    /// The backward pass that the body is in, in the reference.
    pass: Rc<RefCell<Option<Pass>>>,
}

#[derive(Default)]
struct Mail {
    ask: RefCell<Option<Ask>>,
    answer: RefCell<Option<Answer>>,
    /// The iteration of the one that asked last: the body, or a child of it.
    own: RefCell<Rc<Cell<Own>>>,
}

/// Which iteration is meant by a request.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Own {
    pub(super) iteration: u32,
    /// Whether the reference has met the iteration, and goes on with whatever comes next.
    pub(super) is_met: bool,
}

impl Task {
    pub(super) fn new(scene: &Rc<Scene>, start: impl FnOnce(Line) -> Promise<(), Fault>) -> Self {
        let line = Line {
            scene: scene.clone(),
            mail: Rc::default(),
            own: Rc::default(),
            pass: Rc::default(),
        };
        Self {
            running: Some(start(line.clone())),
            has_begun: false,
            line,
            ask: None,
        }
    }

    /// Lets the body go on until it waits again; returns what it came to if it is over.
    pub(super) fn resume(&mut self, answer: Option<Answer>) -> Option<Result<(), Halt<Fault>>> {
        self.has_begun = true;
        let mut running = self.running.take()?;
        *self.line.mail.answer.borrow_mut() = answer;
        let polled = running
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        self.ask = self.line.mail.ask.take();
        match polled {
            Poll::Ready(result) => Some(result),
            Poll::Pending => {
                self.running = Some(running);
                None
            }
        }
    }

    pub(super) const fn has_begun(&self) -> bool {
        self.has_begun
    }

    pub(super) const fn is_over(&self) -> bool {
        self.running.is_none()
    }

    pub(super) fn own(&self) -> Own {
        self.line.mail.own.borrow().get()
    }

    pub(super) fn set_own(&self, own: Own) {
        self.line.mail.own.borrow().set(own);
    }
}

impl Line {
    fn ask(&self, ask: Ask) -> Promise<Value, Fault> {
        let (mail, own) = (self.mail.clone(), self.own.clone());
        let mut ask = Some(ask);
        Box::pin(std::future::poll_fn(move |_| {
            if let Some(ask) = ask.take() {
                mail.own.replace(own.clone());
                *mail.ask.borrow_mut() = Some(ask);
                return Poll::Pending;
            }
            match mail.answer.take() {
                Some(answer) => Poll::Ready(answer),
                None => Poll::Pending,
            }
        }))
    }

    fn done(&self, ask: Ask) -> Promise<(), Fault> {
        let asked = self.ask(ask);
        Box::pin(async move { asked.await.map(drop) })
    }

    /// Asks the model for something, which in the reference a backward pass has no way to.
    fn of_model(&self, ask: Ask, point: &str) -> Promise<Value, Fault> {
        let is_in_pass = self.pass.borrow().is_some();
        let fault = match self.scene.manner {
            _ if !is_in_pass => return self.ask(ask),
            Manner::Threads => Fault::of(Cause::Class("KeyError")),
            _ => {
                let iteration = self.own.get().iteration;
                Fault::about(
                    Cause::Class("OutOfOrderError"),
                    &format!("{point}.i{iteration}"),
                )
            }
        };
        Box::pin(async move { Err(Halt::Fault(fault)) })
    }

    /// Comes to the gradient of a tensor in the backward pass of the reference, and reads it, or
    /// replaces it.
    fn differentiated(&self, of: &Value, with: Option<&Value>) -> Result<(Value, u64), Fault> {
        let class = |own: &'static str, other: &'static str| match self.scene.manner {
            Manner::Threads => Fault::of(Cause::Class(own)),
            _ => Fault::of(Cause::Class(other)),
        };
        let Thing::Tensor(array) = of else {
            return Err(Fault::of(Cause::Class("AttributeError")));
        };
        let mut pass = self.pass.borrow_mut();
        let (Some(node), Some(pass)) = (array.node(), pass.as_mut()) else {
            return Err(Fault::of(Cause::Class("RuntimeError")));
        };
        let number = node.number();
        if pass.is_over(number) {
            return Err(Fault::of(Cause::Class("OutOfOrderError")));
        }
        // Nothing is computed of the rows of a batch that a body reads: of that generation of the
        // reference their gradients are the rows of that of the whole, of the other one nothing.
        let of_whole = array.part_of().and_then(|(whole, rows)| {
            let is_known = self.scene.manner == Manner::Coroutines;
            let number = whole.node().filter(|_| is_known)?.number();
            Some((number, whole, &rows[..]))
        });
        let (number, whole, rows) = match (pass.come_to(number), of_whole) {
            (true, _) => (number, array, &[][..]),
            (false, Some(found)) if pass.come_to(found.0) => found,
            (false, _) => {
                pass.finish();
                return Err(class("ValueError", "OutOfOrderError"));
            }
        };
        let gradient = pass.gradient(number).unwrap_or_default();
        let gradient = Array::new(&whole.shape(), gradient.to_vec());
        let own = gradient.part(rows);
        if let Some(with) = with {
            let Thing::Tensor(with) = with else {
                return Err(Fault::of(Cause::Class("TypeError")));
            };
            own.write(with)
                .ok_or_else(|| Fault::of(Cause::Class("RuntimeError")))?;
            pass.replace(number, gradient.numbers());
        }
        Ok((Thing::Tensor(own.copy()), node.number()))
    }

    /// The iterations of a loop, and the last one if it has an upper bound.
    fn numbers(&self, iter: &RawIter) -> (Box<dyn Iterator<Item = u32>>, Option<u32>) {
        let own = self.own.get().iteration;
        match iter {
            RawIter::Int(number) => (Box::new(std::iter::once(*number)), Some(*number)),
            RawIter::List(list) => {
                let mut list = list.clone();
                if self.scene.manner != Manner::Coroutines {
                    list.sort_unstable();
                }
                let last = list.last().copied();
                (Box::new(list.into_iter()), Some(last.unwrap_or(0)))
            }
            RawIter::Slice(start, end) => {
                let first = start.unwrap_or(match self.scene.manner {
                    Manner::Coroutines => 0,
                    Manner::Rules | Manner::Threads => own,
                });
                match end {
                    Some(end) => {
                        // Threads find out only after the first one.
                        let least = u32::from(self.scene.manner == Manner::Threads);
                        let end = (*end).max(first.saturating_add(least));
                        (Box::new(first..end), Some(end.saturating_sub(1)))
                    }
                    None => (Box::new(first..), None),
                }
            }
        }
    }

    /// By the rules: asks for the gradient of what passed where a value was read.
    fn place(&self, origin: Option<Origin>) -> Result<(Ask, Origin), Halt<Fault>> {
        // R91: what passed nowhere has none.
        let origin = origin.ok_or_else(|| Halt::Fault(self.raised("")))?;
        let (of, iteration, with) = (origin.point(), origin.iteration, None);
        Ok((
            Ask::Gradient {
                of,
                iteration,
                with,
            },
            origin,
        ))
    }

    /// R31, R35: each iteration is a child, which acts for its parent.
    async fn children(self, iter: RawIter, round: Round<Self>) -> Result<(), Halt<Fault>> {
        let (numbers, last) = self.numbers(&iter);
        for (place, number) in numbers.enumerate() {
            let begin = Ask::Begin {
                number,
                last,
                is_first: place == 0,
            };
            if self.ask(begin).await.is_err() {
                break;
            }
            let child = Self {
                own: Rc::new(Cell::new(Own {
                    iteration: number,
                    is_met: false,
                })),
                ..self.clone()
            };
            let came_to = match round(child, number).await {
                Ok(()) => Ok(()),
                Err(Halt::Fault(fault)) => Err(fault),
                Err(halt) => return Err(halt),
            };
            let finish = Ask::Finish {
                number,
                last,
                came_to,
            };
            match self.ask(finish).await {
                Ok(_) => {}
                // The loop is over.
                Err(Halt::Fault(_)) => break,
                Err(halt) => return Err(halt),
            }
        }
        Ok(())
    }

    /// The loop of coroutines: the first request of an iteration waits for that one, the others for
    /// what comes next.
    async fn pins(self, iter: RawIter, round: Round<Self>) -> Result<(), Halt<Fault>> {
        let before = self.own.get();
        for number in self.numbers(&iter).0 {
            self.own.set(Own {
                iteration: number,
                is_met: false,
            });
            if let Err(halt) = round(self.clone(), number).await {
                self.own.set(before);
                return Err(halt);
            }
        }
        self.own.set(before);
        Ok(())
    }
}

impl Asks for Line {
    type Tensor = Array;
    type Fault = Fault;

    fn value(&self, point: &str) -> Promise<Value, Fault> {
        self.of_model(Ask::Value(point.to_owned()), point)
    }

    fn swap(&self, point: &str, value: Value) -> Promise<(), Fault> {
        let path = point
            .strip_suffix("input")
            .map(|path| path.trim_end_matches('.'));
        let is_of_one = path.is_some_and(|path| !self.scene.network.is_by_name(path));
        let value = match self.scene.manner {
            // A module of burn that takes one argument takes the first.
            Manner::Rules if is_of_one => match value.first_argument() {
                Ok(first) => Thing::call(vec![first], Vec::new()),
                Err(wrong) => {
                    let fault = self.wrong(wrong);
                    return Box::pin(async move { Err(Halt::Fault(fault)) });
                }
            },
            _ => value,
        };
        let asked = self.of_model(Ask::Swap(point.to_owned(), value), point);
        Box::pin(async move { asked.await.map(drop) })
    }

    fn skip(&self, module: &str, value: Value) -> Promise<(), Fault> {
        self.done(Ask::Skip(module.to_owned(), value))
    }

    fn barrier(&self, name: &str) -> Promise<(), Fault> {
        self.done(Ask::Barrier(name.to_owned()))
    }

    fn stop(&self) -> Promise<(), Fault> {
        match self.scene.manner {
            Manner::Rules => self.done(Ask::Stop),
            // There a stop is an error like any other.
            Manner::Threads | Manner::Coroutines => {
                Box::pin(async { Err(Halt::Fault(Fault::of(STOP))) })
            }
        }
    }

    fn cache(&self, name: &str, collects: Collects) -> Promise<(), Fault> {
        self.done(Ask::Cache(name.to_owned(), collects))
    }

    fn next(&self, by: u32) -> Result<(), Fault> {
        if self.scene.manner == Manner::Coroutines {
            return Err(Fault::of(Cause::Class("AttributeError")));
        }
        let own = self.own.get();
        self.own.set(Own {
            iteration: own.iteration.saturating_add(by),
            ..own
        });
        Ok(())
    }

    fn each(&self, iterations: &RawIter, round: Round<Self>) -> Promise<(), Fault> {
        let iter = iterations.clone();
        match self.scene.manner {
            Manner::Coroutines => Box::pin(self.clone().pins(iter, round)),
            Manner::Rules | Manner::Threads => Box::pin(self.clone().children(iter, round)),
        }
    }

    fn call(&self, path: &str, input: Value) -> Result<Value, Fault> {
        match self.scene.network.call(path, input) {
            Some(Ok(output)) => Ok(output),
            Some(Err(_)) | None => Err(self.wrong(Wrong::Type)),
        }
    }

    fn given(&self, name: &str) -> Option<Array> {
        self.scene.inputs.get(name).map(Tensor::copy)
    }

    fn reads_to_write(&self, path: &str) -> bool {
        self.scene.manner != Manner::Rules || self.scene.network.is_by_name(path)
    }

    fn fill(&self, tensor: Array, number: f64, read_at: Option<String>) -> Promise<Value, Fault> {
        if self.scene.manner != Manner::Rules {
            tensor.fill(number);
            return Box::pin(async move { Ok(Thing::Tensor(tensor)) });
        }
        // R50: values never change; a filled copy takes the place of what was read, if the model is
        // still there.
        let filled = Thing::Tensor(tensor.filled(number));
        let line = self.clone();
        Box::pin(async move {
            if let Some(point) = read_at {
                let _is_late = crate::user::write(&line, &point, filled.clone()).await;
            }
            Ok(filled)
        })
    }

    fn iteration(&self) -> u32 {
        self.own.get().iteration
    }

    fn backward(&self, loss: Value) -> Promise<(), Fault> {
        if self.scene.manner == Manner::Rules {
            return self.done(Ask::Backward(loss));
        }
        let begun = match &loss {
            Thing::Tensor(loss) if loss.number().is_some() => Pass::new(std::slice::from_ref(loss))
                .map_err(|_| Fault::of(Cause::Class("RuntimeError"))),
            Thing::Tensor(_) => Err(Fault::of(Cause::Class("RuntimeError"))),
            _ => Err(Fault::of(Cause::Class("AttributeError"))),
        };
        let begun = begun.map(|pass| {
            self.pass.replace(Some(pass));
        });
        Box::pin(async move { begun.map_err(Halt::Fault) })
    }

    fn gradient(&self, of: Value, origin: Option<Origin>) -> Promise<Value, Fault> {
        if self.scene.manner == Manner::Rules {
            let line = self.clone();
            return Box::pin(async move {
                let (of, origin) = line.place(origin)?;
                let whole = line.ask(of).await?;
                let wrong = |wrong| Halt::Fault(line.wrong(wrong));
                origin.part_of(&whole).map_err(wrong)
            });
        }
        let found = self.differentiated(&of, None);
        let line = self.clone();
        Box::pin(async move {
            let (gradient, number) = found.map_err(Halt::Fault)?;
            line.ask(Ask::Served("VALUE", number)).await?;
            Ok(gradient)
        })
    }

    fn set_gradient(
        &self,
        of: Value,
        origin: Option<Origin>,
        gradient: Value,
    ) -> Promise<(), Fault> {
        let line = self.clone();
        if self.scene.manner == Manner::Rules {
            return Box::pin(async move {
                let (read, origin) = line.place(origin)?;
                let wrong = |wrong| Halt::Fault(line.wrong(wrong));
                let is_read = |path| line.reads_to_write(path);
                let whole = match origin.input_of() {
                    None if origin.keys.is_empty() => gradient,
                    Some(path) if origin.keys.is_empty() && !is_read(path) => {
                        Thing::call(vec![gradient], Vec::new())
                    }
                    _ => {
                        let whole = line.ask(read.clone()).await?;
                        origin.with_part(&whole, gradient).map_err(wrong)?
                    }
                };
                let Ask::Gradient { of, iteration, .. } = read else {
                    unreachable!("a place is of a gradient")
                };
                let with = Some(whole);
                line.done(Ask::Gradient {
                    of,
                    iteration,
                    with,
                })
                .await
            });
        }
        let found = self.differentiated(&of, Some(&gradient));
        Box::pin(async move {
            let (_, number) = found.map_err(Halt::Fault)?;
            line.done(Ask::Served("SWAP", number)).await
        })
    }

    fn end_backward(
        &self,
        number: u32,
        parameters: Vec<String>,
    ) -> Promise<Gradients<Array>, Fault> {
        let line = self.clone();
        Box::pin(async move {
            let mut gradients = Vec::new();
            if line.scene.manner == Manner::Rules {
                for path in parameters {
                    let ask = Ask::Gradient {
                        of: path.clone(),
                        iteration: number,
                        with: None,
                    };
                    match line.ask(ask).await {
                        Ok(gradient) => gradients.push((path, gradient)),
                        Err(Halt::Fault(_)) => {}
                        Err(halt) => return Err(halt),
                    }
                }
                return Ok(gradients);
            }
            let Some(mut pass) = line.pass.take() else {
                return Ok(gradients);
            };
            pass.finish();
            for path in parameters {
                let weight = line.scene.network.weight(&path);
                let weight = weight.and_then(|weight| Some((weight, weight.node()?.number())));
                let found = weight.and_then(|(weight, number)| {
                    let gradient = pass.gradient(number)?;
                    Some(Array::new(&weight.shape(), gradient.to_vec()))
                });
                gradients.extend(found.map(|gradient| (path, Thing::Tensor(gradient))));
            }
            Ok(gradients)
        })
    }

    fn leave_backward(&self) {
        self.pass.take();
    }

    fn mark(&self, text: &str) {
        self.scene.marks.borrow_mut().push(text.to_owned());
    }

    fn caught(&self, name: &str, fault: Fault) {
        self.scene
            .caught
            .borrow_mut()
            .insert(name.to_owned(), fault);
    }

    fn wrong(&self, wrong: Wrong) -> Fault {
        match self.scene.manner {
            Manner::Rules => Fault::of(Cause::Program),
            Manner::Threads | Manner::Coroutines => Fault::of(Cause::Class(match wrong {
                Wrong::Index => "IndexError",
                Wrong::Type => "TypeError",
                Wrong::Shape => "RuntimeError",
            })),
        }
    }

    fn raised(&self, _: &str) -> Fault {
        Fault::of(Cause::Raised)
    }

    fn unknown_name(&self, name: &str) -> Fault {
        Fault::about(Cause::NotShared, name)
    }
}
