//! The README, and the page about models of one's own, show code and output that exist.

use std::path::Path;
use std::process::Command;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(path)).unwrap()
}

#[test]
fn the_first_code_is_the_quickstart_example() {
    let (readme, example) = (read("README.md"), read("replay/examples/quickstart.rs"));
    let code = readme
        .split("```rust\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let squeezed: String = example.split_whitespace().collect();
    let lines = code
        .lines()
        .map(|line| line.split("   //").next().unwrap().trim());
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    assert!((10..=15).contains(&lines.len()), "{}", lines.len());
    for line in lines {
        // rustfmt breaks lines elsewhere than the page does.
        let line: String = line
            .split_whitespace()
            .collect::<String>()
            .replace(",)", ")");
        let example = squeezed.replace(",)", ")");
        assert!(example.contains(&line), "not in the example: {line}");
    }
}

#[test]
fn the_own_model_is_an_example_word_for_word() {
    let (page, example) = (
        read("docs/OWN_MODEL.md"),
        read("replay/examples/own_model.rs"),
    );
    let code = page.split("```rust\n").nth(1).unwrap();
    let code = code.split("```").next().unwrap();
    assert!(example.ends_with(code), "replay/examples/own_model.rs");
}

#[test]
fn the_documents_that_it_names_exist() {
    let readme = read("README.md");
    let targets = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    for target in targets {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(target);
        assert!(path.exists(), "{target}");
    }
}

/// What the page shows of explorations is what the program prints, but for digests, which depend on
/// how a machine rounds.
#[test]
fn the_explorations_are_what_the_program_prints() {
    let readme = read("README.md");
    let (_, section) = readme.split_once("## Does the order matter?").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let blocks: Vec<&str> = section
        .split("```text\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    let shown = [("orders-commute", 0), ("orders-matter", 1)];
    assert_eq!(blocks.len(), shown.len());
    for (block, (name, code)) in blocks.into_iter().zip(shown) {
        let file = format!("replay/cli/experiments/{name}.toml");
        let printed = Command::new(env!("CARGO_BIN_EXE_interloom"))
            .args(["explore", &file])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
            .output()
            .unwrap();
        assert_eq!(printed.status.code(), Some(code));
        let printed = String::from_utf8(printed.stdout).unwrap();
        // First is the heading, and what the file says that it is about.
        let (_, printed) = printed.split_once("\n\n").unwrap();
        assert_eq!(without_digests(block), without_digests(printed), "{name}");
    }
}

fn without_digests(text: &str) -> String {
    let words = text.split_inclusive(' ');
    let word = |word: &str| match word.starts_with("b3:") {
        true => "b3:… ".to_owned(),
        false => word.to_owned(),
    };
    words.map(word).collect()
}
