//! The reads and puts before an exchange, and those that a value can have come from.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek};

use super::{Formula, Formulas, Source, served};
use crate::error::JournalError;
use crate::index::{IndexedJournal, IndexedPass};
use crate::record::{Event, ExchangeRecord, SiteRef};
use crate::value::ValueTree;
use crate::{Digest, Names};

/// Everything that was read or put up to an exchange.
#[derive(Default)]
pub(super) struct Past {
    /// Reads by the first eight bytes of the digest of what was read, and their index.
    by_digest: BTreeSet<(u64, u64)>,
    /// Reads by run and mediator.
    reads: BTreeMap<(u32, u32), Vec<Passed>>,
    /// What was put in or on the blackboard, by run.
    puts: BTreeMap<u32, Vec<Passed>>,
    /// The losses that mediators gave, by run.
    losses: BTreeMap<u32, Vec<Passed>>,
}

/// An exchange that carried a value.
#[derive(Clone, Copy)]
struct Passed {
    index: u64,
    mediator: u32,
    event: Event,
    asked: Option<SiteRef>,
    at: Option<SiteRef>,
    line: Option<u32>,
}

/// Where a value came from.
pub(super) struct Found {
    pub(super) from: Source,
    pub(super) sources: Vec<u64>,
    pub(super) more: u64,
}

/// Rows of a batch, as first row and count; `None` is all of them.
type Rows = Option<(u32, u32)>;

impl Past {
    /// Reads the exchanges before the one of this index.
    pub(super) fn read<R: Read + Seek>(
        journal: &mut IndexedJournal<R>,
        end: u64,
    ) -> Result<Self, JournalError> {
        let mut past = Self::default();
        for index in 0..end {
            let exchange = journal.exchange(index)?;
            let Some(value) = served(&exchange) else {
                continue;
            };
            let passed = Passed {
                index,
                mediator: exchange.mediator,
                event: exchange.event,
                asked: exchange.asked,
                at: exchange.at,
                line: exchange.origin.as_ref().map(|origin| origin.line),
            };
            match exchange.event {
                Event::Value | Event::Get => {
                    let keys = keys(value).into_iter();
                    past.by_digest.extend(keys.map(|key| (key, index)));
                    let by = (exchange.run, exchange.mediator);
                    past.reads.entry(by).or_default().push(passed);
                }
                Event::Backward => past.losses.entry(exchange.run).or_default().push(passed),
                _ => past.puts.entry(exchange.run).or_default().push(passed),
            }
        }
        Ok(past)
    }

    /// Returns where an exchange had its value from, with up to `width` sources.
    pub(super) fn sources<R: Read + Seek>(
        &self,
        journal: &mut IndexedJournal<R>,
        exchange: &ExchangeRecord,
        width: usize,
        formulas: &dyn Formulas,
    ) -> Result<Found, JournalError> {
        let Some(value) = served(exchange) else {
            return Ok(Found::none(Source::Brought));
        };
        match exchange.event {
            Event::Value => self.placed(journal, exchange, value, width),
            Event::Get => Ok(match self.put(exchange) {
                Some(put) => Found::one(Source::Put, put),
                None => Found::none(Source::Brought),
            }),
            _ => match self.read_before(journal, exchange, value)? {
                Some(read) => Ok(Found::one(Source::Read, read)),
                None => Ok(self.computed(journal, exchange, width, formulas)),
            },
        }
    }

    /// Who put a value at the site where this exchange found it, or what the model can have
    /// computed it from.
    fn placed<R: Read + Seek>(
        &self,
        journal: &mut IndexedJournal<R>,
        exchange: &ExchangeRecord,
        value: &ValueTree,
        width: usize,
    ) -> Result<Found, JournalError> {
        let rows = rows(journal, exchange.run);
        let own = rows_of(&rows, exchange.mediator);
        let passes = journal.runs().get(exchange.run as usize);
        let passes = passes.map(|run| run.passes.clone()).unwrap_or_default();
        let names = journal.names(exchange);
        let is_gradient = |site: Option<SiteRef>| site.is_some_and(|site| is_gradient(names, site));
        let puts = self.puts_before(exchange);
        let puts = puts.filter(|put| overlap(own, rows_of(&rows, put.mediator)));
        let puts: Vec<&Passed> = puts.collect();
        let mut here = Vec::new();
        if let Some(site) = exchange.asked {
            for put in puts.iter().filter(|put| put.is_at(names, site)) {
                here.push(put.index);
                // What was there before it is gone.
                if covers(rows_of(&rows, put.mediator), own) {
                    break;
                }
            }
        }
        let Some(&latest) = here.first() else {
            let mut sites = BTreeSet::new();
            let put_in = puts.iter().filter(|put| put.event != Event::Put);
            let put_in =
                put_in.filter(|put| sites.insert((put.asked, rows_of(&rows, put.mediator))));
            let put_in = put_in.map(|put| (put.index, is_gradient(put.asked)));
            if is_gradient(exchange.asked) {
                return Ok(self.differentiated(exchange, &passes, put_in, width));
            }
            // What is put in for a gradient is none of the forward pass.
            let forward = put_in.filter(|(_, is_gradient)| !is_gradient);
            let forward = forward.map(|(index, _)| index).collect();
            return Ok(Found::some(Source::Model, forward, width));
        };
        Ok(
            match journal.exchange(latest)?.value.as_ref() == Some(value) {
                true => Found::one(Source::Put, latest),
                false => Found::some(Source::PutInPart, here, width),
            },
        )
    }

