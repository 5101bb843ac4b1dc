//! Every layer of `burn::nn` passes its sites: hooked, it computes what it computes without a hook.

use std::cell::RefCell;
use std::collections::BTreeSet;

use burn::module::Module;
use burn::nn::activation::*;
use burn::nn::attention::{
    CrossAttentionCache, CrossAttentionConfig, MhaCache, MultiHeadAttentionConfig,
};
use burn::nn::conv::*;
use burn::nn::interpolate::{Interpolate1dConfig, Interpolate2dConfig};
use burn::nn::loss::*;
use burn::nn::norm::*;
use burn::nn::pool::*;
use burn::nn::transformer::*;
use burn::nn::*;
use burn::tensor::{Bool, Int, Tensor};
use interloom_backends::layers::{MhaInput, TransformerDecoderInput, TransformerEncoderInput};
use interloom_backends::{Bound, Erase, Forward, Hooked, Run, Value};

use crate::support::{cpu, reader, seed_lock, tensor};

/// Every struct and enum of burn-nn 0.22.1 with a public `forward`, in alphabetical order.
const LAYERS: [&str; 94] = [
    "Activation",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "BatchNorm",
    "BiGru",
    "BiLstm",
    "BiRnn",
    "BinaryCrossEntropyLoss",
    "CTCLoss",
    "Celu",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "CosineEmbeddingLoss",
    "CosineSimilarity",
    "CrossAttention",
    "CrossEntropyLoss",
    "DeformConv2d",
    "Dropout",
    "Elu",
    "Embedding",
    "Fold4d",
    "GLU",
    "GaussianNLLLoss",
    "GaussianNoise",
    "Gelu",
    "GroupNorm",
    "Gru",
    "HardShrink",
    "HardSigmoid",
    "HardSwish",
    "Hardtanh",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "Identity",
    "InstanceNorm",
    "Interpolate1d",
    "Interpolate2d",
    "KLDivLoss",
    "LayerNorm",
    "LeakyRelu",
    "Linear",
    "LocalResponseNorm",
    "LogSigmoid",
    "LpLoss",
    "Lstm",
    "MarginRankingLoss",
    "MaxPool1d",
    "MaxPool2d",
    "Mish",
    "MseLoss",
    "MultiHeadAttention",
    "MultiMarginLoss",
    "Normalization",
    "PRelu",
    "PairwiseDistance",
    "PixelShuffle",
    "PixelUnshuffle",
    "PoissonNllLoss",
    "PositionWiseFeedForward",
    "PositionalEncoding",
    "RNNTLoss",
    "RRelu",
    "Relu",
    "Relu6",
    "RmsNorm",
    "Rnn",
    "RotaryEncoding",
    "Selu",
    "Shrink",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "SoftMarginLoss",
    "SoftShrink",
    "Softplus",
    "Softsign",
    "SwiGlu",
    "Tanh",
    "Tanhshrink",
    "Threshold",
    "ThresholdedRelu",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "TripletMarginLoss",
    "Unfold4d",
];

/// The layers that a test has gone through.
#[derive(Default)]
struct Seen(RefCell<BTreeSet<&'static str>>);

impl Seen {
    /// Asserts that a layer passes what it takes and what it makes of it, and that this is what it
    /// makes of it without a hook.
    fn layer<M, I>(&self, layer: M, input: I)
    where
        M: Module + Forward<I>,
        I: Erase,
        M::Output: Erase,
    {
        let name = short_name::<M>();
        self.0.borrow_mut().insert(name);
        // What is random while it is trained is not, when it is used.
        let layer = layer.valid();
        let given = input.erase();
        let input = || I::recover(given.clone()).unwrap();
        let plain = bytes(&Forward::forward(&layer, input()).erase());
        let model = Bound::new(Hooked::from(layer)).unwrap();
        let mut run = Run::new(name, model.sites());
        let seen = ["input", "output"].map(|site| reader(&mut run, site));
        let ran = run.execute(|| model.forward(input())).unwrap();
        let [taken, made] = seen.map(|seen| seen.take().unwrap().expect(name));
        assert_eq!(bytes(&taken), bytes(&given), "{name}");
        assert_eq!(bytes(&made), plain, "{name}");
        let output = ran.output.ok().unwrap().erase();
        assert_eq!(bytes(&output), plain, "{name}");
        // What a mediator puts in place of a structure has to become that structure again.
        assert!(I::recover(taken).is_ok() && M::Output::recover(made).is_ok());
    }
}

fn short_name<M>() -> &'static str {
    let path = std::any::type_name::<M>();
    path.rsplit("::").next().unwrap_or(path)
}

