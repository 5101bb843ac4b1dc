//! Feed-forward layers: gated, plain, and experts.

use burn::module::{
    Content, Devices, DisplaySettings, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper,
    ModuleVisitor,
};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};
use interloom_backends::{Forward, Hooked, Operations, Tap, is_running, operations};

use super::activation::{self, Activation};
use super::config::ExpertsConfig;
use crate::projection::Projection;

/// The feed-forward layer of a block, of one of its kinds; its sites are below the block's `mlp`.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one for each block")]
pub enum FeedForward {
    /// `down(f(gate(x)) * up(x))` (Shazeer 2020).
    Gated(GatedMlp),
    /// `down(f(up(x)))`.
    Plain(PlainMlp),
    /// A few of several for each position.
    Experts(Experts),
}

/// `down(f(gate(x)) * up(x))`.
#[derive(Module, Debug)]
pub struct GatedMlp {
    gate: Projection,
    up: Projection,
    down: Projection,
    pre: Tap,
    pre_linear: Tap,
    post: Tap,
    source: Operations,
    #[module(skip)]
    activation: Activation,
}

/// `down(f(up(x)))`.
#[derive(Module, Debug)]
pub struct PlainMlp {
    up: Projection,
    down: Projection,
    pre: Tap,
    post: Tap,
    source: Operations,
    #[module(skip)]
    activation: Activation,
}

/// Experts, of which each position takes those that a router likes most (Shazeer et al. 2017), and
/// possibly one that all take.
#[derive(Module, Debug)]
pub struct Experts {
    router: Hooked<Projection>,
    weights: Tap,
    experts: Vec<Hooked<GatedMlp>>,
    shared: Option<SharedExpert>,
    #[module(skip)]
    config: ExpertsConfig,
}

/// An expert that all positions take, with the weight that a gate gives it.
#[derive(Module, Debug)]
pub(super) struct SharedExpert {
    pub(super) gate: Hooked<Projection>,
    pub(super) expert: Hooked<GatedMlp>,
}

impl GatedMlp {
    pub(super) fn new([gate, up, down]: [Projection; 3], activation: Activation) -> Self {
        Self {
            gate,
            up,
            down,
            pre: Tap::new(),
            pre_linear: Tap::new(),
            post: Tap::new(),
            source: with_only(activation, Operations::new(Self::OPERATIONS)),
            activation,
        }
    }
}

#[operations]
impl Forward<Tensor<3>> for GatedMlp {
    type Output = Tensor<3>;

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let gate = self.pre.pass(self.gate.forward(x.clone()));
        let up = self.pre_linear.pass(self.up.forward(x));
        let gate = match self.activation {
            Activation::Gelu => activation::gelu(gate),
            Activation::GeluTanh => activation::gelu_approximate(gate),
            Activation::GeluSigmoid => activation::quick_gelu(gate),
            Activation::Relu => activation::relu(gate),
            Activation::ReluSquared => activation::relu_squared(gate),
            Activation::Silu => activation::silu(gate),
            Activation::Tanh => activation::tanh(gate),
            Activation::Sigmoid => activation::sigmoid(gate),
            Activation::GeluClipped => activation::gelu_clipped(gate),
            Activation::HardSwish => activation::hard_swish(gate),
            Activation::Laplace => activation::laplace(gate),
            Activation::LeakyRelu => activation::leaky_relu(gate),
            Activation::Linear => activation::linear(gate),
            Activation::Mish => activation::mish(gate),
            Activation::Relu6 => activation::relu6(gate),
            Activation::SqrtSoftplus => activation::sqrt_softplus(gate),
        };
        let post = self.post.pass(gate * up);
        self.down.forward(post)
    }
}

impl PlainMlp {
    pub(super) fn new([up, down]: [Projection; 2], activation: Activation) -> Self {
        Self {
            up,
            down,
            pre: Tap::new(),
            post: Tap::new(),
            source: with_only(activation, Operations::new(Self::OPERATIONS)),
            activation,
        }
    }
}

#[operations]
impl Forward<Tensor<3>> for PlainMlp {
    type Output = Tensor<3>;

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let pre = self.pre.pass(self.up.forward(x));
        let post = match self.activation {
            Activation::Gelu => activation::gelu(pre),
            Activation::GeluTanh => activation::gelu_approximate(pre),
            Activation::GeluSigmoid => activation::quick_gelu(pre),
            Activation::Relu => activation::relu(pre),
            Activation::ReluSquared => activation::relu_squared(pre),
            Activation::Silu => activation::silu(pre),
            Activation::Tanh => activation::tanh(pre),
            Activation::Sigmoid => activation::sigmoid(pre),
            Activation::GeluClipped => activation::gelu_clipped(pre),
            Activation::HardSwish => activation::hard_swish(pre),
            Activation::Laplace => activation::laplace(pre),
            Activation::LeakyRelu => activation::leaky_relu(pre),
            Activation::Linear => activation::linear(pre),
            Activation::Mish => activation::mish(pre),
            Activation::Relu6 => activation::relu6(pre),
            Activation::SqrtSoftplus => activation::sqrt_softplus(pre),
        };
        let post = self.post.pass(post);
        self.down.forward(post)
    }
}

/// Leaves out the operations of other nonlinearities.
fn with_only(activation: Activation, operations: Operations) -> Operations {
    operations
        .without(|name| Activation::OPERATIONS.contains(&name) && name != activation.operation())
}

