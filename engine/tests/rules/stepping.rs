//! Who is stepped when: R1 to R7.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use interloom_engine::{
    Delivery, Event, Fault, Flow, Invoke, MediatorId, RunEnd, ScheduleError, Scheduler, Setup, Site,
};

use crate::support::{Backwards, Move, STACK_SITES, Trial, machine, stack, table};

#[test]
fn r1_every_mediator_runs_to_its_first_request_before_the_model() {
    let model = stack();
    let order = Rc::new(RefCell::new(Vec::new()));
    let mut trial = Trial::of(&model);
    for name in ["a", "b", "c"] {
        let order = order.clone();
        trial.whole(name, async move |cx| {
            order.borrow_mut().push(format!("{name} starts"));
            cx.input("").await?;
            order.borrow_mut().push(format!("{name} goes on"));
            Ok(())
        });
    }
    trial.run(table(1, 0.0));
    let expected = [
        "a starts",
        "b starts",
        "c starts",
        "a goes on",
        "b goes on",
        "c goes on",
    ];
    assert_eq!(*order.borrow(), expected);
}

#[test]
fn r1_a_mediator_may_end_before_the_model_starts() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let saved = trial.whole("idle", async |_| Ok(7));
    let ran = trial.run(table(1, 0.0));
    assert_eq!(saved.take(), Some(7));
    assert_eq!(ran.lines(), ["0 END @ - served"]);
    assert_eq!(ran.output, Some(model.plain(table(1, 0.0))));
}

#[test]
fn r1_after_a_stop_before_the_start_the_model_does_not_run() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("stopper", async |cx| {
        cx.stop().await?;
        Ok(())
    });
    trial.whole("idle", async |_| Ok(()));
    let ran = trial.run(table(1, 0.0));
    assert_eq!(ran.lines(), ["0 STOP @ - served", "1 END @ - served"]);
    assert!(ran.sites.is_empty());
    let stopped = RunEnd::Stopped {
        by: "stopper".to_owned(),
        at: None,
    };
    assert_eq!(ran.report.result, Ok(stopped));
}

#[test]
fn r1_a_failing_mediator_does_not_keep_the_others_from_being_started() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("broken", async |_| Err::<(), _>(Fault::raise("no")));
    let started = trial.whole("second", async |_| Ok(()));
    let ran = trial.run(table(1, 0.0));
    assert_eq!(started.take(), Some(()));
    assert!(ran.sites.is_empty());
    assert_eq!(ran.codes(), [("broken", "E013")]);
}

#[test]
fn r2_mediators_are_stepped_in_definition_order_at_every_site() {
    let model = stack();
    let mut trial = Trial::of(&model);
    for name in ["a", "b"] {
        trial.whole(name, async |cx| {
            cx.input("embed").await?;
            cx.output("embed").await
        });
    }
    let ran = trial.run(table(1, 0.0));
    let expected = [
        "0 VALUE embed.input.i0 @ embed.input.i0 served",
        "1 VALUE embed.input.i0 @ embed.input.i0 served",
        "0 VALUE embed.output.i0 @ embed.output.i0 served",
        "0 END @ embed.output.i0 served",
        "1 VALUE embed.output.i0 @ embed.output.i0 served",
        "1 END @ embed.output.i0 served",
    ];
    assert_eq!(ran.lines(), expected);
}

#[test]
fn r2_the_scheduler_chooses_the_order_at_a_site_but_not_at_the_start() {
    let model = stack();
    let mut trial = Trial::of(&model);
    for name in ["a", "b", "c"] {
        trial.whole(name, async |cx| cx.input("embed").await);
    }
    trial.scheduler(Backwards);
    trial.whole("idle", async |_| Ok(()));
    let mediators: Vec<u32> = trial
        .run(table(1, 0.0))
        .log
        .iter()
        .map(|record| record.mediator)
        .collect();
    assert_eq!(mediators, [3, 2, 2, 1, 1, 0, 0]);
}

