//! A two-layer attention-only transformer that continues repeated sequences: the smallest model
//! with a real circuit.
//!
//! Sequences of random tokens repeat themselves after a length that is drawn for each of them. To
//! predict the second copy the model needs two heads in a row: a *previous-token head* in layer 0,
//! which writes into each position what came before it, and *induction heads* in layer 1, which
//! look for the current token in what the first head wrote and attend to the token after it (Elhage
//! et al. 2021, Olsson et al. 2022). With a fixed repeat length one head could solve the task
//! by position, and there would be no induction; hence the drawn lengths.
//!
//! The trained weights are part of the crate ([`Induction::trained`]);
//! `examples/train_induction.rs` of the crate `interloom` makes them.

mod call;
mod data;
mod lm;
mod metrics;
mod train;

use burn::module::{Initializer, Module, Param};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData, activation, module};
use interloom_backends::{
    Bound, Forward, Hooked, ModelError, Operations, Tap, operations, parameters,
};
use interloom_engine::{Padding, PositionLayout};

use crate::decoder::{Place, cleared, with_padding};

pub use data::{Batch, Sampler};
pub use lm::InductionLm;
pub use metrics::{HeadScores, Score, head_scores, score};
pub use train::{
    BATCH, LEARNING_RATE, Trainer, WeightsError, foretold_loss, load_weights, optimizer,
    save_weights,
};

/// The number of different tokens.
pub const VOCABULARY: usize = 40;
/// The number of tokens of a sequence.
pub const POSITIONS: usize = 48;
/// The width of the residual stream of the trained model, and of one whose width is not chosen.
pub const WIDTH: usize = 64;
/// The number of layers.
pub const LAYERS: usize = 2;
/// The number of heads of each layer.
pub const HEADS: usize = 4;
/// What a masked attention score is set to.
const MASKED: f64 = -1.0e9;

/// The weights of [`Induction::trained`], with seed, command and loss in their metadata.
const TRAINED: &[u8] = include_bytes!("weights.safetensors");

/// The transformer: `[batch, position]` tokens to `[batch, position, token]` logits.
#[derive(Module, Debug)]
pub struct Induction {
    embed: Hooked<Embedding>,
    position: Param<Tensor<2>>,
    position_tap: Tap,
    layers: Vec<Hooked<Layer>>,
    unembed: Hooked<Linear>,
}

/// The size of a model that is drawn at random.
///
/// ```
/// # use interloom_models::induction::InductionConfig;
/// let config = InductionConfig::of_width(256).expect("a multiple of the number of heads");
/// let model = config.init(7, &burn::tensor::Device::flex());
/// # assert_eq!(model.inner().width(), 256);
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InductionConfig {
    width: usize,
}

/// One layer: what it reads from the residual stream is added to it.
#[derive(Module, Debug)]
pub struct Layer {
    attn: Hooked<Attention>,
}

/// Causal self-attention of [`HEADS`] heads, without biases.
///
/// Taps: `q`, `k`, `v` and `z` (what a head reads, before the output projection) are `[batch,
/// position, head, width]`; `scores` and `pattern` are `[batch, head, query, key]`. The calls
/// inside are sites below `source`.
#[derive(Module, Debug)]
pub struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    q: Tap,
    k: Tap,
    v: Tap,
    scores: Tap,
    pattern: Tap,
    z: Tap,
    source: Operations,
}

impl Default for InductionConfig {
    fn default() -> Self {
        Self { width: WIDTH }
    }
}

impl InductionConfig {
    /// Returns the size of a model whose residual stream has `width` dimensions, unless the
    /// [`HEADS`] cannot divide them evenly.
    pub const fn of_width(width: usize) -> Option<Self> {
        if width > 0 && width.is_multiple_of(HEADS) {
            Some(Self { width })
        } else {
            None
        }
    }

    /// Draws a model from `seed`, and binds it.
    ///
    /// Burn's seed is global to the process, so that nothing else may draw numbers meanwhile.
    pub fn init(self, seed: u64, device: &Device) -> Bound<Hooked<Induction>> {
        device.seed(seed);
        let model = Hooked::from(Induction::init(self.width, device));
        // Burn draws a parameter when it is first used: use all of them now, in the order of the
        // module tree.
        let _drawn = parameters(&model);
        bind(model)
    }
}

impl Induction {
    /// Draws a model of the width of the trained one from `seed`, and binds it, as
    /// [`InductionConfig::init`] does.
    pub fn new(seed: u64, device: &Device) -> Bound<Hooked<Self>> {
        InductionConfig::default().init(seed, device)
    }

