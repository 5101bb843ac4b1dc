//! The configuration of a llama model: sizes and constants, checked once.
//!
//! It is read from the `config.json` of a Hugging Face folder or from the metadata of a GGUF
//! file. Defaults are those of `LlamaConfig` and `MistralConfig` in the Python library
//! transformers. Whatever would make the model compute something else than plain llama (scaled
//! rotary positions, sliding windows, experts, quantised weights) is refused, never ignored.

use serde::Deserialize;
use serde_json::Value as Json;

use crate::config::{
    Ids, MAX_HEADS, MAX_LAYERS, MAX_POSITIONS, MAX_WIDTH, check_laws, check_sizes, key_place,
    missing, parse, saturate,
};
use crate::files::gguf::GgufValue;
use crate::files::tokenizer::MAX_VOCABULARY;
use crate::files::{FileError, Gguf};

/// The sizes and constants of a llama model.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LlamaConfig {
    /// The width of the residual stream.
    pub hidden_size: usize,
    /// The width inside the gated feed-forward layer of a block.
    pub intermediate_size: usize,
    /// The number of blocks.
    pub layers: usize,
    /// The number of query heads.
    pub heads: usize,
    /// The number of key and value heads, which divides [`heads`](Self::heads).
    pub kv_heads: usize,
    /// The width of one head, even; `heads * head_dim` need not be the hidden size.
    pub head_dim: usize,
    /// The number of tokens.
    pub vocab_size: usize,
    /// What the RMS norms add to the mean square.
    pub norm_eps: f64,
    /// The base of the rotary positions' wavelengths.
    pub rope_theta: f64,
    /// The number of positions that the model was trained for.
    pub max_positions: usize,
    /// Whether the output layer is the embedding, so that there is no `lm_head.weight`.
    pub tie_embeddings: bool,
    /// Whether the four attention projections have biases.
    pub attention_bias: bool,
    /// The token that begins a text, if there is one.
    pub bos_id: Option<u32>,
    /// The tokens that end a text.
    pub eos_ids: Vec<u32>,
}

impl LlamaConfig {
    /// Reads the text of a `config.json`; `file` is what messages call it.
    ///
    /// # Errors
    ///
    /// E042 if it is not valid or its sizes do not fit together, E043 if it is of another
    /// architecture or uses something unsupported.
    pub fn from_json(text: &str, file: &str) -> Result<Self, FileError> {
        let raw: RawConfig = parse(text, file)?;
        raw.refuse_unsupported(file)?;
        raw.into_config(file)?.checked(file)
    }

    /// Reads the metadata of a GGUF file of the architecture `llama`.
    ///
    /// # Errors
    ///
    /// E042 if a key is missing or its value does not fit, E043 if the architecture is another
    /// one or something unsupported is used.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, FileError> {
        let architecture = gguf.text("general.architecture")?;
        if architecture != "llama" {
            let place = "metadata key `general.architecture`";
            return Err(unknown_architecture(gguf.name(), place, architecture));
        }
        refuse_unsupported_keys(gguf)?;
        let hidden_size = size(gguf, "llama.embedding_length")?;
        let heads = size(gguf, "llama.attention.head_count")?;
        let head_dim = optional_size(gguf, "llama.attention.key_length")?;
        let head_dim = head_dim.or(hidden_size.checked_div(heads)).unwrap_or(0);
        let vocabulary = optional_size(gguf, "llama.vocab_size")?;
        let theta = gguf.optional("llama.rope.freq_base", "a number", GgufValue::as_f64)?;
        let config = Self {
            hidden_size,
            intermediate_size: size(gguf, "llama.feed_forward_length")?,
            layers: size(gguf, "llama.block_count")?,
            heads,
            kv_heads: optional_size(gguf, "llama.attention.head_count_kv")?.unwrap_or(heads),
            head_dim,
            vocab_size: match vocabulary {
                Some(vocabulary) => vocabulary,
                None => gguf.texts("tokenizer.ggml.tokens")?.len(),
            },
            norm_eps: gguf.number("llama.attention.layer_norm_rms_epsilon")?,
            rope_theta: theta.unwrap_or(DEFAULT_THETA),
            max_positions: size(gguf, "llama.context_length")?,
            tie_embeddings: !gguf.tensors().contains_key("output.weight"),
            attention_bias: gguf.tensors().contains_key("blk.0.attn_q.bias"),
            bos_id: token(gguf, "tokenizer.ggml.bos_token_id")?,
            eos_ids: token(gguf, "tokenizer.ggml.eos_token_id")?
                .into_iter()
                .collect(),
        };
        let rotated = optional_size(gguf, "llama.rope.dimension_count")?.unwrap_or(head_dim);
        let value_width = optional_size(gguf, "llama.attention.value_length")?.unwrap_or(head_dim);
        for (width, key) in [
            (rotated, "llama.rope.dimension_count"),
            (value_width, "llama.attention.value_length"),
        ] {
            if width != head_dim {
                let place = format!("metadata key `{key}`");
                let expected = format!("{head_dim}, the width of a head");
                return Err(unsupported(
                    gguf.name(),
                    place,
                    &expected,
                    width.to_string(),
                ));
            }
        }
        config.checked(gguf.name())
    }

    /// Checks that the sizes are in their limits and fit together.
    fn checked(self, file: &str) -> Result<Self, FileError> {
        let sizes = [
            ("the number of layers", self.layers, MAX_LAYERS),
            ("the number of heads", self.heads, MAX_HEADS),
            ("the number of key/value heads", self.kv_heads, MAX_HEADS),
            ("the width of a head", self.head_dim, MAX_HEADS),
            ("the hidden size", self.hidden_size, MAX_WIDTH),
            ("the intermediate size", self.intermediate_size, MAX_WIDTH),
            ("the vocabulary size", self.vocab_size, MAX_VOCABULARY),
            ("the number of positions", self.max_positions, MAX_POSITIONS),
        ];
        check_sizes(file, &sizes)?;
        let token = |id: &u32| (*id as usize) < self.vocab_size;
        let laws = [
            (
                "the number of heads",
                self.heads.is_multiple_of(self.kv_heads),
                format!("a multiple of the {} key/value heads", self.kv_heads),
                self.heads.to_string(),
            ),
            (
                "the width of a head",
                self.head_dim.is_multiple_of(2),
                "an even width, for rotary positions".to_owned(),
                self.head_dim.to_string(),
            ),
            (
                "the epsilon of the norms",
                self.norm_eps > 0.0 && self.norm_eps < 1.0,
                "a number between 0 and 1".to_owned(),
                self.norm_eps.to_string(),
            ),
            (
                "the base of the rotary positions",
                self.rope_theta > 1.0 && self.rope_theta.is_finite(),
                "a number above 1".to_owned(),
                self.rope_theta.to_string(),
            ),
            (
                "the tokens that begin and end a text",
                self.bos_id.iter().chain(&self.eos_ids).all(token),
                format!("tokens below {}", self.vocab_size),
                format!("{:?} and {:?}", self.bos_id, self.eos_ids),
            ),
        ];
        check_laws(file, laws)?;
        Ok(self)
    }
}

