//! The provenance of a value, followed back through what was swapped and read, and through what was
//! computed of it.
//!
//! A journal does not say what a mediator did between two requests. But it has the digest of each
//! value: where a mediator puts in what it, or another, was given before, the digests are the same.
//! Where it computed something new, what it had been given before is what it can have computed it
//! from, and its program says what of that, if there is one ([`Formulas`]). What the model computed
//! depends on what was put into it before, and a gradient on the losses of its backward pass.

mod past;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek};

use super::error::JournalError;
use super::export::nearest_sites;
use super::index::{Direction, IndexedJournal, is_at, site_of};
use super::record::{Event, ExchangeRecord, ExchangeResult};
use super::value::ValueTree;
use super::{Names, plain};

use past::Past;

/// How many exchanges a way back has at most.
const STEPS_MAX: usize = 1000;

/// One exchange on the way back of a value.
#[derive(Clone, Debug, PartialEq)]
pub struct ProvenanceStep {
    /// The exchange that carried the value.
    pub exchange: ExchangeRecord,
    /// The exchange as text.
    pub text: String,
    /// How many computations are between it and the value that was asked about.
    pub depth: u32,
    /// How often the way has branched before it, in the order of the steps.
    pub level: u32,
    /// Where it had the value from.
    pub from: Source,
    /// The earlier exchanges at which the way continues, the latest first; the losses of a
    /// backward pass before what was put in.
    pub sources: Vec<u64>,
    /// How many more there are beyond the width that was asked for.
    pub more: u64,
    /// Whether the way is followed from here; it is not beyond the depth that was asked for.
    pub is_followed: bool,
}

/// The source of an exchange's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The model computed it, from what the sources had put in before, among other things.
    Model,
    /// A backward pass of the model computed it, from a loss and from what the sources had put in
    /// before.
    Differentiated {
        /// How many of the sources, from the first on and with those left out, are losses that
        /// mediators gave. If there are none, the loss is one of the code around the model.
        losses: usize,
    },
    /// The source put it there.
    Put,
    /// The sources put something there that is part of it, or that it is part of.
    PutInPart,
    /// The source read it.
    Read,
    /// The mediator computed it from the sources, or from some of them: its program says from
    /// which.
    Computed(Option<Formula>),
    /// The mediator had been given nothing that it can have computed it from.
    Brought,
}

/// The limits of following a value back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProvenanceLimits {
    /// Through how many computations.
    pub depth: u32,
    /// To how many sources of each.
    pub width: u32,
}

impl Default for ProvenanceLimits {
    fn default() -> Self {
        Self { depth: 3, width: 4 }
    }
}

/// The formula by which a program computes a value: what it reads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Formula {
    /// The step: its file and line, and how it reads.
    pub step: String,
    /// The reads that the value is computed from.
    pub reads: Vec<ReadAt>,
    /// The values from elsewhere that it is computed from, by name.
    pub givens: Vec<String>,
    /// Whether it is computed from all of the reads; in loops and branches perhaps from some.
    pub is_exact: bool,
}

/// A read in a program: VALUE or GET.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ReadAt {
    /// The name of the run; nothing for the one at hand.
    pub run: Option<String>,
    /// The name of the mediator.
    pub mediator: String,
    /// The line of the program's file.
    pub line: u32,
    /// Whether of what a loop has read there only the last counts.
    pub is_latest: bool,
}

/// A source of what mediators compute.
pub trait Formulas {
    /// Returns what the mediator of this name computed the value of an exchange from, in the run of
    /// this name.
    fn formula(&self, run: &str, mediator: &str, exchange: &ExchangeRecord) -> Option<Formula>;
}

/// Nothing is known of what mediators compute.
impl Formulas for () {
    fn formula(&self, _: &str, _: &str, _: &ExchangeRecord) -> Option<Formula> {
        None
    }
}

