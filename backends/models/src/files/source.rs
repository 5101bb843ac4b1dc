//! The source of a model's files, from what a user typed.
//!
//! | typed                    | meaning                                                        |
//! |--------------------------|----------------------------------------------------------------|
//! | `path/to/model.gguf`     | a GGUF file                                                    |
//! | `path/to/folder`         | `config.json`, `*.safetensors`, `tokenizer.json`; or one GGUF  |
//! | `smollm2-135m`           | the file that `scripts/fetch-smollm2` put in the cache folder  |
//! | `hf:ORG/NAME[@REVISION]` | a model of the Hugging Face hub (with the feature `hub`)       |
//!
//! The cache folder is `$INTERLOOM_CACHE`, else `$XDG_CACHE_HOME/interloom`, else
//! `$HOME/.cache/interloom`. Models of the hub are kept where the hub's own tools keep them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::input::read_text;
use super::similar::most_similar;
use super::stray::{self, Content};
use super::{ChatTemplate, FileError, Gguf, Safetensors, Tokenizer};
use crate::architecture::Architecture;
use crate::families::Keys;
use crate::language::INDUCTION;

/// The name of the model that comes with a script to fetch it.
pub const SMOLLM2: &str = "smollm2-135m";
/// Where that model lies in the cache folder.
const SMOLLM2_FILE: &str = "smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf";
/// How long its file is. The script compares the sha256; here the length is enough to see a cut.
const SMOLLM2_BYTES: u64 = 98_362_432;
const HUB_PREFIX: &str = "hf:";

/// A model's files, found but not yet opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelSource {
    /// A GGUF file, which holds everything.
    Gguf(PathBuf),
    /// A folder with `config.json`, safetensors files and `tokenizer.json`.
    Folder(PathBuf),
}

/// A model's files, opened.
pub enum ModelFiles {
    /// A GGUF file, which holds everything.
    Gguf(Gguf),
    /// A Hugging Face folder.
    Folder(ModelFolder),
}

/// A Hugging Face folder, opened.
pub struct ModelFolder {
    /// Where it is.
    pub path: PathBuf,
    /// The text of its configuration.
    pub config: String,
    /// Its weights.
    pub weights: Safetensors,
}

/// The progress of a file's download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Download<'a> {
    /// The file's name in the model's repository.
    pub file: &'a str,
    /// The bytes that arrived.
    pub received: u64,
    /// The bytes in all.
    pub total: u64,
}

impl ModelSource {
    /// Finds the files of a model; see the [module](self) for what can be typed.
    ///
    /// # Errors
    ///
    /// E040 if there is no such model, with what was looked for and what was there; E041 if a
    /// folder cannot be read; E043 for a file of another kind; E048 if the hub is needed and
    /// cannot be used; E049 if `smollm2-135m` has the wrong length.
    pub fn resolve(spec: &str) -> Result<Self, FileError> {
        Self::resolve_with(spec, &mut |_| {})
    }

    /// Finds the files of a model as [`ModelSource::resolve`] does, and reports on downloads.
    ///
    /// # Errors
    ///
    /// As for [`ModelSource::resolve`].
    pub fn resolve_with(
        spec: &str,
        progress: &mut dyn FnMut(Download<'_>),
    ) -> Result<Self, FileError> {
        if spec == SMOLLM2 {
            return smollm2(&cache_folder()?);
        }
        match spec.strip_prefix(HUB_PREFIX) {
            Some(model) => from_hub(&HubModel::parse(model)?, progress),
            None => local(Path::new(spec)),
        }
    }

    /// Returns the file or folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Gguf(path) | Self::Folder(path) => path,
        }
    }

    /// Opens the files, and reads the headers of the weights.
    ///
    /// # Errors
    ///
    /// E040 to E043: what can be wrong with a GGUF file, or with a folder's configuration and
    /// weights.
    pub fn open(&self) -> Result<ModelFiles, FileError> {
        Ok(match self {
            Self::Gguf(path) => {
                stray::check(path, Content::Gguf)?;
                ModelFiles::Gguf(Gguf::open(path)?)
            }
            Self::Folder(path) => {
                let config = path.join(CONFIG_FILE);
                stray::check(&config, Content::Json)?;
                ModelFiles::Folder(ModelFolder {
                    path: path.clone(),
                    config: read_text(&config, MAX_CONFIG_BYTES)?,
                    weights: Safetensors::open_folder(path)?,
                })
            }
        })
    }
}

