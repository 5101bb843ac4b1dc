//! Gradient hooks: identities in burn's graph whose backward step asks the run.
//!
//! A value whose gradient may be asked for leaves its site with such a node behind it. In a
//! backward pass burn calls the node's step, on the thread that called `backward`, with the
//! gradient summed over all uses of the value; the step hands it to the run of this thread, and
//! passes on what the mediators made of it. The node holds two numbers, that of the run and that of
//! the hook in it, so that a graph may outlive its run: then its hooks pass gradients on as they
//! are.
//!
//! Of a tuple, the gradients of all tensors are one value, and have to be known before any of them
//! goes on. Burn takes steps in the order of their depth, so that the tensors are tied together by
//! a *gate*, a node that depends on all of them, and each leaves the site as a *part*, which
//! depends on the gate: the steps of all parts come before that of the gate, and that before
//! everything behind it. A part that the loss does not reach is absent in the gradient. But burn
//! takes the steps of all that a gate depends on, and each step needs a gradient, so that what only
//! such a part was computed from gets zeros, where without the hook it would get none. They are
//! negative zeros, which change no bit of what else comes to the part's tensor, and the audit says
//! that there were some.
//!
//! While burn takes steps it holds the lock of the graph, so that an operation on a tensor of that
//! graph would wait for ever. Mediators therefore get gradients and, as long as the pass lasts,
//! also the activations that they have saved as tensors without a graph.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

#[cfg(feature = "cuda")]
use burn::backend::Cube;
#[cfg(feature = "remote")]
use burn::backend::Remote;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, Backend, BackendTensor, Dispatch, DispatchKindConversion, DispatchTensor, Flex,
    TensorMetadata, backend_extension,
};
use burn::module::Module;
use burn::tensor::{DType, Shape, Tensor};
use interloom_engine::Ticket;

use crate::active;
use crate::tensor::{AnyTensor, Kind, with_typed};
use crate::value::Value;

thread_local! {
    /// How many runs there were on this thread.
    static RUNS: Cell<u64> = const { Cell::new(0) };
    /// The number of the run that is under way.
    static RUN: Cell<u64> = const { Cell::new(0) };
    /// Whether mediators are at work inside a backward pass.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// What is kept for the hooks of the run under way.
    static KEPT: RefCell<Kept> = const { RefCell::new(Kept::NOTHING) };
}

#[derive(Default)]
struct Kept {
    /// The structure of each hooked value that is not a single tensor.
    structures: BTreeMap<Hook, Value>,
    /// The gradients of the parts of a tuple, until their gate's steps are taken.
    parts: BTreeMap<Hook, Part>,
}

enum Part {
    /// As the backward pass brought them.
    Arrived(Parts),
    /// As the run answered them.
    Answered(Parts),
}

impl Kept {
    const NOTHING: Self = Self {
        structures: BTreeMap::new(),
        parts: BTreeMap::new(),
    };
}

/// The gradients of the tensors of one value, by their places in it.
pub(crate) type Parts = BTreeMap<u32, DispatchTensor>;

/// A hook: the run, and its number there.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Hook {
    pub(crate) run: u64,
    pub(crate) ticket: Ticket,
}

/// The numbering of a run's hooks, while it is under way.
pub(crate) struct Numbered {
    number: u64,
    outer: u64,
    kept: Kept,
}

impl Numbered {
    /// Numbers a run that begins on this thread, inside of another one if there is one.
    pub(crate) fn begin() -> Self {
        let number = RUNS.get() + 1;
        RUNS.set(number);
        Self {
            number,
            outer: RUN.replace(number),
            kept: KEPT.take(),
        }
    }

    /// Returns the run's number.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Numbered {
    fn drop(&mut self) {
        RUN.set(self.outer);
        KEPT.set(std::mem::take(&mut self.kept));
    }
}

/// Returns whether mediators are at work inside a backward pass, where tensors of its graph must
/// not be computed with.
#[inline]
pub(crate) fn is_inside() -> bool {
    INSIDE.get()
}

