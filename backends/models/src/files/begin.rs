//! The token that begins a text, as a model's files name it.
//!
//! In a GGUF file it is `tokenizer.ggml.add_bos_token`, and if that is missing the default of
//! llama.cpp, which is yes for the word splitting of Llama 3 and no for the others that are
//! supported. In a folder it is `add_bos_token` of `tokenizer_config.json`, and if that is missing
//! the post-processor of `tokenizer.json`.

use std::path::Path;

use serde::Deserialize;

use super::gguf::GgufValue;
use super::input::read_text;
use super::tokenizer::damaged;
use super::{FileError, Gguf};

/// The file with a folder's settings of the tokenizer.
const SETTINGS_FILE: &str = "tokenizer_config.json";
const SETTINGS_BYTES_MAX: u64 = 16 << 20;

/// What comes before the tokens of a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Begin {
    Nothing,
    /// What the tokenizer's post-processor adds, if it has one.
    PostProcessor,
    Token(u32),
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

    /// Reads the settings that lie beside a `tokenizer.json`, if there are any.
    pub(super) fn beside(
        tokenizer: &Path,
        id_of: impl Fn(&str) -> Option<u32>,
    ) -> Result<Self, FileError> {
        let path = tokenizer.with_file_name(SETTINGS_FILE);
        match path.exists() {
            true => {
                let text = read_text(&path, SETTINGS_BYTES_MAX)?;
                Self::from_settings(&text, &path.display().to_string(), id_of)
            }
            false => Ok(Self::PostProcessor),
        }
    }

    fn from_settings(
        text: &str,
        file: &str,
        id_of: impl Fn(&str) -> Option<u32>,
    ) -> Result<Self, FileError> {
        let settings: Settings = serde_json::from_str(text)
            .map_err(|error| damaged(file, "a tokenizer's settings", error.to_string()))?;
        match settings.add_bos_token {
            None => Ok(Self::PostProcessor),
            Some(false) => Ok(Self::Nothing),
            Some(true) => {
                let token = settings.bos_token.map(Token::into_content);
                let id = token.as_deref().and_then(id_of);
                id.map(Self::Token).ok_or_else(|| {
                    let found = token.map_or("none".to_owned(), |token| format!("{token:?}"));
                    damaged(file, "`bos_token` to be a token of tokenizer.json", found)
                })
            }
        }
    }
}

#[derive(Deserialize)]
struct Settings {
    add_bos_token: Option<bool>,
    bos_token: Option<Token>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Token {
    Text(String),
    Added { content: String },
}

impl Token {
    fn into_content(self) -> String {
        match self {
            Self::Text(content) | Self::Added { content } => content,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::gguf::GgufArray;
    use super::super::test_files::{GgufFile, strings};
    use super::*;

    fn settings(text: &str) -> Result<Begin, FileError> {
        let id_of = |token: &str| (token == "<s>").then_some(7);
        Begin::from_settings(text, "tokenizer_config.json", id_of)
    }

    #[test]
    fn settings_say_whether_and_which() {
        for (text, expected) in [
            ("{}", Begin::PostProcessor),
            (r#"{"bos_token": "<s>"}"#, Begin::PostProcessor),
            (
                r#"{"add_bos_token": null, "bos_token": null}"#,
                Begin::PostProcessor,
            ),
            (
                r#"{"add_bos_token": false, "bos_token": "<s>"}"#,
                Begin::Nothing,
            ),
            (
                r#"{"add_bos_token": true, "bos_token": "<s>"}"#,
                Begin::Token(7),
            ),
            (
                r#"{"add_bos_token": true, "bos_token": {"content": "<s>", "lstrip": false}}"#,
                Begin::Token(7),
            ),
        ] {
            assert_eq!(settings(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn settings_that_make_no_sense_are_errors() {
        let messages = [
            r#"{"add_bos_token": true}"#,
            r#"{"add_bos_token": true, "bos_token": "<bos>"}"#,
            r#"{"add_bos_token": "yes"}"#,
            "[",
        ]
        .map(|text| {
            let error = settings(text).unwrap_err();
            assert_eq!(error.code(), "E047");
            error.to_string()
        });
        insta::assert_snapshot!(messages.join("\n"), @r#"
        expected `bos_token` to be a token of tokenizer.json, found none (in tokenizer_config.json); fetch the file again
        expected `bos_token` to be a token of tokenizer.json, found "<bos>" (in tokenizer_config.json); fetch the file again
        expected a tokenizer's settings, found invalid type: string "yes", expected a boolean at line 1 column 23 (in tokenizer_config.json); fetch the file again
        expected a tokenizer's settings, found EOF while parsing a list at line 1 column 1 (in tokenizer_config.json); fetch the file again
        "#);
    }

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