impl ModelFiles {
    /// Returns what messages call the files.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Gguf(gguf) => gguf.name().to_owned(),
            Self::Folder(folder) => folder.path.display().to_string(),
        }
    }

    /// Returns the name of the model's architecture, as the files write it.
    ///
    /// # Errors
    ///
    /// E042 if there is none.
    pub fn architecture(&self) -> Result<String, FileError> {
        match self {
            Self::Gguf(gguf) => gguf.text("general.architecture").map(str::to_owned),
            Self::Folder(folder) => folder.model_type(),
        }
    }

    /// Returns the tokens that end a generation, if the files say so besides their configuration:
    /// `eos_token_id` of a folder's `generation_config.json`. Where there is such a file, it alone
    /// counts, even if it names none.
    ///
    /// # Errors
    ///
    /// E042 if it is damaged; E040, E041 or E145 if it cannot be read.
    pub fn end_tokens(&self) -> Result<Option<Vec<u32>>, FileError> {
        match self {
            Self::Gguf(_) => Ok(None),
            Self::Folder(folder) => folder.end_tokens(),
        }
    }

    /// Finds the template of the model's chats; nothing if it has none.
    ///
    /// # Errors
    ///
    /// E040, E041, E042, E047 or E145 if a file cannot be read.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>, FileError> {
        match self {
            Self::Gguf(gguf) => ChatTemplate::of_gguf(gguf),
            Self::Folder(folder) => ChatTemplate::of_folder(&folder.path),
        }
    }

    /// Returns whether the model takes images, and no text.
    pub(crate) fn takes_images(&self) -> bool {
        match self {
            Self::Gguf(_) => false,
            Self::Folder(folder) => {
                let found = folder.model_type();
                found.is_ok_and(|found| Architecture::takes_images(&found))
            }
        }
    }

    /// Reads the tokenizer.
    ///
    /// # Errors
    ///
    /// E047 if it is damaged or not supported; E040 or E041 if it cannot be read.
    pub fn tokenizer(&self) -> Result<Tokenizer, FileError> {
        match self {
            Self::Gguf(gguf) => Tokenizer::from_gguf(gguf),
            Self::Folder(folder) if self.takes_images() => Err(FileError::NotFound {
                expected: format!("{TOKENIZER_FILE} in {}", folder.path.display()),
                found: "a model that takes images".to_owned(),
                advice: "give it `pixels` in an experiment file".to_owned(),
            }),
            Self::Folder(folder) => Tokenizer::from_json_file(&folder.path.join(TOKENIZER_FILE)),
        }
    }
}

/// How weights that are computed with are written as a number format.
const COMPUTED: &str = "F32";

impl ModelFiles {
    /// Returns the number formats of the weights, that of the most values first; none if they are
    /// what is computed with, F32.
    #[must_use]
    pub fn number_formats(&self) -> Vec<String> {
        let mut values: BTreeMap<String, u64> = BTreeMap::new();
        let mut count =
            |(format, count): (String, u64)| *values.entry(format).or_default() += count;
        match self {
            Self::Gguf(gguf) => gguf.tensors().values().for_each(|info| {
                let values: usize = info.shape.iter().product();
                count((info.kind.name().to_owned(), values as u64));
            }),
            Self::Folder(folder) => folder.weights.formats().for_each(count),
        }
        let mut formats: Vec<(String, u64)> = values.into_iter().collect();
        formats.sort_by_key(|&(_, values)| std::cmp::Reverse(values));
        match &formats[..] {
            [(only, _)] if only == COMPUTED => Vec::new(),
            _ => formats.into_iter().map(|(format, _)| format).collect(),
        }
    }
}

