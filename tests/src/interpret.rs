//! Programs as async mediators: an interpreter that walks the tree of steps and asks through a
//! context.
//!
//! It shares nothing with the machine that steps through programs but their data, so that equal
//! journals of both say that an async function and a program make the same exchanges (R80).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::rc::Rc;

use interloom_backends::{Sites, Value};
use interloom_conform::Surroundings;
use interloom_engine::{CacheSpec, Cx, Fault, Iterations, Mediator, Misfit};
use interloom_program::{
    Action, Arithmetic, Condition, Datum, Expr, Item, Operand, Over, Program, ProgramFault,
    ProgramStep, Side, Span,
};

/// What programs have saved; shared by the mediators of a run.
pub type Saved = Rc<RefCell<BTreeMap<String, Datum<Value>>>>;

/// Makes an async mediator of a program.
pub fn mediator(
    program: &Program,
    around: &Surroundings,
    saved: &Saved,
) -> Box<dyn Mediator<Value>> {
    let interpreter = Rc::new(Interpreter {
        around: around.clone(),
        scope: RefCell::default(),
        saved: saved.clone(),
    });
    let steps: Steps = program.steps.clone().into();
    let map = Sites::map(around.sites()).clone();
    let (mediator, _) = interloom_engine::mediator(map, move |cx| interpreter.steps(cx, steps));
    Box::new(mediator)
}

struct Interpreter {
    around: Surroundings,
    scope: RefCell<Scope>,
    saved: Saved,
}

#[derive(Default)]
struct Scope {
    variables: BTreeMap<String, Datum<Value>>,
    /// The lists that are saved, and go on growing.
    growing: BTreeSet<String>,
    caught: BTreeSet<String>,
}

type Steps = Rc<[ProgramStep]>;
type Running<T> = Pin<Box<dyn Future<Output = Result<T, Fault>>>>;

impl Interpreter {
    fn steps(self: Rc<Self>, cx: Cx<Value>, steps: Steps) -> Running<()> {
        Box::pin(async move {
            for step in steps.iter() {
                self.clone().step(cx.clone(), step.action.clone()).await?;
            }
            Ok(())
        })
    }

    async fn step(self: Rc<Self>, cx: Cx<Value>, action: Action) -> Result<(), Fault> {
        match action {
            Action::Let { variable, value } => {
                let datum = self.clone().expr(cx, value).await?;
                self.set(&variable, datum);
            }
            Action::Save { variable } => self.save(&variable)?,
            Action::Write {
                site,
                value,
                reshape,
            } => {
                let value = self.value("a write", cx.clone(), value).await?;
                match reshape {
                    true => cx.reshape(&*site, value).await?,
                    false => cx.set(&*site, value).await?,
                }
            }
            Action::Skip { site, value } => {
                let value = self.value("a skip", cx.clone(), value).await?;
                cx.skip_at(&*site, value).await?;
            }
            Action::Stop => match cx.stop().await? {},
            Action::Raise { message } => return Err(Fault::raise(message)),
            Action::Try { body, error } => {
                if let Some(error) = &error {
                    self.scope.borrow_mut().caught.remove(error);
                }
                let tried = self.clone().steps(cx, body.into()).await;
                if let (Err(_), Some(error)) = (tried, error) {
                    self.scope.borrow_mut().caught.insert(error);
                }
            }
            Action::If {
                condition,
                then,
                otherwise,
            } => {
                let holds = self.clone().holds(cx.clone(), condition).await?;
                let body = if holds { then } else { otherwise };
                self.steps(cx, body.into()).await?;
            }
            Action::List { variable } => self.set(&variable, Datum::List(Rc::default())),
            Action::Append { list, value } => {
                let item = self.clone().expr(cx, value).await?;
                self.append(&list, item)?;
            }
            Action::Each {
                iterations,
                variable,
                body,
            } => {
                let body: Steps = body.into();
                let each = move |cx: Cx<Value>, iteration: u32| {
                    self.set(&variable, Datum::Number(iteration.into()));
                    self.clone().steps(cx, body.clone())
                };
                cx.for_each(over(&iterations), each).await?;
            }
            Action::Next { by } => cx.next(by),
            Action::Barrier { name } => cx.barrier(&name).await?,
            Action::Put { name, value } => {
                let value = self.part(cx.clone(), value).await?;
                cx.put(&name, value).await?;
            }
            Action::Cache {
                modules,
                side,
                gradients,
                ..
            } => {
                let spec = modules.map_or_else(CacheSpec::all, CacheSpec::of);
                let spec = match side {
                    Side::Inputs => spec.inputs(),
                    Side::Outputs => spec,
                    Side::Both => spec.both(),
                };
                cx.cache(match gradients {
                    true => spec.gradients(),
                    false => spec,
                })
                .await?;
            }
            Action::Backward { loss } => {
                let loss = self.value("a loss", cx.clone(), loss).await?;
                cx.backward(loss).await?;
            }
            Action::Mark { .. } => {}
            other => panic!("no counterpart for {other:?}"),
        }
        Ok(())
    }

