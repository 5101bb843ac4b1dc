//! A language model of random weights, small enough to be made by a test.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

const WIDTH: usize = 16;
const HIDDEN: usize = 24;
const HEADS: usize = 2;
pub(crate) const LAYERS: usize = 2;

/// Pairs of tokens that are one: words of a letter.
const MERGES: [&str; 4] = ["Ġ a", "Ġ b", "Ġ c", "Ġ d"];

/// Writes a folder as of the Hugging Face hub: a Llama of two blocks with a byte-level tokenizer.
pub(crate) fn write(folder: &Path) {
    write_with(folder, &[]);
}

/// Writes the folder with special tokens behind the others, of which the first begins every prompt.
pub(crate) fn write_with(folder: &Path, special: &[&str]) {
    fs::create_dir(folder).unwrap();
    let mut vocabulary = vocabulary();
    let added: Vec<Value> = (vocabulary.len()..)
        .zip(special)
        .map(|(id, content)| {
            json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false})
        })
        .collect();
    let post_processor = special.first().map(|begin| {
        json!({
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": begin, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {*begin: {"id": begin, "ids": [vocabulary.len()], "tokens": [begin]}},
        })
    });
    vocabulary.extend(special.iter().map(|&token| token.to_owned()));
    let config = json!({
        "model_type": "llama", "hidden_size": WIDTH, "intermediate_size": HIDDEN,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": 1,
        "vocab_size": vocabulary.len(), "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "max_position_embeddings": 64, "tie_word_embeddings": true, "hidden_act": "silu",
    });
    let vocab: BTreeMap<&String, usize> = vocabulary.iter().zip(0..).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": added, "post_processor": post_processor,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "vocab": vocab, "merges": MERGES},
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    fs::write(folder.join("model.safetensors"), weights(vocabulary.len())).unwrap();
}

/// A character for each byte, as GPT-2 writes them, and the merged tokens.
fn vocabulary() -> Vec<String> {
    let is_plain = |byte: u32| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let others = (0..256).filter(|&byte| !is_plain(byte)).count() as u32;
    let characters = (0..256)
        .filter(|&byte| is_plain(byte))
        .chain(256..256 + others);
    let single = characters.map(|code| char::from_u32(code).unwrap().to_string());
    let merged = MERGES.iter().map(|merge| merge.replace(' ', ""));
    single.chain(merged).collect()
}

/// The bytes of a safetensors file: the length of its header, the header, the numbers.
fn weights(tokens: usize) -> Vec<u8> {
    let head = WIDTH / HEADS;
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![tokens, WIDTH]),
        ("model.norm.weight".to_owned(), vec![WIDTH]),
    ];
    for layer in 0..LAYERS {
        let parts = [
            ("input_layernorm", vec![WIDTH]),
            ("self_attn.q_proj", vec![WIDTH, WIDTH]),
            ("self_attn.k_proj", vec![head, WIDTH]),
            ("self_attn.v_proj", vec![head, WIDTH]),
            ("self_attn.o_proj", vec![WIDTH, WIDTH]),
            ("post_attention_layernorm", vec![WIDTH]),
            ("mlp.gate_proj", vec![HIDDEN, WIDTH]),
            ("mlp.up_proj", vec![HIDDEN, WIDTH]),
            ("mlp.down_proj", vec![WIDTH, HIDDEN]),
        ];
        let named = |(part, shape)| (format!("model.layers.{layer}.{part}.weight"), shape);
        tensors.extend(parts.map(named));
    }
    let (mut header, mut data, mut numbers) = (Map::new(), Vec::new(), Numbers(7));
    for (name, shape) in tensors {
        let start = data.len();
        let length = shape.iter().product();
        data.extend((0..length).flat_map(|_| numbers.next().to_le_bytes()));
        let info = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name, info);
    }
    let header = Value::Object(header).to_string();
    [
        &(header.len() as u64).to_le_bytes()[..],
        header.as_bytes(),
        &data,
    ]
    .concat()
}

/// Numbers between -1 and 1 that look random, and are the same on every machine.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}
