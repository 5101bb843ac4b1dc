//! Mediators live, values from a journal: no model runs.

use std::cell::RefCell;
use std::rc::Rc;

use interloom_backends::{Ran, Run, Sites, Value};
use interloom_engine::{
    Answer, Asked, Audit, Event, Exchange, Fault, MediatorId, Observer, Outcome, Rehearsal, RunEnd,
    Said, Site,
};

use super::convert::Recorder;
use super::late::Late;
use super::recorded::{Recorded, fault};
use super::tape::Tape;
use super::{refusals, start_of};
use crate::error::Error;
use crate::journal::{self, ExchangeResult, Policy, SiteRef};

/// Makes a run whose mediators are answered from the journal; the first of the tapes compares.
pub(super) fn run<Y>(
    recorded: &Recorded,
    past: &journal::Run,
    run: Run,
    tapes: &[Rc<RefCell<Tape>>],
    policy: Policy,
) -> Result<Ran<Y>, Error> {
    let start = start_of(&run)?;
    let sites = run.sites().clone();
    let mut recorders = Vec::with_capacity(tapes.len());
    let refused = recorded.refused_caches(past);
    for tape in tapes {
        let number = tape.borrow_mut().start_run(start.clone())?;
        refusals::note(&refused, tape, number);
        let (tape, sites) = (tape.clone(), sites.clone());
        recorders.push(Recorder::new(tape, sites, number, policy, Late::default()));
    }
    let mut mediators = run.rehearse()?;
    refusals::refuse(&refused, &mut mediators);
    serve(
        recorded,
        past,
        &mut mediators,
        &mut recorders,
        &tapes[0],
        &sites,
    )?;
    let Some(end) = &past.end else {
        return Ok(ended(RunEnd::Completed));
    };
    for tape in tapes {
        tape.borrow_mut().end_run(end.outcome.clone(), None)?;
    }
    match &end.outcome.code {
        Some(code) => Err(Error::RecordedFailure {
            run: past.start.name.clone(),
            code: code.clone(),
            message: end.outcome.text.clone(),
        }),
        None => Ok(ended(stopped(past).unwrap_or(RunEnd::Completed))),
    }
}

/// Notes a run that the journal does not have, so that there is nothing to answer it with.
pub(super) fn extra_run<Y>(run: &Run, tape: &Rc<RefCell<Tape>>) -> Result<Ran<Y>, Error> {
    tape.borrow_mut().start_run(start_of(run)?)?;
    let outcome = journal::Outcome::default();
    tape.borrow_mut().end_run(outcome, None)?;
    Ok(ended(RunEnd::Completed))
}

fn ended<Y>(end: RunEnd) -> Ran<Y> {
    let audit = Audit {
        mediators: Vec::new(),
        notes: Vec::new(),
    };
    Ran {
        output: None,
        end,
        audit,
    }
}

/// Returns who stopped a recorded run.
fn stopped(past: &journal::Run) -> Option<RunEnd> {
    let is_stop = |exchange: &&journal::Exchange| exchange.event == journal::Event::Stop;
    let stop = past.exchanges.iter().find(is_stop)?;
    let by = past.start.mediators.get(stop.mediator as usize)?;
    Some(RunEnd::Stopped {
        by: by.name.clone(),
        at: None,
    })
}

/// Answers the mediators of a run with what its recording has, and compares what they ask for.
///
/// It goes on until the recording ends, or the mediators part from it on `tape`, which the first of the recorders writes to.
pub(super) fn serve(
    recorded: &Recorded,
    run: &journal::Run,
    mediators: &mut Rehearsal<Value>,
    recorders: &mut [Recorder],
    tape: &Rc<RefCell<Tape>>,
    sites: &Sites,
) -> Result<(), Error> {
    let mut phase = Phase::Starting;
    for exchange in &run.exchanges {
        phase = phase.after(exchange);
        match phase {
            Phase::Starting => mediators.start(exchange.mediator as usize + 1),
            Phase::Running => mediators.start(mediators.len()),
            Phase::Closing => {
                mediators.start(mediators.len());
                mediators.close();
            }
        }
        let id = MediatorId(exchange.mediator);
        let at = exchange.at.and_then(|at| site(recorded, at, sites));
        mediators.at(at);
        if exchange.event == journal::Event::Exception {
            mediators.give_up(id);
        }
        let value = recorded.value_of(exchange)?;
        let refused = match exchange.result {
            ExchangeResult::Refused => exchange.fault.as_ref().map(fault),
            _ => None,
        };
        let Some(said) = mediators.said(id) else {
            return Ok(());
        };
        let is_same = is_asked(&said, exchange, recorded, sites);
        for recorder in &mut *recorders {
            let outcome = outcome(&said, is_same, value.as_ref(), refused.as_ref());
            observe(recorder, id, &said, at, outcome);
        }
        if tape.borrow().has_parted() {
            return Ok(());
        }
        let answer = match (refused, said.event, value) {
            (Some(fault), ..) => Answer::Refused(fault),
            (None, Event::Value | Event::Get, Some(value)) => Answer::Value(value),
            _ => Answer::Done,
        };
        mediators.answer(id, answer);
    }
    mediators.start(mediators.len());
    if run.end.is_some() {
        for recorder in recorders {
            observe_extra(mediators, recorder);
        }
    }
    Ok(())
}