/// Returns a module as a mediator may call it at the moment: as it is, or in a backward pass a copy
/// whose parameters belong to no graph.
///
/// In a backward pass burn holds the lock of the graph, so that an operation on a parameter of it
/// would wait for ever. What [calls modules by name](interloom_program::Modules) for mediators
/// calls this first; a mediator that has a module of its own at hand calls it so, too.
///
/// ```
/// # use burn::{nn::{Linear, LinearConfig}, prelude::*};
/// # use interloom_backends::{Bound, Hooked, Run, backward, callable};
/// # let device = Device::flex().autodiff();
/// let model = Bound::new(Hooked::from(LinearConfig::new(2, 2).init(&device)))?;
/// let again = model.inner().clone();
/// let mut run = Run::new("again", &model);
/// let seen = run
///     .mediator("again", async move |cx| {
///         let gradient = cx.grad("").await?.tensor::<2>()?;
///         Ok(callable(&again).forward(gradient))
///     })
///     .gradients([""]);
/// let x = Tensor::<2>::ones([1, 2], &device);
/// run.execute(|| drop(backward(&model.forward(x).sum())))?;
/// assert_eq!(seen.take().unwrap().dims(), [1, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn callable<M: Module>(module: &M) -> Cow<'_, M> {
    if is_inside() {
        // Not `valid`: without autodiff some operations are rounded otherwise.
        Cow::Owned(module.clone().no_grad())
    } else {
        Cow::Borrowed(module)
    }
}

/// Lets mediators work inside a backward pass.
pub(crate) fn inside<T>(f: impl FnOnce() -> T) -> T {
    struct Reset(bool);
    impl Drop for Reset {
        fn drop(&mut self) {
            INSIDE.set(self.0);
        }
    }
    let _reset = Reset(INSIDE.replace(true));
    f()
}

/// Makes the gradient of a value from those of its tensors: of the value's structure, with nothing
/// where a part is no float tensor or was not reached.
pub(crate) fn assemble(hook: Hook, parts: Parts) -> Value {
    let structure = KEPT.with_borrow(|kept| kept.structures.get(&hook).cloned());
    let mut tensors = parts.into_iter().map(|(place, tensor)| {
        let tensor = AnyTensor::from_dispatch(Kind::Float, tensor);
        (place, tensor)
    });
    match structure {
        None => tensors
            .next()
            .map_or(Value::Unit, |(_, tensor)| Value::Tensor(tensor)),
        Some(structure) => filled(&structure, &tensors.collect()),
    }
}

/// Returns the gradients of a value's tensors.
pub(crate) fn disassemble(hook: Hook, gradient: &Value) -> Parts {
    let structure = KEPT.with_borrow(|kept| kept.structures.get(&hook).cloned());
    let mut parts = Parts::new();
    taken_apart(&structure.unwrap_or(Value::Int(0)), gradient, &mut parts);
    parts
}

/// Returns a structure, which has the places of float tensors, with the tensors in them.
fn filled(structure: &Value, tensors: &BTreeMap<u32, AnyTensor>) -> Value {
    let all = |items: &[Value]| -> Arc<[Value]> {
        items.iter().map(|item| filled(item, tensors)).collect()
    };
    match structure {
        Value::Int(place) => {
            let tensor = u32::try_from(*place)
                .ok()
                .and_then(|place| tensors.get(&place));
            tensor.map_or(Value::Unit, |tensor| Value::Tensor(tensor.clone()))
        }
        Value::Tuple(items) => Value::Tuple(all(items)),
        Value::List(items) => Value::List(all(items)),
        Value::Map(entries) => {
            let entries = entries.iter();
            Value::Map(
                entries
                    .map(|(key, item)| (key.clone(), filled(item, tensors)))
                    .collect(),
            )
        }
        _ => Value::Unit,
    }
}

fn taken_apart(structure: &Value, gradient: &Value, parts: &mut Parts) {
    match (structure, gradient) {
        (Value::Int(place), Value::Tensor(tensor)) => {
            let place = u32::try_from(*place).expect("a place that was counted");
            let tensor = with_typed!(tensor.clone(), |tensor: Tensor<_, burn::tensor::Float>| {
                tensor.without_autodiff().into_dispatch()
            });
            parts.insert(place, tensor);
        }
        (Value::Tuple(items), Value::Tuple(gradients))
        | (Value::List(items), Value::List(gradients)) => {
            let pairs = items.iter().zip(gradients.iter());
            pairs.for_each(|(item, gradient)| taken_apart(item, gradient, parts));
        }
        (Value::Map(entries), Value::Map(gradients)) => {
            let pairs = entries.iter().zip(gradients.iter());
            pairs.for_each(|((_, item), (_, gradient))| taken_apart(item, gradient, parts));
        }
        _ => {}
    }
}

