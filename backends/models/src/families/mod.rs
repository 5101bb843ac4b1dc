//! The families of decoders, each with what its configurations say and what it calls its weights.
//!
//! Keys and their defaults are those of the classes of the Python library transformers 5. Whatever
//! would make a model compute something else than [`decoder`](crate::decoder) can is refused, never
//! ignored. Dropout is for training and computes nothing here.

mod albert;
mod bert;
mod bloom;
mod cohere;
mod falcon;
mod gemma;
mod gemma2;
mod gemma3;
mod gguf;
mod gpt2;
mod gpt_neox;
mod gptj;
mod granite;
mod keys;
pub(crate) mod llama;
mod mamba;
mod mistral;
mod mixtral;
mod olmo;
mod olmo2;
mod opt;
mod phi;
mod phi3;
mod qwen2;
mod qwen2_moe;
mod qwen3;
mod rope;
mod smollm3;
mod stablelm;
mod starcoder2;
mod vit;

use self::gguf::FromGguf;
pub(crate) use self::gguf::{Metadata, RMS_EPSILON};
use self::keys::Given;
pub(crate) use self::keys::Keys;
use self::rope::Rope;
use crate::architecture::Architecture;
use crate::causal::CausalLm;
use crate::decoder::{
    Activation, AttentionConfig, BlockConfig, DecoderConfig, EmbeddingNorm, Gain, MlpConfig, Names,
    NormConfig, Norms, OutputConfig, RotaryConfig, Statistic, Wiring,
};
use crate::files::{FileError, ModelFiles};
use burn::tensor::Device;

/// Every family, in the order in which messages name them.
pub const ARCHITECTURES: &[Architecture] = &[
    llama::ARCHITECTURE,
    mistral::ARCHITECTURE,
    mixtral::ARCHITECTURE,
    qwen2::ARCHITECTURE,
    qwen3::ARCHITECTURE,
    qwen2_moe::ARCHITECTURE,
    gemma::ARCHITECTURE,
    gemma2::ARCHITECTURE,
    gemma3::ARCHITECTURE,
    phi::ARCHITECTURE,
    phi3::ARCHITECTURE,
    olmo::ARCHITECTURE,
    olmo2::ARCHITECTURE,
    stablelm::ARCHITECTURE,
    starcoder2::ARCHITECTURE,
    granite::ARCHITECTURE,
    smollm3::ARCHITECTURE,
    cohere::ARCHITECTURE,
    falcon::ARCHITECTURE,
    gpt2::ARCHITECTURE,
    gpt_neox::ARCHITECTURE,
    gptj::ARCHITECTURE,
    opt::ARCHITECTURE,
    bloom::ARCHITECTURE,
    bert::ARCHITECTURE,
    albert::ARCHITECTURE,
    mamba::ARCHITECTURE,
    vit::ARCHITECTURE,
];

/// How the models of a family are computed.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one for each family")]
pub(crate) enum Kind {
    /// By the decoder.
    Decoder(Family),
    /// By code of its own, which this loads.
    Other(ModelLoader),
    /// As these; they take images, and no text.
    Images(ModelLoader),
}

/// Makes a model of its files.
type ModelLoader = fn(ModelFiles, &Device) -> Result<Box<dyn CausalLm>, FileError>;

/// What loads the decoders of a family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    /// Reads a `config.json`.
    pub(crate) config: fn(&Keys<'_>) -> Result<DecoderConfig, FileError>,
    /// What the hub calls the weights.
    names: Names,
    /// What it calls them where that depends on the configuration.
    names_for: Option<fn(&DecoderConfig) -> Names>,
    /// What reads it from GGUF files, if anything does.
    gguf: Option<FromGguf>,
}

