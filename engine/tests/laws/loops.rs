//! Laws of loops and iterations: a loop is the requests that it stands for.

use std::collections::BTreeMap;

use interloom_engine::array::Array;
use interloom_engine::{Cx, Event, Iterations, Point, mediator};
use proptest::prelude::*;

use crate::config;
use crate::generate::{models, pick, quiet_cases, sites_of};
use crate::programs::Style;
use crate::steps::{Span, Step};
use crate::support::{Model, Record, Trial, table};
use crate::tools::{read, with_another};

/// The point of a model that is passed most often, and how often.
fn busiest(model: &Model) -> (Point, u32) {
    let mut counts = BTreeMap::<Point, u32>::new();
    for site in sites_of(model) {
        *counts.entry(site.point).or_default() += 1;
    }
    let busiest = counts.into_iter().max_by_key(|(_, count)| *count);
    busiest.expect("a model has a root")
}

/// The exchanges that are for sites.
fn of_sites(log: Vec<Record>) -> Vec<Record> {
    let is_of_site = |record: &Record| matches!(record.asked, Some(Ok(_)));
    log.into_iter().filter(is_of_site).collect()
}

/// What a mediator is answered that reads a site of each iteration, in the order of its requests.
fn read_each(model: &Model, point: Point, iterations: Iterations) -> Vec<Record> {
    let mut trial = Trial::of(model);
    trial.whole("loop", async move |cx: Cx<Array>| {
        let read = move |cx: Cx<Array>, _| async move { cx.value(point).await };
        cx.for_each(iterations, read).await
    });
    of_sites(trial.run(table(2, 1.0)).log)
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn r30_the_kth_passing_is_iteration_k(model in models()) {
        let (point, count) = busiest(&model);
        let mut passed = Vec::new();
        model.forward(table(2, 1.0), &mut |at, value| {
            passed.extend((at == point).then(|| value.clone()));
            interloom_engine::Flow::Continue(value)
        });
        let mut trial = Trial::of(&model);
        let read: Vec<_> = (0..count)
            .map(|k| trial.whole(&format!("m{k}"), async move |cx: Cx<Array>| cx.value(point.at(k)).await))
            .collect();
        trial.run(table(2, 1.0));
        let read: Vec<Array> = read.iter().map(|read| read.take().unwrap()).collect();
        prop_assert_eq!(read, passed);
    }

    #[test]
    fn r31_a_loop_is_its_requests_written_out(model in models(), start: u16) {
        let (point, count) = busiest(&model);
        let start = pick(start, count as usize) as u32;
        let mut trial = Trial::of(&model);
        trial.whole("written out", async move |cx: Cx<Array>| {
            for k in start..count {
                cx.value(point.at(k)).await?;
            }
            Ok(())
        });
        let written_out = of_sites(trial.run(table(2, 1.0)).log);
        prop_assert_eq!(&read_each(&model, point, (start..count).into()), &written_out);
        // Without an upper bound there is one request more, which cannot be served.
        let mut open = read_each(&model, point, (start..).into());
        prop_assert_eq!(open.pop().map(|last| last.outcome), Some("E003"));
        prop_assert_eq!(&open, &written_out);
        // With the number of steps declared there is none.
        let mut trial = Trial::of(&model);
        trial.steps(count);
        trial.whole("loop", async move |cx: Cx<Array>| {
            let read = move |cx: Cx<Array>, _| async move { cx.value(point).await };
            cx.for_each(start.., read).await
        });
        let log = trial.run(table(2, 1.0)).log;
        let registered = log.iter().filter(|record| record.event == Event::Register);
        prop_assert_eq!(registered.map(|record| record.outcome).collect::<Vec<_>>(), vec!["served"; (count - start) as usize]);
        prop_assert_eq!(&of_sites(log), &written_out);
    }

    #[test]
    fn r31_to_delegate_is_to_do_it_oneself(case in quiet_cases()) {
        let lines = &case.programs[0].lines;
        let looping = vec![Step::each(Span::List(vec![0]), lines.clone())];
        let (plain, delegated) = (with_another(&case, lines.clone()), with_another(&case, looping));
        let (plain, delegated) = (plain.run(Style::Machine), delegated.run(Style::Machine));
        let shown = |log: Vec<Record>| -> Vec<Record> {
            let is_frame = |record: &Record| matches!(record.event, Event::Register | Event::End);
            log.into_iter().filter(|record| !is_frame(record)).collect()
        };
        prop_assert_eq!(shown(plain.log), shown(delegated.log));
        prop_assert_eq!(plain.output, delegated.output);
    }

    #[test]
    fn r32_the_order_of_a_list_does_not_matter(
        case in quiet_cases(),
        list in prop::collection::vec(0u32..4, 0..5),
        seed in any::<prop::sample::Index>(),
    ) {
        let body = case.programs[0].lines.clone();
        let mut other = list.clone();
        other.rotate_left(seed.index(list.len().max(1)));
        let run = |list| with_another(&case, vec![Step::each(Span::List(list), body.clone())]).run(Style::Machine);
        let (first, second) = (run(list), run(other));
        prop_assert_eq!(first.log, second.log);
        prop_assert_eq!(first.report.audit, second.report.audit);
    }

    #[test]
    fn r33_to_advance_is_to_name_the_iteration(case in quiet_cases(), place: u16, by in 0u32..4) {
        let sites = sites_of(&case.model);
        let point = sites[pick(place, sites.len())].point;
        let advanced = vec![Step::Next { step: by }, read(case.model.map.point_name(point))];
        let named = vec![read(case.model.map.site_name(point.at(by)))];
        let run = |lines| with_another(&case, lines).run(Style::Machine);
        prop_assert_eq!(run(advanced).log, run(named).log);
    }

    #[test]
    fn r35_after_a_loop_the_own_iteration_is_what_it_was(case in quiet_cases(), place: u16, by in 0u32..4) {
        let sites = sites_of(&case.model);
        let name = case.model.map.point_name(sites[pick(place, sites.len())].point);
        let body = vec![Step::Next { step: 2 }];
        let lines = |span| vec![Step::Next { step: by }, Step::each(span, body.clone()), read(name.clone())];
        let run = |lines| with_another(&case, lines).run(Style::Machine).log;
        let asked = |log: Vec<Record>| {
            let own = log.into_iter().filter(|record| record.mediator == case.programs.len() as u32);
            own.filter(|record| record.event == Event::Value).collect::<Vec<_>>()
        };
        let without = asked(run(vec![Step::Next { step: by }, read(name.clone())]));
        prop_assert_eq!(&asked(run(lines(Span::List(vec![0, 3])))), &without);
        prop_assert_eq!(&asked(run(lines(Span::Slice(None, Some(by + 2))))), &without);
    }

    #[test]
    fn r35_a_child_that_advances_leaves_its_parent_where_it_was(model in models(), own in 0u32..3, by in 0u32..3) {
        let (point, _) = busiest(&model);
        let last_asked = |is_delegating: bool| {
            let (child, _) = mediator(model.map.clone(), move |cx: Cx<Array>| async move {
                // Only with a request does the interleaver hear of it.
                cx.next(by + 1);
                let _ = cx.value("nowhere.output").await;
                Ok(())
            });
            let mut trial = Trial::of(&model);
            trial.whole("parent", async move |cx: Cx<Array>| {
                cx.next(own);
                let _ = cx.value("nowhere.output").await;
                if is_delegating {
                    cx.delegate(child).await?;
                }
                let _ = cx.value(point).await;
                Ok(())
            });
            let asked = of_sites(trial.run(table(2, 1.0)).log).pop().and_then(|record| record.asked);
            prop_assert_eq!(asked, Some(Ok(point.at(own))));
            Ok(())
        };
        last_asked(false)?;
        last_asked(true)?;
    }
}
