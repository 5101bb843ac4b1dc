//! The README shows code and output that exist.

use std::path::Path;

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
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
fn the_documents_that_it_names_exist() {
    let readme = read("README.md");
    let targets = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    for target in targets {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(target);
        assert!(path.exists(), "{target}");
    }
}
