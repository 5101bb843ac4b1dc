//! Operations: the calls inside a forward function, as sites.
//!
//! [`Operations`] says what a user needs to know. The rest of this file is what the attribute
//! `operations` writes calls of, and no interface for anybody else:
//!
//! - A call with operands is an [`Operation`], which knows the type of what it returns as soon as
//!   that is inferred, and goes past everything here without a run.
//! - In a run, [`passing`](Operation::passing) is that of [`Seen`] if that type can pass a site,
//!   and else its namesake of [`Unseen`], behind `Deref`, which does nothing: a method of the type
//!   itself comes first if its bounds hold. So are [`OperandType`] and [`UnseenOperandType`].
//!
//! Where the operations of an instance are is known to the instance: its field `source` is visited
//! when the model is bound, and interns the paths of all of them. So clones, two instances of one
//! type, a function that calls itself, and a module that is called outside of its model's run are
//! what they are for a [`Tap`](crate::Tap), and no run has to know whose function it is in.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use burn::module::{
    Content, Devices, DisplaySettings, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper,
    ModuleVisitor,
};
use burn::tensor::Device;

use crate::active::{self, Called};
use crate::bind::{Place, visit_operations};
use crate::erase::Erase;
use crate::hooked::module_without_parameters;
use crate::value::Value;

/// The operations of a module, by name, each with the names of its ports.
type Listed = &'static [(&'static str, &'static [&'static str])];

/// The place of a module's operations, the calls inside its forward function: a field without
/// parameters, whose name is `source`.
///
/// The attribute [`operations`](crate::operations) before the `impl` block of the function makes
/// each call in it a site, under the field's path, and leaves the function's type alone. It lists
/// them as `OPERATIONS`, of which the field is made:
///
/// ```
/// use burn::{nn::{Linear, LinearConfig}, prelude::*};
/// use burn::tensor::activation::softmax;
/// use interloom_backends::{Forward, Hooked, Run, Sites, Operations, operations};
///
/// #[derive(Module, Debug)]
/// struct Scores { query: Linear, key: Linear, source: Operations }
///
/// #[operations]
/// impl Forward<Tensor<2>> for Scores {
///     type Output = Tensor<2>;
///     fn forward(&self, x: Tensor<2>) -> Tensor<2> {
///         let scores = self.query.forward(x.clone()).matmul(self.key.forward(x).transpose());
///         softmax(scores, 1)
///     }
/// }
///
/// # let device = Device::flex();
/// let model = Hooked::from(Scores {
///     query: LinearConfig::new(4, 8).init(&device),
///     key: LinearConfig::new(4, 8).init(&device),
///     source: Operations::new(Scores::OPERATIONS),
/// });
/// let sites = Sites::bind(&model)?;
/// let paths: Vec<_> = sites.paths().skip(1).collect();
/// assert_eq!(paths, [
///     "source.self_query_0", "source.self_key_0", "source.transpose_0", "source.matmul_0",
///     "source.softmax_0",
/// ]);
///
/// let mut run = Run::new("temperature", &sites);
/// run.mediator("halve", async |cx| cx.update_input("source.softmax_0", |x| x * 0.5).await);
/// run.execute(|| model.forward(Tensor::<2>::ones([3, 4], &device)))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Names
///
/// An operation is named after the function or method, and numbered from 0 among those of its name
/// in the `impl` block, in the order in which they are computed. What a module's `forward` or
/// `call` is, is named after the module: `self.fc.forward(x)` is `self_fc_0`, and
/// `layer.forward(x)` is `layer_0`.
///
/// Calls in closures and loops count: one place in the source is one operation, and each time that
/// it is computed is one iteration. No operations are:
///
/// - operators (`a + b`), macros, and functions inside the function;
/// - constructors: of structs and variants, `Type::new`, `Type::from_…`, `Tensor::zeros` and the
///   like;
/// - methods that compute nothing, such as `clone`, `dims`, `device`, `unwrap` or `iter`, a
///   parameter's `val`, and a tap's `pass`.
///
/// # Ports
///
/// - `fn` reads as the name of what is called, as the source has it: `softmax`, `self.fc`. A swap
///   puts another function there, by its name: one of the run ([`Run::function`]), one that a
///   mediator has added ([`Functions`]), or a module of the model by its path ([`Run::modules`]).
///   It concerns the whole batch, so that a mediator with rows of its own is refused.
/// - `input` is the operand, or a tuple of them: what the call takes by value, first what a method
///   of tensors is called on, if it can pass a site ([`Erase`]) and is no size, flag or text.
/// - `output` is what is returned.
///
/// What is decided by types is decided when the function is compiled: what cannot pass a site is
/// left alone, and a call that returns such a thing, or a size, has sites that are never passed. Of
/// a call that is given a closure, or a condition, only the output passes.
///
/// A mediator that skips an operation at its `input` gives its output, and nothing is called.
///
/// # Costs
///
/// Without a run, one look at the thread's slot for each operation. Mistakes in the function are
/// shown where they are, some of them twice, for each call is there twice. Two things compile
/// without the attribute and not with it:
///
/// - a type that is inferred only from what comes after the call, and cannot pass a site: annotate
///   it;
/// - a method that has the name of one of tensors (`add`, `sum`), and borrows the variable that it
///   is called on: write `(&variable).add(x)`.
///
/// [`Functions`]: crate::Functions
/// [`Run::function`]: crate::Run::function
/// [`Run::modules`]: crate::Run::modules
#[derive(Clone, Debug)]
pub struct Operations {
    operations: Listed,
    place: Place,
    /// A bit for each operation that is left out.
    left_out: u64,
}

