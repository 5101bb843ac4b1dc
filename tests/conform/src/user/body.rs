//! A body that does its steps one after another.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value as Json;

use super::formula::Formula;
use super::{Asks, Halt, Names, Operation, Origin, Promise, Span, Thing, Wrong};
use crate::scenario::{RawIter, RawStep, Unsupported, has_step, parameters};

type Running<T, A> = Promise<T, <A as Asks>::Fault>;
type ThingOf<A> = Thing<<A as Asks>::Tensor>;

/// Checks that steps and their expressions are of the format.
///
/// # Errors
///
/// What the format does not have, or what is not compared.
pub(crate) fn check(steps: &[RawStep]) -> Result<(), Unsupported> {
    for step in steps {
        step.expr().map(Formula::of).transpose()?;
        check(step.body())?;
        if let RawStep::Cache {
            include_output: false,
            include_inputs: false,
            ..
        } = step
        {
            return Err("a cache of nothing".to_owned().into());
        }
    }
    let is_backward = |step: &RawStep| matches!(step, RawStep::Backward { .. });
    let is_in_place = |step: &RawStep| matches!(step, RawStep::InplaceFill { .. });
    if has_step(steps, &is_backward) && has_step(steps, &is_in_place) {
        return Err(Unsupported::Outside(
            "a gradient of what is changed in place",
        ));
    }
    Ok(())
}

/// A body that is run.
pub(crate) struct Body<A: Asks> {
    names: Names<A::Tensor>,
    /// The parameters whose gradients it saves, in the order of the model.
    parameters: Vec<String>,
    /// Their gradients: the sums of those of all passes.
    gradients: RefCell<BTreeMap<String, ThingOf<A>>>,
    /// How many backward passes it has asked for.
    passes: Cell<u32>,
}

impl<A: Asks> Body<A> {
    /// Makes a body of these steps, which it is then given to do.
    pub(crate) fn new(names: Names<A::Tensor>, steps: &[RawStep]) -> Rc<Self> {
        Rc::new(Self {
            names,
            parameters: parameters(steps),
            gradients: RefCell::default(),
            passes: Cell::new(0),
        })
    }

    /// Does steps that were [checked](check).
    pub(crate) fn steps(self: Rc<Self>, cx: A, steps: Rc<[RawStep]>) -> Running<(), A> {
        Box::pin(async move {
            for step in steps.iter() {
                self.clone().step(cx.clone(), step).await?;
            }
            Ok(())
        })
    }

