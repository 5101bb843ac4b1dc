//! What a forward pass of a language model costs: prompts of several lengths, and generated tokens,
//! on a model of the shape of SmolLM2-135M with weights at random.
//!
//! `benches/peers/forward.py` times the same passes with PyTorch and transformers. Times of both
//! are in docs/SPEED.md.

use std::hint::black_box;

use burn::tensor::{Device, Int, Tensor, TensorData};
use criterion::{Criterion, criterion_group, criterion_main};
use interloom_models::decoder::{DecoderModel, KvCache};
use interloom_models::files::{Safetensors, Weights};
use safetensors::tensor::{Dtype, TensorView};

const LAYERS: usize = 30;
const WIDTH: usize = 576;
const VOCABULARY: usize = 49_152;

fn prompts(criterion: &mut Criterion) {
    let device = Device::flex();
    let model = model(&device);
    let mut group = criterion.benchmark_group("forward pass of 135M parameters");
    group.sample_size(10);
    for length in [1, 10, 64, 256, 1_024] {
        let tokens = tokens(length, &device);
        group.bench_function(format!("prompt of {length}"), |bencher| {
            bencher.iter(|| {
                let mut cache = KvCache::new(LAYERS, length);
                black_box(model.forward_cached(tokens.clone(), &mut cache))
            });
        });
    }
    group.bench_function("32 tokens generated after 10", |bencher| {
        bencher.iter(|| {
            let mut cache = KvCache::new(LAYERS, 42);
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
    let numbers = (0..length).map(|index| (index * 7_919 % VOCABULARY) as i32);
    Tensor::from_data(
        TensorData::new(numbers.collect::<Vec<_>>(), [1, length]),
        device,
    )
}

fn model(device: &Device) -> DecoderModel {
    DecoderModel::load(CONFIG, "config.json", weights(), device).expect("a model")
}

const CONFIG: &str = r#"{
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 576,
    "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
    "num_key_value_heads": 3, "vocab_size": 49152, "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5, "rope_theta": 100000.0, "hidden_act": "silu", "tie_word_embeddings": true
}"#;

fn weights() -> Weights {
    let layer = |layer: usize| {
        [
            ("input_layernorm", vec![WIDTH]),
            ("post_attention_layernorm", vec![WIDTH]),
            ("self_attn.q_proj", vec![WIDTH, WIDTH]),
            ("self_attn.k_proj", vec![WIDTH / 3, WIDTH]),
            ("self_attn.v_proj", vec![WIDTH / 3, WIDTH]),
            ("self_attn.o_proj", vec![WIDTH, WIDTH]),
            ("mlp.gate_proj", vec![1_536, WIDTH]),
            ("mlp.up_proj", vec![1_536, WIDTH]),
            ("mlp.down_proj", vec![WIDTH, 1_536]),
        ]
        .map(|(part, shape)| (format!("model.layers.{layer}.{part}.weight"), shape))
    };
    let mut tensors: Vec<_> = (0..LAYERS).flat_map(layer).collect();
    tensors.push((
        "model.embed_tokens.weight".to_owned(),
        vec![VOCABULARY, WIDTH],
    ));
    tensors.push(("model.norm.weight".to_owned(), vec![WIDTH]));
    let mut random = 1_u32;
    let mut filled = |(name, shape): (String, Vec<usize>)| {
        let number = |_| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (((random >> 8) as f32 / 16_777_216.0 - 0.5) * 0.1).to_le_bytes()
        };
        let bytes: Vec<u8> = (0..shape.iter().product()).flat_map(number).collect();
        (name, shape, bytes)
    };
    let filled: Vec<_> = tensors.into_iter().map(&mut filled).collect();
    let views = filled.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        (name.clone(), view.expect("as many bytes as the shape has"))
    });
    let file = safetensors::serialize(views, None).expect("a file");
    Weights::from_safetensors(Safetensors::from_bytes(file, "weights").expect("a file"))
}

criterion_group!(benches, prompts);
criterion_main!(benches);
