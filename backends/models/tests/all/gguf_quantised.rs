//! Files as llama-quantize makes them: a format for most matrices and better ones for some.
//!
//! Blocks are random under scales of an ordinary size. A model of such a file is the same, bit for
//! bit, as that of a file with the values of its blocks in F32.

use std::collections::BTreeMap;
use std::path::Path;

use half::f16;
use interloom_models::LanguageModel;
use interloom_models::files::gguf::{GgufArray, GgufValue, TensorType};

use crate::gguf_convert::GgufWriter;
use crate::support::{bits, cpu};

const WIDTH: usize = 256;
const HIDDEN: usize = 512;
const KEYS: usize = 128;
const VOCABULARY: usize = 96;
const LAYERS: usize = 2;

/// The formats of a kind of file: of the matrices, of values and of what is projected down in the
/// first layer, and of the output layer.
struct Mix {
    name: &'static str,
    most: TensorType,
    first: TensorType,
    output: TensorType,
}

const MIXES: [Mix; 10] = {
    use TensorType::*;
    const fn mix(
        name: &'static str,
        most: TensorType,
        first: TensorType,
        output: TensorType,
    ) -> Mix {
        Mix {
            name,
            most,
            first,
            output,
        }
    }
    [
        mix("Q2_K", Q2K, Q3K, Q6K),
        mix("Q3_K_M", Q3K, Q5K, Q6K),
        mix("Q4_0", Q4_0, Q4_1, Q6K),
        mix("Q4_K_M", Q4K, Q6K, Q6K),
        mix("Q5_0", Q5_0, Q5_1, Q6K),
        mix("Q5_K_M", Q5K, Q6K, Q6K),
        mix("Q6_K", Q6K, Q6K, Q8_0),
        mix("IQ4_NL", Iq4Nl, Q5_1, Q6K),
        mix("IQ4_XS", Iq4Xs, Q5K, Q6K),
        mix("BF16", Bf16, Bf16, Bf16),
    ]
};

/// Where the half-precision numbers of a block are.
fn halves(kind: TensorType) -> &'static [usize] {
    match kind {
        TensorType::Q4_1 | TensorType::Q5_1 | TensorType::Q4K | TensorType::Q5K => &[0, 2],
        TensorType::Q2K => &[80, 82],
        TensorType::Q3K => &[108],
        TensorType::Q6K => &[208],
        _ => &[0],
    }
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        let (factor, more) = (6_364_136_223_846_793_005, 1_442_695_040_888_963_407);
        self.0 = self.0.wrapping_mul(factor).wrapping_add(more);
        (self.0 >> 33) as u32
    }

    /// Blocks with random bytes, whose values are of the size of weights.
    fn blocks(&mut self, kind: TensorType, values: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..values / kind.block_values() {
            let mut block: Vec<u8> = (0..kind.block_bytes()).map(|_| self.next() as u8).collect();
            let sign = if self.next().is_multiple_of(2) {
                1.0
            } else {
                -1.0
            };
            match kind {
                TensorType::Bf16 => {
                    let number = sign * 0.0625 * (1.0 + self.next() as f32 / u32::MAX as f32);
                    block.copy_from_slice(&number.to_le_bytes()[2..]);
                }
                _ => {
                    for &at in halves(kind) {
                        let scale = if kind.block_values() > 32 { 1e-4 } else { 5e-3 };
                        block[at..at + 2]
                            .copy_from_slice(&f16::from_f32(sign * scale).to_le_bytes());
                    }
                }
            }
            bytes.extend(block);
        }
        bytes
    }
}

type Blocks = BTreeMap<String, (Vec<usize>, TensorType, Vec<u8>)>;

