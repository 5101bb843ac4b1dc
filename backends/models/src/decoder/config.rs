//! What a decoder computes: sizes, and which of the ways that models differ in it takes.
//!
//! A [family](crate::ARCHITECTURES) makes a [`DecoderConfig`] of its own `config.json`; nothing in
//! here knows how a family names things.

use crate::config::{
    MAX_EXPERTS, MAX_HEADS, MAX_LAYERS, MAX_POSITIONS, MAX_WIDTH, check_laws, check_sizes,
};
use crate::files::FileError;
use crate::files::tokenizer::MAX_VOCABULARY;

use super::activation::Activation;
use super::rotary::RotaryConfig;

/// The sizes and constants of a decoder.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DecoderConfig {
    /// The width of the residual stream.
    pub width: usize,
    /// The width of the embedding, which is another than the stream's in a few models.
    pub embedding_width: usize,
    /// The number of tokens.
    pub vocabulary: usize,
    /// The number of positions that the model was made for.
    pub positions: usize,
    /// The table of learned positions, if there is one.
    pub learned_positions: Option<LearnedPositions>,
    /// What embedded tokens are multiplied by.
    pub embedding_multiplier: Option<f64>,
    /// How many types tokens have, each with an embedding of its own, if they have any.
    pub token_types: Option<usize>,
    /// What of the embedding is normalized.
    pub embedding_norm: EmbeddingNorm,
    /// Whether the sum of all embeddings is taken from their width to that of the stream; else
    /// embedded tokens are, before positions are added, if the two widths differ.
    pub projects_sum: bool,
    /// The blocks.
    pub blocks: Vec<BlockConfig>,
    /// The groups of blocks that share their weights, if any do.
    pub shared: Option<SharedBlocks>,
    /// The kinds of rotary positions that blocks refer to.
    pub rotary: Vec<RotaryConfig>,
    /// The norms of the residual stream.
    pub norm: NormConfig,
    /// How norms, layers and the residual stream are wired in a block.
    pub wiring: Wiring,
    /// The attention.
    pub attention: AttentionConfig,
    /// The feed-forward layers of the blocks without experts.
    pub mlp: MlpConfig,
    /// The experts of the blocks that have them.
    pub experts: Option<ExpertsConfig>,
    /// Whether there is a norm in front of the output layer.
    pub has_final_norm: bool,
    /// The output layer.
    pub output: OutputConfig,
    /// The token that begins a text, if there is one.
    pub bos_id: Option<u32>,
    /// The tokens that end a text.
    pub eos_ids: Vec<u32>,
}

/// What one block has of its own.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct BlockConfig {
    /// The number of its rotary positions in [`DecoderConfig::rotary`]; nothing if it has none.
    pub rotary: Option<usize>,
    /// How many positions back a query sees, itself included; nothing if it sees all.
    pub window: Option<usize>,
    /// Whether its feed-forward layer consists of experts.
    pub has_experts: bool,
    /// Whether a query sees the keys behind it as well.
    pub sees_all: bool,
}

/// What of an embedding is normalized.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EmbeddingNorm {
    /// Nothing.
    None,
    /// Embedded tokens, before positions are added.
    Tokens,
    /// The sum of all embeddings.
    Sum,
}

/// Groups of blocks that share their weights: the blocks are divided evenly, and each pass through
/// a group is one through all that it consists of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SharedBlocks {
    /// How many passes there are.
    pub passes: usize,
    /// How many groups there are.
    pub groups: usize,
    /// How many blocks a group consists of.
    pub inner: usize,
}

impl SharedBlocks {
    /// Returns which group a block is of, and which of it.
    pub(super) const fn of(self, block: usize) -> (usize, usize) {
        let pass = block / self.inner;
        (pass * self.groups / self.passes, block % self.inner)
    }
}

/// A table of learned positions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LearnedPositions {
    /// How many rows come before that of the first position.
    pub offset: usize,
}

/// A norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormConfig {
    /// What it makes one.
    pub statistic: Statistic,
    /// What is added to the mean square or the variance.
    pub epsilon: f64,
    /// What the normalized values are multiplied by.
    pub gain: Gain,
    /// Whether a bias is added.
    pub has_bias: bool,
}

/// What a norm makes one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Statistic {
    /// The mean square (Zhang and Sennrich 2019).
    MeanSquare,
    /// The variance, after the mean has been taken away (Ba et al. 2016).
    Variance,
}

