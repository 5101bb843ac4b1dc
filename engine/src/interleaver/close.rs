//! After the model: verdicts, the result and the audit.

use super::{Halt, Interleaver, Report, RunEnd};
use crate::audit::{Account, Audit};
use crate::error::{Failure, RunError, Silent};
use crate::lane::{Lane, Phase};
use crate::mediator::MediatorId;
use crate::observer::{AskedSite, Message, Moment};
use crate::transition::Trigger;
use crate::value::Value;

impl<V: Value> Interleaver<V> {
    /// Ends the run: gives every mediator that still waits its verdict, and draws up the account.
    pub fn finish(mut self) -> Report {
        self.finish_model();
        if !self.has_failed() {
            self.close();
        }
        let result = self.result().and_then(|end| {
            self.scheduler.end()?;
            Ok(end)
        });
        let audit = self.cancel();
        Report {
            result: result.and_then(|end| check_fired(end, &audit)),
            audit,
        }
    }

    /// Ends the run of a model that failed by itself: the mediators are dropped where they stand.
    pub fn cancel(mut self) -> Audit {
        self.finish_model();
        if !self.observers.is_empty() {
            self.show_open();
        }
        let map = self.map.clone();
        let mut notes = std::mem::take(&mut self.notes);
        notes.extend(self.missed());
        for lane in &mut self.lanes {
            lane.cancel(|site| map.site_name(site));
            lane.account.state = lane.state();
        }
        let accounts = self.lanes.into_iter().map(|lane| lane.account);
        Audit {
            mediators: accounts.collect(),
            notes,
        }
    }

    /// Refuses what still waits, in definition order; no mediator is spared the verdict because
    /// another failed.
    pub(super) fn close(&mut self) {
        self.is_closing = true;
        self.visits += 1;
        for index in 0..self.lanes.len() {
            let id = MediatorId(index as u32);
            if let Some(waiting) = self.unpark(id, Trigger::Refuse, |_| true) {
                let fault = self.not_provided(waiting.site);
                let step = self.refuse_waiting(id, waiting, fault);
                self.settle(id, step, None);
            }
            self.release_between_sites();
        }
        if let Some(error) = self.unmet() {
            self.halt = Some(Halt::Broken(error));
        }
    }

    /// Shows the observers, once, that the model passes no further site.
    fn finish_model(&mut self) {
        if self.is_finished {
            return;
        }
        self.is_finished = true;
        let passed = std::mem::take(&mut self.passed);
        self.moment(&Moment::Finish { passed: &passed });
    }

    /// Shows the observers what is still asked for.
    fn show_open(&mut self) {
        for (id, lane) in (0..).map(MediatorId).zip(&self.lanes) {
            let (message, origin) = match &lane.phase {
                Phase::Waiting(waiting) => {
                    let asked = AskedSite::Known(waiting.site);
                    (waiting.request.message(asked), &waiting.origin)
                }
                Phase::AtBarrier(arrived) => {
                    let name = &*arrived.name;
                    (Message::Barrier { name }, &arrived.origin)
                }
                _ => continue,
            };
            for observer in &mut self.observers {
                observer.moment(&Moment::Open {
                    mediator: id,
                    message,
                    origin,
                });
            }
        }
    }

    pub(super) fn result(&mut self) -> Result<RunEnd, RunError> {
        let failures: Vec<Failure> = self
            .lanes
            .iter()
            .filter_map(|lane| self.failure(lane))
            .collect();
        if !failures.is_empty() {
            return Err(RunError::Mediators(failures));
        }
        match self.halt.take() {
            Some(Halt::Broken(error)) => Err(error),
            Some(Halt::Stopped { by, at }) => Ok(RunEnd::Stopped {
                by: self.lanes[by.0 as usize].account.name.clone(),
                at: at.map(|at| self.map.site_name(at)),
            }),
            Some(Halt::Failed) => unreachable!("a failed mediator is in its lane"),
            None => Ok(RunEnd::Completed),
        }
    }

    pub(super) fn failure(&self, lane: &Lane<V>) -> Option<Failure> {
        match &lane.phase {
            Phase::Failed(failed) => Some(Failure {
                mediator: lane.account.name.clone(),
                at: failed.at.map(|at| self.map.site_name(at)),
                origin: failed.origin.clone(),
                fault: failed.fault.clone(),
            }),
            _ => None,
        }
    }
}

/// A run in which an intervention never fired does not show what the intervention does, and fails.
fn check_fired(end: RunEnd, audit: &Audit) -> Result<RunEnd, RunError> {
    let silent = audit.never_fired().filter(|account| !account.optional);
    let silent: Vec<Silent> = silent.filter_map(Account::silence).collect();
    match silent.is_empty() {
        true => Ok(end),
        false => Err(RunError::NeverFired(silent)),
    }
}
