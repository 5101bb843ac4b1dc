//! A journal that is gone along up to an exchange, and left there.

use std::cell::RefCell;
use std::rc::Rc;

use interloom_backends::{Ran, Run, Shared};

use super::convert::Recorder;
use super::late::Late;
use super::recorded::Recorded;
use super::refusals::{self, RefusedCache};
use super::tape::Tape;
use super::{drive, passages, serve, start_of};
use crate::error::Error;
use crate::journal::{self, Policy};

/// A journal that is left at an exchange.
pub(super) struct Fork {
    recorded: Recorded,
    exchange: u64,
    /// Compares what is served with the journal.
    watch: Rc<RefCell<Tape>>,
    is_left: bool,
}

/// What a run has that goes on from a journal.
pub(super) struct Left {
    /// The caches that its mediators were refused before.
    pub(super) refused: Vec<RefusedCache>,
    /// What need not be computed.
    pub(super) shared: Option<Shared>,
}

impl Fork {
    /// Goes along a journal up to an exchange; `watch` compares with the same journal.
    ///
    /// # Errors
    ///
    /// E072 if the journal ends before the exchange.
    pub(super) fn new(recorded: Recorded, exchange: u64, watch: Tape) -> Result<Self, Error> {
        Ok(Self {
            recorded: recorded.up_to(exchange)?,
            exchange,
            watch: Rc::new(RefCell::new(watch)),
            is_left: false,
        })
    }

    /// Returns whether a run is over before the exchange.
    pub(super) fn is_after(&self, past: &journal::Run) -> bool {
        let last = past.exchanges.last();
        past.end.is_some() && last.is_none_or(|last| last.index < self.exchange)
    }

    /// Serves a run that is over before the exchange, and writes it to `tape`.
    pub(super) fn serve<Y>(
        &self,
        past: &journal::Run,
        run: Run,
        tape: &Rc<RefCell<Tape>>,
        policy: Policy,
    ) -> Result<Ran<Y>, Error> {
        let tapes = [self.watch.clone(), tape.clone()];
        let ran = serve::run(&self.recorded, past, run, &tapes, policy);
        self.check()?;
        ran
    }

    /// Takes the next run of the journal, unless it has been left.
    pub(super) fn next_run(&mut self) -> Option<journal::Run> {
        match self.is_left {
            true => None,
            false => self.recorded.next_run(),
        }
    }

    /// Gives the mediators of the run at hand the recorded answers up to the exchange, and lets them go on from there.
    pub(super) fn leave(
        &mut self,
        past: journal::Run,
        run: &mut Run,
        policy: Policy,
    ) -> Result<Left, Error> {
        self.is_left = true;
        let mut before = past.clone();
        before
            .exchanges
            .retain(|exchange| exchange.index < self.exchange);
        before.end = None;
        let start = start_of(run)?;
        // Mediators may be added after those that were recorded.
        let mut known = start.clone();
        known.mediators.truncate(past.start.mediators.len());
        let number = self.watch.borrow_mut().start_run(known)?;
        self.check()?;
        let sites = run.sites().clone();
        let mut mediators = run.rehearse_apart()?;
        let mut refused = self.recorded.refused_caches(&past);
        refusals::refuse(&refused, &mut mediators);
        let late = Late::default();
        let recorder = Recorder::new(self.watch.clone(), sites.clone(), number, policy, late);
        serve::serve(
            &self.recorded,
            &before,
            &mut mediators,
            &mut [recorder],
            &self.watch,
            &sites,
        )?;
        self.check()?;
        let certain = serve::certain(
            &self.recorded,
            &past,
            before.exchanges.len(),
            &mediators,
            &sites,
        );
        let unfinished = mediators.into_unfinished();
        refused.retain(|cache| cache.is_declared(&unfinished));
        let unfinished = (self.exchange, unfinished);
        let lines = &start.mediators;
        run.recast(drive::fork(
            &self.recorded,
            &past,
            &sites,
            lines,
            unfinished,
        )?);
        let shared = passages::of_run(&self.recorded, &past, &sites);
        if let Some(shared) = &shared {
            run.share_exchanges(shared, before.exchanges.len() as u64, certain);
        }
        Ok(Left { refused, shared })
    }

    /// Refuses to go on once the mediators have parted from the journal.
    fn check(&self) -> Result<(), Error> {
        match self.watch.borrow().divergence() {
            Some(divergence) => Err(Error::ForkParted {
                exchange: self.exchange,
                divergence: Box::new(divergence.clone()),
            }),
            None => Ok(()),
        }
    }
}
