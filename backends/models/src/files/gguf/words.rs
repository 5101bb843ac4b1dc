//! How a text is cut into words before merges apply, which a GGUF file only names
//! (`tokenizer.ggml.pre`).
//!
//! The names and what they mean are those of llama.cpp (`llama-vocab.cpp`). Where it has adapted
//! the expression of a model's own `tokenizer.json`, the original is taken, which cuts in the same
//! way or better: at a run of spaces in front of a digit, for example.

use tokenizers::SplitDelimiterBehavior;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};

/// A way to cut, with all its names.
pub(super) struct Words {
    names: &'static [&'static str],
    cut: Cut,
    /// Whether a word that is a token is not cut further, whatever the merges say.
    pub(super) keeps_words: bool,
    /// Whether a text begins with a token of its own if the file does not say.
    pub(super) begins: bool,
}

/// What cuts.
enum Cut {
    /// The expression of GPT-2.
    Gpt2,
    /// Each digit by itself, and then the expression of GPT-2.
    Digits,
    /// Expressions, each of which cuts what those before it leave.
    Expressions(&'static [&'static str]),
}

const WORDS: &[Words] = &[
    Words::plain(
        &["default"],
        Cut::Expressions(&[PUNCTUATION, GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]),
    ),
    Words::plain(
        &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "gigachat",
            "exaone4",
            "mellum",
            "a.x-4.0",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
        ],
        Cut::Gpt2,
    ),
    Words::plain(
        &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        Cut::Digits,
    ),
    Words {
        keeps_words: true,
        begins: true,
        ..Words::plain(
            &[
                "llama-bpe",
                "llama3",
                "llama-v3",
                "falcon3",
                "falcon-h1",
                "pixtral",
                "midm-2.0",
                "lfm2",
            ],
            Cut::Expressions(&[LLAMA_3]),
        )
    },
    Words::plain(
        &["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"],
        Cut::Expressions(&[LLAMA_3]),
    ),
    Words::plain(
        &[
            "qwen2",
            "deepseek-r1-qwen",
            "stablelm2",
            "megrez",
            "hunyuan",
            "solar-open",
            "grok-2",
            "kormo",
        ],
        Cut::Expressions(&[QWEN_2]),
    ),
    Words::plain(&["qwen35"], Cut::Expressions(&[QWEN_35])),
    Words {
        keeps_words: true,
        begins: true,
        ..Words::plain(&["tekken"], Cut::Expressions(&[TEKKEN]))
    },
    Words::plain(
        &["gpt-4o", "llama4", "kanana2"],
        Cut::Expressions(&[GPT_4O]),
    ),
    Words::plain(
        &["falcon"],
        Cut::Expressions(&[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"]),
    ),
    Words::plain(
        &["bloom", "poro-chat", "gpt3-finnish"],
        Cut::Expressions(&[BLOOM]),
    ),
    Words::plain(&["viking"], Cut::Expressions(&[BLOOM, r"\p{N}"])),
    Words::plain(&["seed-coder"], Cut::Expressions(&[SEED_CODER])),
    Words::plain(
        &["deepseek-coder"],
        Cut::Expressions(&[
            r"[\r\n]",
            r"\s?\p{L}+",
            r"\s?\p{P}+",
            "[一-龥ࠀ-一가-퟿]+",
            r"\p{N}",
        ]),
    ),
    Words::plain(
        &["deepseek-v3", "hunyuan-dense", "joyai-llm"],
        Cut::Expressions(&[r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK_V3]),
    ),
];

const PUNCTUATION: &str = r"[\p{P}\$\+<=>\^~\|]+";
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT_4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
const SEED_CODER: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK_V3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;

impl Words {
    const fn plain(names: &'static [&'static str], cut: Cut) -> Self {
        Self {
            names,
            cut,
            keeps_words: false,
            begins: false,
        }
    }

    /// Returns the way with this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        WORDS.iter().find(|words| words.names.contains(&name))
    }

    /// Returns a name of each, in the order in which messages name them.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        WORDS
            .iter()
            .filter_map(|words| words.names.first())
            .copied()
    }

    pub(super) fn pre_tokenizer(&self) -> tokenizers::Result<PreTokenizerWrapper> {
        let bytes = |use_regex| PreTokenizerWrapper::from(ByteLevel::new(false, true, use_regex));
        let mut steps = Vec::new();
        match &self.cut {
            Cut::Gpt2 => steps.push(bytes(true)),
            Cut::Digits => steps.extend([Digits::new(true).into(), bytes(true)]),
            Cut::Expressions(expressions) => {
                for expression in *expressions {
                    let pattern = SplitPattern::Regex((*expression).to_owned());
                    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?;
                    steps.push(split.into());
                }
                steps.push(bytes(false));
            }
        }
        Ok(Sequence::new(steps).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_there_once_and_can_be_used() {
        let names = WORDS.iter().flat_map(|words| words.names);
        let mut names: Vec<&str> = names.copied().collect();
        for name in &names {
            Words::named(name).unwrap().pre_tokenizer().unwrap();
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
