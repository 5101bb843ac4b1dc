//! Scenarios as they are written, without programs: async mediators that do the steps of a body one
//! after another.
//!
//! In the reference the bodies of a scenario are functions that share names, and what a name stands
//! for can be a list that grows under all its names. Programs have values and no references; where
//! that makes a difference, a scenario is run so.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use interloom_backends::{Sites, Value};
use interloom_engine::{Cached, Cx, Fault, FaultKind, Mediator};
use interloom_program::{Arithmetic, Operand, ProgramFault};

use super::run::{Surroundings, item};
use super::translate::{over, spec};
use crate::outcome::Item;
use crate::scenario::{RawIter, RawStep};
use crate::user::{
    Asks, Body, Collects, Globals, Gradients, Halt, Names, Operation, Origin, Promise, Round,
    Saved, Tensor, Thing, Wrong, write,
};

/// The steps of one body.
pub(crate) type Script = Rc<[RawStep]>;

/// What the scripts of a scenario share.
#[derive(Default)]
pub(crate) struct ScriptGlobals {
    /// The names of the run at hand.
    board: std::cell::RefCell<Globals<Value>>,
    pub(crate) saved: Saved<Value>,
}

impl ScriptGlobals {
    /// Makes a mediator of the script of the block at this place of its run.
    pub(crate) fn mediator(
        &self,
        script: &Script,
        index: usize,
        around: &Surroundings,
    ) -> Box<dyn Mediator<Value>> {
        if index == 0 {
            // What earlier runs have saved is there, until the name gets another value.
            let saved = self.saved.borrow();
            let saved = saved.iter();
            let names = saved.map(|(name, saved)| (name.clone(), saved.thing.clone()));
            self.board
                .replace(Rc::new(names.collect::<BTreeMap<_, _>>().into()));
        }
        let board = self.board.borrow().clone();
        let names = Names::new(BTreeMap::new(), board, self.saved.clone());
        let body = Body::new(names, script);
        let (steps, around) = (script.clone(), around.clone());
        let map = Sites::map(around.sites()).clone();
        let (mediator, _) = interloom_engine::mediator(map, move |cx| {
            let running = body.steps(Line { cx, around }, steps);
            async move {
                match running.await {
                    Ok(()) => Ok(()),
                    Err(Halt::Fault(fault) | Halt::Fatal(fault)) => Err(fault),
                    Err(Halt::Stopped) => unreachable!("who stops is not resumed"),
                }
            }
        });
        Box::new(mediator)
    }
}

/// A body's way to Interloom.
#[derive(Clone)]
struct Line {
    cx: Cx<Value>,
    around: Surroundings,
}

impl Line {
    fn promise<T: 'static>(
        &self,
        ask: impl AsyncFnOnce(Cx<Value>, Surroundings) -> Result<T, Fault> + 'static,
    ) -> Promise<T, Fault> {
        let (cx, around) = (self.cx.clone(), self.around.clone());
        Box::pin(async move { ask(cx, around).await.map_err(Halt::Fault) })
    }
}

/// The site of the gradient of what was read.
fn gradient_site(origin: &Origin) -> String {
    format!("{}.grad.i{}", origin.point(), origin.iteration)
}

impl Line {
    /// R91: what passed nowhere has no gradient.
    fn origin(&self, origin: Option<Origin>) -> Result<Origin, Fault> {
        origin.ok_or_else(|| Fault::raise("a gradient of what passes no site"))
    }

    /// The gradient of all that passed where something was read.
    async fn whole_gradient(&self, origin: &Origin) -> Result<Thing<Value>, Fault> {
        let gradient = self.cx.value(&*gradient_site(origin)).await?;
        let thing = thing(&gradient);
        let is_bare = origin
            .input_of()
            .is_some_and(|path| !self.around.model.is_by_name(path));
        Ok(match is_bare {
            true => Thing::call(vec![thing], Vec::new()),
            false => thing,
        })
    }
}

impl Asks for Line {
    type Tensor = Value;
    type Fault = Fault;

    fn value(&self, point: &str) -> Promise<Thing<Value>, Fault> {
        let point = point.to_owned();
        self.promise(async move |cx, around| {
            let value = cx.value(&*point).await?;
            let thing = thing(&value);
            let is_bare = point.ends_with("input") && !around.is_by_name(&point);
            Ok(if is_bare {
                Thing::call(vec![thing], Vec::new())
            } else {
                thing
            })
        })
    }

    fn swap(&self, point: &str, value: Thing<Value>) -> Promise<(), Fault> {
        let (point, line) = (point.to_owned(), self.clone());
        self.promise(async move |cx, around| {
            let is_bare = point.ends_with("input") && !around.is_by_name(&point);
            let value = if is_bare {
                value.first_argument().map_err(|wrong| line.wrong(wrong))?
            } else {
                value
            };
            cx.set(&*point, own(&value)?).await
        })
    }