impl Operations {
    /// Makes the place of the operations that the attribute has listed: `Self::OPERATIONS`.
    pub fn new(operations: Listed) -> Self {
        Self {
            operations,
            place: Place::default(),
            left_out: 0,
        }
    }

    /// Leaves out the operations among the first 64 whose names `is_left_out` is true of: those
    /// that the function never comes to in this instance, as what it is configured to do is
    /// another.
    #[must_use]
    pub fn without(mut self, is_left_out: impl Fn(&str) -> bool) -> Self {
        let numbered = self.operations.iter().take(64).enumerate();
        for (index, (name, _)) in numbered {
            self.left_out |= u64::from(is_left_out(name)) << index;
        }
        self
    }

    /// Returns whether what passes one of the sites now would be of use to anybody:
    /// [`Tap::is_attended`](crate::Tap::is_attended) says what for.
    pub fn is_attended(&self) -> bool {
        let count = self.operations.len() as u32 - self.left_out.count_ones();
        active::is_attended(&self.place, count)
    }

    /// Returns where among those that are not left out an operation is; nothing if it is.
    const fn index(&self, index: u32) -> Option<u32> {
        if index >= 64 {
            return Some(index - self.left_out.count_ones());
        }
        let before = self.left_out & ((1 << index) - 1);
        match self.left_out >> index & 1 {
            0 => Some(index - before.count_ones()),
            _ => None,
        }
    }

    fn kept(&self) -> Vec<(&'static str, &'static [&'static str])> {
        let numbered = (0_u32..).zip(self.operations);
        let kept = numbered.filter(|(index, _)| self.index(*index).is_some());
        kept.map(|(_, operation)| *operation).collect()
    }

    /// Begins an operation.
    #[doc(hidden)]
    #[inline]
    pub const fn operation<T>(&self, index: u32) -> Operation<'_, T> {
        Operation(Seen {
            place: &self.place,
            index: self.index(index),
            output: PhantomData,
        })
    }
}

/// An operation that returns a `T`.
#[doc(hidden)]
pub struct Operation<'s, T>(Seen<'s, T>);

impl<T> Operation<'_, T> {
    /// Returns whether there is a run that might see it.
    #[inline]
    pub fn is_running(&self) -> bool {
        active::is_running()
    }

    /// Returns the output: with that its type is known.
    #[inline]
    pub fn same(&self, output: T) -> T {
        output
    }

    /// Looks at an operand's type.
    #[inline]
    pub const fn operand<A>(&self, _: &A) -> OperandType<A> {
        OperandType(UnseenOperandType(PhantomData))
    }
}

