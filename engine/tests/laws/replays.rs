//! A record is as good as the model, and as good as the mediators: what observers saw of a run,
//! played from either side into the same interleaver, makes the same run.

use std::cell::RefCell;
use std::rc::Rc;

use interloom_engine::array::Array;
use interloom_engine::replay::{Played, Said, ScriptedRequest, pass_recorded, scripted};
use interloom_engine::{
    AskedSite, Exchange, Group, Invoke, MediatorId, Message, Moment, Observer, Origin, Report,
    Request, Setup, Site, Target,
};
use proptest::prelude::*;

use crate::generate::cases;
use crate::programs::{Case, Style};
use crate::support::{Model, Move, Record, Trial, drive, machine, stack, table};
use crate::{STYLES, config};

/// What is kept of a run.
#[derive(Clone, Default)]
struct Recorder(Rc<RefCell<Recording>>);

#[derive(Default)]
struct Recording {
    log: Vec<Record>,
    /// The model's side: the sites that were passed, and what came in at the last of them.
    visits: Vec<(Side, Vec<Site>, Option<Array>)>,
    /// What each mediator said, by its number.
    scripts: Vec<Vec<ScriptedRequest<Array>>>,
    open: Vec<(u32, Record)>,
    cached: Vec<(Site, Array)>,
}

/// What the model did after it passed sites.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Side {
    Visit,
    BeginBackward,
    EndBackward,
    Finish,
}

impl Recording {
    fn say(&mut self, mediator: MediatorId, message: &Message<'_, Array>, origin: &Origin) {
        self.add(mediator, said(message), origin);
    }

    fn add(&mut self, mediator: MediatorId, said: Said<Array>, origin: &Origin) {
        let place = mediator.0 as usize;
        if self.scripts.len() <= place {
            self.scripts.resize_with(place + 1, Vec::new);
        }
        self.scripts[place].push(ScriptedRequest {
            said,
            origin: origin.clone(),
        });
    }
}

impl Observer<Array> for Recorder {
    fn exchange(&mut self, exchange: &Exchange<'_, Array>) {
        let mut recording = self.0.borrow_mut();
        recording.log.push(Record::of(exchange));
        recording.say(exchange.mediator, &exchange.message, exchange.origin);
    }

    fn moment(&mut self, moment: &Moment<'_, Array>) {
        let mut recording = self.0.borrow_mut();
        match *moment {
            Moment::Enter { passed, value, .. } => {
                let visit = (Side::Visit, passed.to_vec(), Some(value.clone()));
                recording.visits.push(visit);
            }
            Moment::BeginBackward { passed, .. } => {
                let begin = (Side::BeginBackward, passed.to_vec(), None);
                recording.visits.push(begin);
            }
            Moment::EndBackward { passed, .. } => {
                let end = (Side::EndBackward, passed.to_vec(), None);
                recording.visits.push(end);
            }
            Moment::CacheDeclared {
                mediator,
                spec,
                origin,
                ..
            } => recording.add(mediator, Said::Cache { spec: spec.clone() }, origin),
            Moment::Cached { site, value, .. } => recording.cached.push((site, value.clone())),
            Moment::Finish { passed } => {
                recording.visits.push((Side::Finish, passed.to_vec(), None));
            }
            Moment::Open {
                mediator,
                message,
                origin,
            } => {
                recording.say(mediator, &message, origin);
                let open = Record::bare(mediator.0 as usize, message.event(), None);
                recording.open.push((mediator.0, open));
            }
            _ => {}
        }
    }
}

fn said(message: &Message<'_, Array>) -> Said<Array> {
    let target = |site: AskedSite<'_>| match site {
        AskedSite::Known(site) => Target::Point {
            point: site.point,
            iteration: Some(site.iteration),
        },
        AskedSite::Unknown(name) => Target::Unknown(name.into()),
    };
    match *message {
        Message::Value { site } => Said::Value {
            target: target(site),
        },
        Message::Swap {
            site,
            value,
            reshape,
        } => Said::Swap {
            target: target(site),
            value: value.clone(),
            reshape,
        },
        Message::Skip { site, value } => Said::Skip {
            target: target(site),
            value: value.clone(),
        },
        Message::Register { iteration, round } => Said::Register { iteration, round },
        Message::Barrier { name } => Said::Barrier { name: name.into() },
        Message::Put { name, value } => Said::Put {
            name: name.into(),
            value: value.clone(),
        },
        Message::Get { name } => Said::Get { name: name.into() },
        Message::Backward { loss } => Said::Backward { loss: loss.clone() },
        Message::Stop => Said::Stop,
        Message::End => Said::End,
        Message::Exception { fault } => Said::Exception {
            fault: fault.clone(),
        },
    }
}

