//! What must not compile, and what the compiler says about it: the files in `tests/must_fail`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Checks a file against the crate as it was built for this test; returns what the compiler says.
fn check(file: &str) -> (bool, String) {
    let test = std::env::current_exe().unwrap();
    let deps = test.parent().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/must_fail");
    let scratch = tempfile::tempdir().unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .current_dir(&source)
        .args([file, "--edition=2024", "--emit=metadata", "--color=never"])
        .arg("-Adead_code")
        .arg("--extern")
        .arg(format!("interloom_backends={}", newest(deps).display()))
        .arg(format!("-Ldependency={}", deps.display()))
        .arg("--out-dir")
        .arg(scratch.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.success(), said)
}

/// The library that was built last: builds with other features may lie beside it.
fn newest(deps: &Path) -> PathBuf {
    let files = std::fs::read_dir(deps)
        .unwrap()
        .map(|file| file.unwrap().path());
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("libinterloom_backends-") && name.ends_with(".rlib")
    };
    let built = |path: &PathBuf| path.metadata().unwrap().modified().unwrap();
    files
        .filter(is_ours)
        .max_by_key(built)
        .expect("the crate was built")
}

/// The error with its own notes, without the compiler's.
fn gist(said: &str) -> String {
    let own = |line: &&str| {
        let note = line.trim_start().starts_with("= note: ");
        let is_of_the_compiler =
            line.contains("full name for the type") || line.contains("--verbose");
        line.starts_with("error[") || note && !is_of_the_compiler
    };
    let lines = said.lines().filter(own).map(str::trim_start);
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_right_compiles() {
    let (compiles, said) = check("fine.rs");
    assert!(compiles, "{said}");
}

#[test]
fn a_module_without_forward_says_what_to_do() {
    let (compiles, said) = check("no_forward.rs");
    assert!(!compiles);
    insta::assert_snapshot!(gist(&said), @"
    error[E0277]: `Mine` cannot be called with `_` through its hook: it has no `Forward<_>`
    = note: for a module of your own, implement `interloom_backends::Forward<_>` where its `forward` is now
    = note: for any other, name the function: `hooked.call(input, |module, input| module.forward(input))`
    = note: a layer of `burn::nn` with several arguments takes a tuple of them; attention and transformers take the inputs in `interloom_backends::layers`
    ");
}

#[test]
fn a_type_that_cannot_pass_a_site_says_what_to_do() {
    let (compiles, said) = check("no_erase.rs");
    assert!(!compiles);
    insta::assert_snapshot!(gist(&said), @"
    error[E0277]: `Pair` cannot pass a site: it has no `Erase`
    = note: tensors, numbers, text, and tuples, vectors, options and string maps of them can
    = note: for a struct of your own, implement `interloom_backends::Erase` in terms of a tuple or a map of its fields
    = note: what need not be seen is captured instead: `hooked.call(input, |module, input| module.forward(input, &mut cache))`
    ");
}

#[test]
fn nothing_of_a_module_is_reached_past_its_hook() {
    let (compiles, said) = check("past_the_hook.rs");
    assert!(!compiles);
    insta::assert_snapshot!(gist(&said), @"error[E0599]: no method named `embed` found for struct `Hooked<M>` in the current scope");
}

#[test]
fn operations_without_a_field_say_what_is_missing() {
    let (compiles, said) = check("no_source.rs");
    assert!(!compiles);
    insta::assert_snapshot!(gist(&said), @"
    error[E0609]: no field `source` on type `&Block`
    = note: this error originates in the attribute macro `operations` (in Nightly builds, run with -Z macro-backtrace for more info)
    ");
    assert!(said.contains("--> no_source.rs:9:1"), "{said}");
}

#[test]
fn a_mistake_in_a_function_with_operations_is_shown_where_it_is() {
    let (compiles, said) = check("wrong_argument.rs");
    assert!(!compiles);
    insta::assert_snapshot!(gist(&said), @"
    error[E0308]: mismatched types
    = note: this error originates in the attribute macro `operations` (in Nightly builds, run with -Z macro-backtrace for more info)
    ");
    assert!(said.contains("--> wrong_argument.rs:13:30"), "{said}");
    assert!(said.contains("expected `f64`, found `&str`"), "{said}");
}
