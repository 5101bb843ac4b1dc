//! The configuration of a Mamba model.

use crate::config::{MAX_HEADS, MAX_LAYERS, MAX_WIDTH, check_laws, check_sizes};
use crate::decoder::Activation;
use crate::families::{Keys, Metadata, RMS_EPSILON, activation, refuse_for_all};
use crate::files::tokenizer::MAX_VOCABULARY;
use crate::files::{FileError, Gguf};

/// The sizes and constants of a Mamba model.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MambaConfig {
    /// The width of the residual stream.
    pub width: usize,
    /// The width inside of a mixer.
    pub inner: usize,
    /// The width of the state of each inner dimension.
    pub state: usize,
    /// The rank of the lengths of steps.
    pub rank: usize,
    /// How many positions a convolution sees.
    pub kernel: usize,
    /// The number of blocks.
    pub layers: usize,
    /// The number of tokens.
    pub vocabulary: usize,
    /// What the norms add to the mean square.
    pub norm_epsilon: f64,
    /// The nonlinearity behind the convolution.
    pub activation: Activation,
    /// Whether the projections in and out have biases.
    pub has_bias: bool,
    /// Whether the convolution has a bias.
    pub has_conv_bias: bool,
    /// Whether the output layer is the embedding.
    pub is_tied: bool,
    /// The tokens that end a text.
    pub eos_ids: Vec<u32>,
}

impl MambaConfig {
    /// Reads the text of a `config.json`; `file` is what messages call it. Keys and defaults are
    /// those of `MambaConfig` in the Python library transformers.
    ///
    /// # Errors
    ///
    /// E042 if it is not valid or its sizes do not fit together, E043 if it asks for something that
    /// is not computed.
    pub fn from_json(text: &str, file: &str) -> Result<Self, FileError> {
        Self::from_keys(&Keys::parse(text, file)?)?.checked(file)
    }

    /// Reads the metadata of a GGUF file.
    ///
    /// # Errors
    ///
    /// As for [`from_json`](Self::from_json).
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, FileError> {
        let metadata = Metadata::new(gguf)?;
        // Sequences of any length are computed.
        metadata.size("context_length")?;
        let hub = metadata
            .hub()?
            .number("layer_norm_epsilon", RMS_EPSILON)?
            .size("conv_kernel", "ssm.conv_kernel")?
            .size("state_size", "ssm.state_size")?
            .size("time_step_rank", "ssm.time_step_rank")?
            .size("intermediate_size", "ssm.inner_size")?;
        let hub = hub
            .set("use_bias", metadata.has("blk.0.ssm_in.bias"))
            .set("use_conv_bias", metadata.has("blk.0.ssm_conv1d.bias"));
        metadata.refuse_unread()?;
        Self::from_keys(&hub.keys())?.checked(gguf.name())
    }

    fn from_keys(keys: &Keys<'_>) -> Result<Self, FileError> {
        refuse_for_all(keys)?;
        let width = keys.size("hidden_size", 768)?;
        let expand = keys.size("expand", 2)?;
        // The rank is a number, or `auto`.
        let rank = match keys.optional_text("time_step_rank") {
            Ok(None) => width.div_ceil(16),
            Ok(Some(word)) if word == "auto" => width.div_ceil(16),
            _ => keys.size("time_step_rank", 0)?,
        };
        let vocabulary = keys.size("vocab_size", 50_280)?;
        Ok(Self {
            width,
            inner: keys.size("intermediate_size", expand.saturating_mul(width))?,
            state: keys.size("state_size", 16)?,
            rank,
            kernel: keys.size("conv_kernel", 4)?,
            layers: keys.size("num_hidden_layers", 32)?,
            vocabulary,
            norm_epsilon: keys.number("layer_norm_epsilon", 1e-5)?,
            activation: activation(keys, "hidden_act", "silu")?,
            has_bias: keys.flag("use_bias", false)?,
            has_conv_bias: keys.flag("use_conv_bias", true)?,
            is_tied: keys.flag("tie_word_embeddings", true)?,
            eos_ids: keys.tokens("eos_token_id", Some(0), vocabulary)?,
        })
    }

    fn checked(self, file: &str) -> Result<Self, FileError> {
        let sizes = [
            ("the number of layers", self.layers, MAX_LAYERS),
            ("the hidden size", self.width, MAX_WIDTH),
            ("the width inside of a mixer", self.inner, MAX_WIDTH),
            ("the width of the state", self.state, MAX_HEADS),
            ("the rank of the steps", self.rank, MAX_WIDTH),
            ("the width of the convolution", self.kernel, MAX_HEADS),
            ("the vocabulary size", self.vocabulary, MAX_VOCABULARY),
        ];
        check_sizes(file, &sizes)?;
        let token = |id: &u32| (*id as usize) < self.vocabulary;
        let laws = [
            (
                "the epsilon of the norms",
                self.norm_epsilon > 0.0 && self.norm_epsilon < 1.0,
                "a number between 0 and 1".to_owned(),
                self.norm_epsilon.to_string(),
            ),
            (
                "the tokens that end a text",
                self.eos_ids.iter().all(token),
                format!("tokens below {}", self.vocabulary),
                format!("{:?}", self.eos_ids),
            ),
        ];
        check_laws(file, laws)?;
        Ok(self)
    }
}
