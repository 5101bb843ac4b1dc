//! Scenarios as they are written, without programs: mediators that do the steps of a body one after another.
//!
//! In the reference the bodies of a scenario are functions that share names, and what a name stands for can be a list that
//! grows under all its names. Programs have values and no references; where that makes a difference, a scenario is run so.

mod company;
mod formula;
mod thing;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;

use interloom_backends::{Sites, Value};
use interloom_engine::program::{Arithmetic, Span};
use interloom_engine::{Cached, Cx, Fault, FaultKind};

use super::run::Surroundings;
use super::scenario::{RawIter, RawStep};
use super::translate::{Untranslated, input_of, over, port, spec};
pub(super) use company::Company;
use company::{Names, Sharing};
use formula::{Formula, Function, Key};
use thing::Thing;

/// The steps of a body, whose expressions are all of the format.
#[derive(Clone, Debug)]
pub(super) struct Script(Rc<[RawStep]>);

impl Script {
    /// # Errors
    ///
    /// What the format does not have, or what is about gradients.
    pub(super) fn of(steps: &[RawStep]) -> Result<Self, Untranslated> {
        check(steps)?;
        Ok(Self(steps.into()))
    }
}

fn check(steps: &[RawStep]) -> Result<(), Untranslated> {
    for step in steps {
        step.expr().map(Formula::of).transpose()?;
        check(step.body())?;
        match step {
            RawStep::Cache {
                include_output,
                include_inputs,
                ..
            } => drop(spec(None, *include_inputs, *include_output)?),
            RawStep::Backward {} | RawStep::SaveParamGrad {} => {
                return Err(Untranslated::Gradients);
            }
            _ => {}
        }
    }
    Ok(())
}

/// A body that is run.
struct Body {
    around: Surroundings,
    sharing: Sharing,
    board: Rc<Names>,
    saved: Rc<Names>,
    own: Names,
    /// Where each of its own names was read.
    read_at: RefCell<BTreeMap<String, String>>,
    /// What it has seen of the names of others.
    seen: Names,
    /// What its iterations have given names that nobody has seen.
    kept: RefCell<Vec<(String, Thing)>>,
    /// In how many loops it is.
    depth: Cell<u32>,
}

type Steps = Rc<[RawStep]>;
type Running<T> = Pin<Box<dyn Future<Output = Result<T, Fault>>>>;

impl Body {
    fn new(around: &Surroundings, sharing: Sharing, board: Rc<Names>, saved: Rc<Names>) -> Self {
        Self {
            around: around.clone(),
            sharing,
            board,
            saved,
            own: RefCell::default(),
            read_at: RefCell::default(),
            seen: RefCell::default(),
            kept: RefCell::default(),
            depth: Cell::new(0),
        }
    }

    fn steps(self: Rc<Self>, cx: Cx<Value>, steps: Steps) -> Running<()> {
        Box::pin(async move {
            self.look();
            for step in steps.iter() {
                self.clone().step(cx.clone(), step).await?;
            }
            Ok(())
        })
    }

