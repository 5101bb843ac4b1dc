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
use interloom_models::decoder::{DecoderModel, KvCache};
use interloom_models::files::{Safetensors, Weights};
use interloom_models::induction::{Induction, Sampler};
use safetensors::tensor::{Dtype, TensorView};

fn induction(criterion: &mut Criterion) {
    let device = Device::flex().autodiff();
    let model = Induction::trained(&device);
    let tokens = Sampler::new(7).batch(16).tokens(&device);
    let forward = || model.forward(tokens.clone());
    compare(criterion, "induction model", model.sites(), &forward);
}

fn decoder(criterion: &mut Criterion) {
    let device = Device::flex().autodiff();
    let model = DecoderModel::load(CONFIG, "config.json", weights(), &device);
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

/// Weights between -0.05 and 0.05, as a file has them.
fn weights() -> Weights {
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![40, 256]),
        ("model.norm.weight".to_owned(), vec![256]),
    ];
    for layer in 0..2 {
        let parts = [
            ("input_layernorm", vec![256]),
            ("post_attention_layernorm", vec![256]),
            ("self_attn.q_proj", vec![256, 256]),
            ("self_attn.k_proj", vec![256, 256]),
            ("self_attn.v_proj", vec![256, 256]),
            ("self_attn.o_proj", vec![256, 256]),
            ("mlp.gate_proj", vec![512, 256]),
            ("mlp.up_proj", vec![512, 256]),
            ("mlp.down_proj", vec![256, 512]),
        ];
        tensors.extend(
            parts.map(|(part, shape)| (format!("model.layers.{layer}.{part}.weight"), shape)),
        );
    }
    let mut random = 1_u32;
    let filled: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, shape)| {
            let count = shape.iter().product();
            let numbers = (0..count).flat_map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (((random >> 8) as f32 / 16_777_216.0 - 0.5) * 0.1).to_le_bytes()
            });
            let bytes = numbers.collect();
            (name, shape, bytes)
        })
        .collect();
    let views = filled.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        (name.clone(), view.expect("as many bytes as the shape has"))
    });
    let file = safetensors::serialize(views, None).expect("a file");
    Weights::from_safetensors(Safetensors::from_bytes(file, "weights").expect("a file"))
}

criterion_group!(benches, induction, decoder);
criterion_main!(benches);
