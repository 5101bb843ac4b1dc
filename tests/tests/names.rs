//! Names of types: a public type has a name of its own in the whole workspace, so that a name says
//! which type is meant without its path.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The folders of the sources of the published crates.
const SOURCES: [&str; 7] = [
    "backends/models/src",
    "backends/src",
    "engine/program/src",
    "engine/src",
    "replay/cli/src",
    "replay/journal/src",
    "replay/src",
];

/// The names that stand for more than one public type, each with its reason.
const EXCEPTIONS: [(&str, &str); 1] = [(
    "Value",
    "the trait of the engine is what the enum of the backends implements; no signature has both",
)];

/// Returns the Rust files below a folder, in sorted order, without files of tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of sources");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort_unstable();
    let below = paths.into_iter().flat_map(|path| {
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or("");
        if stem == "tests" || stem.ends_with("_tests") {
            Vec::new()
        } else if path.is_dir() {
            sources(&path)
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            vec![path]
        } else {
            Vec::new()
        }
    });
    below.collect()
}

/// Returns the name of the public type that a line of a module declares, if it declares one.
fn declared(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub ")?;
    let kinds = ["struct ", "enum ", "union ", "trait ", "type "];
    let rest = kinds.iter().find_map(|kind| rest.strip_prefix(kind))?;
    rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .next()
}

fn declarations() -> BTreeMap<String, Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in SOURCES
        .iter()
        .flat_map(|folder| sources(&root.join(folder)))
    {
        let text = fs::read_to_string(&path).expect("a source in UTF-8");
        let file = path.strip_prefix(&root).expect("a path below the root");
        for (number, line) in text.lines().enumerate() {
            if let Some(name) = declared(line) {
                let place = format!("{}:{}", file.display(), number + 1);
                found.entry(name.to_owned()).or_default().push(place);
            }
        }
    }
    found
}

#[test]
fn a_public_type_has_a_name_of_its_own() {
    let found = declarations();
    assert!(found.len() > 300, "only {} types were found", found.len());
    let homonyms: Vec<String> = found
        .iter()
        .filter(|(name, places)| places.len() > 1 && EXCEPTIONS.iter().all(|(own, _)| own != name))
        .map(|(name, places)| format!("{name}: {}", places.join(", ")))
        .collect();
    assert!(
        homonyms.is_empty(),
        "one name stands for several public types; rename all but one:\n{}",
        homonyms.join("\n")
    );
}

#[test]
fn an_exception_is_needed() {
    let found = declarations();
    for (name, reason) in EXCEPTIONS {
        let places = found.get(name).map_or(0, Vec::len);
        assert!(
            places > 1,
            "`{name}` is an exception ({reason}) and stands for {places} types"
        );
    }
}

#[test]
fn declarations_are_found_by_their_first_words() {
    assert_eq!(declared("pub struct Run {"), Some("Run"));
    assert_eq!(declared("pub enum Answer<'a, V> {"), Some("Answer"));
    assert_eq!(declared("pub type Make = Box<dyn Fn()>;"), Some("Make"));
    assert_eq!(declared("    pub struct Inner;"), None);
    assert_eq!(declared("pub(crate) struct Hidden;"), None);
    assert_eq!(declared("pub fn struct_of() {}"), None);
}
