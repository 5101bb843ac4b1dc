//! Scripts beside programs, and what programs cannot say.

use std::path::Path;

use burn::tensor::Device;

use crate::conform::{Folder, REFERENCES, Verdict, Way};

fn folder(name: &str) -> Folder {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
    Folder::open(&tests.join(name), &Device::flex()).unwrap()
}

/// What a verdict comes to, without the words of the differences.
fn outcome(verdict: Verdict) -> String {
    match verdict {
        Verdict::OnPurpose { rules, .. } => format!("{rules:?}"),
        Verdict::Broken(reason) => panic!("{reason}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn scripts_do_what_programs_do() {
    let mut count = 0;
    for (name, references) in [("conformance", &REFERENCES[..]), ("told", &["v081"])] {
        let folder = folder(name);
        for id in folder.ids() {
            for reference in references {
                let verdict = |way| folder.compare_as(way, None, id, reference);
                let as_programs = outcome(verdict(Way::Programs));
                assert_eq!(
                    outcome(verdict(Way::Scripts)),
                    as_programs,
                    "{id} {reference}"
                );
                count += 1;
            }
        }
    }
    assert_eq!(count, 2 * 89 + 33);
}
