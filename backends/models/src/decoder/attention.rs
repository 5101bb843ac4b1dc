//! Attention with everything inside it as a site.

use burn::module::Module;
use burn::tensor::{Bool, Tensor};
use interloom_backends::parallel::attention;
use interloom_backends::{Forward, Hooked, Operations, Tap, is_running, operations};

use super::block::Positions;
use super::cache::KvCache;
use super::config::{AttentionConfig, BlockConfig};
use super::heads::{matmul, scores, softmax};
use super::norm::HeadNorm;
use super::rotation::Angles;
use super::scores::{MASKED, ScoreBias};
use crate::projection::Projection;

/// Causal attention, in which several query heads may share a key and value head (Ainslie et al.
/// 2023).
#[derive(Module, Debug)]
pub struct CausalAttention {
    query: Projection,
    key: Projection,
    value: Projection,
    output: Projection,
    q: Tap,
    k: Tap,
    v: Tap,
    q_norm: Option<Hooked<HeadNorm>>,
    k_norm: Option<Hooked<HeadNorm>>,
    rot_q: Option<Tap>,
    rot_k: Option<Tap>,
    #[module(skip)]
    bias: ScoreBias,
    scores: Tap,
    pattern: Tap,
    z: Tap,
    result: Tap,
    source: Operations,
    heads: usize,
    kv_heads: usize,
    head_width: usize,
    squared_divisor: f64,
    #[module(skip)]
    block: BlockConfig,
}

/// The linear layers of an attention.
pub(super) struct Projections {
    pub(super) query: Projection,
    pub(super) key: Projection,
    pub(super) value: Projection,
    pub(super) output: Projection,
}

/// What a block needs to know of the positions at hand: their angles, and which keys are not seen.
#[derive(Clone, Debug)]
pub(super) struct At<'s> {
    pub(super) angles: Option<&'s Angles>,
    /// The numbers of the keys of each row among its own, where rows are padded.
    pub(super) keys: Option<&'s [Vec<usize>]>,
    /// `[batch, head, query, key]`.
    pub(super) hidden: Tensor<4, Bool>,
}

impl CausalAttention {
    pub(super) fn new(
        projections: Projections,
        [q_norm, k_norm]: [Option<HeadNorm>; 2],
        config: &AttentionConfig,
        block: BlockConfig,
        layer: usize,
    ) -> Self {
        let is_rotated = block.rotary.is_some();
        let rotated = || is_rotated.then(Tap::new);
        let by_layer = if config.divides_by_layer {
            layer + 1
        } else {
            1
        };
        let source = Operations::new(Self::OPERATIONS)
            .without(|name| !is_rotated && name.starts_with("rotate_"));
        let Projections {
            query,
            key,
            value,
            output,
        } = projections;
        Self {
            query,
            key,
            value,
            output,
            q: Tap::new(),
            k: Tap::new(),
            v: Tap::new(),
            q_norm: q_norm.map(Hooked::from),
            k_norm: k_norm.map(Hooked::from),
            rot_q: rotated(),
            rot_k: rotated(),
            bias: ScoreBias::new(config),
            scores: Tap::new(),
            pattern: Tap::new(),
            z: Tap::new(),
            result: Tap::new(),
            source,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_width: config.head_width,
            squared_divisor: config.squared_divisor * (by_layer * by_layer) as f64,
            block,
        }
    }
}

impl CausalAttention {
    /// Computes the output of block number `layer`'s attention, `[batch, position, width]`.
    ///
    /// # Panics
    ///
    /// Panics if `positions` is not of a model that the attention is in.
    pub fn forward(
        &self,
        x: Tensor<3>,
        positions: &Positions,
        cache: &mut KvCache,
        layer: usize,
    ) -> Tensor<3> {
        let at = positions.at(self.block);
        let (q, k, v) = self.project(x, &at, cache, layer);
        let mixed = self.mix_in_one(&q, &k, &v, &at);
        self.finish(mixed.unwrap_or_else(|| self.mix(q, k, v, &at).0))
    }

    /// Computes the [output](Self::forward), and the pattern, `[batch, head, query, key]`.
    ///
    /// # Panics
    ///
    /// Panics if `positions` is not of a model that the attention is in.
    pub fn forward_with_pattern(
        &self,
        x: Tensor<3>,
        positions: &Positions,
        cache: &mut KvCache,
        layer: usize,
    ) -> (Tensor<3>, Tensor<4>) {
        let at = positions.at(self.block);
        let (q, k, v) = self.project(x, &at, cache, layer);
        let (mixed, pattern) = self.mix(q, k, v, &at);
        (self.finish(mixed), pattern)
    }
}

