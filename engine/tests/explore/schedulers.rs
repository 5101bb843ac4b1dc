//! What each scheduler chooses, and how recorded schedules are kept, read and refused.

use interloom_engine::array::Array;
use interloom_engine::scheduler::{
    Choice, InOrder, Pct, Recorded, Recording, Shuffle, recording, scheduler,
};
use interloom_engine::{Cx, Granularity, RunEnd, RunError, Schedule, ScheduleError, Scheduler};
use proptest::prelude::*;

use crate::support::{Model, Ran, Trial, stack, table};

/// Three mediators that read, write and read at two sites each; `late` asks for one site more.
fn trial(granularity: Granularity, is_longer: bool) -> Ran {
    run(InOrder, granularity, is_longer).0
}

fn run(
    scheduler: impl Scheduler + 'static,
    granularity: Granularity,
    is_longer: bool,
) -> (Ran, Recording) {
    let model = stack();
    let mut trial = Trial::of(&model);
    for name in ["a", "b", "c"] {
        trial.whole(name, async move |cx| {
            for path in ["embed", "layers.1"] {
                let x = cx.output(path).await?;
                cx.set_output(path, x.map(|x| x + 1.0)).await?;
                cx.output(path).await?;
            }
            if is_longer {
                cx.output("head").await?;
            }
            Ok(())
        });
    }
    trial.granularity(granularity);
    let (scheduler, recording) = recording(scheduler);
    trial.scheduler(scheduler);
    (trial.run(table(2, 1.0)), recording)
}

fn mediators(ran: &Ran) -> String {
    let at_site = ran.log.iter().filter(|record| record.asked.is_some());
    at_site
        .map(|record| ["a", "b", "c"][record.mediator as usize])
        .collect()
}

#[test]
fn a_turn_lasts_a_site_or_an_exchange() {
    let by_site = run(Shuffle::new(3), Granularity::Site, false).0;
    insta::assert_snapshot!(mediators(&by_site), @"aaacccbbbbbbaaaccc");
    let by_exchange = run(Shuffle::new(3), Granularity::Exchange, false).0;
    insta::assert_snapshot!(mediators(&by_exchange), @"acbaacbcbbcccaabba");
    // In order, the two are the same.
    let in_order = trial(Granularity::Exchange, false);
    assert_eq!(mediators(&in_order), "aaabbbcccaaabbbccc");
    assert_eq!(in_order.log, trial(Granularity::Site, false).log);
}

/// R41 holds for finer turns too: who is released gets the site at hand, in its turn.
#[test]
fn by_exchange_who_is_released_is_served_at_the_same_site() {
    let model = stack();
    let mut trial = Trial::of(&model);
    trial.barrier("met", 2);
    trial.whole("waits", async |cx| {
        cx.barrier("met").await?;
        cx.output("embed").await
    });
    trial.whole("comes", async |cx| {
        cx.output("embed").await?;
        cx.barrier("met").await?;
        cx.output("embed").await
    });
    trial.whole("reads", async |cx| {
        cx.output("embed").await?;
        cx.output("embed").await
    });
    trial.granularity(Granularity::Exchange);
    let ran = trial.run(table(2, 1.0));
    assert_eq!(ran.report.result, Ok(RunEnd::Completed));
    let at_site = ran
        .log
        .iter()
        .filter(|record| matches!(record.asked, Some(Ok(_))));
    let order: Vec<u32> = at_site.map(|record| record.mediator).collect();
    assert_eq!(order, [1, 0, 1, 2, 2]);
}

#[test]
fn every_scheduler_is_made_again_from_its_text() {
    for granularity in [Granularity::Site, Granularity::Exchange] {
        let (ran, recorded) = run(Shuffle::new(11), granularity, false);
        let recorded = recorded.schedule().to_string();
        let texts = ["in-order", "shuffle:11", "pct:3:12:5", &recorded];
        for text in texts {
            let once = run(scheduler(text).unwrap(), granularity, false).0;
            let again = run(scheduler(text).unwrap(), granularity, false).0;
            assert_eq!(scheduler(text).unwrap().describe(), text);
            assert_eq!(once.log, again.log, "{text}");
            assert_eq!(once.report.result, Ok(RunEnd::Completed));
        }
        let replayed = run(scheduler(&recorded).unwrap(), granularity, false).0;
        assert_eq!(replayed.log, ran.log);
    }
}

#[test]
fn pct_makes_other_orders_than_definition_order() {
    let orders =
        (0..20).map(|seed| mediators(&run(Pct::new(3, 18, seed), Granularity::Exchange, false).0));
    let unique: std::collections::BTreeSet<String> = orders.collect();
    assert!(unique.len() > 10, "{unique:?}");
}

