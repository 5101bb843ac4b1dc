//! What comes before and after the tokens of a text, as a model's files say.
//!
//! In a GGUF file it is `tokenizer.ggml.add_bos_token` and `add_eos_token`, and if these are
//! missing the default of llama.cpp: SentencePiece begins a text with a token, and so do the word
//! splittings of Llama 3 and Tekken. In a folder it is what [`Settings`](super::settings::Settings)
//! say.

use tokenizers::PostProcessor as _;

use super::gguf::GgufValue;
use super::tokenizer::damaged;
use super::{FileError, Gguf};

/// What comes before the tokens of a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Begin {
    Nothing,
    /// What the tokenizer's post-processor adds, if it has one.
    PostProcessor,
    Token(u32),
    /// In place of the post-processor.
    Around {
        bos: Option<u32>,
        eos: Option<u32>,
    },
}

impl Begin {
    /// Returns the tokens before and after a text.
    pub(super) fn around(
        self,
        tokenizer: &tokenizers::Tokenizer,
    ) -> tokenizers::Result<[Vec<u32>; 2]> {
        Ok(match self {
            Self::Nothing => [Vec::new(), Vec::new()],
            Self::Token(id) => [vec![id], Vec::new()],
            Self::Around { bos, eos } => [Vec::from_iter(bos), Vec::from_iter(eos)],
            Self::PostProcessor => {
                let Some(processor) = tokenizer.get_post_processor() else {
                    return Ok([Vec::new(), Vec::new()]);
                };
                let text = [tokenizers::Encoding::from_tokens(
                    vec![tokenizers::Token::new(u32::MAX, String::new(), (0, 0))],
                    0,
                )];
                let all = processor.process_encodings(text.to_vec(), true)?;
                let ids: Vec<u32> = all
                    .iter()
                    .flat_map(|part| part.get_ids().to_vec())
                    .collect();
                let (before, after) = ids.split_at(
                    ids.iter()
                        .position(|&id| id == u32::MAX)
                        .unwrap_or(ids.len()),
                );
                [before.to_vec(), after.iter().skip(1).copied().collect()]
            }
        })
    }

    /// Reads the keys of a GGUF file. If they do not say, a text begins with a token if it
    /// `begins`, and `ids` are the tokens that would begin and end it.
    pub(super) fn from_gguf(
        gguf: &Gguf,
        begins: bool,
        ids: [Option<u32>; 2],
    ) -> Result<Self, FileError> {
        let [bos, eos] = ids;
        let bos = special(gguf, "bos", begins, bos)?;
        let eos = special(gguf, "eos", false, eos)?;
        Ok(match (bos, eos) {
            (None, None) => Self::Nothing,
            (Some(bos), None) => Self::Token(bos),
            (bos, eos) => Self::Around { bos, eos },
        })
    }
}

/// Returns the token that a GGUF file says is added to a text.
fn special(
    gguf: &Gguf,
    name: &str,
    is_added: bool,
    default: Option<u32>,
) -> Result<Option<u32>, FileError> {
    let key = format!("tokenizer.ggml.add_{name}_token");
    let asked = gguf.optional(&key, "true or false", GgufValue::as_bool)?;
    let key = format!("tokenizer.ggml.{name}_token_id");
    let id = gguf.optional(&key, "a token", |value| {
        value.as_u64().and_then(|id| u32::try_from(id).ok())
    })?;
    let count = gguf.texts("tokenizer.ggml.tokens")?.len();
    let is_token = |id: &u32| (*id as usize) < count;
    match (asked.unwrap_or(is_added), id.or(default.filter(is_token))) {
        (true, Some(id)) if is_token(&id) => Ok(Some(id)),
        (true, found) if asked.is_some() || found.is_some() => {
            let expected = format!("`{key}` to be one of {count} tokens");
            let found = found.map_or("none".to_owned(), |id| id.to_string());
            Err(damaged(gguf.name(), &expected, found))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::gguf::GgufArray;
    use super::super::test_files::{GgufFile, strings};
    use super::*;

    #[test]
    fn gguf_keys_say_whether_and_which() {
        let file = |add: Option<bool>, id: Option<u32>| {
            let tokens = GgufArray::String(strings(&["a", "b"]));
            let mut file = GgufFile::new().with("tokenizer.ggml.tokens", GgufValue::Array(tokens));
            if let Some(add) = add {
                file = file.with("tokenizer.ggml.add_bos_token", GgufValue::Bool(add));
            }
            if let Some(id) = id {
                file = file.with("tokenizer.ggml.bos_token_id", GgufValue::U32(id));
            }
            file.open()
        };
        for (add, id, default, expected) in [
            (None, Some(1), false, Begin::Nothing),
            (None, Some(1), true, Begin::Token(1)),
            (None, None, true, Begin::Nothing),
            (Some(false), Some(1), true, Begin::Nothing),
            (Some(true), Some(1), false, Begin::Token(1)),
        ] {
            let begin = Begin::from_gguf(&file(add, id), default, [None; 2]).unwrap();
            assert_eq!(begin, expected, "{add:?} {id:?} {default}");
        }
        let messages =
            [(Some(true), None), (Some(true), Some(2)), (None, Some(9))].map(|(add, id)| {
                let error = Begin::from_gguf(&file(add, id), true, [None; 2]).unwrap_err();
                assert_eq!(error.code(), "E047");
                error.to_string()
            });
        insta::assert_snapshot!(messages.join("\n"), @r"
        expected `tokenizer.ggml.bos_token_id` to be one of 2 tokens, found none (in tiny.gguf); fetch the file again
        expected `tokenizer.ggml.bos_token_id` to be one of 2 tokens, found 2 (in tiny.gguf); fetch the file again
        expected `tokenizer.ggml.bos_token_id` to be one of 2 tokens, found 9 (in tiny.gguf); fetch the file again
        ");
    }
}
