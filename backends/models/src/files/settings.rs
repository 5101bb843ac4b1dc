//! What the files beside a `tokenizer.json` say of it, by the rules of the Python library
//! transformers.
//!
//! - Tokens are added to those of `tokenizer.json`: `added_tokens_decoder` of
//!   `tokenizer_config.json`; if it has none, `added_tokens.json`. Then what has a role
//!   (`bos_token` and so on, then `image_token` and its like, then the list of
//!   `extra_special_tokens`, or else `additional_special_tokens`) is added if it is no added token
//!   yet. The roles are those of `tokenizer_config.json`, overruled by `special_tokens_map.json`
//!   unless there is an `added_tokens_decoder`.
//! - What comes before and after a text is the post-processor of `tokenizer.json`. Some classes
//!   make it anew, of `add_bos_token` and `add_eos_token`; for all others these keys mean nothing,
//!   and since version 5 of the library for these, too. The class is `tokenizer_class` of
//!   `tokenizer_config.json` or of `config.json`, or else that of the model's family; the version
//!   is `transformers_version` of `config.json`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value as Json};
use tokenizers::AddedToken;

use super::FileError;
use super::begin::Begin;
use super::input::read_text;
use super::source::CONFIG_FILE;
use super::splitting::Splitting;
use super::stray::{self, Content};
use super::tokenizer::damaged;

/// The file with a folder's settings of the tokenizer.
pub(super) const SETTINGS_FILE: &str = "tokenizer_config.json";
/// The file with the tokens that have a role.
pub(super) const ROLES_FILE: &str = "special_tokens_map.json";
/// The file with added tokens and their numbers.
pub(super) const ADDED_FILE: &str = "added_tokens.json";
const BYTES_MAX: u64 = 16 << 20;

const DECODER: &str = "added_tokens_decoder";

/// The roles that one token has each.
const ROLES: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];
/// The keys of lists of tokens that are special without a role of their own.
const MORE_ROLES: [&str; 2] = ["extra_special_tokens", "additional_special_tokens"];

/// A class of tokenizers that makes the post-processor anew.
struct Class {
    name: &'static str,
    /// Whether a text begins with a token if `add_bos_token` does not say.
    begins: bool,
    /// Whether every version makes it anew, whatever the settings say.
    always: bool,
    bos: &'static str,
    eos: &'static str,
    /// The families whose tokenizers are of this class if nothing says otherwise.
    families: &'static [&'static str],
}

const CLASSES: &[Class] = &[
    Class {
        name: "LlamaTokenizer",
        begins: true,
        always: false,
        bos: "<s>",
        eos: "</s>",
        families: &["llama", "mistral", "mixtral", "phi3"],
    },
    Class {
        name: "CodeLlamaTokenizer",
        begins: true,
        always: true,
        bos: "<s>",
        eos: "</s>",
        families: &[],
    },
    Class {
        name: "GemmaTokenizer",
        begins: true,
        always: false,
        bos: "<bos>",
        eos: "<eos>",
        families: &["gemma", "gemma2", "gemma3", "gemma3_text"],
    },
    Class {
        name: "CohereTokenizer",
        begins: true,
        always: false,
        bos: "<BOS_TOKEN>",
        eos: "<|END_OF_TURN_TOKEN|>",
        families: &["cohere"],
    },
    Class {
        name: "GPTNeoXTokenizer",
        begins: false,
        always: true,
        bos: "<|endoftext|>",
        eos: "<|endoftext|>",
        families: &["gpt_neox", "stablelm", "olmo", "mamba"],
    },
];

/// The version of the library that made a model's files.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Maker {
    /// Version 4 or one before it.
    Four,
    /// Version 5 or a later one, which does not write `add_bos_token`, nor look at it.
    Five,
    #[default]
    Unknown,
}

impl Maker {
    fn read(model: &Map<String, Json>) -> Self {
        let version = model.get("transformers_version").and_then(Json::as_str);
        let major = version.and_then(|version| version.split('.').next()?.parse::<u32>().ok());
        match major {
            Some(..5) => Self::Four,
            Some(_) => Self::Five,
            None => Self::Unknown,
        }
    }
}