    /// Returns the trained model.
    ///
    /// # Panics
    ///
    /// Never: that the weights in the crate fit is tested.
    pub fn trained(device: &Device) -> Bound<Hooked<Self>> {
        let model = Hooked::from(Self::init(WIDTH, device));
        let model = load_weights(model, TRAINED, device).expect("the crate's own weights fit");
        bind(model)
    }

    /// Returns what the file of the trained weights says about itself: seed, command, loss, and so
    /// on, by key.
    pub fn provenance() -> std::collections::BTreeMap<String, String> {
        train::metadata(TRAINED).expect("the crate's own weights are a safetensors file")
    }

    /// Returns the width of the residual stream.
    pub fn width(&self) -> usize {
        self.position.lazy_shape()[1]
    }

    fn init(width: usize, device: &Device) -> Self {
        let normal = normal(width);
        let embedding = EmbeddingConfig::new(VOCABULARY, width).with_initializer(normal.clone());
        Self {
            embed: embedding.init(device).into(),
            position: normal.init([POSITIONS, width], device),
            position_tap: Tap::new(),
            layers: (0..LAYERS)
                .map(|_| Layer::init(width, device).into())
                .collect(),
            unembed: linear(width, VOCABULARY, &normal, device).into(),
        }
    }
}

impl Layer {
    fn init(width: usize, device: &Device) -> Self {
        Self {
            attn: Attention::init(width, device).into(),
        }
    }
}

impl Attention {
    fn init(width: usize, device: &Device) -> Self {
        let normal = normal(width);
        let square = || linear(width, width, &normal, device);
        Self {
            query: square(),
            key: square(),
            value: square(),
            output: square(),
            q: Tap::new(),
            k: Tap::new(),
            v: Tap::new(),
            scores: Tap::new(),
            pattern: Tap::new(),
            z: Tap::new(),
            source: Operations::new(Self::OPERATIONS),
        }
    }
}

impl Forward<Tensor<2, Int>> for Induction {
    type Output = Tensor<3>;

    fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        self.forward_padded(tokens, None)
    }
}

impl Induction {
    /// Computes logits of rows of which the first positions may be padding.
    fn forward_padded(&self, tokens: Tensor<2, Int>, padding: Option<&Padding>) -> Tensor<3> {
        let [batch, length] = tokens.dims();
        let table = self.position.val();
        let position = match padding {
            None => table.narrow(0, 0, length).unsqueeze::<3>(),
            Some(_) => {
                let numbers = Place::new(padding, batch, 0, length).numbers(&tokens.device());
                module::embedding(table, numbers)
            }
        };
        let position = self
            .position_tap
            .pass(position.expand([batch, length, self.width()]));
        let embedded = self.embed.forward(tokens) + position;
        let residual = self.layers.iter().fold(embedded, |residual, layer| {
            layer.call(residual, |layer, x| layer.add(x, padding))
        });
        self.unembed.forward(residual)
    }
}

impl Forward<Tensor<3>> for Layer {
    type Output = Tensor<3>;

    fn forward(&self, residual: Tensor<3>) -> Tensor<3> {
        self.add(residual, None)
    }
}

impl Layer {
    fn add(&self, residual: Tensor<3>, padding: Option<&Padding>) -> Tensor<3> {
        let attend = |attn: &Attention, x| attn.attend(x, padding);
        residual.clone() + self.attn.call(residual, attend)
    }
}

impl Forward<Tensor<3>> for Attention {
    type Output = Tensor<3>;

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.attend(x, None)
    }
}

#[operations]
impl Attention {
    fn attend(&self, x: Tensor<3>, padding: Option<&Padding>) -> Tensor<3> {
        let [batch, length, width] = x.dims();
        let head_width = width / HEADS;
        let heads = |linear: &Linear| {
            linear
                .forward(x.clone())
                .reshape([batch, length, HEADS, head_width])
        };
        let q = self.q.pass(heads(&self.query)).swap_dims(1, 2);
        let k = self.k.pass(heads(&self.key)).swap_dims(1, 2);
        let v = self.v.pass(heads(&self.value)).swap_dims(1, 2);
        let v = Cleared(padding).pass(v);

        let scores = q.matmul(k.swap_dims(2, 3)) / (head_width as f64).sqrt();
        let future =
            Tensor::<2, Bool>::tril_mask([length, length], 0, &x.device()).unsqueeze::<4>();
        let hidden = Hidden::new(future, padding);
        let scores = scores.mask_fill(
            hidden.0.clone().expand([batch, HEADS, length, length]),
            MASKED,
        );
        let scores = hidden.pass(self.scores.pass(scores));
        let pattern = self.pattern.pass(activation::softmax(scores, 3));

        let z = self.z.pass(pattern.matmul(v).swap_dims(1, 2));
        self.output.forward(z.reshape([batch, length, width]))
    }
}