    async fn value(
        self: Rc<Self>,
        place: &'static str,
        cx: Cx<Value>,
        expr: Expr,
    ) -> Result<Value, Fault> {
        match self.expr(cx, expr).await? {
            Datum::Value(value) => Ok(value),
            other => Err(kind(place, "a value", &other)),
        }
    }

    /// A part of a tuple or a map, which may be a number or a list.
    async fn part(self: Rc<Self>, cx: Cx<Value>, expr: Expr) -> Result<Value, Fault> {
        Ok(plain(&self.expr(cx, expr).await?))
    }

    fn expr(self: Rc<Self>, cx: Cx<Value>, expr: Expr) -> Running<Datum<Value>> {
        Box::pin(async move {
            let of = |expr: Box<Expr>| self.clone().expr(cx.clone(), *expr);
            let whole = |place, expr: Box<Expr>| self.clone().value(place, cx.clone(), *expr);
            let part = |expr| self.clone().part(cx.clone(), expr);
            let value = match expr {
                Expr::Number(number) => return Ok(Datum::Number(number)),
                Expr::Text(text) => Value::Text(text.as_str().into()),
                Expr::Var(name) => return self.load(&name),
                Expr::Add(left, right) => {
                    return combine("`add`", of(left).await?, of(right).await?);
                }
                Expr::Sub(left, right) => {
                    return combine("`sub`", of(left).await?, of(right).await?);
                }
                Expr::Mul(left, right) => {
                    return combine("`mul`", of(left).await?, of(right).await?);
                }
                Expr::Div(left, right) => {
                    return combine("`div`", of(left).await?, of(right).await?);
                }
                Expr::Index { of: from, item } => return index(&of(from).await?, &item),
                Expr::Clone(from) => return of(from).await,
                Expr::Given(name) => {
                    let other = || self.around.given(&name, &self.saved.borrow());
                    let value = self.around.input(&name).cloned().or_else(other);
                    value.ok_or_else(|| ProgramFault::NotGiven(name.clone()))?
                }
                Expr::Read(site) => cx.value(&*site).await?,
                Expr::Get(name) => cx.get(&name).await?,
                Expr::ZerosLike(from) => possible(
                    "`zeros_like`",
                    Operand::zeros_like(&whole("`zeros_like`", from).await?),
                )?,
                Expr::Sum(from) => possible("`sum`", whole("`sum`", from).await?.sum())?,
                Expr::Mean(from) => possible("`mean`", whole("`mean`", from).await?.mean())?,
                Expr::Abs(from) => possible("`abs`", whole("`abs`", from).await?.abs())?,
                Expr::Along {
                    operation,
                    of: from,
                    dimension,
                } => {
                    let from = whole(operation.name(), from).await?;
                    let rank = from.shape().map_or(0, |shape| shape.len() as i64);
                    let place = i64::from(dimension) + if dimension < 0 { rank } else { 0 };
                    let made = if (0..rank).contains(&place) {
                        from.along(operation, place as usize)
                    } else {
                        Err(Misfit {
                            expected: format!("a tensor with a dimension {dimension}"),
                            found: match from.shape() {
                                Some(shape) => format!("a tensor {shape:?}"),
                                None => "a value that is no tensor".to_owned(),
                            },
                        })
                    };
                    possible(operation.name(), made)?
                }
                Expr::Matmul(left, right) => {
                    let (left, right) = (of(left).await?, of(right).await?);
                    let (Datum::Value(left), Datum::Value(right)) = (&left, &right) else {
                        let is_left = !matches!(left, Datum::Value(_));
                        return Err(kind(
                            "`matmul`",
                            "a value",
                            if is_left { &left } else { &right },
                        ));
                    };
                    possible("`matmul`", left.matmul(right))?
                }
                Expr::ArgmaxLast(from) => possible(
                    "`argmax_last`",
                    whole("`argmax_last`", from).await?.argmax_last(),
                )?,
                Expr::Slice { of: from, spans } => {
                    let from = whole("`slice`", from).await?;
                    possible("`slice`", from.slice(&ranges(&spans, &from)?))?
                }
                Expr::Clip { of: from, spans } => return clip(of(from).await?, &spans),
                Expr::Patch {
                    of: from,
                    spans,
                    with,
                } => {
                    let from = whole("`patch`", from).await?;
                    let ranges = ranges(&spans, &from)?;
                    let with = match self.clone().expr(cx.clone(), *with).await? {
                        Datum::Number(number) => {
                            let part = possible("`slice`", from.slice(&ranges))?;
                            let zeros = possible("`zeros_like`", part.zeros_like())?;
                            possible("`add`", zeros.with_number(Arithmetic::Add, number))?
                        }
                        Datum::Value(with) => with,
                        other => return Err(kind("`patch`", "a value", &other)),
                    };
                    possible("`patch`", from.patch(&ranges, &with))?
                }
                Expr::Replace {
                    of: from,
                    item,
                    with,
                } => {
                    let from = whole("`replace`", from).await?;
                    let with = part(*with).await?;
                    possible("`replace`", Operand::with_item(&from, &item, with))?
                }
                Expr::Tuple(items) => {
                    let mut values = Vec::new();
                    for item in items {
                        values.push(part(item).await?);
                    }
                    possible("`tuple`", Value::tuple(values))?
                }
                Expr::Map(items) => {
                    let mut values = Vec::new();
                    for (name, item) in items {
                        values.push((name, part(item).await?));
                    }
                    possible("`map`", Operand::map(values))?
                }
                Expr::Module { path, input } => {
                    let input = whole("a call", input).await?;
                    self.around.call(&path, input)?
                }
                other => panic!("no counterpart for {other:?}"),
            };
            Ok(Datum::Value(value))
        })
    }