impl<'s, T: Erase> Operation<'s, T> {
    /// Begins to pass the sites.
    pub const fn passing(&self) -> &Seen<'s, T> {
        &self.0
    }
}

impl<T> Deref for Operation<'_, T> {
    type Target = Unseen<T>;

    fn deref(&self) -> &Unseen<T> {
        const { &Unseen(PhantomData) }
    }
}

/// An operation that returns what can pass a site.
#[doc(hidden)]
pub struct Seen<'s, T> {
    place: &'s Place,
    /// Nothing if it is left out.
    index: Option<u32>,
    output: PhantomData<fn() -> T>,
}

impl<T: Erase> Seen<'_, T> {
    /// Passes `fn`, which the source writes so.
    // Cold, as `pass`: out of the way of a model that runs on its own.
    #[cold]
    pub fn enter(&self, written: &str) -> Call {
        let index = self.index.filter(|_| T::IS_OPERAND);
        Call(index.and_then(|index| active::call(self.place, index, written)))
    }

    /// Passes `output`.
    pub fn leave(&self, call: Call, output: T) -> T {
        match call.0 {
            Some(called) => called.leave(output),
            None => output,
        }
    }

    /// Passes `output` with what takes its place.
    pub fn leave_with(&self, call: Call, output: Value) -> T {
        let called = call.0.expect("it has an output of its own");
        called.leave_with(output)
    }

    /// Passes `output` of an operation without other sites.
    #[cold]
    pub fn pass(&self, output: T) -> T {
        match self.index.filter(|_| T::IS_OPERAND) {
            Some(index) => active::pass_output(self.place, index, output),
            None => output,
        }
    }
}

/// An operation that returns what cannot pass a site.
#[doc(hidden)]
pub struct Unseen<T>(PhantomData<fn() -> T>);

impl<T> Unseen<T> {
    pub const fn passing(&self) -> &Self {
        self
    }

    pub const fn enter(&self, _: &str) -> Call {
        Call(None)
    }

    pub fn leave(&self, _: Call, output: T) -> T {
        output
    }

    pub fn leave_with(&self, _: Call, _: Value) -> T {
        unreachable!("what passes no site is not replaced")
    }

    pub fn pass(&self, output: T) -> T {
        output
    }
}

/// An operation that was called; nothing if it passes no sites.
#[doc(hidden)]
pub struct Call(Option<Called>);

impl Call {
    /// Passes the operands; returns the output if it is not to be computed.
    pub fn input(&mut self) -> Option<Value> {
        self.0.as_mut()?.pass_input()
    }

    fn take<A: Erase>(&mut self, index: usize) -> A {
        let called = self.0.as_mut().expect("it has an operand");
        called.take(index)
    }
}

/// An operand's type.
#[doc(hidden)]
pub struct OperandType<A>(UnseenOperandType<A>);

/// The type of what is no operand.
#[doc(hidden)]
pub struct UnseenOperandType<A>(PhantomData<fn() -> A>);

impl<A: Erase> OperandType<A> {
    pub fn hold(&self, call: &mut Call, operand: A) -> Held<A> {
        match &mut call.0 {
            Some(called) if A::IS_OPERAND => match called.hold(operand) {
                Ok(index) => Held::Passing(index, Call::take),
                Err(operand) => Held::Kept(operand),
            },
            _ => Held::Kept(operand),
        }
    }
}

impl<A> Deref for OperandType<A> {
    type Target = UnseenOperandType<A>;

    fn deref(&self) -> &UnseenOperandType<A> {
        &self.0
    }
}

impl<A> UnseenOperandType<A> {
    pub const fn hold(&self, _: &mut Call, operand: A) -> Held<A> {
        Held::Kept(operand)
    }
}

/// An operand until the operation is computed.
#[doc(hidden)]
pub enum Held<A> {
    Kept(A),
    Passing(usize, fn(&mut Call, usize) -> A),
}

impl<A> Held<A> {
    pub fn take(self, call: &mut Call) -> A {
        match self {
            Self::Kept(operand) => operand,
            Self::Passing(index, take) => take(call, index),
        }
    }
}

module_without_parameters!(Operations, |operations| visit_operations(
    &operations.place,
    &operations.kept()
));