/// What the files beside a `tokenizer.json` say.
#[derive(Default)]
pub(super) struct Settings {
    /// The file that messages name.
    file: String,
    /// The class, as far as it makes the post-processor anew.
    class: Option<&'static Class>,
    /// Whether the files name the class.
    is_named: bool,
    maker: Maker,
    begins: Option<bool>,
    ends: Option<bool>,
    /// The roles with their tokens, in the order in which these are added.
    roles: Vec<(&'static str, AddedToken)>,
    /// Special tokens without a role of their own.
    special: Vec<AddedToken>,
    /// Tokens by their numbers.
    added: BTreeMap<u32, AddedToken>,
    splitting: Splitting,
}

impl Settings {
    /// Reads the files beside a `tokenizer.json`, those that are there.
    pub(super) fn beside(tokenizer: &Path) -> Result<Self, FileError> {
        let path = tokenizer.with_file_name(SETTINGS_FILE);
        let reader = Reader {
            file: path.display().to_string(),
        };
        let settings = object_at(&path)?.unwrap_or_default();
        let model = object_at(&tokenizer.with_file_name(CONFIG_FILE))?.unwrap_or_default();
        let mut all = settings.clone();
        let mut overruling = Map::new();
        let mut added = reader.decoder(&settings)?;
        if !settings.contains_key(DECODER) {
            overruling = object_at(&tokenizer.with_file_name(ROLES_FILE))?.unwrap_or_default();
            all.extend(overruling.clone());
            added = added_by_name(&tokenizer.with_file_name(ADDED_FILE), &all)?;
        }
        let mut roles = Vec::new();
        for role in ROLES {
            if let Some(token) = all.get(role).filter(|token| !token.is_null()) {
                roles.push((role, reader.token(role, token, true)?));
            }
        }
        let named = Named::read(&settings, &model);
        Ok(Self {
            class: CLASSES
                .iter()
                .find(|known| named.is(known.name, known.families)),
            is_named: matches!(named, Named::Class(_)),
            maker: Maker::read(&model),
            splitting: Splitting::read(&reader, &settings, &named)?,
            begins: reader.flag(&settings, "add_bos_token")?,
            ends: reader.flag(&settings, "add_eos_token")?,
            special: reader.special(&settings, &overruling)?,
            file: reader.file,
            roles,
            added,
        })
    }

    /// Returns the token that has a role such as `bos_token`.
    pub(super) fn role(&self, role: &str) -> Option<&str> {
        self.roles()
            .find(|(known, _)| *known == role)
            .map(|(_, token)| token)
    }

    /// Returns the roles, each with the text of its token.
    pub(super) fn roles(&self) -> impl Iterator<Item = (&str, &str)> {
        let roles = self.roles.iter();
        roles.map(|(role, token)| (*role, token.content.as_str()))
    }

    /// Adds what is not in a `tokenizer.json` to its tokens, and checks that it has the numbers
    /// that the files say.
    pub(super) fn add_to(&self, tokenizer: &mut tokenizers::Tokenizer) -> Result<(), FileError> {
        let fault = |error: tokenizers::Error| {
            damaged(&self.file, "tokens that can be added", error.to_string())
        };
        let added = self.added.values().cloned();
        tokenizer.add_tokens(added).map_err(fault)?;
        let with_role = self.roles.iter().map(|(_, token)| token);
        for token in with_role.chain(&self.special) {
            let vocabulary = tokenizer.get_added_vocabulary().get_vocab();
            if !vocabulary.contains_key(&token.content) {
                tokenizer.add_tokens([token.clone()]).map_err(fault)?;
            }
        }
        let other = self.added.iter().find_map(|(&id, token)| {
            let found = tokenizer.token_to_id(&token.content);
            (!token.content.is_empty() && found != Some(id)).then_some((id, token, found))
        });
        match other {
            None => Ok(()),
            Some((id, token, found)) => {
                let expected = format!("{:?} to be token {id}, as this file says", token.content);
                let found = found.map_or("none".to_owned(), |found| {
                    format!("that tokenizer.json makes it {found}")
                });
                Err(self.disagreement(expected, found))
            }
        }
    }

    fn disagreement(&self, expected: String, found: String) -> FileError {
        FileError::Tokenizer {
            file: self.file.clone(),
            expected,
            found,
            advice: "the files are not of one tokenizer: fetch them again, all together".to_owned(),
        }
    }

    /// Sets what the class sets anew of how a text is split.
    pub(super) fn set_splitting(
        &self,
        tokenizer: &mut tokenizers::Tokenizer,
    ) -> Result<(), FileError> {
        let set = self.splitting.set(tokenizer);
        set.map_err(|error| damaged(&self.file, "settings that fit", error.to_string()))
    }

