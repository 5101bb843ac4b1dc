//! The call of an operation that is under way: its `fn`, its operands, and what it returns.

use std::sync::Arc;

use interloom_engine::{Misfit, PathId, Point, Port};

use super::slot::{Outer, Visited, halt_with, look, unusable, visit};
use super::{Departure, depart, hooked, recover};
use crate::bind::Place;
use crate::erase::Erase;
use crate::error::{CallFailure, ForwardError};
use crate::functions::{Found, Function};
use crate::value::Value;

/// An operation that was called, of a model that runs.
pub(crate) struct Called {
    path: PathId,
    /// What a mediator has put in the place of what the source writes, with its name.
    replacement: Option<(Arc<str>, Function)>,
    /// What becomes of the operands, once there is one.
    entry: Option<Entry>,
    operands: Vec<Option<Value>>,
}

/// What becomes of operands.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Entry {
    Unawaited,
    Awaited,
    /// The gradient of what passes may be asked for, and nothing else is.
    Hooked,
}

/// Enters the `index`-th operation of a place: passes its `fn`, which the source writes so; nothing
/// if the run is of another model.
pub(crate) fn call(place: &Place, index: u32, written: &str) -> Option<Called> {
    let path = look(|run| run.operation(place, index))??;
    let point = Point::new(path, Port::Fn);
    let is_awaited = look(|run| run.passes(point)) == Some(true);
    let asked = is_awaited.then(|| match visit(point, Value::Text(written.into())) {
        Visited::Continue(Value::Text(name)) => name,
        Visited::Continue(other) => halt_with(point, unusable(misfit("a name", &other))),
        Visited::Skip(_) => unreachable!("the interleaver refuses a skip at a function"),
    });
    let replacement = asked.filter(|name| **name != *written);
    let replacement = replacement.map(|name| (name.clone(), find(point, &name, written)));
    Some(Called {
        path,
        replacement,
        entry: None,
        operands: Vec::new(),
    })
}

/// Passes what an operation returns of which nothing else passes.
pub(crate) fn pass_output<T: Erase>(place: &Place, index: u32, output: T) -> T {
    match look(|run| run.operation(place, index)) {
        Some(Some(path)) => leave_at(path, output),
        _ => output,
    }
}

/// Finds the function that a mediator has put in an operation's place.
fn find(point: Point, name: &str, written: &str) -> Function {
    let found = look(|run| run.functions.find(name, run.interleaver.map(), written));
    match found.expect("the site is awaited, so there is a run") {
        Found::Function(function) => function,
        Found::Nothing { nearest } => halt_with(point, |site, by| ForwardError::Call {
            site,
            function: name.to_owned(),
            why: CallFailure::Unknown { nearest },
            by,
        }),
    }
}

impl Called {
    /// Takes an operand in, if it is of use to anybody; gives it back if not.
    pub(crate) fn hold<T: Erase>(&mut self, operand: T) -> Result<usize, T> {
        let path = self.path;
        let entry = *self.entry.get_or_insert_with(|| enter(path));
        if entry == Entry::Unawaited && self.replacement.is_none() {
            return Err(operand);
        }
        self.operands.push(Some(operand.erase()));
        Ok(self.operands.len() - 1)
    }

    /// Gives an operand back, as it is after its site.
    pub(crate) fn take<T: Erase>(&mut self, index: usize) -> T {
        let operand = self.operands[index].take().expect("it is taken once");
        recover(Point::new(self.path, Port::Input), operand)
    }

    /// Passes the operands; returns the output if it is not to be computed.
    pub(crate) fn pass_input(&mut self) -> Option<Value> {
        let point = Point::new(self.path, Port::Input);
        match self.entry {
            Some(Entry::Awaited) => match visit(point, self.input()) {
                Visited::Continue(value) => self.set_input(point, value),
                Visited::Skip(output) => return Some(output),
            },
            Some(Entry::Hooked) => {
                let value = hooked(point, self.input());
                self.set_input(point, value);
            }
            Some(Entry::Unawaited) | None => {}
        }
        let (name, function) = self.replacement.take()?;
        let input = self.input();
        // What it calls passes no site, as what a mediator calls does not.
        let outer = Outer::set_aside();
        let called = function(input);
        drop(outer);
        Some(called.unwrap_or_else(|fault| {
            halt_with(Point::new(self.path, Port::Fn), |site, by| {
                ForwardError::Call {
                    site,
                    function: name.to_string(),
                    why: CallFailure::Failed { fault },
                    by,
                }
            })
        }))
    }

    /// Passes what the operation returns.
    pub(crate) fn leave<T: Erase>(self, output: T) -> T {
        leave_at(self.path, output)
    }

    /// Passes what takes the place of what the operation returns.
    pub(crate) fn leave_with<T: Erase>(self, output: Value) -> T {
        let point = Point::new(self.path, Port::Output);
        leave_at(self.path, recover(point, output))
    }

    /// One operand, or a tuple of several.
    fn input(&self) -> Value {
        let held = self.operands.iter().flatten().cloned();
        match self.operands.len() {
            1 => held.fold(Value::Unit, |_, only| only),
            _ => Value::Tuple(held.collect()),
        }
    }

    fn set_input(&mut self, point: Point, value: Value) {
        let count = self.operands.len();
        self.operands = match value {
            only if count == 1 => vec![Some(only)],
            Value::Tuple(items) if items.len() == count => {
                items.iter().cloned().map(Some).collect()
            }
            other => {
                let expected = format!("a tuple of {count}");
                halt_with(point, unusable(misfit(&expected, &other)))
            }
        };
    }
}

/// Enters the input site.
fn enter(path: PathId) -> Entry {
    let point = Point::new(path, Port::Input);
    let entry = look(|run| {
        if run.passes(point) {
            Entry::Awaited
        } else if run.interleaver.is_hooked(point) {
            Entry::Hooked
        } else {
            Entry::Unawaited
        }
    });
    entry.unwrap_or(Entry::Unawaited)
}

fn leave_at<T: Erase>(path: PathId, output: T) -> T {
    let point = Point::new(path, Port::Output);
    let departure = look(|run| run.departs_at(point));
    depart(departure.unwrap_or(Departure::Unawaited), output)
}

fn misfit(expected: &str, found: &Value) -> Misfit {
    Misfit {
        expected: expected.to_owned(),
        found: found.to_string(),
    }
}

impl super::Active {
    /// Returns the path of the `index`-th operation of a place, if it is one of the run's model.
    fn operation(&mut self, place: &Place, index: u32) -> Option<PathId> {
        let (binding, first) = place.point(Port::Output);
        if binding != self.binding {
            self.strangers.meet(place);
            return None;
        }
        Some(PathId(first.path.0 + index))
    }
}