    /// What a backward pass can have computed a gradient from: the losses that mediators gave for
    /// it, and what was put in for gradients that it came to before. What was put in before a loss
    /// of a mediator is found from there; one of the code around the model can have been computed
    /// from all of it. `put_in` is the latest first, with whether it was for a gradient.
    fn differentiated(
        &self,
        exchange: &ExchangeRecord,
        passes: &[IndexedPass],
        put_in: impl Iterator<Item = (u64, bool)>,
        width: usize,
    ) -> Found {
        let begun = passes.partition_point(|pass| pass.first <= exchange.index);
        let given = before(self.losses.get(&exchange.run), exchange.index);
        let (since, losses): (u64, Vec<u64>) = match passes[..begun] {
            [] => {
                // The model was not watched: the losses that were given last, at one site.
                let given: Vec<&Passed> = given.collect();
                let at = given.first().and_then(|last| last.at);
                let last = given.iter().take_while(|loss| loss.at == at);
                let since = given.first().map_or(0, |last| last.index);
                (since, last.map(|loss| loss.index).collect())
            }
            [.., pass] if pass.is_outer => (pass.first, Vec::new()),
            [ref earlier @ .., pass] => {
                // Those since the pass before.
                let from = earlier.last().map_or(0, |pass| pass.first);
                let own = given.filter(|loss| (from..pass.first).contains(&loss.index));
                (pass.first, own.map(|loss| loss.index).collect())
            }
        };
        let is_source = |(index, is_gradient): &(u64, bool)| match is_gradient {
            true => *index >= since,
            false => losses.is_empty(),
        };
        let put_in = put_in.filter(is_source).map(|(index, _)| index);
        let sources = losses.iter().copied().chain(put_in).collect();
        let losses = losses.len();
        Found::some(Source::Differentiated { losses }, sources, width)
    }

    /// Who put a value on the blackboard under the name that this exchange got.
    fn put(&self, exchange: &ExchangeRecord) -> Option<u64> {
        let name = exchange.asked?.path;
        let is_put = |put: &&Passed| {
            put.event == Event::Put && put.asked.is_some_and(|asked| asked.path == name)
        };
        self.puts_before(exchange).find(is_put).map(|put| put.index)
    }

    /// What was put before an exchange in its run, the latest first.
    fn puts_before(&self, exchange: &ExchangeRecord) -> impl Iterator<Item = &Passed> {
        before(self.puts.get(&exchange.run), exchange.index)
    }

    /// Who had been given the value that a mediator put in.
    fn read_before<R: Read + Seek>(
        &self,
        journal: &mut IndexedJournal<R>,
        exchange: &ExchangeRecord,
        value: &ValueTree,
    ) -> Result<Option<u64>, JournalError> {
        let mut latest = None;
        for key in keys(value) {
            let reads = self.by_digest.range((key, 0)..(key, exchange.index));
            for &(_, read) in reads.rev() {
                if latest.is_some_and(|latest| read <= latest) {
                    break;
                }
                let found = journal.exchange(read)?.value;
                if found.as_ref().is_some_and(|found| shares(found, value)) {
                    latest = Some(read);
                }
            }
        }
        Ok(latest)
    }

    /// What a mediator can have computed a value from.
    fn computed<R: Read + Seek>(
        &self,
        journal: &mut IndexedJournal<R>,
        exchange: &ExchangeRecord,
        width: usize,
        formulas: &dyn Formulas,
    ) -> Found {
        let run = journal.runs().get(exchange.run as usize);
        let run = run.map(|run| run.start.name.clone()).unwrap_or_default();
        let mediator = journal.names(exchange).mediator(exchange.mediator);
        if let Some(formula) = formulas.formula(&run, &mediator, exchange) {
            let sources = self.of_formula(journal, exchange, &formula);
            return Found::some(Source::Computed(Some(formula)), sources, width);
        }
        let own = self.reads.get(&(exchange.run, exchange.mediator));
        let mut sites = BTreeSet::new();
        let own = before(own, exchange.index);
        let own = own.filter(|read| sites.insert((read.event.code(), read.asked)));
        let own: Vec<u64> = own.map(|read| read.index).collect();
        match own.is_empty() {
            true => Found::none(Source::Brought),
            false => Found::some(Source::Computed(None), own, width),
        }
    }