fn tensors(mix: &Mix, is_tied: bool) -> Blocks {
    let mut random = Random(mix.name.len() as u64);
    let mut all = Blocks::new();
    let mut add = |name: String, shape: &[usize], kind: TensorType| {
        let data = match kind {
            TensorType::F32 => (0..shape[0])
                .flat_map(|at| (1.0 + 0.1 * (at as f32).sin()).to_le_bytes())
                .collect(),
            kind => random.blocks(kind, shape.iter().product()),
        };
        all.insert(name, (shape.to_vec(), kind, data));
    };
    // A tied embedding is the output layer, and has its format.
    let embedding = if is_tied { mix.output } else { mix.most };
    add(
        "token_embd.weight".to_owned(),
        &[VOCABULARY, WIDTH],
        embedding,
    );
    add("output_norm.weight".to_owned(), &[WIDTH], TensorType::F32);
    if !is_tied {
        add("output.weight".to_owned(), &[VOCABULARY, WIDTH], mix.output);
    }
    for layer in 0..LAYERS {
        let better = if layer == 0 { mix.first } else { mix.most };
        for (name, shape, kind) in [
            ("attn_norm", &[WIDTH][..], TensorType::F32),
            ("ffn_norm", &[WIDTH], TensorType::F32),
            ("attn_q", &[WIDTH, WIDTH], mix.most),
            ("attn_k", &[KEYS, WIDTH], mix.most),
            ("attn_v", &[KEYS, WIDTH], better),
            ("attn_output", &[WIDTH, WIDTH], mix.most),
            ("ffn_gate", &[HIDDEN, WIDTH], mix.most),
            ("ffn_up", &[HIDDEN, WIDTH], mix.most),
            ("ffn_down", &[WIDTH, HIDDEN], better),
        ] {
            add(format!("blk.{layer}.{name}.weight"), shape, kind);
        }
    }
    all
}

/// Writes a llama with these tensors, as they are or with their values in F32.
fn write(path: &Path, tensors: &Blocks, is_decoded: bool) {
    let mut file = GgufWriter::default();
    let text = |text: &str| GgufValue::String(text.to_owned());
    file.set("general.architecture", text("llama"));
    for (key, value) in [
        ("block_count", LAYERS),
        ("context_length", 64),
        ("embedding_length", WIDTH),
        ("feed_forward_length", HIDDEN),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("rope.dimension_count", 64),
    ] {
        file.set(&format!("llama.{key}"), GgufValue::U32(value as u32));
    }
    let epsilon = "llama.attention.layer_norm_rms_epsilon";
    file.set(epsilon, GgufValue::F32(1e-5));
    file.set("tokenizer.ggml.model", text("gpt2"));
    file.set("tokenizer.ggml.pre", text("gpt-2"));
    let tokens = (0..VOCABULARY).map(|id| format!("t{id}")).collect();
    let strings = |texts| GgufValue::Array(GgufArray::String(texts));
    file.set("tokenizer.ggml.tokens", strings(tokens));
    file.set("tokenizer.ggml.merges", strings(Vec::new()));
    for (name, (shape, kind, data)) in tensors {
        if is_decoded {
            let values = kind.dequantise(data).into_iter();
            let values = values.flat_map(f32::to_le_bytes).collect();
            file.add(name, shape, TensorType::F32.id(), values);
        } else {
            file.add(name, shape, kind.id(), data.clone());
        }
    }
    std::fs::write(path, file.bytes()).unwrap();
}

#[test]
fn a_quantised_file_is_the_model_of_its_values() {
    let folder = tempfile::tempdir().unwrap();
    for (number, mix) in MIXES.iter().enumerate() {
        let tensors = tensors(mix, number % 2 == 0);
        let logits = |is_decoded: bool| {
            let path = folder
                .path()
                .join(format!("{}-{is_decoded}.gguf", mix.name));
            write(&path, &tensors, is_decoded);
            let model = LanguageModel::load(path.to_str().unwrap(), &cpu());
            let model = model.unwrap_or_else(|error| panic!("{}: {error}", mix.name));
            bits(model.batch(&[&[9, 3, 77, 64, 3]]).unwrap().logits())
        };
        let (quantised, decoded) = (logits(false), logits(true));
        assert!(quantised.len() == 5 * VOCABULARY, "{}", mix.name);
        let numbers: Vec<f32> = quantised.iter().map(|&bits| f32::from_bits(bits)).collect();
        let largest = numbers.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
        assert!(
            largest.is_finite() && largest > 1e-3,
            "{}: {largest}",
            mix.name
        );
        assert_eq!(quantised, decoded, "{}", mix.name);
    }
}