    async fn step(self: Rc<Self>, cx: A, step: &RawStep) -> Result<(), Halt<A::Fault>> {
        match step {
            RawStep::Read { target, r#as, save } => {
                let origin = origin_at(&cx, target);
                let thing = read(&cx, target).await?;
                self.assign(r#as, thing, *save, Some(origin));
            }
            RawStep::Let { r#as, expr, save } => {
                let origin = self.origin(&cx, &formula(expr));
                let thing = self.clone().evaluate(cx, formula(expr)).await?;
                self.assign(r#as, thing, *save, origin);
            }
            RawStep::Save { name } => {
                let thing = self.find(&cx, name)?;
                self.names.save(name, thing);
            }
            RawStep::Write { target, expr } => {
                let thing = self.clone().evaluate(cx.clone(), formula(expr)).await?;
                write(&cx, target, thing).await?;
            }
            RawStep::Mark { text } => cx.mark(text),
            RawStep::Raise { message } => return Err(Halt::Fault(cx.raised(message))),
            RawStep::Try { body, r#as } => {
                let tried = self.steps(cx.clone(), body.clone().into()).await;
                match tried {
                    Err(Halt::Fault(fault)) => cx.caught(r#as, fault),
                    other => other?,
                }
            }
            RawStep::Stop => cx.stop().await?,
            RawStep::Skip { module, expr } => {
                let thing = self.clone().evaluate(cx.clone(), formula(expr)).await?;
                cx.skip(module, thing).await?;
            }
            RawStep::Barrier { name } => cx.barrier(name).await?,
            RawStep::Iter { iter, var, body } => self.each(&cx, iter, var, body).await?,
            RawStep::Next { step } => cx.next(step.unwrap_or(1)).map_err(Halt::Fault)?,
            RawStep::IfEq { var, value, body } => {
                let found = self.find(&cx, var)?;
                if found.equals(*value).map_err(wrong(&cx))? {
                    self.steps(cx, body.clone().into()).await?;
                }
            }
            RawStep::List { r#as } => self.assign(r#as, Thing::list(Vec::new()), true, None),
            RawStep::Append { list, expr } => {
                // The list is looked up before what it gets, and must be one.
                let list = self.find(&cx, list)?;
                if !list.is_list() {
                    return Err(wrong(&cx)(Wrong::Type));
                }
                let item = self.clone().evaluate(cx.clone(), formula(expr)).await?;
                list.append(item).map_err(wrong(&cx))?;
            }
            RawStep::Cache { .. } => {
                if let Some((name, collects)) = step.cache() {
                    cx.cache(name, collects).await?;
                }
            }
            RawStep::InplaceFill { var, value } => {
                let Thing::Tensor(tensor) = self.find(&cx, var)? else {
                    return Err(wrong(&cx)(Wrong::Type));
                };
                let read_at = self.names.read_at(var);
                let target = read_at.as_ref().map(|origin| origin.target.clone());
                let filled = cx.fill(tensor, *value, target).await?;
                self.assign(var, filled, false, read_at);
            }
            RawStep::Backward { of, body } => {
                let loss = self.clone().evaluate(cx.clone(), formula(of)).await?;
                self.backward(&cx, loss, body).await?;
            }
            RawStep::ReadGrad { var, r#as } => {
                let (of, origin) = (self.find(&cx, var)?, self.names.read_at(var));
                let gradient = cx.gradient(of, origin).await?;
                self.assign(r#as, gradient, true, None);
            }
            RawStep::WriteGrad { var, expr } => {
                let (of, origin) = (self.find(&cx, var)?, self.names.read_at(var));
                let gradient = self.clone().evaluate(cx.clone(), formula(expr)).await?;
                cx.set_gradient(of, origin, gradient).await?;
            }
            RawStep::SaveParamGrad { param, r#as } => {
                let gradient = self.gradients.borrow().get(param).cloned();
                self.assign(r#as, gradient.unwrap_or(Thing::None), true, None);
            }
        }
        Ok(())
    }

    /// Does the steps in a backward pass, and takes the gradients of parameters when it is over.
    async fn backward(
        self: Rc<Self>,
        cx: &A,
        loss: ThingOf<A>,
        body: &[RawStep],
    ) -> Result<(), Halt<A::Fault>> {
        cx.backward(loss).await?;
        let number = self.passes.get();
        self.passes.set(number + 1);
        if let Err(halt) = self.clone().steps(cx.clone(), body.into()).await {
            cx.leave_backward();
            return Err(halt);
        }
        let gradients = cx.end_backward(number, self.parameters.clone()).await?;
        let mut all = self.gradients.borrow_mut();
        for (path, gradient) in gradients {
            let sum = match all.get(&path) {
                Some(before) => before
                    .combine(Operation::Add, &gradient)
                    .map_err(wrong(cx))?,
                None => gradient,
            };
            all.insert(path, sum);
        }
        Ok(())
    }

    async fn each(
        self: Rc<Self>,
        cx: &A,
        iter: &RawIter,
        variable: &str,
        body: &[RawStep],
    ) -> Result<(), Halt<A::Fault>> {
        let (body, variable): (Rc<[RawStep]>, String) = (body.into(), variable.to_owned());
        let round = move |cx: A, iteration: u32| {
            self.assign(&variable, Thing::integer(iteration), false, None);
            self.clone().steps(cx, body.clone())
        };
        cx.each(iter, Box::new(round)).await
    }

    fn evaluate(self: Rc<Self>, cx: A, formula: Formula) -> Running<ThingOf<A>, A> {
        Box::pin(async move {
            let of = |formula: Box<Formula>| self.clone().evaluate(cx.clone(), *formula);
            let computed = match formula {
                Formula::Number { number, is_integer } => Ok(Thing::Number { number, is_integer }),
                Formula::Variable(name) => Ok(self.find(&cx, &name)?),
                Formula::Tensor(name) => match cx.given(&name) {
                    Some(tensor) => Ok(Thing::Tensor(tensor)),
                    None => return Err(Halt::Fault(cx.unknown_name(&name))),
                },
                Formula::Read(target) => Ok(read(&cx, &target).await?),
                Formula::Combine(operation, left, right) => {
                    let left = of(left).await?;
                    left.combine(operation, &of(right).await?)
                }
                Formula::Of(function, from) => of(from).await?.apply(function),
                Formula::Rows(from, rows) => of(from).await?.clip(&[rows]),
                Formula::Columns(from, columns) => of(from).await?.clip(&[Span::ALL, columns]),
                Formula::Index(from, key) => of(from).await?.index(&key),
                Formula::Tuple(items) => {
                    Ok(Thing::Tuple(self.clone().all(&cx, items).await?.into()))
                }
                Formula::ReplaceFirst(from, first) => {
                    let from = of(from).await?;
                    from.with_first(of(first).await?)
                }
                Formula::Inputs(places, names) => {
                    let places = self.clone().all(&cx, places).await?;
                    let (names, items): (Vec<_>, Vec<_>) = names.into_iter().unzip();
                    let items = self.clone().all(&cx, items).await?;
                    Ok(Thing::call(places, names.into_iter().zip(items).collect()))
                }
                Formula::Module(path, input) => {
                    let input = of(input).await?;
                    return cx.call(&path, input).map_err(Halt::Fault);
                }
                Formula::Nothing => Ok(Thing::None),
            };
            computed.map_err(wrong(&cx))
        })
    }

    async fn all(
        self: Rc<Self>,
        cx: &A,
        items: Vec<Formula>,
    ) -> Result<Vec<ThingOf<A>>, Halt<A::Fault>> {
        let mut found = Vec::new();
        for item in items {
            found.push(self.clone().evaluate(cx.clone(), item).await?);
        }
        Ok(found)
    }

    fn find(&self, cx: &A, name: &str) -> Result<ThingOf<A>, Halt<A::Fault>> {
        let found = self.names.find(name);
        found.ok_or_else(|| Halt::Fault(cx.unknown_name(name)))
    }

    fn assign(&self, name: &str, thing: ThingOf<A>, is_saved: bool, read_at: Option<Origin>) {
        self.names.assign(name, thing.clone(), read_at);
        if is_saved {
            self.names.save(name, thing);
        }
    }

    /// Where the value of an expression was read, if it is what was read.
    fn origin(&self, cx: &A, formula: &Formula) -> Option<Origin> {
        match formula {
            Formula::Read(target) => Some(origin_at(cx, target)),
            Formula::Variable(name) => self.names.read_at(name),
            Formula::Index(from, key) => {
                let mut origin = self.origin(cx, from)?;
                // An item of a tensor is one of its own.
                let of = match &**from {
                    Formula::Variable(name) => self.names.find(name),
                    _ => None,
                };
                origin.keys.push(key.clone());
                of.is_none_or(|of| !matches!(of, Thing::Tensor(_)))
                    .then_some(origin)
            }
            _ => None,
        }
    }
}

/// Where something is that is read at a target now.
fn origin_at<A: Asks>(cx: &A, target: &str) -> Origin {
    Origin {
        target: target.to_owned(),
        iteration: cx.iteration(),
        keys: Vec::new(),
    }
}

async fn read<A: Asks>(cx: &A, target: &str) -> Result<ThingOf<A>, Halt<A::Fault>> {
    match port(target) {
        (path, "inputs") => cx.value(&input_of(path)).await,
        (_, "input") => {
            let call = cx.value(target).await?;
            call.first_argument().map_err(wrong(cx))
        }
        _ => cx.value(target).await,
    }
}

pub(crate) async fn write<A: Asks>(
    cx: &A,
    target: &str,
    thing: ThingOf<A>,
) -> Result<(), Halt<A::Fault>> {
    match port(target) {
        (path, "inputs") => cx.swap(&input_of(path), thing).await,
        (path, "input") if cx.reads_to_write(path) => {
            // The first of the arguments; the others stay.
            let call = cx.value(target).await?;
            let call = call.with_first_argument(thing).map_err(wrong(cx))?;
            cx.swap(target, call).await
        }
        (_, "input") => cx.swap(target, Thing::call(vec![thing], Vec::new())).await,
        _ => cx.swap(target, thing).await,
    }
}

fn formula(expr: &Json) -> Formula {
    Formula::of(expr).expect("the expressions were checked before")
}

fn wrong<A: Asks>(cx: &A) -> impl Fn(Wrong) -> Halt<A::Fault> {
    let cx = cx.clone();
    move |wrong| Halt::Fault(cx.wrong(wrong))
}

/// Splits a target into the path and the port.
fn port(target: &str) -> (&str, &str) {
    target.rsplit_once('.').unwrap_or(("", target))
}

fn input_of(path: &str) -> String {
    match path {
        "" => "input".to_owned(),
        path => format!("{path}.input"),
    }
}