/// The structure of a value, and the bytes of its tensors.
fn bytes(value: &Value) -> (String, Vec<Vec<u8>>) {
    let mut bytes = Vec::new();
    value.each_tensor(&mut |tensor| bytes.push(tensor.to_data().into_bytes().to_vec()));
    (value.to_string(), bytes)
}

fn ids<const D: usize>(shape: [usize; D]) -> Tensor<D, Int> {
    // Between 1 and 2, so that they are classes, and no blanks.
    (tensor::<D>(shape, 9).int().abs() + 1).clamp(1, 2)
}

fn sign<const D: usize>(shape: [usize; D]) -> Tensor<D, Int> {
    tensor::<D>(shape, 9).sign().int()
}

fn mask<const D: usize>(shape: [usize; D]) -> Tensor<D, Bool> {
    tensor::<D>(shape, 4).greater_elem(0.9)
}

#[test]
fn every_layer_of_burn_passes_its_sites() {
    let _seed = seed_lock();
    let seen = Seen::default();
    activations(&seen);
    norms(&seen);
    convolutions(&seen);
    pools(&seen);
    others(&seen);
    recurrent(&seen);
    attention(&seen);
    losses(&seen);
    let missing: Vec<_> = LAYERS
        .iter()
        .filter(|layer| !seen.0.borrow().contains(*layer))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(seen.0.borrow().len(), LAYERS.len());
}

fn activations(seen: &Seen) {
    let device = cpu();
    let x = || tensor::<3>([2, 3, 4], 1);
    seen.layer(ActivationConfig::Gelu.init(&device), x());
    seen.layer(CeluConfig::new().init(), x());
    seen.layer(EluConfig::new().init(), x());
    seen.layer(GLU::new(2), x());
    seen.layer(Gelu::new(), x());
    seen.layer(HardShrinkConfig::new().init(), x());
    seen.layer(HardSigmoidConfig::new().init(), x());
    seen.layer(HardSwish::new(), x());
    seen.layer(HardtanhConfig::new().init(), x());
    seen.layer(LeakyReluConfig::new().init(), x());
    seen.layer(LogSigmoid::new(), x());
    seen.layer(Mish::new(), x());
    seen.layer(PReluConfig::new().init(&device), x());
    seen.layer(RReluConfig::new().init(), x());
    seen.layer(Relu::new(), x());
    seen.layer(Relu6::new(), x());
    seen.layer(Selu::new(), x());
    seen.layer(ShrinkConfig::new().init(), x());
    seen.layer(SiLU::new(), x());
    seen.layer(Sigmoid::new(), x());
    seen.layer(SoftShrinkConfig::new().init(), x());
    seen.layer(SoftplusConfig::new().init(), x());
    seen.layer(Softsign::new(), x());
    seen.layer(SwiGluConfig::new(4, 5).init(&device), x());
    seen.layer(Tanh::new(), x());
    seen.layer(Tanhshrink::new(), x());
    seen.layer(ThresholdConfig::new(0.1, 0.2).init(), x());
    seen.layer(ThresholdedReluConfig::new().init(), x());
}

fn norms(seen: &Seen) {
    let device = cpu();
    let image = || tensor::<4>([2, 4, 3, 3], 2);
    seen.layer(BatchNormConfig::new(4).init(&device), image());
    seen.layer(GroupNormConfig::new(2, 4).init(&device), image());
    seen.layer(InstanceNormConfig::new(4).init(&device), image());
    seen.layer(LayerNormConfig::new(3).init(&device), image());
    seen.layer(LocalResponseNormConfig::new(3).init(), image());
    seen.layer(RmsNormConfig::new(3).init(&device), image());
    let wrapped = NormalizationConfig::Rms(RmsNormConfig::new(3));
    seen.layer(wrapped.init(&device), image());
}

