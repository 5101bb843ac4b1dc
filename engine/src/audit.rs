//! What each mediator asked for, what it got, and what never fired.

use std::fmt;

use crate::event::{Event, Origin};
use crate::transition::State;

/// How many refused requests of one mediator the audit names; it counts all of them.
const REFUSALS_MAX: usize = 16;

/// The account of a run, mediator by mediator, in definition order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Audit {
    /// One account for each mediator.
    pub mediators: Vec<Account>,
}

impl Audit {
    /// Returns how many exchanges the run had: every request, END, STOP and EXCEPTION.
    pub fn exchanges(&self) -> u64 {
        self.mediators.iter().map(Account::exchanges).sum()
    }

    /// Iterates over the accounts of mediators that asked for something and were served nothing.
    pub fn never_fired(&self) -> impl Iterator<Item = &Account> {
        self.mediators
            .iter()
            .filter(|account| account.never_fired())
    }
}

/// What one mediator asked for and got.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    /// The mediator's name.
    pub name: String,
    /// Whether the run succeeds even if it never fires.
    pub optional: bool,
    /// The state in which the run left it.
    pub state: State,
    /// How many requests of each event were served, by [`Event`]'s number.
    pub served: [u64; Event::ALL.len()],
    /// How many requests of each event were refused, by [`Event`]'s number.
    pub refused: [u64; Event::ALL.len()],
    /// The first refused requests.
    pub refusals: Vec<Refusal>,
    /// The request that was still open when the run was cut short.
    pub open: Option<Refusal>,
}

/// A request that was not served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// What was asked.
    pub event: Event,
    /// The site that was asked for.
    pub site: String,
    /// The code of the fault; `None` for a request that was still open.
    pub code: Option<&'static str>,
    /// Where in the user's source the request stands.
    pub origin: Origin,
}

impl Account {
    pub(crate) fn new(name: String, optional: bool) -> Self {
        Self {
            name,
            optional,
            state: State::Registered,
            served: [0; Event::ALL.len()],
            refused: [0; Event::ALL.len()],
            refusals: Vec::new(),
            open: None,
        }
    }

    /// Returns how many requests of `event` were served.
    pub const fn served(&self, event: Event) -> u64 {
        self.served[event as usize]
    }

    /// Returns how many requests of `event` were refused.
    pub const fn refused(&self, event: Event) -> u64 {
        self.refused[event as usize]
    }

    /// Returns how many exchanges the mediator had.
    pub fn exchanges(&self) -> u64 {
        self.served.iter().chain(&self.refused).sum()
    }

    /// Returns whether the mediator asked for something and was served nothing.
    ///
    /// END and EXCEPTION are no services; STOP is one.
    pub fn never_fired(&self) -> bool {
        const SERVICES: [Event; 6] = [
            Event::Value,
            Event::Swap,
            Event::Skip,
            Event::Register,
            Event::Barrier,
            Event::Stop,
        ];
        let fired = SERVICES.iter().any(|&event| self.served(event) > 0);
        let asked = self.open.is_some() || self.refused.iter().any(|&count| count > 0);
        asked && !fired
    }

    pub(crate) fn serve(&mut self, event: Event) {
        self.served[event as usize] += 1;
    }

    pub(crate) fn refuse(&mut self, refusal: impl FnOnce() -> Refusal, event: Event) {
        self.refused[event as usize] += 1;
        if self.refusals.len() < REFUSALS_MAX {
            self.refusals.push(refusal());
        }
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for account in &self.mediators {
            writeln!(f, "{account}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.state)?;
        for event in Event::ALL {
            let (served, refused) = (self.served(event), self.refused(event));
            if served + refused > 0 && !matches!(event, Event::End | Event::Exception) {
                write!(f, ", {event} {served} of {}", served + refused)?;
            }
        }
        if let Some(open) = &self.open {
            write!(f, ", {} {} left open", open.event, open.site)?;
        }
        if self.never_fired() {
            f.write_str(", never fired")?;
        }
        Ok(())
    }
}
