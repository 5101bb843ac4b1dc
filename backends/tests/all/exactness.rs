//! What arithmetic a build has, in this one and in one with burn's threads.

use std::path::Path;
use std::process::Command;

use interloom_backends::{BuildArithmetic, arithmetic};

#[test]
fn this_build_is_exact() {
    assert_eq!(arithmetic(), BuildArithmetic::Exact);
}

/// A crate that takes burn with `rayon`, as burn's default features do.
#[test]
#[ignore = "builds burn: cargo test -p interloom-backends --test all -- --ignored with_threads"]
fn a_build_with_threads_is_not_exact() {
    let crate_folder = tempfile::tempdir().unwrap();
    let backends = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = backends.parent().unwrap();
    let manifest = format!(
        "[package]\nname = \"threads\"\nedition = \"2024\"\n\n\
         [dependencies]\nburn = {{ version = \"=0.22.1\", default-features = false, features = [\"rayon\"] }}\n\
         interloom-backends = {{ path = {backends:?} }}\n\n\
         [profile.dev]\ndebug = 0\n\n[workspace]\n"
    );
    let program = "fn main() {\n    println!(\"{}\", interloom_backends::arithmetic());\n}\n";
    let folder = crate_folder.path();
    std::fs::create_dir(folder.join("src")).unwrap();
    std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(folder.join("src/main.rs"), program).unwrap();
    // The versions of this workspace, so that nothing is downloaded.
    std::fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    for threads in ["1", "2", "7"] {
        let output = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--target-dir"])
            .arg(root.join("target/threads"))
            .env("RAYON_NUM_THREADS", threads)
            .current_dir(folder)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        let found = String::from_utf8(output.stdout).unwrap();
        assert_eq!(found, "threads (burn-flex/rayon)\n", "{threads} threads");
    }
}
