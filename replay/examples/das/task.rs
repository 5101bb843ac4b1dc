//! Hierarchical equality: the task, a network for it, and interchange interventions in that.
//!
//! Four vectors w, x, y and z are given, and the answer is whether (w = x) = (y = z). A causal
//! model of it has two variables between input and answer, w = x and y = z. A network is one of
//! that if for each variable there is a subspace of an activation, such that a value taken there
//! from another input changes the answer as the variable's value of that input would (Geiger et
//! al. 2023).

use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, AdamWConfig, GradientsParams};
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use interloom::interventions::{Learned, Rotation};
use interloom::prelude::*;

/// The length of each of the four vectors.
const EMBEDDING: usize = 4;
/// The width of the network.
pub(crate) const WIDTH: usize = 4 * EMBEDDING;
/// The number of directions of each variable.
const HALF: usize = WIDTH / 2;

/// Numbers that depend on the seed alone (SplitMix64).
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of two decimals from -1 to 1.
    pub(crate) fn number(&mut self) -> f32 {
        (self.next() % 201) as f32 / 100.0 - 1.0
    }

    fn vector(&mut self) -> [f32; EMBEDDING] {
        std::array::from_fn(|_| self.number())
    }
}

/// Inputs of `[row, 16]`, with the values of both variables.
pub(crate) struct Inputs {
    rows: Vec<f32>,
    variables: Vec<[bool; 2]>,
}

impl Inputs {
    /// Draws inputs of which a quarter has each pair of values.
    pub(crate) fn draw(numbers: &mut Numbers, count: usize) -> Self {
        let mut inputs = Self {
            rows: Vec::with_capacity(count * WIDTH),
            variables: Vec::with_capacity(count),
        };
        for _ in 0..count {
            let kind = numbers.next();
            let variables = [kind & 1 == 1, kind & 2 == 2];
            for same in variables {
                let left = numbers.vector();
                let mut right = if same { left } else { numbers.vector() };
                if !same && right == left {
                    right[0] = -right[0] + 0.5;
                }
                inputs.rows.extend(left);
                inputs.rows.extend(right);
            }
            inputs.variables.push(variables);
        }
        inputs
    }

    fn tensor(&self, device: &Device) -> Tensor<2> {
        let data = TensorData::new(self.rows.clone(), [self.variables.len(), WIDTH]);
        Tensor::from_data(data, device)
    }
}

/// A multilayer perceptron: three blocks of 16, and logits of no and yes.
#[derive(Module, Debug)]
pub(crate) struct Network {
    blocks: Vec<Hooked<Block>>,
    score: Linear,
}

/// `relu(W x + b)`.
#[derive(Module, Debug)]
pub(crate) struct Block {
    layer: Linear,
}

impl Forward<Tensor<2>> for Block {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        activation::relu(self.layer.forward(x))
    }
}

impl Forward<Tensor<2>> for Network {
    type Output = Tensor<2>;

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let last = self.blocks.iter().fold(x, |x, block| block.forward(x));
        self.score.forward(last)
    }
}

pub(crate) type BoundNetwork = Bound<Hooked<Network>>;

impl Network {
    /// Draws a network from the device's random numbers.
    pub(crate) fn drawn(device: &Device) -> BoundNetwork {
        let block = |_| {
            Hooked::from(Block {
                layer: LinearConfig::new(WIDTH, WIDTH).init(device),
            })
        };
        let score = LinearConfig::new(WIDTH, 2).with_bias(false).init(device);
        let blocks = (0..3).map(block).collect();
        bound(Self { blocks, score })
    }