#[test]
#[should_panic(expected = "the scheduler chose a mediator that is not ready")]
fn r2_a_scheduler_that_chooses_nobody_is_a_defect() {
    struct Beyond;
    impl Scheduler for Beyond {
        fn choose(&mut self, _: Site, ready: &[MediatorId]) -> Result<usize, ScheduleError> {
            Ok(ready.len())
        }

        fn describe(&self) -> String {
            "beyond".to_owned()
        }
    }
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.scheduler(Beyond);
    trial.whole("a", async |cx| cx.input("embed").await);
    trial.run(table(1, 0.0));
}

#[test]
fn r3_a_second_read_sees_the_swap() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let saved = trial.whole("patch", async |cx| {
        let first = cx.output("layers.0").await?;
        cx.set_output("layers.0", first.map(|x| x + 1.0)).await?;
        let second = cx.output("layers.0").await?;
        Ok((first, second))
    });
    let ran = trial.run(table(2, 0.0));
    let (first, second) = saved.take().unwrap();
    assert_eq!(second, first.map(|x| x + 1.0));
    let site = "layers.0.output.i0";
    let expected = [
        format!("0 VALUE {site} @ {site} served"),
        format!("0 SWAP {site} @ {site} served"),
        format!("0 VALUE {site} @ {site} served"),
        format!("0 END @ {site} served"),
    ];
    assert_eq!(ran.lines(), expected);
}

#[test]
fn r3_a_hand_written_machine_swaps_and_reads_again() {
    let model = stack();
    let point = model.point("layers.0.output");
    let seen = Rc::new(RefCell::new(Vec::new()));
    let log = seen.clone();
    let machine = machine(move |delivery| match delivery {
        Delivery::Start => Move::Value(point),
        Delivery::Value(value) if log.borrow().is_empty() => {
            log.borrow_mut().push(value.clone());
            Move::Swap(point, value.map(|x| x + 1.0))
        }
        Delivery::Value(value) => {
            log.borrow_mut().push(value);
            Move::End
        }
        Delivery::Done => Move::Value(point),
        Delivery::Refused(fault) => Move::Fail(fault),
        Delivery::Over => unreachable!("it has no loop"),
    });
    let mut trial = Trial::of(&model);
    trial.invoke(Invoke::new("patch", machine));
    assert!(trial.run(table(2, 0.0)).report.result.is_ok());
    let seen = seen.borrow();
    assert_eq!(seen[1], seen[0].map(|x| x + 1.0));
}

#[test]
fn r3_the_last_swap_of_one_mediator_wins() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("twice", async |cx| {
        cx.set_output("", table(2, 100.0)).await?;
        cx.set_output("", table(2, 200.0)).await
    });
    assert_eq!(trial.run(table(2, 0.0)).output, Some(table(2, 200.0)));
}

#[test]
fn r4_the_next_mediator_reads_what_the_one_before_swapped() {
    let model = stack();
    let mut trial = Trial::of(&model);
    let before = trial.whole("before", async |cx| cx.output("embed").await);
    trial.whole("patch", async |cx| {
        let x = cx.output("embed").await?;
        cx.set_output("embed", x.map(|x| x + 1.0)).await
    });
    let after = trial.whole("after", async |cx| cx.output("embed").await);
    trial.run(table(2, 0.0));
    let before = before.take().unwrap();
    assert_eq!(after.take().unwrap(), before.map(|x| x + 1.0));
}

#[test]
fn r4_the_last_mediators_swap_wins() {
    let model = stack();
    let mut trial = Trial::of(&model);
    for (name, first) in [("a", 100.0), ("b", 200.0)] {
        trial.whole(name, async move |cx| {
            cx.set_output("", table(2, first)).await
        });
    }
    assert_eq!(trial.run(table(2, 0.0)).output, Some(table(2, 200.0)));
}

#[test]
fn r4_a_whole_batch_mediator_sees_the_swaps_made_before_its_turn() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.rows("a", 1, async |cx| cx.set_output("", table(1, 100.0)).await);
    let seen = trial.whole("all", async |cx| cx.output("").await);
    trial.rows("b", 1, async |cx| cx.set_output("", table(1, 200.0)).await);
    let untouched = model.plain(table(2, 0.0));
    let ran = trial.run(table(2, 0.0));
    let seen = seen.take().unwrap();
    assert_eq!(seen.data()[..2], [100.0, 101.0]);
    assert_eq!(seen.data()[2..], untouched.data()[2..]);
    assert_eq!(ran.output.unwrap().data(), [100.0, 101.0, 200.0, 201.0]);
}

