//! Models of the Hugging Face hub, through its own cache folder.
//!
//! What is in the cache is used without asking the hub, so a model that was fetched once works
//! offline. `HF_HOME`, `HF_ENDPOINT` and a stored token count as they do for the hub's own tools.

use std::path::{Path, PathBuf};

use hf_hub::api::Progress;
use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use indicatif::{ProgressBar, ProgressStyle};

use super::FileError;
use super::safetensors::{INDEX_FILE, SINGLE_FILE, shards_of_index};
use super::source::{CONFIG_FILE, Download, HubModel, TOKENIZER_FILE};

/// A progress bar on standard error, for
/// [`ModelSource::resolve_with`](super::ModelSource::resolve_with). Nothing is drawn if standard
/// error is not a terminal.
pub fn progress_bar() -> impl FnMut(Download<'_>) {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} ({eta})");
    let bar =
        ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    move |download| {
        bar.set_message(download.file.to_owned());
        bar.set_length(download.total);
        bar.set_position(download.received);
    }
}

/// Where the hub and its cache are; by default where the environment says.
#[derive(Default)]
pub(crate) struct Place {
    pub(crate) endpoint: Option<String>,
    pub(crate) cache: Option<PathBuf>,
}

/// Fetches the files of a model that are not in the cache, and names their folder.
pub(crate) fn fetch(
    model: &HubModel,
    place: Place,
    progress: &mut dyn FnMut(Download<'_>),
) -> Result<PathBuf, FileError> {
    let mut files = Files::new(model, place)?;
    let config = files.get(CONFIG_FILE, progress)?;
    let folder = config.parent().map(Path::to_owned).unwrap_or_default();
    let mut paths = vec![files.get(TOKENIZER_FILE, progress)?];
    let weights = files.weights()?;
    paths.push(files.get(weights, progress)?);
    if weights == INDEX_FILE {
        for shard in shards_of_index(&folder.join(INDEX_FILE))? {
            paths.push(files.get(&shard, progress)?);
        }
    }
    // The hub's cache has a folder per commit.
    if let Some(other) = paths
        .iter()
        .find(|path| path.parent() != Some(folder.as_path()))
    {
        return Err(FileError::Hub {
            expected: format!("all files of {} from one commit", model.repository),
            found: format!("{} beside {}", other.display(), config.display()),
            advice: "name the commit: hf:ORG/NAME@COMMIT".to_owned(),
        });
    }
    Ok(folder)
}

/// The files of one model, in the cache or on the hub.
struct Files<'a> {
    model: &'a HubModel,
    cached: CacheRepo,
    remote: ApiRepo,
}

impl<'a> Files<'a> {
    fn new(model: &'a HubModel, place: Place) -> Result<Self, FileError> {
        let HubModel {
            repository,
            revision,
        } = model;
        let repo = Repo::with_revision(repository.clone(), RepoType::Model, revision.clone());
        let mut builder = ApiBuilder::from_env().with_progress(false);
        let mut cache = Cache::from_env();
        if let Some(endpoint) = place.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(folder) = place.cache {
            builder = builder.with_cache_dir(folder.clone());
            cache = Cache::new(folder);
        }
        let api = builder
            .build()
            .map_err(|error| fault(model, "its files", &error))?;
        Ok(Self {
            model,
            cached: cache.repo(repo.clone()),
            remote: api.repo(repo),
        })
    }

    fn get(
        &mut self,
        file: &str,
        progress: &mut dyn FnMut(Download<'_>),
    ) -> Result<PathBuf, FileError> {
        if let Some(path) = self.cached.get(file) {
            return Ok(path);
        }
        let report = Report {
            progress,
            file,
            received: 0,
            total: 0,
        };
        let fetched = self.remote.download_with_progress(file, report);
        fetched.map_err(|error| fault(self.model, file, &error))
    }

    /// Which file leads to the weights.
    fn weights(&self) -> Result<&'static str, FileError> {
        let known = [SINGLE_FILE, INDEX_FILE];
        if let Some(file) = known
            .into_iter()
            .find(|file| self.cached.get(file).is_some())
        {
            return Ok(file);
        }
        let info = self.remote.info();
        let info = info.map_err(|error| fault(self.model, "the list of its files", &error))?;
        let listed = |file: &&str| {
            info.siblings
                .iter()
                .any(|sibling| sibling.rfilename == **file)
        };
        known
            .into_iter()
            .find(listed)
            .ok_or_else(|| FileError::Hub {
                expected: format!("{SINGLE_FILE} or {INDEX_FILE} in {}", self.model.repository),
                found: format!("{} other files", info.siblings.len()),
                advice: "choose a model that has safetensors weights".to_owned(),
            })
    }
}

fn fault(model: &HubModel, file: &str, error: &dyn std::fmt::Display) -> FileError {
    let HubModel {
        repository,
        revision,
    } = model;
    FileError::Hub {
        expected: format!("{file} of {repository} (revision {revision}) from the Hugging Face hub"),
        found: error.to_string(),
        advice: "check the name, the network, and whether the model asks for a token; \
                 or fetch its files elsewhere and give their folder"
            .to_owned(),
    }
}

/// Hands what the hub's client says to the caller.
struct Report<'a> {
    progress: &'a mut dyn FnMut(Download<'_>),
    file: &'a str,
    received: u64,
    total: u64,
}

impl Report<'_> {
    fn tell(&mut self) {
        let (file, received, total) = (self.file, self.received, self.total);
        (self.progress)(Download {
            file,
            received,
            total,
        });
    }
}

impl Progress for Report<'_> {
    fn init(&mut self, size: usize, _: &str) {
        self.total = size as u64;
        self.tell();
    }

    fn update(&mut self, size: usize) {
        self.received += size as u64;
        self.tell();
    }

    fn finish(&mut self) {}
}
