//! Metadata as the keys of a `config.json`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};

use crate::config::{MAX_LAYERS, saturate};
use crate::families::Keys;
use crate::files::gguf::GgufValue;
use crate::files::{FileError, Gguf, RawTensor};

/// The epsilon of norms of the mean square.
pub(crate) const RMS_EPSILON: &str = "attention.layer_norm_rms_epsilon";
/// The epsilon of norms of the variance.
pub(crate) const VARIANCE_EPSILON: &str = "attention.layer_norm_epsilon";

/// Keys of an architecture that say nothing about what a model computes.
const SILENT: [&str; 2] = ["tensor_data_layout", "rope.scaling.finetuned"];
/// The roles of tokens that end a text, or the model's turn in it.
const END_ROLES: [&str; 6] = ["eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep"];
/// How such tokens are spelled.
const END_TEXTS: [&str; 20] = [
    "</s>",
    "<eos>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<｜end▁of▁sentence｜>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
];
const ADVICE: &str = "use the folder of the model with its safetensors files, or a file without it";

/// The metadata of a file that begin with the name of its architecture.
pub(crate) struct Metadata<'f> {
    gguf: &'f Gguf,
    architecture: &'f str,
    /// The keys that were asked for.
    read: RefCell<BTreeSet<String>>,
}

impl<'f> Metadata<'f> {
    pub(crate) fn new(gguf: &'f Gguf) -> Result<Self, FileError> {
        Ok(Self {
            gguf,
            architecture: gguf.text("general.architecture")?,
            read: RefCell::default(),
        })
    }

    /// Returns whether the file has such a tensor.
    pub(crate) fn has(&self, tensor: &str) -> bool {
        self.gguf.tensors().contains_key(tensor)
    }

    /// Reads a tensor that may be absent.
    pub(super) fn tensor(&self, name: &str) -> Result<Option<RawTensor>, FileError> {
        let found = self.has(name).then(|| self.gguf.load(name));
        found.transpose()
    }

    /// Reads a size, which may be said once for each block if it is always the same.
    pub(crate) fn size(&self, key: &str) -> Result<Option<usize>, FileError> {
        let expected = "a non-negative whole number";
        let Some(sizes) = self.optional(key, expected, sizes)? else {
            return Ok(None);
        };
        match &sizes[..] {
            [size, rest @ ..] if rest.iter().all(|other| other == size) => Ok(Some(*size)),
            _ => {
                let found = format!("{sizes:?}");
                Err(self.unsupported(key, "one size for all blocks", found))
            }
        }
    }

    /// Reads what may be said once for each block.
    pub(crate) fn sizes(&self, key: &str) -> Result<Option<Vec<usize>>, FileError> {
        self.optional(key, "whole numbers, or true and false", sizes)
    }

    pub(crate) fn number(&self, key: &str) -> Result<Option<f64>, FileError> {
        let finite = |value: &GgufValue| value.as_f64().filter(|number| number.is_finite());
        self.optional(key, "a finite number", finite)
    }

    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, FileError> {
        self.optional(key, "true or false", GgufValue::as_bool)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'f str>, FileError> {
        self.optional(key, "a string", GgufValue::as_str)
    }

