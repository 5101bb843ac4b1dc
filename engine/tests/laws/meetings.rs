//! Laws of barriers and of the blackboard: what mediators have in common.

use interloom_engine::array::Array;
use interloom_engine::{Cx, Event, RunEnd};
use proptest::prelude::*;

use crate::config;
use crate::generate::{cases, models, quiet_cases};
use crate::programs::{Case, Style};
use crate::steps::Step;
use crate::support::{Record, Trial, table};
use crate::tools::{only, unchanged, unnumbered, whole, without};

fn barrier() -> Step {
    Step::Barrier {
        name: "b0".to_owned(),
    }
}

/// The exchanges that are for sites, of all mediators.
fn of_sites(log: &[Record]) -> Vec<Record> {
    let is_of_site = |record: &&Record| matches!(record.asked, Some(Ok(_)));
    log.iter().filter(is_of_site).map(unnumbered).collect()
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn r40_a_barrier_for_one_is_no_barrier(case in quiet_cases(), places in prop::collection::vec(any::<prop::sample::Index>(), 0..4)) {
        let mut meeting = case.clone();
        for place in places {
            let count = meeting.programs.len();
            let lines = &mut meeting.programs[place.index(count)].lines;
            lines.insert(place.index(lines.len() + 1), barrier());
        }
        let (without, with) = (case.run(Style::Machine), meeting.run(Style::Machine));
        let others = with.log.into_iter().filter(|record| record.event != Event::Barrier);
        prop_assert_eq!(others.collect::<Vec<_>>(), without.log);
        prop_assert_eq!(with.output, without.output);
    }

    /// A mediator is split in two, of which the second waits for the first and goes on with what that had read.
    #[test]
    fn r40_a_barrier_joins_two_halves(case in quiet_cases(), at in any::<prop::sample::Index>()) {
        let is_out = |step: &Step| matches!(step, Step::Next { .. } | Step::Cache { .. });
        let lines = without(&case.programs[0].lines, &is_out);
        let (first, second) = lines.split_at(at.index(lines.len() + 1));
        let put = Step::Put { name: "x".to_owned(), expr: unchanged() };
        let halves = [
            [first, &[put, barrier()]].concat(),
            [&[barrier(), Step::get("x")], second].concat(),
        ];
        let halves = Case {
            programs: halves.into_iter().map(whole).collect(),
            barriers: [2, 1, 1],
            ..case.clone()
        };
        let (one, two) = (only(&case, lines).run(Style::Machine), halves.run(Style::Machine));
        prop_assert_eq!(two.report.result, Ok(RunEnd::Completed));
        prop_assert_eq!(of_sites(&one.log), of_sites(&two.log));
        prop_assert_eq!(one.output, two.output);
    }

    #[test]
    fn r42_a_barrier_releases_all_in_definition_order_round_after_round(
        model in models(),
        count in 1usize..5,
        rounds in 1u32..4,
    ) {
        let mut trial = Trial::of(&model);
        trial.barrier("b", count as u32);
        for index in 0..count {
            trial.whole(&format!("m{index}"), async move |cx: Cx<Array>| {
                for _ in 0..rounds {
                    cx.barrier("b").await?;
                }
                Ok(())
            });
        }
        let ran = trial.run(table(2, 1.0));
        prop_assert_eq!(&ran.report.result, &Ok(RunEnd::Completed));
        let is_release = |record: &&Record| record.event == Event::Barrier;
        let released: Vec<u32> = ran.log.iter().filter(is_release).map(|record| record.mediator).collect();
        let round: Vec<u32> = (0..count as u32).collect();
        prop_assert_eq!(released, round.repeat(rounds as usize));
    }

    #[test]
    fn r43_a_run_that_succeeds_leaves_nobody_at_a_barrier(case in cases()) {
        let ran = case.run(Style::Async);
        if ran.report.result.is_ok() {
            for account in &ran.report.audit.mediators {
                prop_assert_ne!(account.state, interloom_engine::transition::State::Cancelled);
            }
        }
    }

    #[test]
    fn r72_to_put_and_get_is_to_hold(
        model in models(),
        shape in prop::collection::vec(0u64..4, 0..3),
        numbers in prop::collection::vec(any::<f64>(), 27),
        rows in prop::option::of(0u32..3),
    ) {
        let count = shape.iter().product::<u64>() as usize;
        let value = Array::new(&shape, &numbers[..count]);
        let mut trial = Trial::of(&model);
        let put = value.clone();
        let program = async move |cx: Cx<Array>| {
            cx.put("x", table(1, 0.0)).await?;
            cx.put("x", put).await
        };
        match rows {
            Some(rows) => drop(trial.rows("put", rows, program)),
            None => drop(trial.whole("put", program)),
        }
        let got = trial.rows("get", 2, async move |cx: Cx<Array>| cx.get("x").await);
        trial.run(table(u64::from(rows.unwrap_or(0)) + 2, 1.0));
        let got = got.take().expect("it is there");
        let bits = |array: &Array| array.data().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(got.shape(), value.shape());
        prop_assert_eq!(bits(&got), bits(&value));
    }

}