/// Returns the structure of a value, with the places of its float tensors.
fn structure_of(value: &Value, place: &mut i64) -> Value {
    let mut all = |items: &[Value]| -> Arc<[Value]> {
        items.iter().map(|item| structure_of(item, place)).collect()
    };
    match value {
        Value::Tensor(tensor) => {
            let here = *place;
            *place += 1;
            match tensor.kind() {
                Kind::Float => Value::Int(here),
                Kind::Int | Kind::Bool => Value::Unit,
            }
        }
        Value::Tuple(items) => Value::Tuple(all(items)),
        Value::List(items) => Value::List(all(items)),
        Value::Map(entries) => {
            let entries = entries.iter();
            Value::Map(
                entries
                    .map(|(key, item)| (key.clone(), structure_of(item, place)))
                    .collect(),
            )
        }
        _ => Value::Unit,
    }
}

/// Returns the value with a hook behind each of its float tensors that belong to a graph.
pub(crate) fn hook(value: &Value, ticket: Ticket) -> Value {
    let run = RUN.get();
    let hook = Hook { run, ticket };
    if !matches!(value, Value::Tensor(_)) {
        let structure = structure_of(value, &mut 0);
        KEPT.with_borrow_mut(|kept| kept.structures.insert(hook, structure));
    }
    let mut leaves = Vec::new();
    let mut place = 0;
    value.each_tensor(&mut |tensor| {
        if tensor.kind() == Kind::Float && tensor.is_autodiff() {
            leaves.push((place, tensor.clone().tracked()));
        }
        place += 1;
    });
    let hooked = match &*leaves {
        [] => return value.clone(),
        [(place, leaf)] => BTreeMap::from([(*place, leaf.hooked(hook, *place))]),
        [(_, first), ..] => {
            // From the first tensor to the last, each adds itself to the gate.
            let begin = first.gate_of(hook, leaves[0].0);
            let rest = leaves[1..].iter();
            let gate = rest.fold(begin, |gate, (place, leaf)| {
                leaf.add_to_gate(gate, hook, *place)
            });
            let parts = leaves.iter();
            parts
                .map(|(place, leaf)| (*place, leaf.part_of(gate.clone(), hook, *place)))
                .collect()
        }
    };
    let mut place = 0;
    value.clone().map_tensors(&mut |tensor| {
        let hooked = hooked.get(&place).cloned();
        place += 1;
        hooked.unwrap_or(tensor)
    })
}

impl AnyTensor {
    /// Returns a tensor of the graph; what belongs to none, such as an activation of a frozen
    /// model, becomes a leaf of one.
    fn tracked(self) -> Self {
        with_typed!(self, |tensor: Tensor<_, burn::tensor::Float>| {
            let is_tracked = tensor.is_tracked();
            Self::new(if is_tracked {
                tensor
            } else {
                tensor.require_grad()
            })
        })
    }

    fn hooked(&self, Hook { run, ticket }: Hook, place: u32) -> Self {
        let x = self.dispatch().clone();
        let hooked = <Dispatch as GradientHook>::gradient_hook(x, run, ticket.0, place);
        Self::from_dispatch(Kind::Float, hooked)
    }

    fn gate_of(&self, Hook { run, ticket }: Hook, place: u32) -> DispatchTensor {
        let x = self.dispatch().clone();
        <Dispatch as GradientHook>::gradient_gate(x, run, ticket.0, place)
    }

    fn add_to_gate(&self, gate: DispatchTensor, of: Hook, place: u32) -> DispatchTensor {
        let (x, Hook { run, ticket }) = (self.dispatch().clone(), of);
        <Dispatch as GradientHook>::gradient_joined(gate, x, run, ticket.0, place)
    }

    fn part_of(&self, gate: DispatchTensor, of: Hook, place: u32) -> Self {
        let (x, Hook { run, ticket }) = (self.dispatch().clone(), of);
        let part = <Dispatch as GradientHook>::gradient_part(gate, x, run, ticket.0, place);
        Self::from_dispatch(Kind::Float, part)
    }
}

/// The operations behind hooks; all are identities but for their backward step.
#[backend_extension(Flex, Cube: cfg(feature = "cuda"), Remote: cfg(feature = "remote"), Autodiff)]
pub(crate) trait GradientHook: Backend {
    /// A hook behind the only tensor of a value.
    fn gradient_hook(x: FloatTensor<Self>, run: u64, ticket: u64, place: u32) -> FloatTensor<Self>;

    /// A gate that depends on a tensor.
    fn gradient_gate(x: FloatTensor<Self>, run: u64, ticket: u64, place: u32) -> FloatTensor<Self>;

