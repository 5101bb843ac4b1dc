//! Blocks: attention and a feed-forward layer on a residual stream.

use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor};
use interloom_backends::{Hooked, Tap};

use super::attention::{At, CausalAttention};
use super::cache::KvCache;
use super::config::{BlockConfig, Norms, Wiring};
use super::mlp::FeedForward;
use super::norm::Norm;
use super::place::Place;
use super::rotation::Angles;
use super::scores::{hidden, with_padding};

/// One block: attention and a feed-forward layer, each added to the residual stream.
#[derive(Module, Debug)]
pub struct Block {
    /// The norm in front of the attention, or of the sum behind it.
    pub ln1: Option<Hooked<Norm>>,
    /// The attention.
    pub attn: Hooked<CausalAttention>,
    /// The norm of what the attention adds.
    pub ln1_post: Option<Hooked<Norm>>,
    /// The residual stream between the two.
    pub resid_mid: Option<Tap>,
    /// The norm in front of the feed-forward layer, or of the sum behind it.
    pub ln2: Option<Hooked<Norm>>,
    /// The feed-forward layer.
    pub mlp: Hooked<FeedForward>,
    /// The norm of what the feed-forward layer adds.
    pub ln2_post: Option<Hooked<Norm>>,
    #[module(skip)]
    wiring: Wiring,
}

/// The norms of a block.
#[derive(Default)]
pub(super) struct BlockNorms {
    pub(super) ln1: Option<Norm>,
    pub(super) ln1_post: Option<Norm>,
    pub(super) ln2: Option<Norm>,
    pub(super) ln2_post: Option<Norm>,
}

/// The positions at hand in one call of a model: their angles, and which keys each of them does not
/// see.
#[derive(Clone, Debug)]
pub struct Positions {
    angles: Vec<Angles>,
    /// The numbers of the keys of each row among its own, where rows are padded.
    keys: Option<Vec<Vec<usize>>>,
    /// For each way in which a block sees, `[batch, head, query, key]`.
    hidden: Vec<(Sight, Tensor<4, Bool>)>,
}

/// What a query sees: the window of a block, and whether it sees what is behind it.
type Sight = (Option<usize>, bool);

const fn sight(block: BlockConfig) -> Sight {
    (block.window, block.sees_all)
}

impl Positions {
    pub(super) fn new<'b>(
        angles: Vec<Angles>,
        attentions: impl Iterator<Item = &'b CausalAttention>,
        place: &Place<'_>,
        device: &Device,
    ) -> Self {
        let Place {
            batch,
            start,
            count,
            ..
        } = *place;
        let mut masks: Vec<(Sight, Tensor<4, Bool>)> = Vec::new();
        for attention in attentions {
            let sight @ (window, sees_all) = sight(attention.block());
            if masks.iter().all(|(other, _)| *other != sight) {
                let shape = [batch, attention.head_count(), count, start + count];
                let mask = match sees_all {
                    true => Tensor::<4, Int>::zeros([1; 4], device).bool(),
                    false => hidden(count, start + count, window, device),
                };
                let mask = match place.padding() {
                    Some(padding) => with_padding(mask, padding, start, count, device),
                    None => mask,
                };
                masks.push((sight, mask.expand(shape)));
            }
        }
        Self {
            angles,
            keys: place.padding().map(|_| {
                let all = Place::new(place.padding(), batch, 0, start + count);
                all.rows().into_iter().map(|(_, numbers)| numbers).collect()
            }),
            hidden: masks,
        }
    }

    /// Makes that of attentions without rotary positions, for `count` positions after `start`
    /// others.
    pub fn unrotated<'b>(
        attentions: impl Iterator<Item = &'b CausalAttention>,
        [batch, start, count]: [usize; 3],
        device: &Device,
    ) -> Self {
        let place = Place::new(None, batch, start, count);
        Self::new(Vec::new(), attentions, &place, device)
    }

    pub(super) fn at(&self, block: BlockConfig) -> At<'_> {
        let mut hidden = self.hidden.iter();
        let found = hidden.find(|(other, _)| *other == sight(block));
        let (_, hidden) = found.expect("there is one for every block");
        At {
            angles: block.rotary.map(|number| &self.angles[number]),
            keys: self.keys.as_deref(),
            hidden: hidden.clone(),
        }
    }
}

impl Block {
    pub(super) fn new(
        attn: CausalAttention,
        mlp: FeedForward,
        norms: BlockNorms,
        wiring: Wiring,
    ) -> Self {
        Self {
            ln1: norms.ln1.map(Hooked::from),
            attn: attn.into(),
            ln1_post: norms.ln1_post.map(Hooked::from),
            resid_mid: (!wiring.is_parallel).then(Tap::new),
            ln2: norms.ln2.map(Hooked::from),
            mlp: mlp.into(),
            ln2_post: norms.ln2_post.map(Hooked::from),
            wiring,
        }
    }

    /// Computes what the block makes of the residual stream.
    pub(crate) fn forward(
        &self,
        residual: Tensor<3>,
        positions: &Positions,
        cache: &mut KvCache,
        index: usize,
    ) -> Tensor<3> {
        let attend = |x: Tensor<3>| {
            let attended = self
                .attn
                .call(x, |attn, x| attn.forward(x, positions, cache, index));
            self.added(attended, self.ln1_post.as_ref())
        };
        let feed = |x: Tensor<3>| self.added(self.mlp.forward(x), self.ln2_post.as_ref());
        if self.wiring.is_parallel {
            return self.parallel(residual, attend, feed);
        }
        let residual = self.add(residual, self.ln1.as_ref(), attend);
        let residual = match &self.resid_mid {
            Some(tap) => tap.pass(residual),
            None => residual,
        };
        self.add(residual, self.ln2.as_ref(), feed)
    }

    /// Adds what a layer makes of the stream to it.
    fn add(
        &self,
        residual: Tensor<3>,
        norm: Option<&Hooked<Norm>>,
        layer: impl FnOnce(Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        let is_on_sum = self.wiring.norms == Norms::OnSum;
        let x = match norm.filter(|_| !is_on_sum) {
            Some(norm) => norm.forward(residual.clone()),
            None => residual.clone(),
        };
        let residual = if self.wiring.adds_to_normalized {
            x.clone()
        } else {
            residual
        };
        let sum = residual + layer(x);
        match norm.filter(|_| is_on_sum) {
            Some(norm) => norm.forward(sum),
            None => sum,
        }
    }

    /// Adds what both layers make of one stream to it.
    fn parallel(
        &self,
        residual: Tensor<3>,
        attend: impl FnOnce(Tensor<3>) -> Tensor<3>,
        feed: impl FnOnce(Tensor<3>) -> Tensor<3>,
    ) -> Tensor<3> {
        let normalized = |norm: &Option<Hooked<Norm>>| match norm {
            Some(norm) => norm.forward(residual.clone()),
            None => residual.clone(),
        };
        let x = normalized(&self.ln1);
        let attended = attend(x.clone());
        let fed = feed(if self.wiring.shares_norm {
            x
        } else {
            normalized(&self.ln2)
        });
        residual + attended + fed
    }

    /// Returns what is added to the stream of a layer's output.
    fn added(&self, output: Tensor<3>, norm: Option<&Hooked<Norm>>) -> Tensor<3> {
        let output = match norm {
            Some(norm) => norm.forward(output),
            None => output,
        };
        match self.wiring.multiplier {
            Some(multiplier) => output * multiplier,
            None => output,
        }
    }
}