/// Records a run of a live model and live mediators.
fn record(trial: Trial<'_>, model: &Model, x: Array) -> (Recording, Report) {
    let mut setup = trial.into_setup();
    setup.trace();
    let recorder = Recorder::default();
    setup.observer(recorder.clone());
    let (_, report, _) = drive(model, setup, x).expect("should have started");
    (recorder.0.take(), report)
}

/// Plays the model's side of a recording to live mediators.
fn serve(mut setup: Setup<Array>, recording: &Recording) -> (Recording, Report) {
    setup.trace();
    let recorder = Recorder::default();
    setup.observer(recorder.clone());
    let mut run = setup.start().expect("should have started");
    if !run.is_halted() {
        for (side, passed, value) in &recording.visits {
            match pass_recorded(&mut run, passed, value.clone()) {
                // A pass that was asked for before a stop is still performed.
                Played::On | Played::Halted => {}
                Played::Missing(site) => panic!("the record has nothing for {site:?}"),
            }
            match side {
                Side::Visit | Side::Finish => {}
                Side::BeginBackward => {
                    run.take_losses();
                    run.begin_backward(None);
                }
                Side::EndBackward => run.end_backward(),
            }
        }
    }
    let report = run.finish();
    (recorder.0.take(), report)
}

/// Plays the mediators' side of a recording to the live model.
fn redrive(
    mut setup: Setup<Array>,
    recording: &Recording,
    model: &Model,
    x: Array,
) -> (Recording, Report) {
    let groups = setup.groups().unwrap();
    let mut scripts = recording.scripts.clone();
    scripts.resize_with(groups.len(), Vec::new);
    let lines = setup.invokes().iter().zip(groups).zip(scripts);
    let invokes = lines.map(|((live, group), lines)| {
        let invoke = Invoke::new(live.name(), scripted(lines, &model.map));
        let invoke = match group {
            Group::Rows(rows) => invoke.rows(rows.count),
            Group::Whole => invoke,
        };
        if live.is_optional() {
            invoke.optional()
        } else {
            invoke
        }
    });
    let invokes = invokes.collect();
    setup.replace_mediators(invokes);
    setup.trace();
    let recorder = Recorder::default();
    setup.observer(recorder.clone());
    let (_, report, _) = drive(model, setup, x).expect("should have started");
    (recorder.0.take(), report)
}

fn law(case: &Case) -> Result<(), TestCaseError> {
    let (recording, report) = record(case.trial(Style::Machine), &case.model, case.input());
    let end = report
        .result
        .as_ref()
        .map_err(|error| error.without_origins());
    for style in STYLES {
        let (served, again) = serve(case.trial(style).into_setup(), &recording);
        prop_assert_eq!(&served.log, &recording.log, "served to {:?}", style);
        prop_assert_eq!(&served.open, &recording.open, "served to {:?}", style);
        prop_assert_eq!(&served.visits, &recording.visits, "served to {:?}", style);
        prop_assert_eq!(&served.cached, &recording.cached, "served to {:?}", style);
        let again = again
            .result
            .as_ref()
            .map_err(|error| error.without_origins());
        prop_assert_eq!(again, end.clone(), "served to {:?}", style);
    }
    let setup = case.trial(Style::Machine).into_setup();
    let (driven, again) = redrive(setup, &recording, &case.model, case.input());
    prop_assert_eq!(&driven.log, &recording.log, "driven");
    prop_assert_eq!(&driven.open, &recording.open, "driven");
    prop_assert_eq!(&driven.visits, &recording.visits, "driven");
    prop_assert_eq!(&driven.cached, &recording.cached, "driven");
    let again = again
        .result
        .as_ref()
        .map_err(|error| error.without_origins());
    prop_assert_eq!(again, end, "driven");
    Ok(())
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn a_case_is_the_same_run_from_its_record_on_either_side_and_in_every_style(case in cases()) {
        law(&case)?;
    }
}

/// Asks without end, and never lets the model go on.
#[test]
fn a_mediator_that_is_failed_for_asking_without_end_is_failed_there_again() {
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
            trial.invoke(Invoke::new("m", machine(move |_| moves())));
            trial.whole("other", move |cx| async move { cx.value(head).await });
            trial
        };
        let (recording, _) = record(trial(), &model, table(2, 1.0));
        let own = recording.log.iter().filter(|record| record.mediator == 0);
        assert_eq!(own.count(), count, "kind {number}");
        let (served, _) = serve(trial().into_setup(), &recording);
        assert!(served.log == recording.log, "kind {number}, served");
        let setup = trial().into_setup();
        let (driven, _) = redrive(setup, &recording, &model, table(2, 1.0));
        assert!(driven.log == recording.log, "kind {number}, driven");
    }
}
