//! The laws of the interleaver, on models and mediators that are generated.
//!
//! The first law compares the engine with a reference that is written from the rules alone, without the engine's means.
//! The others hold between two runs of the engine.

mod support;

#[path = "support/as_program.rs"]
mod as_program;
#[path = "support/generate.rs"]
mod generate;
#[path = "support/programs.rs"]
mod programs;
#[path = "support/reference.rs"]
mod reference;
#[path = "support/verdict.rs"]
mod verdict;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use interloom_engine::array::Array;
use interloom_engine::{
    Cx, Event, Flow, MediatorId, Point, Port, RunEnd, ScheduleError, Scheduler, Site,
};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

use crate::generate::{cases, models, pick, quiet_cases, sites_of};
use crate::programs::{Case, Style};
use crate::reference::judge;
use crate::support::{Model, Record, Trial};
use crate::verdict::{Verdict, engine};

/// Equal runs of the tests see equal cases.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x1417_e410),
        ..ProptestConfig::default()
    }
}

const CASES: u32 = 2_000;
const CASES_MANY: u32 = 100_000;

fn agree(cases_max: u32) {
    let law = |case: Case| {
        let reference = judge(&case);
        prop_assert_eq!(&engine(&case, Style::Machine), &reference);
        prop_assert_eq!(&engine(&case, Style::Async), &reference);
        prop_assert_eq!(&engine(&case, Style::Program), &reference);
        Ok(())
    };
    if let Err(error) = TestRunner::new(config(cases_max)).run(&cases(), law) {
        panic!("{error}");
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
        let Verdict {
            log, end, ended, ..
        } = judge(&case);
        for (.., last) in ended {
            let kind = if last.is_none() { "note" } else { "warning" };
            count(format!("loop ended with a {kind}"));
        }
        let end = format!("{end:?}");
        count(end.split([' ', '(']).next().expect("a name").to_owned());
        for record in log {
            count(format!("{} {}", record.event, record.outcome));
            if record.at.is_some_and(|site| site.iteration > 0) {
                count("in a later iteration".to_owned());
            }
        }
        Ok(())
    };
    let ran = TestRunner::new(config(CASES)).run(&cases(), law);
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
        "loop ended with a note",
        "loop ended with a warning",
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
        "Completed",
        "Stopped",
        "Failed",
        "PartialSkip",
        "SkipMisfit",
        "NeverFired",
        "in a later iteration",
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

/// The exchanges of one mediator, without its number.
fn log_of(log: &[Record], mediator: u32) -> Vec<Record> {
    let own = log.iter().filter(|record| record.mediator == mediator);
    own.map(|record| Record {
        mediator: 0,
        ..record.clone()
    })
    .collect()
}

/// The points of all modules that are called, directly or not, by the module at `input`.
fn inner_points(model: &Model, input: Site) -> BTreeSet<Point> {
    let path = model.map.path_name(input.point.path);
    let place = model.modules.iter().position(|module| module.path == path);
    let mut inner = BTreeSet::new();
    let mut open = vec![place.expect("a module of the model")];
    while let Some(place) = open.pop() {
        for &child in &model.modules[place].children {
            let path = model.map.path(&model.modules[child].path).expect("a path");
            inner.extend([Port::Input, Port::Output].map(|port| Point::new(path, port)));
            open.push(child);
        }
    }
    inner
}

/// A scheduler that chooses by a linear congruential generator.
struct Seeded(u64);

impl Scheduler for Seeded {
    fn choose(&mut self, _: Site, ready: &[MediatorId]) -> Result<usize, ScheduleError> {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        Ok((self.0 >> 33) as usize % ready.len())
    }

    fn describe(&self) -> String {
        format!("seeded {}", self.0)
    }
}

proptest! {
    #![proptest_config(config(CASES))]

    #[test]
    fn r5_two_runs_make_equal_exchanges(case in cases()) {
        let (first, second) = (case.run(Style::Async), case.run(Style::Async));
        prop_assert_eq!(first.log, second.log);
        prop_assert_eq!(first.output, second.output);
        prop_assert_eq!(first.sites, second.sites);
        prop_assert_eq!(first.report.result, second.report.result);
        prop_assert_eq!(first.report.audit, second.report.audit);
    }

    #[test]
    fn r80_an_async_mediator_and_a_program_are_a_hand_written_machine(case in cases()) {
        let (machine, asynchronous) = (case.run(Style::Machine), case.run(Style::Async));
        let program = case.run(Style::Program);
        prop_assert_eq!(&machine.log, &asynchronous.log);
        prop_assert_eq!(&machine.output, &asynchronous.output);
        prop_assert_eq!(&machine.sites, &asynchronous.sites);
        prop_assert_eq!(machine.log, program.log);
        prop_assert_eq!(machine.output, program.output);
        prop_assert_eq!(machine.sites, program.sites);
    }

    #[test]
    fn r52_an_invoke_alone_and_in_company_gets_equal_values(case in quiet_cases()) {
        let together = case.run(Style::Machine);
        prop_assert_eq!(&together.report.result, &Ok(RunEnd::Completed));
        let input = case.input();
        let mut first = 0;
        for (index, program) in case.programs.iter().enumerate() {
            let rows = first..first + case.rows_of(program) as usize;
            first = rows.end;
            let cut = |array: &Array| {
                let data = &array.data()[rows.start * 2..rows.end * 2];
                Array::new(&[rows.len() as u64, 2], data)
            };
            let alone = Case { programs: vec![program.clone()], ..case.clone() };
            let ran = alone.trial(Style::Machine).run(cut(&input));
            prop_assert_eq!(ran.log, log_of(&together.log, index as u32));
            prop_assert_eq!(ran.output, together.output.as_ref().map(cut));
        }
    }

    #[test]
    fn r2_the_order_of_mediators_with_different_rows_changes_no_values(case in quiet_cases(), seed: u64) {
        let in_order = case.run(Style::Machine);
        let mut trial = case.trial(Style::Machine);
        trial.scheduler(Seeded(seed));
        let permuted = trial.run(case.input());
        prop_assert_eq!(in_order.output, permuted.output);
        prop_assert_eq!(in_order.report.audit, permuted.report.audit);
        for mediator in 0..case.programs.len() as u32 {
            prop_assert_eq!(log_of(&in_order.log, mediator), log_of(&permuted.log, mediator));
        }
    }

    #[test]
    fn r4_the_last_swap_wins(
        model in models(),
        place: u16,
        swaps in prop::collection::vec(prop::collection::vec(0u8..100, 1..4), 1..4),
    ) {
        let sites = sites_of(&model);
        let site = sites[pick(place, sites.len())];
        let swapped = |swaps: Vec<Vec<u8>>| {
            let mut trial = Trial::of(&model);
            for (index, own) in swaps.into_iter().enumerate() {
                trial.whole(&format!("swap {index}"), async move |cx: Cx<Array>| {
                    for first in own {
                        cx.set(site, support::table(2, f64::from(first))).await?;
                    }
                    Ok(())
                });
            }
            let seen = trial.whole("reader", async move |cx| cx.value(site).await);
            let ran = trial.run(support::table(2, 1.0));
            (ran.output, seen.take())
        };
        let last = *swaps.last().unwrap().last().unwrap();
        let (output, seen) = swapped(swaps);
        prop_assert_eq!(&seen, &Some(support::table(2, f64::from(last))));
        prop_assert_eq!((output, seen), swapped(vec![vec![last]]));
    }

    #[test]
    fn r20_to_skip_is_to_replace_the_output(
        model in models(),
        place: u16,
        firsts in prop::collection::vec(0u8..100, 1..4),
    ) {
        let sites = sites_of(&model);
        let inputs: Vec<Site> = sites.iter().copied().filter(|site| site.point.port == Port::Input).collect();
        let input = inputs[pick(place, inputs.len())];
        let output = Point::new(input.point.path, Port::Output).at(input.iteration);
        let inner = inner_points(&model, input);
        // Who asks for no inner site sees no difference.
        let watched: Vec<Site> = sites.iter().copied().filter(|site| !inner.contains(&site.point)).collect();
        let batch = firsts.len() as u64;
        let run = |is_skip: bool| {
            let mut trial = Trial::of(&model);
            for (index, &first) in firsts.iter().enumerate() {
                let value = support::table(1, f64::from(first));
                trial.rows(&format!("m{index}"), 1, async move |cx: Cx<Array>| match is_skip {
                    true => cx.skip_at(input, value).await,
                    false => cx.set(output, value).await,
                });
            }
            let watched = watched.clone();
            let seen = trial.whole("watcher", async move |cx: Cx<Array>| {
                let mut seen = Vec::new();
                for site in watched {
                    seen.push(cx.value(site).await?);
                }
                Ok(seen)
            });
            let ran = trial.run(support::table(batch, 1.0));
            (ran.report.result, ran.output, seen.take())
        };
        let skipped = run(true);
        prop_assert!(skipped.0.is_ok() && skipped.2.is_some());
        prop_assert_eq!(skipped, run(false));
    }

    #[test]
    fn r63_the_audit_adds_up_to_the_exchanges(case in cases()) {
        let ran = case.run(Style::Machine);
        let audit = &ran.report.audit;
        prop_assert_eq!(audit.exchanges(), ran.log.len() as u64);
        for (index, account) in (0u32..).zip(&audit.mediators) {
            for event in Event::ALL {
                let own = |record: &&Record| record.mediator == index && record.event == event;
                let is_refused = |record: &Record| event != Event::Exception && record.outcome != "served";
                let (refused, served): (Vec<_>, Vec<_>) =
                    ran.log.iter().filter(own).partition(|record| is_refused(record));
                prop_assert_eq!(account.served(event), served.len() as u64);
                prop_assert_eq!(account.refused(event), refused.len() as u64);
            }
            prop_assert!(account.state.is_retired());
        }
    }

    #[test]
    fn observers_change_nothing(case in cases()) {
        let observed = case.run(Style::Machine);
        let (output, report) = case.trial(Style::Machine).run_unobserved(case.input());
        prop_assert_eq!(observed.output, output);
        prop_assert_eq!(observed.report.result, report.result);
        prop_assert_eq!(observed.report.audit, report.audit);
    }

    #[test]
    fn r62_a_run_that_is_cut_short_leaves_nothing(case in cases(), sites in 0u32..20, is_dropped: bool) {
        let alive = Rc::new(Cell::new(0));
        let mut trial = Trial::of(&case.model);
        for index in 0..case.programs.len() {
            let style = if index % 2 == 0 { Style::Async } else { Style::Program };
            trial.invoke(case.guarded(index, style, &alive));
        }
        let mut run = trial.into_setup().start().unwrap();
        let mut left = sites;
        if !run.is_halted() {
            case.model.forward(case.input(), &mut |point, value| {
                if left == 0 {
                    return Flow::Halt;
                }
                left -= 1;
                match run.passes(point) {
                    true => run.provide(point, value),
                    false => Flow::Continue(value),
                }
            });
        }
        match is_dropped {
            true => drop(run),
            false => {
                let audit = run.cancel();
                prop_assert!(audit.mediators.iter().all(|account| account.state.is_retired()));
            }
        }
        prop_assert_eq!(alive.get(), 0);
        // The model can be run again at once.
        prop_assert_eq!(&engine(&case, Style::Machine), &judge(&case));
    }
}
