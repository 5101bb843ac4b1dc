//! Builders of programs in Rust.

use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::expr::{Comparison, Condition, Expr, Item, Span};
use crate::operand::Along;
use crate::step::{Action, Over, Program, Side};

/// Refers to a variable.
pub fn var(name: &str) -> Expr {
    Expr::Var(name.to_owned())
}

/// Refers to a value that the machine is given.
pub fn given(name: &str) -> Expr {
    Expr::Given(name.to_owned())
}

/// Reads a site where the expression is evaluated.
pub fn read(site: &str) -> Expr {
    Expr::Read(site.to_owned())
}

/// Gets a value from the run's blackboard where the expression is evaluated.
pub fn get(name: &str) -> Expr {
    Expr::Get(name.to_owned())
}

/// Calls a module on a value, outside its place in the model.
pub fn module(path: &str, input: impl Into<Expr>) -> Expr {
    let path = path.to_owned();
    let input = Box::new(input.into());
    Expr::Module { path, input }
}

/// Makes a tuple.
pub fn tuple(items: impl IntoIterator<Item = Expr>) -> Expr {
    Expr::Tuple(items.into_iter().collect())
}

/// Makes a map.
pub fn map<'n>(items: impl IntoIterator<Item = (&'n str, Expr)>) -> Expr {
    let items = items.into_iter();
    Expr::Map(items.map(|(name, item)| (name.to_owned(), item)).collect())
}

/// Makes the inputs of a call: a tuple of the arguments by place and a map of those by name.
pub fn inputs<'n>(
    places: impl IntoIterator<Item = Expr>,
    names: impl IntoIterator<Item = (&'n str, Expr)>,
) -> Expr {
    tuple([tuple(places), map(names)])
}

/// Holds if all of the conditions hold.
pub fn all(conditions: impl IntoIterator<Item = Condition>) -> Condition {
    Condition::All(conditions.into_iter().collect())
}

/// Holds if one of the conditions holds.
pub fn any(conditions: impl IntoIterator<Item = Condition>) -> Condition {
    Condition::Any(conditions.into_iter().collect())
}

/// Holds if a variable has a value.
pub fn is_set(variable: &str) -> Condition {
    Condition::IsSet(variable.to_owned())
}

/// Holds if a `try` has caught an error under this name.
pub fn caught(error: &str) -> Condition {
    Condition::Caught(error.to_owned())
}

impl Program {
    /// Makes a program without steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the file that the lines of the steps are counted in.
    pub fn in_file(mut self, file: &str) -> Self {
        self.file = Some(file.to_owned());
        self
    }

    /// Says in which line the next step stands.
    pub fn line(mut self, line: u32) -> Self {
        self.next_line = Some(line);
        self
    }

    /// Adds a step.
    pub fn then(mut self, action: Action) -> Self {
        let line = self.next_line.take();
        self.steps.push(crate::ProgramStep { action, line });
        self
    }

    /// Reads a site into a variable.
    pub fn read(self, site: &str, variable: &str) -> Self {
        self.set(variable, read(site))
    }

    /// Gives a variable a value.
    pub fn set(self, variable: &str, value: impl Into<Expr>) -> Self {
        self.then(Action::Let {
            variable: variable.to_owned(),
            value: value.into(),
        })
    }

    /// Keeps the present value of a variable as a result.
    pub fn save(self, variable: &str) -> Self {
        self.then(Action::Save {
            variable: variable.to_owned(),
        })
    }

    /// Replaces the value at a site.
    pub fn write(self, site: &str, value: impl Into<Expr>) -> Self {
        self.then(Action::Write {
            site: site.to_owned(),
            value: value.into(),
            reshape: false,
        })
    }

    /// Replaces the value at a site by one of another shape, which only the owner of the whole
    /// batch may.
    pub fn reshape(self, site: &str, value: impl Into<Expr>) -> Self {
        self.then(Action::Write {
            site: site.to_owned(),
            value: value.into(),
            reshape: true,
        })
    }

    /// Does not compute the module at `path`, and uses `value` as its output.
    pub fn skip(self, path: &str, value: impl Into<Expr>) -> Self {
        match path {
            "" => self.skip_at("input", value),
            path => self.skip_at(&format!("{path}.input"), value),
        }
    }

    /// Does not compute the module at whose input `site` is.
    pub fn skip_at(self, site: &str, value: impl Into<Expr>) -> Self {
        self.then(Action::Skip {
            site: site.to_owned(),
            value: value.into(),
        })
    }

    /// Ends the model's run here, normally.
    pub fn stop(self) -> Self {
        self.then(Action::Stop)
    }

    /// Fails with the program's own error.
    pub fn raise(self, message: &str) -> Self {
        self.then(Action::Raise {
            message: message.to_owned(),
        })
    }