#[test]
fn a_recorded_schedule_is_short() {
    let (_, recording) = run(InOrder, Granularity::Site, false);
    let text = recording.schedule().to_string();
    insta::assert_snapshot!(text, @"ilsched1:3d4ed7a8ca8c0000:3x2:3e36add1");
    let (_, recording) = run(Shuffle::new(3), Granularity::Exchange, false);
    let text = recording.schedule().to_string();
    insta::assert_snapshot!(text, @"ilsched1:3d4ed7a8ca8c0001:0/3,2/3,1/3,0/3x2,1/2,2,1/2,1/3,2/3x3,2x2,1/2x2:31491270");
}

fn message(ran: &Ran) -> String {
    format!("{} {}", ran.error().code(), ran.error())
}

#[test]
fn a_stale_schedule_says_what_has_changed() {
    let schedule =
        |granularity, is_longer| run(Shuffle::new(3), granularity, is_longer).1.schedule();
    let short = schedule(Granularity::Site, false);
    let (ran, _) = run(Recorded::new(short.clone()), Granularity::Site, true);
    insta::assert_snapshot!(message(&ran), @"E124 the schedule has 4 choices and the run asks for one more, with 3 mediators ready at `head.output.i0`; the run is longer than when it was made, so record it again");
    let long = schedule(Granularity::Site, true);
    let (ran, _) = run(Recorded::new(long), Granularity::Site, false);
    insta::assert_snapshot!(message(&ran), @"E125 the run ended after 4 of the schedule's 6 choices; it is shorter than when the schedule was made, so record it again");
    let choices = short
        .choices()
        .iter()
        .enumerate()
        .map(|(index, choice)| match index {
            2 => Choice { place: 0, ready: 2 },
            _ => *choice,
        });
    let other = Schedule::new(short.programme(), choices);
    let (ran, _) = run(Recorded::new(other), Granularity::Site, false);
    insta::assert_snapshot!(message(&ran), @"E123 choice 3 of the schedule wants 2 mediators ready, but 3 are, at `layers.1.output.i0`; the mediators ask for other sites than when it was made, so record it again");
}

#[test]
fn a_schedule_of_another_programme_starts_nothing() {
    let model = stack();
    let (_, recording) = run(InOrder, Granularity::Site, false);
    let attempt = |change: &dyn Fn(&mut Trial<'_>)| {
        let mut trial = Trial::of(&model);
        for name in ["a", "b", "c"] {
            trial.whole(name, async |cx| cx.output("embed").await);
        }
        change(&mut trial);
        trial.scheduler(Recorded::new(recording.schedule()));
        trial.try_run(table(2, 1.0)).map(|ran| ran.report.result)
    };
    // The code of the mediators is not part of the digest, and what they ask for is found out when
    // they ask.
    assert!(matches!(attempt(&|_| {}), Ok(Err(error)) if error.code() == "E125"));
    let error = attempt(&|trial| trial.barrier("b", 2)).unwrap_err();
    assert_eq!(error.code(), "E122");
    insta::assert_snapshot!(error, @"the schedule was made for another programme; what differs: barriers (here 1: `b` of 2); make the run as it was then, or explore it again for a schedule that fits");
}