fn convolutions(seen: &Seen) {
    let device = cpu();
    let line = || tensor::<3>([2, 3, 6], 1);
    let image = || tensor::<4>([2, 3, 5, 5], 1);
    let volume = || tensor::<5>([1, 2, 3, 3, 3], 1);
    seen.layer(Conv1dConfig::new(3, 2, 3).init(&device), line());
    seen.layer(Conv2dConfig::new([3, 2], [3, 3]).init(&device), image());
    seen.layer(Conv3dConfig::new([2, 1], [2, 2, 2]).init(&device), volume());
    seen.layer(ConvTranspose1dConfig::new([3, 2], 3).init(&device), line());
    seen.layer(
        ConvTranspose2dConfig::new([3, 2], [3, 3]).init(&device),
        image(),
    );
    seen.layer(
        ConvTranspose3dConfig::new([2, 1], [2, 2, 2]).init(&device),
        volume(),
    );
    let deform = DeformConv2dConfig::new([3, 2], [3, 3]).init(&device);
    let offset = tensor::<4>([2, 18, 3, 3], 5);
    seen.layer(deform.clone(), (image(), offset.clone(), None));
    let weights = tensor::<4>([2, 9, 3, 3], 6);
    seen.layer(deform, (image(), offset, Some(weights)));
}

fn pools(seen: &Seen) {
    let line = || tensor::<3>([2, 3, 6], 1);
    let image = || tensor::<4>([2, 3, 4, 4], 1);
    seen.layer(AdaptiveAvgPool1dConfig::new(2).init(), line());
    seen.layer(AdaptiveAvgPool2dConfig::new([2, 2]).init(), image());
    let volume = tensor::<5>([1, 2, 4, 4, 4], 1);
    seen.layer(AdaptiveAvgPool3dConfig::new([2, 2, 2]).init(), volume);
    seen.layer(AvgPool1dConfig::new(2).init(), line());
    seen.layer(AvgPool2dConfig::new([2, 2]).init(), image());
    seen.layer(MaxPool1dConfig::new(2).init(), line());
    seen.layer(MaxPool2dConfig::new([2, 2]).init(), image());
}

fn others(seen: &Seen) {
    let device = cpu();
    let image = || tensor::<4>([1, 4, 4, 4], 1);
    let (left, right) = (tensor::<2>([3, 4], 1), tensor::<2>([3, 4], 2));
    seen.layer(
        CosineSimilarityConfig::new().init(),
        (left.clone(), right.clone()),
    );
    seen.layer(PairwiseDistanceConfig::new().init(), (left, right));
    seen.layer(DropoutConfig::new(0.5).init(), image());
    seen.layer(EmbeddingConfig::new(5, 3).init(&device), ids([2, 4]));
    let unfold = Unfold4dConfig::new([2, 2]).init();
    seen.layer(unfold.clone(), image());
    let columns = unfold.forward(image());
    seen.layer(Fold4dConfig::new([4, 4], [2, 2]).init(), columns);
    seen.layer(GaussianNoiseConfig::new(0.5).init(), image());
    seen.layer(Identity::new(), image());
    let line = tensor::<3>([1, 4, 4], 1);
    let twice = Interpolate1dConfig::new().with_output_size(Some(8));
    seen.layer(twice.init(), line.clone());
    let twice = Interpolate2dConfig::new().with_output_size(Some([8, 8]));
    seen.layer(twice.init(), image());
    seen.layer(LinearConfig::new(4, 3).init(&device), image());
    seen.layer(PixelShuffleConfig::new(2).init(), image());
    seen.layer(PixelUnshuffleConfig::new(2).init(), image());
    seen.layer(PositionalEncodingConfig::new(4).init(&device), line.clone());
    let rotary = RotaryEncodingConfig::new(8, 4).init(&device);
    seen.layer(rotary.clone(), image());
    seen.layer(rotary, (image(), 3));
}