impl Source {
    /// Returns the name in JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Differentiated { .. } => "differentiated",
            Self::Put => "put",
            Self::PutInPart => "put-in-part",
            Self::Read => "read",
            Self::Computed(_) => "computed",
            Self::Brought => "brought",
        }
    }

    /// Whether the sources are those of another value.
    const fn is_computation(&self) -> bool {
        matches!(
            self,
            Self::Model | Self::Differentiated { .. } | Self::PutInPart | Self::Computed(_)
        )
    }
}

impl ProvenanceStep {
    /// Returns where the value came from, in words; `mediator` is that of the exchange.
    pub fn words(&self, mediator: &str) -> String {
        let sources = listed(&self.sources, self.more);
        let mediator = format!("{mediator:?}");
        let mut text = match &self.from {
            Source::Model if self.sources.is_empty() => "the model computed it".to_owned(),
            Source::Model => {
                format!("the model computed it, after {sources} had put something in")
            }
            Source::Differentiated { losses } => self.differentiated(*losses),
            Source::Put => format!("put there by {sources}"),
            Source::PutInPart => format!("put there in part by {sources}"),
            Source::Read => format!("the same value was read by {sources}"),
            Source::Brought => format!("{mediator} brought it along"),
            Source::Computed(None) => {
                format!("{mediator} computed it from some of what it had been given: {sources}")
            }
            Source::Computed(Some(formula)) => {
                let of = if formula.is_exact { "" } else { "some of " };
                let mut parts: Vec<String> = Vec::new();
                parts.extend((!self.sources.is_empty()).then_some(sources));
                parts.extend(
                    formula
                        .givens
                        .iter()
                        .map(|name| format!("${}", plain(name))),
                );
                let step = plain(&formula.step);
                match parts.is_empty() {
                    true => format!("{mediator} computed it from nothing that it read ({step})"),
                    false => {
                        let parts = parts.join(" and ");
                        format!("{mediator} computed it from {of}{parts} ({step})")
                    }
                }
            }
        };
        if !self.is_followed {
            text.push_str("; not followed further");
        }
        text
    }

    /// How a backward pass computed it, from so many losses of mediators.
    fn differentiated(&self, losses: usize) -> String {
        let (losses, put_in) = self.sources.split_at(losses.min(self.sources.len()));
        // Of what is left out, losses come first.
        let more = if put_in.is_empty() {
            [self.more, 0]
        } else {
            [0, self.more]
        };
        let of = match losses {
            [] => "a loss of the code around the model".to_owned(),
            [loss] if more[0] == 0 => format!("the loss of exchange {loss}"),
            losses => format!("the losses of {}", listed(losses, more[0])),
        };
        let after = match put_in {
            [] => String::new(),
            put_in => format!(", after {} had put something in", listed(put_in, more[1])),
        };
        format!("a backward pass computed it from {of}{after}")
    }
}

/// Exchanges in words, and so many more.
fn listed(exchanges: &[u64], more: u64) -> String {
    let mut parts: Vec<String> = exchanges.iter().map(u64::to_string).collect();
    if more > 0 {
        parts.push(format!("{more} more"));
    }
    let last = parts.pop().unwrap_or_default();
    match parts.is_empty() {
        true => format!("exchange {last}"),
        false => format!("exchanges {} and {last}", parts.join(", ")),
    }
}

/// Follows the last value at `site` (see [`Names::is_site`]) back to where it came from; in the
/// last run that has one, or in `run`.
///
/// # Errors
/// E072 if no exchange carries a value there, and those of [`IndexedJournal::exchange`].
pub fn provenance<R: Read + Seek>(
    journal: &mut IndexedJournal<R>,
    site: &str,
    run: Option<u32>,
    extent: ProvenanceLimits,
    formulas: &dyn Formulas,
) -> Result<Vec<ProvenanceStep>, JournalError> {
    let end = journal.exchanges();
    let mut others = BTreeSet::new();
    let carries = |names: &Names, exchange: &ExchangeRecord| {
        let is_value = run.is_none_or(|run| exchange.run == run)
            && served(exchange).is_some()
            // A loss is no value of the site at which it is given.
            && exchange.event != Event::Backward;
        match site_of(exchange).and_then(|site| names.path(site.path)) {
            Some(path) if is_value && !is_at(names, exchange, site) => {
                if !others.contains(path) {
                    others.insert(path.to_owned());
                }
                false
            }
            Some(_) => is_value,
            None => false,
        }
    };
    let Some(start) = journal.find(end, Direction::Back, carries)? else {
        let of_run = run.map_or_else(String::new, |run| format!(" in run {run}"));
        let what = format!("value at the site {site:?}{of_run}");
        let others = others.iter().map(|path| plain(path)).collect();
        return Err(journal.absent(what, nearest_sites(site, others)));
    };
    provenance_of(journal, start, extent, formulas)
}

