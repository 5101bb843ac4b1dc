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

use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use serde_json::Value as Json;

use super::gguf::GgufValue;
use super::input::read_text;
use super::python;
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

/// A value that a template sees; the keys of a map are in the order in which they were written.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "they are what they are called")]
pub enum ChatValue {
    None,
    Truth(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Self>),
    Map(ChatMap),
}

/// Values by their names, in the order in which they were written.
pub type ChatMap = Vec<(String, ChatValue)>;

impl ChatValue {
    fn to_value(&self) -> Value {
        match self {
            Self::None => Value::from(()),
            Self::Truth(truth) => Value::from(*truth),
            Self::Integer(number) => Value::from(*number),
            Self::Float(number) => Value::from(*number),
            Self::Text(text) => Value::from(text.as_str()),
            Self::List(items) => items.iter().map(Self::to_value).collect(),
            Self::Map(entries) => to_map(entries),
        }
    }
}

fn to_map(entries: &[(String, ChatValue)]) -> Value {
    let entries = entries.iter();
    Value::from_pairs(entries.map(|(name, value)| (name.as_str(), value.to_value())))
}

/// A message of a chat: its `role`, its `content`, and whatever else the template looks for.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatMessage(ChatMap);

/// What messages call the thoughts before an answer, which are given to templates under the first
/// two of these names.
const THOUGHTS: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

impl ChatMessage {
    /// Makes a message with a text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        let text = |text: String| ChatValue::Text(text);
        Self(vec![
            ("role".to_owned(), text(role.into())),
            ("content".to_owned(), text(content.into())),
        ])
    }

    /// Makes a message of its keys.
    pub const fn of(keys: ChatMap) -> Self {
        Self(keys)
    }

    /// Returns its keys.
    pub fn keys(&self) -> &[(String, ChatValue)] {
        &self.0
    }

    /// Returns whose it is, such as `user`.
    pub fn role(&self) -> &str {
        match self.get("role") {
            Some(ChatValue::Text(role)) => role,
            _ => "",
        }
    }

    fn get(&self, key: &str) -> Option<&ChatValue> {
        let found = self.0.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value)
    }

    /// Returns the message as templates see it.
    fn to_value(&self) -> Value {
        let Some(thoughts) = THOUGHTS.iter().find_map(|key| self.get(key)) else {
            return to_map(&self.0);
        };
        let [first, second, _] = THOUGHTS;
        let mut keys = self.0.clone();
        if self.get(second).is_none() {
            keys.insert(0, (second.to_owned(), thoughts.clone()));
        }
        match keys.iter_mut().find(|(name, _)| name == first) {
            Some((_, value)) => *value = thoughts.clone(),
            None => keys.push((first.to_owned(), thoughts.clone())),
        }
        to_map(&keys)
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
    /// answer of the model (`add_generation_prompt`), and `with` is what else the template sees,
    /// such as `tools`.
    ///
    /// # Errors
    ///
    /// E147 with the line of the template that fails.
    pub fn render(
        &self,
        messages: &[ChatMessage],
        opens_answer: bool,
        with: &[(String, ChatValue)],
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
                ("tools", Value::from(())),
                ("documents", Value::from(())),
            ];
            let with = with.iter();
            let with = with.map(|(name, value)| (name.as_str(), value.to_value()));
            template.render(Value::from_pairs(own.into_iter().chain(tokens).chain(with)))
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
    environment.add_function("raise_exception", raise_exception);
    python::add_to(&mut environment);
    environment
}

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
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
