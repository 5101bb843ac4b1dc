//! The code of a scenario's user: names, expressions and steps, as Python has them.
//!
//! [`Body`] does the steps of one body. What it asks of a run it asks of [`Asks`], which Interloom
//! answers ([`live::script`](crate::live)) as well as the naive interpreter
//! ([`naive`](crate::naive)); with what it computes is up to [`Tensor`]. Lists are references here,
//! and names are shared between bodies, as in the reference.

mod body;
mod formula;
mod names;
mod thing;

use std::pin::Pin;

use crate::outcome::Item;

pub(crate) use self::body::{Body, check, write};
pub(crate) use self::formula::{Key, Operation, Span};
pub(crate) use self::names::{Globals, Names, Saved};
pub(crate) use self::thing::Thing;

/// What a body computes with; nothing comes of what it cannot be computed with.
pub(crate) trait Tensor: Clone + 'static {
    /// Returns it as it can be compared.
    fn item(&self) -> Item;

    /// Returns the length of each dimension.
    fn shape(&self) -> Vec<usize>;

    /// Returns the number in a tensor of one element.
    fn number(&self) -> Option<f64>;

    /// Combines two tensors, with broadcasting; nothing if their shapes do not go together.
    fn combine(&self, operation: Operation, right: &Self) -> Option<Self>;

    /// Combines a number and a tensor, in this order or the other one.
    fn with_number(&self, operation: Operation, number: f64, is_left: bool) -> Option<Self>;

    /// Returns a tensor of its own with the same elements.
    fn copy(&self) -> Self;

    /// Returns zeros of the same shape.
    fn zeros(&self) -> Option<Self>;

    /// Returns the sum of all elements.
    fn sum(&self) -> Option<Self>;

    /// Returns the places of the largest elements along the last dimension, at the last place of
    /// dimension 1.
    fn argmax_last(&self) -> Option<Self>;

    /// Returns these places of the first dimensions.
    fn slice(&self, places: &[std::ops::Range<usize>]) -> Option<Self>;

    /// Returns what is at a place of dimension 0, without the dimension.
    fn at(&self, place: usize) -> Option<Self>;
}

/// An error of user code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wrong {
    /// An item that there is not.
    Index,
    /// A thing of another kind than is needed.
    Type,
    /// Shapes that do not go together.
    Shape,
}

/// Why a body does not go on.
#[derive(Clone, Debug)]
pub(crate) enum Halt<F> {
    /// An error, which a `try` catches.
    Fault(F),
    /// One that is past all `try`s: an iteration of a loop failed and took its body with it.
    Fatal(F),
    /// It was stopped.
    Stopped,
}

/// Where a value was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Origin {
    /// The target, such as `layers.0.output`.
    pub(crate) target: String,
    /// Which pass of it.
    pub(crate) iteration: u32,
    /// Which item of what was read, of which item.
    pub(crate) keys: Vec<Key>,
}

impl Origin {
    /// Returns the module whose first argument was read, if it was one.
    pub(crate) fn input_of(&self) -> Option<&str> {
        let path = self.target.strip_suffix("input")?;
        Some(path.trim_end_matches('.'))
    }

    /// Returns the point at which it passes.
    pub(crate) fn point(&self) -> String {
        match self.target.rsplit_once('.').unwrap_or(("", &self.target)) {
            ("", "inputs") => "input".to_owned(),
            (path, "inputs") => format!("{path}.input"),
            _ => self.target.clone(),
        }
    }

    /// Returns what was read of what passes there; at an input these are all arguments.
    pub(crate) fn part_of<T: Tensor>(&self, whole: &Thing<T>) -> Result<Thing<T>, Wrong> {
        let whole = match self.input_of() {
            Some(_) => whole.first_argument()?,
            None => whole.clone(),
        };
        self.keys
            .iter()
            .try_fold(whole, |part, key| part.index(key))
    }

    /// Returns what passes there with another one in the place of what was read.
    pub(crate) fn with_part<T: Tensor>(
        &self,
        whole: &Thing<T>,
        part: Thing<T>,
    ) -> Result<Thing<T>, Wrong> {
        match &self.keys[..] {
            [] => whole.with_first_argument(part),
            [Key::Place(0)] if !self.target.ends_with("input") => whole.with_first(part),
            _ => Err(Wrong::Type),
        }
    }
}

