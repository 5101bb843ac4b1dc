//! The configuration of a GPT-2 model: sizes and constants, checked once.
//!
//! It is read from the `config.json` of a Hugging Face folder; defaults are those of `GPT2Config`
//! in the Python library transformers. Whatever would make the model compute something else (cross
//! attention, other activations, quantised weights) is refused, never ignored. Dropout is for
//! training and computes nothing here.

use burn::tensor::{Tensor, activation};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::config::{
    Ids, MAX_HEADS, MAX_LAYERS, MAX_POSITIONS, MAX_WIDTH, check_laws, check_sizes, key_place,
    missing, parse, saturate,
};
use crate::files::FileError;
use crate::files::tokenizer::MAX_VOCABULARY;

/// The sizes and constants of a GPT-2 model.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Gpt2Config {
    /// The width of the residual stream, a multiple of [`heads`](Self::heads).
    pub width: usize,
    /// The width inside the feed-forward layer of a block.
    pub hidden_width: usize,
    /// The number of blocks.
    pub layers: usize,
    /// The number of attention heads.
    pub heads: usize,
    /// The number of tokens.
    pub vocabulary: usize,
    /// The number of positions, each with an embedding of its own.
    pub positions: usize,
    /// What the norms add to the variance.
    pub norm_eps: f64,
    /// The nonlinearity of the feed-forward layers.
    pub activation: Activation,
    /// Whether scores are divided by the root of a head's width.
    pub scales_by_width: bool,
    /// Whether the scores of block `n` are divided by `n + 1` as well.
    pub scales_by_layer: bool,
    /// Whether the output layer is the embedding.
    pub tie_embeddings: bool,
    /// The tokens that end a text.
    pub eos_ids: Vec<u32>,
}

/// A nonlinearity, as configurations name it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Activation {
    /// `gelu`: with the error function.
    Gelu,
    /// `gelu_new`: approximated with a hyperbolic tangent.
    GeluNew,
    /// `relu`.
    Relu,
    /// `silu`.
    Silu,
}

impl Activation {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "gelu" => Self::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" => Self::GeluNew,
            "relu" => Self::Relu,
            "silu" | "swish" => Self::Silu,
            _ => return None,
        })
    }

    pub(super) fn of(self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Gelu => activation::gelu(x),
            Self::GeluNew => activation::gelu_approximate(x),
            Self::Relu => activation::relu(x),
            Self::Silu => activation::silu(x),
        }
    }
}

const ADVICE: &str = "use a plain GPT-2 model";

/// The keys of a `config.json` that matter; all but `model_type` may be missing.
#[derive(Deserialize)]
struct RawConfig {
    model_type: Option<String>,
    #[serde(alias = "hidden_size")]
    n_embd: Option<u64>,
    n_inner: Option<u64>,
    #[serde(alias = "num_hidden_layers")]
    n_layer: Option<u64>,
    #[serde(alias = "num_attention_heads")]
    n_head: Option<u64>,
    #[serde(alias = "max_position_embeddings")]
    n_positions: Option<u64>,
    vocab_size: Option<u64>,
    layer_norm_epsilon: Option<f64>,
    activation_function: Option<String>,
    scale_attn_weights: Option<bool>,
    scale_attn_by_inverse_layer_idx: Option<bool>,
    add_cross_attention: Option<bool>,
    tie_word_embeddings: Option<bool>,
    quantization_config: Option<Json>,
    eos_token_id: Option<Ids>,
}

impl Gpt2Config {
    /// Reads the text of a `config.json`; `file` is what messages call it.
    ///
    /// # Errors
    ///
    /// E042 if it is not valid or its sizes do not fit together, E043 if it is of another
    /// architecture or uses something unsupported.
    pub fn from_json(text: &str, file: &str) -> Result<Self, FileError> {
        parse::<RawConfig>(text, file)?
            .into_config(file)?
            .checked(file)
    }