    /// Returns what comes before and after a text, by the rule of the version that made the files.
    pub(super) fn begin(&self, id_of: impl Fn(&str) -> Option<u32>) -> Result<Begin, FileError> {
        self.begin_of(self.maker, id_of)
    }

    /// Says how a text would begin and end in version 5, if that is otherwise than here.
    pub(super) fn note(
        &self,
        tokenizer: &tokenizers::Tokenizer,
        begin: Begin,
    ) -> Result<Option<String>, FileError> {
        let newer = self.begin_of(Maker::Five, |token| tokenizer.token_to_id(token))?;
        let reads = |begin: Begin| -> Result<String, FileError> {
            let around = begin.around(tokenizer).map_err(|error| {
                damaged(&self.file, "a post-processor that works", error.to_string())
            })?;
            let name = |id: u32| tokenizer.id_to_token(id).unwrap_or_default();
            let [before, after] = around.map(|ids| ids.into_iter().map(name).collect::<String>());
            Ok(format!("`{before}TEXT{after}`"))
        };
        let (here, there) = (reads(begin)?, reads(newer)?);
        Ok((here != there).then(|| {
            format!(
                "a text becomes {here}, as {} says by the rule of transformers 4; transformers 5 looks at tokenizer.json \
                 alone, and makes {there} of it",
                self.file
            )
        }))
    }

    fn begin_of(
        &self,
        maker: Maker,
        id_of: impl Fn(&str) -> Option<u32>,
    ) -> Result<Begin, FileError> {
        let Some(class) = self.class else {
            return Ok(Begin::PostProcessor);
        };
        let said = |flag: Option<bool>| flag.filter(|_| maker != Maker::Five);
        let (begins, ends) = (said(self.begins), said(self.ends));
        let bos = self.role("bos_token").unwrap_or(class.bos);
        let by_default = maker == Maker::Four && self.is_named && id_of(bos).is_some();
        if begins.or(ends).is_none() && !by_default && !class.always {
            return Ok(Begin::PostProcessor);
        }
        let token = |role: &str, token: &str| {
            id_of(token).ok_or_else(|| {
                let expected = format!("`{role}` to be a token of tokenizer.json");
                self.disagreement(expected, format!("{token:?}, which is none"))
            })
        };
        let begins = begins.unwrap_or(class.begins);
        let bos = begins.then(|| token("bos_token", bos)).transpose()?;
        let eos = self.role("eos_token").unwrap_or(class.eos);
        let ends = ends.unwrap_or(false);
        let eos = ends.then(|| token("eos_token", eos)).transpose()?;
        Ok(Begin::Around { bos, eos })
    }
}

/// What says of which class a tokenizer is.
pub(super) enum Named {
    /// The class, without `Fast` behind it.
    Class(String),
    /// The family of the model, if nothing names a class.
    Family(String),
    Nothing,
}

impl Named {
    fn read(settings: &Map<String, Json>, model: &Map<String, Json>) -> Self {
        const KEY: &str = "tokenizer_class";
        let text = |map: &Map<String, Json>, key: &str| map.get(key)?.as_str().map(str::to_owned);
        if let Some(class) = text(settings, KEY).or_else(|| text(model, KEY)) {
            let class = class.strip_suffix("Fast").unwrap_or(&class);
            Self::Class(class.to_owned())
        } else {
            text(model, "model_type").map_or(Self::Nothing, Self::Family)
        }
    }

