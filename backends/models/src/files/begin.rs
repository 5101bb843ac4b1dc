//! What comes before and after the tokens of a text, as a model's files say.
//!
//! In a GGUF file it is `tokenizer.ggml.add_bos_token`, and if that is missing the default of
//! llama.cpp, which is yes for the word splitting of Llama 3 and no for the others that are
//! supported. In a folder it is what [`Settings`](super::settings::Settings) say.

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
    /// Reads the keys of a GGUF file; `default` is the answer if they do not say.
    pub(super) fn from_gguf(gguf: &Gguf, default: bool) -> Result<Self, FileError> {
        let key = "tokenizer.ggml.add_bos_token";
        let asked = gguf.optional(key, "true or false", GgufValue::as_bool)?;
        let id = gguf.optional("tokenizer.ggml.bos_token_id", "a token", |value| {
            value.as_u64().and_then(|id| u32::try_from(id).ok())
        })?;
        let count = gguf.texts("tokenizer.ggml.tokens")?.len();
        match (asked.unwrap_or(default), id) {
            (true, Some(id)) if (id as usize) < count => Ok(Self::Token(id)),
            (true, found) if asked.is_some() || found.is_some() => {
                let expected = format!("`tokenizer.ggml.bos_token_id` to be one of {count} tokens");
                let found = found.map_or("none".to_owned(), |id| id.to_string());
                Err(damaged(gguf.name(), &expected, found))
            }
            _ => Ok(Self::Nothing),
        }
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
            let begin = Begin::from_gguf(&file(add, id), default).unwrap();
            assert_eq!(begin, expected, "{add:?} {id:?} {default}");
        }
        let messages =
            [(Some(true), None), (Some(true), Some(2)), (None, Some(9))].map(|(add, id)| {
                let error = Begin::from_gguf(&file(add, id), true).unwrap_err();
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