    /// Makes a network by hand that solves the task, and represents `w = x` in the first half of
    /// its first block and `y = z` in the second.
    pub(crate) fn by_hand(device: &Device) -> BoundNetwork {
        // Both signs of each difference, so that their sum is |w - x| or |y - z|: 0 if equal.
        let difference = |input: usize, output: usize| {
            let (half, at) = (output / HALF, output % HALF);
            let sign = if at < EMBEDDING { 1.0 } else { -1.0 };
            let left = half * HALF + at % EMBEDDING;
            match input {
                _ if input == left => sign,
                _ if input == left + EMBEDDING => -sign,
                _ => 0.0,
            }
        };
        // a - b, b - a, a + b, where a and b are those sums.
        let compare = |input: usize, output: usize| match output {
            0 => {
                if input < HALF {
                    1.0
                } else {
                    -1.0
                }
            }
            1 => {
                if input < HALF {
                    -1.0
                } else {
                    1.0
                }
            }
            2 => 1.0,
            _ => 0.0,
        };
        let pass = |input: usize, output: usize| f32::from(u8::from(input == output));
        // If one is 0, |a - b| is a + b, and the answer is no; else it is less, or both are 0.
        let score = |input: usize, output: usize| match (input, output) {
            (0 | 1, 0) => 1.0,
            (2, 1) => 0.999,
            _ => 0.0,
        };
        let block = |weight: &dyn Fn(usize, usize) -> f32| {
            Hooked::from(Block {
                layer: linear(weight, WIDTH, Some(0.0), device),
            })
        };
        let last = Linear {
            bias: Some(Param::from_data([0.0, 1e-6], device)),
            ..linear(&score, 2, None, device)
        };
        bound(Self {
            blocks: vec![block(&difference), block(&compare), block(&pass)],
            score: last,
        })
    }
}

fn linear(
    weight: &dyn Fn(usize, usize) -> f32,
    outputs: usize,
    bias: Option<f32>,
    device: &Device,
) -> Linear {
    let weights = (0..WIDTH).flat_map(|input| (0..outputs).map(move |output| (input, output)));
    let weights: Vec<f32> = weights
        .map(|(input, output)| weight(input, output))
        .collect();
    Linear {
        weight: Param::from_data(TensorData::new(weights, [WIDTH, outputs]), device),
        bias: bias.map(|bias| Param::from_tensor(Tensor::full([outputs], bias, device))),
    }
}

fn bound(network: Network) -> BoundNetwork {
    Bound::new(Hooked::from(network)).expect("the paths of a network are distinct")
}

/// Trains a network on inputs that it sees once, in batches of 1024.
///
/// How much of a network is in two halves of its first block depends on how it was trained, and
/// not on the search, which found the same from any start: with the rate of the notebook of pyvene
/// (0.001) and without a decay of weights it was 0.80 to 0.94. With this rate and decay it was
/// 0.996 or more for each of six seeds.
pub(crate) fn train(
    network: BoundNetwork,
    numbers: &mut Numbers,
    steps: u32,
    device: &Device,
) -> BoundNetwork {
    let mut network = network;
    let mut adam = AdamWConfig::new().with_weight_decay(0.03).init();
    for step in 0..steps {
        let rate = 0.02 * (1.0 - f64::from(step) / f64::from(steps));
        let inputs = Inputs::draw(numbers, 1024);
        let answers = inputs.variables.iter();
        let answers = answers.map(|[first, second]| first == second);
        let loss = loss(network.forward(inputs.tensor(device)), answers, device);
        let gradients = GradientsParams::from_grads(loss.backward(), &*network);
        network = network.map(|network| adam.step(rate, network, gradients));
    }
    network
}

/// Returns how often the network answers right.
pub(crate) fn accuracy(
    network: &BoundNetwork,
    numbers: &mut Numbers,
    count: usize,
    device: &Device,
) -> f64 {
    let inputs = Inputs::draw(numbers, count);
    let answers = inputs
        .variables
        .iter()
        .map(|[first, second]| first == second);
    share(network.forward(inputs.tensor(device)), answers)
}

/// A batch of interchange interventions: in the activation of `base` the values of some variables
/// are taken from other inputs.
pub(crate) struct Interchange {
    base: Inputs,
    sources: [Inputs; 2],
    /// Which of the variables are taken.
    taken: [bool; 2],
}

impl Interchange {
    /// Draws `count` of them; which variables are taken goes round by the number of the batch.
    pub(crate) fn draw(numbers: &mut Numbers, count: usize, batch: usize) -> Self {
        let mut draw = || Inputs::draw(numbers, count);
        Self {
            base: draw(),
            sources: [draw(), draw()],
            taken: [[true, false], [false, true], [true, true]][batch % 3],
        }
    }

    /// Returns what the causal model answers.
    fn answers(&self) -> impl Iterator<Item = bool> {
        (0..self.base.variables.len()).map(|row| {
            let value = |variable: usize| {
                let from = if self.taken[variable] {
                    &self.sources[variable]
                } else {
                    &self.base
                };
                from.variables[row][variable]
            };
            value(0) == value(1)
        })
    }