    /// A gate that depends on another one, and on a tensor.
    fn gradient_joined(
        gate: FloatTensor<Self>,
        x: FloatTensor<Self>,
        run: u64,
        ticket: u64,
        place: u32,
    ) -> FloatTensor<Self>;

    /// A tensor that depends on a gate.
    fn gradient_part(
        gate: FloatTensor<Self>,
        x: FloatTensor<Self>,
        run: u64,
        ticket: u64,
        place: u32,
    ) -> FloatTensor<Self>;
}

/// A backend whose tensors can be handed to mediators.
pub(crate) trait Wrapped: Backend {
    /// Makes a tensor of any backend.
    fn wrap(tensor: FloatTensor<Self>) -> DispatchTensor;

    /// Gets this backend's tensor back.
    fn unwrap(tensor: DispatchTensor) -> FloatTensor<Self>;
}

/// Implements both for a backend that executes.
macro_rules! execution_backend {
    ($backend:ty) => {
        impl GradientHook for $backend {
            fn gradient_hook(x: FloatTensor<Self>, _: u64, _: u64, _: u32) -> FloatTensor<Self> {
                x
            }

            fn gradient_gate(x: FloatTensor<Self>, _: u64, _: u64, _: u32) -> FloatTensor<Self> {
                Self::float_zeros(Shape::new([1]), &x.device(), x.dtype().into())
            }

            fn gradient_joined(
                gate: FloatTensor<Self>,
                _: FloatTensor<Self>,
                _: u64,
                _: u64,
                _: u32,
            ) -> FloatTensor<Self> {
                gate
            }

            fn gradient_part(
                _: FloatTensor<Self>,
                x: FloatTensor<Self>,
                _: u64,
                _: u64,
                _: u32,
            ) -> FloatTensor<Self> {
                x
            }
        }

        impl Wrapped for $backend {
            fn wrap(tensor: FloatTensor<Self>) -> DispatchTensor {
                let tensor = BackendTensor::Float(tensor);
                <DispatchTensor as DispatchKindConversion<Self>>::from_backend(tensor)
            }

            fn unwrap(tensor: DispatchTensor) -> FloatTensor<Self> {
                let tensor =
                    <DispatchTensor as DispatchKindConversion<Self>>::try_into_backend(tensor);
                tensor
                    .expect("a gradient of the same backend, which a swap was checked for")
                    .float()
            }
        }
    };
}

execution_backend!(Flex);
#[cfg(feature = "cuda")]
execution_backend!(Cube);
#[cfg(feature = "remote")]
execution_backend!(Remote);

/// What the node of a hook holds.
#[derive(Clone, Copy, Debug)]
struct Node {
    hook: Hook,
    /// The place of its tensor in the value.
    place: u32,
}

impl Node {
    const fn new(run: u64, ticket: u64, place: u32) -> Self {
        let ticket = Ticket(ticket);
        let hook = Hook { run, ticket };
        Self { hook, place }
    }
}

/// Makes a node in the graph for an identity.
macro_rules! node {
    ($step:expr, $guards:expr, $node:expr, $output:expr) => {
        match $step.prepare::<C>($guards).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish($node, $output),
            OpsKind::UnTracked(prepared) => prepared.finish($output),
        }
    };
}

impl<B: GradientHook + Wrapped, C: CheckpointStrategy> GradientHook for Autodiff<B, C> {
    fn gradient_hook(x: FloatTensor<Self>, run: u64, ticket: u64, place: u32) -> FloatTensor<Self> {
        let (x, guard) = x.into_parts();
        node!(HookStep, [guard], Node::new(run, ticket, place), x)
    }

    fn gradient_gate(x: FloatTensor<Self>, run: u64, ticket: u64, place: u32) -> FloatTensor<Self> {
        let (x, guard) = x.into_parts();
        let joined = Joined::new(Node::new(run, ticket, place), &x);
        let gate = B::gradient_gate(x, run, ticket, place);
        node!(GateStep, [guard], joined, gate)
    }

    fn gradient_joined(
        gate: FloatTensor<Self>,
        x: FloatTensor<Self>,
        run: u64,
        ticket: u64,
        place: u32,
    ) -> FloatTensor<Self> {
        let (gate, before) = gate.into_parts();
        let (x, guard) = x.into_parts();
        let joined = Joined::new(Node::new(run, ticket, place), &x);
        node!(JoinStep, [before, guard], joined, gate)
    }

    fn gradient_part(
        gate: FloatTensor<Self>,
        x: FloatTensor<Self>,
        run: u64,
        ticket: u64,
        place: u32,
    ) -> FloatTensor<Self> {
        let (_, guard) = gate.into_parts();
        node!(
            PartStep,
            [guard],
            Node::new(run, ticket, place),
            x.into_primitive()
        )
    }
}

