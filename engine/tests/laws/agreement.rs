//! The first law: the engine does what the reference says, on generated runs of every kind.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use interloom_engine::Event;

use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

use crate::config;
use crate::generate::{cases, scripted};
use crate::programs::Case;
use crate::reference::{Pass, judge};
use crate::scenario::Scenario;
use crate::verdict::{End, Verdict, engine};
use crate::{REGRESSIONS, STYLES};

const CASES: u32 = 2_000;
const CASES_MANY: u32 = 100_000;

/// Compares the engine, in every style, with the reference.
fn law(case: Case) -> Result<(), TestCaseError> {
    let (reference, _) = judge(&case);
    for style in STYLES {
        prop_assert_eq!(&engine(&case, style), &reference, "{:?}", style);
    }
    Ok(())
}

/// A case that breaks the law is shrunk, and kept in a file.
fn agree(cases_max: u32) {
    match TestRunner::new(config(cases_max)).run(&cases(), law) {
        Ok(()) => {}
        Err(TestError::Abort(reason)) => panic!("{reason}"),
        Err(TestError::Fail(reason, case)) => {
            let path = keep(&Scenario::of(&case, "Shrunk from a generated case."));
            panic!("{reason}\nthe case is in {}", path.display());
        }
    }
}

fn regressions() -> PathBuf {
    PathBuf::from(REGRESSIONS)
}

fn keep(scenario: &Scenario) -> PathBuf {
    let path = regressions().join(format!("{}.json", scenario.id()));
    let text = serde_json::to_string_pretty(scenario).expect("data");
    std::fs::write(&path, text + "\n").expect("the folder of regressions can be written");
    path
}

fn scenario_in(path: &Path) -> Scenario {
    let text = std::fs::read_to_string(path).expect("a file that can be read");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Cases as a fuzzer makes them.
#[test]
fn every_script_agrees() {
    let bytes = prop::collection::vec(any::<u8>(), 0..300);
    let agrees = |bytes: Vec<u8>| law(scripted(&bytes));
    TestRunner::new(config(CASES)).run(&bytes, agrees).unwrap();
}

#[test]
fn every_case_that_was_kept_agrees() {
    let files = std::fs::read_dir(regressions()).expect("the folder of regressions");
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    });
    paths.sort();
    assert!(paths.len() >= 3, "{paths:?}");
    for path in paths {
        let scenario = scenario_in(&path);
        let agrees = law(scenario.case());
        assert!(agrees.is_ok(), "{}: {agrees:?}", path.display());
    }
}

/// What a kept case is about, so that it stays so.
#[test]
fn the_kept_cases_end_as_their_names_say() {
    let verdict = |name: &str| judge(&scenario_in(&regressions().join(name)).case()).0;
    let outcomes = |verdict: &Verdict, event: Event| -> Vec<&str> {
        let own = verdict.log.iter().filter(|record| record.event == event);
        own.map(|record| record.outcome).collect()
    };
    let circle = verdict("barrier-circle.json");
    assert!(
        matches!(&circle.end, End::Circle(met) if met.len() == 2),
        "{:?}",
        circle.end
    );
    let last = circle.log.last().expect("an exchange");
    assert_eq!((last.mediator, last.event), (3, Event::End));
    let skip = verdict("partial-skip-in-a-loop.json");
    assert!(
        matches!(&skip.end, End::PartialSkip(at, ..) if at.iteration == 1),
        "{:?}",
        skip.end
    );
    assert_eq!(outcomes(&skip, Event::Register), ["served"; 4]);
    let stop = verdict("stop-and-a-caught-verdict.json");
    assert!(
        matches!(stop.end, End::Stopped(0, Some(_))),
        "{:?}",
        stop.end
    );
    assert_eq!(outcomes(&stop, Event::Value), ["served", "E003", "E002"]);
    let cache = verdict("a-late-cache-in-a-try.json");
    assert_eq!(cache.end, End::Completed);
    assert_eq!(outcomes(&cache, Event::Put), ["served"]);
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn a_case_is_the_same_after_it_was_written_and_read(case in cases()) {
        let text = serde_json::to_string(&Scenario::of(&case, "")).unwrap();
        let read: Scenario = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(serde_json::to_string(&read).unwrap(), text);
        let read = read.case();
        prop_assert_eq!(&read.programs, &case.programs);
        prop_assert_eq!(judge(&read).0, judge(&case).0);
    }
}

#[test]
fn engine_and_reference_agree() {
    agree(CASES);
}

