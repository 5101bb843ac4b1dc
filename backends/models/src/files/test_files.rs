//! Small files for tests: writers that know no checks.

use super::Gguf;
use super::gguf::{GgufArray, GgufValue, TensorType};

/// A GGUF file in parts, to be changed before it is written.
#[derive(Clone)]
pub(crate) struct GgufFile {
    pub(crate) version: u32,
    pub(crate) alignment: usize,
    pub(crate) keys: Vec<(String, GgufValue)>,
    pub(crate) tensors: Vec<StoredTensor>,
}

#[derive(Clone)]
pub(crate) struct StoredTensor {
    pub(crate) name: String,
    /// Innermost first, as in the file.
    pub(crate) extents: Vec<u64>,
    pub(crate) kind: u32,
    pub(crate) data: Vec<u8>,
}

impl GgufFile {
    pub(crate) fn new() -> Self {
        Self {
            version: 3,
            alignment: 32,
            keys: Vec::new(),
            tensors: Vec::new(),
        }
    }

    /// Sets a key, in its place if it is there.
    pub(crate) fn with(mut self, key: &str, value: GgufValue) -> Self {
        match self.keys.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.keys.push((key.to_owned(), value)),
        }
        self
    }

    /// Adds a tensor with the shape outermost first.
    pub(crate) fn with_tensor(
        mut self,
        name: &str,
        shape: &[u64],
        kind: u32,
        data: Vec<u8>,
    ) -> Self {
        let extents = shape.iter().rev().copied().collect();
        self.tensors.push(StoredTensor {
            name: name.to_owned(),
            extents,
            kind,
            data,
        });
        self
    }

    /// Adds an F32 tensor whose elements count up from 0.
    pub(crate) fn with_counting(self, name: &str, shape: &[u64]) -> Self {
        let size: u64 = shape.iter().product();
        let data = (0..size)
            .flat_map(|index| (index as f32).to_le_bytes())
            .collect();
        self.with_tensor(name, shape, TensorType::F32.id(), data)
    }

    /// The bytes up to the tensors' data, without the padding in front of it.
    pub(crate) fn header(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            write_string(&mut bytes, key);
            write_value(&mut bytes, value);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            write_string(&mut bytes, &tensor.name);
            bytes.extend((tensor.extents.len() as u32).to_le_bytes());
            bytes.extend(
                tensor
                    .extents
                    .iter()
                    .flat_map(|extent| extent.to_le_bytes()),
            );
            bytes.extend(tensor.kind.to_le_bytes());
            bytes.extend((offset as u64).to_le_bytes());
            offset += tensor.data.len().next_multiple_of(self.alignment);
        }
        bytes
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header();
        for tensor in &self.tensors {
            bytes.resize(bytes.len().next_multiple_of(self.alignment), 0);
            bytes.extend(&tensor.data);
        }
        bytes
    }

    pub(crate) fn open(&self) -> Gguf {
        Gguf::from_bytes(self.bytes(), "tiny.gguf").unwrap()
    }
}

/// A llama of one block, whose tensors count up from 0, with a vocabulary of six.
pub(crate) fn tiny_model() -> GgufFile {
    let text = |text: &str| GgufValue::String(text.to_owned());
    GgufFile::new()
        .with("general.architecture", text("llama"))
        .with("llama.embedding_length", GgufValue::U32(8))
        .with("llama.feed_forward_length", GgufValue::U32(12))
        .with("llama.block_count", GgufValue::U32(1))
        .with("llama.attention.head_count", GgufValue::U32(2))
        .with("llama.attention.head_count_kv", GgufValue::U32(1))
        .with(
            "llama.attention.layer_norm_rms_epsilon",
            GgufValue::F32(1e-5),
        )
        .with("llama.context_length", GgufValue::U32(16))
        .with("tokenizer.ggml.model", text("gpt2"))
        .with("tokenizer.ggml.pre", text("smollm"))
        .with(
            "tokenizer.ggml.tokens",
            GgufValue::Array(GgufArray::String(strings(&[
                "<end>", "a", "b", "ab", "c", "d",
            ]))),
        )
        .with(
            "tokenizer.ggml.merges",
            GgufValue::Array(GgufArray::String(strings(&["a b"]))),
        )
        .with(
            "tokenizer.ggml.token_type",
            GgufValue::Array(GgufArray::I32(vec![3, 1, 1, 1, 1, 1])),
        )
        .with("tokenizer.ggml.bos_token_id", GgufValue::U32(0))
        .with("tokenizer.ggml.eos_token_id", GgufValue::U32(0))
        .with_counting("token_embd.weight", &[6, 8])
        .with_counting("output_norm.weight", &[8])
        .with_counting("blk.0.attn_norm.weight", &[8])
        .with_counting("blk.0.attn_q.weight", &[8, 8])
        .with_counting("blk.0.attn_k.weight", &[4, 8])
        .with_counting("blk.0.attn_v.weight", &[4, 8])
        .with_counting("blk.0.attn_output.weight", &[8, 8])
        .with_counting("blk.0.ffn_norm.weight", &[8])
        .with_counting("blk.0.ffn_gate.weight", &[12, 8])
        .with_counting("blk.0.ffn_up.weight", &[12, 8])
        .with_counting("blk.0.ffn_down.weight", &[8, 12])
}

