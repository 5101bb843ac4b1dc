//! The scenarios, on burn, compared with both versions of the reference: one named case each.
//!
//! `reasons.json` beside the scenarios lists what is not the same: for each version and scenario in
//! which aspects, and by which rules. A difference that is listed and not there fails its case as
//! well as one that is there and not listed. In `conformance` it says under `versions`, for
//! scenarios in which the two versions differ and neither differs from Interloom in what is
//! compared, which rule decides.
//!
//! The scenarios in `told` were not recorded, but written down from the rules; all of them have to
//! be the same. So have those in `aliased`, which are no programs, because a list in them is in
//! more than one place.
//!
//! Each scenario also runs with async mediators, whose exchanges are compared with the journal of
//! the programs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use burn::tensor::Device;
use interloom::{Conclusion, Mode, Proof, Session, SessionBuilder};
use interloom_backends::Value as BurnValue;
use interloom_conform::{Folder, REFERENCES, Surroundings, Verdict};
use interloom_engine::Mediator;
use interloom_journal::Policy;
use interloom_program::{Datum, Program};
use interloom_tests::{Scenarios, interpret};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = vec![
        Trial::test(
            "reasons_are_of_scenarios_and_explained",
            every_reason_is_explained,
        ),
        Trial::test(
            "versions_that_differ_are_decided_by_a_rule",
            every_difference_is_decided,
        ),
    ];
    for (folder, references) in [(RECORDED, &REFERENCES[..]), (KINDS, &["v081"])] {
        for id in open(folder).ids() {
            for reference in references {
                let id = id.clone();
                let name = match folder {
                    RECORDED => format!("{reference}::{id}"),
                    folder => format!("{folder}::{id}"),
                };
                trials.push(Trial::test(name, move || {
                    is_as_listed(folder, &id, reference)
                }));
            }
        }
    }
    for id in open(TOLD).ids() {
        let id = id.clone();
        let name = format!("told::{id}");
        trials.push(Trial::test(name, move || is_same_as_programs(&id)));
    }
    for id in open(ALIASED).ids() {
        let id = id.clone();
        let name = format!("aliased::{id}");
        trials.push(Trial::test(name, move || is_same_as_written(&id)));
    }
    let checks: [(&str, Check); 4] = [
        ("modes", is_replayed_in_every_mode),
        ("fork", is_the_same_wherever_it_is_forked),
        ("late", is_the_same_when_read_late),
        ("async", is_equal_as_async),
    ];
    for folder in [RECORDED, KINDS, TOLD] {
        for (id, (name, check)) in open(folder)
            .ids()
            .iter()
            .flat_map(|id| checks.map(|check| (id, check)))
        {
            let name = match folder {
                RECORDED => format!("{name}::{id}"),
                folder => format!("{name}::{folder}::{id}"),
            };
            let id = id.clone();
            trials.push(Trial::test(name, move || check(folder, &id)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

const RECORDED: &str = "conformance";
const KINDS: &str = "kinds";
const TOLD: &str = "told";
const ALIASED: &str = "aliased";

fn home(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

/// Each case opens the folder for itself, for models are not shared between threads.
fn open(folder: &str) -> Folder {
    Folder::open(&home(folder), &Device::flex()).unwrap()
}

fn table(folder: &str, name: &str) -> Value {
    let text = std::fs::read_to_string(home(folder).join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A check of a scenario in a folder.
type Check = fn(&'static str, &str) -> Result<(), Failed>;

fn is_same_as_programs(id: &str) -> Result<(), Failed> {
    is_same(open(TOLD).compare_programs(id, "v081"))
}

fn is_same_as_written(id: &str) -> Result<(), Failed> {
    let folder = open(ALIASED);
    if folder.compare_programs(id, "v081") == Verdict::Same {
        return Err("programs can say this, so it belongs to `told`".into());
    }
    is_same(folder.compare(id, "v081"))
}

fn is_same(verdict: Verdict) -> Result<(), Failed> {
    match verdict {
        Verdict::Same => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn is_as_listed(folder: &str, id: &str, reference: &'static str) -> Result<(), Failed> {
    let listed = table(folder, "reasons.json")[reference][id].clone();
    let scenarios = open(folder);
    let verdict = match folder {
        RECORDED => scenarios.compare_programs(id, reference),
        _ => scenarios.compare(id, reference),
    };
    let found = match verdict {
        Verdict::Same => Value::Null,
        Verdict::ByRule { rules, differences } => {
            let aspects = differences.iter().map(|found| found.aspect.name());
            let rules: BTreeSet<&str> = rules.iter().map(|rule| rule.rule).collect();
            json!({ "differs": aspects.collect::<Vec<_>>(), "rules": rules })
        }
        Verdict::NotCompared(what) => json!({ "not_compared": what }),
        Verdict::Differs(differences) => {
            let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
            return Err(format!("differs without a rule:\n{}", lines.join("\n")).into());
        }
        other => return Err(format!("{other:?}").into()),
    };
    match found == listed {
        true => Ok(()),
        false => Err(format!("found {found}, listed {listed}").into()),
    }
}

/// R80: async mediators make the exchanges of the programs, bit for bit, and save the same.
fn is_equal_as_async(name: &str, id: &str) -> Result<(), Failed> {
    let folder = open(name);
    let place = tempfile::tempdir()?;
    let journal = place.path().join("scenario.ilj");
    let mut session = opened(&folder, id, Policy::Digest).record(&journal)?;
    let Some(results) = folder.run(id, machine, &mut session)? else {
        let listed = &table(name, "reasons.json")["v081"][id];
        assert!(
            listed["not_compared"].is_string(),
            "it is listed as one that is not compared"
        );
        return Ok(());
    };
    session.finish()?;

    let saved = interpret::Saved::default();
    let mut session = opened(&folder, id, Policy::Digest).verify(&journal)?;
    let walked = |program: &_, around: &_| interpret::mediator(program, around, &saved);
    folder.run(id, walked, &mut session)?;
    let conclusion = session.finish()?;
    if !conclusion.is_identical() {
        return Err(format!("{conclusion:#?}").into());
    }
    let (own, other) = (bits(&results.saved()), bits(&saved.borrow()));
    match own == other {
        true => Ok(()),
        false => Err(format!("saved {other:?}, the program {own:?}").into()),
    }
}

/// Digests that come later than their exchanges change no byte of a journal.
fn is_the_same_when_read_late(folder: &str, id: &str) -> Result<(), Failed> {
    let folder = open(folder);
    let place = tempfile::tempdir()?;
    for policy in [Policy::Digest, Policy::Full] {
        let mut journals = Vec::new();
        // Never, when a few values wait, and at the end of each run.
        for bytes in [0, 100, u64::MAX] {
            let journal = place.path().join("late.ilj");
            let mut session = opened(&folder, id, policy).record(&journal)?;
            session.set_readback_budget(bytes);
            folder.run(id, machine, &mut session)?;
            session.finish()?;
            journals.push(std::fs::read(journal)?);
        }
        let same = journals.windows(2).all(|pair| pair[0] == pair[1]);
        if !same {
            return Err("the journals differ".into());
        }
    }
    Ok(())
}

fn opened(folder: &Folder, id: &str, policy: Policy) -> SessionBuilder {
    let device = folder.device(id).expect("the scenario can be read");
    Session::of(&Scenarios::on(device)).policy(policy)
}

fn machine(program: &Program, around: &Surroundings) -> Box<dyn Mediator<BurnValue>> {
    Box::new(around.machine(program).expect("within the limits"))
}

/// The journal of a scenario serves its mediators without the model, and drives the model without
/// its mediators.
fn is_replayed_in_every_mode(folder: &str, id: &str) -> Result<(), Failed> {
    let folder = open(folder);
    let place = tempfile::tempdir()?;
    let journal = place.path().join("scenario.ilj");
    let mut session = opened(&folder, id, Policy::Full).record(&journal)?;
    let Some(results) = folder.run(id, machine, &mut session)? else {
        return Ok(());
    };
    session.finish()?;
    let modes = [
        (Mode::Verify(journal.clone()), Proof::Reexecution),
        (Mode::Serve(journal.clone()), Proof::Mediators),
        (Mode::Drive(journal), Proof::Model),
    ];
    for (mode, proves) in modes {
        let mut session = opened(&folder, id, Policy::Full).open(mode)?;
        let own = folder
            .run(id, machine, &mut session)?
            .expect("it ran before");
        let conclusion = session.finish()?;
        let Conclusion::Verified { proof, .. } = &conclusion else {
            return Err("nothing was compared".into());
        };
        if !conclusion.is_identical() || *proof != proves {
            return Err(format!("{conclusion:#?}").into());
        }
        // Nothing is saved where the mediators are not live.
        if proves != Proof::Model && bits(&own.saved()) != bits(&results.saved()) {
            return Err(format!("{proof}: saved {:?}", own.saved()).into());
        }
    }
    Ok(())
}

/// A fork whose mediators go on as they did makes the journal that it was forked from.
fn is_the_same_wherever_it_is_forked(folder: &str, id: &str) -> Result<(), Failed> {
    let folder = open(folder);
    let place = tempfile::tempdir()?;
    let from = place.path().join("from.ilj");
    let mut session = opened(&folder, id, Policy::Full).record(&from)?;
    session.keep_passages(true);
    let Some(results) = folder.run(id, machine, &mut session)? else {
        return Ok(());
    };
    let Conclusion::Recorded {
        exchanges, digest, ..
    } = session.conclude()?
    else {
        return Err("nothing was recorded".into());
    };
    for exchange in 0..=exchanges {
        let into = place.path().join("into.ilj");
        let mut session = opened(&folder, id, Policy::Full).fork(&from, exchange, into)?;
        let own = folder
            .run(id, machine, &mut session)?
            .expect("it ran before");
        let conclusion = session.finish()?;
        let is_same =
            matches!(&conclusion, Conclusion::Recorded { digest: own, .. } if *own == digest);
        if !is_same || bits(&own.saved()) != bits(&results.saved()) {
            return Err(format!("forked at {exchange}: {conclusion:?}, recorded {digest}").into());
        }
    }
    Ok(())
}

fn bits(
    saved: &std::collections::BTreeMap<String, Datum<BurnValue>>,
) -> Vec<(String, Vec<String>)> {
    let entries = saved.iter();
    entries
        .map(|(name, datum)| (name.clone(), datum_bits(datum)))
        .collect()
}

fn datum_bits(datum: &Datum<BurnValue>) -> Vec<String> {
    match datum {
        Datum::Number(number) => vec![number.to_bits().to_string()],
        Datum::List(items) => items.iter().flat_map(datum_bits).collect(),
        Datum::Value(value) => {
            let mut parts = vec![value.to_string()];
            value.each_tensor(&mut |tensor| {
                parts.push(format!("{:?}", tensor.to_data().bytes()));
            });
            parts
        }
    }
}

fn every_reason_is_explained() -> Result<(), Failed> {
    for (name, count) in [(RECORDED, 89), (KINDS, 36)] {
        let (reasons, folder) = (table(name, "reasons.json"), open(name));
        let ids: BTreeSet<&str> = folder.ids().iter().map(String::as_str).collect();
        assert_eq!(ids.len(), count, "the scenarios are here");
        for (part, entries) in reasons.as_object().unwrap() {
            for (id, entry) in entries.as_object().unwrap() {
                assert!(
                    ids.contains(id.as_str()),
                    "{part}: there is no scenario {id}"
                );
                let rules = entry["rules"].as_array();
                let is_rule =
                    |rule: &Value| rule.as_str().is_some_and(|rule| rule.starts_with('R'));
                let is_explained =
                    rules.is_some_and(|rules| !rules.is_empty() && rules.iter().all(is_rule));
                assert!(
                    is_explained || entry["not_compared"].is_string(),
                    "{part}: {id} names no rule"
                );
            }
        }
    }
    Ok(())
}

/// Where the versions differ, a rule decides, and the table says which.
fn every_difference_is_decided() -> Result<(), Failed> {
    let reasons = table(RECORDED, "reasons.json");
    let differences = table(RECORDED, "differences.json");
    for (id, found) in differences.as_object().unwrap() {
        let differ = found["diffs"]
            .as_array()
            .is_some_and(|list| !list.is_empty());
        let is_listed = ["v050", "v081", "versions"]
            .iter()
            .any(|part| !reasons[part][id].is_null());
        assert!(
            is_listed || !differ,
            "{id}: the versions differ in {}, by which rule?",
            found["diffs"]
        );
    }
    Ok(())
}