    fn holds(self: Rc<Self>, cx: Cx<Value>, condition: Condition) -> Running<bool> {
        Box::pin(async move {
            Ok(match condition {
                Condition::Compare { left, is, right } => {
                    let left = number(&self.clone().expr(cx.clone(), left).await?)?;
                    let right = number(&self.clone().expr(cx, right).await?)?;
                    is.holds(left, right)
                }
                Condition::Not(condition) => !self.holds(cx, *condition).await?,
                Condition::All(conditions) => {
                    let mut holds = true;
                    for condition in conditions {
                        holds = holds && self.clone().holds(cx.clone(), condition).await?;
                    }
                    holds
                }
                Condition::Any(conditions) => {
                    let mut holds = false;
                    for condition in conditions {
                        holds = holds || self.clone().holds(cx.clone(), condition).await?;
                    }
                    holds
                }
                Condition::IsSet(name) => self.scope.borrow().variables.contains_key(&name),
                Condition::Caught(name) => self.scope.borrow().caught.contains(&name),
                other => panic!("no counterpart for {other:?}"),
            })
        })
    }

    fn load(&self, name: &str) -> Result<Datum<Value>, Fault> {
        let datum = self.scope.borrow().variables.get(name).cloned();
        datum.ok_or_else(|| ProgramFault::Unset(name.to_owned()).into())
    }