    /// The reads that a formula names, the latest at each site.
    fn of_formula<R: Read + Seek>(
        &self,
        journal: &IndexedJournal<R>,
        exchange: &ExchangeRecord,
        formula: &Formula,
    ) -> Vec<u64> {
        let mut found = BTreeSet::new();
        for read in &formula.reads {
            // The latest run of the name.
            let runs = journal.runs()[..=exchange.run as usize].iter().rev();
            let mut runs = runs.map(|run| &run.start);
            let start = match &read.run {
                None => runs.next(),
                Some(name) => runs.find(|start| start.name == *name),
            };
            let Some(start) = start else {
                continue;
            };
            let mediators = start.mediators.iter().zip(0..);
            let own = mediators.filter(|(line, _)| line.name == read.mediator);
            for (_, mediator) in own {
                let mut sites = BTreeSet::new();
                let passed = before(self.reads.get(&(start.run, mediator)), exchange.index);
                let passed = passed.filter(|passed| passed.line == Some(read.line));
                let passed = passed.filter(|passed| {
                    let asked = passed.asked.map(|site| match read.is_latest {
                        true => (site.path, None),
                        false => (site.path, Some(site.iteration)),
                    });
                    sites.insert((passed.event.code(), asked))
                });
                found.extend(passed.map(|passed| passed.index));
            }
        }
        found.into_iter().rev().collect()
    }
}

impl Passed {
    /// Whether what was put is at `site` afterwards.
    fn is_at(&self, names: &Names, site: SiteRef) -> bool {
        match self.event {
            Event::Swap => self.asked == Some(site),
            Event::Skip => self.asked.is_some_and(|asked| skips_to(names, asked, site)),
            _ => false,
        }
    }
}

impl Found {
    const fn none(from: Source) -> Self {
        Self {
            from,
            sources: Vec::new(),
            more: 0,
        }
    }

    fn one(from: Source, source: u64) -> Self {
        Self {
            sources: vec![source],
            ..Self::none(from)
        }
    }

    fn some(from: Source, mut sources: Vec<u64>, width: usize) -> Self {
        let more = sources.len().saturating_sub(width) as u64;
        sources.truncate(width);
        Self {
            from,
            sources,
            more,
        }
    }
}

/// Those before an index, the latest first.
fn before(passed: Option<&Vec<Passed>>, index: u64) -> impl Iterator<Item = &Passed> {
    let passed = passed.map_or(&[][..], Vec::as_slice);
    let end = passed.partition_point(|passed| passed.index < index);
    passed[..end].iter().rev()
}

/// The rows of each mediator of a run.
fn rows<R: Read + Seek>(journal: &IndexedJournal<R>, run: u32) -> Vec<Rows> {
    let run = journal.runs().get(run as usize);
    let lines = run.map(|run| run.start.mediators.iter().map(|line| line.rows));
    lines.into_iter().flatten().collect()
}

/// Whether a site is that of a gradient.
fn is_gradient(names: &Names, site: SiteRef) -> bool {
    let path = names.path(site.path);
    path.is_some_and(|path| path.ends_with(".grad"))
}

fn rows_of(rows: &[Rows], mediator: u32) -> Rows {
    rows.get(mediator as usize).copied().flatten()
}

/// Whether two mediators see rows in common: what one puts into its rows, others read only in
/// theirs.
fn overlap(a: Rows, b: Rows) -> bool {
    match (a, b) {
        (Some((start_a, count_a)), Some((start_b, count_b))) => {
            u64::from(start_a) < end(start_b, count_b) && u64::from(start_b) < end(start_a, count_a)
        }
        _ => true,
    }
}

/// Whether one has all rows of the other.
fn covers(a: Rows, b: Rows) -> bool {
    match (a, b) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some((start_a, count_a)), Some((start_b, count_b))) => {
            start_a <= start_b && end(start_b, count_b) <= end(start_a, count_a)
        }
    }
}

fn end(start: u32, count: u32) -> u64 {
    u64::from(start) + u64::from(count)
}

/// Whether a skip that asked for one site skips the module whose output is at the other.
fn skips_to(names: &Names, asked: SiteRef, site: SiteRef) -> bool {
    let Some(output) = names.path(site.path) else {
        return false;
    };
    let input = names
        .path(asked.path)
        .and_then(|path| path.strip_suffix("input"));
    asked.iteration == site.iteration && input.is_some() && input == output.strip_suffix("output")
}

/// What a value is found by: the beginning of the digest of each of its tensors, or, without any,
/// of what it says.
fn keys(value: &ValueTree) -> Vec<u64> {
    let key = |digest: &Digest| u64::from_le_bytes(*digest.0.first_chunk().expect("32 bytes"));
    let mut keys = Vec::new();
    value.for_each_leaf(&mut |tensor| keys.push(key(&tensor.digest)));
    if keys.is_empty() {
        let said = format!("{value:?}");
        keys.push(key(&Digest::of_bytes("value", said.as_bytes())));
    }
    keys
}

/// Whether two values are the same, or have a tensor in common.
fn shares(read: &ValueTree, value: &ValueTree) -> bool {
    let digests = |tree: &ValueTree| {
        let mut digests: Vec<Digest> = Vec::new();
        tree.for_each_leaf(&mut |tensor| digests.push(tensor.digest));
        digests
    };
    let wanted = digests(value);
    if wanted.is_empty() {
        return read == value;
    }
    digests(read).iter().any(|digest| wanted.contains(digest))
}