/// Follows the value of the exchange of this index back to where it came from: each exchange once,
/// after one whose value came from it.
///
/// The journal is read once up to the exchange; a hundred bytes of memory are taken for each
/// exchange of it.
///
/// # Errors
/// As [`provenance`].
pub fn provenance_of<R: Read + Seek>(
    journal: &mut IndexedJournal<R>,
    index: u64,
    extent: ProvenanceLimits,
    formulas: &dyn Formulas,
) -> Result<Vec<ProvenanceStep>, JournalError> {
    let exchange = journal.exchange(index)?;
    if served(&exchange).is_none() {
        let what = format!("value in exchange {index}");
        return Err(journal.absent(what, "a request without one there".to_owned()));
    }
    let past = Past::read(journal, index)?;
    let mut steps = BTreeMap::new();
    // Whatever an exchange is a source of comes later: when it is taken, its depth is known.
    let mut next = BTreeMap::from([(index, 0)]);
    while let Some((index, depth)) = next.pop_last() {
        let exchange = journal.exchange(index)?;
        let found = past.sources(journal, &exchange, extent.width as usize, formulas)?;
        let deeper = depth + u32::from(found.from.is_computation());
        let is_followed = deeper <= extent.depth && steps.len() + next.len() < STEPS_MAX;
        if is_followed {
            for source in &found.sources {
                let depth = next.entry(*source).or_insert(deeper);
                *depth = deeper.min(*depth);
            }
        }
        let step = ProvenanceStep {
            text: journal.text(&exchange),
            is_followed: is_followed || found.sources.is_empty(),
            exchange,
            depth,
            level: 0,
            from: found.from,
            sources: found.sources,
            more: found.more,
        };
        steps.insert(index, step);
    }
    Ok(told(steps, index))
}

/// Puts steps in the order of a report: what a value came from follows it, if it does not stand
/// before it already.
fn told(mut steps: BTreeMap<u64, ProvenanceStep>, first: u64) -> Vec<ProvenanceStep> {
    let mut told = Vec::with_capacity(steps.len());
    let mut rest = vec![(first, 0)];
    while let Some((index, level)) = rest.pop() {
        let Some(mut step) = steps.remove(&index) else {
            continue;
        };
        step.level = level;
        if step.is_followed {
            let parts = u32::from(step.sources.len() > 1);
            let sources = step.sources.iter().rev();
            rest.extend(sources.map(|&source| (source, level + parts)));
        }
        told.push(step);
    }
    told
}

/// The value that an exchange carried, if it was granted.
fn served(exchange: &ExchangeRecord) -> Option<&ValueTree> {
    let carries = matches!(
        exchange.event,
        Event::Value | Event::Swap | Event::Skip | Event::Put | Event::Get | Event::Backward
    );
    let value = exchange.value.as_ref()?;
    (carries && exchange.result == ExchangeResult::Served).then_some(value)
}

/// Checks the exchanges of a way back, for tests and fuzzing: each is there once, and has only
/// earlier sources.
#[doc(hidden)]
pub fn is_a_way_back(steps: &[ProvenanceStep]) -> bool {
    let mut seen = BTreeSet::new();
    steps.iter().all(|step| {
        let index = step.exchange.index;
        seen.insert(index) && step.sources.iter().all(|source| *source < index)
    })
}