/// What normalized values are multiplied by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Gain {
    /// Nothing.
    None,
    /// The parameter.
    Parameter,
    /// One more than the parameter.
    ParameterPlusOne,
}

/// How norms, layers and the residual stream are wired in a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wiring {
    /// Where the norms are.
    pub norms: Norms,
    /// Whether attention and feed-forward layer read the same stream.
    pub is_parallel: bool,
    /// Whether the feed-forward layer of a parallel block has no norm of its own, and reads what
    /// the attention reads.
    pub shares_norm: bool,
    /// Whether what is added to is the normalized stream.
    pub adds_to_normalized: bool,
    /// What the outputs of both layers are multiplied by.
    pub multiplier: Option<f64>,
}

/// Where the norms of a block are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Norms {
    /// In front of both layers.
    Before,
    /// Behind both layers, on what is added to the stream.
    Behind,
    /// In front of both layers and behind them.
    Around,
    /// On the stream, after each sum.
    OnSum,
}

/// The attention.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AttentionConfig {
    /// The number of query heads.
    pub heads: usize,
    /// The number of key and value heads, which divides [`heads`](Self::heads).
    pub kv_heads: usize,
    /// The width of one head; `heads * head_width` need not be the width of the stream.
    pub head_width: usize,
    /// Whether queries, keys and values have biases.
    pub has_bias: bool,
    /// Whether the output has a bias.
    pub has_output_bias: bool,
    /// The square of what scores are divided by.
    pub squared_divisor: f64,
    /// Whether scores of block `n` are divided by `n + 1` as well.
    pub divides_by_layer: bool,
    /// The bound to which scores are drawn by a hyperbolic tangent.
    pub cap: Option<f64>,
    /// The bound to which queries, keys and values are clipped.
    pub clip: Option<f64>,
    /// The norm of queries and keys.
    pub head_norm: Option<HeadNormConfig>,
    /// The linear biases of scores (Press et al. 2021).
    pub alibi: Option<Alibi>,
}

/// The norm of queries and keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadNormConfig {
    /// The norm itself.
    pub norm: NormConfig,
    /// What is normalized together.
    pub over: Together,
}

/// What is normalized together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Together {
    /// Each head, with one gain for all.
    Head,
    /// Each head, with a gain of its own.
    OwnHead,
    /// All heads.
    All,
}

/// Linear biases of scores.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Alibi {
    /// Added to the divided scores.
    Plain,
    /// Rounded to bfloat16, and divided with the scores.
    Rounded,
}

/// A feed-forward layer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MlpConfig {
    /// The width inside.
    pub hidden: usize,
    /// Whether a gate is multiplied with what goes in.
    pub is_gated: bool,
    /// The nonlinearity.
    pub activation: Activation,
    /// Whether its linear layers have biases.
    pub has_bias: bool,
}

/// Experts: feed-forward layers of which each position takes a few.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ExpertsConfig {
    /// How many there are.
    pub count: usize,
    /// How many a position takes.
    pub taken: usize,
    /// The width inside of each.
    pub hidden: usize,
    /// Whether the weights of those that are taken are divided by their sum.
    pub normalizes: bool,
    /// The width inside of one that every position takes.
    pub shared: Option<usize>,
}

/// The output layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutputConfig {
    /// Whether it is the embedding.
    pub is_tied: bool,
    /// Whether it has a bias.
    pub has_bias: bool,
    /// The nonlinearity of the layer in front of it, if there is one, to the width of the
    /// embedding.
    pub transform: Option<Activation>,
    /// What logits are multiplied by.
    pub multiplier: Option<f64>,
    /// The bound to which logits are drawn by a hyperbolic tangent.
    pub cap: Option<f64>,
}

impl DecoderConfig {
    /// Returns how many tokens a sequence of the model may have.
    pub fn longest(&self) -> usize {
        match self.learned_positions {
            Some(_) => self.positions,
            None => {
                let reached = self
                    .rotary
                    .iter()
                    .map(|rotary| rotary.reach(self.positions));
                reached.min().unwrap_or(self.positions).min(MAX_POSITIONS)
            }
        }
    }

