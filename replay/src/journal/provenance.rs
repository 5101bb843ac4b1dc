//! Where a value came from, followed back through what was swapped and read.
//!
//! A journal does not say what a mediator did between two requests. But it has the digest of each
//! value: where a mediator puts in what it, or another, was given before, the digests are the same.

use std::io::{Read, Seek};

use super::error::JournalError;
use super::index::{Direction, IndexedJournal, is_at};
use super::record::{Event, Exchange, ExchangeResult, SiteRef};
use super::value::ValueTree;
use super::{Digest, Names};

/// One step on the way back of a value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// The exchange that carried the value.
    pub exchange: Exchange,
    /// The exchange as text.
    pub text: String,
    /// Where it had the value from.
    pub from: Source,
}

/// Where an exchange had its value from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// The model computed it: nobody had put anything there.
    Model,
    /// This earlier exchange put it there.
    Put(u64),
    /// This earlier exchange put something there that is part of it, or that it is part of.
    PutInPart(u64),
    /// This earlier exchange read it.
    Read(u64),
    /// The mediator computed it, and was last served a value by this exchange.
    Mediator(Option<u64>),
}

impl Source {
    /// The earlier exchange at which the way goes on.
    pub const fn next(self) -> Option<u64> {
        match self {
            Self::Put(index) | Self::PutInPart(index) | Self::Read(index) => Some(index),
            Self::Model | Self::Mediator(_) => None,
        }
    }

    /// What this says, in words; `mediator` is that of the exchange.
    pub fn text(self, mediator: &str) -> String {
        match self {
            Self::Model => "the model computed it".to_owned(),
            Self::Put(index) => format!("put there by exchange {index}"),
            Self::PutInPart(index) => format!("put there in part by exchange {index}"),
            Self::Read(index) => format!("the same value was read by exchange {index}"),
            Self::Mediator(Some(index)) => {
                format!("{mediator:?} computed it, after it had been served exchange {index}")
            }
            Self::Mediator(None) => format!("{mediator:?} brought it along"),
        }
    }
}

/// Follows the last value at `site` (see [`Names::is_site`]) back to where it came from; in the last
/// run that has one, or in `run`.
///
/// # Errors
/// E072 if no exchange carries a value there, and those of [`IndexedJournal::exchange`].
pub fn provenance<R: Read + Seek>(
    journal: &mut IndexedJournal<R>,
    site: &str,
    run: Option<u32>,
) -> Result<Vec<Step>, JournalError> {
    let end = journal.exchanges();
    let carries = |names: &Names, exchange: &Exchange| {
        run.is_none_or(|run| exchange.run == run)
            && served(exchange).is_some()
            && is_at(names, exchange, site)
    };
    let Some(start) = journal.find(end, Direction::Back, carries)? else {
        let of_run = run.map_or_else(String::new, |run| format!(" in run {run}"));
        let what = format!("value at the site {site:?}{of_run}");
        return Err(journal.absent(what, "others; `interloom show` lists them".to_owned()));
    };
    provenance_of(journal, start)
}

/// Follows the value of the exchange of this index back to where it came from.
///
/// # Errors
/// As [`provenance`].
pub fn provenance_of<R: Read + Seek>(
    journal: &mut IndexedJournal<R>,
    index: u64,
) -> Result<Vec<Step>, JournalError> {
    let mut steps = Vec::new();
    let mut next = Some(index);
    // Each step goes to an earlier exchange, so that this ends.
    while let Some(index) = next {
        let exchange = journal.exchange(index)?;
        let Some(value) = served(&exchange) else {
            let what = format!("value in exchange {index}");
            return Err(journal.absent(what, "a request without one there".to_owned()));
        };
        let from = origin(journal, &exchange, value)?;
        let text = journal.text(&exchange);
        next = from.next();
        steps.push(Step {
            exchange,
            text,
            from,
        });
    }
    Ok(steps)
}

/// The value that an exchange carried, if it was granted.
fn served(exchange: &Exchange) -> Option<&ValueTree> {
    let carries = matches!(
        exchange.event,
        Event::Value | Event::Swap | Event::Skip | Event::Put | Event::Get
    );
    let value = exchange.value.as_ref()?;
    (carries && exchange.result == ExchangeResult::Served).then_some(value)
}

fn origin<R: Read + Seek>(
    journal: &mut IndexedJournal<R>,
    exchange: &Exchange,
    value: &ValueTree,
) -> Result<Source, JournalError> {
    match exchange.event {
        Event::Value => placed(journal, exchange, value, Source::Model),
        Event::Get => placed(journal, exchange, value, Source::Mediator(None)),
        _ => given(journal, exchange, value),
    }
}

/// Who put a value where this exchange found it.
fn placed<R: Read + Seek>(
    journal: &mut IndexedJournal<R>,
    exchange: &Exchange,
    value: &ValueTree,
    otherwise: Source,
) -> Result<Source, JournalError> {
    let Some(site) = exchange.asked else {
        return Ok(otherwise);
    };
    let puts = |names: &Names, earlier: &Exchange| {
        let same_place = match earlier.event {
            Event::Swap => exchange.event == Event::Value && earlier.asked == Some(site),
            Event::Skip => exchange.event == Event::Value && skips_to(names, earlier, site),
            Event::Put => {
                exchange.event == Event::Get
                    && earlier.asked.map(|name| name.path) == Some(site.path)
            }
            _ => false,
        };
        earlier.run == exchange.run && served(earlier).is_some() && same_place
    };
    let Some(put) = journal.find(exchange.index, Direction::Back, puts)? else {
        return Ok(otherwise);
    };
    let is_same = journal.exchange(put)?.value.as_ref() == Some(value);
    Ok(if is_same {
        Source::Put(put)
    } else {
        Source::PutInPart(put)
    })
}

/// Whether an exchange skips the module whose output is at `site`.
fn skips_to(names: &Names, skip: &Exchange, site: SiteRef) -> bool {
    let (Some(asked), Some(output)) = (skip.asked, names.path(site.path)) else {
        return false;
    };
    let input = names
        .path(asked.path)
        .and_then(|path| path.strip_suffix("input"));
    asked.iteration == site.iteration && input.is_some() && input == output.strip_suffix("output")
}

/// Who had been given the value that a mediator put in.
fn given<R: Read + Seek>(
    journal: &mut IndexedJournal<R>,
    exchange: &Exchange,
    value: &ValueTree,
) -> Result<Source, JournalError> {
    let reads = |exchange: &Exchange| {
        matches!(exchange.event, Event::Value | Event::Get) && served(exchange).is_some()
    };
    let same = journal.find(exchange.index, Direction::Back, |_, earlier| {
        reads(earlier)
            && earlier
                .value
                .as_ref()
                .is_some_and(|read| shares(read, value))
    })?;
    if let Some(read) = same {
        return Ok(Source::Read(read));
    }
    let last = journal.find(exchange.index, Direction::Back, |_, earlier| {
        reads(earlier) && (earlier.run, earlier.mediator) == (exchange.run, exchange.mediator)
    })?;
    Ok(Source::Mediator(last))
}

/// Whether two values are the same, or have a tensor in common.
fn shares(read: &ValueTree, value: &ValueTree) -> bool {
    let digests = |tree: &ValueTree| {
        let mut digests: Vec<Digest> = Vec::new();
        tree.for_each_tensor(&mut |_, _, digest| digests.push(*digest));
        digests
    };
    let wanted = digests(value);
    if wanted.is_empty() {
        return read == value;
    }
    digests(read).iter().any(|digest| wanted.contains(digest))
}