    /// Refuses what a key asks for.
    pub(crate) fn unsupported(
        &self,
        key: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> FileError {
        let place = format!("metadata key `{}`", self.prefixed(key));
        FileError::unsupported(self.gguf.name(), place, expected, found, ADVICE)
    }

    /// Refuses keys that were not read, unless they say nothing.
    pub(crate) fn refuse_unread(&self) -> Result<(), FileError> {
        let read = self.read.borrow();
        let prefix = self.prefixed("");
        for (key, value) in self.gguf.metadata() {
            let Some(short) = key.strip_prefix(&prefix) else {
                continue;
            };
            let is_silent = SILENT.contains(&short) || is_neutral(value);
            if !is_silent && !read.contains(short) {
                return Err(self.unsupported(short, "nothing that is not computed", shown(value)));
            }
        }
        Ok(())
    }

    /// Makes the keys that say how large a model is, what its tokens are, and whether its output
    /// layer is the embedding.
    pub(crate) fn hub(&self) -> Result<Hub<'_, 'f>, FileError> {
        let embedding = self.gguf.tensors().get("token_embd.weight");
        let rows = embedding.and_then(|tensor| tensor.shape.first().copied());
        let vocabulary = match self.size("vocab_size")?.or(rows) {
            Some(vocabulary) => vocabulary,
            None => self.gguf.texts("tokenizer.ggml.tokens")?.len(),
        };
        let causal = self.flag("attention.causal")?.unwrap_or(true);
        if !causal {
            return Err(self.unsupported("attention.causal", "causal attention", "false"));
        }
        let hub = Hub {
            metadata: self,
            map: Map::new(),
            places: BTreeMap::new(),
        };
        // Families make lists of this length.
        const LAYERS: &str = "block_count";
        let layers = self.size(LAYERS)?.unwrap_or(0);
        if layers > MAX_LAYERS {
            let place = format!("metadata key `{}`", self.prefixed(LAYERS));
            let (expected, found) = (format!("1 to {MAX_LAYERS}"), layers.to_string());
            return Err(FileError::malformed(
                self.gguf.name(),
                place,
                expected,
                found,
            ));
        }
        hub.size("hidden_size", "embedding_length")?
            .size("num_hidden_layers", LAYERS)?
            .set("vocab_size", vocabulary)
            .set("tie_word_embeddings", !self.has("output.weight"))
            .set("bos_token_id", self.token("bos")?)
            .set("eos_token_id", self.end_tokens()?)
            .done()
    }

    fn token(&self, name: &str) -> Result<Option<u32>, FileError> {
        let key = format!("tokenizer.ggml.{name}_token_id");
        let id = |value: &GgufValue| value.as_u64().and_then(|id| u32::try_from(id).ok());
        self.gguf.optional(&key, "a token", id)
    }

    /// Returns the tokens that end a text: those that keys name, and as in llama.cpp those that are
    /// spelled like one.
    fn end_tokens(&self) -> Result<Vec<u32>, FileError> {
        let mut ends = Vec::new();
        for role in END_ROLES {
            ends.extend(self.token(role)?);
        }
        let tokens = self.gguf.metadata().get("tokenizer.ggml.tokens");
        let tokens = tokens.and_then(GgufValue::as_strings).unwrap_or_default();
        let spelled = (0_u32..).zip(tokens);
        ends.extend(
            spelled.filter_map(|(id, token)| END_TEXTS.contains(&token.as_str()).then_some(id)),
        );
        let mut seen = BTreeSet::new();
        ends.retain(|&id| seen.insert(id));
        Ok(ends)
    }

    /// Makes these keys, and those of attention and feed-forward layers.
    pub(crate) fn decoder(&self) -> Result<Hub<'_, 'f>, FileError> {
        let hub = self
            .hub()?
            .size("intermediate_size", "feed_forward_length")?
            .size("num_attention_heads", "attention.head_count")?
            .size("max_position_embeddings", "context_length")?;
        let [width, heads] = [hub.given("hidden_size"), hub.given("num_attention_heads")];
        let kv_heads = self.size("attention.head_count_kv")?.unwrap_or(heads);
        let share = width.checked_div(heads).unwrap_or(0);
        let head_width = self.size("attention.key_length")?.unwrap_or(share);
        let value_width = self.size("attention.value_length")?.unwrap_or(head_width);
        if value_width != head_width {
            let expected = format!("{head_width}, the width of a head");
            let found = value_width.to_string();
            return Err(self.unsupported("attention.value_length", expected, found));
        }
        hub.set("num_key_value_heads", kv_heads)
            .set("head_dim", head_width)
            .done()
    }

    /// Refuses experts that are chosen or weighed otherwise than by a softmax over all of them,
    /// whose weights are divided by their sum if the family `normalizes` them.
    pub(crate) fn check_experts(&self, normalizes: bool) -> Result<(), FileError> {
        const NORMALIZES: &str = "expert_weights_norm";
        const CHOICE: &str = "expert_gating_func";
        let found = self.flag(NORMALIZES)?.unwrap_or(normalizes);
        if found != normalizes {
            return Err(self.unsupported(NORMALIZES, normalizes.to_string(), found.to_string()));
        }
        match self.size(CHOICE)? {
            None | Some(0 | 1) => Ok(()),
            Some(other) => Err(self.unsupported(CHOICE, "1, a softmax", other.to_string())),
        }
    }

    fn optional<T: 'f>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&'f GgufValue) -> Option<T>,
    ) -> Result<Option<T>, FileError> {
        self.read.borrow_mut().insert(key.to_owned());
        self.gguf.optional(&self.prefixed(key), expected, read)
    }

    fn prefixed(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }
}