    /// Checks that the sizes are in their limits and fit together.
    pub(crate) fn checked(self, file: &str) -> Result<Self, FileError> {
        let attention = &self.attention;
        let experts = self.experts.unwrap_or(ExpertsConfig {
            count: 1,
            taken: 1,
            hidden: 1,
            normalizes: false,
            shared: None,
        });
        let shared = self.shared.unwrap_or(SharedBlocks {
            passes: 1,
            groups: 1,
            inner: 1,
        });
        check_sizes(
            file,
            &[
                (
                    "the number of groups of layers",
                    shared.groups,
                    shared.passes,
                ),
                ("the number of layers of a group", shared.inner, MAX_LAYERS),
                (
                    "the number of types of tokens",
                    self.token_types.unwrap_or(1),
                    MAX_WIDTH,
                ),
                ("the number of layers", self.blocks.len(), MAX_LAYERS),
                ("the number of heads", attention.heads, MAX_HEADS),
                (
                    "the number of key/value heads",
                    attention.kv_heads,
                    MAX_HEADS,
                ),
                ("the width of a head", attention.head_width, MAX_HEADS),
                ("the hidden size", self.width, MAX_WIDTH),
                (
                    "the width of the embedding",
                    self.embedding_width,
                    MAX_WIDTH,
                ),
                ("the intermediate size", self.mlp.hidden, MAX_WIDTH),
                ("the number of experts", experts.count, MAX_EXPERTS),
                (
                    "the intermediate size of an expert",
                    experts.hidden,
                    MAX_WIDTH,
                ),
                (
                    "the intermediate size of the shared expert",
                    experts.shared.unwrap_or(1),
                    MAX_WIDTH,
                ),
                ("the vocabulary size", self.vocabulary, MAX_VOCABULARY),
                ("the number of positions", self.positions, MAX_POSITIONS),
            ],
        )?;
        self.check_laws(experts, file)?;
        for rotary in &self.rotary {
            rotary.check(attention.head_width, file)?;
        }
        Ok(self)
    }

    fn check_laws(&self, experts: ExpertsConfig, file: &str) -> Result<(), FileError> {
        let attention = &self.attention;
        let is_fraction = |epsilon: f64| epsilon > 0.0 && epsilon < 1.0;
        let head_norm = attention.head_norm.map_or(0.5, |head| head.norm.epsilon);
        let token = |id: &u32| (*id as usize) < self.vocabulary;
        let windows = self.blocks.iter().filter_map(|block| block.window);
        let factors = [
            ("the multiplier of the embedding", self.embedding_multiplier),
            (
                "the multiplier of the residual stream",
                self.wiring.multiplier,
            ),
            ("the multiplier of the logits", self.output.multiplier),
            (
                "the square of the divisor of scores",
                Some(attention.squared_divisor),
            ),
        ];
        let bounds = [
            ("the cap of scores", attention.cap),
            ("the cap of logits", self.output.cap),
            ("the clip of queries, keys and values", attention.clip),
        ];
        let laws = [
            (
                "the number of heads",
                attention.heads.is_multiple_of(attention.kv_heads),
                format!("a multiple of the {} key/value heads", attention.kv_heads),
                attention.heads.to_string(),
            ),
            (
                "the epsilon of the norms",
                is_fraction(self.norm.epsilon) && is_fraction(head_norm),
                "a number between 0 and 1".to_owned(),
                self.norm.epsilon.to_string(),
            ),
            (
                "the tokens that begin and end a text",
                self.bos_id.iter().chain(&self.eos_ids).all(token),
                format!("tokens below {}", self.vocabulary),
                format!("{:?} and {:?}", self.bos_id, self.eos_ids),
            ),
            (
                "the number of experts that a token takes",
                (1..=experts.count).contains(&experts.taken),
                format!("1 to {}", experts.count),
                experts.taken.to_string(),
            ),
            (
                "the window of the attention",
                windows.clone().all(|window| window > 0),
                "at least 1 position".to_owned(),
                "0".to_owned(),
            ),
        ];
        let factor = |(place, factor): (&'static str, Option<f64>)| {
            let factor = factor.unwrap_or(1.0);
            let expected = "a finite number that is not 0".to_owned();
            (
                place,
                factor.is_finite() && factor != 0.0,
                expected,
                factor.to_string(),
            )
        };
        let bound = |(place, bound): (&'static str, Option<f64>)| {
            let bound = bound.unwrap_or(1.0);
            let expected = "a finite number above 0".to_owned();
            (
                place,
                bound.is_finite() && bound > 0.0,
                expected,
                bound.to_string(),
            )
        };
        let numbers = factors.map(factor).into_iter().chain(bounds.map(bound));
        check_laws(file, laws.into_iter().chain(numbers))
    }
}