pub(crate) fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// A safetensors file with tensors of a name, a type, a shape and bytes.
pub(crate) fn safetensors_bytes(tensors: &[(&str, &str, &[usize], &[u8])]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for &(name, dtype, shape, bytes) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        let info = serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": offsets});
        header.insert(name.to_owned(), info);
        data.extend(bytes);
    }
    let header = serde_json::Value::Object(header).to_string();
    [
        &(header.len() as u64).to_le_bytes()[..],
        header.as_bytes(),
        &data,
    ]
    .concat()
}

fn write_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn write_value(bytes: &mut Vec<u8>, value: &GgufValue) {
    let (kind, content): (u32, Vec<u8>) = match value {
        GgufValue::U8(v) => (0, v.to_le_bytes().to_vec()),
        GgufValue::I8(v) => (1, v.to_le_bytes().to_vec()),
        GgufValue::U16(v) => (2, v.to_le_bytes().to_vec()),
        GgufValue::I16(v) => (3, v.to_le_bytes().to_vec()),
        GgufValue::U32(v) => (4, v.to_le_bytes().to_vec()),
        GgufValue::I32(v) => (5, v.to_le_bytes().to_vec()),
        GgufValue::F32(v) => (6, v.to_le_bytes().to_vec()),
        GgufValue::Bool(v) => (7, vec![u8::from(*v)]),
        GgufValue::String(v) => {
            let mut content = Vec::new();
            write_string(&mut content, v);
            (8, content)
        }
        GgufValue::Array(v) => {
            let mut content = Vec::new();
            write_array(&mut content, v);
            (9, content)
        }
        GgufValue::U64(v) => (10, v.to_le_bytes().to_vec()),
        GgufValue::I64(v) => (11, v.to_le_bytes().to_vec()),
        GgufValue::F64(v) => (12, v.to_le_bytes().to_vec()),
    };
    bytes.extend(kind.to_le_bytes());
    bytes.extend(content);
}

fn write_array(bytes: &mut Vec<u8>, array: &GgufArray) {
    let kind: u32 = match array {
        GgufArray::U8(_) => 0,
        GgufArray::I8(_) => 1,
        GgufArray::U16(_) => 2,
        GgufArray::I16(_) => 3,
        GgufArray::U32(_) => 4,
        GgufArray::I32(_) => 5,
        GgufArray::F32(_) => 6,
        GgufArray::Bool(_) => 7,
        GgufArray::String(_) => 8,
        GgufArray::Array(_) => 9,
        GgufArray::U64(_) => 10,
        GgufArray::I64(_) => 11,
        GgufArray::F64(_) => 12,
    };
    bytes.extend(kind.to_le_bytes());
    bytes.extend((array.len() as u64).to_le_bytes());
    match array {
        GgufArray::U8(v) => bytes.extend(v),
        GgufArray::I8(v) => bytes.extend(v.iter().flat_map(|v| v.to_le_bytes())),
        GgufArray::U16(v) => bytes.extend(v.iter().flat_map(|v| v.to_le_bytes())),
        GgufArray::I16(v) => bytes.extend(v.iter().flat_map(|v| v.to_le_bytes())),
        GgufArray::U32(v) => bytes.extend(v.iter().flat_map(|v| v.to_le_bytes())),
        GgufArray::I32(v) => bytes.extend(v.iter().flat_map(|v| v.to_le_bytes())),
        GgufArray::F32(v) => bytes.extend(v.iter().flat_map(|v| v.to_le_bytes())),
        GgufArray::Bool(v) => bytes.extend(v.iter().map(|&v| u8::from(v))),
        GgufArray::String(v) => v.iter().for_each(|v| write_string(bytes, v)),
        GgufArray::Array(v) => v.iter().for_each(|v| write_array(bytes, v)),
        GgufArray::U64(v) => bytes.extend(v.iter().flat_map(|v| v.to_le_bytes())),
        GgufArray::I64(v) => bytes.extend(v.iter().flat_map(|v| v.to_le_bytes())),
        GgufArray::F64(v) => bytes.extend(v.iter().flat_map(|v| v.to_le_bytes())),
    }
}
