//! Laws of whole runs: what they depend on, what they leave, and what they say of themselves.

use interloom_engine::transition::State;
use interloom_engine::{Event, Flow, Note, Point, RunEnd, RunError};
use proptest::prelude::*;

use crate::config;
use crate::generate::{cases, pick, quiet_cases, sites_of};
use crate::programs::Style;
use crate::support::Record;
use crate::tools::{read, with_another};

proptest! {
    #![proptest_config(config(200))]

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
    fn r5_observers_change_nothing(case in cases()) {
        let observed = case.run(Style::Machine);
        let (output, report) = case.trial(Style::Machine).run_unobserved(case.input());
        prop_assert_eq!(observed.output, output);
        prop_assert_eq!(observed.report.result, report.result);
        prop_assert_eq!(observed.report.audit, report.audit);
    }

    #[test]
    fn r63_whether_a_mediator_is_optional_changes_no_exchange(case in cases()) {
        let flipped = |is_optional: bool| {
            let mut case = case.clone();
            for program in &mut case.programs {
                program.is_optional = is_optional;
            }
            case.run(Style::Machine)
        };
        let (strict, lenient) = (flipped(false), flipped(true));
        prop_assert_eq!(strict.log, lenient.log);
        prop_assert_eq!(strict.output, lenient.output);
        match strict.report.result {
            Err(RunError::NeverFired(_)) => prop_assert!(lenient.report.result.is_ok()),
            result => prop_assert_eq!(result, lenient.report.result),
        }
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
    fn r12_the_audit_notes_each_loop_that_ended_early(case in cases()) {
        let ran = case.run(Style::Machine);
        for (index, account) in (0u32..).zip(&ran.report.audit.mediators) {
            let is_note = |note: &&Note| matches!(note, Note::LoopEnded { .. });
            let never_came = |record: &&Record| {
                record.mediator == index && record.event == Event::Exception && record.outcome == "E003"
            };
            // The mediator itself may have failed for it too, once and last.
            let own = u64::from(account.state == State::Failed && {
                let mut own = ran.log.iter().filter(|record| record.mediator == index);
                own.next_back().is_some_and(|record| record.outcome == "E003")
            });
            let noted = account.notes.iter().filter(is_note).count() as u64;
            prop_assert_eq!(noted, ran.log.iter().filter(never_came).count() as u64 - own);
        }
    }

    #[test]
    fn r11_whoever_waits_at_the_end_of_a_run_that_succeeds_has_gone_on(case in cases()) {
        let ran = case.run(Style::Machine);
        if matches!(ran.report.result, Ok(_) | Err(RunError::NeverFired(_))) {
            for account in &ran.report.audit.mediators {
                prop_assert!(matches!(account.state, State::Ended | State::Stopped), "{}", account);
                prop_assert_eq!(&account.open, &None);
            }
        }
    }

    #[test]
    fn r60_a_stop_before_the_model_lets_no_site_pass(case in quiet_cases()) {
        let stopped = with_another(&case, vec![crate::steps::Step::Stop]).run(Style::Machine);
        let by = format!("m{}", case.programs.len());
        prop_assert_eq!(stopped.report.result, Ok(RunEnd::Stopped { by, at: None }));
        prop_assert_eq!(stopped.output, None);
        prop_assert!(stopped.sites.is_empty());
        prop_assert!(stopped.log.iter().all(|record| record.at.is_none()));
    }

    #[test]
    fn r60_a_stop_changes_nothing_before_it(case in quiet_cases(), place: u16) {
        let sites = sites_of(&case.model);
        let site = case.model.map.site_name(sites[pick(place, sites.len())]);
        let lines = vec![read(site.clone()), crate::steps::Step::Stop];
        let (whole, cut) = (case.run(Style::Machine), with_another(&case, lines).run(Style::Machine));
        let passed = whole.sites.iter().position(|passed| *passed == site);
        prop_assert_eq!(&cut.sites[..], &whole.sites[..passed.map_or(whole.sites.len(), |last| last + 1)]);
        let is_another = |record: &Record| record.mediator == case.programs.len() as u32;
        let first = cut.log.iter().position(is_another).expect("it asks for something");
        prop_assert_eq!(&cut.log[..first], &whole.log[..first]);
    }

    #[test]
    fn r61_who_has_ended_costs_nothing_at_later_sites(case in quiet_cases(), place: u16) {
        let sites = sites_of(&case.model);
        let last = pick(place, sites.len());
        let lines = vec![read(case.model.map.site_name(sites[last]))];
        let case = crate::tools::only(&case, lines);
        let mut run = case.trial(Style::Machine).into_setup().start().unwrap();
        let mut looked_at = Vec::new();
        let mut gate = |point: Point, value| {
            let is_wanted = run.passes(point);
            looked_at.push(is_wanted);
            match is_wanted {
                true => run.provide(point, value),
                false => Flow::Continue(value),
            }
        };
        case.model.forward(case.input(), &mut gate);
        // Not before either: an earlier iteration of the point needs no value.
        let expected = (0..sites.len()).map(|at| at == last);
        prop_assert_eq!(looked_at, expected.collect::<Vec<_>>());
    }
}