const DEFAULT_THETA: f64 = 10_000.0;
const DEFAULT_EPSILON: f64 = 1e-6;
const DEFAULT_POSITIONS: u64 = 2048;
/// `MistralConfig` has a window unless the file says `null`.
const DEFAULT_MISTRAL_WINDOW: u64 = 4096;
const ADVICE: &str = "use a plain llama model, such as smollm2-135m";

/// The keys of a `config.json` that matter; all may be missing.
#[derive(Deserialize)]
struct RawConfig {
    model_type: Option<String>,
    hidden_size: Option<u64>,
    intermediate_size: Option<u64>,
    num_hidden_layers: Option<u64>,
    num_attention_heads: Option<u64>,
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    vocab_size: Option<u64>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<RopeParameters>,
    rope_parameters: Option<RopeParameters>,
    max_position_embeddings: Option<u64>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    hidden_act: Option<String>,
    /// Outer `None`: not in the file. Inner `None`: `null`.
    #[serde(default, deserialize_with = "present")]
    sliding_window: Option<Option<u64>>,
    quantization_config: Option<Json>,
    bos_token_id: Option<Ids>,
    eos_token_id: Option<Ids>,
}

#[derive(Deserialize)]
struct RopeParameters {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
}

fn present<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(source).map(Some)
}

impl RawConfig {
    fn refuse_unsupported(&self, file: &str) -> Result<(), FileError> {
        let Some(model_type) = self.model_type.as_deref() else {
            return Err(missing(file, "model_type"));
        };
        if !matches!(model_type, "llama" | "mistral") {
            return Err(unknown_architecture(file, "key `model_type`", model_type));
        }
        for (key, rope) in [
            ("rope_scaling", &self.rope_scaling),
            ("rope_parameters", &self.rope_parameters),
        ] {
            let kind = rope
                .as_ref()
                .map(|rope| rope.rope_type.as_deref().unwrap_or("no type"));
            if let Some(kind) = kind.filter(|&kind| kind != "default") {
                return Err(unsupported(
                    file,
                    key_place(key),
                    "rotary positions without scaling",
                    kind,
                ));
            }
        }
        if let Some(window) = self.window().filter(|&window| window < self.positions()) {
            let expected = "attention to all positions (`null`)";
            return Err(unsupported(
                file,
                key_place("sliding_window"),
                expected,
                format!("a window of {window}"),
            ));
        }
        if let Some(act) = self.hidden_act.as_deref().filter(|&act| act != "silu") {
            return Err(unsupported(file, key_place("hidden_act"), "silu", act));
        }
        if self.mlp_bias == Some(true) {
            let expected = "no bias in the feed-forward layers";
            return Err(unsupported(file, key_place("mlp_bias"), expected, "true"));
        }
        if self.quantization_config.is_some() {
            let expected = "weights that are not quantised";
            return Err(unsupported(
                file,
                key_place("quantization_config"),
                expected,
                "quantised weights",
            ));
        }
        Ok(())
    }

