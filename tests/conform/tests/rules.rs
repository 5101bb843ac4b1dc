//! Interloom beside the interpreter of the rules, in all scenarios.

use std::path::Path;

use burn::tensor::Device;
use interloom_conform::{Difference, Folder, REFERENCES, Verdict};

fn open(name: &str) -> Folder {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Folder::open(&tests.join(name), &Device::flex()).unwrap()
}

/// Runs the scenarios of some folders, and returns what Interloom does in them that the rules do
/// not say.
fn wrong(
    folders: &[&str],
    run: impl Fn(&Folder, &str) -> Result<Vec<Difference>, String>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for name in folders {
        let folder = open(name);
        for id in folder.ids() {
            match run(&folder, id) {
                Ok(found) => {
                    wrong.extend(found.iter().map(|found| format!("{name} {id}: {found}")))
                }
                Err(reason) => wrong.push(format!("{name} {id}: {reason}")),
            }
        }
    }
    wrong
}

#[test]
fn interloom_does_what_the_rules_say() {
    let folders = ["conformance", "kinds", "told", "aliased"];
    let wrong = wrong(&folders, |folder, id| folder.scripts_by_rules(id));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Programs have values and no references, and write no numbers to sites; scenarios of these
/// folders do neither.
#[test]
fn programs_do_what_the_rules_say() {
    let wrong = wrong(&["conformance", "told"], |folder, id| {
        folder.programs_by_rules(id)
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a verdict comes to, without the words of the differences.
fn outcome(verdict: Verdict) -> String {
    match verdict {
        Verdict::ByRule { rules, .. } => format!("{rules:?}"),
        Verdict::Broken(reason) => panic!("{reason}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn scripts_do_what_programs_do() {
    let mut count = 0;
    for (name, references) in [("conformance", &REFERENCES[..]), ("told", &["v081"])] {
        let folder = open(name);
        for id in folder.ids() {
            for reference in references {
                let as_programs = outcome(folder.compare_programs(id, reference));
                let as_scripts = outcome(folder.compare_scripts(id, reference));
                assert_eq!(as_scripts, as_programs, "{id} {reference}");
                count += 1;
            }
        }
    }
    assert_eq!(count, 2 * 89 + 33);
}