    /// Returns what the scores of a block are divided by.
    pub(super) fn score_divisor(&self, layer: usize) -> f64 {
        let by_width = (self.width / self.heads) as f64;
        let by_width = if self.scales_by_width {
            by_width.sqrt()
        } else {
            1.0
        };
        let by_layer = if self.scales_by_layer { layer + 1 } else { 1 };
        by_width * by_layer as f64
    }

    /// Checks that the sizes are in their limits and fit together.
    fn checked(self, file: &str) -> Result<Self, FileError> {
        let sizes = [
            ("the number of layers", self.layers, MAX_LAYERS),
            ("the number of heads", self.heads, MAX_HEADS),
            ("the width", self.width, MAX_WIDTH),
            ("the inner width", self.hidden_width, MAX_WIDTH),
            ("the vocabulary size", self.vocabulary, MAX_VOCABULARY),
            ("the number of positions", self.positions, MAX_POSITIONS),
        ];
        check_sizes(file, &sizes)?;
        let laws = [
            (
                "the width",
                self.width.is_multiple_of(self.heads),
                format!("a multiple of the {} heads", self.heads),
                self.width.to_string(),
            ),
            (
                "the epsilon of the norms",
                self.norm_eps > 0.0 && self.norm_eps < 1.0,
                "a number between 0 and 1".to_owned(),
                self.norm_eps.to_string(),
            ),
            (
                "the tokens that end a text",
                self.eos_ids
                    .iter()
                    .all(|&id| (id as usize) < self.vocabulary),
                format!("tokens below {}", self.vocabulary),
                format!("{:?}", self.eos_ids),
            ),
        ];
        check_laws(file, laws)?;
        Ok(self)
    }
}