    /// Runs the network on the base, with what the sources have in the directions of each variable
    /// that is taken.
    fn logits(
        &self,
        network: &BoundNetwork,
        rotation: &Rotation,
        device: &Device,
    ) -> Result<Tensor<2>, Error> {
        let mut activations = Vec::new();
        for (source, taken) in self.sources.iter().zip(self.taken) {
            activations.push(match taken {
                true => Some(activation(network, source, device)?),
                false => None,
            });
        }
        let own = rotation.clone();
        let mut run = Run::new("interchange", network.sites());
        run.mediator("interchange", async move |cx| {
            let mut h = cx.output("blocks.0").await?.tensor::<2>()?;
            for (variable, source) in activations.into_iter().enumerate() {
                if let Some(source) = source {
                    h = own.interchange_in(h, source, variable * HALF..(variable + 1) * HALF);
                }
            }
            cx.set_output("blocks.0", h).await
        });
        Ok(run
            .execute(|| network.forward(self.base.tensor(device)))?
            .completed()?)
    }
}

/// Returns what the first block makes of inputs.
fn activation(
    network: &BoundNetwork,
    inputs: &Inputs,
    device: &Device,
) -> Result<Tensor<2>, Error> {
    let mut run = Run::new("source", network.sites());
    let read = run.mediator("read", async |cx| {
        Ok(cx.output("blocks.0").await?.tensor::<2>()?)
    });
    run.execute(|| network.forward(inputs.tensor(device)))?;
    Ok(read.take().expect("the block is passed").detach())
}

/// Trains a rotation, of which the first half of directions is one variable and the second half the
/// other, on batches of 512 interchange interventions; the network is frozen.
pub(crate) fn align(
    network: &BoundNetwork,
    rotation: Rotation,
    numbers: &mut Numbers,
    steps: usize,
    device: &Device,
) -> Result<Rotation, Error> {
    let mut rotation = rotation;
    let mut adam = AdamConfig::new().init();
    for step in 0..steps {
        // From 0.03 to a tenth of it, so that it settles.
        let rate = 0.03 * 0.1f64.powf(step as f64 / steps as f64);
        let batch = Interchange::draw(numbers, 512, step);
        let logits = batch.logits(network, &rotation, device)?;
        let loss = loss(logits, batch.answers(), device);
        let gradients = GradientsParams::from_grads(loss.backward(), &rotation);
        rotation = rotation.update(&mut adam, rate, gradients);
    }
    Ok(rotation)
}

/// Returns how often the network answers an interchange intervention as the causal model does.
pub(crate) fn interchange_accuracy(
    network: &BoundNetwork,
    rotation: &Rotation,
    numbers: &mut Numbers,
    count: usize,
    device: &Device,
) -> Result<f64, Error> {
    let mut right = 0.0;
    let batches = count / 640;
    for batch in 0..batches {
        let interchange = Interchange::draw(numbers, 640, batch);
        let logits = interchange.logits(network, rotation, device)?;
        right += share(logits, interchange.answers());
    }
    Ok(right / batches as f64)
}

/// The mean cross entropy of answers.
fn loss(logits: Tensor<2>, answers: impl Iterator<Item = bool>, device: &Device) -> Tensor<1> {
    let answers: Vec<i32> = answers.map(i32::from).collect();
    let count = answers.len();
    let answers = Tensor::<2, Int>::from_data(TensorData::new(answers, [count, 1]), device);
    activation::log_softmax(logits, 1)
        .gather(1, answers)
        .neg()
        .mean()
}

/// Returns how many of the answers are right.
fn share(logits: Tensor<2>, answers: impl Iterator<Item = bool>) -> f64 {
    let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
    let pairs = logits.chunks(2).zip(answers);
    let right = pairs
        .filter(|(logits, yes)| (logits[1] > logits[0]) == *yes)
        .count();
    right as f64 / (logits.len() / 2) as f64
}

/// The rotation that leaves everything as it is, which is right for the network made by hand.
pub(crate) fn unrotated(device: &Device) -> Rotation {
    Rotation::of(Tensor::eye(WIDTH, device)).expect("as many directions as dimensions")
}