    fn skip(&self, module: &str, value: Thing<Value>) -> Promise<(), Fault> {
        let module = module.to_owned();
        self.promise(async move |cx, _| cx.skip(&module, own(&value)?).await)
    }

    fn barrier(&self, name: &str) -> Promise<(), Fault> {
        let name = name.to_owned();
        self.promise(async move |cx, _| cx.barrier(&name).await)
    }

    fn stop(&self) -> Promise<(), Fault> {
        self.promise(async |cx, _| match cx.stop().await? {})
    }

    fn cache(&self, name: &str, collects: Collects) -> Promise<(), Fault> {
        let name = name.to_owned();
        self.promise(async move |cx, around| {
            let cached = cx.cache(spec(&collects)).await;
            // One that is refused has collected nothing.
            let empty = || Cached::new(Sites::map(around.sites()).clone());
            let kept = cached.as_ref().ok().cloned().unwrap_or_else(empty);
            around.results.declare_cache(&name, kept);
            cached.map(drop)
        })
    }

    fn next(&self, by: u32) -> Result<(), Fault> {
        self.cx.next(by);
        Ok(())
    }

    fn each(&self, iterations: &RawIter, round: Round<Self>) -> Promise<(), Fault> {
        let iterations = over(iterations).iterations();
        self.promise(async move |cx, around| {
            let each = |cx: Cx<Value>, number: u32| {
                let around = around.clone();
                let running = round(Self { cx, around }, number);
                async move {
                    match running.await {
                        Ok(()) => Ok(()),
                        Err(Halt::Fault(fault) | Halt::Fatal(fault)) => Err(fault),
                        Err(Halt::Stopped) => unreachable!("who stops is not resumed"),
                    }
                }
            };
            cx.for_each(iterations, each).await.map(drop)
        })
    }

    fn call(&self, path: &str, input: Thing<Value>) -> Result<Thing<Value>, Fault> {
        let output = self.around.call(path, own(&input)?)?;
        Ok(thing(&output))
    }

    fn given(&self, name: &str) -> Option<Value> {
        self.around.input(name).cloned()
    }

    fn reads_to_write(&self, path: &str) -> bool {
        self.around.model.is_by_name(path)
    }

    /// A filled copy takes the value's place, also in the model.
    fn fill(
        &self,
        tensor: Value,
        number: f64,
        read_at: Option<String>,
    ) -> Promise<Thing<Value>, Fault> {
        let zeros = Tensor::zeros(&tensor);
        let filled = zeros.and_then(|zeros| {
            let filled = Tensor::with_number(&zeros, Operation::Add, number, false);
            filled.map(Thing::Tensor)
        });
        let line = self.clone();
        Box::pin(async move {
            let filled = filled.ok_or_else(|| Halt::Fault(line.wrong(Wrong::Type)))?;
            if let Some(point) = read_at {
                // Where the model is past the site, only this body sees the filled value.
                let _is_late = write(&line, &point, filled.clone()).await;
            }
            Ok(filled)
        })
    }

    fn iteration(&self) -> u32 {
        self.cx.iteration()
    }

    fn backward(&self, loss: Thing<Value>) -> Promise<(), Fault> {
        self.promise(async move |cx, _| cx.backward(own(&loss)?).await)
    }

    fn gradient(&self, _: Thing<Value>, origin: Option<Origin>) -> Promise<Thing<Value>, Fault> {
        let line = self.clone();
        self.promise(async move |_, _| {
            let origin = line.origin(origin)?;
            let whole = line.whole_gradient(&origin).await?;
            origin.part_of(&whole).map_err(|wrong| line.wrong(wrong))
        })
    }

    fn set_gradient(
        &self,
        _: Thing<Value>,
        origin: Option<Origin>,
        gradient: Thing<Value>,
    ) -> Promise<(), Fault> {
        let line = self.clone();
        self.promise(async move |cx, _| {
            let origin = line.origin(origin)?;
            let is_read = |path| line.reads_to_write(path);
            let is_whole = origin.keys.is_empty() && !origin.input_of().is_some_and(is_read);
            let whole = match is_whole {
                true => gradient,
                false => {
                    let whole = line.whole_gradient(&origin).await?;
                    let with = origin.with_part(&whole, gradient);
                    with.map_err(|wrong| line.wrong(wrong))?
                }
            };
            cx.set(&*gradient_site(&origin), own(&whole)?).await
        })
    }

    fn end_backward(
        &self,
        number: u32,
        parameters: Vec<String>,
    ) -> Promise<Gradients<Value>, Fault> {
        self.promise(async move |cx, around| {
            let mut gradients = Vec::new();
            for path in parameters {
                // One that the loss does not reach has none.
                if let Ok(gradient) = cx.value(&*format!("{path}.grad.i{number}")).await {
                    let gradient = around.model.as_stored(gradient)?;
                    gradients.push((path, Thing::Tensor(gradient)));
                }
            }
            Ok(gradients)
        })
    }