    /// Returns whether it is a class, which is that of some families if nothing names one.
    pub(super) fn is(&self, class: &str, families: &[&str]) -> bool {
        match self {
            Self::Class(named) => named == class,
            Self::Family(family) => families.contains(&family.as_str()),
            Self::Nothing => false,
        }
    }
}

/// Reads an object of JSON; nothing if there is no such file.
pub(super) fn object_at(path: &Path) -> Result<Option<Map<String, Json>>, FileError> {
    if !path.exists() {
        return Ok(None);
    }
    stray::check(path, Content::Json)?;
    let text = read_text(path, BYTES_MAX)?;
    let read = serde_json::from_str(&text);
    read.map(Some).map_err(|error| {
        let file = path.display().to_string();
        damaged(&file, "an object of settings", error.to_string())
    })
}

/// Reads tokens with their numbers, which are special if they have a role.
fn added_by_name(
    path: &Path,
    settings: &Map<String, Json>,
) -> Result<BTreeMap<u32, AddedToken>, FileError> {
    let reader = Reader {
        file: path.display().to_string(),
    };
    let mut special = Vec::new();
    for key in ROLES.iter().chain(&MORE_ROLES) {
        special.extend(reader.tokens(key, settings.get(*key))?);
    }
    let is_special = |content: &str| special.iter().any(|token| token.content == content);
    let mut added = BTreeMap::new();
    for (content, id) in object_at(path)?.unwrap_or_default() {
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
        let id = id.ok_or_else(|| {
            damaged(
                &reader.file,
                "a number for each token",
                format!("none for {content:?}"),
            )
        })?;
        let is_special = is_special(&content);
        added.insert(id, AddedToken::from(content, is_special));
    }
    Ok(added)
}

/// Reads the values of a file.
pub(super) struct Reader {
    file: String,
}

impl Reader {
    pub(super) fn flag(
        &self,
        settings: &Map<String, Json>,
        key: &str,
    ) -> Result<Option<bool>, FileError> {
        match settings.get(key) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.unlike(key, "true or false", other)),
        }
    }

    fn decoder(
        &self,
        settings: &Map<String, Json>,
    ) -> Result<BTreeMap<u32, AddedToken>, FileError> {
        let tokens = match settings.get(DECODER) {
            None | Some(Json::Null) => return Ok(BTreeMap::new()),
            Some(Json::Object(tokens)) => tokens.iter(),
            Some(other) => return Err(self.unlike(DECODER, "tokens by their numbers", other)),
        };
        let token = |(id, token): (&String, &Json)| {
            let found =
                || self.unlike(DECODER, "tokens by their numbers", &Json::from(id.as_str()));
            let id = id.parse().map_err(|_| found())?;
            Ok((id, self.token(DECODER, token, false)?))
        };
        tokens.map(token).collect()
    }

    /// Reads the tokens that are special without a role of their own: those of keys such as
    /// `image_token` or of an object, and those of the first list there is.
    fn special(
        &self,
        settings: &Map<String, Json>,
        overruling: &Map<String, Json>,
    ) -> Result<Vec<AddedToken>, FileError> {
        let mut special = Vec::new();
        for (key, value) in settings {
            let is_role = ROLES.contains(&key.as_str());
            if key.ends_with("_token") && value.is_string() && !is_role {
                special.push(self.token(key, value, true)?);
            }
        }
        let mut listed = Vec::new();
        for (file, key) in [settings, overruling]
            .into_iter()
            .flat_map(|file| MORE_ROLES.map(|key| (file, key)))
        {
            let tokens = self.tokens(key, file.get(key))?;
            if file.get(key).is_some_and(Json::is_object) {
                special.extend(tokens);
            } else if listed.is_empty() {
                listed = tokens;
            }
        }
        special.extend(listed);
        Ok(special)
    }

    /// Reads a token, a list of tokens, or an object whose values are tokens; all are special.
    fn tokens(&self, key: &str, value: Option<&Json>) -> Result<Vec<AddedToken>, FileError> {
        let token = |value: &Json| self.token(key, value, true);
        match value {
            None | Some(Json::Null) => Ok(Vec::new()),
            Some(Json::Array(tokens)) => tokens.iter().map(token).collect(),
            Some(Json::Object(tokens)) if !tokens.contains_key("content") => {
                tokens.values().map(token).collect()
            }
            Some(value) => Ok(vec![token(value)?]),
        }
    }

    /// Reads a token: its text, or an object that says how it is found as well.
    fn token(&self, key: &str, value: &Json, is_special: bool) -> Result<AddedToken, FileError> {
        let flag = |name: &str, default: bool| value[name].as_bool().unwrap_or(default);
        let content = value.as_str().or_else(|| value["content"].as_str());
        let content = content.ok_or_else(|| self.unlike(key, "a token", value))?;
        let is_special = is_special || flag("special", false);
        Ok(AddedToken::from(content, is_special)
            .single_word(flag("single_word", false))
            .lstrip(flag("lstrip", false))
            .rstrip(flag("rstrip", false))
            .normalized(flag("normalized", !is_special)))
    }

    fn unlike(&self, key: &str, expected: &str, value: &Json) -> FileError {
        let found: String = value.to_string().chars().take(80).collect();
        damaged(&self.file, &format!("{expected} under `{key}`"), found)
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
