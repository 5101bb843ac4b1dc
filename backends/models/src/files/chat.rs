//! Chats as text, by the templates that models come with.
//!
//! A template is one of Jinja, and is rendered as the Python library transformers does it: blocks
//! take their line with them, `raise_exception` fails, `tojson` writes as Python does, and tokens
//! with a role (`bos_token` and so on) are variables. It is `chat_template.jinja` of a folder, or
//! else `chat_template` of `tokenizer_config.json`, a text or a list of named ones, of which
//! `default` is meant; in a GGUF file `tokenizer.chat_template`.
//!
//! There is no `strftime_now`, which is today's date: templates that look whether there is one have
//! a date of their own, and others are refused, because a prompt would be another one every day.

use std::collections::BTreeMap;
use std::path::Path;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use serde_json::Value as Json;

use super::gguf::GgufValue;
use super::input::read_text;
use super::settings::{SETTINGS_FILE, Settings, object_at};
use super::source::TOKENIZER_FILE;
use super::{FileError, Gguf};

/// The file with a folder's template.
pub(super) const TEMPLATE_FILE: &str = "chat_template.jinja";
const TEMPLATE_BYTES_MAX: u64 = 1 << 20;
const KEY: &str = "chat_template";
/// The name of the template that is meant where there are several.
const DEFAULT: &str = "default";

/// What helps whatever is wrong with a template.
const WRITE_IT: &str = "write the text of the chat as a `prompt`";

/// How many steps a template may take.
const FUEL: u64 = 10_000_000;
/// How deep values may be nested that are written as JSON.
const DEPTH_MAX: usize = 64;

/// A message of a chat.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChatMessage {
    /// Whose it is, such as `user`.
    pub role: String,
    /// Its text.
    pub content: String,
}

impl ChatMessage {
    fn to_value(&self) -> Value {
        let parts = [("role", &self.role), ("content", &self.content)];
        let parts = parts.map(|(name, text)| (name, Value::from(text.as_str())));
        Value::from_pairs(parts)
    }
}

/// The template of a model's chats.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    /// What messages call it.
    file: String,
    /// The template, or why there is none that is meant.
    source: Result<String, String>,
    /// The texts of the tokens that have a role, by the role.
    tokens: BTreeMap<String, String>,
}

impl ChatTemplate {
    /// Finds the template of a folder; nothing if it has none.
    pub(super) fn of_folder(folder: &Path) -> Result<Option<Self>, FileError> {
        let settings = Settings::beside(&folder.join(TOKENIZER_FILE))?;
        let own = folder.join(TEMPLATE_FILE);
        let (file, source) = if own.exists() {
            let source = read_text(&own, TEMPLATE_BYTES_MAX)?;
            (own.display().to_string(), Some(Ok(source)))
        } else {
            let path = folder.join(SETTINGS_FILE);
            let file = path.display().to_string();
            let settings = object_at(&path)?.unwrap_or_default();
            let source = settings.get(KEY).filter(|value| !value.is_null());
            (file, source.map(of_settings))
        };
        let tokens = settings
            .roles()
            .map(|(role, token)| (role.to_owned(), token.to_owned()));
        let tokens = tokens.collect();
        Ok(source.map(|source| Self {
            file,
            source,
            tokens,
        }))
    }

    /// Finds the template of a GGUF file; nothing if it has none.
    pub(super) fn of_gguf(gguf: &Gguf) -> Result<Option<Self>, FileError> {
        let source = gguf.optional("tokenizer.chat_template", "a text", GgufValue::as_str)?;
        let texts = gguf.texts("tokenizer.ggml.tokens").unwrap_or_default();
        let mut tokens = BTreeMap::new();
        for role in [
            "bos",
            "eos",
            "unknown",
            "separator",
            "padding",
            "cls",
            "mask",
        ] {
            let key = format!("tokenizer.ggml.{role}_token_id");
            let id = gguf.optional(&key, "a token", GgufValue::as_u64)?;
            let token = id.and_then(|id| texts.get(usize::try_from(id).ok()?));
            let role = match role {
                "unknown" => "unk",
                "separator" => "sep",
                "padding" => "pad",
                role => role,
            };
            tokens.extend(token.map(|token| (format!("{role}_token"), token.clone())));
        }
        Ok(source.map(|source| Self {
            file: format!("`tokenizer.chat_template` of {}", gguf.name()),
            source: Ok(source.to_owned()),
            tokens,
        }))
    }

    /// Returns messages as the text that the model was trained to see; `opens_answer` begins the
    /// answer of the model (`add_generation_prompt`).
    ///
    /// # Errors
    ///
    /// E147 with the line of the template that fails.
    pub fn render(
        &self,
        messages: &[ChatMessage],
        opens_answer: bool,
    ) -> Result<String, FileError> {
        let source = match &self.source {
            Ok(source) => without_generation_blocks(source),
            Err(found) => return Err(self.refuse(None, found.clone(), WRITE_IT)),
        };
        let environment = environment();
        let rendered = environment.template_from_str(&source).and_then(|template| {
            let messages: Value = messages.iter().map(ChatMessage::to_value).collect();
            let tokens = self.tokens.iter();
            let tokens = tokens.map(|(role, token)| (role.as_str(), Value::from(token.as_str())));
            let own = [
                ("messages", messages),
                ("add_generation_prompt", Value::from(opens_answer)),
            ];
            template.render(Value::from_pairs(own.into_iter().chain(tokens)))
        });
        rendered.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &minijinja::Error) -> FileError {
        let asks_for_date = error.kind() == ErrorKind::UnknownFunction
            && error
                .detail()
                .is_some_and(|detail| detail.contains("strftime_now"));
        let (found, advice) = if asks_for_date {
            let found = "that it asks for today's date (`strftime_now`), with which a prompt would be another one every day";
            (found.to_owned(), WRITE_IT)
        } else {
            let kind = error.kind().to_string();
            let detail = error.detail().map(str::to_owned);
            let advice = match error.kind() {
                ErrorKind::InvalidOperation => {
                    "give the roles and contents that the template takes"
                }
                _ => WRITE_IT,
            };
            (detail.unwrap_or(kind), advice)
        };
        self.refuse(error.line(), found, advice)
    }

