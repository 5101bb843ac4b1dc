//! How long a model takes to load, beside reading the same file and nothing else.
//!
//! The model is a llama of 126 million parameters with random weights, in a Hugging Face folder in
//! F32 and in BF16, and in a GGUF file in Q4_K with an embedding in Q6_K. A criterion *byte* is one
//! of the weights as they are computed with, in F32.
#![allow(missing_docs)] // criterion's macros make public items.

use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::path::{Path, PathBuf};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use interloom_backends::parse_device;
use interloom_benches::LlamaSize;
use interloom_models::Architecture;
use interloom_models::files::ModelSource;
use interloom_models::files::gguf::TensorType;
use safetensors::tensor::{Dtype, TensorView};
use tempfile::TempDir;

const SIZE: LlamaSize = LlamaSize {
    layers: 16,
    width: 768,
    keys: 256,
    hidden: 2048,
    vocabulary: 32_768,
};

const CONFIG: &str = r#"{"model_type": "llama", "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 16,
    "num_attention_heads": 12, "num_key_value_heads": 4, "vocab_size": 32768, "max_position_embeddings": 2048,
    "tie_word_embeddings": true}"#;

/// Bytes whose four-byte words are floats between 1/4 and 1, and whose pairs are such in half
/// precision: the upper two bits of an exponent, and the rest at random.
fn random(state: &mut u64, count: usize) -> Vec<u8> {
    let mut pair = || {
        let (factor, more) = (6_364_136_223_846_793_005, 1_442_695_040_888_963_407);
        *state = state.wrapping_mul(factor).wrapping_add(more);
        0x3e80 | (*state >> 48) as u16 & 0xff
    };
    (0..count.div_ceil(2))
        .flat_map(|_| pair().to_le_bytes())
        .take(count)
        .collect()
}

fn folder(dtype: Dtype, bytes: usize) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let mut state = 1;
    let data = SIZE.tensors().into_iter().map(|(name, _, shape)| {
        let data = random(&mut state, shape.iter().product::<usize>() * bytes);
        (name, shape, data)
    });
    let data: Vec<_> = data.collect();
    let views = data.iter().map(|(name, shape, data)| {
        let view = TensorView::new(dtype, shape.clone(), data).unwrap();
        (name.as_str(), view)
    });
    let file = folder.path().join("model.safetensors");
    safetensors::serialize_to_file(views, None, &file).unwrap();
    std::fs::write(folder.path().join("config.json"), CONFIG).unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
    (folder, file)
}

fn gguf() -> (TempDir, PathBuf) {
    fn text(bytes: &mut Vec<u8>, text: &str) {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    let sizes = [
        ("embedding_length", SIZE.width),
        ("feed_forward_length", SIZE.hidden),
        ("block_count", SIZE.layers),
        ("attention.head_count", 12),
        ("attention.head_count_kv", 4),
        ("context_length", 2048),
    ];
    let mut header = [&b"GGUF"[..], &3_u32.to_le_bytes()].concat();
    header.extend((SIZE.tensors().len() as u64).to_le_bytes());
    header.extend((sizes.len() as u64 + 2).to_le_bytes());
    text(&mut header, "general.architecture");
    header.extend(8_u32.to_le_bytes());
    text(&mut header, "llama");
    text(&mut header, "llama.attention.layer_norm_rms_epsilon");
    header.extend(6_u32.to_le_bytes());
    header.extend(1e-5_f32.to_le_bytes());
    for (key, size) in sizes {
        text(&mut header, &format!("llama.{key}"));
        header.extend(4_u32.to_le_bytes());
        header.extend((size as u32).to_le_bytes());
    }
    let (mut data, mut state) = (Vec::new(), 1);
    for (_, name, shape) in SIZE.tensors() {
        let kind = match (&shape[..], name.as_str()) {
            ([_], _) => TensorType::F32,
            (_, "token_embd.weight") => TensorType::Q6K,
            _ => TensorType::Q4K,
        };
        text(&mut header, &name);
        header.extend((shape.len() as u32).to_le_bytes());
        header.extend(
            shape
                .iter()
                .rev()
                .flat_map(|&extent| (extent as u64).to_le_bytes()),
        );
        header.extend(kind.id().to_le_bytes());
        header.extend((data.len() as u64).to_le_bytes());
        let blocks = shape.iter().product::<usize>() / kind.block_values();
        data.extend(random(&mut state, blocks * kind.block_bytes()));
        data.resize(data.len().next_multiple_of(32), 0);
    }
    header.resize(header.len().next_multiple_of(32), 0);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    std::fs::write(&file, [header, data].concat()).unwrap();
    (folder, file)
}

/// Reads a file to its end through a small buffer.
fn read(path: &Path) -> usize {
    let mut file = File::open(path).unwrap();
    let mut buffer = vec![0; 256 << 10];
    let mut all = 0;
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return all,
            read => all += black_box(&buffer[..read]).len(),
        }
    }
}

fn loading(criterion: &mut Criterion) {
    let device = parse_device("cpu").unwrap();
    let parameters = SIZE
        .tensors()
        .iter()
        .map(|(_, _, shape)| shape.iter().product::<usize>() as u64)
        .sum::<u64>();
    let mut group = criterion.benchmark_group("loading");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(4 * parameters));
    for (name, (folder, file)) in [
        ("safetensors F32", folder(Dtype::F32, 4)),
        ("safetensors BF16", folder(Dtype::BF16, 2)),
        ("gguf Q4_K", gguf()),
    ] {
        group.bench_function(format!("{name}: read"), |bencher| {
            bencher.iter(|| read(&file))
        });
        group.bench_function(format!("{name}: load"), |bencher| {
            let source = ModelSource::resolve(folder.path().to_str().unwrap()).unwrap();
            bencher.iter(|| Architecture::load(source.open().unwrap(), &device).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, loading);
criterion_main!(benches);