    fn set(&self, name: &str, datum: Datum<Value>) {
        let mut scope = self.scope.borrow_mut();
        scope.growing.remove(name);
        scope.variables.insert(name.to_owned(), datum);
    }

    fn save(&self, name: &str) -> Result<(), Fault> {
        let mut datum = self.load(name)?;
        if let Some(items) = items(&datum) {
            datum = Datum::List(Rc::new(items));
            self.set(name, datum.clone());
            self.scope.borrow_mut().growing.insert(name.to_owned());
        }
        self.saved.borrow_mut().insert(name.to_owned(), datum);
        Ok(())
    }

    fn append(&self, name: &str, item: Datum<Value>) -> Result<(), Fault> {
        let mut scope = self.scope.borrow_mut();
        let Some(variable) = scope.variables.get_mut(name) else {
            return Err(ProgramFault::Unset(name.to_owned()).into());
        };
        let Some(mut items) = items(variable) else {
            return Err(kind("an append", "a list", variable));
        };
        items.push(item);
        let grown = Datum::List(Rc::new(items));
        let before = std::mem::replace(variable, grown.clone());
        // Another program may have saved by that name since.
        let is_own = |saved: &Datum<Value>| match (saved, &before) {
            (Datum::List(saved), Datum::List(before)) => Rc::ptr_eq(saved, before),
            _ => false,
        };
        let mut saved = self.saved.borrow_mut();
        if scope.growing.contains(name) && saved.get(name).is_some_and(is_own) {
            saved.insert(name.to_owned(), grown);
        }
        Ok(())
    }
}

fn over(over: &Over) -> Iterations {
    match over {
        Over::Slice { start, end } => match (*start, *end) {
            (Some(start), Some(end)) => (start..end).into(),
            (Some(start), None) => (start..).into(),
            (None, Some(end)) => (..end).into(),
            (None, None) => Iterations::all(),
        },
        Over::List(list) => list.clone().into(),
        Over::One(iteration) => (*iteration).into(),
        other => panic!("no counterpart for {other:?}"),
    }
}

fn combine(
    place: &'static str,
    left: Datum<Value>,
    right: Datum<Value>,
) -> Result<Datum<Value>, Fault> {
    use interloom_program::Arithmetic::{Add, Div, Mul, Sub};

    let operation = match place {
        "`add`" => Add,
        "`sub`" => Sub,
        "`mul`" => Mul,
        _ => Div,
    };
    let value = match (&left, &right) {
        (Datum::Number(left), Datum::Number(right)) => {
            return Ok(Datum::Number(operation.apply(*left, *right)));
        }
        (Datum::Value(left), Datum::Value(right)) => left.combine(operation, right),
        (Datum::Value(left), Datum::Number(right)) => left.with_number(operation, *right),
        (Datum::Number(left), Datum::Value(right)) => right.after_number(*left, operation),
        (list @ Datum::List(_), _) | (_, list) => {
            return Err(kind(place, "numbers and values", list));
        }
    };
    possible(place, value).map(Datum::Value)
}

/// A datum as a value.
fn plain(datum: &Datum<Value>) -> Value {
    match datum {
        Datum::Number(number) => Value::Float(*number),
        Datum::Value(value) => value.clone(),
        Datum::List(items) => Value::List(items.iter().map(plain).collect()),
    }
}