    async fn step(self: Rc<Self>, cx: Cx<Value>, step: &RawStep) -> Result<(), Fault> {
        match step {
            RawStep::Read { target, r#as, save } => {
                let value = self.read(&cx, target).await?;
                self.assign(r#as, value, *save);
                self.note_read(r#as, Some(target.clone()));
            }
            RawStep::Let { r#as, expr, save } => {
                let thing = self.clone().evaluate(cx, formula(expr)).await?;
                let read_at = self.origin(expr);
                self.assign(r#as, thing, *save);
                self.note_read(r#as, read_at);
            }
            RawStep::Save { name } => self.save(name)?,
            RawStep::Write { target, expr } => {
                let thing = self.clone().evaluate(cx.clone(), formula(expr)).await?;
                self.write(&cx, target, &thing).await?;
            }
            RawStep::Mark { text } => self.around.results.mark(text),
            RawStep::Raise { message } => return Err(Fault::raise(message)),
            RawStep::Try { body, r#as } => {
                let tried = self.clone().steps(cx, body.clone().into()).await;
                if let Err(fault) = tried {
                    self.around.results.catch(r#as, fault);
                }
            }
            RawStep::Stop => match cx.stop().await? {},
            RawStep::Skip { module, expr } => {
                let thing = self.clone().evaluate(cx.clone(), formula(expr)).await?;
                cx.skip(module, thing.whole("a skip")?).await?;
                self.look();
            }
            RawStep::Barrier { name } => {
                cx.barrier(name).await?;
                self.look();
            }
            RawStep::Iter { iter, var, body } => self.each(cx, iter, var, body).await?,
            RawStep::Next { step } => cx.next(step.unwrap_or(1)),
            RawStep::IfEq { var, value, body } => {
                if self.find(var)?.equals(*value)? {
                    self.steps(cx, body.clone().into()).await?;
                }
            }
            RawStep::List { r#as } => {
                self.assign(r#as, Thing::list(Vec::new()), true);
                self.note_read(r#as, None);
            }
            RawStep::Append { list, expr } => {
                // The list is looked up before what it gets, and must be one.
                let list = self.find(list)?;
                list.as_list()?;
                let item = self.evaluate(cx, formula(expr)).await?;
                list.append(item)?;
            }
            RawStep::Cache {
                r#as,
                modules,
                include_output,
                include_inputs,
            } => {
                let spec = spec(modules.as_deref(), *include_inputs, *include_output);
                let spec = spec.expect("a script has no caches of nothing");
                let cached = cx.cache(spec).await;
                // One that is refused has collected nothing.
                let empty = || Cached::new(Sites::map(self.around.sites()).clone());
                let kept = cached.as_ref().ok().cloned().unwrap_or_else(empty);
                self.around.results.declare_cache(r#as, kept);
                cached?;
                self.look();
            }
            RawStep::InplaceFill { var, value } => self.fill(&cx, var, *value).await?,
            RawStep::Backward {} | RawStep::SaveParamGrad {} => {
                unreachable!("a script has no steps about gradients")
            }
        }
        Ok(())
    }

    async fn each(
        self: Rc<Self>,
        cx: Cx<Value>,
        iter: &RawIter,
        variable: &str,
        body: &[RawStep],
    ) -> Result<(), Fault> {
        let (body, variable): (Steps, String) = (body.into(), variable.to_owned());
        let depth = self.depth.get();
        let parent = self.clone();
        let each = move |cx: Cx<Value>, iteration: u32| {
            let (this, body, variable) = (self.clone(), body.clone(), variable.clone());
            async move {
                this.show(depth);
                this.depth.set(depth + 1);
                let number = Thing::Number {
                    number: iteration.into(),
                    is_integer: true,
                };
                this.assign(&variable, number, false);
                this.note_read(&variable, None);
                this.steps(cx, body).await
            }
        };
        cx.for_each(over(iter).iterations(), each).await?;
        parent.depth.set(depth);
        parent.show(depth);
        parent.look();
        Ok(())
    }

    async fn read(&self, cx: &Cx<Value>, target: &str) -> Result<Thing, Fault> {
        let thing = match port(target) {
            (path, "inputs") if self.around.model.is_by_name(path) => {
                Thing::Value(cx.value(&input_of(path)).await?)
            }
            (path, "inputs") => {
                let first = cx.value(&input_of(path)).await?;
                inputs(vec![Thing::Value(first)], Vec::new())
            }
            (path, "input") if self.around.model.is_by_name(path) => {
                let call = Thing::Value(cx.value(target).await?);
                call.index(&Key::Place(0))?.index(&Key::Place(0))?
            }
            _ => Thing::Value(cx.value(target).await?),
        };
        self.look();
        Ok(thing)
    }

    async fn write(&self, cx: &Cx<Value>, target: &str, thing: &Thing) -> Result<(), Fault> {
        let (path, value) = match port(target) {
            (path, "inputs") if self.around.model.is_by_name(path) => {
                (input_of(path), thing.whole("a write")?)
            }
            (path, "inputs") => {
                let first = thing.index(&Key::Place(0))?.index(&Key::Place(0))?;
                (input_of(path), first.whole("a write")?)
            }
            (path, "input") if self.around.model.is_by_name(path) => {
                // The first of the arguments by place; the others stay.
                let call = Thing::Value(cx.value(&input_of(path)).await?);
                self.look();
                let places = call.index(&Key::Place(0))?.with_first(thing.clone())?;
                (input_of(path), call.with_first(places)?.value()?)
            }
            _ => (target.to_owned(), thing.whole("a write")?),
        };
        cx.set(&path, value).await?;
        self.look();
        Ok(())
    }

    /// A filled copy takes the value's place, also in the model.
    async fn fill(&self, cx: &Cx<Value>, name: &str, value: f64) -> Result<(), Fault> {
        let zeros = self.find(name)?.apply(Function::ZerosLike)?;
        let number = Thing::Number {
            number: value,
            is_integer: false,
        };
        let filled = zeros.combine(Arithmetic::Add, &number)?;
        self.assign(name, filled.clone(), false);
        let target = self.read_at.borrow().get(name).cloned();
        if let Some(target) = target {
            // Where the model is past the site, nobody but this body sees the filled value.
            let _is_late = self.write(cx, &target, &filled).await;
        }
        Ok(())
    }

    fn evaluate(self: Rc<Self>, cx: Cx<Value>, formula: Formula) -> Running<Thing> {
        Box::pin(async move {
            let of = |formula: Box<Formula>| self.clone().evaluate(cx.clone(), *formula);
            Ok(match formula {
                Formula::Number { number, is_integer } => Thing::Number { number, is_integer },
                Formula::Variable(name) => self.find(&name)?,
                Formula::Tensor(name) => {
                    let input = self.around.input(&name).cloned();
                    Thing::Value(input.ok_or_else(|| not_shared(&name))?)
                }
                Formula::Read(target) => self.read(&cx, &target).await?,
                Formula::Combine(operation, left, right) => {
                    let left = of(left).await?;
                    left.combine(operation, &of(right).await?)?
                }
                Formula::Of(function, from) => of(from).await?.apply(function)?,
                Formula::Rows(from, rows) => of(from).await?.clip(&[rows])?,
                Formula::Columns(from, columns) => {
                    let spans = [Span::ALL, columns];
                    of(from).await?.clip(&spans)?
                }
                Formula::Index(from, key) => of(from).await?.index(&key)?,
                Formula::Tuple(items) => self.clone().tuple(&cx, items).await?,
                Formula::ReplaceFirst(from, first) => {
                    let from = of(from).await?;
                    from.with_first(of(first).await?)?
                }
                Formula::Inputs(places, names) => {
                    let mut by_place = Vec::new();
                    for place in places {
                        by_place.push(of(Box::new(place)).await?);
                    }
                    let mut by_name = Vec::new();
                    for (name, item) in names {
                        by_name.push((name, of(Box::new(item)).await?));
                    }
                    inputs(by_place, by_name)
                }
                Formula::Module(path, input) => {
                    let input = of(input).await?.whole("a call")?;
                    Thing::Value(self.around.call(&path, input)?)
                }
                Formula::Nothing => Thing::Value(Value::Unit),
            })
        })
    }

    async fn tuple(self: Rc<Self>, cx: &Cx<Value>, items: Vec<Formula>) -> Result<Thing, Fault> {
        let mut found = Vec::new();
        for item in items {
            found.push(self.clone().evaluate(cx.clone(), item).await?);
        }
        Ok(Thing::Tuple(found.into()))
    }

    /// What a name stands for: the body's own, or else another's, or what an earlier run has saved.
    fn find(&self, name: &str) -> Result<Thing, Fault> {
        if let Some(own) = self.own.borrow().get(name) {
            return Ok(own.clone());
        }
        let shared = || self.board.borrow().get(name).cloned();
        let seen = self.seen.borrow().get(name).cloned();
        let found = match self.sharing {
            Sharing::AtOnce => shared(),
            Sharing::KeepsWhatItSaw => seen.or_else(shared),
            Sharing::BetweenChildren if self.depth.get() == 0 => shared(),
            Sharing::BetweenChildren => seen.map(|seen| shared().unwrap_or(seen)),
        };
        found.ok_or_else(|| not_shared(name))
    }

    fn assign(&self, name: &str, thing: Thing, is_saved: bool) {
        if is_saved {
            let mut saved = self.saved.borrow_mut();
            saved.insert(name.to_owned(), thing.clone());
        }
        let mut own = self.own.borrow_mut();
        own.insert(name.to_owned(), thing.clone());
        let is_kept = self.sharing == Sharing::BetweenChildren && self.depth.get() > 0;
        if is_kept {
            self.seen
                .borrow_mut()
                .insert(name.to_owned(), thing.clone());
            self.kept.borrow_mut().push((name.to_owned(), thing));
        } else {
            self.board.borrow_mut().insert(name.to_owned(), thing);
        }
    }

    /// A body may save what another one, or an earlier run, has set; the name is its own from then on.
    fn save(&self, name: &str) -> Result<(), Fault> {
        let thing = self.find(name)?;
        let mut saved = self.saved.borrow_mut();
        saved.insert(name.to_owned(), thing.clone());
        self.own.borrow_mut().insert(name.to_owned(), thing);
        Ok(())
    }

    /// Where the value of an expression was read, if it is what was read.
    fn origin(&self, expr: &serde_json::Value) -> Option<String> {
        match formula(expr) {
            Formula::Read(target) => Some(target),
            Formula::Variable(name) => self.read_at.borrow().get(&name).cloned(),
            _ => None,
        }
    }

    fn note_read(&self, name: &str, target: Option<String>) {
        let mut read_at = self.read_at.borrow_mut();
        match target {
            Some(target) => read_at.insert(name.to_owned(), target),
            None => read_at.remove(name),
        };
    }

    /// Sees what others have given names by now, as it goes on.
    fn look(&self) {
        let is_blind = match self.sharing {
            Sharing::AtOnce => true,
            Sharing::KeepsWhatItSaw => false,
            Sharing::BetweenChildren => self.depth.get() > 0,
        };
        if is_blind {
            return;
        }
        let mut seen = self.seen.borrow_mut();
        for (name, thing) in self.board.borrow().iter() {
            seen.entry(name.clone()).or_insert_with(|| thing.clone());
        }
    }

    /// Shows others what iterations have given names, once the outermost loop goes on.
    fn show(&self, depth: u32) {
        if depth == 0 {
            self.board.borrow_mut().extend(self.kept.take());
        }
    }
}

fn formula(expr: &serde_json::Value) -> Formula {
    Formula::of(expr).expect("the expressions of a script were checked when it was made")
}

/// All arguments of a module: those by place, and a map of those by name.
fn inputs(places: Vec<Thing>, names: Vec<(String, Thing)>) -> Thing {
    let both = [Thing::Tuple(places.into()), Thing::Map(names.into())];
    Thing::Tuple(both.into())
}

fn not_shared(name: &str) -> Fault {
    let asked = name.to_owned();
    let there = Vec::new();
    FaultKind::NotShared { asked, there }.into()
}

#[cfg(test)]
mod tests;