/// Returns how many exchanges of a run are over before a mediator can make one that is not recorded, of the first `count`
/// that they have been answered.
///
/// A mediator that waits for what the recorded one waited for does nothing until then. Another one may go on as soon as its
/// own last exchange is over, and one that was not recorded at once.
pub(super) fn certain(
    recorded: &Recorded,
    run: &journal::Run,
    count: usize,
    mediators: &Rehearsal<Value>,
    sites: &Sites,
) -> u64 {
    let (before, after) = run.exchanges.split_at(count);
    let certain = |number: u32| {
        let is_own = |exchange: &&journal::Exchange| exchange.mediator == number;
        let waits_for = after.iter().find(is_own);
        let goes_on_so = match (mediators.said(MediatorId(number)), waits_for) {
            (None, None) => true,
            (Some(said), Some(exchange)) => is_asked(&said, exchange, recorded, sites),
            (None, Some(_)) | (Some(_), None) => false,
        };
        match goes_on_so {
            true => count,
            false => before
                .iter()
                .rposition(|exchange| is_own(&exchange))
                .map_or(0, |last| last + 1),
        }
    };
    let numbers = 0..mediators.len() as u32;
    numbers.map(certain).min().unwrap_or(count) as u64
}

/// How far the model of the recording is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Starting,
    Running,
    Closing,
}

impl Phase {
    /// What an exchange tells: at a site the model runs; without one it has not started, or has finished.
    fn after(self, exchange: &journal::Exchange) -> Self {
        let is_verdict = exchange.fault.as_ref().is_some_and(|fault| {
            fault.code == "E003" && exchange.result == ExchangeResult::Refused
        });
        match (self, exchange.at) {
            (Self::Closing, _) => Self::Closing,
            (_, Some(_)) => Self::Running,
            (Self::Running, None) => Self::Closing,
            (Self::Starting, None) if is_verdict => Self::Closing,
            (Self::Starting, None) => Self::Starting,
        }
    }
}

/// Returns whether a mediator says what it said when it was recorded.
fn is_asked(
    said: &Said<'_, Value>,
    exchange: &journal::Exchange,
    recorded: &Recorded,
    sites: &Sites,
) -> bool {
    let same = match (said.asked, exchange.asked) {
        (None, None) => true,
        (Some(Asked::Site(own)), Some(past)) => site(recorded, past, sites) == Some(own),
        (Some(Asked::Unknown(name) | Asked::Name(name)), Some(past)) => recorded.text(past) == name,
        (Some(Asked::Iteration(iteration)), Some(past)) => past.iteration == iteration,
        _ => false,
    };
    same && said.event.name() == exchange.event.name()
}

/// What becomes of a live request: what became of the recorded one, if it is that.
fn outcome<'o>(
    said: &Said<'o, Value>,
    is_same: bool,
    value: Option<&'o Value>,
    refused: Option<&'o Fault>,
) -> Outcome<'o, Value> {
    match (said.fault, refused) {
        (Some(fault), _) => Outcome::Failed(fault),
        (None, Some(fault)) if is_same => Outcome::Refused(fault),
        _ => match said.event {
            Event::Value | Event::Get if is_same => Outcome::Served(value),
            _ => Outcome::Served(said.value),
        },
    }
}

/// Notes what the mediators go on to say at once, which the recording does not have.
fn observe_extra(mediators: &Rehearsal<Value>, recorder: &mut Recorder) {
    for id in (0..mediators.len() as u32).map(MediatorId) {
        if let (true, Some(said)) = (mediators.is_pressing(id), mediators.said(id)) {
            let outcome = match said.fault {
                Some(fault) => Outcome::Failed(fault),
                None => Outcome::Served(said.value),
            };
            observe(recorder, id, &said, None, outcome);
        }
    }
}

fn observe(
    recorder: &mut Recorder,
    mediator: MediatorId,
    said: &Said<'_, Value>,
    at: Option<Site>,
    outcome: Outcome<'_, Value>,
) {
    recorder.exchange(&Exchange {
        index: 0,
        mediator,
        event: said.event,
        asked: said.asked,
        at,
        outcome,
        origin: said.origin,
    });
    // Whether the mediators have parted from the journal is asked after each exchange.
    let _reported_at_the_end = recorder.flush();
}

fn site(recorded: &Recorded, site: SiteRef, sites: &Sites) -> Option<Site> {
    let point = sites.map().point(recorded.text(site))?;
    Some(Site {
        point,
        iteration: site.iteration,
    })
}