    /// The width of the attention's window, if it has one.
    fn window(&self) -> Option<u64> {
        match self.model_type.as_deref() {
            Some("mistral") => self.sliding_window.unwrap_or(Some(DEFAULT_MISTRAL_WINDOW)),
            _ => None,
        }
    }

    fn positions(&self) -> u64 {
        self.max_position_embeddings.unwrap_or(DEFAULT_POSITIONS)
    }

    fn into_config(self, file: &str) -> Result<LlamaConfig, FileError> {
        let need = |key: &str, value: Option<u64>| match value {
            Some(value) => Ok(saturate(value)),
            None => Err(missing(file, key)),
        };
        let hidden_size = need("hidden_size", self.hidden_size)?;
        let heads = need("num_attention_heads", self.num_attention_heads)?;
        let is_llama = self.model_type.as_deref() == Some("llama");
        let kv_heads = match self.num_key_value_heads {
            None if is_llama => heads,
            kv_heads => need("num_key_value_heads", kv_heads)?,
        };
        let head_dim = match self.head_dim {
            Some(head_dim) => saturate(head_dim),
            None if heads == 0 || !hidden_size.is_multiple_of(heads) => {
                let expected =
                    format!("a multiple of the {heads} heads, as there is no `head_dim`");
                return Err(FileError::malformed(
                    file,
                    "key `hidden_size`",
                    expected,
                    hidden_size.to_string(),
                ));
            }
            None => hidden_size / heads,
        };
        let inner_theta = self
            .rope_parameters
            .as_ref()
            .and_then(|rope| rope.rope_theta);
        Ok(LlamaConfig {
            hidden_size,
            intermediate_size: need("intermediate_size", self.intermediate_size)?,
            layers: need("num_hidden_layers", self.num_hidden_layers)?,
            heads,
            kv_heads,
            head_dim,
            vocab_size: need("vocab_size", self.vocab_size)?,
            norm_eps: self.rms_norm_eps.unwrap_or(DEFAULT_EPSILON),
            rope_theta: inner_theta.or(self.rope_theta).unwrap_or(DEFAULT_THETA),
            max_positions: saturate(self.positions()),
            tie_embeddings: self.tie_word_embeddings.unwrap_or(false),
            attention_bias: is_llama && self.attention_bias.unwrap_or(false),
            bos_id: self
                .bos_token_id
                .map(Ids::into_vec)
                .and_then(|ids| ids.first().copied()),
            eos_ids: self.eos_token_id.map(Ids::into_vec).unwrap_or_default(),
        })
    }
}

fn refuse_unsupported_keys(gguf: &Gguf) -> Result<(), FileError> {
    let scaling = gguf.optional("llama.rope.scaling.type", "a string", GgufValue::as_str)?;
    if let Some(kind) = scaling.filter(|&kind| kind != "none") {
        let place = "metadata key `llama.rope.scaling.type`".to_owned();
        return Err(unsupported(
            gguf.name(),
            place,
            "rotary positions without scaling",
            kind,
        ));
    }
    for (key, expected) in [
        (
            "llama.rope.scale_linear",
            "rotary positions without scaling",
        ),
        (
            "llama.rope.scaling.factor",
            "rotary positions without scaling",
        ),
        ("llama.expert_count", "one feed-forward layer per block"),
        (
            "llama.attention.sliding_window",
            "attention to all positions",
        ),
    ] {
        let neutral = |value: &GgufValue| match value.as_f64() {
            Some(factor) => factor == 1.0 || factor == 0.0,
            None => value.as_u64() == Some(0),
        };
        if let Some(value) = gguf.metadata().get(key).filter(|value| !neutral(value)) {
            let found = match (value.as_u64(), value.as_f64()) {
                (Some(number), _) => number.to_string(),
                (_, Some(number)) => number.to_string(),
                _ => value.type_name(),
            };
            return Err(unsupported(
                gguf.name(),
                format!("metadata key `{key}`"),
                expected,
                found,
            ));
        }
    }
    Ok(())
}

fn size(gguf: &Gguf, key: &str) -> Result<usize, FileError> {
    gguf.integer(key).map(saturate)
}

fn optional_size(gguf: &Gguf, key: &str) -> Result<Option<usize>, FileError> {
    Ok(gguf
        .optional(key, "a non-negative whole number", GgufValue::as_u64)?
        .map(saturate))
}

fn token(gguf: &Gguf, key: &str) -> Result<Option<u32>, FileError> {
    gguf.optional(key, "a token", |value| {
        value.as_u64().and_then(|id| id.try_into().ok())
    })
}

fn unsupported(
    file: &str,
    place: impl Into<String>,
    expected: &str,
    found: impl Into<String>,
) -> FileError {
    FileError::unsupported(file, place, expected, found, ADVICE)
}

fn unknown_architecture(file: &str, place: &str, found: &str) -> FileError {
    let expected = "the architecture llama (or mistral without a sliding window)";
    unsupported(file, place, expected, format!("{found:?}"))
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