fn recurrent(seen: &Seen) {
    let device = cpu();
    let x = || tensor::<3>([2, 3, 4], 1);
    let (flat, both) = (tensor::<2>([2, 5], 2), tensor::<3>([2, 2, 5], 2));
    let rnn = RnnConfig::new(4, 5, true).init(&device);
    seen.layer(rnn.clone(), (x(), None));
    seen.layer(rnn, (x(), Some(RnnState::new(flat.clone()))));
    let rnn = BiRnnConfig::new(4, 5, true).init(&device);
    seen.layer(rnn, (x(), Some(RnnState::new(both.clone()))));
    let gru = GruConfig::new(4, 5, true).init(&device);
    seen.layer(gru.clone(), (x(), None));
    seen.layer(gru, (x(), Some(flat.clone())));
    let gru = BiGruConfig::new(4, 5, true).init(&device);
    seen.layer(gru, (x(), Some(both.clone())));
    let lstm = LstmConfig::new(4, 5, true).init(&device);
    seen.layer(lstm.clone(), (x(), None));
    seen.layer(lstm, (x(), Some(LstmState::new(flat.clone(), flat))));
    let lstm = BiLstmConfig::new(4, 5, true).init(&device);
    seen.layer(lstm, (x(), Some(LstmState::new(both.clone(), both))));
}

fn attention(seen: &Seen) {
    let device = cpu();
    let (x, memory) = (tensor::<3>([2, 3, 4], 1), tensor::<3>([2, 5, 4], 2));
    let (pad, causal) = (mask([2, 3]), mask([2, 3, 3]));
    let attention = MultiHeadAttentionConfig::new(4, 2).init(&device);
    seen.layer(attention.clone(), MhaInput::self_attn(x.clone()));
    let masked = MhaInput::self_attn(x.clone()).mask_pad(pad.clone());
    seen.layer(attention.clone(), masked.mask_attn(causal.clone()));
    let cross = MhaInput::new(x.clone(), memory.clone(), memory.clone() * 2.0);
    seen.layer(attention, cross);
    let cross = CrossAttentionConfig::new(4, 4, 2, 1, 2).init(&device);
    let pad_memory = mask([2, 5]);
    seen.layer(cross, (x.clone(), memory.clone(), Some(pad_memory.clone())));
    let feed = PositionWiseFeedForwardConfig::new(4, 6).init(&device);
    seen.layer(feed, x.clone());

    let encoder = TransformerEncoderConfig::new(4, 6, 2, 2).init(&device);
    let input = TransformerEncoderInput::new(x.clone()).mask_pad(pad.clone());
    seen.layer(encoder.clone(), input.mask_attn(causal.clone()));
    let layer = encoder.layers[0].clone();
    let masks = (Some(pad.clone()), Some(causal.clone()));
    seen.layer(layer, (x.clone(), masks.0, masks.1));

    for norm_first in [false, true] {
        let config = TransformerDecoderConfig::new(4, 6, 2, 2).with_norm_first(norm_first);
        let decoder = config.init(&device);
        let input = TransformerDecoderInput::new(x.clone(), memory.clone())
            .target_mask_pad(pad.clone())
            .target_mask_attn(causal.clone())
            .memory_mask_pad(pad_memory.clone())
            .memory_mask_attn(mask([2, 3, 5]));
        seen.layer(decoder.clone(), input.clone());
        seen.layer(decoder.layers[0].clone(), input.clone());
        // Layers in a row are the decoder.
        let layers = decoder.layers.iter();
        let last = layers.fold(input.clone(), |input, layer| Forward::forward(layer, input));
        let whole = Forward::forward(&decoder, input);
        assert_eq!(bytes(&last.target.erase()), bytes(&whole.erase()));
    }
}