impl ModelFolder {
    /// Returns what messages call the configuration's file.
    #[must_use]
    pub fn config_file(&self) -> String {
        self.path.join(CONFIG_FILE).display().to_string()
    }

    fn end_tokens(&self) -> Result<Option<Vec<u32>>, FileError> {
        let path = self.path.join(GENERATION_FILE);
        if !path.exists() {
            return Ok(None);
        }
        stray::check(&path, Content::Json)?;
        let text = read_text(&path, MAX_CONFIG_BYTES)?;
        let file = path.display().to_string();
        Keys::parse(&text, &file)?
            .tokens("eos_token_id", None, usize::MAX)
            .map(Some)
    }

    fn model_type(&self) -> Result<String, FileError> {
        #[derive(Deserialize)]
        #[serde(expecting = "an object")]
        struct Typed {
            model_type: Option<String>,
        }
        let typed: Result<Typed, _> = serde_json::from_str(&self.config);
        let malformed = |place: &str, expected: &str, found: &str| {
            FileError::malformed(&self.config_file(), place, expected, found)
        };
        let typed = typed.map_err(|error| {
            malformed("the JSON", "a model's configuration", &error.to_string())
        })?;
        let missing = || malformed("key `model_type`", "a value", "no such key");
        typed.model_type.ok_or_else(missing)
    }
}

/// The longest `config.json`, in bytes.
pub const MAX_CONFIG_BYTES: u64 = 4 << 20;
/// The file with a folder's configuration.
pub(crate) const CONFIG_FILE: &str = "config.json";
/// The file with a folder's settings of generations.
pub(crate) const GENERATION_FILE: &str = "generation_config.json";
/// The file with a folder's tokenizer.
pub(crate) const TOKENIZER_FILE: &str = "tokenizer.json";

/// A model's name on the hub.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HubModel {
    /// `ORG/NAME`.
    pub(crate) repository: String,
    /// A branch, tag or commit.
    pub(crate) revision: String,
}

impl HubModel {
    /// Reads `ORG/NAME[@REVISION]`. The parts become parts of paths, so nothing else passes.
    fn parse(model: &str) -> Result<Self, FileError> {
        let (repository, revision) = model.split_once('@').unwrap_or((model, "main"));
        let part = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            !part.is_empty() && part.chars().all(plain) && !part.starts_with('.')
        };
        let sound = repository
            .split_once('/')
            .is_some_and(|(org, name)| part(org) && part(name));
        if !sound || !revision.split('/').all(part) {
            return Err(FileError::NotFound {
                expected: format!("a model of the hub as `{HUB_PREFIX}ORG/NAME[@REVISION]`"),
                found: format!("`{HUB_PREFIX}{model}`"),
                advice: "for example hf:HuggingFaceTB/SmolLM2-135M-Instruct".to_owned(),
            });
        }
        Ok(Self {
            repository: repository.to_owned(),
            revision: revision.to_owned(),
        })
    }
}

