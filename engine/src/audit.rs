//! The audit of a run: what each mediator asked for and got, and which of them never fired.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Silent;
use crate::event::{Event, Origin};
use crate::fault::Fault;
use crate::transition::State;

/// How many refused requests of one mediator the audit names; it counts all of them.
const REFUSALS_MAX: usize = 16;

/// How many notes about one mediator the audit keeps: the first ones.
const NOTES_MAX: usize = 16;

/// The account of a run, mediator by mediator, in definition order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Audit {
    /// One account for each mediator.
    pub mediators: Vec<Account>,
    /// What is to be said of the run itself: of its own caches, and of skipped modules.
    pub notes: Vec<Note>,
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

    /// Iterates over the warnings, those about mediators first.
    pub fn warnings(&self) -> impl Iterator<Item = &Note> {
        let of_mediators = self.mediators.iter().flat_map(|account| &account.notes);
        let notes = of_mediators.chain(&self.notes);
        notes.filter(|note| note.is_warning())
    }
}

/// A note about a run that did not fail it, and that its user should know.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Note {
    /// A loop ended because the model did not pass what an iteration asked for.
    LoopEnded {
        /// The iteration.
        iteration: u32,
        /// The last iteration of the loop, if it has one; the rest never came, which is a warning.
        last: Option<u32>,
        /// The site that was asked for.
        asked: String,
    },
    /// A cache never saw some of the modules that it lists; a warning.
    CacheMissed {
        /// The points, such as `layers.3.output`.
        sites: Vec<String>,
    },
    /// A module was skipped, and its earlier passes had passed sites inside it unequally often, so
    /// that it is not known by how many iterations these continue; a warning.
    OutOfStep {
        /// The input at which it was skipped, such as `cell.input.i2`.
        module: String,
        /// The points inside it, such as `cell.act.input`.
        uneven: Vec<String>,
    },
    /// A backward pass came to some of a value's tensors only, and what the others alone were
    /// computed from got gradients of zeros; a warning.
    PartUnreached {
        /// The gradient, such as `layers.3.output.grad.i0`.
        gradient: String,
    },
}

impl Note {
    /// Returns whether this is a warning; what is none is as it should be.
    pub const fn is_warning(&self) -> bool {
        !matches!(self, Self::LoopEnded { last: None, .. })
    }

    /// Returns the note without its label.
    pub const fn text(&self) -> impl fmt::Display {
        NoteText(self)
    }
}

/// Writes the note behind a label that says what it is: `warning: ` or `note: `.
impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = if self.is_warning() { "warning" } else { "note" };
        write!(f, "{label}: {}", self.text())
    }
}

struct NoteText<'n>(&'n Note);

impl fmt::Display for NoteText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Note::LoopEnded {
                iteration,
                last: None,
                asked,
            } => write!(
                f,
                "a loop ended in iteration {iteration}, for the model did not pass `{asked}`"
            ),
            Note::LoopEnded {
                iteration,
                last: Some(last),
                asked,
            } if iteration == last => write!(
                f,
                "iteration {iteration} of a loop never came, or not all of it: `{asked}` was not passed"
            ),
            Note::LoopEnded {
                iteration,
                last: Some(last),
                asked,
            } => write!(
                f,
                "iterations {iteration} to {last} of a loop never came, or not all of them: `{asked}` was \
                 not passed"
            ),
            Note::CacheMissed { sites } => {
                f.write_str("a cache missed ")?;
                write_some(f, sites)
            }
            Note::OutOfStep { module, uneven } => {
                write!(
                    f,
                    "iterations inside the module skipped at `{module}` do not line up with its own any more: \
                     its earlier passes passed these unequally often: "
                )?;
                write_some(f, uneven)
            }
            Note::PartUnreached { gradient } => write!(
                f,
                "no gradient came to a part of `{gradient}`: what only that part was computed from gets zeros, \
                 and not none"
            ),
        }
    }
}

/// Writes the first names of a list, and how many more there are.
fn write_some(f: &mut fmt::Formatter<'_>, names: &[String]) -> fmt::Result {
    let (named, rest) = names.split_at(names.len().min(NOTES_MAX));
    f.write_str(&named.join(", "))?;
    match rest.len() {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

/// The account of one mediator: its requests, served and refused.
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
    /// What else is to be said.
    pub notes: Vec<Note>,
}

/// A request that was not served.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Refusal {
    /// What was asked.
    pub event: Event,
    /// The site, the name or the iteration that was asked for.
    pub site: String,
    /// Why; `None` for a request that was still open.
    pub fault: Option<Fault>,
    /// Where in the user's source the request stands.
    #[serde(skip)]
    pub origin: Origin,
}

impl Refusal {
    /// Returns the code of the fault; `None` for a request that was still open.
    pub fn code(&self) -> Option<&'static str> {
        self.fault.as_ref().map(Fault::code)
    }
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
            notes: Vec::new(),
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
    /// REGISTER, END and EXCEPTION are no services; STOP is one.
    pub fn never_fired(&self) -> bool {
        const SERVICES: [Event; 8] = [
            Event::Value,
            Event::Swap,
            Event::Skip,
            Event::Barrier,
            Event::Stop,
            Event::Put,
            Event::Get,
            Event::Backward,
        ];
        let fired = SERVICES.iter().any(|&event| self.served(event) > 0);
        let asked = self.open.is_some() || self.refused.iter().any(|&count| count > 0);
        asked && !fired
    }

    /// Returns what the run fails with if the mediator was served nothing and is not optional.
    pub(crate) fn silence(&self) -> Option<Silent> {
        let request = self.refusals.first().or(self.open.as_ref());
        Some(Silent {
            mediator: self.name.clone(),
            request: request.filter(|_| self.never_fired())?.clone(),
        })
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

    pub(crate) fn note(&mut self, note: Note) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(note);
        }
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for account in &self.mediators {
            writeln!(f, "{account}")?;
        }
        for note in &self.notes {
            writeln!(f, "the run: {note}")?;
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
        for note in &self.notes {
            write!(f, "\n  {note}")?;
        }
        Ok(())
    }
}