fn losses(seen: &Seen) {
    let device = cpu();
    let (left, right) = (tensor::<2>([2, 3], 1), tensor::<2>([2, 3], 2));
    let pair = || (left.clone(), right.clone());
    let reduced = |reduction| (left.clone(), right.clone(), reduction);
    let triple = || (left.clone(), right.clone(), tensor::<2>([2, 3], 3).abs());
    let binary = BinaryCrossEntropyLossConfig::new().with_logits(true);
    seen.layer(binary.init(&device), (left.clone(), ids([2, 3]) - 1));
    seen.layer(
        CosineEmbeddingLossConfig::new().init(),
        (left.clone(), right.clone(), sign([2])),
    );
    seen.layer(
        CrossEntropyLossConfig::new().init(&device),
        (left.clone(), ids([2])),
    );
    let (a, b, c) = triple();
    seen.layer(
        GaussianNLLLossConfig::new().init(),
        (a.clone(), b.clone(), c.clone(), Reduction::Mean),
    );
    seen.layer(
        MarginRankingLossConfig::new().init(),
        (a.clone(), b.clone(), c.clone(), Reduction::Auto),
    );
    seen.layer(
        TripletMarginLossConfig::new().init(),
        (a, b, c, Reduction::Sum),
    );
    seen.layer(
        HingeEmbeddingLossConfig::new().init(),
        (left.clone(), right.clone().sign(), Reduction::Mean),
    );
    seen.layer(HuberLossConfig::new(0.5).init(), reduced(Reduction::Sum));
    seen.layer(KLDivLossConfig::new().init(), reduced(Reduction::BatchMean));
    seen.layer(LpLossConfig::new(2.0).init(), reduced(Reduction::Mean));
    seen.layer(MseLoss::new(), reduced(Reduction::Auto));
    seen.layer(
        MultiMarginLossConfig::new().init(),
        (left.clone(), ids([2]), Reduction::Mean),
    );
    seen.layer(
        PoissonNllLossConfig::new().init(),
        (left.clone(), right.clone().abs(), Reduction::Mean),
    );
    seen.layer(SmoothL1LossConfig::new().init(), pair());
    seen.layer(
        SoftMarginLoss::new(),
        (left.clone(), right.clone().sign(), Reduction::Mean),
    );
    let lengths = |length: i32| Tensor::<1, Int>::from_ints([length, length], &device);
    seen.layer(
        CTCLossConfig::new().init(),
        (
            tensor::<3>([4, 2, 3], 1),
            ids([2, 2]),
            lengths(4),
            lengths(2),
        ),
    );
    seen.layer(
        RNNTLossConfig::new().init(),
        (
            tensor::<4>([2, 4, 3, 3], 1),
            ids([2, 2]),
            lengths(4),
            lengths(2),
        ),
    );
}

/// A cache is no part of the site, and does what it does without a hook.
#[test]
fn a_call_with_a_cache_passes_its_site() {
    let _seed = seed_lock();
    let device = cpu();
    let x = || tensor::<3>([1, 3, 4], 1);
    let attention = MultiHeadAttentionConfig::new(4, 2).init(&device).valid();
    let cached = |cache: &mut MhaCache, length: usize| {
        let x = x().slice([0..1, 0..length]);
        attention.forward_cache(MhaInput::self_attn(x).into(), cache)
    };
    let mut cache = MhaCache::autoregressive();
    let plain = [1, 2, 3].map(|length| bytes(&cached(&mut cache, length).erase()));
    let model = Bound::new(Hooked::from(attention.clone())).unwrap();
    let mut run = Run::new("cached", model.sites());
    let last = reader(&mut run, "output.i2");
    let ran = run.execute(|| {
        let mut cache = MhaCache::autoregressive();
        [1, 2, 3].map(|length| {
            let input = MhaInput::self_attn(x().slice([0..1, 0..length]));
            bytes(&model.forward_cache(input, &mut cache).erase())
        })
    });
    assert_eq!(ran.unwrap().output.ok().unwrap(), plain);
    assert_eq!(bytes(&last.take().unwrap().unwrap()), plain[2]);

    let cross = CrossAttentionConfig::new(4, 4, 2, 1, 2)
        .init(&device)
        .valid();
    let plain = cross.forward_cache(x(), x(), None, &mut CrossAttentionCache::new());
    let model = Bound::new(Hooked::from(cross)).unwrap();
    let mut run = Run::new("cached", model.sites());
    let seen = reader(&mut run, "output");
    let mut cache = CrossAttentionCache::new();
    run.execute(|| model.forward_cache((x(), x(), None), &mut cache))
        .unwrap();
    assert_eq!(bytes(&seen.take().unwrap().unwrap()), bytes(&plain.erase()));
}