impl RawConfig {
    fn into_config(self, file: &str) -> Result<Gpt2Config, FileError> {
        let unsupported = |key: &str, expected: &str, found: &str| {
            Err(FileError::unsupported(
                file,
                key_place(key),
                expected,
                found,
                ADVICE,
            ))
        };
        match self.model_type.as_deref() {
            None => return Err(missing(file, "model_type")),
            Some("gpt2") => {}
            Some(other) => {
                return unsupported("model_type", "the architecture gpt2", &format!("{other:?}"));
            }
        }
        if self.add_cross_attention == Some(true) {
            return unsupported("add_cross_attention", "no encoder beside it", "true");
        }
        if self.quantization_config.is_some() {
            let expected = "weights that are not quantised";
            return unsupported("quantization_config", expected, "quantised weights");
        }
        let activation = self.activation_function.as_deref().unwrap_or("gelu_new");
        let Some(activation) = Activation::named(activation) else {
            let expected = "gelu_new, gelu, relu or silu";
            return unsupported("activation_function", expected, activation);
        };
        let size = |given: Option<u64>, default: usize| given.map_or(default, saturate);
        let width = size(self.n_embd, 768);
        let vocabulary = size(self.vocab_size, 50_257);
        let default_end = || {
            let end = 50_256_u32;
            Vec::from_iter(((end as usize) < vocabulary).then_some(end))
        };
        Ok(Gpt2Config {
            width,
            hidden_width: size(self.n_inner, width.saturating_mul(4)),
            layers: size(self.n_layer, 12),
            heads: size(self.n_head, 12),
            vocabulary,
            positions: size(self.n_positions, 1024),
            norm_eps: self.layer_norm_epsilon.unwrap_or(1e-5),
            activation,
            scales_by_width: self.scale_attn_weights.unwrap_or(true),
            scales_by_layer: self.scale_attn_by_inverse_layer_idx.unwrap_or(false),
            tie_embeddings: self.tie_word_embeddings.unwrap_or(true),
            eos_ids: self.eos_token_id.map_or_else(default_end, Ids::into_vec),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(config: &Json) -> Result<Gpt2Config, FileError> {
        Gpt2Config::from_json(&config.to_string(), "config.json")
    }

    #[test]
    fn defaults_are_those_of_transformers() {
        let expected = Gpt2Config {
            width: 768,
            hidden_width: 3072,
            layers: 12,
            heads: 12,
            vocabulary: 50_257,
            positions: 1024,
            norm_eps: 1e-5,
            activation: Activation::GeluNew,
            scales_by_width: true,
            scales_by_layer: false,
            tie_embeddings: true,
            eos_ids: vec![50_256],
        };
        assert_eq!(read(&json!({"model_type": "gpt2"})).unwrap(), expected);
        let inner = json!({"model_type": "gpt2", "n_inner": null, "n_embd": 24});
        assert_eq!(read(&inner).unwrap().hidden_width, 96);
    }

    #[test]
    fn scores_are_divided_as_the_configuration_says() {
        let by = |changes: Json| {
            let mut config = json!({"model_type": "gpt2"});
            let keys = changes.as_object().unwrap().clone();
            config.as_object_mut().unwrap().extend(keys);
            read(&config).unwrap().score_divisor(2)
        };
        assert_eq!(by(json!({})), 8.0);
        assert_eq!(by(json!({"scale_attn_weights": false})), 1.0);
        let by_layer = json!({"scale_attn_by_inverse_layer_idx": true});
        assert_eq!(by(by_layer), 24.0);
    }

    #[test]
    fn what_is_not_computed_is_refused() {
        let errors = [
            json!({}),
            json!({"model_type": "gptj"}),
            json!({"model_type": "gpt2", "add_cross_attention": true}),
            json!({"model_type": "gpt2", "activation_function": "quick_gelu"}),
            json!({"model_type": "gpt2", "quantization_config": {"bits": 4}}),
            json!({"model_type": "gpt2", "n_head": 7}),
            json!({"model_type": "gpt2", "n_layer": 0}),
            json!({"model_type": "gpt2", "n_embd": 1_u64 << 60}),
            json!({"model_type": "gpt2", "layer_norm_epsilon": 0.0}),
            json!({"model_type": "gpt2", "vocab_size": 9, "eos_token_id": [8, 9]}),
            json!({"model_type": "gpt2", "n_layer": "many"}),
        ]
        .map(|config| {
            let error = read(&config).unwrap_err();
            format!("{} {error}", error.code())
        });
        insta::assert_snapshot!(errors.join("\n"), @r#"
        E042 expected a value, found no such key (at key `model_type` of config.json); the file is cut, damaged or miswritten: fetch it again or convert it anew
        E043 expected the architecture gpt2, found "gptj" (at key `model_type` of config.json); use a plain GPT-2 model
        E043 expected no encoder beside it, found true (at key `add_cross_attention` of config.json); use a plain GPT-2 model
        E043 expected gelu_new, gelu, relu or silu, found quick_gelu (at key `activation_function` of config.json); use a plain GPT-2 model
        E043 expected weights that are not quantised, found quantised weights (at key `quantization_config` of config.json); use a plain GPT-2 model
        E042 expected a multiple of the 7 heads, found 768 (at the width of config.json); the file is cut, damaged or miswritten: fetch it again or convert it anew
        E042 expected 1 to 1024, found 0 (at the number of layers of config.json); the file is cut, damaged or miswritten: fetch it again or convert it anew
        E042 expected 1 to 1048576, found 1152921504606846976 (at the width of config.json); the file is cut, damaged or miswritten: fetch it again or convert it anew
        E042 expected a number between 0 and 1, found 0 (at the epsilon of the norms of config.json); the file is cut, damaged or miswritten: fetch it again or convert it anew
        E042 expected tokens below 9, found [8, 9] (at the tokens that end a text of config.json); the file is cut, damaged or miswritten: fetch it again or convert it anew
        E042 expected a model's configuration, found invalid type: string "many", expected u64 at line 1 column 37 (at the JSON of config.json); the file is cut, damaged or miswritten: fetch it again or convert it anew
        "#);
    }
}