/// The keys of a `config.json` that are being made, with the metadata keys that they come from.
pub(crate) struct Hub<'m, 'f> {
    metadata: &'m Metadata<'f>,
    map: Map<String, Json>,
    places: BTreeMap<String, String>,
}

impl<'m, 'f> Hub<'m, 'f> {
    /// Takes over a size that must be there.
    pub(crate) fn size(self, name: &str, key: &str) -> Result<Self, FileError> {
        let value = self.metadata.size(key)?;
        self.needed(name, key, value.map(Json::from))
    }

    /// Takes over a number that must be there.
    pub(crate) fn number(self, name: &str, key: &str) -> Result<Self, FileError> {
        let value = self.metadata.number(key)?;
        self.needed(name, key, value.map(Json::from))
    }

    /// Sets what metadata do not say, or not so.
    pub(crate) fn set(mut self, name: &str, value: impl Into<Json>) -> Self {
        self.map.insert(name.to_owned(), value.into());
        self
    }

    /// Sets it if there is a value.
    pub(crate) fn set_some(self, name: &str, value: Option<impl Into<Json>>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self,
        }
    }

    /// Returns a size that was taken over.
    pub(crate) fn given(&self, name: &str) -> usize {
        let size = self.map.get(name).and_then(Json::as_u64);
        saturate(size.unwrap_or(0))
    }

    /// Returns the keys.
    pub(crate) fn keys(self) -> Keys<'f> {
        Keys::new(self.map, self.places, self.metadata.gguf.name())
    }

    #[allow(clippy::unnecessary_wraps, reason = "it ends chains that can fail")]
    fn done(self) -> Result<Self, FileError> {
        Ok(self)
    }

    fn needed(mut self, name: &str, key: &str, value: Option<Json>) -> Result<Self, FileError> {
        let place = format!("metadata key `{}`", self.metadata.prefixed(key));
        let Some(value) = value else {
            let file = self.metadata.gguf.name();
            return Err(FileError::malformed(file, place, "a number", "no such key"));
        };
        self.places.insert(name.to_owned(), place);
        Ok(self.set(name, value))
    }
}

fn sizes(value: &GgufValue) -> Option<Vec<usize>> {
    let numbers = match value {
        GgufValue::Array(array) => array.as_u64s()?,
        one => vec![one.as_u64().or(one.as_bool().map(u64::from))?],
    };
    Some(numbers.into_iter().map(saturate).collect())
}

/// Whether a value asks for nothing, whatever its key means.
fn is_neutral(value: &GgufValue) -> bool {
    match (value.as_u64(), value.as_f64(), value.as_bool()) {
        (Some(number), ..) => number == 0,
        (_, Some(number), _) => number == 0.0 || number == 1.0,
        (.., Some(flag)) => !flag,
        _ => false,
    }
}

fn shown(value: &GgufValue) -> String {
    match (value.as_u64(), value.as_f64(), value.as_str()) {
        (Some(number), ..) => number.to_string(),
        (_, Some(number), _) => number.to_string(),
        (.., Some(text)) => format!("{text:?}"),
        _ => value.type_name(),
    }
}