#[operations]
impl CausalAttention {
    /// Computes the queries, and the keys and values of all positions so far, `[batch, head,
    /// position, width]`.
    fn project(
        &self,
        x: Tensor<3>,
        at: &At<'_>,
        cache: &mut KvCache,
        layer: usize,
    ) -> (Tensor<4>, Tensor<4>, Tensor<4>) {
        let [batch, positions, _] = x.dims();
        let split = |projection: &Projection, heads| {
            let projected = projection.forward(x.clone());
            projected.reshape([batch, positions, heads, self.head_width])
        };
        let q = self.q.pass(split(&self.query, self.heads));
        let k = self.k.pass(split(&self.key, self.kv_heads));
        let v = self.v.pass(split(&self.value, self.kv_heads));
        let (q, k) = (self.q_norm.pass(q), self.k_norm.pass(k));
        let q = match (&self.rot_q, at.angles) {
            (Some(tap), Some(angles)) => tap.pass(angles.rotate(q)),
            _ => q,
        };
        let q = q.swap_dims(1, 2);
        let k = match (&self.rot_k, at.angles) {
            (Some(tap), Some(angles)) => tap.pass(angles.rotate(k)),
            _ => k,
        };
        let k = k.swap_dims(1, 2);
        let (k, v) = cache.extend(layer, k, v.swap_dims(1, 2));
        (q, k, v)
    }

    /// Computes what each query mixes of the values, `[batch, head, position, width]`, and the
    /// pattern.
    ///
    /// Scores are masked behind their site, so that no edit of them shows a query what it does not
    /// see; the operation `mask_fill_0` is where that can be asked for.
    fn mix(&self, q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, at: &At<'_>) -> (Tensor<4>, Tensor<4>) {
        let squared = self.squared_divisor;
        let scale = squared.sqrt();
        let scores = self
            .bias
            .pass(scores(q, self.share(k), scale), scale, at.keys);
        let hidden = at.hidden.clone();
        let scores = self.scores.pass(scores).mask_fill(hidden, MASKED);
        let pattern = self.pattern.pass(softmax(scores));
        (matmul(pattern.clone(), self.share(v)), pattern)
    }

    /// Computes the output of what is mixed.
    fn finish(&self, mixed: Tensor<4>) -> Tensor<3> {
        let [batch, _, positions, _] = mixed.dims();
        let z = self.z.pass(mixed.swap_dims(1, 2));
        let heads = z.clone();
        let output =
            self.output
                .forward(z.reshape([batch, positions, self.heads * self.head_width]));
        self.output.pass(output, heads, &self.result)
    }
}

impl CausalAttention {
    /// Computes what each query [mixes](Self::mix), with the same bits, if nothing attends to the
    /// scores, the pattern or an operation, so that they need not be whole.
    fn mix_in_one(
        &self,
        q: &Tensor<4>,
        k: &Tensor<4>,
        v: &Tensor<4>,
        at: &At<'_>,
    ) -> Option<Tensor<4>> {
        let is_attended = || {
            let taps = self.scores.is_attended() || self.pattern.is_attended();
            taps || self.source.is_attended()
        };
        if !self.bias.is_none() || is_running() && is_attended() {
            return None;
        }
        let mixed = attention(q, [k, v], &at.hidden, self.squared_divisor.sqrt())?;
        if is_running() {
            self.pass_by(q, k, v, at);
        }
        Some(mixed)
    }

    /// Passes the sites between queries and what they mix, to which nothing attends: they are
    /// counted, and no value is looked at, so that those of one query and key do.
    fn pass_by(&self, q: &Tensor<4>, k: &Tensor<4>, v: &Tensor<4>, at: &At<'_>) {
        let first = |x: &Tensor<4>| x.clone().narrow(2, 0, 1);
        let at = At {
            angles: None,
            keys: None,
            hidden: at.hidden.clone().narrow(2, 0, 1).narrow(3, 0, 1),
        };
        self.mix(first(q), first(k), first(v), &at);
    }

    pub(super) const fn block(&self) -> BlockConfig {
        self.block
    }

    /// Returns how many query heads there are.
    pub(super) const fn head_count(&self) -> usize {
        self.heads
    }

    /// Gives each query head its key or value head: head `h` reads group `h / (heads / kv_heads)`.
    fn share(&self, shared: Tensor<4>) -> Tensor<4> {
        let [batch, kv_heads, positions, width] = shared.dims();
        let group = self.heads / self.kv_heads;
        if group == 1 {
            return shared;
        }
        let grouped = shared.unsqueeze_dim::<5>(2);
        let grouped = grouped.expand([batch, kv_heads, group, positions, width]);
        grouped.reshape([batch, self.heads, positions, width])
    }
}

/// A module that some models do not have: a value passes it as it is where there is none.
trait Pass {
    fn pass(&self, x: Tensor<4>) -> Tensor<4>;
}

impl Pass for Option<Hooked<HeadNorm>> {
    fn pass(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Some(norm) => norm.forward(x),
            None => x,
        }
    }
}
