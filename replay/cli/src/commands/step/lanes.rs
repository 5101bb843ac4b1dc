//! What each mediator of a run has done around an exchange, and what it waits for.

use std::collections::BTreeMap;

use interloom_journal::{Event, ExchangeRecord, JournalError, plain};

use super::walk::{Walk, site_of};

/// How many exchanges are looked at in each direction: a step takes as long as they take to read.
const SEEN: u64 = 400;

/// One mediator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Lane {
    pub(super) name: String,
    /// Whether the exchange at hand is its own.
    pub(super) is_current: bool,
    /// What it has done, or waits for.
    pub(super) state: String,
    /// The events of the exchanges around, its own as letters.
    pub(super) strip: String,
}

/// The lanes of the run of an exchange, and where in each strip the exchange stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Lanes {
    pub(super) lanes: Vec<Lane>,
    pub(super) cursor: usize,
}

impl Lanes {
    /// The lanes around `here`, with strips of `width` exchanges.
    pub(super) fn around(
        walk: &mut Walk,
        here: &ExchangeRecord,
        width: usize,
    ) -> Result<Self, JournalError> {
        let (first, end) = bounds(walk, here);
        // Only the neighbourhood is read: a run may have millions of exchanges.
        let from = here.index.saturating_sub(SEEN).max(first);
        let to = here.index.saturating_add(SEEN + 1).min(end);
        let mut seen = Vec::new();
        for index in from..to {
            seen.push(walk.journal.exchange(index)?);
        }
        let cut = Cut {
            before: from > first,
            after: to < end,
        };
        let middle = width as u64 / 2;
        let left = here.index.saturating_sub(middle).max(from);
        let window: Vec<&ExchangeRecord> = seen
            .iter()
            .skip((left - from) as usize)
            .take(width)
            .collect();
        let names = names(walk, here, &seen).into_iter();
        let lanes = names.map(|(mediator, name)| Lane {
            name: plain(&name),
            is_current: mediator == here.mediator,
            state: state(walk, &seen, here, mediator, &cut),
            strip: window.iter().map(|other| glyph(other, mediator)).collect(),
        });
        Ok(Self {
            lanes: lanes.collect(),
            cursor: (here.index - left) as usize,
        })
    }
}

/// Whether the run has exchanges that were not looked at.
struct Cut {
    before: bool,
    after: bool,
}

/// The first exchange of the run, and the first one after it.
fn bounds(walk: &Walk, here: &ExchangeRecord) -> (u64, u64) {
    let runs = walk.journal.runs();
    let next = runs.get(here.run as usize + 1);
    let end = next.map_or(walk.journal.exchanges(), |run| run.first);
    (runs[here.run as usize].first, end)
}

/// The mediators of the run by number; children that started during the run are in no list, and are
/// called by it.
fn names(walk: &Walk, here: &ExchangeRecord, seen: &[ExchangeRecord]) -> BTreeMap<u32, String> {
    let listed = walk.journal.runs()[here.run as usize]
        .start
        .mediators
        .iter();
    let mut names: BTreeMap<u32, String> =
        (0..).zip(listed.map(|line| line.name.clone())).collect();
    for exchange in seen {
        let mediator = exchange.mediator;
        names
            .entry(mediator)
            .or_insert_with(|| format!("#{mediator}"));
    }
    names
}

/// What a mediator is doing once the exchange at hand is made: a request that comes later is what
/// it waits for.
fn state(
    walk: &mut Walk,
    seen: &[ExchangeRecord],
    here: &ExchangeRecord,
    mediator: u32,
    cut: &Cut,
) -> String {
    let mut own = seen.iter().filter(|exchange| exchange.mediator == mediator);
    let last = own
        .clone()
        .take_while(|exchange| exchange.index <= here.index)
        .last();
    let next = own.find(|exchange| exchange.index > here.index);
    match (last, next) {
        (Some(last), _) if last.event == Event::End => format!("ended ({})", last.index),
        (Some(last), _) if last.event == Event::Exception => format!("failed ({})", last.index),
        (_, Some(next)) => {
            let site = site_of(next).map(|site| walk.journal.names(next).site(site));
            let site = plain(&site.unwrap_or_default());
            let text = format!("-> {} {site}", next.event.name());
            format!("{} ({})", text.trim_end(), next.index)
        }
        (_, None) if cut.after => format!("nothing in the next {SEEN}"),
        (Some(last), None) => format!("nothing after {}", last.index),
        (None, None) if cut.before => format!("nothing in the last {SEEN}"),
        (None, None) => "nothing in this run".to_owned(),
    }
}

/// The letter of an exchange in a mediator's strip.
fn glyph(exchange: &ExchangeRecord, mediator: u32) -> char {
    if exchange.mediator != mediator {
        return '·';
    }
    match exchange.event {
        Event::Value => 'V',
        Event::Swap => 'S',
        Event::Skip => 'K',
        Event::Register => 'R',
        Event::Barrier => 'B',
        Event::Stop => '!',
        Event::End => '■',
        Event::Exception => '✗',
        Event::Put => 'P',
        Event::Get => 'G',
        Event::Backward => '∇',
    }
}
