//! Models of random settings against what transformers computed of them.
//!
//! `scripts/random-models` writes such models, with what is expected of each, into a folder.
//!
//! ```text
//! scripts/random-models /tmp/models 0 20
//! INTERLOOM_MODELS=/tmp/models cargo test -p interloom-models --test all -- --ignored random_settings
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use crate::families::{Model, compare_all};
use crate::gpt2_files::read_stored;

#[test]
#[ignore = "needs models that a script of Python's writes"]
fn models_of_random_settings_compute_what_transformers_does() {
    let root = PathBuf::from(std::env::var("INTERLOOM_MODELS").expect("a folder of models"));
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    let mut failed = 0;
    for folder in &folders {
        let said = match Model::open(folder) {
            Err(error) => format!("{} {error}", error.code()),
            Ok(model) => {
                let expected = read_stored(&folder.join("expected.safetensors"));
                let gradients = folder.join("gradients.json");
                let compared = catch_unwind(AssertUnwindSafe(|| {
                    compare_all(&model, &expected, &gradients)
                }));
                match compared {
                    Ok(furthest) => {
                        format!("{:.0e}", furthest.iter().fold(0.0_f64, |a, b| a.max(*b)))
                    }
                    Err(_) => {
                        failed += 1;
                        "DIFFERS".to_owned()
                    }
                }
            }
        };
        println!("{} {said}", folder.display());
    }
    assert_eq!(failed, 0, "of {} models", folders.len());
}
