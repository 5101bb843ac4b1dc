//! A record is as good as the model: mediators that are answered from it say what they said.

use std::cell::RefCell;
use std::rc::Rc;

use interloom_engine::array::Array;
use interloom_engine::{
    Answer, Event, Exchange, Fault, MediatorId, Moment, Observer, Outcome, Rehearsal, Request,
    RunError, Setup, Target,
};
use proptest::prelude::*;

use crate::config;
use crate::generate::cases;
use crate::programs::{Case, Style};
use crate::support::{Move, Record, Trial, drive, machine, stack, table};

/// What is kept of a run: its exchanges, why requests were refused, and which caches were.
#[derive(Clone, Default)]
struct Recorder(Rc<RefCell<Recording>>);

#[derive(Default)]
struct Recording {
    log: Vec<(Record, Option<Fault>)>,
    caches: Vec<(MediatorId, u32, Fault)>,
}

impl Observer<Array> for Recorder {
    fn exchange(&mut self, exchange: &Exchange<'_, Array>) {
        let fault = match exchange.outcome {
            Outcome::Served(_) => None,
            Outcome::Refused(fault) | Outcome::Failed(fault) => Some(fault.clone()),
        };
        let record = Record::of(exchange);
        self.0.borrow_mut().log.push((record, fault));
    }

    fn moment(&mut self, moment: &Moment<'_, Array>) {
        if let Moment::CacheRefused {
            mediator,
            number,
            fault,
        } = *moment
        {
            let refused = (mediator, number, fault.clone());
            self.0.borrow_mut().caches.push(refused);
        }
    }
}

/// Runs what was set up, and returns what was recorded, and whether the run did not fail.
fn record(trial: Trial<'_>, model: &crate::support::Model, x: Array) -> (Recording, bool) {
    let recorder = Recorder::default();
    let mut setup = trial.into_setup();
    setup.observer(recorder.clone());
    let (_, report, _) = drive(model, setup, x).expect("should have started");
    let failed = matches!(
        report.result,
        Err(RunError::Mediators(_))
            | Err(RunError::PartialSkip { .. })
            | Err(RunError::SkipMisfit { .. })
    );
    (recorder.0.take(), !failed)
}

/// What is known of a fault that stands in a record.
fn recorded(fault: &Fault) -> Fault {
    Fault::recorded(fault.code(), fault.to_string())
}

/// Answers mediators from a recording, and returns what they said.
fn rehearse(setup: Setup<Array>, recording: &Recording) -> (Vec<Record>, Rehearsal<Array>) {
    let mut mediators = setup.rehearse().expect("should have started");
    for (id, number, fault) in &recording.caches {
        mediators.refuse_cache(*id, *number, recorded(fault));
    }
    let (mut has_run, mut is_closing) = (false, false);
    let mut said = Vec::new();
    for (record, fault) in &recording.log {
        let is_verdict = record.outcome == "E003" && record.event != Event::Exception;
        is_closing |= record.at.is_none() && (has_run || is_verdict);
        has_run |= record.at.is_some();
        match has_run || is_closing {
            true => mediators.start(mediators.len()),
            false => mediators.start(record.mediator as usize + 1),
        }
        if is_closing {
            mediators.close();
        }
        mediators.at(record.at);
        let id = MediatorId(record.mediator);
        if record.event == Event::Exception {
            mediators.give_up(id);
        }
        let Some(now) = mediators.said(id) else {
            break;
        };
        let outcome = match (now.fault, fault) {
            (Some(own), _) => Outcome::Failed(own),
            (None, Some(fault)) => Outcome::Refused(fault),
            (None, None) => Outcome::Served(match now.event {
                Event::Value | Event::Get => record.value.as_ref(),
                _ => now.value,
            }),
        };
        said.push(Record::of(&Exchange {
            index: 0,
            mediator: id,
            event: now.event,
            asked: now.asked,
            at: record.at,
            outcome,
            origin: now.origin,
        }));
        let answer = match (record.event, fault, &record.value) {
            (Event::Exception, ..) => Answer::Done,
            (_, Some(fault), _) => Answer::Refused(recorded(fault)),
            (Event::Value | Event::Get, None, Some(value)) => Answer::Value(value.clone()),
            _ => Answer::Done,
        };
        mediators.answer(id, answer);
    }
    (said, mediators)
}

fn law(case: &Case) -> Result<(), TestCaseError> {
    let (recording, is_over) = record(case.trial(Style::Machine), &case.model, case.input());
    let expected: Vec<&Record> = recording.log.iter().map(|(record, _)| record).collect();
    for style in [Style::Machine, Style::Async, Style::Program] {
        let (said, mediators) = rehearse(case.trial(style).into_setup(), &recording);
        prop_assert_eq!(
            said.iter().collect::<Vec<_>>(),
            expected.clone(),
            "{:?}",
            style
        );
        let mut all = (0..mediators.len() as u32).map(MediatorId);
        let is_pressing = all.any(|id| mediators.is_pressing(id));
        prop_assert!(!(is_over && is_pressing), "{:?} has more to say", style);
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn a_case_that_is_answered_from_its_record_says_the_same_in_every_style(case in cases()) {
        law(&case)?;
    }
}

/// Asks without end, and never lets the model go on.
#[test]
fn who_is_stopped_for_asking_without_end_is_stopped_there_again() {
    let model = stack();
    let embed = model.point("embed.output");
    let head = model.point("head.input");
    let reads = move || Move::Value(embed);
    let puts = || {
        let (name, value) = ("x".into(), table(1, 0.0));
        Move::Ask(Request::Put { name, value })
    };
    let asks = || {
        let target = Target::Unknown("nowhere".into());
        Move::Ask(Request::Value { target })
    };
    type Moves = Rc<dyn Fn() -> Move>;
    let kinds: [(Moves, usize); 3] = [
        (Rc::new(reads), (1 << 20) + 1),
        (Rc::new(puts), (1 << 20) + 1),
        (Rc::new(asks), (1 << 12) + 1),
    ];
    for (number, (moves, count)) in kinds.into_iter().enumerate() {
        let trial = || {
            let mut trial = Trial::of(&model);
            let moves = moves.clone();
            trial.invoke(interloom_engine::Invoke::new(
                "m",
                machine(move |_| moves()),
            ));
            trial.whole("other", move |cx| async move { cx.value(head).await });
            trial
        };
        let (recording, _) = record(trial(), &model, table(2, 1.0));
        let own = recording
            .log
            .iter()
            .filter(|(record, _)| record.mediator == 0);
        assert_eq!(own.count(), count, "kind {number}");
        let (said, _) = rehearse(trial().into_setup(), &recording);
        assert_eq!(said.len(), recording.log.len());
        let pairs = said.iter().zip(&recording.log);
        assert!(pairs.into_iter().all(|(said, (record, _))| said == record));
    }
}