#[cfg(feature = "hub")]
fn from_hub(
    model: &HubModel,
    progress: &mut dyn FnMut(Download<'_>),
) -> Result<ModelSource, FileError> {
    let folder = super::hub::fetch(model, super::hub::Place::default(), progress)?;
    from_folder(&folder)
}

#[cfg(not(feature = "hub"))]
fn from_hub(
    model: &HubModel,
    _progress: &mut dyn FnMut(Download<'_>),
) -> Result<ModelSource, FileError> {
    let HubModel {
        repository,
        revision,
    } = model;
    Err(FileError::Hub {
        expected: format!("to fetch {repository} (revision {revision}) from the Hugging Face hub"),
        found: "that this program was built without the feature `hub`".to_owned(),
        advice: "build it with `--features hub`, or fetch the model yourself and give its folder"
            .to_owned(),
    })
}

fn cache_folder() -> Result<PathBuf, FileError> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let inside = |name: &str, rest: &str| variable(name).map(|base| PathBuf::from(base).join(rest));
    variable("INTERLOOM_CACHE")
        .map(PathBuf::from)
        .or_else(|| inside("XDG_CACHE_HOME", "interloom"))
        .or_else(|| inside("HOME", ".cache/interloom"))
        .ok_or_else(|| FileError::NotFound {
            expected: "a cache folder".to_owned(),
            found: "none of INTERLOOM_CACHE, XDG_CACHE_HOME and HOME set".to_owned(),
            advice: "set INTERLOOM_CACHE to a folder".to_owned(),
        })
}

fn smollm2(cache: &Path) -> Result<ModelSource, FileError> {
    let path = cache.join(SMOLLM2_FILE);
    let metadata = match std::fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(FileError::NotFound {
                expected: format!("the model {SMOLLM2} at {}", path.display()),
                found: "nothing there".to_owned(),
                advice: "run `scripts/fetch-smollm2`, which downloads it (93 MB)".to_owned(),
            });
        }
        Err(source) => return Err(FileError::Unreadable { path, source }),
    };
    if metadata.len() != SMOLLM2_BYTES {
        return Err(FileError::WrongLength {
            path,
            expected: SMOLLM2_BYTES,
            found: metadata.len(),
            advice: "delete it and run `scripts/fetch-smollm2`".to_owned(),
        });
    }
    Ok(ModelSource::Gguf(path))
}

fn local(path: &Path) -> Result<ModelSource, FileError> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(nothing_at(path)),
        Err(source) => {
            return Err(FileError::Unreadable {
                path: path.to_owned(),
                source,
            });
        }
    };
    if metadata.is_dir() {
        return from_folder(path);
    }
    if has_ending(path, "gguf") {
        return whole_gguf(path);
    }
    let (found, advice) = other_file(path);
    let name = path.display().to_string();
    let expected = "a .gguf file, or a folder with .safetensors files";
    Err(FileError::unsupported(
        &name, "the name", expected, found, advice,
    ))
}

/// Refuses a GGUF file that is one of several parts.
fn whole_gguf(path: &Path) -> Result<ModelSource, FileError> {
    match stray::merge_parts(&file_name(path).unwrap_or_default()) {
        None => Ok(ModelSource::Gguf(path.to_owned())),
        Some(merge) => {
            let (file, expected) = (path.display().to_string(), "a GGUF file with a whole model");
            let found = "one of several parts";
            Err(FileError::unsupported(
                &file, "the name", expected, found, merge,
            ))
        }
    }
}

/// Returns what a file is that is no model, and what to do.
fn other_file(path: &Path) -> (String, String) {
    let folder = path.parent().unwrap_or(Path::new(""));
    let name = file_name(path).unwrap_or_default();
    if let Some(known) = stray::weights_by_name(folder, &name) {
        return known;
    }
    let is_empty = path.metadata().is_ok_and(|file| file.len() == 0);
    let advice = if has_ending(path, "safetensors") || has_ending(path, "json") {
        "give the folder, which must hold config.json, *.safetensors and tokenizer.json"
    } else if is_empty {
        "fetch it again, or convert the model to one of these formats"
    } else {
        "convert the model to one of these formats"
    };
    let found = if is_empty {
        "an empty file"
    } else {
        "another kind of file"
    };
    (found.to_owned(), advice.to_owned())
}

