//! Laws of stepping: who is asked when, and what others notice of it.

use interloom_engine::array::Array;
use interloom_engine::{Cx, Event};
use proptest::prelude::*;

use crate::config;
use crate::generate::{cases, models, pick, quiet_cases, sites_of};
use crate::programs::Style;
use crate::steps::{Form, Made, Step};
use crate::support::{Record, Trial, table};
use crate::tools::{Seeded, log_of, log_of_first, read, unchanged, with_another, write};

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn r2_the_order_of_mediators_with_different_rows_changes_no_values(case in quiet_cases(), seed: u64) {
        let in_order = case.run(Style::Machine);
        let mut trial = case.trial(Style::Machine);
        trial.scheduler(Seeded(seed));
        let permuted = trial.run(case.input());
        prop_assert_eq!(in_order.output, permuted.output);
        prop_assert_eq!(in_order.report.audit, permuted.report.audit);
        for mediator in 0..case.programs.len() {
            prop_assert_eq!(log_of(&in_order.log, mediator), log_of(&permuted.log, mediator));
        }
    }

    #[test]
    fn r2_a_mediator_at_a_later_site_leaves_what_was_before(case in quiet_cases(), place: u16) {
        let sites = sites_of(&case.model);
        let site = case.model.map.site_name(sites[pick(place, sites.len())]);
        let another = with_another(&case, vec![write(site, Made { shift: 5.0, ..unchanged() })]);
        let (before, after) = (case.run(Style::Machine), another.run(Style::Machine));
        let is_another = |record: &Record| record.mediator == case.programs.len() as u32;
        let first = after.log.iter().position(is_another).expect("it asks for something");
        prop_assert_eq!(&after.log[..first], &before.log[..first]);
    }

    #[test]
    fn r3_what_is_served_is_at_hand(case in cases()) {
        for record in case.run(Style::Machine).log {
            let is_of_site = matches!(record.event, Event::Value | Event::Swap | Event::Skip);
            if is_of_site && record.outcome == "served" {
                prop_assert_eq!(record.asked.and_then(Result::ok), record.at);
            }
        }
    }

    #[test]
    fn r3_a_swap_is_read_at_once(case in quiet_cases(), place: u16, shift in 0u8..100) {
        let sites = sites_of(&case.model);
        let site = case.model.map.site_name(sites[pick(place, sites.len())]);
        let made = Made { shift: f64::from(shift), ..unchanged() };
        let lines = vec![read(site.clone()), write(site.clone(), made), read(site)];
        let log = with_another(&case, lines).run(Style::Machine).log;
        let own = log_of(&log, case.programs.len());
        prop_assert_eq!(&own[1].value, &own[2].value);
        if let (Some(first), Some(second)) = (&own[0].value, &own[2].value) {
            prop_assert_eq!(&first.map(|x| x + f64::from(shift)), second);
        }
    }

    #[test]
    fn r3_a_swap_with_the_value_just_read_changes_nothing(case in quiet_cases(), place: u16) {
        let sites = sites_of(&case.model);
        let site = case.model.map.site_name(sites[pick(place, sites.len())]);
        let lines = vec![Step::attempt(vec![Step::read(site.clone()), write(site, unchanged())])];
        let (without, with) = (case.run(Style::Machine), with_another(&case, lines).run(Style::Machine));
        prop_assert_eq!(&without.output, &with.output);
        prop_assert_eq!(without.log, log_of_first(&with.log, case.programs.len()));
    }

    #[test]
    fn r4_reading_never_changes_the_output(model in models(), places in prop::collection::vec(any::<u16>(), 0..12)) {
        let sites = sites_of(&model);
        let x = table(2, 3.0);
        let mut trial = Trial::of(&model);
        for (index, place) in places.into_iter().enumerate() {
            let site = sites[pick(place, sites.len())];
            trial.whole(&format!("reader {index}"), async move |cx: Cx<Array>| cx.value(site).await);
        }
        prop_assert_eq!(trial.run(x.clone()).output, Some(model.plain(x)));
    }

    #[test]
    fn r4_who_only_reads_is_noticed_by_nobody(case in quiet_cases(), places in prop::collection::vec(any::<u16>(), 0..6)) {
        let sites = sites_of(&case.model);
        let names = places.iter().map(|&place| case.model.map.site_name(sites[pick(place, sites.len())]));
        let another = with_another(&case, names.map(read).collect());
        let (without, with) = (case.run(Style::Machine), another.run(Style::Machine));
        prop_assert_eq!(&without.output, &with.output);
        prop_assert_eq!(&without.sites, &with.sites);
        prop_assert_eq!(without.log, log_of_first(&with.log, case.programs.len()));
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
                        cx.set(site, table(2, f64::from(first))).await?;
                    }
                    Ok(())
                });
            }
            let seen = trial.whole("reader", async move |cx| cx.value(site).await);
            let ran = trial.run(table(2, 1.0));
            (ran.output, seen.take())
        };
        let last = *swaps.last().unwrap().last().unwrap();
        let (output, seen) = swapped(swaps);
        prop_assert_eq!(&seen, &Some(table(2, f64::from(last))));
        prop_assert_eq!((output, seen), swapped(vec![vec![last]]));
    }

    #[test]
    fn r13_a_name_that_the_model_lacks_costs_nothing(case in quiet_cases(), at in any::<prop::sample::Index>()) {
        let mut asking = case.clone();
        let lines = &mut asking.programs[0].lines;
        lines.insert(at.index(lines.len() + 1), read("nowhere.output".to_owned()));
        let (without, with) = (case.run(Style::Machine), asking.run(Style::Machine));
        let known = |log: Vec<Record>| -> Vec<Record> {
            let is_known = |record: &Record| record.outcome != "E001";
            log.into_iter().filter(is_known).collect()
        };
        prop_assert!(with.log.len() > without.log.len());
        prop_assert_eq!(known(with.log), known(without.log));
        prop_assert_eq!(with.output, without.output);
    }

    #[test]
    fn r51_what_is_refused_leaves_the_values_as_they_are(case in quiet_cases(), place: u16, kind in 0u8..3) {
        let sites = sites_of(&case.model);
        let site = sites[pick(place, sites.len())];
        let target = case.model.map.site_name(site);
        let step = match kind {
            0 => Step::Write { target, expr: Made { form: Form::Wider, ..unchanged() }, reshape: false },
            // Others have rows in this batch.
            1 => Step::Write { target, expr: Made { form: Form::Longer, ..unchanged() }, reshape: true },
            _ => Step::Skip {
                target: target.replace("input", "output"),
                expr: unchanged(),
            },
        };
        let another = with_another(&case, vec![Step::attempt(vec![step])]);
        let (without, with) = (case.run(Style::Machine), another.run(Style::Machine));
        let refused = log_of(&with.log, case.programs.len())[0].outcome;
        prop_assert!(["E003", "E004", "E005", "E006"].contains(&refused), "{}", refused);
        prop_assert_eq!(&without.output, &with.output);
        prop_assert_eq!(without.log, log_of_first(&with.log, case.programs.len()));
    }
}
