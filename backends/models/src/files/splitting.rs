//! What classes of tokenizers set anew of how a text is split, by the rules of the Python library
//! transformers.
//!
//! Some classes take from their settings what `tokenizer.json` says as well: whether a
//! space is put in front of a text, and for BERT whether it is made lower case. For all other
//! classes these keys mean nothing. `split_special_tokens` counts for every class.

use tokenizers::normalizers::{BertNormalizer, NormalizerWrapper};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;

use super::FileError;
use super::settings::{Named, Reader};
use serde_json::{Map, Value as Json};

/// The classes that put a space in front only if their settings say so, each with the families
/// whose tokenizers are of it if nothing says otherwise.
const BYTE_LEVEL: [(&str, &[&str]); 5] = [
    (
        "GPT2Tokenizer",
        &["gpt2", "gptj", "opt", "phi", "starcoder2"],
    ),
    ("GPTNeoXTokenizer", &["gpt_neox", "olmo", "mamba"]),
    ("Qwen2Tokenizer", &["qwen2", "qwen2_moe", "qwen3"]),
    ("CohereTokenizer", &["cohere"]),
    ("CodeGenTokenizer", &[]),
];
const BERT: (&str, &[&str]) = ("BertTokenizer", &["bert"]);

/// What is set anew.
#[derive(Default)]
pub(super) struct Splitting {
    by_class: Option<ByClass>,
    /// Whether special tokens that are spelled out in a text are text.
    splits_special: bool,
}

enum ByClass {
    ByteLevel {
        adds_space: bool,
    },
    Bert {
        lowers_case: bool,
        /// Nothing if accents go with the case.
        strips_accents: Option<bool>,
        splits_chinese: bool,
    },
}

impl Splitting {
    /// Reads what settings say to the class that is named.
    pub(super) fn read(
        reader: &Reader,
        settings: &Map<String, Json>,
        named: &Named,
    ) -> Result<Self, FileError> {
        let flag = |key: &str| reader.flag(settings, key);
        let is = |(class, families): &(&str, &[&str])| named.is(class, families);
        let by_class = if BYTE_LEVEL.iter().any(is) {
            Some(ByClass::ByteLevel {
                adds_space: flag("add_prefix_space")?.unwrap_or(false),
            })
        } else if is(&BERT) {
            Some(ByClass::Bert {
                lowers_case: flag("do_lower_case")?.unwrap_or(true),
                strips_accents: flag("strip_accents")?,
                splits_chinese: flag("tokenize_chinese_chars")?.unwrap_or(true),
            })
        } else {
            None
        };
        Ok(Self {
            by_class,
            splits_special: flag("split_special_tokens")?.unwrap_or(false),
        })
    }

    /// Sets it in a tokenizer that has such parts.
    pub(super) fn set(&self, tokenizer: &mut tokenizers::Tokenizer) -> tokenizers::Result<()> {
        tokenizer.set_encode_special_tokens(self.splits_special);
        match self.by_class {
            Some(ByClass::ByteLevel { adds_space }) => {
                if let Some(mut steps) = tokenizer.get_pre_tokenizer().cloned() {
                    set_space(&mut steps, adds_space);
                    tokenizer.with_pre_tokenizer(Some(steps));
                }
            }
            Some(ByClass::Bert {
                lowers_case,
                strips_accents,
                splits_chinese,
            }) => {
                if let Some(NormalizerWrapper::BertNormalizer(old)) = tokenizer.get_normalizer() {
                    let cleans = old.clean_text;
                    let new =
                        BertNormalizer::new(cleans, splits_chinese, strips_accents, lowers_case);
                    tokenizer.with_normalizer(Some(new))?;
                }
            }
            None => {}
        }
        Ok(())
    }
}

fn set_space(step: &mut PreTokenizerWrapper, adds_space: bool) {
    match step {
        PreTokenizerWrapper::ByteLevel(bytes) => bytes.add_prefix_space = adds_space,
        PreTokenizerWrapper::Sequence(steps) => {
            for step in steps.as_mut() {
                set_space(step, adds_space);
            }
        }
        _ => {}
    }
}