impl Family {
    /// Makes a family that is not read from GGUF files.
    const fn new(config: fn(&Keys<'_>) -> Result<DecoderConfig, FileError>, names: Names) -> Self {
        Self {
            config,
            names,
            names_for: None,
            gguf: None,
        }
    }

    /// Reads the text of a `config.json`.
    pub(crate) fn read(&self, text: &str, file: &str) -> Result<DecoderConfig, FileError> {
        let keys = Keys::parse(text, file)?;
        refuse_for_all(&keys)?;
        (self.config)(&keys)?.checked(file)
    }

    /// Returns what the hub calls the weights of a model.
    pub(crate) fn names(&self, config: &DecoderConfig) -> Names {
        self.names_for.map_or(self.names, |names| names(config))
    }
}

/// What the names of classes end with that have another layer in place of the output layer.
const OTHER_LAYERS: [&str; 5] = [
    "ForSequenceClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForMultipleChoice",
    "ForNextSentencePrediction",
];

/// Refuses what no family computes.
pub(crate) fn refuse_for_all(keys: &Keys<'_>) -> Result<(), FileError> {
    for key in ["quantization_config", "quantization"] {
        if let Some(quantized) = keys.object(key)? {
            return Err(quantised(keys, key, &quantized));
        }
    }
    if let Some(class) = keys.optional_texts("architectures")?.and_then(|all| {
        let mut classes = all.into_iter();
        classes.find(|class| OTHER_LAYERS.iter().any(|layer| class.ends_with(layer)))
    }) {
        let expected = "a model with the output layer of its vocabulary";
        let advice = "use the model that it was made of, with that layer";
        return Err(keys.unsupported_with("architectures", expected, format!("`{class}`"), advice));
    }
    keys.refuse_flag("add_cross_attention", "no encoder beside it")?;
    keys.refuse_flag("is_encoder_decoder", "no encoder beside it")?;
    keys.refuse_flag("use_bidirectional_attention", "causal attention")?;
    if keys.has("per_layer_config") {
        let expected = "one configuration for all blocks";
        return Err(keys.unsupported("per_layer_config", expected, "several"));
    }
    Ok(())
}

/// Refuses weights that are packed in fewer bits, under the key of MLX or that of all others.
fn quantised(keys: &Keys<'_>, key: &str, quantized: &Keys<'_>) -> FileError {
    let method = match quantized.optional_text("quant_method") {
        Ok(Some(method)) => format!(" ({method})"),
        _ if key == "quantization" => " (MLX)".to_owned(),
        _ => String::new(),
    };
    let found = format!("quantised weights{method}");
    let advice =
        "use the model that it was made of, whose weights are not quantised, or a GGUF file";
    keys.unsupported_with(key, "weights that are not quantised", found, advice)
}

/// The defaults of a class for the sizes that most families name alike.
pub(crate) struct Defaults {
    width: usize,
    hidden: usize,
    layers: usize,
    heads: usize,
    /// Nothing if they are as many as the heads.
    kv_heads: Option<usize>,
    /// Nothing if it is the width divided by the heads.
    head_width: Option<usize>,
    vocabulary: usize,
    positions: usize,
    /// The base of rotary positions.
    base: f64,
    epsilon: f64,
    activation: &'static str,
    is_tied: bool,
    bos: Option<u32>,
    eos: Option<u32>,
}

impl Defaults {
    /// Those of a class that reads all of its sizes itself.
    pub(crate) const NONE: Self = Self {
        width: 0,
        hidden: 0,
        layers: 0,
        heads: 0,
        kv_heads: None,
        head_width: None,
        vocabulary: 0,
        positions: 0,
        base: 1e4,
        epsilon: 1e-5,
        activation: "gelu",
        is_tied: false,
        bos: None,
        eos: None,
    };

    /// Reads a model as llama is: norms of the mean square in front of both layers, rotary
    /// positions, grouped heads without biases, and a gated feed-forward layer.
    fn like_llama(&self, keys: &Keys<'_>) -> Result<DecoderConfig, FileError> {
        self.like_llama_with(keys, |rope, keys| Ok(vec![rope.read(keys)?]))
    }

