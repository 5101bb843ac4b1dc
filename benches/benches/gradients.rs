//! What gradient hooks cost: forward and backward passes of the induction model in plain burn's
//! terms, with hooks and a run in which no mediator waits, and with gradients that are read.
//!
//! The batch is one of 16 sequences. Beside the induction model, whose width is 64, stands a
//! decoder of two blocks and width 256 with weights at random.

use std::hint::black_box;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use interloom_backends::{Bound, Hooked, Run, Sites, backward};
use interloom_benches::LlamaSize;
use interloom_models::decoder::{DecoderModel, KvCache};
use interloom_models::induction::{Induction, Sampler};

fn induction(criterion: &mut Criterion) {
    let device = Device::flex().autodiff();
    let model = Induction::trained(&device);
    let tokens = Sampler::new(7).batch(16).tokens(&device);
    let forward = || model.forward(tokens.clone());
    compare(criterion, "induction model", model.sites(), &forward);
}

fn decoder(criterion: &mut Criterion) {
    let device = Device::flex().autodiff();
    let model = DecoderModel::load(CONFIG, "config.json", SIZE.weights(), &device);
    let model = Bound::new(Hooked::from(model.expect("a model"))).expect("distinct paths");
    let tokens = Sampler::new(7).batch(16).tokens(&device);
    let forward = || {
        let mut cache = KvCache::new(2, tokens.dims()[1]);
        let cached = |model: &DecoderModel, tokens| model.forward_cached(tokens, &mut cache);
        model.call(tokens.clone(), cached)
    };
    compare(criterion, "decoder of width 256", model.sites(), &forward);
}

fn compare(criterion: &mut Criterion, name: &str, sites: &Sites, forward: &dyn Fn() -> Tensor<3>) {
    let loss = || log_softmax(forward(), 2).mean();
    let name = format!("forward and backward, {name}, 16 sequences");
    let mut group = criterion.benchmark_group(name);
    group.sample_size(20);
    group.bench_function("without a run", |bencher| {
        bencher.iter(|| black_box(loss().backward()));
    });
    group.bench_function("run, nothing read", |bencher| {
        bencher.iter(|| {
            let run = Run::new("bench", sites);
            run.execute(|| black_box(backward(&loss()))).unwrap()
        });
    });
    group.bench_function("run, one gradient read", |bencher| {
        bencher.iter(|| {
            let mut run = Run::new("bench", sites);
            let seen = run
                .mediator("read", async |cx| cx.grad("layers.0").await)
                .gradients(["layers.0"]);
            run.execute(|| black_box(backward(&loss()))).unwrap();
            seen.take()
        });
    });
    group.bench_function("run, every value hooked, nothing read", |bencher| {
        bencher.iter(|| {
            let mut run = Run::new("bench", sites);
            run.all_gradients();
            run.execute(|| black_box(backward(&loss()))).unwrap()
        });
    });
    group.finish();
}

const CONFIG: &str = r#"{
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256,
    "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "vocab_size": 40, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": true
}"#;

const SIZE: LlamaSize = LlamaSize {
    layers: 2,
    width: 256,
    keys: 256,
    hidden: 512,
    vocabulary: 40,
};

criterion_group!(benches, induction, decoder);
criterion_main!(benches);