/// A run of three mediators, of which the first two have rows, with all that a schedule knows.
struct Made {
    model: Model,
    mediators: Vec<(&'static str, Option<u32>)>,
    barriers: Vec<(&'static str, u32)>,
    steps: Option<u32>,
    granularity: Granularity,
}

impl Made {
    fn new() -> Self {
        Self {
            model: stack(),
            mediators: vec![("a", Some(1)), ("b", Some(2)), ("c", None)],
            barriers: vec![("met", 2)],
            steps: Some(4),
            granularity: Granularity::Site,
        }
    }

    /// Returns the schedule, or why another one does not belong to the run.
    fn run(&self, scheduler: impl Scheduler + 'static) -> Result<Schedule, RunError> {
        let mut trial = Trial::of(&self.model);
        let program = async |cx: Cx<Array>| cx.output("embed").await;
        for &(name, rows) in &self.mediators {
            match rows {
                Some(rows) => drop(trial.rows(name, rows, program)),
                None => drop(trial.whole(name, program)),
            }
        }
        for &(name, participants) in &self.barriers {
            trial.barrier(name, participants);
        }
        if let Some(steps) = self.steps {
            trial.steps(steps);
        }
        trial.granularity(self.granularity);
        let (scheduler, recording) = recording(scheduler);
        trial.scheduler(scheduler);
        trial.try_run(table(3, 1.0))?;
        Ok(recording.schedule())
    }
}

/// The error of a schedule in a run that has been changed since it was made.
fn differing(change: impl FnOnce(&mut Made)) -> String {
    let mut made = Made::new();
    let schedule = made.run(InOrder).unwrap();
    change(&mut made);
    let Err(error) = made.run(Recorded::new(schedule)) else {
        return "nothing".to_owned();
    };
    assert_eq!(error.code(), "E122");
    let message = error.to_string();
    let (_, rest) = message.split_once("; what differs: ").unwrap();
    let (differs, _) = rest.split_once("; make the run as it was").unwrap();
    differs.to_owned()
}

#[test]
fn a_schedule_of_another_programme_names_exactly_what_differs() {
    insta::assert_snapshot!(differing(|_| {}), @"nothing");
    insta::assert_snapshot!(differing(|made| made.model = Model::tree(&[("", &["m0"]), ("m0", &[])])), @"sites (here 4: `input` to `m0.output`)");
    insta::assert_snapshot!(differing(|made| made.model = Model::tree(&[])), @"sites (here none)");
    // A mediator renamed, added without rows, added with some, taken away, and put elsewhere; a row
    // that goes to another.
    insta::assert_snapshot!(differing(|made| made.mediators[0].0 = "other"), @"mediators (here 3: `other` with rows, `b` with rows, `c`)");
    insta::assert_snapshot!(differing(|made| made.mediators.insert(0, ("first", None))), @"mediators (here 4: `first`, `a` with rows, `b` with rows, `c`)");
    insta::assert_snapshot!(differing(|made| made.mediators.push(("d", Some(1)))), @"mediators (here 4: `a` with rows, `b` with rows, `c`, `d` with rows), rows (here 1 of `a`, 2 of `b`, 1 of `d`)");
    insta::assert_snapshot!(differing(|made| made.mediators.truncate(2)), @"mediators (here 2: `a` with rows, `b` with rows)");
    insta::assert_snapshot!(differing(|made| made.mediators.swap(1, 2)), @"mediators (here 3: `a` with rows, `c`, `b` with rows)");
    insta::assert_snapshot!(differing(|made| made.mediators.clear()), @"mediators (here none), rows (here none)");
    insta::assert_snapshot!(differing(|made| made.mediators[1].1 = Some(1)), @"rows (here 1 of `a`, 1 of `b`)");
    insta::assert_snapshot!(differing(|made| made.mediators.extend(["d", "e", "f", "g", "h", "i"].map(|name| (name, None)))), @"mediators (here 9: `a` with rows, `b` with rows, `c`, `d`, `e`, `f`, `g`, `h`, and 1 more)");
    insta::assert_snapshot!(differing(|made| made.barriers.clear()), @"barriers (here none)");
    insta::assert_snapshot!(differing(|made| made.barriers[0].1 = 3), @"barriers (here 1: `met` of 3)");
    insta::assert_snapshot!(differing(|made| made.barriers.insert(0, ("more", 0))), @"barriers (here 2: `met` of 2, `more` of 0)");
    insta::assert_snapshot!(differing(|made| made.steps = None), @"steps (here none, there 4)");
    insta::assert_snapshot!(differing(|made| made.steps = Some(5)), @"steps (here 5, there 4)");
    insta::assert_snapshot!(differing(|made| made.granularity = Granularity::Exchange), @"granularity (here exchange, there site)");
    insta::assert_snapshot!(differing(|made| {
        made.mediators[0].0 = "other";
        made.steps = Some(100_000);
        made.granularity = Granularity::Exchange;
    }), @"mediators (here 3: `other` with rows, `b` with rows, `c`), steps (here 100000, there 4), granularity (here exchange, there site)");
}

/// Numbers of steps are distinguished however large they are, and never shown as others.
#[test]
fn numbers_of_steps_are_not_confused_with_their_neighbours() {
    let schedule = |steps| {
        let made = Made {
            steps,
            ..Made::new()
        };
        (steps, made.run(InOrder).unwrap().programme() >> 4 & 0xfff)
    };
    let many = [None, Some(0), Some(1), Some(2045), Some(2046), Some(2047)];
    let more = [2048, 4093, 4094, 100_000, u32::MAX].map(Some);
    let codes: Vec<_> = many.into_iter().chain(more).map(schedule).collect();
    let codes: Vec<String> = codes
        .iter()
        .map(|(steps, code)| {
            format!(
                "{} {code}",
                steps.map_or("none".to_owned(), |n| n.to_string())
            )
        })
        .collect();
    insta::assert_snapshot!(codes.join(", "), @"none 0, 0 1, 1 2, 2045 2046, 2046 2047, 2047 4095, 2048 2048, 4093 4093, 4094 4094, 100000 3744, 4294967295 4095");
}

fn parse_error(text: &str) -> String {
    let error = scheduler(text).err().expect("an error");
    format!("{} {error}", error.code())
}

#[test]
fn texts_that_are_no_schedules_say_where() {
    insta::assert_snapshot!(parse_error(""), @"E120 the schedule cannot be read at byte 0: expected `in-order`, `shuffle:`, `pct:` or `ilsched1:`, found the end of the text; copy the whole text");
    insta::assert_snapshot!(parse_error("shuffle:-1"), @"E120 the schedule cannot be read at byte 8: expected a seed in decimal, found `-1`; copy the whole text");
    insta::assert_snapshot!(parse_error("pct:3:12"), @"E120 the schedule cannot be read at byte 4: expected a depth, a length and a seed in decimal, found `3:12`; copy the whole text");
    insta::assert_snapshot!(parse_error("ilsched2:00"), @"E120 the schedule cannot be read at byte 0: expected `in-order`, `shuffle:`, `pct:` or `ilsched1:`, found `ilsched2:00`; copy the whole text");
    insta::assert_snapshot!(parse_error("ilsched1:12"), @"E120 the schedule cannot be read at byte 9: expected the programme's digest, 16 digits of 0-9 and a-f, found `12`; copy the whole text");
    insta::assert_snapshot!(parse_error("ilsched1:00000000000000ab:3"), @"E120 the schedule cannot be read at byte 26: expected `:` and the checksum, found `3`; copy the whole text");
    insta::assert_snapshot!(parse_error("ilsched1:00000000000000ab:3:0000"), @"E120 the schedule cannot be read at byte 28: expected the checksum, 8 digits of 0-9 and a-f, found `0000`; copy the whole text");
    insta::assert_snapshot!(parse_error("ilsched1:00000000000000ab:3:00000000"), @"E121 the schedule is damaged: its checksum says 00000000, but the 28 bytes before it have b21b5311; copy the whole text again");
    insta::assert_snapshot!(parse_error("ilsched1:00000000000000ab:3:00000000 "), @"E120 the schedule cannot be read at byte 36: expected the end of the schedule, found ` `; copy the whole text");
}

fn choices() -> impl Strategy<Value = Vec<Choice>> {
    let choice = (1u32..6, any::<u32>(), 1usize..4).prop_map(|(ready, place, times)| {
        // Half of them in order, and some in a row.
        let place = if place % 2 == 0 { 0 } else { place % ready };
        vec![Choice { place, ready }; times]
    });
    let fall = (2u32..5, 1usize..4).prop_map(|(most, times)| {
        let fall = (2..=most).rev().map(|ready| Choice { place: 0, ready });
        fall.collect::<Vec<_>>().repeat(times)
    });
    prop::collection::vec(prop_oneof![choice, fall], 0..12).prop_map(|parts| parts.concat())
}

fn is_about_text(error: &ScheduleError) -> bool {
    matches!(
        error,
        ScheduleError::Text { .. } | ScheduleError::Checksum { .. }
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn schedules_round_trip(programme: u64, choices in choices()) {
        let schedule = Schedule::new(programme, choices);
        let text = schedule.to_string();
        prop_assert_eq!(text.parse::<Schedule>(), Ok(schedule));
    }

    /// A change of one character is found, whatever and wherever it is.
    #[test]
    fn damage_is_found(programme: u64, choices in choices(), place: prop::sample::Index, with in any::<char>()) {
        let text = Schedule::new(programme, choices).to_string();
        let place = place.index(text.len());
        let damaged = format!("{}{with}{}", &text[..place], &text[place + 1..]);
        prop_assume!(damaged != text);
        let error = damaged.parse::<Schedule>().unwrap_err();
        prop_assert!(is_about_text(&error), "{}", error);
        let cut = text[..place].parse::<Schedule>().unwrap_err();
        prop_assert!(is_about_text(&cut), "{}", cut);
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in ".*", body in "[0-9,x/]{0,20}") {
        let _ = scheduler(&text).map(|scheduler| scheduler.describe());
        let _ = format!("ilsched1:00000000000000ab:{body}:00000000").parse::<Schedule>();
    }
}
