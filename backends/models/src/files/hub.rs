//! Models of the Hugging Face hub, through its own cache folder.
//!
//! What is in the cache is used without asking the hub, so a model that was fetched once works
//! offline. `HF_HOME`, `HF_ENDPOINT` and a stored token count as they do for the hub's own tools.
//!
//! The crate `hf-hub` stays at 0.5, a small blocking client: 1.0 brings an async runtime, which
//! `deny.toml` refuses.

use std::path::{Path, PathBuf};

use hf_hub::api::Progress;
use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use super::FileError;
use super::chat::TEMPLATE_FILE;
use super::safetensors::{INDEX_FILE, SINGLE_FILE, shards_of_index};
use super::settings::{ADDED_FILE, ROLES_FILE, SETTINGS_FILE};
use super::source::{CONFIG_FILE, Download, GENERATION_FILE, HubModel, TOKENIZER_FILE};
use super::stray;

/// Files that a model may have, and that say something of its tokens.
const OPTIONAL: [&str; 5] = [
    GENERATION_FILE,
    SETTINGS_FILE,
    ROLES_FILE,
    ADDED_FILE,
    TEMPLATE_FILE,
];

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
    let (weights, others) = files.listed()?;
    let mut paths = Vec::new();
    for file in others {
        paths.push(files.get(file, progress)?);
    }
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

    /// Which file leads to the weights, and which there are beside them.
    ///
    /// The others are fetched before the weights, so that they are all there if those are.
    fn listed(&self) -> Result<(&'static str, Vec<&'static str>), FileError> {
        let known = [SINGLE_FILE, INDEX_FILE];
        if let Some(file) = known
            .into_iter()
            .find(|file| self.cached.get(file).is_some())
        {
            return Ok((file, vec![TOKENIZER_FILE]));
        }
        let info = self.remote.info();
        let info = info.map_err(|error| fault(self.model, "the list of its files", &error))?;
        let names = info.siblings.into_iter().map(|sibling| sibling.rfilename);
        let names: Vec<String> = names.collect();
        let has = |file: &&str| names.iter().any(|name| name == *file);
        let folder = Path::new(&self.model.repository);
        let missing = |expected: String, (found, advice): (String, String)| FileError::Hub {
            expected: format!("{expected} in {}", self.model.repository),
            found,
            advice,
        };
        let weights = known.into_iter().find(has).ok_or_else(|| {
            let expected = format!("{SINGLE_FILE} or {INDEX_FILE}");
            missing(expected, stray::instead_of_weights(folder, &names))
        })?;
        if !has(&TOKENIZER_FILE) {
            let instead = stray::instead_of_tokenizer(folder, &names);
            return Err(missing(TOKENIZER_FILE.to_owned(), instead));
        }
        let optional = OPTIONAL.into_iter().filter(has);
        Ok((
            weights,
            std::iter::once(TOKENIZER_FILE).chain(optional).collect(),
        ))
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const FILES: [(&str, &str); 6] = [
        (CONFIG_FILE, "{}"),
        (SETTINGS_FILE, "{\"bos_token\": \"<s>\"}"),
        (TOKENIZER_FILE, "{\"model\": {}}"),
        (
            INDEX_FILE,
            r#"{"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}"#,
        ),
        ("m-1.safetensors", "first shard"),
        ("m-2.safetensors", "second shard"),
    ];

    /// A hub on this machine with one model, which answers so many requests.
    fn hub(requests: usize) -> (String, std::thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let answers = move || {
            for _ in 0..requests {
                answer(listener.accept().unwrap().0);
            }
        };
        // The server of a test, which no run sees.
        #[allow(clippy::disallowed_methods)]
        let server = std::thread::spawn(answers);
        (endpoint, server)
    }

    fn answer(mut stream: TcpStream) {
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let request: Vec<String> = lines
            .map(Result::unwrap)
            .take_while(|line| !line.is_empty())
            .collect();
        let path = request[0].split(' ').nth(1).unwrap();
        let body = match path.strip_prefix("/org/name/resolve/main/") {
            Some(file) => FILES
                .iter()
                .find(|(name, _)| *name == file)
                .map(|(_, body)| (*body).to_owned()),
            None if path == "/org/old/resolve/main/config.json" => Some("{}".to_owned()),
            None if path == "/api/models/org/old/revision/main" => {
                let file = r#"{"rfilename": "pytorch_model.bin"}"#;
                Some(format!(r#"{{"sha": "c0ffee", "siblings": [{file}]}}"#))
            }
            None if path == "/api/models/org/name/revision/main" => {
                let files = FILES.map(|(name, _)| format!(r#"{{"rfilename": "{name}"}}"#));
                Some(format!(
                    r#"{{"sha": "c0ffee", "siblings": [{}]}}"#,
                    files.join(",")
                ))
            }
            None => None,
        };
        let Some(body) = body else {
            let none = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(none.as_bytes()).unwrap();
            return;
        };
        let first_byte = request
            .iter()
            .any(|line| line.to_lowercase() == "range: bytes=0-0");
        let sent = if first_byte { &body[..1] } else { &body[..] };
        let (length, total, end) = (sent.len(), body.len(), sent.len() - 1);
        let etag = path.replace('/', "-");
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {length}\r\n\
             Content-Range: bytes 0-{end}/{total}\r\nETag: \"{etag}\"\r\nX-Repo-Commit: c0ffee\r\n\
             Content-Type: application/json\r\nConnection: close\r\n\r\n"
        );
        stream.write_all((head + sent).as_bytes()).unwrap();
    }

    fn model(repository: &str) -> HubModel {
        HubModel {
            repository: repository.to_owned(),
            revision: "main".to_owned(),
        }
    }

    /// A file, the bytes that arrived, and the bytes in all.
    type Reported = (String, u64, u64);

    fn fetch_from(
        endpoint: &str,
        cache: &Path,
        repository: &str,
    ) -> (Result<PathBuf, FileError>, Vec<Reported>) {
        let place = Place {
            endpoint: Some(endpoint.to_owned()),
            cache: Some(cache.to_owned()),
        };
        let mut reports = Vec::new();
        let mut progress = |d: Download<'_>| reports.push((d.file.to_owned(), d.received, d.total));
        let folder = fetch(&model(repository), place, &mut progress);
        (folder, reports)
    }

    #[test]
    fn a_model_is_fetched_once_and_then_found_offline() {
        let cache = tempfile::tempdir().unwrap();
        // Two requests for every file, and one for the list of files.
        let (endpoint, server) = hub(2 * FILES.len() + 1);
        let (folder, reports) = fetch_from(&endpoint, cache.path(), "org/name");
        let folder = folder.unwrap();
        server.join().unwrap();
        for (name, body) in FILES {
            assert_eq!(std::fs::read_to_string(folder.join(name)).unwrap(), body);
            let length = body.len() as u64;
            assert!(
                reports.contains(&(name.to_owned(), length, length)),
                "{name} {reports:?}"
            );
        }

        let (again, reports) = fetch_from("http://127.0.0.1:1", cache.path(), "org/name");
        assert_eq!(again.unwrap(), folder);
        assert!(reports.is_empty());
    }

    #[test]
    fn a_hub_that_cannot_be_reached_is_an_error() {
        let cache = tempfile::tempdir().unwrap();
        // No process listens on a port that was just closed.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let error = fetch_from(&endpoint, cache.path(), "org/name")
            .0
            .unwrap_err();
        assert_eq!(error.code(), "E048");
        let message = error.to_string();
        assert!(
            message.starts_with("expected config.json of org/name (revision main)"),
            "{message}"
        );
    }

    #[test]
    fn a_model_that_the_hub_does_not_have_is_an_error() {
        let cache = tempfile::tempdir().unwrap();
        let (endpoint, server) = hub(1);
        let error = fetch_from(&endpoint, cache.path(), "org/other")
            .0
            .unwrap_err();
        server.join().unwrap();
        assert_eq!(error.code(), "E048");
        assert!(error.to_string().contains("404"), "{error}");
    }

    #[test]
    fn a_model_in_another_format_says_what_there_is() {
        let cache = tempfile::tempdir().unwrap();
        let (endpoint, server) = hub(3);
        let (old, _) = fetch_from(&endpoint, cache.path(), "org/old");
        server.join().unwrap();
        insta::assert_snapshot!(old.unwrap_err(), @r#"expected model.safetensors or model.safetensors.index.json in org/old, found pytorch_model.bin, weights of PyTorch; convert it to safetensors in Python: `transformers.AutoModelForCausalLM.from_pretrained("org/old").save_pretrained("org/old")`"#);
    }
}