#[test]
fn transformers_step_with_a_cache_through_their_sites() {
    let _seed = seed_lock();
    let device = cpu();
    let x = |length: usize| tensor::<3>([1, 3, 4], 1).slice([0..1, 0..length]);
    let encoder = TransformerEncoderConfig::new(4, 6, 2, 1)
        .init(&device)
        .valid();
    let decoder = TransformerDecoderConfig::new(4, 6, 2, 1)
        .init(&device)
        .valid();
    let mut caches = (
        encoder.new_autoregressive_cache(),
        decoder.new_autoregressive_cache(),
    );
    let plain = [1, 2, 3].map(|length| {
        let input = TransformerEncoderInput::new(x(length)).into();
        let encoded = encoder.forward_autoregressive_inference(input, &mut caches.0);
        let input = TransformerDecoderInput::new(x(length), x(3)).into();
        let decoded = decoder.forward_autoregressive_inference(input, &mut caches.1);
        bytes(&(encoded, decoded).erase())
    });
    let model = Bound::new((Hooked::from(encoder), Hooked::from(decoder))).unwrap();
    let mut run = Run::new("cached", model.sites());
    let seen = ["0.output.i2", "1.output.i2"].map(|site| reader(&mut run, site));
    let mut caches = (
        model.0.inner().new_autoregressive_cache(),
        model.1.inner().new_autoregressive_cache(),
    );
    let ran = run.execute(|| {
        [1, 2, 3].map(|length| {
            let input = TransformerEncoderInput::new(x(length));
            let encoded = model
                .0
                .forward_autoregressive_inference(input, &mut caches.0);
            let input = TransformerDecoderInput::new(x(length), x(3));
            let decoded = model
                .1
                .forward_autoregressive_inference(input, &mut caches.1);
            bytes(&(encoded, decoded).erase())
        })
    });
    assert_eq!(ran.unwrap().output.ok().unwrap(), plain);
    let seen = seen.map(|seen| seen.take().unwrap().unwrap());
    assert_eq!(bytes(&Value::Tuple(seen.into())), plain[2]);
}

/// A mediator reads an argument by its name, and replaces it.
#[test]
fn arguments_and_states_are_found_by_name() {
    let _seed = seed_lock();
    let device = cpu();
    let x = || tensor::<3>([1, 3, 4], 1);
    let attention = MultiHeadAttentionConfig::new(4, 2).init(&device).valid();
    let lstm = LstmConfig::new(4, 5, true).init(&device).valid();
    let model = Bound::new((Hooked::from(attention), Hooked::from(lstm))).unwrap();
    let mut run = Run::new("by name", model.sites());
    let seen = run.mediator("names", async |cx| {
        let input = cx.input("0").await?;
        let keys = input.get("key")? * 0.0;
        cx.set_input("0", input.with_entry("key", keys)?).await?;
        let output = cx.output("1").await?;
        Ok((input, output.item(1)?.get("cell")?))
    });
    let ran = run.execute(|| {
        let attended = model.0.forward(MhaInput::self_attn(x()));
        model.1.forward((attended.context, None))
    });
    let (_, state) = ran.unwrap().output.ok().unwrap();
    let (input, cell) = seen.take().unwrap();
    insta::assert_snapshot!(input, @"{query: f32[1, 3, 4], key: f32[1, 3, 4], value: f32[1, 3, 4], mask_pad: nothing, mask_attn: nothing}");
    assert_eq!(bytes(&cell), bytes(&state.cell.erase()));
    let keyless = MhaInput::new(x(), x() * 0.0, x());
    let expected = model.1.forward((model.0.forward(keyless).context, None));
    assert_eq!(bytes(&expected.1.cell.erase()), bytes(&cell));
}

#[test]
fn a_reduction_is_text_and_other_text_is_none() {
    for reduction in [
        Reduction::Mean,
        Reduction::Sum,
        Reduction::BatchMean,
        Reduction::Auto,
    ] {
        let value = reduction.clone().erase();
        let back = Reduction::recover(value).unwrap();
        assert_eq!(back.to_string(), reduction.to_string());
    }
    let refused = Reduction::recover("max".to_owned().erase()).unwrap_err();
    insta::assert_snapshot!(refused, @r#"expected a reduction: "mean", "sum", "batch mean" or "auto", found "max""#);
    assert!(Reduction::recover(Value::Int(1)).is_err());
}