    /// Reads a model as llama is but for its rotary positions, which `rotary` reads.
    fn like_llama_with(
        &self,
        keys: &Keys<'_>,
        rotary: impl FnOnce(Rope, &Keys<'_>) -> Result<Vec<RotaryConfig>, FileError>,
    ) -> Result<DecoderConfig, FileError> {
        let heads = keys.size("num_attention_heads", self.heads)?;
        let default = Some(self.kv_heads.unwrap_or(heads));
        let kv_heads = keys.given_size("num_key_value_heads")?.or(default);
        let width = keys.size("hidden_size", self.width)?;
        let head_width = match keys.optional_size("head_dim")?.or(self.head_width) {
            Some(head_width) => head_width,
            None => share(keys, "hidden_size", width, heads)?,
        };
        let positions = keys.size("max_position_embeddings", self.positions)?;
        let rope = Rope::new(self.base, head_width, positions);
        let mut config = self.like_gpt(
            keys,
            Sizes {
                width,
                hidden: keys.size("intermediate_size", self.hidden)?,
                layers: keys.size("num_hidden_layers", self.layers)?,
                heads,
                vocabulary: keys.size("vocab_size", self.vocabulary)?,
                positions,
            },
            head_width,
        )?;
        config.attention.kv_heads = kv_heads.unwrap_or(heads);
        config.rotary = rotary(rope, keys)?;
        config
            .blocks
            .iter_mut()
            .for_each(|block| block.rotary = Some(0));
        config.norm = NormConfig {
            statistic: Statistic::MeanSquare,
            epsilon: keys.number("rms_norm_eps", self.epsilon)?,
            gain: Gain::Parameter,
            has_bias: false,
        };
        config.mlp.is_gated = true;
        config.mlp.activation = activation(keys, "hidden_act", self.activation)?;
        Ok(config)
    }

    /// Makes a model of layer norms in front of both layers, without positions or biases, with a
    /// plain feed-forward layer.
    pub(crate) fn like_gpt(
        &self,
        keys: &Keys<'_>,
        sizes: Sizes,
        head_width: usize,
    ) -> Result<DecoderConfig, FileError> {
        let vocabulary = sizes.vocabulary;
        let bos = keys.tokens("bos_token_id", self.bos, vocabulary)?;
        if sizes.layers > crate::config::MAX_LAYERS {
            let expected = format!("1 to {}", crate::config::MAX_LAYERS);
            let place = "the number of layers";
            return Err(FileError::malformed(
                keys.file(),
                place,
                expected,
                sizes.layers.to_string(),
            ));
        }
        Ok(DecoderConfig {
            width: sizes.width,
            embedding_width: sizes.width,
            vocabulary,
            positions: sizes.positions,
            learned_positions: None,
            embedding_multiplier: None,
            token_types: None,
            embedding_norm: EmbeddingNorm::None,
            projects_sum: false,
            blocks: vec![BlockConfig::default(); sizes.layers],
            shared: None,
            rotary: Vec::new(),
            norm: NormConfig {
                statistic: Statistic::Variance,
                epsilon: self.epsilon,
                gain: Gain::Parameter,
                has_bias: true,
            },
            wiring: Wiring {
                norms: Norms::Before,
                is_parallel: false,
                shares_norm: false,
                adds_to_normalized: false,
                multiplier: None,
            },
            attention: AttentionConfig {
                heads: sizes.heads,
                kv_heads: sizes.heads,
                head_width,
                has_bias: false,
                has_output_bias: false,
                squared_divisor: head_width as f64,
                divides_by_layer: false,
                cap: None,
                clip: None,
                head_norm: None,
                alibi: None,
            },
            mlp: MlpConfig {
                hidden: sizes.hidden,
                is_gated: false,
                activation: Activation::Silu,
                has_bias: false,
            },
            experts: None,
            has_final_norm: true,
            output: OutputConfig {
                is_tied: keys.flag("tie_word_embeddings", self.is_tied)?,
                has_bias: false,
                transform: None,
                multiplier: None,
                cap: None,
            },
            bos_id: bos.first().copied(),
            eos_ids: keys.tokens("eos_token_id", self.eos, vocabulary)?,
        })
    }
}

impl Defaults {
    /// Reads the sizes of a model, whose MLP has its own under `hidden`, and the width of a head.
    fn sizes(&self, keys: &Keys<'_>, hidden: &str) -> Result<(Sizes, usize), FileError> {
        let width = keys.size("hidden_size", self.width)?;
        let heads = keys.size("num_attention_heads", self.heads)?;
        let head_width = share(keys, "hidden_size", width, heads)?;
        let sizes = Sizes {
            width,
            hidden: keys.size(hidden, self.hidden)?,
            layers: keys.size("num_hidden_layers", self.layers)?,
            heads,
            vocabulary: keys.size("vocab_size", self.vocabulary)?,
            positions: keys.size("max_position_embeddings", self.positions)?,
        };
        Ok((sizes, head_width))
    }
}

/// The sizes of a model.
pub(crate) struct Sizes {
    pub(crate) width: usize,
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) vocabulary: usize,
    pub(crate) positions: usize,
}

/// Returns the width of a head that is its share of the stream.
pub(crate) fn share(
    keys: &Keys<'_>,
    key: &str,
    width: usize,
    heads: usize,
) -> Result<usize, FileError> {
    match heads {
        0 => Err(FileError::malformed(
            keys.file(),
            "the number of heads",
            "at least 1",
            "0",
        )),
        _ if !width.is_multiple_of(heads) => {
            let expected = format!("a multiple of the {heads} heads");
            Err(keys.malformed(key, expected, width.to_string()))
        }
        _ => Ok(width / heads),
    }
}

/// Reads a nonlinearity.
pub(crate) fn activation(
    keys: &Keys<'_>,
    key: &str,
    default: &str,
) -> Result<Activation, FileError> {
    let name = keys
        .optional_text(key)?
        .unwrap_or_else(|| default.to_owned());
    Activation::named(&name)
        .ok_or_else(|| keys.unsupported(key, Activation::NAMES, format!("{name:?}")))
}

/// Gives the blocks of the kind `sliding_attention` a window; `kinds` are what the class says if
/// the configuration does not.
fn windows(
    keys: &Keys<'_>,
    config: &mut DecoderConfig,
    window: Option<usize>,
    kinds: impl Fn(usize) -> bool,
) -> Result<(), FileError> {
    const KEY: &str = "layer_types";
    let layers = config.blocks.len();
    let slides: Vec<bool> = match keys.optional_texts(KEY)? {
        None => (0..layers).map(kinds).collect(),
        Some(named) if named.len() == layers => {
            let slides = |kind: &String| match kind.as_str() {
                "sliding_attention" => Ok(true),
                "full_attention" => Ok(false),
                other => {
                    let expected = "sliding_attention or full_attention";
                    Err(keys.unsupported(KEY, expected, other))
                }
            };
            named.iter().map(slides).collect::<Result<_, _>>()?
        }
        Some(named) => {
            let expected = format!("one for each of the {layers} layers");
            return Err(keys.malformed(KEY, expected, named.len().to_string()));
        }
    };
    for (block, slides) in config.blocks.iter_mut().zip(slides) {
        block.window = match (slides, window) {
            (true, None) => {
                let expected = "a window, as there are layers of the kind sliding_attention";
                return Err(keys.malformed("sliding_window", expected, "none"));
            }
            (true, window) => window,
            (false, _) => None,
        };
    }
    Ok(())
}

/// Gives every block a window, if there is one. The class does not look at kinds of layers: those
/// that are named must be of this kind.
fn window_of_all(
    keys: &Keys<'_>,
    config: &mut DecoderConfig,
    window: Option<usize>,
) -> Result<(), FileError> {
    let kind = match window {
        Some(_) => "sliding_attention",
        None => "full_attention",
    };
    let named = keys.optional_texts("layer_types")?.unwrap_or_default();
    if let Some(other) = named.iter().find(|named| *named != kind) {
        let expected = format!("{kind} in all layers");
        return Err(keys.unsupported("layer_types", expected, other));
    }
    config
        .blocks
        .iter_mut()
        .for_each(|block| block.window = window);
    Ok(())
}

/// Returns the window that a class has unless the configuration says otherwise.
fn window(keys: &Keys<'_>, default: Option<usize>) -> Result<Option<usize>, FileError> {
    let given: Given<usize> = keys.given_size("sliding_window")?;
    Ok(given.or(default))
}

#[cfg(test)]
mod tests;