    fn mark(&self, text: &str) {
        self.around.results.mark(text);
    }

    fn caught(&self, name: &str, fault: Fault) {
        self.around.results.catch(name, fault);
    }

    fn wrong(&self, wrong: Wrong) -> Fault {
        let (expected, found) = match wrong {
            Wrong::Index => ("an item", "nothing"),
            Wrong::Type => ("a thing of the right kind", "one of another kind"),
            Wrong::Shape => ("shapes that go together", "others"),
        };
        ProgramFault::Kind {
            place: "a script".into(),
            expected: expected.into(),
            found: found.into(),
        }
        .into()
    }

    fn raised(&self, message: &str) -> Fault {
        Fault::raise(message)
    }

    fn unknown_name(&self, name: &str) -> Fault {
        let asked = name.to_owned();
        let there = Vec::new();
        FaultKind::NotShared { asked, there }.into()
    }
}

/// Returns a value as a name can stand for it.
fn thing(value: &Value) -> Thing<Value> {
    match value {
        Value::Unit => Thing::None,
        Value::Bool(truth) => Thing::Bool(*truth),
        Value::Int(number) => Thing::Number {
            number: *number as f64,
            is_integer: true,
        },
        Value::Float(number) => Thing::float(*number),
        Value::Text(text) => Thing::Opaque((**text).into()),
        Value::Tensor(_) => Thing::Tensor(value.clone()),
        Value::Tuple(items) => Thing::Tuple(items.iter().map(thing).collect()),
        Value::List(items) => Thing::list(items.iter().map(thing).collect()),
        Value::Map(items) => {
            let items = items.iter();
            Thing::Map(
                items
                    .map(|(name, item)| (name.to_string(), thing(item)))
                    .collect(),
            )
        }
    }
}

/// Returns it as a value of its own, which does not grow with the lists in it.
fn own(thing: &Thing<Value>) -> Result<Value, Fault> {
    let all = |items: &[Thing<Value>]| items.iter().map(own).collect::<Result<_, Fault>>();
    Ok(match thing {
        Thing::None => Value::Unit,
        Thing::Bool(truth) => Value::Bool(*truth),
        Thing::Number {
            number,
            is_integer: true,
        } => Value::Int(*number as i64),
        Thing::Number { number, .. } => Value::Float(*number),
        Thing::Opaque(name) => Value::Text((**name).into()),
        Thing::Tensor(tensor) => tensor.clone(),
        Thing::Tuple(items) => Value::Tuple(all(items)?),
        // A list in itself has no end.
        Thing::List(items) if thing.item().is_some() => Value::List(all(&items.borrow())?),
        Thing::List(_) => return Err(Fault::raise("a list that is in itself")),
        Thing::Map(items) => {
            let items = items.iter();
            let items = items.map(|(name, item)| Ok((name.as_str().into(), own(item)?)));
            Value::Map(items.collect::<Result<_, Fault>>()?)
        }
    })
}

impl Tensor for Value {
    fn item(&self) -> Item {
        item(self)
    }

    fn shape(&self) -> Vec<usize> {
        let shape = Operand::shape(self).unwrap_or_default();
        shape.into_iter().map(|length| length as usize).collect()
    }

    fn number(&self) -> Option<f64> {
        Operand::number(self)
    }

    fn combine(&self, operation: Operation, right: &Self) -> Option<Self> {
        Operand::combine(self, arithmetic(operation), right).ok()
    }

    fn with_number(&self, operation: Operation, number: f64, is_left: bool) -> Option<Self> {
        let operation = arithmetic(operation);
        let combined = if is_left {
            self.after_number(number, operation)
        } else {
            Operand::with_number(self, operation, number)
        };
        combined.ok()
    }

    fn copy(&self) -> Self {
        self.clone()
    }

    fn zeros(&self) -> Option<Self> {
        self.zeros_like().ok()
    }

    fn sum(&self) -> Option<Self> {
        Operand::sum(self).ok()
    }

    fn argmax_last(&self) -> Option<Self> {
        Operand::argmax_last(self).ok()
    }

    fn slice(&self, places: &[Range<usize>]) -> Option<Self> {
        let shape = Tensor::shape(self);
        let whole = shape.iter().skip(places.len()).map(|&length| 0..length);
        let ranges = places.iter().cloned().chain(whole);
        let ranges: Vec<_> = ranges
            .map(|range| range.start as u64..range.end as u64)
            .collect();
        Operand::slice(self, &ranges).ok()
    }

    fn at(&self, place: usize) -> Option<Self> {
        Operand::at(self, place as u64).ok()
    }
}

fn arithmetic(operation: Operation) -> Arithmetic {
    match operation {
        Operation::Add => Arithmetic::Add,
        Operation::Sub => Arithmetic::Sub,
        Operation::Mul => Arithmetic::Mul,
    }
}