    /// Runs the steps of `body`, and continues after them also if something in them failed.
    pub fn attempt(self, body: Self) -> Self {
        self.then(Action::Try {
            body: body.steps,
            error: None,
        })
    }

    /// Runs the steps of `body`; if something in them fails, keeps the error under the name `error`
    /// and continues.
    pub fn catch(self, error: &str, body: Self) -> Self {
        self.then(Action::Try {
            body: body.steps,
            error: Some(error.to_owned()),
        })
    }

    /// Runs the steps of `then` if the condition holds.
    pub fn when(self, condition: Condition, then: Self) -> Self {
        self.choose(condition, then, Self::new())
    }

    /// Runs the steps of `then` if the condition holds, and those of `otherwise` if it does not.
    pub fn choose(self, condition: Condition, then: Self, otherwise: Self) -> Self {
        self.then(Action::If {
            condition,
            then: then.steps,
            otherwise: otherwise.steps,
        })
    }

    /// Makes an empty list.
    pub fn list(self, variable: &str) -> Self {
        self.then(Action::List {
            variable: variable.to_owned(),
        })
    }

    /// Adds a value to the end of a list.
    pub fn append(self, list: &str, value: impl Into<Expr>) -> Self {
        self.then(Action::Append {
            list: list.to_owned(),
            value: value.into(),
        })
    }

    /// Runs the steps of `body` once for each iteration of a loop, whose number `variable` holds.
    pub fn each(self, iterations: impl Into<Over>, variable: &str, body: Self) -> Self {
        self.then(Action::Each {
            iterations: iterations.into(),
            variable: variable.to_owned(),
            body: body.steps,
        })
    }

    /// Advances the mediator's own iteration.
    pub fn next(self, by: u32) -> Self {
        self.then(Action::Next { by })
    }

    /// Waits for the other participants of a barrier.
    pub fn barrier(self, name: &str) -> Self {
        let name = name.to_owned();
        self.then(Action::Barrier { name })
    }

    /// Puts a value on the run's blackboard.
    pub fn put(self, name: &str, value: impl Into<Expr>) -> Self {
        self.then(Action::Put {
            name: name.to_owned(),
            value: value.into(),
        })
    }

    /// Asks for a backward pass from a loss of one element.
    ///
    /// ```
    /// use interloom_program::{read, Program};
    ///
    /// let attribute = Program::new()
    ///     .read("layers.1.output", "h")
    ///     .backward(read("output").sum())
    ///     .read("layers.1.output.grad", "g")
    ///     .save("h")
    ///     .save("g");
    /// # assert_eq!(attribute.steps.len(), 5);
    /// ```
    pub fn backward(self, loss: impl Into<Expr>) -> Self {
        let loss = loss.into();
        self.then(Action::Backward { loss })
    }

    /// Collects one side of some modules from here on, as the result `name`.
    pub fn cache<'p>(
        self,
        name: &str,
        modules: impl IntoIterator<Item = &'p str>,
        side: Side,
    ) -> Self {
        let modules = modules.into_iter().map(str::to_owned);
        self.then(Action::Cache {
            name: name.to_owned(),
            modules: Some(modules.collect()),
            side,
            gradients: false,
        })
    }

    /// Collects one side of every module from here on, as the result `name`.
    pub fn cache_all(self, name: &str, side: Side) -> Self {
        self.then(Action::Cache {
            name: name.to_owned(),
            modules: None,
            side,
            gradients: false,
        })
    }

    /// Collects one side of some modules from here on, and its gradients, as the result `name`.
    pub fn cache_gradients<'p>(
        self,
        name: &str,
        modules: impl IntoIterator<Item = &'p str>,
        side: Side,
    ) -> Self {
        let modules = modules.into_iter().map(str::to_owned);
        self.then(Action::Cache {
            name: name.to_owned(),
            modules: Some(modules.collect()),
            side,
            gradients: true,
        })
    }

    /// Notes that the program got here.
    pub fn mark(self, text: &str) -> Self {
        self.then(Action::Mark {
            text: text.to_owned(),
        })
    }
}

impl Expr {
    /// Makes zeros in the shape of this value.
    pub fn zeros_like(self) -> Self {
        Self::ZerosLike(Box::new(self))
    }

    /// Takes the rows `start..end` of dimension 0.
    pub fn rows(self, start: i64, end: i64) -> Self {
        self.slice([start..end])
    }

    /// Takes the columns `start..end` of dimension 1.
    pub fn columns(self, start: i64, end: i64) -> Self {
        self.slice([Span::ALL, (start..end).into()])
    }

    /// Takes a part: a span for each dimension from the first.
    pub fn slice(self, spans: impl IntoIterator<Item = impl Into<Span>>) -> Self {
        Self::Slice {
            of: Box::new(self),
            spans: spans.into_iter().map(Into::into).collect(),
        }
    }