fn from_folder(folder: &Path) -> Result<ModelSource, FileError> {
    let names = names_in(folder)?;
    if names.iter().any(|name| name == CONFIG_FILE) {
        return from_hub_folder(folder, &names);
    }
    let files = files_ending_in(folder, "gguf")?;
    let expected = || {
        format!(
            "{CONFIG_FILE} or exactly one .gguf file in {}",
            folder.display()
        )
    };
    match &files[..] {
        [only] => whole_gguf(only),
        [] => {
            stray::check_folder(folder, &names)?;
            let (found, advice) = stray::instead_of_model(folder, &names);
            Err(FileError::NotFound {
                expected: expected(),
                found,
                advice,
            })
        }
        several => {
            let names: Vec<String> = several.iter().filter_map(|file| file_name(file)).collect();
            let merge = names.iter().find_map(|name| stray::merge_parts(name));
            Err(FileError::NotFound {
                expected: expected(),
                found: format!("{} .gguf files: {}", names.len(), names.join(", ")),
                advice: merge.unwrap_or("give the path of one of them").to_owned(),
            })
        }
    }
}

/// Looks for what belongs to a configuration.
fn from_hub_folder(folder: &Path, names: &[String]) -> Result<ModelSource, FileError> {
    stray::check_folder(folder, names)?;
    let (missing, (found, advice)) = if files_ending_in(folder, "safetensors")?.is_empty() {
        ("*.safetensors", stray::instead_of_weights(folder, names))
    } else if !folder.join(TOKENIZER_FILE).exists() && !takes_images(folder) {
        (TOKENIZER_FILE, stray::instead_of_tokenizer(folder, names))
    } else {
        return Ok(ModelSource::Folder(folder.to_owned()));
    };
    Err(FileError::NotFound {
        expected: format!("{missing} beside {CONFIG_FILE} in {}", folder.display()),
        found,
        advice,
    })
}

/// Returns whether a folder has a model that takes no text.
fn takes_images(folder: &Path) -> bool {
    let config = read_text(&folder.join(CONFIG_FILE), MAX_CONFIG_BYTES).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap_or_default();
    config["model_type"]
        .as_str()
        .is_some_and(Architecture::takes_images)
}

/// The names of what is in a folder, sorted.
fn names_in(folder: &Path) -> Result<Vec<String>, FileError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|source| FileError::io(folder, source))? {
        let entry = entry.map_err(|source| FileError::io(folder, source))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The files in a folder with this ending, sorted.
pub(crate) fn files_ending_in(folder: &Path, ending: &str) -> Result<Vec<PathBuf>, FileError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|source| FileError::io(folder, source))? {
        let path = entry
            .map_err(|source| FileError::io(folder, source))?
            .path();
        if has_ending(&path, ending) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension()
        .is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

fn file_name(path: &Path) -> Option<String> {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
}

/// Nothing is at a path: names a sibling with a similar name, or the ways to name a model.
fn nothing_at(path: &Path) -> FileError {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let mut siblings: Vec<String> = match std::fs::read_dir(parent) {
        Ok(entries) => entries
            .flatten()
            .filter_map(|entry| file_name(&entry.path()))
            .collect(),
        Err(_) => Vec::new(),
    };
    siblings.extend([SMOLLM2, INDUCTION].map(str::to_owned));
    siblings.sort();
    let wanted = file_name(path).unwrap_or_default();
    FileError::NotFound {
        expected: format!("a .gguf file or a model's folder at {}", path.display()),
        found: "nothing there".to_owned(),
        advice: match most_similar(&wanted, siblings.iter().map(String::as_str)) {
            None if is_hub_name(path) => format!(
                "check the path; a model of the hub is `{HUB_PREFIX}{}`",
                path.display()
            ),
            Some(name @ (SMOLLM2 | INDUCTION)) => format!("did you mean the model `{name}`?"),
            Some(sibling) => format!("did you mean {}?", parent.join(sibling).display()),
            None => format!(
                "check the path, or name a model: `{INDUCTION}`, `{SMOLLM2}`, `{HUB_PREFIX}ORG/NAME`"
            ),
        },
    }
}

/// Returns whether a path looks like the name of a model on the hub.
fn is_hub_name(path: &Path) -> bool {
    let is_named = |spec: &str| HubModel::parse(spec).is_ok() && !has_ending(path, "gguf");
    path.to_str().is_some_and(is_named)
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