#[test]
#[ignore = "many cases, in release: cargo test --release -p interloom-engine --test laws -- --ignored"]
fn engine_and_reference_agree_on_many() {
    agree(CASES_MANY);
}

/// The first law says nothing about what is never generated.
#[test]
fn the_generator_reaches_every_outcome() {
    let seen = RefCell::new(BTreeMap::<String, u32>::new());
    let count = |outcome: String| *seen.borrow_mut().entry(outcome).or_default() += 1;
    let law = |case: Case| {
        let (verdict, passed) = judge(&case);
        let Verdict {
            log,
            end,
            out_of_step,
            ..
        } = verdict;
        skips_of(&case, &passed).for_each(|kind| count(kind.to_owned()));
        if has_gap(&passed) {
            count("an iteration after one that was counted only".to_owned());
        }
        if !out_of_step.is_empty() {
            count("a count that stays".to_owned());
        }
        let end = format!("{end:?}");
        count(end.split([' ', '(']).next().expect("a name").to_owned());
        for record in log {
            count(format!("{} {}", record.event, record.outcome));
            if let Some(Ok(site)) = &record.asked
                && site.point.is_parameter()
            {
                count(format!("parameter {} {}", record.event, record.outcome));
                if record.outcome == "served" && site.iteration > 0 {
                    count("parameter in a later pass".to_owned());
                }
            }
            if record.at.is_some_and(|site| site.iteration > 0) {
                count("in a later iteration".to_owned());
            }
        }
        Ok(())
    };
    // Twice as many: some outcomes are rare.
    let ran = TestRunner::new(config(2 * CASES)).run(&cases(), law);
    ran.expect("nothing is asserted");
    let seen = seen.into_inner();
    let refusals = ["VALUE", "SWAP", "SKIP"].map(|event| {
        ["served", "E001", "E002", "E003"].map(|outcome| format!("{event} {outcome}"))
    });
    let others = [
        "REGISTER served",
        "REGISTER E014",
        "BARRIER served",
        "BARRIER E015",
        "PUT served",
        "GET served",
        "GET E016",
        "Unmet",
        "Circle",
        "SWAP E004",
        "SWAP E006",
        "SKIP E005",
        "STOP served",
        "END served",
        "EXCEPTION E001",
        "EXCEPTION E002",
        "EXCEPTION E003",
        "EXCEPTION E004",
        "EXCEPTION E013",
        "EXCEPTION E015",
        "EXCEPTION E016",
        "EXCEPTION E017",
        "Completed",
        "Stopped",
        "Failed",
        "PartialSkip",
        "SkipMisfit",
        "NeverFired",
        "in a later iteration",
        "parameter VALUE served",
        "parameter VALUE E054",
        "parameter VALUE E002",
        "parameter SWAP served",
        "parameter SWAP E006",
        "parameter in a later pass",
        "a skip for the whole batch",
        "a skip for the whole batch beside rows",
        "a skip by all rows",
        "an iteration after one that was counted only",
        "a count that stays",
    ];
    let expected = refusals.concat().into_iter();
    for outcome in expected.chain(others.map(str::to_owned)) {
        let count = seen.get(&outcome).copied().unwrap_or(0);
        assert!(
            count >= 5,
            "`{outcome}` was generated {count} times: {seen:#?}"
        );
    }
}

/// Names the kinds of skips that modules were left out for, where there are rows.
fn skips_of(case: &Case, passed: &[Pass]) -> impl Iterator<Item = &'static str> {
    let has_rows = |who: usize| case.programs[who].rows.is_some();
    let made = passed.windows(2).filter(move |pair| {
        let (at, next) = (pair[0].site.point, pair[1].site.point);
        case.batch() > 0 && !pair[0].skips.is_empty() && at.path == next.path
    });
    made.map(move |pair| {
        let mut owned = pair[0].skips.iter().map(|(who, _)| has_rows(*who));
        match (owned.clone().any(|owned| owned), owned.all(|owned| owned)) {
            (false, _) => "a skip for the whole batch",
            (true, false) => "a skip for the whole batch beside rows",
            (true, true) => "a skip by all rows",
        }
    })
}

/// Returns whether a site was passed before which an iteration of it was not.
fn has_gap(passed: &[Pass]) -> bool {
    passed.iter().any(|pass| {
        let before = pass.site.iteration.checked_sub(1);
        let before = before.map(|iteration| pass.site.point.at(iteration));
        before.is_some_and(|before| passed.iter().all(|other| other.site != before))
    })
}