/// What is still to be answered.
pub(crate) type Promise<T, F> = Pin<Box<dyn Future<Output = Result<T, Halt<F>>>>>;

/// What a cache collects.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Collects {
    pub(crate) modules: Option<Vec<String>>,
    pub(crate) inputs: bool,
    pub(crate) outputs: bool,
}

/// A body's way to a run.
pub(crate) trait Asks: Clone + 'static {
    type Tensor: Tensor;
    type Fault: Clone + 'static;

    /// Returns the value at a point such as `layers.0.output`; at an input, the arguments by place
    /// and those by name.
    fn value(&self, point: &str) -> Promise<Thing<Self::Tensor>, Self::Fault>;

    /// Replaces the value at a point.
    fn swap(&self, point: &str, value: Thing<Self::Tensor>) -> Promise<(), Self::Fault>;

    /// Puts a value in the place of what a module puts out.
    fn skip(&self, module: &str, value: Thing<Self::Tensor>) -> Promise<(), Self::Fault>;

    fn barrier(&self, name: &str) -> Promise<(), Self::Fault>;

    fn stop(&self) -> Promise<(), Self::Fault>;

    /// Begins to collect.
    fn cache(&self, name: &str, collects: Collects) -> Promise<(), Self::Fault>;

    /// Advances the own iteration.
    fn next(&self, by: u32) -> Result<(), Self::Fault>;

    /// Does something once for each iteration.
    fn each(
        &self,
        iterations: &crate::scenario::RawIter,
        round: Round<Self>,
    ) -> Promise<(), Self::Fault>;

    /// Computes a module on a value outside its place.
    fn call(
        &self,
        path: &str,
        input: Thing<Self::Tensor>,
    ) -> Result<Thing<Self::Tensor>, Self::Fault>;

    /// Returns an input of the scenario.
    fn given(&self, name: &str) -> Option<Self::Tensor>;

    /// Returns whether the first argument of a module is written by reading all of them, and
    /// writing them back.
    fn reads_to_write(&self, path: &str) -> bool;

    /// Fills a tensor that was read at a point, if it was, in its place; returns what its name
    /// stands for then.
    fn fill(
        &self,
        tensor: Self::Tensor,
        number: f64,
        read_at: Option<String>,
    ) -> Promise<Thing<Self::Tensor>, Self::Fault>;

    /// Returns the iteration that a request means.
    fn iteration(&self) -> u32;

    /// Begins a backward pass.
    fn backward(&self, loss: Thing<Self::Tensor>) -> Promise<(), Self::Fault>;

    /// Returns the gradient of a tensor, which was read somewhere if it has an origin.
    fn gradient(
        &self,
        of: Thing<Self::Tensor>,
        origin: Option<Origin>,
    ) -> Promise<Thing<Self::Tensor>, Self::Fault>;

    /// Replaces the gradient of a tensor.
    fn set_gradient(
        &self,
        of: Thing<Self::Tensor>,
        origin: Option<Origin>,
        gradient: Thing<Self::Tensor>,
    ) -> Promise<(), Self::Fault>;

    /// Ends what is done in a body's `number`-th backward pass, and returns the gradients that it
    /// has of these parameters.
    fn end_backward(
        &self,
        number: u32,
        parameters: Vec<String>,
    ) -> Promise<Gradients<Self::Tensor>, Self::Fault>;

    /// Forgets a backward pass in which something failed.
    fn leave_backward(&self) {}

    fn mark(&self, text: &str);

    fn caught(&self, name: &str, fault: Self::Fault);

    fn wrong(&self, wrong: Wrong) -> Self::Fault;

    fn raised(&self, message: &str) -> Self::Fault;

    /// Says that nothing has this name.
    fn unknown_name(&self, name: &str) -> Self::Fault;
}

/// Gradients of parameters, by path.
pub(crate) type Gradients<T> = Vec<(String, Thing<T>)>;

/// What a loop does in each iteration.
pub(crate) type Round<A> = Box<dyn Fn(A, u32) -> Promise<(), <A as Asks>::Fault>>;
