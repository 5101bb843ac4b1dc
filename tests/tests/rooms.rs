//! What each crate builds on, as `cargo tree` says: a reader of journals needs no tensor library,
//! and the library no command line.

use std::collections::BTreeSet;
use std::process::Command;

/// Returns the names of the crates that `package` is built with, by default and for users.
fn dependencies(package: &str) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--locked", "--edges", "normal", "--prefix", "none"]);
    let output = cargo.args(["--package", package]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let names = text.lines().filter_map(|line| line.split(' ').next());
    let names: BTreeSet<String> = names.map(str::to_owned).collect();
    assert!(names.contains(package), "{text}");
    names
}

#[track_caller]
fn has_none_of(package: &str, banned: &[&str]) -> BTreeSet<String> {
    let names = dependencies(package);
    let found: Vec<&str> = banned
        .iter()
        .copied()
        .filter(|name| names.contains(*name))
        .collect();
    assert!(found.is_empty(), "{package} is built with {found:?}");
    names
}

#[test]
fn the_engine_is_small() {
    let names = has_none_of("interloom-engine", &["burn", "interloom-journal"]);
    assert!(names.len() <= 20, "{names:?}");
}

#[test]
fn a_journal_is_read_without_a_tensor_library() {
    let above = ["interloom", "interloom-backends", "interloom-cli"];
    let names = has_none_of("interloom-journal", &above);
    let of_burn: Vec<_> = names
        .iter()
        .filter(|name| name.starts_with("burn") || name.starts_with("cubecl"))
        .collect();
    assert!(of_burn.is_empty(), "{of_burn:?}");
    assert!(names.len() <= 60, "{names:?}");
}

#[test]
fn a_program_needs_the_engine_alone() {
    let names = has_none_of("interloom-program", &["burn", "interloom-journal"]);
    assert!(names.len() <= 20, "{names:?}");
}

#[test]
fn backends_read_no_journals_and_know_no_tokens() {
    let above = [
        "interloom",
        "interloom-journal",
        "interloom-models",
        "tokenizers",
    ];
    let names = has_none_of("interloom-backends", &above);
    assert!(names.len() <= 155, "{names:?}");
}

#[test]
fn models_are_loaded_from_files_without_sessions() {
    let above = ["clap", "hf-hub", "interloom", "interloom-journal"];
    let names = has_none_of("interloom-models", &above);
    assert!(names.len() <= 195, "{names:?}");
}

/// The `toml` and `toml_writer` in the tree of the library are those of burn.
#[test]
fn the_library_has_no_command_line_no_tokenizer_and_downloads_nothing() {
    let names = has_none_of(
        "interloom",
        &[
            "clap",
            "hf-hub",
            "indicatif",
            "interloom-cli",
            "interloom-models",
            "mcap",
            "ratatui",
            "tokenizers",
            "tracing-subscriber",
        ],
    );
    assert!(names.contains("burn") && names.contains("interloom-journal"));
}