    fn refuse(&self, line: Option<usize>, found: String, advice: &str) -> FileError {
        FileError::Chat {
            file: self.file.clone(),
            line,
            found,
            advice: advice.to_owned(),
        }
    }
}

/// Returns the template that settings have: a text, or of several the default one.
fn of_settings(value: &Json) -> Result<String, String> {
    let text = |value: &Json| value.as_str().map(str::to_owned);
    let (named, names): (Option<String>, Vec<String>) = match value {
        Json::String(source) => return Ok(source.clone()),
        Json::Array(several) => {
            let name = |one: &Json| text(&one["name"]);
            let is_default = |one: &&Json| one["name"].as_str() == Some(DEFAULT);
            let default = several.iter().find(is_default);
            let default = default.and_then(|one| text(&one["template"]));
            (default, several.iter().filter_map(name).collect())
        }
        Json::Object(several) => {
            let default = several.get(DEFAULT).and_then(text);
            (default, several.keys().cloned().collect())
        }
        _ => (None, Vec::new()),
    };
    named.ok_or_else(|| format!("no template of the name `{DEFAULT}` among {names:?}"))
}

/// Returns what renders as transformers does.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let mut syntax = environment.syntax().to_builder();
    if let Ok(syntax) = syntax.trim_blocks(true).lstrip_blocks(true).build() {
        environment.set_syntax(syntax);
    }
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", raise_exception);
    environment.add_filter("tojson", to_json);
    environment
}

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

/// Writes a value as `json.dumps` of Python does, without escapes for what is not ASCII.
fn to_json(value: &Value, options: Kwargs) -> Result<Value, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    // It says what is done anyway.
    let _ensure_ascii: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let mut text = String::new();
    JsonWriter { indent }.write(value, 0, &mut text)?;
    Ok(Value::from(text))
}

/// Writes values in the layout of Python.
struct JsonWriter {
    indent: Option<usize>,
}

impl JsonWriter {
    fn write(
        &self,
        value: &Value,
        depth: usize,
        text: &mut String,
    ) -> Result<(), minijinja::Error> {
        match value.kind() {
            ValueKind::Map => self.items(value, true, depth, text)?,
            ValueKind::Seq | ValueKind::Iterable => self.items(value, false, depth, text)?,
            ValueKind::None | ValueKind::Undefined => text.push_str("null"),
            ValueKind::Bool if value.is_true() => text.push_str("true"),
            ValueKind::Bool => text.push_str("false"),
            ValueKind::Number => text.push_str(&value.to_string()),
            _ => text.push_str(&quoted(value)),
        }
        Ok(())
    }

    fn items(
        &self,
        value: &Value,
        is_map: bool,
        depth: usize,
        text: &mut String,
    ) -> Result<(), minijinja::Error> {
        if depth == DEPTH_MAX {
            let reason = format!("a value nested deeper than {DEPTH_MAX}");
            return Err(minijinja::Error::new(ErrorKind::InvalidOperation, reason));
        }
        let (open, close) = if is_map { ('{', '}') } else { ('[', ']') };
        text.push(open);
        let mut is_empty = true;
        for item in value.try_iter()? {
            if !is_empty {
                text.push_str(self.indent.map_or(", ", |_| ","));
            }
            is_empty = false;
            self.line(depth + 1, text);
            if is_map {
                text.push_str(&quoted(&item));
                text.push_str(": ");
                self.write(&value.get_item(&item)?, depth + 1, text)?;
            } else {
                self.write(&item, depth + 1, text)?;
            }
        }
        if !is_empty {
            self.line(depth, text);
        }
        text.push(close);
        Ok(())
    }

    fn line(&self, depth: usize, text: &mut String) {
        if let Some(indent) = self.indent {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }
}

/// Writes a value as a text of JSON.
fn quoted(value: &Value) -> String {
    Json::from(value.to_string()).to_string()
}

/// Makes plain blocks of those that say which tokens the model has generated, which is for
/// training.
fn without_generation_blocks(source: &str) -> String {
    let mut plain = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else {
            break;
        };
        let inner = &rest[start + 2..start + length];
        plain.push_str(&rest[..start + 2]);
        let word = inner.trim_matches(|c: char| c.is_whitespace() || matches!(c, '-' | '+'));
        match word {
            "generation" => plain.push_str(&inner.replace(word, "if true")),
            "endgeneration" => plain.push_str(&inner.replace(word, "endif")),
            _ => plain.push_str(inner),
        }
        rest = &rest[start + length..];
    }
    plain + rest
}

#[cfg(test)]
#[path = "chat_tests.rs"]
mod tests;
