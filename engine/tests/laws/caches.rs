//! Laws of caches: what they hold is what the sites have passed on.

use std::collections::BTreeMap;

use interloom_engine::array::Array;
use interloom_engine::{CacheSpec, Cx, Site};
use proptest::prelude::*;

use crate::generate::{cases, quiet_cases, sites_of};
use crate::programs::{CACHES, Case, Shelf, Style};
use crate::reference::{Pass, judge};
use crate::steps::{Collects, Step};
use crate::support::to_array;
use crate::tools::{cut, read, with_another};
use crate::{STYLES, config};

type Contents = BTreeMap<Site, Array>;

/// The caches that were declared, the run's first, then those of each mediator by their names.
fn contents_of(shelves: &[Shelf]) -> Vec<Option<Contents>> {
    let find = |shelf: &Shelf, name: &str| {
        let cached = shelf(name)?;
        let sites = cached.sites().into_iter();
        Some(
            sites
                .filter_map(|site| Some((site, cached.at(site)?)))
                .collect(),
        )
    };
    let own = shelves[1..]
        .iter()
        .flat_map(|shelf| CACHES.map(|name| find(shelf, name)));
    std::iter::once(find(&shelves[0], "")).chain(own).collect()
}

/// Every passing of the points of a cache, for one that is declared late is refused.
fn expected(case: &Case, passed: &[Pass], owner: Option<usize>, what: &Collects) -> Contents {
    let is_there = |pass: &&Pass| !pass.is_open && what.has(pass.site.point, &case.model.map);
    let own = |pass: &Pass| {
        let all = 0..pass.value.len();
        let rows = owner.map_or(all, |owner| case.own_rows(owner, pass.value.len()));
        (pass.site, to_array(&pass.value[rows]))
    };
    passed.iter().filter(is_there).map(own).collect()
}

/// What the lines declare by a name, wherever they do.
fn declared<'l>(lines: &'l [Step], name: &str, all: &mut Vec<&'l Collects>) {
    for line in lines {
        match line {
            Step::Cache { r#as, collects } if r#as == name => all.push(collects),
            Step::Try { body, .. } | Step::Iter { body, .. } => declared(body, name, all),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn r70_caches_hold_what_the_sites_passed_on(case in cases()) {
        let (trial, shelves) = case.trial_with_shelves(Style::Machine);
        trial.run(case.input());
        let found = contents_of(&shelves);
        for style in STYLES {
            let (trial, shelves) = case.trial_with_shelves(style);
            trial.run(case.input());
            prop_assert_eq!(&contents_of(&shelves), &found);
        }
        let (_, passed) = judge(&case);
        let of_run = case.cache.as_ref().map(|what| expected(&case, &passed, None, what));
        prop_assert_eq!(&found[0], &of_run);
        for (owner, program) in case.programs.iter().enumerate() {
            for (place, name) in CACHES.into_iter().enumerate() {
                let mut all = Vec::new();
                declared(&program.lines, name, &mut all);
                if let Some(found) = &found[1 + owner * CACHES.len() + place] {
                    // One that was refused stays empty.
                    let mut possible = all.iter().map(|what| expected(&case, &passed, Some(owner), what));
                    prop_assert!(found.is_empty() || possible.any(|expected| expected == *found));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn r70_a_cache_is_reads_that_come_last(case in quiet_cases()) {
        let sites = sites_of(&case.model);
        // One for each, so that none waits for a site that is skipped.
        let readers = sites.iter().fold(case.clone(), |case, site| {
            with_another(&case, vec![read(case.model.map.site_name(*site))])
        });
        let mut trial = readers.trial(Style::Machine);
        let cached = trial.cache(CacheSpec::all().both());
        let ran = trial.run(case.input());
        let is_reader = |mediator: u32| mediator as usize >= case.programs.len();
        let own = ran.log.into_iter().filter(|record| is_reader(record.mediator));
        let seen: Contents = own.filter_map(|record| Some((record.at?, record.value?))).collect();
        let held = cached.sites().into_iter().map(|site| (site, cached.at(site).unwrap()));
        prop_assert_eq!(held.collect::<Contents>(), seen);
    }

    #[test]
    fn r70_a_cache_of_an_invoke_is_its_part_of_that_of_the_run(case in quiet_cases()) {
        let mut trial = case.trial(Style::Machine);
        let cached = trial.cache(CacheSpec::all().both());
        let rows = case.batch() as usize;
        let own = trial.rows("own", 2, async move |cx: Cx<Array>| cx.cache(CacheSpec::all().both()).await);
        let ran = trial.run(crate::support::table(rows as u64 + 2, 1.0));
        // Who skips together needs the other one too.
        prop_assume!(ran.report.result.is_ok());
        let own = own.take().expect("it is declared in time");
        prop_assert_eq!(own.sites(), cached.sites());
        for site in own.sites() {
            let all = cached.at(site).unwrap();
            prop_assert_eq!(own.at(site).unwrap(), cut(&all, rows..rows + 2));
        }
    }

    #[test]
    fn r70_a_cache_is_noticed_by_nobody(case in cases(), at in any::<prop::sample::Index>()) {
        let style = STYLES[at.index(STYLES.len())];
        let without = case.run(style);
        let mut trial = case.trial(style);
        let _ = trial.cache(CacheSpec::all().both());
        let with = trial.run(case.input());
        prop_assert_eq!(&without.log, &with.log);
        prop_assert_eq!(&without.output, &with.output);
        let mut declaring = case.clone();
        let count = declaring.programs.len();
        let collects = Collects { modules: None, include_output: true, include_inputs: true, include_gradients: false };
        // First of all, where it cannot be refused.
        let first = Step::Cache { r#as: "c".to_owned(), collects };
        declaring.programs[at.index(count)].lines.insert(0, first);
        prop_assert_eq!(&declaring.run(style).log, &without.log);
    }
}