impl Experts {
    pub(super) fn new(
        router: Projection,
        experts: Vec<GatedMlp>,
        shared: Option<SharedExpert>,
        config: ExpertsConfig,
    ) -> Self {
        Self {
            router: router.into(),
            weights: Tap::new(),
            experts: experts.into_iter().map(Hooked::from).collect(),
            shared,
            config,
        }
    }

    /// Returns the weight of each expert at each position, `[batch, position, expert]`: its share
    /// of what the router says if it is one of those that are taken, and 0 if not.
    fn weigh(&self, logits: Tensor<3>) -> Tensor<3> {
        let shares = softmax(logits, 2);
        let taken = taken(&shares, self.config.taken);
        let weights = shares * taken;
        match self.config.normalizes {
            true => weights.clone() / weights.sum_dim(2),
            false => weights,
        }
    }
}

impl Forward<Tensor<3>> for Experts {
    type Output = Tensor<3>;

    /// Computes every expert at every position while a run looks on, so that the sites that it
    /// passes do not depend on the other rows of the batch; and else leaves out those that no
    /// position takes, whose share of the sum is 0.
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let weights = self.weigh(self.router.forward(x.clone()));
        let weights = self.weights.pass(weights);
        let is_watched = is_running();
        let is_taken = taken_by_any(&weights);
        let mut sum = x.zeros_like();
        for (number, expert) in self.experts.iter().enumerate() {
            if is_watched || is_taken[number] {
                let weight = weights.clone().narrow(2, number, 1);
                sum = sum + expert.forward(x.clone()) * weight;
            }
        }
        match &self.shared {
            Some(SharedExpert { gate, expert }) => {
                let weight = activation::sigmoid(gate.forward(x.clone()));
                sum + expert.forward(x) * weight
            }
            None => sum,
        }
    }
}

/// Returns 1 for the `count` largest of the last dimension, the first of equals, and 0 for others.
fn taken(shares: &Tensor<3>, count: usize) -> Tensor<3> {
    let shape @ [_, _, experts] = shares.dims();
    let device = shares.device();
    let values: Vec<f32> = shares.to_data().iter::<f32>().collect();
    let mut taken = vec![0.0_f32; values.len()];
    for (values, taken) in values.chunks(experts).zip(taken.chunks_mut(experts)) {
        let mut order: Vec<usize> = (0..experts).collect();
        order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
        order[..count]
            .iter()
            .for_each(|&expert| taken[expert] = 1.0);
    }
    Tensor::from_data(TensorData::new(taken, shape), &device)
}

/// Returns for each expert whether any position gives it weight.
fn taken_by_any(weights: &Tensor<3>) -> Vec<bool> {
    let experts = weights.dims()[2];
    let values: Vec<f32> = weights.to_data().iter::<f32>().collect();
    let of = |expert: usize| values.iter().skip(expert).step_by(experts);
    (0..experts)
        .map(|expert| of(expert).any(|&weight| weight != 0.0))
        .collect()
}

impl Forward<Tensor<3>> for FeedForward {
    type Output = Tensor<3>;

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Gated(mlp) => mlp.forward(x),
            Self::Plain(mlp) => mlp.forward(x),
            Self::Experts(mlp) => mlp.forward(x),
        }
    }
}

/// Does the same of every kind.
macro_rules! of_each {
    ($kind:expr, $mlp:ident => $value:expr) => {
        match $kind {
            FeedForward::Gated($mlp) => $value,
            FeedForward::Plain($mlp) => $value,
            FeedForward::Experts($mlp) => $value,
        }
    };
}

/// Makes one of every kind into one of the same kind.
macro_rules! to_each {
    ($kind:expr, $mlp:ident => $value:expr) => {
        match $kind {
            FeedForward::Gated($mlp) => FeedForward::Gated($value),
            FeedForward::Plain($mlp) => FeedForward::Plain($value),
            FeedForward::Experts($mlp) => FeedForward::Experts($value),
        }
    };
}

/// Written out because the kind is no level of a path, as it would be if the trait were derived.
impl Module for FeedForward {
    fn collect_devices(&self, devices: Devices) -> Devices {
        of_each!(self, mlp => mlp.collect_devices(devices))
    }

    fn fork(self, device: &Device) -> Self {
        to_each!(self, mlp => mlp.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        to_each!(self, mlp => mlp.to_device(device))
    }

    fn train(self) -> Self {
        to_each!(self, mlp => mlp.train())
    }

    fn valid(&self) -> Self {
        to_each!(self, mlp => mlp.valid())
    }

    fn materialize(self) -> Self {
        to_each!(self, mlp => mlp.materialize())
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        of_each!(self, mlp => mlp.visit(visitor));
    }

    fn map<P: ModuleMapper>(self, mapper: &mut P) -> Self {
        to_each!(self, mlp => mlp.map(mapper))
    }
}

impl ModuleDisplay for FeedForward {
    fn format(&self, settings: DisplaySettings) -> String {
        of_each!(self, mlp => mlp.format(settings))
    }
}

impl ModuleDisplayDefault for FeedForward {
    fn content(&self, content: Content) -> Option<Content> {
        of_each!(self, mlp => mlp.content(content))
    }
}

impl std::fmt::Display for FeedForward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.format(DisplaySettings::default()))
    }
}
