//! The folder of a tiny Llama model, written as Hugging Face would.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Map, Value as Json, json};
use tempfile::TempDir;

/// The sizes of a tiny model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) width: usize,
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) tied: bool,
    pub(crate) biased: bool,
}

pub(crate) const VOCABULARY: usize = 256 + 3 + 1;
pub(crate) const POSITIONS: usize = 24;
pub(crate) const EPSILON: f64 = 1e-5;
pub(crate) const THETA: f64 = 500.0;

/// Grouped heads, and an output layer that is the embedding.
pub(crate) const GROUPED: Sizes = Sizes {
    width: 16,
    hidden: 24,
    layers: 2,
    heads: 4,
    kv_heads: 2,
    head_dim: 4,
    tied: true,
    biased: false,
};

/// Heads wider than their share of the residual stream, all of them with keys and values of their
/// own, biases, and an output layer of its own.
pub(crate) const WIDE: Sizes = Sizes {
    width: 12,
    hidden: 20,
    layers: 3,
    heads: 3,
    kv_heads: 3,
    head_dim: 6,
    tied: false,
    biased: true,
};

/// One key and value head for all.
pub(crate) const ONE_KEY: Sizes = Sizes {
    kv_heads: 1,
    ..GROUPED
};

/// A tensor: shape and values.
pub(crate) type Stored = (Vec<usize>, Vec<f32>);

/// A model folder, and the weights in it.
pub(crate) struct Tiny {
    pub(crate) folder: TempDir,
    pub(crate) weights: BTreeMap<String, Stored>,
}

impl Tiny {
    pub(crate) fn write(sizes: Sizes) -> Self {
        Self::write_with(weights(sizes), sizes)
    }

    pub(crate) fn write_with(weights: BTreeMap<String, Stored>, sizes: Sizes) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let put =
            |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        put("config.json", config(sizes).to_string().as_bytes());
        put("tokenizer.json", tokenizer().to_string().as_bytes());
        put("model.safetensors", &safetensors(&weights));
        Self { folder, weights }
    }

    pub(crate) fn path(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }
}

/// Random weights (SplitMix64): norms near 1, the rest of a size that keeps activations near 1.
pub(crate) fn weights(sizes: Sizes) -> BTreeMap<String, Stored> {
    let (queries, keys) = (
        sizes.heads * sizes.head_dim,
        sizes.kv_heads * sizes.head_dim,
    );
    let mut random = Random(9);
    let mut all = BTreeMap::new();
    let mut add = |name: String, shape: &[usize]| {
        let count = shape.iter().product();
        let is_norm = name.contains("norm");
        let size = if name.contains("embed") { 1.0 } else { 0.6 };
        let value = |x: f32| if is_norm { 1.0 + 0.2 * x } else { size * x };
        let values = (0..count).map(|_| value(random.next())).collect();
        all.insert(name, (shape.to_vec(), values));
    };
    add(
        "model.embed_tokens.weight".to_owned(),
        &[VOCABULARY, sizes.width],
    );
    add("model.norm.weight".to_owned(), &[sizes.width]);
    if !sizes.tied {
        add("lm_head.weight".to_owned(), &[VOCABULARY, sizes.width]);
    }
    for layer in 0..sizes.layers {
        let mut add =
            |name: &str, shape: &[usize]| add(format!("model.layers.{layer}.{name}"), shape);
        add("input_layernorm.weight", &[sizes.width]);
        add("post_attention_layernorm.weight", &[sizes.width]);
        for (name, out, inputs) in [
            ("q", queries, sizes.width),
            ("k", keys, sizes.width),
            ("v", keys, sizes.width),
            ("o", sizes.width, queries),
        ] {
            add(&format!("self_attn.{name}_proj.weight"), &[out, inputs]);
            if sizes.biased {
                add(&format!("self_attn.{name}_proj.bias"), &[out]);
            }
        }
        add("mlp.gate_proj.weight", &[sizes.hidden, sizes.width]);
        add("mlp.up_proj.weight", &[sizes.hidden, sizes.width]);
        add("mlp.down_proj.weight", &[sizes.width, sizes.hidden]);
    }
    all
}

struct Random(u64);

impl Random {
    /// A number from -1 to 1.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

fn config(sizes: Sizes) -> Json {
    json!({
        "model_type": "llama", "hidden_size": sizes.width, "intermediate_size": sizes.hidden,
        "num_hidden_layers": sizes.layers, "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads, "head_dim": sizes.head_dim, "vocab_size": VOCABULARY,
        "rms_norm_eps": EPSILON, "rope_theta": THETA, "max_position_embeddings": POSITIONS,
        "tie_word_embeddings": sizes.tied, "attention_bias": sizes.biased, "hidden_act": "silu",
        "eos_token_id": VOCABULARY - 1
    })
}

/// A byte-level tokenizer: every byte, three merges, and `<end>`.
fn tokenizer() -> Json {
    let merges = [("h", "e"), ("l", "l"), ("Ġ", "he")];
    let bytes = (0..=u8::MAX).map(char_of_byte).map(String::from);
    let merged = merges.iter().map(|(left, right)| [*left, *right].concat());
    let vocab: Map<String, Json> = bytes
        .chain(merged)
        .enumerate()
        .map(|(id, token)| (token, json!(id)))
        .collect();
    let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let end = json!({
        "id": VOCABULARY - 1, "content": "<end>", "special": true, "single_word": false,
        "lstrip": false, "rstrip": false, "normalized": false
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [end],
        "normalizer": null, "pre_tokenizer": level, "post_processor": null, "decoder": level,
        "model": {"type": "BPE", "vocab": vocab, "merges": merges.map(|(l, r)| format!("{l} {r}"))}
    })
}

/// GPT-2's `bytes_to_unicode`.
fn char_of_byte(byte: u8) -> char {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if is_printable(byte) {
        return char::from(byte);
    }
    let others = (0..byte).filter(|&other| !is_printable(other)).count() as u32;
    char::from_u32(0x100 + others).unwrap()
}

fn safetensors(weights: &BTreeMap<String, Stored>) -> Vec<u8> {
    let bytes: BTreeMap<&str, Vec<u8>> = weights
        .iter()
        .map(|(name, (_, values))| {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes());
            (name.as_str(), bytes.collect())
        })
        .collect();
    let views = weights.iter().map(|(name, (shape, _))| {
        let view = TensorView::new(Dtype::F32, shape.clone(), &bytes[name.as_str()]);
        (name.as_str(), view.unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}