    /// Takes as much of a part as there is, also of a tuple or a list.
    pub fn clip(self, spans: impl IntoIterator<Item = impl Into<Span>>) -> Self {
        Self::Clip {
            of: Box::new(self),
            spans: spans.into_iter().map(Into::into).collect(),
        }
    }

    /// Puts `with` in the place of a part.
    pub fn patch(
        self,
        spans: impl IntoIterator<Item = impl Into<Span>>,
        with: impl Into<Self>,
    ) -> Self {
        Self::Patch {
            of: Box::new(self),
            spans: spans.into_iter().map(Into::into).collect(),
            with: Box::new(with.into()),
        }
    }

    /// Sums all elements.
    pub fn sum(self) -> Self {
        Self::Sum(Box::new(self))
    }

    /// Takes the mean of all elements.
    pub fn mean(self) -> Self {
        Self::Mean(Box::new(self))
    }

    /// Takes the absolute value of each element.
    pub fn abs(self) -> Self {
        Self::Abs(Box::new(self))
    }

    /// Sums along a dimension, which stays with length 1; a negative one counts from the end.
    pub fn sum_along(self, dimension: i32) -> Self {
        self.along(Along::Sum, dimension)
    }

    /// Takes the mean along a dimension, which stays with length 1; a negative one counts from the
    /// end.
    pub fn mean_along(self, dimension: i32) -> Self {
        self.along(Along::Mean, dimension)
    }

    /// Takes the softmax along a dimension; a negative one counts from the end.
    pub fn softmax(self, dimension: i32) -> Self {
        self.along(Along::Softmax, dimension)
    }

    fn along(self, operation: Along, dimension: i32) -> Self {
        Self::Along {
            operation,
            of: Box::new(self),
            dimension,
        }
    }

    /// Multiplies matrices, which are the last two dimensions; the others are broadcast.
    pub fn matmul(self, right: impl Into<Self>) -> Self {
        Self::Matmul(Box::new(self), Box::new(right.into()))
    }

    /// Says that a copy is meant.
    pub fn copy(self) -> Self {
        Self::Clone(Box::new(self))
    }

    /// Takes an item of a tuple, a list or a map, or what is at a place of dimension 0 of a tensor.
    pub fn index(self, item: impl Into<Item>) -> Self {
        Self::Index {
            of: Box::new(self),
            item: item.into(),
        }
    }

    /// Puts `with` in the place of an item of a tuple, a list or a map.
    pub fn replace(self, item: impl Into<Item>, with: impl Into<Self>) -> Self {
        Self::Replace {
            of: Box::new(self),
            item: item.into(),
            with: Box::new(with.into()),
        }
    }

    /// Finds the largest element of the last dimension, at the last place of dimension 1.
    pub fn argmax_last(self) -> Self {
        Self::ArgmaxLast(Box::new(self))
    }

    /// Compares with another value.
    pub fn is(self, is: Comparison, right: impl Into<Self>) -> Condition {
        Condition::Compare {
            left: self,
            is,
            right: right.into(),
        }
    }

    /// Holds if this equals another value.
    pub fn equals(self, right: impl Into<Self>) -> Condition {
        self.is(Comparison::Equal, right)
    }
}

impl std::ops::Not for Condition {
    type Output = Self;

    fn not(self) -> Self {
        Self::Not(Box::new(self))
    }
}

impl From<f64> for Expr {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl<E: Into<Expr>> Add<E> for Expr {
    type Output = Self;

    fn add(self, right: E) -> Self {
        Self::Add(Box::new(self), Box::new(right.into()))
    }
}

impl<E: Into<Expr>> Sub<E> for Expr {
    type Output = Self;

    fn sub(self, right: E) -> Self {
        Self::Sub(Box::new(self), Box::new(right.into()))
    }
}

impl<E: Into<Expr>> Mul<E> for Expr {
    type Output = Self;

    fn mul(self, right: E) -> Self {
        Self::Mul(Box::new(self), Box::new(right.into()))
    }
}

impl<E: Into<Expr>> Div<E> for Expr {
    type Output = Self;

    fn div(self, right: E) -> Self {
        Self::Div(Box::new(self), Box::new(right.into()))
    }
}

impl Neg for Expr {
    type Output = Self;

    fn neg(self) -> Self {
        self * -1.0
    }
}

impl Add<Expr> for f64 {
    type Output = Expr;

    fn add(self, right: Expr) -> Expr {
        Expr::Number(self).add(right)
    }
}

impl Sub<Expr> for f64 {
    type Output = Expr;

    fn sub(self, right: Expr) -> Expr {
        Expr::Number(self).sub(right)
    }
}

impl Mul<Expr> for f64 {
    type Output = Expr;

    fn mul(self, right: Expr) -> Expr {
        Expr::Number(self).mul(right)
    }
}

impl Div<Expr> for f64 {
    type Output = Expr;

    fn div(self, right: Expr) -> Expr {
        Expr::Number(self).div(right)
    }
}