/// Values, of which those of padding are zeros.
struct Cleared<'p>(Option<&'p Padding>);

impl Cleared<'_> {
    fn pass(&self, v: Tensor<4>) -> Tensor<4> {
        match self.0 {
            Some(padding) => cleared(v, padding),
            None => v,
        }
    }
}

/// What no query sees, `[1, 1, query, key]`, or `[batch, 1, query, key]` where rows are padded.
struct Hidden(Tensor<4, Bool>);

impl Hidden {
    fn new(future: Tensor<4, Bool>, padding: Option<&Padding>) -> Self {
        let ([_, _, length, _], device) = (future.dims(), future.device());
        Self(match padding {
            Some(padding) => with_padding(future, padding, 0, length, &device),
            None => future,
        })
    }

    /// Masks scores again behind their site: an edit of them shows no query what it does not see.
    fn pass(self, scores: Tensor<4>) -> Tensor<4> {
        let shape = scores.dims();
        scores.mask_fill(self.0.expand(shape), f64::NEG_INFINITY)
    }
}

/// Returns the names that TransformerLens users know for the model's points.
fn aliases() -> Vec<(String, String)> {
    let mut aliases = vec![
        ("hook_embed".to_owned(), "embed.output".to_owned()),
        (
            "hook_pos_embed".to_owned(),
            "position_tap.output".to_owned(),
        ),
    ];
    for layer in 0..LAYERS {
        let names = [
            ("hook_resid_pre", "input"),
            ("hook_resid_post", "output"),
            ("hook_attn_out", "attn.output"),
            ("attn.hook_q", "attn.q.output"),
            ("attn.hook_k", "attn.k.output"),
            ("attn.hook_v", "attn.v.output"),
            ("attn.hook_attn_scores", "attn.scores.output"),
            ("attn.hook_pattern", "attn.pattern.output"),
            ("attn.hook_z", "attn.z.output"),
        ];
        aliases.extend(names.map(|(alias, point)| {
            (
                format!("blocks.{layer}.{alias}"),
                format!("layers.{layer}.{point}"),
            )
        }));
    }
    aliases
}

fn bind(model: Hooked<Induction>) -> Bound<Hooked<Induction>> {
    let bound: Result<_, ModelError> =
        Bound::new(model).and_then(|model| model.with_aliases(aliases()));
    let bound = bound.map(|model| model.with_positions(positions));
    bound.expect("the model's own paths are distinct, and its aliases name them")
}

/// Returns which dimensions of the tensors at a point are positions of a sequence.
fn positions(point: &str) -> PositionLayout {
    let (path, port) = point.rsplit_once('.').unwrap_or(("", point));
    let (_, name) = path.rsplit_once('.').unwrap_or(("", path));
    let dimensions = match (name, port) {
        ("unsqueeze_0", "input") => vec![vec![0, 1]],
        ("scores" | "pattern" | "mask_fill_0" | "softmax_0" | "expand_0" | "unsqueeze_0", _) => {
            vec![vec![2, 3]]
        }
        ("matmul_0", "input") => vec![vec![2], vec![3]],
        ("matmul_0", _) => vec![vec![2, 3]],
        ("matmul_1", "input") => vec![vec![2, 3], vec![2]],
        ("swap_dims_0" | "swap_dims_1" | "swap_dims_2", "output") => vec![vec![2]],
        ("swap_dims_3", "output") => vec![vec![3]],
        ("swap_dims_3" | "swap_dims_4", "input") | ("matmul_1", _) => vec![vec![2]],
        _ => vec![vec![1]],
    };
    PositionLayout::new(dimensions)
}

/// Returns what a model's parameters are drawn from.
fn normal(width: usize) -> Initializer {
    Initializer::Normal {
        mean: 0.0,
        std: 1.0 / (width as f64).sqrt(),
    }
}

fn linear(width: usize, out: usize, initializer: &Initializer, device: &Device) -> Linear {
    LinearConfig::new(width, out)
        .with_bias(false)
        .with_initializer(initializer.clone())
        .init(device)
}

/// Makes a parameter of given data with the identity and the trainability of the one that it
/// replaces.
fn replace<const D: usize>(
    param: Param<Tensor<D>>,
    data: TensorData,
    device: &Device,
) -> Param<Tensor<D>> {
    let id = param.id;
    param.transform_for_load(Tensor::from_data(data, device), id)
}
