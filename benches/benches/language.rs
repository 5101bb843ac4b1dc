//! What a forward pass of a language model costs: prompts of several lengths, and generated tokens,
//! on a model of the shape of SmolLM2-135M with weights at random.
//!
//! `benches/peers/forward.py` times the same passes with PyTorch and transformers. Times of both
//! are in docs/SPEED.md.

use std::hint::black_box;

use burn::tensor::{Device, Int, Tensor, TensorData};
use criterion::{Criterion, criterion_group, criterion_main};
use interloom_benches::LlamaSize;
use interloom_models::decoder::{DecoderModel, KvCache};

const SIZE: LlamaSize = LlamaSize {
    layers: 30,
    width: 576,
    keys: 192,
    hidden: 1_536,
    vocabulary: 49_152,
};

fn prompts(criterion: &mut Criterion) {
    let device = Device::flex();
    let model = model(&device);
    let mut group = criterion.benchmark_group("forward pass of 135M parameters");
    group.sample_size(10);
    for length in [1, 10, 64, 256, 1_024] {
        let tokens = tokens(length, &device);
        group.bench_function(format!("prompt of {length}"), |bencher| {
            bencher.iter(|| {
                let mut cache = KvCache::new(SIZE.layers, length);
                black_box(model.forward_cached(tokens.clone(), &mut cache))
            });
        });
    }
    group.bench_function("32 tokens generated after 10", |bencher| {
        bencher.iter(|| {
            let mut cache = KvCache::new(SIZE.layers, 42);
            black_box(model.forward_cached(tokens(10, &device), &mut cache));
            for token in 0..31 {
                let token = Tensor::from_data([[token]], &device);
                black_box(model.forward_cached(token, &mut cache));
            }
        });
    });
    group.finish();
}

fn tokens(length: usize, device: &Device) -> Tensor<2, Int> {
    let numbers = (0..length).map(|index| (index * 7_919 % SIZE.vocabulary) as i32);
    Tensor::from_data(
        TensorData::new(numbers.collect::<Vec<_>>(), [1, length]),
        device,
    )
}

fn model(device: &Device) -> DecoderModel {
    DecoderModel::load(CONFIG, "config.json", SIZE.weights(), device).expect("a model")
}

const CONFIG: &str = r#"{
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 576,
    "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
    "num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5, "rope_theta": 100000.0, "hidden_act": "silu", "tie_word_embeddings": true
}"#;

criterion_group!(benches, prompts);
criterion_main!(benches);
