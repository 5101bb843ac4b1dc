//! The prefix of a fork: the exchanges that its mediators must repeat.
//!
//! Each mediator is compared with itself only: mediators that are added may make exchanges in
//! between, and each is free after its own last exchange before the fork.

use std::collections::VecDeque;

use super::sink::Records;
use crate::divergence::{Comparer, Divergence};
use crate::journal::{ExchangeRecord, Head, Journal, Record, RunRecord, RunStart};

/// The exchanges of a recorded run before a fork, mediator by mediator.
pub(super) struct Prefix {
    mediators: Vec<MediatorPrefix>,
    is_over: bool,
}

struct MediatorPrefix {
    comparer: Comparer<Records>,
    /// The indices of the exchanges that are still to come.
    indices: VecDeque<u64>,
}

impl Prefix {
    /// Takes what the mediators of a run said before the exchange `end`; `head` is that of the new
    /// session.
    pub(super) fn new(journal: &Journal, run: &RunRecord, end: u64, head: &Head) -> Self {
        let mediator = |number: u32| {
            let own = run.exchanges.iter();
            let own = own.filter(|exchange| exchange.mediator == number && exchange.index < end);
            let own: Vec<ExchangeRecord> = own.cloned().collect();
            let indices = own.iter().map(|exchange| exchange.index).collect();
            let mut records = vec![Record::Head(Box::new(journal.head.clone()))];
            records.extend(journal.path_records());
            records.push(Record::RunStart(run.start.clone()));
            records.extend(own.into_iter().map(Record::Exchange));
            let records: Records = Box::new(records.into_iter().map(Ok));
            let mut comparer = Comparer::new(records);
            comparer.head(head);
            MediatorPrefix { comparer, indices }
        };
        let numbers = 0..run.start.mediators.len() as u32;
        Self {
            mediators: numbers.map(mediator).collect(),
            is_over: false,
        }
    }

    pub(super) fn path(&mut self, id: u32, text: &str) {
        for mediator in &mut self.mediators {
            mediator.comparer.path(id, text);
        }
    }

    /// Compares the start of the run, in which mediators may be added after the recorded ones.
    pub(super) fn start_run(&mut self, start: &RunStart) {
        if self.is_over {
            return;
        }
        let mut known = start.clone();
        known.mediators.truncate(self.mediators.len());
        for mediator in &mut self.mediators {
            mediator.comparer.start_run(&known);
        }
    }

    /// Compares an exchange, if it is one of those that are to come again.
    pub(super) fn exchange(&mut self, exchange: &ExchangeRecord) {
        if self.is_over {
            return;
        }
        let mediator = self.mediators.get_mut(exchange.mediator as usize);
        if let Some(mediator) = mediator
            && let Some(index) = mediator.indices.pop_front()
        {
            // Added mediators may have said something before.
            let exchange = ExchangeRecord {
                index,
                ..exchange.clone()
            };
            mediator.comparer.observe(&exchange);
        }
    }

    /// Ends the comparison; what has not come again by then is a divergence.
    pub(super) fn end_run(&mut self) {
        if self.is_over {
            return;
        }
        self.is_over = true;
        for mediator in &mut self.mediators {
            mediator.comparer.end();
        }
    }

    pub(super) fn divergence(&self) -> Option<&Divergence> {
        let mut divergences = self
            .mediators
            .iter()
            .filter_map(|mediator| mediator.comparer.divergence());
        let first = divergences.next()?;
        Some(divergences.fold(first, |first, other| {
            if other.index < first.index {
                other
            } else {
                first
            }
        }))
    }
}