fn items(datum: &Datum<Value>) -> Option<Vec<Datum<Value>>> {
    match datum {
        Datum::List(items) => Some(items.to_vec()),
        Datum::Value(Value::List(items)) => Some(items.iter().cloned().map(Datum::Value).collect()),
        _ => None,
    }
}

fn clip(of: Datum<Value>, spans: &[Span]) -> Result<Datum<Value>, Fault> {
    if let (Some(items), [span]) = (items(&of), spans) {
        let range = span.clip(items.len() as u64);
        let items = items[range.start as usize..range.end as usize].to_vec();
        return Ok(Datum::List(Rc::new(items)));
    }
    let of = match (of, spans) {
        (Datum::Value(Value::Tuple(items)), [span]) => {
            let range = span.clip(items.len() as u64);
            let items = items[range.start as usize..range.end as usize].into();
            return Ok(Datum::Value(Value::Tuple(items)));
        }
        (Datum::Value(of), _) => of,
        (other, _) => return Err(kind("`clip`", "a value", &other)),
    };
    let clipped = |(dimension, &length): (usize, &u64)| {
        let range = spans.get(dimension).copied().unwrap_or(Span::ALL);
        range.clip(length)
    };
    let shape = of.shape().unwrap_or_default();
    let ranges: Vec<_> = shape.iter().enumerate().map(clipped).collect();
    possible("`clip`", of.slice(&ranges)).map(Datum::Value)
}

fn index(of: &Datum<Value>, item: &Item) -> Result<Datum<Value>, Fault> {
    match (of, item) {
        (Datum::Value(of @ Value::Tensor(_)), Item::Place(place)) => {
            possible("`index`", of.at((*place).into())).map(Datum::Value)
        }
        (Datum::Value(of), item) => possible("`index`", Operand::item(of, item)).map(Datum::Value),
        (Datum::List(items), Item::Place(place)) if (*place as usize) < items.len() => {
            Ok(items[*place as usize].clone())
        }
        (Datum::List(items), item) => {
            let (item, length) = (item.to_string(), items.len());
            Err(ProgramFault::NoItem { item, length }.into())
        }
        (Datum::Number(_), _) => Err(kind("`index`", "a value or a list", of)),
    }
}

fn ranges(spans: &[Span], of: &Value) -> Result<Vec<std::ops::Range<u64>>, Fault> {
    let shape = of.shape().unwrap_or_default();
    let range = |(dimension, &length): (usize, &u64)| {
        let span = spans.get(dimension).copied().unwrap_or(Span::ALL);
        span.resolve(length).ok_or(ProgramFault::Span {
            start: span.start,
            end: span.end,
            dimension,
            shape: shape.clone(),
        })
    };
    Ok(shape
        .iter()
        .enumerate()
        .map(range)
        .collect::<Result<_, _>>()?)
}

fn number(datum: &Datum<Value>) -> Result<f64, Fault> {
    match datum {
        Datum::Number(number) => Ok(*number),
        Datum::Value(value) if value.number().is_some() => Ok(value.number().unwrap_or_default()),
        other => Err(ProgramFault::Kind {
            place: "a comparison".into(),
            expected: "numbers and values of one element".into(),
            found: match other {
                Datum::List(_) => "a list".into(),
                _ => "a value of several".into(),
            },
        }
        .into()),
    }
}

fn possible<T>(
    place: &'static str,
    result: Result<T, interloom_engine::Misfit>,
) -> Result<T, Fault> {
    result.map_err(|misfit| {
        ProgramFault::Misfit {
            place: place.into(),
            misfit,
        }
        .into()
    })
}

fn kind(place: &'static str, expected: &'static str, found: &Datum<Value>) -> Fault {
    let found = match found {
        Datum::Number(_) => "a number",
        Datum::Value(_) => "a value",
        Datum::List(_) => "a list",
    };
    ProgramFault::Kind {
        place: place.into(),
        expected: expected.into(),
        found: found.into(),
    }
    .into()
}
