//! A session that is gone on with: runs are added to a journal, and verified from one of them on.

use std::fs;
use std::path::{Path, PathBuf};

use interloom::{Conclusion, Error, Mode};
use interloom_journal::{Journal, Policy, RecoveryTarget, recover};

use crate::Recording;
use crate::plan::{Plan, make};

/// Plans of three runs of every kind.
fn plans() -> Vec<Plan> {
    let three = |policy| Plan {
        runs: 0..3,
        policy,
        ..Plan::default()
    };
    let sampled = Policy::Sampled(std::num::NonZeroU64::new(5).unwrap());
    let mut plans: Vec<Plan> = [Policy::Digest, Policy::Full, sampled].map(three).into();
    plans.push(Plan {
        caches: true,
        ..three(Policy::Full)
    });
    plans.push(Plan {
        fails: true,
        ..three(Policy::Full)
    });
    plans.push(Plan {
        careless: true,
        steps: Some(2),
        ..three(Policy::Full)
    });
    plans
}

/// Records the first run of a plan.
fn begun(plan: &Plan) -> Recording {
    Recording::of(&Plan {
        runs: 0..1,
        ..plan.clone()
    })
}

/// The later runs of a plan.
fn rest(plan: &Plan) -> Plan {
    Plan {
        runs: 1..3,
        ..plan.clone()
    }
}

fn append(path: &Path, plan: &Plan) -> Result<Conclusion, Error> {
    make(Mode::Append(path.to_owned()), plan)
}

#[test]
fn what_is_appended_is_what_one_sitting_writes() {
    for plan in plans() {
        let whole = Recording::of(&plan);
        let parts = begun(&plan);
        let conclusion = append(&parts.path(), &rest(&plan)).unwrap();
        assert_eq!(conclusion, whole.conclusion, "{plan:?}");
        let [whole, parts] = [whole.path(), parts.path()].map(|path| fs::read(path).unwrap());
        assert!(whole == parts, "{plan:?}");
    }
}

#[test]
fn runs_of_another_head_are_not_added_and_the_message_says_what_differs() {
    let plan = Plan {
        policy: Policy::Full,
        ..Plan::default()
    };
    let others: [(&str, Plan); 3] = [
        (
            "model",
            Plan {
                weight: Some(("up.weight", 3, 0.25)),
                ..plan.clone()
            },
        ),
        (
            "inputs",
            Plan {
                input: 0.5,
                ..plan.clone()
            },
        ),
        (
            "policy",
            Plan {
                policy: Policy::Digest,
                ..plan.clone()
            },
        ),
    ];
    let recording = begun(&plan);
    let before = fs::read(recording.path()).unwrap();
    for (subject, other) in others {
        let error = append(&recording.path(), &rest(&other)).unwrap_err();
        assert_eq!(error.code(), "E074");
        let Error::Journal(error) = error else {
            panic!("{error:?}");
        };
        let interloom_journal::JournalError::OtherHead { differences, .. } = *error else {
            panic!("{error:?}");
        };
        let subjects: Vec<_> = differences.iter().map(|found| found.subject).collect();
        assert_eq!(subjects, [subject]);
        if subject == "model" {
            assert_eq!(differences[0].changed, ["up.weight"]);
        }
        assert!(fs::read(recording.path()).unwrap() == before);
    }
}

#[test]
fn nothing_is_added_to_a_journal_that_ends_early_until_it_is_recovered() {
    let plan = Plan::default();
    let recording = begun(&plan);
    let path = recording.path();
    let whole = fs::read(&path).unwrap();
    // Within the footer, and within the run.
    for cut in [whole.len() - 5, whole.len() / 2] {
        fs::write(&path, &whole[..cut]).unwrap();
        let error = append(&path, &rest(&plan)).unwrap_err();
        assert_eq!(error.code(), "E065");
        assert!(error.to_string().contains("`interloom recover`"), "{error}");
        assert!(fs::read(&path).unwrap() == whole[..cut]);
        recover(&path, RecoveryTarget::InPlace).unwrap();
        append(&path, &rest(&plan)).unwrap();
        let runs = Journal::load(&path).unwrap().runs;
        assert_eq!(runs.len(), 3, "cut at {cut}");
    }
}

#[test]
fn nothing_is_added_to_what_is_damaged_or_not_there() {
    let recording = begun(&Plan::default());
    let path = recording.path();
    let code = |path: &PathBuf| append(path, &rest(&Plan::default())).unwrap_err().code();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(code(&path), "E064");
    assert!(fs::read(&path).unwrap() == bytes);
    assert_eq!(code(&path.with_file_name("none.ilj")), "E060");
}

/// Verifies from the second run on.
fn from_second(recording: &Recording, plan: &Plan) -> Result<Conclusion, Error> {
    let path = recording.path();
    make(Mode::VerifyFrom { path, run: 1 }, plan)
}

#[test]
fn a_journal_is_verified_from_one_of_its_runs_on() {
    for plan in plans() {
        let recording = Recording::of(&plan);
        let Conclusion::Recorded { digest, .. } = recording.conclusion else {
            panic!("{:?}", recording.conclusion);
        };
        let first = Journal::load(recording.path()).unwrap().runs[0]
            .exchanges
            .len() as u64;
        match from_second(&recording, &rest(&plan)).unwrap() {
            Conclusion::Verified {
                exchanges,
                digest: live,
                divergence: None,
                environment: None,
                ..
            } => assert_eq!((exchanges, live), (2 * first, digest)),
            other => panic!("{other:?}"),
        }
        // The first run again, in the place of the second.
        let again = Plan { runs: 0..2, ..plan };
        let conclusion = from_second(&recording, &again).unwrap();
        assert!(!conclusion.is_identical());
    }
}

#[test]
fn what_differs_is_found_where_it_is_in_the_whole_journal() {
    let plan = Plan {
        runs: 0..3,
        policy: Policy::Full,
        ..Plan::default()
    };
    let recording = Recording::of(&plan);
    let first = Journal::load(recording.path()).unwrap().runs[0]
        .exchanges
        .len() as u64;
    let other = Plan {
        scale: 3.0,
        ..rest(&plan)
    };
    match from_second(&recording, &other).unwrap() {
        Conclusion::Verified {
            exchanges,
            divergence: Some(divergence),
            ..
        } => {
            assert_eq!((exchanges, divergence.index), (3, first + 3));
            assert_eq!(divergence.run, "run 1");
            assert!(divergence.tensor.is_some());
        }
        other => panic!("{other:?}"),
    }
    let fewer = Plan {
        runs: 1..2,
        ..plan.clone()
    };
    assert!(!from_second(&recording, &fewer).unwrap().is_identical());
    let path = recording.path();
    let error = make(Mode::VerifyFrom { path, run: 4 }, &plan).unwrap_err();
    assert_eq!(error.code(), "E072");
    insta::assert_snapshot!(error.to_string().replace(&*recording.path().display().to_string(), "a.ilj"), @"a.ilj has no run 4; it has 3 runs");
}
