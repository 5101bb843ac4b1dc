//! Laws of batches and skips: rows that do not know of each other.

use interloom_engine::array::Array;
use interloom_engine::{Cx, Point, Port, RunEnd, Site, Value};
use proptest::prelude::*;

use crate::config;
use crate::generate::{models, pick, quiet_cases, sites_of};
use crate::programs::{Case, Program, Style};
use crate::support::{Record, Trial, table};
use crate::tools::{cut, inner_points, log_of};

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn r52_an_invoke_alone_and_in_company_gets_equal_values(case in quiet_cases()) {
        let together = case.run(Style::Machine);
        prop_assert_eq!(&together.report.result, &Ok(RunEnd::Completed));
        let input = case.input();
        let mut first = 0;
        for (index, program) in case.programs.iter().enumerate() {
            let rows = first..first + case.rows_of(program) as usize;
            first = rows.end;
            let alone = Case { programs: vec![program.clone()], ..case.clone() };
            let ran = alone.trial(Style::Machine).run(cut(&input, rows.clone()));
            prop_assert_eq!(ran.log, log_of(&together.log, index));
            prop_assert_eq!(ran.output, together.output.as_ref().map(|all| cut(all, rows.clone())));
        }
    }

    #[test]
    fn r50_an_invoke_of_many_rows_is_as_many_invokes_of_one(case in quiet_cases()) {
        let program = &case.programs[0];
        let rows = case.rows_of(program) as usize;
        let one = Case { programs: vec![program.clone()], ..case.clone() };
        let each = Program { rows: Some(1), ..program.clone() };
        let many = Case { programs: vec![each; rows], ..case.clone() };
        let (one, many) = (one.run(Style::Machine), many.run(Style::Machine));
        for row in 0..rows {
            let part = |record: &Record| Record {
                value: record.value.as_ref().map(|value| cut(value, row..row + 1)),
                ..record.clone()
            };
            let own: Vec<Record> = one.log.iter().map(part).collect();
            prop_assert_eq!(own, log_of(&many.log, row));
        }
        prop_assert_eq!(one.output, many.output);
    }

    #[test]
    fn r50_who_sees_the_whole_batch_sees_all_rows_joined(
        model in models(),
        place: u16,
        counts in prop::collection::vec(0u32..4, 1..5),
    ) {
        let sites = sites_of(&model);
        let site = sites[pick(place, sites.len())];
        let mut trial = Trial::of(&model);
        let read = async move |cx: Cx<Array>| cx.value(site).await;
        let parts: Vec<_> = (0..counts.len())
            .map(|index| trial.rows(&format!("m{index}"), counts[index], read))
            .collect();
        let whole = trial.whole("whole", read);
        trial.run(table(u64::from(counts.iter().sum::<u32>()), 1.0));
        let parts = parts.iter().map(|part| part.take().unwrap()).collect();
        prop_assert_eq!(Array::join(parts).unwrap(), whole.take().unwrap());
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
                let value = table(1, f64::from(first));
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
            let ran = trial.run(table(batch, 1.0));
            (ran.report.result, ran.output, seen.take())
        };
        let skipped = run(true);
        prop_assert!(skipped.0.is_ok() && skipped.2.is_some());
        prop_assert_eq!(skipped, run(false));
    }

    #[test]
    fn r21_to_skip_together_is_to_skip_with_the_joined_value(
        model in models(),
        place: u16,
        firsts in prop::collection::vec(0u8..100, 1..4),
    ) {
        let sites = sites_of(&model);
        let inputs: Vec<Site> = sites.into_iter().filter(|site| site.point.port == Port::Input).collect();
        let input = inputs[pick(place, inputs.len())];
        let parts: Vec<Array> = firsts.iter().map(|&first| table(1, f64::from(first))).collect();
        let rows = firsts.len() as u64;
        let mut trial = Trial::of(&model);
        for (index, part) in parts.iter().cloned().enumerate() {
            trial.rows(&format!("m{index}"), 1, async move |cx: Cx<Array>| cx.skip_at(input, part).await);
        }
        let apart = trial.run(table(rows, 1.0));
        let joined = Array::join(parts).unwrap();
        let mut trial = Trial::of(&model);
        trial.rows("all", rows as u32, async move |cx: Cx<Array>| cx.skip_at(input, joined).await);
        let together = trial.run(table(rows, 1.0));
        prop_assert_eq!(apart.report.result, together.report.result);
        prop_assert_eq!(apart.output, together.output);
        prop_assert_eq!(apart.sites, together.sites);
    }

    #[test]
    fn r23_to_skip_the_root_is_to_pass_nothing_inside(model in models(), first in 0u8..100) {
        let value = table(2, f64::from(first));
        let mut trial = Trial::of(&model);
        let part = value.clone();
        trial.whole("skip", async move |cx: Cx<Array>| cx.skip("", part).await);
        let ran = trial.run(table(2, 1.0));
        prop_assert_eq!(ran.report.result, Ok(RunEnd::Completed));
        prop_assert_eq!(ran.sites, ["input.i0", "output.i0"]);
        prop_assert_eq!(ran.output, Some(value));
    }
}