#[test]
fn r5_two_runs_make_equal_exchanges() {
    let once = || {
        let model = stack();
        let mut trial = Trial::of(&model);
        for name in ["a", "b", "c"] {
            trial.rows(name, 1, async |cx| {
                let x = cx.output("embed").await?;
                let _ = cx.input("embed").await;
                cx.set_output("head", x).await
            });
        }
        let ran = trial.run(table(3, 0.0));
        (ran.log, ran.output, ran.report.audit)
    };
    assert_eq!(once(), once());
}

#[test]
fn r6_nobody_is_asked_for_at_a_site_that_nobody_waits_for() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.whole("a", async |cx| cx.value("head.output.i1").await);
    let mut run = trial.into_setup().start().unwrap();
    let mut asked = Vec::new();
    let mut passed = 0;
    model.forward(table(1, 0.0), &mut |point, value| {
        passed += 1;
        if !run.passes(point) {
            return Flow::Continue(value);
        }
        asked.push(model.map.point_name(point));
        run.provide(point, value)
    });
    assert!(run.finish().report_is_clean());
    assert_eq!(passed, STACK_SITES.len());
    // A later iteration is asked for, so that the first passing of the point needs no value.
    assert_eq!(asked, ["head.output"]);
}

trait Clean {
    fn report_is_clean(&self) -> bool;
}

impl Clean for interloom_engine::Report {
    fn report_is_clean(&self) -> bool {
        self.result == Ok(RunEnd::Completed)
    }
}

#[test]
fn r6_without_mediators_every_site_is_passed_unasked() {
    let model = stack();
    let mut run = Setup::<interloom_engine::array::Array>::new(model.map.clone())
        .start()
        .unwrap();
    let output = model.forward(table(1, 0.0), &mut |point, value| {
        assert!(!run.passes(point));
        Flow::Continue(value)
    });
    assert_eq!(output, Some(model.plain(table(1, 0.0))));
    let report = run.finish();
    assert!(report.report_is_clean());
    assert_eq!(report.audit.exchanges(), 0);
}

#[test]
fn r6_the_sites_of_a_run_are_those_of_the_model() {
    let model = stack();
    let ran = Trial::of(&model).run(table(1, 0.0));
    assert_eq!(ran.sites, STACK_SITES);
}

#[test]
fn r7_a_mediator_may_call_modules_on_values_that_it_holds() {
    let model = Rc::new(stack());
    let mut trial = Trial::of(&model);
    let lens = model.clone();
    let saved = trial.whole("lens", async move |cx| {
        let x = cx.output("layers.0").await?;
        // The whole model, with its children: no site of the run is passed.
        let ad_hoc = lens.plain(x);
        let y = cx.output("layers.1").await?;
        Ok((ad_hoc, y))
    });
    let ran = trial.run(table(1, 0.0));
    let site = |name| {
        ran.value_at(&format!("0 VALUE {name} @ {name} served"))
            .clone()
    };
    let (ad_hoc, y) = saved.take().unwrap();
    assert_eq!(ad_hoc, model.plain(site("layers.0.output.i0")));
    assert_eq!(y, site("layers.1.output.i0"));
    assert_eq!(ran.sites, STACK_SITES);
    assert_eq!(ran.output, Some(model.plain(table(1, 0.0))));
}

#[test]
fn r2_a_mediator_is_stepped_until_it_waits_elsewhere() {
    let model = stack();
    let point = model.point("embed.output");
    let reads = Rc::new(Cell::new(0));
    let count = reads.clone();
    let machine = machine(move |delivery| match delivery {
        Delivery::Value(_) if count.get() == 100 => Move::End,
        Delivery::Start | Delivery::Value(_) => {
            count.set(count.get() + 1);
            Move::Value(point)
        }
        _ => unreachable!(),
    });
    let mut trial = Trial::of(&model);
    trial.invoke(Invoke::new("insistent", machine));
    let ran = trial.run(table(1, 0.0));
    assert_eq!(reads.get(), 100);
    assert_eq!(ran.report.audit.mediators[0].served(Event::Value), 100);
}