/// The step of the hook behind a single tensor.
#[derive(Debug)]
struct HookStep;

impl<B: GradientHook + Wrapped> Backward<B, 1> for HookStep {
    type State = Node;

    fn backward(self, ops: Ops<Node, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let Node { hook, place } = ops.state;
        let gradient = B::wrap(gradients.consume::<B>(&ops.node));
        let mut parts = active::pass_gradient(hook, Parts::from([(place, gradient)]));
        let [parent] = ops.parents;
        if let Some((parent, gradient)) = parent.zip(parts.remove(&place)) {
            gradients.register::<B>(parent.id, B::unwrap(gradient));
        }
    }
}

/// The step of a part: it leaves its gradient to the gate.
#[derive(Debug)]
struct PartStep;

impl<B: GradientHook + Wrapped> Backward<B, 1> for PartStep {
    type State = Node;

    fn backward(self, ops: Ops<Node, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let Node { hook, place } = ops.state;
        let gradient = gradients.consume::<B>(&ops.node);
        let of_gate = B::gradient_gate(gradient.clone(), 0, 0, 0);
        KEPT.with_borrow_mut(|kept| {
            let nothing = || Part::Arrived(Parts::new());
            if let Part::Arrived(parts) = kept.parts.entry(hook).or_insert_with(nothing) {
                parts.insert(place, B::wrap(gradient));
            }
        });
        let [gate] = ops.parents;
        if let Some(gate) = gate {
            gradients.register::<B>(gate.id, of_gate);
        }
    }
}

/// The step of a gate, for the last tensor that joined it.
#[derive(Debug)]
struct JoinStep;

impl<B: GradientHook + Wrapped> Backward<B, 2> for JoinStep {
    type State = Joined;

    fn backward(self, ops: Ops<Joined, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let of_gate = gradients.consume::<B>(&ops.node);
        let [before, parent] = ops.parents;
        if let Some(parent) = parent {
            let gradient = ops.state.gradient::<B>(&of_gate);
            gradients.register::<B>(parent.id, gradient);
        }
        if let Some(before) = before {
            gradients.register::<B>(before.id, of_gate);
        }
    }
}

/// The step of a gate, for the first tensor of the value.
#[derive(Debug)]
struct GateStep;

impl<B: GradientHook + Wrapped> Backward<B, 1> for GateStep {
    type State = Joined;

    fn backward(self, ops: Ops<Joined, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let hook = ops.state.node.hook;
        let of_gate = gradients.consume::<B>(&ops.node);
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            let gradient = ops.state.gradient::<B>(&of_gate);
            gradients.register::<B>(parent.id, gradient);
        }
        // It is the last step of the gate.
        KEPT.with_borrow_mut(|kept| kept.parts.remove(&hook));
    }
}

/// What the node of a gate holds: the tensor that joined it, and what that is.
#[derive(Clone, Debug)]
struct Joined {
    node: Node,
    shape: Shape,
    dtype: DType,
}

impl Joined {
    fn new(node: Node, x: &impl TensorMetadata) -> Self {
        let (shape, dtype) = (x.shape(), x.dtype());
        Self { node, shape, dtype }
    }

    /// Returns the tensor's gradient, after the run was asked, which is done at the gate's first
    /// step; negative zeros, if the loss does not reach the tensor.
    fn gradient<B: GradientHook + Wrapped>(self, of_gate: &FloatTensor<B>) -> FloatTensor<B> {
        let Node { hook, place } = self.node;
        let arrived = KEPT.with_borrow_mut(|kept| match kept.parts.remove(&hook)? {
            Part::Arrived(parts) => Some(parts),
            answered => {
                kept.parts.insert(hook, answered);
                None
            }
        });
        if let Some(parts) = arrived {
            let answer = Part::Answered(active::pass_gradient(hook, parts));
            KEPT.with_borrow_mut(|kept| kept.parts.insert(hook, answer));
        }
        let gradient = KEPT.with_borrow_mut(|kept| match kept.parts.get_mut(&hook)? {
            Part::Arrived(parts) | Part::Answered(parts) => parts.remove(&place),
        });
        match gradient {
            Some(gradient) => B::unwrap(gradient),
            None => {
                active::note_unreached_part(hook);
                let zeros = B::float_zeros(self.shape, &of_gate.device(), self.dtype.into());
                B::float_neg(zeros)
            }
        }
    }
}
